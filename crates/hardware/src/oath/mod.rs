//! The OATH applet of hardware keys (YKOATH, Yubico's protocol over ISO 7816-4), and how the applets of other makers
//! differ from it. Knows no factor and no store.

mod access;
mod account;
mod applet;
mod dialect;

pub use access::AccessKey;
pub use account::{Account, AccountKind, Gives, NewAccount, Touch};
pub use applet::Applet;
pub use dialect::{Answers, Dialect, Kinds, dialect_of};
