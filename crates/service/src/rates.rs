//! Rate limits on operations that leave lasting data in the store: a burst, then one per interval. They bound disk
//! growth, not guesses, so they are in memory only and a restart clears them. Administrators are not limited, and apps
//! with a right only when they begin factors for one user.

use std::collections::HashMap;
use std::time::Duration;

use crate::error::Error;
use mfad_core::model::{Moment, UserId};
use mfad_core::sync::{Mutex, PoisonError};

/// Limits that are tracked at a time. A full table answers `busy`, so memory stays bounded under a flood.
const MOST: usize = 65_536;

/// An operation that is limited, with the key of its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Act {
    /// Beginning a factor for this user.
    BeginFactor(UserId),
    /// Beginning factors for any users, with their own tokens, from this peer uid.
    BeginFactors(u32),
    /// Any other change by a user: the id of the session or API key, or of the user if the token has no session.
    Change([u8; 16]),
    /// Creating users under open registration, from this peer uid.
    Register(u32),
}

impl Act {
    /// Returns the burst, and the interval in milliseconds after which one more is allowed.
    fn rate(self) -> (i64, i64) {
        match self {
            Self::BeginFactor(_) => (32, 15_000),
            Self::BeginFactors(_) => (1024, 1_000),
            Self::Change(_) => (240, 2_000),
            Self::Register(_) => (60, 10_000),
        }
    }
}

/// Rate limits by the generic cell rate algorithm (ITU-T I.371). The table holds the theoretical arrival time of each
/// limit, in milliseconds of the boot clock, which cannot be set.
#[derive(Default)]
pub(super) struct Rates(Mutex<HashMap<Act, i64>>);

impl Rates {
    /// Counts one more operation. Answers [`Error::TooManyAttempts`] with the time to wait if it exceeds the limit, and
    /// then counts nothing; [`Error::Busy`] if the table is full.
    pub(super) fn count(&self, act: Act, now: &Moment) -> Result<(), Error> {
        let (burst, interval) = act.rate();
        let now = now.boot_ms;
        let mut full = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if full.len() >= MOST && !full.contains_key(&act) {
            // A limit whose time has passed has its full burst again, so forgetting it changes nothing.
            full.retain(|_, until| *until > now);
            if full.len() >= MOST {
                return Err(Error::Busy);
            }
        }
        let next = full.get(&act).copied().unwrap_or(now).max(now).saturating_add(interval);
        let over = next.saturating_sub(now).saturating_sub(burst.saturating_mul(interval));
        if let Ok(over) = u64::try_from(over)
            && over > 0
        {
            return Err(Error::TooManyAttempts { wait: Duration::from_millis(over) });
        }
        full.insert(act, next);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(boot_ms: i64) -> Moment {
        Moment { wall_ms: 0, boot_ms, boot: [0; 16] }
    }

    fn done(rates: &Rates, act: Act, boot_ms: i64) -> usize {
        (0..2000).take_while(|_| rates.count(act, &at(boot_ms)).is_ok()).count()
    }

    #[test]
    fn a_burst_is_let_through_and_then_one_each_interval() {
        let user = UserId::at(0, &[1; 10]);
        for act in [Act::BeginFactor(user), Act::BeginFactors(7), Act::Change([1; 16]), Act::Register(7)] {
            let (rates, (burst, interval)) = (Rates::default(), act.rate());

            assert_eq!(done(&rates, act, 0), usize::try_from(burst).unwrap(), "{act:?}");
            let refused = rates.count(act, &at(0));
            assert!(
                matches!(refused, Err(Error::TooManyAttempts { wait }) if wait.as_millis() == interval.unsigned_abs().into()),
                "{act:?}"
            );
            assert_eq!(done(&rates, act, interval), 1, "{act:?}");
            assert_eq!(done(&rates, act, interval * 4), 3, "{act:?}");
            assert_eq!(done(&rates, act, interval * 10 * burst), usize::try_from(burst).unwrap(), "{act:?}");
        }
    }

    #[test]
    fn nobody_pays_for_somebody_else() {
        let rates = Rates::default();
        done(&rates, Act::Register(7), 0);

        assert!(rates.count(Act::Register(8), &at(0)).is_ok());
        assert!(rates.count(Act::BeginFactors(7), &at(0)).is_ok());
    }
}
