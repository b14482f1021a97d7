//! WebAuthn ceremonies of security keys: one request gives out options, a second one brings the response. Open
//! ceremonies stay in memory, for one response and five minutes (FIDO-1), so a restart ends them and the client begins
//! again.

use std::sync::Arc;

use serde_json::Value;

use crate::error::Error;
use crate::fido::{
    Assertion, Authentication, AuthenticationAnswer, CEREMONY, FidoFault, KeyRecord, Registration, RegistrationAnswer,
    RelyingParty, Verification,
};
use mfad_api::AuditEvent;
use mfad_core::model::{ChallengeId, KeyId, Label, Method, Pin, SecretId, Sensitive, UserId};
use mfad_store::{Decision, Fault, NewSecret, Outcome, SecretRow, SecretType, Tx, View};

use super::authorise::{Scope, UserAccess};
use super::ceremonies::{Asked, Purpose, key};
use super::enroll::{NewFactor, after_enrolment, pending};
use super::secrets::{free_name, insert, view_in};
use super::tokens::{Granted, later};
use super::{Reply, RequestContext, SecretRef, SecretView, Service, SessionAfter, Stop};

/// An order to register a security key.
#[derive(Debug)]
pub struct KeyOrder {
    /// The name of the secret; none for a default.
    pub name: Option<Label>,
    /// Whether the key must verify its user, by PIN or fingerprint.
    pub verification: Verification,
}

/// An order to register a security key in a port of this host.
#[derive(Debug)]
pub struct LocalKeyOrder {
    /// Name, and whether the key must verify its user.
    pub key: KeyOrder,
    /// The PIN of the key, if it asks for one.
    pub pin: Option<Pin>,
    /// The hardware key whose other side the security key is; `None` for the only security key that is plugged in.
    pub on: Option<KeyId>,
    /// What is set on the key before.
    pub setup: KeySetup,
    /// Whether the key keeps the credential, so that it finds its user without being told a name.
    pub resident: bool,
}

/// Settings that an operator gives a security key before it is registered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeySetup {
    /// Set the PIN of the order, if the key has none.
    pub sets_pin: bool,
    /// The shortest PIN that the key takes from then on, in characters.
    pub shortest_pin: Option<u8>,
    /// Whether the key verifies its user for every request from then on.
    pub always_verifies: bool,
}

/// A registered key, and its backup codes if it is the first factor.
type Registered = (SecretView, Vec<Sensitive<String>>);

/// A decrypted credential record, and its signature counter.
type Record = (Sensitive<Vec<u8>>, u32);

impl Service {
    /// Returns the configured relying party; [`Error::Unsupported`] without one.
    pub(super) fn relying_party(&self) -> Result<Arc<RelyingParty>, Error> {
        let none = "security keys are not configured; the administrator sets `rpId` and `origins` under [fido2]";
        self.policy().relying_party.clone().ok_or_else(|| Error::Unsupported(none.to_owned()))
    }

    /// Begins the registration of a security key: creates a pending secret, and returns the options for
    /// `navigator.credentials.create()`. An older pending security key of the user ends.
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

    /// Finishes a registration with the browser's response. An invalid response ends the ceremony and the pending key.
    /// A response that cannot be parsed ends nothing: it is a mistake of the page, and was not evaluated.
    pub(super) fn register_key(
        &self,
        context: &RequestContext,
        access: &UserAccess,
        secret: SecretRef,
        answer: &Value,
        after: SessionAfter,
    ) -> Result<Reply, Error> {
        let SecretRef::Id(id) = secret else { return Err(Error::NotFound) };
        let user = access.user.id;
        let now = context.now.wall_ms;
        let row = self.look(context, |view| pending(view, now, user, id, SecretType::Fido2))??;
        self.may_begin_factor_now(context, access, row.created)?;
        // Parse first: a malformed response must not cost the challenge. Then take the ceremony out before verifying
        // anything, so that each challenge is judged once (FIDO-1).
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
        self.activate_registered(context, access, row, &record, relying_party.id(), after)
    }

    /// Returns the registration options for this user, and the state to verify the response with. The user's present
    /// keys are excluded, so that none is registered twice.
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

