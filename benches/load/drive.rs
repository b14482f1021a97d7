//! Loops: so many connections, each with one request under way, for so long or so many times.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio::task::JoinSet;

/// One request.
pub struct Shot {
    method: Method,
    path: String,
    body: String,
    token: Option<String>,
    with_reason: bool,
    may_be_refused: bool,
}

impl Shot {
    pub fn get(path: impl Into<String>) -> Self {
        Self {
            method: Method::GET,
            path: path.into(),
            body: String::new(),
            token: None,
            with_reason: false,
            may_be_refused: false,
        }
    }

    pub fn post(path: impl Into<String>, body: String) -> Self {
        Self { method: Method::POST, body, ..Self::get(path) }
    }

    pub fn put(self) -> Self {
        Self { method: Method::PUT, ..self }
    }

    pub fn token(self, token: &str) -> Self {
        Self { token: Some(token.to_owned()), ..self }
    }

    /// As an administrator.
    pub fn reason(self) -> Self {
        Self { with_reason: true, ..self }
    }

    /// Whatever is answered counts.
    pub fn any(self) -> Self {
        Self { may_be_refused: true, ..self }
    }

    pub fn request(self) -> Request<Full<Bytes>> {
        let mut request = Request::builder().method(self.method).uri(self.path).header("host", "mfad");
        if !self.body.is_empty() {
            request = request.header("content-type", "application/json");
        }
        if self.with_reason {
            request = request.header("mfad-reason", "a benchmark");
        }
        if let Some(token) = self.token {
            request = request.header("authorization", format!("jwt {token}"));
        }
        request.body(Full::new(Bytes::from(self.body))).unwrap()
    }
}

/// What a load came to.
#[derive(Clone, Default)]
pub struct Load {
    /// Milliseconds, sorted.
    times: Vec<f64>,
    seconds: f64,
    /// Seconds of the other process's processors.
    pub processor: Option<f64>,
}

impl Load {
    /// Of the time of each request in milliseconds.
    pub fn new(mut times: Vec<f64>, took: Duration) -> Self {
        times.sort_unstable_by(f64::total_cmp);
        Self { times, seconds: took.as_secs_f64(), processor: None }
    }

    /// Number of requests.
    pub fn count(&self) -> usize {
        self.times.len()
    }

    /// Requests in a second.
    pub fn rate(&self) -> f64 {
        self.times.len() as f64 / self.seconds
    }

    /// The time, in milliseconds, that this part of the requests did not exceed.
    pub fn quantile(&self, part: f64) -> f64 {
        self.times[((self.times.len() - 1) as f64 * part).round() as usize]
    }

    /// Microseconds of the other process's processors for a request.
    pub fn processor_us(&self) -> Option<f64> {
        Some(self.processor? * 1e6 / self.times.len() as f64)
    }
}

/// A connection that carries one request after another.
pub struct Line(hyper::client::conn::http1::SendRequest<Full<Bytes>>);

impl Line {
    pub async fn open(socket: &Path) -> Self {
        let stream = UnixStream::connect(socket).await.unwrap();
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        Self(sender)
    }

    /// The status and the body.
    pub async fn ask(&mut self, shot: Shot) -> (u16, Bytes) {
        self.0.ready().await.unwrap();
        let answer = self.0.send_request(shot.request()).await.unwrap();
        let status = answer.status().as_u16();
        (status, answer.into_body().collect().await.unwrap().to_bytes())
    }
}

/// Sends requests on so many connections until the daemon is gone.
pub async fn drive_until_gone(
    socket: &Path,
    width: usize,
    shot: impl Fn(usize, usize) -> Shot + Send + Sync + 'static,
) -> JoinSet<()> {
    let shot = Arc::new(shot);
    let mut loops = JoinSet::new();
    for number in 0..width {
        let (shot, mut line) = (Arc::clone(&shot), Line::open(socket).await);
        loops.spawn(async move {
            for turn in 0.. {
                if line.0.ready().await.is_err() || line.0.send_request(shot(number, turn).request()).await.is_err() {
                    return;
                }
            }
        });
    }
    loops
}

/// When a connection sends its next request.
#[derive(Clone, Copy)]
pub enum Pace {
    /// When it has its answer: a closed loop.
    Closed,
    /// So many in a second, by all connections together and whether there are answers or not: an open loop. A time counts
    /// from when the request was due.
    Open(f64),
}

/// Drives so many connections, until the time is over or each has made so many requests.
pub async fn drive(
    socket: &Path,
    width: usize,
    pace: Pace,
    length: Duration,
    most: Option<usize>,
    shot: impl Fn(usize, usize) -> Shot + Send + Sync + 'static,
) -> Load {
    let shot = Arc::new(shot);
    let mut lines = Vec::new();
    for _ in 0..width {
        lines.push(Line::open(socket).await);
    }
    let mut loops = JoinSet::new();
    let began = Instant::now();
    for (number, mut line) in lines.into_iter().enumerate() {
        let shot = Arc::clone(&shot);
        loops.spawn(async move {
            let mut times = Vec::new();
            for turn in 0..most.unwrap_or(usize::MAX) {
                let due = match pace {
                    Pace::Closed => Instant::now(),
                    Pace::Open(rate) => began + Duration::from_secs_f64((turn * width + number) as f64 / rate),
                };
                if due > began + length {
                    break;
                }
                if let Pace::Open(_) = pace {
                    tokio::time::sleep_until(due.into()).await;
                }
                let shot = shot(number, turn);
                let may_be_refused = shot.may_be_refused;
                let (status, body) = line.ask(shot).await;
                times.push(due.elapsed().as_secs_f64() * 1000.0);
                assert!(may_be_refused || status == 200, "{status}: {}", String::from_utf8_lossy(&body));
            }
            times
        });
    }
    let mut times = Vec::new();
    while let Some(one) = loops.join_next().await {
        times.extend(one.unwrap());
    }
    Load::new(times, began.elapsed())
}
