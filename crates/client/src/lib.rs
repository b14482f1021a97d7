//! A small blocking client of mfad's Unix socket, for `mfactl` and for programs that log users in. It needs no async
//! runtime and few dependencies.
//!
//! ```no_run
//! use mfad_client::{Client, Credentials, LoginStep, SecretString};
//!
//! # fn main() -> Result<(), mfad_client::Error> {
//! let mut client = Client::new("/run/mfad/mfad.sock");
//! let password = SecretString::new("correct horse battery".to_owned());
//! match client.log_in(&Credentials { id: "emmy", password: &password })? {
//!     LoginStep::LoggedIn(_token) => println!("the password was enough"),
//!     LoginStep::SecondFactor(challenge) => {
//!         let code = SecretString::new("123456".to_owned());
//!         let token = client.answer_with_code(&challenge, &code)?;
//!         println!("logged in for {} s", token.expires_in);
//!     }
//!     LoginStep::MustEnroll(_token) => println!("a second factor has to be enrolled first"),
//! }
//! # Ok(())
//! # }
//! ```
//!
//! The crate knows the API and nothing of the daemon's inside. It starts no thread, installs no signal handler and
//! prints nothing. Every wait has a deadline, and buffers that held a secret are wiped.

mod account;
mod connection;
mod error;
mod flows;
mod framing;
mod host;
mod request;
mod stream;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use connection::Connection;

pub use account::{Enrollment, QrFormat};
pub use error::{Error, Refusal};
pub use flows::{Credentials, LoginStep};
pub use host::HostProof;
pub use mfad_api::{HostLogin, SecretString};
pub use request::{Authority, Method, Request};
pub use stream::{Stopper, Stream};

/// Default time limit of one exchange: the longest time that the daemon works on a request. Where a hardware key may wait
/// for touches, the daemon works up to 100 s.
const EXCHANGE_TIME: Duration = Duration::from_secs(30);

/// A client of one daemon. It keeps one connection open between exchanges.
pub struct Client {
    socket: PathBuf,
    time: Duration,
    connect_time: Duration,
    kept: Option<Connection>,
}

impl Client {
    /// Creates a client of the daemon at this socket. It connects at the first exchange.
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self { socket: socket.into(), time: EXCHANGE_TIME, connect_time: EXCHANGE_TIME, kept: None }
    }

    /// Sets the time limit of an exchange with its connect, 30 s by default.
    #[must_use]
    pub fn with_time(self, time: Duration) -> Self {
        Self { time, ..self }
    }

    /// Sets the time limit of a connect, 30 s by default. A daemon that is stopped, or has too many clients, accepts no
    /// connections.
    #[must_use]
    pub fn with_connect_time(self, connect_time: Duration) -> Self {
        Self { connect_time, ..self }
    }

    /// The path of the daemon's socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Sends a request and reads its answer, whatever the status: a refusal of the daemon is not an error here.
    pub fn send(&mut self, request: &Request<'_>) -> Result<Answer, Error> {
        let mut connection = match self.kept.take().filter(Connection::is_reusable) {
            Some(mut connection) => {
                connection.begin(self.time);
                connection
            }
            None => Connection::open(&self.socket, self.connect_time, self.time)?,
        };
        connection.write(request)?;
        let head = connection.read_head()?;
        let body = connection.read_body(&head)?;
        if !head.closes {
            connection.rest();
            self.kept = Some(connection);
        }
        Ok(Answer { status: head.status, body })
    }

    /// Sends a request and reads its answer. A refusal of the daemon is [`Error::Refused`].
    pub fn ask(&mut self, request: &Request<'_>) -> Result<Answer, Error> {
        self.send(request)?.granted()
    }

    /// Opens a stream, such as events or a backup, on a connection of its own.
    pub fn open(&self, request: &Request<'_>) -> Result<Stream, Error> {
        let mut connection = Connection::open(&self.socket, self.connect_time, self.time)?;
        connection.write(request)?;
        let head = connection.read_head()?;
        if (200..300).contains(&head.status) {
            return Ok(Stream::new(connection, &head));
        }
        let body = connection.read_body(&head)?;
        Err(Answer { status: head.status, body }.into_refusal())
    }
}

/// The daemon's response to a request, read completely.
pub struct Answer {
    /// The HTTP status code.
    pub status: u16,
    body: Zeroizing<Vec<u8>>,
}

impl Answer {
    /// Returns the body as text; empty if it is not UTF-8. The daemon always sends UTF-8.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap_or_default()
    }

    /// Parses the body as a type of `mfad-api`. The error names the position, never the contents.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, Error> {
        // The message of serde_json could quote the body, which may hold a secret.
        serde_json::from_slice(&self.body)
            .map_err(|error| Error::Unexpected(format!("line {}, column {}", error.line(), error.column())))
    }

    /// Returns the answer if its status is 2xx, otherwise [`Error::Refused`].
    pub fn granted(self) -> Result<Self, Error> {
        if (200..300).contains(&self.status) { Ok(self) } else { Err(self.into_refusal()) }
    }

    fn into_refusal(self) -> Error {
        Error::Refused(Box::new(Refusal::read(self.status, self.text())))
    }
}
