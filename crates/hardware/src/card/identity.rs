//! Which hardware key a card is, by evidence from one visit: who made it, and what tells it from others of its kind.
//! The names of readers and the applets of Yubico are imitated, so they decide only where nothing better is known.

use sha2::{Digest, Sha256};

use data_encoding::HEXLOWER;
use mfad_core::model::{Firmware, IdSource, KeyId, Serial};

use super::command::Command;
use super::session::{CardSession, DONE, GET_RESPONSE, SEND_REMAINING};
use super::yubico::{FormFactor, Report, from_management, from_otp};
use super::{CardFault, tlv};
use crate::device::ReaderFacts;

/// The application identifier of the OATH applet, which all makers share.
pub(crate) const OATH: [u8; 7] = [0xa0, 0x00, 0x00, 0x05, 0x27, 0x21, 0x01];
/// The admin applet of a CanoKey, and its instruction that tells the serial number.
const CANOKEY_ADMIN: [u8; 5] = [0xf0, 0x00, 0x00, 0x00, 0x00];
const READ_SERIAL: u8 = 0x32;
/// The rescue applet, which every firmware of the family of pico-fido has.
const PICO_RESCUE: [u8; 8] = [0xa0, 0x58, 0x3f, 0xc1, 0x9b, 0x7e, 0x4f, 0x21];

/// In the response to SELECT of the OATH applet: the salt, and the serial number of a Nitrokey.
const TAG_SALT: u8 = 0x71;
const TAG_NITROKEY_SERIAL: u8 = 0x8f;

/// USB vendor number of Yubico.
const YUBICO: u16 = 0x1050;
/// USB vendor numbers of makers of keys, where the reader is the key itself: Yubico; Clay Logic, which numbers Nitrokeys
/// and CanoKeys; and the numbers that pico-fido uses.
pub const KEY_MAKERS: [u16; 4] = [YUBICO, 0x20a0, 0xfeff, 0x2e8a];
/// A USB serial number of fewer characters is not taken for a number of one device.
const SHORTEST_SERIAL: usize = 6;
/// Yubico has made no firmware with a higher major version. Imitations report such ones.
const NEWEST_YUBICO: u8 = 5;

/// Who made a hardware key. It decides how the OATH applet is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Maker {
    /// Yubico.
    Yubico,
    /// CanoKeys.
    CanoKey,
    /// Nitrokey.
    Nitrokey,
    /// Any maker whose key runs pico-fido.
    Pico,
    /// Unknown; the key has Yubico's Management applet.
    Compatible,
    /// Unknown.
    Unknown,
}

impl Maker {
    /// Who made the key with this id, as far as the id tells.
    pub fn of(id: KeyId) -> Self {
        match id.source() {
            IdSource::Yubico => Self::Yubico,
            IdSource::CanoKey => Self::CanoKey,
            IdSource::Nitrokey => Self::Nitrokey,
            IdSource::Pico => Self::Pico,
            IdSource::Compatible => Self::Compatible,
            IdSource::Usb | IdSource::Salt => Self::Unknown,
        }
    }
}

/// The data that a hardware key reports about itself. Only an attestation proves them (`piv`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Who made the key.
    pub maker: Maker,
    /// What tells the key from others; `None` if nothing does.
    pub id: Option<KeyId>,
    /// The firmware version; `None` if the key does not report it.
    pub firmware: Option<Firmware>,
    /// The product name; a general one if it is unknown.
    pub model: &'static str,
    /// Shape and connector; `None` if the key does not report them.
    pub form_factor: Option<FormFactor>,
    /// Whether FIDO2 is enabled over USB; `None` if the key does not report it reliably.
    pub fido2: Option<bool>,
}

impl Identity {
    fn of(maker: Maker, id: Option<KeyId>, model: &'static str) -> Self {
        Self { maker, id, firmware: None, model, form_factor: None, fido2: None }
    }

    fn of_report(maker: Maker, source: IdSource, report: Report, model: &'static str) -> Self {
        let id = |serial: Serial| KeyId::new(source, &serial.to_string());
        Self {
            maker,
            id: report.serial.and_then(id),
            firmware: report.firmware,
            model,
            form_factor: report.form_factor.filter(|_| maker == Maker::Yubico),
            fido2: report.fido2,
        }
    }
}

/// Asks a hardware key for its identity. This selects other applets, so the caller must select its own again.
pub fn identify(session: &mut CardSession<'_>) -> Result<Identity, CardFault> {
    let reader = session.reader().clone();
    if let Some(report) = from_management(session)? {
        return reported(session, &reader, report);
    }
    if let Some(report) = from_otp(session)?.filter(|report| is_like_yubicos(&reader, report)) {
        return Ok(yubikey(report));
    }
    let first = oath_greeting(session)?;
    if let Some(serial) = first.as_ref().and_then(|greeting| greeting.serial) {
        // A key without a number of its own reports zeros.
        let id = (serial != [0; 4]).then(|| KeyId::new(IdSource::Nitrokey, &HEXLOWER.encode(&serial))).flatten();
        return Ok(Identity::of(Maker::Nitrokey, id.or_else(|| by_usb(&reader, IdSource::Nitrokey)), "Nitrokey"));
    }
    let canokey = canokey_serial(session)?;
    let (maker, model) = match canokey {
        Some(_) => (Maker::CanoKey, "CanoKey"),
        None => (Maker::Unknown, "smart card"),
    };
    let own = canokey.flatten().and_then(|serial| KeyId::new(IdSource::CanoKey, &HEXLOWER.encode(&serial)));
    let id = match own.or_else(|| by_usb(&reader, IdSource::Usb)) {
        Some(id) => Some(id),
        None => by_salt(session, first.and_then(|greeting| greeting.salt))?,
    };
    Ok(Identity::of(maker, id, model))
}

