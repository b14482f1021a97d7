//! The pool of read-only connections. Each is lent to one caller at a time.

use std::path::Path;
use std::time::Duration;

use rusqlite::Connection;

use mfad_core::sync::{Condvar, Mutex, PoisonError};

use crate::{Fault, OpenFault, files};

pub(crate) struct Readers {
    idle: Mutex<Vec<Connection>>,
    returned: Condvar,
}

/// A borrowed connection. Dropping it returns it to the pool.
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

    /// Runs `job` on the connections that are not in use.
    pub(crate) fn for_each(&self, job: impl Fn(&Connection) -> rusqlite::Result<()>) -> Result<(), Fault> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(idle.iter().try_for_each(job)?)
    }
}

impl Reader<'_> {
    /// Runs `job` in one read transaction, so that everything it reads is consistent.
    pub(crate) fn snapshot<T>(&self, job: impl FnOnce(&Connection) -> Result<T, Fault>) -> Result<T, Fault> {
        let Some(connection) = &self.connection else { return Err(Fault::Busy) };
        connection.prepare_cached("BEGIN")?.execute([])?;
        let result = job(connection);
        // Some disk errors end the transaction by themselves. The caller then gets the error of `job`.
        if !connection.is_autocommit() {
            connection.prepare_cached("ROLLBACK")?.execute([])?;
        }
        result
    }
}

impl Drop for Reader<'_> {
    fn drop(&mut self) {
        let Some(connection) = self.connection.take() else { return };
        // After a panic in the job the transaction is still open. It must not stay open, since the WAL could not be
        // reset.
        if !connection.is_autocommit() && connection.execute_batch("ROLLBACK").is_err() {
            tracing::error!("a read-only connection could not end its transaction");
        }
        self.pool.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        self.pool.returned.notify_one();
    }
}
