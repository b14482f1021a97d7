//! Who makes a call, when, and how long they wait: what every use case is given.

use std::sync::Arc;
use std::time::Duration;

use mfad_core::entropy;
use mfad_core::model::{Moment, Peer, SecretId, Sensitive, Text, UserId};
use mfad_core::sync::atomic::{AtomicBool, Ordering};
use mfad_store::{AuditEntry, Fault, Outcome};

use super::OWN_PATIENCE;

/// Who asks, when, and how long they wait.
#[derive(Clone, Debug)]
pub struct RequestContext {
    /// The caller.
    pub caller: Caller,
    /// When the request arrived.
    pub now: Moment,
    /// How long each wait inside may last.
    pub patience: Duration,
    /// The request's id, as in its answer and in the audit log.
    pub request: String,
    /// Whether the caller is still there.
    pub cancellation: CancellationToken,
}

/// Notes that a caller has left. What is being stored does not stop for it (STO-7); a wait for a touch does.
#[derive(Clone, Debug, Default)]
pub struct CancellationToken(Arc<AtomicBool>);

impl CancellationToken {
    /// The caller is gone.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether that was noted.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// The caller as the door saw it.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The peer, from the kernel.
    pub peer: Peer,
    /// The text of a token, unchecked.
    pub token: Option<Arc<Sensitive<String>>>,
    /// Why an administrator does this.
    pub reason: Option<Text>,
}

impl RequestContext {
    /// The context of what the daemon does by itself.
    pub(super) fn of_host(now: &Moment) -> Self {
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

    /// The reason an administrator gave, as the audit log keeps it.
    pub(super) fn reason(&self) -> Option<String> {
        self.caller.reason.as_ref().map(|reason| reason.as_str().to_owned())
    }

    /// An audit row of this request.
    pub(super) fn entry(
        &self,
        event: &'static str,
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
        }
    }

    /// The same with a detail for people.
    pub(super) fn entry_with(
        &self,
        event: &'static str,
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
