//! FreeOTP+: its JSON, whose secrets are arrays of signed bytes.

use mfad_core::model::Sensitive;
use serde_json::Value;

use crate::draft::{Defaults, Draft};
use crate::entry::Refusal;
use crate::json::{array, text, whole};
use crate::{Fault, Format};

const FORMAT: Format = Format::FreeOtpPlus;
const DEFAULTS: Defaults = Defaults { program: "FreeOTP+", kind: Some("totp"), counter: Some(0) };

pub(crate) fn is(value: &Value) -> bool {
    value.get("tokens").is_some_and(Value::is_array) && value.get("tokenOrder").is_some()
}

pub(crate) fn read(bytes: &[u8], json: Option<Value>) -> Result<Vec<Draft>, Fault> {
    let file = whole(json, bytes, FORMAT)?;
    Ok((1_usize..).zip(array(&file, "tokens", FORMAT)?).map(|(number, token)| draft(number, token)).collect())
}

fn draft(index: usize, token: &Value) -> Draft {
    let mut draft = Draft::at(format!("entry {index}"));
    draft.name(text(token, "issuerExt").or_else(|| text(token, "issuerInt")), text(token, "label"));
    draft.parameters(token, "type", "algo");
    match token.get("secret").and_then(Value::as_array) {
        Some(bytes) => match bytes.iter().map(byte).collect::<Option<Vec<u8>>>() {
            Some(seed) => draft.seed = Some(Sensitive::new(seed)),
            None => draft.refuse(Refusal::Secret("an array of bytes")),
        },
        None => draft.refuse(Refusal::NoSecret),
    }
    draft.fill(&DEFAULTS);
    draft
}

/// A byte from -128 to 127, as Java has them, or to 255.
fn byte(value: &Value) -> Option<u8> {
    let number = value.as_i64()?;
    u8::try_from(number).ok().or_else(|| i8::try_from(number).ok().map(i8::cast_unsigned))
}
