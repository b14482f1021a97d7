//! Accounts of an OATH applet as they are listed, shown and written.

use sha1::Sha1;
use sha2::{Digest, Sha256, Sha512};
use zeroize::Zeroizing;

use crate::card::CardFault;
use mfad_core::model::{AccountName, Algorithm, Profile, Sensitive};

pub(super) const TAG_RESPONSE: u8 = 0x75;
pub(super) const TAG_TRUNCATED: u8 = 0x76;
const TAG_HOTP: u8 = 0x77;
const TAG_TOUCH: u8 = 0x7c;

pub(super) const HOTP: u8 = 0x10;
pub(super) const TOTP: u8 = 0x20;
/// The shortest HMAC key that the applet accepts, in bytes. Shorter ones are padded with zeros, as HMAC would do.
const SHORTEST_KEY: usize = 14;

pub(super) const ODD_LIST: CardFault = CardFault::Nonsense("an account that cannot be read");

/// What an account on a key gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gives {
    /// Time-based codes (TOTP) over this hash function.
    Totp(Algorithm),
    /// Counter-based codes (HOTP) over this hash function.
    Hotp(Algorithm),
    /// Something that is not known here. Such an account is left alone.
    Other,
}

/// An account as LIST reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The name of the account on the key.
    pub name: AccountName,
    /// What it gives.
    pub gives: Gives,
}

/// The touch of a key that a code may need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Touch {
    /// The account needs none.
    NotNeeded,
    /// The account needs one.
    Needed,
    /// The account is new and must need one: a code that comes at once disproves it.
    ToBeProved,
}

/// An account to be written.
pub struct NewAccount<'a> {
    /// The name of the account on the key.
    pub name: &'a AccountName,
    /// The parameters. The applet does not store the period, which is part of the name.
    pub profile: &'a Profile,
    /// The key of the HMAC.
    pub seed: &'a Sensitive<Vec<u8>>,
    /// Whether each code needs a touch.
    pub touch: bool,
    /// The first counter of a HOTP account; 0 for TOTP.
    pub counter: u32,
}

/// The kind of response that CALCULATE ALL gives for an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccountKind {
    /// A code. It needs no touch.
    Code,
    /// No code, since the account has a counter, which is left alone.
    Hotp,
    /// No code, since the account needs a touch.
    Touch,
}

pub(super) fn account(value: &[u8]) -> Result<Account, CardFault> {
    let (kind, name) = value.split_first().ok_or(ODD_LIST)?;
    let algorithm = match kind & 0x0f {
        0x01 => Some(Algorithm::Sha1),
        0x02 => Some(Algorithm::Sha256),
        0x03 => Some(Algorithm::Sha512),
        _ => None,
    };
    let gives = match (kind & 0xf0, algorithm) {
        (HOTP, Some(algorithm)) => Gives::Hotp(algorithm),
        (TOTP, Some(algorithm)) => Gives::Totp(algorithm),
        _ => Gives::Other,
    };
    Ok(Account { name: AccountName::from_bytes(name).ok_or(ODD_LIST)?, gives })
}

pub(super) fn shown_of(tag: u8) -> Option<AccountKind> {
    match tag {
        TAG_RESPONSE | TAG_TRUNCATED => Some(AccountKind::Code),
        TAG_HOTP => Some(AccountKind::Hotp),
        TAG_TOUCH => Some(AccountKind::Touch),
        _ => None,
    }
}

pub(super) fn algorithm_code(algorithm: Algorithm) -> u8 {
    match algorithm {
        Algorithm::Sha1 => 0x01,
        Algorithm::Sha256 => 0x02,
        Algorithm::Sha512 => 0x03,
    }
}

/// Returns the HMAC key as the applet expects it. A key longer than a block is hashed, as HMAC would do (RFC 2104
/// section 2). A key of less than 14 bytes is padded.
pub(super) fn card_key(seed: &Sensitive<Vec<u8>>, algorithm: Algorithm) -> Zeroizing<Vec<u8>> {
    let seed = seed.expose();
    let block = match algorithm {
        Algorithm::Sha1 | Algorithm::Sha256 => 64,
        Algorithm::Sha512 => 128,
    };
    let mut key = if seed.len() > block {
        match algorithm {
            Algorithm::Sha1 => Sha1::digest(seed).to_vec(),
            Algorithm::Sha256 => Sha256::digest(seed).to_vec(),
            Algorithm::Sha512 => Sha512::digest(seed).to_vec(),
        }
    } else {
        seed.clone()
    };
    if key.len() < SHORTEST_KEY {
        key.resize(SHORTEST_KEY, 0);
    }
    Zeroizing::new(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_of_an_unknown_kind_is_listed_as_other() {
        let gives = |kind: u8| account(&[kind, b'x']).unwrap().gives;

        assert_eq!(gives(0x21), Gives::Totp(Algorithm::Sha1));
        assert_eq!(gives(0x12), Gives::Hotp(Algorithm::Sha256));
        assert_eq!([0x41, 0x24, 0x30, 0xf1].map(gives), [Gives::Other; 4]);
        assert!(account(&[0x21]).is_err() && account(&[]).is_err());
    }

    #[test]
    fn a_key_is_hashed_when_long_and_padded_when_short() {
        let key = |length: usize, algorithm| card_key(&Sensitive::new(vec![7; length]), algorithm);

        assert_eq!(*key(20, Algorithm::Sha1), vec![7; 20]);
        assert_eq!(key(65, Algorithm::Sha1).len(), 20);
        assert_eq!(key(65, Algorithm::Sha256).len(), 32);
        assert_eq!(key(128, Algorithm::Sha512).len(), 128);
        assert_eq!(key(129, Algorithm::Sha512).len(), 64);
        assert_eq!(*key(10, Algorithm::Sha1), [&[7u8; 10][..], &[0; 4]].concat());
    }
}
