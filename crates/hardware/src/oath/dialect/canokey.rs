//! CanoKeys, as the applet of canokey-core behaves (version 6.0.0 of the applet was run).

use std::time::Duration;

use mfad_core::model::Firmware;

use super::Dialect;
use crate::card::CardFault;

pub(super) struct CanoKey;

/// How long a CanoKey waits for a touch.
const TOUCH: Duration = Duration::from_secs(30);

impl Dialect for CanoKey {
    /// The counter is raised before it is used.
    fn counters_ahead(&self) -> u32 {
        1
    }

    fn reset(&self) -> Result<(), &'static str> {
        Err("only its own program can reset its OATH application, with the admin PIN")
    }

    fn sha512(&self, _: Firmware) -> Result<(), &'static str> {
        Ok(())
    }

    fn touch(&self, _: Firmware) -> Result<Duration, &'static str> {
        Ok(TOUCH)
    }

    fn fault(&self, status: u16) -> Option<CardFault> {
        (status == 0x6985).then_some(CardFault::Exists)
    }
}
