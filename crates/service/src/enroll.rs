//! Enrolment: the first code activates a pending factor, in one transaction with everything that follows from it
//! (ENR-4). Also the backup codes that come with a first factor.

use std::sync::Arc;

use crate::error::Error;
use mfad_api::AuditEvent;
use mfad_core::entropy;
use mfad_core::model::{
    Amr, BackupCode, CODES_PER_SET, Label, Method, OtpKind, SecretId, Sensitive, Throttle, TokenInput, UserId,
};
use mfad_core::oath::{CounterMatch, Window, diagnose, match_counter, match_step, step_at};
use mfad_store::{
    Class, Fault, MfaState, NewSecret, Outcome, SecretRow, SecretType, SessionRow, Status, Subject, Tx, View,
};

use super::authorise::{Authority, TokenRef, UserAccess};
use super::secrets::view_with_device;
use super::tokens::{Granted, renew_session};
use super::{AuthView, FirstCode as Given, Reply, RequestContext, SecretRef, Service, SessionAfter, Stop};

/// Number of wrong first codes that end a pending factor (ENR-5).
const FIRST_CODES: u32 = 5;
/// Name of a set of backup codes. A number is added if the user has given it to another secret.
const CODES_NAME: &str = "backup codes";

/// A set of backup codes, made and hashed before the transaction that stores it.
pub(super) struct CodeSet {
    codes: Vec<BackupCode>,
    record: Sensitive<Vec<u8>>,
}

/// Backup codes for a factor that may turn out to be the user's first. `None` if the read beforehand found another
/// active factor, or a proof that does not hold.
pub(super) struct FirstCodes(Option<CodeSet>);

impl FirstCodes {
    /// Stores the codes if this is the user's first active factor, and returns them to be shown. Must be called before
    /// the new factor becomes active. Answers "busy" if the user's other factor was deleted after the read: a first
    /// factor without backup codes must not exist.
    pub(super) fn store(
        self,
        tx: &Tx<'_>,
        context: &RequestContext,
        user: UserId,
    ) -> Result<Vec<Sensitive<String>>, Stop> {
        match tx.mfa_state(user, context.now.wall_ms)? {
            MfaState::Active => Ok(Vec::new()),
            MfaState::None | MfaState::Pending | MfaState::Imported => {
                self.0.ok_or(Error::Busy)?.store(tx, context, user)
            }
        }
    }
}

impl Service {
    /// Confirms a pending factor with a code from the user or from its hardware key, or with the answer of a security
    /// key.
    pub(super) fn enroll_with(
        &self,
        context: &RequestContext,
        access: &UserAccess,
        secret: SecretRef,
        first: Given,
        after: SessionAfter,
    ) -> Result<Reply, Error> {
        if after == SessionAfter::Renewed && !access.is_by_login() {
            return Err(Error::Malformed("`session` needs the token of a login of this user".to_owned()));
        }
        let token = match (first, secret) {
            (Given::Token(token), _) => token,
            (Given::Credential(answer), secret) => return self.register_key(context, access, secret, &answer, after),
            (Given::Device, SecretRef::Id(id)) => {
                // Refuse before the user is asked for a touch.
                self.must_be_fresh_now(context, access)?;
                self.code_for_enrolment(context, access.user.id, id)?
            }
            (Given::Device, SecretRef::Malformed) => return Err(Error::NotFound),
        };
        self.enroll(context, access, secret, token, after)
    }

