//! One-time passwords computed independently of the daemon: RFC 4226 and RFC 6238 in twenty lines.

use std::time::{SystemTime, UNIX_EPOCH};

use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hash {
    Sha1,
    Sha256,
    Sha512,
}

impl Hash {
    pub const ALL: [Self; 3] = [Self::Sha1, Self::Sha256, Self::Sha512];

    pub fn name(self) -> &'static str {
        match self {
            Self::Sha1 => "SHA1",
            Self::Sha256 => "SHA256",
            Self::Sha512 => "SHA512",
        }
    }

    /// Length in bytes of a seed that the daemon generates for this hash (OTP-1).
    pub fn seed_bytes(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OtpKind {
    Totp(u64),
    Hotp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Profile {
    pub hash: Hash,
    pub digits: u32,
    pub moving: OtpKind,
}

impl Profile {
    /// Returns the request body that creates a factor of this profile.
    pub fn order(self) -> Value {
        let mut order = json!({"type": "mfa", "algorithm": self.hash.name(), "digits": self.digits});
        match self.moving {
            OtpKind::Totp(period) => order["period"] = json!(period),
            OtpKind::Hotp => order["kind"] = json!("hotp"),
        }
        order
    }

    /// Reads the profile from the JSON of a secret.
    pub fn of(secret: &Value) -> Self {
        let hash = Hash::ALL.into_iter().find(|hash| secret["algorithm"] == hash.name()).expect("a known algorithm");
        let digits = u32::try_from(secret["digits"].as_u64().expect("digits")).unwrap();
        let moving = match secret["kind"].as_str() {
            Some("hotp") => OtpKind::Hotp,
            _ => OtpKind::Totp(secret["period"].as_u64().expect("period")),
        };
        Self { hash, digits, moving }
    }

    pub fn code(self, seed: &[u8], moving: u64) -> String {
        code(seed, self.hash, self.digits, moving)
    }
}

/// Returns the code of `seed` at a step or counter.
pub fn code(seed: &[u8], hash: Hash, digits: u32, moving: u64) -> String {
    let message = moving.to_be_bytes();
    let mac = match hash {
        Hash::Sha1 => {
            Hmac::<sha1::Sha1>::new_from_slice(seed).unwrap().chain_update(message).finalize().into_bytes().to_vec()
        }
        Hash::Sha256 => {
            Hmac::<sha2::Sha256>::new_from_slice(seed).unwrap().chain_update(message).finalize().into_bytes().to_vec()
        }
        Hash::Sha512 => {
            Hmac::<sha2::Sha512>::new_from_slice(seed).unwrap().chain_update(message).finalize().into_bytes().to_vec()
        }
    };
    let at = usize::from(mac[mac.len() - 1] & 0x0f);
    let word = u32::from_be_bytes([mac[at] & 0x7f, mac[at + 1], mac[at + 2], mac[at + 3]]);
    format!("{:0width$}", word % 10_u32.pow(digits), width = digits as usize)
}

/// Returns all codes with this number of digits, except these.
pub fn codes_but(these: Vec<String>, digits: u32) -> impl Iterator<Item = String> {
    let width = digits as usize;
    (0..10_u64.pow(digits)).map(move |number| format!("{number:0width$}")).filter(move |code| !these.contains(code))
}

pub fn seed_of(base32: &str) -> Vec<u8> {
    data_encoding::BASE32_NOPAD.decode(base32.as_bytes()).expect("unpadded upper-case Base32")
}

/// Returns the present time in seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

pub fn step(period: u64) -> u64 {
    now() / period
}

/// Returns a period in whose step the present is at least 5 s after the start and 40 s before the end. So "one step
/// ago" means the same to a test and to the daemon for the next half minute, and no test has to wait.
pub fn roomy_period() -> u64 {
    let now = now();
    (60..=120)
        .rev()
        .find(|period| now % period >= 5 && period - now % period >= 40)
        .expect("one of 61 periods has room")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn otp_10_the_vectors_of_the_standards_hold_for_the_tests_own_arithmetic() {
        let seed = |length: usize| b"1234567890".iter().copied().cycle().take(length).collect::<Vec<u8>>();

        // RFC 4226, appendix D
        for (counter, expected) in
            ["755224", "287082", "359152", "969429", "338314", "254676", "287922", "162583", "399871", "520489"]
                .iter()
                .enumerate()
        {
            assert_eq!(code(&seed(20), Hash::Sha1, 6, counter as u64), *expected);
        }
        // RFC 6238, appendix B
        for (seconds, sha1, sha256, sha512) in [
            (59, "94287082", "46119246", "90693936"),
            (1_111_111_109, "07081804", "68084774", "25091201"),
            (20_000_000_000, "65353130", "77737706", "47863826"),
        ] {
            let step = seconds / 30;
            assert_eq!(code(&seed(20), Hash::Sha1, 8, step), sha1);
            assert_eq!(code(&seed(32), Hash::Sha256, 8, step), sha256);
            assert_eq!(code(&seed(64), Hash::Sha512, 8, step), sha512);
        }
    }
}
