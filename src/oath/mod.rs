//! One-time passwords: HOTP (RFC 4226), TOTP (RFC 6238), the otpauth URI, and the applet of hardware
//! keys that makes them. Steps and counters come in as numbers; the clock is read elsewhere.

mod card;
mod diagnosis;
mod otp;
mod uri;

pub use card::{AccessKey, Account, Applet, CardFault, FormFactor, Identity, Link, NewAccount, Shown, identify};
pub use diagnosis::{Diagnosis, diagnose};
pub use otp::{CounterMatch, LOOK_AHEAD, RESYNC_RANGE, Window, hmac_of, hotp, match_counter, match_step, step_at};
pub use uri::otpauth_uri;

#[cfg(test)]
mod tests;
