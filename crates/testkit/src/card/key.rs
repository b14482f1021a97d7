//! The virtual YubiKey: selection of applets, command chaining and split responses (ISO 7816-4), power and touch. The
//! applets are in other modules.

use std::path::Path;
use std::time::Duration;

use super::applets::Applet;
use super::foreign::ForeignApplet;
use super::maker::{Attestation, Attested, Maker};
use super::model::Model;
use super::oath::{Account, Conditions, Oath};
use super::{management, otp, piv, tlv};

/// A firmware version: major, minor, patch.
pub type Firmware = (u8, u8, u8);

/// The response of an applet: data, sent with 0x9000, or another status word.
pub(super) type Answer = Result<Vec<u8>, u16>;

pub(super) const WRONG_LENGTH: u16 = 0x6700;
pub(super) const NOT_ALLOWED: u16 = 0x6982;
pub(super) const NO_SUCH_OBJECT: u16 = 0x6984;
pub(super) const NOT_NOW: u16 = 0x6985;
pub(super) const WRONG_SYNTAX: u16 = 0x6A80;
pub(super) const NO_SUCH_APPLET: u16 = 0x6A82;
pub(super) const NO_SPACE: u16 = 0x6A84;
pub(super) const WRONG_PARAMETERS: u16 = 0x6B00;
pub(super) const NO_SUCH_INSTRUCTION: u16 = 0x6D00;
pub(super) const NO_SUCH_CLASS: u16 = 0x6E00;

const SELECT: u8 = 0xA4;
const BY_NAME: u8 = 0x04;
/// Class bit of a command whose data continue in the next command.
const CHAINED: u8 = 0x10;

/// How long a key blinks by default before it is touched. Nobody is faster.
const TOUCH_DELAY: Duration = Duration::from_millis(100);

/// Whether the key is touched when it blinks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Touch {
    Given,
    Refused,
}

/// Properties of the key that no command changes.
pub(super) struct Identity {
    pub model: Model,
    pub serial: u32,
    pub firmware: Firmware,
    pub form_factor: u8,
    pub hidden: Vec<Applet>,
}

/// A parsed command APDU. The expected length of its response (Le) is ignored.
pub(super) struct Command {
    pub cla: u8,
    pub ins: u8,
    pub p1: u8,
    pub p2: u8,
    pub data: Vec<u8>,
}

impl Command {
    pub(super) fn parse(apdu: &[u8]) -> Option<Self> {
        let (&[cla, ins, p1, p2], body) = apdu.split_first_chunk::<4>()?;
        let data: &[u8] = match body {
            [] | [_] | [0, _, _] => &[],
            [0, high, low, rest @ ..] => carried(rest, u16::from_be_bytes([*high, *low]).into(), 2)?,
            [length, rest @ ..] => carried(rest, usize::from(*length), 1)?,
        };
        Some(Self { cla, ins, p1, p2, data: data.to_vec() })
    }
}

/// Splits the data of a command from Le, which may follow in up to `most` bytes.
fn carried(rest: &[u8], length: usize, most: usize) -> Option<&[u8]> {
    let (data, expected) = rest.split_at_checked(length)?;
    (expected.len() <= most).then_some(data)
}

/// A virtual key with its applets and settings.
pub struct Key {
    /// The outcome of each request for a touch.
    pub touch: Touch,
    /// How long the key blinks before it is touched or gives up. [`super::Reader`] waits that long; [`Key::transmit`]
    /// never waits.
    pub touch_delay: Duration,
    /// Maximum data in one response APDU, at most 256 bytes. The rest of a longer response must be fetched.
    pub chunk: usize,
    identity: Identity,
    capacity: Option<usize>,
    oath: Oath,
    attestation: Option<Attestation>,
    foreign: Option<ForeignApplet>,
    selected: Option<Applet>,
    chained: Vec<u8>,
    remaining: Vec<u8>,
    apdus: usize,
}

impl Key {
    /// A factory-fresh YubiKey 5 NFC with firmware 5.4.3.
    pub fn new(serial: u32) -> Self {
        Self {
            touch: Touch::Given,
            touch_delay: TOUCH_DELAY,
            chunk: 255,
            identity: Identity {
                model: Model::YubiKey,
                serial,
                firmware: (5, 4, 3),
                form_factor: 0x01,
                hidden: Vec::new(),
            },
            capacity: None,
            oath: Oath::new(),
            attestation: None,
            foreign: None,
            selected: None,
            chained: Vec::new(),
            remaining: Vec::new(),
            apdus: 0,
        }
    }

