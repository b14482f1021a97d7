//! `Idempotency-Key`: the same request of the same caller gets the same response within a minute. Responses can hold
//! secrets. So they are kept encrypted under a key that never leaves this process, and only as long as they may be
//! repeated. It does not know whether the caller may still see a response.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use chacha20poly1305::aead::{Aead, KeyInit};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use hyper::StatusCode;
use sha2::{Digest, Sha256};

use mfad_core::entropy::{self, NoEntropy};
use mfad_core::model::Moment;
use mfad_service::Told;

use super::problem::Problem;

/// Time for which a response is kept, in milliseconds of the boot clock.
const LIFETIME: i64 = 60_000;
/// Maximum number of kept responses and of requests in progress, together.
const MOST: usize = 1024;
/// Maximum number of them for one peer uid.
const MOST_OF_ONE: usize = 256;
/// Maximum size of the kept bodies of one peer uid, in bytes. A body with a QR code has some 100 KiB.
const MOST_BYTES: usize = 2 * 1024 * 1024;

/// A response that can be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kept {
    /// Status of the response.
    pub status: StatusCode,
    /// Value of `Location`, below the version prefix; `None` if nothing was created.
    pub location: Option<String>,
    /// Whether the body is in the Prometheus text format. Otherwise it is JSON.
    pub is_metrics: bool,
    /// Body of the response; empty if it has none.
    pub body: Vec<u8>,
    /// Secret in the body, and its owner. The response may be repeated only until the secret is used, replaced or
    /// removed (ENR-8).
    pub told: Told,
}

/// SHA-256 that identifies a request (caller, target and idempotency key), or its body.
pub(super) type Fingerprint = [u8; 32];

enum State {
    Running,
    Done { status: StatusCode, location: Option<String>, told: Told, nonce: [u8; 24], sealed: Vec<u8> },
}

struct Entry {
    uid: u32,
    body: Fingerprint,
    since: i64,
    state: State,
}

impl Entry {
    fn size(&self) -> usize {
        match &self.state {
            State::Running => 0,
            State::Done { sealed, .. } => sealed.len(),
        }
    }
}

/// Responses of the last minute, and requests that are in progress.
pub(super) struct Idempotency {
    cipher: XChaCha20Poly1305,
    entries: Mutex<HashMap<Fingerprint, Entry>>,
}

/// How to treat a request that has an idempotency key.
pub(super) enum Turn {
    /// The request is new: carry it out, then [`Idempotency::keep`] its response or [`Idempotency::forget`] it.
    First,
    /// The request was carried out, with this response. The caller must still be allowed to see it.
    Again(Kept),
}

