//! Decides whether an answer that was kept for an `Idempotency-Key` may be sent again. The same request must still be
//! allowed, and a secret is repeated only until it is used, replaced or removed (ENR-8). It keeps no answers itself.

use crate::error::Error;
use mfad_core::model::{SecretId, SessionId, TokenKind, UserId, UserRef};
use mfad_store::{Fault, SecretType, Status, UserRow, View};

use super::access::{Access, required};
use super::authorise::Scope;
use super::{AuthView, Call, Reply, RequestContext, SecretOrder, Service};

/// The secret in a kept answer, with what [`Service::may_repeat`] needs to see whether it is still unused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Told {
    /// The answer holds no secret.
    #[default]
    Nothing,
    /// The seed of a pending factor of this user.
    Seed(UserId, SecretId),
    /// The value of an API key of this user.
    ApiKey(UserId, SecretId),
    /// Backup codes of this user, made at this time (milliseconds since 1970).
    Codes(UserId, i64),
    /// Backup codes of this user, made at this time, and tokens; with a refresh token also its session and generation.
    CodesAndTokens(UserId, i64, Option<(SessionId, u32)>),
    /// Tokens of this user; with a refresh token also its session and generation.
    Tokens(UserId, Option<(SessionId, u32)>),
}

impl Service {
    /// Returns which secret a reply holds, to be kept with the reply. `at` is the time of the request, in milliseconds
    /// since 1970.
    pub fn told(&self, at: i64, reply: &Reply) -> Told {
        match reply {
            Reply::FactorCreated { secret, .. } => Told::Seed(secret.user, secret.id),
            Reply::ApiKeyCreated { secret, .. } => Told::ApiKey(secret.user, secret.id),
            Reply::Enrolled { secret, session, .. } => match session.as_ref().map(|session| self.tokens_of(session)) {
                Some(Told::Tokens(user, session)) => Told::CodesAndTokens(user, at, session),
                _ => Told::Codes(secret.user, at),
            },
            Reply::KeyRegistered { secret, .. } => Told::Codes(secret.user, at),
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
            | Reply::Preflight { .. }
            | Reply::Imported(_)
            | Reply::ImportedUsers(_)
            | Reply::KeySet(_)
            | Reply::Devices(_)
            | Reply::SecurityKeys(_)
            | Reply::Device { .. }
            | Reply::DeviceEvents { .. }
            | Reply::Accounts(_)
            | Reply::Account(_)
            | Reply::Genuine(_)
            | Reply::DevicePassword { .. }
            | Reply::AccountLeft { .. }
            | Reply::Returned { .. }
            | Reply::Audit { .. }
            | Reply::MasterKey(_)
            | Reply::Backup(_)
            | Reply::Export(_)
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

    /// Refuses to repeat the answer to `call` if the call would be refused now, or if the secret in the answer has been
    /// used, replaced or removed ([`Error::ToldOnce`]).
    pub fn may_repeat(&self, context: &RequestContext, call: &Call, told: &Told) -> Result<(), Error> {
        self.is_still_allowed(context, call)?;
        let now = context.now.wall_ms;
        if self.look(context, |view| told.holds(view, now))? { Ok(()) } else { Err(Error::ToldOnce) }
    }

    fn is_still_allowed(&self, context: &RequestContext, call: &Call) -> Result<(), Error> {
        match required(call) {
            // The first run of these calls ended the token that the client must repeat them with.
            Access::User(user, scope, _) if ends_own_token(call) => self.access_once_more(context, user, scope),
            Access::Confirmation(user, _) => self.access_once_more(context, user, Scope::Enrolment),
            Access::Session if ends_own_token(call) => self.holder_of_token(context, 0).map(drop),
            Access::Challenge | Access::ChallengeOrSession => self.holder_of_token(context, 0).map(drop),
            access => self.evidence(context, access).map(drop),
        }
    }

    /// Like [`Service::access_to`], but also accepts a token that was ended by the first run of this very call. If
    /// anything else has ended tokens since then, it is refused.
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

    /// Returns the user of the token, even if its session has ended. The user's epoch must have been raised exactly
    /// `ended` times since the token was made.
    fn holder_of_token(&self, context: &RequestContext, ended: i64) -> Result<UserRow, Error> {
        let claims = self.claims(context)?.ok_or(Error::Unauthenticated)?;
        let is_challenge = claims.kind == TokenKind::Challenge;
        let user = self.look(context, |view| view.user(claims.subject))?;
        user.filter(|user| !user.disabled && user.epoch == claims.epoch.saturating_add(ended))
            .filter(|_| ended == 0 || !is_challenge)
            .ok_or(Error::Unauthenticated)
    }
}

/// Whether a call ends the token with which it is made.
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
                // A second factor comes without codes: the set is older than the request, and the answer holds none.
                let is_unused = set.is_none_or(|set| set.created == at && set.last_used.is_none() || set.created < at);
                // Codes are repeated only before any other use of the account. API keys do not count as one: a program
                // may use one all the time.
                let mut secrets = view.secrets(user)?.into_iter().filter(|row| row.kind != SecretType::ApiKey);
                is_unused && secrets.all(|row| row.last_used.is_none_or(|used| used <= at))
            }
            Self::CodesAndTokens(user, at, session) => {
                Self::Codes(user, at).holds(view, now)? && Self::Tokens(user, session).holds(view, now)?
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
