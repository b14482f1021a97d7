//! The second step of a login, which turns a challenge into a session, and the uses of a session: step-up, refresh,
//! logout.

use crate::error::Error;
use crate::token::Claims;
use mfad_api::AuditEvent;
use mfad_core::model::{Amr, ChallengeId, Text, TokenInput};
use mfad_store::{Outcome, SessionRow, Tx, UserRow};

use super::authorise::Session;
use super::ceremonies::Purpose;
use super::imported_factors::{diagnose_unproved, end_older_tokens};
use super::locks::Held;
use super::receipts::new_receipt;
use super::second_factor::{Accepted, Prepared, Verdict, accept, judge};
use super::tokens::{CHALLENGE_ANSWERS, Granted, OPEN_SESSIONS, REFRESH_GRACE, extended, open_session, refresh_token};
use super::{Job, Proof, Reply, RequestContext, Service, Stop};

/// What the audit log says of an answer that was not right.
const WRONG: &str = "a wrong or used code";

impl Service {
    /// Answers a challenge with a second factor. On success the challenge is used up and a session opened, in the
    /// transaction that used up the code (AUT-2).
    pub(super) fn answer_challenge(
        &self,
        context: &RequestContext,
        claims: Claims,
        proof: Proof,
    ) -> Result<Reply, Error> {
        let (job, _held) = self.answer(context, claims, proof)?;
        let outcome = self.change(context, job);
        self.answered(context, outcome)
    }

    /// [`Service::answer_challenge`] for a one-time code. It awaits the commit, so that it needs no thread.
    pub(super) async fn answer_challenge_async(
        &self,
        context: &RequestContext,
        claims: Claims,
        token: TokenInput,
    ) -> Result<Reply, Error> {
        let (job, _) = self.answer(context, claims, Proof::Token(token))?;
        let outcome = self.change_async(context, job).await;
        self.answered(context, outcome)
    }

