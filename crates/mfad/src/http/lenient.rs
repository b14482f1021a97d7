//! The only two forms that the API accepts beyond JSON: a trailing comma before the closing brace of an object, and a
//! bare run of digits with leading zeros as the value of `token`. The API document that this daemon implements prints
//! both, and clients copy them. Whether the rest is valid is left to the strict parser.

use mfad_core::model::Sensitive;

/// Rewrites both forms into JSON (RFC 8259): the comma becomes a space, the run of digits a string. Everything else is
/// copied byte for byte.
pub fn normalise(body: &[u8]) -> Sensitive<Vec<u8>> {
    // Quotes add two bytes. More than one `token` member would need more, but a duplicate is refused anyway.
    let mut out = Vec::with_capacity(body.len().saturating_add(8));
    let mut depth = 0usize;
    let mut key_is_token = false;
    let mut rest = body;
    while let Some((&byte, after)) = rest.split_first() {
        match byte {
            b'"' => {
                let (string, next) = split_string(rest);
                // Only a member of the outermost object counts.
                key_is_token = depth == 1 && string == b"\"token\"";
                out.extend_from_slice(string);
                rest = next;
                continue;
            }
            b':' if key_is_token => {
                out.push(byte);
                rest = quote_digits(after, &mut out);
                key_is_token = false;
                continue;
            }
            b',' if ends_object(after) && follows_value(&out) => out.push(b' '),
            b'{' | b'[' => {
                depth = depth.saturating_add(1);
                out.push(byte);
            }
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                out.push(byte);
            }
            _ => out.push(byte),
        }
        if !is_space(byte) {
            key_is_token = false;
        }
        rest = after;
    }
    Sensitive::new(out)
}

/// Splits a string literal, quotes included, from the text after it. A literal without an end takes everything.
fn split_string(text: &[u8]) -> (&[u8], &[u8]) {
    let mut escaped = false;
    let end = text.iter().skip(1).position(|byte| {
        let closes = *byte == b'"' && !escaped;
        escaped = *byte == b'\\' && !escaped;
        closes
    });
    let length = end.map_or(text.len(), |at| at.saturating_add(2));
    text.split_at_checked(length).unwrap_or((text, &[]))
}

/// Copies white space, and after it a run of digits with a leading zero in quotes. Returns the rest of the text.
fn quote_digits<'a>(text: &'a [u8], out: &mut Vec<u8>) -> &'a [u8] {
    let spaces = text.iter().take_while(|b| is_space(**b)).count();
    let (space, value) = text.split_at_checked(spaces).unwrap_or((text, &[]));
    out.extend_from_slice(space);
    let digits = value.iter().take_while(|b| b.is_ascii_digit()).count();
    let (run, rest) = value.split_at_checked(digits).unwrap_or((value, &[]));
    // Otherwise the digits are only the beginning of something that is not JSON, such as `02.5`.
    let is_whole = rest.first().is_some_and(|b| is_space(*b) || matches!(b, b',' | b'}'));
    if run.len() < 2 || run.first() != Some(&b'0') || !is_whole {
        return value;
    }
    out.push(b'"');
    out.extend_from_slice(run);
    out.push(b'"');
    rest
}

fn ends_object(after_comma: &[u8]) -> bool {
    after_comma.iter().find(|b| !is_space(**b)) == Some(&b'}')
}

/// Whether a comma at this place follows a value. After an opening bracket, a colon or another comma it stays an error.
fn follows_value(out: &[u8]) -> bool {
    let before = out.iter().rev().find(|b| !is_space(**b));
    before.is_some_and(|b| !matches!(b, b'{' | b'[' | b',' | b':'))
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lenient(text: &str) -> String {
        String::from_utf8(normalise(text.as_bytes()).expose().clone()).unwrap()
    }

    #[test]
    fn the_printed_bodies_become_json() {
        assert_eq!(lenient(r#"{"type": "mfa",}"#), r#"{"type": "mfa" }"#);
        assert_eq!(lenient("{\n    \"token\": 021589,\n}"), "{\n    \"token\": \"021589\" \n}");
        assert_eq!(lenient(r#"{"token":021589}"#), r#"{"token":"021589"}"#);
        assert_eq!(lenient(r#"{"token" : 000000 , "action": "x"}"#), r#"{"token" : "000000" , "action": "x"}"#);
    }

    #[test]
    fn everything_else_stays_wrong() {
        for same in [
            r#"{,}"#,
            r#"{"a":,}"#,
            r#"[1,]"#,
            r#"{"a":[1,]}"#,
            r#"{"code":021589}"#,
            r#"{"x":{"token":021589}}"#,
            r#"{"token":0}"#,
            r#"{"token":21589}"#,
            r#"{"token":021589x}"#,
            r#"{"token":-021589}"#,
            r#"{"token":02.5}"#,
            r#"{"token":021589"#,
            r#"{"a":"token\":0123,}"}"#,
            r#"{"a":"},}"}"#,
            "\"",
            "",
        ] {
            assert_eq!(lenient(same), same);
        }
        assert_eq!(lenient(r#"{"a":1,,}"#), r#"{"a":1,,}"#);
    }

    proptest! {
        #[test]
        fn json_without_the_two_forms_is_untouched(value in json()) {
            let text = serde_json::to_vec(&value).unwrap();

            let normalised = normalise(&text);

            prop_assert_eq!(normalised.expose(), &text);
        }

        #[test]
        fn any_bytes_pass_through_and_grow_little(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(normalise(&bytes).expose().len() <= bytes.len() * 2);
        }

        #[test]
        fn odd_json_never_panics(text in r#"[{}\[\],:0-9"token \\]{0,60}"#) {
            let _ = normalise(text.as_bytes());
        }
    }

    fn json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            "\\PC*".prop_map(Into::into),
            Just("token".into()),
        ];
        leaf.prop_recursive(3, 20, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
                proptest::collection::hash_map("token|a|b", inner, 0..4)
                    .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
            ]
        })
    }
}