    /// Activates the pending secret of a finished registration.
    fn activate_registered(
        &self,
        context: &RequestContext,
        access: &UserAccess,
        row: SecretRow,
        record: &KeyRecord,
        relying_party: &str,
        after: SessionAfter,
    ) -> Result<Reply, Error> {
        let row = move |_: &Tx<'_>, _: &RequestContext, _: &UserAccess| Ok(row);
        let (registered, granted) = self.activate_key(context, access, record, relying_party, after, row)?;
        let (secret, codes) = registered;
        Ok(Reply::Enrolled { secret, codes, session: self.renewed(context, granted.as_ref()) })
    }

    /// Stores a key of this host that has answered, active at once. It has no pending secret, so a pulled key or a
    /// crash leaves none behind.
    pub(super) fn store_registered(
        &self,
        context: &RequestContext,
        access: &UserAccess,
        name: Option<Label>,
        record: &KeyRecord,
        relying_party: &str,
    ) -> Result<Registered, Error> {
        let row = move |tx: &Tx<'_>, context: &RequestContext, access: &UserAccess| {
            let id = insert_key(tx, context, access, name)?;
            tx.secret(access.user.id, id)?.ok_or_else(|| Error::Internal("a new secret vanished".to_owned()).into())
        };
        let (registered, _) = self.activate_key(context, access, record, relying_party, SessionAfter::Ended, row)?;
        Ok(registered)
    }

    /// Activates a key in one transaction with everything that follows from an enrolment (ENR-4). `row` finds the
    /// pending secret, or inserts it.
    fn activate_key(
        &self,
        context: &RequestContext,
        access: &UserAccess,
        record: &KeyRecord,
        relying_party: &str,
        after: SessionAfter,
        row: impl FnOnce(&Tx<'_>, &RequestContext, &UserAccess) -> Result<SecretRow, Stop> + Send + 'static,
    ) -> Result<(Registered, Option<Granted>), Error> {
        let (user, now) = (access.user.id, context.now.wall_ms);
        let bytes = record.to_bytes()?;
        let (credential, counter) = (record.id().to_vec(), record.counter());
        let (access, relying_party) = (access.clone(), relying_party.to_owned());
        // The response was verified before, so the proof is known to hold.
        let activated = self.with_first_codes(
            context,
            user,
            |_| Ok(true),
            move |tx, context, codes| {
                let row = row(tx, context, &access)?;
                access.may_begin_factor(tx, context, row.created)?;
                // Only after `may_begin_factor`, which compares the user's secrets with the summary: the summary does
                // not have the new codes yet.
                let shown = codes.store(tx, context, user)?;
                if !tx.activate_key(&row, &bytes, now)? {
                    let why = pending(tx, now, user, row.id, SecretType::Fido2)?.err();
                    return Err(why.unwrap_or(Error::AlreadyActive).into());
                }
                if !tx.insert_credential_id(row.id, &credential, counter, &relying_party)? {
                    // The credential is registered already, by this user or another one (FIDO-6).
                    return Err(Error::AlreadyActive.into());
                }
                let factor = NewFactor { id: row.id, method: Method::Fido2, used: None };
                let granted = after_enrolment(tx, context, &access, &factor, after)?;
                Ok(((view_in(tx, user, row.id)?, shown), granted))
            },
        )?;
        self.metrics.count_enrolment();
        Ok(activated)
    }

    /// Ends the pending key after an invalid response, because its challenge must not be answered twice (FIDO-1).
    /// Returns the refusal for the caller; the reason is in the audit log.
    fn end_registration(&self, context: &RequestContext, row: &SecretRow, fault: FidoFault) -> Error {
        let (user, id, why) = (row.user, row.id, fault.to_string());
        let ended = self.change(context, move |tx, context| {
            // A newer pending key may have replaced this one in the meantime. It must not end too.
            if pending(tx, context.now.wall_ms, user, id, SecretType::Fido2)?.is_ok() {
                tx.end_pending(user, SecretType::Fido2, context.now.wall_ms)?;
            }
            let entry = context.entry_with(AuditEvent::FactorEnroll, Outcome::Refused, Some(user), Some(id), why);
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

    /// Begins an authentication with one of the user's security keys for this purpose, and returns the options for
    /// `navigator.credentials.get()`.
    pub(super) fn ask_for_key(&self, context: &RequestContext, user: UserId, purpose: Purpose) -> Result<Reply, Error> {
        let relying_party = self.relying_party()?;
        let (options, asked) = self.start_authentication(context, &relying_party, user)?;
        let key = key(user, purpose, options.get("challenge").and_then(Value::as_str));
        self.webauthn.ceremonies.begin(key, Asked::Authentication(asked), context.caller.peer.uid, context.now.wall_ms);
        Ok(Reply::KeyOptions(options))
    }

    /// Returns the authentication options for all of the user's keys, and the state to verify the response with.
    pub(super) fn start_authentication(
        &self,
        context: &RequestContext,
        relying_party: &RelyingParty,
        user: UserId,
    ) -> Result<(Value, Authentication), Error> {
        Ok(relying_party.start_authentication(user.as_bytes(), self.key_records(context, user)?)?)
    }

    /// Returns the user's active keys; [`Error::NoFactor`] if there are none.
    pub(super) fn key_records(&self, context: &RequestContext, user: UserId) -> Result<Vec<KeyRecord>, Error> {
        let keys = self.look(context, |view| records(view, user))?;
        if keys.is_empty() {
            return Err(Error::NoFactor);
        }
        let keys = keys.into_iter().map(|(bytes, counter)| KeyRecord::from_bytes(bytes.expose(), counter));
        Ok(keys.collect::<Result<_, _>>()?)
    }

    /// Returns the options for a login if the caller has a challenge token, or for a step-up if it has a session.
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

    /// Returns the options for a verify by an app, bound to the uid of that app.
    pub(super) fn ask_for_key_of(
        &self,
        context: &RequestContext,
        user: mfad_core::model::UserRef,
    ) -> Result<Reply, Error> {
        let access = self.access_to(context, user, Scope::Full)?;
        self.ask_for_key(context, access.user.id, Purpose::Verify(context.caller.peer.uid))
    }

    /// Verifies the browser's response to an open ceremony, without the store. Returns `None` for an invalid response,
    /// which counts like a wrong code. A response that cannot be parsed is malformed and leaves the ceremony open.
    ///
    /// A response to no open ceremony is refused like a wrong code, but not counted, since it guesses nothing. Also, if
    /// one response is sent many times, the one that wins must not meet the delays that the others cause (FIDO-7).
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
            return Err(Error::WrongCode { remaining: None, diagnosis: None });
        };
        self.judge_assertion(context, &relying_party, user, &asked, &answer)
    }

    /// Verifies a response to these options, without the store. An invalid one gives `None` and an audit row with the
    /// reason, which the caller does not learn.
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
        let event = if *fault == FidoFault::Counter { AuditEvent::KeyCopied } else { AuditEvent::KeyRefused };
        let entry = context.clone().entry_with(event, Outcome::Refused, Some(user), None, fault.to_string());
        // A write of its own: it must stay even if the request is then refused.
        self.store.write(context.patience, move |tx| {
            tx.audit(&entry)?;
            Ok(Decision::Commit(()))
        })?;
        Ok(())
    }

    /// Refuses to start with another relying party id than that of the stored credentials. Security keys bind each
    /// credential to that name, so none of them would work under another one.
    pub(super) fn check_relying_party(&self) -> Result<(), Error> {
        let bound = self.store.read(super::OWN_PATIENCE, |view| view.relying_party())?;
        let Some(bound) = bound else { return Ok(()) };
        match self.policy().relying_party.as_ref() {
            Some(now) if now.id() == bound => Ok(()),
            Some(_) | None => Err(Error::Malformed(format!(
                "must stay {bound:?}: registered security keys are bound to it; delete them before you change it"
            ))),
        }
    }
}

/// Inserts a pending security key, with its audit row. It expires with the ceremony.
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
        is_unproved: false,
        first_counter: 0,
        ahead: 0,
        spare_of: None,
        value: Sensitive::new(Vec::new()),
    };
    insert(tx, &new)?;
    let detail = access.with_reason("fido2".to_owned());
    tx.audit(&context.entry_with(AuditEvent::SecretCreate, Outcome::Ok, Some(user), Some(new.id), detail))?;
    Ok(new.id)
}

/// Returns the decrypted records of a user's active keys, each with its counter as it is now.
fn records(view: &View<'_>, user: UserId) -> Result<Vec<Record>, Fault> {
    view.active_keys(user)?.iter().map(|(row, counter)| Ok((view.open_secret(row)?, *counter))).collect()
}

/// Uses an assertion up, inside the transaction that judges it. Returns `None` if the credential is not this user's, or
/// its counter did not increase. The conditional update also lets only one of several copies of an assertion win
/// (FIDO-5).
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
