//! The throttle of guesses as a pure state machine (THR-1 to THR-6). It reads no clock and stores nothing.
//!
//! ```text
//!              failure, fewer than delay_after in a row
//!                 ┌───┐
//!   success ┌───▶ │   ▼          failure no. delay_after
//!  ─────────┴──── OPEN ─────────────────────────────────▶ DELAYED(1 s · 2ⁿ, at most 15 min)
//!                  ▲                                        │    ▲
//!                  │ success                  the delay ends│    │ failure
//!                  └──────────────── OPEN AGAIN ◀───────────┘────┘
//!                                       │ failure no. lock_after, or as many as the odds allow (second factors only)
//!                                       ▼
//!                                    LOCKED ── unlock by an administrator, or a factor bound anew ──▶ OPEN
//! ```

use std::time::Duration;

use super::moment::{BootId, Moment};
use super::profile::Digits;

/// The longest delay: 15 minutes, where doubling ends.
pub const LONGEST_DELAY: Duration = Duration::from_secs(900);

/// The end of a delay, on both clocks. The boot clock decides within the boot that set the delay, the wall clock after
/// a reboot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline {
    /// On the wall clock, in milliseconds since 1970-01-01 UTC.
    pub wall_ms: i64,
    /// On the boot clock, in milliseconds since boot.
    pub boot_ms: i64,
    /// The boot that `boot_ms` belongs to.
    pub boot: BootId,
}

impl Deadline {
    fn after(now: &Moment, delay: Duration) -> Self {
        let millis = i64::try_from(delay.as_millis()).unwrap_or(i64::MAX);
        Self {
            wall_ms: now.wall_ms.saturating_add(millis),
            boot_ms: now.boot_ms.saturating_add(millis),
            boot: now.boot,
        }
    }

    fn remaining(&self, now: &Moment) -> Duration {
        // The boot clock cannot be set, but it starts anew at each boot (THR-6).
        let millis = if self.boot == now.boot {
            self.boot_ms.saturating_sub(now.boot_ms)
        } else {
            self.wall_ms.saturating_sub(now.wall_ms)
        };
        // Otherwise a wall clock that was set back would turn seconds into years.
        Duration::from_millis(u64::try_from(millis).unwrap_or(0)).min(LONGEST_DELAY)
    }
}

/// Numbers of consecutive failures at which the throttle acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// From this failure on, each failure starts a delay.
    pub delay_after: u32,
    /// At this failure the authenticator is locked; `None` for passwords, which are never locked (THR-5).
    pub lock_after: Option<u32>,
}

/// The probability that a guess, or one of several, is right, in units of 10⁻⁸.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Odds(u32);

impl Odds {
    /// For proofs that cannot be guessed (signatures, backup codes of 80 bits), and for passwords, which are never
    /// locked.
    pub const NONE: Self = Self(0);
    /// Limit for all guesses between two successes: 3·10⁻⁴, a hundred guesses if three codes of six digits count (R9).
    const MOST: u32 = 30_000;
    /// The odds never lock before this many failures, which may be typing errors.
    const FEWEST: u32 = 10;
    /// Number of units in a probability of 1.
    const UNIT: u32 = 100_000_000;

    /// The odds of a guess if this many codes of this many digits count at a time.
    pub fn of(codes: u64, digits: Digits) -> Self {
        // One code has 100 units at six digits, 10 at seven, 1 at eight.
        let each = Self::UNIT.checked_div(digits.modulus()).unwrap_or(Self::MOST);
        Self(u32::try_from(codes).unwrap_or(u32::MAX).saturating_mul(each))
    }

    /// The odds of a guess that is compared with both: the sum.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// Takes a stored number of units.
    pub fn from_units(units: u32) -> Self {
        Self(units)
    }

    /// The number of units, to be stored.
    pub fn units(self) -> u32 {
        self.0
    }

    fn are_too_many(self) -> bool {
        self.0 > Self::MOST
    }
}

/// Whether an attempt may be evaluated at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Gate {
    /// The attempt may be evaluated.
    Open,
    /// No attempt is evaluated for this long, whether right or wrong.
    Delayed(Duration),
    /// No attempt is evaluated until an administrator unlocks the factors, or a factor is bound anew.
    Locked,
}

/// The failures of one authenticator since its last success.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Throttle {
    /// Number of consecutive failures since the last success.
    pub failures: u32,
    /// End of the delay that the last failure started; `None` if it started none.
    pub until: Option<Deadline>,
    /// Sum of the odds of these failures. Each keeps the odds that it had when the guess was made.
    pub spent: Odds,
}