    /// Does everything but the change itself. The caller holds the returned lock until the change is committed.
    fn answer(
        &self,
        context: &RequestContext,
        claims: Claims,
        proof: Proof,
    ) -> Result<(impl Job<(Granted, Accepted)> + use<>, Option<Held<'_>>), Error> {
        let id = ChallengeId::from_slice(&claims.id).ok_or(Error::Unauthenticated)?;
        // Do not ask for a touch or run a hash for a challenge that has ended. For a one-time code this read would only
        // repeat the check in its transaction.
        if !matches!(proof, Proof::Token(_)) {
            self.look(context, |view| view.challenge(id, context.now.wall_ms))?.ok_or(Error::ChallengeEnded)?;
        }
        let (prepared, held) = self.prepare_for(context, claims.subject, Purpose::Login(id), proof)?;
        let rules = self.rules();
        let job = move |tx: &Tx<'_>, context: &RequestContext| {
            // Checked again inside the transaction: another answer may have used the challenge up meanwhile.
            let challenge = tx.challenge(id, context.now.wall_ms)?.ok_or(Error::ChallengeEnded)?;
            let user = tx.user(challenge.user)?.ok_or(Error::ChallengeEnded)?;
            let is_open = challenge.user == claims.subject && challenge.epoch == user.epoch && !user.disabled;
            if !is_open {
                return Err(Error::ChallengeEnded.into());
            }
            let found = tx.login_factors(user.id)?.ok_or(Error::ChallengeEnded)?;
            let verdict = judge(tx, context, rules, user.id, &found.factors, &prepared)?;
            let (mut remaining, mut diagnosis) = (0, None);
            if matches!(verdict, Verdict::Wrong) {
                remaining = tx.count_wrong_answer(&challenge, CHALLENGE_ANSWERS)?;
                let entry = context.entry_with(AuditEvent::LoginFactor, Outcome::Refused, Some(user.id), None, WRONG);
                tx.audit(&entry)?;
                if let Prepared::Token(token) = &prepared {
                    diagnosis = diagnose_unproved(context, &found.factors, token);
                }
            }
            // The failure count and the audit row must survive the refusal, so it commits (THR-2).
            let accepted =
                accept(verdict, || Stop::Commit(Error::WrongCode { remaining: Some(remaining), diagnosis }))?;
            if !tx.end_challenge(id)? {
                return Err(Error::ChallengeEnded.into());
            }
            tx.audit(&accepted.entry(context, AuditEvent::LoginFactor, Some(user.id)))?;
            let user = if accepted.is_first { end_older_tokens(tx, user)? } else { user };
            let granted = open_session(tx, context, user, Amr::after(accepted.method))?;
            Ok((granted, accepted))
        };
        Ok((job, held))
    }

    fn answered(&self, context: &RequestContext, outcome: Result<(Granted, Accepted), Error>) -> Result<Reply, Error> {
        self.metrics.count_login("factor", outcome.is_ok());
        let (granted, accepted) = outcome?;
        self.metrics.count_accepted(accepted.steps_ahead, accepted.is_first);
        let mut view = self.sign_grant(context, &granted)?;
        view.remaining = accepted.remaining;
        view.is_weak = accepted.is_weak;
        Ok(Reply::Auth(view))
    }

    /// Takes a second factor for one action. Returns a fresh access token, and a receipt for the action.
    pub(super) fn step_up(
        &self,
        context: &RequestContext,
        signed: Session,
        proof: Proof,
        action: &Text,
        redeemer: Option<u32>,
    ) -> Result<Reply, Error> {
        let state = self.look(context, |view| view.mfa_state(signed.user.id, context.now.wall_ms))?;
        if !state.has_factor() {
            return Err(Error::NoFactor);
        }
        let (prepared, _held) = self.prepare_for(context, signed.user.id, Purpose::StepUp(signed.session), proof)?;
        let rules = self.rules();
        let (receipt, mut row) = new_receipt(context, &signed.user, action, redeemer)?;
        let outcome = self.change(context, move |tx, context| {
            let session = live_session(tx, context, &signed)?;
            let found = tx.login_factors(signed.user.id)?.ok_or(Error::Unauthenticated)?;
            let verdict = judge(tx, context, rules, signed.user.id, &found.factors, &prepared)?;
            if matches!(verdict, Verdict::Wrong) {
                let user = Some(signed.user.id);
                tx.audit(&context.entry_with(AuditEvent::LoginStepUp, Outcome::Refused, user, None, WRONG))?;
            }
            let accepted = accept(verdict, || Stop::Commit(Error::WrongCode { remaining: None, diagnosis: None }))?;
            // Only this token becomes fresh. The session stays as it was, because its refresh token may be in other
            // hands.
            let session =
                SessionRow { amr: Amr::after(accepted.method), auth_time: context.now.unix_seconds(), ..session };
            row.amr = session.amr;
            let (mut session, mut user) = (session, signed.user);
            if accepted.is_first {
                // This session goes on.
                let kept = tx.session(session.id, context.now.wall_ms)?.ok_or(Error::Unauthenticated)?;
                user = end_older_tokens(tx, user)?;
                tx.insert_session(&SessionRow { epoch: user.epoch, ..kept }, OPEN_SESSIONS)?;
                (session.epoch, row.epoch) = (user.epoch, user.epoch);
            }
            tx.insert_receipt(&row, super::receipts::OPEN_RECEIPTS)?;
            tx.audit(&accepted.entry(context, AuditEvent::LoginStepUp, Some(user.id)))?;
            Ok((session, user, accepted))
        });
        self.metrics.count_login("step-up", outcome.is_ok());
        let (session, user, accepted) = outcome?;
        self.metrics.count_accepted(accepted.steps_ahead, accepted.is_first);
        let mut view = self.access_view(context, &session, &user)?;
        view.remaining = accepted.remaining;
        view.is_weak = accepted.is_weak;
        view.receipt = Some(receipt);
        Ok(Reply::Auth(view))
    }

    /// Exchanges a refresh token for a new pair. A token that comes back after its exchange is in two hands, so its
    /// whole session ends.
    pub(super) fn refresh(&self, context: &RequestContext) -> Result<Reply, Error> {
        let token = context.caller.token.as_ref().ok_or(Error::Unauthenticated)?;
        let parts = self.refresh_parts(token.expose())?;
        let (binds, mfa_required) = (self.policy().bind_tokens, self.policy().mfa_required);
        let (session, user) = self.change(context, move |tx, context| {
            let now = context.now.wall_ms;
            let session = tx.session(parts.session, now)?.ok_or(Error::RefreshEnded)?;
            if binds && session.peer != context.caller.peer.uid {
                return Err(Error::RefreshEnded.into());
            }
            let user = tx.user(session.user)?.filter(|user| !user.disabled && user.epoch == session.epoch);
            let user = user.ok_or(Error::RefreshEnded)?;
            // The roles go into the token, so they are first checked for forgery.
            tx.check_summary(user.id)?;
            // This session was opened before the settings demanded a second factor (AUT-7).
            if mfa_required && !session.amr.has_second_factor() {
                tx.end_session(session.id)?;
                tx.audit(&context.entry(AuditEvent::SessionEnd, Outcome::Refused, Some(user.id), None))?;
                return Err(Stop::Commit(Error::RefreshEnded));
            }
            // The answer may have been lost, or two browser tabs refreshed at once: the same token gets the same
            // successor. The absolute value is taken because, of two concurrent requests, the one that arrived first
            // may run last.
            let is_just_exchanged = parts.generation.checked_add(1) == Some(session.generation)
                && session.rotated.is_some_and(|at| now.saturating_sub(at).saturating_abs() < REFRESH_GRACE);
            if is_just_exchanged {
                return Ok((session, user));
            }
            let expires = extended(&session, now);
            if !tx.rotate_session(session.id, parts.generation, expires, now)? {
                tx.end_session(session.id)?;
                tx.audit(&context.entry_with(
                    AuditEvent::SessionReuse,
                    Outcome::Refused,
                    Some(user.id),
                    None,
                    "a refresh token came back; its session was ended",
                ))?;
                return Err(Stop::Commit(Error::RefreshEnded));
            }
            let session = tx.session(session.id, now)?.ok_or(Error::RefreshEnded)?;
            Ok((session, user))
        })?;
        let mut view = self.access_view(context, &session, &user)?;
        view.refresh = Some(refresh_token(self.store.vault(), &session));
        Ok(Reply::Auth(view))
    }

    /// Ends the session of the caller's token.
    pub(super) fn log_out(&self, context: &RequestContext, signed: Session) -> Result<Reply, Error> {
        self.change(context, move |tx, context| {
            tx.end_session(signed.session)?;
            Ok(tx.audit(&context.entry(AuditEvent::SessionEnd, Outcome::Ok, Some(signed.user.id), None))?)
        })?;
        Ok(Reply::Done)
    }
}

/// Returns the session as it is now. Refuses if the session has ended, or if its user is disabled or has a newer epoch.
fn live_session(
    tx: &mfad_store::Tx<'_>,
    context: &super::RequestContext,
    signed: &Session,
) -> Result<SessionRow, Stop> {
    let user: Option<UserRow> = tx.user(signed.user.id)?;
    let is_current = user.is_some_and(|user| !user.disabled && user.epoch == signed.user.epoch);
    let session = tx.session(signed.session, context.now.wall_ms)?;
    Ok(session.filter(|_| is_current).ok_or(Error::Unauthenticated)?)
}
