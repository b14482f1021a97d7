//! Hardware keys behind a real pcscd, each figure a ratio of one run.
//!
//! What a key that hangs costs everybody else (HW-7): the latency of durable requests while a key does not answer and
//! others wait for it, beside the same without, in turns. And what it takes to put a factor onto a key, read back and
//! proved, beside Yubico's `ykman`, which writes an account onto the same key.

#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::arithmetic_side_effects,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a benchmark reads the clock, prints its figures and fails by panicking"
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use mfad_testkit::card::{Fault, Key, Pcscd, Reader, attach};
use mfad_testkit::daemon::{Daemon, until};

/// Turns of each kind, connections of the others, and their requests in a turn.
const TURNS: usize = 5;
const CONNECTIONS: usize = 4;
const REQUESTS: usize = 500;
/// Callers that want the key all the time.
const WAITING: usize = 8;
/// The p99 of the others may grow by that much.
const GOAL: f64 = 1.5;
/// Accounts that the daemon and `ykman` put onto a key, in turns.
const ACCOUNTS: usize = 12;
/// By how much the daemon should be faster.
const FASTER: f64 = 5.0;

fn connect(daemon: &Daemon) -> BufReader<UnixStream> {
    BufReader::new(UnixStream::connect(&daemon.socket).unwrap())
}

/// One exchange; yields the status and the body.
fn ask(connection: &mut BufReader<UnixStream>, method: &str, target: &str, body: &str) -> (u16, String) {
    let length = if body.is_empty() {
        String::new()
    } else {
        format!("content-type: application/json\r\ncontent-length: {}\r\n", body.len())
    };
    let request = format!("{method} {target} HTTP/1.1\r\nhost: x\r\nmfad-reason: a benchmark\r\n{length}\r\n{body}");
    connection.get_mut().write_all(request.as_bytes()).unwrap();
    let (mut status, mut size) = (0, 0);
    loop {
        let mut line = String::new();
        assert!(connection.read_line(&mut line).unwrap() > 0, "the daemon closed the connection");
        let line = line.trim_end().to_lowercase();
        if let Some(rest) = line.strip_prefix("http/1.1 ") {
            status = rest[..3].parse().unwrap();
        }
        if let Some(rest) = line.strip_prefix("content-length: ") {
            size = rest.parse().unwrap();
        }
        if line.is_empty() {
            break;
        }
    }
    let mut body = vec![0; size];
    connection.read_exact(&mut body).unwrap();
    (status, String::from_utf8(body).unwrap())
}

/// The times of durable requests of several callers.
fn others(daemon: &Daemon) -> Vec<Duration> {
    thread::scope(|threads| {
        let callers: Vec<_> = (0..CONNECTIONS)
            .map(|_| {
                threads.spawn(|| {
                    let mut connection = connect(daemon);
                    let one = |_| {
                        let started = Instant::now();
                        assert_eq!(ask(&mut connection, "GET", "/health/ready", "").0, 200);
                        started.elapsed()
                    };
                    (0..REQUESTS).map(one).collect::<Vec<_>>()
                })
            })
            .collect();
        callers.into_iter().flat_map(|caller| caller.join().unwrap()).collect()
    })
}

/// The same while the key hangs in the middle of a command, and others want it.
fn others_beside_a_hung_key(daemon: &Daemon, reader: &Reader, user: &str, refused: &AtomicU64) -> Vec<Duration> {
    let is_over = AtomicBool::new(false);
    thread::scope(|threads| {
        reader.plan(0, Fault::Hang);
        for _ in 0..WAITING {
            threads.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    let order = r#"{"type": "mfa", "device": {"any": true}}"#;
                    let (status, _) = ask(&mut connect(daemon), "POST", &format!("/users/{user}/secrets"), order);
                    refused.fetch_add(u64::from(status != 200), Ordering::Relaxed);
                    thread::sleep(Duration::from_millis(20));
                }
            });
        }
        until(|| reader.is_hanging());
        let times = others(daemon);
        is_over.store(true, Ordering::Relaxed);
        reader.release();
        times
    })
}

fn p99(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times[times.len() * 99 / 100]
}

