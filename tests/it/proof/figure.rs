//! What a harness found, beside what was wanted; printed, and in a long run kept for `docs/proof.md`.

use std::fmt::Display;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::host::Host;

/// Where a long run keeps its figures; nothing in a short one.
fn place() -> Option<PathBuf> {
    std::env::var_os("MFAD_PROOF").map(PathBuf::from)
}

/// Whether this is a long run, as `make proof` begins it.
pub fn is_long() -> bool {
    place().is_some()
}

/// How much to do: the usual amount, or that of a long run.
pub fn size(short: usize, long: usize) -> usize {
    if is_long() { long } else { short }
}

/// A figure of a promise. What must be nothing at all is asserted by its harness besides.
pub fn report(name: &str, figure: impl Display, goal: impl Display, is_reached: bool) {
    let (figure, goal) = (figure.to_string(), goal.to_string());
    let Some(place) = place() else {
        println!("{name}: {figure} (short run; goal {goal})");
        return;
    };
    println!("{name}: {figure} (goal {goal}{})", if is_reached { "" } else { ", not reached" });
    std::fs::create_dir_all(&place).unwrap();
    let file = name.replace(|c: char| !c.is_ascii_alphanumeric(), "-");
    let row = json!({"name": name, "figure": figure, "goal": goal, "reached": is_reached});
    std::fs::write(place.join(format!("{file}.json")), row.to_string()).unwrap();
}

/// A number from what the kernel says of the daemon's process, such as `VmRSS:` in KiB.
pub fn of_process(host: &Host, field: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", host.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// How many descriptors the daemon has open.
pub fn descriptors(host: &Host) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", host.pid())).unwrap().count()
}

/// What SQLite says of a store that nobody uses: "ok", or what is wrong.
pub fn integrity(state: &Path) -> String {
    let store = rusqlite::Connection::open(state.join("mfad.db")).unwrap();
    store.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap()
}

/// The value at this part of the sorted ones, such as 0.99.
pub fn quantile(values: &mut [f64], part: f64) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let last = values.len() - 1;
    values[(last as f64 * part).round() as usize]
}

/// SplitMix64: the same every time, so that a failure comes again.
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.roll() % u64::try_from(end).unwrap()).unwrap()
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}
