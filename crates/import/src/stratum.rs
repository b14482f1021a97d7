//! Stratum, formerly Authenticator Pro: its JSON, plain or encrypted with a password.

use mfad_core::model::Sensitive;
use serde_json::Value;

use crate::cipher;
use crate::draft::{Defaults, Draft};
use crate::entry::Refusal;
use crate::json::{array, number, text, whole};
use crate::{Fault, Format, Secrets};

const FORMAT: Format = Format::Stratum;
const DEFAULTS: Defaults = Defaults { program: "Stratum", kind: None, counter: Some(0) };
/// How an encrypted file begins. It goes on with salt and nonce.
const MAGIC: &[u8] = b"AUTHENTICATORPRO";
/// The same before version 1.21, in another cipher.
const OLD_MAGIC: &[u8] = b"AuthenticatorPro";
const OLD_SALT: usize = 20;
const OLD_ROUNDS: u32 = 64_000;
const AES_BLOCK: usize = 16;
const SALT: usize = 16;
const NONCE: usize = 12;
/// Argon2id: KiB of memory, rounds, lanes.
const ARGON2: (u32, u32, u32) = (65_536, 3, 4);

pub(crate) fn is(value: &Value) -> bool {
    value.get("Authenticators").is_some_and(Value::is_array)
}

pub(crate) fn is_encrypted(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC) || bytes.starts_with(OLD_MAGIC)
}

pub(crate) fn read(bytes: &[u8], json: Option<Value>, secrets: &Secrets<'_>) -> Result<Vec<Draft>, Fault> {
    let ciphers: [(&[u8], Cipher); 2] = [(MAGIC, decrypt), (OLD_MAGIC, decrypt_old)];
    let encrypted = ciphers.into_iter().find_map(|(magic, cipher)| Some((bytes.strip_prefix(magic)?, cipher)));
    let opened;
    let bytes = match encrypted {
        None => bytes,
        Some((rest, cipher)) => {
            let password = secrets.password.ok_or(Fault::NeedsPassword(FORMAT))?;
            opened = cipher(rest, password).ok_or(Fault::WrongPassword(FORMAT))?;
            opened.expose()
        }
    };
    let file = whole(json, bytes, FORMAT)?;
    Ok((1_usize..).zip(array(&file, "Authenticators", FORMAT)?).map(|(number, entry)| draft(number, entry)).collect())
}

/// Opens what follows the magic with a password.
type Cipher = fn(&[u8], &[u8]) -> Option<Sensitive<Vec<u8>>>;

fn decrypt(bytes: &[u8], password: &[u8]) -> Option<Sensitive<Vec<u8>>> {
    let (salt, rest) = bytes.split_at_checked(SALT)?;
    let (nonce, sealed) = rest.split_at_checked(NONCE)?;
    let (kib, rounds, lanes) = ARGON2;
    cipher::open(&cipher::argon2id(password, salt, kib, rounds, lanes)?, nonce, sealed)
}

/// AES-256-CBC without a MAC: a wrong password shows by the padding, or else because no JSON comes out.
fn decrypt_old(bytes: &[u8], password: &[u8]) -> Option<Sensitive<Vec<u8>>> {
    let (salt, rest) = bytes.split_at_checked(OLD_SALT)?;
    let (iv, sealed) = rest.split_at_checked(AES_BLOCK)?;
    let opened = cipher::open_cbc(&cipher::pbkdf2_key(cipher::Hash::Sha1, password, salt, OLD_ROUNDS)?, iv, sealed)?;
    opened.expose().starts_with(b"{\"").then_some(opened)
}

fn draft(index: usize, entry: &Value) -> Draft {
    let mut draft = Draft::at(format!("entry {index}"));
    draft.name(text(entry, "Issuer"), text(entry, "Username"));
    draft.known.kind = number(entry, "Type").map(|kind| {
        match kind {
            1 => "hotp",
            2 => "totp",
            3 => "mOTP",
            4 => "Steam",
            5 => "Yandex",
            _ => "a kind",
        }
        .to_owned()
    });
    draft.known.algorithm = number(entry, "Algorithm").map(|algorithm| {
        match algorithm {
            0 => "SHA1",
            1 => "SHA256",
            2 => "SHA512",
            _ => "unknown",
        }
        .to_owned()
    });
    draft.known.digits = number(entry, "Digits");
    draft.known.period = number(entry, "Period");
    draft.known.counter = number(entry, "Counter");
    if text(entry, "Pin").is_some_and(|pin| !pin.is_empty()) {
        draft.refuse(Refusal::Pin);
    }
    draft.secret(entry, "Secret");
    draft.fill(&DEFAULTS);
    draft
}
