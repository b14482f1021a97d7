//! PSKC (RFC 6030): keys of token makers and of other programs, plain or encrypted under a key or a password. MACs are
//! checked.

use std::borrow::Cow;

use aes::cipher::block_padding::NoPadding;
use aes::cipher::{BlockModeDecrypt as _, KeyIvInit as _};
use aes::{Aes128, Aes192, Aes256};
use data_encoding::{BASE64, Specification};
use hmac::{Hmac, KeyInit as _, Mac as _};
use mfad_core::model::Sensitive;
use sha1::Sha1;
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::cipher::{self, Hash};
use crate::draft::{Defaults, Draft, word};
use crate::entry::Refusal;
use crate::json::digits;
use crate::xml::{Element, parse};
use crate::{Fault, Format, Secrets};

const FORMAT: Format = Format::Pskc;
const DEFAULTS: Defaults = Defaults { program: "RFC 6030", kind: None, counter: None };
/// A block of AES.
const BLOCK: usize = 16;

pub(crate) fn read(bytes: &[u8], secrets: &Secrets<'_>, notes: &mut Vec<String>) -> Result<Vec<Draft>, Fault> {
    let container = parse(bytes, FORMAT)?;
    if !container.name.eq_ignore_ascii_case("KeyContainer") {
        return Err(Fault::Damaged(FORMAT, "its root is no KeyContainer".to_owned()));
    }
    let is_encrypted = has(&container, "EncryptedValue");
    let keys = if is_encrypted { Some(Keys::of(&container, secrets)?) } else { None };
    let packages = container.children.iter().filter(|child| child.name.eq_ignore_ascii_case("KeyPackage"));
    let mut pins = 0_usize;
    let mut drafts = Vec::new();
    for (index, package) in (1_usize..).zip(packages) {
        let Some(key) = package.child("Key") else { continue };
        if algorithm(key) == "pin" {
            pins = pins.saturating_add(1);
            continue;
        }
        let mut draft = Draft::at(format!("key {index}"));
        if let Err(why) = fill(&mut draft, package, key, keys.as_ref()) {
            match why {
                Why::Entry(refusal) => draft.refuse(refusal),
                Why::File(fault) => return Err(fault),
            }
        }
        drafts.push(draft);
    }
    if pins > 0 {
        notes.push(format!("keys that are PINs were left out: {pins}"));
    }
    Ok(drafts)
}

/// Whether an element of this name is anywhere below.
fn has(element: &Element, name: &str) -> bool {
    element.children.iter().any(|child| child.name.eq_ignore_ascii_case(name) || has(child, name))
}

/// Why a value cannot be had: only this entry, or the whole file.
enum Why {
    Entry(Refusal),
    File(Fault),
}

impl From<Refusal> for Why {
    fn from(refusal: Refusal) -> Self {
        Self::Entry(refusal)
    }
}

/// `urn:ietf:params:xml:ns:keyprov:pskc:hotp` or a short name.
fn algorithm(key: &Element) -> String {
    let name = key.attribute("Algorithm").unwrap_or_default();
    name.rsplit([':', '#']).next().unwrap_or_default().to_ascii_lowercase()
}

