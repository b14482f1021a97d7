//! Errors of the store: [`Fault`] while it is open, [`OpenFault`] when it does not open.

use rusqlite::ErrorCode;

/// A failure of the store. None is caused by the content of a request, and a caller must never treat one as "no such
/// row" (AUT-6).
#[derive(Clone, Debug, thiserror::Error)]
pub enum Fault {
    /// The write queue is full, no reader became free, or the result did not come in time.
    #[error("the store is busy; try again later")]
    Busy,
    /// The disk is full, read-only or failing. Nothing was changed, and a later attempt may succeed (STO-5).
    #[error("cannot write to the store: {0}; check the disk and its free space")]
    Unwritable(String),
    /// A write ended in an unknown state, or the database is damaged. The process must end (STO-6).
    #[error("the store accepts no more writes after a failure; restart mfad to recover")]
    Failed,
    /// A sealed value could not be decrypted. It was moved or changed, or belongs to another master key (KEY-3, KEY-4).
    #[error("a sealed value cannot be decrypted; it was changed, moved or sealed under another master key")]
    Seal,
    /// The active secrets, roles or `disabled` flag of a user do not match the user's summary (STO-13).
    #[error("the rows of a user do not match the user's summary")]
    Disagrees,
    /// Memory could not be allocated. A later attempt may succeed.
    #[error("out of memory; try again later")]
    Memory,
    /// A cryptographic primitive or the random generator failed.
    #[error("a cryptographic operation or the random generator failed")]
    Crypto,
    /// A row holds a value that this program never writes. The field names the value.
    #[error("invalid value in the store: {0}")]
    Corrupt(&'static str),
    /// Any other error that SQLite reports.
    #[error("sqlite: {0}")]
    Sqlite(String),
    /// A job panicked on the writer thread. Its changes were rolled back.
    #[error("a store operation panicked and was rolled back")]
    Panic,
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            // An interrupt comes from the progress handler of the integrity check, which retries later.
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::OperationInterrupted) => Self::Busy,
            Some(ErrorCode::DiskFull | ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::SystemIoFailure) => {
                Self::Unwritable(error.to_string())
            }
            Some(ErrorCode::OutOfMemory) => Self::Memory,
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Corrupt("a database page"),
            Some(_) | None => Self::Sqlite(error.to_string()),
        }
    }
}

impl From<mfad_core::entropy::NoEntropy> for Fault {
    fn from(_: mfad_core::entropy::NoEntropy) -> Self {
        Self::Crypto
    }
}

/// Whether the error is a violated UNIQUE or PRIMARY KEY constraint.
pub(super) fn is_duplicate(error: &rusqlite::Error) -> bool {
    error.sqlite_error().is_some_and(|e| {
        matches!(e.extended_code, rusqlite::ffi::SQLITE_CONSTRAINT_UNIQUE | rusqlite::ffi::SQLITE_CONSTRAINT_PRIMARYKEY)
    })
}

/// Why a store does not open. `docs/errors.md` lists the exit code of each variant.
#[derive(Debug, thiserror::Error)]
pub enum OpenFault {
    /// The state directory has no database.
    #[error("there is no store here; run `mfad init` first")]
    Missing,
    /// `init` or `restore` found an existing database, and replacing it was not requested.
    #[error("a store already exists here; nothing was changed")]
    Exists,
    /// The master key is not the one of this store.
    #[error(
        "the master key does not belong to this store; after a restore with another key, that key must take the place of master.key or of the credential"
    )]
    WrongKey,
    /// The schema was written by a newer program.
    #[error("the store has schema version {found}, but this program supports up to {known}; install a newer mfad")]
    Newer {
        /// The schema version of the store.
        found: u32,
        /// The newest schema version that this program knows.
        known: u32,
    },
    /// The file is damaged, or is not a database of mfad. The field says how that was found.
    #[error("the store is damaged or is not a store of mfad: {0}; restore a backup with `mfad restore`")]
    Damaged(String),
    /// The database file has another owner, or its mode gives access to group or others (STO-9).
    #[error("the database belongs to another user or is accessible to others; its mode must be 0600")]
    Unsafe,
    /// The store lacks an audit row that the roll-back guard has recorded (STO-12).
    #[error(
        "the store was rolled back to an older state: its newest event is number {found}, but {seen} was recorded; \
         if that was on purpose, run `mfad restore --in-place`"
    )]
    RolledBack {
        /// The number of the newest audit row in the store.
        found: i64,
        /// The number of the newest audit row that the guard has recorded.
        seen: i64,
    },
    /// The guard's file is missing, was changed, or belongs to another store.
    #[error("the roll-back guard {path}: {why}; if this is the right store, run `mfad restore --in-place`")]
    Guard {
        /// Path of the guard's file.
        path: std::path::PathBuf,
        /// The reason why the file cannot be used.
        why: String,
    },
    /// SQLite is too old, or does not keep a setting that durability or secrecy depends on (STO-1, STO-2, STO-4). The
    /// field names the requirement.
    #[error("the database does not meet the requirement {0}")]
    Setting(&'static str),
    /// A file or directory of the store could not be created, read or written.
    #[error("cannot access the files of the store: {0}")]
    Io(#[from] std::io::Error),
    /// Any other failure, such as a value that cannot be decrypted.
    #[error(transparent)]
    Fault(#[from] Fault),
}

impl From<rusqlite::Error> for OpenFault {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => Self::Damaged(error.to_string()),
            Some(_) | None => Self::Fault(error.into()),
        }
    }
}
