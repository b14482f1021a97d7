//! The OATH applet: accounts, codes, password. Every session with it begins with SELECT (HW-2). Knows no factor.

use data_encoding::BASE64_NOPAD;
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha512};
use zeroize::Zeroizing;

use crate::card::{CardFault, CardSession, Command, DONE, SEND_REMAINING, tlv};
use mfad_core::entropy;
use mfad_core::model::{AccountName, Algorithm, DeviceId, Digits, Firmware, OtpKind, Profile, Sensitive};

use super::access::AccessKey;

const APPLICATION: [u8; 7] = [0xa0, 0x00, 0x00, 0x05, 0x27, 0x21, 0x01];

const PUT: u8 = 0x01;
const DELETE: u8 = 0x02;
const SET_CODE: u8 = 0x03;
const RESET: u8 = 0x04;
const RENAME: u8 = 0x05;
const LIST: u8 = 0xa1;
const CALCULATE: u8 = 0xa2;
const VALIDATE: u8 = 0xa3;
const CALCULATE_ALL: u8 = 0xa4;
/// P2 of CALCULATE and CALCULATE ALL: the whole HMAC, or four bytes of it.
const WHOLE: u8 = 0x00;
const TRUNCATED: u8 = 0x01;

const TAG_NAME: u8 = 0x71;
const TAG_LISTED: u8 = 0x72;
const TAG_KEY: u8 = 0x73;
const TAG_CHALLENGE: u8 = 0x74;
const TAG_RESPONSE: u8 = 0x75;
const TAG_TRUNCATED: u8 = 0x76;
const TAG_HOTP: u8 = 0x77;
const TAG_PROPERTY: u8 = 0x78;
const TAG_VERSION: u8 = 0x79;
const TAG_COUNTER: u8 = 0x7a;
const TAG_TOUCH: u8 = 0x7c;
/// The property that makes an account require a touch.
const REQUIRES_TOUCH: u8 = 0x02;

const HOTP: u8 = 0x10;
const TOTP: u8 = 0x20;
/// The shortest HMAC key that the applet accepts, in bytes. Shorter ones are padded with zeros, as HMAC would do.
const SHORTEST_KEY: usize = 14;
const CHALLENGE_LENGTH: usize = 8;

/// An account as LIST reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The name of the account on the key.
    pub name: AccountName,
    /// Whether it is counter-based (HOTP); otherwise it is time-based (TOTP).
    pub is_hotp: bool,
    /// The hash function of its HMAC.
    pub algorithm: Algorithm,
}

/// An account to be written.
pub struct NewAccount<'a> {
    /// The name of the account on the key.
    pub name: &'a AccountName,
    /// The parameters. The applet does not store the period, which is part of the name.
    pub profile: &'a Profile,
    /// The key of the HMAC.
    pub seed: &'a Sensitive<Vec<u8>>,
    /// Whether each code needs a touch.
    pub touch: bool,
    /// The first counter of a HOTP account; 0 for TOTP.
    pub counter: u32,
}

/// The kind of response that CALCULATE ALL gives for an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccountKind {
    /// A code. It needs no touch.
    Code,
    /// No code, since the account has a counter, which is left alone.
    Hotp,
    /// No code, since the account needs a touch.
    Touch,
}

/// The OATH applet of a card, selected.
pub struct Applet<'a, 'card> {
    session: &'a mut CardSession<'card>,
    version: Firmware,
    salt: Vec<u8>,
    /// The challenge of the applet; present until its password has been given.
    challenge: Option<Vec<u8>>,
    has_password: bool,
}

impl<'a, 'card> Applet<'a, 'card> {
    /// Selects the applet. Fails with [`CardFault::Unsupported`] if the key has none or it is switched off.
    pub fn select(session: &'a mut CardSession<'card>) -> Result<Self, CardFault> {
        let (answer, status) = session.exchange(&Command::select(&APPLICATION), SEND_REMAINING)?;
        match status {
            DONE => {}
            // Not found, or not usable in the present state (ISO 7816-4 section 5.6).
            0x6a82 | 0x6d00 | 0x6985 | 0x6999 => {
                return Err(CardFault::Unsupported("it has no OATH application, or it is switched off"));
            }
            other => return Err(CardFault::Status(other)),
        }
        let (mut version, mut salt, mut challenge) = (None, None, None);
        for value in tlv::parse(answer.expose())? {
            match value.tag {
                TAG_VERSION => version = <[u8; 3]>::try_from(value.value).ok(),
                TAG_NAME => salt = Some(value.value.to_vec()),
                TAG_CHALLENGE => challenge = Some(value.value.to_vec()),
                // Such as the algorithm of the password proof, of which there is only one.
                _ => {}
            }
        }
        let [major, minor, patch] = version.ok_or(CardFault::Nonsense("an applet without a version"))?;
        let salt = salt.filter(|salt| !salt.is_empty()).ok_or(CardFault::Nonsense("an applet without a salt"))?;
        // The applet sends a challenge only if a password is set (YKOATH, SELECT).
        let has_password = challenge.is_some();
        Ok(Self { session, version: Firmware(major, minor, patch), salt, challenge, has_password })
    }

