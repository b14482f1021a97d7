//! Reads the host's clocks. All other code gets the time as an argument (TIME-1); only `stopwatch` also reads a clock,
//! to measure durations.

use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimePrinter;

use mfad_core::model::{BootId, Moment};

/// File with the random id that the kernel gives each boot.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Reads the wall clock and the boot clock, together with the id of this boot.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    boot: BootId,
}

impl Clock {
    /// Reads the id of this boot.
    pub fn new() -> std::io::Result<Self> {
        let text = std::fs::read_to_string(BOOT_ID)?;
        let boot = uuid::Uuid::try_parse(text.trim()).map_err(std::io::Error::other)?;
        Ok(Self { boot: boot.into_bytes() })
    }

    /// Returns the present time of both clocks, in milliseconds.
    #[expect(clippy::disallowed_methods, reason = "this is the one place that may")]
    pub fn now(&self) -> Moment {
        // A clock that was set to before 1970 is negative, not an error.
        let wall = match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
            Err(before) => i64::try_from(before.duration().as_millis()).unwrap_or(i64::MAX).saturating_neg(),
        };
        // This clock includes the time in suspend, unlike CLOCK_MONOTONIC, so delays end on time.
        let boot = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let boot_ms = boot.tv_sec.saturating_mul(1000).saturating_add(boot.tv_nsec.checked_div(1_000_000).unwrap_or(0));
        Moment { wall_ms: wall, boot_ms, boot: self.boot }
    }
}

/// Formats the time for the header `Date` (RFC 9110 section 5.6.7). Returns `None` before 1970 and after 9999: no host
/// is set to such a time on purpose, and the HTTP library, which formats the time too, panics there.
pub(super) fn http_date(now: &Moment) -> Option<String> {
    let at = Timestamp::from_millisecond(now.wall_ms).ok().filter(|at| *at >= Timestamp::UNIX_EPOCH)?;
    DateTimePrinter::new().timestamp_to_rfc9110_string(&at).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn date_of(wall_ms: i64) -> Option<String> {
        http_date(&Moment { wall_ms, boot_ms: 0, boot: [0; 16] })
    }

    #[test]
    fn a_date_is_in_whole_seconds_of_greenwich() {
        for (wall_ms, date) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777_999, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (951_782_400_000, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (253_370_764_800_000, "Fri, 01 Jan 9999 00:00:00 GMT"),
        ] {
            assert_eq!(date_of(wall_ms).as_deref(), Some(date));
        }
    }

    #[test]
    fn a_clock_before_1970_or_after_9999_has_no_date() {
        for wall_ms in [-1, -86_400_000, i64::MIN, 253_402_300_800_000, 400_000_000_000_000, i64::MAX] {
            assert_eq!(date_of(wall_ms), None, "{wall_ms}");
        }
    }
}
