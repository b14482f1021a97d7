//! Kanidm: a backup of its database, which has the credentials of all accounts.

use mfad_core::model::Sensitive;
use serde_json::Value;

use crate::draft::Draft;
use crate::entry::Refusal;
use crate::json::{array, number, text, whole};
use crate::{Fault, Format};

const FORMAT: Format = Format::Kanidm;

pub(crate) fn is(value: &Value) -> bool {
    let has_entries = value.get("entries").is_some_and(Value::is_array);
    has_entries && value.get("db_s_uuid").is_some()
}

pub(crate) fn read(bytes: &[u8], json: Option<Value>) -> Result<Vec<Draft>, Fault> {
    let file = whole(json, bytes, FORMAT)?;
    let mut drafts = Vec::new();
    for (index, entry) in (1_usize..).zip(array(&file, "entries", FORMAT)?) {
        // The member above the attributes is the version of the entry.
        let versions = entry.get("ent").and_then(Value::as_object).into_iter().flat_map(|versions| versions.values());
        for attributes in versions.filter_map(|version| version.get("attrs")).filter_map(Value::as_object) {
            let account = attributes.get("name").and_then(name);
            let values = attributes.values().flat_map(credentials).flat_map(passwords);
            drafts.extend(values.map(|(label, totp)| draft(index, account.clone(), label, totp)));
        }
    }
    Ok(drafts)
}

fn name(attribute: &Value) -> Option<String> {
    let names = attribute.get("N8")?;
    names.as_str().or_else(|| names.get(0)?.as_str()).map(str::to_owned)
}

/// The credentials among the values of an attribute.
fn credentials(attribute: &Value) -> impl Iterator<Item = &Value> {
    let values = attribute.get("CR").and_then(Value::as_array).into_iter().flatten();
    values.filter_map(|value| value.get("d"))
}

/// The one-time passwords of a credential with their labels. Older versions had one, without a label.
fn passwords(credential: &Value) -> Vec<(Option<&str>, &Value)> {
    match credential.get("totp") {
        Some(Value::Array(list)) => {
            let pairs = list.iter().filter_map(|pair| Some((pair.get(0)?.as_str(), pair.get(1)?)));
            pairs.collect()
        }
        Some(one @ Value::Object(_)) => vec![(None, one)],
        _ => Vec::new(),
    }
}

fn draft(index: usize, account: Option<String>, label: Option<&str>, totp: &Value) -> Draft {
    let mut draft = Draft::at(format!("entry {index}"));
    draft.name(None, account);
    if let Some(label) = label.filter(|label| !label.is_empty()) {
        draft.place.push_str(&format!(", {}", crate::draft::word(label)));
    }
    draft.known.kind = Some("totp".to_owned());
    draft.known.period = number(totp, "s");
    draft.known.algorithm = text(totp, "a").map(|name| match name.as_str() {
        "S1" | "Sha1" => "SHA1".to_owned(),
        "S256" | "Sha256" => "SHA256".to_owned(),
        "S512" | "Sha512" => "SHA512".to_owned(),
        _ => name,
    });
    if draft.known.period.is_none() || draft.known.algorithm.is_none() {
        draft.refuse(Refusal::Damaged("its period `s` or algorithm `a` is missing".to_owned()));
    }
    // It was not written before other lengths than six were possible.
    draft.known.digits = Some(number(totp, "d").unwrap_or(6));
    let bytes = totp.get("k").and_then(Value::as_array).map(|key| {
        let byte = |byte: &Value| byte.as_u64().and_then(|byte| u8::try_from(byte).ok());
        key.iter().map(byte).collect::<Option<Vec<u8>>>().map(Sensitive::new)
    });
    match bytes {
        Some(Some(seed)) => draft.seed = Some(seed),
        Some(None) => draft.refuse(Refusal::Secret("an array of bytes")),
        None => draft.refuse(Refusal::NoSecret),
    }
    draft
}
