//! The audit log as server-sent events (WHATWG HTML section 9.2).

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::{Body, Bytes, Frame};
use tokio::sync::mpsc;

use crate::service::{AuditView, Call, Caller, Occasion, Reply};

use super::Door;
use super::wire::audit_value;

/// A comment is sent when nothing else was for so long.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Rows read at a time.
const PAGE: u32 = 100;
/// Parts that may wait for a slow reader.
const AHEAD: usize = 4;

/// The body of an event stream.
pub struct EventStream(mpsc::Receiver<Bytes>);

impl Body for EventStream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|part| part.map(|bytes| Ok(Frame::data(bytes))))
    }
}

/// Starts the stream after row `after`. It ends with the reader, the right to read, or the daemon.
pub fn stream(door: Arc<Door>, caller: Caller, request: String, after: i64) -> EventStream {
    let (parts, body) = mpsc::channel(AHEAD);
    tokio::spawn(feed(door, caller, request, after, parts));
    EventStream(body)
}

async fn feed(door: Arc<Door>, caller: Caller, request: String, mut after: i64, parts: mpsc::Sender<Bytes>) {
    let mut head = door.audit_head.clone();
    let mut closing = door.closing.clone();
    let mut caller = caller;
    loop {
        head.mark_unchanged();
        let (rows, same_caller) = page(&door, caller, &request, after).await;
        caller = same_caller;
        let Some(rows) = rows else { return };
        if let Some(last) = rows.last() {
            after = last.seq;
            let text: String = rows.iter().map(event).collect();
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
async fn page(door: &Arc<Door>, caller: Caller, request: &str, after: i64) -> (Option<Vec<AuditView>>, Caller) {
    let occasion =
        Occasion { caller, now: door.clock.now(), patience: super::answer::PATIENCE, request: request.to_owned() };
    let door = Arc::clone(door);
    let work = tokio::task::spawn_blocking(move || {
        let reply = door.service.handle(&occasion, Call::AuditRows { after, limit: PAGE });
        let rows = match reply {
            Ok(Reply::Audit { events, .. }) => Some(events),
            Ok(_) | Err(_) => None,
        };
        (rows, occasion.caller)
    });
    work.await.unwrap_or_else(|_| (None, Caller::nobody()))
}

fn event(row: &AuditView) -> String {
    format!("id: {}\nevent: audit\ndata: {}\n\n", row.seq, audit_value(row))
}
