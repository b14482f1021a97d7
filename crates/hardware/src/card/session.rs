//! One conversation with a card: commands out, whole answers in, within a budget of time.

use std::time::Duration;

use zeroize::Zeroizing;

use crate::device::{Card, DeviceFault};
use mfad_core::model::Sensitive;
use mfad_core::stopwatch::Stopwatch;

use super::CardFault;
use super::command::Command;

/// The longest wait for one answer that needs nobody (HW-7).
const ANSWER: Duration = Duration::from_secs(5);
/// The longest wait for a touch (HW-7); the key itself gives up a little earlier.
const TOUCH: Duration = Duration::from_secs(16);
/// The longest answer taken, in bytes: 64 accounts with names of 64 bytes need less than 6,000.
const LONGEST: usize = 16 * 1024;

/// The status word of success.
pub(crate) const DONE: u16 = 0x9000;
/// How the OATH applet hands out the rest of a long answer; others use GET RESPONSE.
pub(crate) const SEND_REMAINING: u8 = 0xa5;
/// GET RESPONSE (ISO 7816-4 section 11.7.1).
pub(crate) const GET_RESPONSE: u8 = 0xc0;

/// A card with what is left of the time for it.
pub struct CardSession<'a> {
    card: &'a mut dyn Card,
    watch: Stopwatch,
}

impl<'a> CardSession<'a> {
    /// Speaks to a card for no longer than `budget`; touches are extra.
    pub fn new(card: &'a mut dyn Card, budget: Duration) -> Self {
        Self { card, watch: Stopwatch::start(budget) }
    }

    /// Sends a command and puts the parts of its answer together. The status word is that of the last part.
    pub(crate) fn exchange(&mut self, command: &Command, rest: u8) -> Result<(Sensitive<Vec<u8>>, u16), CardFault> {
        self.converse(command, rest, ANSWER)
    }

    /// The same for a command that may wait for a touch.
    pub(crate) fn exchange_with_touch(
        &mut self,
        command: &Command,
        rest: u8,
    ) -> Result<(Sensitive<Vec<u8>>, u16), CardFault> {
        self.watch.extend(TOUCH);
        self.converse(command, rest, TOUCH)
    }

    fn converse(
        &mut self,
        command: &Command,
        rest: u8,
        patience: Duration,
    ) -> Result<(Sensitive<Vec<u8>>, u16), CardFault> {
        let mut whole = Zeroizing::new(Vec::with_capacity(LONGEST.min(2048)));
        let (part, mut status) = self.transmit(command, patience)?;
        whole.extend_from_slice(part.expose());
        // 0x61xx: there is more (ISO 7816-4 section 5.6).
        while status & 0xff00 == 0x6100 {
            let (part, next) = self.transmit(&Command::new(rest, 0, 0), ANSWER)?;
            if part.expose().is_empty() || whole.len().saturating_add(part.expose().len()) > LONGEST {
                return Err(CardFault::Nonsense("an answer without an end"));
            }
            whole.extend_from_slice(part.expose());
            status = next;
        }
        Ok((Sensitive::new(std::mem::take(&mut *whole)), status))
    }

    fn transmit(&mut self, command: &Command, patience: Duration) -> Result<(Sensitive<Vec<u8>>, u16), CardFault> {
        if self.watch.is_over() {
            return Err(DeviceFault::Hung.into());
        }
        let bytes = command.bytes()?;
        let answer = self.card.transmit(&bytes, patience.min(self.watch.left()))?;
        let (data, status) = answer.expose().split_last_chunk::<2>().ok_or(DeviceFault::Removed)?;
        Ok((Sensitive::new(data.to_vec()), u16::from_be_bytes(*status)))
    }
}
