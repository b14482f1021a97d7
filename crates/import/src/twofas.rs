//! 2FAS: its JSON, plain or encrypted with a password.

use data_encoding::BASE64;
use serde_json::Value;

use crate::cipher::{self, Hash};
use crate::draft::{Defaults, Draft};
use crate::json::{array, parse, text, whole};
use crate::{Fault, Format, Secrets};

const FORMAT: Format = Format::TwoFas;
const DEFAULTS: Defaults = Defaults { program: "2FAS", kind: Some("totp"), counter: Some(1) };
/// Rounds of PBKDF2 with HMAC-SHA-256.
const ROUNDS: u32 = 10_000;

pub(crate) fn is(value: &Value) -> bool {
    value.get("schemaVersion").is_some()
        && (value.get("services").is_some() || value.get("servicesEncrypted").is_some())
}

pub(crate) fn read(bytes: &[u8], json: Option<Value>, secrets: &Secrets<'_>) -> Result<Vec<Draft>, Fault> {
    let file = whole(json, bytes, FORMAT)?;
    let drafts = |services: &[Value]| (1_usize..).zip(services).map(|(number, entry)| draft(number, entry)).collect();
    let Some(sealed) = text(&file, "servicesEncrypted") else {
        return array(&file, "services", FORMAT).map(drafts);
    };
    let password = secrets.password.ok_or(Fault::NeedsPassword(FORMAT))?;
    let mut parts = sealed.split(':').map(|part| BASE64.decode(part.as_bytes()).ok());
    let mut part = || parts.next().flatten().ok_or_else(|| Fault::Damaged(FORMAT, "`servicesEncrypted`".to_owned()));
    let (data, salt, nonce) = (part()?, part()?, part()?);
    let key = cipher::pbkdf2_key(Hash::Sha256, password, &salt, ROUNDS).ok_or(Fault::WrongPassword(FORMAT))?;
    let plain = cipher::open(&key, &nonce, &data).ok_or(Fault::WrongPassword(FORMAT))?;
    let services = parse(plain.expose(), FORMAT)?;
    let services = services.as_array().ok_or_else(|| Fault::Damaged(FORMAT, "no array of services".to_owned()))?;
    Ok(drafts(services))
}

fn draft(index: usize, entry: &Value) -> Draft {
    let mut draft = Draft::at(format!("entry {index}"));
    let otp = entry.get("otp").unwrap_or(&Value::Null);
    let issuer = text(otp, "issuer").or_else(|| text(entry, "name"));
    draft.name(issuer, text(otp, "account").or_else(|| text(otp, "label")));
    draft.parameters(otp, "tokenType", "algorithm");
    draft.secret(entry, "secret");
    draft.fill(&DEFAULTS);
    draft
}
