//! Why the process ends, with the exit codes that `docs/errors.md` lists.

use std::path::{Path, PathBuf};

use crate::config::ConfigFault;
use mfad_service::error::Error;
use mfad_store::{BackupFault, Fault, OpenFault, RestoreFault};

/// Why the process ends, other than well. Each has its own exit code.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("configuration: {0}")]
    Config(#[from] ConfigFault),
    #[error("another instance is running on {0}")]
    Running(PathBuf),
    #[error("{path}: {why}")]
    Unsafe { path: PathBuf, why: &'static str },
    #[error("{0}: there is no state directory; run `mfad init` first")]
    NotInitialised(PathBuf),
    #[error("{0}: the master key is missing")]
    NoKey(PathBuf),
    #[error("{0}: this is no master key: it has to have 32 bytes")]
    NoSuchKey(PathBuf),
    #[error("the store: {0}")]
    Store(OpenFault),
    #[error("restore: {0}")]
    Restore(RestoreFault),
    #[error("{path}: {cause}")]
    File { path: PathBuf, cause: std::io::Error },
    #[error("socket {path}: {cause}")]
    Socket { path: PathBuf, cause: std::io::Error },
    #[error("a write reached an unknown state; restart to recover")]
    StoreFailed,
    #[error("{0}")]
    Internal(String),
}

impl Failure {
    /// The exit codes that `docs/errors.md` lists; 2 is clap's for wrong arguments.
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
            Error::Malformed(why) => Self::Config(ConfigFault::Value { key: "fido2.rpId", why }),
            other => Self::Internal(other.to_string()),
        }
    }
}

pub(super) fn file_fault(path: &Path, cause: std::io::Error) -> Failure {
    Failure::File { path: path.to_owned(), cause }
}
