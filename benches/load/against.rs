//! The same loads on an older build of the daemon, in turn with this one, so that their ratio does not depend on what
//! else the machine does. The build is named by `MFAD_BENCH_AGAINST`, the path of its `mfad`. It gets a copy of the
//! store in schema version 5, which later builds upgrade at their start.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use mfad_store::{FIRST_KEY_VERSION, MasterKey, Vault};
use rusqlite::Connection;
use tokio::runtime::Runtime;

use super::daemon::{Daemon, Seeded};
use super::drive::{Load, Pace};
use super::figures::{Figures, Goal};
use super::{LENGTH, echo_load};

/// Rounds of one load each on both builds.
const ROUNDS: usize = 7;
const WIDTH: usize = 64;

/// The older build, if one is named.
pub fn program() -> Option<PathBuf> {
    std::env::var_os("MFAD_BENCH_AGAINST").map(PathBuf::from)
}

/// Copies the store into `dir` in the form of the older build. No daemon may have it open.
pub fn copy(seeded: &Arc<Seeded>, from: &Path, dir: &Path) -> Arc<Seeded> {
    let state = dir.join("state");
    std::fs::create_dir_all(&state).unwrap();
    for directory in [dir, &state] {
        std::fs::set_permissions(directory, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    }
    for file in ["mfad.db", "master.key"] {
        std::fs::copy(from.join("state").join(file), state.join(file)).unwrap();
    }
    let key = MasterKey::from_bytes(&std::fs::read(state.join("master.key")).unwrap()).unwrap();
    to_version_5(&state.join("mfad.db"), &Vault::new(&key, FIRST_KEY_VERSION).unwrap());
    seeded.copy(state)
}

/// Takes away what the schema versions after 5 added.
fn to_version_5(path: &Path, vault: &Vault) {
    let connection = Connection::open(path).unwrap();
    connection
        .execute_batch(
            "PRAGMA synchronous = OFF; PRAGMA journal_mode = MEMORY; BEGIN;
             ALTER TABLE secrets ADD COLUMN resync INTEGER; ALTER TABLE secrets ADD COLUMN last_step INTEGER;
             DROP TRIGGER moving_factor_of_deleted; DROP TRIGGER moving_factor_of_ended;
             DROP TRIGGER moving_factor_of_moved; DROP TABLE moving_factors; DELETE FROM meta WHERE key = 'folded';
             ALTER TABLE secrets DROP COLUMN number; ALTER TABLE audit DROP COLUMN used; DROP TABLE future_steps;
             ALTER TABLE users DROP COLUMN summary; ALTER TABLE secrets DROP COLUMN guarded;
             ALTER TABLE sessions DROP COLUMN rotated; ALTER TABLE challenges DROP COLUMN peer;
             ALTER TABLE receipts DROP COLUMN peer; PRAGMA user_version = 5;",
        )
        .unwrap();
    let newest = "SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1";
    let (seq, hash): (i64, Vec<u8>) = connection.query_row(newest, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    // The tag covered nothing else then.
    let tag = vault.audit_head(&[], seq, &hash);
    connection.execute("UPDATE meta SET value = ?1 WHERE key = 'audit-head'", [tag]).unwrap();
    connection.execute_batch("COMMIT; PRAGMA journal_mode = WAL;").unwrap();
}

/// Loads both builds in turn, and reports the medians of the ratios.
pub fn pairs(
    runtime: &Runtime,
    echo: &Path,
    figures: &mut Figures,
    new: (&Daemon, &Arc<Seeded>),
    old: (&Daemon, &Arc<Seeded>),
) {
    let load = |(daemon, seeded): (&Daemon, &Arc<Seeded>)| {
        daemon.load(runtime, WIDTH, Pace::Closed, LENGTH, None, seeded.checks())
    };
    let (mut pairs, mut of_echo): (Vec<(Load, Load)>, Vec<f64>) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let bare = echo_load(runtime, echo, WIDTH).rate();
        // Each goes first in every second round.
        let (one, other) = if round % 2 == 0 {
            let one = load(new);
            (one, load(old))
        } else {
            let other = load(old);
            (load(new), other)
        };
        println!(
            "round {round}: echo {bare:.0}/s, here {:.0}/s, older build {:.0}/s; CPU {:.0} and {:.0} us",
            one.rate(),
            other.rate(),
            one.processor_us().unwrap(),
            other.processor_us().unwrap()
        );
        of_echo.push(one.rate() / bare);
        pairs.push((one, other));
    }
    let median = |of: &dyn Fn(&(Load, Load)) -> f64| median(pairs.iter().map(of).collect());
    let rate = median(&|(new, old)| new.rate() / old.rate());
    figures.ratio("check / older build, 64 connections", rate, Goal::AtLeast(2.5));
    let p99 = median(&|(new, old)| new.quantile(0.99) / old.quantile(0.99));
    figures.ratio("check p99 / older build, 64 connections", p99, Goal::AtMost(0.35));
    let processor = median(&|(new, old)| new.processor_us().unwrap() / old.processor_us().unwrap());
    figures.ratio("CPU of a check / older build", processor, Goal::AtMost(0.6));
    figures.note("check of echo in those rounds", format!("{:.2}", self::median(of_echo)));
}

pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}
