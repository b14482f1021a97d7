//! Open WebAuthn ceremonies: options that were given out, each for one answer within five minutes (FIDO-1). They are
//! kept in memory only, so a restart ends them.

use std::collections::HashMap;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::fido::{Authentication, CEREMONY, Registration};
use mfad_core::model::{ChallengeId, SecretId, SessionId, UserId};
use mfad_core::sync::{Mutex, MutexGuard, PoisonError};
use mfad_hardware::device::SecurityKeys;

use super::tokens::later;

/// Maximum number of open ceremonies; a new one ends the oldest.
const MOST: usize = 4096;
/// Maximum opened by one peer uid, a quarter of all, so that one app cannot end the ceremonies of all others.
const MOST_OF_PEER: usize = 1024;
/// Maximum for one user.
const MOST_OF_USER: usize = 8;

/// The purpose of a ceremony. An answer counts only for the purpose that it was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Purpose {
    /// Registration of this pending security key.
    Register(SecretId),
    /// The second step of this login.
    Login(ChallengeId),
    /// A step-up in this session.
    StepUp(SessionId),
    /// A check that the app with this peer uid makes.
    Verify(u32),
    /// A login to this host.
    HostLogin,
}

pub(super) enum Asked {
    Registration(Registration),
    Authentication(Authentication),
}

struct Ceremony {
    asked: Asked,
    expires: i64,
    order: u64,
    peer: u32,
}

/// Both ways to reach a security key: the ports of this host, and the ceremonies that are open in browsers.
pub(super) struct WebAuthn {
    pub(super) ports: Arc<dyn SecurityKeys>,
    pub(super) ceremonies: Ceremonies,
}

impl WebAuthn {
    pub(super) fn new(ports: Arc<dyn SecurityKeys>) -> Self {
        Self { ports, ceremonies: Ceremonies::default() }
    }
}

/// The open ceremonies, at most [`MOST`].
#[derive(Default)]
pub(super) struct Ceremonies(Mutex<Open>);

#[derive(Default)]
struct Open {
    by_purpose: HashMap<Key, Ceremony>,
    begun: u64,
}

/// User, purpose and, for checks by an app, the SHA-256 of the challenge. With the challenge, several logins of one
/// user at an app do not end each other.
pub(super) type Key = (UserId, Purpose, Option<[u8; 32]>);

pub(super) fn key(user: UserId, purpose: Purpose, challenge: Option<&str>) -> Key {
    // Only the checks of an app share a purpose. A registration, login or step-up has its own.
    let is_shared = matches!(purpose, Purpose::Verify(_));
    let challenge = challenge.filter(|_| is_shared).map(|challenge| Sha256::digest(challenge.as_bytes()).into());
    (user, purpose, challenge)
}

/// Ends the oldest ceremony for which `counts` holds, if `most` of them are open.
fn make_room(open: &mut HashMap<Key, Ceremony>, most: usize, counts: impl Fn(&Key, &Ceremony) -> bool) {
    let share = || open.iter().filter(|(key, ceremony)| counts(key, ceremony));
    if share().count() >= most {
        let oldest = share().min_by_key(|(_, ceremony)| ceremony.order).map(|(key, _)| *key);
        oldest.and_then(|oldest| open.remove(&oldest));
    }
}

impl Ceremonies {
    fn lock(&self) -> MutexGuard<'_, Open> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a ceremony. It replaces an open one with the same key.
    pub(super) fn begin(&self, key: Key, asked: Asked, peer: u32, now: i64) {
        let mut state = self.lock();
        let Open { by_purpose: open, begun } = &mut *state;
        open.retain(|_, ceremony| ceremony.expires > now);
        // In this order, a user or peer at its own limit does not end a ceremony of another one.
        make_room(open, MOST_OF_USER, |(owner, ..), _| *owner == key.0);
        make_room(open, MOST_OF_PEER, |_, ceremony| ceremony.peer == peer);
        make_room(open, MOST, |_, _| true);
        // Several ceremonies may begin at the same time, so a counter tells which is the oldest.
        *begun = begun.saturating_add(1);
        let ceremony = Ceremony { asked, expires: later(now, CEREMONY), order: *begun, peer };
        open.insert(key, ceremony);
    }

    /// Takes a ceremony out, whatever its answer turns out to be, so that each is answered once.
    pub(super) fn take(&self, key: Key, now: i64) -> Option<Asked> {
        let ceremony = self.lock().by_purpose.remove(&key)?;
        (ceremony.expires > now).then_some(ceremony.asked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fido::{RelyingParty, Verification};

    fn asked(party: &RelyingParty) -> Asked {
        Asked::Registration(party.start_registration(&[1; 16], "ann", Vec::new(), Verification::Preferred).unwrap().1)
    }

    fn user(number: u16) -> UserId {
        let [high, low] = number.to_be_bytes();
        UserId::at(0, &[high, low, 0, 0, 0, 0, 0, 0, 0, 0])
    }

    #[test]
    fn one_peer_does_not_end_what_another_asked() {
        let party = RelyingParty::new("example.org", &["https://example.org".parse().unwrap()], "mfad").unwrap();
        let ceremonies = Ceremonies::default();
        let of = |number| key(user(number), Purpose::Verify(7), Some("a challenge"));
        ceremonies.begin(of(0), asked(&party), 7, 0);

        for number in 1..=u16::try_from(MOST_OF_PEER).unwrap() + 1 {
            ceremonies.begin(of(number), asked(&party), 8, 0);
        }

        assert!(ceremonies.take(of(0), 1).is_some(), "the other peer's");
        assert!(ceremonies.take(of(1), 1).is_none(), "its own oldest");
        assert!(ceremonies.take(of(2), 1).is_some());
        assert_eq!(ceremonies.lock().by_purpose.len(), MOST_OF_PEER - 1);
    }

    #[test]
    fn a_user_has_so_many_at_a_time_and_each_for_its_time() {
        let party = RelyingParty::new("example.org", &["https://example.org".parse().unwrap()], "mfad").unwrap();
        let ceremonies = Ceremonies::default();
        let of = |challenge: usize| key(user(0), Purpose::Verify(7), Some(&challenge.to_string()));

        for challenge in 0..=MOST_OF_USER {
            ceremonies.begin(of(challenge), asked(&party), 7, 0);
        }

        assert!(ceremonies.take(of(0), 1).is_none());
        assert!(ceremonies.take(of(1), 1).is_some());
        let end = later(0, CEREMONY);
        assert!(ceremonies.take(of(2), end).is_none());
        ceremonies.begin(of(0), asked(&party), 7, end);
        assert_eq!(ceremonies.lock().by_purpose.len(), 1, "what is over takes no place");
    }
}
