//! Authorisation. A request with a token acts for that token's user alone: the peer's own rights are not added. So an
//! app can pass a user's token through and rely on the daemon to refuse what the user may not do.

use crate::error::Error;
use crate::token::Claims;
use mfad_core::model::{Amr, Right, Rights, SecretId, SessionId, TokenKind, UserId, UserName, UserRef};
use mfad_store::{Fault, MfaState, SecretType, Status, UserRow, View};

use super::rates::Act;
use super::tokens::{api_key_parts, digest};
use super::{NewUserOrder, RequestContext, SecretRef, Service, Stop};

/// Maximum age in seconds of a second factor that counts as fresh, and of the login that begins a first factor.
const FRESH: i64 = 5 * 60;
/// The role that lets a user's token use the `admin` right of its peer.
pub(super) const ADMIN_ROLE: &str = "admin";
/// Minimum interval between two writes of an API key's last use, in milliseconds. Each is a durable write.
const API_KEY_NOTE: i64 = 60_000;

/// Whether a second factor was given in the last five minutes. Times are in seconds since 1970.
pub(super) fn is_fresh_proof(amr: Amr, auth_time: i64, now: i64) -> bool {
    // A negative age means that the wall clock was set back; such a proof is not fresh.
    amr.has_second_factor() && (0..=FRESH).contains(&now.saturating_sub(auth_time))
}

/// The part of a user's account that a call acts on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// Steps of an enrolment; an ENROLL token is enough.
    Enrolment,
    /// Everything that users may do to their own account.
    Full,
    /// Acts of an administrator, which need a reason.
    Administration,
}

/// The right by which a caller acts on a user.
#[derive(Clone, Debug)]
pub(super) enum Authority {
    /// The user's own token or API key. `auth_time` is in seconds since 1970, and 0 for an API key.
    Own { amr: Amr, auth_time: i64, token: TokenRef },
    /// The peer's right `app`.
    App,
    /// The peer's right `admin`, with the token of an administrator if the request had one. A reason takes the place of
    /// a fresh proof.
    Admin { reason: Option<String>, token: Option<TokenRef> },
}

/// The credential of a request. It is checked when the request arrives, and again in the transaction that makes a
/// change.
#[derive(Clone, Copy, Debug)]
pub(super) enum TokenRef {
    Token { user: UserId, epoch: i64, session: Option<SessionId>, amr: Amr },
    ApiKey { user: UserId, key: SecretId },
}

impl TokenRef {
    /// Returns the user that the credential belongs to, or `None` if it has ended (TOK-6).
    fn holder(&self, view: &View<'_>, now: i64) -> Result<Option<UserRow>, Fault> {
        let (Self::Token { user, .. } | Self::ApiKey { user, .. }) = *self;
        let Some(user) = view.user(user)?.filter(|user| !user.disabled) else { return Ok(None) };
        // A change of factors or password raises the epoch, which ends all older tokens (ENR-9).
        let is_good = match *self {
            Self::Token { epoch, session: None, .. } => user.epoch == epoch,
            Self::Token { epoch, session: Some(session), .. } => {
                let session = view.session(session, now)?;
                user.epoch == epoch && session.is_some_and(|s| s.user == user.id && s.epoch == epoch)
            }
            Self::ApiKey { key, .. } => view.api_key(key)?.is_some(),
        };
        // A forged role would give more than a forged factor, so the sealed summary must agree.
        if is_good && user.has_role(ADMIN_ROLE) {
            view.check_summary(user.id)?;
        }
        Ok(Some(user).filter(|_| is_good))
    }

    /// Returns the key of its rate limit. Each session and API key has its own, so that a thief with one cannot use up
    /// the owner's.
    fn bucket(&self) -> [u8; 16] {
        match self {
            Self::Token { session: Some(session), .. } => *session.as_bytes(),
            Self::Token { user, session: None, .. } => *user.as_bytes(),
            Self::ApiKey { key, .. } => *key.as_bytes(),
        }
    }

    fn of(claims: &Claims) -> Self {
        Self::Token { user: claims.subject, epoch: claims.epoch, session: claims.session, amr: claims.amr }
    }
}

/// A user that a call acts on, and the right by which it may.
#[derive(Clone, Debug)]
pub(super) struct UserAccess {
    pub(super) user: UserRow,
    pub(super) by: Authority,
}

/// A user with the login session of the request's access token.
pub(super) struct Session {
    pub(super) user: UserRow,
    pub(super) session: SessionId,
}

