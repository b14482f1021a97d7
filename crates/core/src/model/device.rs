//! Values of hardware keys: serial number, firmware, identity of the OATH applet, names of accounts. Knows no card.

use std::fmt;

use super::profile::{OtpKind, Period, Profile};

/// The serial number printed on a hardware key, never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Serial(u32);

impl Serial {
    /// Returns `None` for 0, which keys without a serial number report.
    pub fn new(number: u32) -> Option<Self> {
        (number != 0).then_some(Self(number))
    }

    /// Reads a decimal number without sign and without leading zeros.
    pub fn parse(text: &str) -> Option<Self> {
        // The parser of integers also takes a plus sign and leading zeros.
        let is_plain = text.bytes().all(|b| b.is_ascii_digit()) && !text.starts_with('0');
        text.parse().ok().filter(|_| is_plain).and_then(Self::new)
    }

    /// The serial number as an integer, at least 1.
    pub fn number(self) -> u32 {
        self.0
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// What numbers a hardware key: its maker, or what else tells it from others of its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum IdSource {
    /// Yubico's serial number, as printed on the key.
    Yubico,
    /// The serial number in the admin applet of a CanoKey.
    CanoKey,
    /// The serial number that the secrets app of a Nitrokey reports.
    Nitrokey,
    /// The number of the chip of a key with the firmware pico-fido.
    Pico,
    /// The number that a key with Yubico's Management applet reports, although it is not known to be Yubico's.
    Compatible,
    /// The serial number of the USB device.
    Usb,
    /// The salt of the OATH applet. A reset of the applet makes another key of it.
    Salt,
}

impl IdSource {
    const ALL: [Self; 7] =
        [Self::Yubico, Self::CanoKey, Self::Nitrokey, Self::Pico, Self::Compatible, Self::Usb, Self::Salt];

    /// The text before the colon; empty for Yubico, whose keys are named by the bare number.
    fn prefix(self) -> &'static str {
        match self {
            Self::Yubico => "",
            Self::CanoKey => "canokey",
            Self::Nitrokey => "nitrokey",
            Self::Pico => "pico",
            Self::Compatible => "compatible",
            Self::Usb => "usb",
            Self::Salt => "salt",
        }
    }
}

/// The longest number of a key, in bytes.
const LONGEST_NUMBER: usize = 32;

/// The identity of a hardware key. As text it is Yubico's serial number (`12345678`), or a source and a number
/// (`nitrokey:a1b2c3d4`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId {
    source: IdSource,
    // Bytes in place of a text, so that the value can be copied as a serial number can.
    number: [u8; LONGEST_NUMBER],
    length: usize,
}

impl KeyId {
    /// Takes a number of 1 to 32 ASCII letters, digits, dots, hyphens and underscores. A number of Yubico is a
    /// [`Serial`]. Returns `None` for any other text.
    pub fn new(source: IdSource, number: &str) -> Option<Self> {
        let is_plain = number.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
        let is_serial = source != IdSource::Yubico || Serial::parse(number).is_some();
        if number.is_empty() || !is_plain || !is_serial {
            return None;
        }
        let mut bytes = [0; LONGEST_NUMBER];
        bytes.get_mut(..number.len())?.copy_from_slice(number.as_bytes());
        Some(Self { source, number: bytes, length: number.len() })
    }

    /// Reads the text of an identity.
    pub fn parse(text: &str) -> Option<Self> {
        match text.split_once(':') {
            None => Self::new(IdSource::Yubico, text),
            Some(("", _)) => None,
            Some((prefix, number)) => {
                let source = IdSource::ALL.into_iter().find(|source| source.prefix() == prefix)?;
                Self::new(source, number)
            }
        }
    }

    /// What numbers the key.
    pub fn source(&self) -> IdSource {
        self.source
    }

    /// Yubico's serial number; `None` for every other key.
    pub fn serial(&self) -> Option<Serial> {
        (self.source == IdSource::Yubico).then(|| Serial::parse(self.number())).flatten()
    }

    /// Whether the key is known to want a touch before it changes an account.
    pub fn changes_by_touch(&self) -> bool {
        self.source == IdSource::Nitrokey
    }

    fn number(&self) -> &str {
        // Only ASCII is ever stored.
        self.number.get(..self.length).and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or_default()
    }
}

