//! Sends requests to the daemon through `mfad-client`. That client blocks, so each exchange runs on a thread of its
//! own: Control-C and other hardware keys need not wait for it.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use mfad_client::{Error, Request, SecretString, Stopper};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use zeroize::Zeroizing;

use crate::account::{self, Needed};
use crate::call::{Authority, Call};
use crate::curl;
use crate::failure::Failure;
use crate::output::{Output, visible};
use crate::problem::Problem;

/// Pieces of a stream that are buffered for their reader.
const AHEAD: usize = 4;

/// A client of one daemon.
pub(crate) struct Client {
    socket: PathBuf,
    /// `None` while an exchange is in progress.
    kept: Option<mfad_client::Client>,
    curl_to: Option<Output>,
    /// Whether the command needs the right `admin` in the end, even if its first request does with less.
    is_for_admins: bool,
}

/// The daemon's response to a request, read completely.
pub(crate) struct Answer {
    /// The HTTP status code.
    pub status: u16,
    /// The right that the request needs, if it had no token, so that the rights of the calling account decided.
    needed: Option<Needed>,
    answer: mfad_client::Answer,
}

impl Answer {
    /// Returns the body as received.
    pub(crate) fn text(&self) -> &str {
        self.answer.text()
    }

    /// Parses the body as a type of `mfad-api`.
    pub(crate) fn read<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        self.answer.read().map_err(|error| failure(error, Path::new("its socket")))
    }

    /// Returns the answer if its status is 2xx, otherwise the refusal as a failure.
    pub(crate) fn granted(self) -> Result<Self, Failure> {
        if (200..300).contains(&self.status) { Ok(self) } else { Err(Failure::Refused(Box::new(self.problem()))) }
    }

    /// Parses the answer as a problem document.
    pub(crate) fn problem(&self) -> Problem {
        Problem::read(self.status, self.text()).of_account(self.needed)
    }
}

impl Client {
    /// Creates a client of the daemon at `socket`. It connects at the first exchange. `curl_to` prints each request as
    /// a curl command (`--curl`).
    pub(crate) fn new(socket: PathBuf, curl_to: Option<Output>) -> Self {
        let kept = Some(mfad_client::Client::new(socket.clone()));
        Self { socket, kept, curl_to, is_for_admins: false }
    }

    /// Notes that only administrators can complete the command, so that a refusal names that right at once.
    pub(crate) fn for_admins(self, is_for_admins: bool) -> Self {
        Self { is_for_admins, ..self }
    }

    fn needed(&self, call: &Call<'_>) -> Option<Needed> {
        let needed = call.needed()?;
        Some(if self.is_for_admins { Needed { right: "admin", ..needed } } else { needed })
    }

    /// The path of the daemon's socket.
    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }

    /// Creates another client of the same daemon, with a connection of its own.
    pub(crate) fn another(&self) -> Self {
        Self::new(self.socket.clone(), self.curl_to).for_admins(self.is_for_admins)
    }

    /// Sends a request and reads its answer, whatever the status.
    pub(crate) async fn send(&mut self, call: Call<'_>) -> Result<Answer, Failure> {
        self.show(&call);
        let needed = self.needed(&call);
        let owned = Owned::of(call);
        // An abandoned exchange keeps its client, so the next exchange needs a new one.
        let mut client = self.kept.take().unwrap_or_else(|| mfad_client::Client::new(self.socket.clone()));
        let exchange = spawn_blocking(move || {
            let answer = client.send(&owned.request());
            (client, answer)
        });
        let (client, answer) = exchange.await.map_err(|_| panicked())?;
        self.kept = Some(client);
        let answer = answer.map_err(|error| failure(error, &self.socket))?;
        Ok(Answer { status: answer.status, needed, answer })
    }

    /// Sends a request and reads its answer. A refusal is a failure.
    pub(crate) async fn ask(&mut self, call: Call<'_>) -> Result<Answer, Failure> {
        self.send(call).await?.granted()
    }

    /// Opens a stream, such as events or a backup, whose body is read in pieces.
    pub(crate) async fn open(&mut self, call: Call<'_>) -> Result<Stream, Failure> {
        self.show(&call);
        let needed = self.needed(&call);
        let owned = Owned::of(call);
        let client = mfad_client::Client::new(self.socket.clone());
        let opened = spawn_blocking(move || client.open(&owned.request())).await.map_err(|_| panicked())?;
        let mut stream = opened.map_err(|error| match failure(error, &self.socket) {
            Failure::Refused(problem) => Failure::Refused(Box::new(problem.of_account(needed))),
            other => other,
        })?;
        let stopper = stream
            .stopper()
            .map_err(|error| Failure::Internal(format!("the socket cannot be shared with a thread: {error}")))?;
        let (pieces, body) = mpsc::channel(AHEAD);
        spawn_blocking(move || {
            loop {
                let piece = stream.next_piece().map_err(|error| match error {
                    Error::TimedOut => Failure::Unreachable("the daemon's stream fell silent".to_owned()),
                    other => failure(other, Path::new("its socket")),
                });
                let is_last = !matches!(piece, Ok(Some(_)));
                if pieces.blocking_send(piece).is_err() || is_last {
                    return;
                }
            }
        });
        Ok(Stream { body, _stopper: stopper })
    }

    fn show(&self, call: &Call<'_>) {
        if let Some(output) = self.curl_to {
            output.aside_whole(&visible(&curl::line(&self.socket, call)));
        }
    }
}

