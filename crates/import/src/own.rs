//! The export of another mfad: a line of JSON for each user, between a first and a last line about the whole.

use serde_json::Value;
use zeroize::Zeroizing;

use crate::draft::{Defaults, Draft};
use crate::json::{number, text};
use crate::{Account, Fault, Format};

const FORMAT: Format = Format::Mfad;
/// The version that is read.
const VERSION: u64 = 1;
const HEAD: &str = "mfadExport";
const END: &str = "mfadExportEnd";
/// An export leaves out nothing that has a value.
const DEFAULTS: Defaults = Defaults { program: "mfad", kind: None, counter: None };

const ROLES: &str = "roles of the user: ";

/// Whether the first line is that of an export.
pub(crate) fn is(text: &str) -> bool {
    text.trim_start().starts_with(&format!("{{\"{HEAD}\""))
}

/// What a part of an export holds.
#[derive(Default)]
pub(crate) struct Part {
    pub(crate) drafts: Vec<Draft>,
    pub(crate) accounts: Vec<Account>,
    /// What users without factors have.
    pub(crate) notes: Vec<String>,
    /// Whether the last line was among them.
    pub(crate) is_complete: bool,
}

/// Reads lines, of which `before` come before them in the file.
pub(crate) fn read(bytes: &[u8], before: usize) -> Result<Part, Fault> {
    let lines = std::str::from_utf8(bytes).map_err(|_| Fault::Damaged(FORMAT, "it is not UTF-8".to_owned()))?;
    let mut part = Part::default();
    for (number_of_line, line) in (before.saturating_add(1)..).zip(lines.lines()) {
        if line.trim().is_empty() {
            continue;
        }
        let damaged = |what: &str| Fault::Damaged(FORMAT, format!("{what} at line {number_of_line}"));
        if part.is_complete {
            return Err(damaged("there is more behind its end,"));
        }
        let value: Value = serde_json::from_str(line).map_err(|_| damaged("no JSON"))?;
        if let Some(version) = value.get(HEAD) {
            if version.as_u64() != Some(VERSION) {
                return Err(Fault::Unsupported(FORMAT, "it is of a newer version; import it with a newer mfactl"));
            }
        } else if value.get(END).is_some() {
            part.is_complete = true;
        } else {
            let name = text(&value, "name").ok_or_else(|| damaged("a user without a name"))?;
            let factors = value.get("factors").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
            let mut said = about(&value);
            for (index, factor) in (1_usize..).zip(factors) {
                let mut draft = draft(format!("line {number_of_line}, factor {index}"), &name, factor);
                draft.notes.append(&mut said);
                part.drafts.push(draft);
            }
            // Without a factor, there is no entry to say it. Most users have a password, so that is left out.
            let roles = said.into_iter().filter(|note| note.starts_with(ROLES));
            part.notes.extend(roles.map(|note| format!("line {number_of_line}, {name}: {note}")));
            part.accounts.push(Account { name, json: Zeroizing::new(line.to_owned()), entries: factors.len() });
        }
    }
    Ok(part)
}

/// What a new user has besides factors.
fn about(user: &Value) -> Vec<String> {
    let roles = user.get("roles").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let roles: Vec<&str> = roles.iter().filter_map(Value::as_str).collect();
    let mut about = Vec::new();
    if !roles.is_empty() {
        about.push(format!("{ROLES}{}", roles.join(" ")));
    }
    for (member, what) in [("disabled", "the user is disabled"), ("password", "with a password")] {
        if user.get(member).is_some_and(|value| *value != Value::Bool(false)) {
            about.push(what.to_owned());
        }
    }
    about
}

fn draft(place: String, name: &str, factor: &Value) -> Draft {
    let mut draft = Draft::at(place);
    draft.name(None, Some(name.to_owned()));
    draft.parameters(factor, "kind", "algorithm");
    draft.secret(factor, "secret");
    draft.used_step = number(factor, "usedStep");
    // What is out of range is refused by the daemon.
    let ahead = number(factor, "counterAheadBy").unwrap_or(0);
    draft.counter_ahead_by = u8::try_from(ahead).unwrap_or(u8::MAX);
    draft.fill(&DEFAULTS);
    draft
}
