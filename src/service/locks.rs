//! One at a time per key: slow checks of one user's secret wait for each other, so that a flood of
//! guesses in parallel is evaluated no more often than the throttle allows (THR-2).

use std::collections::HashSet;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::error::Error;

#[derive(Default)]
pub(super) struct Locks {
    held: Mutex<HashSet<Vec<u8>>>,
    released: Condvar,
}

/// Holds a key until dropped.
pub(super) struct Held<'a> {
    locks: &'a Locks,
    key: Vec<u8>,
}

impl Locks {
    /// Waits for the key, at most `patience`.
    pub(super) fn hold(&self, key: &[u8], patience: Duration) -> Result<Held<'_>, Error> {
        let (mut held, waited) = self
            .released
            .wait_timeout_while(self.keys(), patience, |held| held.contains(key))
            .unwrap_or_else(PoisonError::into_inner);
        if waited.timed_out() && held.contains(key) {
            return Err(Error::Busy);
        }
        held.insert(key.to_vec());
        Ok(Held { locks: self, key: key.to_vec() })
    }

    fn keys(&self) -> MutexGuard<'_, HashSet<Vec<u8>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.locks.keys().remove(&self.key);
        self.locks.released.notify_all();
    }
}
