//! The OTP applet, limited to its status and the serial number of the key.

use super::key::{Answer, Command, Identity, NO_SUCH_INSTRUCTION, WRONG_PARAMETERS};

const CONFIGURE: u8 = 0x01;
const DEVICE_SERIAL: u8 = 0x10;
const STATUS: u8 = 0x03;

/// Returns the status: version, programming sequence, and the touch slots in use, of which there are none.
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
