//! How near the daemon comes to the limit of its socket: rates and latencies of the durable ways beside a bare HTTP echo,
//! all in one run, so that the ratios mean something on any machine. Nothing of durability, replay or throttling is
//! switched off, and the run says so by trying. Writes `docs/bench/load.json` and `load.svg` when `MFAD_BENCH_DOCS` is set.

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

mod against;
mod daemon;
mod drive;
mod echo;
mod figures;
mod flame;
mod peer;
mod writes;
use mfad_testkit::store_users as people;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags, fdatasync, open};
use rustix::io::pwrite;
use tokio::runtime::Runtime;

use daemon::{Daemon, PASSWORD, Seeded};
use drive::{Load, Pace, Shot, drive, drive_until_gone};
use figures::{Figures, Goal};

/// How long each load lasts.
const LENGTH: Duration = Duration::from_secs(3);
/// Connections of the loads.
const WIDTHS: [usize; 4] = [1, 8, 64, 256];
/// Users of a run, unless `MFAD_BENCH_USERS` says otherwise.
const USERS: usize = 1_000_000;
/// Users of a small store, to compare with.
const FEW: usize = 1_000;
/// Logins whose second step is measured.
const LOGINS: usize = 1_280;
/// Enrolments on each connection.
const ENROLMENTS: usize = 4;
/// Wrong codes that no delay follows.
const FREE: usize = 4;
/// Kills under load after which a start is measured.
const KILLS: usize = 11;
/// How long the daemon has nothing to do before its memory is measured.
const REST: Duration = Duration::from_secs(85);

fn main() {
    if let Some(socket) = std::env::args().skip_while(|argument| argument != "--echo").nth(1) {
        return echo::serve(Path::new(&socket));
    }
    let users = std::env::var("MFAD_BENCH_USERS").ok().and_then(|users| users.parse().ok()).unwrap_or(USERS);
    assert!(users >= 10 * LOGINS, "every code counts once: too few users for these loads");
    let dir = tempfile::Builder::new().prefix("mfad-load-").tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let few = check_among_few(&dir.path().join("few"), &runtime);
    let echo = echo::start(&dir.path().join("echo.sock"));
    let seeded = Seeded::make(dir.path(), users);
    let older = against::program().map(|program| {
        let beside = dir.path().join("older");
        let seeded = against::copy(&seeded, dir.path(), &beside);
        (Daemon::start_program(&program, &beside), seeded)
    });
    let first_answer = Daemon::activated(dir.path(), &runtime);
    let began = Instant::now();
    let daemon = Daemon::start(dir.path());
    let ready = began.elapsed();
    daemon.refuses_a_repeated_code(&seeded);
    let mut figures = Figures::new(users);
    figures.note("RSS after start", format!("{:.1} MiB", daemon.resident_mib()));
    figures.ratio("ready after start, ms", ready.as_secs_f64() * 1000.0, Goal::AtMost(100.0));
    figures.ratio("first answer after socket activation, ms", first_answer.as_secs_f64() * 1000.0, Goal::AtMost(50.0));
    figures.ratio("database, KiB a user", seeded.size_kib() / users as f64, Goal::AtMost(1.5));
    let sync = sync_time(dir.path());
    figures.note("one fdatasync", format!("{:.3} ms", sync * 1000.0));

    let shots = seeded.checks();
    figures.add("check, at start", 64, daemon.load(&runtime, 64, Pace::Closed, LENGTH, None, shots));
    daemon.await_inspection();
    if let Some((older, theirs)) = &older {
        older.await_inspection();
        against::pairs(&runtime, echo.socket(), &mut figures, (&daemon, &seeded), (older, theirs));
    }
    drop(older);
    for width in WIDTHS {
        figures.add("echo", width, echo_load(&runtime, echo.socket(), width));
        let shot = |_: usize, _: usize| Shot::get("/health/live");
        figures.add("live", width, daemon.load(&runtime, width, Pace::Closed, LENGTH, None, shot));
        figures.add("check", width, daemon.load(&runtime, width, Pace::Closed, LENGTH, None, seeded.checks()));
    }
    let half = figures.get("check", 64).rate() / 2.0;
    figures.add("check, open at half", 64, daemon.load(&runtime, 64, Pace::Open(half), LENGTH, None, seeded.checks()));
    wrong_codes(&daemon, &runtime, &mut figures, &seeded);
    different_users(&daemon, &runtime, &mut figures, &seeded);
    let after_checks = daemon.resident_mib();
    // Before all else that hashes, so that what the hashes leave is seen.
    passwords(&daemon, &runtime, &mut figures, &seeded, after_checks);
    second_steps(&daemon, &runtime, &mut figures, &seeded);
    figures.add("enrol", 8, daemon.enrol(&runtime, 8, ENROLMENTS));
    peer::compare(&mut figures);
    writes::count(&runtime, dir.path(), &mut figures, &daemon, &seeded);
    if std::env::var_os("MFAD_BENCH_DOCS").is_some() {
        let svg = mfad_testkit::root().join("docs/bench/check.svg");
        flame::draw(&runtime, dir.path(), &svg, &daemon, &seeded);
    }
    std::thread::sleep(REST);
    figures.ratio("idle RSS after a minute, MiB", daemon.resident_mib(), Goal::AtMost(8.0));
    let daemon = kills(daemon, dir.path(), &runtime, &mut figures, &seeded);
    drop(daemon);
    goals(&mut figures, sync, few);
    figures.print();
    if std::env::var_os("MFAD_BENCH_DOCS").is_some() {
        figures.write(&mfad_testkit::root().join("docs/bench"));
    }
}

