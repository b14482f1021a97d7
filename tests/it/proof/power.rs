//! Builds the disks that a power cut may leave, from the record of what the daemon wrote and synced (STO-2, R3).
//! Unsynced data is present, partly present or absent, in any mixture. Acknowledged changes must be there.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;

use super::figure::{Dice, integrity, report, size};
use crate::host::{Host, TestDirs};
use crate::people::{Factor, text};
use crate::strace::Strace;
use crate::wire::Request;

/// Codes that are shown while everything is recorded.
const CALLS: u64 = 60;
/// What a disk writes as a whole.
const SECTOR: usize = 512;
const FILES: [&str; 2] = ["mfad.db", "mfad.db-wal"];

/// What happened to the files, and to whoever asked.
#[derive(Clone, Debug)]
enum Event {
    Write {
        file: usize,
        at: usize,
        bytes: Vec<u8>,
    },
    Cut {
        file: usize,
        length: usize,
    },
    Gone {
        file: usize,
    },
    /// What was written before it began is on the disk.
    Synced {
        file: usize,
        began: f64,
    },
    /// An answer left: whatever it says is promised.
    Answered,
}

/// Everything that happened, in order, and when it began; a sync, when it ended.
struct Record(Vec<(f64, Event)>);

/// Which syncs a disk heeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Heeded {
    All,
    /// None at the end of a transaction, as with `synchronous=NORMAL`: of the log only those before it is taken in.
    OfCheckpoints,
    None,
}

impl Record {
    /// From the logs of strace, one for each thread, with times and lengths of calls.
    fn read(dir: &Path) -> Self {
        let mut events: Vec<(f64, Event)> = Vec::new();
        for log in fs::read_dir(dir).unwrap() {
            let log = fs::read_to_string(log.unwrap().path()).unwrap();
            events.extend(log.lines().filter_map(event));
        }
        events.sort_by(|(one, _), (other, _)| one.total_cmp(other));
        Self(events)
    }

    fn count(&self, is_one: impl Fn(&Event) -> bool) -> u64 {
        u64::try_from(self.0.iter().filter(|(_, event)| is_one(event)).count()).unwrap()
    }

    /// When the last sync of the file began that was over after so many events.
    fn last_sync(&self, file: usize, end: usize, heeded: Heeded) -> Option<f64> {
        let touched = |event: &Event| match event {
            Event::Write { file, .. } | Event::Cut { file, .. } | Event::Gone { file } | Event::Synced { file, .. } => {
                Some(*file)
            }
            Event::Answered => None,
        };
        let is_heeded = |at: usize| match heeded {
            Heeded::All => true,
            Heeded::OfCheckpoints => {
                file == 0 || self.0[at + 1..].iter().find_map(|(_, next)| touched(next)) == Some(0)
            }
            Heeded::None => false,
        };
        (0..end).rev().find_map(|at| match self.0[at].1 {
            Event::Synced { file: of, began } if of == file && is_heeded(at) => Some(began),
            _ => None,
        })
    }

    /// The files as a cut after so many events may leave them: of what was not synced, about so many in a hundred are there.
    fn image(
        &self,
        base: &[Option<Vec<u8>>],
        end: usize,
        dice: &mut Dice,
        luck: usize,
        heeded: Heeded,
    ) -> Vec<Option<Vec<u8>>> {
        let mut files = base.to_vec();
        let synced: Vec<Option<f64>> = (0..FILES.len()).map(|file| self.last_sync(file, end, heeded)).collect();
        for (when, event) in &self.0[..end] {
            let is_safe = |file: &usize| synced[*file].is_some_and(|sync| *when < sync);
            match event {
                Event::Write { file, at, bytes } => {
                    let mut written = bytes.as_slice();
                    if !is_safe(file) {
                        if dice.below(100) >= luck {
                            continue;
                        }
                        if dice.below(4) == 0 {
                            written = &bytes[..(dice.below(bytes.len() / SECTOR + 1) * SECTOR).min(bytes.len())];
                        }
                    }
                    let contents = files[*file].get_or_insert_default();
                    contents.resize(contents.len().max(at + written.len()), 0);
                    contents[*at..at + written.len()].copy_from_slice(written);
                }
                Event::Cut { file, length } if is_safe(file) || dice.below(100) < luck => {
                    files[*file].get_or_insert_default().resize(*length, 0);
                }
                Event::Gone { file } if is_safe(file) || dice.below(100) < luck => files[*file] = None,
                Event::Cut { .. } | Event::Gone { .. } | Event::Synced { .. } | Event::Answered => {}
            }
        }
        files
    }
}

