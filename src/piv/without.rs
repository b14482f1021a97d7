//! In place of the checks, where this program was built without them: no roots can be had, so nothing is trusted.

use crate::model::{Firmware, Serial};

use super::{Challenge, Doubt, Papers, RootsFault, Statement};

/// Roots, of which there can be none.
#[derive(Clone, Debug)]
pub struct Roots(Never);

/// A claim, of which there can be none.
#[derive(Debug)]
pub struct Claim(Never);

#[derive(Clone, Debug)]
enum Never {}

impl Roots {
    /// Always refused.
    pub fn read<'a>(_pems: impl IntoIterator<Item = &'a [u8]>) -> Result<Self, RootsFault> {
        Err(RootsFault::NotBuilt)
    }

    /// Never called.
    pub fn check(&self, _: &Papers, _: Serial, _: Option<Firmware>, _unix_seconds: i64) -> Result<Claim, Doubt> {
        match self.0 {}
    }
}

impl Claim {
    /// Never called.
    pub fn challenge(&self, _nonce: &[u8; 32]) -> Challenge {
        match self.0 {}
    }

    /// Never called.
    pub fn confirm(self, _: &Challenge, _signature: &[u8]) -> Result<Statement, Doubt> {
        match self.0 {}
    }

    /// Never called.
    pub fn needs_touch(&self) -> bool {
        match self.0 {}
    }
}
