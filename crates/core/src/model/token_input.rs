//! A one-time password as the client sent it, checked for its shape only (OTP-2). Knows no factor.

use zeroize::{Zeroize, ZeroizeOnDrop};

use super::profile::Digits;

/// A code typed by a user, wiped on drop. Which factor it is for, and so its length, is not known yet.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct TokenInput {
    value: u32,
    /// Number of digits written, or 0 for a JSON integer, which may be padded to any length that it fits.
    written: u8,
}

impl TokenInput {
    /// Accepts exactly 6 to 8 ASCII digits.
    pub fn from_text(text: &str) -> Option<Self> {
        let written = u8::try_from(text.len()).ok().filter(|n| (6..=8).contains(n))?;
        if !text.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        Some(Self { value: text.parse().ok()?, written })
    }

    /// Accepts a JSON integer of at most eight digits. It stands for itself with zeros added on the left, since JSON
    /// integers have no leading zeros.
    pub fn from_number(number: u64) -> Option<Self> {
        let value = u32::try_from(number).ok().filter(|n| *n < 100_000_000)?;
        Some(Self { value, written: 0 })
    }

    /// Returns the code as a number if it is well-formed for a factor of `digits`.
    pub fn for_digits(&self, digits: Digits) -> Option<u32> {
        let fits = match self.written {
            // A JSON integer has lost its leading zeros, so only its size can be checked.
            0 => self.value < digits.modulus(),
            written => written == digits.count(),
        };
        fits.then_some(self.value)
    }
}

impl std::fmt::Debug for TokenInput {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TokenInput")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_string_must_have_the_length_and_a_number_is_padded() {
        let six = Digits::SIX;
        let eight = Digits::new(8).unwrap();

        assert_eq!(TokenInput::from_text("021589").unwrap().for_digits(six), Some(21_589));
        assert_eq!(TokenInput::from_text("021589").unwrap().for_digits(eight), None);
        assert_eq!(TokenInput::from_number(21_589).unwrap().for_digits(six), Some(21_589));
        assert_eq!(TokenInput::from_number(21_589).unwrap().for_digits(eight), Some(21_589));
        assert_eq!(TokenInput::from_number(1_000_000).unwrap().for_digits(six), None);
        assert!(TokenInput::from_number(100_000_000).is_none());
    }

    #[test]
    fn a_token_does_not_show_itself() {
        assert_eq!(format!("{:?}", TokenInput::from_text("021589").unwrap()), "TokenInput");
    }

    #[test]
    fn otp_2_nothing_but_ascii_digits_is_a_token() {
        for odd in [
            "",
            "12345",
            "123456789",
            " 123456",
            "123456 ",
            "+12345",
            "-12345",
            "12 456",
            "１２３４５６",
            "12345a",
            "0x1234",
            "1234.6",
            "12345\n",
            "٠١٢٣٤٥",
        ] {
            assert!(TokenInput::from_text(odd).is_none(), "{odd:?}");
        }
    }
}
