//! The access that each call requires, in one table. Carrying out, streaming and repeating a call all consult it.

use crate::error::Error;
use crate::token::Claims;
use mfad_core::model::{HostUser, Right, UserRef};

use super::authorise::{Redeemer, Scope, Session, UserAccess};
use super::{Call, NewUserOrder, RequestContext, SecretOrder, SecretRef, Service};

/// The access that a call requires.
#[derive(Clone, Copy)]
pub(super) enum Access<'a> {
    /// None: the answer is public, or the call itself carries what is checked (a password, a refresh token).
    Anyone,
    /// Permission to create this user: open to anyone if registration is open, otherwise the right `app`.
    Registration(&'a NewUserOrder),
    /// A right of the peer uid. A request with a token has it only if the token's user has the role `admin` and the
    /// peer has the right `admin` (AZ-4).
    Right(Right),
    /// The right `pam`. Without the right `admin`, which uid 0 always has, a peer may ask for its own account only.
    HostUser(&'a HostUser),
    /// The right `admin`, and a reason for the audit log.
    AdminWithReason,
    /// Access to the user that the path names, within a scope. The call counts towards the rate limit.
    User(UserRef, Scope, Rate),
    /// As `User` with scope `Enrolment`, to confirm this pending factor. A caller whose token the enrolment itself
    /// ended learns that the factor is active (ENR-8).
    Confirmation(UserRef, SecretRef),
    /// The access token of a login session.
    Session,
    /// A challenge token, from the first step of a login.
    Challenge,
    /// A challenge token or a login session; the use case finds out which.
    ChallengeOrSession,
    /// The right `app`, or the session of the user whose receipt is redeemed.
    Redeemer,
}

/// The rate limit that a call counts towards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rate {
    /// The call counts towards no limit.
    Unlimited,
    /// Changes made with one session or API key.
    Change,
    /// Factors begun for one user, and from one peer uid.
    Factor,
}

/// Returns the access that a call requires. Every call has its row here, and no other code decides it.
pub(super) fn required(call: &Call) -> Access<'_> {
    match call {
        Call::AuthMethods | Call::KeySet | Call::ReceiptKeys | Call::Live | Call::Ready | Call::Version => {
            Access::Anyone
        }
        Call::LogIn { .. } | Call::Refresh => Access::Anyone,
        Call::CreateUser(order) => Access::Registration(order),

        Call::ShowUser(user) | Call::ListSecrets(user) | Call::ShowSecret(user, _) => {
            Access::User(*user, Scope::Enrolment, Rate::Unlimited)
        }
        Call::CreateSecret(
            user,
            SecretOrder::Mfa(_) | SecretOrder::Hardware(_) | SecretOrder::Key(_) | SecretOrder::LocalKey(..),
        ) => Access::User(*user, Scope::Enrolment, Rate::Factor),
        Call::Enroll(user, secret, ..) => Access::Confirmation(*user, *secret),
        Call::CreateSecret(user, SecretOrder::Password(_) | SecretOrder::ApiKey { .. })
        | Call::UpdateUser(user, _)
        | Call::ChangeSecret(user, ..)
        | Call::RenewCodes(user) => Access::User(*user, Scope::Full, Rate::Change),
        // A removal leaves nothing in the store, and the throttle already limits wrong passwords: neither is counted.
        // An export changes nothing.
        Call::DeleteUser(user)
        | Call::ChangePassword { user, .. }
        | Call::DeleteSecret(user, ..)
        | Call::ExportOwn(user, _) => Access::User(*user, Scope::Full, Rate::Unlimited),
        Call::UnlockUser(user) | Call::ImportFactor(user, _) => {
            Access::User(*user, Scope::Administration, Rate::Unlimited)
        }

        Call::AnswerChallenge(_) => Access::Challenge,
        Call::AskForOwnKey => Access::ChallengeOrSession,
        Call::StepUp { .. } | Call::LogOut => Access::Session,
        Call::RedeemReceipt { .. } => Access::Redeemer,

        // Calls for apps. A token gives no right of its peer, except to administrators (AZ-4).
        Call::ListUsers { .. }
        | Call::FindUser(_)
        | Call::AskForKeyOf(_)
        | Call::Verify(..)
        | Call::ListDevices
        | Call::ListSecurityKeys
        | Call::ShowDevice(_)
        | Call::DeviceEvents { .. } => Access::Right(Right::App),
        Call::VerifyHostLogin(user, ..) | Call::Preflight(user) => Access::HostUser(user),
        Call::DeviceAccounts(_) | Call::AttestDevice(..) | Call::ShowKey | Call::ReportBreakGlass(..) => {
            Access::Right(Right::Admin)
        }
        Call::AuditRows { .. } | Call::Metrics => Access::Right(Right::Audit),
        // These can lock users out or copy the store, so the audit log must hold a reason.
        Call::RenameAccount(..)
        | Call::DeleteAccount(..)
        | Call::ResetDevice(_)
        | Call::ChangeDevicePassword { .. }
        | Call::ReturnDevice(_)
        | Call::ImportFactors(_)
        | Call::ImportUsers(_)
        | Call::RotateKey(_)
        | Call::BackUp
        | Call::Export(_) => Access::AdminWithReason,
    }
}

