//! The OATH applet: accounts, codes, password. Every session with it begins with SELECT (HW-2). Knows no factor.

use data_encoding::BASE64_NOPAD;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use std::time::Duration;

use crate::card::{CardFault, CardSession, Command, DONE, OATH, tlv};
use crate::device::DeviceFault;
use mfad_core::entropy;
use mfad_core::model::{AccountName, Algorithm, DeviceId, Digits, Firmware, OtpKind, Profile, Sensitive};
use mfad_core::stopwatch::Stopwatch;

use super::access::AccessKey;
use super::account::{
    Account, AccountKind, Gives, HOTP, NewAccount, ODD_LIST, TAG_RESPONSE, TAG_TRUNCATED, TOTP, Touch, account,
    algorithm_code, card_key, shown_of,
};
use super::dialect::{Answers, Dialect, Kinds};

const PUT: u8 = 0x01;
const DELETE: u8 = 0x02;
const SET_CODE: u8 = 0x03;
const RESET: u8 = 0x04;
const LIST: u8 = 0xa1;
const CALCULATE: u8 = 0xa2;
const VALIDATE: u8 = 0xa3;
const CALCULATE_ALL: u8 = 0xa4;
/// P2 of CALCULATE and CALCULATE ALL: the whole HMAC, or four bytes of it.
const WHOLE: u8 = 0x00;
const TRUNCATED: u8 = 0x01;

/// The size of an account in a response to CALCULATE ALL, without its name, in bytes: two heads, the number of digits and
/// a code.
const SHOWN_WITH_NAME: usize = 9;

const WRONG_LENGTH: u16 = 0x6700;
const LISTS_NONE: &str = "it has more accounts than it can list; delete some with the maker's program";

const TAG_NAME: u8 = 0x71;
const TAG_LISTED: u8 = 0x72;
const TAG_KEY: u8 = 0x73;
const TAG_CHALLENGE: u8 = 0x74;
const TAG_PROPERTY: u8 = 0x78;
const TAG_VERSION: u8 = 0x79;
const TAG_COUNTER: u8 = 0x7a;
const TAG_SERIAL: u8 = 0x8f;
/// Asks LIST for the properties of each account, where the applet knows them.
const WITH_PROPERTIES: u8 = 0x01;
/// The bit of a listed property that says that a code needs a touch.
const LISTED_TOUCH: u8 = 0x01;
/// The property that makes an account require a touch.
const REQUIRES_TOUCH: u8 = 0x02;

const CHALLENGE_LENGTH: usize = 8;
/// Nobody touches a key as fast as this. A code that comes sooner came without a touch.
const AT_ONCE: Duration = Duration::from_millis(50);

/// The OATH applet of a card, selected.
pub struct Applet<'a, 'card> {
    session: &'a mut CardSession<'card>,
    dialect: &'static dyn Dialect,
    version: Firmware,
    salt: Vec<u8>,
    /// The serial number, which a Nitrokey reports here.
    serial: Option<Vec<u8>>,
    /// The challenge of the applet; present until its password has been given.
    challenge: Option<Vec<u8>>,
    has_password: bool,
}

impl<'a, 'card> Applet<'a, 'card> {
    /// Selects the applet, which is one of this dialect. Fails with [`CardFault::Unsupported`] if the key has none or it
    /// is switched off.
    pub fn select(session: &'a mut CardSession<'card>, dialect: &'static dyn Dialect) -> Result<Self, CardFault> {
        let (answer, status) = session.exchange(&Command::select(&OATH), dialect.continuation())?;
        match status {
            DONE => {}
            // Not found, or not usable in the present state (ISO 7816-4 section 5.6).
            0x6a82 | 0x6d00 | 0x6985 | 0x6999 => {
                return Err(CardFault::Unsupported("it has no OATH application, or it is switched off"));
            }
            other => return Err(CardFault::Status(other)),
        }
        let (mut version, mut salt, mut challenge, mut serial) = (None, None, None, None);
        for value in tlv::parse(answer.expose())? {
            match value.tag {
                TAG_VERSION => version = <[u8; 3]>::try_from(value.value).ok(),
                TAG_NAME => salt = Some(value.value.to_vec()),
                TAG_CHALLENGE => challenge = Some(value.value.to_vec()),
                TAG_SERIAL => serial = Some(value.value.to_vec()),
                // Such as the algorithm of the password proof, of which there is only one.
                _ => {}
            }
        }
        let [major, minor, patch] = version.ok_or(CardFault::Nonsense("an applet without a version"))?;
        let salt = salt.unwrap_or_default();
        if salt.is_empty() && serial.is_none() {
            return Err(CardFault::Nonsense("an applet without a salt"));
        }
        // The applet sends a challenge only if a password is set (YKOATH, SELECT).
        let has_password = challenge.is_some();
        Ok(Self { session, dialect, version: Firmware(major, minor, patch), salt, serial, challenge, has_password })
    }

