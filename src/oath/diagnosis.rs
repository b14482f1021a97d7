//! Why a first code is wrong: the same seed under another profile, or a clock that is off.
//! Only for pending secrets, whose owner has just seen the seed: it gives nothing away.

use crate::model::{Algorithm, Digits, Moving, Period, Profile, TokenInput};

use super::otp::{hotp, step_at};

/// Seconds of clock drift looked through for the secret's own profile, each way: half an hour.
const FURTHEST_DRIFT: i64 = 30 * 60;
/// Steps of drift allowed for another profile; few, so that chance seldom finds one.
const NEAR_STEPS: i64 = 1;

/// The profile under which the code would have been right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Diagnosis {
    /// The profile the authenticator seems to use.
    pub profile: Profile,
    /// How far the authenticator's clock seems to be ahead of this host, in seconds; negative when
    /// behind, 0 for HOTP.
    pub drift_seconds: i64,
}

/// Looks for the profile and drift under which `input` is the code of `seed` at this time: first the
/// secret's own profile with a clock that is off, then every other profile (OTP-7) near the present.
pub fn diagnose(profile: &Profile, seed: &[u8], input: &TokenInput, unix_seconds: i64) -> Option<Diagnosis> {
    let own = candidate(profile, seed, input, unix_seconds, drift_steps(profile));
    own.or_else(|| other_profiles(profile).find_map(|other| candidate(&other, seed, input, unix_seconds, NEAR_STEPS)))
}

fn drift_steps(profile: &Profile) -> i64 {
    match profile.moving {
        Moving::Time(period) => FURTHEST_DRIFT.checked_div(i64::from(period.seconds())).unwrap_or(0),
        Moving::Counter => 0,
    }
}

fn other_profiles(own: &Profile) -> impl Iterator<Item = Profile> {
    let periods: Vec<Moving> = match own.moving {
        Moving::Counter => vec![Moving::Counter],
        Moving::Time(own_period) => {
            [Some(own_period), Some(Period::THIRTY), Period::new(60)].into_iter().flatten().map(Moving::Time).collect()
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

fn candidate(profile: &Profile, seed: &[u8], input: &TokenInput, unix_seconds: i64, steps: i64) -> Option<Diagnosis> {
    let code = input.for_digits(profile.digits)?;
    let Moving::Time(period) = profile.moving else {
        let hit = hotp(seed, profile.algorithm, 0, profile.digits) == code;
        return hit.then_some(Diagnosis { profile: *profile, drift_seconds: 0 });
    };
    let current = step_at(unix_seconds, period);
    let nearest_first = (0..=steps).flat_map(|distance| [distance.saturating_neg(), distance]);
    let off = nearest_first.into_iter().find(|off| {
        current.checked_add_signed(*off).is_some_and(|step| hotp(seed, profile.algorithm, step, profile.digits) == code)
    })?;
    Some(Diagnosis { profile: *profile, drift_seconds: off.saturating_mul(i64::from(period.seconds())) })
}
