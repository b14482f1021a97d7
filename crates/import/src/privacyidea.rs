//! privacyIDEA: the YAML of its token janitor, and its encrypted export `pi`. Its CSV and its PSKC lack what a code needs.

use std::collections::BTreeSet;

use data_encoding::{BASE32, BASE64URL, HEXLOWER_PERMISSIVE};
use mfad_core::model::Sensitive;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use zeroize::Zeroizing;

use crate::draft::{Draft, word};
use crate::entry::Refusal;
use crate::json::digits;
use crate::{Fault, Format, Secrets, fernet, json, yaml};

const FORMAT: Format = Format::PrivacyIdea;
/// How many lines are looked at for the list. Some versions write a banner before it.
const LINES_LOOKED_AT: usize = 30;
/// Keys of a token, one of which comes first in the list: they are sorted.
const FIRST_KEYS: [&str; 2] = ["- _hashed_pin:", "- active:"];
/// An owner who is not known.
const NOBODY: &str = "n/a";

/// A token, as far as it is read. All values are texts: a reader of YAML takes some of the keys for numbers.
#[derive(Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[derive(Default)]
struct Token {
    #[serde(rename = "_hashed_pin")]
    hashed_pin: Scalar,
    active: Scalar,
    counter: Scalar,
    count: Scalar,
    hashlib: Scalar,
    #[serde(rename = "info_list")]
    info: Info,
    otpkey: Scalar,
    otplen: Scalar,
    owner: Scalar,
    revoked: Scalar,
    #[serde(rename = "rollout_state")]
    rollout_state: Scalar,
    serial: Scalar,
    time_shift: Scalar,
    time_step: Scalar,
    r#type: Scalar,
    user: Option<User>,
}

/// Details of a token. Before version 3.10 they were members of the token itself.
#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Info {
    hashlib: Scalar,
    time_shift: Scalar,
    time_step: Scalar,
}

#[derive(Deserialize)]
struct User {
    login: Scalar,
    realm: Scalar,
}

/// A value as its text; empty if it is missing or `null`.
#[derive(Default)]
struct Scalar(Zeroizing<String>);

impl Scalar {
    fn text(&self) -> &str {
        self.0.trim()
    }

    /// The text, unless it is empty.
    fn some(&self) -> Option<&str> {
        Some(self.text()).filter(|text| !text.is_empty())
    }

    fn is_true(&self) -> bool {
        self.text().eq_ignore_ascii_case("true")
    }
}

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(Zeroizing::new(String::deserialize(deserializer)?)))
    }
}

/// Whether a text is the YAML, perhaps after a banner.
pub(crate) fn is_yaml(text: &str) -> bool {
    list(text).is_some()
}

/// The list without what comes before it.
fn list(text: &str) -> Option<(usize, &str)> {
    let mut start = 0_usize;
    for (number, line) in text.split_inclusive('\n').take(LINES_LOOKED_AT).enumerate() {
        if FIRST_KEYS.iter().any(|key| line.starts_with(key)) {
            return Some((number, text.get(start..)?));
        }
        start = start.saturating_add(line.len());
    }
    None
}

/// Whether a text is the CSV: owner, serial number, key, kind, digits, and sometimes the period.
pub(crate) fn is_csv(text: &str) -> bool {
    let mut lines = text.lines().take(LINES_LOOKED_AT);
    lines.any(|line| {
        let cells: Vec<&str> = line.split(',').map(str::trim).collect();
        matches!(cells.as_slice(), [owner, _, _, "totp" | "hotp", length, ..]
            if (owner.contains('@') || *owner == NOBODY) && digits(length).is_some())
    })
}

pub(crate) fn read(bytes: &[u8], secrets: &Secrets<'_>, notes: &mut Vec<String>) -> Result<Vec<Draft>, Fault> {
    let text = std::str::from_utf8(bytes).map_err(|_| Fault::Damaged(FORMAT, "it is not UTF-8".to_owned()))?;
    let tokens: Vec<Token> = if fernet::is(text) {
        let key = secrets.key.ok_or(Fault::NeedsKey(FORMAT))?;
        let key = BASE64URL.decode(key.trim_ascii()).map(Sensitive::new);
        let opened = key.ok().and_then(|key| fernet::open(&key, text)).ok_or(Fault::WrongPassword(FORMAT))?;
        let value = json::parse(opened.expose(), FORMAT)?;
        serde_json::from_value(texts(value))
            .map_err(|_| Fault::Damaged(FORMAT, "it is no list of tokens".to_owned()))?
    } else if let Some((before, list)) = list(text) {
        if before > 0 {
            notes.push(format!("lines before the list of tokens were left out: {before}"));
        }
        yaml::parse_as(list.as_bytes(), FORMAT)?
    } else {
        let why = "it has no algorithms and no counters; export the tokens as YAML instead";
        return Err(Fault::Unsupported(FORMAT, why));
    };
    let realms: BTreeSet<&str> = tokens.iter().filter_map(|token| owner(token)?.1).collect();
    Ok((1_usize..).zip(&tokens).map(|(number, token)| draft(number, token, realms.len() > 1)).collect())
}

