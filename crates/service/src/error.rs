//! Every refusal or failure that a call can answer with, grouped by who is at fault. It knows no HTTP: the server maps
//! variants to status codes and error codes (docs/errors.md). The sentences are for people; clients match on the code.

use std::time::Duration;

use crate::fido::FidoFault;
use crate::token::TokenFault;
use mfad_core::entropy::NoEntropy;
use mfad_core::model::KeyId;
use mfad_core::oath::Diagnosis;
use mfad_hardware::card::CardFault;
use mfad_hardware::ctap::CtapFault;
use mfad_hardware::device::DeviceFault;
use mfad_store::Fault;

/// Why a call was not carried out. The sentences hold only what the caller may know. The causes in [`Error::Internal`],
/// [`Error::StorageUnavailable`], [`Error::Tampered`] and [`Error::DeviceFailed`] are for the journal only.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    // The request is at fault.
    /// A member or parameter is missing or invalid. The text says which, and never repeats a secret (HTTP-6).
    #[error("{0}")]
    Malformed(String),
    /// The path says `me`, but the request has no user's token.
    #[error("`me` requires a user's token; send one, or name the user by its id")]
    MeWithoutUser,

    // The caller is not who, or not what, the call needs.
    /// There is no token or peer right, or the token is expired, ended, of the wrong kind, or bound to another peer.
    #[error("a valid token is required; refresh the session or log in again")]
    Unauthenticated,
    /// The login or the password is wrong, or the user is disabled. The sentence does not say which (AUT-4).
    #[error("wrong login or password; check both and try again")]
    WrongCredentials,
    /// The second factor is wrong or was used before; at a verify also: there is no such user or no active factor.
    #[error("wrong or already used code; try again with a new one")]
    WrongCode {
        /// Further answers that the challenge accepts; absent outside of a challenge.
        remaining: Option<u32>,
        /// Of an imported factor: the parameters or clock error under which the code would be right, if any were found.
        diagnosis: Option<Diagnosis>,
    },
    /// The challenge has expired, was answered, had too many wrong answers, or its user was changed.
    #[error("the challenge has ended; start the login again with the password")]
    ChallengeEnded,
    /// The refresh token is unknown, expired, already exchanged, or of another peer, or its session has ended.
    #[error("the session has ended, or the refresh token is invalid; log in again")]
    RefreshEnded,
    /// The receipt is unknown, used, too old, of another user, or for another app or action.
    #[error("the receipt is not valid for this action, user and app; ask the user to confirm again")]
    ReceiptRefused,
    /// The caller is authenticated and lacks this right.
    #[error("the caller lacks the right `{0}`; ask the administrator of this host for it")]
    Forbidden(&'static str),
    /// The caller has the right `pam`, and asks for an account of this host that is not its own.
    #[error("with the right `pam`, an account other than root can only have its own factors checked")]
    ForeignAccount,
    /// The operation needs a second factor given in the last five minutes, or an administrator with a reason (ENR-3).
    #[error(
        "this requires a second factor given in the last five minutes, or a reason from an administrator; do a step-up \
         or give the reason"
    )]
    FreshProofRequired,

    /// The user has no active factor, and the operation decides who can log in. So it needs a login with the password
    /// in the last five minutes; an API key does not count as one.
    #[error("this requires a login in the last five minutes; log in again with the password")]
    FreshLoginRequired,

    // The state is in the way.
    /// It does not exist, or belongs to another user. Both answer alike (AZ-2).
    #[error("not found, or not accessible to this caller; check the path and the id")]
    NotFound,
    /// Another request changed the object after the caller read it.
    #[error("this was changed by another request in the meantime; read it again and retry")]
    Version,
    /// Another user logs in with this name, in some spelling.
    #[error("this name is already taken; choose another one")]
    NameTaken,
    /// Another user logs in with this address, in some spelling.
    #[error("this e-mail address is already taken; choose another one")]
    EmailTaken,
    /// Another user has this id.
    #[error("this id is already taken; choose another one, or leave it out")]
    IdTaken,
    /// Another secret of the same user has this name, in some spelling.
    #[error("another secret of this user already has this name; choose another one")]
    SecretNameTaken,
    /// The user already has a password; a second one cannot be created.
    #[error("this user already has a password; change it instead")]
    PasswordExists,
    /// The factor is active already, perhaps by a request whose answer was lost, or the security key is registered.
    #[error("this factor or security key is already active; log in with it, or enrol another one")]
    AlreadyActive,
    /// The user has no active factor, or none of the kind that was asked for.
    #[error("this user has no such active factor; enrol one first")]
    NoFactor,
    /// The user has as many secrets as allowed (32).
    #[error("this user has reached the limit on secrets; delete one first")]
    TooManySecrets,
    /// A repeated request with an idempotency key was carried out before, and its answer must not be shown again.
    #[error(
        "the request was already carried out, and the secret in its answer has been used, replaced or removed since; \
         continue from the current state"
    )]
    ToldOnce,
    /// The pending secret has ended: it expired, was replaced, or had too many wrong codes.
    #[error("this pending secret has expired, was replaced or had too many wrong codes; create a new one")]
    Expired,
    /// The first code of a pending factor is wrong.
    #[error("wrong code; check the clock and the settings of the authenticator")]
    WrongFirstCode {
        /// Further codes that may be tried before the pending factor ends; 0 if it has ended.
        remaining: u32,
        /// The parameters or clock error under which the code would be correct, if any were found.
        diagnosis: Option<Diagnosis>,
    },

    // The hardware is in the way.
    /// The daemon cannot reach the smart card service.
    #[error("the smart card service pcscd is not running on this host; install and start it, then try again")]
    NoPcscd,
    /// The smart card service refuses the daemon's user, usually because the polkit rule is missing (HW-8).
    #[error("pcscd denies access to the daemon's user; add the polkit rule (docs/hardware.md), then try again")]
    PcscdDenied,
    /// The key is not plugged in. The text names the key.
    #[error("{0}; plug it in and try again")]
    NoDevice(String),
    /// Several hardware keys match. Their ids are the choice.
    #[error(
        "more than one key is plugged in; name one by its id (on a YubiKey, its serial number), or leave only one plugged in"
    )]
    ManyDevices(Vec<KeyId>),
    /// Two keys, or two slots of one key, have the same id, so the daemon cannot tell which one is meant.
    #[error("more than one key is plugged in with the id {0}; leave only one of them plugged in")]
    TwinDevices(KeyId),
    /// Another program, or another request, uses the key.
    #[error("{}", busy_sentence(.holder.as_deref()))]
    DeviceBusy {
        /// The program that probably uses it; absent if the daemon cannot guess.
        holder: Option<String>,
    },
    /// The key was unplugged or reset during the operation. What was begun is rolled back at the next contact.
    #[error("the key was removed or reset during the operation; nothing was activated; plug it in and try again")]
    DeviceRemoved,
    /// The key has no room for another OATH account or FIDO2 credential.
    #[error("the key has no room for another account or credential; delete one on it, or use another key")]
    DeviceFull,
    /// An OATH password protects the key, and the daemon does not know it or knows an old one.
    #[error("the key's OATH application has a password that the daemon does not know; send it with the request")]
    DeviceLocked,
    /// The OATH password in the request is wrong.
    #[error("wrong password for the key's OATH application; check it and try again")]
    WrongDevicePassword,
    /// The key has an account of this name, or one that a firmware defect would overwrite (HW-5).
    #[error("an account with this name exists on the key; choose another name, or send `replace` to overwrite it")]
    AccountTaken,
    /// The key was not touched before its time limit. What was begun is rolled back.
    #[error("the key was not touched in time; try again and touch it while it blinks")]
    TouchTimeout,
    /// The key was swapped during the operation, or its OATH application was reset since it was programmed (HW-4).
    #[error(
        "the key was swapped, or its OATH application was reset since it was programmed; plug in the right key, or \
         create a new factor"
    )]
    DeviceChanged,
    /// The key, its firmware, its settings or this factor cannot do this. The text says what is missing.
    #[error("{0}")]
    Unsupported(String),
    /// The kernel does not let the daemon open the security key's device node.
    #[error(
        "the daemon's user has no access to the security key; install the udev rule of the package, then plug the key \
         in again"
    )]
    HidDenied,
    /// Several security keys match. They have no serial numbers, so only the user can choose.
    #[error("{} security keys match ({}); leave only one plugged in and try again", .0.len(), .0.join(", "))]
    ManySecurityKeys(Vec<String>),
    /// No attached security key has a credential of this user.
    #[error("no attached security key is registered for this user; plug in the right one and try again")]
    NotThisKey,
    /// The person at the security key declined the request on it.
    #[error("the request was declined on the security key; if that was a mistake, try again")]
    TouchDenied,
    /// The security key must verify its user and needs the PIN, or it did not recognise the fingerprint.
    #[error("the security key requires its PIN; send it as `pin`")]
    PinRequired,
    /// The PIN in the request is wrong.
    #[error("wrong PIN for the security key; check it and try again")]
    PinWrong {
        /// Further PINs that may be tried before the key blocks its PIN.
        remaining: u8,
    },
    /// The security key accepts no PIN, or the daemon does not send it one.
    #[error("{0}")]
    PinBlocked(PinBlock),
    /// The key or its reader did not answer in time. It is not asked again.
    #[error("the key or its reader did not answer in time; nothing was activated; unplug it, plug it in and try again")]
    DeviceHung,
    /// The key or its reader does not answer, or its answer is invalid. The cause is for the journal only.
    #[error("invalid or no response from the key; nothing was activated; unplug it, plug it in and try again")]
    DeviceFailed(String),
    /// The hardware key's attestation does not prove that it is genuine.
    #[error("this key could not be verified as genuine: {0}")]
    NotGenuine(mfad_hardware::piv::AttestationError),
    /// The account belongs to a factor, or factors are on the key that is to be reset.
    #[error("an active or pending factor uses this account or key; delete the factor, or return the key, first")]
    DeviceInUse,

    // A limit is exceeded.
    /// Too many wrong codes in a row. Correct codes are refused too, and the lock does not end by itself.
    #[error("the second factors are locked after too many wrong codes; ask an administrator to unlock the user")]
    FactorLocked,
    /// The throttle delays attempts after failures, or a rate limit is exceeded. The attempt was not evaluated.
    #[error("too many attempts or changes; wait before the next one")]
    TooManyAttempts {
        /// How long until the next attempt is allowed.
        wait: Duration,
    },
    /// A queue or table is full, there is no memory to spare, or the answer would have come too late.
    #[error("the daemon is overloaded; try again")]
    Busy,

    // The daemon or its host is at fault.
    /// The store cannot be written, for example because the disk is full. The cause is for the journal only.
    #[error("the store cannot be written; check the disk of this host, then try again")]
    StorageUnavailable(String),
    /// The daemon cannot do its work now. The text says why, and holds no secret.
    #[error("not ready: {0}")]
    NotReady(&'static str),
    /// The store is damaged or another program changed it: a sealed value does not decrypt (KEY-3), or rows contradict
    /// each other. The cause is for the journal only.
    #[error("the store is damaged, or another program changed it; the administrator finds the cause in the journal")]
    Tampered(String),
    /// A defect of the daemon. On an authentication path it is a refusal like any other (AUT-6). The cause is for the
    /// journal only.
    #[error("internal error")]
    Internal(String),
}