    /// A YubiKey NEO: no touch for accounts, no SHA-512, no renaming, and a serial number that only the OTP applet
    /// reports.
    pub fn neo(serial: u32) -> Self {
        Self::new(serial).with_firmware(3, 4, 9)
    }

    /// A factory-fresh key of that model. Its number is in the place where keys of the model have one.
    pub fn of(model: Model, serial: u32) -> Self {
        let mut key = Self::new(serial);
        key.identity.model = model;
        key.identity.firmware = model.version().unwrap_or(key.identity.firmware);
        key
    }

    /// A key with a maker's own applet: a program that speaks as `tools/nitrokey` does. The number is the applet's.
    /// Accounts and settings of this value say nothing about it; only APDUs do.
    pub fn with_applet(model: Model, serial: u32, program: &Path) -> Self {
        let mut key = Self::of(model, serial);
        key.foreign = Some(ForeignApplet::start(program));
        key.touch_delay = Duration::ZERO;
        key
    }

    /// Whose key it is.
    pub fn model(&self) -> Model {
        self.identity.model
    }

    /// The text that names the key, as the daemon shows it.
    pub fn id(&self) -> String {
        let serial = self.identity.serial;
        match self.identity.model {
            Model::YubiKey => serial.to_string(),
            Model::CanoKey => format!("canokey:{serial:08x}"),
            Model::Nitrokey => format!("nitrokey:{serial:08x}"),
            Model::Pico => format!("pico:{serial}"),
        }
    }

    /// Makes accounts show that they need a touch and give codes without one.
    pub fn with_loose_touch(mut self) -> Self {
        self.oath.is_touch_loose = true;
        self
    }

    /// Makes the key report that it set or removed a password, or reset itself, without doing so.
    pub fn with_false_reports(mut self) -> Self {
        self.oath.is_false = true;
        self
    }

    /// Makes the key refuse CALCULATE ALL.
    pub fn without_calculate_all(mut self) -> Self {
        self.oath.lacks_calculate_all = true;
        self
    }

    /// Sets the firmware, on which the features of the key depend.
    pub fn with_firmware(mut self, major: u8, minor: u8, patch: u8) -> Self {
        self.identity.firmware = (major, minor, patch);
        self
    }

    /// Sets the form factor, by Yubico's number for it (1 USB-A, 2 nano, 3 USB-C, …).
    pub fn with_form_factor(mut self, form_factor: u8) -> Self {
        self.identity.form_factor = form_factor;
        self
    }

    /// Sets the maximum number of accounts.
    pub fn with_capacity(mut self, accounts: usize) -> Self {
        self.capacity = Some(accounts);
        self
    }

    /// Locks the OATH applet with a password, derived as in Yubico's programs.
    pub fn with_password(mut self, password: &str) -> Self {
        self.oath.set_password(password);
        self
    }

    /// Adds an account, as another program would.
    pub fn with_account(mut self, account: Account) -> Self {
        self.oath.accounts.push(account);
        self
    }

    /// Removes an account, as another program would.
    pub fn without_account(mut self, name: &str) -> Self {
        self.oath.accounts.retain(|account| account.name != name.as_bytes());
        self
    }

    /// Adds an attestation of this maker: the certificates, and the PIV key that they attest.
    pub fn attested(mut self, maker: &Maker, how: &Attested) -> Self {
        self.attestation = Some(maker.attestation(self.identity.serial, self.identity.firmware, how));
        self
    }

    /// Switches an applet off.
    pub fn without(mut self, applet: Applet) -> Self {
        self.identity.hidden.push(applet);
        self
    }

    /// Executes one command APDU, and returns data and status word.
    pub fn transmit(&mut self, apdu: &[u8]) -> Vec<u8> {
        self.apdus += 1;
        if let Some(applet) = &mut self.foreign {
            return applet.transmit(apdu, self.touch);
        }
        match self.answer(apdu) {
            Ok(data) => self.give(data),
            Err(status) => status.to_be_bytes().to_vec(),
        }
    }

    /// As [`Key::transmit`], but an account that the command stores gets a random key instead, and the response does
    /// not show it.
    pub fn transmit_falsely(&mut self, apdu: &[u8]) -> Vec<u8> {
        let answer = self.transmit(apdu);
        if let Some(account) = self.addressed(apdu, 0x01).filter(|_| answer == [0x90, 0x00]) {
            getrandom::fill(&mut account.key).unwrap();
        }
        answer
    }

    /// Returns how long the key would blink before it answers this command.
    pub fn blinks(&mut self, apdu: &[u8]) -> Duration {
        let (delay, is_loose) = (self.touch_delay, self.oath.is_touch_loose);
        if self.changes_by_touch(apdu) {
            return delay;
        }
        self.addressed(apdu, 0xA2).filter(|account| account.touch && !is_loose).map_or(Duration::ZERO, |_| delay)
    }

