//! The request context: who makes a call, when, and how long it may wait. Every use case takes it as an argument.

use std::sync::Arc;
use std::time::Duration;

use mfad_api::AuditEvent;
use mfad_core::entropy;
use mfad_core::model::{Moment, Peer, SecretId, Sensitive, Text, UserId};
use mfad_core::sync::atomic::{AtomicBool, Ordering};
use mfad_store::{AuditEntry, Fault, Outcome};

use super::OWN_PATIENCE;

/// Caller, time and limits of one request.
#[derive(Clone, Debug)]
pub struct RequestContext {
    /// The peer and its credentials.
    pub caller: Caller,
    /// Arrival time. The whole request uses this value, so it cannot see two different times.
    pub now: Moment,
    /// Maximum duration of each wait inside the request: for the store, a lock or a hash.
    pub patience: Duration,
    /// The request id, as shown in the answer and in the audit log.
    pub request: String,
    /// Cancelled when the client disconnects.
    pub cancellation: CancellationToken,
}

/// Set once the client has disconnected. It ends a wait for a touch, but never a write in progress (STO-7).
#[derive(Clone, Debug, Default)]
pub struct CancellationToken(Arc<AtomicBool>);

impl CancellationToken {
    /// Records that the client has disconnected.
    pub fn cancel(&self) {
        // Relaxed: the flag orders no other memory access.
        self.0.store(true, Ordering::Relaxed);
    }

    /// Returns whether the client has disconnected.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// The caller as the server saw it.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Uid, gid, groups and pid from the kernel, as they were when the client connected.
    pub peer: Peer,
    /// The access token, refresh token, challenge or API key in the request, not yet verified.
    pub token: Option<Arc<Sensitive<String>>>,
    /// The reason that an administrator gives for the request (`Mfad-Reason`).
    pub reason: Option<Text>,
}

impl RequestContext {
    /// The context for work that the daemon does on its own behalf, under its own uid.
    pub(super) fn of_host(now: &Moment) -> Self {
        // The id is only a label in the log, so missing randomness must not stop housekeeping.
        let random = entropy::public().unwrap_or_default();
        Self {
            caller: Caller {
                peer: Peer {
                    uid: rustix::process::geteuid().as_raw(),
                    gid: rustix::process::getegid().as_raw(),
                    groups: Vec::new(),
                    pid: i32::try_from(std::process::id()).ok(),
                },
                token: None,
                reason: None,
            },
            now: *now,
            patience: OWN_PATIENCE,
            request: SecretId::at(now.wall_ms, &random).to_string(),
            cancellation: CancellationToken::default(),
        }
    }

    /// Returns the administrator's reason as text for the audit log.
    pub(super) fn reason(&self) -> Option<String> {
        self.caller.reason.as_ref().map(|reason| reason.as_str().to_owned())
    }

    /// Builds an audit row for this request, without a detail.
    pub(super) fn entry(
        &self,
        event: AuditEvent,
        outcome: Outcome,
        subject: Option<UserId>,
        object: Option<SecretId>,
    ) -> AuditEntry {
        AuditEntry {
            at: self.now.wall_ms,
            event,
            subject,
            object,
            peer_uid: Some(self.caller.peer.uid),
            peer_pid: self.caller.peer.pid,
            request: Some(self.request.clone()),
            outcome,
            detail: None,
            used: None,
        }
    }

    /// Builds an audit row with a detail for readers of the log.
    pub(super) fn entry_with(
        &self,
        event: AuditEvent,
        outcome: Outcome,
        subject: Option<UserId>,
        object: Option<SecretId>,
        detail: impl Into<String>,
    ) -> AuditEntry {
        AuditEntry { detail: Some(detail.into()), ..self.entry(event, outcome, subject, object) }
    }

    pub(super) fn new_secret_id(&self) -> Result<SecretId, Fault> {
        Ok(SecretId::at(self.now.wall_ms, &entropy::public()?))
    }
}