    /// How applets of this maker differ from others.
    pub fn dialect(&self) -> &'static dyn Dialect {
        self.dialect
    }

    /// The version of the applet. On a YubiKey it is the version of the firmware, from 4.0 on.
    pub fn version(&self) -> Firmware {
        self.version
    }

    /// The identity of the applet. A reset changes it, unless the dialect says otherwise
    /// ([`Dialect::salt_identifies`]).
    pub fn device_id(&self) -> Result<DeviceId, CardFault> {
        let digest = Sha256::digest(self.serial.as_ref().unwrap_or(&self.salt));
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
        let (answer, status) = self.session.exchange(&command, self.dialect.continuation())?;
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

    /// Sets the password, or removes it (SET CODE). The status word is not believed: the applet must show the change
    /// when it is selected again, and open with the new password.
    pub fn set_password(&mut self, key: Option<&AccessKey>) -> Result<(), CardFault> {
        self.dialect.password().map_err(CardFault::Unsupported)?;
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
        let seen = Applet::select(self.session, self.dialect)?;
        let (challenge, has_password) = (seen.challenge, seen.has_password);
        (self.challenge, self.has_password) = (challenge, has_password);
        match key {
            Some(key) if self.has_password => self.unlock(key),
            None if !self.has_password => Ok(()),
            Some(_) => Err(CardFault::Nonsense("it reports that it set a password, and has none")),
            None => Err(CardFault::Nonsense("it reports that it removed its password, and still has one")),
        }
    }

    /// Returns all accounts, also those of other programs (LIST).
    pub fn list(&mut self) -> Result<Vec<Account>, CardFault> {
        let answer = self.run_list(&Command::new(LIST, 0, 0))?;
        let values = tlv::parse(answer.expose())?;
        values.iter().map(|value| if value.tag == TAG_LISTED { account(value.value) } else { Err(ODD_LIST) }).collect()
    }

    /// Returns whether the profile and the touch are possible with this key.
    pub fn check(&self, profile: &Profile, touch: bool) -> Result<(), CardFault> {
        if touch {
            self.dialect.touch(self.version).map_err(CardFault::Unsupported)?;
        }
        if profile.algorithm == Algorithm::Sha512 {
            self.dialect.sha512(self.version).map_err(CardFault::Unsupported)?;
        }
        Ok(())
    }

    /// Whether an account of this name fits beside these, as far as it can be known before it is written.
    pub fn has_room<'n>(&self, others: impl Iterator<Item = &'n AccountName>, new: &AccountName) -> bool {
        let sizes = others.map(|name| name.as_bytes().len().saturating_add(SHOWN_WITH_NAME));
        let (count, size) =
            sizes.fold((0_u32, 0_usize), |(count, whole), size| (count.saturating_add(1), whole.saturating_add(size)));
        let whole = size.saturating_add(new.as_bytes().len()).saturating_add(SHOWN_WITH_NAME);
        self.dialect.capacity(self.version).is_none_or(|most| count < most)
            && self.dialect.longest_list().is_none_or(|longest| whole <= longest)
    }

    /// Removes an account, if there is one of that name.
    pub fn remove(&mut self, name: &AccountName) -> Result<(), CardFault> {
        match self.delete(name) {
            Ok(()) | Err(CardFault::NoSuchAccount) => Ok(()),
            Err(fault) => Err(fault),
        }
    }

    /// Writes an account whose name is free (PUT). Some applets replace one of the same name without warning, so LIST
    /// first (HW-5).
    pub fn put(&mut self, new: &NewAccount<'_>) -> Result<(), CardFault> {
        self.check(new.profile, new.touch)?;
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
        if new.touch { self.run_change(&command) } else { self.run(&command).map(drop) }
    }

    /// Returns the answer to a challenge (CALCULATE): the whole HMAC, or what the dialect gives of it. A HOTP account
    /// uses its counter as the challenge instead, and advances it. See [`Answers::of`] for what to compare it with.
    pub fn calculate(
        &mut self,
        name: &AccountName,
        challenge: &[u8; 8],
        touch: Touch,
    ) -> Result<Sensitive<Vec<u8>>, CardFault> {
        let (form, tag) = match self.dialect.answers() {
            Answers::Whole => (WHOLE, TAG_RESPONSE),
            Answers::Truncated => (TRUNCATED, TAG_TRUNCATED),
        };
        let value = self.calculated(&calculation(name, challenge, form), tag, touch)?;
        // The first byte is the number of digits.
        value.expose().get(1..).map(|hmac| Sensitive::new(hmac.to_vec())).ok_or(CardFault::Nonsense("an empty HMAC"))
    }

    /// Returns the code for a challenge as a number. Waits for a touch if the account needs one.
    pub fn code(
        &mut self,
        name: &AccountName,
        challenge: &[u8; 8],
        digits: Digits,
        touch: Touch,
    ) -> Result<u32, CardFault> {
        let value = self.calculated(&calculation(name, challenge, TRUNCATED), TAG_TRUNCATED, touch)?;
        let [told, a, b, c, d] = <[u8; 5]>::try_from(value.expose().as_slice())
            .map_err(|_| CardFault::Nonsense("a code of another length"))?;
        // The account has other parameters than the factor.
        if told != digits.count() {
            return Err(CardFault::Nonsense("a code with another number of digits"));
        }
        let truncated = u32::from_be_bytes([a, b, c, d]) & 0x7fff_ffff;
        truncated.checked_rem(digits.modulus()).ok_or(CardFault::Nonsense("no code"))
    }

    fn calculated(&mut self, command: &Command, tag: u8, touch: Touch) -> Result<Sensitive<Vec<u8>>, CardFault> {
        let (rest, at_once) = (self.dialect.continuation(), Stopwatch::start(AT_ONCE));
        let patience = if touch == Touch::NotNeeded { None } else { self.dialect.touch(self.version).ok() };
        let (answer, status) = match patience {
            None => self.session.exchange(command, rest)?,
            Some(patience) => {
                self.session.exchange_with_touch(command, rest, patience).map_err(|fault| match fault {
                    // The key waits longer for a touch than it should.
                    CardFault::Device(DeviceFault::Hung) => CardFault::NotTouched,
                    other => other,
                })?
            }
        };
        // The applet has one status word for a missing password and a missing touch.
        if matches!(status, 0x6982 | 0x6985) && !self.is_locked() {
            return Err(CardFault::NotTouched);
        }
        self.checked(status)?;
        if touch == Touch::ToBeProved && !at_once.is_over() {
            return Err(CardFault::Nonsense("it shows that a code needs a touch, and gives one without"));
        }
        tlv::only(answer.expose(), tag).map(|value| Sensitive::new(value.to_vec()))
    }

    /// Returns what each account needs before it gives a code. No counter moves. An account of an unknown kind is left
    /// out.
    pub fn shown(&mut self) -> Result<Vec<(AccountName, AccountKind)>, CardFault> {
        match self.dialect.kinds() {
            Kinds::Calculated => self.shown_by_calculation(),
            Kinds::Listed => self.shown_by_list(),
        }
    }

    fn shown_by_calculation(&mut self) -> Result<Vec<(AccountName, AccountKind)>, CardFault> {
        // The challenge does not matter: only the kind of each response is read.
        let command = Command::new(CALCULATE_ALL, 0, TRUNCATED).tlv(TAG_CHALLENGE, &[0; CHALLENGE_LENGTH]);
        let answer = self.run_list(&command)?;
        let values = tlv::parse(answer.expose())?;
        let pairs = values.chunks(2).map(|pair| match pair {
            [name, shown] if name.tag == TAG_NAME => {
                let name = AccountName::from_bytes(name.value).ok_or(ODD_LIST)?;
                Ok(shown_of(shown.tag).map(|kind| (name, kind)))
            }
            _ => Err(ODD_LIST),
        });
        pairs.filter_map(Result::transpose).collect()
    }

    fn shown_by_list(&mut self) -> Result<Vec<(AccountName, AccountKind)>, CardFault> {
        let answer = self.run_list(&Command::new(LIST, 0, 0).raw(&[WITH_PROPERTIES]))?;
        let values = tlv::parse(answer.expose())?;
        let entries = values.iter().map(|value| {
            let (properties, entry) = value.value.split_last().filter(|_| value.tag == TAG_LISTED).ok_or(ODD_LIST)?;
            let Account { name, gives } = account(entry)?;
            Ok(match gives {
                Gives::Other => None,
                Gives::Hotp(_) => Some((name, AccountKind::Hotp)),
                Gives::Totp(_) if properties & LISTED_TOUCH != 0 => Some((name, AccountKind::Touch)),
                Gives::Totp(_) => Some((name, AccountKind::Code)),
            })
        });
        entries.filter_map(Result::transpose).collect()
    }

    /// Removes an account (DELETE). Fails with [`CardFault::NoSuchAccount`] if there is none of that name.
    pub fn delete(&mut self, name: &AccountName) -> Result<(), CardFault> {
        self.run_change(&Command::new(DELETE, 0, 0).tlv(TAG_NAME, name.as_bytes()))
    }

    /// Renames an account (RENAME).
    pub fn rename(&mut self, name: &AccountName, new: &AccountName) -> Result<(), CardFault> {
        let instruction = self.dialect.rename(self.version).map_err(CardFault::Unsupported)?;
        let command = Command::new(instruction, 0, 0).tlv(TAG_NAME, name.as_bytes()).tlv(TAG_NAME, new.as_bytes());
        self.run_change(&command)
    }

    /// Removes all accounts and the password (RESET), and selects the applet again. The status word is not believed:
    /// afterwards the applet must show another salt, or no accounts.
    pub fn reset(mut self) -> Result<Self, CardFault> {
        self.dialect.reset().map_err(CardFault::Unsupported)?;
        // P1 and P2 are fixed for this command (YKOATH, RESET).
        self.run_change(&Command::new(RESET, 0xde, 0xad))?;
        let Self { session, dialect, salt, .. } = self;
        let mut now = Self::select(session, dialect)?;
        let is_another = dialect.salt_identifies() && now.salt != salt;
        if now.is_locked() || !(is_another || now.list()?.is_empty()) {
            return Err(CardFault::Nonsense("it reports a reset that it did not carry out"));
        }
        Ok(now)
    }

    fn run(&mut self, command: &Command) -> Result<Sensitive<Vec<u8>>, CardFault> {
        let (answer, status) = self.session.exchange(command, self.dialect.continuation())?;
        self.checked(status)?;
        Ok(answer)
    }

    /// Runs a command that lists accounts.
    fn run_list(&mut self, command: &Command) -> Result<Sensitive<Vec<u8>>, CardFault> {
        self.run(command).map_err(|fault| match fault {
            // The list does not fit into the applet's buffer.
            CardFault::Status(WRONG_LENGTH) => CardFault::Unsupported(LISTS_NONE),
            other => other,
        })
    }

    /// Runs a command that changes accounts, which some keys do only with a touch.
    fn run_change(&mut self, command: &Command) -> Result<(), CardFault> {
        let touch = self.dialect.touch(self.version).ok().filter(|_| self.dialect.changes_need_touch());
        let Some(patience) = touch else { return self.run(command).map(drop) };
        let (_, status) = self.session.exchange_with_touch(command, self.dialect.continuation(), patience)?;
        self.checked(status)
    }

    /// Maps a status word to its meaning (YKOATH; ISO 7816-4 section 5.6). An unknown one is a clean failure (HW-6).
    fn checked(&self, status: u16) -> Result<(), CardFault> {
        if let Some(fault) = self.dialect.fault(status) {
            return Err(fault);
        }
        match status {
            DONE => Ok(()),
            0x6a84 => Err(CardFault::Full),
            0x6982 => Err(CardFault::Locked),
            0x6984 => Err(CardFault::NoSuchAccount),
            0x6d00 => Err(CardFault::Unsupported("it does not know this command")),
            other => Err(CardFault::Status(other)),
        }
    }
}