    /// The version of the applet. From 4.0 on it is the version of the firmware.
    pub fn version(&self) -> Firmware {
        self.version
    }

    /// The identity of the applet, which a reset changes.
    pub fn device_id(&self) -> Result<DeviceId, CardFault> {
        let digest = Sha256::digest(&self.salt);
        let text = BASE64_NOPAD.encode(digest.get(..16).unwrap_or_default());
        DeviceId::from_text(text).ok_or(CardFault::Nonsense("no identity"))
    }

    /// The salt of the password; see [`AccessKey::derive`].
    pub fn salt(&self) -> &[u8] {
        &self.salt
    }

    /// Whether the password still has to be given.
    pub fn is_locked(&self) -> bool {
        self.challenge.is_some()
    }

    /// Whether a password is set, also after it has been given.
    pub fn has_password(&self) -> bool {
        self.has_password
    }

    /// Unlocks the applet for this session (VALIDATE). Both sides prove that they know the password.
    pub fn unlock(&mut self, key: &AccessKey) -> Result<(), CardFault> {
        let Some(challenge) = &self.challenge else { return Ok(()) };
        let ours = challenge_bytes()?;
        let command =
            Command::new(VALIDATE, 0, 0).tlv(TAG_RESPONSE, &key.respond(challenge)?).tlv(TAG_CHALLENGE, &ours);
        let (answer, status) = self.session.exchange(&command, SEND_REMAINING)?;
        match status {
            DONE => {}
            0x6a80 | 0x6984 | 0x6982 => return Err(CardFault::WrongPassword),
            other => return Err(CardFault::Status(other)),
        }
        let theirs = tlv::only(answer.expose(), TAG_RESPONSE)?;
        // A device that accepts any password cannot answer our challenge.
        if !bool::from(subtle::ConstantTimeEq::ct_eq(theirs, key.respond(&ours)?.as_slice())) {
            return Err(CardFault::Nonsense("it does not know its own password"));
        }
        self.challenge = None;
        Ok(())
    }

    /// Sets the password, or removes it (SET CODE).
    pub fn set_password(&mut self, key: Option<&AccessKey>) -> Result<(), CardFault> {
        let command = Command::new(SET_CODE, 0, 0);
        let command = match key {
            Some(key) => {
                // The applet checks the response, so a damaged key is not set.
                let challenge = challenge_bytes()?;
                let response = key.respond(&challenge)?;
                let mut value = Zeroizing::new(vec![TOTP | algorithm_code(Algorithm::Sha1)]);
                value.extend_from_slice(key.bytes().expose());
                command.tlv(TAG_KEY, &value).tlv(TAG_CHALLENGE, &challenge).tlv(TAG_RESPONSE, &response)
            }
            None => command.tlv(TAG_KEY, &[]),
        };
        self.run(&command)?;
        self.has_password = key.is_some();
        Ok(())
    }

    /// Returns all accounts, also those of other programs (LIST).
    pub fn list(&mut self) -> Result<Vec<Account>, CardFault> {
        let answer = self.run(&Command::new(LIST, 0, 0))?;
        let values = tlv::parse(answer.expose())?;
        values.iter().map(|value| if value.tag == TAG_LISTED { account(value.value) } else { Err(ODD_LIST) }).collect()
    }

    /// Writes an account (PUT). One of the same name is replaced without warning, so LIST first (HW-5).
    pub fn put(&mut self, new: &NewAccount<'_>) -> Result<(), CardFault> {
        if new.touch && !self.version.has_touch() {
            return Err(CardFault::Unsupported("accounts that require a touch need firmware 4.2.6"));
        }
        if new.profile.algorithm == Algorithm::Sha512 && !self.version.has_sha512() {
            return Err(CardFault::Unsupported("SHA-512 needs firmware 4.3.1"));
        }
        let kind = match new.profile.moving {
            OtpKind::Totp(_) => TOTP,
            OtpKind::Hotp => HOTP,
        };
        let mut value = Zeroizing::new(Vec::with_capacity(128));
        value.push(kind | algorithm_code(new.profile.algorithm));
        value.push(new.profile.digits.count());
        value.extend_from_slice(&card_key(new.seed, new.profile.algorithm));
        let mut command = Command::new(PUT, 0, 0).tlv(TAG_NAME, new.name.as_bytes()).tlv(TAG_KEY, &value);
        if new.touch {
            // The property has no length byte (YKOATH, PUT).
            command = command.raw(&[TAG_PROPERTY, REQUIRES_TOUCH]);
        }
        // A counter of 0 is the default of the applet.
        if new.counter > 0 {
            command = command.tlv(TAG_COUNTER, &new.counter.to_be_bytes());
        }
        self.run(&command).map(drop)
    }

