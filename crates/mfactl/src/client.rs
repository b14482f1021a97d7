//! The way to the daemon: HTTP/1.1 over its Unix socket, one connection for a command, renewed only
//! if the daemon closed it while a person was typing.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio::time::timeout;
use zeroize::Zeroizing;

use crate::call::{Authority, Call};
use crate::curl;
use crate::failure::Failure;
use crate::output::{Output, visible};
use crate::problem::Problem;

/// How long one exchange may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a stream may be silent: the daemon says something every 15 s.
const STREAM_PATIENCE: Duration = Duration::from_secs(60);
/// The longest answer taken, in bytes.
const LONGEST_ANSWER: usize = 8 * 1024 * 1024;

/// A client of one daemon.
pub struct Client {
    socket: PathBuf,
    sender: Option<SendRequest<Full<Bytes>>>,
    curl_to: Option<Output>,
}

/// What the daemon answered.
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    text: Zeroizing<String>,
}

impl Answer {
    /// The body as it came.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The body as what it should be.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        // The cause would quote the answer, which may hold a secret.
        serde_json::from_str(&self.text).map_err(|error| {
            Failure::Internal(format!(
                "the daemon's answer is not understood (line {}, column {}); do the versions match",
                error.line(),
                error.column()
            ))
        })
    }

    /// The answer, if it is no refusal.
    pub fn granted(self) -> Result<Self, Failure> {
        if (200..300).contains(&self.status) { Ok(self) } else { Err(Failure::Refused(Box::new(self.problem()))) }
    }

    /// The answer as a refusal.
    pub fn problem(&self) -> Problem {
        Problem::read(self.status, &self.text)
    }
}

impl Client {
    /// A client of the daemon at `socket`; connects when first asked. Curl lines go to `curl_to`.
    pub fn new(socket: PathBuf, curl_to: Option<Output>) -> Self {
        Self { socket, sender: None, curl_to }
    }

    /// Where the daemon's socket is.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Another client of the same daemon, with a connection of its own.
    pub fn another(&self) -> Self {
        Self::new(self.socket.clone(), self.curl_to)
    }

    /// One exchange; a refusal is an answer like others.
    pub async fn send(&mut self, call: Call<'_>) -> Result<Answer, Failure> {
        let exchange = async {
            let response = self.exchange(call).await?;
            read_answer(response).await
        };
        timeout(PATIENCE, exchange).await.unwrap_or_else(|_| Err(too_slow()))
    }

    /// One exchange; a refusal is a failure.
    pub async fn ask(&mut self, call: Call<'_>) -> Result<Answer, Failure> {
        self.send(call).await?.granted()
    }

    /// Opens a stream; its body comes in pieces.
    pub async fn open(&mut self, call: Call<'_>) -> Result<Stream, Failure> {
        let response = timeout(PATIENCE, self.exchange(call)).await.unwrap_or_else(|_| Err(too_slow()))?;
        if response.status().is_success() {
            return Ok(Stream(response.into_body()));
        }
        let refused = timeout(PATIENCE, read_answer(response)).await.unwrap_or_else(|_| Err(too_slow()))?;
        Err(Failure::Refused(Box::new(refused.problem())))
    }

    async fn exchange(&mut self, call: Call<'_>) -> Result<Response<Incoming>, Failure> {
        if let Some(output) = self.curl_to {
            output.aside(&visible(&curl::line(&self.socket, &call)));
        }
        let request = request(call)?;
        let mut sender = self.open_sender().await?;
        let response = match sender.try_send_request(request).await {
            Ok(response) => response,
            Err(mut lost) => {
                // Only a request that was not sent comes back, so nothing is done twice.
                let Some(request) = lost.take_message() else { return Err(broken_off(&lost.into_error())) };
                sender = self.connect().await?;
                sender.try_send_request(request).await.map_err(not_taken)?
            }
        };
        self.sender = Some(sender);
        Ok(response)
    }

