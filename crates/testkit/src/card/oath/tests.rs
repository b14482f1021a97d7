//! Tests of the virtual OATH applet against the vectors of RFC 6238 and the YKOATH protocol.

use super::super::key::Key;
use super::*;

const SEED: &[u8] = b"1234567890123456789012345678901234567890123456789012345678901234";
const DONE: [u8; 2] = [0x90, 0x00];

#[test]
fn codes_are_those_of_rfc_6238() {
    let vectors = [
        (SHA1, 20, [(59, "94287082"), (1_111_111_109, "07081804"), (20_000_000_000, "65353130")]),
        (SHA256, 32, [(59, "46119246"), (1_111_111_109, "68084774"), (20_000_000_000, "77737706")]),
        (SHA512, 64, [(59, "90693936"), (1_111_111_109, "25091201"), (20_000_000_000, "47863826")]),
    ];
    for (algorithm, length, codes) in vectors {
        let mut key = selected(Key::new(1));
        assert_eq!(put(&mut key, "rfc", TOTP | algorithm, 8, &SEED[..length], &[]), DONE);

        for (seconds, code) in codes {
            let answer = calculate(&mut key, "rfc", seconds / 30, 0x01);

            assert_eq!(shown(&answer), code, "algorithm {algorithm} at {seconds}");
            assert_eq!(key.code_at("rfc", seconds), code);
        }
    }
}

#[test]
fn the_whole_response_is_truncated_to_the_same_code() {
    let mut key = selected(Key::new(1));
    put(&mut key, "rfc", TOTP | SHA1, 8, &SEED[..20], &[]);

    let whole = calculate(&mut key, "rfc", 1, 0x00);

    assert_eq!(whole[..3], [RESPONSE, 21, 8]);
    let truncated = truncate(&whole[3..23]);
    assert_eq!(u32::from_be_bytes(truncated) % 100_000_000, 94_287_082);
}

#[test]
fn the_period_is_the_number_before_the_slash() {
    let mut key = selected(Key::new(1));
    put(&mut key, "60/slow", TOTP | SHA1, 8, &SEED[..20], &[]);

    assert_eq!(key.code_at("60/slow", 118), "94287082");
}

#[test]
fn a_counter_starts_where_it_was_told_and_moves_with_each_code() {
    let mut key = selected(Key::new(1));
    put(&mut key, "count", HOTP | SHA1, 6, &SEED[..20], &[INITIAL_COUNTER, 4, 0, 0, 0, 1]);

    assert_eq!(shown(&calculate(&mut key, "count", 99, 0x01)), "287082");
    assert_eq!(shown(&calculate(&mut key, "count", 99, 0x01)), "359152");

    assert_eq!(key.accounts()[0].counter, 3);
}

#[test]
fn long_answers_come_in_parts() {
    let mut key = selected(Key::new(1));
    for number in 0..20 {
        put(&mut key, &format!("an account with a long name: {number}"), TOTP | SHA1, 6, &SEED[..20], &[]);
    }

    let mut answer = key.transmit(&[0x00, LIST, 0x00, 0x00, 0x00]);
    assert_eq!((answer.len(), answer[255]), (257, 0x61));
    let mut parts = 1;
    while answer[answer.len() - 2] == 0x61 {
        answer.truncate(answer.len() - 2);
        answer.extend(key.transmit(&[0x00, 0xA5, 0x00, 0x00, 0x00]));
        parts += 1;
    }

    assert_eq!(answer.split_off(answer.len() - 2), DONE);
    assert_eq!(tlv::parse(&answer).unwrap().len(), 20);
    assert_eq!(parts, 3);
}

#[test]
fn a_full_key_takes_no_other_account_but_the_same_one_again() {
    let mut key = selected(Key::new(1).with_capacity(1));
    put(&mut key, "first", TOTP | SHA1, 6, &SEED[..20], &[]);

    assert_eq!(put(&mut key, "second", TOTP | SHA1, 6, &SEED[..20], &[]), [0x6A, 0x84]);
    assert_eq!(put(&mut key, "first", TOTP | SHA1, 8, &SEED[..20], &[]), DONE);

    assert_eq!(key.accounts().iter().map(|account| account.digits).collect::<Vec<_>>(), [8]);
}

#[test]
fn a_locked_applet_opens_to_the_password_until_it_is_selected_again() {
    let mut key = Key::new(1).with_password("correct horse");
    let answer = select(&mut key);
    assert_eq!(key.transmit(&[0x00, LIST, 0x00, 0x00, 0x00]), [0x69, 0x82]);

    let wrong = validate(&mut key, &answer, "battery staple");
    let right = validate(&mut key, &answer, "correct horse");

    assert_eq!(wrong, [0x6A, 0x80]);
    let proof = hmac(SHA1, &derived(b"correct horse", &key.salt()), b"whatever");
    assert_eq!(right, [tlv::one(RESPONSE, &proof).as_slice(), &DONE].concat());
    assert_eq!(key.transmit(&[0x00, LIST, 0x00, 0x00, 0x00]), DONE);
    select(&mut key);
    assert_eq!(key.transmit(&[0x00, LIST, 0x00, 0x00, 0x00]), [0x69, 0x82]);
}

