//! The durable state: one SQLite file, one writer thread, a few readers, sealed columns.
//! It is asked in verbs of the domain. It knows no HTTP, no OTP arithmetic, no clock.

#![cfg_attr(test, allow(clippy::arithmetic_side_effects, reason = "a test that overflows fails, as it should"))]

mod audit;
mod devices;
mod fault;
mod logins;
mod oath_accounts;
mod rotation;
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

pub use audit::{AuditEntry, AuditRow, ChainState, Outcome};
pub use devices::DeviceRow;
pub use fault::{Fault, OpenFault};
pub use logins::{ChallengeRow, StepUpReceipt};
pub use oath_accounts::{OathAccount, ProvisioningState};
pub use rotation::{Cursor, Phase, Rotation};
pub use secrets::{BackupSet, NewSecret, SecretRow, SecretType, Status};
pub use sessions::SessionRow;
pub use signing::{Purpose, SigningKeyRow};
pub use sqlite::backup::{Backup, BackupFault};
pub use sqlite::files::{DATABASE, create, is_prepared, prepare, settle};
pub use sqlite::restore::{Restoration, RestoreFault, Restored, Source, restore};
pub use sqlite::writer::{Decision, Depth};
pub use throttles::{Class, Subject};
pub use users::{MfaState, NewUser, Taken, UserRow};
pub use vault::{AssociatedData, FIRST_KEY_VERSION, MasterKey, Vault, same_tag};

/// Read-only connections kept open.
const READERS: usize = 4;

/// What is told of commits, on the writer's thread.
pub struct Listeners {
    /// The newest number of the audit log, after each commit that wrote there.
    pub audited: Box<dyn Fn(i64) + Send>,
    /// How long a commit took until it was durable.
    pub committed: Box<dyn Fn(Duration) + Send>,
}

impl Default for Listeners {
    fn default() -> Self {
        Self { audited: Box::new(|_| {}), committed: Box::new(|_| {}) }
    }
}

/// The open store. Cheap to share; dropping the last handle stops the writer after its queue is empty.
pub struct Store {
    dir: PathBuf,
    guard_worker: Option<guard::RollbackGuard>,
    had_guard: bool,
    vault: Arc<Vault>,
    writer: writer::Writer,
    readers: readers::Readers,
    inspection: Option<inspection::Inspection>,
}

/// What a reader sees: one snapshot of everything committed.
pub struct View<'a> {
    connection: &'a Connection,
    vault: &'a Vault,
}

/// What a writing job sees. Its changes are kept when the job returns [`Decision::Commit`] and the
/// batch commits.
pub struct Tx<'a> {
    view: View<'a>,
    chain: &'a audit::Chain,
}

impl<'a> Deref for Tx<'a> {
    type Target = View<'a>;

    fn deref(&self) -> &View<'a> {
        &self.view
    }
}

impl View<'_> {
    /// The keys that seal and tag what is stored.
    pub fn vault(&self) -> &Vault {
        self.vault
    }
}

impl Tx<'_> {
    /// Writes something that changes nothing, so that a commit shows whether the disk takes writes.
    pub fn probe(&self, now: i64) -> Result<(), Fault> {
        Ok(files::put_meta(self.connection, "probe", &now.to_be_bytes())?)
    }
}

impl Store {
    /// Opens an existing store: checks files, version, settings, key, audit chain head and roll-back guard, migrates.
    /// `guard_dir` is where the guard keeps its file, if there is one.
    pub fn open(
        state_dir: &Path,
        guard_dir: Option<&Path>,
        master: &MasterKey,
        listeners: Listeners,
    ) -> Result<Self, OpenFault> {
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
        summaries::take_notes(&connection)?;
        let writer = writer::Writer::start(connection, Arc::clone(&vault), on_audit, listeners.committed)?;
        let look = || inspection::Inspection::start(&files::database(state_dir), Arc::clone(&vault), writer.state());
        let inspection = is_large.then(look).transpose()?;
        Ok(Self { dir: state_dir.to_owned(), guard_worker, had_guard, vault, writer, readers, inspection })
    }

    /// Runs `job` in the next write batch and returns what it decided once that batch is durable, or
    /// fails with nothing changed. On [`Fault::Busy`] after `patience` the change may still happen later.
    pub fn write<T, F>(&self, patience: Duration, job: F) -> Result<T, Fault>
    where
        T: Send + 'static,
        F: FnOnce(&Tx<'_>) -> Result<Decision<T>, Fault> + Send + 'static,
    {
        self.writer.run(patience, job)
    }

    /// The same for whoever does not wait: `answer` is told, on the writer's thread, and is not to keep it. Nothing is told
    /// if there is no room for the job.
    pub fn submit<T, F, A>(&self, job: F, answer: A) -> Result<(), Fault>
    where
        T: Send + 'static,
        F: FnOnce(&Tx<'_>) -> Result<Decision<T>, Fault> + Send + 'static,
        A: FnOnce(Result<T, Fault>) + Send + 'static,
    {
        self.writer.submit(job, answer)
    }

    /// Reads one consistent snapshot.
    pub fn read<T>(&self, patience: Duration, job: impl FnOnce(&View<'_>) -> Result<T, Fault>) -> Result<T, Fault> {
        let reader = self.readers.take(patience)?;
        reader.snapshot(|connection| job(&View { connection, vault: &self.vault }))
    }

    /// The keys that seal and tag what is stored.
    pub fn vault(&self) -> &Vault {
        &self.vault
    }

    /// Whether it has had a roll-back guard, and is opened without one.
    pub fn lacks_its_guard(&self) -> bool {
        self.had_guard && self.guard_worker.is_none()
    }

    /// How many jobs wait for the writer.
    pub fn depth(&self) -> Depth {
        self.writer.depth()
    }

    /// Whether a write reached an unknown state, so that the process has to end (STO-6).
    pub fn has_failed(&self) -> bool {
        self.writer.has_failed()
    }

    /// What is wrong with the database, if something was found: the process has to end, and a restart would not help.
    pub fn damage(&self) -> Option<&str> {
        self.writer.damage()
    }

    /// Waits for the queue to empty, moves the log into the database file, and closes it.
    pub fn close(self) {
        let Self { dir: _, guard_worker, had_guard: _, writer, readers, vault, inspection } = self;
        drop((inspection, readers));
        writer.stop();
        if let Some(guard_worker) = guard_worker {
            guard_worker.stop();
        }
        drop(vault);
    }
}

/// Refuses an older state of the store, and follows it from here on.
fn watch(dir: &Path, connection: &Connection, vault: &Vault) -> Result<guard::RollbackGuard, OpenFault> {
    let guard = guard::GuardRecord::new(dir, connection, vault)?;
    guard.check(connection)?;
    let guard_worker = guard::RollbackGuard::start(guard, guard::head(connection)?)?;
    if !guard::is_known(connection)? {
        // Not before its file is there: a start that is cut off in between is no store that lost its guard.
        let tx = connection.unchecked_transaction()?;
        guard::note(&tx, true)?;
        audit::sign_again(&tx, vault)?;
        tx.commit()?;
    }
    Ok(guard_worker)
}

/// The version of the SQLite library linked in.
pub fn sqlite_version() -> &'static str {
    rusqlite::version()
}
