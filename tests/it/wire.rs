//! A small blocking HTTP/1.1 client, written by hand so that a test decides about every byte it sends.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::document::Watch;

/// Longer than anything the daemon may do; a test that gets here has found a hang.
const PATIENCE: Duration = Duration::from_secs(90);

#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    pub target: String,
    pub headers: Vec<(String, String)>,
    pub body: Option<Vec<u8>>,
}

impl Request {
    pub fn new(method: &str, target: impl Into<String>) -> Self {
        Self { method: method.to_owned(), target: target.into(), headers: Vec::new(), body: None }
    }

    pub fn get(target: impl Into<String>) -> Self {
        Self::new("GET", target)
    }

    pub fn delete(target: impl Into<String>) -> Self {
        Self::new("DELETE", target)
    }

    pub fn post(target: impl Into<String>, body: &Value) -> Self {
        Self::new("POST", target).json(body)
    }

    pub fn put(target: impl Into<String>, body: &Value) -> Self {
        Self::new("PUT", target).json(body)
    }

    pub fn json(self, body: &Value) -> Self {
        self.text(&body.to_string())
    }

    /// A body sent as JSON whether it is or not.
    pub fn text(self, body: &str) -> Self {
        self.bytes("application/json", body.as_bytes())
    }

    pub fn bytes(self, content_type: &str, body: &[u8]) -> Self {
        Self { body: Some(body.to_vec()), ..self.header("Content-Type", content_type) }
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn token(self, token: &str) -> Self {
        self.header("Authorization", &format!("jwt {token}"))
    }

    /// Speak as an administrator who says why.
    pub fn reason(self) -> Self {
        self.header("Mfad-Reason", "the integration tests ask for it")
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\nHost: mfad\r\n", self.method, self.target);
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if let Some(body) = &self.body {
            head.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(self.body.as_deref().unwrap_or_default());
        bytes
    }
}

#[derive(Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let body: String = self.text().chars().take(2000).collect();
        f.debug_struct("Answer")
            .field("status", &self.status)
            .field("headers", &self.headers)
            .field("body", &body)
            .finish()
    }
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The media type without its parameters.
    pub fn media_type(&self) -> Option<&str> {
        self.header("content-type").map(|value| value.split(';').next().unwrap_or(value).trim())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|why| panic!("{why}: {} {}", self.status, self.text()))
    }

    /// The body of a 200.
    #[track_caller]
    pub fn ok(&self) -> Value {
        assert_eq!(self.status, 200, "{}", self.text());
        self.json()
    }

    /// A 204.
    #[track_caller]
    pub fn done(&self) {
        assert_eq!(self.status, 204, "{}", self.text());
        assert!(self.body.is_empty());
    }

    /// A problem with this status and code; yields its body.
    #[track_caller]
    pub fn refused(&self, status: u16, code: &str) -> Value {
        assert_eq!((self.status, self.code().as_str()), (status, code), "{}", self.text());
        self.json()
    }

    /// The code of a problem, empty for anything else.
    pub fn code(&self) -> String {
        let problem = serde_json::from_slice::<Value>(&self.body).unwrap_or_default();
        problem["code"].as_str().unwrap_or_default().to_owned()
    }

    #[track_caller]
    pub fn retry_after(&self) -> Duration {
        let seconds = self.header("retry-after").expect("Retry-After").parse().expect("Retry-After in seconds");
        Duration::from_secs(seconds)
    }
}

/// One connection, kept alive between requests.
pub struct Connection {
    stream: UnixStream,
    unread: Vec<u8>,
    watch: Option<Arc<Watch>>,
}

