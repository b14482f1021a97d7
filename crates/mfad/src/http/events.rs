//! Answers that are sent as they come: the audit log and the hardware keys as server-sent events (WHATWG HTML section
//! 9.2), and copies of the store.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::{Body, Bytes, Frame};
use tokio::sync::{mpsc, watch};

use mfad_service::{AuditView, Backup, Call, Caller, CancellationToken, Reply, RequestContext};

use super::Server;
use super::device_replies::event_text;
use super::replies::audit_record;
use super::stream::Streaming;

/// A comment is sent when nothing else was for so long.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Rows read at a time.
const PAGE: u32 = 100;
/// Parts that may wait for a slow reader.
const AHEAD: usize = 4;

/// The parts of an answer that is a stream, as they come.
pub(super) type Parts = mpsc::Receiver<Bytes>;

/// The body of such an answer.
pub(super) struct EventStream {
    parts: Parts,
    _streaming: Streaming,
}

impl EventStream {
    /// On a connection that knows of it.
    pub(super) fn new(parts: Parts, streaming: Streaming) -> Self {
        Self { parts, _streaming: streaming }
    }
}

impl Body for EventStream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.parts.poll_recv(cx).map(|part| part.map(|bytes| Ok(Frame::data(bytes))))
    }
}

/// What a stream reads, one page after another.
trait Source: Send + 'static {
    /// What to ask next.
    fn question(&self) -> Call;
    /// The answer as text, or `None` if it is no answer to that; where to go on is kept.
    fn text(&mut self, reply: Reply) -> Option<String>;
}

struct AuditSource {
    after: i64,
}

impl Source for AuditSource {
    fn question(&self) -> Call {
        Call::AuditRows { after: self.after, limit: PAGE }
    }

    fn text(&mut self, reply: Reply) -> Option<String> {
        let Reply::Audit { events, .. } = reply else { return None };
        self.after = events.last().map_or(self.after, |row| row.seq);
        Some(events.iter().map(event).collect())
    }
}

/// At first the keys that are there, then what happens.
struct DeviceSource {
    after: Option<u64>,
}

impl Source for DeviceSource {
    fn question(&self) -> Call {
        Call::DeviceEvents { after: self.after }
    }

    fn text(&mut self, reply: Reply) -> Option<String> {
        let Reply::DeviceEvents { events, next } = reply else { return None };
        self.after = Some(next);
        Some(events.iter().map(event_text).collect())
    }
}

/// The audit log after row `after`. It ends with the reader, the right to read, or the daemon.
pub(super) fn audit(server: Arc<Server>, caller: Caller, request: String, after: i64) -> Parts {
    let head = server.audit_head.clone();
    stream(server, caller, request, head, AuditSource { after })
}

/// The hardware keys that are there and those that come and go. It ends likewise.
pub(super) fn devices(server: Arc<Server>, caller: Caller, request: String) -> Parts {
    let head = server.device_head.clone();
    stream(server, caller, request, head, DeviceSource { after: None })
}

/// A copy of the store. One that fails in the middle has no last record, so its reader knows.
pub(super) fn backup(mut backup: Backup, request: String) -> Parts {
    let (parts, body) = mpsc::channel(AHEAD);
    tokio::task::spawn_blocking(move || {
        loop {
            match backup.next_part() {
                Ok(Some(part)) => {
                    if parts.blocking_send(Bytes::from(part)).is_err() {
                        return;
                    }
                }
                Ok(None) => return,
                Err(fault) => {
                    tracing::error!(request, %fault, "a backup broke off");
                    return;
                }
            }
        }
    });
    body
}

fn stream<T: Send + Sync + 'static>(
    server: Arc<Server>,
    caller: Caller,
    request: String,
    head: watch::Receiver<T>,
    source: impl Source,
) -> Parts {
    let (parts, body) = mpsc::channel(AHEAD);
    tokio::spawn(feed(server, caller, request, head, source, parts));
    body
}

async fn feed<T: Send + Sync + 'static>(
    server: Arc<Server>,
    caller: Caller,
    request: String,
    mut head: watch::Receiver<T>,
    mut source: impl Source,
    parts: mpsc::Sender<Bytes>,
) {
    let mut closing = server.closing.clone();
    loop {
        head.mark_unchanged();
        let reply = page(&server, caller.clone(), &request, source.question()).await;
        let Some(text) = reply.and_then(|reply| source.text(reply)) else { return };
        if !text.is_empty() {
            if parts.send(Bytes::from(text)).await.is_err() {
                return;
            }
            continue;
        }
        tokio::select! {
            _ = head.changed() => {}
            () = tokio::time::sleep(KEEP_ALIVE) => {
                if parts.send(Bytes::from_static(b": keep-alive\n\n")).await.is_err() {
                    return;
                }
            }
            () = super::closed(&mut closing) => return,
            () = parts.closed() => return,
        }
    }
}

/// One page, asked as any other call is, so that a lost right ends the stream.
async fn page(server: &Arc<Server>, caller: Caller, request: &str, question: Call) -> Option<Reply> {
    let context = RequestContext {
        caller,
        now: server.clock.now(),
        patience: super::PATIENCE,
        request: request.to_owned(),
        cancellation: CancellationToken::default(),
    };
    let asked = Arc::clone(server);
    let work = tokio::task::spawn_blocking(move || {
        let reply = asked.service.handle(&context, question);
        reply.inspect_err(|error| super::log::log_error(&context.request, error)).ok()
    });
    work.await.unwrap_or_else(|_| {
        server.note_panic(request);
        None
    })
}

fn event(row: &AuditView) -> String {
    let data = serde_json::to_string(&audit_record(row)).unwrap_or_default();
    format!("id: {}\nevent: audit\ndata: {}\n\n", row.seq, data)
}
