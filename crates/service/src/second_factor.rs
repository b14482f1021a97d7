//! The one place where a second factor is judged. Login, step-up and verify all use it. Counting an attempt, comparing
//! it and using the code up are one transaction (THR-2, THR-7, OTP-3).

use std::time::Duration;

use crate::error::Error;
use crate::fido::Assertion;
use mfad_api::AuditEvent;
use mfad_core::model::{
    BackupCode, Digits, Gate, Limits, Method, Odds, OtpKind, Pin, Profile, Right, SecretId, Sensitive, Throttle,
    TokenInput, UserId,
};
use mfad_core::oath::{
    CounterMatch, LOOK_AHEAD, SHORTEST_SEED, Window, match_behind, match_counter, match_step, step_at,
};
use mfad_store::{ActiveFactor, AuditEntry, Class, Fault, LoginFactors, Outcome, Subject, Tx};

use super::ceremonies::Purpose;
use super::decoy;
use super::future_steps::report_future_step;
use super::hasher::find_code;
use super::imported_factors::prove;
use super::locks::Held;
use super::security_keys::use_assertion;
use super::{Proof, RequestContext, Service, Stop};

/// A second factor, ready to be judged inside a transaction. The slow part is done: a backup code is hashed, and the
/// response of a security key is verified.
pub(super) enum Prepared {
    /// A one-time password, not compared yet.
    Token(TokenInput),
    /// The assertion of a security key; `None` if its response was invalid, which counts as a failure.
    Key(Option<Assertion>),
    /// A backup code, hashed with the salt of this set; `None` if the user has none.
    Code { set: Option<SecretId>, hash: Sensitive<[u8; 16]> },
}

/// The settings that a verdict depends on, copied beforehand so that a reload does not change them in the transaction.
#[derive(Clone, Copy)]
pub(super) struct Rules {
    window: Window,
    limits: Limits,
}

/// The factor that an attempt matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Accepted {
    pub(super) secret: SecretId,
    pub(super) method: Method,
    /// Backup codes that are left, if one was used.
    pub(super) remaining: Option<u32>,
    /// TOTP and HOTP: the step or counter of the code, for the audit row that the caller writes.
    pub(super) used: Option<u64>,
    /// TOTP: how many steps the authenticator is ahead of this host; negative if it is behind. For the metrics.
    pub(super) steps_ahead: Option<i64>,
    /// This was the first code of an imported factor. The caller ends the user's older tokens.
    pub(super) is_first: bool,
    /// The factor has a seed of fewer than 128 bits.
    pub(super) is_weak: bool,
}

impl Accepted {
    /// Builds the audit row of a successful attempt. It is also the durable record that the code is used up.
    pub(super) fn entry(&self, context: &RequestContext, event: AuditEvent, user: Option<UserId>) -> AuditEntry {
        let entry = context.entry_with(event, Outcome::Ok, user, Some(self.secret), self.method.name());
        AuditEntry { used: self.used, ..entry }
    }
}

/// The result of an attempt. Counting it and using the code up are already done in the transaction, so the caller must
/// let the transaction commit.
#[must_use]
pub(super) enum Verdict {
    /// The attempt matched this factor, and its code is used up.
    Accepted(Accepted),
    /// Wrong or used before, or the user has no such factor. Counted as a failure.
    Wrong,
    /// Not evaluated: a delay runs for this long.
    Delayed(Duration),
    /// Not evaluated: the factors are locked.
    Locked,
    /// Not evaluated: with this guess the total probability of all guesses would exceed the bound (R9), so it locks.
    LockedNow,
    /// The code has a length that none of the user's factors has. Not counted.
    Misshapen,
}

impl Service {
    pub(super) fn rules(&self) -> Rules {
        let policy = self.policy();
        Rules { window: policy.window, limits: policy.factor_limits }
    }

