//! Tables with a head: the CSV of KeePassXC and Bitwarden, and OATH seed lists as token makers send them.

use csv::StringRecord;

use crate::bitwarden::value_of;
use crate::draft::{Defaults, Draft};
use crate::entry::Refusal;
use crate::json::digits;
use crate::{Fault, Format};

const DEFAULTS: Defaults = Defaults { program: "a seed list", kind: Some("totp"), counter: None };

/// The format of a table by its head.
pub(crate) fn recognise(text: &str) -> Option<Format> {
    let head = text.lines().next()?.to_ascii_lowercase();
    let names: Vec<&str> = head.split(',').map(|name| name.trim().trim_matches('"')).collect();
    let has = |name| names.contains(&name);
    match () {
        () if has("totp") && has("title") && has("username") => Some(Format::KeePassXcCsv),
        () if has("login_totp") && has("login_username") => Some(Format::BitwardenCsv),
        () if SECRET.iter().any(|name| has(name)) && names.len() > 1 => Some(Format::OathCsv),
        () => None,
    }
}

const SECRET: [&str; 5] = ["secret key", "secret", "secretkey", "seed", "secret_key"];
const USER: [&str; 6] = ["upn", "user", "username", "account", "name", "user name"];
const PERIOD: [&str; 5] = ["time interval", "timeinterval", "period", "interval", "time step"];

/// A record with the names of its columns.
struct Row<'a> {
    names: &'a [String],
    record: &'a StringRecord,
}

impl Row<'_> {
    /// The first of these columns that has a value.
    fn any(&self, wanted: &[&str]) -> Option<String> {
        let value_of = |wanted: &&str| {
            let mut values = self.names.iter().zip(self.record.iter());
            values.find(|(name, value)| name == wanted && !value.trim().is_empty())
        };
        wanted.iter().find_map(value_of).map(|(_, value)| value.trim().to_owned())
    }
}

/// Reads a table. `before` lines between its head and its first row are missing here.
pub(crate) fn read(bytes: &[u8], format: Format, before: u64, notes: &mut Vec<String>) -> Result<Vec<Draft>, Fault> {
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(bytes);
    let damaged = |error: &csv::Error| {
        let line = error.position().map_or(0, csv::Position::line).saturating_add(before);
        Fault::Damaged(format, format!("the table cannot be read at line {line}"))
    };
    let heads = reader.headers().map_err(|error| damaged(&error))?;
    let names: Vec<String> = heads.iter().map(|name| name.trim().to_ascii_lowercase()).collect();
    let (mut drafts, mut without) = (Vec::new(), 0_usize);
    for record in reader.records() {
        let record = record.map_err(|error| damaged(&error))?;
        let line = record.position().map_or(0, csv::Position::line).saturating_add(before);
        let place = format!("line {line}");
        let row = Row { names: &names, record: &record };
        let draft = match format {
            Format::KeePassXcCsv => {
                row.any(&["totp"]).map(|value| {
                    let mut draft = value_of(place, &value, None, None);
                    // Where these are empty, its URI has words in their place.
                    draft.name(row.any(&["title"]), row.any(&["username"]));
                    draft
                })
            }
            Format::BitwardenCsv => row
                .any(&["login_totp"])
                .map(|value| value_of(place, &value, row.any(&["name"]), row.any(&["login_username"]))),
            _ => Some(seed(place, &row)),
        };
        match draft {
            Some(draft) => drafts.push(draft),
            None => without = without.saturating_add(1),
        }
    }
    if format == Format::KeePassXcCsv && !drafts.is_empty() {
        notes.push("KeePassXC writes HOTP as TOTP here; if there was HOTP, export as XML".to_owned());
    }
    if without > 0 {
        notes.push(format!("entries without a one-time password were left out: {without}"));
    }
    Ok(drafts)
}

/// A row of a seed list.
fn seed(place: String, row: &Row<'_>) -> Draft {
    let mut draft = Draft::at(place);
    draft.name(row.any(&["issuer", "manufacturer"]), row.any(&USER));
    draft.known.kind = row.any(&["type", "kind", "token type"]).map(|kind| kind.to_ascii_lowercase());
    draft.known.algorithm = row.any(&["algorithm", "hash", "hash function"]);
    for (wanted, name, columns) in [
        (&mut draft.known.digits, "digits", &["digits", "otp length", "otplen"][..]),
        (&mut draft.known.period, "period", &PERIOD),
        (&mut draft.known.counter, "counter", &["counter"]),
    ] {
        if let Some(text) = row.any(columns) {
            match digits(&text) {
                Some(number) => *wanted = Some(number),
                None => {
                    draft.refusal.get_or_insert(Refusal::Damaged(format!("its {name} is no number")));
                }
            }
        }
    }
    match row.any(&SECRET) {
        Some(secret) => draft.base32(&secret),
        None => draft.refuse(Refusal::NoSecret),
    }
    draft.fill(&DEFAULTS);
    draft
}
