//! The OATH applet, after Yubico's YKOATH protocol. Time comes in as the challenge: like the real one,
//! it has no clock.

use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::{Sha256, Sha512};

use super::key::{
    Answer, Command, Firmware, NO_SPACE, NO_SUCH_INSTRUCTION, NO_SUCH_OBJECT, NOT_ALLOWED, Touch, WRONG_PARAMETERS,
    WRONG_SYNTAX,
};
use super::tlv;

/// The kind of an account whose codes follow a counter (RFC 4226).
pub const HOTP: u8 = 0x10;
/// The kind of an account whose codes follow the time (RFC 6238).
pub const TOTP: u8 = 0x20;

pub const SHA1: u8 = 0x01;
pub const SHA256: u8 = 0x02;
pub const SHA512: u8 = 0x03;

const PUT: u8 = 0x01;
const DELETE: u8 = 0x02;
const SET_CODE: u8 = 0x03;
const RESET: u8 = 0x04;
const RENAME: u8 = 0x05;
const LIST: u8 = 0xA1;
const CALCULATE: u8 = 0xA2;
const VALIDATE: u8 = 0xA3;
const CALCULATE_ALL: u8 = 0xA4;

const NAME: u8 = 0x71;
const LISTED: u8 = 0x72;
const KEY: u8 = 0x73;
const CHALLENGE: u8 = 0x74;
const RESPONSE: u8 = 0x75;
const TRUNCATED: u8 = 0x76;
const NO_RESPONSE: u8 = 0x77;
const PROPERTY: u8 = 0x78;
const VERSION: u8 = 0x79;
const INITIAL_COUNTER: u8 = 0x7A;
const ALGORITHM: u8 = 0x7B;
const NEEDS_TOUCH: u8 = 0x7C;

const TOUCH_PROPERTY: u8 = 0x02;

/// The rounds and bytes of the key that Yubico's programs derive from a password.
const ROUNDS: usize = 1000;
const DERIVED: usize = 16;

/// An account as the key keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    pub name: Vec<u8>,
    /// [`HOTP`] or [`TOTP`].
    pub kind: u8,
    /// [`SHA1`], [`SHA256`] or [`SHA512`].
    pub algorithm: u8,
    pub digits: u8,
    pub key: Vec<u8>,
    pub touch: bool,
    pub counter: u64,
}

impl Account {
    /// An account of another program.
    pub fn foreign(name: &str) -> Self {
        let (name, key) = (name.as_bytes().to_vec(), vec![1; 20]);
        Self { name, kind: TOTP, algorithm: SHA1, digits: 6, key, touch: false, counter: 0 }
    }

    /// What an authenticator shows for this account at that time, in seconds since 1970. The period is the
    /// number before the first slash of the name, or 30 seconds.
    pub fn code_at(&self, unix_seconds: u64) -> String {
        let step = unix_seconds / self.period();
        let truncated = truncate(&self.response(&step.to_be_bytes()));
        let code = u64::from(u32::from_be_bytes(truncated)) % 10_u64.pow(self.digits.into());
        format!("{code:0width$}", width = usize::from(self.digits))
    }

    fn period(&self) -> u64 {
        let name = String::from_utf8_lossy(&self.name);
        let number = name.split_once('/').and_then(|(number, _)| number.parse::<u64>().ok());
        number.filter(|period| *period > 0).unwrap_or(30)
    }

    fn response(&self, challenge: &[u8]) -> Vec<u8> {
        hmac(self.algorithm, &self.key, challenge)
    }

    fn kind_and_algorithm(&self) -> u8 {
        self.kind | self.algorithm
    }
}

/// What an answer depends on besides the applet's own memory.
pub(super) struct Conditions {
    pub firmware: Firmware,
    pub capacity: usize,
    pub touch: Touch,
}

struct Access {
    algorithm: u8,
    key: Vec<u8>,
}

