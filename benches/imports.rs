//! What an import of many factors costs, each figure a ratio of one run.
//!
//! - Its rate beside the same enrolments one by one over HTTP: create the user, begin the factor, confirm it.
//! - Its rate beside bare SQLite that inserts the same rows into the same schema, 1,000 factors in each transaction, with
//!   the same durability.
//! - The most memory that daemon and `mfactl` take, beyond an idle daemon, and beyond an `mfactl` that reads a short list.
//! - The p99 of checks of codes beside it.
//!
//! `MFAD_BENCH_FACTORS` sets the number of factors.

#![allow(
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

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use data_encoding::BASE32_NOPAD;
use mfad_client::{Authority, Client, Method, Request};
use mfad_testkit::daemon::Daemon;
use mfad_testkit::otp::{Hash, code};
use rusqlite::types::Value as SqlValue;
use rusqlite::{Connection, params_from_iter};
use serde_json::{Value, json};

const FACTORS: usize = 100_000;
/// Enrolments over HTTP. Each of a first factor hashes ten backup codes.
const ENROLMENTS: usize = 40;
/// Factors in one transaction of bare SQLite.
const TRANSACTION: usize = 1000;
/// The least rate, in enrolments one by one and in bare SQLite.
const GOAL_ENROLMENTS: f64 = 20.0;
const GOAL_SQLITE: f64 = 0.5;
/// The most memory beyond an idle daemon, in MiB.
const GOAL_MEMORY: f64 = 64.0;
/// The longest p99 of a check.
const GOAL_P99: Duration = Duration::from_millis(100);

fn ask(client: &mut Client, method: Method, path: &str, body: &Value) -> Value {
    let authority = Authority::Reason("a benchmark".to_owned());
    let request = Request::new(method, path).by(&authority).with(body).unwrap();
    client.ask(&request).unwrap().read().unwrap()
}

/// A user with a confirmed factor by counter, and its seed.
fn enrolled(client: &mut Client, name: &str) -> (String, Vec<u8>) {
    let made = ask(client, Method::Post, "/v1/users", &json!({"name": name}));
    let user = made["user"]["uid"].as_str().unwrap().to_owned();
    let secrets = format!("/v1/users/{user}/secrets");
    let secret = ask(client, Method::Post, &secrets, &json!({"type": "mfa", "kind": "hotp"}));
    let seed = BASE32_NOPAD.decode(secret["secret"]["secret"].as_str().unwrap().as_bytes()).unwrap();
    let path = format!("{secrets}/{}/enroll", secret["uid"].as_str().unwrap());
    ask(client, Method::Put, &path, &json!({"token": code(&seed, Hash::Sha1, 6, 0)}));
    (user, seed)
}

fn seed_of(number: usize) -> [u8; 20] {
    let mut seed = [7; 20];
    seed[..8].copy_from_slice(&number.to_be_bytes());
    seed
}

/// A list of otpauth URIs.
fn list(path: &Path, factors: usize) {
    let mut file = std::io::BufWriter::new(fs::File::create(path).unwrap());
    for number in 0..factors {
        let secret = BASE32_NOPAD.encode(&seed_of(number));
        writeln!(file, "otpauth://totp/Example:user{number:07}?secret={secret}&issuer=Example&period=30").unwrap();
    }
    file.flush().unwrap();
}

/// Imports a list with `mfactl`, and returns the time and the most memory of that program in MiB.
fn import(socket: &Path, list: &Path) -> (Duration, f64) {
    let mut command = Command::new(mfad_testkit::program("mfactl"));
    command.arg("--socket").arg(socket).args(["import", "--trusted", "--create-users", "--reason", "a move"]).arg(list);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let started = Instant::now();
    let mut process = command.spawn().unwrap();
    let pid = process.id();
    let mut most = 0.0;
    let status = loop {
        if let Some(status) = process.try_wait().unwrap() {
            break status;
        }
        most = memory(pid, "VmHWM").unwrap_or(most);
        thread::sleep(Duration::from_millis(5));
    };
    assert!(status.success(), "{status}");
    (started.elapsed(), most)
}

/// A figure of `/proc/PID/status`, in MiB.
fn memory(pid: u32, name: &str) -> Option<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.split_whitespace().nth(1)?.parse::<f64>().ok()? / 1024.0)
}

/// The rows that an import of one factor with its user writes, with the columns of each.
const TABLES: [(&str, usize, &str); 5] = [
    ("users", 1, "SELECT users.* FROM logins JOIN users ON users.id = logins.user ORDER BY logins.key"),
    ("logins", 1, "SELECT * FROM logins ORDER BY key"),
    ("moving_factors", 1, "SELECT * FROM moving_factors ORDER BY number"),
    (
        "secrets",
        1,
        "SELECT secrets.* FROM logins JOIN secrets ON secrets.user = logins.user WHERE type = 'mfa' ORDER BY key",
    ),
    ("audit", 2, "SELECT * FROM audit ORDER BY seq"),
];

