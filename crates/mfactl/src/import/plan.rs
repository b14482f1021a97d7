//! What an import would do with each entry of the files: the user, the factor, the notes, or the reason of a refusal.

use std::collections::BTreeMap;

use mfad_import::{Entry, Factor, OtpKind, UserName};
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::output::{Output, visible_json};

const HEADS: [&str; 4] = ["USER", "FACTOR", "RESULT", "NOTES"];

/// One entry of a file, with the user who gets it.
pub(super) struct Planned {
    /// The name of the file, for messages.
    pub file: String,
    /// The user; `None` if neither the file nor a flag names one.
    pub user: Option<String>,
    pub entry: Entry,
    /// Why it is not taken over, if it is not.
    pub refusal: Option<String>,
}

/// Which user gets the factors of an account.
pub(super) enum Mapping {
    /// This one, of every account.
    One(String),
    /// The one beside the account, or else the one of the same name.
    Table(BTreeMap<String, String>),
}

impl Mapping {
    fn user_of(&self, account: Option<&str>) -> Option<String> {
        match self {
            Self::One(user) => Some(user.clone()),
            Self::Table(table) => account.map(|name| table.get(name).cloned().unwrap_or_else(|| name.to_owned())),
        }
    }
}

impl Planned {
    pub(super) fn new(file: &str, mut entry: Entry, mapping: &Mapping, accepts_weak: bool) -> Self {
        let user = mapping.user_of(entry.account.as_deref());
        let bits = entry.factor.as_ref().ok().filter(|factor| factor.is_weak());
        let bits = bits.map(|factor| factor.seed.expose().len().saturating_mul(8));
        let refusal = match (&entry.factor, bits) {
            (Err(refusal), _) => Some(refusal.to_string()),
            (Ok(_), Some(bits)) if !accepts_weak => Some(format!(
                "its secret has {bits} bits, fewer than 128; the user needs a new one, or use --accept-weak"
            )),
            (Ok(_), _) => match user.as_deref().map(UserName::parse) {
                None => Some("the file names no account; use --user".to_owned()),
                Some(Err(why)) => Some(format!("no user can have this name: {why}; use --map")),
                Some(Ok(_)) => None,
            },
        };
        if let Some(bits) = bits.filter(|_| accepts_weak) {
            entry.notes.push(format!("weak: its secret has {bits} bits; the user is asked for a new one"));
        }
        Self { file: file.to_owned(), user, entry, refusal }
    }

    /// The file and the place in it, for messages.
    pub(super) fn place(&self) -> String {
        format!("{}, {}", self.file, self.entry.place)
    }

    /// The factor, if it is to be taken over.
    pub(super) fn factor(&self) -> Option<&Factor> {
        if self.refusal.is_some() { None } else { self.entry.factor.as_ref().ok() }
    }

    fn label(&self) -> String {
        let parts = [self.entry.issuer.as_deref(), self.entry.account.as_deref()];
        let parts: Vec<&str> = parts.into_iter().flatten().collect();
        if parts.is_empty() { self.entry.place.clone() } else { parts.join(":") }
    }

    /// The factor in words, or the refusal.
    fn taken_as(&self) -> String {
        let refused = || format!("refused: {}", self.refusal.as_deref().unwrap_or_default());
        self.factor().map_or_else(refused, described)
    }

    /// The entry as JSON for a report, with these members more: its state and the reason.
    pub(super) fn document(&self, more: &Value) -> Value {
        let known = &self.entry.known;
        // What is taken over is named as everywhere else, what is refused as in the file.
        let profile = self.factor().map(|factor| factor.profile);
        let algorithm = profile.map(|profile| profile.algorithm.name().to_owned()).or_else(|| known.algorithm.clone());
        let mut value = json!({
            "place": self.place(), "user": self.user, "issuer": self.entry.issuer, "account": self.entry.account,
            "kind": known.kind, "algorithm": algorithm, "digits": known.digits, "notes": self.entry.notes,
        });
        let (name, number) =
            if known.kind.as_deref() == Some("hotp") { ("counter", known.counter) } else { ("period", known.period) };
        if let (Some(value), Some(more)) = (value.as_object_mut(), more.as_object()) {
            value.insert(name.to_owned(), number.into());
            value.extend(more.clone());
        }
        value
    }
}

