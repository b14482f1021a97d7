//! TOTP steps that were used up while the clock was ahead: an audit row reports them, and they are lowered again when
//! an administrator unlocks the user.

use std::collections::BTreeSet;

use mfad_api::AuditEvent;
use mfad_core::model::{Moment, OtpKind, Period, SecretId, UserId};
use mfad_core::oath::step_at;
use mfad_store::{AuditEntry, Fault, Outcome, SecretRow, Tx, View};

use super::RequestContext;

/// Adds an audit row if the newest used step lies in the future: the clock was ahead when it was used. No code of this
/// factor works until time has caught up or an administrator unlocks the user (TIME-2).
pub(super) fn report_future_step(
    tx: &Tx<'_>,
    context: &RequestContext,
    user: UserId,
    factor: SecretId,
    last_step: Option<u64>,
    current: u64,
) -> Result<(), Fault> {
    if last_step.is_some_and(|last| last > current.saturating_add(1)) {
        tx.audit(&context.entry_with(
            AuditEvent::ClockFutureStep,
            Outcome::Refused,
            Some(user),
            Some(factor),
            "the newest used step lies in the future; was the clock ahead?",
        ))?;
    }
    Ok(())
}

/// The times at which the user's factors were used, from the audit log up to row `up_to`. Read beforehand in a
/// snapshot, because reading the whole log would keep the writer busy.
pub(super) struct FutureUses {
    up_to: i64,
    times: Option<Vec<i64>>,
}

/// Steps back and forward that any window can have accepted (OTP-4). The window at the time of a use is not recorded,
/// so the widest is assumed.
const WIDEST: (u64, u64) = (2, 1);
/// How many milliseconds before the present a use may have used up a step after it: two of the longest periods (120 s).
const JUST_BEFORE: i64 = 240_000;

impl FutureUses {
    /// Reads the whole audit log if a factor of the user has a step in the future. Call it in a read snapshot, not in a
    /// writing job.
    pub(super) fn read(view: &View<'_>, user: UserId, now: &Moment) -> Result<Self, Fault> {
        let up_to = view.newest_audit_row()?;
        let is_needed = !factors_ahead(view, user, now)?.is_empty();
        let times = is_needed.then(|| uses_after(view, user, 0, now)).transpose()?;
        Ok(Self { up_to, times })
    }

    /// Returns the times known from the snapshot and those of later rows.
    fn all(&self, view: &View<'_>, user: UserId, now: &Moment) -> Result<Vec<i64>, Fault> {
        let known = self.times.as_deref();
        let since = uses_after(view, user, known.map_or(0, |_| self.up_to), now)?;
        Ok(known.unwrap_or_default().iter().copied().chain(since).collect())
    }
}

/// Returns when any of the user's factors was used, in milliseconds since 1970, from the audit rows after `after`. All
/// factors are searched: a code may belong to several, and the log names only one of them.
fn uses_after(view: &View<'_>, user: UserId, after: i64, now: &Moment) -> Result<Vec<i64>, Fault> {
    let from = now.wall_ms.saturating_sub(JUST_BEFORE);
    let factors = view.active_factors(user)?.into_iter();
    let times = factors.map(|factor| view.done_with(factor.id, after, from)).collect::<Result<Vec<_>, _>>()?;
    Ok(times.concat())
}

/// Returns the TOTP factors whose newest used step lies in the future, each with its period and the present step.
fn factors_ahead(view: &View<'_>, user: UserId, now: &Moment) -> Result<Vec<(SecretRow, Period, u64)>, Fault> {
    let factors = view.active_factors(user)?.into_iter();
    let ahead = factors.filter_map(|factor| {
        let Some(OtpKind::Totp(period)) = factor.profile.map(|p| p.moving) else { return None };
        let current = step_at(now.unix_seconds(), period);
        let is_ahead = factor.last_step.is_some_and(|last| last > current.saturating_add(1));
        is_ahead.then_some((factor, period, current))
    });
    Ok(ahead.collect())
}

/// Lowers each newest used step that lies in the future of `now` to the present step, and returns for how many factors.
/// Steps beyond it that may have been used stay used: each use lies within the widest window around its time (OTP-3).
pub(super) fn lower_future_steps(
    tx: &Tx<'_>,
    context: &RequestContext,
    user: UserId,
    uses: &FutureUses,
) -> Result<u32, Fault> {
    let now = &context.now;
    // Uses by earlier jobs of the batch must be seen.
    tx.settle_audit()?;
    let mut lowered = 0u32;
    let ahead = factors_ahead(tx, user, now)?;
    let times = if ahead.is_empty() { Vec::new() } else { uses.all(tx, user, now)? };
    for (factor, period, current) in ahead {
        let mut used: BTreeSet<u64> = factor.last_step.into_iter().collect();
        for at in &times {
            let step = step_at(at.div_euclid(1000), period);
            used.extend(step.saturating_sub(WIDEST.0)..=step.saturating_add(WIDEST.1));
        }
        if tx.lower_last_step(&factor, current, &used)? {
            // This row is the durable record of the lowered step.
            let entry = context.entry(AuditEvent::ClockStepLowered, Outcome::Ok, Some(user), Some(factor.id));
            tx.audit(&AuditEntry { used: Some(current), ..entry })?;
            lowered = lowered.saturating_add(1);
        }
    }
    Ok(lowered)
}
