//! Errors that end the process, with their messages and exit codes. It knows nothing about HTTP answers.

use std::path::{Path, PathBuf};

use crate::config::ConfigFault;
use mfad_service::error::Error;
use mfad_store::{BackupFault, Fault, OpenFault, RestoreFault};

/// What to do about a store that `mfad init` finds.
pub(super) const IF_NEEDED: &str = "`mfad init --if-needed` leaves it as it is and succeeds";

/// Error that ends the process. The messages name the file or directory and, where possible, what to do.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("configuration: {0}")]
    Config(#[from] ConfigFault),
    #[error("another instance is running and uses {0}; stop it first (systemctl stop mfad.socket mfad.service)")]
    Running(PathBuf),
    #[error("{path}: {why}")]
    Unsafe { path: PathBuf, why: &'static str },
    #[error("{0}: not initialised; run `mfad init` first")]
    NotInitialised(PathBuf),
    #[error(
        "{0}: the master key is missing; put back the key that belongs to this store; `mfad restore` takes it with --key-file"
    )]
    NoKey(PathBuf),
    #[error("a store already exists here; nothing was changed; {0}")]
    Exists(&'static str),
    #[error("{0}: not a master key; the file must have exactly 32 bytes")]
    NoSuchKey(PathBuf),
    #[error("store: {0}")]
    Store(OpenFault),
    #[error("restore: {0}")]
    Restore(RestoreFault),
    #[error("{path}: {cause}")]
    File { path: PathBuf, cause: std::io::Error },
    #[error("socket {path}: {cause}")]
    Socket { path: PathBuf, cause: std::io::Error },
    #[error("a write to the store failed, and it is unknown what is on the disk; restart the daemon to recover")]
    StoreFailed,
    #[error("{0}")]
    Internal(String),
}

impl Failure {
    /// Returns the exit code, as `docs/errors.md` lists it. 2 is not among them: clap uses it for wrong arguments.
    pub(super) fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_) => 3,
            Self::Running(_) => 4,
            Self::Unsafe { .. } | Self::File { .. } => 5,
            Self::NotInitialised(_) => 6,
            Self::NoKey(_) => 7,
            Self::NoSuchKey(_) => 8,
            Self::Store(fault) | Self::Restore(RestoreFault::Store(fault)) => of_store(fault),
            Self::Restore(RestoreFault::Backup(fault)) => match fault {
                BackupFault::WrongKey => 8,
                BackupFault::Foreign | BackupFault::Damaged(_) | BackupFault::Fault(_) => 15,
                BackupFault::Io(_) => 5,
            },
            Self::Socket { .. } => 11,
            Self::Exists(_) => 13,
            Self::StoreFailed => 12,
            Self::Internal(_) => 70,
        }
    }
}

fn of_store(fault: &OpenFault) -> u8 {
    match fault {
        OpenFault::WrongKey => 8,
        OpenFault::Missing | OpenFault::Damaged(_) | OpenFault::Setting(_) | OpenFault::Fault(_) => 9,
        OpenFault::Newer { .. } => 10,
        OpenFault::Io(_) | OpenFault::Unsafe => 5,
        OpenFault::Exists => 13,
        OpenFault::RolledBack { .. } | OpenFault::Guard { .. } => 14,
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Self::Store(fault.into())
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::Internal(cause) => Self::Internal(cause),
            // At start the service refuses one setting: a relying party id that stored credentials are not bound to.
            Error::Malformed(why) => Self::Config(ConfigFault::Value { key: "fido2.rpId", why }),
            other => Self::Internal(other.to_string()),
        }
    }
}

pub(super) fn file_fault(path: &Path, cause: std::io::Error) -> Failure {
    Failure::File { path: path.to_owned(), cause }
}
