//! `Idempotency-Key`: the same request, asked again within a minute by the same caller, gets the same
//! answer. Answers can hold secrets, so they are kept sealed under a key that only this process has
//! ever had, and only as long as they may be asked for.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use chacha20poly1305::aead::{Aead, KeyInit};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use hyper::StatusCode;
use sha2::{Digest, Sha256};

use crate::entropy::{self, NoEntropy};
use crate::model::Moment;

use super::problem::Problem;

/// How long an answer is kept, in milliseconds of the boot clock.
const LIFETIME: i64 = 60_000;
/// Answers kept at once; the oldest go first.
const MOST: usize = 1024;

/// An answer worth keeping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Its status.
    pub status: StatusCode,
    /// Its `Location`, if it had one.
    pub location: Option<String>,
    /// Whether its body is Prometheus text rather than JSON.
    pub is_metrics: bool,
    /// Its body.
    pub body: Vec<u8>,
}

/// Names a request: who, what, under which key.
pub type Fingerprint = [u8; 32];

enum State {
    Running,
    Done { status: StatusCode, location: Option<String>, nonce: [u8; 24], sealed: Vec<u8> },
}

struct Entry {
    body: Fingerprint,
    since: i64,
    state: State,
}

/// The answers of the last minute.
pub struct Idempotency {
    cipher: XChaCha20Poly1305,
    entries: Mutex<HashMap<Fingerprint, Entry>>,
}

/// What to do with a request that carries a key.
pub enum Turn {
    /// Carry it out, then [`Idempotency::keep`] its answer or [`Idempotency::forget`] it.
    First,
    /// It was carried out: this is the answer.
    Again(Kept),
}

/// SHA-256 over parts with their lengths before them.
pub fn fingerprint(parts: &[&[u8]]) -> Fingerprint {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

impl Idempotency {
    /// Makes the key of this process.
    pub fn new() -> Result<Self, NoEntropy> {
        let key = entropy::secret::<32>()?;
        let cipher = XChaCha20Poly1305::new_from_slice(key.expose()).map_err(|_| NoEntropy)?;
        Ok(Self { cipher, entries: Mutex::default() })
    }

    /// Announces a request. The same key with another body, or while the first is under way, is a conflict.
    pub fn begin(&self, request: Fingerprint, body: Fingerprint, now: &Moment) -> Result<Turn, Problem> {
        let mut entries = self.lock();
        entries.retain(|_, entry| now.boot_ms.saturating_sub(entry.since) < LIFETIME);
        if let Some(entry) = entries.get(&request) {
            if entry.body != body {
                return Err(Problem::idempotency_conflict("this key was used with another body in the last minute"));
            }
            let State::Done { status, location, nonce, sealed } = &entry.state else {
                return Err(Problem::idempotency_conflict("the first request with this key is still under way"));
            };
            let body =
                self.cipher.decrypt(&XNonce::from(*nonce), sealed.as_slice()).map_err(|_| Problem::internal())?;
            return Ok(Turn::Again(Kept { status: *status, location: location.clone(), is_metrics: false, body }));
        }
        if entries.len() >= MOST {
            let oldest = entries.iter().min_by_key(|(_, entry)| entry.since).map(|(key, _)| *key);
            oldest.and_then(|key| entries.remove(&key));
        }
        entries.insert(request, Entry { body, since: now.boot_ms, state: State::Running });
        Ok(Turn::First)
    }

    /// Keeps the answer of a request that was carried out.
    pub fn keep(&self, request: &Fingerprint, answer: &Kept) {
        let sealed = entropy::public::<24>()
            .ok()
            .and_then(|nonce| Some((nonce, self.cipher.encrypt(&XNonce::from(nonce), answer.body.as_slice()).ok()?)));
        let Some((nonce, sealed)) = sealed else { return self.forget(request) };
        if let Some(entry) = self.lock().get_mut(request) {
            let location = answer.location.clone();
            entry.state = State::Done { status: answer.status, location, nonce, sealed };
        }
    }

    /// Lets a request be tried again that was not carried out.
    pub fn forget(&self, request: &Fingerprint) {
        self.lock().remove(request);
    }

    /// Drops what is too old, so that nothing waits for the next request to be wiped.
    pub fn sweep(&self, now: &Moment) {
        self.lock().retain(|_, entry| now.boot_ms.saturating_sub(entry.since) < LIFETIME);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Fingerprint, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(boot_ms: i64) -> Moment {
        Moment { wall_ms: 0, boot_ms, boot: [0; 16] }
    }

    fn answer() -> Kept {
        Kept { status: StatusCode::OK, location: Some("/x".to_owned()), is_metrics: false, body: b"codes".to_vec() }
    }

    #[test]
    fn the_same_request_gets_the_same_answer_for_a_minute() {
        let kept = Idempotency::new().unwrap();
        assert!(matches!(kept.begin([1; 32], [2; 32], &at(0)), Ok(Turn::First)));
        kept.keep(&[1; 32], &answer());

        assert!(matches!(kept.begin([1; 32], [2; 32], &at(59_999)), Ok(Turn::Again(a)) if a == answer()));
        assert!(matches!(kept.begin([3; 32], [2; 32], &at(59_999)), Ok(Turn::First)));
        assert!(matches!(kept.begin([1; 32], [2; 32], &at(60_000)), Ok(Turn::First)));
    }

    #[test]
    fn another_body_or_a_first_one_under_way_is_a_conflict() {
        let kept = Idempotency::new().unwrap();
        assert!(matches!(kept.begin([1; 32], [2; 32], &at(0)), Ok(Turn::First)));

        assert!(kept.begin([1; 32], [2; 32], &at(1)).is_err());
        kept.keep(&[1; 32], &answer());
        assert!(kept.begin([1; 32], [9; 32], &at(2)).is_err());
    }

    #[test]
    fn a_request_that_was_not_carried_out_may_come_again_and_the_table_is_bounded() {
        let kept = Idempotency::new().unwrap();
        assert!(matches!(kept.begin([1; 32], [2; 32], &at(0)), Ok(Turn::First)));
        kept.forget(&[1; 32]);

        assert!(matches!(kept.begin([1; 32], [9; 32], &at(1)), Ok(Turn::First)));
        for n in 0..2000u32 {
            let name = fingerprint(&[&n.to_be_bytes()]);
            assert!(matches!(kept.begin(name, [0; 32], &at(2)), Ok(Turn::First)));
        }
        assert!(kept.lock().len() <= MOST);
    }
}
