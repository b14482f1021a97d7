//! Checks a second factor for an app, which has its own login. It opens no session and issues no token.

use std::sync::Arc;

use crate::error::Error;
use mfad_api::AuditEvent;
use mfad_core::model::{TokenInput, UserId, UserRef};
use mfad_store::{Outcome, Subject, Tx, Vault};

use super::ceremonies::Purpose;
use super::locks::Held;
use super::second_factor::{Accepted, Prepared, Verdict, accept, judge, judge_nobody};
use super::{Job, Proof, Reply, RequestContext, Service, Stop};

/// Returns where failures for an unknown user are counted: in one of 65,536 buckets, so that the table stays small.
fn bucket(vault: &Vault, named: Option<UserId>, uid: u32) -> Subject {
    Subject::nobody(vault.unknown_login_place(&format!("{named:?}")), uid)
}

impl Service {
    /// Judges a second factor of a user. A wrong or used code, an unknown user and a user with only a pending factor
    /// get the same refusal after the same work (AZ-2).
    pub(super) fn verify(&self, context: &RequestContext, user: UserRef, proof: Proof) -> Result<Reply, Error> {
        let (job, _held) = self.verification(context, user, proof)?;
        let outcome = self.change(context, job);
        self.verified(context, outcome)
    }

    /// [`Service::verify`] for a one-time password. It awaits the commit, so that it needs no thread.
    pub(super) async fn verify_async(
        &self,
        context: &RequestContext,
        user: UserRef,
        token: TokenInput,
    ) -> Result<Reply, Error> {
        let (job, _) = self.verification(context, user, Proof::Token(token))?;
        let outcome = self.change_async(context, job).await;
        self.verified(context, outcome)
    }

    /// Prepares a verify: returns the writing job that judges the proof, and a lock to hold until the job is done. Both
    /// ways to run the job share it.
    fn verification(
        &self,
        context: &RequestContext,
        user: UserRef,
        proof: Proof,
    ) -> Result<(impl Job<Accepted> + use<>, Option<Held<'_>>), Error> {
        let named = match user {
            UserRef::Me => return Err(Error::MeWithoutUser),
            UserRef::Id(id) => Some(id),
            UserRef::Malformed => None,
        };
        // A backup code or a key needs the user beforehand. For a one-time password the transaction looks the user up,
        // which saves a read.
        let known = match named.filter(|_| !matches!(proof, Proof::Token(_))) {
            Some(id) => self.look(context, |view| view.user(id))?.filter(|user| !user.disabled),
            None => None,
        };
        let uid = context.caller.peer.uid;
        let rules = self.rules();
        let purpose = Purpose::Verify(uid);
        let (prepared, held) = match proof {
            Proof::Token(token) => (Prepared::Token(token), None),
            // For an unknown user a backup code is hashed too, so that the time does not tell (AUT-4).
            proof => {
                let nobody = bucket(self.store.vault(), named, uid);
                self.prepare(context, known.map(|user| user.id), &nobody, purpose, proof)?
            }
        };
        let decoy = Arc::clone(&self.decoy);
        let job = move |tx: &Tx<'_>, context: &RequestContext| {
            let found = match named {
                Some(id) => tx.login_factors(id)?.filter(|found| !found.is_disabled).map(|found| (id, found)),
                None => None,
            };
            let subject = found.as_ref().map(|(id, _)| *id);
            let verdict = match &found {
                Some((id, found)) => {
                    let verdict = judge(tx, context, rules, *id, &found.factors, &prepared)?;
                    if !matches!(verdict, Verdict::Accepted(_)) {
                        // An unknown user's refusal costs this, so a known one's does too (AUT-4).
                        std::hint::black_box(bucket(tx.vault(), named, uid));
                    }
                    verdict
                }
                None => {
                    let decoy = decoy.read(tx, named)?;
                    let nobody = bucket(tx.vault(), named, uid);
                    judge_nobody(tx, context, rules, &nobody, decoy.as_ref(), &prepared)?
                }
            };
            // An unknown user gets an audit row too, or the refusal would take less time. Filling the disk this way is
            // no concern: only peers with a right may call this.
            if matches!(verdict, Verdict::Wrong) {
                // The same text for everybody, or the row would cost more for some (AUT-4).
                let why = "a wrong or used code, or no such user or factor";
                tx.audit(&context.entry_with(AuditEvent::Verify, Outcome::Refused, named, None, why))?;
            }
            let accepted = accept(verdict, || Stop::Commit(Error::WrongCode { remaining: None }))?;
            tx.audit(&accepted.entry(context, AuditEvent::Verify, subject))?;
            Ok(accepted)
        };
        Ok((job, held))
    }

    fn verified(&self, context: &RequestContext, outcome: Result<Accepted, Error>) -> Result<Reply, Error> {
        self.metrics.count_login("verify", outcome.is_ok());
        let accepted = outcome?;
        self.metrics.count_code(accepted.steps_ahead);
        Ok(Reply::Verified { secret: accepted.secret, method: accepted.method, at: context.now.wall_ms })
    }
}
