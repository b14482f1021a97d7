//! Cards and security keys whose responses are the fuzzer's input. They also check the requests, because no response
//! may make the daemon send an invalid one.

use std::time::Duration;

use mfad_core::model::Sensitive;
use mfad_hardware::device::{Card, DeviceFault, REPORT, ReaderFacts, Report, Reports, SecurityKey, Wait};

/// The longest command APDU without extended length (ISO 7816-4 section 5.1): header, Lc, data, Le.
const LONGEST_COMMAND: usize = 4 + 1 + 255 + 1;
/// The longest wait for one response of a card: the one for a touch.
const LONGEST_WAIT: Duration = Duration::from_secs(31);
/// The longest message of CTAPHID (CTAP 2.1 section 11.2.4): one first report and 128 that continue it.
pub const LONGEST_MESSAGE: usize = (REPORT - 7) + 128 * (REPORT - 5);
/// The reports of that message, one to open a channel, and one to cancel.
const MOST_REPORTS: usize = 1 + 128 + 1 + 1;

/// Responses in a row, each behind its length. The last one may be shorter than its length.
struct Script<'a>(&'a [u8]);

impl<'a> Script<'a> {
    /// The next response, behind a length of one byte.
    fn short(&mut self) -> Option<&'a [u8]> {
        let (length, rest) = self.0.split_first()?;
        Some(self.take(usize::from(*length), rest))
    }

    /// The next response, behind a length of two bytes.
    fn long(&mut self) -> Option<&'a [u8]> {
        let (length, rest) = self.0.split_first_chunk::<2>()?;
        Some(self.take(usize::from(u16::from_be_bytes(*length)), rest))
    }

    fn take(&mut self, length: usize, rest: &'a [u8]) -> &'a [u8] {
        let (answer, rest) = rest.split_at(length.min(rest.len()));
        self.0 = rest;
        answer
    }
}

/// A card that is removed at the end of its script. Lengths have one byte.
pub struct ScriptedCard<'a>(Script<'a>, ReaderFacts);

impl<'a> ScriptedCard<'a> {
    /// Takes the script.
    pub fn new(script: &'a [u8]) -> Self {
        Self(Script(script), ReaderFacts::default())
    }
}

impl Card for ScriptedCard<'_> {
    fn reader(&self) -> &ReaderFacts {
        &self.1
    }

    fn transmit(
        &mut self,
        command: &Sensitive<Vec<u8>>,
        patience: Duration,
    ) -> Result<Sensitive<Vec<u8>>, DeviceFault> {
        let command = command.expose();
        assert!((5..=LONGEST_COMMAND).contains(&command.len()), "a command of {} bytes", command.len());
        assert!(
            command.len() == 5 || usize::from(command[4]) + 6 == command.len(),
            "a command that says another length"
        );
        assert!(patience <= LONGEST_WAIT, "{patience:?}");
        self.0.short().map(|answer| Sensitive::new(answer.to_vec())).ok_or(DeviceFault::Removed)
    }
}

/// A security key at the messages of CTAP2, removed at the end of its script. Lengths have two bytes.
pub struct ScriptedKey<'a>(Script<'a>);

impl<'a> ScriptedKey<'a> {
    /// Takes the script.
    pub fn new(script: &'a [u8]) -> Self {
        Self(Script(script))
    }
}

impl SecurityKey for ScriptedKey<'_> {
    fn exchange(&mut self, message: &Sensitive<Vec<u8>>, _: Wait<'_>) -> Result<Sensitive<Vec<u8>>, DeviceFault> {
        let message = message.expose();
        assert!(
            matches!(message.first(), Some(0x01 | 0x02 | 0x04 | 0x06 | 0x0B)),
            "a command that CTAP2 does not have"
        );
        assert!(message.len() <= LONGEST_MESSAGE, "a message of {} bytes", message.len());
        self.0.long().map(|answer| Sensitive::new(answer.to_vec())).ok_or(DeviceFault::Removed)
    }
}

/// A security key at the reports of CTAPHID, removed at the end of its script. Lengths have one byte. A short report is
/// filled with zeros, and an empty one means that none came in time.
pub struct ScriptedReports<'a> {
    script: Script<'a>,
    sent: usize,
}

impl<'a> ScriptedReports<'a> {
    /// Takes the script.
    pub fn new(script: &'a [u8]) -> Self {
        Self { script: Script(script), sent: 0 }
    }
}

impl Reports for ScriptedReports<'_> {
    fn send(&mut self, _: &Report) -> Result<(), DeviceFault> {
        self.sent += 1;
        assert!(self.sent <= MOST_REPORTS, "more reports than one message needs");
        Ok(())
    }

    fn receive(&mut self, _: Duration) -> Result<Option<Report>, DeviceFault> {
        let came = self.script.short().ok_or(DeviceFault::Removed)?;
        if came.is_empty() {
            return Ok(None);
        }
        let mut report = [0; REPORT];
        report.iter_mut().zip(came).for_each(|(place, byte)| *place = *byte);
        Ok(Some(report))
    }
}