    /// Does the slow part of judging a proof, outside of the transaction. For a backup code: waits for other backup
    /// codes of this user, checks the throttle, and hashes once. Without a user the work is the same, counted on
    /// `nobody`. The caller must hold the returned lock until the verdict, so that parallel guesses are evaluated one
    /// after the other, each under the throttle of the one before (THR-2).
    pub(super) fn prepare<'a>(
        &'a self,
        context: &RequestContext,
        user: Option<UserId>,
        nobody: &Subject,
        purpose: Purpose,
        proof: Proof,
    ) -> Result<(Prepared, Option<Held<'a>>), Error> {
        let subject = user.map_or_else(|| nobody.clone(), Subject::factors);
        let code = match proof {
            // Comparing takes microseconds, so all of it happens in the transaction that counts the attempt.
            Proof::Token(token) => return Ok((Prepared::Token(token), None)),
            Proof::Device { pin } => return Ok((self.ask_key(context, user, &subject, purpose, pin.as_ref())?, None)),
            Proof::SecurityKey { pin } => {
                self.refuse_throttled(context, &subject)?;
                let user = user.ok_or_else(no_key_here)?;
                return Ok((Prepared::Key(self.answer_here(context, user, pin.as_ref())?), None));
            }
            Proof::Credential(answer) => {
                self.refuse_throttled(context, &subject)?;
                return Ok((Prepared::Key(self.assertion(context, user, purpose, &answer)?), None));
            }
            Proof::Code(code) => code,
        };
        let held = self.passwords.hold(context, subject.as_bytes())?;
        let limits = self.policy().factor_limits;
        let (gate, set) = self.look(context, |view| {
            let gate = view.throttle(&subject, Class::Factor)?.gate(&limits, &context.now);
            Ok((gate, user.map(|user| view.backup_set(user)).transpose()?.flatten()))
        })?;
        refuse_closed(gate)?;
        let prepared = self.hash_code(context, set.as_ref().map(|(row, set)| (row.id, &set.record)), &code)?;
        Ok((prepared, Some(held)))
    }

    /// Asks the user's attached key for a proof. Checks the throttle first, so that no user touches a key for nothing.
    /// A registered security key is asked before an OATH key, because its response is worthless anywhere else.
    fn ask_key(
        &self,
        context: &RequestContext,
        user: Option<UserId>,
        subject: &Subject,
        purpose: Purpose,
        pin: Option<&Pin>,
    ) -> Result<Prepared, Error> {
        self.refuse_throttled(context, subject)?;
        let user = user.ok_or_else(no_key_here)?;
        if self.has_security_key(context, user)? {
            match self.answer_here(context, user, pin) {
                // None of these is a refusal by the user's own security key, so an attached OATH key may answer
                // instead. A wrong PIN or a declined touch is final: it was counted.
                Err(
                    Error::NotThisKey
                    | Error::NoDevice(_)
                    | Error::HidDenied
                    | Error::DeviceBusy { .. }
                    | Error::DeviceFailed(_)
                    | Error::DeviceRemoved,
                ) if self.has_code_key(context, user)? => {}
                answered => return answered.map(Prepared::Key),
            }
        }
        // A key in a port proves no presence unless it is touched. Only an administrator's check may do without, and
        // none for a login to this host, which root asks for whoever it is that logs in.
        let is_check = matches!(purpose, Purpose::Verify(_)) && context.caller.token.is_none();
        let without_touch = is_check && self.right(context, Right::Admin).is_ok();
        self.code_by_key(context, user, without_touch).map(Prepared::Token)
    }

    /// Refuses an attempt that the throttle delays or locks, before work is spent on it. The transaction checks again.
    pub(super) fn refuse_throttled(&self, context: &RequestContext, subject: &Subject) -> Result<(), Error> {
        let limits = self.policy().factor_limits;
        let throttle = self.look(context, |view| view.throttle(subject, Class::Factor))?;
        refuse_closed(throttle.gate(&limits, &context.now))
    }

    /// Counts a failure at the user's key (a wrong PIN, a missing or declined touch) on the throttle of all second
    /// factors, with an audit row. Otherwise PINs could be guessed without limit (THR-7).
    pub(super) fn count_failure(&self, context: &RequestContext, user: UserId, event: AuditEvent) -> Result<(), Error> {
        let rules = self.rules();
        self.change(context, move |tx, context| {
            let subject = Subject::factors(user);
            let throttle = tx.throttle(&subject, Class::Factor)?;
            charge(tx, context, rules, &subject, throttle, Odds::NONE, Some(user))?;
            Ok(tx.audit(&context.entry(event, Outcome::Refused, Some(user), None))?)
        })
    }

    /// [`Service::prepare`] for a user who exists.
    pub(super) fn prepare_for<'a>(
        &'a self,
        context: &RequestContext,
        user: UserId,
        purpose: Purpose,
        proof: Proof,
    ) -> Result<(Prepared, Option<Held<'a>>), Error> {
        self.prepare(context, Some(user), &Subject::factors(user), purpose, proof)
    }

    fn hash_code(
        &self,
        context: &RequestContext,
        set: Option<(SecretId, &Sensitive<Vec<u8>>)>,
        code: &BackupCode,
    ) -> Result<Prepared, Error> {
        let permit = self.passwords.permit(context)?;
        let hash = permit.code_hash(set.map(|(_, record)| record), code)?;
        Ok(Prepared::Code { set: set.map(|(id, _)| id), hash })
    }
}

