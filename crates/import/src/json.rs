//! JSON of other programs: a value of any shape, and its members by name.

use serde_json::Value;

use crate::{Fault, Format};

/// Parses the whole text. The error names the position, never the content.
pub(crate) fn parse(bytes: &[u8], format: Format) -> Result<Value, Fault> {
    serde_json::from_slice(bytes)
        .map_err(|error| Fault::Damaged(format, format!("no JSON at line {}, column {}", error.line(), error.column())))
}

/// The whole text as JSON, or what it was parsed into when its format was recognised.
pub(crate) fn whole(known: Option<Value>, bytes: &[u8], format: Format) -> Result<Value, Fault> {
    known.map_or_else(|| parse(bytes, format), Ok)
}

/// The array under this name.
pub(crate) fn array<'a>(value: &'a Value, name: &str, format: Format) -> Result<&'a [Value], Fault> {
    let array = value.get(name).and_then(Value::as_array).map(Vec::as_slice);
    array.ok_or_else(|| Fault::Damaged(format, format!("it has no array `{name}`")))
}

/// The text under this name; `None` if it is missing, `null` or no text.
pub(crate) fn text(value: &Value, name: &str) -> Option<String> {
    value.get(name).and_then(Value::as_str).map(str::to_owned)
}

/// The number under this name; some programs write numbers as texts.
pub(crate) fn number(value: &Value, name: &str) -> Option<u64> {
    let value = value.get(name)?;
    value.as_u64().or_else(|| value.as_str().and_then(digits))
}

/// A number in decimal digits, and nothing else.
pub(crate) fn digits(text: &str) -> Option<u64> {
    // The parser of integers also takes a plus sign.
    (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok()).flatten()
}
