//! The server: accepts connections on the socket, names the peer, bounds everything, turns requests
//! into calls and replies into answers. It knows no store, no OTP, no device, and logs no body.

mod answer;
mod bodies;
mod challenge;
mod clock;
mod connections;
mod devices;
mod events;
mod framing;
mod headers;
mod idempotency;
mod lenient;
mod peer;
mod problem;
mod qr;
mod responses;
mod route;
mod stream;
mod ui;
mod wire;

/// For the fuzz targets; no part of the API.
#[doc(hidden)]
pub mod inside {
    pub use super::framing::{FramingPhase, Refusal, Reject, StrictFraming};
    pub use super::problem::Problem;
    pub use super::route::{Ask, Basic, Request, Resource, route};
}

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

pub use clock::Clock;
pub use connections::ConnectionLimits;
pub use lenient::normalise;
pub use peer::Peers;
pub use wire::time as time_text;

use mfad_core::model::scrub_stack;
use mfad_service::Service;

use connections::Connections;
use idempotency::Idempotency;
use problem::Problem;

/// How long requests under way may take to end once the daemon stops (SVC-2).
const DRAIN: Duration = Duration::from_secs(5);
/// The pause after an accept that failed for lack of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// The longest wait for hardware keys in one go, so that the thread ends soon after the daemon.
const DEVICE_LOOK: Duration = Duration::from_millis(500);

/// Everything the door needs of the house.
pub struct Server {
    service: Service,
    clock: Clock,
    peers: Peers,
    connections: Connections,
    idempotency: Idempotency,
    audit_head: watch::Receiver<i64>,
    device_head: watch::Receiver<u64>,
    closing: watch::Receiver<bool>,
    has_page: bool,
}

impl Server {
    /// Puts the parts together. `audit_head` follows the newest audit row, `device_head` the newest event about
    /// hardware keys; `closing` turns true when the daemon stops.
    pub fn new(
        service: Service,
        clock: Clock,
        limits: ConnectionLimits,
        has_page: bool,
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
            has_page,
        })
    }

    /// The service behind the server.
    pub fn service(&self) -> &Service {
        &self.service
    }

    /// Housekeeping that needs doing now and then.
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

    /// Follows the hardware keys that come and go, until the daemon stops. Each that comes is met on a
    /// thread of its own, so that one that hangs delays no other.
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
                    tracing::error!(%error, "no thread to meet a hardware key");
                }
            }
        }
    }

    /// A panic is a defect. It is counted, and from then on the daemon is not ready.
    fn note_panic(&self, request: &str) {
        tracing::error!(request, "a request panicked");
        self.service.metrics().count_panic();
    }

    /// Puts a refusal into the journal whose request was never read. Its detail is a sentence of ours, nothing that was sent.
    fn note_refusal(&self, request: &str, uid: u32, problem: &Problem) {
        let (status, why) = (problem.status.as_u16(), problem.detail.as_str());
        if self.connections.may_note(&self.clock.now()) {
            tracing::info!(request, uid, status, why, "a request was refused before it was read");
        } else {
            tracing::debug!(request, uid, status, why, "a request was refused before it was read");
        }
    }

    /// Takes the door apart, for a clean end.
    pub fn into_service(self) -> Service {
        self.service
    }
}

/// Serves until the daemon stops, then lets the requests under way end.
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
            Some(_) = open.join_next(), if !open.is_empty() => {}
            () = closed(&mut closing) => break,
        }
    }
    drop(listener);
    let all = async { while open.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN, all).await.is_err() {
        tracing::warn!("some requests did not end in time");
        open.abort_all();
        while open.join_next().await.is_some() {}
    }
}

/// Waits until the daemon stops.
async fn closed(closing: &mut watch::Receiver<bool>) {
    // An error means that nobody is left who could say so, which is the same.
    let _ = closing.wait_for(|closing| *closing).await.map(|_| ());
}

fn admit(server: &Arc<Server>, stream: UnixStream, open: &mut JoinSet<()>) {
    let peer = match server.peers.of(&stream) {
        Ok(peer) => peer,
        Err(error) => {
            tracing::warn!(%error, "a connection without a known peer was closed");
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
            // Outside of any request: in the HTTP library, or in what is between it and the socket.
            tracing::error!(uid, "the task of a connection panicked");
            server.service.metrics().count_panic();
        }
        drop(place);
        server.service.metrics().set_connections(server.connections.open());
    });
}