/// Returns the SHA-256 of the parts, each preceded by its length, so that no other division into parts has the same
/// input.
pub(super) fn fingerprint(parts: &[&[u8]]) -> Fingerprint {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

impl Idempotency {
    /// Draws the encryption key of this process.
    pub(super) fn new() -> Result<Self, NoEntropy> {
        let key = entropy::secret::<32>()?;
        let cipher = XChaCha20Poly1305::new_from_slice(key.expose()).map_err(|_| NoEntropy)?;
        Ok(Self { cipher, entries: Mutex::default() })
    }

    /// Registers a request of a peer. Refuses an idempotency key that was used with another body, or whose first
    /// request is still in progress (409).
    pub(super) fn begin(
        &self,
        uid: u32,
        request: Fingerprint,
        body: Fingerprint,
        now: &Moment,
    ) -> Result<Turn, Problem> {
        let mut entries = self.lock();
        // Expired entries must neither be found nor take up room.
        entries.retain(|_, entry| now.boot_ms.saturating_sub(entry.since) < LIFETIME);
        if let Some(entry) = entries.get(&request) {
            if entry.body != body {
                return Err(Problem::idempotency_conflict(
                    "this idempotency key was used with another body in the last minute",
                ));
            }
            let State::Done { status, location, told, nonce, sealed } = &entry.state else {
                return Err(Problem::idempotency_conflict(
                    "the first request with this idempotency key is still in progress",
                ));
            };
            let body = self.cipher.decrypt(&XNonce::from(*nonce), sealed.as_slice());
            let body = body.map_err(|_| Problem::internal("a kept response cannot be decrypted"))?;
            let (location, told) = (location.clone(), told.clone());
            // Metrics are read with GET, and only changes are kept.
            return Ok(Turn::Again(Kept { status: *status, location, is_metrics: false, body, told }));
        }
        make_room(&mut entries, uid)?;
        entries.insert(request, Entry { uid, body, since: now.boot_ms, state: State::Running });
        Ok(Turn::First)
    }

    /// Keeps the response of a request that was carried out. If the bodies of this peer then exceed `MOST_BYTES`, its
    /// oldest responses are dropped.
    pub(super) fn keep(&self, request: &Fingerprint, answer: &Kept) {
        let sealed = entropy::public::<24>()
            .ok()
            .and_then(|nonce| Some((nonce, self.cipher.encrypt(&XNonce::from(nonce), answer.body.as_slice()).ok()?)));
        // A response that cannot be encrypted is not kept.
        let Some((nonce, sealed)) = sealed else { return self.forget(request) };
        let mut entries = self.lock();
        let Some(entry) = entries.get_mut(request) else { return };
        let (location, told, uid) = (answer.location.clone(), answer.told.clone(), entry.uid);
        entry.state = State::Done { status: answer.status, location, told, nonce, sealed };
        let bytes = |entries: &HashMap<Fingerprint, Entry>| {
            entries.values().filter(|entry| entry.uid == uid).map(Entry::size).fold(0usize, usize::saturating_add)
        };
        while bytes(&entries) > MOST_BYTES && drop_oldest(&mut entries, uid) {}
    }

    /// Removes a request that was not carried out, so that it can be sent again with the same key.
    pub(super) fn forget(&self, request: &Fingerprint) {
        self.lock().remove(request);
    }

    /// Drops old responses. Housekeeping calls this, since otherwise they would stay until the next request.
    pub(super) fn sweep(&self, now: &Moment) {
        self.lock().retain(|_, entry| now.boot_ms.saturating_sub(entry.since) < LIFETIME);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Fingerprint, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes room for one more request of a peer. Drops the oldest response of this peer if it has reached its share, or of
/// the peer with the most entries if all are taken. Requests in progress stay, or a repetition would be carried out as
/// well.
fn make_room(entries: &mut HashMap<Fingerprint, Entry>, uid: u32) -> Result<(), Problem> {
    let count = |entries: &HashMap<Fingerprint, Entry>, uid| entries.values().filter(|e| e.uid == uid).count();
    let whose = if count(entries, uid) >= MOST_OF_ONE {
        Some(uid)
    } else if entries.len() >= MOST {
        // The peer with the most entries gives way, so that it cannot push out the others.
        entries.values().map(|entry| entry.uid).max_by_key(|uid| count(entries, *uid))
    } else {
        None
    };
    match whose {
        Some(whose) if !drop_oldest(entries, whose) => Err(Problem::busy()),
        Some(_) | None => Ok(()),
    }
}

/// Drops the oldest response of a peer. Returns `false` if it has none.
fn drop_oldest(entries: &mut HashMap<Fingerprint, Entry>, uid: u32) -> bool {
    let done = entries.iter().filter(|(_, entry)| entry.uid == uid && matches!(entry.state, State::Done { .. }));
    let oldest = done.min_by_key(|(_, entry)| entry.since).map(|(request, _)| *request);
    oldest.is_some_and(|request| entries.remove(&request).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(boot_ms: i64) -> Moment {
        Moment { wall_ms: 0, boot_ms, boot: [0; 16] }
    }

    const PEER: u32 = 1000;

    fn answer() -> Kept {
        let location = Some("/x".to_owned());
        Kept { status: StatusCode::OK, location, is_metrics: false, body: b"codes".to_vec(), told: Told::Nothing }
    }

    fn named(uid: u32, number: u32) -> Fingerprint {
        fingerprint(&[&uid.to_be_bytes(), &number.to_be_bytes()])
    }

    /// Sends `count` requests of a peer, each of which is carried out and kept.
    fn fill(kept: &Idempotency, uid: u32, count: u32, answer: &Kept) {
        for number in 0..count {
            let request = named(uid, number);
            assert!(matches!(kept.begin(uid, request, [0; 32], &at(i64::from(number))), Ok(Turn::First)));
            kept.keep(&request, answer);
        }
    }

    #[test]
    fn the_same_request_gets_the_same_answer_for_a_minute() {
        let kept = Idempotency::new().unwrap();
        assert!(matches!(kept.begin(PEER, [1; 32], [2; 32], &at(0)), Ok(Turn::First)));
        kept.keep(&[1; 32], &answer());

        assert!(matches!(kept.begin(PEER, [1; 32], [2; 32], &at(59_999)), Ok(Turn::Again(a)) if a == answer()));
        assert!(matches!(kept.begin(PEER, [3; 32], [2; 32], &at(59_999)), Ok(Turn::First)));
        assert!(matches!(kept.begin(PEER, [1; 32], [2; 32], &at(60_000)), Ok(Turn::First)));
    }

    #[test]
    fn another_body_or_a_first_one_under_way_is_a_conflict() {
        let kept = Idempotency::new().unwrap();
        assert!(matches!(kept.begin(PEER, [1; 32], [2; 32], &at(0)), Ok(Turn::First)));

        assert!(kept.begin(PEER, [1; 32], [2; 32], &at(1)).is_err());
        kept.keep(&[1; 32], &answer());
        assert!(kept.begin(PEER, [1; 32], [9; 32], &at(2)).is_err());
    }

    #[test]
    fn a_request_that_was_not_carried_out_may_come_again() {
        let kept = Idempotency::new().unwrap();
        assert!(matches!(kept.begin(PEER, [1; 32], [2; 32], &at(0)), Ok(Turn::First)));
        kept.forget(&[1; 32]);

        assert!(matches!(kept.begin(PEER, [1; 32], [9; 32], &at(1)), Ok(Turn::First)));
    }

    #[test]
    fn a_peer_with_many_answers_takes_no_place_of_another() {
        let kept = Idempotency::new().unwrap();
        fill(&kept, PEER, 1, &answer());

        for uid in 2000..2020 {
            fill(&kept, uid, 300, &answer());
        }

        assert!(kept.lock().len() <= MOST);
        assert!(kept.lock().values().filter(|entry| entry.uid == 2019).count() <= MOST_OF_ONE);
        let again = kept.begin(PEER, named(PEER, 0), [0; 32], &at(1));
        assert!(matches!(again, Ok(Turn::Again(a)) if a == answer()), "its only answer is still there");
    }

    #[test]
    fn large_answers_of_a_peer_have_a_share_too() {
        let kept = Idempotency::new().unwrap();
        let large = Kept { body: vec![7; 100 * 1024], ..answer() };
        fill(&kept, PEER, 1, &answer());

        fill(&kept, 2000, 50, &large);

        let bytes: usize = kept.lock().values().map(Entry::size).sum();
        assert!(bytes <= MOST_BYTES + 100, "{bytes}");
        assert!(matches!(kept.begin(PEER, named(PEER, 0), [0; 32], &at(1)), Ok(Turn::Again(_))));
        assert!(matches!(kept.begin(2000, named(2000, 49), [0; 32], &at(1)), Ok(Turn::Again(_))), "the newest stays");
    }

    #[test]
    fn what_is_under_way_is_not_forgotten_for_room() {
        let kept = Idempotency::new().unwrap();
        for number in 0..u32::try_from(MOST_OF_ONE).unwrap() {
            assert!(matches!(kept.begin(PEER, named(PEER, number), [0; 32], &at(0)), Ok(Turn::First)));
        }

        let one_more = kept.begin(PEER, [9; 32], [0; 32], &at(1));

        assert!(matches!(one_more, Err(problem) if problem.status == StatusCode::SERVICE_UNAVAILABLE));
        assert!(kept.begin(PEER, named(PEER, 0), [0; 32], &at(1)).is_err(), "still under way");
        assert!(matches!(kept.begin(2000, [9; 32], [0; 32], &at(1)), Ok(Turn::First)));
    }
}