pub(super) struct Oath {
    pub salt: [u8; 8],
    pub accounts: Vec<Account>,
    access: Option<Access>,
    challenge: [u8; 8],
    unlocked: bool,
}

impl Oath {
    pub(super) fn new() -> Self {
        Self { salt: random(), accounts: Vec::new(), access: None, challenge: random(), unlocked: false }
    }

    pub(super) fn set_password(&mut self, password: &str) {
        self.access = Some(Access { algorithm: SHA1, key: derived(password.as_bytes(), &self.salt) });
    }

    pub(super) fn has_password(&self) -> bool {
        self.access.is_some()
    }

    pub(super) fn lock(&mut self) {
        self.unlocked = false;
    }

    pub(super) fn select(&mut self, (major, minor, patch): Firmware) -> Vec<u8> {
        self.challenge = random();
        self.unlocked = self.access.is_none();
        let mut out = tlv::one(VERSION, &[major, minor, patch]);
        tlv::push(&mut out, NAME, &self.salt);
        if let Some(access) = &self.access {
            tlv::push(&mut out, CHALLENGE, &self.challenge);
            tlv::push(&mut out, ALGORITHM, &[access.algorithm]);
        }
        out
    }

    pub(super) fn execute(&mut self, command: &Command, conditions: &Conditions) -> Answer {
        if !self.unlocked && !matches!(command.ins, VALIDATE | RESET) {
            return Err(NOT_ALLOWED);
        }
        match command.ins {
            PUT => self.put(&command.data, conditions),
            DELETE => self.delete(&command.data),
            SET_CODE => self.set_code(&command.data),
            RESET => self.reset(command.p1, command.p2),
            RENAME if conditions.firmware >= (5, 3, 1) => self.rename(&command.data),
            LIST => Ok(self.list()),
            CALCULATE => self.calculate(&command.data, is_truncated(command.p2)?, conditions.touch),
            VALIDATE => self.validate(&command.data),
            CALCULATE_ALL => self.calculate_all(&command.data, is_truncated(command.p2)?),
            _ => Err(NO_SUCH_INSTRUCTION),
        }
    }

    fn put(&mut self, data: &[u8], conditions: &Conditions) -> Answer {
        let account = parse_account(data, conditions.firmware)?;
        if let Some(same) = self.accounts.iter_mut().find(|same| same.name == account.name) {
            *same = account;
        } else if self.accounts.len() < conditions.capacity {
            self.accounts.push(account);
        } else {
            return Err(NO_SPACE);
        }
        Ok(Vec::new())
    }

    fn delete(&mut self, data: &[u8]) -> Answer {
        let [name] = fields(data, [NAME])?;
        let at = self.position(name)?;
        self.accounts.remove(at);
        Ok(Vec::new())
    }

    fn rename(&mut self, data: &[u8]) -> Answer {
        let [old, new] = fields(data, [NAME, NAME])?;
        let at = self.position(old)?;
        if !is_name(new) || self.position(new).is_ok_and(|other| other != at) {
            return Err(WRONG_SYNTAX);
        }
        self.accounts[at].name = new.to_vec();
        Ok(Vec::new())
    }

    fn set_code(&mut self, data: &[u8]) -> Answer {
        if matches!(fields(data, [KEY]), Ok([[]])) {
            self.access = None;
            return Ok(Vec::new());
        }
        let [key, challenge, response] = fields(data, [KEY, CHALLENGE, RESPONSE])?;
        let (kind, key) = key.split_first().ok_or(WRONG_SYNTAX)?;
        let algorithm = kind & 0x0F;
        if !is_algorithm(algorithm) || key.is_empty() {
            return Err(WRONG_SYNTAX);
        }
        if hmac(algorithm, key, challenge) != response {
            return Err(NO_SUCH_OBJECT);
        }
        self.access = Some(Access { algorithm, key: key.to_vec() });
        Ok(Vec::new())
    }

