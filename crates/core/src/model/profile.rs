//! The parameters of a one-time password (OTP-7).

/// The hash under the HMAC (RFC 6238 section 1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// HMAC-SHA-1, what every authenticator app knows.
    Sha1,
    /// HMAC-SHA-256.
    Sha256,
    /// HMAC-SHA-512.
    Sha512,
}

impl Algorithm {
    /// All of them, in the order of their strength.
    pub const ALL: [Self; 3] = [Self::Sha1, Self::Sha256, Self::Sha512];

    /// The name in otpauth URIs and in the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha1 => "SHA1",
            Self::Sha256 => "SHA256",
            Self::Sha512 => "SHA512",
        }
    }

    /// Reads that name back.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|a| a.name() == name)
    }

    /// Bytes of a new seed: the output size of the hash (RFC 4226 section 4 R6, RFC 6238 section 5.1).
    pub fn seed_length(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }
}

/// How many digits a code has: 6, 7 or 8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digits(u8);

impl Digits {
    /// All of them.
    pub const ALL: [Self; 3] = [Self(6), Self(7), Self(8)];
    /// Six digits, the default.
    pub const SIX: Self = Self(6);

    /// `None` outside 6–8.
    pub fn new(count: u64) -> Option<Self> {
        match count {
            6 => Some(Self(6)),
            7 => Some(Self(7)),
            8 => Some(Self(8)),
            _ => None,
        }
    }

    /// The count.
    pub fn count(self) -> u8 {
        self.0
    }

    /// Ten to that power: one more than the largest code.
    pub fn modulus(self) -> u32 {
        match self.0 {
            6 => 1_000_000,
            7 => 10_000_000,
            _ => 100_000_000,
        }
    }
}

/// Seconds that one TOTP step lasts: 15–120.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Period(u8);

impl Period {
    /// Half a minute, the default (RFC 6238 section 5.2).
    pub const THIRTY: Self = Self(30);

    /// `None` outside 15–120.
    pub fn new(seconds: u64) -> Option<Self> {
        u8::try_from(seconds).ok().filter(|s| (15..=120).contains(s)).map(Self)
    }

    /// The length in seconds.
    pub fn seconds(self) -> u8 {
        self.0
    }
}

/// What moves the code on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OtpKind {
    /// Time: TOTP (RFC 6238).
    Totp(Period),
    /// A counter: HOTP (RFC 4226).
    Hotp,
}

/// All parameters of a factor that makes one-time passwords.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Profile {
    /// The hash.
    pub algorithm: Algorithm,
    /// The length of a code.
    pub digits: Digits,
    /// Time or counter.
    pub moving: OtpKind,
}

impl Profile {
    /// A stable text of all parameters, bound into the sealed seed (KEY-3).
    pub fn binding(&self) -> String {
        let digits = self.digits.count();
        match self.moving {
            OtpKind::Totp(period) => format!("totp/{}/{digits}/{}", self.algorithm.name(), period.seconds()),
            OtpKind::Hotp => format!("hotp/{}/{digits}", self.algorithm.name()),
        }
    }

    /// `totp` or `hotp`, as in otpauth URIs.
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
    fn otp_7_parameters_outside_the_list_do_not_exist() {
        assert!([0, 5, 9, u64::MAX].into_iter().all(|n| Digits::new(n).is_none()));
        assert!([0, 14, 121, 256 + 30, u64::MAX].into_iter().all(|n| Period::new(n).is_none()));
        assert!(["sha1", "MD5", "SHA-1", ""].into_iter().all(|n| Algorithm::parse(n).is_none()));
    }
}
