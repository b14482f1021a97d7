//! What Yubico's applets report about a key: serial number, firmware, form factor and enabled applications. Newer keys
//! report it in their Management applet, older ones report the serial number in the OTP applet. Keys of other makers
//! imitate the applets, so nothing here proves who made a key.

use std::time::Duration;

use mfad_core::model::{Firmware, Serial};

use super::command::Command;
use super::session::{CardSession, DONE, GET_RESPONSE};
use super::{CardFault, tlv};

/// How long a YubiKey waits for a touch.
pub(crate) const YUBIKEY_TOUCH: Duration = Duration::from_secs(15);

const MANAGEMENT: [u8; 8] = [0xa0, 0x00, 0x00, 0x05, 0x27, 0x47, 0x11, 0x17];
const OTP: [u8; 7] = [0xa0, 0x00, 0x00, 0x05, 0x27, 0x20, 0x01];

/// Instruction READ CONFIG of the Management applet.
const READ_CONFIG: u8 = 0x1d;
/// Instruction of the OTP applet, and the slot number that asks for the serial number.
const API_REQUEST: u8 = 0x01;
const GET_SERIAL: u8 = 0x10;

const TAG_USB_SUPPORTED: u8 = 0x01;
const TAG_SERIAL: u8 = 0x02;
const TAG_USB_ENABLED: u8 = 0x03;
const TAG_FORM_FACTOR: u8 = 0x04;
const TAG_VERSION: u8 = 0x05;
const TAG_NFC_SUPPORTED: u8 = 0x0d;
const TAG_NFC_ENABLED: u8 = 0x0e;

/// The bit of FIDO2 among the enabled applications.
const FIDO2: u16 = 0x0200;
/// Bits of the form factor byte: a Security Key, and a model that meets FIPS 140.
const SECURITY_KEY: u8 = 0x40;
const FIPS: u8 = 0x80;

/// Shape and connector of a hardware key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FormFactor {
    /// USB-A, to be carried on a key ring.
    KeychainA,
    /// USB-A, small enough to stay in the port.
    NanoA,
    /// USB-C, to be carried on a key ring.
    KeychainC,
    /// USB-C, small enough to stay in the port.
    NanoC,
    /// USB-C on one end and Lightning on the other.
    LightningC,
    /// USB-A with a fingerprint reader.
    BioA,
    /// USB-C with a fingerprint reader.
    BioC,
}

impl FormFactor {
    fn of_code(code: u8) -> Option<Self> {
        match code & 0x0f {
            1 => Some(Self::KeychainA),
            2 => Some(Self::NanoA),
            3 => Some(Self::KeychainC),
            4 => Some(Self::NanoC),
            5 => Some(Self::LightningC),
            6 => Some(Self::BioA),
            7 => Some(Self::BioC),
            _ => None,
        }
    }

    /// The name in the API, such as `usb-c-nano`.
    pub fn name(self) -> &'static str {
        match self {
            Self::KeychainA => "usb-a-keychain",
            Self::NanoA => "usb-a-nano",
            Self::KeychainC => "usb-c-keychain",
            Self::NanoC => "usb-c-nano",
            Self::LightningC => "usb-c-lightning",
            Self::BioA => "usb-a-bio",
            Self::BioC => "usb-c-bio",
        }
    }

    fn is_c(self) -> bool {
        matches!(self, Self::KeychainC | Self::NanoC | Self::BioC)
    }
}

/// What a hardware key reports about itself in Yubico's applets. Nothing here says that the key is Yubico's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Report {
    /// The serial number; `None` if the key hides it.
    pub(super) serial: Option<Serial>,
    /// The firmware version; `None` if the key does not report it.
    pub(super) firmware: Option<Firmware>,
    /// The product name as printed on the package, or a general one if the firmware is unknown.
    pub(super) model: &'static str,
    /// Shape and connector; `None` if the key does not report them.
    pub(super) form_factor: Option<FormFactor>,
    /// Whether FIDO2 is enabled over USB; `None` if the key does not report it reliably.
    pub(super) fido2: Option<bool>,
}

/// The report of a key that says nothing.
const SILENT: Report = Report { serial: None, firmware: None, model: "YubiKey", form_factor: None, fido2: None };

/// Asks the Management applet; `None` if the card has none, or an old one.
pub(super) fn from_management(session: &mut CardSession<'_>) -> Result<Option<Report>, CardFault> {
    let (greeting, status) = session.exchange(&Command::select(&MANAGEMENT), GET_RESPONSE)?;
    if status != DONE {
        return Ok(None);
    }
    // This version counts if the configuration does not contain one.
    let version = version_in(greeting.expose());
    let (config, status) = session.exchange(&Command::new(READ_CONFIG, 0, 0), GET_RESPONSE)?;
    if status != DONE {
        return Ok(None);
    }
    // READ CONFIG puts one byte with the length before the values.
    let (length, body) = config.expose().split_first().ok_or(CardFault::Nonsense("an empty configuration"))?;
    if usize::from(*length) != body.len() {
        return Err(CardFault::Nonsense("a configuration of another length than it says"));
    }
    of_config(body, version).map(Some)
}

