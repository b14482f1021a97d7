//! Limits on the checks of passwords and backup codes: a bounded number of hashes runs at a time, and only one caller
//! at a time checks a given secret. It knows no store and no throttle.

use crate::error::Error;

use super::RequestContext;
use super::hasher::{HashCost, Hasher, Permit};
use super::locks::{Held, Locks};

/// The hash workers and the locks that every check of a password or a backup code uses.
pub(super) struct Passwords {
    hasher: Hasher,
    locks: Locks,
}

impl Passwords {
    pub(super) fn new(cost: HashCost) -> Result<Self, Error> {
        Ok(Self { hasher: Hasher::new(cost)?, locks: Locks::default() })
    }

    /// Waits for the lock with this key, at most for the request's patience. The lock is held until the result is
    /// dropped, so parallel guesses are evaluated one after the other, each under the throttle of the one before
    /// (THR-2).
    pub(super) fn hold(&self, context: &RequestContext, key: &[u8]) -> Result<Held<'_>, Error> {
        self.locks.hold(key, context.caller.peer.uid, context.patience)
    }

    /// Waits for a permit to run one hash, at most for the request's patience. Permits are limited per peer uid, so
    /// that one local user cannot starve the others (THR-8).
    pub(super) fn permit(&self, context: &RequestContext) -> Result<Permit<'_>, Error> {
        self.hasher.permit(context.caller.peer.uid, context.patience)
    }

    /// Returns the number of requests that wait for a permit, for the metrics.
    pub(super) fn waiting(&self) -> usize {
        self.hasher.waiting()
    }

    /// Frees memory that no hash has needed for a while.
    pub(super) fn tend(&self) {
        self.hasher.tend();
    }
}
