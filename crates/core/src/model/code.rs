//! Backup codes and their one canonical form (BKC-1, BKC-3). How they are hashed and stored is not known here.

use zeroize::{Zeroize, ZeroizeOnDrop};

/// Number of codes in a set.
pub const CODES_PER_SET: u8 = 10;
/// Number of symbols in a code, of five bits each: 80 bits.
pub const CODE_SYMBOLS: usize = 16;

/// Crockford's Base32, which has no I, L, O or U.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// One backup code: 80 bits as sixteen symbols, wiped on drop. The symbols are on the heap, because a value that moves
/// from one stack frame to the next leaves a copy in each.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct BackupCode(Box<[u8]>);

impl BackupCode {
    /// Encodes 80 random bits as a code.
    pub fn from_random(random: &[u8; 10]) -> Self {
        let mut symbols = vec![0u8; CODE_SYMBOLS].into_boxed_slice();
        let bits = random.iter().flat_map(|byte| (0..8).rev().map(move |bit| (byte >> bit) & 1));
        for (index, bit) in bits.enumerate() {
            if let Some(symbol) = symbols.get_mut(index / 5) {
                *symbol = (*symbol << 1) | bit;
            }
        }
        for symbol in &mut *symbols {
            // Five bits are always within the alphabet. The default only avoids a panic.
            *symbol = ALPHABET.get(usize::from(*symbol)).copied().unwrap_or(b'0');
        }
        Self(symbols)
    }

    /// Reads a code as a user types it: any case, hyphens anywhere, `I` and `L` for 1, `O` for 0. Returns `None` for
    /// any other symbol or length.
    pub fn parse(text: &str) -> Option<Self> {
        // Leaves room for a hyphen per symbol, and bounds the work on longer input.
        if text.len() > 2 * CODE_SYMBOLS {
            return None;
        }
        let mut code = Self(vec![0; CODE_SYMBOLS].into_boxed_slice());
        let mut places = code.0.iter_mut();
        // Hyphens only help to read the code, so their places do not matter.
        for typed in text.bytes().filter(|b| *b != b'-') {
            let symbol = match typed.to_ascii_uppercase() {
                b'I' | b'L' => b'1',
                b'O' => b'0',
                upper => upper,
            };
            if !ALPHABET.contains(&symbol) {
                return None;
            }
            *places.next()? = symbol;
        }
        places.next().is_none().then_some(code)
    }

    /// The sixteen canonical symbols, which are the input of the hash.
    pub fn symbols(&self) -> &[u8] {
        &self.0
    }

    /// Returns the form shown to users, `XXXX-XXXX-XXXX-XXXX`. It is a plain `String`, so the caller must wipe it.
    pub fn grouped(&self) -> String {
        let mut text = String::with_capacity(19);
        for (index, symbol) in self.0.iter().enumerate() {
            if index > 0 && index % 4 == 0 {
                text.push('-');
            }
            text.push(char::from(*symbol));
        }
        text
    }
}

impl std::fmt::Debug for BackupCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BackupCode")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn look_alikes_case_and_hyphens_do_not_matter() {
        let code = BackupCode::parse("0123-4567-89AB-CDEF").unwrap();

        for same in ["o1234567-89abcdef", "OL23456789ABCDEF", "-0-i-2-3456789abcdef"] {
            assert_eq!(BackupCode::parse(same).unwrap().symbols(), code.symbols(), "{same}");
        }
    }

    #[test]
    fn other_symbols_and_lengths_are_no_code() {
        for odd in [
            "",
            "0123-4567-89AB-CDE",
            "0123-4567-89AB-CDEFG",
            "U123-4567-89AB-CDEF",
            "0123 4567 89AB CDEF",
            "0123-4567-89AB-CDÉF",
            "123456",
        ] {
            assert!(BackupCode::parse(odd).is_none(), "{odd}");
        }
    }

    #[test]
    fn bkc_1_all_eighty_bits_are_in_a_code() {
        // Cut into groups of five bits, the two arrays together count from 0 to 31.
        let low = [0x00, 0x44, 0x32, 0x14, 0xc7, 0x42, 0x54, 0xb6, 0x35, 0xcf];
        let high = [0x84, 0x65, 0x3a, 0x56, 0xd7, 0xc6, 0x75, 0xbe, 0x77, 0xdf];

        assert_eq!(BackupCode::from_random(&low).grouped(), "0123-4567-89AB-CDEF");
        assert_eq!(BackupCode::from_random(&high).grouped(), "GHJK-MNPQ-RSTV-WXYZ");
    }

    #[test]
    fn hyphens_are_taken_up_to_the_length_of_the_code() {
        let code = |hyphens: usize| format!("{}0123456789ABCDEF", "-".repeat(hyphens));

        assert!(BackupCode::parse(&code(16)).is_some());
        assert!(BackupCode::parse(&code(17)).is_none());
    }

    #[test]
    fn a_code_does_not_show_itself() {
        assert_eq!(format!("{:?}", BackupCode::from_random(&[1; 10])), "BackupCode");
    }

    proptest! {
        #[test]
        fn bkc_3_what_is_printed_reads_back(random in any::<[u8; 10]>()) {
            let code = BackupCode::from_random(&random);
            let read = BackupCode::parse(&code.grouped()).unwrap();

            prop_assert_eq!(read.symbols(), code.symbols());
            prop_assert_eq!(read.grouped(), code.grouped());
        }

        #[test]
        fn different_bits_give_different_codes(one in any::<[u8; 10]>(), other in any::<[u8; 10]>()) {
            let same = BackupCode::from_random(&one).symbols() == BackupCode::from_random(&other).symbols();

            prop_assert_eq!(same, one == other);
        }
    }
}
