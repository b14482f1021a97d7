//! Short texts that people type: backup codes, one-time passwords, names, addresses, PINs, numbers, ids, public keys.
//! Each has one canonical form, and parsing that form returns it unchanged.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mfad_core::model::{
    BackupCode, CODE_SYMBOLS, Digits, Email, Label, Pin, Serial, Text, TokenInput, UserId, UserName, UserRef, canonical,
};
use mfad_hardware::piv::Slot;
use mfad_service::Recipient;

/// The growth in bytes when compatibility characters are decomposed. The maximum is 11 times (Unicode Standard Annex
/// 15, section 9); the rest is reserve.
const LONGEST_KEY: usize = 16;

fuzz_target!(|data: &[u8]| {
    if let Some(random) = data.first_chunk::<10>() {
        check_same(&BackupCode::from_random(random));
    }
    let Ok(text) = str::from_utf8(data) else { return };
    check_backup_code(text);
    check_token(text);
    check_names(text);
    check_pin(text);
    check_numbers(text);
    let _ = Recipient::parse(text);
});

fn check_backup_code(text: &str) {
    let Some(code) = BackupCode::parse(text) else { return };
    check_same(&code);
    assert_eq!(read(&text.to_ascii_uppercase()), code.symbols());
}

/// Every spelling of a code is parsed as the same code.
fn check_same(code: &BackupCode) {
    let is_symbol = |byte: &u8| (byte.is_ascii_digit() || byte.is_ascii_uppercase()) && !b"ILOU".contains(byte);
    assert!(code.symbols().len() == CODE_SYMBOLS && code.symbols().iter().all(is_symbol));
    let grouped = code.grouped();
    for same in [&grouped, &grouped.to_ascii_lowercase(), &grouped.replace('-', ""), &grouped.replace('1', "l")] {
        assert_eq!(read(same), code.symbols());
    }
}

fn read(text: &str) -> Vec<u8> {
    BackupCode::parse(text).expect("another spelling of a code").symbols().to_vec()
}

fn check_token(text: &str) {
    if let Some(token) = TokenInput::from_text(text) {
        let meant: Vec<u32> = Digits::ALL.iter().filter_map(|digits| token.for_digits(*digits)).collect();
        assert_eq!(meant, [text.parse::<u32>().expect("a token is a number")], "it is meant for one length");
    }
    if let Ok(number) = text.parse::<u64>() {
        let token = TokenInput::from_number(number);
        assert_eq!(token.is_some(), number < 100_000_000);
        for digits in Digits::ALL {
            let value = token.as_ref().and_then(|token| token.for_digits(digits));
            assert!(value.is_none_or(|value| value < digits.modulus() && u64::from(value) == number));
        }
    }
}

fn check_names(text: &str) {
    if let Ok(name) = UserName::parse(text) {
        check_name(text, name.text(), name.key(), 64);
        // A login is a name, an address or an id; a name must not pass for an id.
        assert!(!name.key().contains(':') && UserId::parse(name.key()).is_none());
        assert!(
            UserName::parse(name.key()).is_ok_and(|same| same.key() == name.key()) || name.key().chars().count() > 64
        );
    }
    if let Ok(label) = Label::parse(text) {
        check_name(text, label.text(), label.key(), 64);
    }
    if let Ok(email) = Email::parse(text) {
        check_name(text, email.text(), email.key(), 254);
        assert!(text.contains('@') && !text.contains(char::is_whitespace));
    }
    if let Ok(part) = Text::parse_label_part(text) {
        assert!(part.as_str() == text && !text.contains(':') && Text::parse(text, 64).is_ok());
    }
}

fn check_name(text: &str, kept: &str, key: &str, longest: usize) {
    assert_eq!(kept, text);
    assert!(text.trim() == text && (1..=longest).contains(&text.chars().count()) && !text.contains(char::is_control));
    assert!(!key.is_empty() && key.len() <= LONGEST_KEY * text.len());
    assert_eq!(canonical(key), key, "the key of a key is that key");
}

fn check_pin(text: &str) {
    let Some(pin) = Pin::parse(text) else { return };
    let normal = pin.text().expose();
    assert!(normal.chars().count() >= 4 && normal.len() <= 63);
    assert_eq!(Pin::parse(normal).expect("a PIN in its normal form").text().expose(), normal);
}

fn check_numbers(text: &str) {
    assert!(Serial::parse(text).is_none_or(|serial| serial.to_string() == text));
    assert!(Slot::parse(text).is_none_or(|slot| slot.to_string() == text.to_ascii_lowercase()));
    let id = UserId::parse(text);
    assert!(id.is_none_or(|id| id.to_string() == text.to_ascii_lowercase()));
    assert!(
        id.is_none_or(|id| UserId::from_slice(id.as_bytes()) == Some(id) && UserRef::parse(text) == UserRef::Id(id))
    );
}
