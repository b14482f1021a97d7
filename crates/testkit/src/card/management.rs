//! The Management applet, limited to READ CONFIG, which reports the identity of the key (Yubico, "Management
//! application").

use super::applets::Applet;
use super::key::{Answer, Command, Identity, NO_SUCH_INSTRUCTION, WRONG_PARAMETERS};
use super::tlv;

const READ_CONFIG: u8 = 0x1D;

/// Applications of a YubiKey 4: OTP, U2F, CCID, OpenPGP, PIV, OATH.
const YUBIKEY_4: u16 = 0x003F;
/// Applications of a YubiKey 5: those of a YubiKey 4, and FIDO2.
const YUBIKEY_5: u16 = 0x023F;
/// Applications of firmware 5.4 and later: those of a YubiKey 5, and YubiHSM Auth.
const YUBIKEY_5_4: u16 = 0x033F;

pub(super) fn select(identity: &Identity) -> Vec<u8> {
    let (major, minor, patch) = identity.firmware;
    format!("Virtual mgr - FW version {major}.{minor}.{patch}").into_bytes()
}

pub(super) fn execute(command: &Command, identity: &Identity) -> Answer {
    match (command.ins, command.p1) {
        (READ_CONFIG, _) if identity.firmware < (4, 1, 0) => Err(NO_SUCH_INSTRUCTION),
        (READ_CONFIG, 0) => Ok(configuration(identity)),
        (READ_CONFIG, _) => Err(WRONG_PARAMETERS),
        _ => Err(NO_SUCH_INSTRUCTION),
    }
}

fn configuration(identity: &Identity) -> Vec<u8> {
    let mut elements = Vec::new();
    if identity.firmware < (5, 0, 0) {
        tlv::push(&mut elements, 0x01, &[YUBIKEY_4 as u8]);
        tlv::push(&mut elements, 0x02, &identity.serial.to_be_bytes());
        tlv::push(&mut elements, 0x03, &[enabled(YUBIKEY_4, identity) as u8]);
    } else {
        describe_yubikey_5(&mut elements, identity);
    }
    elements.insert(0, u8::try_from(elements.len()).expect("the configuration is short"));
    elements
}

fn describe_yubikey_5(elements: &mut Vec<u8>, identity: &Identity) {
    let (major, minor, patch) = identity.firmware;
    let supported = if identity.firmware < (5, 4, 0) { YUBIKEY_5 } else { YUBIKEY_5_4 };
    let enabled = enabled(supported, identity);
    tlv::push(elements, 0x01, &supported.to_be_bytes());
    tlv::push(elements, 0x02, &identity.serial.to_be_bytes());
    tlv::push(elements, 0x03, &enabled.to_be_bytes());
    tlv::push(elements, 0x04, &[identity.form_factor]);
    tlv::push(elements, 0x05, &[major, minor, patch]);
    // Automatic ejection, challenge-response timeout in seconds, device flags, configuration lock.
    tlv::push(elements, 0x06, &[0x00, 0x00]);
    tlv::push(elements, 0x07, &[0x0F]);
    tlv::push(elements, 0x08, &[0x00]);
    tlv::push(elements, 0x0A, &[0x00]);
    // Only the two keychain shapes have an antenna.
    if matches!(identity.form_factor & 0x0F, 0x01 | 0x03) {
        tlv::push(elements, 0x0D, &supported.to_be_bytes());
        tlv::push(elements, 0x0E, &enabled.to_be_bytes());
    }
}

fn enabled(supported: u16, identity: &Identity) -> u16 {
    identity.hidden.iter().fold(supported, |left, applet| left & !capability(*applet))
}

fn capability(applet: Applet) -> u16 {
    match applet {
        Applet::Management | Applet::CanoKeyAdmin | Applet::PicoRescue => 0x0000,
        Applet::Oath => 0x0020,
        Applet::Otp => 0x0001,
        Applet::Piv => 0x0010,
    }
}
