//! A cache of tokens whose signature is known to verify, because this process signed or verified them. Only the
//! signature check is skipped, and only for exactly the same text; header and claims are checked each time.

use sha2::{Digest, Sha256};

use mfad_core::sync::{Mutex, PoisonError};

/// Number of sets. The digest of a token selects its set.
const SETS: usize = 2_048;
/// Tokens per set. A new token replaces the oldest one of its set.
const WAYS: usize = 4;

/// SHA-256 of a token.
pub(super) type Fingerprint = [u8; 32];

/// Digests of 8,192 tokens (256 KiB). The size is fixed from the start, so the memory of the daemon does not grow with
/// its load. Each set holds its newest token first. Unused entries are all zeros, which is the digest of no known text.
pub(super) struct VerifiedTokenCache(Mutex<Box<[[Fingerprint; WAYS]]>>);

impl Default for VerifiedTokenCache {
    fn default() -> Self {
        Self(Mutex::new(vec![[Fingerprint::default(); WAYS]; SETS].into()))
    }
}

impl VerifiedTokenCache {
    pub(super) fn knows(&self, print: &Fingerprint) -> bool {
        let sets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sets.get(set_of(print)).is_some_and(|set| set.contains(print))
    }

    /// Adds a token, unless it is there already.
    pub(super) fn remember(&self, print: Fingerprint) {
        let mut sets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(set) = sets.get_mut(set_of(&print))
            && !set.contains(&print)
        {
            set.rotate_right(1);
            set[0] = print;
        }
    }
}

fn set_of(print: &Fingerprint) -> usize {
    usize::from(u16::from_be_bytes([print[0], print[1]])) % SETS
}

pub(super) fn print(token: &str) -> Fingerprint {
    Sha256::digest(token).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_known_by_every_byte_of_it_and_the_oldest_of_its_set_is_forgotten() {
        let seen = VerifiedTokenCache::default();
        let (remember, knows) = (|token: &str| seen.remember(print(token)), |token: &str| seen.knows(&print(token)));
        remember("a.b.c");
        remember("a.b.c");

        assert!(knows("a.b.c"));
        assert!(!knows("a.b.d") && !knows("a.b.c ") && !knows(""));

        let is_beside = |token: &String| set_of(&print(token)) == set_of(&print("a.b.c"));
        let beside: Vec<String> = (0_u32..).map(|number| number.to_string()).filter(is_beside).take(WAYS).collect();
        let (last, others) = beside.split_last().unwrap();
        others.iter().for_each(|token| remember(token));
        assert!(knows("a.b.c"), "the last that there is room for");
        remember(last);
        assert!(!knows("a.b.c") && beside.iter().all(|token| knows(token)));
    }

    #[test]
    fn others_have_sets_of_their_own() {
        let seen = VerifiedTokenCache::default();
        let tokens: Vec<String> = (0..SETS).map(|number| number.to_string()).collect();
        tokens.iter().for_each(|token| seen.remember(print(token)));

        let known = tokens.iter().filter(|token| seen.knows(&print(token))).count();
        assert!(known > SETS * 99 / 100, "{known}");
    }
}
