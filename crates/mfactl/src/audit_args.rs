//! The flags of `audit`, and the times that they take.

use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};
use clap_complete::engine::ArgValueCompleter;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::completion;
use crate::help;
use mfad_api::AuditEvent;

#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// Show the newest events, all or those that pass the filters
    #[command(alias = "list", alias = "ls", after_help = help::AUDIT_TAIL)]
    Tail(TailArgs),
    /// Verify the hash chain of the whole audit log
    #[command(after_help = help::AUDIT_VERIFY)]
    Verify,
}

#[derive(Debug, Args)]
pub(crate) struct TailArgs {
    /// Maximum number of events to show [default: 10, or all with --since]
    #[arg(short = 'n', long = "lines", value_name = "N")]
    pub lines: Option<u32>,
    /// Keep printing new events as they arrive
    #[arg(long, short)]
    pub follow: bool,
    /// Only events about this user: name or uid
    #[arg(long, add = ArgValueCompleter::new(completion::users))]
    pub user: Option<String>,
    /// Only events from this time on: `2h`, `2026-01-31` or `2026-01-31T12:00Z`
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub since: Option<Timestamp>,
    /// Only events before this time
    #[arg(long, value_name = "TIME", value_parser = time, conflicts_with = "follow")]
    pub until: Option<Timestamp>,
    /// Only events of this name, or of this area: `login.factor` or `login`
    #[arg(long, value_name = "EVENT", value_parser = PossibleValuesParser::new(event_names()), hide_possible_values = true)]
    pub event: Option<String>,
    /// Only what was done (`ok`) or what was refused
    #[arg(long, value_name = "OUTCOME", value_parser = ["ok", "refused"])]
    pub outcome: Option<String>,
}

/// The names of events, and of their areas.
pub(crate) fn event_names() -> Vec<&'static str> {
    let names: Vec<&str> = AuditEvent::ALL.iter().map(|event| event.as_str()).collect();
    let areas = names.iter().filter_map(|name| name.split_once('.')).map(|(area, _)| area);
    let mut all: Vec<&str> = areas.chain(names.iter().copied()).collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// Seconds of each unit of an age.
const UNITS: [(&str, i64); 6] = [("s", 1), ("m", 60), ("min", 60), ("h", 3600), ("d", 86_400), ("w", 604_800)];

/// A time: RFC 3339, a date (its beginning in UTC), or an age such as `2h`.
fn time(text: &str) -> Result<Timestamp, String> {
    #[expect(clippy::disallowed_methods, reason = "an age is measured from when the person typed it")]
    time_at(text, Timestamp::now())
}

fn time_at(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    let text = text.trim();
    let whole = text.parse::<Timestamp>().ok();
    let date = || text.parse::<Date>().ok()?.to_zoned_datetime(TimeZone::UTC).ok().map(|day| day.timestamp());
    whole.or_else(date).or_else(|| now.checked_sub(age(text)?).ok()).ok_or_else(|| {
        "give an age such as 30min, 2h or 7d, a date such as 2026-01-31, or a time such as 2026-01-31T12:00Z".to_owned()
    })
}

fn age(text: &str) -> Option<SignedDuration> {
    let digits = text.find(|symbol: char| !symbol.is_ascii_digit())?;
    let (number, unit) = text.split_at_checked(digits)?;
    let (_, seconds) = UNITS.into_iter().find(|(name, _)| *name == unit)?;
    number.parse::<i64>().ok()?.checked_mul(seconds).map(SignedDuration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Result<String, String> {
        time_at(text, "2026-02-01T12:00:00Z".parse().unwrap()).map(|time| time.to_string())
    }

    #[test]
    fn a_time_is_whole_a_date_or_an_age() {
        for (text, time) in [
            ("2026-01-31T12:00:00Z", "2026-01-31T12:00:00Z"),
            ("2026-01-31T12:00Z", "2026-01-31T12:00:00Z"),
            ("2026-01-31T12:00:00+02:00", "2026-01-31T10:00:00Z"),
            ("2026-01-31", "2026-01-31T00:00:00Z"),
            ("90s", "2026-02-01T11:58:30Z"),
            ("30min", "2026-02-01T11:30:00Z"),
            ("2h", "2026-02-01T10:00:00Z"),
            ("7d", "2026-01-25T12:00:00Z"),
        ] {
            assert_eq!(at(text).as_deref(), Ok(time), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused_with_examples() {
        for text in ["", "h", "2", "-2h", "2 h", "2y", "yesterday", "2026-13-01", "99999999999999999w"] {
            assert!(at(text).is_err_and(|why| why.contains("2026-01-31")), "{text}");
        }
    }
}
