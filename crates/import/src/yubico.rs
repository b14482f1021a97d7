//! The log of the YubiKey Personalization Tool: what was written to the two slots of YubiKeys, in its formats
//! "Traditional" and "Yubico". Slots with HOTP are factors.

use data_encoding::HEXLOWER_PERMISSIVE;
use mfad_core::model::Sensitive;

use crate::draft::Draft;
use crate::entry::Refusal;
use crate::json::digits;
use crate::{Fault, Format};

const FORMAT: Format = Format::YubicoCsv;
const START: &str = "LOGGING START";
const HOTP: &str = "OATH-HOTP";
/// How the lines of a "Traditional" log begin. None of the others is a factor.
const TRADITIONAL: [&str; 5] = [START, HOTP, "Yubico OTP", "Static Password", "Challenge-Response"];

pub(crate) fn is(text: &str) -> bool {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.next().is_some_and(|line| TRADITIONAL.iter().any(|word| line.starts_with(word)) || is_yubico_line(line))
}

/// Whether a line is of the format "Yubico": serial number, public identity, private identity or first counter, key,
/// access code, time.
fn is_yubico_line(line: &str) -> bool {
    let cells: Vec<&str> = line.split(',').map(str::trim).collect();
    let is_key = |key: &str| matches!(key.len(), 32 | 40) && HEXLOWER_PERMISSIVE.decode(key.as_bytes()).is_ok();
    matches!(cells.as_slice(), [serial, _, _, key, _, time, ..]
        if digits(serial).is_some() && is_key(key) && time.parse::<jiff::civil::DateTime>().is_ok())
}

pub(crate) fn read(bytes: &[u8]) -> Result<Vec<Draft>, Fault> {
    let text = std::str::from_utf8(bytes).map_err(|_| Fault::Damaged(FORMAT, "it is not UTF-8".to_owned()))?;
    let lines = (1_usize..).zip(text.lines()).map(|(number, line)| (number, line.trim()));
    let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#') && !line.starts_with(START));
    Ok(lines.map(|(number, line)| draft(format!("line {number}"), line)).collect())
}

fn draft(place: String, line: &str) -> Draft {
    let mut draft = Draft::at(place);
    let cells: Vec<&str> = line.split(',').map(str::trim).collect();
    let cell = |index: usize| cells.get(index).copied().unwrap_or_default();
    let first = cell(0);
    draft.known.kind = Some("hotp".to_owned());
    draft.known.algorithm = Some("SHA1".to_owned());
    let identity;
    if digits(first).is_some() {
        identity = cell(1);
        draft.name(Some("Yubico".to_owned()), Some(first.to_owned()));
        match cell(2) {
            "" => draft.refuse(Refusal::Kind("a static password".to_owned())),
            counter => match digits(counter).filter(|_| counter.len() < 12) {
                Some(counter) => draft.known.counter = Some(counter),
                // A private identity has twelve hexadecimal digits.
                None => draft.refuse(Refusal::Kind("Yubico OTP".to_owned())),
            },
        }
        draft.known.digits = Some(6);
        draft.note(
            "this log says neither how many digits a code has, nor whether the slot has HOTP or challenge-response: \
             taken as HOTP with 6 digits",
        );
        secret(&mut draft, cell(3));
    } else {
        identity = cell(3);
        draft.name(Some("Yubico".to_owned()), Some(identity.to_owned()));
        if first != HOTP {
            draft.refuse(Refusal::Kind(crate::draft::word(first)));
        }
        draft.known.digits = digits(cell(11));
        draft.known.counter = digits(cell(12));
        if draft.known.digits.is_none() || draft.known.counter.is_none() {
            draft.refuse(Refusal::Damaged("its digits or its first counter are missing".to_owned()));
        }
        secret(&mut draft, cell(5));
    }
    if !identity.is_empty() {
        draft.note(
            "this key may type its token identifier before the code; switch that off, for it is no part of a code",
        );
    }
    draft
}

fn secret(draft: &mut Draft, text: &str) {
    match HEXLOWER_PERMISSIVE.decode(text.as_bytes()) {
        Ok(bytes) if bytes.is_empty() => draft.refuse(Refusal::NoSecret),
        Ok(bytes) => draft.seed = Some(Sensitive::new(bytes)),
        Err(_) => draft.refuse(Refusal::Secret("hexadecimal")),
    }
}
