//! A virtual YubiKey at the level of APDUs, and the readers to put it into: in this process behind the daemon's traits
//! `Card` and `Devices`, or behind a real pcscd through vsmartcard's vpcd. It implements Yubico's published protocols,
//! is checked with Yubico's own `ykman`, and shares no code with the daemon's implementation of them.

mod applets;
mod devices;
mod foreign;
mod key;
mod maker;
mod management;
mod model;
mod oath;
mod otp;
mod pcscd;
mod piv;
mod slot;
mod tlv;
mod vpcd;

pub use applets::Applet;
pub use devices::VirtualDevices;
pub use key::{Firmware, Key, Touch};
pub use maker::{Attested, Maker};
pub use model::Model;
pub use oath::{Account, HOTP, SHA1, SHA256, SHA512, TOTP};
pub use pcscd::{Pcscd, refuse_everybody};
pub use slot::{Fault, Gone, Hook, Reader, Watcher};
pub use vpcd::{Attached, attach};
