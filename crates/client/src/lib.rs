//! A small blocking client of mfad's Unix socket: what `mfactl` and programs that log users in need, without an async
//! runtime and with few dependencies.
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
//! It knows the API and nothing inside the daemon. It starts no thread, installs no signal handler and prints nothing. Every
//! wait has a deadline, and buffers that held a secret are wiped.

mod connection;
mod error;
mod flows;
mod framing;
mod request;
mod stream;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use connection::Connection;

pub use error::{Error, Refusal};
pub use flows::{Credentials, LoginStep};
pub use mfad_api::SecretString;
pub use request::{Authority, Method, Request};
pub use stream::{Stopper, Stream};

/// How long one exchange may take by default: as long as the daemon itself works on a request.
const EXCHANGE_TIME: Duration = Duration::from_secs(30);

/// A client of one daemon. It keeps one connection between exchanges.
pub struct Client {
    socket: PathBuf,
    time: Duration,
    kept: Option<Connection>,
}

impl Client {
    /// A client of the daemon at that socket. It connects when it is first used.
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self { socket: socket.into(), time: EXCHANGE_TIME, kept: None }
    }

    /// The same with another limit on the time of an exchange.
    #[must_use]
    pub fn with_time(self, time: Duration) -> Self {
        Self { time, ..self }
    }

    /// The path of the daemon's socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// One exchange. A refusal of the daemon is an answer like others here.
    pub fn send(&mut self, request: &Request<'_>) -> Result<Answer, Error> {
        let mut connection = match self.kept.take().filter(Connection::is_reusable) {
            Some(connection) => connection,
            None => Connection::open(&self.socket)?,
        };
        connection.begin(self.time);
        connection.write(request)?;
        let head = connection.read_head()?;
        let body = connection.read_body(&head)?;
        if !head.closes {
            connection.rest();
            self.kept = Some(connection);
        }
        Ok(Answer { status: head.status, body })
    }

    /// One exchange. A refusal is [`Error::Refused`].
    pub fn ask(&mut self, request: &Request<'_>) -> Result<Answer, Error> {
        self.send(request)?.granted()
    }

    /// Opens a stream (events, a backup) on a connection of its own.
    pub fn open(&self, request: &Request<'_>) -> Result<Stream, Error> {
        let mut connection = Connection::open(&self.socket)?;
        connection.begin(self.time);
        connection.write(request)?;
        let head = connection.read_head()?;
        if (200..300).contains(&head.status) {
            return Ok(Stream::new(connection, &head));
        }
        let body = connection.read_body(&head)?;
        Err(Answer { status: head.status, body }.into_refusal())
    }
}

/// An answer of the daemon.
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    body: Zeroizing<Vec<u8>>,
}

impl Answer {
    /// The body as text; empty if it is not UTF-8, which the daemon's always is.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap_or_default()
    }

    /// The body as the type that the API promises.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, Error> {
        // The library's own words would quote the answer, which may hold a secret.
        serde_json::from_slice(&self.body)
            .map_err(|error| Error::Unexpected(format!("line {}, column {}", error.line(), error.column())))
    }

    /// The answer, unless it is a refusal.
    pub fn granted(self) -> Result<Self, Error> {
        if (200..300).contains(&self.status) { Ok(self) } else { Err(self.into_refusal()) }
    }

    fn into_refusal(self) -> Error {
        Error::Refused(Box::new(Refusal::read(self.status, self.text())))
    }
}
