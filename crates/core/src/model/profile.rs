//! The parameters of a one-time password (OTP-7). Codes are computed elsewhere.

/// The hash function of the HMAC (RFC 6238 section 1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// HMAC-SHA-1, which every authenticator app supports.
    Sha1,
    /// HMAC-SHA-256. New seeds have 32 bytes.
    Sha256,
    /// HMAC-SHA-512. New seeds have 64 bytes.
    Sha512,
}

impl Algorithm {
    /// All algorithms, the weakest first.
    pub const ALL: [Self; 3] = [Self::Sha1, Self::Sha256, Self::Sha512];

    /// The name in otpauth URIs and in the API, such as `SHA256`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha1 => "SHA1",
            Self::Sha256 => "SHA256",
            Self::Sha512 => "SHA512",
        }
    }

    /// Reads the name that [`Algorithm::name`] returns, and no other spelling.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|a| a.name() == name)
    }

    /// Length of a new seed in bytes: the output size of the hash (RFC 4226 section 4 R6, RFC 6238 section 5.1).
    pub fn seed_length(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }
}

/// Number of digits of a code: 6, 7 or 8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digits(u8);

impl Digits {
    /// All numbers of digits, the smallest first.
    pub const ALL: [Self; 3] = [Self(6), Self(7), Self(8)];
    /// Six digits, the default where a request or URI names none.
    pub const SIX: Self = Self(6);

    /// Returns `None` outside 6 to 8.
    pub fn new(count: u64) -> Option<Self> {
        match count {
            6 => Some(Self(6)),
            7 => Some(Self(7)),
            8 => Some(Self(8)),
            _ => None,
        }
    }

    /// The number of digits, 6 to 8.
    pub fn count(self) -> u8 {
        self.0
    }

    /// Ten to the power of the number of digits: one more than the largest code.
    pub fn modulus(self) -> u32 {
        match self.0 {
            6 => 1_000_000,
            7 => 10_000_000,
            _ => 100_000_000,
        }
    }
}

/// Length of a TOTP step in seconds: 15 to 120.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Period(u8);

impl Period {
    /// 30 seconds, the default (RFC 6238 section 5.2).
    pub const THIRTY: Self = Self(30);

    /// Returns `None` outside 15 to 120.
    pub fn new(seconds: u64) -> Option<Self> {
        u8::try_from(seconds).ok().filter(|s| (15..=120).contains(s)).map(Self)
    }

    /// The length of a step in seconds.
    pub fn seconds(self) -> u8 {
        self.0
    }
}

/// The kind of a one-time password, by what makes the code change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OtpKind {
    /// Time: TOTP, with the length of a step (RFC 6238).
    Totp(Period),
    /// A counter: HOTP (RFC 4226).
    Hotp,
}

/// All parameters of a factor that generates one-time passwords.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Profile {
    /// The hash function of the HMAC.
    pub algorithm: Algorithm,
    /// The number of digits of a code.
    pub digits: Digits,
    /// The kind: TOTP with its period, or HOTP.
    pub moving: OtpKind,
}

impl Profile {
    /// Seconds of a time step; none for counter-based codes.
    pub fn period_seconds(&self) -> Option<u32> {
        match self.moving {
            OtpKind::Totp(period) => Some(u32::from(period.seconds())),
            OtpKind::Hotp => None,
        }
    }

    /// Returns a stable text of all parameters. It is associated data of the encrypted seed (KEY-3).
    pub fn binding(&self) -> String {
        let digits = self.digits.count();
        match self.moving {
            OtpKind::Totp(period) => format!("totp/{}/{digits}/{}", self.algorithm.name(), period.seconds()),
            OtpKind::Hotp => format!("hotp/{}/{digits}", self.algorithm.name()),
        }
    }

    /// Reads the text of [`Profile::binding`].
    pub fn from_binding(text: &str) -> Option<Self> {
        let mut parts = text.split('/');
        let (kind, algorithm, digits) = (parts.next()?, parts.next()?, parts.next()?);
        let moving = match (kind, parts.next()) {
            ("totp", Some(period)) => OtpKind::Totp(Period::new(period.parse().ok()?)?),
            ("hotp", None) => OtpKind::Hotp,
            _ => return None,
        };
        let profile =
            Self { algorithm: Algorithm::parse(algorithm)?, digits: Digits::new(digits.parse().ok()?)?, moving };
        // One text for each profile: what is written in another way was not written here.
        (profile.binding() == text).then_some(profile)
    }

    /// `totp` or `hotp`, the type in otpauth URIs.
    pub fn kind(&self) -> &'static str {
        match self.moving {
            OtpKind::Totp(_) => "totp",
            OtpKind::Hotp => "hotp",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_binding_reads_back_and_nothing_else_does() {
        for algorithm in [Algorithm::Sha1, Algorithm::Sha256, Algorithm::Sha512] {
            for moving in [OtpKind::Totp(Period::THIRTY), OtpKind::Totp(Period(120)), OtpKind::Hotp] {
                let profile = Profile { algorithm, digits: Digits(8), moving };
                assert_eq!(Profile::from_binding(&profile.binding()), Some(profile));
            }
        }
        for text in [
            "",
            "totp/SHA1/6",
            "totp/SHA1/6/30/",
            "totp/SHA1/06/30",
            "totp/sha1/6/30",
            "hotp/SHA1/6/30",
            "totp/SHA1/9/30",
        ] {
            assert_eq!(Profile::from_binding(text), None, "{text}");
        }
    }

    #[test]
    fn otp_7_parameters_outside_the_list_do_not_exist() {
        assert!([0, 5, 9, u64::MAX].into_iter().all(|n| Digits::new(n).is_none()));
        assert!([0, 14, 121, 256 + 30, u64::MAX].into_iter().all(|n| Period::new(n).is_none()));
        assert!(["sha1", "MD5", "SHA-1", ""].into_iter().all(|n| Algorithm::parse(n).is_none()));
    }
}
