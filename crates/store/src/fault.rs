//! What can go wrong with the store.

use rusqlite::ErrorCode;

/// A failure of the store. None of it is the caller's fault, and none is ever read as "not there".
#[derive(Clone, Debug, thiserror::Error)]
pub enum Fault {
    /// The queue is full or the answer did not come in time.
    #[error("the store is busy")]
    Busy,
    /// The disk is full or refuses writes; nothing was changed, and a later attempt may work.
    #[error("the store cannot write: {0}")]
    Unwritable(String),
    /// A write reached an unknown state; the process must end and recover (STO-6).
    #[error("the store has failed and must be restarted")]
    Failed,
    /// A sealed value did not open: wrong place, wrong key or changed bytes.
    #[error("a sealed value does not open")]
    Seal,
    /// The secrets that are found for a user are not those that its summary names.
    #[error("the rows of a user do not agree with each other")]
    Disagrees,
    /// There is no memory; a later attempt may work.
    #[error("there is no memory for it")]
    Memory,
    /// A cryptographic primitive or the random generator refused to work.
    #[error("a cryptographic operation failed")]
    Crypto,
    /// A row holds what it cannot hold.
    #[error("the store holds an impossible value: {0}")]
    Corrupt(&'static str),
    /// Anything else SQLite reports.
    #[error("sqlite: {0}")]
    Sqlite(String),
    /// A job panicked inside the writer; its changes were rolled back.
    #[error("a store operation panicked")]
    Panic,
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::OperationInterrupted) => Self::Busy,
            Some(ErrorCode::DiskFull | ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::SystemIoFailure) => {
                Self::Unwritable(error.to_string())
            }
            Some(ErrorCode::OutOfMemory) => Self::Memory,
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Corrupt("a page of the database"),
            Some(_) | None => Self::Sqlite(error.to_string()),
        }
    }
}

impl From<mfad_core::entropy::NoEntropy> for Fault {
    fn from(_: mfad_core::entropy::NoEntropy) -> Self {
        Self::Crypto
    }
}

/// Whether the error is a broken UNIQUE or PRIMARY KEY constraint.
pub(super) fn is_duplicate(error: &rusqlite::Error) -> bool {
    error.sqlite_error().is_some_and(|e| {
        matches!(e.extended_code, rusqlite::ffi::SQLITE_CONSTRAINT_UNIQUE | rusqlite::ffi::SQLITE_CONSTRAINT_PRIMARYKEY)
    })
}

/// Why a store does not open; each has its own exit code.
#[derive(Debug, thiserror::Error)]
pub enum OpenFault {
    /// There is no database where one should be.
    #[error("there is no store here; run `mfad init` first")]
    Missing,
    /// `init` found something already there.
    #[error("there is a store here already; nothing was changed")]
    Exists,
    /// The master key is not the one this store was made with.
    #[error("the master key does not belong to this store")]
    WrongKey,
    /// The schema is from a newer program.
    #[error("the store has schema version {found}, this program knows up to {known}")]
    Newer {
        /// The version found.
        found: u32,
        /// The newest known.
        known: u32,
    },
    /// Not a store of ours, or damaged.
    #[error("the store is damaged or foreign: {0}")]
    Damaged(String),
    /// The database file is not for this user alone.
    #[error("the database belongs to another user or is open to others; its mode has to be 0600")]
    Unsafe,
    /// The store lost what it once held.
    #[error(
        "the store was put back to an older state: its newest event is number {found}, and number {seen} was there; \
         if that was on purpose, run `mfad restore --in-place`"
    )]
    RolledBack {
        /// The newest event in it.
        found: i64,
        /// The newest event that was seen in it.
        seen: i64,
    },
    /// The file of the roll-back guard is not the one of this store.
    #[error("the roll-back guard {path}: {why}; if the store is the right one, run `mfad restore --in-place`")]
    Guard {
        /// Where it is.
        path: std::path::PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A setting did not take.
    #[error("the store does not keep the setting {0}")]
    Setting(&'static str),
    /// A file could not be made or read.
    #[error("the store cannot be opened: {0}")]
    Io(#[from] std::io::Error),
    /// Anything else.
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