/// Judges an attempt on a user's second factors. All factors share one throttle: every failure counts on it, and every
/// success clears it. A code does not say which factor it is for, so a count per factor would charge all of them.
/// `factors` are the user's, read in the same transaction. The caller writes the audit row, with [`Accepted::used`].
pub(super) fn judge(
    tx: &Tx<'_>,
    context: &RequestContext,
    rules: Rules,
    user: UserId,
    factors: &[ActiveFactor],
    prepared: &Prepared,
) -> Result<Verdict, Stop> {
    let subject = Subject::factors(user);
    let throttle = tx.throttle(&subject, Class::Factor)?;
    match throttle.gate(&rules.limits, &context.now) {
        Gate::Open => {}
        Gate::Delayed(wait) => return Ok(Verdict::Delayed(wait)),
        Gate::Locked => return Ok(Verdict::Locked),
    }
    if !matches!(prepared, Prepared::Token(_)) {
        // One-time passwords do not need it: their factors are read from the summary itself.
        tx.check_summary(user)?;
    }
    let mut odds = Odds::NONE;
    let found = match prepared {
        Prepared::Token(token) => {
            // Eleven HOTP counters or several factors make one guess likelier, so the lock comes earlier (R9).
            odds = odds_of_all(factors, rules.window, token);
            if odds == Odds::NONE && !factors.is_empty() {
                return Ok(Verdict::Misshapen);
            }
            if throttle.leaves_no_room_for(odds) {
                keep(tx, context, rules, &subject, &throttle.lock(), Some(user))?;
                return Ok(Verdict::LockedNow);
            }
            find_factor(tx, context, rules.window, user, factors, token)?
        }
        Prepared::Code { set, hash } => use_code(tx, context, user, *set, hash)?,
        Prepared::Key(None) => None,
        Prepared::Key(Some(assertion)) => {
            let secret = use_assertion(tx, user, assertion, context.now.wall_ms)?;
            secret.map(|secret| Accepted {
                secret,
                method: Method::Fido2,
                remaining: None,
                used: None,
                steps_ahead: None,
                is_first: false,
                is_weak: false,
            })
        }
    };
    match found {
        Some(accepted) => {
            if !throttle.is_clear() {
                tx.set_throttle(&subject, Class::Factor, &Throttle::clear())?;
            }
            Ok(Verdict::Accepted(accepted))
        }
        None => {
            charge(tx, context, rules, &subject, throttle, odds, Some(user))?;
            Ok(Verdict::Wrong)
        }
    }
}

/// Judges an attempt for a user who does not exist: always wrong, after the same work and under a throttle of the same
/// kind (AUT-4, AZ-2). The odds are those of the usual factor, a TOTP of six digits.
pub(super) fn judge_nobody(
    tx: &Tx<'_>,
    context: &RequestContext,
    rules: Rules,
    subject: &Subject,
    decoy: Option<&LoginFactors>,
    prepared: &Prepared,
) -> Result<Verdict, Stop> {
    let throttle = tx.throttle(subject, Class::Factor)?;
    match throttle.gate(&rules.limits, &context.now) {
        Gate::Open => {}
        Gate::Delayed(wait) => return Ok(Verdict::Delayed(wait)),
        Gate::Locked => return Ok(Verdict::Locked),
    }
    if let Prepared::Token(token) = prepared {
        decoy::refuse(decoy, rules.window, &context.now, token);
    }
    charge(tx, context, rules, subject, throttle, Odds::of(rules.window.width(), Digits::SIX), None)?;
    Ok(Verdict::Wrong)
}

