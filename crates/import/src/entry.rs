//! An entry of a file: a factor, or the reason why it cannot be kept.

use std::fmt::{self, Display, Formatter};

use mfad_core::model::{Profile, Sensitive};
use mfad_core::oath::SHORTEST_SEED;

/// One entry of a file.
#[derive(Debug)]
pub struct Entry {
    /// Where it stands, such as `line 3` or `entry 2`.
    pub place: String,
    /// The account, as that program names it.
    pub account: Option<String>,
    /// The issuer.
    pub issuer: Option<String>,
    /// What the file says of the factor, whether it can be kept or not.
    pub known: Known,
    /// The factor, or why it cannot be kept.
    pub factor: Result<Factor, Refusal>,
    /// What was taken for granted, and what is left behind.
    pub notes: Vec<String>,
}

/// The parameters as the file has them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// `totp`, `hotp`, or another word.
    pub kind: Option<String>,
    /// The algorithm as it is spelled there.
    pub algorithm: Option<String>,
    /// The number of digits.
    pub digits: Option<u64>,
    /// The period in seconds.
    pub period: Option<u64>,
    /// The counter, by that program's meaning.
    pub counter: Option<u64>,
}

/// A factor that can be kept.
pub struct Factor {
    /// Algorithm, digits, and period or counter.
    pub profile: Profile,
    /// The seed, 10 to 64 bytes.
    pub seed: Sensitive<Vec<u8>>,
    /// The counter of the next code for HOTP; 0 for TOTP.
    pub counter: u64,
    /// By how many that counter may be ahead of the token, for HOTP.
    pub counter_ahead_by: u8,
    /// The newest step whose code was used there, for TOTP.
    pub used_step: Option<u64>,
}

impl Factor {
    /// Whether the seed has fewer than 128 bits (RFC 4226 section 4 R6).
    pub fn is_weak(&self) -> bool {
        self.seed.expose().len() < SHORTEST_SEED
    }
}

impl fmt::Debug for Factor {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Factor")
            .field("profile", &self.profile)
            .field("counter", &self.counter)
            .field("used_step", &self.used_step)
            .finish_non_exhaustive()
    }
}

/// Why an entry cannot be kept. The text follows "refused: ".
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A kind of code that is not OATH, such as `Steam`.
    Kind(String),
    /// The kind is missing.
    NoKind,
    /// A number of digits other than 6 to 8.
    Digits(u64),
    /// An algorithm other than SHA1, SHA256 and SHA512.
    Algorithm(String),
    /// A period other than 15 to 120 seconds.
    Period(u64),
    /// Time steps that do not begin in 1970.
    StartTime,
    /// HOTP without a counter.
    NoCounter,
    /// A counter above 2^62.
    Counter,
    /// A PIN is a part of each code.
    Pin,
    /// A parameter that may change the codes.
    Parameter(String),
    /// The secret is missing.
    NoSecret,
    /// The secret cannot be decoded.
    Secret(&'static str),
    /// A secret of so many bits, fewer than 80.
    TooShort(usize),
    /// A secret of more than 512 bits.
    TooLong,
    /// The entry is damaged; the text names the member.
    Damaged(String),
}

impl Display for Refusal {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kind(kind) => write!(f, "{kind} is neither TOTP nor HOTP"),
            Self::NoKind => f.write_str("it does not say whether it is TOTP or HOTP"),
            Self::Digits(digits) => write!(f, "its codes have {digits} digits; 6 to 8 can be kept"),
            Self::Algorithm(name) => write!(f, "its algorithm is {name}; SHA1, SHA256 and SHA512 can be kept"),
            Self::Period(period) => write!(f, "its period is {period} seconds; 15 to 120 can be kept"),
            Self::StartTime => f.write_str("its time steps do not begin in 1970"),
            Self::NoCounter => f.write_str("its counter is missing, and the next code could only be guessed"),
            Self::Counter => f.write_str("its counter is above 2^62"),
            Self::Pin => f.write_str("a PIN is a part of its codes"),
            Self::Parameter(name) => write!(f, "its parameter {name} may change the codes"),
            Self::NoSecret => f.write_str("its secret is missing"),
            Self::Secret(what) => write!(f, "its secret is not {what}"),
            Self::TooShort(bits) => write!(f, "its secret has {bits} bits; at least 80 can be kept"),
            Self::TooLong => f.write_str("its secret has more than 512 bits"),
            Self::Damaged(what) => write!(f, "{what}"),
        }
    }
}
