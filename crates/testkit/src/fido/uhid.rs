//! A virtual security key behind `/dev/uhid`. The kernel and all programs treat it as one in a USB port.

use std::fs::File;
use std::io::{Read, Write};
use std::time::{Duration, Instant};

use mfad_hardware::device::{REPORT, Reports};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::key::{Key, Line};

/// Kinds of events (linux/uhid.h).
const CREATE: u32 = 11;
const INPUT: u32 = 12;
const OUTPUT: u32 = 6;
const GET_REPORT: u32 = 9;
const GET_REPORT_REPLY: u32 = 10;
const SET_REPORT: u32 = 13;
const SET_REPORT_REPLY: u32 = 14;
/// Size of every event in bytes.
const EVENT: usize = 4380;
const DATA: usize = 4096;
const BUS_USB: u16 = 3;
/// The keep-alive command, and the interval at which it is sent (CTAP 2.1 section 11.2.9.2.1).
const KEEPALIVE: u8 = 0x3B | 0x80;
const BETWEEN: Duration = Duration::from_millis(100);
const EIO: u16 = 5;

/// Two interrupt endpoints of 64 bytes on the usage page of FIDO (CTAP 2.1 section 11.2.8.2).
const DESCRIPTOR: [u8; 34] = [
    0x06, 0xD0, 0xF1, 0x09, 0x01, 0xA1, 0x01, 0x09, 0x20, 0x15, 0x00, 0x26, 0xFF, 0x00, 0x75, 0x08, 0x95, 0x40, 0x81,
    0x02, 0x09, 0x21, 0x15, 0x00, 0x26, 0xFF, 0x00, 0x75, 0x08, 0x95, 0x40, 0x91, 0x02, 0xC0,
];

/// A key that is plugged in. Dropping this pulls it.
pub struct Plugged {
    kernel: File,
    line: Line,
    /// When the last keep-alive was sent.
    kept_alive: Instant,
}

impl Plugged {
    pub fn new(key: &Key, name: &str) -> std::io::Result<Self> {
        let mut kernel = File::options().read(true).write(true).open("/dev/uhid")?;
        let text = |text: &str, length: usize| {
            let mut bytes = text.as_bytes()[..text.len().min(length - 1)].to_vec();
            bytes.resize(length, 0);
            bytes
        };
        let mut event = [CREATE.to_le_bytes().to_vec(), text(name, 128), text("mfad-test", 64), text("1", 64)].concat();
        event.extend(u16::try_from(DESCRIPTOR.len()).unwrap().to_le_bytes());
        event.extend(BUS_USB.to_le_bytes());
        // Vendor, product, version and country, which belong to no real key.
        event.extend([0xF1D0u32, 1, 1, 0].iter().flat_map(|number| number.to_le_bytes()));
        event.extend(DESCRIPTOR);
        event.resize(EVENT, 0);
        kernel.write_all(&event)?;
        Ok(Self { kernel, line: key.line(), kept_alive: Instant::now() })
    }

    /// Passes reports between kernel and key for this long, or until one was received.
    pub fn carry(&mut self, patience: Duration) -> std::io::Result<()> {
        while let Ok(Some(report)) = self.line.receive(Duration::ZERO) {
            let is_keepalive = report[4] == KEEPALIVE;
            if !is_keepalive || self.kept_alive.elapsed() >= BETWEEN {
                let size = u16::try_from(REPORT).unwrap().to_le_bytes();
                self.kernel.write_all(&[&INPUT.to_le_bytes()[..], &size, &report].concat())?;
                self.kept_alive = Instant::now();
            }
            if is_keepalive {
                break;
            }
        }
        let mut ready = [PollFd::new(&self.kernel, PollFlags::IN)];
        if poll(&mut ready, Some(&Timespec::try_from(patience).unwrap()))? == 0 {
            return Ok(());
        }
        let mut event = [0; EVENT];
        let length = self.kernel.read(&mut event)?;
        if length < 8 {
            return Ok(());
        }
        match u32::from_le_bytes(event[..4].try_into().unwrap()) {
            OUTPUT => {
                let size = usize::from(u16::from_le_bytes([event[4 + DATA], event[5 + DATA]]));
                // An event with one more byte has the report number before the report.
                let start = if size > REPORT { 5 } else { 4 };
                drop(self.line.send(&event[start..start + REPORT].try_into().unwrap()));
            }
            kind @ (GET_REPORT | SET_REPORT) => {
                let reply = if kind == GET_REPORT { GET_REPORT_REPLY } else { SET_REPORT_REPLY };
                let mut answer = [&reply.to_le_bytes()[..], &event[4..8], &EIO.to_le_bytes()].concat();
                answer.resize(EVENT, 0);
                self.kernel.write_all(&answer)?;
            }
            _ => {}
        }
        Ok(())
    }
}
