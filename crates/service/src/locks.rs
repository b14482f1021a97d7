//! Locks by key: slow checks of one user's secret run one at a time. So guesses in parallel are evaluated no more often
//! than the throttle allows (THR-2). The number of waiting requests is bounded for each key and peer uid, so that a
//! flood of one user or peer leaves capacity for the others (THR-8).

use std::collections::HashMap;
use std::time::Duration;

use crate::error::Error;
use mfad_core::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Maximum number of requests that wait for one key. The same maximum applies to the requests of one peer uid, for all
/// keys together.
const WAITING_EACH: usize = 64;
/// Maximum number of waiting requests in all; fewer than the threads that can wait.
const WAITING_IN_ALL: usize = 128;

#[derive(Default)]
pub(super) struct Locks {
    state: Mutex<State>,
    released: Condvar,
}

#[derive(Default)]
struct State {
    keys: HashMap<Vec<u8>, Key>,
    waiting_by_peer: HashMap<u32, usize>,
}

/// A key that a request holds or waits for.
#[derive(Default)]
struct Key {
    is_held: bool,
    waiting: usize,
}

/// Holds a key until it is dropped.
pub(super) struct Held<'a> {
    locks: &'a Locks,
    key: Vec<u8>,
}

impl Locks {
    /// Waits for the key, at most `patience`. Answers "busy" if too many requests wait already.
    pub(super) fn hold(&self, key: &[u8], peer: u32, patience: Duration) -> Result<Held<'_>, Error> {
        let mut state = self.state();
        if state.is_held(key) {
            state.queue(key, peer)?;
            let waited = self.released.wait_timeout_while(state, patience, |state| state.is_held(key));
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            state.leave_queue(key, peer);
            if state.is_held(key) {
                // The wait also ends when `patience` runs out while another request holds the key.
                return Err(Error::Busy);
            }
        }
        state.keys.entry(key.to_vec()).or_default().is_held = true;
        Ok(Held { locks: self, key: key.to_vec() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_held(&self, key: &[u8]) -> bool {
        self.keys.get(key).is_some_and(|key| key.is_held)
    }

    fn queue(&mut self, key: &[u8], peer: u32) -> Result<(), Error> {
        let of_peer = self.waiting_by_peer.get(&peer).copied().unwrap_or(0);
        let in_all: usize = self.waiting_by_peer.values().sum();
        let for_key = self.keys.entry(key.to_vec()).or_default();
        if of_peer >= WAITING_EACH || for_key.waiting >= WAITING_EACH || in_all >= WAITING_IN_ALL {
            return Err(Error::Busy);
        }
        for_key.waiting = for_key.waiting.saturating_add(1);
        self.waiting_by_peer.insert(peer, of_peer.saturating_add(1));
        Ok(())
    }

    fn leave_queue(&mut self, key: &[u8], peer: u32) {
        if let Some(key) = self.keys.get_mut(key) {
            key.waiting = key.waiting.saturating_sub(1);
        }
        let left = self.waiting_by_peer.remove(&peer).unwrap_or(0).saturating_sub(1);
        if left > 0 {
            self.waiting_by_peer.insert(peer, left);
        }
    }

    fn release(&mut self, key: &[u8]) {
        match self.keys.get_mut(key) {
            // Waiting requests keep the entry, so that the limit on them stays in force when the key changes hands.
            Some(key) if key.waiting > 0 => key.is_held = false,
            Some(_) | None => drop(self.keys.remove(key)),
        }
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.locks.state().release(&self.key);
        // Requests that wait for any key share one condition variable.
        self.locks.released.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn only_one_holds_a_key_and_all_get_their_turn() {
        let locks = Arc::new(Locks::default());
        let inside = Arc::new(AtomicUsize::new(0));

        let threads: Vec<_> = (0..32)
            .map(|peer| {
                let (locks, inside) = (Arc::clone(&locks), Arc::clone(&inside));
                thread::spawn(move || {
                    let _held = locks.hold(b"key", peer, LONG).unwrap();
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                    thread::yield_now();
                    inside.fetch_sub(1, Ordering::SeqCst);
                })
            })
            .collect();

        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert!(locks.state().keys.is_empty() && locks.state().waiting_by_peer.is_empty());
    }

    #[test]
    fn patience_ends_and_another_key_is_free() {
        let locks = Locks::default();
        let _held = locks.hold(b"key", 1, LONG).unwrap();

        assert!(matches!(locks.hold(b"key", 1, Duration::ZERO), Err(Error::Busy)));
        assert!(locks.hold(b"other", 1, Duration::ZERO).is_ok());
        assert!(locks.state().waiting_by_peer.is_empty());
    }

    #[test]
    fn thr_8_those_who_wait_keep_their_places_when_the_key_changes_hands() {
        let locks = Locks::default();
        let held = locks.hold(b"key", 0, LONG).unwrap();
        for peer in (1..).take(WAITING_EACH) {
            locks.state().queue(b"key", peer).unwrap();
        }

        drop(held);

        assert!(matches!(locks.state().queue(b"key", 99), Err(Error::Busy)));
    }

    #[test]
    fn thr_8_one_peer_cannot_take_all_the_room_to_wait() {
        let mut state = State::default();

        let taken = (0..200).filter(|n| state.queue(if n % 2 == 0 { b"a" } else { b"b" }, 1).is_ok()).count();

        assert_eq!(taken, WAITING_EACH);
        assert!(state.queue(b"a", 2).is_ok());
    }

    #[test]
    fn thr_8_whoever_leaves_makes_room_for_one() {
        let mut state = State::default();
        for _ in 0..WAITING_EACH {
            state.queue(b"a", 1).unwrap();
        }

        state.leave_queue(b"a", 1);

        assert!(state.queue(b"a", 1).is_ok());
        assert!(matches!(state.queue(b"b", 1), Err(Error::Busy)), "the peer has no more room than before");
        assert!(matches!(state.queue(b"a", 2), Err(Error::Busy)), "nor has the key");
    }
}
