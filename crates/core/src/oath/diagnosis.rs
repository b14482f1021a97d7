//! Explains why a first code is wrong: the same seed under another profile, a clock that is off, or a wrong time zone.
//! Only for pending secrets, whose owner has just seen the seed, so that it reveals nothing.

use std::ops::RangeInclusive;

use crate::model::{Algorithm, Digits, OtpKind, Period, Profile, TokenInput};

use super::otp::{Generator, step_at};

/// Clock drift searched for the secret's own profile, in seconds each way: half an hour.
const FURTHEST_DRIFT: i64 = 30 * 60;
/// Seconds in a quarter of an hour. The offset of every time zone is a multiple of it, such as +05:30 and +05:45.
const QUARTER: i64 = 15 * 60;
/// Quarters of an hour searched for a wrong time zone, each way: from just beyond the drift up to 14 hours.
const ZONES: RangeInclusive<i64> = 3..=14 * 4;

/// The profile and clock for which the code would have been right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Diagnosis {
    /// The profile that the authenticator seems to use.
    pub profile: Profile,
    /// How far the authenticator's clock seems to be ahead of this host, in seconds. It is negative if the clock is
    /// behind, and 0 for HOTP. More than half an hour is a difference of time zones, a multiple of 900.
    pub drift_seconds: i64,
}

/// Looks for the profile and drift for which `input` is the code of `seed` at this time. Tries the secret's own profile
/// with a clock that is off, then every other profile (OTP-7) near the present, then the own profile in another time
/// zone. The first two are likelier, and have so few candidates that a match by chance is rare. Computes at most 650
/// HMACs.
pub fn diagnose(profile: &Profile, seed: &[u8], input: &TokenInput, unix_seconds: i64) -> Option<Diagnosis> {
    let search = |profile: Profile| Search::new(profile, seed, input, unix_seconds);
    let own = search(*profile);
    own.as_ref()
        .and_then(Search::drift)
        .or_else(|| other_profiles(profile).find_map(|other| search(other)?.near()))
        .or_else(|| own.as_ref().and_then(Search::zone))
}

/// The search for one code among those of a seed under one profile.
struct Search {
    profile: Profile,
    generator: Generator,
    code: u32,
    unix_seconds: i64,
}

impl Search {
    /// Returns `None` if no code of this profile can look like the input.
    fn new(profile: Profile, seed: &[u8], input: &TokenInput, unix_seconds: i64) -> Option<Self> {
        let code = input.for_digits(profile.digits)?;
        let generator = Generator::new(seed, profile.algorithm, profile.digits);
        Some(Self { profile, generator, code, unix_seconds })
    }

    /// Looks for a clock that is off by whole steps. A code of the present step is right, so it is not looked for.
    fn drift(&self) -> Option<Diagnosis> {
        let OtpKind::Totp(period) = self.profile.moving else { return None };
        let most = FURTHEST_DRIFT.checked_div(i64::from(period.seconds()))?;
        self.steps_off(period, both_ways(1..=most))
    }

    /// Looks for a code of another profile: at the present step or beside it, or at the first counter.
    fn near(&self) -> Option<Diagnosis> {
        match self.profile.moving {
            OtpKind::Totp(period) => self.steps_off(period, [0, -1, 1]),
            OtpKind::Hotp => self.is_at(0).then(|| self.found(0)),
        }
    }

    /// Looks for a clock that is set to another time zone, and right to within a step.
    fn zone(&self) -> Option<Diagnosis> {
        let OtpKind::Totp(period) = self.profile.moving else { return None };
        let mut offsets = both_ways(ZONES).map(|quarters| quarters.saturating_mul(QUARTER));
        let offset = offsets.find(|offset| {
            let there = step_at(self.unix_seconds.saturating_add(*offset), period);
            // A clock in another time zone may also be a little off.
            [Some(there), there.checked_sub(1), there.checked_add(1)].into_iter().flatten().any(|step| self.is_at(step))
        })?;
        Some(self.found(offset))
    }

    fn steps_off(&self, period: Period, offsets: impl IntoIterator<Item = i64>) -> Option<Diagnosis> {
        let present = step_at(self.unix_seconds, period);
        let is_there = |off: &i64| present.checked_add_signed(*off).is_some_and(|step| self.is_at(step));
        let off = offsets.into_iter().find(is_there)?;
        Some(self.found(off.saturating_mul(i64::from(period.seconds()))))
    }

    fn is_at(&self, step: u64) -> bool {
        self.generator.code(step) == self.code
    }

    fn found(&self, drift_seconds: i64) -> Diagnosis {
        Diagnosis { profile: self.profile, drift_seconds }
    }
}

/// Returns the nearest distance first, and each behind before ahead.
fn both_ways(distances: RangeInclusive<i64>) -> impl Iterator<Item = i64> {
    distances.flat_map(|distance| [distance.saturating_neg(), distance])
}

fn other_profiles(own: &Profile) -> impl Iterator<Item = Profile> {
    let periods: Vec<OtpKind> = match own.moving {
        OtpKind::Hotp => vec![OtpKind::Hotp],
        OtpKind::Totp(own_period) => {
            // Only common periods are tried, not all 106, which keeps the number of HMACs small.
            [Some(own_period), Some(Period::THIRTY), Period::new(60)].into_iter().flatten().map(OtpKind::Totp).collect()
        }
    };
    let own = *own;
    Algorithm::ALL
        .into_iter()
        .flat_map(move |algorithm| {
            let periods = periods.clone();
            Digits::ALL.into_iter().flat_map(move |digits| {
                periods.clone().into_iter().map(move |moving| Profile { algorithm, digits, moving })
            })
        })
        .filter(move |profile| *profile != own)
}