impl Throttle {
    /// Decides whether an attempt may be evaluated now.
    pub fn gate(&self, limits: &Limits, now: &Moment) -> Gate {
        // Without `lock_after` (passwords) the odds do not lock either (THR-5).
        if limits.lock_after.is_some_and(|most| self.failures >= most || self.leaves_no_room_for(Odds::NONE)) {
            return Gate::Locked;
        }
        match self.until.map(|deadline| deadline.remaining(now)) {
            None | Some(Duration::ZERO) => Gate::Open,
            Some(wait) => Gate::Delayed(wait),
        }
    }

    /// Whether a guess with these odds would exceed the limit. Such a guess must not be evaluated.
    pub fn leaves_no_room_for(&self, odds: Odds) -> bool {
        self.failures >= Odds::FEWEST && self.spent.or(odds).are_too_many()
    }

    /// Returns the state after one more failure with these odds. It is locked if the same guess again would exceed the
    /// limit.
    #[must_use]
    pub fn fail(self, limits: &Limits, now: &Moment, odds: Odds) -> Self {
        let failures = self.failures.saturating_add(1);
        // No delay before failure no. `delay_after`, then 1 s, doubled by each further one.
        let until = failures.checked_sub(limits.delay_after).map(|doublings| Deadline::after(now, delay(doublings)));
        let failed = Self { failures, until, spent: self.spent.or(odds) };
        // Stored as a lock, so that it outlasts a change of the limits.
        if failed.leaves_no_room_for(odds) { failed.lock() } else { failed }
    }

    /// Returns the same state, locked. The odds are used up, so it stays locked whatever the limits are later.
    #[must_use]
    pub fn lock(self) -> Self {
        // One unit beyond the limit, so that `gate` refuses even a guess without odds.
        Self { spent: Odds(self.spent.0.max(Odds::MOST.saturating_add(1))), ..self }
    }

    /// When the last failure was, in milliseconds since 1970 by the wall clock of then. `None` if no failure has started a
    /// delay since the last success.
    pub fn failed_at(&self, limits: &Limits) -> Option<i64> {
        let delay = delay(self.failures.checked_sub(limits.delay_after)?);
        let millis = i64::try_from(delay.as_millis()).unwrap_or(i64::MAX);
        self.until.map(|deadline| deadline.wall_ms.saturating_sub(millis))
    }

    /// The state after a success, or after an administrator has unlocked it.
    #[must_use]
    pub fn clear() -> Self {
        Self::default()
    }

    /// Whether there is nothing to clear.
    pub fn is_clear(&self) -> bool {
        *self == Self::default()
    }
}