    fn validate(&mut self, data: &[u8]) -> Answer {
        let access = self.access.as_ref().ok_or(NO_SUCH_OBJECT)?;
        let [response, theirs] = fields(data, [RESPONSE, CHALLENGE])?;
        if hmac(access.algorithm, &access.key, &self.challenge) != response {
            return Err(WRONG_SYNTAX);
        }
        self.unlocked = true;
        Ok(tlv::one(RESPONSE, &hmac(access.algorithm, &access.key, theirs)))
    }

    fn reset(&mut self, p1: u8, p2: u8) -> Answer {
        if (p1, p2) != (0xDE, 0xAD) {
            return Err(WRONG_PARAMETERS);
        }
        *self = Self { unlocked: true, ..Self::new() };
        Ok(Vec::new())
    }

    fn list(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for account in &self.accounts {
            tlv::push(&mut out, LISTED, &[&[account.kind_and_algorithm()][..], &account.name].concat());
        }
        out
    }

    fn calculate(&mut self, data: &[u8], truncated: bool, touch: Touch) -> Answer {
        let [name, challenge] = fields(data, [NAME, CHALLENGE])?;
        let at = self.position(name)?;
        let account = &mut self.accounts[at];
        if account.touch && touch == Touch::Refused {
            return Err(NOT_ALLOWED);
        }
        if account.kind == TOTP {
            return Ok(response(account.digits, &account.response(challenge), truncated));
        }
        let mac = account.response(&account.counter.to_be_bytes());
        account.counter += 1;
        Ok(response(account.digits, &mac, truncated))
    }

    fn calculate_all(&self, data: &[u8], truncated: bool) -> Answer {
        let [challenge] = fields(data, [CHALLENGE])?;
        let mut out = Vec::new();
        for account in &self.accounts {
            tlv::push(&mut out, NAME, &account.name);
            match account {
                Account { kind: HOTP, digits, .. } => tlv::push(&mut out, NO_RESPONSE, &[*digits]),
                Account { touch: true, digits, .. } => tlv::push(&mut out, NEEDS_TOUCH, &[*digits]),
                _ => out.extend(response(account.digits, &account.response(challenge), truncated)),
            }
        }
        Ok(out)
    }

    fn position(&self, name: &[u8]) -> Result<usize, u16> {
        self.accounts.iter().position(|account| account.name == name).ok_or(NO_SUCH_OBJECT)
    }
}

/// The values of elements with exactly these tags in this order.
fn fields<const N: usize>(data: &[u8], tags: [u8; N]) -> Result<[&[u8]; N], u16> {
    let elements = tlv::parse(data).ok_or(WRONG_SYNTAX)?;
    if !elements.iter().map(|(tag, _)| *tag).eq(tags) {
        return Err(WRONG_SYNTAX);
    }
    Ok(std::array::from_fn(|at| elements[at].1))
}

fn parse_account(data: &[u8], firmware: Firmware) -> Result<Account, u16> {
    let mut rest = data;
    let name = tlv::take_tagged(&mut rest, NAME).filter(|name| is_name(name)).ok_or(WRONG_SYNTAX)?;
    let key = tlv::take_tagged(&mut rest, KEY).ok_or(WRONG_SYNTAX)?;
    let [kind, digits, key @ ..] = key else { return Err(WRONG_SYNTAX) };
    let touch = take_touch(&mut rest);
    let counter = take_counter(&mut rest)?;
    let (kind, algorithm) = (kind & 0xF0, kind & 0x0F);
    let is_well_formed = rest.is_empty()
        && matches!(kind, HOTP | TOTP)
        && is_algorithm(algorithm)
        && (6..=8).contains(digits)
        && (14..=64).contains(&key.len());
    let is_supported = (!touch || firmware >= (4, 2, 6)) && (algorithm != SHA512 || firmware >= (4, 3, 1));
    if !is_well_formed || !is_supported {
        return Err(WRONG_SYNTAX);
    }
    Ok(Account { name: name.to_vec(), kind, algorithm, digits: *digits, key: key.to_vec(), touch, counter })
}