/// Judges a key that has Yubico's Management applet.
fn reported(session: &mut CardSession<'_>, reader: &ReaderFacts, report: Report) -> Result<Identity, CardFault> {
    // Asked first, since this firmware can be given any USB vendor number. Asked twice, since one false answer would make
    // another key of a YubiKey.
    if answers(session, &PICO_RESCUE)? && answers(session, &PICO_RESCUE)? {
        // The number in the report is the beginning of the chip's, which chips of one batch share. USB has all of it.
        let whole = by_usb(reader, IdSource::Pico);
        let identity = Identity::of_report(Maker::Pico, IdSource::Pico, report, "pico-fido");
        return Ok(Identity { id: whole.or(identity.id), ..identity });
    }
    let is_yubicos = match own_vendor(reader) {
        Some(vendor) => vendor == YUBICO,
        None => is_like_yubicos(reader, &report),
    };
    if is_yubicos {
        return Ok(yubikey(report));
    }
    Ok(Identity::of_report(Maker::Compatible, IdSource::Compatible, report, "compatible key"))
}

fn yubikey(report: Report) -> Identity {
    let model = report.model;
    Identity::of_report(Maker::Yubico, IdSource::Yubico, report, model)
}

/// The vendor of the USB device that is the key itself. A contactless reader is not.
fn own_vendor(reader: &ReaderFacts) -> Option<u16> {
    let vendor = reader.usb.as_ref().map(|usb| usb.vendor);
    vendor.filter(|vendor| KEY_MAKERS.contains(vendor) && !reader.is_contactless())
}

/// Whether reader or answer to reset name Yubico's product, and the firmware is one of Yubico's.
fn is_like_yubicos(reader: &ReaderFacts, report: &Report) -> bool {
    let is_named = reader.name.to_lowercase().contains("yubi")
        || reader.atr.to_ascii_lowercase().windows(4).any(|part| part == b"yubi");
    is_named && report.firmware.is_none_or(|firmware| firmware.0 <= NEWEST_YUBICO)
}

/// Takes the serial number of the USB device. A long or odd one is replaced by its digest. One that is too short, or the
/// same character throughout, is that of many devices.
fn by_usb(reader: &ReaderFacts, source: IdSource) -> Option<KeyId> {
    let vendor = own_vendor(reader)?;
    let serial = reader.usb.as_ref()?.serial.as_deref().filter(|serial| serial.len() >= SHORTEST_SERIAL)?;
    if serial.bytes().all(|byte| serial.as_bytes().first() == Some(&byte)) {
        return None;
    }
    // Two makers may number alike.
    let numbered = format!("{vendor:04x}-{serial}");
    let serial = if source == IdSource::Usb { numbered.as_str() } else { serial };
    KeyId::new(source, serial).or_else(|| KeyId::new(source, &digest(serial.as_bytes())))
}

/// Takes the salt of the OATH applet, if the applet shows the same one again.
fn by_salt(session: &mut CardSession<'_>, first: Option<Vec<u8>>) -> Result<Option<KeyId>, CardFault> {
    let Some(first) = first.filter(|salt| !salt.is_empty()) else { return Ok(None) };
    let again = oath_greeting(session)?.and_then(|greeting| greeting.salt);
    Ok(if again.as_ref() == Some(&first) { KeyId::new(IdSource::Salt, &digest(&first)) } else { None })
}

/// Returns 32 hexadecimal digits of the SHA-256 digest.
fn digest(bytes: &[u8]) -> String {
    HEXLOWER.encode(Sha256::digest(bytes).get(..16).unwrap_or_default())
}

/// What the OATH applet says when it is selected.
struct Greeting {
    salt: Option<Vec<u8>>,
    serial: Option<[u8; 4]>,
}

/// Selects the OATH applet; `None` if there is none.
fn oath_greeting(session: &mut CardSession<'_>) -> Result<Option<Greeting>, CardFault> {
    let (answer, status) = session.exchange(&Command::select(&OATH), SEND_REMAINING)?;
    if status != DONE {
        return Ok(None);
    }
    let values = tlv::parse(answer.expose())?;
    let value = |tag| values.iter().find(|value| value.tag == tag).map(|value| value.value);
    Ok(Some(Greeting {
        salt: value(TAG_SALT).map(<[u8]>::to_vec),
        serial: value(TAG_NITROKEY_SERIAL).and_then(|serial| serial.try_into().ok()),
    }))
}

/// Reads the serial number of a CanoKey. The outer `None`: it is no CanoKey. The inner `None`: it has no number.
fn canokey_serial(session: &mut CardSession<'_>) -> Result<Option<Option<[u8; 4]>>, CardFault> {
    if !answers(session, &CANOKEY_ADMIN)? {
        return Ok(None);
    }
    let (serial, status) = session.exchange(&Command::new(READ_SERIAL, 0, 0), GET_RESPONSE)?;
    let serial = <[u8; 4]>::try_from(serial.expose().as_slice()).ok().filter(|_| status == DONE);
    Ok(Some(serial.filter(|serial| *serial != [0; 4])))
}

fn answers(session: &mut CardSession<'_>, application: &[u8]) -> Result<bool, CardFault> {
    let (_, status) = session.exchange(&Command::select(application), GET_RESPONSE)?;
    Ok(status == DONE)
}
