//! Names that users choose, and the canonical key that is equal for all spellings of a name (THR-4).

use unicode_normalization::UnicodeNormalization;
use unicode_security::confusable_detection::skeleton;
use unicode_security::{GeneralSecurityProfile, MixedScript};

use super::id::UserId;

/// The longest name of a user or secret, in characters.
const LONGEST_NAME: usize = 64;

/// Returns the canonical key: NFKC, case folding, NFKC again. Equal keys mean the same name (Unicode 15 section 3.13,
/// `toNFKC_Casefold` in effect).
pub fn canonical(text: &str) -> String {
    let composed: String = text.nfkc().collect();
    // Case folding can leave the normal form, so the result is normalised again.
    caseless::default_case_fold_str(&composed).nfkc().collect()
}

/// A user's login name as typed, with its canonical key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserName {
    text: String,
    key: String,
}

impl UserName {
    /// Accepts 1 to 64 characters without control characters, `:` and outer white space. Refuses a text that is an id:
    /// a login may be an id, and the name of one user must not be the id of another.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        check_text(text, LONGEST_NAME)?;
        // In Basic authentication the password begins after the first colon (RFC 7617 section 2).
        if text.contains(':') {
            return Err("must not contain a colon");
        }
        if UserId::parse(text).is_some() {
            return Err("must not be a UUID");
        }
        let key = key_of(text)?;
        // Compatibility forms, such as a full-width colon, become plain only in the key.
        if key.contains(':') || UserId::parse(&key).is_some() {
            return Err("must not be a colon or a UUID in another spelling");
        }
        Ok(Self { text: text.to_owned(), key })
    }

    /// The name as the user wrote it.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The canonical key, unique among the names and addresses of all users.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Whether it can be mistaken for another name (Unicode Technical Standard 39 sections 3.1, 4 and 5.1). Such a name
    /// mixes scripts, has characters that are not for identifiers, or consists only of letters that look Latin but are
    /// not.
    pub fn is_misleading(&self) -> bool {
        let text = self.text.as_str();
        let is_allowed = |letter: char| letter.is_ascii() || letter.identifier_allowed();
        let looks_latin = || skeleton(text).all(|letter| letter.is_ascii());
        !text.is_ascii() && (!text.is_single_script() || !text.chars().all(is_allowed) || looks_latin())
    }
}

/// An e-mail address, checked only as far as a login needs it: `local@domain`, unique by its canonical key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Email {
    text: String,
    key: String,
}

impl Email {
    /// Accepts 3 to 254 characters with text on both sides of the last `@`, without white space and `:`.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        check_text(text, 254)?;
        // The last @ separates the domain, since a quoted local part may have others.
        let (local, domain) = text.rsplit_once('@').ok_or("must have an @")?;
        if local.is_empty() || domain.is_empty() || text.contains(':') || text.contains(char::is_whitespace) {
            return Err("must be an address like name@example.org");
        }
        Ok(Self { text: text.to_owned(), key: key_of(text)? })
    }

    /// The address as the user wrote it.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The canonical key, unique among the names and addresses of all users.
    pub fn key(&self) -> &str {
        &self.key
    }
}

/// The name of a secret, with its canonical key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    text: String,
    key: String,
}

impl Label {
    /// Accepts 1 to 64 characters without control characters and outer white space.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        check_text(text, LONGEST_NAME)?;
        Ok(Self { text: text.to_owned(), key: key_of(text)? })
    }

    /// The name as the user wrote it.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The canonical key, unique among the secrets of one user.
    pub fn key(&self) -> &str {
        &self.key
    }
}

/// Free text of a bounded length without control characters: display names, descriptions, reasons.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text(String);

impl Text {
    /// Accepts 1 to `longest` characters without control characters and outer white space.
    pub fn parse(text: &str, longest: usize) -> Result<Self, &'static str> {
        check_text(text, longest)?;
        Ok(Self(text.to_owned()))
    }

    /// Accepts one part of an otpauth label: as [`Text::parse`] with at most 64 characters, and no `:`, which separates
    /// the parts.
    pub fn parse_label_part(text: &str) -> Result<Self, &'static str> {
        if text.contains(':') {
            return Err("must not contain a colon");
        }
        Self::parse(text, LONGEST_NAME)
    }

    /// The text as the user wrote it, without any folding.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn key_of(text: &str) -> Result<String, &'static str> {
    let key = canonical(text);
    // Normalisation can produce a space that the text does not have, as it does for U+00A8.
    if key.trim().is_empty() || key.trim() != key || key.chars().any(char::is_control) {
        return Err("must have visible characters");
    }
    Ok(key)
}

fn check_text(text: &str, longest: usize) -> Result<(), &'static str> {
    if text.is_empty() {
        return Err("must not be empty");
    }
    // Counted in characters, so that the limit is the same for every script.
    if text.chars().count() > longest {
        return Err("is too long");
    }
    if text.chars().any(|c| c.is_control() || is_invisible(c)) {
        return Err("must not contain control characters");
    }
    // Outer white space is not visible, so two different names would look alike.
    if text.trim() != text {
        return Err("must not begin or end with white space");
    }
    Ok(())
}

/// Whether a character changes how a text looks without being visible itself: direction overrides, zero-width marks,
/// line and paragraph separators.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thr_4_spellings_of_one_name_share_a_key() {
        let names = ["Ångström", "ÅNGSTRÖM", "A\u{30a}ngstro\u{308}m", "ｱngström"];

        let keys: Vec<_> = names.iter().map(|n| UserName::parse(n).unwrap().key().to_owned()).collect();

        assert_eq!(keys[0], keys[1]);
        assert_eq!(keys[0], keys[2]);
        assert_ne!(keys[0], keys[3]);
        assert_eq!(UserName::parse("ＡＬＩＣＥ").unwrap().key(), "alice");
        assert_eq!(UserName::parse("straße").unwrap().key(), UserName::parse("STRASSE").unwrap().key());
    }

    #[test]
    fn names_that_could_deceive_are_refused() {
        let long = "a".repeat(65);
        for odd in
            ["", " a", "a ", "a:b", "a\nb", "a\u{202e}b", "a：b", long.as_str(), "00000000-0000-0000-0000-000000000000"]
        {
            assert!(UserName::parse(odd).is_err(), "{odd:?}");
        }
        assert!(UserName::parse(&"a".repeat(64)).is_ok());
    }

    #[test]
    fn a_name_whose_key_begins_with_a_space_is_refused() {
        // Normalisation turns U+00A8 into a space and a combining diaeresis (UAX 15).
        assert!(UserName::parse("\u{a8}a").is_err());
    }

    #[test]
    fn an_address_has_two_sides() {
        assert!(Email::parse("a@example.org").is_ok());
        for odd in ["@", "a@", "@b", "a b@c", "a:b@c", "plain"] {
            assert!(Email::parse(odd).is_err(), "{odd:?}");
        }
    }
}