/// The caller that redeems a receipt.
pub(super) enum Redeemer {
    /// An app, for receipts of any user.
    App,
    /// A user, for their own receipts only.
    User(UserRow),
}

/// The user whose token or API key a request carries.
struct Bearer {
    user: UserRow,
    kind: BearerKind,
}

enum BearerKind {
    Token(Claims),
    ApiKey(SecretId),
}

impl UserAccess {
    /// Refuses a change of factors or password without a fresh proof (ENR-3). It passes if the user has no active
    /// factor, if a second factor was given in the last five minutes, or if an administrator gives a reason. Every
    /// change calls it inside its own transaction, where a token that has ended since the request arrived is refused
    /// (TOK-6).
    pub(super) fn must_be_fresh(&self, view: &View<'_>, context: &super::RequestContext) -> Result<(), Stop> {
        if view.user(self.user.id)?.is_none() {
            return Err(Error::NotFound.into());
        }
        let now = context.now.wall_ms;
        let is_over = match &self.by {
            Authority::Own { token, .. } => token.holder(view, now)?.is_none(),
            // The role may have been taken away since the request arrived.
            Authority::Admin { token: Some(token), .. } => {
                !token.holder(view, now)?.is_some_and(|user| user.has_role(ADMIN_ROLE))
            }
            Authority::Admin { token: None, .. } | Authority::App => false,
        };
        if is_over {
            return Err(Error::Unauthenticated.into());
        }
        if self.is_fresh(context.now.unix_seconds()) {
            return Ok(());
        }
        match view.mfa_state(self.user.id, context.now.wall_ms)? {
            MfaState::Active | MfaState::Imported => Err(Error::FreshProofRequired.into()),
            MfaState::None | MfaState::Pending => Ok(()),
        }
    }

    /// Guards every change to how a user can log in. With an active factor it needs a fresh proof; without one, a login
    /// in the last five minutes. So a stolen old token or an API key cannot lock users out of their account.
    pub(super) fn must_be_recent(&self, view: &View<'_>, context: &super::RequestContext) -> Result<(), Stop> {
        self.may_begin_factor(view, context, context.now.wall_ms)
    }

    /// As [`Self::must_be_recent`], for a first factor that was begun at the time `begun` (milliseconds since 1970).
    pub(super) fn may_begin_factor(
        &self,
        view: &View<'_>,
        context: &super::RequestContext,
        begun: i64,
    ) -> Result<(), Stop> {
        self.must_be_fresh(view, context)?;
        let Authority::Own { amr, auth_time, .. } = &self.by else { return Ok(()) };
        // Measured from when the factor was begun, so that a slow enrolment is not refused at its end.
        let age = begun.div_euclid(1000).saturating_sub(*auth_time);
        let is_recent = *amr != Amr::ApiKey && age <= FRESH;
        match view.mfa_state(self.user.id, context.now.wall_ms)? {
            MfaState::None | MfaState::Pending if !is_recent => Err(Error::FreshLoginRequired.into()),
            MfaState::None | MfaState::Pending | MfaState::Imported | MfaState::Active => Ok(()),
        }
    }

    fn is_fresh(&self, now: i64) -> bool {
        match &self.by {
            Authority::Own { amr, auth_time, .. } => is_fresh_proof(*amr, *auth_time, now),
            Authority::App => false,
            Authority::Admin { reason, .. } => reason.is_some(),
        }
    }

    /// Returns whether the caller gave a second factor, or acts by the peer's own right. An API key counts as its maker
    /// did when it was made.
    pub(super) fn is_guarded(&self, view: &View<'_>) -> Result<bool, Fault> {
        let token = match &self.by {
            Authority::App => None,
            Authority::Admin { token, .. } => *token,
            Authority::Own { token, .. } => Some(*token),
        };
        Ok(match token {
            // The peer acts without a token, by its own right.
            None => true,
            Some(TokenRef::ApiKey { key, .. }) => view.api_key(key)?.is_some_and(|row| row.is_guarded),
            Some(TokenRef::Token { amr, session, .. }) => {
                amr.has_second_factor() && !super::tokens::is_of_first_factor(view, session)?
            }
        })
    }

    /// Whether the caller sent a token from a login of this user, not an API key.
    pub(super) fn is_by_login(&self) -> bool {
        matches!(&self.by, Authority::Own { token: TokenRef::Token { .. }, .. })
    }

