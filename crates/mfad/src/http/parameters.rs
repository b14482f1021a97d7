//! The parameters and the seed of a factor of an import, as requests write them, and the answer that refuses one.

use data_encoding::BASE32_NOPAD;

use mfad_api as api;
use mfad_core::model::{Algorithm, Digits, OtpKind, Period, Profile, Sensitive};
use mfad_core::oath::{HIGHEST_FIRST_COUNTER, LONGEST_SEED, MOST_AHEAD};
use mfad_service::error::Error;

use super::problem::Problem;

/// What is wrong with a seed that is no Base32.
pub(super) const BASE32: &str = "`secret` is Base32 without padding";

/// The parameters of a factor as they are written.
pub(super) struct Parameters<'a> {
    pub(super) kind: &'a str,
    pub(super) algorithm: Option<&'a str>,
    pub(super) digits: Option<u64>,
    pub(super) period: Option<u64>,
    pub(super) counter: Option<u64>,
    pub(super) counter_ahead_by: Option<u64>,
    pub(super) used_step: Option<u64>,
}

impl Parameters<'_> {
    /// The profile, the first counter or step that counts, and by how many a counter may be ahead of the token. The error
    /// is a sentence about the member.
    pub(super) fn checked(&self) -> Result<(Profile, u64, u8), &'static str> {
        let algorithm = self.algorithm.map_or(Some(Algorithm::Sha1), Algorithm::parse);
        let algorithm = algorithm.ok_or("`algorithm` is SHA1, SHA256 or SHA512")?;
        let digits = self.digits.map_or(Some(Digits::SIX), Digits::new).ok_or("`digits` is 6, 7 or 8")?;
        let (moving, first) = match (self.kind, self.period, self.counter, self.used_step) {
            ("totp", period, None, used) => {
                let period = period.map_or(Some(Period::THIRTY), Period::new).ok_or("`period` is 15 to 120")?;
                (OtpKind::Totp(period), used.map_or(0, |used| used.saturating_add(1)))
            }
            ("hotp", None, Some(counter), None) => (OtpKind::Hotp, counter),
            _ => return Err("`kind` is totp, with `period` and `usedStep`, or hotp, with `counter`"),
        };
        if first > HIGHEST_FIRST_COUNTER {
            return Err("`counter` and `usedStep` are at most 2^62");
        }
        let ahead = self.counter_ahead_by.unwrap_or(0);
        let ahead = u8::try_from(ahead).ok().filter(|ahead| *ahead <= MOST_AHEAD);
        let ahead = ahead.filter(|ahead| *ahead == 0 || moving == OtpKind::Hotp);
        let ahead = ahead.ok_or("`counterAheadBy` is 0 to 100, and only for hotp")?;
        Ok((Profile { algorithm, digits, moving }, first, ahead))
    }
}

/// Reads a seed of at least so many bytes. The error says whether the text is no Base32; otherwise its length is wrong.
pub(super) fn seed(text: &str, shortest: usize) -> Result<Sensitive<Vec<u8>>, bool> {
    let seed = BASE32_NOPAD.decode(text.as_bytes()).map(Sensitive::new).map_err(|_| true)?;
    if (shortest..=LONGEST_SEED).contains(&seed.expose().len()) { Ok(seed) } else { Err(false) }
}

/// The result of a factor or user that was not taken over.
pub(super) fn refused(error: &Error) -> api::ImportResult {
    api::ImportResult {
        state: "refused".to_owned(),
        code: Some(Problem::from(error).code.as_str().to_owned()),
        detail: Some(error.to_string()),
        ..api::ImportResult::default()
    }
}
