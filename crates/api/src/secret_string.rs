//! A string type for secrets in requests and responses.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

/// A secret text. It is wiped when dropped, and its debug output omits it. Only serialisation writes it out.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct SecretString(Zeroizing<String>);

impl SecretString {
    /// Takes ownership of the text, so that it is wiped on drop.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// Borrows the text. A copy that the caller makes of it is not wiped.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the text in a wrapper that still wipes it on drop.
    pub fn into_inner(self) -> Zeroizing<String> {
        self.0
    }
}

impl fmt::Debug for SecretString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretString")
    }
}

impl Serialize for SecretString {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for SecretString {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mem_1_a_secret_is_not_in_debug_output() {
        assert_eq!(format!("{:?}", SecretString::new("hunter2".to_owned())), "SecretString");
    }

    #[test]
    fn a_secret_is_a_json_string() {
        let secret: SecretString = serde_json::from_str(r#""hunter2""#).unwrap();

        assert_eq!(serde_json::to_string(&secret).unwrap(), r#""hunter2""#);
    }
}
