//! The integrity check of a database that is too large to be checked before the daemon serves (STO-13). It yields to
//! all other work.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;

use mfad_core::model::scrub_stack;
use mfad_core::sync::atomic::{AtomicBool, Ordering};
use mfad_core::sync::thread::{self, JoinHandle};

use super::writer::State;
use crate::{Fault, OpenFault, Vault, files, summaries};

/// The tables are checked one by one. A single check of everything would hold one snapshot throughout, and the WAL
/// cannot be reset while a snapshot is in use.
const TABLES: &str = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'";
/// Steps of SQLite's virtual machine between two calls of the progress handler, some 50 µs.
const STEPS: i32 = 1_000;
/// How long the check sleeps at such a call while a caller waits for the writer.
const REST: Duration = Duration::from_millis(1);
/// Calls of the progress handler between two measurements of the WAL.
const LOOKS: u32 = 64;
/// Size of the WAL in bytes at which the check of a table is abandoned for now (64 MiB).
const MOST_LOG: u64 = 64 * 1024 * 1024;
/// Pause before a table is tried again: the first one, and the longest. Each pause is twice the one before.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// The integrity check, on a thread of its own. If it finds damage, the store accepts no more writes. Dropping this
/// value stops the check.
pub(crate) struct Inspection {
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Inspection {
    pub(crate) fn start(path: &Path, vault: Arc<Vault>, state: Arc<State>) -> Result<Self, OpenFault> {
        let mut connection = files::open_reader(path)?;
        let is_over = Arc::new(AtomicBool::new(false));
        give_way(&mut connection, files::log_of(path), Arc::clone(&is_over), Arc::clone(&state))?;
        let was_stopped = Arc::clone(&is_over);
        let look = move || match look_over(&connection, &vault, &was_stopped) {
            Ok(()) => {}
            // An interrupted statement looks like an error, but a stop is none.
            Err(_) if was_stopped.load(Ordering::Acquire) => {}
            Err(OpenFault::Damaged(finding)) => {
                tracing::error!(finding, "the store is damaged; restore a backup with `mfad restore`");
                state.note_damage(finding);
            }
            Err(error) => tracing::error!(%error, "the integrity check of the store could not be completed"),
        };
        let thread = thread::Builder::new().name("store-inspection".to_owned()).spawn(look)?;
        Ok(Self { is_over, thread: Some(thread) })
    }
}

/// Installs the progress handler. It sleeps while a caller waits for the writer, and interrupts the statement when the
/// check is to stop or the WAL has grown too long.
fn give_way(
    connection: &mut Connection,
    log: PathBuf,
    is_over: Arc<AtomicBool>,
    state: Arc<State>,
) -> Result<(), Fault> {
    let mut looks = 0u32;
    let gives_up = move || {
        if state.is_busy() {
            thread::sleep(REST);
        }
        looks = looks.wrapping_add(1);
        let is_time = looks.checked_rem(LOOKS) == Some(0);
        let is_long = is_time && std::fs::metadata(&log).is_ok_and(|log| log.len() > MOST_LOG);
        is_long || is_over.load(Ordering::Acquire)
    };
    Ok(connection.progress_handler(STEPS, Some(gives_up))?)
}

fn look_over(connection: &Connection, vault: &Vault, is_over: &AtomicBool) -> Result<(), OpenFault> {
    let tables: Vec<String> = connection.prepare(TABLES)?.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    for table in tables {
        again_while_given_up(is_over, || files::integrity_check_of(connection, &table))?;
    }
    let mut after = Some(Vec::new());
    while let Some(last) = &after {
        after = again_while_given_up(is_over, || summaries::check_some(connection, vault, last))?;
        // Comparing a summary opens sealed values, which leaves copies on the stack (MEM-3).
        scrub_stack();
    }
    tracing::info!("the integrity check of the store found no damage");
    Ok(())
}

/// Repeats a job that the progress handler interrupts until it succeeds, fails otherwise, or the check is to stop.
fn again_while_given_up<T>(
    is_over: &AtomicBool,
    mut job: impl FnMut() -> Result<T, OpenFault>,
) -> Result<T, OpenFault> {
    let (mut pause, longest) = PAUSES;
    loop {
        match job() {
            Err(OpenFault::Fault(Fault::Busy)) if !is_over.load(Ordering::Acquire) => {}
            done => return done,
        }
        thread::park_timeout(pause);
        pause = pause.saturating_mul(2).min(longest);
    }
}

impl Drop for Inspection {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Release);
        let Some(thread) = self.thread.take() else { return };
        thread.thread().unpark();
        if thread.join().is_err() {
            tracing::error!("the integrity check of the store panicked");
        }
    }
}
