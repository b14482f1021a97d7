//! A virtual YubiKey at the APDU line, and the readers to put it into: in-process behind the daemon's `Card`
//! and `Devices`, or behind a real pcscd through vsmartcard's vpcd. It follows Yubico's published protocols,
//! is checked by Yubico's own `ykman`, and shares no code with the daemon's side of them.

mod devices;
mod key;
mod maker;
mod management;
mod oath;
mod otp;
mod pcscd;
mod piv;
mod slot;
mod tlv;
mod vpcd;

pub use devices::VirtualDevices;
pub use key::{Applet, Firmware, Key, Touch};
pub use maker::{Attested, Maker};
pub use oath::{Account, HOTP, SHA1, SHA256, SHA512, TOTP};
pub use pcscd::{Pcscd, refuse_everybody};
pub use slot::{Fault, Gone, Hook, Reader, Watcher};
pub use vpcd::{Attached, attach};
