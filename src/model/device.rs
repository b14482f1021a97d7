//! The words of hardware keys: serial numbers, firmware, the identity of an OATH applet, names of accounts.

use std::fmt;

use super::profile::{Moving, Period, Profile};

/// The number printed on a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Serial(u32);

impl Serial {
    /// `None` for 0, which keys without a number report.
    pub fn new(number: u32) -> Option<Self> {
        (number != 0).then_some(Self(number))
    }

    /// Reads a plain decimal number.
    pub fn parse(text: &str) -> Option<Self> {
        let is_plain = text.bytes().all(|b| b.is_ascii_digit()) && !text.starts_with('0');
        text.parse().ok().filter(|_| is_plain).and_then(Self::new)
    }

    /// The number.
    pub fn number(self) -> u32 {
        self.0
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A firmware or applet version; later ones compare greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Firmware(pub u8, pub u8, pub u8);

impl Firmware {
    /// Whether an account can be made to require a touch.
    pub fn has_touch(self) -> bool {
        self >= Self(4, 2, 6)
    }

    /// Whether HMAC-SHA-512 is there.
    pub fn has_sha512(self) -> bool {
        self >= Self(4, 3, 1)
    }

    /// Whether accounts can be renamed.
    pub fn has_rename(self) -> bool {
        self >= Self(5, 3, 1)
    }

    /// Whether PUT may overwrite an account whose name only begins like the new one.
    pub fn confuses_prefixes(self) -> bool {
        self >= Self(4, 0, 0) && self < Self(4, 3, 5)
    }

    /// How many accounts fit, where that is known. Before 4.0 it depends on what else is on the key.
    pub fn capacity(self) -> Option<u32> {
        match self {
            Self(0..=3, ..) => None,
            other if other >= Self(5, 7, 0) => Some(64),
            _ => Some(32),
        }
    }
}

impl fmt::Display for Firmware {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

/// The identity of a key's OATH applet. A reset of the applet gives it another one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DeviceId(String);

impl DeviceId {
    /// Takes the text as `ykman` shows it: unpadded Base64 of the first 16 bytes of the salt's SHA-256.
    pub fn from_text(text: String) -> Option<Self> {
        (!text.is_empty() && text.len() <= 32).then_some(Self(text))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The longest account name on a key, in bytes.
const LONGEST: usize = 64;

/// The name of an account on a key: `[period/][issuer:]account`, 1–64 bytes. The period is left out for
/// HOTP and for 30 seconds, as every client of these keys does.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AccountName(Vec<u8>);

impl AccountName {
    /// The name for a factor; `None` if it does not fit.
    pub fn of(profile: &Profile, issuer: &str, account: &str) -> Option<Self> {
        let period = match profile.moving {
            Moving::Time(period) if period != Period::THIRTY => format!("{}/", period.seconds()),
            Moving::Time(_) | Moving::Counter => String::new(),
        };
        Self::from_bytes(format!("{period}{issuer}:{account}").as_bytes())
    }

    /// Takes a name as a key has it; `None` unless it has 1–64 bytes.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        (1..=LONGEST).contains(&bytes.len()).then(|| Self(bytes.to_vec()))
    }

    /// The bytes on the key.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether the other name is longer and begins with this one.
    pub fn begins(&self, other: &Self) -> bool {
        other.0.len() > self.0.len() && other.0.starts_with(&self.0)
    }

    /// Period in seconds, issuer and account, as clients of these keys take a name apart. The period is
    /// of a meaning for TOTP only.
    pub fn parts(&self) -> (u64, Option<String>, String) {
        let text = self.to_string();
        let (period, rest) = match text.split_once('/').and_then(|(n, rest)| Some((n.parse::<u64>().ok()?, rest))) {
            Some((period, rest)) if !rest.is_empty() => (period, rest),
            Some(_) | None => (u64::from(Period::THIRTY.seconds()), text.as_str()),
        };
        match rest.split_once(':') {
            Some((issuer, account)) if !issuer.is_empty() && !account.is_empty() => {
                (period, Some(issuer.to_owned()), account.to_owned())
            }
            Some(_) | None => (period, None, rest.to_owned()),
        }
    }
}

impl fmt::Display for AccountName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Algorithm, Digits};

    fn profile(moving: Moving) -> Profile {
        Profile { algorithm: Algorithm::Sha1, digits: Digits::SIX, moving }
    }

    #[test]
    fn a_name_holds_the_period_only_where_clients_expect_it() {
        let name = |moving| AccountName::of(&profile(moving), "mfad", "ann").unwrap().to_string();

        assert_eq!(name(Moving::Time(Period::THIRTY)), "mfad:ann");
        assert_eq!(name(Moving::Time(Period::new(60).unwrap())), "60/mfad:ann");
        assert_eq!(name(Moving::Counter), "mfad:ann");
        assert_eq!(AccountName::of(&profile(Moving::Counter), "mfad", &"x".repeat(60)), None);
    }

    #[test]
    fn a_name_is_taken_apart_as_it_was_put_together() {
        let parts = |text: &str| AccountName::from_bytes(text.as_bytes()).unwrap().parts();

        assert_eq!(parts("60/mfad:ann"), (60, Some("mfad".to_owned()), "ann".to_owned()));
        assert_eq!(parts("ann"), (30, None, "ann".to_owned()));
        assert_eq!(parts("a/b:c"), (30, Some("a/b".to_owned()), "c".to_owned()));
    }

    #[test]
    fn a_name_has_up_to_64_bytes_and_parts_that_are_not_empty() {
        let name = |text: &str| AccountName::from_bytes(text.as_bytes());
        let parts = |text: &str| name(text).unwrap().parts();

        assert!(name("").is_none() && name(&"x".repeat(65)).is_none());
        assert_eq!(name(&"x".repeat(64)).unwrap().as_bytes(), [b'x'; 64]);
        assert_eq!(parts("60/"), (30, None, "60/".to_owned()));
        assert_eq!(parts(":ann"), (30, None, ":ann".to_owned()));
        assert_eq!(parts("mfad:"), (30, None, "mfad:".to_owned()));
    }

    #[test]
    fn a_name_begins_longer_ones_alone() {
        let name = |text: &str| AccountName::from_bytes(text.as_bytes()).unwrap();

        assert!(name("mfad:ann").begins(&name("mfad:anna")));
        assert!(!name("mfad:ann").begins(&name("mfad:ann")));
        assert!(!name("mfad:anna").begins(&name("mfad:ann")));
        assert!(!name("mfad:ann").begins(&name("mfad:bob x")));
    }

    #[test]
    fn firmware_tells_what_a_key_can_do() {
        let first = |can: fn(Firmware) -> bool, last_without: Firmware, first_with: Firmware| {
            assert!(!can(last_without) && can(first_with), "{last_without} {first_with}");
        };
        first(Firmware::has_touch, Firmware(4, 2, 5), Firmware(4, 2, 6));
        first(Firmware::has_sha512, Firmware(4, 3, 0), Firmware(4, 3, 1));
        first(Firmware::has_rename, Firmware(5, 3, 0), Firmware(5, 3, 1));
        first(Firmware::confuses_prefixes, Firmware(3, 4, 9), Firmware(4, 0, 0));
        assert!(Firmware(4, 3, 4).confuses_prefixes() && !Firmware(4, 3, 5).confuses_prefixes());

        let rooms =
            [Firmware(3, 4, 0), Firmware(4, 0, 0), Firmware(5, 6, 9), Firmware(5, 7, 0)].map(Firmware::capacity);
        assert_eq!(rooms, [None, Some(32), Some(32), Some(64)]);
        assert_eq!(Firmware(5, 4, 3).to_string(), "5.4.3");
    }

    #[test]
    fn an_identity_is_a_short_text() {
        let id = |text: &str| DeviceId::from_text(text.to_owned());

        assert!(id("").is_none() && id(&"x".repeat(33)).is_none());
        assert_eq!(id(&"x".repeat(32)).unwrap().as_str(), "x".repeat(32));
        assert_eq!(id("abc").unwrap().to_string(), "abc");
    }

    #[test]
    fn serials_are_plain_numbers() {
        assert_eq!(Serial::parse("12345678").map(Serial::number), Some(12_345_678));
        assert!(["", "0", "012", "+1", "4294967296", "-1", "1 "].into_iter().all(|text| Serial::parse(text).is_none()));
    }
}
