//! The work that a check of a code does for a user who does not exist, so that its time tells nothing (AUT-4).

use mfad_core::model::{Algorithm, Digits, Moment, Period, TokenInput, UserId};
use mfad_core::oath::{Window, match_step, step_at};
use mfad_store::{AssociatedData, Fault, Vault, View};

/// A factor that nobody has, of the usual kind: what a code is held against where there is no user.
pub(super) struct Decoy {
    nobody: UserId,
    sealed: Vec<u8>,
    /// Opened like the summary of a user.
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

    /// Looks for factors, opens a seed and compares with every code of the window, as for a user. So it does with a code of
    /// any length: users have factors of the length that theirs show.
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
        // Sealed at the start, it does not open any more once the master key has changed; nobody minds.
        let opened = view.vault().open(&DECOY, &self.sealed);
        let seed = opened.as_ref().map_or(&[0; 20][..], |seed| seed.expose());
        let code = token.for_digits(Digits::SIX).unwrap_or(0);
        let current = step_at(now.unix_seconds(), Period::THIRTY);
        let matched = match_step(seed, Algorithm::Sha1, Digits::SIX, code, current, window, None);
        let summary = view.vault().open(&DECOY, &self.summary);
        std::hint::black_box((read, matched, summary.is_ok()));
        Ok(())
    }
}
