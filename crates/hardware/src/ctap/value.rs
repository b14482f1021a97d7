//! CBOR as CTAP2 uses it: canonical, shallow, with small integers as the names of most members (CTAP 2.1 section 8).

use std::collections::BTreeMap;

use serde_cbor_2 as cbor;

pub use serde_cbor_2::Value;

use super::CtapFault;

/// A CBOR map. Its keys are in the order of canonical CBOR.
pub type Map = BTreeMap<Value, Value>;

/// Encodes a value in canonical form.
pub fn canonical(value: &Value) -> Result<Vec<u8>, CtapFault> {
    cbor::to_vec(value).map_err(|_| CtapFault::Internal("a value that CBOR cannot hold"))
}

/// Builds a map whose members have numbers.
pub(super) fn numbered(members: impl IntoIterator<Item = (i8, Value)>) -> Value {
    Value::Map(members.into_iter().map(|(number, value)| (Value::from(number), value)).collect())
}

/// Builds a map whose members have names.
pub(super) fn named(members: impl IntoIterator<Item = (&'static str, Value)>) -> Value {
    Value::Map(members.into_iter().map(|(name, value)| (Value::from(name.to_owned()), value)).collect())
}

/// Reads a response as a map. An empty response is an empty map.
pub(super) fn read(bytes: &[u8]) -> Result<Map, CtapFault> {
    if bytes.is_empty() {
        return Ok(Map::new());
    }
    match cbor::from_slice(bytes) {
        Ok(Value::Map(map)) => Ok(map),
        Ok(_) | Err(_) => Err(CtapFault::Nonsense("no map")),
    }
}

/// Access to the members of a map.
pub(super) trait Members {
    fn number(&self, number: i8) -> Option<&Value>;
    fn name(&self, name: &str) -> Option<&Value>;
}

impl Members for Map {
    fn number(&self, number: i8) -> Option<&Value> {
        self.get(&Value::from(number))
    }

    fn name(&self, name: &str) -> Option<&Value> {
        self.get(&Value::Text(name.to_owned()))
    }
}

pub(super) fn bytes(value: Option<&Value>) -> Option<&[u8]> {
    match value {
        Some(Value::Bytes(bytes)) => Some(bytes),
        _ => None,
    }
}

pub(super) fn integer<T: TryFrom<i128>>(value: Option<&Value>) -> Option<T> {
    match value {
        Some(Value::Integer(number)) => T::try_from(*number).ok(),
        _ => None,
    }
}

pub(super) fn map(value: Option<&Value>) -> Option<&Map> {
    match value {
        Some(Value::Map(map)) => Some(map),
        _ => None,
    }
}

pub(super) fn list(value: Option<&Value>) -> &[Value] {
    match value {
        Some(Value::Array(list)) => list,
        _ => &[],
    }
}
