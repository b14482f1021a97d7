//! A look over a database that is too large to be looked over before the daemon serves (STO-13).

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use rusqlite::{Connection, InterruptHandle};

use super::writer::State;
use super::{OpenFault, files};

/// Table after table, since a single look would keep the log from beginning anew for as long as it lasts.
const TABLES: &str = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'";

/// The look, on a thread of its own. A store that turns out to be damaged is not written to any more.
pub(super) struct Inspection {
    stop: InterruptHandle,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Inspection {
    pub(super) fn start(path: &Path, state: Arc<State>) -> Result<Self, OpenFault> {
        let connection = files::open_reader(path)?;
        let stop = connection.get_interrupt_handle();
        let is_over = Arc::new(AtomicBool::new(false));
        let was_stopped = Arc::clone(&is_over);
        let look = move || match look_over(&connection, &was_stopped) {
            Ok(()) => {}
            Err(_) if was_stopped.load(Ordering::Acquire) => {}
            Err(OpenFault::Damaged(finding)) => {
                tracing::error!(finding, "the store is damaged; put a backup in its place with `mfad restore`");
                state.note_damage(finding);
            }
            Err(error) => tracing::error!(%error, "the store could not be looked over"),
        };
        let thread = std::thread::Builder::new().name("store-inspection".to_owned()).spawn(look)?;
        Ok(Self { stop, is_over, thread: Some(thread) })
    }
}

fn look_over(connection: &Connection, is_over: &AtomicBool) -> Result<(), OpenFault> {
    let tables: Vec<String> = connection.prepare(TABLES)?.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    for table in tables {
        if is_over.load(Ordering::Acquire) {
            return Ok(());
        }
        files::quick_check_of(connection, &table)?;
    }
    tracing::info!("the store was looked over and is whole");
    Ok(())
}

impl Drop for Inspection {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Release);
        let Some(thread) = self.thread.take() else { return };
        // SQLite forgets an interrupt that comes before a statement begins.
        while !thread.is_finished() {
            self.stop.interrupt();
            std::thread::yield_now();
        }
        if thread.join().is_err() {
            tracing::error!("the inspection of the store panicked");
        }
    }
}
