//! The users file of `pam_oath` (liboath): `TYPE USER PIN SECRET [COUNTER [LAST-CODE [LAST-TIME]]]`.

use data_encoding::HEXLOWER_PERMISSIVE;
use jiff::civil::DateTime;
use mfad_core::model::{Algorithm, Digits, Period, Sensitive};
use mfad_core::oath::hotp;

use crate::draft::Draft;
use crate::entry::Refusal;
use crate::json::digits;
use crate::{Fault, Format};

const FORMAT: Format = Format::PamOath;
/// The last time is written in the time zone of the process, which the file does not name. No zone is further from UTC.
const FARTHEST_ZONE: i64 = 14 * 3600;
/// What zones differ by, in seconds.
const ZONE_STEP: usize = 900;
/// How far the module looks around the time of a login, in steps; its option `window` is 5 in most examples.
const WINDOW: u64 = 10;

/// Whether the first line with content begins with a type of that file.
pub(crate) fn is(text: &str) -> bool {
    let first = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'));
    let kind = first.and_then(|line| line.split_whitespace().next());
    kind.is_some_and(|kind| kind == "HOTP" || kind.starts_with("HOTP/"))
}

/// Reads lines, of which `before` come before them in the file.
pub(crate) fn read(bytes: &[u8], before: usize) -> Result<Vec<Draft>, Fault> {
    let text = std::str::from_utf8(bytes).map_err(|_| Fault::Damaged(FORMAT, "it is not UTF-8".to_owned()))?;
    let lines = (before.saturating_add(1)..).zip(text.lines()).map(|(number, line)| (number, line.trim()));
    let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    Ok(lines.map(|(number, line)| draft(number, line)).collect())
}

fn draft(number: usize, line: &str) -> Draft {
    let mut draft = Draft::at(format!("line {number}"));
    if let Err(refusal) = parse(&mut draft, line) {
        draft.refuse(refusal);
    }
    draft
}

fn parse(draft: &mut Draft, line: &str) -> Result<(), Refusal> {
    let damaged = |what: &str| Refusal::Damaged(what.to_owned());
    let mut fields = line.split_whitespace();
    let kind = fields.next().unwrap_or_default();
    let user = fields.next().ok_or_else(|| damaged("the line has no user"))?;
    draft.name(None, Some(user.to_owned()));
    (draft.known.algorithm, draft.known.digits) = (Some("SHA1".to_owned()), Some(6));
    moving(draft, kind)?;
    // `-` is no PIN; `+` leaves the password to another module.
    let pin = fields.next().ok_or_else(|| damaged("the line has no PIN field"))?;
    if !["-", "+"].contains(&pin) {
        return Err(Refusal::Pin);
    }
    let secret = fields.next().ok_or(Refusal::NoSecret)?;
    let secret = HEXLOWER_PERMISSIVE.decode(secret.as_bytes()).map_err(|_| Refusal::Secret("hexadecimal"))?;
    let counter = fields.next().map(|text| digits(text).ok_or_else(|| damaged("its counter is no number")));
    let (counter, last_code, last_time) = (counter.transpose()?.unwrap_or(0), fields.next(), fields.next());
    if draft.known.kind.as_deref() == Some("hotp") {
        // Once a code was used, the field is the counter of that code.
        let used = u64::from(last_code.is_some());
        draft.known.counter = Some(counter.saturating_add(used));
    } else if let (Some(code), Some(time)) = (last_code, last_time) {
        draft.used_step = used_step(draft, &secret, code, time);
        if draft.used_step.is_none() {
            draft.note("its last used code does not fit its last time, so a code of the last minutes may count again");
        }
    }
    draft.seed = Some(Sensitive::new(secret));
    Ok(())
}