    /// Whether the key waits for a touch before it carries out this change.
    fn changes_by_touch(&self, apdu: &[u8]) -> bool {
        let Some(command) = Command::parse(apdu) else { return false };
        self.selected == Some(Applet::Oath)
            && self.identity.model.changes_by_touch()
            && !(command.ins == SELECT && command.p1 == BY_NAME)
            && super::oath::is_change(command.ins, &command.data, self.identity.model)
    }

    /// Cuts the power: the applet is deselected and locked, and the rest of a split response is lost.
    pub fn power_off(&mut self) {
        if let Some(applet) = &mut self.foreign {
            applet.power_off();
        }
        self.selected = None;
        self.chained.clear();
        self.remaining.clear();
        self.oath.lock();
    }

    /// The accounts, in the order in which they were stored.
    pub fn accounts(&self) -> &[Account] {
        &self.oath.accounts
    }

    /// Returns the account of that name.
    pub fn account(&self, name: impl AsRef<[u8]>) -> Option<&Account> {
        self.accounts().iter().find(|account| account.name == name.as_ref())
    }

    /// Returns the account of that name, to change it as another program or its user would.
    pub fn account_mut(&mut self, name: impl AsRef<[u8]>) -> Option<&mut Account> {
        self.oath.accounts.iter_mut().find(|account| account.name == name.as_ref())
    }

    /// Returns the code that an authenticator shows for a TOTP account at that time, in seconds since 1970.
    pub fn code_at(&self, name: impl AsRef<[u8]>, unix_seconds: u64) -> String {
        self.account(name).expect("no such account on the key").code_at(unix_seconds)
    }

    /// The serial number that is printed on the key.
    pub fn serial(&self) -> u32 {
        self.identity.serial
    }

    /// Returns the firmware version that the applets report.
    pub fn firmware(&self) -> Firmware {
        self.identity.firmware
    }

    /// Returns the salt of the OATH applet, which identifies it until its next reset.
    pub fn salt(&self) -> [u8; 8] {
        self.oath.salt
    }

    /// Whether the OATH applet has a password.
    pub fn has_password(&self) -> bool {
        self.oath.has_password()
    }

    /// Returns the number of APDUs that the key has executed.
    pub fn apdus(&self) -> usize {
        self.apdus
    }

    fn answer(&mut self, apdu: &[u8]) -> Answer {
        let mut command = Command::parse(apdu).ok_or(WRONG_LENGTH)?;
        if command.cla & !CHAINED != 0 {
            return Err(NO_SUCH_CLASS);
        }
        self.chained.append(&mut command.data);
        if command.cla == CHAINED {
            return Ok(Vec::new());
        }
        command.data = std::mem::take(&mut self.chained);
        // OATH's CALCULATE ALL has the same instruction byte as SELECT.
        if command.ins == SELECT && command.p1 == BY_NAME {
            return self.select(&command.data);
        }
        let applet = self.selected.ok_or(NO_SUCH_INSTRUCTION)?;
        let remaining = std::mem::take(&mut self.remaining);
        if command.ins == applet.send_remaining(self.identity.model) {
            // A CanoKey announces a last part even if it is empty.
            let is_whole = remaining.is_empty() && self.identity.model != Model::CanoKey;
            return if is_whole { Err(NOT_NOW) } else { Ok(remaining) };
        }
        match applet {
            Applet::Management => management::execute(&command, &self.identity),
            Applet::Otp => otp::execute(&command, &self.identity),
            Applet::Piv => piv::execute(&command, &self.identity, self.attestation.as_ref(), self.touch),
            Applet::Oath => self.oath.execute(&command, &self.conditions()),
            Applet::CanoKeyAdmin if command.ins == 0x32 => Ok(self.identity.serial.to_be_bytes().to_vec()),
            Applet::CanoKeyAdmin | Applet::PicoRescue => Err(NO_SUCH_INSTRUCTION),
        }
    }

    fn select(&mut self, aid: &[u8]) -> Answer {
        self.remaining.clear();
        let model = self.identity.model;
        let applet = Applet::named(aid).filter(|applet| applet.is_on(model) && !self.identity.hidden.contains(applet));
        let applet = applet.ok_or(NO_SUCH_APPLET)?;
        self.selected = Some(applet);
        self.oath.lock();
        Ok(match applet {
            Applet::Management => management::select(&self.identity),
            Applet::Otp => otp::status(&self.identity),
            Applet::Piv => piv::select(),
            Applet::Oath => self.oath.select(&self.identity),
            Applet::CanoKeyAdmin | Applet::PicoRescue => Vec::new(),
        })
    }