/// The body of a streamed response.
pub(crate) struct Stream {
    body: mpsc::Receiver<Result<Option<Zeroizing<Vec<u8>>>, Failure>>,
    /// Ends the reading thread when the stream is dropped.
    _stopper: Stopper,
}

impl Stream {
    /// Waits for the next piece; `None` at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Zeroizing<Vec<u8>>>, Failure> {
        self.body.recv().await.unwrap_or(Ok(None))
    }
}

/// A request that owns its parts, so that it can be moved to a thread.
struct Owned {
    method: mfad_client::Method,
    path: String,
    authority: mfad_client::Authority,
    body: Option<Zeroizing<Vec<u8>>>,
}

impl Owned {
    fn of(call: Call<'_>) -> Self {
        let authority = match call.authority {
            Authority::Peer => mfad_client::Authority::Peer,
            Authority::Reason(reason) => mfad_client::Authority::Reason(reason.clone()),
            Authority::Token(token) => mfad_client::Authority::Token(SecretString::new(token.as_str().to_owned())),
            Authority::TokenWithReason(token, reason) => {
                let token = SecretString::new(token.as_str().to_owned());
                mfad_client::Authority::TokenWithReason(token, reason.clone())
            }
        };
        Self { method: call.method, path: call.path, authority, body: call.body.map(|body| body.into_wire()) }
    }

    fn request(&self) -> Request<'_> {
        let request = Request::new(self.method, &self.path).by(&self.authority);
        Request { body: self.body.clone(), ..request }
    }
}

fn panicked() -> Failure {
    Failure::Internal("the thread of an exchange panicked".to_owned())
}

/// Converts an error of an exchange into a failure with its message.
fn failure(error: Error, socket: &Path) -> Failure {
    match error {
        Error::Usage(why) => Failure::Usage(why.to_owned()),
        Error::Unreachable { cause, .. } => {
            let text = format!("cannot reach the daemon at {}: {cause}", socket.display());
            match cause.kind() {
                ErrorKind::PermissionDenied => Failure::Forbidden(format!("{text}; {}", account::lacks_socket(socket))),
                _ => Failure::Unreachable(format!("{text}. Is mfad running? Is --socket correct?")),
            }
        }
        Error::Unexpected(place) => {
            Failure::Internal(format!("the daemon's answer is not understood ({place}); do the versions match?"))
        }
        Error::Refused(refusal) => Failure::Refused(Box::new(Problem::read(refusal.problem.status, &refusal.document))),
        // The daemon closes such a connection without a word.
        Error::BrokenOff(_) if account::is_overflow() => Failure::Forbidden(account::NOBODY.to_owned()),
        error @ (Error::BrokenOff(_) | Error::TimedOut) => Failure::Unreachable(error.to_string()),
    }
}
