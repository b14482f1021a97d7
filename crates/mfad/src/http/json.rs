//! Reads JSON bodies, and defines the JSON form of secrets, codes and times. Reading is strict: no unknown member, no
//! duplicate, nothing after the object.

use std::fmt;

use mfad_core::model::{Sensitive, TokenInput};
use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, Visitor};

use super::lenient::normalise;
use super::problem::Problem;

/// Maximum length of a password in bytes; a longer one is refused and never hashed (AUT-5).
pub(super) const LONGEST_PASSWORD: usize = 1024;

/// A JSON string that holds a secret, wiped on drop.
pub struct SecretText(pub Sensitive<String>);

impl<'de> Deserialize<'de> for SecretText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(Sensitive::new(text)))
    }
}

/// The member `token`: a string of digits, or an integer without its leading zeros.
pub(super) struct TokenMember(pub TokenInput);

impl<'de> Deserialize<'de> for TokenMember {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Digits;
        impl Visitor<'_> for Digits {
            type Value = TokenMember;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a code of 6 to 8 digits")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<TokenMember, E> {
                TokenInput::from_text(text).map(TokenMember).ok_or_else(|| E::custom(WRONG_TOKEN))
            }

            fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<TokenMember, E> {
                TokenInput::from_number(number).map(TokenMember).ok_or_else(|| E::custom(WRONG_TOKEN))
            }
        }
        deserializer.deserialize_any(Digits)
    }
}

const WRONG_TOKEN: &str = "missing field `token` as a string of digits";

/// Parses a body as the type that a route expects. A refusal names only members of the API, and never quotes the body.
pub(super) fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    if body.is_empty() {
        return Err(Problem::malformed("a JSON body is needed"));
    }
    let body = normalise(body);
    if body.expose().iter().find(|b| !b.is_ascii_whitespace()) != Some(&b'{') {
        return Err(Problem::malformed("the body is not a JSON object"));
    }
    serde_json::from_slice(body.expose()).map_err(|error| Problem::malformed(explain(&error)))
}

/// Deserialises an optional member. It may be absent, but `null` is not accepted in place of absence.
pub(super) fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

fn explain(error: &serde_json::Error) -> String {
    let (line, column) = (error.line(), error.column());
    let said = error.to_string();
    let ours = |text: &str| text.split(" at line ").next().unwrap_or_default().to_owned();
    if error.is_data() && (said.starts_with("missing field") || said.starts_with("duplicate field")) {
        return ours(&said);
    }
    // Only the last match is serde_json's own text. An earlier one may be part of a member name in the request.
    if let Some((_, expected)) = said.rsplit_once(", expected").filter(|_| said.starts_with("unknown field")) {
        return format!("an unknown member, expected{}", ours(expected));
    }
    if error.is_data() {
        return format!("a member of a wrong type or value at line {line} column {column}");
    }
    format!("not valid JSON at line {line} column {column}")
}

/// Formats milliseconds since 1970 as RFC 3339 in UTC with three decimals.
pub fn time(millis: i64) -> String {
    jiff::Timestamp::from_millisecond(millis).map(|at| format!("{at:.3}")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[serde_with::apply(Option => #[serde(default, deserialize_with = "present")])]
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code)]
    struct Body {
        token: TokenMember,
        action: Option<String>,
    }

    #[test]
    fn otp_2_the_three_forms_of_a_token_are_taken_and_no_other() {
        for good in [r#"{"token":"021589"}"#, r#"{"token":21589}"#, "{\"token\": 021589,}", r#"{"token":"12345678"}"#] {
            assert!(read::<Body>(good.as_bytes()).is_ok(), "{good}");
        }
        for odd in [
            r#"{"token":""}"#,
            r#"{"token":null}"#,
            r#"{"token":true}"#,
            r#"{"token":-1}"#,
            r#"{"token":1.0}"#,
            r#"{"token":1e3}"#,
            r#"{"token":["123456"]}"#,
            r#"{"token":{"a":1}}"#,
            r#"{"token":" 123456"}"#,
            r#"{"token":100000000}"#,
            r#"{"token":00}"#,
            r#"{"token":-0}"#,
            r#"{"token":"１２３４５６"}"#,
            r#"{}"#,
            r#"{"token":"123456","token":"123456"}"#,
            r#"{"token":021589,"token":021589}"#,
        ] {
            assert!(read::<Body>(odd.as_bytes()).is_err(), "{odd}");
        }
    }

    #[test]
    fn http_3_json_is_strict_and_a_refusal_repeats_nothing_that_was_sent() {
        for odd in [
            "",
            "null",
            "[]",
            "\"x\"",
            "{",
            r#"{"token":"123456"} x"#,
            r#"{"token":"123456"}{}"#,
            r#"{"token":"123456","hunter2":1}"#,
            r#"{"token":"123456","a, expected hunter2":1}"#,
            r#"{"token":"123456","a at line hunter2":1}"#,
            r#"{"token":"hunter2"}"#,
            r#"{"token":"123456","action":null}"#,
            r#"{"token":"123456","action":NaN}"#,
            "{\"token\":\"123456\",\"action\":\"\u{0}\"}",
            "{'token':'123456'}",
        ] {
            let problem = read::<Body>(odd.as_bytes()).err().unwrap_or_else(|| panic!("{odd} was taken"));
            assert!(!problem.detail.contains("hunter2"), "{}", problem.detail);
        }
        assert!(read::<Body>(b"{\"token\":\"123456\",\"action\":\"\xff\"}").is_err());
    }

    #[test]
    fn a_time_is_utc_with_three_decimals() {
        assert_eq!(time(1_700_000_000_120), "2023-11-14T22:13:20.120Z");
        assert_eq!(time(0), "1970-01-01T00:00:00.000Z");
    }
}
