//! Secrets in files and pipes: which of the bytes are the secret, and what is refused. Every flag that reads a secret
//! from such a source uses this rule.

use std::io::Read;

use zeroize::Zeroizing;

use crate::failure::Failure;

/// A secret text, wiped on drop (MEM-3).
pub(crate) type Hidden = Zeroizing<String>;

/// Longest secret, in bytes. The daemon accepts less, so nothing valid is refused here.
const LONGEST: usize = 4096;
/// Editors and shells of Windows write it at the start of UTF-8 files (Unicode section 23.8).
const BYTE_ORDER_MARK: char = '\u{feff}';

/// Reads a secret: one line of UTF-8, without a byte order mark at its start and without the line ending. `label` names
/// the secret in error messages, which never quote it.
pub(crate) fn read(source: impl Read, label: &str) -> Result<Hidden, Failure> {
    let limit = LONGEST.saturating_add(1);
    // Allocated once at full size: a buffer that grows leaves copies behind. `Zeroizing` wipes only the last one.
    let mut bytes = Zeroizing::new(Vec::with_capacity(limit.saturating_add(1)));
    source.take(u64::try_from(limit).unwrap_or(u64::MAX)).read_to_end(&mut bytes)?;
    if bytes.len() > LONGEST {
        return Err(Failure::Usage(format!("the {label} is longer than {LONGEST} bytes")));
    }
    let text = content(&bytes).map_err(|why| Failure::Usage(format!("the {label} {why}")))?;
    Ok(Hidden::new(text.to_owned()))
}

/// Returns the secret in the bytes, or what is wrong and what to do.
fn content(bytes: &[u8]) -> Result<&str, String> {
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err("is UTF-16, according to its byte order mark; save it as UTF-8".to_owned());
    }
    let text = std::str::from_utf8(bytes).map_err(|_| "is not UTF-8; save it as UTF-8")?;
    let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
    let text = text.strip_suffix("\r\n").or_else(|| text.strip_suffix('\n')).unwrap_or(text);
    if text.is_empty() {
        return Err("is empty".to_owned());
    }
    // Users can hardly type such a secret. It is a second line, or a mistake of the program that wrote it.
    match text.chars().find(char::is_ascii_control) {
        Some(control) => Err(format!("contains {}; provide it alone, as one line of text", name(control))),
        None => Ok(text),
    }
}

fn name(control: char) -> String {
    let name = match control {
        '\0' => "a NUL, as UTF-16 without a byte order mark does",
        '\t' => "a tab",
        '\n' => "a line feed besides the one at its end",
        '\r' => "a carriage return besides the one of its line ending",
        '\u{1b}' => "an escape character",
        '\u{7f}' => "a delete character",
        _ => "a control character",
    };
    format!("{name} (U+{:04X})", u32::from(control))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(bytes: &[u8]) -> String {
        match read(bytes, "password") {
            Err(Failure::Usage(why)) => why,
            other => panic!("{bytes:?}: {other:?}"),
        }
    }

    #[test]
    fn one_line_end_and_a_byte_order_mark_are_no_part_of_a_secret() {
        for given in ["päss word", "päss word\n", "päss word\r\n"] {
            for mark in ["", "\u{feff}"] {
                let given = format!("{mark}{given}");
                assert_eq!(read(given.as_bytes(), "password").unwrap().as_str(), "päss word", "{given:?}");
            }
        }
        for kept in [" a ", "\u{feff}a\u{feff}", "\u{a0}", "a\u{85}"] {
            let given = format!("\u{feff}{kept}\n");
            assert_eq!(read(given.as_bytes(), "password").unwrap().as_str(), kept, "{kept:?}");
        }
    }

    #[test]
    fn a_control_character_is_refused_by_name_wherever_it_stands() {
        for (given, name) in [
            ("a\n\n", "line feed"),
            ("\na", "line feed"),
            ("a\nb\n", "line feed"),
            ("a\r\n\r\n", "carriage return"),
            ("a\r", "carriage return"),
            ("a\n\r\n", "line feed"),
            ("a\r\r\n", "carriage return"),
            ("a\0", "NUL"),
            ("a\tb", "tab"),
            ("\u{1b}[A", "escape"),
            ("a\u{7f}", "delete"),
            ("a\u{1}", "U+0001"),
        ] {
            let why = refusal(given.as_bytes());
            assert!(why.contains(name) && why.contains("one line of text"), "{given:?}: {why}");
        }
    }

    #[test]
    fn what_is_empty_or_no_utf_8_is_refused() {
        for given in ["", "\n", "\r\n", "\u{feff}", "\u{feff}\r\n"] {
            assert!(refusal(given.as_bytes()).contains("is empty"), "{given:?}");
        }
        for given in [&b"\xff\xfea\0"[..], b"\xfe\xff\0a", b"\xff\xfe"] {
            assert!(refusal(given).contains("UTF-16"), "{given:?}");
        }
        for given in [&b"\xff"[..], b"a\xe4", b"\xef\xbb"] {
            assert!(refusal(given).contains("is not UTF-8"), "{given:?}");
        }
        assert!(refusal(b"a\0b\0").contains("UTF-16"));
    }

    #[test]
    fn what_is_too_long_is_refused() {
        assert!(read(&[b'a'; LONGEST][..], "password").is_ok());
        assert!(refusal(&[b'a'; LONGEST + 1]).contains("longer"));
    }
}
