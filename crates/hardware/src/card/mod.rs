//! Talking to a smart card: commands out, whole answers in (ISO 7816-4), and who the key is. The applets build on it.
//! It reads no clock but the time a card takes, and never logs an APDU.

mod command;
mod identity;
mod session;
pub(crate) mod tlv;

use crate::device::DeviceFault;

pub(crate) use command::Command;
pub use identity::{FormFactor, Identity, identify};
pub use session::CardSession;
pub(crate) use session::{DONE, GET_RESPONSE, SEND_REMAINING};

/// Why a key did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CardFault {
    /// The way to the key failed.
    #[error(transparent)]
    Device(#[from] DeviceFault),
    /// No room for another account (0x6A84).
    #[error("the key is full")]
    Full,
    /// The applet has a password and it was not given (0x6982).
    #[error("the key's OATH application is locked")]
    Locked,
    /// The password is wrong.
    #[error("the password of the key is wrong")]
    WrongPassword,
    /// No account of that name (0x6984).
    #[error("no such account on the key")]
    NoSuchAccount,
    /// Nobody touched the key in time.
    #[error("the key was not touched")]
    NotTouched,
    /// The key lacks the applet or the command, or is too old for what was asked.
    #[error("the key cannot do this: {0}")]
    Unsupported(&'static str),
    /// The key refuses with a status word that has no meaning here.
    #[error("the key answered with status {0:04x}")]
    Status(u16),
    /// The key's answer cannot be read.
    #[error("the key's answer makes no sense: {0}")]
    Nonsense(&'static str),
}