    async fn open_sender(&mut self) -> Result<SendRequest<Full<Bytes>>, Failure> {
        if let Some(mut sender) = self.sender.take()
            && sender.ready().await.is_ok()
        {
            return Ok(sender);
        }
        self.connect().await
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, Failure> {
        let stream = UnixStream::connect(&self.socket).await.map_err(|error| {
            let text = format!("cannot reach the daemon at {}: {error}", self.socket.display());
            match error.kind() {
                ErrorKind::PermissionDenied => {
                    Failure::Forbidden(format!("{text}; this account may not use the socket"))
                }
                _ => Failure::Unreachable(format!("{text}; is mfad running, is --socket right")),
            }
        })?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| broken_off(&error))?;
        tokio::spawn(async move {
            // Its end shows in the exchange that it cuts short.
            let _ended = connection.await;
        });
        Ok(sender)
    }
}

/// The body of a stream.
pub struct Stream(Incoming);

impl Stream {
    /// The next piece; none at the end.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        loop {
            let frame = timeout(STREAM_PATIENCE, self.0.frame())
                .await
                .map_err(|_| Failure::Unreachable("the daemon's stream fell silent".to_owned()))?;
            let Some(frame) = frame else { return Ok(None) };
            // Trailers are no data.
            if let Ok(data) = frame.map_err(|error| broken_off(&error))?.into_data() {
                return Ok(Some(data));
            }
        }
    }
}

fn request(call: Call<'_>) -> Result<Request<Full<Bytes>>, Failure> {
    let mut builder =
        Request::builder().method(call.method).uri(call.path).header(HOST, "mfad").header(ACCEPT, "application/json");
    match call.authority {
        Authority::Peer => {}
        Authority::Reason(reason) => builder = builder.header("mfad-reason", header(reason, "the reason")?),
        Authority::Token(token) => {
            let value = Zeroizing::new(format!("jwt {}", token.as_str()));
            builder = builder.header(AUTHORIZATION, header(&value, "the token")?);
        }
    }
    let body = match call.body {
        Some(body) => {
            builder = builder.header(CONTENT_TYPE, "application/json");
            Full::new(Bytes::from_owner(body.into_wire()))
        }
        None => Full::default(),
    };
    builder.body(body).map_err(|error| Failure::Internal(format!("the request cannot be made: {error}")))
}

fn header(text: &str, what: &str) -> Result<HeaderValue, Failure> {
    let mut value = HeaderValue::from_bytes(text.as_bytes())
        .map_err(|_| Failure::Usage(format!("{what} may not hold control characters")))?;
    value.set_sensitive(true);
    Ok(value)
}

async fn read_answer(response: Response<Incoming>) -> Result<Answer, Failure> {
    let status = response.status().as_u16();
    let body = Limited::new(response.into_body(), LONGEST_ANSWER).collect().await;
    let body =
        body.map_err(|error| Failure::Unreachable(format!("the daemon's answer broke off: {error}")))?.to_bytes();
    let text =
        std::str::from_utf8(&body).map_err(|_| Failure::Internal("the daemon's answer is not UTF-8".to_owned()))?;
    Ok(Answer { status, text: Zeroizing::new(text.to_owned()) })
}

fn not_taken(mut lost: TrySendError<Request<Full<Bytes>>>) -> Failure {
    match lost.take_message() {
        Some(_) => Failure::Unreachable("the daemon closed the connection at once; its log says why".to_owned()),
        None => broken_off(&lost.into_error()),
    }
}

fn broken_off(error: &hyper::Error) -> Failure {
    Failure::Unreachable(format!("the daemon broke off: {error}; whether the request was done is not known"))
}

fn too_slow() -> Failure {
    Failure::Unreachable(format!(
        "the daemon did not answer within {} s; whether the request was done is not known",
        PATIENCE.as_secs()
    ))
}
