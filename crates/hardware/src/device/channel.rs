//! CTAPHID: whole messages over reports of 64 bytes (CTAP 2.1 section 11.2). Several programs can use one key at the
//! same time. Each has its own channel, and reports on other channels are ignored here.

use std::time::Duration;

use mfad_core::model::Sensitive;
use mfad_core::stopwatch::Stopwatch;

use super::{DeviceFault, SecurityKey, Wait};

/// Length of a report in bytes.
pub const REPORT: usize = 64;

/// One HID report, to a security key or from it.
pub type Report = [u8; REPORT];

/// Sends and receives the reports of one security key. Tests implement it for a virtual key.
pub trait Reports: Send {
    /// Sends one report to the key. The call may block while the key accepts none.
    fn send(&mut self, report: &Report) -> Result<(), DeviceFault>;

    /// Returns the next report on any channel, or `None` if none came in time.
    fn receive(&mut self, patience: Duration) -> Result<Option<Report>, DeviceFault>;
}

const INIT: u8 = 0x06;
const CBOR: u8 = 0x10;
const CANCEL: u8 = 0x11;
const KEEPALIVE: u8 = 0x3B;
const ERROR: u8 = 0x3F;
/// The bit that marks the first report of a message.
const FIRST: u8 = 0x80;
/// The channel of clients that have no channel of their own yet.
const BROADCAST: u32 = 0xFFFF_FFFF;
/// The capability bit for CBOR, which means CTAP2.
const KNOWS_CBOR: u8 = 0x04;
/// The code of `ERROR` which says that the key is serving another channel.
const CHANNEL_BUSY: u8 = 0x06;
/// The longest message, in bytes: one first report and 128 that continue it.
const LONGEST: usize = IN_FIRST + 128 * IN_NEXT;
const IN_FIRST: usize = REPORT - 7;
const IN_NEXT: usize = REPORT - 5;

/// How long a key may take to assign a channel. A key that was just plugged in takes a while.
const OPENING: Duration = Duration::from_secs(3);
/// How long one message may take once it has begun.
const MESSAGE: Duration = Duration::from_secs(2);
/// How often a wait checks whether it has become pointless.
const LOOK: Duration = Duration::from_millis(100);
/// How long a key may take to cancel a request.
const GIVING_UP: Duration = Duration::from_secs(1);

/// An open CTAPHID channel to one security key.
pub struct Channel<R> {
    reports: R,
    id: u32,
}

/// A received message: its command and its data.
type Message = (u8, Sensitive<Vec<u8>>);

impl<R: Reports> Channel<R> {
    /// Asks the key for a channel. The nonce tells the response from those to other programs.
    pub fn open(reports: R, nonce: [u8; 8]) -> Result<Self, DeviceFault> {
        let mut channel = Self { reports, id: BROADCAST };
        channel.send(INIT, &nonce)?;
        let watch = Stopwatch::start(OPENING);
        while !watch.is_over() {
            let answer = match channel.message(watch.left())? {
                Some((INIT, answer)) => answer,
                Some((ERROR, code)) if is_busy(&code) => return Err(DeviceFault::Busy { holder: None }),
                None | Some(_) => continue,
            };
            let Some((given, id, capabilities)) = read_init(answer.expose()) else { continue };
            // Another program has asked for a channel at the same time.
            if given != nonce {
                continue;
            }
            if capabilities & KNOWS_CBOR == 0 {
                return Err(DeviceFault::TooOld);
            }
            channel.id = id;
            return Ok(channel);
        }
        Err(DeviceFault::Hung)
    }

    fn send(&mut self, command: u8, message: &[u8]) -> Result<(), DeviceFault> {
        let length = u16::try_from(message.len()).ok().filter(|_| message.len() <= LONGEST);
        let length = length.ok_or_else(|| DeviceFault::Failed("a message too long for the key".to_owned()))?;
        let (first, rest) = message.split_at(message.len().min(IN_FIRST));
        let watch = Stopwatch::start(MESSAGE);
        self.send_report(&[&[command | FIRST], &length.to_be_bytes(), first])?;
        for (sequence, part) in (0u8..).zip(rest.chunks(IN_NEXT)) {
            // The kernel blocks each write while the key accepts no more reports.
            if watch.is_over() {
                return Err(DeviceFault::Hung);
            }
            self.send_report(&[&[sequence], part])?;
        }
        Ok(())
    }

