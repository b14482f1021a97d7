//! Decoy work for unknown users: a code is checked as for a known user, so that the time of the refusal does not tell
//! which users exist (AUT-4).

use mfad_core::model::{Algorithm, Digits, Moment, Period, TokenInput, UserId};
use mfad_core::oath::{Window, match_step, step_at};
use mfad_store::{AssociatedData, Fault, Vault, View};

/// A TOTP factor with the usual parameters that belongs to no user. Codes of unknown users are compared with it.
pub(super) struct Decoy {
    nobody: UserId,
    sealed: Vec<u8>,
    /// A sealed value of the size of a summary, opened as the summary of a known user would be.
    summary: Vec<u8>,
}

const DECOY: AssociatedData<'static> =
    AssociatedData { table: "secrets", row: &[0; 16], user: &[0; 16], kind: "mfa", parameters: "totp/SHA1/6/30" };

impl Decoy {
    pub(super) fn new(vault: &Vault) -> Result<Self, Fault> {
        let (seed, random) = (mfad_core::entropy::secret::<20>()?, mfad_core::entropy::public()?);
        let summary = vault.seal(&DECOY, &[0; 120])?;
        Ok(Self { nobody: UserId::at(0, &random), sealed: vault.seal(&DECOY, seed.expose())?, summary })
    }

    /// Reads the store, decrypts a seed and compares the code with every step of the window, as for a known user. Codes
    /// of every length are compared, since a known user usually has a factor of the code's length.
    pub(super) fn refuse(
        &self,
        view: &View<'_>,
        named: Option<UserId>,
        window: Window,
        now: &Moment,
        token: &TokenInput,
    ) -> Result<(), Fault> {
        let nobody = named.unwrap_or(self.nobody);
        let read = (view.decoy_user(nobody)?, view.decoy_secrets(nobody, &self.sealed)?);
        // The seed was sealed at start, so it no longer opens once the master key has been rotated. Only the time
        // matters, so zeros take its place.
        let opened = view.vault().open(&DECOY, &self.sealed);
        let seed = opened.as_ref().map_or(&[0; 20][..], |seed| seed.expose());
        let code = token.for_digits(Digits::SIX).unwrap_or(0);
        let current = step_at(now.unix_seconds(), Period::THIRTY);
        let matched = match_step(seed, Algorithm::Sha1, Digits::SIX, code, current, window, None);
        let summary = view.vault().open(&DECOY, &self.summary);
        // Keep the compiler from dropping work whose result is not used.
        std::hint::black_box((read, matched, summary.is_ok()));
        Ok(())
    }
}
