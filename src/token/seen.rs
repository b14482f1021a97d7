//! Signatures that are known to hold, so that they are not computed again: those of tokens that were signed or checked
//! here. Only the signature is taken for granted, and only of the very same text; claims are checked each time.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, PoisonError};

use sha2::{Digest, Sha256};

/// So many tokens are remembered; the oldest is forgotten for a new one.
const MOST: usize = 4_096;

/// SHA-256 of a token.
pub(super) type Print = [u8; 32];

#[derive(Default)]
pub(super) struct Seen(Mutex<Prints>);

#[derive(Default)]
struct Prints {
    known: HashSet<Print>,
    order: VecDeque<Print>,
}

impl Seen {
    pub(super) fn knows(&self, print: &Print) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).known.contains(print)
    }

    pub(super) fn remember(&self, print: Print) {
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

pub(super) fn print(token: &str) -> Print {
    Sha256::digest(token).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_known_by_every_byte_of_it_and_the_oldest_is_forgotten() {
        let seen = Seen::default();
        let (remember, knows) = (|token: &str| seen.remember(print(token)), |token: &str| seen.knows(&print(token)));
        remember("a.b.c");
        remember("a.b.c");

        assert!(knows("a.b.c"));
        assert!(!knows("a.b.d") && !knows("a.b.c ") && !knows(""));

        (1..MOST).for_each(|number| remember(&number.to_string()));
        assert!(knows("a.b.c"), "the last that there is room for");
        remember("one more");
        assert!(!knows("a.b.c") && knows("1") && knows("one more"));
    }
}