    /// Returns the reason that an administrator gave.
    pub(super) fn reason(&self) -> Option<String> {
        match &self.by {
            Authority::Admin { reason, .. } => reason.clone(),
            Authority::Own { .. } | Authority::App => None,
        }
    }

    /// Appends the reason to the description of an act, for the audit log.
    pub(super) fn with_reason(&self, what: String) -> String {
        match self.reason() {
            Some(reason) => format!("{what}: {reason}"),
            None => what,
        }
    }
}

impl Service {
    /// Checks a right of the peer. A request with a token has it only if its user has the role and the peer the right
    /// `admin` (AZ-4).
    pub(super) fn right(&self, context: &RequestContext, right: Right) -> Result<(), Error> {
        let rights = self.policy().rights(&context.caller.peer);
        let holds = match self.bearer(context)? {
            // A peer without any right can still log in as a user, so it is asked for a token.
            None if rights.is_empty() => return Err(Error::Unauthenticated),
            None => rights.holds(right),
            Some(bearer) => bearer.is_admin(rights),
        };
        if holds { Ok(()) } else { Err(Error::Forbidden(right.name())) }
    }

    /// Checks for the right `admin`, and for a reason in the request.
    pub(super) fn right_with_reason(&self, context: &RequestContext) -> Result<(), Error> {
        self.right(context, Right::Admin)?;
        if context.caller.reason.is_some() { Ok(()) } else { Err(Error::FreshProofRequired) }
    }

    /// Checks whether the caller may create users.
    pub(super) fn may_register(&self, context: &RequestContext) -> Result<(), Error> {
        if self.policy().open_registration { Ok(()) } else { self.right(context, Right::App) }
    }

    /// Counts a registration. With open registration, a peer without rights cannot choose the id or take a misleading
    /// name, and its registrations are rate-limited.
    pub(super) fn count_registration(&self, context: &RequestContext, order: &NewUserOrder) -> Result<(), Error> {
        if self.right(context, Right::App).is_ok() {
            return Ok(());
        }
        if order.id.is_some() {
            return Err(Error::Forbidden("app"));
        }
        self.may_be_named(context, Some(&order.name))?;
        self.rates.count(Act::Register(context.caller.peer.uid), &context.now)
    }

    /// Refuses a name that can be mistaken for another one, unless the peer has the right `app`.
    pub(super) fn may_be_named(&self, context: &RequestContext, name: Option<&UserName>) -> Result<(), Error> {
        let is_trusted = self.policy().rights(&context.caller.peer).holds(Right::App);
        if is_trusted || !name.is_some_and(UserName::is_misleading) {
            return Ok(());
        }
        let why = "`name` mixes scripts or can be mistaken for another name; choose another one, or let an app set it";
        Err(Error::Malformed(why.to_owned()))
    }

    /// Counts the beginning of a factor towards the limits of its user and its peer uid. Administrators are not
    /// counted.
    pub(super) fn count_factor(&self, context: &RequestContext, access: &UserAccess) -> Result<(), Error> {
        // A caller who would be refused anyway must not use up the user's limit.
        self.may_begin_factor_now(context, access, context.now.wall_ms)?;
        match access.by {
            Authority::Own { .. } | Authority::App => {
                self.rates.count(Act::BeginFactor(access.user.id), &context.now)?;
            }
            Authority::Admin { .. } => return Ok(()),
        }
        let peer = &context.caller.peer;
        if self.policy().rights(peer).holds(Right::App) {
            return Ok(());
        }
        self.rates.count(Act::BeginFactors(peer.uid), &context.now)
    }

    /// Counts a change that a user makes, for the session or API key that makes it.
    pub(super) fn count_change(&self, context: &RequestContext, access: &UserAccess) -> Result<(), Error> {
        match access.by {
            Authority::Own { token, .. } => self.rates.count(Act::Change(token.bucket()), &context.now),
            Authority::App | Authority::Admin { .. } => Ok(()),
        }
    }

