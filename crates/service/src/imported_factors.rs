//! Imported factors that their users have not proved here yet: the first right code of one, and the diagnosis of a wrong
//! one.

use mfad_api::AuditEvent;
use mfad_core::model::{SecretId, TokenInput, UserId};
use mfad_core::oath::{Diagnosis, diagnose};
use mfad_store::{ActiveFactor, Fault, Outcome, Tx, UserRow};

use super::RequestContext;

/// Makes an imported factor an ordinary one. `how` it was proved goes into the audit log.
pub(super) fn prove(tx: &Tx<'_>, context: &RequestContext, user: UserId, id: SecretId, how: &str) -> Result<(), Fault> {
    tx.prove(id, context.now.wall_ms)?;
    let detail = format!("an imported factor, proved {how}");
    tx.audit(&context.entry_with(AuditEvent::FactorEnroll, Outcome::Ok, Some(user), Some(id), detail))
}

/// Ends the user's older tokens after the first code of an imported factor: they may have been issued without it (ENR-9).
/// Returns the user as it is then.
pub(super) fn end_older_tokens(tx: &Tx<'_>, user: UserRow) -> Result<UserRow, Fault> {
    tx.bump_epoch(user.id)?;
    Ok(tx.user(user.id)?.unwrap_or(user))
}

/// Looks for the settings or the clock error of an imported factor for which a wrong first code would be right, as at an
/// enrolment. It tells of no code that will be right later, since the password alone stands before this answer.
pub(super) fn diagnose_unproved(
    context: &RequestContext,
    factors: &[ActiveFactor],
    token: &TokenInput,
) -> Option<Diagnosis> {
    let unproved = factors.iter().filter(|factor| factor.is_unproved);
    let now = context.now.unix_seconds();
    let mut found = unproved.filter_map(|factor| diagnose(&factor.profile, factor.seed.expose(), token, now));
    found.find(|found| found.drift_seconds <= 0)
}