fn fill(draft: &mut Draft, package: &Element, key: &Element, keys: Option<&Keys>) -> Result<(), Why> {
    let user = key.text(&["UserId"]).or_else(|| package.text(&["DeviceInfo", "UserId"])).map(common_name);
    // A maker knows no user; the number of the key stands for it, and a map gives the user.
    let serial = package.text(&["DeviceInfo", "SerialNo"]).or_else(|| key.attribute("Id")).map(str::to_owned);
    let issuer = key.text(&["Issuer"]).or_else(|| package.text(&["DeviceInfo", "Manufacturer"]));
    draft.name(issuer.map(str::to_owned), user.or(serial));
    let kind = algorithm(key);
    if !["hotp", "totp"].contains(&kind.as_str()) {
        draft.known.kind = Some(kind.clone());
        return Err(Refusal::Kind(word(&kind)).into());
    }
    draft.known.kind = Some(kind);
    let parameters = key.child("AlgorithmParameters");
    draft.known.algorithm = parameters.and_then(|parameters| parameters.text(&["Suite"])).map(str::to_owned);
    let format = parameters.and_then(|parameters| parameters.child("ResponseFormat"));
    draft.known.digits = format.and_then(|format| format.attribute("Length")).and_then(digits);
    let encoding = format.and_then(|format| format.attribute("Encoding")).unwrap_or("DECIMAL");
    if !encoding.eq_ignore_ascii_case("DECIMAL") {
        return Err(Refusal::Damaged(format!("its codes are {}, not decimal", word(encoding))).into());
    }
    if format.and_then(|format| format.attribute("CheckDigits")).is_some_and(|check| check != "false" && check != "0") {
        return Err(Refusal::Damaged("its codes have a check digit".to_owned()).into());
    }
    if key.at(&["Policy", "PINPolicy"]).is_some_and(|policy| {
        policy.attribute("PINUsageMode").is_some_and(|mode| ["Append", "Prepend", "Algorithmic"].contains(&mode))
    }) {
        return Err(Refusal::Pin.into());
    }
    let data = key.child("Data").ok_or(Refusal::NoSecret)?;
    draft.known.counter = number(data, "Counter", keys)?;
    draft.known.period = number(data, "TimeInterval", keys)?;
    if number(data, "Time", keys)?.is_some_and(|time| time != 0) {
        return Err(Refusal::StartTime.into());
    }
    if let Some(drift) = data.text(&["TimeDrift", "PlainValue"]) {
        draft.skew = drift.parse().map_err(|_| Refusal::Damaged("its TimeDrift is no number".to_owned()))?;
    }
    draft.seed = secret(data, keys)?;
    draft.fill(&DEFAULTS);
    Ok(())
}

/// The common name of a distinguished name (RFC 4514), or the whole text.
fn common_name(text: &str) -> String {
    for part in parts_of_name(text) {
        let Some((key, name)) = part.split_once('=') else { continue };
        if ["cn", "uid"].contains(&key.trim().to_ascii_lowercase().as_str()) {
            return unescaped(name.trim());
        }
    }
    text.to_owned()
}

/// Splits at the commas that are not escaped.
fn parts_of_name(text: &str) -> Vec<&str> {
    let (mut parts, mut start, mut is_escaped) = (Vec::new(), 0, false);
    for (at, symbol) in text.char_indices() {
        if symbol == ',' && !is_escaped {
            parts.extend(text.get(start..at));
            start = at.saturating_add(1);
        }
        is_escaped = symbol == '\\' && !is_escaped;
    }
    parts.extend(text.get(start..));
    parts
}