fn charge(
    tx: &Tx<'_>,
    context: &RequestContext,
    rules: Rules,
    subject: &Subject,
    throttle: Throttle,
    odds: Odds,
    user: Option<UserId>,
) -> Result<(), Fault> {
    keep(tx, context, rules, subject, &throttle.fail(&rules.limits, &context.now, odds), user)
}

/// Stores a throttle. If it is now locked and belongs to a user, adds an audit row.
fn keep(
    tx: &Tx<'_>,
    context: &RequestContext,
    rules: Rules,
    subject: &Subject,
    throttle: &Throttle,
    user: Option<UserId>,
) -> Result<(), Fault> {
    tx.set_throttle(subject, Class::Factor, throttle)?;
    if let (Some(user), Gate::Locked) = (user, throttle.gate(&rules.limits, &context.now)) {
        tx.audit(&context.entry(AuditEvent::FactorLock, Outcome::Ok, Some(user), None))?;
    }
    Ok(())
}

/// Returns the accepted factor, or the refusal of any other verdict; `wrong` makes the refusal for a wrong code. A
/// verdict that was counted must commit, or the failure would be rolled back with its refusal.
pub(super) fn accept(verdict: Verdict, wrong: impl FnOnce() -> Stop) -> Result<Accepted, Stop> {
    match verdict {
        Verdict::Accepted(accepted) => Ok(accepted),
        Verdict::Wrong => Err(wrong()),
        Verdict::Delayed(wait) => Err(Error::TooManyAttempts { wait }.into()),
        Verdict::Locked => Err(Error::FactorLocked.into()),
        Verdict::LockedNow => Err(Stop::Commit(Error::FactorLocked)),
        Verdict::Misshapen => Err(Error::wrong_length().into()),
    }
}

/// Refuses while the throttle delays or locks.
pub(super) fn refuse_closed(gate: Gate) -> Result<(), Error> {
    match gate {
        Gate::Open => Ok(()),
        Gate::Delayed(wait) => Err(Error::TooManyAttempts { wait }),
        Gate::Locked => Err(Error::FactorLocked),
    }
}

// The same sentence as for a user who exists but has no key attached (`devices::proof`), so that the two look alike.
fn no_key_here() -> Error {
    Error::NoDevice("no key of this user is plugged in here".to_owned())
}

/// The probability that one guess matches any of the factors of its length.
fn odds_of_all(factors: &[ActiveFactor], window: Window, token: &TokenInput) -> Odds {
    let of_length = factors.iter().filter(|factor| token.for_digits(factor.profile.digits).is_some());
    of_length.fold(Odds::NONE, |odds, factor| odds.or(odds_of(&factor.profile, window)))
}

/// Compares a code with every active factor of its length, and uses it up in each that it matches. It does not stop at
/// the first match: a code that two factors share must not work a second time.
fn find_factor(
    tx: &Tx<'_>,
    context: &RequestContext,
    window: Window,
    user: UserId,
    factors: &[ActiveFactor],
    token: &TokenInput,
) -> Result<Option<Accepted>, Fault> {
    let mut accepted = None;
    for factor in factors {
        let Some(code) = token.for_digits(factor.profile.digits) else { continue };
        let Some(matched) = match_factor(tx, context, window, user, factor, code)? else { continue };
        if factor.is_unproved {
            prove(tx, context, user, factor.id, "by its first code")?;
        }
        if accepted.is_none() {
            accepted = Some(matched);
            continue;
        }
        // The caller's audit row names the first factor alone, and each use needs a row.
        let (event, object) = (AuditEvent::FactorSameCode, Some(factor.id));
        let entry = context.entry(event, Outcome::Ok, Some(user), object);
        tx.audit(&AuditEntry { used: matched.used, ..entry })?;
    }
    Ok(accepted)
}

