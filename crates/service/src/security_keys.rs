//! Security keys: ceremonies in two requests, and what comes of them. What was asked stays in memory, for one answer and five
//! minutes (FIDO-1); a restart makes whoever was in the middle begin again.

use std::sync::Arc;

use serde_json::Value;

use crate::error::Error;
use crate::fido::{
    Assertion, Authentication, AuthenticationAnswer, CEREMONY, FidoFault, KeyRecord, Registration, RegistrationAnswer,
    RelyingParty, Verification,
};
use mfad_core::model::{ChallengeId, Label, SecretId, Sensitive, UserId};
use mfad_store::{Decision, Fault, NewSecret, Outcome, SecretRow, SecretType, Tx, View};

use super::authorise::{Scope, UserAccess};
use super::ceremonies::{Asked, Purpose, key};
use super::enroll::{after_enrolment, pending};
use super::secrets::{free_name, insert, view_in};
use super::tokens::later;
use super::{Reply, RequestContext, SecretRef, SecretView, Service, Stop};

/// A security key to be registered.
#[derive(Debug)]
pub struct KeyOrder {
    /// Its name.
    pub name: Option<Label>,
    /// Whether the key has to know who touches it.
    pub verification: Verification,
}

/// A key that became active, and the backup codes that came with it.
type Registered = (SecretView, Vec<Sensitive<String>>);

/// An opened record, and its counter.
type Record = (Sensitive<Vec<u8>>, u32);

impl Service {
    pub(super) fn relying_party(&self) -> Result<Arc<RelyingParty>, Error> {
        let none = "security keys are not set up: the administrator gives `rpId` and `origins` under [fido2]";
        self.policy().relying_party.clone().ok_or_else(|| Error::Unsupported(none.to_owned()))
    }

    /// Makes a pending security key, and what its page gives to the browser.
    pub(super) fn create_key(
        &self,
        context: &RequestContext,
        access: UserAccess,
        order: KeyOrder,
    ) -> Result<Reply, Error> {
        let relying_party = self.relying_party()?;
        let now = context.now.wall_ms;
        let user = access.user.id;
        let (options, registration) = self.start_registration(context, &relying_party, &access, order.verification)?;
        let secret = self.change(context, move |tx, context| {
            access.may_begin_factor(tx, context, now)?;
            tx.end_pending(user, SecretType::Fido2, now)?;
            let id = insert_key(tx, context, &access, order.name)?;
            view_in(tx, user, id)
        })?;
        let peer = context.caller.peer.uid;
        self.webauthn.ceremonies.begin(
            key(user, Purpose::Register(secret.id), None),
            Asked::Registration(registration),
            peer,
            now,
        );
        Ok(Reply::KeyAsked { secret, options })
    }

    /// Registers the key that answered. An answer that does not hold ends the ceremony, and the pending key with it; one that
    /// cannot be read ends nothing, since nothing of it was judged.
    pub(super) fn register_key(
        &self,
        context: &RequestContext,
        access: &UserAccess,
        secret: SecretRef,
        answer: &Value,
    ) -> Result<Reply, Error> {
        let SecretRef::Id(id) = secret else { return Err(Error::NotFound) };
        let user = access.user.id;
        let now = context.now.wall_ms;
        let row = self.look(context, |view| pending(view, now, user, id, SecretType::Fido2))??;
        self.may_begin_factor_now(context, access, row.created)?;
        let answer = RegistrationAnswer::read(answer)?;
        let Some(Asked::Registration(asked)) =
            self.webauthn.ceremonies.take(key(user, Purpose::Register(id), None), now)
        else {
            return Err(Error::Expired);
        };
        let relying_party = self.relying_party()?;
        let record = match relying_party.finish_registration(&asked, &answer) {
            Ok(record) => record,
            Err(fault) => return Err(self.end_registration(context, &row, fault)),
        };
        self.activate_registered(context, access, row, &record, relying_party.id())
    }

    /// What a registration of one of this user's keys asks.
    pub(super) fn start_registration(
        &self,
        context: &RequestContext,
        relying_party: &RelyingParty,
        access: &UserAccess,
        verification: Verification,
    ) -> Result<(Value, Registration), Error> {
        let user = access.user.id;
        let known = self.look(context, |view| view.credential_ids_of(user))?;
        Ok(relying_party.start_registration(user.as_bytes(), &access.user.name, known, verification)?)
    }

    fn activate_registered(
        &self,
        context: &RequestContext,
        access: &UserAccess,
        row: SecretRow,
        record: &KeyRecord,
        relying_party: &str,
    ) -> Result<Reply, Error> {
        let (secret, codes) = self.activate_key(context, access, record, relying_party, move |_, _, _| Ok(row))?;
        Ok(Reply::Enrolled { secret, codes })
    }