impl From<Serial> for KeyId {
    fn from(serial: Serial) -> Self {
        let text = serial.to_string();
        let mut number = [0; LONGEST_NUMBER];
        number.iter_mut().zip(text.bytes()).for_each(|(place, byte)| *place = byte);
        Self { source: IdSource::Yubico, number, length: text.len() }
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.source.prefix() {
            "" => f.write_str(self.number()),
            prefix => write!(f, "{prefix}:{}", self.number()),
        }
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

/// A firmware or applet version: major, minor, patch. Later versions compare greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Firmware(pub u8, pub u8, pub u8);

impl fmt::Display for Firmware {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

/// The identity of the OATH applet on a key. A reset of the applet changes it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DeviceId(String);

impl DeviceId {
    /// Takes the text that `ykman` shows: the first 16 bytes of the SHA-256 of the applet's salt, in unpadded Base64.
    /// Returns `None` if it is empty or longer than 32 bytes.
    pub fn from_text(text: String) -> Option<Self> {
        (!text.is_empty() && text.len() <= 32).then_some(Self(text))
    }

    /// The text, as `ykman` shows it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The longest name of an account that the daemon writes, in bytes.
const LONGEST: usize = 64;
/// The longest name of an account that any key stores, in bytes.
const LONGEST_READ: usize = 127;

/// For this issuer, programs that read keys show codes in Steam's own format.
const STEAM: &str = "Steam";

/// Why an issuer and an account cannot form the name of an account on a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameFault {
    /// The name would be longer than 64 bytes.
    #[error("the account name made of `issuer` and `accountName` exceeds 64 bytes; shorten one of them")]
    TooLong,
    /// Clients would split the name into other parts than meant.
    #[error("programs that read the key would misread `issuer` and `accountName`; choose another issuer")]
    Misread,
    /// Clients would show codes in Steam's format.
    #[error("programs that read the key show codes in another format for the issuer Steam; choose another issuer")]
    OtherCodes,
}

/// The name of an account on a key: `[period/][issuer:]account`, 1 to 64 bytes; up to 127 where another program chose it. As in every client of these keys, the
/// period is left out for HOTP and for 30 seconds. It is written out if the issuer would otherwise be read as a period.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AccountName(Vec<u8>);

impl AccountName {
    /// Builds the name for a factor. Refuses a name that clients would not read back as meant.
    pub fn of(profile: &Profile, issuer: &str, account: &str) -> Result<Self, NameFault> {
        let label = format!("{issuer}:{account}");
        let (is_hotp, period) = match profile.moving {
            OtpKind::Totp(period) => (false, period),
            // HOTP has no period. `parts` returns the default for it.
            OtpKind::Hotp => (true, Period::THIRTY),
        };
        // Clients use Steam's format for this issuer, but only for time-based accounts.
        if !is_hotp && issuer == STEAM {
            return Err(NameFault::OtherCodes);
        }
        let needs_period = !is_hotp && (period != Period::THIRTY || begins_like_a_period(&label));
        let text = if needs_period { format!("{}/{label}", period.seconds()) } else { label };
        let name = Self::from_bytes(text.as_bytes()).filter(|name| !name.is_long()).ok_or(NameFault::TooLong)?;
        // Reading the name back as clients do finds every ambiguity, such as a colon in the issuer.
        let meant = (u64::from(period.seconds()), Some(issuer.to_owned()), account.to_owned());
        if name.parts(is_hotp) == meant { Ok(name) } else { Err(NameFault::Misread) }
    }

    /// Takes a name as stored on a key, which need not be UTF-8. Returns `None` unless it has 1 to 127 bytes.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        (1..=LONGEST_READ).contains(&bytes.len()).then(|| Self(bytes.to_vec()))
    }

    /// Whether the name is longer than 64 bytes. Some keys store such names, but the daemon gives no account one.
    pub fn is_long(&self) -> bool {
        self.0.len() > LONGEST
    }

    /// The bytes as stored on the key.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether `other` is longer and begins with this name (some firmware confuses such names).
    pub fn begins(&self, other: &Self) -> bool {
        other.0.len() > self.0.len() && other.0.starts_with(&self.0)
    }

    /// Returns period in seconds, issuer and account, split as clients of these keys do. For TOTP, ykman and Yubico
    /// Authenticator match `^((\d+)/)?(([^:]+):)?(.+)$`. For HOTP they split at the first colon, and there is no
    /// period.
    pub fn parts(&self, is_hotp: bool) -> (u64, Option<String>, String) {
        let text = self.to_string();
        let named = if is_hotp { None } else { split_period(&text) };
        let (period, rest) = named.unwrap_or((u64::from(Period::THIRTY.seconds()), text.as_str()));
        match rest.split_once(':') {
            Some((issuer, account)) if !issuer.is_empty() && !account.is_empty() => {
                (period, Some(issuer.to_owned()), account.to_owned())
            }
            Some(_) | None => (period, None, rest.to_owned()),
        }
    }
}

/// Splits off the period at the beginning of a name. Other programs may write any number of seconds there. It is
/// clamped to the range of the API, 1 to 4,294,967,295.
fn split_period(text: &str) -> Option<(u64, &str)> {
    let (digits, rest) = text.split_once('/')?;
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let period = || digits.parse::<u32>().unwrap_or(u32::MAX).max(1);
    (is_number && !rest.is_empty()).then(|| (u64::from(period()), rest))
}

/// Whether a client could read the beginning as a period. Some clients accept every Unicode digit.
fn begins_like_a_period(text: &str) -> bool {
    text.split_once('/').is_some_and(|(digits, _)| !digits.is_empty() && digits.chars().all(char::is_numeric))
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

    fn profile(moving: OtpKind) -> Profile {
        Profile { algorithm: Algorithm::Sha1, digits: Digits::SIX, moving }
    }

    #[test]
    fn a_name_holds_the_period_only_where_clients_expect_it() {
        let name = |moving| AccountName::of(&profile(moving), "mfad", "ann").unwrap().to_string();
        let long = "x".repeat(60);

        assert_eq!(name(OtpKind::Totp(Period::THIRTY)), "mfad:ann");
        assert_eq!(name(OtpKind::Totp(Period::new(60).unwrap())), "60/mfad:ann");
        assert_eq!(name(OtpKind::Hotp), "mfad:ann");
        assert_eq!(AccountName::of(&profile(OtpKind::Hotp), "mfad", &long), Err(NameFault::TooLong));
    }

    #[test]
    fn a_name_is_taken_apart_as_it_was_put_together() {
        let parts = |text: &str| AccountName::from_bytes(text.as_bytes()).unwrap().parts(false);

        assert_eq!(parts("60/mfad:ann"), (60, Some("mfad".to_owned()), "ann".to_owned()));
        assert_eq!(parts("ann"), (30, None, "ann".to_owned()));
        assert_eq!(parts("a/b:c"), (30, Some("a/b".to_owned()), "c".to_owned()));
    }

    #[test]
    fn an_issuer_that_looks_like_a_period_stands_behind_the_real_one() {
        let minute = OtpKind::Totp(Period::new(60).unwrap());
        for (issuer, account, moving, expected) in [
            ("24/7 Bank", "ann", OtpKind::Totp(Period::THIRTY), "30/24/7 Bank:ann"),
            ("7/x", "ann", OtpKind::Totp(Period::THIRTY), "30/7/x:ann"),
            ("30/30", "ann", OtpKind::Totp(Period::THIRTY), "30/30/30:ann"),
            ("7/", "ann", OtpKind::Totp(Period::THIRTY), "30/7/:ann"),
            ("7", "a/b", OtpKind::Totp(Period::THIRTY), "7:a/b"),
            ("99999999999999999999/9", "ann", OtpKind::Totp(Period::THIRTY), "30/99999999999999999999/9:ann"),
            ("٢٤/٧", "ann", OtpKind::Totp(Period::THIRTY), "30/٢٤/٧:ann"),
            ("24/7 Bank", "ann", minute, "60/24/7 Bank:ann"),
            ("24/7 Bank", "ann", OtpKind::Hotp, "24/7 Bank:ann"),
            ("/7", "ann", OtpKind::Totp(Period::THIRTY), "/7:ann"),
            ("+7/x", "ann", OtpKind::Totp(Period::THIRTY), "+7/x:ann"),
            ("24-7/x", "ann", OtpKind::Totp(Period::THIRTY), "24-7/x:ann"),
            ("mfad", "ann:b", OtpKind::Totp(Period::THIRTY), "mfad:ann:b"),
            ("mfad", "7/ann", OtpKind::Totp(Period::THIRTY), "mfad:7/ann"),
        ] {
            let name = AccountName::of(&profile(moving), issuer, account).unwrap();

            assert_eq!(name.to_string(), expected);
            let period = if moving == minute { 60 } else { 30 };
            let meant = (period, Some(issuer.to_owned()), account.to_owned());
            assert_eq!(name.parts(moving == OtpKind::Hotp), meant, "{expected}");
        }
    }

    #[test]
    fn a_name_that_clients_would_read_otherwise_is_none() {
        let name = |issuer: &str, account: &str| {
            AccountName::of(&profile(OtpKind::Totp(Period::THIRTY)), issuer, account).map(|name| name.to_string())
        };

        for (issuer, account) in [("a:b", "ann"), ("", "7/ann"), ("", "ann"), ("mfad", ""), ("7/a:b", "ann")] {
            assert_eq!(name(issuer, account), Err(NameFault::Misread), "{issuer:?} {account:?}");
        }
        assert_eq!(name("Steam", "ann"), Err(NameFault::OtherCodes));
        assert_eq!(name("Steam Deck", "ann").as_deref(), Ok("Steam Deck:ann"));
        // With the period written out, the name is three bytes longer.
        let longest = "x".repeat(64 - "24/7 Bank:".len());
        assert_eq!(name("24/7 Bank", &longest), Err(NameFault::TooLong));
        assert_eq!(name("24/7 Bank", &longest[3..]).map(|name| name.len()), Ok(64));
    }

    #[test]
    fn a_counter_has_no_period_before_its_issuer() {
        let parts = |text: &str| AccountName::from_bytes(text.as_bytes()).unwrap().parts(true);

        assert_eq!(parts("24/7 Bank:ann"), (30, Some("24/7 Bank".to_owned()), "ann".to_owned()));
        assert_eq!(parts("7/ann"), (30, None, "7/ann".to_owned()));
        assert_eq!(parts("60/mfad:ann:b"), (30, Some("60/mfad".to_owned()), "ann:b".to_owned()));
    }

    #[test]
    fn only_plain_digits_before_a_slash_are_a_period() {
        let parts = |text: &str| AccountName::from_bytes(text.as_bytes()).unwrap().parts(false);

        assert_eq!(parts("+5/x:ann"), (30, Some("+5/x".to_owned()), "ann".to_owned()));
        assert_eq!(parts("/x:ann"), (30, Some("/x".to_owned()), "ann".to_owned()));
        assert_eq!(parts("007/x:ann"), (7, Some("x".to_owned()), "ann".to_owned()));
        assert_eq!(parts("99999999999999999999/x:ann"), (4_294_967_295, Some("x".to_owned()), "ann".to_owned()));
        assert_eq!(parts("0/x:ann"), (1, Some("x".to_owned()), "ann".to_owned()));
    }

    #[test]
    fn a_name_has_up_to_127_bytes_and_parts_that_are_not_empty() {
        let name = |text: &str| AccountName::from_bytes(text.as_bytes());
        let parts = |text: &str| name(text).unwrap().parts(false);

        assert!(name("").is_none() && name(&"x".repeat(128)).is_none());
        assert!(!name(&"x".repeat(64)).unwrap().is_long() && name(&"x".repeat(65)).unwrap().is_long());
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

    #[test]
    fn an_id_of_a_key_is_read_as_it_is_written() {
        for text in ["12345678", "nitrokey:a1b2c3d4", "canokey:3f2a11c0", "pico:0042", "usb:A-1_2.3", "salt:abc"] {
            assert_eq!(KeyId::parse(text).unwrap().to_string(), text);
        }
        let id = KeyId::from(Serial::new(7).unwrap());
        assert_eq!((id, id.serial()), (KeyId::parse("7").unwrap(), Serial::new(7)));
        assert_eq!(KeyId::parse("nitrokey:7").unwrap().serial(), None);
        assert_ne!(KeyId::parse("nitrokey:7"), KeyId::parse("canokey:7"));
    }

    #[test]
    fn what_is_no_id_of_a_key_is_refused() {
        for text in ["", "0", "012", "a1b2", ":7", "yubico:7", "nitrokey:", "nitrokey:a/b", "nitrokey:a b", "usb:é"] {
            assert_eq!(KeyId::parse(text), None, "{text}");
        }
        assert!(KeyId::parse(&format!("usb:{}", "x".repeat(32))).is_some());
        assert!(KeyId::parse(&format!("usb:{}", "x".repeat(33))).is_none());
    }
}