fn delay(doublings: u32) -> Duration {
    // A shift by more than 63 has no value. The longest delay applies instead.
    let seconds = 1u64.checked_shl(doublings).unwrap_or(u64::MAX);
    Duration::from_secs(seconds).min(LONGEST_DELAY)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { delay_after: 5, lock_after: Some(100) };

    fn at(seconds: i64) -> Moment {
        Moment { wall_ms: 1_700_000_000_000 + seconds * 1000, boot_ms: seconds * 1000, boot: [1; 16] }
    }

    fn failed(times: u32, now: &Moment) -> Throttle {
        failed_at(times, now, Odds::of(3, Digits::SIX))
    }

    fn failed_at(times: u32, now: &Moment, odds: Odds) -> Throttle {
        (0..times).fold(Throttle::default(), |t, _| t.fail(&LIMITS, now, odds))
    }

    #[test]
    fn thr_1_the_fifth_failure_delays_and_each_later_one_doubles() {
        let now = at(0);

        assert_eq!(failed(4, &now).gate(&LIMITS, &now), Gate::Open);
        for (times, seconds) in [(5, 1), (6, 2), (7, 4), (14, 512), (15, 900), (40, 900), (99, 900)] {
            assert_eq!(failed(times, &now).gate(&LIMITS, &now), Gate::Delayed(Duration::from_secs(seconds)), "{times}");
        }
    }

    #[test]
    fn the_time_of_the_last_failure_is_known_from_the_first_delay_on() {
        let now = at(5000);
        let failed_at = |times| failed(times, &now).failed_at(&LIMITS);

        assert_eq!(failed_at(4), None);
        assert_eq!([5, 7, 40, 100].map(failed_at), [Some(now.wall_ms); 4]);
        assert_eq!(failed(9, &now).lock().failed_at(&LIMITS), Some(now.wall_ms));
        assert_eq!(Throttle::clear().failed_at(&LIMITS), None);
    }

    #[test]
    fn thr_1_the_hundredth_failure_locks_for_good() {
        let locked = failed(100, &at(0));

        assert_eq!(locked.gate(&LIMITS, &at(10_000_000)), Gate::Locked);
    }

    #[test]
    fn r9_the_lock_comes_before_the_odds_of_all_guesses_exceed_three_in_ten_thousand() {
        let eight = Digits::new(8).unwrap();
        let both = Odds::of(3, Digits::SIX).or(Odds::of(11, Digits::SIX));
        for (odds, most) in [
            (Odds::of(3, Digits::SIX), 100),
            (Odds::of(11, Digits::SIX), 27),
            (both, 21),
            (Odds::of(330, Digits::SIX), 10),
            (Odds::of(11, eight), 100),
            (Odds::NONE, 100),
        ] {
            let later = at(10_000_000);

            assert_eq!(failed_at(most - 1, &at(0), odds).gate(&LIMITS, &later), Gate::Open, "{odds:?}");
            assert_eq!(failed_at(most, &at(0), odds).gate(&LIMITS, &later), Gate::Locked, "{odds:?}");
        }
    }

    #[test]
    fn r9_odds_that_change_between_guesses_add_up() {
        let (likely, unlikely) = (Odds::of(11, Digits::SIX), Odds::of(11, Digits::new(7).unwrap()));
        for period in 1..40u32 {
            let (mut throttle, mut spent) = (Throttle::default(), 0);
            for number in 0..1000u32 {
                let odds = if number.is_multiple_of(period) { likely } else { unlikely };
                if throttle.gate(&LIMITS, &at(10_000_000)) != Gate::Open || throttle.leaves_no_room_for(odds) {
                    break;
                }
                throttle = throttle.fail(&LIMITS, &at(0), odds);
                spent += odds.units();
            }
            assert!(spent <= Odds::MOST, "{spent} with every {period}th guess at six digits");
            assert!(spent > Odds::MOST - likely.units() || throttle.failures == 100, "{throttle:?}");
        }
    }

    #[test]
    fn r9_odds_come_back_as_they_were_put_away() {
        let locked = failed_at(27, &at(0), Odds::of(11, Digits::SIX));

        let back = Throttle { spent: Odds::from_units(locked.spent.units()), ..Throttle::default() };

        assert_eq!(back.spent, locked.spent);
        assert_ne!(back.spent, Odds::NONE);
    }

    #[test]
    fn r9_a_lock_by_the_odds_outlasts_another_limit() {
        let locked = failed_at(27, &at(0), Odds::of(11, Digits::SIX));
        let limits = Limits { lock_after: Some(90), ..LIMITS };

        assert_eq!((locked.failures, locked.gate(&limits, &at(10_000_000))), (27, Gate::Locked));
    }

    #[test]
    fn thr_5_a_password_is_delayed_but_never_locked() {
        let limits = Limits { lock_after: None, ..LIMITS };

        let tired = (0..1000).fold(Throttle::default(), |t, _| t.fail(&limits, &at(0), Odds::NONE));

        assert_eq!(tired.gate(&limits, &at(901)), Gate::Open);
    }

    #[test]
    fn thr_6_stepping_the_wall_clock_does_not_shorten_a_delay() {
        let delayed = failed(8, &at(0));
        let stepped = Moment { wall_ms: at(1_000_000).wall_ms, ..at(3) };

        assert_eq!(delayed.gate(&LIMITS, &stepped), Gate::Delayed(Duration::from_secs(5)));
        assert_eq!(delayed.gate(&LIMITS, &at(8)), Gate::Open);
    }

    #[test]
    fn thr_6_after_a_reboot_the_wall_clock_counts_and_never_more_than_the_longest_delay() {
        let delayed = failed(8, &at(0));
        let rebooted = |seconds| Moment { boot: [2; 16], boot_ms: 0, ..at(seconds) };

        assert_eq!(delayed.gate(&LIMITS, &rebooted(3)), Gate::Delayed(Duration::from_secs(5)));
        assert_eq!(delayed.gate(&LIMITS, &rebooted(-1_000_000)), Gate::Delayed(LONGEST_DELAY));
        assert_eq!(delayed.gate(&LIMITS, &rebooted(8)), Gate::Open);
    }
}
