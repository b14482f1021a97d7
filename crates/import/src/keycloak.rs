//! Keycloak: the users of a realm export, with their credentials of the type `otp`.

use mfad_core::model::Sensitive;
use serde_json::Value;

use crate::draft::{Defaults, Draft};
use crate::entry::Refusal;
use crate::json::{text, whole};
use crate::{Fault, Format};

const FORMAT: Format = Format::Keycloak;
const DEFAULTS: Defaults = Defaults { program: "Keycloak", kind: None, counter: Some(0) };

pub(crate) fn is(value: &Value) -> bool {
    let users = value.get("users").or(Some(value)).and_then(Value::as_array);
    users.is_some_and(|users| {
        users.iter().any(|user| user.get("username").is_some() && user.get("credentials").is_some_and(Value::is_array))
    })
}

pub(crate) fn read(bytes: &[u8], json: Option<Value>) -> Result<Vec<Draft>, Fault> {
    let file = whole(json, bytes, FORMAT)?;
    let users = file.get("users").unwrap_or(&file).as_array();
    let users = users.ok_or_else(|| Fault::Damaged(FORMAT, "it has no array `users`".to_owned()))?;
    let mut drafts = Vec::new();
    for (index, user) in (1_usize..).zip(users) {
        let credentials = user.get("credentials").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        for credential in credentials.iter().filter(|one| text(one, "type").as_deref() == Some("otp")) {
            drafts.push(draft(index, user, credential));
        }
    }
    Ok(drafts)
}

fn draft(index: usize, user: &Value, credential: &Value) -> Draft {
    let mut draft = Draft::at(format!("user {index}"));
    draft.name(None, text(user, "username"));
    // Both are JSON inside a text.
    let inner = |name| text(credential, name).and_then(|text| serde_json::from_str::<Value>(&text).ok());
    let (Some(secret), Some(data)) = (inner("secretData"), inner("credentialData")) else {
        draft.refuse(Refusal::Damaged("its `secretData` or `credentialData` is no JSON".to_owned()));
        return draft;
    };
    draft.parameters(&data, "subType", "algorithm");
    match (text(&secret, "value"), text(&data, "secretEncoding").as_deref()) {
        (Some(value), Some("BASE32")) => draft.base32(&value),
        // Without an encoding the key is the text itself.
        (Some(value), None) => draft.seed = Some(Sensitive::new(value.into_bytes())),
        (Some(_), Some(_)) => draft.refuse(Refusal::Secret("in an encoding that is known here")),
        (None, _) => draft.refuse(Refusal::NoSecret),
    }
    draft.fill(&DEFAULTS);
    draft
}
