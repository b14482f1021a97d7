//! Streamed responses: the audit log and the hardware keys as server-sent events (WHATWG HTML section 9.2), and backups
//! of the store.

use std::convert::Infallible;
use std::fmt::Display;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::{Body, Bytes, Frame};
use tokio::sync::{mpsc, watch};

use mfad_service::{AuditRow, Backup, Call, Caller, Export, Reply};

use super::Server;
use super::device_replies::event_text;
use super::replies::audit_record;
use super::stream::Streaming;

/// Interval at which a silent event stream sends a comment, so that the client sees that it is alive.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Maximum number of audit rows per read.
const PAGE: u32 = 100;
/// Parts that are buffered for a slow client.
const AHEAD: usize = 4;

/// The parts of a streamed response, in order.
pub(super) type Parts = mpsc::Receiver<Bytes>;

/// The body of a streamed response, for the HTTP library.
pub(super) struct EventStream {
    parts: Parts,
    _streaming: Streaming,
}

impl EventStream {
    /// Takes the parts, and the mark that keeps the connection from counting as idle until this body is dropped.
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

/// The contents of an event stream, read page by page.
trait Source: Send + 'static {
    /// Returns the call that reads the next page.
    fn question(&self) -> Call;
    /// Writes a reply as events, and remembers where the next page starts. `None` if it is not the reply to that call.
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

/// The first page has the hardware keys that are plugged in, later pages have events.
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

/// Streams the rows of the audit log after row `after`. The stream ends when the client disconnects, the caller loses
/// the right, or the daemon stops.
pub(super) fn audit(server: Arc<Server>, caller: Caller, request: String, after: i64) -> Parts {
    let head = server.audit_head.clone();
    stream(server, caller, request, head, AuditSource { after })
}

/// Streams the hardware keys that are plugged in, then arrivals and removals. The stream ends as that of [`audit`]
/// does.
pub(super) fn devices(server: Arc<Server>, caller: Caller, request: String) -> Parts {
    let head = server.device_head.clone();
    stream(server, caller, request, head, DeviceSource { after: None })
}

/// Streams a backup of the store. If it fails half-way, its last record is missing, so the reader notices.
pub(super) fn backup(mut backup: Backup, request: String) -> Parts {
    blocking(request, "a backup broke off", move || backup.next_part())
}

/// Streams an export. If it fails half-way, its last chunk is missing, so the reader notices.
pub(super) fn export(server: Arc<Server>, mut export: Export, request: String) -> Parts {
    blocking(request, "an export broke off", move || server.service.next_of_export(&mut export))
}

/// Streams what `next` returns, on a thread that may block.
fn blocking<E: Display>(
    request: String,
    broke_off: &'static str,
    mut next: impl FnMut() -> Result<Option<Vec<u8>>, E> + Send + 'static,
) -> Parts {
    let (parts, body) = mpsc::channel(AHEAD);
    tokio::task::spawn_blocking(move || {
        loop {
            match next() {
                Ok(Some(part)) => {
                    if parts.blocking_send(Bytes::from(part)).is_err() {
                        return;
                    }
                }
                Ok(None) => return,
                Err(fault) => {
                    tracing::error!(request, %fault, "{broke_off}");
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

/// Reads one page. The call is authorised like any other, so the stream ends once the caller has lost the right.
async fn page(server: &Arc<Server>, caller: Caller, request: &str, question: Call) -> Option<Reply> {
    let context = super::context_of(caller, server.clock.now(), request);
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

fn event(row: &AuditRow) -> String {
    let data = serde_json::to_string(&audit_record(row)).unwrap_or_default();
    format!("id: {}\nevent: audit\ndata: {}\n\n", row.seq, data)
}
