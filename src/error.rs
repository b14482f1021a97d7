//! Everything a call can answer instead of what was asked, sorted by who is at fault. It knows no HTTP.

use std::time::Duration;

use crate::entropy::NoEntropy;
use crate::oath::Diagnosis;
use crate::store::Fault;
use crate::token::TokenFault;

/// Why a call was not carried out. Variants carry what the caller may know; the causes of
/// [`Error::Internal`] and [`Error::StorageUnavailable`] are for the journal only.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    // The request is at fault.
    /// A member or parameter cannot be what it is.
    #[error("{0}")]
    Malformed(String),
    /// `me` by a caller who is nobody.
    #[error("`me` needs a user's token")]
    MeWithoutUser,

    // The caller is not who, or not what, the call needs.
    /// No token, or none that is good here.
    #[error("a valid token is needed")]
    Unauthenticated,
    /// The login or the password is wrong; which of them is not said (AUT-4).
    #[error("the login or the password is wrong")]
    WrongCredentials,
    /// The second factor is wrong, used, or not there.
    #[error("the code is wrong")]
    WrongCode {
        /// Answers that the challenge still takes, where there is one.
        remaining: Option<u32>,
    },
    /// The challenge expired, was answered, or had too many wrong answers.
    #[error("the challenge has ended; give the password again")]
    ChallengeEnded,
    /// The refresh token is not good, or not any more.
    #[error("the session has ended; log in again")]
    RefreshEnded,
    /// The receipt is unknown, used, too old, or for another action.
    #[error("the receipt is not valid for this action")]
    ReceiptRefused,
    /// Known, and not allowed.
    #[error("this needs the right `{0}`")]
    Forbidden(&'static str),
    /// Needs a second factor given in the last five minutes.
    #[error("an active factor protects this: give a second factor first, or act as an administrator with a reason")]
    FreshProofRequired,

    // The state is in the way.
    /// Not there, or not yours.
    #[error("there is no such thing here")]
    NotFound,
    /// Somebody changed it meanwhile.
    #[error("it was changed meanwhile; read it again")]
    Version,
    /// The name is somebody's.
    #[error("the name is taken")]
    NameTaken,
    /// The address is somebody's.
    #[error("the e-mail address is taken")]
    EmailTaken,
    /// The id is somebody's.
    #[error("the id is taken")]
    IdTaken,
    /// Another secret of the user has that name.
    #[error("another secret of this user has that name")]
    SecretNameTaken,
    /// There is a password already.
    #[error("there is a password already; change it instead")]
    PasswordExists,
    /// The factor was enrolled before.
    #[error("this factor is active already")]
    AlreadyActive,
    /// There is no active factor.
    #[error("this user has no active factor")]
    NoFactor,
    /// One secret more than a user may have.
    #[error("this user has as many secrets as there may be")]
    TooManySecrets,
    /// The pending secret ended: too old, replaced, or too many wrong codes.
    #[error("this pending secret has ended; create a new one")]
    Expired,
    /// The first code is wrong.
    #[error("the code is wrong")]
    WrongFirstCode {
        /// Codes that may still be tried.
        remaining: u32,
        /// The profile it would be right for.
        diagnosis: Option<Diagnosis>,
    },

    // Too much of something.
    /// Locked after too many failures in a row.
    #[error("locked after too many wrong codes; an administrator can unlock it")]
    FactorLocked,
    /// Delayed after failures.
    #[error("too many attempts; wait before the next one")]
    TooManyAttempts {
        /// How long.
        wait: Duration,
    },
    /// A queue is full, or the answer would come too late.
    #[error("too much to do at the moment; try again")]
    Busy,

    // We are at fault.
    /// The disk takes no writes.
    #[error("the store cannot be written at the moment")]
    StorageUnavailable(String),
    /// Not ready to serve.
    #[error("not ready: {0}")]
    NotReady(&'static str),
    /// A sealed value does not open: changed, moved, or under another key (KEY-3). Shown as a defect.
    #[error("internal error")]
    Tampered,
    /// A defect. On an authentication path it is a refusal like any other (AUT-6).
    #[error("internal error")]
    Internal(String),
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Busy => Self::Busy,
            Fault::Unwritable(_) | Fault::Failed => Self::StorageUnavailable(fault.to_string()),
            Fault::Seal => Self::Tampered,
            Fault::Crypto | Fault::Corrupt(_) | Fault::Sqlite(_) | Fault::Panic => Self::Internal(fault.to_string()),
        }
    }
}

impl From<NoEntropy> for Error {
    fn from(cause: NoEntropy) -> Self {
        Self::Internal(cause.to_string())
    }
}

impl From<TokenFault> for Error {
    fn from(fault: TokenFault) -> Self {
        match fault {
            TokenFault::Shape
            | TokenFault::Header
            | TokenFault::Signature
            | TokenFault::Claims
            | TokenFault::Expired => Self::Unauthenticated,
            TokenFault::NoKey => Self::Internal(fault.to_string()),
        }
    }
}
