//! Codes, steps and counters. All arithmetic is checked (OTP-8). All comparisons take the same time, whatever matches
//! (OTP-6).

use std::ops::RangeInclusive;

use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};
use totp_rs::{Builder, Totp};

use crate::model::{Algorithm, Digits, Period, Sensitive};

/// How far beyond the expected counter a HOTP code may be (RFC 4226 section 7.2, OTP-9).
pub const LOOK_AHEAD: u8 = 10;
/// How far ahead two consecutive codes may resynchronise a counter (RFC 4226 section 7.4, OTP-9).
pub const RESYNC_RANGE: u8 = 100;
/// The highest counter that the store keeps, in 63 bits. No code is accepted at it, since it has no next counter.
const END_OF_COUNTERS: u64 = i64::MAX.unsigned_abs();
/// The highest counter that a factor may begin with. It leaves more room for codes, look-ahead, resynchronisation and
/// restores than any factor can use up.
pub const HIGHEST_FIRST_COUNTER: u64 = 1 << 62;
/// Larger than every code, so that it equals none.
const NO_CODE: u32 = u32::MAX;

/// The steps around the current one whose codes are accepted (RFC 6238 section 5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    back: u8,
    forward: u8,
}

impl Window {
    /// One step back and one forward: three steps in all.
    pub const DEFAULT: Self = Self { back: 1, forward: 1 };

    /// Accepts 0 to 2 steps back and 0 to 1 forward, never more than three steps in total (OTP-4).
    pub fn new(back: u8, forward: u8) -> Option<Self> {
        (back <= 2 && forward <= 1 && back.saturating_add(forward) <= 2).then_some(Self { back, forward })
    }

    /// Number of steps whose codes are accepted at a time.
    pub fn width(self) -> u64 {
        u64::from(self.back).saturating_add(u64::from(self.forward)).saturating_add(1)
    }

    fn steps(self, current: u64) -> RangeInclusive<u64> {
        // At the ends of the range the window becomes narrower instead of overflowing (OTP-8).
        let first = current.saturating_sub(u64::from(self.back));
        let last = current.saturating_add(u64::from(self.forward));
        first..=last
    }
}

/// A seed that is ready for many codes.
pub(super) struct Generator {
    totp: Totp,
    modulus: u32,
}

impl Generator {
    pub(super) fn new(seed: &[u8], algorithm: Algorithm, digits: Digits) -> Self {
        // With steps of one second, the time is the counter.
        let totp = Builder::new()
            .with_algorithm(named(algorithm))
            .with_digits(digits.count())
            .with_step_duration(1)
            .with_skew(0)
            .with_secret(seed.to_vec());
        // The strict constructor refuses seeds of less than 16 bytes, which are for the caller to judge (OTP-1).
        Self { totp: totp.build_noncompliant(), modulus: digits.modulus() }
    }

    /// Returns the HOTP value (RFC 4226 section 5.3), below `digits.modulus()`.
    pub(super) fn code(&self, counter: u64) -> u32 {
        let mac = self.totp.sign(counter);
        // Dynamic truncation: the low four bits of the last byte say which four bytes are taken.
        let taken = mac.as_ref().last().and_then(|last| mac.as_ref().get(usize::from(last & 0x0F)..));
        // An HMAC has at least 20 bytes. The default only avoids a panic.
        let Some(taken) = taken.and_then(|taken| taken.first_chunk::<4>()) else { return NO_CODE };
        (u32::from_be_bytes(*taken) & 0x7FFF_FFFF).checked_rem(self.modulus).unwrap_or(NO_CODE)
    }
}

fn named(algorithm: Algorithm) -> totp_rs::Algorithm {
    match algorithm {
        Algorithm::Sha1 => totp_rs::Algorithm::SHA1,
        Algorithm::Sha256 => totp_rs::Algorithm::SHA256,
        Algorithm::Sha512 => totp_rs::Algorithm::SHA512,
    }
}

/// Returns one HOTP value (RFC 4226 section 5.3), below `digits.modulus()`.
pub fn hotp(seed: &[u8], algorithm: Algorithm, counter: u64, digits: Digits) -> u32 {
    Generator::new(seed, algorithm, digits).code(counter)
}

/// Returns the whole HMAC that a code is cut out of (RFC 4226 section 5.3 step 1).
pub fn hmac_of(seed: &[u8], algorithm: Algorithm, message: &[u8; 8]) -> Sensitive<Vec<u8>> {
    let Generator { totp, .. } = Generator::new(seed, algorithm, Digits::SIX);
    // The counter is hashed with its high-order byte first (RFC 4226 section 5.2).
    Sensitive::new(totp.sign(u64::from_be_bytes(*message)).as_ref().to_vec())
}

