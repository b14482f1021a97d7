//! How near the daemon comes to the limit of its socket: rates and latencies of the durable ways beside a bare HTTP echo,
//! all in one run, so that the ratios mean something on any machine. Nothing of durability, replay or throttling is
//! switched off, and the run says so by trying. Writes `docs/bench/load.json` and `load.svg` when `MFAD_BENCH_DOCS` is set.

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

mod daemon;
mod drive;
mod echo;
mod figures;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags, fdatasync, open};
use rustix::io::pwrite;
use tokio::runtime::Runtime;

use daemon::{Daemon, PASSWORD, Seeded, hotp};
use drive::{Load, Shot, drive};
use figures::{Figures, Goal};

/// How long each load lasts.
const LENGTH: Duration = Duration::from_secs(4);
/// Connections of the loads.
const WIDTHS: [usize; 4] = [1, 8, 64, 256];
/// Users of a run, unless `MFAD_BENCH_USERS` says otherwise.
const USERS: usize = 1_000;
/// Logins whose second step is measured.
const LOGINS: usize = 640;

fn main() {
    if let Some(socket) = std::env::args().skip_while(|argument| argument != "--echo").nth(1) {
        return echo::serve(Path::new(&socket));
    }
    let users = std::env::var("MFAD_BENCH_USERS").ok().and_then(|users| users.parse().ok()).unwrap_or(USERS);
    let dir = tempfile::Builder::new().prefix("mfad-load-").tempdir().unwrap();
    let echo = echo::start(&dir.path().join("echo.sock"));
    let seeded = Seeded::make(&dir.path().join("state"), users);
    let began = Instant::now();
    let daemon = Daemon::start(dir.path());
    let ready = began.elapsed();
    daemon.refuses_a_repeated_code(&seeded);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut figures = Figures::new(users);
    figures.note("idle RSS", format!("{:.1} MiB", daemon.resident_mib()));
    figures.note("ready after", format!("{:.0} ms", ready.as_secs_f64() * 1000.0));
    figures.note("database", format!("{:.2} KiB a user", seeded.size_kib() / users as f64));
    let sync = sync_time(dir.path());
    figures.note("one fdatasync", format!("{:.3} ms", sync * 1000.0));

    for width in WIDTHS {
        let shot = |_: usize, _: usize| Shot::get("/echo");
        figures.add("echo", width, runtime.block_on(drive(echo.socket(), width, LENGTH, None, shot)));
        let shot = |_: usize, _: usize| Shot::get("/health/live");
        figures.add("live", width, daemon.load(&runtime, width, LENGTH, None, shot));
        // Each connection has a user of its own, and shows each code once.
        let (seeds, next) = (Arc::clone(&seeded), seeded.counters());
        let shot = move |line: usize, _: usize| {
            let (user, seed) = &seeds.users[line % seeds.users.len()];
            let code = hotp(seed, next.take(line % seeds.users.len()));
            Shot::post(format!("/users/{user}/verify"), format!("{{\"token\":\"{code}\"}}"))
        };
        figures.add("check", width, daemon.load(&runtime, width, LENGTH, None, shot));
    }
    second_steps(&daemon, &runtime, &mut figures, &seeded);
    passwords(&daemon, &runtime, &mut figures, &seeded);
    figures.note("RSS after the loads", format!("{:.1} MiB", daemon.resident_mib()));
    goals(&mut figures, sync, ready);
    figures.print();
    if std::env::var_os("MFAD_BENCH_DOCS").is_some() {
        figures.write(&Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/bench"));
    }
}

/// The second step of a login: challenges made before, each answered once.
fn second_steps(daemon: &Daemon, runtime: &Runtime, figures: &mut Figures, seeded: &Arc<Seeded>) {
    let count = seeded.users.len().min(LOGINS);
    let challenges = daemon.challenges(runtime, count);
    let (seeds, next) = (Arc::clone(seeded), seeded.counters());
    let shot = move |line: usize, turn: usize| {
        let number = line + 64 * turn;
        let code = hotp(&seeds.users[number].1, next.take(number));
        Shot::post("/auth/totp", format!("{{\"token\":\"{code}\"}}")).token(&challenges[number])
    };
    figures.add("second step", 64, daemon.load(runtime, 64, LENGTH, Some(count / 64), shot));
}

/// The first step beside the bare hash, and what a flood of it does to the checks.
fn passwords(daemon: &Daemon, runtime: &Runtime, figures: &mut Figures, seeded: &Arc<Seeded>) {
    let raw = daemon::raw_hashes(LENGTH);
    let body = |line: usize, turn: usize| {
        format!("{{\"id\":\"{}\",\"password\":\"{PASSWORD}\"}}", Seeded::name((line + 64 * turn) % USERS))
    };
    let load = daemon.load(runtime, 8, LENGTH, None, move |line, turn| Shot::post("/auth/password", body(line, turn)));
    figures.ratio("password step / bare argon2id", load.rate() / raw, Goal::AtLeast(0.95));
    figures.add("password", 8, load);
    let (seeds, next) = (Arc::clone(seeded), seeded.counters());
    let check = move |line: usize, _: usize| {
        let code = hotp(&seeds.users[line].1, next.take(line));
        Shot::post(format!("/users/{}/verify", seeds.users[line].0), format!("{{\"token\":\"{code}\"}}"))
    };
    let flood = move |line: usize, turn: usize| Shot::post("/auth/password", body(line, turn)).any();
    let (flood, checks) = runtime.block_on(async {
        tokio::join!(drive(daemon.socket(), 64, LENGTH, None, flood), drive(daemon.socket(), 8, LENGTH, None, check))
    });
    figures.add("check under a flood", 8, checks);
    figures.add("flood of passwords", 64, flood);
}

fn goals(figures: &mut Figures, sync: f64, ready: Duration) {
    let echo = figures.get("echo", 64).rate();
    figures.ratio("check / echo, 64 connections", figures.get("check", 64).rate() / echo, Goal::AtLeast(0.25));
    figures.ratio("second step / echo", figures.get("second step", 64).rate() / echo, Goal::AtLeast(0.10));
    let floor = figures.get("echo", 1).quantile(0.5) + sync * 1000.0;
    figures.ratio(
        "check p50 / (echo p50 + fdatasync), 1 connection",
        figures.get("check", 1).quantile(0.5) / floor,
        Goal::AtMost(1.3),
    );
    figures.ratio(
        "check p99 under a flood, ms",
        figures.get("check under a flood", 8).quantile(0.99),
        Goal::AtMost(100.0),
    );
    figures.ratio("ready, ms", ready.as_secs_f64() * 1000.0, Goal::AtMost(100.0));
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

impl Daemon {
    fn load(
        &self,
        runtime: &Runtime,
        width: usize,
        length: Duration,
        most: Option<usize>,
        shot: impl Fn(usize, usize) -> Shot + Send + Sync + 'static,
    ) -> Load {
        let before = self.processor_seconds();
        let mut load = runtime.block_on(drive(self.socket(), width, length, most, shot));
        load.processor = Some(self.processor_seconds() - before);
        load
    }
}
