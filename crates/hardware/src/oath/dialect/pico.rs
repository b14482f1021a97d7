//! Keys with the firmware pico-fido (version 8.0.0 of the applet was run).

use std::time::Duration;

use mfad_core::model::Firmware;

use super::Dialect;
use crate::card::GET_RESPONSE;

pub(super) struct Pico;

impl Dialect for Pico {
    fn continuation(&self) -> u8 {
        GET_RESPONSE
    }

    /// The salt comes from the chip, so it stays after a reset.
    fn salt_identifies(&self) -> bool {
        false
    }

    fn sha512(&self, _: Firmware) -> Result<(), &'static str> {
        Ok(())
    }

    fn touch(&self, _: Firmware) -> Result<Duration, &'static str> {
        Err("pico-fido drops the setting that a code requires a touch; leave out `touch`")
    }

    /// Its buffer for a response.
    fn longest_list(&self) -> Option<usize> {
        Some(4095)
    }
}
