//! andOTP: its JSON, plain or encrypted with a password.

use serde_json::Value;

use crate::cipher::{self, Hash};
use crate::draft::{Defaults, Draft};
use crate::json::{text, whole};
use crate::{Fault, Format, Secrets};

const FORMAT: Format = Format::AndOtp;
const DEFAULTS: Defaults = Defaults { program: "andOTP", kind: None, counter: Some(0) };
/// The encrypted form begins with the rounds of PBKDF2 (big endian), a salt and a nonce.
const ROUNDS: usize = 4;
const SALT: usize = 12;
const NONCE: usize = 12;

pub(crate) fn is(value: &Value) -> bool {
    let first = value.as_array().and_then(|entries| entries.first());
    first.is_some_and(|entry| entry.get("secret").is_some() && entry.get("type").is_some())
}

pub(crate) fn read(bytes: &[u8], json: Option<Value>, secrets: &Secrets<'_>) -> Result<Vec<Draft>, Fault> {
    let is_plain = bytes.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[');
    let opened;
    let bytes = if is_plain {
        bytes
    } else {
        let password = secrets.password.ok_or(Fault::NeedsPassword(FORMAT))?;
        opened = decrypt(bytes, password).ok_or(Fault::WrongPassword(FORMAT))?;
        opened.expose()
    };
    let file = whole(json, bytes, FORMAT)?;
    let entries = file.as_array().ok_or_else(|| Fault::Damaged(FORMAT, "it is no array".to_owned()))?;
    Ok((1_usize..).zip(entries).map(|(number, entry)| draft(number, entry)).collect())
}

fn decrypt(bytes: &[u8], password: &[u8]) -> Option<mfad_core::model::Sensitive<Vec<u8>>> {
    let (rounds, rest) = bytes.split_at_checked(ROUNDS)?;
    let (salt, rest) = rest.split_at_checked(SALT)?;
    let (nonce, sealed) = rest.split_at_checked(NONCE)?;
    let key = cipher::pbkdf2_key(Hash::Sha1, password, salt, u32::from_be_bytes(rounds.try_into().ok()?))?;
    cipher::open(&key, nonce, sealed)
}

fn draft(index: usize, entry: &Value) -> Draft {
    let mut draft = Draft::at(format!("entry {index}"));
    let label = text(entry, "label").unwrap_or_default();
    // Before it had issuers, andOTP wrote them into the label.
    let (before, account) = match label.split_once(" - ") {
        Some((issuer, account)) if entry.get("issuer").is_none() => (Some(issuer.to_owned()), account.to_owned()),
        _ => (None, label),
    };
    draft.name(text(entry, "issuer").or(before), Some(account));
    draft.parameters(entry, "type", "algorithm");
    draft.secret(entry, "secret");
    draft.fill(&DEFAULTS);
    draft
}
