//! Everything a call can answer instead of what was asked, sorted by who is at fault. It knows no HTTP.

use std::time::Duration;

use crate::fido::FidoFault;
use crate::token::TokenFault;
use mfad_core::entropy::NoEntropy;
use mfad_core::model::Serial;
use mfad_core::oath::Diagnosis;
use mfad_hardware::card::CardFault;
use mfad_hardware::ctap::CtapFault;
use mfad_hardware::device::DeviceFault;
use mfad_store::Fault;

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

    /// Without a factor, what decides who can log in needs a login with the password in the last five minutes.
    #[error("this needs a login of the last five minutes: log in again with the password")]
    FreshLoginRequired,

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
    #[error("this user has reached the limit on secrets; delete one first")]
    TooManySecrets,
    /// It was carried out, and its answer is not for telling again.
    #[error("the request was carried out; its answer held a secret that has been used, replaced or removed since")]
    ToldOnce,
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

    // The hardware is in the way.
    /// The smart card service does not run.
    #[error("the smart card service pcscd does not run on this host; install and start it, then try again")]
    NoPcscd,
    /// The smart card service refuses the daemon.
    #[error(
        "pcscd refuses access to the daemon's user; allow it with a polkit rule (docs/hardware.md), then try again"
    )]
    PcscdDenied,
    /// No such key is plugged in.
    #[error("{0}; plug it in and try again")]
    NoDevice(String),
    /// More than one key could be meant.
    #[error("more than one key is plugged in; name one by its serial number, or leave only one in")]
    ManyDevices(Vec<Serial>),
    /// Somebody else holds the key.
    #[error("{}", busy_sentence(.holder.as_deref()))]
    DeviceBusy {
        /// The program that likely does.
        holder: Option<String>,
    },
    /// The key went away in the middle.
    #[error("the key was pulled or reset in the middle; nothing became active; put it back and try again")]
    DeviceRemoved,
    /// No room for another account.
    #[error("the key has no room for another account; delete one on it, or use another key")]
    DeviceFull,
    /// The key's applet wants a password.
    #[error("the key's OATH application has a password that the daemon does not know; give it along")]
    DeviceLocked,
    /// That is not the password.
    #[error("the password of the key's OATH application is wrong")]
    WrongDevicePassword,
    /// An account of that name is on the key.
    #[error("an account of that name is on the key; choose another name, or replace it expressly")]
    AccountTaken,
    /// Nobody touched it.
    #[error("the key was not touched in time; try again and touch it while it blinks")]
    TouchTimeout,
    /// The key is another one than it was, or was reset.
    #[error("this is not the key as it was programmed: it was swapped or its OATH application was reset")]
    DeviceChanged,
    /// The key, or this factor, cannot do that.
    #[error("{0}")]
    Unsupported(String),
    /// The kernel refuses the daemon the security key.
    #[error(
        "the daemon's user may not open the security key; install the udev rule of the package, then plug it in again"
    )]
    HidDenied,
    /// More than one security key could be meant.
    #[error("{} security keys could be meant ({}); leave one in and try again", .0.len(), .0.join(", "))]
    ManySecurityKeys(Vec<String>),
    /// None of the keys that are plugged in is one of the user's.
    #[error("the security key that is plugged in is not registered for this user; plug in the right one and try again")]
    NotThisKey,
    /// Whoever touched the security key said no.
    #[error("the request was declined on the security key")]
    TouchDenied,
    /// The security key has to know who touches it.
    #[error("the security key wants its PIN; send it along as `pin`")]
    PinRequired,
    /// That is not the PIN.
    #[error("the PIN of the security key is wrong")]
    PinWrong {
        /// PINs that may still be tried before it is blocked.
        remaining: u8,
    },
    /// The key takes no PIN any more.
    #[error("{0}")]
    PinBlocked(PinBlock),
    /// The key does not do what it should, or does not answer.
    #[error("the key does not answer as it should; nothing became active; take it out, put it in and try again")]
    DeviceFailed(String),
    /// The key does not prove that it is what it says.
    #[error("this key does not count as genuine: {0}")]
    NotGenuine(mfad_hardware::piv::AttestationError),
    /// Factors depend on what would go.
    #[error("an active or pending factor needs this account; delete the factor, or return the key, instead")]
    DeviceInUse,

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
    /// The store is damaged or was changed by somebody else: a sealed value does not open (KEY-3), or rows do not agree with
    /// each other. The cause is for the journal only.
    #[error("the store is damaged, or another program changed it; an administrator looks into the journal")]
    Tampered(String),
    /// A defect. On an authentication path it is a refusal like any other (AUT-6).
    #[error("internal error")]
    Internal(String),
}

impl Error {
    /// A code that no factor of the user could have made.
    pub(crate) fn wrong_length() -> Self {
        Self::Malformed("`token` does not have the number of digits of this factor".to_owned())
    }
}

/// Why a security key takes no PIN here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PinBlock {
    /// After three wrong ones in a row.
    #[error("three wrong PINs in a row; unplug the security key, plug it in and try again")]
    Paused,
    /// The last ones are not tried here.
    #[error(
        "{remaining} more wrong PINs would block the security key, so none is tried here; give the right one to another \
         program first, which starts the count anew"
    )]
    Spared {
        /// How many are left.
        remaining: u8,
    },
    /// For good.
    #[error(
        "the PIN of the security key is blocked after too many wrong ones; the key has to be reset, which ends what is on it"
    )]
    Blocked,
}

fn busy_sentence(holder: Option<&str>) -> String {
    match holder {
        Some(holder) => format!("another program uses the key, likely {holder}; end it and try again"),
        None => "another program or request uses the key; try again".to_owned(),
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
            DeviceFault::TooOld => Self::Unsupported("this security key is older than FIDO2".to_owned()),
            DeviceFault::Hung | DeviceFault::Failed(_) => Self::DeviceFailed(fault.to_string()),
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
            CardFault::NoSuchAccount => Self::DeviceChanged,
            CardFault::NotTouched => Self::TouchTimeout,
            CardFault::Unsupported(what) => Self::Unsupported(format!("this key cannot do that: {what}")),
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
                "this security key has to know who touches it, and has neither PIN nor fingerprint; set one first"
                    .to_owned(),
            ),
            CtapFault::Full => Self::DeviceFull,
            CtapFault::Unsupported(what) => Self::Unsupported(format!("this security key cannot do that: {what}")),
            CtapFault::Status(_) | CtapFault::Nonsense(_) => Self::DeviceFailed(fault.to_string()),
            CtapFault::Internal(cause) => Self::Internal(cause.to_owned()),
        }
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        match fault {
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
            FidoFault::Refused(_) | FidoFault::Counter => Self::WrongCode { remaining: None },
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