fn described(factor: &Factor) -> String {
    let profile = factor.profile;
    let (algorithm, digits) = (profile.algorithm.name(), profile.digits.count());
    match profile.moving {
        OtpKind::Totp(period) => {
            let used = factor.used_step.map_or_else(String::new, |step| format!(", used up to step {step}"));
            format!("TOTP {algorithm}, {digits} digits, {} s{used}", period.seconds())
        }
        OtpKind::Hotp => format!("HOTP {algorithm}, {digits} digits, next counter {}", factor.counter),
    }
}

/// Prints one entry of a JSON document that is written piece by piece.
pub(super) fn json_entry(out: Output, is_first: bool, entry: &Value) -> Result<(), Failure> {
    let begin = if is_first { "{\"entries\": [" } else { "," };
    out.line(&format!("{begin}{}", visible_json(&entry.to_string())))
}

/// Prints the end of that document.
pub(super) fn end_of_json(out: Output, is_empty: bool, formats: &str, notes: &[String]) -> Result<(), Failure> {
    let begin = if is_empty { "{\"entries\": [" } else { "" };
    let rest = format!("], \"format\": {}, \"notes\": {}}}", json!(formats), json!(notes));
    out.line(&format!("{begin}{}", visible_json(&rest)))
}

/// Widths of the columns if the plan is too long to be seen as a whole first.
const WIDTHS: [usize; 4] = [20, 30, 40, 20];

/// Prints a plan. A short one is a table that fits its content.
pub(super) struct Preview {
    out: Output,
    is_long: bool,
    rows: Vec<[String; 4]>,
    taken: usize,
    refused: usize,
}

impl Preview {
    pub(super) fn new(out: Output, is_long: bool) -> Result<Self, Failure> {
        if is_long && !out.is_json() {
            out.heads(HEADS, &[], &WIDTHS)?;
        }
        Ok(Self { out, is_long, rows: Vec::new(), taken: 0, refused: 0 })
    }

    pub(super) fn add(&mut self, plan: Vec<Planned>) -> Result<(), Failure> {
        for planned in plan {
            let is_first = self.taken.saturating_add(self.refused) == 0;
            let count = if planned.refusal.is_none() { &mut self.taken } else { &mut self.refused };
            *count = count.saturating_add(1);
            if self.out.is_json() {
                let state = if planned.refusal.is_none() { "taken" } else { "refused" };
                let document = planned.document(&json!({"state": state, "reason": planned.refusal}));
                json_entry(self.out, is_first, &document)?;
                continue;
            }
            let user = planned.user.clone().unwrap_or_else(|| "-".to_owned());
            // Several entries may have the same name, so one that is refused is told by its place.
            let is_refused = planned.refusal.is_some();
            let notes = if is_refused { planned.entry.place.clone() } else { planned.entry.notes.join("; ") };
            let row = [user, planned.label(), planned.taken_as(), notes];
            if self.is_long {
                self.out.row(HEADS, &[], &WIDTHS, row)?;
            } else {
                self.rows.push(row);
            }
        }
        Ok(())
    }

    pub(super) fn end(self, formats: &str, notes: &[String]) -> Result<(), Failure> {
        let Self { out, is_long, rows, taken, refused } = self;
        if out.is_json() {
            return end_of_json(out, taken.saturating_add(refused) == 0, formats, notes);
        }
        if !is_long {
            out.table(HEADS, &[], rows)?;
        }
        notes.iter().try_for_each(|note| out.note(note))?;
        out.note(&format!("{formats}: {taken} would be taken over, {refused} refused; nothing was changed"))
    }
}