/// One line of strace: `TIME call(FD</path>, "\x..", 3, 0) = 3 <0.000012>`.
fn event(line: &str) -> Option<(f64, Event)> {
    let (began, call) = line.split_once(' ')?;
    let began: f64 = began.parse().ok()?;
    let (name, rest) = call.split_once('(')?;
    let (arguments, result) = rest.rsplit_once(") = ")?;
    if result.starts_with('-') {
        return None;
    }
    let took: f64 = result.rsplit_once('<')?.1.trim_end_matches('>').parse().ok()?;
    // Paths come in hexadecimal as well, of descriptors between < and >.
    let file = || {
        let ends = |name: &str| [format!("{}>", hexadecimal(name)), format!("{}\"", hexadecimal(name))];
        FILES.iter().position(|name| ends(&format!("/{name}")).iter().any(|end| arguments.contains(end)))
    };
    let numbers = || -> Vec<usize> { arguments.rsplit(", ").map_while(|part| part.parse().ok()).collect() };
    match name {
        "pwrite64" => {
            let at = *numbers().first()?;
            Some((began, Event::Write { file: file()?, at, bytes: unescape(arguments)? }))
        }
        "ftruncate" => Some((began, Event::Cut { file: file()?, length: *numbers().first()? })),
        "unlink" | "unlinkat" => Some((began, Event::Gone { file: file()? })),
        // What is durable is so when the call has returned.
        "fsync" | "fdatasync" => Some((began + took, Event::Synced { file: file()?, began })),
        "write" | "sendto" | "writev" => {
            arguments.contains(&hexadecimal("HTTP/1.1 200")).then_some((began, Event::Answered))
        }
        _ => None,
    }
}

fn hexadecimal(text: &str) -> String {
    text.bytes().map(|byte| format!("\\x{byte:02x}")).collect()
}

/// The first string of the arguments, all of it in hexadecimal.
fn unescape(arguments: &str) -> Option<Vec<u8>> {
    let text = arguments.split('"').nth(1)?;
    text.split("\\x").skip(1).map(|byte| u8::from_str_radix(byte, 16).ok()).collect()
}

fn read_files(state: &Path) -> Vec<Option<Vec<u8>>> {
    FILES.iter().map(|name| fs::read(state.join(name)).ok()).collect()
}

fn put_files(state: &Path, files: &[Option<Vec<u8>>]) {
    let _none = fs::remove_file(state.join("mfad.db-shm"));
    for (name, contents) in FILES.iter().zip(files) {
        match contents {
            Some(contents) => fs::write(state.join(name), contents).unwrap(),
            None => drop(fs::remove_file(state.join(name))),
        }
    }
}

/// A user with a counter, who shows one code after another while strace looks on.
fn record(host: &mut Host) -> (String, Factor, u64, Record, Vec<Option<Vec<u8>>>) {
    let user = host.nobody("anna");
    let mut factor = host.pending_for(&user, &json!({"kind": "hotp", "digits": 8}));
    host.confirm(&mut factor);
    let first = factor.shown() + 1;
    host.stop();
    let logs = host.dirs.dir.path().join("calls");
    fs::create_dir(&logs).unwrap();
    host.start_again();
    let into = logs.join("thread");
    let mut strace = Strace::attach(
        host.pid(),
        &[
            "-ff",
            "-y",
            "-xx",
            "-T",
            "-s",
            "100000",
            "--absolute-timestamps=format:unix,precision:ns",
            "-e",
            "trace=pwrite64,ftruncate,unlink,unlinkat,fsync,fdatasync,write,writev,sendto",
            "-o",
            into.to_str().unwrap(),
        ],
    );
    // What is there now was synced at the start; what is written meanwhile is in the record too, and the same.
    let base = read_files(&host.dirs.state);
    let mut connection = host.connect();
    for counter in first..first + CALLS {
        if counter == first + CALLS / 2 {
            await_checkpoint(&host.dirs.state);
        }
        let request = Request::post(format!("/users/{user}/verify"), &json!({"token": factor.code(counter)}));
        assert_eq!(text(&connection.ask(&request).ok()["method"]), "hotp");
    }
    // The last answer is in the record once the same task answers again.
    connection.ask(&Request::get("/nothing")).refused(404, "not-found");
    // Killed, not stopped: an end in good order would take the log in.
    host.kill();
    strace.wait();
    (user, factor, first, Record::read(&logs), base)
}