fn new_user(daemon: &Daemon, name: &str) -> String {
    let made = ask(&mut connect(daemon), "POST", "/users", &format!(r#"{{"name": "{name}"}}"#)).1;
    made.split("\"uid\":\"").nth(1).and_then(|rest| rest.get(..36)).expect("a user").to_owned()
}

fn hung_key(daemon: &Daemon, reader: &Reader) {
    let user = new_user(daemon, "ann");
    let (mut alone, mut beside, refused) = (Vec::new(), Vec::new(), AtomicU64::new(0));
    others(daemon);
    for _ in 0..TURNS {
        alone.extend(others(daemon));
        beside.extend(others_beside_a_hung_key(daemon, reader, &user, &refused));
        // The key answers again, and is met again.
        until(|| ask(&mut connect(daemon), "GET", "/devices", "").1.contains("\"serial\":7"));
    }

    let (quiet, loud) = (p99(&mut alone), p99(&mut beside));
    let ratio = loud.as_secs_f64() / quiet.as_secs_f64();
    println!(
        "hung key: p99 of durable requests {:.2} ms beside it, {:.2} ms without, ratio {ratio:.2} (goal at most {GOAL}); \
         {} requests each, {} requests for the key refused",
        loud.as_secs_f64() * 1e3,
        quiet.as_secs_f64() * 1e3,
        alone.len(),
        refused.load(Ordering::Relaxed)
    );
}

/// A new account by `ykman`, as an operator adds one: the time of the whole program.
fn add_by_ykman(pcscd: &Pcscd, home: &Path, number: usize) -> Duration {
    let beside_python = std::env::var_os("MFAD_TEST_PYTHON").map(|python| Path::new(&python).with_file_name("ykman"));
    let program = beside_python.unwrap_or_else(|| mfad_testkit::root().join(".venv/bin/ykman"));
    let mut command = Command::new(program);
    command.arg("--reader").arg(pcscd.reader_name(0)).args(["oath", "accounts", "add"]);
    // The seed of RFC 4226, which is nobody's.
    command.args([&format!("account {number}"), "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"]);
    command.env("PCSCLITE_CSOCK_NAME", pcscd.socket()).env("HOME", home).env("XDG_CONFIG_HOME", home);
    command.env("XDG_DATA_HOME", home).env("PYTHON_KEYRING_BACKEND", "keyring.backends.null.Keyring");
    let started = Instant::now();
    let output = command.stdin(Stdio::null()).output().expect("ykman, which `tools/needs test` installs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    started.elapsed()
}

fn provisioning(daemon: &Daemon, pcscd: &Pcscd, home: &Path) {
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for number in 0..ACCOUNTS {
        let user = new_user(daemon, &format!("user {number}"));
        let mut connection = connect(daemon);
        let order = r#"{"type": "mfa", "device": {"any": true}}"#;
        let started = Instant::now();
        let (status, answer) = ask(&mut connection, "POST", &format!("/users/{user}/secrets"), order);
        ours.push(started.elapsed());
        assert_eq!(status, 200, "{answer}");
        assert!(answer.contains("\"proof\""), "written, read back and proved: {answer}");
        theirs.push(add_by_ykman(pcscd, home, number));
    }
    let (ours, theirs) = (median(&mut ours), median(&mut theirs));
    let ratio = theirs.as_secs_f64() / ours.as_secs_f64();
    println!(
        "provisioning: {:.1} ms by the daemon, {:.1} ms by ykman, ratio {ratio:.1} (goal at least {FASTER}); \
         medians of {ACCOUNTS} accounts each",
        ours.as_secs_f64() * 1e3,
        theirs.as_secs_f64() * 1e3,
    );
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn main() {
    if let Some(missing) = Pcscd::missing() {
        println!("hardware keys: left out, {missing}");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let pcscd = Pcscd::start(&dir.path().join("."), &["Yubico YubiKey OTP+FIDO+CCID"]).unwrap();
    let reader = Reader::new();
    let _attached = attach(reader.clone(), pcscd.port(0), Some(pcscd.net_namespace()));
    let daemon =
        Daemon::start(dir.path(), "registration = \"open\"", &[("PCSCLITE_CSOCK_NAME", pcscd.socket().as_os_str())]);
    reader.insert(Key::new(7));
    until(|| ask(&mut connect(&daemon), "GET", "/devices", "").1.contains("\"serial\":7"));
    provisioning(&daemon, &pcscd, dir.path());
    hung_key(&daemon, &reader);
}