    /// Returns the user that the path names, if the caller may act on it. Foreign, unknown and malformed ids get the
    /// same refusal (AZ-2).
    pub(super) fn access_to(&self, context: &RequestContext, user: UserRef, scope: Scope) -> Result<UserAccess, Error> {
        let rights = self.policy().rights(&context.caller.peer);
        let access = match self.bearer(context)? {
            // On their own account administrators are ordinary users: a reason does not replace their second factor.
            Some(bearer) if bearer.is_admin(rights) && !bearer.is_named_by(user) => {
                UserAccess { user: self.named(context, user)?, by: admin(context, Some(bearer.token_ref())) }
            }
            Some(bearer) => bearer.access_to_self(user, scope)?,
            None if rights.holds(Right::Admin) => {
                UserAccess { user: self.named(context, user)?, by: admin(context, None) }
            }
            None if rights.holds(Right::App) => UserAccess { user: self.named(context, user)?, by: Authority::App },
            None if user == UserRef::Me => return Err(Error::MeWithoutUser),
            None => return Err(Error::Unauthenticated),
        };
        if scope == Scope::Administration {
            match &access.by {
                Authority::Admin { reason: Some(_), .. } => {}
                Authority::Admin { reason: None, .. } => return Err(Error::FreshProofRequired),
                Authority::Own { .. } | Authority::App => return Err(Error::Forbidden("admin")),
            }
        }
        Ok(access)
    }

    /// Turns the refusal of a repeated enrolment into "already active" (ENR-8). An enrolment ends the token it was made
    /// with, so a client that repeats it, or lost a race for it, comes with a token that has ended. The answer reveals
    /// nothing else.
    pub(super) fn late_enrolment(
        &self,
        context: &RequestContext,
        user: UserRef,
        secret: SecretRef,
        refusal: Error,
    ) -> Error {
        let (Error::Unauthenticated, SecretRef::Id(secret)) = (&refusal, secret) else { return refusal };
        let Ok(Some(claims)) = self.claims(context) else { return refusal };
        let is_named = user == UserRef::Me || user == UserRef::Id(claims.subject);
        let found = self.look(context, |view| Ok((view.user(claims.subject)?, view.secret(claims.subject, secret)?)));
        let Ok((Some(user), Some(row))) = found else { return refusal };
        // An older epoch shows that the token has ended since it was issued; the enrolment itself may have done it.
        let is_older = claims.kind != TokenKind::Challenge && claims.epoch < user.epoch && !user.disabled;
        let is_factor = matches!(row.kind, SecretType::Mfa | SecretType::Fido2);
        let is_enrolled = is_factor && row.status == Status::Active;
        if is_named && is_older && is_enrolled { Error::AlreadyActive } else { refusal }
    }

    /// Returns the login session that the request's access token belongs to.
    pub(super) fn session(&self, context: &RequestContext) -> Result<Session, Error> {
        let bearer = self.bearer(context)?.ok_or(Error::Unauthenticated)?;
        let BearerKind::Token(claims) = bearer.kind else { return Err(Error::Unauthenticated) };
        let session = claims.session.ok_or(Error::Unauthenticated)?;
        Ok(Session { user: bearer.user, session })
    }

    /// Returns the claims of the request's challenge token. Whether the challenge is still open is checked in the
    /// transaction that answers it.
    pub(super) fn challenge(&self, context: &RequestContext) -> Result<Claims, Error> {
        let claims = self.claims(context)?.ok_or(Error::Unauthenticated)?;
        if claims.kind == TokenKind::Challenge { Ok(claims) } else { Err(Error::Unauthenticated) }
    }

    /// Accepts an app for any receipt, or a logged-in user for their own receipts.
    pub(super) fn redeemer(&self, context: &RequestContext) -> Result<Redeemer, Error> {
        if context.caller.token.is_some() {
            return Ok(Redeemer::User(self.session(context)?.user));
        }
        self.right(context, Right::App)?;
        Ok(Redeemer::App)
    }

    /// Checks the request's token or API key against its user as it is now (TOK-6). `None` if the request carries
    /// neither.
    fn bearer(&self, context: &RequestContext) -> Result<Option<Bearer>, Error> {
        let Some(text) = &context.caller.token else { return Ok(None) };
        if let Some(parts) = api_key_parts(text.expose()) {
            return self.api_key_bearer(context, &parts).map(Some);
        }
        let Some(claims) = self.claims(context)? else { return Ok(None) };
        let now = context.now.wall_ms;
        // This also refuses sessions that were opened before the settings demanded a second factor (AUT-7).
        let is_too_weak = self.policy().mfa_required && !claims.amr.has_second_factor();
        match claims.kind {
            TokenKind::Access if claims.session.is_some() && !is_too_weak => {}
            TokenKind::Enroll => {}
            // Every other endpoint refuses a challenge token (AUT-1).
            TokenKind::Access | TokenKind::Challenge => return Err(Error::Unauthenticated),
        }
        let holder = self.look(context, |view| TokenRef::of(&claims).holder(view, now))?;
        let user = holder.ok_or(Error::Unauthenticated)?;
        Ok(Some(Bearer { user, kind: BearerKind::Token(claims) }))
    }