    fn send_report(&mut self, parts: &[&[u8]]) -> Result<(), DeviceFault> {
        let mut report = [0; REPORT];
        let id = self.id.to_be_bytes();
        let bytes = id.iter().chain(parts.iter().copied().flatten());
        report.iter_mut().zip(bytes).for_each(|(place, byte)| *place = *byte);
        let sent = self.reports.send(&report);
        zeroize::Zeroize::zeroize(&mut report);
        sent
    }

    /// Returns the next message on this channel, or `None` if none began in time.
    fn message(&mut self, patience: Duration) -> Result<Option<Message>, DeviceFault> {
        let Some(first) = self.report(patience, |head| head & FIRST != 0)? else { return Ok(None) };
        let (head, body) = first.split_at(7);
        let &[_, _, _, _, command, high, low] = head else { return Err(nonsense()) };
        let length = usize::from(u16::from_be_bytes([high, low]));
        // No sequence of reports could carry this length.
        if length > LONGEST {
            return Err(nonsense());
        }
        let watch = Stopwatch::start(MESSAGE);
        // Allocated at full length: a vector that grows leaves copies behind.
        let mut message = Vec::with_capacity(length.saturating_add(REPORT));
        message.extend_from_slice(body);
        let mut sequence = 0u8;
        while message.len() < length {
            let next = self.report(watch.left(), |_| true)?.ok_or(DeviceFault::Hung)?;
            let (head, body) = next.split_at(5);
            // A report was lost, so the rest would be read at the wrong place.
            if head.get(4) != Some(&sequence) {
                return Err(nonsense());
            }
            message.extend_from_slice(body);
            sequence = sequence.wrapping_add(1);
        }
        message.truncate(length);
        Ok(Some((command & !FIRST, Sensitive::new(message))))
    }

    /// Returns the next report on this channel whose fifth byte is the wanted one.
    fn report(&mut self, patience: Duration, is_wanted: impl Fn(u8) -> bool) -> Result<Option<Report>, DeviceFault> {
        let watch = Stopwatch::start(patience);
        loop {
            let Some(report) = self.reports.receive(watch.left())? else { return Ok(None) };
            let (id, rest) = report.split_at(4);
            if *id == self.id.to_be_bytes() && rest.first().copied().is_some_and(&is_wanted) {
                return Ok(Some(report));
            }
            if watch.is_over() {
                return Ok(None);
            }
        }
    }
}

impl<R: Reports> SecurityKey for Channel<R> {
    fn exchange(&mut self, message: &Sensitive<Vec<u8>>, wait: Wait<'_>) -> Result<Sensitive<Vec<u8>>, DeviceFault> {
        self.send(CBOR, message.expose())?;
        let mut watch = wait.time;
        let mut is_given_up = false;
        loop {
            // The key has not even responded to the cancel.
            if watch.is_over() && is_given_up {
                return Err(DeviceFault::Hung);
            }
            if !is_given_up && (watch.is_over() || (wait.is_pointless)()) {
                // The key stops blinking and still answers the request, with a status of its own.
                self.send(CANCEL, &[])?;
                is_given_up = true;
                watch = Stopwatch::start(GIVING_UP);
            }
            match self.message(watch.left().min(LOOK))? {
                // A keepalive says only that the key is still working or waiting for a touch.
                None | Some((KEEPALIVE, _)) => {}
                Some((CBOR, answer)) if !answer.expose().is_empty() => return Ok(answer),
                Some((ERROR, code)) if is_busy(&code) => return Err(DeviceFault::Busy { holder: None }),
                Some((ERROR, code)) => {
                    let code = code.expose().first().copied().unwrap_or_default();
                    return Err(DeviceFault::Failed(format!("CTAPHID error {code:02x}")));
                }
                Some(_) => return Err(nonsense()),
            }
        }
    }
}

fn is_busy(code: &Sensitive<Vec<u8>>) -> bool {
    code.expose().first() == Some(&CHANNEL_BUSY)
}

/// Returns nonce, channel and capabilities of a response to `INIT`.
fn read_init(answer: &[u8]) -> Option<([u8; 8], u32, u8)> {
    let (nonce, rest) = answer.split_first_chunk::<8>()?;
    let (id, rest) = rest.split_first_chunk::<4>()?;
    // The versions of protocol and device are in between.
    Some((*nonce, u32::from_be_bytes(*id), *rest.get(4)?))
}

fn nonsense() -> DeviceFault {
    DeviceFault::Failed("a report out of place".to_owned())
}