impl Error {
    /// A code whose length no factor of the user has. It is malformed, not wrong, so it does not count as an attempt.
    pub(crate) fn wrong_length() -> Self {
        Self::Malformed("the code has the wrong number of digits for this factor".to_owned())
    }
}

/// Why the daemon sends no PIN to a security key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PinBlock {
    /// After three wrong PINs in a row the key accepts none until it is unplugged.
    #[error("three wrong PINs in a row; unplug the security key, plug it in and try again")]
    Paused,
    /// So few PINs are left that the daemon does not try one. Otherwise a user of the daemon could block someone
    /// else's key.
    #[error(
        "{remaining} more wrong PINs would block the security key, so the daemon tries none; enter the right PIN in \
         another program, which resets the count"
    )]
    Spared {
        /// PINs that are left before the key blocks its PIN.
        remaining: u8,
    },
    /// The key has blocked its PIN for good. Only a reset helps, and that ends its credentials.
    #[error(
        "the PIN of the security key is blocked after too many wrong PINs; reset the key, which deletes its \
         credentials, and register it again"
    )]
    Blocked,
}

// With and without a guess it stays one variant: the client's next step is the same.
fn busy_sentence(holders: Option<&str>) -> String {
    match holders {
        Some(holders) => {
            format!(
                "another program is using the key; programs here that often hold keys: {holders}; stop it and try again"
            )
        }
        None => "another program or request is using the key; try again".to_owned(),
    }
}

