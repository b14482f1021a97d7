//! A look over a database that is too large to be looked over before the daemon serves (STO-13).

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;

use mfad_core::model::scrub_stack;
use mfad_core::sync::atomic::{AtomicBool, Ordering};
use mfad_core::sync::thread::{self, JoinHandle};

use super::writer::State;
use crate::{Fault, OpenFault, Vault, files, summaries};

/// Table after table, since a single look would keep the log from beginning anew for as long as it lasts.
const TABLES: &str = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'";
/// Steps of SQLite between two thoughts of others: some 50 µs.
const STEPS: i32 = 1_000;
/// How long it rests after them while somebody waits for the writer.
const REST: Duration = Duration::from_millis(1);
/// Thoughts of others between two looks at the log.
const LOOKS: u32 = 64;
/// The look at a table is given up for now when the log, which cannot begin anew meanwhile, has grown to this.
const MOST_LOG: u64 = 64 * 1024 * 1024;
/// Until it is tried again: the first time, and at the most.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// The look, on a thread of its own that gives way to everybody. A store that turns out to be damaged is not written to any
/// more.
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
            Err(_) if was_stopped.load(Ordering::Acquire) => {}
            Err(OpenFault::Damaged(finding)) => {
                tracing::error!(finding, "the store is damaged; put a backup in its place with `mfad restore`");
                state.note_damage(finding);
            }
            Err(error) => tracing::error!(%error, "the store could not be looked over"),
        };
        let thread = thread::Builder::new().name("store-inspection".to_owned()).spawn(look)?;
        Ok(Self { is_over, thread: Some(thread) })
    }
}

/// Every so many steps: rests while others wait, and gives up when it is over or the log is long.
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
        scrub_stack();
    }
    tracing::info!("the store was looked over and is whole");
    Ok(())
}

/// Does something that is given up whenever others need the store more, until it is done.
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
            tracing::error!("the inspection of the store panicked");
        }
    }
}
