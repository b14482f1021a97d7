//! The OATH applet (YKOATH, Yubico's protocol). The time comes in as the challenge: like the real applet, it has no
//! clock.

use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::{Sha256, Sha512};

use super::key::{
    Answer, Command, Firmware, Identity, NO_SPACE, NO_SUCH_INSTRUCTION, NO_SUCH_OBJECT, NOT_ALLOWED, NOT_NOW, Touch,
    WRONG_LENGTH, WRONG_PARAMETERS, WRONG_SYNTAX,
};
use super::model::Model;
use super::tlv;

/// Kind of a counter-based account (RFC 4226).
pub const HOTP: u8 = 0x10;
/// Kind of a time-based account (RFC 6238).
pub const TOTP: u8 = 0x20;

pub const SHA1: u8 = 0x01;
pub const SHA256: u8 = 0x02;
pub const SHA512: u8 = 0x03;

const PUT: u8 = 0x01;
const DELETE: u8 = 0x02;
const SET_CODE: u8 = 0x03;
const RESET: u8 = 0x04;
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
const SERIAL: u8 = 0x8F;

const TOUCH_PROPERTY: u8 = 0x02;

/// Rounds of PBKDF2 and length in bytes of the key that Yubico's programs derive from a password.
const ROUNDS: usize = 1000;
const DERIVED: usize = 16;

/// An account as stored on the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    pub name: Vec<u8>,
    /// Either [`HOTP`] or [`TOTP`].
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

    /// Returns the code that an authenticator shows for this account at that time, in seconds since 1970. The period is
    /// the number before the first slash of the name, or 30 seconds.
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

/// The state outside the applet on which its responses depend.
pub(super) struct Conditions {
    pub model: Model,
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
    pub is_touch_loose: bool,
    pub is_false: bool,
    pub lacks_calculate_all: bool,
    access: Option<Access>,
    challenge: [u8; 8],
    unlocked: bool,
}