    /// Stores a key that is not even pending yet, active at once.
    pub(super) fn store_registered(
        &self,
        context: &RequestContext,
        access: &UserAccess,
        name: Option<Label>,
        record: &KeyRecord,
        relying_party: &str,
    ) -> Result<Registered, Error> {
        self.activate_key(context, access, record, relying_party, move |tx, context, access| {
            let id = insert_key(tx, context, access, name)?;
            tx.secret(access.user.id, id)?.ok_or_else(|| Error::Internal("a new secret vanished".to_owned()).into())
        })
    }

    /// Makes the pending key that `row` finds, or makes, active.
    fn activate_key(
        &self,
        context: &RequestContext,
        access: &UserAccess,
        record: &KeyRecord,
        relying_party: &str,
        row: impl FnOnce(&Tx<'_>, &RequestContext, &UserAccess) -> Result<SecretRow, Stop> + Send + 'static,
    ) -> Result<Registered, Error> {
        let (user, now) = (access.user.id, context.now.wall_ms);
        let bytes = record.to_bytes()?;
        let (credential, counter) = (record.id().to_vec(), record.counter());
        let (access, relying_party) = (access.clone(), relying_party.to_owned());
        // The answer was judged before: its proof holds.
        let (secret, codes) = self.with_first_codes(
            context,
            user,
            |_| Ok(true),
            move |tx, context, codes| {
                let shown = codes.store(tx, context, user)?;
                let row = row(tx, context, &access)?;
                access.may_begin_factor(tx, context, row.created)?;
                if !tx.activate_key(&row, &bytes, now)? {
                    let why = pending(tx, now, user, row.id, SecretType::Fido2)?.err();
                    return Err(why.unwrap_or(Error::AlreadyActive).into());
                }
                if !tx.insert_credential_id(row.id, &credential, counter, &relying_party)? {
                    // Registered already, here or by another user.
                    return Err(Error::AlreadyActive.into());
                }
                after_enrolment(tx, context, &access, row.id)?;
                Ok((view_in(tx, user, row.id)?, shown))
            },
        )?;
        self.metrics.count_enrolment();
        Ok((secret, codes))
    }

    /// An answer that does not hold ends the pending key: its question must not be answered twice.
    fn end_registration(&self, context: &RequestContext, row: &SecretRow, fault: FidoFault) -> Error {
        let (user, id, why) = (row.user, row.id, fault.to_string());
        let ended = self.change(context, move |tx, context| {
            // Another one may have taken its place meanwhile, which has done nothing wrong.
            if pending(tx, context.now.wall_ms, user, id, SecretType::Fido2)?.is_ok() {
                tx.end_pending(user, SecretType::Fido2, context.now.wall_ms)?;
            }
            let entry = context.entry_with("factor.enroll", Outcome::Refused, Some(user), Some(id), why);
            Ok(tx.audit(&entry)?)
        });
        match (ended, fault) {
            (Err(error), _) => error,
            (Ok(()), FidoFault::Refused(_) | FidoFault::Counter) => {
                Error::WrongFirstCode { remaining: 0, diagnosis: None }
            }
            (Ok(()), fault @ (FidoFault::Malformed { .. } | FidoFault::Algorithm(_) | FidoFault::Internal(_))) => {
                fault.into()
            }
        }
    }

    /// What a page gives to the browser to answer for one of the user's keys.
    pub(super) fn ask_for_key(&self, context: &RequestContext, user: UserId, purpose: Purpose) -> Result<Reply, Error> {
        let relying_party = self.relying_party()?;
        let (options, asked) = self.start_authentication(context, &relying_party, user)?;
        let key = key(user, purpose, options.get("challenge").and_then(Value::as_str));
        self.webauthn.ceremonies.begin(key, Asked::Authentication(asked), context.caller.peer.uid, context.now.wall_ms);
        Ok(Reply::KeyOptions(options))
    }

    /// What is asked of a user's keys.
    pub(super) fn start_authentication(
        &self,
        context: &RequestContext,
        relying_party: &RelyingParty,
        user: UserId,
    ) -> Result<(Value, Authentication), Error> {
        Ok(relying_party.start_authentication(user.as_bytes(), self.key_records(context, user)?)?)
    }

    /// The user's active keys; a refusal if there is none.
    pub(super) fn key_records(&self, context: &RequestContext, user: UserId) -> Result<Vec<KeyRecord>, Error> {
        let keys = self.look(context, |view| records(view, user))?;
        if keys.is_empty() {
            return Err(Error::NoFactor);
        }
        let keys = keys.into_iter().map(|(bytes, counter)| KeyRecord::from_bytes(bytes.expose(), counter));
        Ok(keys.collect::<Result<_, _>>()?)
    }

    /// The options of a login or a step-up, by the token that the caller has.
    pub(super) fn ask_for_own_key(&self, context: &RequestContext) -> Result<Reply, Error> {
        match self.challenge(context) {
            Ok(claims) => {
                let id = ChallengeId::from_slice(&claims.id).ok_or(Error::Unauthenticated)?;
                let open = self.look(context, |view| view.challenge(id, context.now.wall_ms))?;
                open.ok_or(Error::ChallengeEnded)?;
                self.ask_for_key(context, claims.subject, Purpose::Login(id))
            }
            Err(_) => {
                let signed = self.session(context)?;
                self.ask_for_key(context, signed.user.id, Purpose::StepUp(signed.session))
            }
        }
    }

    /// The options of a check that an app makes.
    pub(super) fn ask_for_key_of(
        &self,
        context: &RequestContext,
        user: mfad_core::model::UserRef,
    ) -> Result<Reply, Error> {
        let access = self.access_to(context, user, Scope::Full)?;
        self.ask_for_key(context, access.user.id, Purpose::Verify(context.caller.peer.uid))
    }

    /// Judges an answer, as far as that goes without the store. What does not hold is `None`, and counts like a wrong code.
    /// What cannot be read is malformed, and leaves the question open. An answer to nothing that was asked is refused like
    /// a wrong code and not counted: it guesses nothing, and of one answer sent many times the first must not meet the
    /// delays of the others.
    pub(super) fn assertion(
        &self,
        context: &RequestContext,
        user: Option<UserId>,
        purpose: Purpose,
        answer: &Value,
    ) -> Result<Option<Assertion>, Error> {
        let relying_party = self.relying_party()?;
        let now = context.now.wall_ms;
        let answer = AuthenticationAnswer::read(answer)?;
        let key = |user| key(user, purpose, Some(answer.challenge()));
        let asked = user.and_then(|user| Some((user, self.webauthn.ceremonies.take(key(user), now)?)));
        let Some((user, Asked::Authentication(asked))) = asked else {
            return Err(Error::WrongCode { remaining: None });
        };
        self.judge_assertion(context, &relying_party, user, &asked, &answer)
    }

    /// What an answer to this question is worth without the store.
    pub(super) fn judge_assertion(
        &self,
        context: &RequestContext,
        relying_party: &RelyingParty,
        user: UserId,
        asked: &Authentication,
        answer: &AuthenticationAnswer,
    ) -> Result<Option<Assertion>, Error> {
        match relying_party.finish_authentication(asked, answer) {
            Ok(assertion) => Ok(Some(assertion)),
            Err(FidoFault::Internal(cause)) => Err(Error::Internal(cause)),
            Err(fault) => {
                self.note_bad_assertion(context, user, &fault)?;
                Ok(None)
            }
        }
    }

    fn note_bad_assertion(&self, context: &RequestContext, user: UserId, fault: &FidoFault) -> Result<(), Error> {
        let event = if *fault == FidoFault::Counter { "key.copied" } else { "key.refused" };
        let entry = context.clone().entry_with(event, Outcome::Refused, Some(user), None, fault.to_string());
        self.store.write(context.patience, move |tx| {
            tx.audit(&entry)?;
            Ok(Decision::Commit(()))
        })?;
        Ok(())
    }

    /// Refuses another relying party than the one that credentials are bound to.
    pub(super) fn check_relying_party(&self) -> Result<(), Error> {
        let bound = self.store.read(super::OWN_PATIENCE, |view| view.relying_party())?;
        let Some(bound) = bound else { return Ok(()) };
        match self.policy().relying_party.as_ref() {
            Some(now) if now.id() == bound => Ok(()),
            Some(_) | None => Err(Error::Malformed(format!(
                "rpId has to stay {bound:?}: there are security keys, and they answer to that name alone"
            ))),
        }
    }
}

/// A new pending key.
fn insert_key(
    tx: &Tx<'_>,
    context: &RequestContext,
    access: &UserAccess,
    name: Option<Label>,
) -> Result<SecretId, Stop> {
    let (user, now) = (access.user.id, context.now.wall_ms);
    let new = NewSecret {
        id: context.new_secret_id()?,
        user,
        kind: SecretType::Fido2,
        name: free_name(tx, user, name, "security key")?,
        created: now,
        expires: Some(later(now, CEREMONY)),
        profile: None,
        is_guarded: false,
        first_counter: 0,
        spare_of: None,
        value: Sensitive::new(Vec::new()),
    };
    insert(tx, &new)?;
    let detail = access.with_reason("fido2".to_owned());
    tx.audit(&context.entry_with("secret.create", Outcome::Ok, Some(user), Some(new.id), detail))?;
    Ok(new.id)
}

/// The sealed records of a user's active keys, opened, each with its counter.
fn records(view: &View<'_>, user: UserId) -> Result<Vec<Record>, Fault> {
    view.active_keys(user)?.iter().map(|(row, counter)| Ok((view.open_secret(row)?, *counter))).collect()
}

/// Uses an assertion up inside the transaction that judges it; `None` if it is not this user's, or its counter did not move.
pub(super) fn use_assertion(
    tx: &Tx<'_>,
    user: UserId,
    assertion: &Assertion,
    now: i64,
) -> Result<Option<SecretId>, Stop> {
    let Some((owner, secret)) = tx.secret_of_credential(&assertion.credential)? else { return Ok(None) };
    if owner != user || !tx.consume_counter_of_key(secret, assertion.counter, now)? {
        return Ok(None);
    }
    Ok(Some(secret))
}
