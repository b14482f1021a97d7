//! The JSON body of an import of proved factors, its conversion into the checked arguments of the call, and its answer.

use data_encoding::BASE32_NOPAD;
use serde::Deserialize;

use mfad_api as api;
use mfad_core::model::{Algorithm, Digits, OtpKind, Period, Profile, Sensitive, UserName};
use mfad_core::oath::{HIGHEST_FIRST_COUNTER, LONGEST_SEED, SHORTEST_SEED, SHORTEST_WEAK_SEED};
use mfad_service::{Call, ImportJob, Imported, ImportedFactor};

use super::bodies::label;
use super::json::{SecretText, present};
use super::problem::Problem;

/// Most factors of one request. With long names the limit of 16 KiB for a body comes first.
const MOST_FACTORS: usize = 100;

/// Factors are proved elsewhere unless the caller says otherwise.
fn trusted() -> bool {
    true
}

/// Body of `POST /imports`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct ImportsBody {
    #[serde(default)]
    create_users: bool,
    #[serde(default = "trusted")]
    trusted: bool,
    #[serde(default)]
    accept_weak: bool,
    factors: Vec<FactorBody>,
}

#[serde_with::apply(Option => #[serde(default, deserialize_with = "present")])]
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct FactorBody {
    user: String,
    name: Option<String>,
    kind: String,
    algorithm: Option<String>,
    digits: Option<u64>,
    period: Option<u64>,
    counter: Option<u64>,
    used_step: Option<u64>,
    secret: SecretText,
}

impl ImportsBody {
    /// Returns the call. A malformed factor refuses all, and the message says which one it is.
    pub(super) fn call(self) -> Result<Call, Problem> {
        if self.factors.is_empty() || self.factors.len() > MOST_FACTORS {
            return Err(Problem::malformed(format!("`factors` has 1 to {MOST_FACTORS} factors")));
        }
        let factor = |(index, factor): (usize, FactorBody)| factor.checked(index, self.accept_weak);
        let factors = self.factors.into_iter().enumerate().map(factor).collect::<Result<_, _>>()?;
        Ok(Call::ImportFactors(ImportJob { creates_users: self.create_users, is_trusted: self.trusted, factors }))
    }
}

impl FactorBody {
    fn checked(self, index: usize, accepts_weak: bool) -> Result<ImportedFactor, Problem> {
        let wrong = |what: &str| Problem::malformed(format!("`factors[{index}]`: {what}"));
        let user = UserName::parse(&self.user).map_err(|why| wrong(&format!("`user`: {why}")))?;
        let algorithm = self.algorithm.as_deref().map_or(Some(Algorithm::Sha1), Algorithm::parse);
        let algorithm = algorithm.ok_or_else(|| wrong("`algorithm` is SHA1, SHA256 or SHA512"))?;
        let digits = self.digits.map_or(Some(Digits::SIX), Digits::new);
        let digits = digits.ok_or_else(|| wrong("`digits` is 6, 7 or 8"))?;
        let (moving, first) = match (self.kind.as_str(), self.period, self.counter, self.used_step) {
            ("totp", period, None, used) => {
                let period = period.map_or(Some(Period::THIRTY), Period::new);
                let period = period.ok_or_else(|| wrong("`period` is 15 to 120"))?;
                (OtpKind::Totp(period), used.map_or(0, |used| used.saturating_add(1)))
            }
            ("hotp", None, Some(counter), None) => (OtpKind::Hotp, counter),
            _ => {
                return Err(wrong("`kind` is totp, with `period` and `usedStep`, or hotp, with `counter`"));
            }
        };
        if first > HIGHEST_FIRST_COUNTER {
            return Err(wrong("`counter` and `usedStep` are at most 2^62"));
        }
        let seed = BASE32_NOPAD.decode(self.secret.0.expose().as_bytes()).map(Sensitive::new);
        let seed = seed.map_err(|_| wrong("`secret` is Base32 without padding"))?;
        let (shortest, allowed) = if accepts_weak {
            (SHORTEST_WEAK_SEED, "`secret` has 80 to 512 bits")
        } else {
            (SHORTEST_SEED, "`secret` has 128 to 512 bits; `acceptWeak` allows 80")
        };
        if !(shortest..=LONGEST_SEED).contains(&seed.expose().len()) {
            return Err(wrong(allowed));
        }
        Ok(ImportedFactor {
            user,
            name: label(self.name)?,
            profile: Profile { algorithm, digits, moving },
            seed,
            first,
        })
    }
}

/// The answer, in the order of the factors.
pub(super) fn results(results: &[Imported]) -> api::ImportResults {
    let result = |result: &Imported| {
        let done = |state: &str, user: &dyn ToString, secret: &dyn ToString| api::ImportResult {
            state: state.to_owned(),
            user_id: Some(user.to_string()),
            uid: Some(secret.to_string()),
            ..api::ImportResult::default()
        };
        match result {
            Imported::Taken { user, secret } => done("imported", user, secret),
            Imported::Known { user, secret } => done("known", user, secret),
            Imported::Refused(error) => {
                let problem = Problem::from(error);
                api::ImportResult {
                    state: "refused".to_owned(),
                    code: Some(problem.code.as_str().to_owned()),
                    detail: Some(error.to_string()),
                    ..api::ImportResult::default()
                }
            }
        }
    };
    api::ImportResults { results: results.iter().map(result).collect() }
}
