//! The XML of KeePassXC and KeePass 2: the one-time password of each entry, as the several plug-ins and versions keep it.

use crate::bitwarden::value_of;
use crate::draft::{Defaults, Draft};
use crate::entry::Refusal;
use crate::json::digits;
use crate::xml::{self, Element};
use crate::{Fault, Format};

const FORMAT: Format = Format::KeePassXcXml;
const DEFAULTS: Defaults = Defaults { program: "KeePassXC", kind: Some("totp"), counter: None };

pub(crate) fn read(bytes: &[u8], notes: &mut Vec<String>) -> Result<Vec<Draft>, Fault> {
    let file = xml::parse(bytes, FORMAT)?;
    let bin = file.text(&["Meta", "RecycleBinUUID"]).map(str::to_owned);
    let mut found = Found { bin, entries: 0, removed: 0, drafts: Vec::new() };
    for child in &file.children {
        found.look(child, false);
    }
    let others = found.entries.saturating_sub(found.drafts.len()).saturating_sub(found.removed);
    if others > 0 {
        notes.push(format!("entries without a one-time password were left out: {others}"));
    }
    if found.removed > 0 {
        notes.push(format!("entries in the recycle bin were left out: {}", found.removed));
    }
    Ok(found.drafts)
}

/// What was found in the groups so far.
struct Found {
    /// The group of removed entries.
    bin: Option<String>,
    entries: usize,
    removed: usize,
    drafts: Vec<Draft>,
}

impl Found {
    fn look(&mut self, element: &Element, is_removed: bool) {
        if element.name == "Entry" {
            self.entries = self.entries.saturating_add(1);
            if is_removed {
                self.removed = self.removed.saturating_add(1);
            } else if let Some(draft) = draft(self.entries, element) {
                self.drafts.push(draft);
            }
            // Below an entry there are only its former versions.
            return;
        }
        let is_bin = self.bin.is_some() && element.text(&["UUID"]) == self.bin.as_deref();
        for child in &element.children {
            self.look(child, is_removed || is_bin);
        }
    }
}

/// The one-time password of an entry, if it has one.
fn draft(number: usize, entry: &Element) -> Option<Draft> {
    let place = format!("entry {number}");
    let value = |name: &str| {
        let strings = entry.children.iter().filter(|child| child.name == "String");
        let found = strings.filter(|string| string.text(&["Key"]) == Some(name)).find_map(|it| it.text(&["Value"]));
        found.map(str::to_owned)
    };
    let (title, user) = (value("Title"), value("UserName"));
    if let Some(otp) = value("otp") {
        if !otp.starts_with("key=") {
            let mut draft = value_of(place, &otp, None, None);
            // These are what KeePassXC shows, and writes into its CSV. The URI may have older names.
            draft.name(title, user);
            return Some(draft);
        }
        let mut draft = Draft::at(place);
        draft.name(title, user);
        kee_otp(&mut draft, &otp);
        draft.fill(&DEFAULTS);
        return Some(draft);
    }
    let mut draft = Draft::at(place);
    draft.name(title, user);
    if let Some(seed) = value("TOTP Seed") {
        draft.base32(&seed);
        // The period and the number of digits, or an S for Steam.
        let settings = value("TOTP Settings").unwrap_or_default();
        let (period, length) = settings.split_once(';').unwrap_or((&settings, ""));
        draft.known.period = digits(period);
        draft.known.digits = digits(length);
        if length == "S" {
            draft.known.kind = Some("Steam".to_owned());
            draft.refuse(Refusal::Kind("Steam".to_owned()));
        }
    } else if let Some(seed) = value("TimeOtp-Secret-Base32") {
        draft.base32(&seed);
        draft.known.period = value("TimeOtp-Period").as_deref().and_then(digits);
        draft.known.digits = value("TimeOtp-Length").as_deref().and_then(digits);
        draft.known.algorithm = value("TimeOtp-Algorithm");
    } else {
        let forms = [
            "TimeOtp-Secret",
            "TimeOtp-Secret-Hex",
            "TimeOtp-Secret-Base64",
            "HmacOtp-Secret",
            "HmacOtp-Secret-Base32",
        ];
        let form = forms.into_iter().find(|form| value(form).is_some())?;
        draft.refuse(Refusal::Damaged(format!("its secret is kept as {form}, which is not read")));
    }
    draft.fill(&DEFAULTS);
    Some(draft)
}

/// The form of the plug-in KeeOtp: `key=…&step=60&size=8`.
fn kee_otp(draft: &mut Draft, text: &str) {
    for (name, value) in text.split('&').filter_map(|pair| pair.split_once('=')) {
        match name.to_ascii_lowercase().as_str() {
            "key" => draft.base32(&percent_encoding::percent_decode_str(value).decode_utf8_lossy()),
            "step" => draft.known.period = digits(value),
            "size" => draft.known.digits = digits(value),
            "type" => draft.known.kind = Some(value.to_ascii_lowercase()),
            "counter" => draft.known.counter = digits(value),
            "otphashmode" => draft.known.algorithm = Some(value.to_owned()),
            name => draft.refuse(Refusal::Parameter(crate::draft::word(name))),
        }
    }
}
