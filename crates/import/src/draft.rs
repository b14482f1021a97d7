//! An entry as a reader finds it, and its check against what can be kept.

use mfad_core::model::{Algorithm, Digits, OtpKind, Period, Profile, Sensitive};
use mfad_core::oath::{HIGHEST_FIRST_COUNTER, LONGEST_SEED, SHORTEST_WEAK_SEED, lenient_base32};
use serde_json::Value;

use crate::entry::{Entry, Factor, Known, Refusal};
use crate::json::{number, text};

/// The steps around the present one that are accepted with the usual settings.
const STEPS_ACCEPTED: std::ops::RangeInclusive<i64> = -2..=1;
/// The longest word of a file that a message repeats. A longer one may be a secret in the wrong place.
const LONGEST_WORD: usize = 15;

/// An entry that is not checked yet.
#[derive(Default)]
pub(crate) struct Draft {
    pub(crate) place: String,
    pub(crate) account: Option<String>,
    pub(crate) issuer: Option<String>,
    pub(crate) known: Known,
    pub(crate) seed: Option<Sensitive<Vec<u8>>>,
    pub(crate) used_step: Option<u64>,
    pub(crate) counter_ahead_by: u8,
    pub(crate) skew: i64,
    pub(crate) notes: Vec<String>,
    pub(crate) refusal: Option<Refusal>,
}

/// The values that a program takes where its file has none.
pub(crate) struct Defaults {
    /// The name of the program, for the note.
    pub(crate) program: &'static str,
    pub(crate) kind: Option<&'static str>,
    pub(crate) counter: Option<u64>,
}

impl Draft {
    /// An entry at this place.
    pub(crate) fn at(place: String) -> Self {
        Self { place, ..Self::default() }
    }

    /// Refuses the entry. The first reason counts.
    pub(crate) fn refuse(&mut self, why: Refusal) {
        self.refusal.get_or_insert(why);
    }