/// Reads `HOTP`, `HOTP/E/8`, `HOTP/T30`, `HOTP/T60/6` and the like.
fn moving(draft: &mut Draft, kind: &str) -> Result<(), Refusal> {
    let unknown = || Refusal::Kind(crate::draft::word(kind));
    let mut parts = kind.split('/');
    if parts.next() != Some("HOTP") {
        return Err(unknown());
    }
    draft.known.kind = Some("hotp".to_owned());
    for part in parts {
        match part.strip_prefix('T').map(digits) {
            Some(Some(period)) => {
                draft.known.kind = Some("totp".to_owned());
                draft.known.period = Some(period);
            }
            Some(None) => return Err(unknown()),
            None if part == "E" => {}
            None => draft.known.digits = Some(digits(part).ok_or_else(unknown)?),
        }
    }
    Ok(())
}

/// The step of the last used code. Its time is in an unknown zone, so it is searched for by the code.
fn used_step(draft: &Draft, secret: &[u8], code: &str, time: &str) -> Option<u64> {
    // Only one that can be kept: with a step of a second, there would be very many codes to compute.
    let period = Period::new(draft.known.period?)?.seconds().into();
    let time: DateTime = time.strip_suffix('L').unwrap_or(time).parse().ok()?;
    let seconds = jiff::tz::Offset::UTC.to_timestamp(time).ok()?.as_second();
    let wanted: u32 = code.parse().ok().filter(|_| digits(code).is_some())?;
    let count = Digits::new(draft.known.digits?)?;
    // Zones differ by quarters of an hour. The nearest to UTC first, and only steps that the module looks at: over all of
    // a day, some other step would have the same code by chance.
    let mut zones: Vec<i64> =
        (0..=FARTHEST_ZONE).step_by(ZONE_STEP).flat_map(|zone| [zone, zone.saturating_neg()]).collect();
    zones.dedup();
    let steps = zones.into_iter().filter_map(|zone| {
        let present = u64::try_from(seconds.checked_add(zone)?).ok()?.checked_div(period)?;
        Some(present.saturating_sub(WINDOW)..=present.saturating_add(WINDOW))
    });
    steps.flatten().find(|step| hotp(secret, Algorithm::Sha1, *step, count) == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: &str = "3132333435363738393031323334353637383930";

    fn one(line: &str) -> Draft {
        read(line.as_bytes(), 0).unwrap().remove(0)
    }

    #[test]
    fn a_counter_is_the_next_one_before_the_first_login_and_the_last_one_after_it() {
        let before = one(&format!("HOTP bob - {SEED} 5"));
        let after = one(&format!("HOTP/E/8\tbob\t-\t{SEED}\t5\t12345678\t2026-11-30T10:00:00L"));

        assert_eq!((before.known.counter, before.known.digits), (Some(5), Some(6)));
        assert_eq!((after.known.counter, after.known.digits), (Some(6), Some(8)));
        assert_eq!(one(&format!("HOTP bob - {SEED}")).known.counter, Some(0));
    }

    #[test]
    fn the_used_step_is_found_by_its_code_in_any_time_zone() {
        let seed = HEXLOWER_PERMISSIVE.decode(SEED.as_bytes()).unwrap();
        // 2026-11-30T10:00:00 UTC.
        let step = 1_796_032_800 / 30;
        let code = hotp(&seed, Algorithm::Sha1, step, Digits::new(8).unwrap());
        for time in ["2026-11-30T10:00:00L", "2026-11-30T15:45:00L", "2026-11-29T22:00:00L"] {
            let draft = one(&format!("HOTP/T30/8 bob - {SEED} 0 {code:08} {time}"));
            assert_eq!(draft.used_step, Some(step), "{time}");
            assert_eq!((draft.known.kind.as_deref(), draft.known.period), (Some("totp"), Some(30)));
        }
    }

    #[test]
    fn pins_and_unknown_types_are_refused() {
        assert_eq!(one(&format!("HOTP bob 1234 {SEED}")).refusal, Some(Refusal::Pin));
        assert!(matches!(one(&format!("HOTP/X9 bob - {SEED}")).refusal, Some(Refusal::Kind(_))));
        assert_eq!(one("HOTP bob - xyz").refusal, Some(Refusal::Secret("hexadecimal")));
        assert_eq!(one("HOTP bob -").refusal, Some(Refusal::NoSecret));
    }
}
