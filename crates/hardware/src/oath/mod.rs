//! The OATH applet of hardware keys (Yubico's protocol over ISO 7816-4).

mod access;
mod applet;

pub use access::AccessKey;
pub use applet::{Account, AccountKind, Applet, NewAccount};