impl From<DeviceFault> for Error {
    fn from(fault: DeviceFault) -> Self {
        match fault {
            DeviceFault::NoService => Self::NoPcscd,
            DeviceFault::Denied => Self::PcscdDenied,
            DeviceFault::Busy { holder } => Self::DeviceBusy { holder },
            DeviceFault::Removed => Self::DeviceRemoved,
            DeviceFault::NoAccess => Self::HidDenied,
            DeviceFault::TooOld => {
                Self::Unsupported("this security key does not support FIDO2; use a newer one".to_owned())
            }
            DeviceFault::Hung => Self::DeviceHung,
            DeviceFault::Failed(_) => Self::DeviceFailed(fault.to_string()),
        }
    }
}

impl From<CardFault> for Error {
    fn from(fault: CardFault) -> Self {
        match fault {
            CardFault::Device(fault) => fault.into(),
            CardFault::Full => Self::DeviceFull,
            CardFault::Locked => Self::DeviceLocked,
            CardFault::WrongPassword => Self::WrongDevicePassword,
            // The key listed the account, or the daemon wrote it, so the key has changed since.
            CardFault::NoSuchAccount => Self::DeviceChanged,
            // The daemon listed the accounts before it wrote one, and a listing may leave out accounts.
            CardFault::Exists => Self::AccountTaken,
            CardFault::NotTouched => Self::TouchTimeout,
            CardFault::Unsupported(what) => Self::Unsupported(format!("not supported by this key: {what}")),
            CardFault::Status(_) | CardFault::Nonsense(_) => Self::DeviceFailed(fault.to_string()),
        }
    }
}

