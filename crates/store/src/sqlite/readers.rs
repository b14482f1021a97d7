//! A few read-only connections, handed out one at a time.

use std::path::Path;
use std::time::Duration;

use rusqlite::Connection;

use mfad_core::sync::{Condvar, Mutex, PoisonError};

use crate::{Fault, OpenFault, files};

pub(crate) struct Readers {
    idle: Mutex<Vec<Connection>>,
    returned: Condvar,
}

/// A borrowed connection; it goes back when dropped.
pub(crate) struct Reader<'a> {
    pool: &'a Readers,
    connection: Option<Connection>,
}

impl Readers {
    pub(crate) fn open(path: &Path, count: usize) -> Result<Self, OpenFault> {
        let idle = (0..count).map(|_| files::open_reader(path)).collect::<Result<_, _>>()?;
        Ok(Self { idle: Mutex::new(idle), returned: Condvar::new() })
    }

    pub(crate) fn take(&self, patience: Duration) -> Result<Reader<'_>, Fault> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut idle, _) = self
            .returned
            .wait_timeout_while(idle, patience, |idle| idle.is_empty())
            .unwrap_or_else(PoisonError::into_inner);
        let connection = idle.pop().ok_or(Fault::Busy)?;
        Ok(Reader { pool: self, connection: Some(connection) })
    }
}

impl Reader<'_> {
    /// Runs `job` inside one read transaction, so that all it reads belongs together.
    pub(crate) fn snapshot<T>(&self, job: impl FnOnce(&Connection) -> Result<T, Fault>) -> Result<T, Fault> {
        let Some(connection) = &self.connection else { return Err(Fault::Busy) };
        connection.prepare_cached("BEGIN")?.execute([])?;
        let result = job(connection);
        // Some faults of the disk end the snapshot by themselves; the fault is what the caller is told.
        if !connection.is_autocommit() {
            connection.prepare_cached("ROLLBACK")?.execute([])?;
        }
        result
    }
}

impl Drop for Reader<'_> {
    fn drop(&mut self) {
        let Some(connection) = self.connection.take() else { return };
        // After a panic inside the job; a snapshot must not outlive it.
        if !connection.is_autocommit() && connection.execute_batch("ROLLBACK").is_err() {
            tracing::error!("a reader of the store is stuck in its snapshot");
        }
        self.pool.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        self.pool.returned.notify_one();
    }
}
