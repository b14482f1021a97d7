//! What each call needs before it is carried out: one table, asked wherever a call is carried out, streamed or repeated.

use crate::error::Error;
use crate::token::Claims;
use mfad_core::model::{Right, UserRef};

use super::authorise::{Redeemer, Scope, Session, UserAccess};
use super::{Call, NewUserOrder, RequestContext, SecretOrder, SecretRef, Service};

/// The access that a call needs.
#[derive(Clone, Copy)]
pub(super) enum Access<'a> {
    /// None: the answer is public, or the call itself brings what is checked (a password, a refresh token).
    Anyone,
    /// To create this user.
    Registration(&'a NewUserOrder),
    /// A right of the peer, or the token of an administrator on a peer with the right `admin`.
    Right(Right),
    /// The right `admin`, and a reason.
    AdminWithReason,
    /// To act on the user that the path names.
    User(UserRef, Scope, Rate),
    /// To confirm a pending factor of that user.
    Confirmation(UserRef, SecretRef),
    /// A login session.
    Session,
    /// The token of a challenge.
    Challenge,
    /// One of the two; the use case looks which.
    ChallengeOrSession,
    /// To redeem a receipt.
    Redeemer,
}

/// The rate limit that a call counts towards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rate {
    /// None.
    Unlimited,
    /// Changes made with one session or API key.
    Change,
    /// Factors that are begun.
    Factor,
}

/// The access that each call needs. Every call has its row here, and no other code decides.
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
        Call::Enroll(user, secret, _) => Access::Confirmation(*user, *secret),
        Call::CreateSecret(user, SecretOrder::Password(_) | SecretOrder::ApiKey { .. })
        | Call::UpdateUser(user, _)
        | Call::ChangeSecret(user, ..)
        | Call::RenewCodes(user) => Access::User(*user, Scope::Full, Rate::Change),
        Call::DeleteUser(user) | Call::ChangePassword { user, .. } | Call::DeleteSecret(user, ..) => {
            Access::User(*user, Scope::Full, Rate::Unlimited)
        }
        Call::UnlockUser(user) | Call::ImportFactor(user, _) => {
            Access::User(*user, Scope::Administration, Rate::Unlimited)
        }

        Call::AnswerChallenge(_) => Access::Challenge,
        Call::AskForOwnKey => Access::ChallengeOrSession,
        Call::StepUp { .. } | Call::LogOut => Access::Session,
        Call::RedeemReceipt { .. } => Access::Redeemer,

        Call::ListUsers { .. }
        | Call::AskForKeyOf(_)
        | Call::Verify(..)
        | Call::ListDevices
        | Call::ListSecurityKeys
        | Call::ShowDevice(_)
        | Call::DeviceEvents { .. } => Access::Right(Right::App),
        Call::DeviceAccounts(_) | Call::AttestDevice(..) | Call::ShowKey => Access::Right(Right::Admin),
        Call::AuditRows { .. } | Call::Metrics => Access::Right(Right::Audit),
        Call::RenameAccount(..)
        | Call::DeleteAccount(..)
        | Call::ResetDevice(_)
        | Call::ChangeDevicePassword { .. }
        | Call::ReturnDevice(_)
        | Call::RotateKey(_)
        | Call::BackUp => Access::AdminWithReason,
    }
}

/// The evidence that a caller has the access that its call needs. Use cases take it apart.
#[must_use]
pub(super) enum Evidence {
    /// Nothing more to know.
    Granted,
    /// The user that is acted on, and by what right.
    User(UserAccess),
    /// A user who is logged in.
    Session(Session),
    /// The claims of a challenge.
    Challenge(Claims),
    /// Who redeems a receipt.
    Redeemer(Redeemer),
}

impl Evidence {
    /// The user that is acted on. An error is a row of the table that does not fit its use case: a defect, so a refusal.
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
    /// Whether the caller may make this call now. Nothing is counted.
    pub fn may(&self, context: &RequestContext, call: &Call) -> Result<(), Error> {
        let allowed = self.evidence(context, required(call)).map(drop);
        allowed.inspect_err(|error| self.note_tampering(context, error))
    }

    /// Authorises a call and counts it towards its rate limit.
    pub(super) fn authorise(&self, context: &RequestContext, call: &Call) -> Result<Evidence, Error> {
        let access = required(call);
        let evidence = self.evidence(context, access)?;
        match (access, &evidence) {
            (Access::Registration(order), _) => self.count_registration(context, order)?,
            (Access::User(_, _, Rate::Change), Evidence::User(user)) => self.count_change(context, user)?,
            (Access::User(_, _, Rate::Factor), Evidence::User(user)) => self.count_factor(context, user)?,
            _ => {}
        }
        Ok(evidence)
    }

    /// The evidence of an access, or the refusal.
    pub(super) fn evidence(&self, context: &RequestContext, access: Access<'_>) -> Result<Evidence, Error> {
        match access {
            Access::Anyone | Access::ChallengeOrSession => Ok(Evidence::Granted),
            Access::Registration(_) => self.may_register(context).map(|()| Evidence::Granted),
            Access::Right(right) => self.right(context, right).map(|()| Evidence::Granted),
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
