//! The hashing of passwords and backup codes: how many hashes run at a time, and that one secret is checked by one caller
//! at a time.

use crate::error::Error;

use super::RequestContext;
use super::hasher::{HashCost, Hasher, Permit};
use super::locks::{Held, Locks};

/// What every check of a password or a backup code goes through.
pub(super) struct Passwords {
    hasher: Hasher,
    locks: Locks,
}

impl Passwords {
    pub(super) fn new(cost: HashCost) -> Result<Self, Error> {
        Ok(Self { hasher: Hasher::new(cost)?, locks: Locks::default() })
    }

    /// Waits until no other request checks what has this key, and keeps others waiting until it is dropped.
    pub(super) fn hold(&self, context: &RequestContext, key: &[u8]) -> Result<Held<'_>, Error> {
        self.locks.hold(key, context.caller.peer.uid, context.patience)
    }

    /// Waits for the right to run one hash.
    pub(super) fn permit(&self, context: &RequestContext) -> Result<Permit<'_>, Error> {
        self.hasher.permit(context.caller.peer.uid, context.patience)
    }

    /// How many requests wait for a hash.
    pub(super) fn waiting(&self) -> usize {
        self.hasher.waiting()
    }

    /// Gives back memory that no hash has needed for a while.
    pub(super) fn tend(&self) {
        self.hasher.tend();
    }
}
