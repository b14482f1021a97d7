//! A second factor checked for an app, without a login of ours.

use crate::error::Error;
use crate::model::UserRef;
use crate::store::{Outcome, Subject};

use super::second_factor::{accept, judge, judge_nobody};
use super::security_keys::Purpose;
use super::{Occasion, Proof, Reply, Service, Stop};

impl Service {
    /// Judges a second factor of a user. Wrong, used, unknown and pending look alike.
    pub(super) fn verify(&self, occasion: &Occasion, user: UserRef, proof: Proof) -> Result<Reply, Error> {
        let named = match user {
            UserRef::Me => return Err(Error::MeWithoutUser),
            UserRef::Id(id) => Some(id),
            UserRef::Malformed => None,
        };
        let known = match named {
            Some(id) => self.look(occasion, |view| view.user(id))?.filter(|user| !user.disabled),
            None => None,
        };
        let place = format!("{named:?}");
        let nobody = Subject::nobody(self.store.vault().unknown_login_place(&place), occasion.caller.peer.uid);
        let rules = self.rules();
        let scene = occasion.scene();
        // An unknown user's code is hashed like a known one's.
        let (prepared, _held) = {
            let purpose = Purpose::Verify(occasion.caller.peer.uid);
            self.prepare(occasion, known.as_ref().map(|user| user.id), &nobody, purpose, proof)?
        };
        let outcome = self.change(occasion, move |tx| {
            let user = match known {
                Some(user) => tx.user(user.id)?.filter(|user| !user.disabled),
                None => None,
            };
            let subject = user.as_ref().map(|user| user.id);
            let verdict = match subject {
                Some(id) => judge(tx, &scene, rules, id, &prepared)?,
                None => judge_nobody(tx, &scene, rules, &nobody)?,
            };
            if subject.is_some() && matches!(verdict, super::second_factor::Verdict::Wrong) {
                tx.audit(&scene.entry("verify", Outcome::Refused, subject, None))?;
            }
            let accepted = accept(verdict, || Stop::Keep(Error::WrongCode { remaining: None }))?;
            tx.audit(&scene.entry_with("verify", Outcome::Ok, subject, Some(accepted.secret), accepted.method.name()))?;
            Ok(accepted)
        });
        self.metrics.count_login("verify", outcome.is_ok());
        let accepted = outcome?;
        self.metrics.count_code(accepted.steps_ahead);
        Ok(Reply::Verified { secret: accepted.secret, method: accepted.method, at: occasion.now.wall_ms })
    }
}
