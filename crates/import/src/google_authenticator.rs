//! The file of `pam_google_authenticator`, one for each user: the secret, options, and scratch codes.

use crate::draft::Draft;
use crate::entry::Refusal;
use crate::json::digits;
use crate::{Fault, Format};

const FORMAT: Format = Format::GoogleAuthenticator;
/// What an option begins with.
const OPTION: &str = "\" ";
/// By how many the counter may be ahead of the token. The module raises it at each wrong code.
const AHEAD_BY: u8 = 20;
/// Digits of a scratch code.
const SCRATCH: usize = 8;

/// Whether the first line is a secret and the second an option.
pub(crate) fn is(text: &str) -> bool {
    let mut lines = text.lines();
    let is_secret = |line: &str| {
        line.len() >= 16 && line.bytes().all(|byte| byte.is_ascii_uppercase() || (b'2'..=b'7').contains(&byte))
    };
    lines.next().is_some_and(is_secret) && lines.next().is_some_and(|line| line.starts_with(OPTION))
}

pub(crate) fn read(bytes: &[u8]) -> Result<Vec<Draft>, Fault> {
    let damaged = |what: &str| Fault::Damaged(FORMAT, what.to_owned());
    let text = std::str::from_utf8(bytes).map_err(|_| damaged("it is not UTF-8"))?;
    let mut lines = text.lines();
    let mut draft = Draft::at("line 1".to_owned());
    draft.base32(lines.next().ok_or_else(|| damaged("it is empty"))?.trim());
    let (mut is_totp, mut counter, mut scratch, mut step_size) = (false, None, 0_usize, 30);
    for line in lines.filter(|line| !line.is_empty()) {
        let Some(option) = line.strip_prefix(OPTION) else {
            if line.len() == SCRATCH && digits(line).is_some() {
                scratch = scratch.saturating_add(1);
                continue;
            }
            return Err(damaged("a line is neither an option nor a scratch code"));
        };
        let (name, value) = option.split_once(' ').map_or((option, ""), |(name, value)| (name, value.trim()));
        match name {
            "TOTP_AUTH" => is_totp = true,
            "HOTP_COUNTER" => counter = Some(digits(value).ok_or_else(|| damaged("HOTP_COUNTER is no number"))?),
            "STEP_SIZE" => step_size = digits(value).ok_or_else(|| damaged("STEP_SIZE is no number"))?,
            // Steps of its own period, with the skew.
            "DISALLOW_REUSE" => draft.used_step = value.split_whitespace().filter_map(digits).max(),
            "TIME_SKEW" => draft.skew = value.parse().map_err(|_| damaged("TIME_SKEW is no number"))?,
            // How it counts attempts, and what it looks at; nothing that a factor consists of.
            _ => {}
        }
    }
    match (is_totp, counter) {
        (true, None) => {
            draft.known.kind = Some("totp".to_owned());
            draft.known.period = Some(step_size);
        }
        (false, Some(counter)) => {
            draft.known.kind = Some("hotp".to_owned());
            draft.known.counter = Some(counter);
            draft.counter_ahead_by = AHEAD_BY;
            draft.note(format!(
                "wrong codes raised its counter too, so the token may be behind, by up to {AHEAD_BY}; then two codes in a \
                 row are asked for"
            ));
        }
        _ => draft.refuse(Refusal::NoKind),
    }
    (draft.known.algorithm, draft.known.digits) = (Some("SHA1".to_owned()), Some(6));
    if scratch > 0 {
        draft.note(format!("its scratch codes are too short to be kept, and are left behind: {scratch}"));
    }
    Ok(vec![draft])
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY\n\" RATE_LIMIT 3 30 1764540000\n\" WINDOW_SIZE 3\n\" DISALLOW_REUSE \
                        58818000 58818001\n\" TIME_SKEW -2\n\" TOTP_AUTH\n12345678\n23456789\n";

    #[test]
    fn steps_skew_and_scratch_codes_are_read() {
        assert!(is(FILE) && !is("GEZDGNBVGY3TQOJQGEZDGNBVGY\n12345678\n"));
        let draft = read(FILE.as_bytes()).unwrap().remove(0);

        assert_eq!((draft.known.kind.as_deref(), draft.known.period), (Some("totp"), Some(30)));
        assert_eq!((draft.used_step, draft.skew), (Some(58_818_001), -2));
        assert!(draft.notes[0].contains("left behind: 2"));
        assert_eq!(draft.seed.unwrap().expose().len(), 16);
    }

    #[test]
    fn a_counter_is_the_next_one_and_may_be_ahead() {
        let file = "GEZDGNBVGY3TQOJQGEZDGNBVGY\n\" HOTP_COUNTER 7\n";
        let draft = read(file.as_bytes()).unwrap().remove(0);

        assert_eq!((draft.known.kind.as_deref(), draft.known.counter), (Some("hotp"), Some(7)));
        assert!(draft.counter_ahead_by == AHEAD_BY && draft.notes[0].contains("behind"));
    }
}
