//! Keys of unknown makers that speak YKOATH. Only what every applet of the protocol does is expected of them.

use std::time::Duration;

use mfad_core::model::Firmware;

use super::Dialect;
use crate::card::{GET_RESPONSE, SEND_REMAINING};

pub(super) struct Unknown {
    /// The key has Yubico's Management applet too: it imitates a whole YubiKey.
    pub(super) has_management: bool,
}

impl Dialect for Unknown {
    /// The firmware that imitates a whole YubiKey is known to continue as ISO 7816-4 says.
    fn continuation(&self) -> u8 {
        if self.has_management { GET_RESPONSE } else { SEND_REMAINING }
    }

    fn sha512(&self, _: Firmware) -> Result<(), &'static str> {
        Err("SHA-512 is not documented for this key; choose SHA1 or SHA256")
    }

    fn touch(&self, _: Firmware) -> Result<Duration, &'static str> {
        Err("accounts that require a touch are not documented for this key; leave out `touch`")
    }
}