/// The median of a check where there are a thousand users.
fn check_among_few(dir: &Path, runtime: &Runtime) -> f64 {
    std::fs::create_dir(dir).unwrap();
    let seeded = Seeded::make(dir, FEW);
    let daemon = Daemon::start(dir);
    let load = daemon.load(runtime, 1, Pace::Closed, LENGTH, Some(FEW), seeded.checks());
    load.quantile(0.5)
}

/// Wrong codes, so few of each user that none is delayed.
fn wrong_codes(daemon: &Daemon, runtime: &Runtime, figures: &mut Figures, seeded: &Arc<Seeded>) {
    let (seeds, first, last) = (Arc::clone(seeded), seeded.users.len() * 3 / 4, seeded.users.len() - LOGINS);
    let each = (last - first) * FREE / 64;
    let shot = move |line: usize, turn: usize| {
        // Each has its part of the users and takes one after another, as often as there is no delay.
        let user = first + line * (each / FREE) + turn % (each / FREE);
        seeds.verify(user, "00000000").any()
    };
    figures.add("wrong code", 64, daemon.load(runtime, 64, Pace::Closed, LENGTH, Some(each), shot));
}

/// A bare echo on so many connections.
fn echo_load(runtime: &Runtime, socket: &Path, width: usize) -> Load {
    let shot = |_: usize, _: usize| Shot::get("/echo");
    runtime.block_on(drive(socket, width, Pace::Closed, LENGTH, None, shot))
}

/// A check of every user but those whose logins were measured, each once, and the memory after that.
fn different_users(daemon: &Daemon, runtime: &Runtime, figures: &mut Figures, seeded: &Arc<Seeded>) {
    let users = seeded.users.len() - LOGINS;
    let all = seeded.ranged(0..users);
    let load = daemon.load(runtime, 64, Pace::Closed, Duration::from_secs(600), Some(users / 64), all.checks());
    figures.add("check of every user", 64, load);
    figures.ratio("RSS after a check of every user, MiB", daemon.resident_mib(), Goal::AtMost(64.0));
}

/// Kills the daemon under load, again and again, and measures the starts.
fn kills(mut daemon: Daemon, dir: &Path, runtime: &Runtime, figures: &mut Figures, seeded: &Arc<Seeded>) -> Daemon {
    let mut times = Vec::new();
    for _ in 0..KILLS {
        let load = runtime.block_on(drive_until_gone(daemon.socket(), 32, seeded.checks()));
        std::thread::sleep(LENGTH);
        daemon.kill();
        runtime.block_on(load.join_all());
        let began = Instant::now();
        daemon = Daemon::start(dir);
        times.push(began.elapsed().as_secs_f64() * 1000.0);
    }
    figures.ratio("ready after kill -9 under load, ms", against::median(times), Goal::AtMost(100.0));
    daemon
}

