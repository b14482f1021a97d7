//! The HTTP server: accepts connections on the socket, identifies the peer, enforces limits, and turns requests into
//! calls of the service and replies into responses. It knows no store, no OTP and no hardware, and logs no bodies.

mod answer;
mod bodies;
mod challenge;
mod clock;
mod connections;
mod device_bodies;
mod device_replies;
mod events;
mod framing;
mod headers;
mod host_bodies;
mod idempotency;
mod import_bodies;
mod json;
mod lenient;
mod log;
mod moving_bodies;
mod parameters;
mod peer;
mod problem;
mod qr;
mod replies;
mod resource;
mod responses;
mod route;
mod stream;
mod ui;

/// Internals for the fuzz targets. They are not part of the API.
#[doc(hidden)]
pub mod inside {
    pub use super::framing::{FramingPhase, Refusal, Reject, StrictFraming};
    pub use super::problem::Problem;
    pub use super::resource::Resource;
    pub use super::route::{Ask, Basic, Request, route};
}

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

pub use clock::Clock;
pub use connections::ConnectionLimits;
pub use json::time as time_text;
pub use lenient::normalise;
pub use peer::Peers;

use mfad_core::model::{Moment, scrub_stack};
use mfad_service::{Caller, CancellationToken, RequestContext, Service};

use connections::Connections;
use idempotency::Idempotency;
use problem::Problem;

/// How long each wait inside a request may last.
const PATIENCE: Duration = Duration::from_secs(15);
/// Time that open requests have to complete once the daemon stops (SVC-2).
const DRAIN: Duration = Duration::from_secs(5);
/// Pause after an accept that failed, for example for lack of descriptors, so that the loop does not spin (HTTP-9).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Longest single wait for changes of hardware keys, so that the waiting thread ends soon after the daemon stops.
const DEVICE_LOOK: Duration = Duration::from_millis(500);

/// The self-service page, as far as the settings decide it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The language file as JSON; `{}` if there is none.
    pub words: Vec<u8>,
}

/// State that all connections share: the service, the limits, and the channels that announce events.
pub struct Server {
    service: Service,
    clock: Clock,
    peers: Peers,
    connections: Connections,
    idempotency: Idempotency,
    audit_head: watch::Receiver<i64>,
    device_head: watch::Receiver<u64>,
    closing: watch::Receiver<bool>,
    page: Option<Page>,
}

impl Server {
    /// Takes the service and its surroundings. `page` is the self-service page, if it is on. `audit_head` follows the
    /// newest audit row, `device_head` the newest event about hardware keys. `closing` turns true when the daemon
    /// stops.
    pub fn new(
        service: Service,
        clock: Clock,
        limits: ConnectionLimits,
        page: Option<Page>,
        audit_head: watch::Receiver<i64>,
        device_head: watch::Receiver<u64>,
        closing: watch::Receiver<bool>,
    ) -> std::io::Result<Self> {
        Ok(Self {
            service,
            clock,
            peers: Peers::new()?,
            connections: Connections::new(limits),
            idempotency: Idempotency::new().map_err(std::io::Error::other)?,
            audit_head,
            device_head,
            closing,
            page,
        })
    }

    /// Returns the service behind the server.
    pub fn service(&self) -> &Service {
        &self.service
    }

    /// Does the housekeeping, which may block: drops old responses, lets the service clean up, and contacts hardware
    /// keys that have unfinished changes.
    pub fn tend(&self) {
        let now = self.clock.now();
        self.idempotency.sweep(&now);
        if let Err(error) = self.service.tend(&now) {
            tracing::error!(%error, "housekeeping failed");
        }
        for slot in self.service.unsettled_slots() {
            self.service.contact(&slot, &now);
        }
        scrub_stack();
    }

