//! `virtual-key DIR [SERIAL]`: runs a private pcscd in that directory, with a virtual YubiKey in its only reader, for
//! manual tests. It reads one command per line: `pull`, `insert`, `touch on`, `touch off`, `accounts`.

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
use std::path::Path;
use std::process::ExitCode;

use mfad_testkit::card::{Key, Pcscd, Reader, Touch, attach};

/// Name of the reader. `ykman` looks for it to find the key.
const READER: &str = "Yubico YubiKey OTP+FIDO+CCID";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match arguments.as_slice() {
        [directory] => run(Path::new(directory), 12_345_678),
        [directory, serial] => match serial.parse::<u32>() {
            Ok(serial) => run(Path::new(directory), serial),
            Err(cause) => Err(format!("the serial number {serial} is none: {cause}")),
        },
        _ => Err("usage: virtual-key DIR [SERIAL]".to_owned()),
    };
    if let Err(cause) = outcome {
        eprintln!("virtual-key: {cause}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn run(directory: &Path, serial: u32) -> Result<(), String> {
    if let Some(missing) = Pcscd::missing() {
        return Err(format!("{missing} is missing"));
    }
    std::fs::create_dir_all(directory).map_err(|cause| format!("{}: {cause}", directory.display()))?;
    let pcscd = Pcscd::start(directory, &[READER])?;
    let reader = Reader::new();
    let _attached = attach(reader.clone(), pcscd.port(0), Some(pcscd.net_namespace()));
    reader.insert(Key::new(serial));
    say(&format!("PCSCLITE_CSOCK_NAME={}", pcscd.socket().display()));
    let mut outside = None;
    for line in std::io::stdin().lock().lines() {
        let line = line.map_err(|cause| format!("no more commands: {cause}"))?;
        obey(line.trim(), &reader, &mut outside);
    }
    Ok(())
}

fn obey(line: &str, reader: &Reader, outside: &mut Option<Key>) {
    let holder = match outside.as_mut() {
        Some(key) => Holder::Hand(key),
        None => Holder::Reader(reader),
    };
    match line {
        "" => {}
        "pull" => *outside = outside.take().or_else(|| reader.pull()),
        "insert" => outside.take().into_iter().for_each(|key| reader.insert(key)),
        "touch on" => holder.look(|key| key.touch = Touch::Given),
        "touch off" => holder.look(|key| key.touch = Touch::Refused),
        "accounts" => holder.look(|key| {
            for account in key.accounts() {
                say(&String::from_utf8_lossy(&account.name));
            }
        }),
        other => eprintln!("virtual-key: no such command: {other}"),
    }
}

/// The place of the key: in the reader or pulled. Its accounts can be listed in both.
enum Holder<'a> {
    Hand(&'a mut Key),
    Reader(&'a Reader),
}

impl Holder<'_> {
    fn look(self, act: impl FnOnce(&mut Key)) {
        match self {
            Self::Hand(key) => act(key),
            Self::Reader(reader) => reader.with_key(act),
        }
    }
}

/// Prints a line and flushes it, so that a pipe gets it at once.
fn say(line: &str) {
    println!("{line}");
    drop(std::io::stdout().flush());
}