    pub(crate) fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }

    /// Takes the account, or issuer, if it is not empty.
    pub(crate) fn name(&mut self, issuer: Option<String>, account: Option<String>) {
        let some = |text: Option<String>| text.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
        (self.issuer, self.account) = (some(issuer), some(account));
    }

    /// Takes a secret in Base32 (RFC 4648 section 6), in either case, with or without padding, blanks and hyphens.
    pub(crate) fn base32(&mut self, text: &str) {
        match lenient_base32(text) {
            Some(seed) => self.seed = Some(seed),
            None => self.refuse(Refusal::Secret("Base32")),
        }
    }

    /// Takes the parameters out of JSON: `digits`, `period` and `counter`, kind and algorithm under these names.
    pub(crate) fn parameters(&mut self, value: &Value, kind: &str, algorithm: &str) {
        self.known = Known {
            kind: text(value, kind).map(|kind| kind.to_ascii_lowercase()),
            algorithm: text(value, algorithm),
            digits: number(value, "digits"),
            period: number(value, "period"),
            counter: number(value, "counter"),
        };
    }

    /// Takes the secret in Base32 under this name.
    pub(crate) fn secret(&mut self, value: &Value, name: &str) {
        match text(value, name) {
            Some(secret) => self.base32(&secret),
            None => self.refuse(Refusal::NoSecret),
        }
    }

    /// Fills in what the file leaves out, and says so.
    pub(crate) fn fill(&mut self, defaults: &Defaults) {
        let mut taken = Vec::new();
        if self.known.kind.is_none()
            && let Some(kind) = defaults.kind
        {
            self.known.kind = Some(kind.to_owned());
            taken.push(format!("kind {kind}"));
        }
        if self.known.algorithm.is_none() {
            self.known.algorithm = Some("SHA1".to_owned());
            taken.push("SHA1".to_owned());
        }
        if self.known.digits.is_none() {
            self.known.digits = Some(6);
            taken.push("6 digits".to_owned());
        }
        match self.known.kind.as_deref() {
            Some("totp") if self.known.period.is_none() => {
                self.known.period = Some(30);
                taken.push("30 seconds".to_owned());
            }
            Some("hotp") if self.known.counter.is_none() => {
                if let Some(counter) = defaults.counter {
                    self.known.counter = Some(counter);
                    taken.push(format!("counter {counter}"));
                }
            }
            _ => {}
        }
        if !taken.is_empty() {
            self.note(format!("not in the file, so as {} takes it: {}", defaults.program, taken.join(", ")));
        }
    }

    /// Checks the entry.
    pub(crate) fn finish(mut self) -> Entry {
        let factor = match self.refusal.take() {
            Some(refusal) => Err(refusal),
            None => self.factor(),
        };
        if !STEPS_ACCEPTED.contains(&self.skew) {
            let text = format!(
                "its clock was {} steps {} there; codes are accepted here up to one step ahead and two back",
                self.skew.unsigned_abs(),
                if self.skew > 0 { "ahead" } else { "behind" }
            );
            self.note(text);
        }
        // A long word may be a secret in the wrong place.
        self.known.kind = self.known.kind.map(|kind| word(&kind));
        self.known.algorithm = self.known.algorithm.map(|name| word(&name));
        Entry {
            place: self.place,
            account: self.account,
            issuer: self.issuer,
            known: self.known,
            factor,
            notes: self.notes,
        }
    }

    fn factor(&mut self) -> Result<Factor, Refusal> {
        let known = &self.known;
        let kind = known.kind.as_deref().ok_or(Refusal::NoKind)?;
        let moving = match kind {
            "totp" => {
                let period = known.period.unwrap_or(30);
                OtpKind::Totp(Period::new(period).ok_or(Refusal::Period(period))?)
            }
            "hotp" => OtpKind::Hotp,
            other => return Err(Refusal::Kind(word(other))),
        };
        let spelled = known.algorithm.as_deref().unwrap_or("SHA1");
        let algorithm = algorithm(spelled).ok_or_else(|| Refusal::Algorithm(word(spelled)))?;
        let digits = known.digits.unwrap_or(6);
        let digits = Digits::new(digits).ok_or(Refusal::Digits(digits))?;
        let counter = match (moving, known.counter) {
            (OtpKind::Totp(_), _) => 0,
            (OtpKind::Hotp, None) => return Err(Refusal::NoCounter),
            (OtpKind::Hotp, Some(counter)) if counter > HIGHEST_FIRST_COUNTER => return Err(Refusal::Counter),
            (OtpKind::Hotp, Some(counter)) => counter,
        };
        if self.used_step.is_some_and(|step| step >= HIGHEST_FIRST_COUNTER) {
            return Err(Refusal::Damaged("its used step is above 2^62".to_owned()));
        }
        let seed = self.seed.take().ok_or(Refusal::NoSecret)?;
        match seed.expose().len() {
            0 => return Err(Refusal::NoSecret),
            length @ ..SHORTEST_WEAK_SEED => return Err(Refusal::TooShort(length.saturating_mul(8))),
            SHORTEST_WEAK_SEED..=LONGEST_SEED => {}
            _ => return Err(Refusal::TooLong),
        }
        let profile = Profile { algorithm, digits, moving };
        let used_step = self.used_step.filter(|_| moving != OtpKind::Hotp);
        Ok(Factor { profile, seed, counter, counter_ahead_by: self.counter_ahead_by, used_step })
    }
}

/// Reads an algorithm as programs spell it: `SHA1`, `sha-256`, `HmacSHA512`, `HMAC-SHA-1`, `Algorithm.sha1`.
fn algorithm(text: &str) -> Option<Algorithm> {
    let plain: String = text.chars().filter(|letter| !matches!(letter, '-' | '_' | ' ')).collect();
    let plain = plain.to_ascii_uppercase();
    let plain = plain.strip_prefix("ALGORITHM.").unwrap_or(&plain);
    let plain = plain.strip_prefix("HMAC").unwrap_or(plain);
    Algorithm::parse(plain)
}

/// A word of the file, if it looks like one, for a message.
pub(crate) fn word(text: &str) -> String {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '/' | '.' | ' ');
    if !text.is_empty() && text.len() <= LONGEST_WORD && text.chars().all(is_plain) {
        text.to_owned()
    } else {
        "something unknown".to_owned()
    }
}
