//! The durable state: one SQLite database, one writer thread, a few readers, and sealed (encrypted) columns. Callers
//! use verbs of the domain, never SQL. This crate knows no HTTP and no OTP arithmetic, and takes the time as an
//! argument.

#![cfg_attr(test, allow(clippy::arithmetic_side_effects, reason = "a test that overflows fails, as it should"))]

mod audit;
mod audit_tag;
mod batch;
mod devices;
mod fault;
mod folding;
mod logins;
mod meta;
mod moving_factors;
mod oath_accounts;
mod recent_uses;
mod rotation;
mod sealed;
mod secret_rows;
mod secrets;
mod sessions;
mod signing;
mod sqlite;
mod summaries;
#[cfg(test)]
mod tests;
mod throttles;
mod users;
mod vault;
mod webauthn_credentials;

use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;

use sqlite::{backup, files, guard, inspection, readers, writer};

pub use audit::{AuditEntry, AuditRow, Outcome};
pub use devices::DeviceRow;
pub use fault::{Fault, OpenFault};
pub use logins::{ChallengeRow, StepUpReceipt};
pub use moving_factors::{ActiveFactor, Position};
pub use oath_accounts::{OathAccount, ProvisioningState};
pub use rotation::{Cursor, Phase, Rotation};
pub use secret_rows::{BackupSet, NewSecret, SecretRow, SecretType, Status};
pub use secrets::MarkedFactors;
pub use sessions::SessionRow;
pub use signing::{Purpose, SigningKeyRow};
pub use sqlite::backup::{Backup, BackupFault};
pub use sqlite::files::{DATABASE, create, is_prepared, prepare, settle};
pub use sqlite::restore::{Restoration, RestoreFault, Restored, Source, restore};
pub use sqlite::writer::{Decision, Depth};
pub use summaries::{LoginFactors, seal_decoy};
pub use throttles::{Class, Subject};
pub use users::{MfaState, NewUser, Taken, UserRow};
pub use vault::{AssociatedData, FIRST_KEY_VERSION, MasterKey, Vault, same_tag};

/// Empties the page cache of a connection.
const SHRINK: &str = "PRAGMA shrink_memory";

/// Number of read-only connections.
const READERS: usize = 4;

/// Callbacks that run on the writer thread after a commit. They delay the writer, so they must return quickly.
pub struct Listeners {
    /// Called after each commit that wrote to the audit log, with the number of the newest row.
    pub audited: Box<dyn Fn(i64) + Send>,
    /// Called after each commit with the time that the `COMMIT` took to become durable.
    pub committed: Box<dyn Fn(Duration) + Send>,
}

impl Default for Listeners {
    fn default() -> Self {
        Self { audited: Box::new(|_| {}), committed: Box::new(|_| {}) }
    }
}

/// The open store, to be shared by reference. Dropping it stops the writer once the queue is empty. [`Store::close`]
/// also waits for that, and lets the roll-back guard record the last commit.
pub struct Store {
    dir: PathBuf,
    guard_worker: Option<guard::RollbackGuard>,
    had_guard: bool,
    vault: Arc<Vault>,
    recent: Arc<recent_uses::RecentUses>,
    writer: writer::Writer,
    readers: readers::Readers,
    inspection: Option<inspection::Inspection>,
}

/// Reads in one consistent snapshot of the committed state.
pub struct View<'a> {
    connection: &'a Connection,
    vault: &'a Vault,
    recent: &'a recent_uses::RecentUses,
}

/// Reads and writes within one job of the writer. The changes are kept if the job returns [`Decision::Commit`] and the
/// batch commits.
pub struct Tx<'a> {
    view: View<'a>,
    chain: &'a audit::Chain,
    batch: &'a batch::Batch,
}

impl<'a> Deref for Tx<'a> {
    type Target = View<'a>;

    fn deref(&self) -> &View<'a> {
        &self.view
    }
}

impl View<'_> {
    /// The keys that seal and authenticate stored values.
    pub fn vault(&self) -> &Vault {
        self.vault
    }
}

impl Tx<'_> {
    /// The connection, for a change. From now on the job has a savepoint.
    fn writing(&self) -> Result<&Connection, Fault> {
        self.batch.begin_changes(self.connection)?;
        Ok(self.connection)
    }

    /// Writes a value that nothing depends on, so that the commit shows whether the disk accepts writes. `now` is in
    /// milliseconds since 1970.
    pub fn probe(&self, now: i64) -> Result<(), Fault> {
        Ok(meta::put_meta(self.writing()?, "probe", &now.to_be_bytes())?)
    }
}

