//! Ory Kratos: identities with `credentials.totp.config.totp_url`.

use serde_json::Value;

use crate::draft::Draft;
use crate::json::{text, whole};
use crate::otpauth;
use crate::{Fault, Format};

const FORMAT: Format = Format::Kratos;

pub(crate) fn is(value: &Value) -> bool {
    identities(value).iter().any(|identity| url(identity).is_some())
}

/// One identity, a list of them, or the form `{"identities": […]}`.
fn identities(value: &Value) -> Vec<&Value> {
    let list = value.get("identities").unwrap_or(value);
    list.as_array().map_or_else(|| vec![list], |list| list.iter().collect())
}

fn url(identity: &Value) -> Option<String> {
    text(identity.pointer("/credentials/totp/config")?, "totp_url")
}

pub(crate) fn read(bytes: &[u8], json: Option<Value>) -> Result<Vec<Draft>, Fault> {
    let file = whole(json, bytes, FORMAT)?;
    let mut drafts = Vec::new();
    for (index, identity) in (1_usize..).zip(identities(&file)) {
        let Some(url) = url(identity) else { continue };
        let mut draft = otpauth::uri(format!("identity {index}"), &url);
        // The label may be any trait of the identity; its login is the first identifier.
        let login = identity.pointer("/credentials/password/identifiers/0").and_then(Value::as_str);
        if let Some(login) = login {
            draft.account = Some(login.to_owned());
        }
        drafts.push(draft);
    }
    Ok(drafts)
}