/// Inserts the rows of a store into an empty one of the same schema with nothing but SQLite, and returns the time that takes.
fn bare_sqlite(store: &Path, copy: &Path, factors: usize) -> Duration {
    let store = Connection::open(store).unwrap();
    let mut connection = Connection::open(copy).unwrap();
    for (name, value) in
        [("journal_mode", "wal"), ("synchronous", "full"), ("foreign_keys", "on"), ("secure_delete", "on")]
    {
        connection.pragma_update(None, name, value).unwrap();
    }
    let schema = "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%'";
    let mut schema = store.prepare(schema).unwrap();
    for sql in schema.query_map([], |row| row.get::<_, String>(0)).unwrap() {
        connection.execute_batch(&sql.unwrap()).unwrap();
    }
    let mut statements: Vec<_> = TABLES.iter().map(|(.., select)| store.prepare(select).unwrap()).collect();
    let mut tables: Vec<_> = statements
        .iter_mut()
        .zip(TABLES)
        .map(|(statement, (table, each, _))| {
            let columns = statement.column_count();
            let marks = vec!["?"; columns].join(", ");
            (format!("INSERT INTO {table} VALUES ({marks})"), each, columns, statement.query([]).unwrap())
        })
        .collect();
    let mut spent = Duration::ZERO;
    for _ in 0..factors.div_ceil(TRANSACTION) {
        let mut rows = Vec::new();
        for _ in 0..TRANSACTION {
            for (table, (_, each, columns, source)) in tables.iter_mut().enumerate() {
                for _ in 0..*each {
                    let Some(row) = source.next().unwrap() else { continue };
                    let values: Vec<SqlValue> = (0..*columns).map(|column| row.get_unwrap(column)).collect();
                    rows.push((table, values));
                }
            }
        }
        let started = Instant::now();
        let transaction = connection.transaction().unwrap();
        for (table, values) in rows {
            let mut insert = transaction.prepare_cached(&tables[table].0).unwrap();
            insert.execute(params_from_iter(values)).unwrap();
        }
        transaction.commit().unwrap();
        spent += started.elapsed();
    }
    spent
}

fn main() {
    // `cargo test` and `cargo bench` run every benchmark; tests are no use of it.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let factors = std::env::var("MFAD_BENCH_FACTORS").map_or(FACTORS, |text| text.parse().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(dir.path(), "", &[]);
    let mut client = Client::new(&daemon.socket);
    let (user, seed) = enrolled(&mut client, "beside");
    let started = Instant::now();
    for number in 0..ENROLMENTS {
        enrolled(&mut client, &format!("one-by-one-{number}"));
    }
    let enrolments = ENROLMENTS as f64 / started.elapsed().as_secs_f64();
    let (short, long) = (dir.path().join("short"), dir.path().join("long"));
    list(&short, 1);
    list(&long, factors);
    let (_, mfactl_idle) = import(&daemon.socket, &short);
    let idle = memory(daemon.pid(), "VmRSS").unwrap();

    let is_over = AtomicBool::new(false);
    let (time, mfactl, mut checks) = thread::scope(|scope| {
        let beside = scope.spawn(|| {
            let mut client = Client::new(&daemon.socket);
            let mut times = Vec::new();
            for counter in 1.. {
                if is_over.load(Ordering::Relaxed) {
                    break;
                }
                let started = Instant::now();
                let path = format!("/v1/users/{user}/verify");
                ask(&mut client, Method::Post, &path, &json!({"token": code(&seed, Hash::Sha1, 6, counter)}));
                times.push(started.elapsed());
                thread::sleep(Duration::from_millis(10));
            }
            times
        });
        let (time, mfactl) = import(&daemon.socket, &long);
        is_over.store(true, Ordering::Relaxed);
        (time, mfactl, beside.join().unwrap())
    });
    let most = memory(daemon.pid(), "VmHWM").unwrap();
    drop(daemon);
    let bare = bare_sqlite(&dir.path().join("state/mfad.db"), &dir.path().join("bare.db"), factors);
    checks.sort();

    let met = |is_met: bool| if is_met { "met" } else { "not met" };
    let rate = factors as f64 / time.as_secs_f64();
    println!("{factors} factors with users in {:.1} s, {rate:.0} a second", time.as_secs_f64());
    let ratio = rate / enrolments;
    println!(
        "{ratio:.0} x the rate of enrolments one by one (goal {GOAL_ENROLMENTS}: {})",
        met(ratio >= GOAL_ENROLMENTS)
    );
    let ratio = bare.as_secs_f64() / time.as_secs_f64();
    println!(
        "{ratio:.2} of bare SQLite, {:.1} s (goal {GOAL_SQLITE}: {})",
        bare.as_secs_f64(),
        met(ratio >= GOAL_SQLITE)
    );
    let above = most - idle;
    println!("the daemon took {above:.1} MiB beyond idle (goal {GOAL_MEMORY}: {})", met(above <= GOAL_MEMORY));
    println!("mfactl took {:.1} MiB beyond one factor", mfactl - mfactl_idle);
    let p99 = checks[checks.len() * 99 / 100];
    println!(
        "checks beside it, p99 of {}: {:.1} ms (goal {} ms: {})",
        checks.len(),
        p99.as_secs_f64() * 1000.0,
        GOAL_P99.as_millis(),
        met(p99 <= GOAL_P99)
    );
}