    /// Follows hardware keys that are plugged in and removed, until the daemon stops. Each new key is contacted on a
    /// thread of its own, so that one that hangs does not delay the others.
    pub fn attend_devices(self: &Arc<Self>) {
        let mut seen = 0;
        while !*self.closing.borrow() {
            let (now_seen, new) = self.service.attend_devices(seen, DEVICE_LOOK, &self.clock.now());
            seen = now_seen;
            for slot in new {
                let server = Arc::clone(self);
                let met = std::thread::Builder::new().name("device-contact".to_owned()).spawn(move || {
                    server.service.contact(&slot, &server.clock.now());
                    scrub_stack();
                });
                if let Err(error) = met {
                    tracing::error!(%error, "cannot start a thread for a new hardware key");
                }
            }
        }
    }

    /// Logs and counts a panic in a request. It is a defect, so the daemon reports from then on that it is not ready
    /// (HTTP-10).
    fn note_panic(&self, request: &str) {
        tracing::error!(request, "a request panicked");
        self.service.metrics().count_panic();
    }

    /// Logs a refusal whose request was never read. Its detail is a fixed text, never something that was sent. Refusals
    /// beyond ten a second are logged at level debug only.
    fn note_refusal(&self, request: &str, uid: u32, problem: &Problem) {
        let (status, why) = (problem.status.as_u16(), problem.detail.as_str());
        if self.connections.may_note(&self.clock.now()) {
            tracing::info!(request, uid, status, why, "request refused before it was read");
        } else {
            tracing::debug!(request, uid, status, why, "request refused before it was read");
        }
    }

    /// Returns the service, to close it when the daemon stops.
    pub fn into_service(self) -> Service {
        self.service
    }
}

/// Serves until the daemon stops. Then open requests have five seconds to complete, and the rest is aborted.
pub async fn serve(listener: UnixListener, server: Arc<Server>) {
    let mut closing = server.closing.clone();
    let mut open = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => admit(&server, stream, &mut open),
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            // Removes tasks that have ended from the set.
            Some(_) = open.join_next(), if !open.is_empty() => {}
            () = closed(&mut closing) => break,
        }
    }
    // New clients of a socket from systemd now wait in its queue.
    drop(listener);
    let all = async { while open.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN, all).await.is_err() {
        tracing::warn!("aborted requests that did not complete in time");
        open.abort_all();
        while open.join_next().await.is_some() {}
    }
}

/// Waits until the daemon stops.
async fn closed(closing: &mut watch::Receiver<bool>) {
    // An error means that the sender is gone, and then the daemon stops as well.
    let _ = closing.wait_for(|closing| *closing).await.map(|_| ());
}

/// Starts a task for a connection. Answers a connection over a limit with 503, and closes one without a known peer.
fn admit(server: &Arc<Server>, stream: UnixStream, open: &mut JoinSet<()>) {
    let peer = match server.peers.of(&stream) {
        Ok(peer) => peer,
        Err(error) => {
            tracing::warn!(%error, "closed a connection whose peer is unknown");
            return;
        }
    };
    let Some(place) = server.connections.enter(peer.uid) else {
        server.service.metrics().count_refused_connection();
        if let Some(leave) = server.connections.word_of_refusal() {
            let server = Arc::clone(server);
            open.spawn(async move {
                answer::turn_away(&server, stream, peer.uid).await;
                drop(leave);
            });
        }
        return;
    };
    server.service.metrics().set_connections(server.connections.open());
    let server = Arc::clone(server);
    open.spawn(async move {
        let uid = peer.uid;
        if answer::caught(pin!(answer::serve_connection(&server, stream, peer))).await.is_none() {
            // Outside of any request: in the HTTP library, or in the stream between it and the socket.
            tracing::error!(uid, "the task of a connection panicked");
            server.service.metrics().count_panic();
        }
        drop(place);
        server.service.metrics().set_connections(server.connections.open());
    });
}

/// Returns the context of a request, or of one page of a stream, that nobody has cancelled yet.
fn context_of(caller: Caller, now: Moment, request: &str) -> RequestContext {
    RequestContext {
        caller,
        now,
        patience: PATIENCE,
        request: request.to_owned(),
        cancellation: CancellationToken::default(),
    }
}
