//! The codes: 80 random bits as 16 symbols of Crockford's Base32, in groups of four, like mfad's backup codes.

use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

/// Number of random bytes of a code.
pub const CODE_BYTES: usize = 10;
/// Crockford's Base32: without I, L, O and U.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// Number of bits of a code, five for each symbol.
const BITS: usize = 8 * CODE_BYTES;
/// Number of symbols between hyphens.
const GROUP: usize = 4;
/// What a hash is for, so that it is of no use elsewhere.
const PURPOSE: &[u8] = b"mfad break-glass code\0";

/// Writes a code for these random bytes.
pub fn code(random: [u8; CODE_BYTES]) -> Zeroizing<String> {
    let mut bits = 0_u128;
    for byte in random {
        bits = (bits << 8) | u128::from(byte);
    }
    // Its full capacity from the start: a string that grows would leave copies in freed memory.
    let mut text = Zeroizing::new(String::with_capacity(BITS));
    for (number, shift) in (0..BITS).step_by(5).rev().enumerate() {
        if number > 0 && number.is_multiple_of(GROUP) {
            text.push('-');
        }
        let index = usize::try_from((bits >> shift) & 31).unwrap_or_default();
        text.push(char::from(ALPHABET.get(index).copied().unwrap_or(b'0')));
    }
    text
}

/// The hash of a code as it is written into a list. Case, hyphens and blanks do not matter, and letters that look like
/// digits count as these.
pub(crate) fn hash(salt: &str, account: &str, code: &str) -> String {
    let mut plain = Zeroizing::new(String::with_capacity(code.len()));
    for letter in code.chars().filter(|letter| *letter != '-' && !letter.is_whitespace()) {
        plain.push(match letter.to_ascii_uppercase() {
            'O' => '0',
            'I' | 'L' => '1',
            letter => letter,
        });
    }
    let mut hasher = Sha256::new();
    // None of the parts can contain a NUL.
    for part in [PURPOSE, salt.as_bytes(), b"\0", account.as_bytes(), b"\0", plain.as_bytes()] {
        hasher.update(part);
    }
    HEXLOWER.encode(&hasher.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_has_all_bits_in_groups_of_four_symbols() {
        assert_eq!(*code([0; 10]), "0000-0000-0000-0000");
        assert_eq!(*code([0xFF; 10]), "ZZZZ-ZZZZ-ZZZZ-ZZZZ");
        // 01 23 45 67 89 AB CD EF 01 23, five bits at a time.
        assert_eq!(*code([0x01, 0x23, 0x45, 0x67, 0x89, 0xAB, 0xCD, 0xEF, 0x01, 0x23]), "04HM-ASW9-NF6Y-Y093");
    }

    #[test]
    fn spelling_does_not_matter_and_salt_and_account_do() {
        let one = hash("aa", "emmy", "04HM-ASW9-NF6Y-Y091");

        assert_eq!(one, hash("aa", "emmy", "o4hm asw9 nf6y yo9l"));
        assert_ne!(one, hash("ab", "emmy", "04HM-ASW9-NF6Y-Y091"));
        assert_ne!(one, hash("aa", "emma", "04HM-ASW9-NF6Y-Y091"));
        assert_ne!(one, hash("aa", "emmy", "04HM-ASW9-NF6Y-Y092"));
    }
}