    /// Returns the whole HMAC over a challenge, for an account that needs no touch (CALCULATE). A HOTP account uses its
    /// counter as the challenge instead, and advances it.
    pub fn calculate(&mut self, name: &AccountName, challenge: &[u8; 8]) -> Result<Sensitive<Vec<u8>>, CardFault> {
        let (answer, status) = self.session.exchange(&calculation(name, challenge, WHOLE), SEND_REMAINING)?;
        let value = self.calculated(&answer, status, TAG_RESPONSE)?;
        // The first byte is the number of digits.
        value.expose().get(1..).map(|hmac| Sensitive::new(hmac.to_vec())).ok_or(CardFault::Nonsense("an empty HMAC"))
    }

    /// Returns the code for a challenge as a number. Waits for a touch if the account needs one.
    pub fn code(&mut self, name: &AccountName, challenge: &[u8; 8], digits: Digits) -> Result<u32, CardFault> {
        let command = calculation(name, challenge, TRUNCATED);
        let (answer, status) = self.session.exchange_with_touch(&command, SEND_REMAINING)?;
        let value = self.calculated(&answer, status, TAG_TRUNCATED)?;
        let [told, a, b, c, d] = <[u8; 5]>::try_from(value.expose().as_slice())
            .map_err(|_| CardFault::Nonsense("a code of another length"))?;
        // The account has other parameters than the factor.
        if told != digits.count() {
            return Err(CardFault::Nonsense("a code with another number of digits"));
        }
        let truncated = u32::from_be_bytes([a, b, c, d]) & 0x7fff_ffff;
        truncated.checked_rem(digits.modulus()).ok_or(CardFault::Nonsense("no code"))
    }

    fn calculated(&self, answer: &Sensitive<Vec<u8>>, status: u16, tag: u8) -> Result<Sensitive<Vec<u8>>, CardFault> {
        // The applet has one status word for a missing password and a missing touch.
        if status == 0x6982 && !self.is_locked() {
            return Err(CardFault::NotTouched);
        }
        checked(status)?;
        tlv::only(answer.expose(), tag).map(|value| Sensitive::new(value.to_vec()))
    }

    /// Returns what each account needs before it gives a code (CALCULATE ALL). No counter moves.
    pub fn shown(&mut self) -> Result<Vec<(AccountName, AccountKind)>, CardFault> {
        // The challenge does not matter: only the kind of each response is read.
        let command = Command::new(CALCULATE_ALL, 0, TRUNCATED).tlv(TAG_CHALLENGE, &[0; CHALLENGE_LENGTH]);
        let answer = self.run(&command)?;
        let values = tlv::parse(answer.expose())?;
        values
            .chunks(2)
            .map(|pair| match pair {
                [name, shown] if name.tag == TAG_NAME => {
                    let name = AccountName::from_bytes(name.value).ok_or(ODD_LIST)?;
                    Ok((name, shown_of(shown.tag)?))
                }
                _ => Err(ODD_LIST),
            })
            .collect()
    }

    /// Removes an account (DELETE). Fails with [`CardFault::NoSuchAccount`] if there is none of that name.
    pub fn delete(&mut self, name: &AccountName) -> Result<(), CardFault> {
        self.run(&Command::new(DELETE, 0, 0).tlv(TAG_NAME, name.as_bytes())).map(drop)
    }

    /// Renames an account (RENAME), from firmware 5.3.1 on.
    pub fn rename(&mut self, name: &AccountName, new: &AccountName) -> Result<(), CardFault> {
        if !self.version.has_rename() {
            return Err(CardFault::Unsupported("renaming needs firmware 5.3.1"));
        }
        let command = Command::new(RENAME, 0, 0).tlv(TAG_NAME, name.as_bytes()).tlv(TAG_NAME, new.as_bytes());
        self.run(&command).map(drop)
    }

