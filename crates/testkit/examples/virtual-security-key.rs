//! `virtual-security-key [PIN]`: plugs a virtual security key in through `/dev/uhid`, for manual tests and for the
//! checks in virtual machines. It reads one command per line: `touch`, `deny`, `away`, `pull`, `insert`. It prints when
//! the key blinks and when it is told to cancel.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::arithmetic_side_effects,
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a tool of the tests: it talks to whoever runs it, and fails by panicking"
)]

use std::io::{BufRead, Write};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::thread;
use std::time::Duration;

use mfad_testkit::fido::{Finger, Key, Make, Plugged, Touch};

const NAME: &str = "mfad virtual security key";
const TURN: Duration = Duration::from_millis(10);

fn main() -> ExitCode {
    let pin = std::env::args().nth(1);
    let key = Key::new(Make { pin, has_neighbours: false, ..Make::default() });
    let (commands, lines) = channel();
    thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if commands.send(line).is_err() {
                return;
            }
        }
    });
    match run(&key, &lines) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("virtual-security-key: /dev/uhid: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(key: &Key, lines: &Receiver<String>) -> std::io::Result<()> {
    let mut plugged = Some(Plugged::new(key, NAME)?);
    say("plugged in");
    let (mut was_blinking, mut cancelled) = (false, 0);
    loop {
        match lines.try_recv().as_deref() {
            Ok("touch") => key.set_finger(Finger::Always(Touch::Given)),
            Ok("deny") => key.set_finger(Finger::Always(Touch::Denied)),
            Ok("away") => key.set_finger(Finger::Away),
            Ok("pull") => plugged = None,
            Ok("insert") if plugged.is_none() => {
                key.plug_in();
                plugged = Some(Plugged::new(key, NAME)?);
            }
            Ok(other) => eprintln!("virtual-security-key: no such command: {other}"),
            Err(TryRecvError::Empty) => {}
            Err(TryRecvError::Disconnected) => return Ok(()),
        }
        match plugged.as_mut() {
            Some(plugged) => plugged.carry(TURN)?,
            None => thread::sleep(TURN),
        }
        if key.is_blinking() != was_blinking {
            was_blinking = !was_blinking;
            say(if was_blinking { "blinks" } else { "dark" });
        }
        if key.cancelled() != cancelled {
            cancelled = key.cancelled();
            say("told to give up");
        }
    }
}

/// Prints a line and flushes it, so that a file gets it at once.
fn say(line: &str) {
    println!("{line}");
    drop(std::io::stdout().flush());
}
