//! Whether an answer that was kept for an `Idempotency-Key` may be given again: only where the same request would still be
//! allowed, and a secret only until what it belongs to was used, replaced or removed (ENR-8).

use crate::error::Error;
use mfad_core::model::{SecretId, SessionId, TokenKind, UserId, UserRef};
use mfad_store::{Fault, SecretType, Status, UserRow, View};

use super::access::{Access, required};
use super::authorise::Scope;
use super::{AuthView, Call, Reply, RequestContext, SecretOrder, Service};

/// The secret in a kept answer, and what it depends on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Told {
    /// Nothing of that kind.
    #[default]
    Nothing,
    /// The seed of a pending factor.
    Seed(UserId, SecretId),
    /// The value of an API key.
    ApiKey(UserId, SecretId),
    /// Backup codes that were made at that time.
    Codes(UserId, i64),
    /// Tokens, and the refresh token of a session.
    Tokens(UserId, Option<(SessionId, u32)>),
}

impl Service {
    /// What a reply tells to a request of that time (milliseconds since 1970), to be kept with it.
    pub fn told(&self, at: i64, reply: &Reply) -> Told {
        match reply {
            Reply::FactorCreated { secret, .. } => Told::Seed(secret.user, secret.id),
            Reply::ApiKeyCreated { secret, .. } => Told::ApiKey(secret.user, secret.id),
            Reply::Enrolled { secret, .. } | Reply::KeyRegistered { secret, .. } => Told::Codes(secret.user, at),
            Reply::Provisioned { secret, codes: Some(_), .. } => Told::Codes(secret.user, at),
            Reply::Codes(user, _) => Told::Codes(*user, at),
            Reply::Auth(view) | Reply::UserCreated { auth: Some(view), .. } => self.tokens_of(view),
            Reply::UserCreated { auth: None, .. }
            | Reply::Provisioned { codes: None, .. }
            | Reply::User(_)
            | Reply::Users { .. }
            | Reply::Secret(_)
            | Reply::Secrets(_)
            | Reply::SecretCreated(_)
            | Reply::KeyAsked { .. }
            | Reply::KeyOptions(_)
            | Reply::AuthMethods { .. }
            | Reply::ReceiptRedeemed { .. }
            | Reply::Verified { .. }
            | Reply::KeySet(_)
            | Reply::Devices(_)
            | Reply::SecurityKeys(_)
            | Reply::Device { .. }
            | Reply::DeviceEvents { .. }
            | Reply::Accounts(_)
            | Reply::Account(_)
            | Reply::Genuine(_)
            | Reply::DevicePassword { .. }
            | Reply::Returned { .. }
            | Reply::Audit { .. }
            | Reply::MasterKey(_)
            | Reply::Backup(_)
            | Reply::Live
            | Reply::Ready
            | Reply::Metrics(_)
            | Reply::Version { .. }
            | Reply::Done => Told::Nothing,
        }
    }

    fn tokens_of(&self, view: &AuthView) -> Told {
        let parts = view.refresh.as_ref().and_then(|token| self.refresh_parts(token.expose()).ok());
        Told::Tokens(view.user, parts.map(|parts| (parts.session, parts.generation)))
    }

    /// Refuses whoever would be refused now, and what is not to be told any more.
    pub fn may_repeat(&self, context: &RequestContext, call: &Call, told: &Told) -> Result<(), Error> {
        self.is_still_allowed(context, call)?;
        let now = context.now.wall_ms;
        if self.look(context, |view| told.holds(view, now))? { Ok(()) } else { Err(Error::ToldOnce) }
    }

    fn is_still_allowed(&self, context: &RequestContext, call: &Call) -> Result<(), Error> {
        match required(call) {
            Access::User(user, scope, _) if ends_own_token(call) => self.access_once_more(context, user, scope),
            Access::Confirmation(user, _) => self.access_once_more(context, user, Scope::Enrolment),
            Access::Session if ends_own_token(call) => self.holder_of_token(context, 0).map(drop),
            Access::Challenge | Access::ChallengeOrSession => self.holder_of_token(context, 0).map(drop),
            access => self.evidence(context, access).map(drop),
        }
    }

    /// Like [`Service::access_to`], also for a token that was ended by what is asked again and by nothing else since.
    fn access_once_more(&self, context: &RequestContext, user: UserRef, scope: Scope) -> Result<(), Error> {
        match self.access_to(context, user, scope) {
            Err(Error::Unauthenticated) => {
                let holder = self.holder_of_token(context, 1)?;
                let is_named = user == UserRef::Me || user == UserRef::Id(holder.id);
                if is_named { Ok(()) } else { Err(Error::NotFound) }
            }
            other => other.map(drop),
        }
    }

    /// The user of the token, even if its session has ended. `ended` says how many times the user's epoch may have been
    /// raised since the token was made, and must have been.
    fn holder_of_token(&self, context: &RequestContext, ended: i64) -> Result<UserRow, Error> {
        let claims = self.claims(context)?.ok_or(Error::Unauthenticated)?;
        let is_challenge = claims.kind == TokenKind::Challenge;
        let user = self.look(context, |view| view.user(claims.subject))?;
        user.filter(|user| !user.disabled && user.epoch == claims.epoch.saturating_add(ended))
            .filter(|_| ended == 0 || !is_challenge)
            .ok_or(Error::Unauthenticated)
    }
}

/// Whether a call ends the very token that it is made with.
fn ends_own_token(call: &Call) -> bool {
    matches!(
        call,
        Call::Enroll(..)
            | Call::CreateSecret(_, SecretOrder::LocalKey(..))
            | Call::ChangePassword { .. }
            | Call::RenewCodes(_)
            | Call::DeleteSecret(..)
            | Call::LogOut
    )
}

impl Told {
    fn holds(&self, view: &View<'_>, now: i64) -> Result<bool, Fault> {
        Ok(match *self {
            Self::Nothing => true,
            Self::Seed(user, secret) => view.secret(user, secret)?.is_some_and(|row| row.is_pending_at(now)),
            Self::ApiKey(user, secret) => {
                let row = view.secret(user, secret)?;
                row.is_some_and(|row| row.status == Status::Active && row.last_used.is_none())
            }
            Self::Codes(user, at) => {
                let set = view.active_secret(user, SecretType::Backup)?;
                // A second factor comes without codes, and has nothing to tell.
                let is_unused = set.is_none_or(|set| set.created == at && set.last_used.is_none() || set.created < at);
                // An API key may be in use by a program all the time.
                let mut secrets = view.secrets(user)?.into_iter().filter(|row| row.kind != SecretType::ApiKey);
                is_unused && secrets.all(|row| row.last_used.is_none_or(|used| used <= at))
            }
            Self::Tokens(user, session) => {
                let user = view.user(user)?.filter(|user| !user.disabled);
                let session = match session {
                    Some((id, generation)) => view.session(id, now)?.map(|row| row.generation == generation),
                    None => Some(true),
                };
                user.is_some() && session == Some(true)
            }
        })
    }
}
