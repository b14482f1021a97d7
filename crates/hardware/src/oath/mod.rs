//! The OATH applet of hardware keys (YKOATH, Yubico's protocol over ISO 7816-4). Knows no factor and no store.

mod access;
mod applet;

pub use access::AccessKey;
pub use applet::{Account, AccountKind, Applet, NewAccount};
