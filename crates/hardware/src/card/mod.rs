//! Commands to a smart card and their whole responses (ISO 7816-4), and the identity of a hardware key. The applets
//! build on it. Knows no OATH and no PIV, measures only how long a card takes, and never logs an APDU.

mod command;
mod identity;
mod session;
pub(crate) mod tlv;
mod yubico;

use crate::device::DeviceFault;

pub(crate) use command::Command;
pub(crate) use identity::OATH;
pub use identity::{Identity, KEY_MAKERS, Maker, identify};
pub use session::CardSession;
pub(crate) use session::{DONE, GET_RESPONSE, SEND_REMAINING};
pub use yubico::FormFactor;
pub(crate) use yubico::YUBIKEY_TOUCH;

/// Why a hardware key did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CardFault {
    /// The connection to the key failed.
    #[error(transparent)]
    Device(#[from] DeviceFault),
    /// The key has no room for another account (0x6A84).
    #[error("the key has no room for another account")]
    Full,
    /// The applet has a password, and it was not given (0x6982).
    #[error("the OATH application of the key requires its password")]
    Locked,
    /// The password of the OATH applet is wrong.
    #[error("wrong password for the OATH application of the key")]
    WrongPassword,
    /// The key has an account of that name already, and does not write over it.
    #[error("the key has an account of this name already")]
    Exists,
    /// The key has no account of that name (0x6984).
    #[error("the key has no account of this name")]
    NoSuchAccount,
    /// The key was not touched in time.
    #[error("the key was not touched in time")]
    NotTouched,
    /// The key lacks the applet or the command, or its firmware is too old.
    #[error("the key cannot do this: {0}")]
    Unsupported(&'static str),
    /// The key refused with a status word that has no meaning here.
    #[error("unexpected status word {0:04x} from the key")]
    Status(u16),
    /// The response of the key cannot be parsed.
    #[error("invalid response from the key: {0}")]
    Nonsense(&'static str),
}
