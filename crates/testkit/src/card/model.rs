//! How the keys of different makers differ, as their own applets were seen to behave: Yubico's documentation, and
//! canokey-core, the secrets app of Nitrokey and pico-fido behind a real pcscd.

use super::key::{NOT_ALLOWED, NOT_NOW};

/// Whose key a virtual key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Model {
    YubiKey,
    /// Version 6.0.0 of the applet.
    CanoKey,
    /// Version 4.16.0 of the applet.
    Nitrokey,
    /// Version 8.0.0 of the applet.
    Pico,
}

impl Model {
    /// All models.
    pub const ALL: [Self; 4] = [Self::YubiKey, Self::CanoKey, Self::Nitrokey, Self::Pico];

    /// The name of the reader that the key shows over USB.
    pub fn reader(self) -> &'static str {
        match self {
            Self::YubiKey => "Yubico YubiKey OTP+FIDO+CCID",
            Self::CanoKey => "canokeys.org CanoKey OATH",
            Self::Nitrokey => "Nitrokey Nitrokey 3 CCID",
            Self::Pico => "Pol Henarejos Pico Key CCID",
        }
    }

    /// USB vendor and product.
    pub(super) fn usb(self) -> (u16, u16) {
        match self {
            Self::YubiKey => (0x1050, 0x0407),
            Self::CanoKey => (0x20A0, 0x42D4),
            Self::Nitrokey => (0x20A0, 0x42B2),
            Self::Pico => (0xFEFF, 0xFCFD),
        }
    }

    /// The version that the OATH applet reports; `None` for a YubiKey, where it is that of the firmware.
    pub(super) fn version(self) -> Option<(u8, u8, u8)> {
        match self {
            Self::YubiKey => None,
            Self::CanoKey => Some((6, 0, 0)),
            Self::Nitrokey => Some((4, 16, 0)),
            Self::Pico => Some((8, 0, 0)),
        }
    }

    /// The instruction that fetches the rest of a long response of the OATH applet.
    pub(super) fn send_remaining(self) -> u8 {
        match self {
            Self::YubiKey | Self::CanoKey => 0xA5,
            Self::Nitrokey | Self::Pico => 0xC0,
        }
    }

    pub(super) fn rename(self) -> u8 {
        if self == Self::Nitrokey { 0xB7 } else { 0x05 }
    }

    /// Number of accounts that fit; `None` for a YubiKey, where the firmware decides.
    pub(super) fn capacity(self) -> Option<usize> {
        match self {
            Self::YubiKey => None,
            Self::CanoKey => Some(100),
            Self::Nitrokey => Some(50),
            Self::Pico => Some(255),
        }
    }

    /// Number of bytes that a list can have.
    pub(super) fn longest_list(self) -> usize {
        if self == Self::Pico { 4095 } else { usize::MAX }
    }

    /// The status word of a PUT over an account that exists; `None` if it is replaced.
    pub(super) fn exists(self) -> Option<u16> {
        match self {
            Self::YubiKey | Self::Pico => None,
            Self::CanoKey => Some(NOT_NOW),
            Self::Nitrokey => Some(0x6983),
        }
    }

    /// The status word for an account that does not exist.
    pub(super) fn absent(self) -> u16 {
        if self == Self::Nitrokey { 0x6A82 } else { 0x6984 }
    }

    /// The status word of a command that was not touched in time.
    pub(super) fn untouched(self) -> u16 {
        if self == Self::CanoKey { NOT_NOW } else { NOT_ALLOWED }
    }

    /// Whether DELETE, RESET and RENAME, and PUT of an account with touch, wait for a touch.
    pub(super) fn changes_by_touch(self) -> bool {
        self == Self::Nitrokey
    }
}
