//! What an import would do with each entry of the files: the user, the factor, the notes, or the reason of a refusal.

use std::collections::BTreeMap;

use mfad_import::{Entry, Factor, OtpKind, UserName};
use serde_json::{Value, json};

use crate::context::Context;
use crate::failure::Failure;

const HEADS: [&str; 4] = ["USER", "FACTOR", "TAKEN AS", "NOTES"];

/// One entry of a file, with the user who gets it.
pub(super) struct Planned {
    /// The file and the place in it, for messages.
    pub place: String,
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
    pub(super) fn new(file: &str, entry: Entry, mapping: &Mapping) -> Self {
        let user = mapping.user_of(entry.account.as_deref());
        let refusal = match &entry.factor {
            Err(refusal) => Some(refusal.to_string()),
            Ok(factor) if factor.is_weak() => {
                let bits = factor.seed.expose().len().saturating_mul(8);
                Some(format!("its secret has {bits} bits, fewer than 128; the user needs a new one"))
            }
            Ok(_) => match user.as_deref().map(UserName::parse) {
                None => Some("the file names no account; use --user".to_owned()),
                Some(Err(why)) => Some(format!("no user can have this name: {why}; use --map")),
                Some(Ok(_)) => None,
            },
        };
        Self { place: format!("{file}, {}", entry.place), user, entry, refusal }
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
        let mut value = json!({
            "place": self.place, "user": self.user, "issuer": self.entry.issuer, "account": self.entry.account,
            "kind": known.kind, "algorithm": known.algorithm, "digits": known.digits, "notes": self.entry.notes,
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

/// Prints the plan.
pub(super) fn show(context: &Context, formats: &str, plan: &[Planned], notes: &[String]) -> Result<(), Failure> {
    if context.out.is_json() {
        let entries: Vec<Value> = plan
            .iter()
            .map(|planned| {
                let state = if planned.refusal.is_none() { "taken" } else { "refused" };
                planned.document(&json!({"state": state, "reason": planned.refusal}))
            })
            .collect();
        return context.out.document(&json!({"format": formats, "entries": entries, "notes": notes}).to_string());
    }
    let rows = plan.iter().map(|planned| {
        let user = planned.user.clone().unwrap_or_else(|| "-".to_owned());
        [user, planned.label(), planned.taken_as(), planned.entry.notes.join("; ")]
    });
    context.out.table(HEADS, &[], rows.collect())?;
    let refused = plan.iter().filter(|planned| planned.refusal.is_some()).count();
    let taken = plan.len().saturating_sub(refused);
    notes.iter().try_for_each(|note| context.out.note(note))?;
    context.out.note(&format!("{formats}: {taken} would be taken over, {refused} refused; nothing was changed"))
}
