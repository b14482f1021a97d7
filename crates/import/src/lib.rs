//! Reads the factors that other programs export, and says of each what it is, or why it cannot be kept. Nothing is
//! guessed: a value that the file leaves out takes the default of the program that wrote it, and a note says so.
//!
//! This crate opens no file, asks nobody and knows no daemon. Text in errors and notes never comes from a secret.

#![cfg_attr(test, allow(clippy::arithmetic_side_effects, reason = "a test that overflows fails, as it should"))]

mod aegis;
mod andotp;
mod authelia;
mod bitwarden;
mod cipher;
mod draft;
mod entry;
mod fernet;
mod format;
mod freeotp;
mod google_authenticator;
mod json;
mod kanidm;
mod keepassxc_xml;
mod keycloak;
mod kratos;
mod migration;
mod otpauth;
mod own;
mod pam_oath;
mod parts;
mod privacyidea;
mod pskc;
mod qr;
mod seed_list;
mod stratum;
mod table;
mod twofas;
mod xml;
mod yaml;
mod yubico;

pub use entry::{Entry, Factor, Known, Refusal};
pub use format::Format;
use zeroize::Zeroizing;

pub use mfad_core::model::{OtpKind, Profile, UserName};
pub use parts::Parts;

/// What opens an encrypted file.
#[derive(Clone, Copy, Default)]
pub struct Secrets<'a> {
    /// The password.
    pub password: Option<&'a [u8]>,
    /// The key, for files that are encrypted under a key that both sides know.
    pub key: Option<&'a [u8]>,
}

/// The entries of a file.
pub struct Document {
    /// The format that the file was taken for.
    pub format: Format,
    /// The entries, in the order of the file.
    pub entries: Vec<Entry>,
    /// What holds for the file as a whole.
    pub notes: Vec<String>,
    /// The users of an export of mfad, in the order of their entries. Empty for other formats.
    pub accounts: Vec<Account>,
    /// Whether the end of the file was reached. Only an export of mfad that is read in parts says `false`.
    pub is_complete: bool,
}

/// A user of an export of mfad.
pub struct Account {
    /// The name.
    pub name: String,
    /// The user as JSON, with all secrets.
    pub json: Zeroizing<String>,
    /// How many of the entries belong to this user.
    pub entries: usize,
}

/// Why a file cannot be read at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is in none of the formats.
    Unknown(&'static str),
    /// It is encrypted, and there is no password.
    NeedsPassword(Format),
    /// It is encrypted under a key that both sides know, and there is none.
    NeedsKey(Format),
    /// The password does not open it, or the file is damaged.
    WrongPassword(Format),
    /// It is in this format, but damaged; the text says where.
    Damaged(Format, String),
    /// It is in this format, but in a form that is not read; the text says which.
    Unsupported(Format, &'static str),
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unknown(what) => write!(f, "it is in no known format: {what}"),
            Self::NeedsPassword(format) => write!(f, "it is an encrypted file of {format}, and needs its password"),
            Self::NeedsKey(format) => {
                write!(f, "it is a file of {format} that is encrypted under a key, and needs that key")
            }
            Self::WrongPassword(format) => {
                write!(f, "the password or key does not open this file of {format}, or the file is damaged")
            }
            Self::Damaged(format, what) => write!(f, "it is a damaged file of {format}: {what}"),
            Self::Unsupported(format, what) => write!(f, "it is a file of {format} that is not read here: {what}"),
        }
    }
}

impl std::error::Error for Fault {}

/// What is wrong with an export without its last line.
pub const CUT_OFF: &str = "it was cut off: its last line is missing";

/// Reads a file, in this format or in the one that its content shows.
pub fn read(bytes: &[u8], format: Option<Format>, secrets: &Secrets<'_>) -> Result<Document, Fault> {
    let (bytes, mut notes) = without_padding(bytes);
    let (format, json) = match format {
        Some(format) => (format, None),
        None => Format::recognise(bytes)?,
    };
    if format == Format::Mfad {
        let part = own::read(bytes, 0)?;
        if !part.is_complete {
            return Err(Fault::Damaged(format, CUT_OFF.to_owned()));
        }
        notes.extend(part.notes);
        let entries = part.drafts.into_iter().map(draft::Draft::finish).collect();
        return Ok(Document { format, entries, notes, accounts: part.accounts, is_complete: true });
    }
    let drafts = format.read(bytes, json, secrets, &mut notes)?;
    let entries = drafts.into_iter().map(draft::Draft::finish).collect();
    Ok(Document { format, entries, notes, accounts: Vec::new(), is_complete: true })
}

/// The texts of the QR codes in a picture, one in each line; `None` if the file is no PNG. A transfer of Google
/// Authenticator may have its parts in several pictures, so they are read together.
pub fn texts_of_picture(bytes: &[u8]) -> Option<Result<String, Fault>> {
    qr::is(bytes).then(|| qr::texts(bytes))
}

/// Leaves out a byte order mark at the start, and zero bytes at the end of a text, which one program writes.
fn without_padding(bytes: &[u8]) -> (&[u8], Vec<String>) {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let is_text = bytes.iter().find(|byte| !byte.is_ascii_whitespace()).is_some_and(|byte| b"{[<".contains(byte));
    let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last.saturating_add(1));
    match bytes.split_at_checked(end) {
        Some((text, zeros)) if is_text && !zeros.is_empty() => {
            (text, vec![format!("zero bytes at the end were left out: {}", zeros.len())])
        }
        _ => (bytes, Vec::new()),
    }
}

#[cfg(test)]
mod real_files;
#[cfg(test)]
mod tests;