/// The probability that one guess matches one factor.
fn odds_of(profile: &Profile, window: Window) -> Odds {
    let codes = match profile.moving {
        OtpKind::Totp(_) => window.width(),
        OtpKind::Hotp => u64::from(LOOK_AHEAD).saturating_add(1),
    };
    Odds::of(codes, profile.digits)
}

fn match_factor(
    tx: &Tx<'_>,
    context: &RequestContext,
    window: Window,
    user: UserId,
    factor: &ActiveFactor,
    code: u32,
) -> Result<Option<Accepted>, Fault> {
    let now = context.now.wall_ms;
    let (profile, seed) = (&factor.profile, factor.seed.expose());
    let position = tx.position(factor)?;
    let accepted = |method, used, steps_ahead| {
        let (is_first, is_weak) = (factor.is_unproved, seed.len() < SHORTEST_SEED);
        Some(Accepted { secret: factor.id, method, remaining: None, used: Some(used), steps_ahead, is_first, is_weak })
    };
    match profile.moving {
        OtpKind::Totp(period) => {
            let current = step_at(context.now.unix_seconds(), period);
            let last = position.last_step();
            report_future_step(tx, context, user, factor.id, last, current)?;
            let step = match_step(seed, profile.algorithm, profile.digits, code, current, window, last);
            let Some(step) = step else { return Ok(None) };
            if !tx.use_up(factor, &position, step, now)? {
                return Ok(None);
            }
            let ahead = i64::try_from(step).ok().zip(i64::try_from(current).ok());
            Ok(accepted(Method::Totp, step, ahead.map(|(step, current)| step.saturating_sub(current))))
        }
        OtpKind::Hotp => {
            let (algorithm, digits, expected) = (profile.algorithm, profile.digits, position.next);
            let mut matched = match_counter(seed, algorithm, digits, code, expected, position.resync);
            if matched == CounterMatch::Unknown && position.ahead > 0 {
                let expected = (expected, position.ahead);
                matched = match_behind(seed, algorithm, digits, code, expected, position.resync);
            }
            match matched {
                CounterMatch::Accepted { next } => {
                    let counter = next.saturating_sub(1);
                    let is_new = if counter < expected {
                        tx.turn_back(factor, &position, counter, now)?
                    } else {
                        tx.use_up(factor, &position, counter, now)?
                    };
                    Ok(if is_new { accepted(Method::Hotp, counter, None) } else { None })
                }
                // Outside of the look-ahead a single code could be a guess. If the next code follows it in sequence, the
                // counter is resynchronised (RFC 4226 section 7.4).
                CounterMatch::Ahead { counter } => {
                    tx.remember_resync(factor, Some(counter))?;
                    Ok(None)
                }
                CounterMatch::Unknown => {
                    if position.resync.is_some() {
                        tx.remember_resync(factor, None)?;
                    }
                    Ok(None)
                }
            }
        }
    }
}

/// Uses a backup code up. `hashed_for` is the set whose salt the hash was made with; a set that was renewed since then
/// matches nothing.
fn use_code(
    tx: &Tx<'_>,
    context: &RequestContext,
    user: UserId,
    hashed_for: Option<SecretId>,
    hash: &Sensitive<[u8; 16]>,
) -> Result<Option<Accepted>, Stop> {
    let Some((row, set)) = tx.backup_set(user)? else { return Ok(None) };
    if hashed_for != Some(row.id) {
        return Ok(None);
    }
    let Some(place) = find_code(&set.record, hash)? else { return Ok(None) };
    if !tx.consume_code(row.id, place, context.now.wall_ms)? {
        return Ok(None);
    }
    let remaining = row.codes_left().saturating_sub(1);
    tx.audit(&context.entry_with(
        AuditEvent::CodeUse,
        Outcome::Ok,
        Some(user),
        Some(row.id),
        format!("{remaining} backup codes left"),
    ))?;
    Ok(Some(Accepted {
        secret: row.id,
        method: Method::Recovery,
        remaining: Some(remaining),
        used: None,
        steps_ahead: None,
        is_first: false,
        is_weak: false,
    }))
}