impl Oath {
    pub(super) fn new() -> Self {
        Self {
            salt: random(),
            accounts: Vec::new(),
            is_touch_loose: false,
            is_false: false,
            lacks_calculate_all: false,
            access: None,
            challenge: random(),
            unlocked: false,
        }
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

    pub(super) fn select(&mut self, identity: &Identity) -> Vec<u8> {
        let (major, minor, patch) = identity.firmware;
        if identity.model == Model::Nitrokey {
            // Another salt each time.
            let mut out = tlv::one(VERSION, &[major, minor, patch]);
            tlv::push(&mut out, NAME, &random());
            tlv::push(&mut out, SERIAL, &identity.serial.to_be_bytes());
            self.unlocked = true;
            return out;
        }
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
        let model = conditions.model;
        let is_change = model.changes_by_touch() && is_change(command.ins, &command.data, model);
        if is_change && conditions.touch == Touch::Refused {
            return Err(model.untouched());
        }
        let is_nitrokey = model == Model::Nitrokey;
        match command.ins {
            PUT => self.put(&command.data, conditions),
            DELETE => self.delete(&command.data, model),
            // On a Nitrokey the instruction asks for a status of another kind.
            SET_CODE if is_nitrokey => Ok(vec![4, 16, 0, 0x42, 0x42, 0x42]),
            SET_CODE => self.set_code(&command.data),
            RESET if model == Model::CanoKey => Err(NO_SUCH_INSTRUCTION),
            RESET => self.reset(command.p1, command.p2, model),
            ins if ins == model.rename() => self.rename(&command.data, conditions),
            LIST => listed(self.list(is_nitrokey && command.data == [1]), model),
            CALCULATE if is_nitrokey && command.p2 == 0 => Err(NO_SUCH_INSTRUCTION),
            CALCULATE => self.calculate(&command.data, is_truncated(command.p2)?, conditions),
            VALIDATE if is_nitrokey => Err(NO_SUCH_INSTRUCTION),
            VALIDATE => self.validate(&command.data, model),
            CALCULATE_ALL if is_nitrokey || self.lacks_calculate_all => Err(NO_SUCH_INSTRUCTION),
            CALCULATE_ALL => {
                self.calculate_all(&command.data, is_truncated(command.p2)?).and_then(|list| listed(list, model))
            }
            _ => Err(NO_SUCH_INSTRUCTION),
        }
    }

    fn put(&mut self, data: &[u8], conditions: &Conditions) -> Answer {
        let mut account = parse_account(data, conditions)?;
        // Dropped without a word.
        account.touch &= conditions.model != Model::Pico;
        if let Some(same) = self.accounts.iter_mut().find(|same| same.name == account.name) {
            if let Some(refusal) = conditions.model.exists() {
                return Err(refusal);
            }
            *same = account;
        } else if self.accounts.len() < conditions.capacity {
            self.accounts.push(account);
        } else {
            return Err(NO_SPACE);
        }
        Ok(Vec::new())
    }

    fn delete(&mut self, data: &[u8], model: Model) -> Answer {
        let [name] = fields(data, [NAME])?;
        let at = self.position(name).map_err(|_| model.absent())?;
        self.accounts.remove(at);
        Ok(Vec::new())
    }

    fn rename(&mut self, data: &[u8], conditions: &Conditions) -> Answer {
        if conditions.model == Model::YubiKey && conditions.firmware < (5, 3, 1) {
            return Err(NO_SUCH_INSTRUCTION);
        }
        let [old, new] = fields(data, [NAME, NAME])?;
        let at = self.position(old).map_err(|_| conditions.model.absent())?;
        if !is_name(new) || self.position(new).is_ok_and(|other| other != at) {
            return Err(WRONG_SYNTAX);
        }
        self.accounts[at].name = new.to_vec();
        Ok(Vec::new())
    }

    fn set_code(&mut self, data: &[u8]) -> Answer {
        if self.is_false {
            return Ok(Vec::new());
        }
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

    fn validate(&mut self, data: &[u8], model: Model) -> Answer {
        let access = self.access.as_ref().ok_or(NO_SUCH_OBJECT)?;
        let [response, theirs] = fields(data, [RESPONSE, CHALLENGE])?;
        if hmac(access.algorithm, &access.key, &self.challenge) != response {
            return Err(if model == Model::Pico { NO_SUCH_OBJECT } else { WRONG_SYNTAX });
        }
        self.unlocked = true;
        Ok(tlv::one(RESPONSE, &hmac(access.algorithm, &access.key, theirs)))
    }

    fn reset(&mut self, p1: u8, p2: u8, model: Model) -> Answer {
        if (p1, p2) != (0xDE, 0xAD) {
            return Err(WRONG_PARAMETERS);
        }
        if self.is_false {
            return Ok(Vec::new());
        }
        // The salt of pico-fido comes from the chip.
        let salt = if model == Model::Pico { self.salt } else { random() };
        let Self { is_touch_loose, is_false, lacks_calculate_all, .. } = *self;
        *self = Self { salt, unlocked: true, is_touch_loose, is_false, lacks_calculate_all, ..Self::new() };
        Ok(Vec::new())
    }

    fn list(&self, with_properties: bool) -> Vec<u8> {
        let mut out = Vec::new();
        for account in &self.accounts {
            let mut entry = [&[account.kind_and_algorithm()][..], &account.name].concat();
            if with_properties {
                entry.push(u8::from(account.touch));
            }
            tlv::push(&mut out, LISTED, &entry);
        }
        out
    }

    fn calculate(&mut self, data: &[u8], truncated: bool, conditions: &Conditions) -> Answer {
        let model = conditions.model;
        let [name, challenge] = fields(data, [NAME, CHALLENGE])?;
        let at = self.position(name).map_err(|_| model.absent())?;
        let is_loose = self.is_touch_loose;
        let account = &mut self.accounts[at];
        if account.touch && !is_loose && conditions.touch == Touch::Refused {
            return Err(model.untouched());
        }
        if !matches!(account.kind, HOTP | TOTP) {
            return Err(NOT_NOW);
        }
        if model == Model::Nitrokey && account.algorithm == SHA512 {
            return Err(0x6A81);
        }
        // A CanoKey raises the counter before it uses it.
        if account.kind == HOTP && model == Model::CanoKey {
            account.counter += 1;
            let mac = account.response(&account.counter.to_be_bytes());
            return Ok(response(account.digits, &mac, truncated));
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

/// Returns the values of elements with exactly these tags in this order.
fn fields<const N: usize>(data: &[u8], tags: [u8; N]) -> Result<[&[u8]; N], u16> {
    let elements = tlv::parse(data).ok_or(WRONG_SYNTAX)?;
    if !elements.iter().map(|(tag, _)| *tag).eq(tags) {
        return Err(WRONG_SYNTAX);
    }
    Ok(std::array::from_fn(|at| elements[at].1))
}

/// Whether a command changes accounts, so that some keys want a touch for it.
pub(super) fn is_change(ins: u8, data: &[u8], model: Model) -> bool {
    let writes_touch = || {
        let mut rest = data;
        let is_account = tlv::take_tagged(&mut rest, NAME).and(tlv::take_tagged(&mut rest, KEY)).is_some();
        is_account && take_touch(&mut rest)
    };
    matches!(ins, DELETE | RESET) || ins == model.rename() || (ins == PUT && writes_touch())
}

fn parse_account(data: &[u8], conditions: &Conditions) -> Result<Account, u16> {
    let firmware = conditions.firmware;
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
    let is_supported = conditions.model != Model::YubiKey
        || (!touch || firmware >= (4, 2, 6)) && (algorithm != SHA512 || firmware >= (4, 3, 1));
    if !is_well_formed || !is_supported {
        return Err(WRONG_SYNTAX);
    }
    Ok(Account { name: name.to_vec(), kind, algorithm, digits: *digits, key: key.to_vec(), touch, counter })
}

/// Takes the property off the data: the only element of the protocol without a length.
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
/// The list, if it fits into the applet's buffer.
fn listed(list: Vec<u8>, model: Model) -> Answer {
    if list.len() > model.longest_list() { Err(WRONG_LENGTH) } else { Ok(list) }
}

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
mod tests;
