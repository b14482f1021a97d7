//! The PIV applet, as far as attestation goes (NIST SP 800-73-4; Yubico, "PIV extensions").

use super::key::{
    Answer, Command, Identity, NO_SUCH_APPLET, NO_SUCH_INSTRUCTION, NOT_ALLOWED, Touch, WRONG_PARAMETERS, WRONG_SYNTAX,
};
use super::maker::Attestation;
use super::tlv::{one, parse, take_tagged};

const VERIFY: u8 = 0x20;
const GENERAL_AUTHENTICATE: u8 = 0x87;
const GET_DATA: u8 = 0xCB;
const GET_METADATA: u8 = 0xF7;
const GET_SERIAL: u8 = 0xF8;
const ATTEST: u8 = 0xF9;
const GET_VERSION: u8 = 0xFD;

/// Status words for a missing file and for missing data.
const NO_SUCH_FILE: u16 = NO_SUCH_APPLET;
const NO_SUCH_DATA: u16 = 0x6A88;
/// Status word of VERIFY without a PIN: three attempts left.
const PIN_WANTED: u16 = 0x63C3;

pub(super) fn select() -> Vec<u8> {
    let application = one(0x4F, &[0x00, 0x00, 0x10, 0x00, 0x01, 0x00]);
    let authority = one(0x79, &one(0x4F, &[0xA0, 0x00, 0x00, 0x03, 0x08]));
    one(0x61, &[application, authority].concat())
}

pub(super) fn execute(
    command: &Command,
    identity: &Identity,
    attestation: Option<&Attestation>,
    touch: Touch,
) -> Answer {
    let (major, minor, patch) = identity.firmware;
    match (command.ins, command.p1, command.p2) {
        (GET_VERSION, 0, 0) => Ok(vec![major, minor, patch]),
        (GET_SERIAL, 0, 0) if identity.firmware >= (5, 0, 0) => Ok(identity.serial.to_be_bytes().to_vec()),
        (GET_METADATA, 0, slot) if identity.firmware >= (5, 3, 0) => metadata(slot, attestation),
        (VERIFY, 0, 0x80) => Err(PIN_WANTED),
        (GET_DATA, 0x3F, 0xFF) => object(&command.data, attestation),
        (ATTEST, slot, 0) => {
            in_slot(slot, attestation).map(|attestation| attestation.statement.clone()).ok_or(WRONG_SYNTAX)
        }
        (GENERAL_AUTHENTICATE, algorithm, slot) => sign(command, algorithm, slot, attestation, touch),
        _ => Err(NO_SUCH_INSTRUCTION),
    }
}

fn in_slot(slot: u8, attestation: Option<&Attestation>) -> Option<&Attestation> {
    attestation.filter(|attestation| attestation.slot == slot)
}

fn object(data: &[u8], attestation: Option<&Attestation>) -> Answer {
    let name = take_tagged(&mut &*data, 0x5C).ok_or(WRONG_SYNTAX)?;
    let attestation = attestation.filter(|_| name == [0x5F, 0xFF, 0x01]).ok_or(NO_SUCH_FILE)?;
    Ok(one(0x53, &[one(0x70, &attestation.issuer), one(0x71, &[0]), one(0xFE, &[])].concat()))
}

fn metadata(slot: u8, attestation: Option<&Attestation>) -> Answer {
    if slot == 0x9B {
        return Ok([one(0x01, &[0x03]), one(0x02, &[0, 1]), one(0x05, &[1])].concat());
    }
    let attestation = in_slot(slot, attestation).ok_or(NO_SUCH_DATA)?;
    Ok([one(0x01, &[attestation.pen.number()]), one(0x02, &attestation.policies), one(0x03, &[1])].concat())
}

fn sign(command: &Command, algorithm: u8, slot: u8, attestation: Option<&Attestation>, touch: Touch) -> Answer {
    let attestation = in_slot(slot, attestation).ok_or(NO_SUCH_DATA)?;
    if algorithm != attestation.pen.number() {
        return Err(WRONG_PARAMETERS);
    }
    let [pin, touches] = attestation.policies;
    if pin != 1 || (touches != 1 && touch == Touch::Refused) {
        return Err(NOT_ALLOWED);
    }
    let template = take_tagged(&mut command.data.as_slice(), 0x7C).ok_or(WRONG_SYNTAX)?;
    let elements = parse(template).ok_or(WRONG_SYNTAX)?;
    let challenge = elements.iter().find(|(tag, _)| *tag == 0x81).ok_or(WRONG_SYNTAX)?.1;
    Ok(one(0x7C, &one(0x82, &attestation.pen.sign_digest(challenge))))
}
