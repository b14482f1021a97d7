//! The JSON bodies of exports, and of imports of whole users, converted into the checked arguments of their calls.

use data_encoding::BASE64;
use serde::Deserialize;

use mfad_api as api;
use mfad_core::model::{Label, Sensitive, Text, UserName};
use mfad_core::oath::SHORTEST_WEAK_SEED;
use mfad_service::{
    ExportFormat, ExportOrder, ImportedFactor, ImportedUser, ImportedUserResult, MovedFactor, Recipient,
};

use super::bodies;
use super::json::{SecretText, present};
use super::parameters::{Parameters, refused, seed};
use super::problem::Problem;

/// Body of `POST /exports`.
#[serde_with::apply(Option => #[serde(default, deserialize_with = "present")])]
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct ExportBody {
    recipient: String,
    format: Option<String>,
    #[serde(default)]
    hardware: bool,
    approval: Option<SecretText>,
}

impl ExportBody {
    /// Returns the order.
    pub(super) fn order(self) -> Result<ExportOrder, Problem> {
        let recipient = Recipient::parse(&self.recipient);
        let recipient = recipient.ok_or_else(|| {
            Problem::malformed("`recipient` (--to) is the public key that age-keygen prints: age1 and 58 symbols")
        })?;
        let format = self.format.as_deref().map_or(Some(ExportFormat::Mfad), ExportFormat::parse);
        let format = format.ok_or_else(|| Problem::malformed("`format` is mfad, otpauth or pskc"))?;
        Ok(ExportOrder {
            recipient,
            recipient_text: self.recipient,
            format,
            with_hardware: self.hardware,
            approval: self.approval.map(|text| text.0),
        })
    }
}

/// Checks a user of an import, the one at this place of the request.
pub(super) fn user(index: usize, user: api::MovedUser) -> Result<ImportedUser, Problem> {
    checked(user).map_err(|why| Problem::malformed(format!("`users[{index}]`: {why}")))
}

fn checked(user: api::MovedUser) -> Result<ImportedUser, String> {
    let codes = user.backup_codes.map(|codes| Ok::<_, String>((base64("record", &codes.record)?, codes.used)));
    Ok(ImportedUser {
        name: UserName::parse(&user.name).map_err(|why| format!("`name`: {why}"))?,
        display_name: bodies::display_name(user.display_name).map_err(|problem| problem.detail)?,
        email: bodies::email(user.email).map_err(|problem| problem.detail)?,
        roles: bodies::roles(user.roles).map_err(|problem| problem.detail)?,
        disabled: user.disabled,
        password: user.password.map(|password| base64("password", &password)).transpose()?,
        codes: codes.transpose()?,
        factors: user.factors.into_iter().map(factor).collect::<Result<_, _>>()?,
    })
}

fn base64(name: &str, text: &api::SecretString) -> Result<Sensitive<Vec<u8>>, String> {
    BASE64.decode(text.as_str().as_bytes()).map(Sensitive::new).map_err(|_| format!("`{name}` is Base64"))
}

fn factor(factor: api::MovedFactor) -> Result<MovedFactor, String> {
    let name = Label::parse(&factor.name).map_err(|why| format!("the `name` of a factor: {why}"))?;
    let parameters = Parameters {
        kind: &factor.kind,
        algorithm: Some(&factor.algorithm),
        digits: Some(factor.digits.into()),
        period: factor.period.map(u64::from),
        counter: factor.counter,
        counter_ahead_by: factor.counter_ahead_by.map(u64::from),
        used_step: factor.used_step,
    };
    let (profile, first, ahead) = parameters.checked()?;
    let description = factor.description.map(|text| Text::parse(&text, bodies::LONGEST_ACTION)).transpose();
    let seed = seed(factor.secret.as_str(), SHORTEST_WEAK_SEED);
    let seed = seed.map_err(|_| "`secret` is Base32 without padding, and has 80 to 512 bits")?;
    Ok(MovedFactor {
        factor: ImportedFactor { name: Some(name), profile, seed, first, ahead },
        description: description.map_err(|why| format!("`description`: {why}"))?,
        is_unproved: factor.imported,
    })
}

/// The answer, in the order of the users.
pub(super) fn results(results: &[ImportedUserResult]) -> api::ImportResults {
    let done = |state: &str, user: &dyn ToString| api::ImportResult {
        state: state.to_owned(),
        user_id: Some(user.to_string()),
        ..api::ImportResult::default()
    };
    let result = |result: &ImportedUserResult| match result {
        ImportedUserResult::Created(user) | ImportedUserResult::Completed(user, _) => done("imported", user),
        ImportedUserResult::Known(user) => done("known", user),
        ImportedUserResult::Refused(error) => refused(error),
    };
    api::ImportResults { results: results.iter().map(result).collect() }
}