/// While nobody asks, the daemon moves the log into the database.
fn await_checkpoint(state: &Path) {
    let written = || fs::metadata(state.join("mfad.db")).unwrap().modified().unwrap();
    let (before, began) = (written(), Instant::now());
    while written() == before {
        assert!(began.elapsed() < Duration::from_secs(60), "the log is never moved into the database");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Whether a daemon that starts on these files knows all that was acknowledged.
fn keeps(host: &mut Host, user: &str, factor: &Factor, next: u64, acknowledged: u64) -> Result<(), String> {
    host.start_again();
    let show = |counter: u64| host.verify(user, &json!({"token": factor.code(counter)})).status;
    for counter in (next.saturating_sub(2)..next).filter(|counter| *counter + acknowledged >= next) {
        if show(counter) == 200 {
            return Err(format!("the code {counter} is taken again"));
        }
    }
    // The one after may have been used without an answer.
    if show(next + 1) != 200 {
        return Err(format!("the code {} is refused", next + 1));
    }
    host.kill();
    match integrity(&host.dirs.state).as_str() {
        "ok" => Ok(()),
        damage => Err(damage.to_owned()),
    }
}

#[test]
fn r3_a_power_cut_at_any_moment_loses_nothing_that_was_acknowledged() {
    let dirs = TestDirs::new("guardDir = \"\"\n");
    assert!(dirs.init().success(), "{}", dirs.log_text());
    let mut host = Host::on(dirs);
    let (user, factor, first, record, base) = record(&mut host);
    assert_eq!(record.count(|event| matches!(event, Event::Answered)), CALLS, "every answer was seen to leave");
    assert!(record.count(|event| matches!(event, Event::Synced { .. })) >= CALLS, "and what it promised, to be synced");
    assert!(record.count(|event| matches!(event, Event::Write { file: 0, .. })) > 0, "and the log to be taken in");
    let mut dice = Dice(5);
    let images = size(200, 5_000);
    let mut kinds = BTreeMap::new();
    for number in 0..images {
        let end = 1 + dice.below(record.0.len());
        let acknowledged = record.0[..end].iter().filter(|(_, event)| matches!(event, Event::Answered)).count();
        let acknowledged = u64::try_from(acknowledged).unwrap();
        let luck = *dice.pick(&[0, 0, 50, 50, 90, 100]);
        let files = record.image(&base, end, &mut dice, luck, Heeded::All);
        put_files(&host.dirs.state, &files);
        *kinds.entry(acknowledged).or_insert(0) += 1;
        let kept = keeps(&mut host, &user, &factor, first + acknowledged, acknowledged);
        assert_eq!(kept, Ok(()), "image {number}: cut after {end} events, {acknowledged} acknowledged");
    }
    assert!(kinds.len() > images.min(40) / 2, "the cuts are everywhere: {kinds:?}");

    // The controls: a disk on which no sync counts, and a store that does not sync its transactions, have to be found out.
    let end = 1 + record.0.iter().rposition(|(_, event)| matches!(event, Event::Answered)).unwrap();
    for heeded in [Heeded::None, Heeded::OfCheckpoints] {
        put_files(&host.dirs.state, &record.image(&base, end, &mut dice, 0, heeded));
        let found = keeps(&mut host, &user, &factor, first + CALLS, CALLS);
        assert!(found.is_err(), "the harness finds what was not synced: {heeded:?}");
        host.kill();
    }

    report("power cuts while codes are used", format!("0 lost in {images} images"), "0 in 5,000", images >= 5_000);
}
