//! The clock of this host, and dates of the Gregorian calendar in UTC.

/// Seconds since 1970 by the clock of this host; 0 before.
#[expect(clippy::disallowed_methods, reason = "it is recorded, and nothing is decided by it")]
pub(crate) fn seconds() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// A day, counted from 1970-01-01.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Day(i64);

impl Day {
    /// Today by the clock of this host; `None` before 1970.
    pub(crate) fn today() -> Option<Self> {
        i64::try_from(seconds()).ok().filter(|seconds| *seconds > 0)?.checked_div(86_400).map(Self)
    }

    /// Reads `YYYY-MM-DD` (RFC 3339 `full-date`).
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (year, rest) = text.split_once('-')?;
        let (month, day) = rest.split_once('-')?;
        let number = |text: &str, digits: usize| -> Option<i64> {
            (text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok())?
        };
        let (year, month, day) = (number(year, 4)?, number(month, 2)?, number(day, 2)?);
        let is_leap = year.checked_rem(4)? == 0 && (year.checked_rem(100)? != 0 || year.checked_rem(400)? == 0);
        let days = match month {
            4 | 6 | 9 | 11 => 30,
            2 if is_leap => 29,
            2 => 28,
            1..=12 => 31,
            _ => return None,
        };
        (1..=days).contains(&day).then_some(())?;
        // A year that begins in March has its leap day at the end, so that the months before it have fixed lengths.
        let (year, month) =
            if month > 2 { (year, month.checked_sub(3)?) } else { (year.checked_sub(1)?, month.checked_add(9)?) };
        let in_year = month.checked_mul(153)?.checked_add(2)?.checked_div(5)?.checked_add(day)?;
        let leap_days = year.div_euclid(4).checked_sub(year.div_euclid(100))?.checked_add(year.div_euclid(400))?;
        // 719,469 days lie between March of the year 0, less one day, and 1970.
        year.checked_mul(365)?.checked_add(leap_days)?.checked_add(in_year)?.checked_sub(719_469).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_days_since_1970() {
        for (text, days) in [
            ("1970-01-01", 0),
            ("1970-03-01", 59),
            ("2000-02-29", 11_016),
            ("2026-11-30", 20_787),
            ("2100-03-01", 47_541),
        ] {
            assert_eq!(Day::parse(text), Some(Day(days)), "{text}");
        }
    }

    #[test]
    fn other_text_is_no_date() {
        for text in [
            "",
            "2026",
            "2026-1-1",
            "2026-13-01",
            "2026-00-10",
            "2026-02-30",
            "2100-02-29",
            "2026-11-31",
            "26-11-30",
            "2026-11-30T",
            "+026-11-30",
        ] {
            assert_eq!(Day::parse(text), None, "{text:?}");
        }
    }
}
