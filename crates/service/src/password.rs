//! Passwords: the first step of a login, and creating and changing a password. The hash itself, and the limits on it,
//! are in `hasher` and `passwords`.

use crate::error::Error;
use mfad_api::AuditEvent;
use mfad_core::model::{Gate, Label, Limits, Odds, Sensitive, Throttle, UserId, canonical};
use mfad_store::{Class, MfaState, NewSecret, Outcome, SecretRow, SecretType, Subject, Tx, UserRow};

use super::authorise::{Authority, UserAccess};
use super::hasher::PasswordCheck;
use super::policy::ImportedFactors;
use super::second_factor::refuse_closed;
use super::secrets::view_of;
use super::tokens::{Granted, open_challenge, open_session};
use super::{Reply, RequestContext, Service, Stop};

/// The name of the secret that holds a password. A user has at most one.
const PASSWORD_NAME: &str = "password";

/// The user that a login names, and what the check needs. For an unknown login the optional fields are absent; the
/// check does the same work, so that its time does not tell whether the user exists (AUT-4).
struct Target {
    user: Option<UserRow>,
    password: Option<SecretRow>,
    /// The decrypted hash record of the password.
    record: Option<Sensitive<Vec<u8>>>,
    /// Where failures are counted: per user and peer uid.
    subject: Subject,
}

impl Service {
    /// Checks a password. If the user has an active factor, the reply is only a challenge (AUT-1). An unknown login, a
    /// wrong password and a disabled user take the same path, do the same work and get the same refusal (AUT-4).
    pub(super) fn log_in(
        &self,
        context: &RequestContext,
        login: &str,
        password: &Sensitive<String>,
    ) -> Result<Reply, Error> {
        let target = self.target(context, login)?;
        let held = self.passwords.hold(context, target.subject.as_bytes())?;
        let limits = self.policy().password_limits;
        let throttle = self.look(context, |view| view.throttle(&target.subject, Class::Password))?;
        refuse_closed(throttle.gate(&limits, &context.now))?;

        // The hash takes tens of milliseconds, so it runs outside of any transaction. The transaction that grants the
        // login therefore reads user, password and throttle again.
        let permit = self.passwords.permit(context)?;
        let check = permit.check_password(target.record.as_ref(), password)?;
        // The password was hashed at a lower cost than configured: hash it again while it is known (AUT-8).
        let better = match check {
            PasswordCheck::RightButCheap => Some(permit.password_record(password)?),
            PasswordCheck::Right | PasswordCheck::Wrong => None,
        };
        drop(permit);

        let (mfa_required, imported) = (self.policy().mfa_required, self.policy().imported_factors);
        let grant = Grant { subject: target.subject, limits, mfa_required, imported };
        let enabled = target.user.as_ref().filter(|user| !user.disabled).map(|user| user.id);
        let granted = match (check, enabled, target.password) {
            (PasswordCheck::Right | PasswordCheck::RightButCheap, Some(user), Some(row)) => self
                .change(context, move |tx, context| {
                    grant.after_right_password(tx, context, user, &row, better.as_ref())
                }),
            (PasswordCheck::Right | PasswordCheck::RightButCheap | PasswordCheck::Wrong, _, _) => {
                let user = target.user.map(|user| user.id);
                self.change(context, move |tx, context| grant.after_wrong_password(tx, context, user))
            }
        };
        drop(held);
        self.metrics.count_login("password", granted.is_ok());
        self.sign_grant(context, &granted?).map(Reply::Auth)
    }

    fn target(&self, context: &RequestContext, login: &str) -> Result<Target, Error> {
        // All spellings of a login (case, width, spaces) share one throttle; each would allow further guesses (THR-4).
        let key = canonical(login);
        let peer = context.caller.peer.uid;
        self.look(context, |view| {
            let by_id = UserId::parse(login).map(|id| view.user(id)).transpose()?.flatten();
            let user = match by_id {
                Some(user) => Some(user),
                None => view.user_by_login(&key)?,
            };
            let password = match &user {
                Some(user) => view.active_secret(user.id, SecretType::Password)?,
                None => None,
            };
            let record = password.as_ref().map(|row| view.open_secret(row)).transpose()?;
            let subject = match &user {
                Some(user) => Subject::password(user.id, peer),
                None => Subject::nobody(view.vault().unknown_login_place(&key), peer),
            };
            Ok(Target { user, password, record, subject })
        })
    }

