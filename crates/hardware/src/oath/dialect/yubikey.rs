//! YubiKeys. The versions are those of Yubico's documentation (YKOATH; release notes of the firmware).

use std::time::Duration;

use mfad_core::model::Firmware;

use super::Dialect;
use crate::card::YUBIKEY_TOUCH;

pub(super) struct YubiKey;

impl Dialect for YubiKey {
    fn rename(&self, version: Firmware) -> Result<u8, &'static str> {
        if version >= Firmware(5, 3, 1) { Ok(0x05) } else { Err("renaming needs firmware 5.3.1") }
    }

    fn sha512(&self, version: Firmware) -> Result<(), &'static str> {
        if version >= Firmware(4, 3, 1) { Ok(()) } else { Err("SHA-512 needs firmware 4.3.1") }
    }

    fn touch(&self, version: Firmware) -> Result<Duration, &'static str> {
        if version >= Firmware(4, 2, 6) {
            Ok(YUBIKEY_TOUCH)
        } else {
            Err("accounts that require a touch need firmware 4.2.6")
        }
    }

    fn capacity(&self, version: Firmware) -> Option<u32> {
        match version {
            // It depends on what else is stored on the key.
            Firmware(0..=3, ..) => None,
            later if later >= Firmware(5, 7, 0) => Some(64),
            _ => Some(32),
        }
    }

    fn confuses_prefixes(&self, version: Firmware) -> bool {
        version >= Firmware(4, 0, 0) && version < Firmware(4, 3, 5)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn firmware_tells_what_a_key_can_do() {
        let first = |can: &dyn Fn(Firmware) -> bool, last_without: Firmware, first_with: Firmware| {
            assert!(!can(last_without) && can(first_with), "{last_without} {first_with}");
        };
        first(&|version| YubiKey.touch(version).is_ok(), Firmware(4, 2, 5), Firmware(4, 2, 6));
        first(&|version| YubiKey.sha512(version).is_ok(), Firmware(4, 3, 0), Firmware(4, 3, 1));
        first(&|version| YubiKey.rename(version).is_ok(), Firmware(5, 3, 0), Firmware(5, 3, 1));
        first(&|version| YubiKey.confuses_prefixes(version), Firmware(3, 4, 9), Firmware(4, 0, 0));
        assert!(YubiKey.confuses_prefixes(Firmware(4, 3, 4)) && !YubiKey.confuses_prefixes(Firmware(4, 3, 5)));
        let rooms = [Firmware(3, 4, 0), Firmware(4, 0, 0), Firmware(5, 6, 9), Firmware(5, 7, 0)];
        assert_eq!(rooms.map(|version| YubiKey.capacity(version)), [None, Some(32), Some(32), Some(64)]);
    }
}
