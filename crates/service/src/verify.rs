//! Checks a second factor for an app, which has its own login, or for a login to this host. It opens no session and
//! issues no token.

use std::sync::Arc;

use crate::error::Error;
use mfad_api::AuditEvent;
use mfad_core::model::{HostLogin, TokenInput, UserId, UserRef};
use mfad_store::{AuditEntry, Outcome, Subject, Tx, Vault};

use super::ceremonies::Purpose;
use super::locks::Held;
use super::second_factor::{Accepted, Prepared, Verdict, accept, judge, judge_nobody};
use super::{Job, Proof, Reply, RequestContext, Service, Stop};

/// The user of a check, as far as it is known before the transaction.
pub(super) struct Checked {
    /// The user's id; `None` if no user can have the id or name that the caller gave.
    user: Option<UserId>,
    /// The login to this host that the check is for; `None` if an app has the check made.
    host: Option<HostCheck>,
}

struct HostCheck {
    /// The canonical name of the account.
    key: String,
    login: HostLogin,
}

impl Checked {
    fn by_app(user: UserRef) -> Result<Self, Error> {
        let user = match user {
            UserRef::Me => return Err(Error::MeWithoutUser),
            UserRef::Id(id) => Some(id),
            UserRef::Malformed => None,
        };
        Ok(Self { user, host: None })
    }

    /// The check for a login to this host; `key` is the canonical name of the account.
    pub(super) fn for_host(user: Option<UserId>, key: &str, login: HostLogin) -> Self {
        Self { user, host: Some(HostCheck { key: key.to_owned(), login }) }
    }

    fn purpose(&self, peer: u32) -> Purpose {
        if self.host.is_some() { Purpose::HostLogin } else { Purpose::Verify(peer) }
    }

    /// Returns where failures for an unknown user are counted: in one of 65,536 buckets, so that the table stays small.
    fn bucket(&self, vault: &Vault, peer: u32) -> Subject {
        let named = match &self.host {
            Some(host) => format!("host:{}", host.key),
            None => format!("{:?}", self.user),
        };
        Subject::nobody(vault.unknown_login_place(&named), peer)
    }

    /// Puts the login to this host before the detail of an audit row: it is what readers look for.
    fn detail(&self, what: &str) -> String {
        self.host.as_ref().map_or_else(|| what.to_owned(), |host| format!("{}: {what}", host.login))
    }
}

impl Service {
    /// Judges a second factor of a user. A wrong or used code, an unknown user and a user with only a pending factor
    /// get the same refusal after the same work (AZ-2).
    pub(super) fn verify(&self, context: &RequestContext, user: UserRef, proof: Proof) -> Result<Reply, Error> {
        let checked = Checked::by_app(user)?;
        let outcome = self.check(context, checked, proof);
        self.metrics.count_login("verify", outcome.is_ok());
        self.verified(context, outcome?)
    }

    /// Judges a second factor on this thread, which it may block.
    pub(super) fn check(&self, context: &RequestContext, checked: Checked, proof: Proof) -> Result<Accepted, Error> {
        let (job, _held) = self.verification(context, checked, proof)?;
        self.change(context, job)
    }

    /// [`Service::verify`] for a one-time password. It awaits the commit, so that it needs no thread.
    pub(super) async fn verify_async(
        &self,
        context: &RequestContext,
        user: UserRef,
        token: TokenInput,
    ) -> Result<Reply, Error> {
        let checked = Checked::by_app(user)?;
        let (job, _) = self.verification(context, checked, Proof::Token(token))?;
        let outcome = self.change_async(context, job).await;
        self.metrics.count_login("verify", outcome.is_ok());
        self.verified(context, outcome?)
    }

    /// Prepares a verify: returns the writing job that judges the proof, and a lock to hold until the job is done. Both
    /// ways to run the job share it.
    fn verification(
        &self,
        context: &RequestContext,
        checked: Checked,
        proof: Proof,
    ) -> Result<(impl Job<Accepted> + use<>, Option<Held<'_>>), Error> {
        // A backup code or a key needs the user beforehand. For a one-time password the transaction looks the user up,
        // which saves a read.
        let known = match checked.user.filter(|_| !matches!(proof, Proof::Token(_))) {
            Some(id) => self.look(context, |view| view.user(id))?.filter(|user| !user.disabled),
            None => None,
        };
        let uid = context.caller.peer.uid;
        let rules = self.rules();
        let (prepared, held) = match proof {
            Proof::Token(token) => (Prepared::Token(token), None),
            // For an unknown user a backup code is hashed too, so that the time does not tell (AUT-4).
            proof => {
                let nobody = checked.bucket(self.store.vault(), uid);
                self.prepare(context, known.map(|user| user.id), &nobody, checked.purpose(uid), proof)?
            }
        };
        let decoy = Arc::clone(&self.decoy);
        let job = move |tx: &Tx<'_>, context: &RequestContext| {
            let found = match checked.user {
                Some(id) => tx.login_factors(id)?.filter(|found| !found.is_disabled).map(|found| (id, found)),
                None => None,
            };
            let subject = found.as_ref().map(|(id, _)| *id);
            let verdict = match &found {
                Some((id, found)) => {
                    let verdict = judge(tx, context, rules, *id, &found.factors, &prepared)?;
                    if !matches!(verdict, Verdict::Accepted(_)) {
                        // An unknown user's refusal costs this, so a known one's does too (AUT-4).
                        std::hint::black_box(checked.bucket(tx.vault(), uid));
                    }
                    verdict
                }
                None => {
                    let decoy = decoy.read(tx, checked.user)?;
                    let nobody = checked.bucket(tx.vault(), uid);
                    judge_nobody(tx, context, rules, &nobody, decoy.as_ref(), &prepared)?
                }
            };
            // An unknown user gets an audit row too, or the refusal would take less time. Filling the disk this way is
            // no concern: only peers with a right may call this.
            if matches!(verdict, Verdict::Wrong) {
                // The same text for everybody, or the row would cost more for some (AUT-4).
                let why = checked.detail("a wrong or used code, or no such user or factor");
                tx.audit(&context.entry_with(AuditEvent::Verify, Outcome::Refused, checked.user, None, why))?;
            }
            let accepted = accept(verdict, || Stop::Commit(Error::WrongCode { remaining: None, diagnosis: None }))?;
            if let (true, Some(user)) = (accepted.is_first, subject) {
                // Older tokens may have been issued without this factor (ENR-9).
                tx.bump_epoch(user)?;
            }
            let entry = accepted.entry(context, AuditEvent::Verify, subject);
            tx.audit(&AuditEntry { detail: Some(checked.detail(accepted.method.name())), ..entry })?;
            Ok(accepted)
        };
        Ok((job, held))
    }

    /// Counts an accepted factor, and returns the reply.
    pub(super) fn verified(&self, context: &RequestContext, accepted: Accepted) -> Result<Reply, Error> {
        self.metrics.count_accepted(accepted.steps_ahead, accepted.is_first);
        Ok(Reply::Verified {
            secret: accepted.secret,
            method: accepted.method,
            at: context.now.wall_ms,
            remaining: accepted.remaining,
            is_weak: accepted.is_weak,
        })
    }
}
