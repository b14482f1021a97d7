//! A second factor checked for an app, without a login of ours.

use std::sync::Arc;

use crate::error::Error;
use mfad_core::model::{TokenInput, UserRef};
use mfad_store::{Outcome, Subject, Tx};

use super::ceremonies::Purpose;
use super::locks::Held;
use super::second_factor::{Accepted, Verdict, accept, judge, judge_nobody};
use super::{Job, Proof, Reply, RequestContext, Service, Stop};

impl Service {
    /// Judges a second factor of a user. Wrong, used, unknown and pending look alike.
    pub(super) fn verify(&self, context: &RequestContext, user: UserRef, proof: Proof) -> Result<Reply, Error> {
        let (job, _held) = self.verification(context, user, proof)?;
        let outcome = self.change(context, job);
        self.verified(context, outcome)
    }

    /// The same for a code, without a thread that waits for the store.
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

    /// All but the change itself; what is held must be held until that is done.
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
        // What is not just compared needs to know for whom. A code's own transaction finds that out.
        let known = match named.filter(|_| !matches!(proof, Proof::Token(_))) {
            Some(id) => self.look(context, |view| view.user(id))?.filter(|user| !user.disabled),
            None => None,
        };
        let place = format!("{named:?}");
        let nobody = Subject::nobody(self.store.vault().unknown_login_place(&place), context.caller.peer.uid);
        let rules = self.rules();
        // An unknown user's code is hashed like a known one's.
        let purpose = Purpose::Verify(context.caller.peer.uid);
        let (prepared, held) = self.prepare(context, known.map(|user| user.id), &nobody, purpose, proof)?;
        let decoy = Arc::clone(&self.decoy);
        let job = move |tx: &Tx<'_>, context: &RequestContext| {
            let user = match named {
                Some(id) => tx.user(id)?.filter(|user| !user.disabled),
                None => None,
            };
            let subject = user.as_ref().map(|user| user.id);
            let verdict = match subject {
                Some(id) => judge(tx, context, rules, id, &prepared)?,
                None => judge_nobody(tx, context, rules, &nobody, &decoy, named, &prepared)?,
            };
            // Also of nobody's code, or it would take less time. Only apps come here, and who they are is known.
            if matches!(verdict, Verdict::Wrong) {
                tx.audit(&context.entry("verify", Outcome::Refused, named, None))?;
            }
            let accepted = accept(verdict, || Stop::Commit(Error::WrongCode { remaining: None }))?;
            tx.audit(&context.entry_with(
                "verify",
                Outcome::Ok,
                subject,
                Some(accepted.secret),
                accepted.method.name(),
            ))?;
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
