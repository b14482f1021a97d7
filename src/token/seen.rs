//! Signatures that are known to hold, so that they are not computed again: those of tokens that were signed or checked
//! here. Only the signature is taken for granted, and only of the very same text; claims are checked each time.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, PoisonError};

use sha2::{Digest, Sha256};

/// So many tokens are remembered; the oldest is forgotten for a new one.
const MOST: usize = 4_096;

/// SHA-256 of a token.
type Print = [u8; 32];

#[derive(Default)]
pub(super) struct Seen(Mutex<Prints>);

#[derive(Default)]
struct Prints {
    known: HashSet<Print>,
    order: VecDeque<Print>,
}

impl Seen {
    pub(super) fn knows(&self, token: &str) -> bool {
        let print = print(token);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).known.contains(&print)
    }

    pub(super) fn remember(&self, token: &str) {
        let print = print(token);
        let mut prints = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !prints.known.insert(print) {
            return;
        }
        prints.order.push_back(print);
        if prints.order.len() > MOST
            && let Some(oldest) = prints.order.pop_front()
        {
            prints.known.remove(&oldest);
        }
    }
}

fn print(token: &str) -> Print {
    Sha256::digest(token).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_known_by_every_byte_of_it_and_the_oldest_is_forgotten() {
        let seen = Seen::default();
        seen.remember("a.b.c");
        seen.remember("a.b.c");

        assert!(seen.knows("a.b.c"));
        assert!(!seen.knows("a.b.d") && !seen.knows("a.b.c ") && !seen.knows(""));

        (1..MOST).for_each(|number| seen.remember(&number.to_string()));
        assert!(seen.knows("a.b.c"), "the last that there is room for");
        seen.remember("one more");
        assert!(!seen.knows("a.b.c") && seen.knows("1") && seen.knows("one more"));
    }
}
