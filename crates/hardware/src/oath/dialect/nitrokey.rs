//! The Nitrokey 3, as its secrets app behaves (version 4.16.0 of the applet was run).

use std::time::Duration;

use mfad_core::model::Firmware;

use super::{Answers, Dialect, Kinds};
use crate::card::{CardFault, GET_RESPONSE};

pub(super) struct Nitrokey;

/// How long a Nitrokey waits for a touch.
const TOUCH: Duration = Duration::from_secs(15);

impl Dialect for Nitrokey {
    fn continuation(&self) -> u8 {
        GET_RESPONSE
    }

    fn answers(&self) -> Answers {
        Answers::Truncated
    }

    fn kinds(&self) -> Kinds {
        Kinds::Listed
    }

    fn rename(&self, _: Firmware) -> Result<u8, &'static str> {
        Ok(0xb7)
    }

    fn changes_need_touch(&self) -> bool {
        true
    }

    fn password(&self) -> Result<(), &'static str> {
        Err("it has no password for its OATH application, only a PIN for single accounts")
    }

    /// Each SELECT shows another salt.
    fn salt_identifies(&self) -> bool {
        false
    }

    fn sha512(&self, _: Firmware) -> Result<(), &'static str> {
        Err("it stores accounts with SHA-512 but gives no codes for them; choose SHA1 or SHA256")
    }

    fn touch(&self, _: Firmware) -> Result<Duration, &'static str> {
        Ok(TOUCH)
    }

    fn fault(&self, status: u16) -> Option<CardFault> {
        match status {
            0x6a82 => Some(CardFault::NoSuchAccount),
            0x6983 => Some(CardFault::Exists),
            // There is no password that could be missing.
            0x6982 => Some(CardFault::NotTouched),
            _ => None,
        }
    }
}
