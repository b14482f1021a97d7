//! CTAP2: requests to a security key as CBOR, and what its responses mean (FIDO CTAP 2.1). Knows nothing of relying
//! parties, and never logs a message.

mod authenticator;
mod pin;
mod value;

use crate::device::DeviceFault;

pub use authenticator::{Assertion, Authenticator, Made, NewCredential, User, Verified};
pub use pin::{Permission, PinToken};
pub use value::{Map, Value, canonical};

/// Why a security key did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CtapFault {
    /// The connection to the key failed.
    #[error(transparent)]
    Device(#[from] DeviceFault),
    /// The key was not touched in time, or the answer is no longer wanted because the client has disconnected.
    #[error("the security key was not touched in time")]
    NotTouched,
    /// The user declined the request on the key.
    #[error("the request was declined on the security key")]
    Refused,
    /// The key has none of the credentials that may answer.
    #[error("the security key has none of these credentials")]
    NoCredentials,
    /// The key already has a credential that must not be on it.
    #[error("the security key is already registered")]
    Excluded,
    /// The key must verify its user, and no PIN was given.
    #[error("the security key requires its PIN")]
    PinRequired,
    /// The PIN is wrong; the key has counted the attempt.
    #[error("wrong PIN for the security key; attempts left: {remaining}")]
    PinWrong {
        /// Attempts left before the key blocks its PIN.
        remaining: u8,
    },
    /// Three wrong PINs in a row. The key accepts the next one after it was unplugged.
    #[error("the security key accepts no PIN until it is unplugged and plugged in again")]
    PinPaused,
    /// So few attempts are left that the daemon uses none of them. The last ones are reserved for the owner of the key.
    #[error("the last PIN attempts of the security key are not used here; attempts left: {remaining}")]
    PinSpared {
        /// Attempts left before the key blocks its PIN.
        remaining: u8,
    },
    /// Too many wrong PINs. Only a reset of the key helps, which ends its credentials.
    #[error("the PIN of the security key is blocked; only a reset of the key helps")]
    PinBlocked,
    /// The key must verify its user, and has neither a PIN nor a fingerprint.
    #[error("the security key has neither a PIN nor a fingerprint; set one first")]
    PinNotSet,
    /// The key has no room for another credential.
    #[error("the security key has no room for another credential")]
    Full,
    /// The key lacks a feature that the request needs.
    #[error("the security key cannot do this: {0}")]
    Unsupported(&'static str),
    /// The key refused with a status that has no meaning here.
    #[error("unexpected status {0:02x} from the security key")]
    Status(u8),
    /// The response of the key cannot be parsed.
    #[error("invalid response from the security key: {0}")]
    Nonsense(&'static str),
    /// A defect of the daemon or of its host.
    #[error("{0}")]
    Internal(&'static str),
}

/// Returns the meaning of a status byte (CTAP 2.1 section 8.2).
fn refusal(status: u8) -> CtapFault {
    match status {
        // 0x33: another program requested a token in between.
        0x06 | 0x33 => CtapFault::Device(DeviceFault::Busy { holder: None }),
        0x19 => CtapFault::Excluded,
        0x26 => CtapFault::Unsupported("it signs with none of the algorithms that are taken"),
        0x27 => CtapFault::Refused,
        0x28 => CtapFault::Full,
        0x2C => CtapFault::Unsupported("it does not know an option"),
        // Timeouts of the key, and its answer when the daemon cancels (0x2D).
        0x05 | 0x2D | 0x2F | 0x3A => CtapFault::NotTouched,
        0x22 | 0x2E => CtapFault::NoCredentials,
        0x32 => CtapFault::PinBlocked,
        0x34 => CtapFault::PinPaused,
        0x35 => CtapFault::PinNotSet,
        0x37 => CtapFault::Unsupported("its PIN has to be changed first"),
        0x40 => CtapFault::Unsupported("its PIN does not allow this"),
        // The key needs its PIN. Or it did not recognise a fingerprint, and the PIN is the other way.
        0x36 | 0x3C | 0x3F => CtapFault::PinRequired,
        other => CtapFault::Status(other),
    }
}
