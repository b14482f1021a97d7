//! The OTP applet, as far as it is asked for its state and the key's serial number.

use super::key::{Answer, Command, Identity, NO_SUCH_INSTRUCTION, WRONG_PARAMETERS};

const CONFIGURE: u8 = 0x01;
const DEVICE_SERIAL: u8 = 0x10;
const STATUS: u8 = 0x03;

/// Version, programming sequence, and which of the two touch slots are in use: none.
pub(super) fn status(identity: &Identity) -> Vec<u8> {
    let (major, minor, patch) = identity.firmware;
    vec![major, minor, patch, 0x00, 0x00, 0x00]
}

pub(super) fn execute(command: &Command, identity: &Identity) -> Answer {
    match (command.ins, command.p1) {
        (CONFIGURE, DEVICE_SERIAL) => Ok(identity.serial.to_be_bytes().to_vec()),
        (CONFIGURE, _) => Err(WRONG_PARAMETERS),
        (STATUS, _) => Ok(status(identity)),
        _ => Err(NO_SUCH_INSTRUCTION),
    }
}