/// The evidence that a caller has the access its call requires. Use cases take the user, session or claims out of it.
#[must_use]
pub(super) enum Evidence {
    /// The access comes without a user, session or claims.
    Granted,
    /// The user to act on, and the right by which the caller may.
    User(UserAccess),
    /// A user with a login session.
    Session(Session),
    /// The claims of a challenge token.
    Challenge(Claims),
    /// The app or user that redeems a receipt.
    Redeemer(Redeemer),
}

impl Evidence {
    /// Returns the user to act on. An error means that the row of the table does not fit the use case: a defect, so the
    /// call is refused.
    pub(super) fn user(self) -> Result<UserAccess, Error> {
        if let Self::User(access) = self { Ok(access) } else { Err(misfit()) }
    }

    pub(super) fn session(self) -> Result<Session, Error> {
        if let Self::Session(session) = self { Ok(session) } else { Err(misfit()) }
    }

    pub(super) fn challenge(self) -> Result<Claims, Error> {
        if let Self::Challenge(claims) = self { Ok(claims) } else { Err(misfit()) }
    }

    pub(super) fn redeemer(self) -> Result<Redeemer, Error> {
        if let Self::Redeemer(redeemer) = self { Ok(redeemer) } else { Err(misfit()) }
    }
}

fn misfit() -> Error {
    Error::Internal("a call was authorised for something else".to_owned())
}

impl Service {
    /// Checks whether the caller may make this call now, without counting it towards a rate limit. Event streams ask
    /// this before they open.
    pub fn may(&self, context: &RequestContext, call: &Call) -> Result<(), Error> {
        let allowed = self.evidence(context, required(call)).map(drop);
        // A forged row that is found here must be audited, as in a call.
        allowed.inspect_err(|error| self.note_tampering(context, error))
    }

    /// Authorises a call, then counts it towards its rate limit. A refused call is not counted.
    pub(super) fn authorise(&self, context: &RequestContext, call: &Call) -> Result<Evidence, Error> {
        let access = required(call);
        let evidence = self.evidence(context, access)?;
        // A caller who may not make the call has been refused by now, and uses up no limit.
        match (access, &evidence) {
            (Access::Registration(order), _) => self.count_registration(context, order)?,
            (Access::User(_, _, Rate::Change), Evidence::User(user)) => self.count_change(context, user)?,
            (Access::User(_, _, Rate::Factor), Evidence::User(user)) => self.count_factor(context, user)?,
            _ => {}
        }
        Ok(evidence)
    }

    /// Returns the evidence for an access, or the refusal. Counts nothing.
    pub(super) fn evidence(&self, context: &RequestContext, access: Access<'_>) -> Result<Evidence, Error> {
        match access {
            Access::Anyone | Access::ChallengeOrSession => Ok(Evidence::Granted),
            Access::Registration(_) => self.may_register(context).map(|()| Evidence::Granted),
            Access::Right(right) => self.right(context, right).map(|()| Evidence::Granted),
            Access::HostUser(user) => self.may_check(context, user).map(|()| Evidence::Granted),
            Access::AdminWithReason => self.right_with_reason(context).map(|()| Evidence::Granted),
            Access::User(user, scope, _) => self.access_to(context, user, scope).map(Evidence::User),
            Access::Confirmation(user, secret) => self
                .access_to(context, user, Scope::Enrolment)
                .map(Evidence::User)
                .map_err(|refusal| self.late_enrolment(context, user, secret, refusal)),
            Access::Session => self.session(context).map(Evidence::Session),
            Access::Challenge => self.challenge(context).map(Evidence::Challenge),
            Access::Redeemer => self.redeemer(context).map(Evidence::Redeemer),
        }
    }
}