    /// Confirms a pending factor with its first code. Of concurrent requests one succeeds; the others find the factor
    /// active.
    pub(super) fn enroll(
        &self,
        context: &RequestContext,
        access: &UserAccess,
        secret: SecretRef,
        token: TokenInput,
        after: SessionAfter,
    ) -> Result<Reply, Error> {
        let SecretRef::Id(id) = secret else { return Err(Error::NotFound) };
        // One request makes and hashes the backup codes. The others wait here, and then see that the factor is active.
        let _held = self.passwords.hold(context, id.as_bytes())?;
        let (user, window) = (access.user.id, self.policy().window);
        let access = access.clone();
        // The code is needed in the read and in the write, and the write may outlive this call.
        let token = Arc::new(token);
        let first_code = Arc::clone(&token);
        let holds = |view: &View<'_>| {
            let row = pending(view, context.now.wall_ms, user, id, SecretType::Mfa)?;
            let Ok(row) = row else { return Ok(false) };
            Ok(check_first_code(view, context, window, &row, &token)?.is_some())
        };
        let (secret, codes, granted) = self.with_first_codes(context, user, holds, move |tx, context, codes| {
            let row = pending(tx, context.now.wall_ms, user, id, SecretType::Mfa)??;
            access.may_begin_factor(tx, context, row.created)?;
            let Some(used) = check_first_code(tx, context, window, &row, &first_code)? else {
                return Err(refuse_first_code(tx, context, &row, &first_code)?);
            };
            let shown = codes.store(tx, context, user)?;
            if !tx.activate(&row, Some(used), context.now.wall_ms)? {
                return Err(Error::AlreadyActive.into());
            }
            activate_pair(tx, context, &row)?;
            let factor = NewFactor { id, method: Method::Totp, used: Some(used) };
            let granted = after_enrolment(tx, context, &access, &factor, after)?;
            let row = tx.secret(user, id)?.ok_or(Error::NotFound)?;
            Ok((view_with_device(tx, &row)?, shown, granted))
        })?;
        self.metrics.count_enrolment();
        Ok(Reply::Enrolled { secret, codes, session: self.renewed(context, granted.as_ref()) })
    }

    /// Signs the token of the session that an enrolment renewed. Without it the user logs in again; the backup codes of
    /// the same reply must not be lost with it.
    pub(super) fn renewed(&self, context: &RequestContext, granted: Option<&Granted>) -> Option<AuthView> {
        let signed = self.sign_grant(context, granted?);
        signed.inspect_err(|error| tracing::error!(%error, "could not sign the token of a renewed session")).ok()
    }

    /// Runs a job that activates a factor, in one write. `holds` checks the factor's proof in a read beforehand. If it
    /// holds and the factor is the user's first, backup codes are made and hashed before the write: that takes a
    /// quarter of a second, and the writer must not wait for it.
    pub(super) fn with_first_codes<T: Send + 'static>(
        &self,
        context: &RequestContext,
        user: UserId,
        holds: impl FnOnce(&View<'_>) -> Result<bool, Fault>,
        job: impl FnOnce(&Tx<'_>, &RequestContext, FirstCodes) -> Result<T, Stop> + Send + 'static,
    ) -> Result<T, Error> {
        let now = context.now.wall_ms;
        let is_first = self.look(context, |view| Ok(view.mfa_state(user, now)? != MfaState::Active && holds(view)?))?;
        let codes = if is_first { Some(self.new_codes(context)?) } else { None };
        self.change(context, move |tx, context| job(tx, context, FirstCodes(codes)))
    }

    /// Replaces all backup codes with new ones.
    pub(super) fn renew_codes(&self, context: &RequestContext, access: UserAccess) -> Result<Reply, Error> {
        let (user, now) = (access.user.id, context.now.wall_ms);
        // Refuse before the expensive hashes; the transaction checks again.
        let state = self.look(context, |view| view.mfa_state(access.user.id, now))?;
        if !state.has_factor() {
            return Err(Error::NoFactor);
        }
        self.must_be_fresh_now(context, &access)?;
        let set = self.new_codes(context)?;
        let shown = self.change(context, move |tx, context| {
            let user = access.user.id;
            access.must_be_fresh(tx, context)?;
            if !tx.mfa_state(user, now)?.has_factor() {
                return Err(Error::NoFactor.into());
            }
            let shown = set.store(tx, context, user)?;
            tx.bump_epoch(user)?;
            let mut entry = context.entry(AuditEvent::CodesRenew, Outcome::Ok, Some(user), None);
            entry.detail = access.reason();
            tx.audit(&entry)?;
            Ok(shown)
        })?;
        Ok(Reply::Codes(user, shown))
    }

    pub(super) fn must_be_fresh_now(&self, context: &RequestContext, access: &UserAccess) -> Result<(), Error> {
        self.ask_now(context, |view| access.must_be_fresh(view, context))
    }

    /// [`UserAccess::may_begin_factor`] in a read, outside of a transaction.
    pub(super) fn may_begin_factor_now(
        &self,
        context: &RequestContext,
        access: &UserAccess,
        begun: i64,
    ) -> Result<(), Error> {
        self.ask_now(context, |view| access.may_begin_factor(view, context, begun))
    }

    fn ask_now(
        &self,
        context: &RequestContext,
        question: impl FnOnce(&View<'_>) -> Result<(), Stop>,
    ) -> Result<(), Error> {
        self.look(context, |view| match question(view) {
            Ok(()) => Ok(Ok(())),
            Err(Stop::Rollback(error) | Stop::Commit(error)) => Ok(Err(error)),
            Err(Stop::Fault(fault)) => Err(fault),
        })?
    }

    pub(super) fn new_codes(&self, context: &RequestContext) -> Result<CodeSet, Error> {
        let codes = (0..CODES_PER_SET)
            .map(|_| entropy::secret::<10>().map(|random| BackupCode::from_random(random.expose())))
            .collect::<Result<Vec<_>, _>>()?;
        let permit = self.passwords.permit(context)?;
        let record = permit.codes_record(&codes)?;
        Ok(CodeSet { codes, record })
    }
}

impl CodeSet {
    /// Replaces any older set with this one, and returns the codes, to be shown this once (BKC-8).
    pub(super) fn store(
        self,
        tx: &Tx<'_>,
        context: &RequestContext,
        user: UserId,
    ) -> Result<Vec<Sensitive<String>>, Stop> {
        if let Some(old) = tx.active_secret(user, SecretType::Backup)? {
            tx.delete_secret(old.id)?;
        }
        let base = |text: &str| Label::parse(text).map_err(|cause| Error::Internal(cause.to_owned()));
        let mut name = base(CODES_NAME)?;
        let mut number = 2u32;
        // The user may have given that name to another secret.
        while !tx.is_name_free(user, &name)? {
            name = base(&format!("{CODES_NAME} {number}"))?;
            number = number.saturating_add(1);
        }
        let new = NewSecret {
            id: context.new_secret_id()?,
            user,
            kind: SecretType::Backup,
            name,
            created: context.now.wall_ms,
            expires: None,
            profile: None,
            is_guarded: false,
            is_unproved: false,
            first_counter: 0,
            ahead: 0,
            spare_of: None,
            value: self.record,
        };
        if !tx.insert_secret(&new)? {
            return Err(Fault::Corrupt("two sets of backup codes").into());
        }
        Ok(self.codes.iter().map(|code| Sensitive::new(code.grouped())).collect())
    }
}

/// Activates the other factor of a key and its spare. Both were proved when they were programmed, so one code is
/// enough.
fn activate_pair(tx: &Tx<'_>, context: &RequestContext, row: &SecretRow) -> Result<(), Stop> {
    let now = context.now.wall_ms;
    let is_other = |other: &&SecretRow| row.spare_of == Some(other.id) || other.spare_of == Some(row.id);
    let pending = tx.pending_factors(row.user, now)?;
    let Some(other) = pending.iter().find(is_other) else { return Ok(()) };
    // The code came from the key of `row`, so the other key keeps its counter.
    if tx.activate(other, None, now)? {
        tx.audit(&context.entry_with(
            AuditEvent::FactorEnroll,
            Outcome::Ok,
            Some(row.user),
            Some(other.id),
            "spare key",
        ))?;
    }
    Ok(())
}

/// A factor that has just become active.
pub(super) struct NewFactor {
    pub id: SecretId,
    pub method: Method,
    /// The step or counter of its first code.
    pub used: Option<u64>,
}

/// What begins with a factor that is active: a clear throttle, no older token, and its row of the audit log.
pub(super) fn begin_factor(
    tx: &Tx<'_>,
    context: &RequestContext,
    user: UserId,
    factor: &NewFactor,
    event: AuditEvent,
    detail: Option<String>,
) -> Result<(), Fault> {
    // A factor bound anew starts with a clear throttle (THR-1).
    tx.set_throttle(&Subject::factors(user), Class::Factor, &Throttle::clear())?;
    // Older tokens were issued without this factor, so they end (ENR-9).
    tx.bump_epoch(user)?;
    record_factor(tx, context, user, factor, event, detail)
}

/// Records a new factor. That is all there is to do for a user who is made in the same transaction, and so has no tokens
/// and no throttle.
pub(super) fn record_factor(
    tx: &Tx<'_>,
    context: &RequestContext,
    user: UserId,
    factor: &NewFactor,
    event: AuditEvent,
    detail: Option<String>,
) -> Result<(), Fault> {
    let mut entry = context.entry(event, Outcome::Ok, Some(user), Some(factor.id));
    entry.detail = detail;
    entry.used = factor.used;
    tx.audit(&entry)
}

/// Everything that follows from a new factor of any kind. Returns the session in place of the one that ended, if it was
/// asked for.
pub(super) fn after_enrolment(
    tx: &Tx<'_>,
    context: &RequestContext,
    access: &UserAccess,
    factor: &NewFactor,
    after: SessionAfter,
) -> Result<Option<Granted>, Stop> {
    let user = access.user.id;
    let old = session_before(tx, context, access)?;
    let detail = match after {
        SessionAfter::Ended => access.reason(),
        SessionAfter::Renewed => Some("a session was opened".to_owned()),
    };
    begin_factor(tx, context, user, factor, AuditEvent::FactorEnroll, detail)?;
    let (SessionAfter::Renewed, Authority::Own { amr, auth_time, .. }) = (after, &access.by) else { return Ok(None) };
    // With the epoch that the enrolment raised.
    let user = tx.user(user)?.ok_or(Error::NotFound)?;
    // The password of the login and the first code stand for a login with both. The session is as old as that login, so
    // it gives no new fresh proof (ENR-3).
    let amr = if amr.has_second_factor() { *amr } else { Amr::after(factor.method) };
    Ok(Some(renew_session(tx, context, user, (amr, *auth_time), old)?))
}

/// Returns the session that an enrolment is made in, if it has a second factor. The enrolment ends it.
fn session_before(view: &View<'_>, context: &RequestContext, access: &UserAccess) -> Result<Option<SessionRow>, Fault> {
    match &access.by {
        Authority::Own { amr, token: TokenRef::Token { session: Some(id), .. }, .. } if amr.has_second_factor() => {
            view.session(*id, context.now.wall_ms)
        }
        Authority::Own { .. } | Authority::App | Authority::Admin { .. } => Ok(None),
    }
}

/// Returns the pending secret of this kind, or the reason why it cannot be confirmed.
pub(super) fn pending(
    view: &View<'_>,
    now: i64,
    user: UserId,
    id: SecretId,
    kind: SecretType,
) -> Result<Result<SecretRow, Error>, Fault> {
    let row = view.secret(user, id)?.filter(|row| row.kind == kind);
    Ok(row.ok_or(Error::NotFound).and_then(|row| match row.status {
        Status::Active => Err(Error::AlreadyActive),
        Status::Pending if row.is_pending_at(now) => Ok(row),
        Status::Pending | Status::Ended => Err(Error::Expired),
    }))
}

/// Returns the step or counter of a right first code.
fn check_first_code(
    view: &View<'_>,
    context: &RequestContext,
    window: Window,
    row: &SecretRow,
    token: &TokenInput,
) -> Result<Option<u64>, Fault> {
    let profile = row.profile.ok_or(Fault::Corrupt("a factor without parameters"))?;
    let Some(code) = token.for_digits(profile.digits) else { return Ok(None) };
    let seed = view.open_secret(row)?;
    Ok(match profile.moving {
        OtpKind::Totp(period) => {
            let current = step_at(context.now.unix_seconds(), period);
            match_step(seed.expose(), profile.algorithm, profile.digits, code, current, window, None)
        }
        OtpKind::Hotp => {
            match match_counter(seed.expose(), profile.algorithm, profile.digits, code, row.counter.unwrap_or(0), None)
            {
                CounterMatch::Accepted { next } => next.checked_sub(1),
                // There is no resynchronisation before the factor is active: only the look-ahead counts.
                CounterMatch::Ahead { .. } | CounterMatch::Unknown => None,
            }
        }
    })
}

/// Counts a wrong first code, diagnoses it, and ends the factor at the last one.
///
/// A code of another length is malformed and costs nothing, unless it is right for another profile. The seed of a
/// factor on a hardware key was never shown, so there such codes are not compared: they would be guesses that are not
/// counted (ENR-5). For the same reason the diagnosis never names a later time at which such a guess would be right.
fn refuse_first_code(tx: &Tx<'_>, context: &RequestContext, row: &SecretRow, token: &TokenInput) -> Result<Stop, Stop> {
    let profile = row.profile.ok_or(Fault::Corrupt("a factor without parameters"))?;
    let is_of_length = token.for_digits(profile.digits).is_some();
    let is_on_key = tx.oath_account(row.id)?.is_some();
    if !is_of_length && is_on_key {
        return Ok(Stop::Rollback(Error::wrong_length()));
    }
    let seed = tx.open_secret(row)?;
    let diagnosis = diagnose(&profile, seed.expose(), token, context.now.unix_seconds())
        .filter(|found| !is_on_key || found.drift_seconds <= 0);
    if !is_of_length && diagnosis.is_none() {
        return Ok(Stop::Rollback(Error::wrong_length()));
    }
    let wrong = tx.count_wrong_code(row)?;
    if wrong >= FIRST_CODES {
        tx.end_pending(row.user, SecretType::Mfa, context.now.wall_ms)?;
    }
    let (user, id) = (Some(row.user), Some(row.id));
    tx.audit(&context.entry_with(AuditEvent::FactorEnroll, Outcome::Refused, user, id, "a wrong first code"))?;
    Ok(Stop::Commit(Error::WrongFirstCode { remaining: FIRST_CODES.saturating_sub(wrong), diagnosis }))
}
