//! The secrets app of a Nitrokey 3 as a program: the real applet on its real operating system, with storage in memory.
//! It takes messages on its standard input: one byte for the kind, two for the length, and the data. It answers each with
//! two bytes for the length, and the data.
//!
//! `A` is a command APDU. `P` cuts the power. From `T` on somebody touches the key when it blinks, from `R` on nobody does.

mod dispatch;

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use iso7816::Status;
use iso7816::command::CommandView;
use secrets_app::{Authenticator, Options};
use trussed::platform::{Platform as _, UserInterface};
use trussed::types::ui;
use trussed::virt::{self, StoreConfig, UptimeOffset};
use trussed_core::types::Location;
use trussed_core::types::consent::Level;

use dispatch::{BACKENDS, Dispatch};

/// The number that this key reports.
const SERIAL: [u8; 4] = [0xa1, 0xb2, 0xc3, 0xd4];
/// As on a key that is sold.
const ACCOUNTS: u16 = 50;
/// How long the person at the key takes.
const REACTION: Duration = Duration::from_millis(100);
/// Longer than the applet waits.
const GIVING_UP: Duration = Duration::from_secs(16);

const SELECT: u8 = 0xa4;
const GET_RESPONSE: u8 = 0xc0;
const SEND_REMAINING: [u8; 5] = [0x00, 0xa5, 0x00, 0x00, 0x00];
/// Data in one response APDU.
const PART: usize = 256;

/// The person at the key.
struct Person {
    touches: Arc<AtomicBool>,
    asked: Instant,
    uptime: UptimeOffset,
}

impl UserInterface for Person {
    fn check_user_presence(&mut self) -> Level {
        if self.asked.elapsed() < REACTION {
            return Level::None;
        }
        if self.touches.load(Ordering::SeqCst) {
            return Level::Normal;
        }
        // Time passes at once where nobody is waited for.
        self.uptime.add(GIVING_UP);
        Level::None
    }

    fn set_status(&mut self, status: ui::Status) {
        if status == ui::Status::WaitingForUserPresence {
            self.asked = Instant::now();
        }
    }

    fn refresh(&mut self) {
        std::thread::yield_now();
    }

    fn uptime(&mut self) -> Duration {
        Duration::ZERO
    }

    fn reboot(&mut self, _: trussed_core::types::reboot::To) -> ! {
        std::process::exit(1)
    }

    fn wink(&mut self, _: Duration) {}
}

/// What the operating system does between the line and the applet: it selects, and cuts long responses into parts.
struct Card<C> {
    applet: Authenticator<C>,
    is_selected: bool,
    rest: Vec<u8>,
    has_more: bool,
}

impl<C: secrets_app::authenticator::Client> Card<C> {
    fn transmit(&mut self, apdu: &[u8]) -> Vec<u8> {
        let [_, instruction, p1, ..] = apdu else { return vec![0x67, 0x00] };
        if *instruction == GET_RESPONSE {
            return self.next_part();
        }
        (self.rest, self.has_more) = (Vec::new(), false);
        if *instruction == SELECT && *p1 == 0x04 {
            let name = apdu.get(5..).unwrap_or_default();
            if !name.starts_with(secrets_app::YUBICO_OATH_AID) {
                return vec![0x6a, 0x82];
            }
            self.is_selected = true;
        }
        if self.is_selected { self.ask(apdu) } else { vec![0x6d, 0x00] }
    }

    fn ask(&mut self, apdu: &[u8]) -> Vec<u8> {
        let Ok(command) = CommandView::try_from(apdu) else { return vec![0x67, 0x00] };
        let mut reply = heapless::Vec::<u8, 7609>::new();
        match self.applet.respond(command, &mut reply) {
            Ok(()) => self.has_more = false,
            Err(Status::MoreAvailable(_)) => self.has_more = true,
            Err(refusal) => return <[u8; 2]>::from(refusal).to_vec(),
        }
        self.rest = reply.to_vec();
        self.next_part()
    }

    fn next_part(&mut self) -> Vec<u8> {
        if self.rest.is_empty() && self.has_more {
            return self.ask(&SEND_REMAINING);
        }
        let after = self.rest.split_off(self.rest.len().min(PART));
        let mut part = std::mem::replace(&mut self.rest, after);
        let left = u8::try_from(self.rest.len()).unwrap_or(0xff);
        let is_whole = self.rest.is_empty() && !self.has_more;
        part.extend(if is_whole { [0x90, 0x00] } else { [0x61, if left == 0 { 0xff } else { left }] });
        part
    }

    fn power_off(&mut self) {
        (self.is_selected, self.rest, self.has_more) = (false, Vec::new(), false);
    }
}

fn main() {
    let touches = Arc::new(AtomicBool::new(true));
    virt::with_platform(StoreConfig::ram(), |mut platform| {
        let interface = platform.user_interface();
        let uptime = interface.uptime_offset();
        interface.set_inner(Box::new(Person { touches: Arc::clone(&touches), asked: Instant::now(), uptime }));
        platform.run_client_with_backends("secrets", Dispatch::default(), BACKENDS, |client| {
            let options = Options::new(Location::Internal, 0, 1, SERIAL, ACCOUNTS);
            let applet = Authenticator::new(client, options);
            let mut card = Card { applet, is_selected: false, rest: Vec::new(), has_more: false };
            // The line ends with the test.
            let _ended = serve(&mut card, &touches);
        });
    });
}

fn serve<C: secrets_app::authenticator::Client>(card: &mut Card<C>, touches: &AtomicBool) -> io::Result<()> {
    let (mut input, mut output) = (io::stdin().lock(), io::stdout().lock());
    loop {
        let mut head = [0; 3];
        input.read_exact(&mut head)?;
        let [kind, high, low] = head;
        let mut data = vec![0; usize::from(u16::from_be_bytes([high, low]))];
        input.read_exact(&mut data)?;
        let mut answer = Vec::new();
        match kind {
            b'A' => answer = card.transmit(&data),
            b'P' => card.power_off(),
            b'T' => touches.store(true, Ordering::SeqCst),
            b'R' => touches.store(false, Ordering::SeqCst),
            _ => return Err(io::ErrorKind::InvalidData.into()),
        }
        let length = u16::try_from(answer.len()).map_err(|_| io::ErrorKind::InvalidData)?;
        output.write_all(&[&length.to_be_bytes()[..], &answer].concat())?;
        output.flush()?;
    }
}