    /// Creates the password of a user who has none.
    pub(super) fn create_password(
        &self,
        context: &RequestContext,
        access: UserAccess,
        password: &Sensitive<String>,
    ) -> Result<Reply, Error> {
        let record = self.password_record(context, password)?;
        let view = self.change(context, move |tx, context| {
            access.must_be_recent(tx, context)?;
            let row = insert_password(tx, context, access.user.id, record)?;
            Ok(view_of(&row))
        })?;
        Ok(Reply::SecretCreated(view))
    }

    /// Replaces the password, and ends every token and session of the user (ENR-9). Without the present password this
    /// needs an administrator with a reason.
    pub(super) fn change_password(
        &self,
        context: &RequestContext,
        access: UserAccess,
        new: &Sensitive<String>,
        current: Option<&Sensitive<String>>,
    ) -> Result<Reply, Error> {
        let may_omit = matches!(access.by, Authority::Admin { reason: Some(_), .. });
        let checked = match current {
            Some(current) => Some(self.check_current(context, &access, current)?),
            None if may_omit => None,
            None => return Err(Error::Malformed("`current` is missing; send the present password".to_owned())),
        };
        let record = self.password_record(context, new)?;
        let view = self.change(context, move |tx, context| {
            access.must_be_fresh(tx, context)?;
            let user = access.user.id;
            let row = tx.active_secret(user, SecretType::Password)?.ok_or(Error::NotFound)?;
            // Of two parallel changes with the same present password, only one succeeds.
            if checked.is_some_and(|checked| !is_unchanged(&row, &checked)) {
                return Err(Error::WrongCredentials.into());
            }
            tx.replace_value(&row, &record, context.now.wall_ms)?;
            tx.bump_epoch(user)?;
            let mut entry = context.entry(AuditEvent::PasswordChange, Outcome::Ok, Some(user), Some(row.id));
            entry.detail = access.reason();
            tx.audit(&entry)?;
            let row = tx.secret(user, row.id)?.ok_or(Error::NotFound)?;
            Ok(view_of(&row))
        })?;
        Ok(Reply::Secret(view))
    }

    /// Checks the present password, under the same throttle as at login (THR-7). Returns the secret that was checked.
    fn check_current(
        &self,
        context: &RequestContext,
        access: &UserAccess,
        current: &Sensitive<String>,
    ) -> Result<SecretRow, Error> {
        let user = access.user.id;
        let subject = Subject::password(user, context.caller.peer.uid);
        let limits = self.policy().password_limits;
        let _held = self.passwords.hold(context, subject.as_bytes())?;
        let (throttle, checked) = self.look(context, |view| {
            let row = view.active_secret(user, SecretType::Password)?;
            let checked = row.map(|row| view.open_secret(&row).map(|record| (row, record))).transpose()?;
            Ok((view.throttle(&subject, Class::Password)?, checked))
        })?;
        let (row, record) = checked.ok_or(Error::NotFound)?;
        refuse_closed(throttle.gate(&limits, &context.now))?;
        let permit = self.passwords.permit(context)?;
        let check = permit.check_password(Some(&record), current)?;
        drop(permit);
        match check {
            PasswordCheck::Right | PasswordCheck::RightButCheap if throttle.is_clear() => Ok(row),
            PasswordCheck::Right | PasswordCheck::RightButCheap => {
                self.change(context, move |tx, _| {
                    Ok(tx.set_throttle(&subject, Class::Password, &Throttle::clear())?)
                })?;
                Ok(row)
            }
            PasswordCheck::Wrong => self.change(context, move |tx, context| {
                charge_password(tx, context, &subject, &limits, Some(user))?;
                Err(Stop::Commit(Error::WrongCredentials))
            }),
        }
    }

    /// Hashes a new password, once a hash permit is free. Returns the record to store.
    pub(super) fn password_record(
        &self,
        context: &RequestContext,
        password: &Sensitive<String>,
    ) -> Result<Sensitive<Vec<u8>>, Error> {
        let permit = self.passwords.permit(context)?;
        permit.password_record(password)
    }
}

