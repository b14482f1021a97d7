//! Bitwarden: its JSON without encryption. Only entries with a TOTP value count.

use serde_json::Value;

use crate::draft::{Defaults, Draft};
use crate::entry::Refusal;
use crate::json::{array, text, whole};
use crate::otpauth;
use crate::{Fault, Format};

const FORMAT: Format = Format::Bitwarden;
/// A bare secret has no parameters.
const DEFAULTS: Defaults = Defaults { program: "Bitwarden", kind: Some("totp"), counter: None };

pub(crate) fn is(value: &Value) -> bool {
    value.get("encrypted").is_some() && (value.get("items").is_some() || value.get("data").is_some())
}

pub(crate) fn read(bytes: &[u8], json: Option<Value>, notes: &mut Vec<String>) -> Result<Vec<Draft>, Fault> {
    let file = whole(json, bytes, FORMAT)?;
    if file.get("encrypted").and_then(Value::as_bool) != Some(false) {
        return Err(Fault::Unsupported(FORMAT, "an encrypted export; export it as plain .json"));
    }
    let items = array(&file, "items", FORMAT)?;
    let mut drafts = Vec::new();
    for (index, item) in (1_usize..).zip(items) {
        let login = item.get("login").unwrap_or(&Value::Null);
        if let Some(value) = text(login, "totp").filter(|value| !value.is_empty()) {
            let place = format!("entry {index}");
            drafts.push(value_of(place, &value, text(item, "name"), text(login, "username")));
        }
    }
    let others = items.len().saturating_sub(drafts.len());
    if others > 0 {
        notes.push(format!("entries without a one-time password were left out: {others}"));
    }
    Ok(drafts)
}

/// An entry of a password manager: an otpauth URI, a bare secret, or `steam://`. Title and user name are issuer and
/// account unless the URI names them.
pub(crate) fn value_of(place: String, value: &str, title: Option<String>, user: Option<String>) -> Draft {
    let mut draft = if otpauth::is_uri(value) {
        otpauth::uri(place, value)
    } else {
        let mut draft = Draft::at(place);
        if value.starts_with("steam://") {
            draft.known.kind = Some("Steam".to_owned());
            draft.refuse(Refusal::Kind("Steam".to_owned()));
        } else {
            draft.base32(value);
            draft.fill(&DEFAULTS);
        }
        draft
    };
    if draft.known.kind.as_deref() == Some("hotp") {
        draft.note("password managers show such an entry as TOTP; the URI says HOTP, and was followed");
    }
    let (issuer, account) = (draft.issuer.take().or(title), draft.account.take().or(user));
    draft.name(issuer, account);
    draft
}
