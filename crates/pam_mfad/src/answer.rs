//! What a user types at a prompt for a code.

use mfad_client::SecretString;
use zeroize::Zeroizing;

/// Number of symbols in a backup code, hyphens not counted.
const CODE_SYMBOLS: usize = 16;
/// Longest text that is looked at: a backup code with a hyphen and a blank after each symbol.
const LONGEST: usize = 3 * CODE_SYMBOLS;

/// A typed answer.
pub(crate) enum Answer {
    /// Nothing was typed: Enter, or the end of the input.
    Empty,
    /// A one-time password: 6 to 8 digits.
    Token(SecretString),
    /// A backup code.
    Code(SecretString),
    /// Text that is no code.
    NoCode,
    /// Text that nobody types: with control characters, or not UTF-8. sshd answers so for a user whom it denies, and
    /// runs the stack all the same. If such an answer were checked, anybody could lock that user's factors.
    Junk,
}

impl Answer {
    /// Recognises what was typed. Blanks do not matter, since authenticator apps show codes in groups.
    pub(crate) fn parse(typed: &[u8]) -> Self {
        let Ok(text) = std::str::from_utf8(typed) else { return Self::Junk };
        if text.chars().any(char::is_control) {
            return Self::Junk;
        }
        if text.len() > LONGEST {
            return Self::NoCode;
        }
        // Its full capacity from the start: a string that grows would leave copies in freed memory.
        let mut plain = Zeroizing::new(String::with_capacity(LONGEST));
        plain.extend(text.chars().filter(|letter| !letter.is_whitespace()));
        let is_token = (6..=8).contains(&plain.len()) && plain.bytes().all(|byte| byte.is_ascii_digit());
        let is_symbol = |byte: u8| byte.is_ascii_alphanumeric() && !byte.eq_ignore_ascii_case(&b'u');
        let symbols = plain.bytes().filter(|byte| *byte != b'-').count();
        let is_code = symbols == CODE_SYMBOLS && plain.bytes().all(|byte| byte == b'-' || is_symbol(byte));
        match () {
            () if plain.is_empty() => Self::Empty,
            () if is_token => Self::Token(SecretString::new(std::mem::take(&mut *plain))),
            () if is_code => Self::Code(SecretString::new(std::mem::take(&mut *plain))),
            () => Self::NoCode,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(typed: &[u8]) -> String {
        match Answer::parse(typed) {
            Answer::Empty => "empty".to_owned(),
            Answer::Token(token) => format!("token {}", token.as_str()),
            Answer::Code(code) => format!("code {}", code.as_str()),
            Answer::NoCode => "no code".to_owned(),
            Answer::Junk => "junk".to_owned(),
        }
    }

    #[test]
    fn codes_of_both_kinds_are_told_apart() {
        for (typed, read) in [
            ("123456", "token 123456"),
            (" 123 456 ", "token 123456"),
            ("12345678", "token 12345678"),
            ("ABCD-EFGH-JKMN-PQRS", "code ABCD-EFGH-JKMN-PQRS"),
            ("abcd efgh jkmn 0123", "code abcdefghjkmn0123"),
            ("1234567890123456", "code 1234567890123456"),
            ("olil-olil-olil-olil", "code olil-olil-olil-olil"),
            ("", "empty"),
            ("   ", "empty"),
        ] {
            assert_eq!(kind(typed.as_bytes()), read, "{typed:?}");
        }
    }

    #[test]
    fn other_text_is_no_code() {
        for typed in
            ["12345", "123456789", "12345a", "hunter2", "ABCD-EFGH-JKMN-PQR", "ABCD-EFGH-JKMN-PQRU", "１２３４５６"]
        {
            assert_eq!(kind(typed.as_bytes()), "no code", "{typed:?}");
        }
        assert_eq!(kind(&[b'1'; 4096]), "no code");
    }

    #[test]
    fn the_answers_of_sshd_for_denied_users_are_junk() {
        for typed in [
            b"\x08\n\r\x7fINCORRECT".as_slice(),
            b"\x08\n\r\x7fIN",
            b"\x08",
            b"12345\n",
            b"123456\x00",
            b"\t123456",
            b"\xff23456",
            "123456\u{85}".as_bytes(),
        ] {
            assert_eq!(kind(typed), "junk", "{typed:?}");
        }
    }
}
