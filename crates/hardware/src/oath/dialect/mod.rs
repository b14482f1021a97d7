//! How the OATH applets of different makers differ. Each maker has a file, with what its documentation or its applet
//! says; nothing is concluded from the version of another maker. docs/hardware.md shows the table.

mod canokey;
mod nitrokey;
mod pico;
mod unknown;
mod yubikey;

use std::time::Duration;

use mfad_core::model::Firmware;

use crate::card::{CardFault, Maker, SEND_REMAINING};

/// How an applet answers CALCULATE for the proof that it stored an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answers {
    /// With the whole HMAC.
    Whole,
    /// With four bytes of it only (RFC 4226 section 5.3).
    Truncated,
}

/// How an applet tells what an account needs before it gives a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kinds {
    /// CALCULATE ALL answers each account in its own way.
    Calculated,
    /// LIST, asked for it, ends each entry with a byte of properties.
    Listed,
}

/// The OATH applet of one maker. The default of each method is what Yubico's protocol says (YKOATH).
pub trait Dialect: Sync {
    /// The instruction that fetches the next part of a long response.
    fn continuation(&self) -> u8 {
        SEND_REMAINING
    }

    /// How CALCULATE answers where no code is asked for.
    fn answers(&self) -> Answers {
        Answers::Whole
    }

    /// Number of challenges that prove an account. They use up as many counters of a HOTP account, on both sides. An
    /// account that requires a touch from the first write on is proved once, so that nobody has to touch it thrice.
    fn proofs(&self, touch: bool) -> u32 {
        match self.answers() {
            _ if touch && self.changes_need_touch() => 1,
            Answers::Whole => 2,
            Answers::Truncated => 3,
        }
    }

    /// By how much the counter of the first answer exceeds the counter that was written.
    fn counters_ahead(&self) -> u32 {
        0
    }

    /// Where the kinds of accounts come from.
    fn kinds(&self) -> Kinds {
        Kinds::Calculated
    }

    /// The instruction that renames an account.
    fn rename(&self, _: Firmware) -> Result<u8, &'static str> {
        Ok(0x05)
    }

    /// Whether DELETE, RENAME and RESET wait for a touch, and PUT of an account with touch.
    fn changes_need_touch(&self) -> bool {
        false
    }

    /// Whether the applet can have a password, or why not.
    fn password(&self) -> Result<(), &'static str> {
        Ok(())
    }

    /// Whether RESET works here, or why not.
    fn reset(&self) -> Result<(), &'static str> {
        Ok(())
    }

    /// Whether the salt stays the same from one SELECT to the next and changes with a reset, so that it identifies the
    /// applet.
    fn salt_identifies(&self) -> bool {
        true
    }

    /// Whether accounts can use HMAC-SHA-512, or why not.
    fn sha512(&self, version: Firmware) -> Result<(), &'static str>;

    /// How long the key waits for a touch, or why accounts cannot require one.
    fn touch(&self, version: Firmware) -> Result<Duration, &'static str>;

    /// Number of accounts that fit; `None` where only the key knows, which then refuses a further one.
    fn capacity(&self, _: Firmware) -> Option<u32> {
        None
    }

    /// The longest list of all accounts, in bytes. Beyond it the applet still stores accounts, but no longer lists any.
    fn longest_list(&self) -> Option<usize> {
        None
    }

    /// Whether PUT may write over an account whose name only begins with the new name.
    fn confuses_prefixes(&self, _: Firmware) -> bool {
        false
    }

    /// What a status word means, if it means something else than in YKOATH.
    fn fault(&self, _: u16) -> Option<CardFault> {
        None
    }
}

/// Returns the dialect of a maker.
pub fn dialect_of(maker: Maker) -> &'static dyn Dialect {
    match maker {
        Maker::Yubico => &yubikey::YubiKey,
        Maker::CanoKey => &canokey::CanoKey,
        Maker::Nitrokey => &nitrokey::Nitrokey,
        Maker::Pico => &pico::Pico,
        Maker::Compatible => &unknown::Unknown { has_management: true },
        Maker::Unknown => &unknown::Unknown { has_management: false },
    }
}