/// The second step of a login: challenges made before, each answered once.
fn second_steps(daemon: &Daemon, runtime: &Runtime, figures: &mut Figures, seeded: &Arc<Seeded>) {
    let first = seeded.users.len() - LOGINS;
    let challenges = daemon.challenges(runtime, first..seeded.users.len());
    let seeds = Arc::clone(seeded);
    let shot = move |line: usize, turn: usize| {
        let number = line + 64 * turn;
        let code = seeds.code_of(first + number).expect("a first code");
        Shot::post("/auth/totp", format!("{{\"token\":\"{code}\"}}")).token(&challenges[number])
    };
    figures.add("second step", 64, daemon.load(runtime, 64, Pace::Closed, LENGTH, Some(LOGINS / 64), shot));
}

/// The first step beside the bare hash, and what a flood of it does to the checks.
fn passwords(daemon: &Daemon, runtime: &Runtime, figures: &mut Figures, seeded: &Arc<Seeded>, base: f64) {
    let raw = daemon::raw_hashes(LENGTH);
    let body = |line: usize, turn: usize| {
        format!("{{\"id\":\"{}\",\"password\":\"{PASSWORD}\"}}", people::name((line + 64 * turn) % FEW))
    };
    let shot = move |line: usize, turn: usize| Shot::post("/auth/password", body(line, turn));
    let load = daemon.load(runtime, 8, Pace::Closed, LENGTH, None, shot);
    figures.ratio("password step / bare argon2id", load.rate() / raw, Goal::AtLeast(0.97));
    figures.add("password", 8, load);
    let flood = move |line: usize, turn: usize| Shot::post("/auth/password", body(line, turn)).any();
    let (flood, checks) = runtime.block_on(async {
        tokio::join!(
            drive(daemon.socket(), 64, Pace::Closed, LENGTH, None, flood),
            drive(daemon.socket(), 8, Pace::Closed, LENGTH, None, seeded.checks())
        )
    });
    figures.ratio("check p99 under a flood, ms", checks.quantile(0.99), Goal::AtMost(100.0));
    figures.add("check under a flood", 8, checks);
    figures.add("flood of passwords", 64, flood);
    let permits = std::thread::available_parallelism().unwrap().get() as f64;
    let more = (daemon.resident_mib() - base) / permits;
    figures.ratio("memory after a flood, MiB more a permit", more, Goal::AtMost(20.0));
}

fn goals(figures: &mut Figures, sync: f64, few: f64) {
    let echo = figures.get("echo", 64).rate();
    let goal = if figures.users() < USERS { 0.22 } else { 0.20 };
    figures.ratio("check / echo, 64 connections", figures.get("check", 64).rate() / echo, Goal::AtLeast(goal));
    let wide = figures.get("check", 256).rate() / figures.get("echo", 256).rate();
    figures.ratio("check / echo, 256 connections", wide, Goal::AtLeast(0.30));
    figures.ratio("second step / echo", figures.get("second step", 64).rate() / echo, Goal::AtLeast(0.12));
    let floor = figures.get("echo", 1).quantile(0.5) + sync * 1000.0;
    let check = figures.get("check", 1).quantile(0.5);
    figures.ratio("check p50 / (echo p50 + fdatasync), 1 connection", check / floor, Goal::AtMost(1.35));
    figures.ratio("check p50 / that among 1,000 users", check / few, Goal::AtMost(1.2));
}

/// The median of a durable write of one page on this disk, in seconds.
fn sync_time(dir: &Path) -> f64 {
    let file = open(dir.join("page"), OFlags::CREATE | OFlags::RDWR, Mode::from_raw_mode(0o600)).unwrap();
    let mut times: Vec<f64> = (0..300u64)
        .map(|page| {
            let began = Instant::now();
            pwrite(&file, &[7; 4096], page * 4096).unwrap();
            fdatasync(&file).unwrap();
            began.elapsed().as_secs_f64()
        })
        .collect();
    times.sort_unstable_by(f64::total_cmp);
    times[times.len() / 2]
}

impl Seeded {
    /// Right codes, each shown once.
    fn checks(self: &Arc<Self>) -> impl Fn(usize, usize) -> Shot + Send + Sync + use<> {
        let seeded = Arc::clone(self);
        move |_, _| seeded.right()
    }
}

impl Daemon {
    fn load(
        &self,
        runtime: &Runtime,
        width: usize,
        pace: Pace,
        length: Duration,
        most: Option<usize>,
        shot: impl Fn(usize, usize) -> Shot + Send + Sync + 'static,
    ) -> Load {
        let before = self.processor_seconds();
        let mut load = runtime.block_on(drive(self.socket(), width, pace, length, most, shot));
        load.processor = Some(self.processor_seconds() - before);
        load
    }
}