    /// Returns the claims of the request's token. Checks signature, lifetime and the peer uid it is bound to, but not
    /// the user.
    pub(super) fn claims(&self, context: &RequestContext) -> Result<Option<Claims>, Error> {
        let Some(text) = &context.caller.token else { return Ok(None) };
        let claims = self.with_keys(|keys| keys.verify(text.expose(), context.now.unix_seconds()))?;
        if self.policy().bind_tokens && claims.peer != context.caller.peer.uid {
            return Err(Error::Unauthenticated);
        }
        Ok(Some(claims))
    }

    fn api_key_bearer(&self, context: &RequestContext, parts: &super::tokens::ApiKeyParts) -> Result<Bearer, Error> {
        let presented = digest(parts.secret.expose());
        let found = self.look(context, |view| {
            let Some(row) = view.api_key(parts.id)? else { return Ok(None) };
            let stored = view.open_secret(&row)?;
            let is_right = mfad_store::same_tag(stored.expose(), &presented);
            if !is_right {
                return Ok(None);
            }
            // A forged row would let its writer in as this user, so the sealed summary must agree.
            view.check_summary(row.user)?;
            Ok(view.user(row.user)?.map(|user| (user, row)))
        })?;
        let mfa_required = self.policy().mfa_required;
        let (user, row) = found
            .filter(|(user, row)| !user.disabled && (row.is_guarded || !mfa_required))
            .ok_or(Error::Unauthenticated)?;
        let now = context.now.wall_ms;
        if row.last_used.is_none_or(|used| now.saturating_sub(used) > API_KEY_NOTE) {
            let id = row.id;
            self.change(context, move |tx, _| Ok(tx.touch(id, now)?))?;
        }
        Ok(Bearer { user, kind: BearerKind::ApiKey(row.id) })
    }

    fn named(&self, context: &RequestContext, user: UserRef) -> Result<UserRow, Error> {
        match user {
            UserRef::Me => Err(Error::MeWithoutUser),
            UserRef::Malformed => Err(Error::NotFound),
            UserRef::Id(id) => self.look(context, |view| view.user(id))?.ok_or(Error::NotFound),
        }
    }
}

impl Bearer {
    fn is_admin(&self, rights: Rights) -> bool {
        let is_access = match &self.kind {
            BearerKind::Token(claims) => claims.kind == TokenKind::Access,
            BearerKind::ApiKey(_) => true,
        };
        self.user.has_role(ADMIN_ROLE) && is_access && rights.holds(Right::Admin)
    }

    fn token_ref(&self) -> TokenRef {
        match &self.kind {
            BearerKind::Token(claims) => TokenRef::of(claims),
            BearerKind::ApiKey(key) => TokenRef::ApiKey { user: self.user.id, key: *key },
        }
    }

    fn is_named_by(&self, user: UserRef) -> bool {
        match user {
            UserRef::Me => true,
            UserRef::Id(id) => id == self.user.id,
            UserRef::Malformed => false,
        }
    }

    fn access_to_self(self, user: UserRef, scope: Scope) -> Result<UserAccess, Error> {
        let (kind, amr, auth_time) = match &self.kind {
            BearerKind::Token(claims) => (claims.kind, claims.amr, claims.auth_time),
            // An API key has no login time; 0 never counts as fresh.
            BearerKind::ApiKey(_) => (TokenKind::Access, Amr::ApiKey, 0),
        };
        let suffices = match kind {
            TokenKind::Access => true,
            TokenKind::Enroll => scope == Scope::Enrolment,
            TokenKind::Challenge => false,
        };
        if !suffices {
            return Err(Error::Unauthenticated);
        }
        if !self.is_named_by(user) {
            // The same refusal as for an unknown id (AZ-2).
            return Err(Error::NotFound);
        }
        let token = self.token_ref();
        Ok(UserAccess { user: self.user, by: Authority::Own { amr, auth_time, token } })
    }
}

fn admin(context: &RequestContext, token: Option<TokenRef>) -> Authority {
    Authority::Admin { reason: context.reason(), token }
}
