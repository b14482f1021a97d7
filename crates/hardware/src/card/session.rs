//! A session with one card: commands out, whole responses in, within a time budget. Does not interpret the data.

use std::time::Duration;

use zeroize::Zeroizing;

use crate::device::{Card, DeviceFault, ReaderFacts};
use mfad_core::model::Sensitive;
use mfad_core::stopwatch::Stopwatch;

use super::CardFault;
use super::command::Command;

/// The longest wait for a response that needs no touch (HW-7).
const ANSWER: Duration = Duration::from_secs(5);
/// How much longer than a key waits for a touch its answer may take (HW-7).
const AFTER_TOUCH: Duration = Duration::from_secs(1);
/// The longest response accepted, in bytes. 255 accounts with names of 64 bytes need less.
const LONGEST: usize = 32 * 1024;

/// The status word of success.
pub(crate) const DONE: u16 = 0x9000;
/// The instruction that fetches the rest of a long response of Yubico's OATH applet. Other applets use GET RESPONSE.
pub(crate) const SEND_REMAINING: u8 = 0xa5;
/// Instruction GET RESPONSE (ISO 7816-4 section 11.7.1).
pub(crate) const GET_RESPONSE: u8 = 0xc0;

/// A card in use, with the time that is left for it.
pub struct CardSession<'a> {
    card: &'a mut dyn Card,
    watch: Stopwatch,
}

impl<'a> CardSession<'a> {
    /// Starts a session that may take `budget` in all. The time for touches comes on top.
    pub fn new(card: &'a mut dyn Card, budget: Duration) -> Self {
        Self { card, watch: Stopwatch::start(budget) }
    }

    /// The reader that holds the card.
    pub fn reader(&self) -> &ReaderFacts {
        self.card.reader()
    }

    /// Sends a command and joins the parts of its response. `rest` is the instruction that fetches further parts. The
    /// status word is that of the last part.
    pub(crate) fn exchange(&mut self, command: &Command, rest: u8) -> Result<(Sensitive<Vec<u8>>, u16), CardFault> {
        self.converse(command, rest, ANSWER)
    }

    /// Does the same for a command that may wait for a touch, which the key itself does no longer than `touch`.
    pub(crate) fn exchange_with_touch(
        &mut self,
        command: &Command,
        rest: u8,
        touch: Duration,
    ) -> Result<(Sensitive<Vec<u8>>, u16), CardFault> {
        let patience = touch.saturating_add(AFTER_TOUCH);
        // The time that the user takes does not count against the budget of the session.
        self.watch.extend(patience);
        self.converse(command, rest, patience)
    }

    fn converse(
        &mut self,
        command: &Command,
        rest: u8,
        patience: Duration,
    ) -> Result<(Sensitive<Vec<u8>>, u16), CardFault> {
        // Large enough for most responses, since a vector that grows leaves copies behind.
        let mut whole = Zeroizing::new(Vec::with_capacity(LONGEST.min(2048)));
        let (part, mut status) = self.transmit(command, patience)?;
        whole.extend_from_slice(part.expose());
        // 0x61xx: more data are available (ISO 7816-4 section 5.6).
        while status & 0xff00 == 0x6100 {
            let (part, next) = self.transmit(&Command::new(rest, 0, 0), ANSWER)?;
            // A faulty card could announce more data without end. Only the last part may be empty.
            let is_endless = part.expose().is_empty() && next != DONE;
            if is_endless || whole.len().saturating_add(part.expose().len()) > LONGEST {
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
        // No single command may exceed the budget of the session.
        let answer = self.card.transmit(&bytes, patience.min(self.watch.left()))?;
        // Only a card that was pulled answers without a status word.
        let (data, status) = answer.expose().split_last_chunk::<2>().ok_or(DeviceFault::Removed)?;
        Ok((Sensitive::new(data.to_vec()), u16::from_be_bytes(*status)))
    }
}
