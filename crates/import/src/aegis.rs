//! Aegis: its JSON, plain or encrypted with a password (`docs/vault.md` of that project).

use data_encoding::{BASE64, HEXLOWER_PERMISSIVE};
use mfad_core::model::Sensitive;
use serde_json::Value;

use crate::cipher::{self, KeyBytes};
use crate::draft::{Defaults, Draft};
use crate::entry::Refusal;
use crate::json::{array, number, parse, text, whole};
use crate::{Fault, Format, Secrets};

const FORMAT: Format = Format::Aegis;
const DEFAULTS: Defaults = Defaults { program: "Aegis", kind: None, counter: Some(0) };
/// The type of a slot whose key comes from a password.
const PASSWORD_SLOT: u64 = 1;
/// The most passwords of a file that are tried.
const MOST_SLOTS: usize = 8;

pub(crate) fn is(value: &Value) -> bool {
    value.get("header").is_some() && value.get("db").is_some()
}

pub(crate) fn read(bytes: &[u8], json: Option<Value>, secrets: &Secrets<'_>) -> Result<Vec<Draft>, Fault> {
    let file = whole(json, bytes, FORMAT)?;
    let damaged = |what: &str| Fault::Damaged(FORMAT, what.to_owned());
    let db = file.get("db").ok_or_else(|| damaged("it has no `db`"))?;
    let opened;
    let db = match db.as_str() {
        None => db,
        Some(sealed) => {
            let password = secrets.password.ok_or(Fault::NeedsPassword(FORMAT))?;
            let header = file.get("header").ok_or_else(|| damaged("it has no `header`"))?;
            let plain = decrypt(header, sealed, password).ok_or(Fault::WrongPassword(FORMAT))?;
            opened = parse(plain.expose(), FORMAT)?;
            &opened
        }
    };
    Ok((1_usize..).zip(array(db, "entries", FORMAT)?).map(|(number, entry)| draft(number, entry)).collect())
}

fn decrypt(header: &Value, sealed: &str, password: &[u8]) -> Option<Sensitive<Vec<u8>>> {
    let sealed = BASE64.decode(sealed.as_bytes()).ok()?;
    let slots = header.get("slots")?.as_array()?;
    let slots = slots.iter().filter(|slot| number(slot, "type") == Some(PASSWORD_SLOT));
    let key = slots.take(MOST_SLOTS).find_map(|slot| key_of(slot, password))?;
    with_tag(&key, header.get("params")?, sealed)
}

/// The master key in a slot, if the password opens it.
fn key_of(slot: &Value, password: &[u8]) -> Option<KeyBytes> {
    let parameter = |name| number(slot, name);
    let (n, r, p) = (parameter("n")?, u32::try_from(parameter("r")?).ok()?, u32::try_from(parameter("p")?).ok()?);
    let key = cipher::scrypt(password, &hex(slot, "salt")?, n, r, p)?;
    let master = with_tag(&key, slot.get("key_params")?, hex(slot, "key")?)?;
    Some(Sensitive::new(master.expose().as_slice().try_into().ok()?))
}

/// Opens bytes whose nonce and tag stand beside them.
fn with_tag(key: &KeyBytes, parameters: &Value, mut sealed: Vec<u8>) -> Option<Sensitive<Vec<u8>>> {
    sealed.extend(hex(parameters, "tag")?);
    cipher::open(key, &hex(parameters, "nonce")?, &sealed)
}

fn hex(value: &Value, name: &str) -> Option<Vec<u8>> {
    HEXLOWER_PERMISSIVE.decode(text(value, name)?.as_bytes()).ok()
}

fn draft(index: usize, entry: &Value) -> Draft {
    let mut draft = Draft::at(format!("entry {index}"));
    draft.name(text(entry, "issuer"), text(entry, "name"));
    let Some(info) = entry.get("info") else {
        draft.refuse(Refusal::Damaged("it has no `info`".to_owned()));
        return draft;
    };
    draft.parameters(info, "type", "algo");
    // Aegis counts up before it shows a code, so its counter is that of the last one shown. Other programs write the next
    // one into files of this format. Only Aegis gives each entry a UUID.
    if entry.get("uuid").is_some() {
        draft.known.counter = draft.known.counter.map(|counter| counter.saturating_add(1));
    }
    // The kind stands outside.
    draft.known.kind = text(entry, "type").map(|kind| kind.to_ascii_lowercase());
    draft.secret(info, "secret");
    draft.fill(&DEFAULTS);
    draft
}