/// Returns the TOTP step of a time in Unix seconds (RFC 6238 section 4.2). A time before 1970 is in step 0.
pub fn step_at(unix_seconds: i64, period: Period) -> u64 {
    let seconds = u64::try_from(unix_seconds).unwrap_or(0);
    seconds.checked_div(u64::from(period.seconds())).unwrap_or(0)
}

/// Returns the highest step of the window whose code is `code` and that is above `last_step`, if any (OTP-3, OTP-5).
/// Computes and compares every step of the window, whatever the outcome (OTP-6).
pub fn match_step(
    seed: &[u8],
    algorithm: Algorithm,
    digits: Digits,
    code: u32,
    current: u64,
    window: Window,
    last_step: Option<u64>,
) -> Option<u64> {
    let generator = Generator::new(seed, algorithm, digits);
    let mut found = Choice::from(0);
    let mut step = 0u64;
    for candidate in window.steps(current) {
        // A used step is computed like the others, so that timing does not show it.
        let unused = last_step.is_none_or(|last| candidate > last);
        let hit = generator.code(candidate).ct_eq(&code) & Choice::from(u8::from(unused));
        // Steps ascend, so the highest match is assigned last.
        step.conditional_assign(&candidate, hit);
        found |= hit;
    }
    bool::from(found).then_some(step)
}

/// The most by which the counter of another program may be ahead of the token; see [`match_behind`].
pub const MOST_AHEAD: u8 = 100;

/// Where a HOTP code was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum CounterMatch {
    /// Within the look-ahead, or the second of two consecutive codes: accept it, and expect `next` from now on.
    Accepted {
        /// The counter after the one that matched.
        next: u64,
    },
    /// Outside of the look-ahead, within the range of resynchronisation: refuse it, but remember this counter.
    Ahead {
        /// The counter that matched, to be passed as `remembered` for the next code.
        counter: u64,
    },
    /// At no counter within the range.
    Unknown,
}

/// Looks for a HOTP code from the expected counter on. `remembered` is the counter that an earlier attempt returned as
/// [`CounterMatch::Ahead`]; the code right after it resynchronises the counter. The last counter of 63 bits has no next
/// one, so no code is accepted there (OTP-9).
pub fn match_counter(
    seed: &[u8],
    algorithm: Algorithm,
    digits: Digits,
    code: u32,
    expected: u64,
    remembered: Option<u64>,
) -> CounterMatch {
    let generator = Generator::new(seed, algorithm, digits);
    let mut near = Choice::from(0);
    let mut far = Choice::from(0);
    let mut again = Choice::from(0);
    let mut at = 0u64;
    // Downwards, so that the lowest matching counter is assigned last.
    for offset in (0..=RESYNC_RANGE).rev() {
        let counter = expected.checked_add(u64::from(offset)).filter(|counter| *counter < END_OF_COUNTERS);
        // This depends on the counter alone, so it reveals nothing about the code.
        let Some(counter) = counter else { continue };
        let hit = generator.code(counter).ct_eq(&code);
        let is_near = Choice::from(u8::from(offset <= LOOK_AHEAD));
        let follows = Choice::from(u8::from(remembered.and_then(|r| r.checked_add(1)) == Some(counter)));
        // A lower match overrides a higher one. But the awaited counter stays unless a match is within the look-ahead.
        let takes = hit & (!again | is_near);
        at.conditional_assign(&counter, takes);
        near |= hit & is_near;
        again |= hit & follows;
        far |= hit;
    }
    match at.checked_add(1) {
        Some(next) if bool::from(near | again) => CounterMatch::Accepted { next },
        Some(_) if bool::from(far) => CounterMatch::Ahead { counter: at },
        Some(_) | None => CounterMatch::Unknown,
    }
}

/// Looks for a HOTP code before the expected counter, which may be ahead of the token by up to `ahead_by` (RFC 4226
/// section 7.4). Only the second of two consecutive codes is accepted. `remembered` is as for [`match_counter`].
pub fn match_behind(
    seed: &[u8],
    algorithm: Algorithm,
    digits: Digits,
    code: u32,
    (expected, ahead_by): (u64, u8),
    remembered: Option<u64>,
) -> CounterMatch {
    let generator = Generator::new(seed, algorithm, digits);
    let mut found = Choice::from(0);
    let mut again = Choice::from(0);
    let mut at = 0u64;
    for offset in 1..=ahead_by {
        let Some(counter) = expected.checked_sub(u64::from(offset)) else { break };
        let hit = generator.code(counter).ct_eq(&code);
        let follows = Choice::from(u8::from(remembered.and_then(|r| r.checked_add(1)) == Some(counter)));
        // The lowest match is assigned last, but the awaited counter stays.
        at.conditional_assign(&counter, hit & !again);
        again |= hit & follows;
        found |= hit;
    }
    match at.checked_add(1) {
        Some(next) if bool::from(again) => CounterMatch::Accepted { next },
        Some(_) if bool::from(found) => CounterMatch::Ahead { counter: at },
        Some(_) | None => CounterMatch::Unknown,
    }
}
