//! Splits the input of `import` into lines, and reads the user and the parameters of each otpauth URI. It must not send
//! requests; the daemon parses the URI itself.

use super::foreign::Foreign;
use crate::failure::Failure;

const SCHEME: &str = "otpauth://";
/// Parameters that a factor consists of. The daemon refuses any other that could affect codes, so in a URI that it
/// accepted all others have no effect.
const COUNTED: [&str; 6] = ["secret", "algorithm", "digits", "period", "counter", "issuer"];

/// A line that is neither empty nor a comment.
pub(super) struct Line<'a> {
    /// Line number in the input, from 1; comments and empty lines count too.
    pub number: usize,
    text: &'a str,
}

impl<'a> Line<'a> {
    /// Returns the URI, or the kind of input that the line is instead.
    pub(super) fn uri(&self) -> Result<&'a str, Foreign> {
        if self.text.starts_with(SCHEME) { Ok(self.text) } else { Err(Foreign::of_line(self.text)) }
    }
}

/// Returns the lines of an input with at least one URI. A byte order mark at its start is skipped. Other input is
/// refused as a whole, with one message instead of one per line.
pub(super) fn lines(bytes: &[u8]) -> Result<Vec<Line<'_>>, Failure> {
    let is = |foreign: Foreign| Failure::Usage(format!("the input is {}", foreign.words()));
    let text = std::str::from_utf8(bytes).map_err(|_| is(Foreign::of_bytes(bytes)))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if let Some(foreign) = Foreign::of_text(text) {
        return Err(is(foreign));
    }
    let lines: Vec<Line<'_>> = (1..)
        .zip(text.lines())
        .map(|(number, line)| Line { number, text: line.trim() })
        .filter(|line| !line.text.is_empty() && !line.text.starts_with('#'))
        .collect();
    let Some(first) = lines.first() else {
        return Err(Failure::Usage("the input contains no otpauth URI".to_owned()));
    };
    match first.uri() {
        Err(foreign) if lines.iter().all(|line| line.uri().is_err()) => Err(is(foreign)),
        Ok(_) | Err(_) => Ok(lines),
    }
}

/// Returns the account in the label of a URI, which follows the issuer and a colon, or is the whole label.
pub(super) fn account(uri: &str) -> Option<String> {
    let label = uri.strip_prefix(SCHEME)?.split_once('/')?.1;
    let label = label.split('?').next()?;
    let label = percent_encoding::percent_decode_str(label).decode_utf8().ok()?;
    let account = label.split_once(':').map_or(label.as_ref(), |(_, account)| account).trim();
    (!account.is_empty()).then(|| account.to_owned())
}

/// Returns the names of the parameters that the daemon accepts but ignores.
pub(super) fn passed_over(uri: &str) -> Vec<&str> {
    let query = uri.split_once('?').map_or("", |(_, query)| query);
    let names = query.split('&').filter_map(|pair| pair.split_once('=')).map(|(name, _)| name);
    names.filter(|name| !COUNTED.contains(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const URI: &str = "otpauth://totp/ann?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";

    fn numbers(text: &str) -> Vec<(usize, bool)> {
        lines(text.as_bytes()).unwrap().iter().map(|line| (line.number, line.uri().is_ok())).collect()
    }

    fn refusal(bytes: &[u8]) -> String {
        lines(bytes).err().unwrap_or_else(|| panic!("{bytes:?} was taken")).to_string()
    }

    #[test]
    fn lines_keep_their_numbers_whatever_stands_around_them() {
        assert_eq!(numbers(URI), [(1, true)]);
        assert_eq!(numbers(&format!("\u{feff}{URI}")), [(1, true)]);
        assert_eq!(numbers(&format!("\u{feff}# old\r\n\r\n  {URI}\r\n{URI}")), [(3, true), (4, true)]);
        assert_eq!(numbers(&format!("GEZDGNBVGY3TQOJQ\n{URI}\n{{}}\n")), [(1, false), (2, true), (3, false)]);
    }

    #[test]
    fn an_input_without_a_uri_is_named_as_a_whole() {
        for (input, what) in [
            (&b""[..], "no otpauth URI"),
            (b"# nothing\n\n", "no otpauth URI"),
            (b"{\n  \"entries\": []\n}\n", "JSON"),
            (b"\n [{\"secret\": \"x\"}]", "JSON"),
            (b"\xef\xbb\xbf<KeyContainer/>", "PSKC"),
            (b"name,secret\nann,GEZDGNBVGY3TQOJQ\n", "CSV"),
            (b"GEZDGNBVGY3TQOJQ", "Base32"),
            (b"otpauth-migration://offline?data=x\n", "otpauth-migration"),
            (b"\x89PNG\r\n\x1a\n", "picture"),
            (b"\xff\xfeo\0t\0", "UTF-16"),
        ] {
            let why = refusal(input);
            assert!(why.contains(what), "{input:?}: {why}");
            assert!(!why.contains("GEZDGNBV"), "{why}");
        }
    }

    #[test]
    fn the_account_stands_behind_the_issuer() {
        for (uri, name) in [
            ("otpauth://totp/ann?secret=x", Some("ann")),
            ("otpauth://totp/Old%20place:ann%40example.org?secret=x", Some("ann@example.org")),
            ("otpauth://totp/Old%3A%20ann", Some("ann")),
            ("otpauth://totp/?secret=x", None),
            ("https://example.org/ann", None),
        ] {
            assert_eq!(account(uri).as_deref(), name, "{uri}");
        }
    }

    #[test]
    fn what_a_factor_is_not_made_of_is_passed_over() {
        for (more, names) in [
            ("&icon=a&digits=8", &["icon"][..]),
            ("", &[]),
            ("&digits=8&issuer=icon", &[]),
            ("&codeDisplay=%7B%7D&&tag=", &["codeDisplay", "tag"]),
        ] {
            assert_eq!(passed_over(&format!("{URI}{more}")), names, "{more}");
        }
        assert!(passed_over("otpauth://totp/ann").is_empty());
    }
}