    /// Returns the part of a response that fits into one APDU, and keeps the rest for GET RESPONSE.
    fn give(&mut self, mut data: Vec<u8>) -> Vec<u8> {
        let chunk = self.chunk.clamp(1, 256);
        // A CanoKey sees only after a full part that nothing is left.
        let fits = if self.identity.model == Model::CanoKey && self.selected == Some(Applet::Oath) {
            data.len() < chunk
        } else {
            data.len() <= chunk
        };
        if fits {
            data.extend([0x90, 0x00]);
            return data;
        }
        self.remaining = data.split_off(chunk);
        // 00 announces more than 255 bytes (ISO 7816-4 section 5.3.4).
        data.extend([0x61, u8::try_from(self.remaining.len()).unwrap_or(0)]);
        data
    }

    fn conditions(&self) -> Conditions {
        let firmware = self.identity.firmware;
        let usual = match firmware {
            _ if self.identity.model != Model::YubiKey => self.identity.model.capacity().unwrap_or_default(),
            (0..=3, _, _) => 28,
            earlier if earlier < (5, 7, 0) => 32,
            _ => 64,
        };
        let capacity = self.capacity.unwrap_or(usual);
        Conditions { model: self.identity.model, firmware, capacity, touch: self.touch }
    }

    /// Returns the account that a command with this instruction names, if the OATH applet is selected.
    fn addressed(&mut self, apdu: &[u8], ins: u8) -> Option<&mut Account> {
        let command = Command::parse(apdu)?;
        if self.selected != Some(Applet::Oath) || command.ins != ins {
            return None;
        }
        let name = tlv::take_tagged(&mut command.data.as_slice(), 0x71)?.to_vec();
        self.oath.accounts.iter_mut().find(|account| account.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANAGEMENT: [u8; 13] = [0x00, 0xA4, 0x04, 0x00, 0x08, 0xA0, 0x00, 0x00, 0x05, 0x27, 0x47, 0x11, 0x17];
    const OTP: [u8; 12] = [0x00, 0xA4, 0x04, 0x00, 0x07, 0xA0, 0x00, 0x00, 0x05, 0x27, 0x20, 0x01];

    #[test]
    fn the_serial_number_is_in_the_configuration() {
        let mut key = Key::new(12_345_678);

        key.transmit(&MANAGEMENT);
        let answer = key.transmit(&[0x00, 0x1D, 0x00, 0x00, 0x00]);

        let (configuration, status) = answer.split_at(answer.len() - 2);
        assert_eq!(status, [0x90, 0x00]);
        assert_eq!(usize::from(configuration[0]), configuration.len() - 1);
        let elements = tlv::parse(&configuration[1..]).unwrap();
        assert!(elements.contains(&(0x02, &12_345_678_u32.to_be_bytes()[..])));
    }

    #[test]
    fn a_neo_tells_its_serial_number_over_the_otp_applet_only() {
        let mut key = Key::neo(12_345_678);

        key.transmit(&MANAGEMENT);
        assert_eq!(key.transmit(&[0x00, 0x1D, 0x00, 0x00, 0x00]), [0x6D, 0x00]);
        key.transmit(&OTP);

        assert_eq!(key.transmit(&[0x00, 0x01, 0x10, 0x00, 0x00]), [0x00, 0xBC, 0x61, 0x4E, 0x90, 0x00]);
    }

    #[test]
    fn an_applet_that_is_not_there_is_not_found() {
        let mut key = Key::new(1).without(Applet::Otp);

        assert_eq!(key.transmit(&OTP), [0x6A, 0x82]);
        assert_eq!(key.transmit(&[0x00, 0xA4, 0x04, 0x00, 0x05, 0xA0, 0x00, 0x00, 0x03, 0x09]), [0x6A, 0x82]);
    }

    #[test]
    fn short_and_extended_commands_carry_the_same_data() {
        let short = [0x00, 0x01, 0x00, 0x00, 0x02, 0xAA, 0xBB, 0x00];
        let extended = [0x00, 0x01, 0x00, 0x00, 0x00, 0x00, 0x02, 0xAA, 0xBB, 0x00, 0x00];

        for apdu in [&short[..], &short[..7], &extended[..], &extended[..9]] {
            assert_eq!(Command::parse(apdu).unwrap().data, [0xAA, 0xBB]);
        }
        assert!(Command::parse(&short[..6]).is_none());
    }
}
