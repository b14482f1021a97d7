//! CTAP2: what a security key is asked as bytes of CBOR, and what its answers mean (FIDO CTAP 2.1). It knows nothing of
//! relying parties, and never logs a message.

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
    /// The way to the key failed.
    #[error(transparent)]
    Device(#[from] DeviceFault),
    /// Nobody touched it in time, or nobody waits any more.
    #[error("the security key was not touched")]
    NotTouched,
    /// Whoever touched it said no.
    #[error("the security key was told to refuse")]
    Refused,
    /// It has none of the credentials that may answer.
    #[error("the security key has no such credential")]
    NoCredentials,
    /// It has one of the credentials that must not be there already.
    #[error("the security key is registered already")]
    Excluded,
    /// It has to know who touches it, and there is no PIN to tell it.
    #[error("the security key wants its PIN")]
    PinRequired,
    /// The PIN is wrong.
    #[error("the PIN of the security key is wrong")]
    PinWrong {
        /// PINs that may still be tried before it is blocked.
        remaining: u8,
    },
    /// Three wrong PINs in a row; it takes the next one after it was unplugged.
    #[error("the security key takes no PIN before it was unplugged")]
    PinPaused,
    /// So few PINs are left that none is tried here: the last ones are for whoever has the key in hand.
    #[error("the security key has only {remaining} PINs left")]
    PinSpared {
        /// How many.
        remaining: u8,
    },
    /// Too many wrong PINs; only a reset of the key helps, which ends its credentials.
    #[error("the PIN of the security key is blocked")]
    PinBlocked,
    /// It has to know who touches it, and has neither a PIN nor a fingerprint to go by.
    #[error("the security key has no PIN")]
    PinNotSet,
    /// No room for another credential.
    #[error("the security key is full")]
    Full,
    /// It lacks what is needed.
    #[error("the security key cannot do this: {0}")]
    Unsupported(&'static str),
    /// It refuses with a status that has no meaning here.
    #[error("the security key answered with status {0:02x}")]
    Status(u8),
    /// Its answer cannot be read.
    #[error("the answer of the security key makes no sense: {0}")]
    Nonsense(&'static str),
    /// A defect, here or of the host.
    #[error("{0}")]
    Internal(&'static str),
}

/// What a status byte means (CTAP 2.1 section 8.2).
fn refusal(status: u8) -> CtapFault {
    match status {
        // 0x33: another program asked for a token in between.
        0x06 | 0x33 => CtapFault::Device(DeviceFault::Busy { holder: None }),
        0x19 => CtapFault::Excluded,
        0x26 => CtapFault::Unsupported("it signs with none of the algorithms that are taken"),
        0x27 => CtapFault::Refused,
        0x28 => CtapFault::Full,
        0x2C => CtapFault::Unsupported("it does not know an option"),
        0x05 | 0x2D | 0x2F | 0x3A => CtapFault::NotTouched,
        0x22 | 0x2E => CtapFault::NoCredentials,
        0x32 => CtapFault::PinBlocked,
        0x34 => CtapFault::PinPaused,
        0x35 => CtapFault::PinNotSet,
        0x37 => CtapFault::Unsupported("its PIN has to be changed first"),
        0x40 => CtapFault::Unsupported("its PIN does not allow this"),
        // The PIN is wanted, or a fingerprint was not recognised and the PIN is the other way.
        0x36 | 0x3C | 0x3F => CtapFault::PinRequired,
        other => CtapFault::Status(other),
    }
}
