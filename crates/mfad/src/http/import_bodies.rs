//! The JSON body of an import of proved factors, its conversion into the checked arguments of the call, and its answer.

use serde::Deserialize;

use mfad_api as api;
use mfad_core::model::UserName;
use mfad_core::oath::{SHORTEST_SEED, SHORTEST_WEAK_SEED};
use mfad_service::{Call, ImportJob, Imported, ImportedFactor};

use super::bodies::label;
use super::json::{SecretText, present};
use super::moving_bodies;
use super::parameters::{BASE32, Parameters, refused, seed};
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
    #[serde(default)]
    factors: Vec<FactorBody>,
    #[serde(default)]
    users: Vec<api::MovedUser>,
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
    counter_ahead_by: Option<u64>,
    used_step: Option<u64>,
    secret: SecretText,
}

impl ImportsBody {
    /// Returns the call. A malformed factor refuses all, and the message says which one it is.
    pub(super) fn call(self) -> Result<Call, Problem> {
        if !self.users.is_empty() {
            return self.users_call();
        }
        if self.factors.is_empty() || self.factors.len() > MOST_FACTORS {
            return Err(Problem::malformed(format!(
                "`factors` has 1 to {MOST_FACTORS} factors, or `users` as many users"
            )));
        }
        let factor = |(index, factor): (usize, FactorBody)| factor.checked(index, self.accept_weak);
        let factors = self.factors.into_iter().enumerate().map(factor).collect::<Result<_, _>>()?;
        Ok(Call::ImportFactors(ImportJob { creates_users: self.create_users, is_trusted: self.trusted, factors }))
    }
}

impl ImportsBody {
    /// Whole users, from an export of another daemon.
    fn users_call(self) -> Result<Call, Problem> {
        if !self.factors.is_empty() || self.create_users || !self.trusted || self.accept_weak {
            let why = "`users` stands alone: each user says itself what is taken over";
            return Err(Problem::malformed(why));
        }
        if self.users.len() > MOST_FACTORS {
            return Err(Problem::malformed(format!("`users` has up to {MOST_FACTORS} users")));
        }
        let users = self.users.into_iter().enumerate().map(|(index, user)| moving_bodies::user(index, user));
        Ok(Call::ImportUsers(users.collect::<Result<_, _>>()?))
    }
}

impl FactorBody {
    fn checked(self, index: usize, accepts_weak: bool) -> Result<(UserName, ImportedFactor), Problem> {
        let wrong = |what: &str| Problem::malformed(format!("`factors[{index}]`: {what}"));
        let user = UserName::parse(&self.user).map_err(|why| wrong(&format!("`user`: {why}")))?;
        let parameters = Parameters {
            kind: &self.kind,
            algorithm: self.algorithm.as_deref(),
            digits: self.digits,
            period: self.period,
            counter: self.counter,
            counter_ahead_by: self.counter_ahead_by,
            used_step: self.used_step,
        };
        let (profile, first, ahead) = parameters.checked().map_err(wrong)?;
        let (shortest, allowed) = if accepts_weak {
            (SHORTEST_WEAK_SEED, "`secret` has 80 to 512 bits")
        } else {
            (SHORTEST_SEED, "`secret` has 128 to 512 bits; `acceptWeak` allows 80")
        };
        let seed =
            seed(self.secret.0.expose(), shortest).map_err(|is_text| wrong(if is_text { BASE32 } else { allowed }))?;
        Ok((user, ImportedFactor { name: label(self.name)?, profile, seed, first, ahead }))
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
            Imported::Refused(error) => refused(error),
        }
    };
    api::ImportResults { results: results.iter().map(result).collect() }
}