    /// Removes all accounts and the password (RESET). Afterwards the applet has another identity.
    pub fn reset(self) -> Result<(), CardFault> {
        let Self { session, .. } = self;
        // P1 and P2 are fixed for this command (YKOATH, RESET).
        let (_, status) = session.exchange(&Command::new(RESET, 0xde, 0xad), SEND_REMAINING)?;
        checked(status)
    }

    fn run(&mut self, command: &Command) -> Result<Sensitive<Vec<u8>>, CardFault> {
        let (answer, status) = self.session.exchange(command, SEND_REMAINING)?;
        checked(status)?;
        Ok(answer)
    }
}

const ODD_LIST: CardFault = CardFault::Nonsense("an account that cannot be read");

/// Maps a status word to its meaning (YKOATH; ISO 7816-4 section 5.6). An unknown one is a clean failure (HW-6).
fn checked(status: u16) -> Result<(), CardFault> {
    match status {
        DONE => Ok(()),
        0x6a84 => Err(CardFault::Full),
        0x6982 => Err(CardFault::Locked),
        0x6984 => Err(CardFault::NoSuchAccount),
        0x6d00 => Err(CardFault::Unsupported("it does not know this command")),
        other => Err(CardFault::Status(other)),
    }
}

fn calculation(name: &AccountName, challenge: &[u8; 8], form: u8) -> Command {
    Command::new(CALCULATE, 0, form).tlv(TAG_NAME, name.as_bytes()).tlv(TAG_CHALLENGE, challenge)
}

fn account(value: &[u8]) -> Result<Account, CardFault> {
    let (kind, name) = value.split_first().ok_or(ODD_LIST)?;
    let algorithm = match kind & 0x0f {
        0x01 => Algorithm::Sha1,
        0x02 => Algorithm::Sha256,
        0x03 => Algorithm::Sha512,
        _ => return Err(ODD_LIST),
    };
    let is_hotp = match kind & 0xf0 {
        HOTP => true,
        TOTP => false,
        _ => return Err(ODD_LIST),
    };
    Ok(Account { name: AccountName::from_bytes(name).ok_or(ODD_LIST)?, is_hotp, algorithm })
}

fn shown_of(tag: u8) -> Result<AccountKind, CardFault> {
    match tag {
        TAG_RESPONSE | TAG_TRUNCATED => Ok(AccountKind::Code),
        TAG_HOTP => Ok(AccountKind::Hotp),
        TAG_TOUCH => Ok(AccountKind::Touch),
        _ => Err(ODD_LIST),
    }
}

fn algorithm_code(algorithm: Algorithm) -> u8 {
    match algorithm {
        Algorithm::Sha1 => 0x01,
        Algorithm::Sha256 => 0x02,
        Algorithm::Sha512 => 0x03,
    }
}

/// Returns the HMAC key as the applet expects it. A key longer than a block is hashed, as HMAC would do (RFC 2104
/// section 2). A key of less than 14 bytes is padded.
fn card_key(seed: &Sensitive<Vec<u8>>, algorithm: Algorithm) -> Zeroizing<Vec<u8>> {
    let seed = seed.expose();
    let block = match algorithm {
        Algorithm::Sha1 | Algorithm::Sha256 => 64,
        Algorithm::Sha512 => 128,
    };
    let mut key = if seed.len() > block {
        match algorithm {
            Algorithm::Sha1 => Sha1::digest(seed).to_vec(),
            Algorithm::Sha256 => Sha256::digest(seed).to_vec(),
            Algorithm::Sha512 => Sha512::digest(seed).to_vec(),
        }
    } else {
        seed.clone()
    };
    if key.len() < SHORTEST_KEY {
        key.resize(SHORTEST_KEY, 0);
    }
    Zeroizing::new(key)
}

fn challenge_bytes() -> Result<[u8; CHALLENGE_LENGTH], CardFault> {
    entropy::public().map_err(|_| CardFault::Nonsense("no random bytes for a challenge"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_hashed_when_long_and_padded_when_short() {
        let key = |length: usize, algorithm| card_key(&Sensitive::new(vec![7; length]), algorithm);

        assert_eq!(*key(20, Algorithm::Sha1), vec![7; 20]);
        assert_eq!(key(65, Algorithm::Sha1).len(), 20);
        assert_eq!(key(65, Algorithm::Sha256).len(), 32);
        assert_eq!(key(128, Algorithm::Sha512).len(), 128);
        assert_eq!(key(129, Algorithm::Sha512).len(), 64);
        assert_eq!(*key(10, Algorithm::Sha1), [&[7u8; 10][..], &[0; 4]].concat());
    }
}
