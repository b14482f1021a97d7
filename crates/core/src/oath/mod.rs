//! One-time passwords: HOTP (RFC 4226), TOTP (RFC 6238) and the otpauth URI. Steps and counters come in as numbers; no
//! clock is read and nothing is stored here.

mod diagnosis;
mod otp;
mod uri;

pub use diagnosis::{Diagnosis, diagnose};
pub use otp::{
    CounterMatch, HIGHEST_FIRST_COUNTER, LOOK_AHEAD, MOST_AHEAD, RESYNC_RANGE, Window, hmac_of, hotp, match_behind,
    match_counter, match_step, step_at,
};
pub use uri::{LONGEST_SEED, OtpauthUri, SHORTEST_SEED, SHORTEST_WEAK_SEED, lenient_base32, otpauth_uri, shortened};

#[cfg(test)]
mod tests;
