//! Seed lists without a head, as LinOTP and privacyIDEA read them: `serial, key, type, digits, period or counter`. With
//! `# version: 2` in the first line, the user, a resolver and a realm come before.

use data_encoding::HEXLOWER_PERMISSIVE;
use mfad_core::model::Sensitive;

use crate::draft::{Defaults, Draft, word};
use crate::entry::Refusal;
use crate::json::digits;
use crate::{Fault, Format};

const FORMAT: Format = Format::OathCsv;
const DEFAULTS: Defaults = Defaults { program: "LinOTP", kind: Some("hotp"), counter: Some(0) };
/// The kinds of tokens of these lists.
const KINDS: [&str; 5] = ["hotp", "hmac", "totp", "ocra", "tan"];
/// Columns of a user.
const USER_COLUMNS: usize = 3;

/// Whether the first line with content has a hexadecimal key and a kind.
pub(crate) fn is(text: &str) -> bool {
    let first = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'));
    let cells: Vec<&str> = first.unwrap_or_default().split(',').map(str::trim).skip(user_columns(text)).collect();
    let is_kind = |kind: &str| KINDS.iter().any(|known| kind.eq_ignore_ascii_case(known));
    match cells.as_slice() {
        [serial, key, kind, ..] => !serial.is_empty() && is_key(key) && is_kind(kind),
        [serial, key] => !serial.is_empty() && is_key(key),
        _ => false,
    }
}

fn is_key(text: &str) -> bool {
    text.len() >= 16 && HEXLOWER_PERMISSIVE.decode(text.as_bytes()).is_ok()
}

fn user_columns(text: &str) -> usize {
    let head = text.lines().next().and_then(|line| line.trim().strip_prefix('#')).map(str::trim);
    let version = head.and_then(|head| head.strip_prefix("version:")).map(str::trim);
    if version == Some("2") { USER_COLUMNS } else { 0 }
}

/// Reads a list in which `before` lines come before these. Its writers quote no value.
pub(crate) fn read(bytes: &[u8], before: usize) -> Result<Vec<Draft>, Fault> {
    let text = std::str::from_utf8(bytes).map_err(|_| Fault::Damaged(FORMAT, "it is not UTF-8".to_owned()))?;
    let users = user_columns(text);
    let lines = (before.saturating_add(1)..).zip(text.lines()).map(|(number, line)| (number, line.trim()));
    let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    Ok(lines.map(|(number, line)| draft(format!("line {number}"), users, line)).collect())
}

fn draft(place: String, users: usize, line: &str) -> Draft {
    let mut draft = Draft::at(place);
    let cells: Vec<&str> = line.split(',').map(str::trim).collect();
    let cell = |index: usize| cells.get(users.saturating_add(index)).copied().filter(|cell| !cell.is_empty());
    let user = cells.first().copied().filter(|user| users > 0 && !user.is_empty());
    draft.name(None, user.or(cell(0)).map(str::to_owned));
    draft.known.kind = cell(2).map(|kind| match kind.to_ascii_lowercase().as_str() {
        "hmac" => "hotp".to_owned(),
        kind => kind.to_owned(),
    });
    let is_timed = draft.known.kind.as_deref() == Some("totp");
    if draft.known.kind.as_deref().is_none_or(|kind| matches!(kind, "hotp" | "totp")) {
        draft.known.digits = numeral(&mut draft, cell(3), "digits");
        let last = numeral(&mut draft, cell(4), if is_timed { "period" } else { "counter" });
        if is_timed { draft.known.period = last } else { draft.known.counter = last }
    }
    let seed = cell(1).map(|key| HEXLOWER_PERMISSIVE.decode(key.as_bytes()));
    match seed {
        // The two programs differ here, and the codes with them.
        Some(Ok(seed)) if matches!(seed.len(), 32 | 64) => draft.refuse(Refusal::Damaged(
            "LinOTP takes a key of this length for SHA256 or SHA512, privacyIDEA for SHA1; give the list a head such as \
             `serial,secret,type,digits,period,algorithm`, with the secret in Base32"
                .to_owned(),
        )),
        Some(Ok(seed)) => draft.seed = Some(Sensitive::new(seed)),
        Some(Err(_)) => draft.refuse(Refusal::Secret("hexadecimal")),
        None => draft.refuse(Refusal::NoSecret),
    }
    draft.fill(&DEFAULTS);
    draft
}

fn numeral(draft: &mut Draft, text: Option<&str>, name: &str) -> Option<u64> {
    let number =
        text.map(|text| digits(text).ok_or_else(|| Refusal::Damaged(format!("its {} is no number", word(name)))));
    number.transpose().unwrap_or_else(|refusal| {
        draft.refuse(refusal);
        None
    })
}
