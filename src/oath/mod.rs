//! One-time password arithmetic: HOTP (RFC 4226), TOTP (RFC 6238), and the otpauth URI.
//! Pure: steps and counters come in as numbers; the clock is read elsewhere.

mod diagnosis;
mod otp;
mod uri;

pub use diagnosis::{Diagnosis, diagnose};
pub use otp::{CounterMatch, LOOK_AHEAD, RESYNC_RANGE, Window, hotp, match_counter, match_step, step_at};
pub use uri::otpauth_uri;

#[cfg(test)]
mod tests;