impl Connection {
    /// Every answer on it is held against the document, unless there is no `watch`.
    pub fn new(stream: UnixStream, watch: Option<Arc<Watch>>) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self { stream, unread: Vec::new(), watch }
    }

    #[track_caller]
    pub fn ask(&mut self, request: &Request) -> Answer {
        self.try_ask(request).unwrap_or_else(|why| panic!("{} {}: {why}", request.method, request.target))
    }

    pub fn try_ask(&mut self, request: &Request) -> io::Result<Answer> {
        // A daemon that refuses early may close before it has read everything; its answer counts.
        let written = self.send(&request.encode());
        let answer = self.answer(request.method == "HEAD").or_else(|why| written.and(Err(why)))?;
        if let Some(watch) = &self.watch {
            watch.check(request, &answer);
        }
        Ok(answer)
    }

    /// Holds an answer read apart from its request against the document.
    pub fn check(&self, request: &Request, answer: &Answer) {
        if let Some(watch) = &self.watch {
            watch.check(request, answer);
        }
    }

    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Says that no more will come.
    pub fn finish(&mut self) -> io::Result<()> {
        self.stream.shutdown(std::net::Shutdown::Write)
    }

    /// Reads one answer; of an event stream only its head.
    pub fn answer(&mut self, to_head: bool) -> io::Result<Answer> {
        loop {
            let head = self.through(b"\r\n\r\n")?;
            let mut answer = parse_head(&String::from_utf8_lossy(&head))?;
            if answer.status < 200 {
                continue;
            }
            if !to_head && answer.status != 204 && answer.media_type() != Some("text/event-stream") {
                answer.body = self.body(&answer)?;
            }
            return Ok(answer);
        }
    }

    /// The same, or nothing if the other end has closed without a word.
    pub fn answer_or_end(&mut self) -> io::Result<Option<Answer>> {
        match self.answer(false) {
            Ok(answer) => Ok(Some(answer)),
            Err(why) if why.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(why) => Err(why),
        }
    }

    fn body(&mut self, answer: &Answer) -> io::Result<Vec<u8>> {
        if let Some(length) = answer.header("content-length") {
            let length = length.parse().map_err(io::Error::other)?;
            return self.exactly(length);
        }
        if answer.header("transfer-encoding").is_some() {
            let mut body = Vec::new();
            while let Some(chunk) = self.chunk()? {
                body.extend_from_slice(&chunk);
            }
            return Ok(body);
        }
        while self.fill()? > 0 {}
        Ok(std::mem::take(&mut self.unread))
    }

    /// The next chunk of a chunked body, none at its end.
    pub fn chunk(&mut self) -> io::Result<Option<Vec<u8>>> {
        let line = self.through(b"\r\n")?;
        let size = usize::from_str_radix(String::from_utf8_lossy(&line).trim(), 16).map_err(io::Error::other)?;
        let chunk = self.exactly(size)?;
        self.exactly(2)?;
        Ok((size > 0).then_some(chunk))
    }

    /// Opens an event stream and reads it from now on.
    #[track_caller]
    pub fn stream(mut self, request: &Request) -> Events {
        let head = self.ask(request);
        assert_eq!((head.status, head.media_type()), (200, Some("text/event-stream")), "{}", head.text());
        Events { connection: self, unread: String::new() }
    }

    /// Waits at most so long for the other end to close; yields what it said until then, or none if it did not.
    pub fn rest(&mut self, patience: Duration) -> Option<Vec<u8>> {
        self.stream.set_read_timeout(Some(patience)).unwrap();
        loop {
            match self.fill() {
                Ok(0) => return Some(std::mem::take(&mut self.unread)),
                Ok(_) => {}
                Err(why) if why.kind() == io::ErrorKind::ConnectionReset => {
                    return Some(std::mem::take(&mut self.unread));
                }
                Err(_) => return None,
            }
        }
    }

    fn through(&mut self, end: &[u8]) -> io::Result<Vec<u8>> {
        loop {
            if let Some(at) = self.unread.windows(end.len()).position(|window| window == end) {
                return self.exactly(at + end.len());
            }
            if self.fill()? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    fn exactly(&mut self, length: usize) -> io::Result<Vec<u8>> {
        while self.unread.len() < length {
            if self.fill()? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(self.unread.drain(..length).collect())
    }

    fn fill(&mut self) -> io::Result<usize> {
        let mut buffer = [0; 16 * 1024];
        let read = self.stream.read(&mut buffer)?;
        self.unread.extend_from_slice(&buffer[..read]);
        Ok(read)
    }
}

/// An event stream.
pub struct Events {
    connection: Connection,
    unread: String,
}

impl Events {
    /// The data of the next event, whose id and name are what the data say.
    #[track_caller]
    pub fn next_event(&mut self) -> Value {
        loop {
            let Some(end) = self.unread.find("\n\n") else {
                let chunk = self.connection.chunk().unwrap().expect("the stream goes on");
                self.unread.push_str(&String::from_utf8(chunk).unwrap());
                continue;
            };
            let block: String = self.unread.drain(..end + 2).collect();
            let field = |name: &str| {
                block.lines().find_map(|line| line.strip_prefix(name).map(|value| value.trim().to_owned()))
            };
            if let Some(data) = field("data:") {
                let event: Value = serde_json::from_str(&data).unwrap();
                assert_eq!(field("id:"), Some(event["seq"].to_string()), "{block}");
                assert!(field("event:").is_some(), "{block}");
                return event;
            }
        }
    }
}

fn parse_head(head: &str) -> io::Result<Answer> {
    let mut lines = head.trim_end().split("\r\n");
    let status_line = lines.next().unwrap_or_default();
    let status = status_line
        .strip_prefix("HTTP/1.1 ")
        .or_else(|| status_line.strip_prefix("HTTP/1.0 "))
        .and_then(|rest| rest.get(..3))
        .and_then(|status| status.parse().ok())
        .ok_or_else(|| io::Error::other(format!("no status line: {status_line:?}")))?;
    let headers = lines
        .map(|line| {
            let (name, value) = line.split_once(':').ok_or_else(|| io::Error::other(format!("no header: {line:?}")))?;
            Ok((name.to_owned(), value.trim().to_owned()))
        })
        .collect::<io::Result<_>>()?;
    Ok(Answer { status, headers, body: Vec::new() })
}