impl Store {
    /// Opens an existing store. Checks the files, the schema version, the settings, the master key, the head of the
    /// audit chain and the roll-back guard, and migrates an older schema. `guard_dir` is the directory of the roll-back
    /// guard's file; `None` runs without a guard.
    pub fn open(
        state_dir: &Path,
        guard_dir: Option<&Path>,
        master: &MasterKey,
        listeners: Listeners,
    ) -> Result<Self, OpenFault> {
        // A crash during a backup leaves an unencrypted copy, which contains names and addresses.
        backup::remove_leftover(state_dir);
        let (connection, vault) = files::open(state_dir, master)?;
        let guard_worker = guard_dir.map(|dir| watch(dir, &connection, &vault)).transpose()?;
        let had_guard = guard::is_known(&connection)?;
        let vault = Arc::new(vault);
        let readers = readers::Readers::open(&files::database(state_dir), READERS)?;
        let mailbox = guard_worker.as_ref().map(guard::RollbackGuard::mailbox);
        let on_audit = Box::new(move |(seq, hash)| {
            if let Some(mailbox) = &mailbox {
                mailbox.leave((seq, hash));
            }
            (listeners.audited)(seq);
        });
        let is_large = files::is_large(&connection)?;
        // The triggers that record changes are temporary and belong to this connection, so they are set up before its
        // first job.
        summaries::take_notes(&connection)?;
        let folder = folding::Folder::read(&connection)?;
        let recent = Arc::clone(folder.recent());
        let writer = writer::Writer::start(connection, Arc::clone(&vault), folder, on_audit, listeners.committed)?;
        // The integrity check of a large store would delay the start by seconds, so it runs while the daemon serves
        // (STO-13).
        let look = || inspection::Inspection::start(&files::database(state_dir), Arc::clone(&vault), writer.state());
        let inspection = is_large.then(look).transpose()?;
        Ok(Self { dir: state_dir.to_owned(), guard_worker, had_guard, vault, recent, writer, readers, inspection })
    }

    /// Runs `job` in the next write batch, and returns the value of its decision once the batch is durable. On an error
    /// nothing was changed, with two exceptions. If `patience` ran out ([`Fault::Busy`], as for a full queue), the job
    /// may still be committed later. After [`Fault::Failed`] it is unknown what is on the disk (STO-6).
    pub fn write<T, F>(&self, patience: Duration, job: F) -> Result<T, Fault>
    where
        T: Send + 'static,
        F: FnOnce(&Tx<'_>) -> Result<Decision<T>, Fault> + Send + 'static,
    {
        self.writer.run(patience, job)
    }

    /// Non-blocking `write`. `answer` runs on the writer thread once the batch is durable or has failed, and must
    /// return quickly. If this returns an error, the job was not queued and `answer` is never called.
    pub fn submit<T, F, A>(&self, job: F, answer: A) -> Result<(), Fault>
    where
        T: Send + 'static,
        F: FnOnce(&Tx<'_>) -> Result<Decision<T>, Fault> + Send + 'static,
        A: FnOnce(Result<T, Fault>) + Send + 'static,
    {
        self.writer.submit(job, answer)
    }

    /// Runs `job` on one consistent snapshot. Waits up to `patience` for a free reader, then fails with
    /// [`Fault::Busy`].
    pub fn read<T>(&self, patience: Duration, job: impl FnOnce(&View<'_>) -> Result<T, Fault>) -> Result<T, Fault> {
        let reader = self.readers.take(patience)?;
        reader.snapshot(|connection| job(&View { connection, vault: &self.vault, recent: &self.recent }))
    }

    /// Empties the page caches, for a store that is not used for a while.
    pub fn shrink(&self, patience: Duration) -> Result<(), Fault> {
        self.readers.for_each(|connection| connection.execute_batch(SHRINK))?;
        self.write(patience, |tx| {
            tx.connection.execute_batch(SHRINK)?;
            Ok(Decision::Rollback(()))
        })
    }

    /// The keys that seal and authenticate stored values.
    pub fn vault(&self) -> &Vault {
        &self.vault
    }

    /// The directory of the store.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Whether the store had a roll-back guard before and was now opened without one.
    pub fn lacks_its_guard(&self) -> bool {
        self.had_guard && self.guard_worker.is_none()
    }

    /// The fill level of the write queue.
    pub fn depth(&self) -> Depth {
        self.writer.depth()
    }

    /// Whether the writer accepts no more writes, because one ended in an unknown state or damage was found. The
    /// process must end (STO-6).
    pub fn has_failed(&self) -> bool {
        self.writer.has_failed()
    }

    /// A description of damage that the integrity check found. The process must end, and a restart would not help.
    pub fn damage(&self) -> Option<&str> {
        self.writer.damage()
    }

    /// Waits until the write queue is empty, checkpoints the WAL into the database file, and closes the files.
    pub fn close(self) {
        let Self { dir: _, guard_worker, had_guard: _, writer, readers, vault, recent: _, inspection } = self;
        // SQLite checkpoints and removes the WAL when the last connection closes, so the readers go before the writer.
        drop((inspection, readers));
        writer.stop();
        // After the writer, so that the guard also records the last commit.
        if let Some(guard_worker) = guard_worker {
            guard_worker.stop();
        }
        drop(vault);
    }
}

/// Checks the store against the roll-back guard, and starts the thread that records new audit rows in it.
fn watch(dir: &Path, connection: &Connection, vault: &Vault) -> Result<guard::RollbackGuard, OpenFault> {
    let guard = guard::GuardRecord::new(dir, connection, vault)?;
    guard.check(connection)?;
    let guard_worker = guard::RollbackGuard::start(guard, guard::head(connection)?)?;
    if !guard::is_known(connection)? {
        // The marker is set only after the file exists. Otherwise a start that is interrupted in between would leave a
        // store that seems to have lost its guard.
        let tx = connection.unchecked_transaction()?;
        guard::note(&tx, true)?;
        audit_tag::sign_again(&tx, vault, sqlite::schema::newest())?;
        tx.commit()?;
    }
    Ok(guard_worker)
}

/// The version of the bundled SQLite library, such as `3.51.3`.
pub fn sqlite_version() -> &'static str {
    rusqlite::version()
}