fn of_config(body: &[u8], version: Option<Firmware>) -> Result<Report, CardFault> {
    let mut found = SILENT;
    let (mut usb, mut supported, mut form, mut nfc) = (None, 0u16, 0u8, false);
    found.firmware = version;
    for tlv::Tlv { tag, value } in tlv::parse(body)? {
        match tag {
            TAG_SERIAL => found.serial = <[u8; 4]>::try_from(value).ok().map(u32::from_be_bytes).and_then(Serial::new),
            TAG_FORM_FACTOR => form = value.first().copied().unwrap_or(0),
            TAG_VERSION => found.firmware = firmware(value).or(version),
            TAG_USB_SUPPORTED => supported = bits(value),
            TAG_USB_ENABLED => usb = Some(bits(value)),
            TAG_NFC_SUPPORTED => nfc = bits(value) != 0,
            TAG_NFC_ENABLED => {}
            // Later firmware reports more than is needed here.
            _ => {}
        }
    }
    // Before 5.0 keys do not report the enabled applications reliably.
    let is_told = found.firmware.is_some_and(|firmware| firmware >= Firmware(5, 0, 0));
    // Without a list of enabled applications, all that are supported are enabled.
    found.fido2 = is_told.then(|| usb.unwrap_or(supported) & FIDO2 != 0);
    found.form_factor = FormFactor::of_code(form);
    found.model = model(found.firmware, form, found.form_factor, nfc);
    Ok(found)
}

/// Asks the OTP applet, which tells the serial number of a YubiKey 4 before 4.1 or of a NEO; `None` if there is none.
pub(super) fn from_otp(session: &mut CardSession<'_>) -> Result<Option<Report>, CardFault> {
    let (status_bytes, status) = session.exchange(&Command::select(&OTP), GET_RESPONSE)?;
    if status != DONE {
        return Ok(None);
    }
    // The response to SELECT begins with the firmware version.
    let firmware = status_bytes.expose().get(..3).and_then(firmware);
    let (serial, status) = session.exchange(&Command::new(API_REQUEST, GET_SERIAL, 0), GET_RESPONSE)?;
    let serial = <[u8; 4]>::try_from(serial.expose().as_slice()).ok().filter(|_| status == DONE);
    let serial = serial.map(u32::from_be_bytes).and_then(Serial::new);
    Ok(Some(Report { serial, firmware, model: model(firmware, 0, None, false), ..SILENT }))
}

fn bits(value: &[u8]) -> u16 {
    match value {
        [one] => u16::from(*one),
        [high, low] => u16::from_be_bytes([*high, *low]),
        _ => 0,
    }
}

fn firmware(bytes: &[u8]) -> Option<Firmware> {
    match bytes {
        [major, minor, patch] => Some(Firmware(*major, *minor, *patch)),
        _ => None,
    }
}

/// Finds the version in a response to SELECT such as `Virtual mgr - FW version 5.4.3`.
fn version_in(greeting: &[u8]) -> Option<Firmware> {
    let text = std::str::from_utf8(greeting).ok()?;
    let word = text.rsplit(|c: char| c != '.' && !c.is_ascii_digit()).find(|word| word.contains('.'))?;
    let numbers: Vec<u8> = word.split('.').map(|n| n.parse().ok()).collect::<Option<_>>()?;
    firmware(&numbers)
}

/// Returns the product name as printed on the package.
fn model(firmware: Option<Firmware>, form: u8, factor: Option<FormFactor>, nfc: bool) -> &'static str {
    let Some(firmware) = firmware else { return "YubiKey" };
    match firmware {
        Firmware(0..=2, ..) => "YubiKey",
        Firmware(3, ..) => "YubiKey NEO",
        Firmware(4, ..) if form & FIPS != 0 => "YubiKey FIPS",
        Firmware(4, ..) => "YubiKey 4",
        _ if form & SECURITY_KEY != 0 => "Security Key",
        _ => model_5(form & FIPS != 0, factor, nfc),
    }
}

fn model_5(is_fips: bool, factor: Option<FormFactor>, nfc: bool) -> &'static str {
    let is_c = factor.is_some_and(FormFactor::is_c);
    match (factor, is_c, is_fips) {
        (Some(FormFactor::BioA | FormFactor::BioC), ..) => "YubiKey Bio",
        (Some(FormFactor::LightningC), _, false) => "YubiKey 5Ci",
        (Some(FormFactor::LightningC), _, true) => "YubiKey 5Ci FIPS",
        (Some(FormFactor::NanoA), _, false) => "YubiKey 5 Nano",
        (Some(FormFactor::NanoA), _, true) => "YubiKey 5 Nano FIPS",
        (Some(FormFactor::NanoC), _, false) => "YubiKey 5C Nano",
        (Some(FormFactor::NanoC), _, true) => "YubiKey 5C Nano FIPS",
        (_, false, false) if nfc => "YubiKey 5 NFC",
        (_, false, true) if nfc => "YubiKey 5 NFC FIPS",
        (_, true, false) if nfc => "YubiKey 5C NFC",
        (_, true, true) if nfc => "YubiKey 5C NFC FIPS",
        (_, false, false) => "YubiKey 5",
        (_, false, true) => "YubiKey 5 FIPS",
        (_, true, false) => "YubiKey 5C",
        (_, true, true) => "YubiKey 5C FIPS",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_greeting_tells_the_firmware() {
        assert_eq!(version_in(b"Virtual mgr - FW version 5.4.3"), Some(Firmware(5, 4, 3)));
        assert_eq!(version_in(b"hello"), None);
        assert_eq!(version_in(b"FW 5.4"), None);
    }

    #[test]
    fn a_configuration_names_the_product() {
        let body =
            [1, 2, 0x02, 0x3f, 2, 4, 0, 0xbc, 0x61, 0x4e, 3, 2, 0x02, 0x3f, 4, 1, 3, 5, 3, 5, 4, 3, 0x0d, 2, 2, 0x3f];

        let found = of_config(&body, None).unwrap();

        assert_eq!(found.serial.map(Serial::number), Some(12_345_678));
        assert_eq!((found.model, found.firmware), ("YubiKey 5C NFC", Some(Firmware(5, 4, 3))));
        assert_eq!((found.fido2, found.form_factor), (Some(true), Some(FormFactor::KeychainC)));
        assert!(of_config(&body[..5], None).is_err());
    }
}
