//! Errors of an exchange with the daemon.

use std::fmt;
use std::io;
use std::path::PathBuf;

use mfad_api::{ErrorCode, Problem};

/// The reason why an exchange has no answer, or why the answer is an error.
#[derive(Debug)]
pub enum Error {
    /// The request is invalid and was not sent; the text says why.
    Usage(&'static str),
    /// No connection to the daemon could be opened. The request was not sent.
    Unreachable {
        /// The path of the daemon's socket.
        socket: PathBuf,
        /// The operating system's reason.
        cause: io::Error,
    },
    /// The connection broke. It is unknown whether the request was carried out.
    BrokenOff(io::Error),
    /// The answer did not arrive within the time limit. It is unknown whether the request was carried out.
    TimedOut,
    /// The answer does not fit this version of the API. The text names the place, never the contents.
    Unexpected(String),
    /// The daemon refused the request: a status other than 2xx.
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
            // The kind of error after a timeout differs between operating systems.
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Self::TimedOut,
            _ => Self::BrokenOff(cause),
        }
    }
}

/// A refusal of the daemon, with its problem document.
#[derive(Debug)]
pub struct Refusal {
    /// The problem document (RFC 9457). If the answer has none, only status and title are set.
    pub problem: Problem,
    /// The document as received; empty if there was none.
    pub document: String,
}

impl Refusal {
    /// Parses the body of a refusal. A body that is no problem document is dropped; the status stays.
    pub fn read(status: u16, document: &str) -> Self {
        match serde_json::from_str::<Problem>(document) {
            Ok(problem) => Self { problem: Problem { status, ..problem }, document: document.to_owned() },
            Err(_) => {
                let title = format!("the daemon answered {status} without saying why");
                Self { problem: Problem { status, title, ..Problem::default() }, document: String::new() }
            }
        }
    }

    /// Returns the error code; `None` if this version does not know it.
    pub fn code(&self) -> Option<ErrorCode> {
        self.problem.known_code()
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.problem.detail.as_deref().unwrap_or(&self.problem.title))
    }
}
