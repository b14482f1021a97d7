//! Decoy work for unknown users: a code is checked as for a known user, so that the time of the refusal does not tell
//! which users exist (AUT-4).

use mfad_core::model::{Algorithm, Digits, Moment, Period, Sensitive, TokenInput, UserId};
use mfad_core::oath::{Window, match_step, step_at};
use mfad_store::{Fault, LoginFactors, Vault, View, seal_decoy};

/// A TOTP factor with the usual parameters that belongs to no user. Codes of unknown users are compared with it.
pub(super) struct Decoy {
    nobody: UserId,
    /// A sealed summary like that of a user with one factor.
    sealed: Vec<u8>,
}

impl Decoy {
    pub(super) fn new(vault: &Vault) -> Result<Self, Fault> {
        let seed = mfad_core::entropy::secret::<20>()?;
        let nobody = UserId::at(0, &mfad_core::entropy::public()?);
        Ok(Self { nobody, sealed: seal_decoy(vault, &Sensitive::new(seed.expose().to_vec()))? })
    }

    /// Reads the store and decrypts a summary, as for a known user.
    pub(super) fn read(&self, view: &View<'_>, named: Option<UserId>) -> Result<Option<LoginFactors>, Fault> {
        view.decoy_factors(named.unwrap_or(self.nobody), &self.sealed)
    }
}

/// Compares a code with every step of the window, as for a known user. Codes of every length are compared, since a
/// known user usually has a factor of the code's length.
pub(super) fn refuse(decoy: Option<&LoginFactors>, window: Window, now: &Moment, token: &TokenInput) {
    // The summary was sealed at start, so it no longer opens once the master key has been rotated. Only the time
    // matters, so zeros take its place.
    let seed = decoy.and_then(|decoy| decoy.factors.first()).map_or(&[0; 20][..], |factor| factor.seed.expose());
    let code = token.for_digits(Digits::SIX).unwrap_or(0);
    let current = step_at(now.unix_seconds(), Period::THIRTY);
    let matched = match_step(seed, Algorithm::Sha1, Digits::SIX, code, current, window, None);
    // Keep the compiler from dropping work whose result is not used.
    std::hint::black_box(matched);
}
