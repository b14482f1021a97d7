//! What can go wrong between a program and the daemon.

use std::fmt;
use std::io;
use std::path::PathBuf;

use mfad_api::{ErrorCode, Problem};

/// Why there is no answer, or not the one that was asked for.
#[derive(Debug)]
pub enum Error {
    /// The request cannot be sent as it is.
    Usage(&'static str),
    /// There is no connection to the daemon.
    Unreachable {
        /// The socket.
        socket: PathBuf,
        /// The operating system's reason.
        cause: io::Error,
    },
    /// The connection broke off. It is unknown whether the request was carried out.
    BrokenOff(io::Error),
    /// The answer did not come in time. It is unknown whether the request was carried out.
    TimedOut,
    /// The answer is not one of this API; the text says where, never what.
    Unexpected(String),
    /// The daemon refused.
    Refused(Box<Refusal>),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(why) => f.write_str(why),
            Self::Unreachable { socket, cause } => {
                write!(f, "cannot connect to the daemon at {}: {cause}", socket.display())
            }
            Self::BrokenOff(cause) => {
                write!(f, "the connection broke off: {cause}; it is unknown whether the request was carried out")
            }
            Self::TimedOut => {
                f.write_str("the daemon did not answer in time; it is unknown whether the request was carried out")
            }
            Self::Unexpected(place) => write!(f, "the answer is not one of this version of the API ({place})"),
            Self::Refused(refusal) => write!(f, "{refusal}"),
        }
    }
}

impl std::error::Error for Error {}

impl From<io::Error> for Error {
    fn from(cause: io::Error) -> Self {
        match cause.kind() {
            // What a read or a write with a timeout ends with differs between systems.
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Self::TimedOut,
            _ => Self::BrokenOff(cause),
        }
    }
}

/// A refusal of the daemon.
#[derive(Debug)]
pub struct Refusal {
    /// The problem document (RFC 9457); of an answer without one only the status is filled in.
    pub problem: Problem,
    /// The document as it came; empty if there was none.
    pub document: String,
}

impl Refusal {
    /// Reads a refusal.
    pub fn read(status: u16, document: &str) -> Self {
        match serde_json::from_str::<Problem>(document) {
            Ok(problem) => Self { problem: Problem { status, ..problem }, document: document.to_owned() },
            Err(_) => {
                let title = format!("the daemon answered {status} without saying why");
                Self { problem: Problem { status, title, ..Problem::default() }, document: String::new() }
            }
        }
    }

    /// The code, if this version knows it.
    pub fn code(&self) -> Option<ErrorCode> {
        self.problem.known_code()
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.problem.detail.as_deref().unwrap_or(&self.problem.title))
    }
}