/// The property is the one element of the protocol without a length.
fn take_touch(rest: &mut &[u8]) -> bool {
    let whole: &[u8] = rest;
    let [PROPERTY, bits, after @ ..] = whole else { return false };
    *rest = after;
    bits & TOUCH_PROPERTY != 0
}

fn take_counter(rest: &mut &[u8]) -> Result<u64, u16> {
    if rest.is_empty() {
        return Ok(0);
    }
    let bytes = tlv::take_tagged(rest, INITIAL_COUNTER).ok_or(WRONG_SYNTAX)?;
    let bytes: [u8; 4] = bytes.try_into().map_err(|_| WRONG_SYNTAX)?;
    Ok(u32::from_be_bytes(bytes).into())
}

fn is_name(name: &[u8]) -> bool {
    (1..=64).contains(&name.len())
}

fn is_algorithm(algorithm: u8) -> bool {
    matches!(algorithm, SHA1 | SHA256 | SHA512)
}

fn is_truncated(p2: u8) -> Result<bool, u16> {
    match p2 {
        0x00 => Ok(false),
        0x01 => Ok(true),
        _ => Err(WRONG_PARAMETERS),
    }
}

fn response(digits: u8, mac: &[u8], truncated: bool) -> Vec<u8> {
    let code = truncate(mac);
    let (tag, bytes) = if truncated { (TRUNCATED, &code[..]) } else { (RESPONSE, mac) };
    tlv::one(tag, &[&[digits][..], bytes].concat())
}

/// Dynamic truncation (RFC 4226, 5.3).
fn truncate(mac: &[u8]) -> [u8; 4] {
    let offset = usize::from(mac[mac.len() - 1] & 0x0F);
    [mac[offset] & 0x7F, mac[offset + 1], mac[offset + 2], mac[offset + 3]]
}

/// PBKDF2 with HMAC-SHA-1 (RFC 8018, 5.2); less than one block of it is needed.
fn derived(password: &[u8], salt: &[u8]) -> Vec<u8> {
    let mut round = hmac(SHA1, password, &[salt, &[0, 0, 0, 1]].concat());
    let mut sum = round.clone();
    for _ in 1..ROUNDS {
        round = hmac(SHA1, password, &round);
        sum.iter_mut().zip(&round).for_each(|(sum, byte)| *sum ^= byte);
    }
    sum.truncate(DERIVED);
    sum
}

fn hmac(algorithm: u8, key: &[u8], message: &[u8]) -> Vec<u8> {
    match algorithm {
        SHA1 => mac::<Hmac<Sha1>>(key, message),
        SHA256 => mac::<Hmac<Sha256>>(key, message),
        SHA512 => mac::<Hmac<Sha512>>(key, message),
        other => panic!("there is no algorithm {other}"),
    }
}

fn mac<M: Mac + KeyInit>(key: &[u8], message: &[u8]) -> Vec<u8> {
    let mut mac = <M as KeyInit>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(message);
    mac.finalize().into_bytes().to_vec()
}

fn random() -> [u8; 8] {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).unwrap();
    bytes
}

#[cfg(test)]
mod tests {
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
        assert_eq!(key.transmit(&apdu(RENAME, 0x00, &names)), [0x6D, 0x00]);
    }

    #[test]
    fn accounts_are_renamed_and_deleted_by_name() {
        let mut key = selected(Key::new(1));
        put(&mut key, "a", TOTP | SHA1, 6, &SEED[..20], &[]);
        let names = [tlv::one(NAME, b"a"), tlv::one(NAME, b"b")].concat();

        assert_eq!(key.transmit(&apdu(RENAME, 0x00, &names)), DONE);
        assert_eq!(key.transmit(&apdu(RENAME, 0x00, &names)), [0x69, 0x84]);
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
}