#[test]
fn a_password_is_set_and_removed() {
    let mut key = selected(Key::new(1));
    let secret = derived(b"correct horse", &key.salt());
    let proof = hmac(SHA1, &secret, b"whatever");
    let set = [
        tlv::one(KEY, &[&[TOTP | SHA1][..], &secret].concat()),
        tlv::one(CHALLENGE, b"whatever"),
        tlv::one(RESPONSE, &proof),
    ];

    assert_eq!(key.transmit(&apdu(SET_CODE, 0x00, &set.concat())), DONE);
    assert!(key.has_password());
    assert_eq!(key.transmit(&apdu(SET_CODE, 0x00, &tlv::one(KEY, &[]))), DONE);

    assert!(!key.has_password());
}

#[test]
fn an_account_with_touch_waits_for_it() {
    let mut key = selected(Key::new(1));
    put(&mut key, "touch", TOTP | SHA1, 8, &SEED[..20], &[PROPERTY, TOUCH_PROPERTY]);

    key.touch = Touch::Refused;
    assert_eq!(calculate(&mut key, "touch", 1, 0x01), [0x69, 0x82]);
    let all = key.transmit(&apdu(CALCULATE_ALL, 0x01, &tlv::one(CHALLENGE, &[0; 8])));
    key.touch = Touch::Given;

    assert_eq!(all, [&tlv::one(NAME, b"touch")[..], &[NEEDS_TOUCH, 1, 8], &DONE].concat());
    assert_eq!(shown(&calculate(&mut key, "touch", 1, 0x01)), "94287082");
}

#[test]
fn old_firmware_refuses_what_it_does_not_know() {
    let mut key = selected(Key::new(1).with_firmware(4, 2, 5));

    assert_eq!(put(&mut key, "a", TOTP | SHA1, 6, &SEED[..20], &[PROPERTY, TOUCH_PROPERTY]), [0x6A, 0x80]);
    assert_eq!(put(&mut key, "a", TOTP | SHA512, 6, &SEED[..20], &[]), [0x6A, 0x80]);
    let names = [tlv::one(NAME, b"a"), tlv::one(NAME, b"b")].concat();
    assert_eq!(key.transmit(&apdu(0x05, 0x00, &names)), [0x6D, 0x00]);
}

#[test]
fn accounts_are_renamed_and_deleted_by_name() {
    let mut key = selected(Key::new(1));
    put(&mut key, "a", TOTP | SHA1, 6, &SEED[..20], &[]);
    let names = [tlv::one(NAME, b"a"), tlv::one(NAME, b"b")].concat();

    assert_eq!(key.transmit(&apdu(0x05, 0x00, &names)), DONE);
    assert_eq!(key.transmit(&apdu(0x05, 0x00, &names)), [0x69, 0x84]);
    assert_eq!(key.transmit(&apdu(DELETE, 0x00, &tlv::one(NAME, b"b"))), DONE);
    assert_eq!(key.transmit(&apdu(DELETE, 0x00, &tlv::one(NAME, b"b"))), [0x69, 0x84]);
}

#[test]
fn a_reset_forgets_everything_and_changes_the_salt() {
    let mut key = Key::new(1).with_password("correct horse");
    let salt = key.salt();
    select(&mut key);

    assert_eq!(key.transmit(&[0x00, RESET, 0xDE, 0xAD, 0x00]), DONE);

    assert!(!key.has_password());
    assert_ne!(key.salt(), salt);
}

fn apdu(ins: u8, p2: u8, data: &[u8]) -> Vec<u8> {
    [&[0x00, ins, 0x00, p2, data.len() as u8][..], data].concat()
}

fn select(key: &mut Key) -> Vec<u8> {
    key.transmit(&[0x00, 0xA4, 0x04, 0x00, 0x07, 0xA0, 0x00, 0x00, 0x05, 0x27, 0x21, 0x01])
}

fn selected(mut key: Key) -> Key {
    select(&mut key);
    key
}

fn put(key: &mut Key, name: &str, kind: u8, digits: u8, secret: &[u8], more: &[u8]) -> Vec<u8> {
    let parts = [tlv::one(NAME, name.as_bytes()), tlv::one(KEY, &[&[kind, digits][..], secret].concat())];
    key.transmit(&apdu(PUT, 0x00, &[parts.concat().as_slice(), more].concat()))
}

fn calculate(key: &mut Key, name: &str, step: u64, p2: u8) -> Vec<u8> {
    let parts = [tlv::one(NAME, name.as_bytes()), tlv::one(CHALLENGE, &step.to_be_bytes())];
    key.transmit(&apdu(CALCULATE, p2, &parts.concat()))
}

/// Proves the password against the challenge in the answer to SELECT.
fn validate(key: &mut Key, selected: &[u8], password: &str) -> Vec<u8> {
    let elements = tlv::parse(&selected[..selected.len() - 2]).unwrap();
    let (_, challenge) = elements.into_iter().find(|(tag, _)| *tag == CHALLENGE).unwrap();
    let proof = hmac(SHA1, &derived(password.as_bytes(), &key.salt()), challenge);
    let parts = [tlv::one(RESPONSE, &proof), tlv::one(CHALLENGE, b"whatever")];
    key.transmit(&apdu(VALIDATE, 0x00, &parts.concat()))
}

fn shown(answer: &[u8]) -> String {
    let [TRUNCATED, 5, digits, bytes @ .., 0x90, 0x00] = answer else { panic!("no code: {answer:02X?}") };
    let number = u32::from_be_bytes(bytes.try_into().unwrap());
    let width = usize::from(*digits);
    format!("{:0width$}", u64::from(number) % 10_u64.pow(u32::from(*digits)))
}
