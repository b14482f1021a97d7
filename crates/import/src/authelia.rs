//! Authelia: the YAML of `authelia storage user totp export`. Its secrets are Base32 text inside Base64.

use data_encoding::BASE64;
use jiff::Timestamp;
use serde_json::Value;

use crate::draft::{Defaults, Draft};
use crate::entry::Refusal;
use crate::json::{array, text};
use crate::{Fault, Format};

const FORMAT: Format = Format::Authelia;
const DEFAULTS: Defaults = Defaults { program: "Authelia", kind: Some("totp"), counter: None };
/// The member that has the entries.
const LIST: &str = "totp_configurations";

pub(crate) fn is(value: &Value) -> bool {
    value.get(LIST).is_some_and(Value::is_array)
}

pub(crate) fn read(file: &Value) -> Result<Vec<Draft>, Fault> {
    Ok((1_usize..).zip(array(file, LIST, FORMAT)?).map(|(number, entry)| draft(number, entry)).collect())
}

fn draft(number: usize, entry: &Value) -> Draft {
    let mut draft = Draft::at(format!("entry {number}"));
    draft.name(text(entry, "issuer"), text(entry, "username"));
    draft.parameters(entry, "type", "algorithm");
    // There are only time-based ones, and the file has no word for the kind.
    draft.known.kind = Some("totp".to_owned());
    let decoded = text(entry, "secret").map(|secret| BASE64.decode(secret.as_bytes()));
    match decoded.map(|decoded| decoded.ok().and_then(|bytes| String::from_utf8(bytes).ok())) {
        Some(Some(secret)) => draft.base32(&secret),
        Some(None) => draft.refuse(Refusal::Secret("Base64 of Base32")),
        None => draft.refuse(Refusal::NoSecret),
    }
    draft.fill(&DEFAULTS);
    match text(entry, "last_used_at").map(|time| time.parse::<Timestamp>()) {
        Some(Ok(time)) => draft.used_step = step_after(time, draft.known.period),
        Some(Err(_)) => draft.refuse(Refusal::Damaged("its `last_used_at` is no time".to_owned())),
        None => {}
    }
    draft
}

/// Authelia records when a code was used, not which. It may have been the code of the next step.
fn step_after(time: Timestamp, period: Option<u64>) -> Option<u64> {
    let seconds = u64::try_from(time.as_second()).ok()?;
    Some(seconds.checked_div(period?)?.saturating_add(1))
}
