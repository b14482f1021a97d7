//! The PIN of a security key, in the form that keys compare. How it is sent to a key is not known here.

use unicode_normalization::UnicodeNormalization;

use super::Sensitive;

/// The fewest characters (Unicode code points) of a PIN (CTAP 2.1 section 6.5.1).
const FEWEST: usize = 4;
/// The most bytes of a PIN in UTF-8 (CTAP 2.1 section 6.5.1).
const LONGEST: usize = 63;

/// A PIN of at least 4 characters and at most 63 bytes, in the form that keys compare (NFC).
#[derive(Debug)]
pub struct Pin(Sensitive<String>);

impl Pin {
    /// Normalises the PIN. Returns `None` if no security key could have it.
    pub fn parse(text: &str) -> Option<Self> {
        // Reserves room for the longest normalised form, since a string that grows leaves copies behind.
        let mut normal = String::with_capacity(text.len().saturating_mul(3));
        normal.extend(text.nfc());
        let pin = Self(Sensitive::new(normal));
        let normal = pin.0.expose();
        // CTAP forbids a zero byte at the end, since a PIN is padded with zeros when it is set.
        let fits = normal.chars().count() >= FEWEST && normal.len() <= LONGEST && !normal.ends_with('\0');
        fits.then_some(pin)
    }

    /// The normalised text, which is hashed for the key.
    pub fn text(&self) -> &Sensitive<String> {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_has_four_characters_at_least_and_63_bytes_at_most() {
        for taken in ["1234", "pässword", &"9".repeat(63)] {
            assert!(Pin::parse(taken).is_some(), "{taken}");
        }
        for refused in ["", "123", "ä12", &"9".repeat(64), &"ä".repeat(32), "123\0"] {
            assert!(Pin::parse(refused).is_none(), "{refused}");
        }
    }

    #[test]
    fn two_spellings_of_one_pin_are_one() {
        let pin = |text| Pin::parse(text).unwrap().text().expose().clone();

        assert_eq!(pin("a\u{308}bcd"), pin("\u{e4}bcd"));
    }
}