/// Stores the first password of a user inside a writing job, with its audit row. Refuses if there is one already.
pub(super) fn insert_password(
    tx: &Tx<'_>,
    context: &RequestContext,
    user: UserId,
    record: Sensitive<Vec<u8>>,
) -> Result<SecretRow, Stop> {
    if tx.active_secret(user, SecretType::Password)?.is_some() {
        return Err(Error::PasswordExists.into());
    }
    let name = Label::parse(PASSWORD_NAME).map_err(|cause| Error::Internal(cause.to_owned()))?;
    let new = NewSecret {
        id: context.new_secret_id()?,
        user,
        kind: SecretType::Password,
        name,
        created: context.now.wall_ms,
        expires: None,
        profile: None,
        is_guarded: false,
        is_unproved: false,
        first_counter: 0,
        ahead: 0,
        spare_of: None,
        value: record,
    };
    if !tx.insert_secret(&new)? {
        return Err(Error::SecretNameTaken.into());
    }
    tx.audit(&context.entry(AuditEvent::PasswordCreate, Outcome::Ok, Some(user), Some(new.id)))?;
    let row = tx.secret(user, new.id)?.ok_or(Error::NotFound)?;
    Ok(row)
}

/// Whether this is still the secret that was checked. A password that was replaced while the hash ran must not log in.
/// Renaming the secret also counts as a change; that is rare enough to accept.
fn is_unchanged(now: &SecretRow, checked: &SecretRow) -> bool {
    now.id == checked.id && now.version == checked.version
}

/// Turns the result of a password check into a login, a challenge or a refusal, inside the transaction that records it
/// (THR-2).
struct Grant {
    subject: Subject,
    limits: Limits,
    mfa_required: bool,
    imported: ImportedFactors,
}

impl Grant {
    fn after_right_password(
        &self,
        tx: &Tx<'_>,
        context: &RequestContext,
        user: UserId,
        checked: &SecretRow,
        better: Option<&Sensitive<Vec<u8>>>,
    ) -> Result<Granted, Stop> {
        let now = context.now.wall_ms;
        let user = tx.user(user)?.filter(|user| !user.disabled).ok_or(Error::WrongCredentials)?;
        let password = tx.active_secret(user.id, SecretType::Password)?;
        let password = password.filter(|now| is_unchanged(now, checked)).ok_or(Error::WrongCredentials)?;
        // The check before the hash only saved work. This one decides, in the transaction that records the result.
        let throttle = tx.throttle(&self.subject, Class::Password)?;
        if let Gate::Delayed(wait) = throttle.gate(&self.limits, &context.now) {
            return Err(Error::TooManyAttempts { wait }.into());
        }
        if !throttle.is_clear() {
            tx.set_throttle(&self.subject, Class::Password, &Throttle::clear())?;
        }
        match better {
            // The same password under a new hash: not a change, so the version and the sessions stay.
            Some(record) => tx.strengthen(&password, record, now)?,
            None => tx.touch(password.id, now)?,
        }
        let id = user.id;
        let (granted, detail) = match tx.mfa_state(id, now)? {
            MfaState::Active => (open_challenge(tx, context, user)?, "a second factor is needed"),
            MfaState::Imported if self.mfa_required || self.imported == ImportedFactors::Require => {
                (open_challenge(tx, context, user)?, "a second factor is needed")
            }
            MfaState::None | MfaState::Pending if self.mfa_required => {
                (Granted::Enrolment(user), "a factor has to be enrolled")
            }
            MfaState::None | MfaState::Pending | MfaState::Imported => {
                (open_session(tx, context, user, mfad_core::model::Amr::Password)?, "logged in")
            }
        };
        tx.audit(&context.entry_with(AuditEvent::LoginPassword, Outcome::Ok, Some(id), Some(password.id), detail))?;
        Ok(granted)
    }

    fn after_wrong_password(
        &self,
        tx: &Tx<'_>,
        context: &RequestContext,
        user: Option<UserId>,
    ) -> Result<Granted, Stop> {
        charge_password(tx, context, &self.subject, &self.limits, user)?;
        Err(Stop::Commit(Error::WrongCredentials))
    }
}

fn charge_password(
    tx: &Tx<'_>,
    context: &RequestContext,
    subject: &Subject,
    limits: &Limits,
    user: Option<UserId>,
) -> Result<(), Stop> {
    let throttle = tx.throttle(subject, Class::Password)?.fail(limits, &context.now, Odds::NONE);
    tx.set_throttle(subject, Class::Password, &throttle)?;
    // An unknown name gets one audit row, at the failure that starts its delay. Otherwise guessing names would fill the
    // disk. All other failures write a probe instead, which takes no space and about the same time (AUT-4).
    if user.is_some() || throttle.failures == limits.delay_after {
        tx.audit(&context.entry(AuditEvent::LoginPassword, Outcome::Refused, user, None))?;
    } else {
        tx.probe(context.now.wall_ms)?;
    }
    Ok(())
}