/// A value without its escapes: a backslash before a symbol, or before two hexadecimal digits of a byte.
fn unescaped(text: &str) -> String {
    let (mut bytes, mut rest) = (Vec::new(), text);
    while let Some((plain, escaped)) = rest.split_once('\\') {
        bytes.extend_from_slice(plain.as_bytes());
        let byte = escaped.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match (byte, escaped.chars().next()) {
            (Some(byte), _) => {
                bytes.push(byte);
                rest = escaped.get(2..).unwrap_or_default();
            }
            (None, Some(symbol)) => {
                bytes.extend_from_slice(symbol.to_string().as_bytes());
                rest = escaped.get(symbol.len_utf8()..).unwrap_or_default();
            }
            (None, None) => rest = "",
        }
    }
    bytes.extend_from_slice(rest.as_bytes());
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A number of `Data`: as text, or as an encrypted big-endian integer.
fn number(data: &Element, name: &str, keys: Option<&Keys>) -> Result<Option<u64>, Why> {
    let Some(element) = data.child(name) else { return Ok(None) };
    if let Some(text) = element.text(&["PlainValue"]) {
        let wrong = || Refusal::Damaged(format!("its {name} is no number"));
        return Ok(Some(digits(text).ok_or_else(wrong)?));
    }
    let Some(bytes) = opened(element, keys)? else { return Ok(None) };
    // Some programs encrypt the digits instead of a big-endian integer (RFC 6030 section 4.2). As an integer they would be
    // beyond 800 million.
    let text = std::str::from_utf8(bytes.expose()).ok().and_then(digits);
    let is_integer = [4, 8].contains(&bytes.expose().len());
    let integer = || bytes.expose().iter().fold(0_u64, |number, byte| (number << 8) | u64::from(*byte));
    text.or_else(|| is_integer.then(integer))
        .map(Some)
        .ok_or_else(|| Refusal::Damaged(format!("its {name} is no number")).into())
}

fn secret(data: &Element, keys: Option<&Keys>) -> Result<Option<Sensitive<Vec<u8>>>, Why> {
    let Some(element) = data.child("Secret") else { return Ok(None) };
    if let Some(text) = element.text(&["PlainValue"]) {
        return Ok(Some(base64(text).ok_or(Refusal::Secret("Base64"))?));
    }
    opened(element, keys)
}

/// The value of an element that is encrypted, after its MAC was checked.
fn opened(element: &Element, keys: Option<&Keys>) -> Result<Option<Sensitive<Vec<u8>>>, Why> {
    let (Some(value), Some(keys)) = (element.child("EncryptedValue"), keys) else { return Ok(None) };
    let sealed = cipher_value(value).ok_or(Refusal::Secret("Base64"))?;
    let mac = element.text(&["ValueMAC"]).map(|text| base64(text).ok_or(Refusal::Secret("with a MAC in Base64")));
    let mac = mac.transpose()?;
    // Where the file has MACs, none may be missing.
    let is_good = mac.map_or(keys.mac.is_none(), |mac| keys.confirms(&sealed, mac.expose()));
    let plain = is_good.then(|| keys.decrypt(value, &sealed)).flatten();
    plain.map(Some).ok_or(Why::File(Fault::WrongPassword(FORMAT)))
}

fn cipher_value(value: &Element) -> Option<Vec<u8>> {
    base64(value.text(&["CipherData", "CipherValue"])?).map(|bytes| bytes.expose().clone())
}

/// Base64 with line breaks.
fn base64(text: &str) -> Option<Sensitive<Vec<u8>>> {
    let mut lenient: Specification = BASE64.specification();
    lenient.ignore.push_str(" \t\r\n");
    lenient.encoding().ok()?.decode(text.as_bytes()).ok().map(Sensitive::new)
}

/// The keys of an encrypted file.
struct Keys {
    encryption: Sensitive<Vec<u8>>,
    mac: Option<(Hash, Sensitive<Vec<u8>>)>,
}

impl Keys {
    /// Derives the key from the password, or takes the one that was given, and opens the key of the MAC.
    fn of(container: &Element, secrets: &Secrets<'_>) -> Result<Self, Fault> {
        let derived = container.at(&["EncryptionKey", "DerivedKey", "KeyDerivationMethod"]);
        let encryption = match derived {
            Some(method) => {
                let password = secrets.password.ok_or(Fault::NeedsPassword(FORMAT))?;
                derive(method, password)?
            }
            None => Sensitive::new(secrets.key.ok_or(Fault::NeedsKey(FORMAT))?.to_vec()),
        };
        let mut keys = Self { encryption, mac: None };
        if let Some(method) = container.child("MACMethod") {
            let kind = match method.attribute("Algorithm").unwrap_or_default().to_ascii_lowercase() {
                name if name.ends_with("hmac-sha1") => Hash::Sha1,
                name if name.ends_with("hmac-sha256") => Hash::Sha256,
                _ => return Err(Fault::Unsupported(FORMAT, "a MAC other than HMAC-SHA-1 and HMAC-SHA-256")),
            };
            let mac = match method.child("MACKey") {
                Some(key) => {
                    let sealed = cipher_value(key);
                    let opened = sealed.and_then(|sealed| keys.decrypt(key, &sealed));
                    opened.ok_or(Fault::WrongPassword(FORMAT))?
                }
                None => Sensitive::new(keys.encryption.expose().clone()),
            };
            keys.mac = Some((kind, mac));
        }
        Ok(keys)
    }

    /// Whether the MAC of a sealed value is right. Without a method there is none to check.
    fn confirms(&self, sealed: &[u8], mac: &[u8]) -> bool {
        match &self.mac {
            None => true,
            Some((Hash::Sha1, key)) => Hmac::<Sha1>::new_from_slice(key.expose())
                .is_ok_and(|hmac| hmac.chain_update(sealed).verify_slice(mac).is_ok()),
            Some((Hash::Sha256, key)) => Hmac::<Sha256>::new_from_slice(key.expose())
                .is_ok_and(|hmac| hmac.chain_update(sealed).verify_slice(mac).is_ok()),
        }
    }

    /// Opens AES in CBC mode (XML Encryption section 5.2): the vector, the blocks, and the number of padding bytes at the
    /// end.
    fn decrypt(&self, value: &Element, sealed: &[u8]) -> Option<Sensitive<Vec<u8>>> {
        let method = value.child("EncryptionMethod")?.attribute("Algorithm")?.to_ascii_lowercase();
        let (iv, blocks) = sealed.split_at_checked(BLOCK)?;
        let mut plain = Zeroizing::new(blocks.to_vec());
        let key = self.encryption.expose().as_slice();
        let buffer = plain.as_mut_slice();
        let is_open = match method.rsplit('#').next()? {
            "aes128-cbc" => {
                cbc::Decryptor::<Aes128>::new_from_slices(key, iv).ok()?.decrypt_padded::<NoPadding>(buffer).is_ok()
            }
            "aes192-cbc" => {
                cbc::Decryptor::<Aes192>::new_from_slices(key, iv).ok()?.decrypt_padded::<NoPadding>(buffer).is_ok()
            }
            "aes256-cbc" => {
                cbc::Decryptor::<Aes256>::new_from_slices(key, iv).ok()?.decrypt_padded::<NoPadding>(buffer).is_ok()
            }
            _ => false,
        };
        let padding = usize::from(*plain.last().filter(|_| is_open)?);
        let length = plain.len().checked_sub(padding).filter(|_| (1..=BLOCK).contains(&padding))?;
        plain.truncate(length);
        Some(Sensitive::new(std::mem::take(&mut *plain)))
    }
}

fn derive(method: &Element, password: &[u8]) -> Result<Sensitive<Vec<u8>>, Fault> {
    let unsupported = || Fault::Unsupported(FORMAT, "a key derivation other than PBKDF2");
    let name: Cow<'_, str> = method.attribute("Algorithm").unwrap_or_default().to_ascii_lowercase().into();
    let parameters = method.child("PBKDF2-params").filter(|_| name.ends_with("#pbkdf2")).ok_or_else(unsupported)?;
    let damaged = |what: &str| Fault::Damaged(FORMAT, format!("its PBKDF2-params have no {what}"));
    let salt = parameters.text(&["Salt", "Specified"]).and_then(base64).ok_or_else(|| damaged("Salt"))?;
    let rounds = parameters.text(&["IterationCount"]).and_then(digits).and_then(|rounds| u32::try_from(rounds).ok());
    let rounds = rounds.ok_or_else(|| damaged("IterationCount"))?;
    let length = parameters.text(&["KeyLength"]).and_then(digits).and_then(|length| usize::try_from(length).ok());
    let length = length.filter(|length| [16, 24, 32].contains(length)).ok_or_else(|| damaged("KeyLength of AES"))?;
    let prf = parameters.child("PRF").and_then(|prf| prf.attribute("Algorithm")).unwrap_or("hmac-sha1");
    let mut key = Zeroizing::new(vec![0; length]);
    let hash = match prf.rsplit('#').next().unwrap_or_default().to_ascii_lowercase().as_str() {
        "hmac-sha1" => Hash::Sha1,
        "hmac-sha256" | "hmacsha256" => Hash::Sha256,
        _ => return Err(unsupported()),
    };
    cipher::pbkdf2(hash, password, salt.expose(), rounds, &mut key)
        .ok_or_else(|| damaged("IterationCount from 1 to 10,000,000"))?;
    Ok(Sensitive::new(std::mem::take(&mut *key)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_the_whole_common_name_also_with_commas() {
        for (text, name) in [
            ("UID=ann", "ann"),
            ("DC=example, CN=John Doe ,O=x", "John Doe"),
            (r"CN=Doe\, John,O=x", "Doe, John"),
            (r"UID=ann\,UID\=bob", "ann,UID=bob"),
            (r"uid=J\c3\bcrgen\\", "Jürgen\\"),
            ("plain", "plain"),
        ] {
            assert_eq!(common_name(text), name, "{text}");
        }
    }
}