impl Answers {
    /// Returns what an applet that stored the key of this HMAC answers.
    pub fn of(self, hmac: &Sensitive<Vec<u8>>) -> Sensitive<Vec<u8>> {
        let bytes = hmac.expose();
        match self {
            Self::Whole => Sensitive::new(bytes.clone()),
            // Dynamic truncation (RFC 4226 section 5.3).
            Self::Truncated => {
                let offset = bytes.last().map_or(0, |last| usize::from(last & 0x0f));
                let mut four = bytes.get(offset..).and_then(|rest| rest.get(..4)).unwrap_or_default().to_vec();
                if let Some(first) = four.first_mut() {
                    *first &= 0x7f;
                }
                Sensitive::new(four)
            }
        }
    }
}

fn calculation(name: &AccountName, challenge: &[u8; 8], form: u8) -> Command {
    Command::new(CALCULATE, 0, form).tlv(TAG_NAME, name.as_bytes()).tlv(TAG_CHALLENGE, challenge)
}

fn challenge_bytes() -> Result<[u8; CHALLENGE_LENGTH], CardFault> {
    entropy::public().map_err(|_| CardFault::Nonsense("no random bytes for a challenge"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_truncated_answer_is_that_of_rfc_4226() {
        // RFC 4226 section 5.4.
        let hmac = data_encoding::HEXLOWER.decode(b"1f8698690e02ca16618550ef7f19da8e945b555a").unwrap();
        let hmac = Sensitive::new(hmac);

        assert_eq!(Answers::Truncated.of(&hmac).expose(), &[0x50, 0xef, 0x7f, 0x19]);
        assert_eq!(Answers::Whole.of(&hmac).expose(), hmac.expose());
    }
}