impl From<CtapFault> for Error {
    fn from(fault: CtapFault) -> Self {
        match fault {
            CtapFault::Device(fault) => fault.into(),
            CtapFault::NotTouched => Self::TouchTimeout,
            CtapFault::Refused => Self::TouchDenied,
            CtapFault::NoCredentials => Self::NotThisKey,
            CtapFault::Excluded => Self::AlreadyActive,
            CtapFault::PinRequired => Self::PinRequired,
            CtapFault::PinWrong { remaining } => Self::PinWrong { remaining },
            CtapFault::PinPaused => Self::PinBlocked(PinBlock::Paused),
            CtapFault::PinSpared { remaining } => Self::PinBlocked(PinBlock::Spared { remaining }),
            CtapFault::PinBlocked => Self::PinBlocked(PinBlock::Blocked),
            CtapFault::PinNotSet => Self::Unsupported(
                "this security key must verify its user, but has neither PIN nor fingerprint; set one first".to_owned(),
            ),
            CtapFault::Full => Self::DeviceFull,
            CtapFault::Unsupported(what) => Self::Unsupported(format!("not supported by this security key: {what}")),
            CtapFault::Status(_) | CtapFault::Nonsense(_) => Self::DeviceFailed(fault.to_string()),
            CtapFault::Internal(cause) => Self::Internal(cause.to_owned()),
        }
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        match fault {
            // Want of memory passes, so the caller should try again.
            Fault::Busy | Fault::Memory => Self::Busy,
            Fault::Unwritable(_) | Fault::Failed => Self::StorageUnavailable(fault.to_string()),
            Fault::Seal | Fault::Disagrees | Fault::Corrupt(_) => Self::Tampered(fault.to_string()),
            Fault::Crypto | Fault::Sqlite(_) | Fault::Panic => Self::Internal(fault.to_string()),
        }
    }
}

impl From<FidoFault> for Error {
    fn from(fault: FidoFault) -> Self {
        match fault {
            FidoFault::Internal(cause) => Self::Internal(cause),
            FidoFault::Malformed { .. } => Self::Malformed(fault.to_string()),
            FidoFault::Algorithm(_) => Self::Unsupported(fault.to_string()),
            // The caller does not learn which check failed; the audit log has the reason.
            FidoFault::Refused(_) | FidoFault::Counter => Self::WrongCode { remaining: None, diagnosis: None },
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
            // One refusal for all: a forger does not learn which check failed.
            TokenFault::Shape
            | TokenFault::Header
            | TokenFault::Signature
            | TokenFault::Claims
            | TokenFault::Expired => Self::Unauthenticated,
            TokenFault::NoKey => Self::Internal(fault.to_string()),
        }
    }
}
