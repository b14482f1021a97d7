//! The language file of the self-service page (`uiLanguage`): the page's English texts, each with its translation.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{ConfigFault, value};

/// Every browser that opens the page loads the file.
const LARGEST: u64 = 64 * 1024;

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Language {
    /// Primary language subtag (RFC 5646 section 2.2.1), such as `de`.
    language: String,
    words: BTreeMap<String, String>,
}

/// Reads and checks the file. Returns it as the page loads it; without a file, a document without a language.
pub(super) fn words(path: Option<&Path>) -> Result<Vec<u8>, ConfigFault> {
    let Some(path) = path.filter(|path| !path.as_os_str().is_empty()) else { return Ok(b"{}".to_vec()) };
    let unreadable = |cause| ConfigFault::Unreadable { path: path.to_owned(), cause };
    let mut text = Vec::new();
    let file = std::fs::File::open(path).map_err(unreadable)?;
    file.take(LARGEST + 1).read_to_end(&mut text).map_err(unreadable)?;
    checked(&text).map_err(|why| value("uiLanguage", format!("{}: {why}", path.display())))
}

fn checked(text: &[u8]) -> Result<Vec<u8>, String> {
    if u64::try_from(text.len()).is_ok_and(|size| size > LARGEST) {
        return Err(format!("the file must have at most {LARGEST} bytes"));
    }
    let language: Language = serde_json::from_slice(text).map_err(|why| why.to_string())?;
    let tag = &language.language;
    if !(2..=3).contains(&tag.len()) || !tag.bytes().all(|byte| byte.is_ascii_lowercase()) {
        return Err("`language` must be two or three lower-case letters, such as \"de\"".to_owned());
    }
    serde_json::to_vec(&language).map_err(|why| why.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_passed_on_as_it_is_understood() {
        let text = r#"{ "language": "de", "words": { "Log in": "Anmelden" } }"#;

        assert_eq!(checked(text.as_bytes()).unwrap(), br#"{"language":"de","words":{"Log in":"Anmelden"}}"#);
        assert_eq!(words(None).unwrap(), b"{}");
        assert_eq!(words(Some(Path::new(""))).unwrap(), b"{}");
    }

    #[test]
    fn anything_else_is_refused_with_the_reason() {
        for (text, why) in [
            ("", "EOF"),
            ("[]", "invalid length"),
            (r#"{"language": "de"}"#, "words"),
            (r#"{"language": "DE", "words": {}}"#, "lower-case"),
            (r#"{"language": "deutsch", "words": {}}"#, "lower-case"),
            (r#"{"language": "de", "words": {"a": 1}}"#, "invalid type"),
            (r#"{"language": "de", "words": {}, "more": 1}"#, "more"),
        ] {
            let refused = checked(text.as_bytes()).unwrap_err();
            assert!(refused.contains(why), "{text}: {refused}");
        }
        let large = format!(r#"{{"language": "de", "words": {{"a": "{}"}}}}"#, "x".repeat(70_000));
        assert!(checked(large.as_bytes()).unwrap_err().contains("65536 bytes"));
        let missing = words(Some(Path::new("/nowhere/ui.json"))).unwrap_err().to_string();
        assert!(missing.contains("/nowhere/ui.json"), "{missing}");
    }
}