/// JSON with all numbers and truth values as their texts.
fn texts(value: Value) -> Value {
    match value {
        Value::Array(list) => list.into_iter().map(texts).collect(),
        Value::Object(members) => members.into_iter().map(|(name, value)| (name, texts(value))).collect(),
        Value::Null => Value::String(String::new()),
        Value::Bool(_) | Value::Number(_) => Value::String(value.to_string()),
        Value::String(_) => value,
    }
}

/// Login and realm of the owner.
fn owner(token: &Token) -> Option<(&str, Option<&str>)> {
    if let Some(user) = &token.user {
        return Some((user.login.some()?, user.realm.some()));
    }
    let owner = token.owner.some().filter(|owner| *owner != NOBODY)?;
    Some(owner.rsplit_once('@').map_or((owner, None), |(login, realm)| (login, Some(realm))))
}

fn draft(number: usize, token: &Token, has_realms: bool) -> Draft {
    let serial = token.serial.some();
    let mut draft =
        Draft::at(serial.map_or_else(|| format!("token {number}"), |serial| format!("token {}", word(serial))));
    // Logins are unique within a realm only. A token without an owner goes by its serial number.
    let account = match owner(token) {
        Some((login, Some(realm))) if has_realms => Some(format!("{login}@{realm}")),
        Some((login, _)) => Some(login.to_owned()),
        None => serial.map(str::to_owned),
    };
    draft.name(None, account);
    draft.known.kind = token.r#type.some().map(str::to_ascii_lowercase);
    let kind = draft.known.kind.as_deref();
    if !matches!(kind, Some("totp" | "hotp")) {
        let kind = word(kind.unwrap_or_default());
        draft.refuse(Refusal::Kind(kind));
        return draft;
    }
    let is_timed = kind == Some("totp");
    if !token.active.is_true() || token.revoked.is_true() {
        draft.refuse(Refusal::Damaged("it is disabled or revoked there".to_owned()));
    }
    // Other states mean that the authenticator has another key than the file, or none.
    if !matches!(token.rollout_state.text(), "" | "enrolled") {
        draft.refuse(Refusal::Damaged("its enrolment was not completed there".to_owned()));
    }
    let first = |one: &Scalar, other: &Scalar| one.some().or(other.some()).map(str::to_owned);
    draft.known.algorithm = first(&token.info.hashlib, &token.hashlib);
    if draft.known.algorithm.is_none() {
        draft.known.algorithm = Some("SHA1".to_owned());
        draft.note("not in the file, so as privacyIDEA takes it: SHA1");
    }
    draft.known.digits = digits(token.otplen.text());
    let counter = digits(token.counter.some().or(token.count.some()).unwrap_or_default());
    if draft.known.digits.is_none() || counter.is_none() {
        draft.refuse(Refusal::Damaged("its `otplen` or `counter` is no number".to_owned()));
    }
    if is_timed {
        draft.known.period = digits(first(&token.info.time_step, &token.time_step).as_deref().unwrap_or("30"));
        if draft.known.period.is_none() {
            draft.refuse(Refusal::Damaged("its `timeStep` is no number".to_owned()));
        }
        // The last used step; 0 before the first use.
        draft.used_step = counter.filter(|step| *step > 0);
        let shift = first(&token.info.time_shift, &token.time_shift);
        draft.skew = shift.and_then(|shift| steps_off(&shift, draft.known.period?)).unwrap_or(0);
    } else {
        draft.known.counter = counter;
    }
    if token.hashed_pin.some().is_some() {
        draft.note("its PIN is left behind: the code is given alone here");
    }
    let key = token.otpkey.text();
    let seed = HEXLOWER_PERMISSIVE.decode(key.as_bytes()).or_else(|_| BASE32.decode(key.as_bytes()));
    match seed {
        Ok(seed) if seed.is_empty() => draft.refuse(Refusal::NoSecret),
        Ok(seed) => draft.seed = Some(Sensitive::new(seed)),
        Err(_) => draft.refuse(Refusal::Secret("hexadecimal or Base32")),
    }
    draft
}

/// How many steps a clock was off at the last use. The file has the seconds from then to the start of the used step, so
/// that from minus one period to 0 it was right.
fn steps_off(shift: &str, period: u64) -> Option<i64> {
    let whole = shift.split_once('.').map_or(shift, |(whole, _)| whole);
    let (seconds, period): (i64, i64) = (whole.parse().ok()?, i64::try_from(period).ok()?);
    let up = |seconds: i64| seconds.saturating_add(period.saturating_sub(1)).checked_div(period);
    if seconds > 0 {
        up(seconds)
    } else {
        Some(up(seconds.saturating_neg())?.saturating_sub(1).max(0).saturating_neg())
    }
}
