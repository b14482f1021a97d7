//! The state of one transaction of the writer that is not in the database: uses of codes, audit rows that wait to be
//! inserted, and whether the present job has a savepoint. A check of a right code changes no table, so it needs neither
//! a savepoint nor an insert of its own: the rows of all jobs are inserted together before the commit.

use std::cell::{Cell, RefCell};

use rusqlite::{Connection, params};

use mfad_core::model::{SecretId, UserId};

use crate::moving_factors::stored;
use crate::recent_uses::{Mark, RecentUses, UsesOfBatch};
use crate::{AuditEntry, Fault};

/// A row of the audit log that is not inserted yet.
pub(crate) struct WaitingRow {
    pub(crate) seq: i64,
    pub(crate) entry: AuditEntry,
    pub(crate) hash: [u8; 32],
}

#[derive(Default)]
pub(crate) struct Batch {
    pub(crate) uses: UsesOfBatch,
    rows: RefCell<Vec<WaitingRow>>,
    /// Number of waiting rows at the beginning of the present job.
    rows_before: Cell<usize>,
    /// Whether the changes of the present job are undone by a savepoint, or with the whole transaction.
    has_savepoint: Cell<bool>,
}

/// Where a job began; see [`Batch::undo_job`].
pub(crate) struct JobMark {
    uses: Mark,
    changes: u64,
}

impl Batch {
    /// For a single job in a transaction of its own, which is undone as a whole.
    pub(crate) fn of_one_job() -> Self {
        let batch = Self::default();
        batch.has_savepoint.set(true);
        batch
    }

    pub(crate) fn begin_job(&self, connection: &Connection) -> JobMark {
        self.rows_before.set(self.rows.borrow().len());
        self.has_savepoint.set(false);
        JobMark { uses: self.uses.begin_job(), changes: connection.total_changes() }
    }

    /// Makes sure that changes of the present job can be undone. Called before each of them.
    pub(crate) fn begin_changes(&self, connection: &Connection) -> Result<(), Fault> {
        if self.has_savepoint.get() {
            return Ok(());
        }
        // Rows of the jobs before stay, whatever becomes of this job.
        self.insert_rows(connection, self.rows_before.get())?;
        self.rows_before.set(0);
        connection.prepare_cached("SAVEPOINT job")?.execute([])?;
        self.has_savepoint.set(true);
        Ok(())
    }

    /// Whether the present job has changed a table.
    pub(crate) fn has_changes(&self) -> bool {
        self.has_savepoint.get()
    }

    pub(crate) fn append(&self, row: WaitingRow) {
        if let Some(used) = row.entry.used {
            self.uses.note_logged(row.entry.object, used);
        }
        self.rows.borrow_mut().push(row);
    }

    /// Keeps what the job has changed.
    pub(crate) fn keep_job(&self, connection: &Connection, mark: &JobMark) -> Result<(), Fault> {
        if self.has_savepoint.replace(false) {
            connection.prepare_cached("RELEASE job")?.execute([])?;
            return Ok(());
        }
        unchanged_since(connection, mark)
    }

    /// Undoes what the job has changed.
    pub(crate) fn undo_job(&self, connection: &Connection, recent: &RecentUses, mark: &JobMark) -> Result<(), Fault> {
        self.rows.borrow_mut().truncate(self.rows_before.get());
        self.uses.undo(recent, mark.uses);
        if self.has_savepoint.replace(false) {
            connection.prepare_cached("ROLLBACK TO job")?.execute([])?;
            connection.prepare_cached("RELEASE job")?.execute([])?;
            return Ok(());
        }
        unchanged_since(connection, mark)
    }

    /// Inserts all rows that wait.
    pub(crate) fn insert_all_rows(&self, connection: &Connection) -> Result<(), Fault> {
        let count = self.rows.borrow().len();
        self.insert_rows(connection, count)
    }

    fn insert_rows(&self, connection: &Connection, count: usize) -> Result<(), Fault> {
        let mut rows = self.rows.borrow_mut();
        let Some(waiting) = rows.get(..count).filter(|rows| !rows.is_empty()) else { return Ok(()) };
        let mut insert = connection.prepare_cached(
            "INSERT INTO audit (seq, at, event, subject, object, peer_uid, peer_pid, request, outcome, detail, hash,
                                used)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
        )?;
        for WaitingRow { seq, entry, hash } in waiting {
            insert.execute(params![
                seq,
                entry.at,
                entry.event.as_str(),
                entry.subject.as_ref().map(UserId::as_bytes),
                entry.object.as_ref().map(SecretId::as_bytes),
                entry.peer_uid,
                entry.peer_pid,
                entry.request,
                entry.outcome.name(),
                entry.detail,
                hash,
                entry.used.map(stored).transpose()?,
            ])?;
        }
        rows.drain(..count);
        Ok(())
    }
}

/// Fails if a job without a savepoint has changed a table. That would be a defect: the change could not be undone alone.
fn unchanged_since(connection: &Connection, mark: &JobMark) -> Result<(), Fault> {
    if connection.total_changes() == mark.changes {
        Ok(())
    } else {
        Err(Fault::Corrupt("a change outside of its savepoint"))
    }
}
