//! The transfer of Google Authenticator: `otpauth-migration://offline?data=…` (protocol buffers in Base64), one URI for
//! each QR code, in any order.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use data_encoding::BASE64;
use mfad_core::model::Sensitive;
use percent_encoding::percent_decode_str;
use prost::Message;

use crate::draft::{Defaults, Draft};
use crate::{Fault, Format};

const FORMAT: Format = Format::Migration;
const SCHEME: &str = "otpauth-migration://";
const DEFAULTS: Defaults = Defaults { program: "Google Authenticator", kind: None, counter: Some(0) };

/// One QR code.
#[derive(Clone, PartialEq, Message)]
struct Payload {
    #[prost(message, repeated, tag = "1")]
    parameters: Vec<Parameters>,
    #[prost(int32, tag = "3")]
    batch_size: i32,
    #[prost(int32, tag = "4")]
    batch_index: i32,
    #[prost(int32, tag = "5")]
    batch_id: i32,
}

/// One factor. An enumeration of 0 is unset.
#[derive(Clone, PartialEq, Message)]
struct Parameters {
    #[prost(bytes = "vec", tag = "1")]
    secret: Vec<u8>,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(string, tag = "3")]
    issuer: String,
    #[prost(int32, tag = "4")]
    algorithm: i32,
    #[prost(int32, tag = "5")]
    digits: i32,
    #[prost(int32, tag = "6")]
    kind: i32,
    #[prost(int64, tag = "7")]
    counter: i64,
}

pub(crate) fn is_uri(line: &str) -> bool {
    line.get(..SCHEME.len()).is_some_and(|scheme| scheme.eq_ignore_ascii_case(SCHEME))
}

/// Reads lines, each a URI. A part that is missing is named, and nothing is read then.
pub(crate) fn read(bytes: &[u8]) -> Result<Vec<Draft>, Fault> {
    let damaged = |what: String| Fault::Damaged(FORMAT, what);
    let text = std::str::from_utf8(bytes).map_err(|_| damaged("it is not UTF-8".to_owned()))?;
    let lines = (1_usize..).zip(text.lines()).map(|(number, line)| (number, line.trim()));
    let mut parts: BTreeMap<(i32, i32), (usize, Payload)> = BTreeMap::new();
    for (number, line) in lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
        let payload = payload(line).ok_or_else(|| damaged(format!("line {number} is no whole transfer URI")))?;
        let key = (payload.batch_id, payload.batch_index);
        if let Some((earlier, other)) = parts.get(&key)
            && *other != payload
        {
            return Err(damaged(format!(
                "lines {earlier} and {number} are parts of two transfers; read each by itself"
            )));
        }
        parts.entry(key).or_insert((number, payload));
    }
    if let Some(missing) = missing(&parts) {
        return Err(damaged(missing));
    }
    let mut drafts = Vec::new();
    for (number, payload) in parts.into_values() {
        for (index, parameters) in (1_usize..).zip(payload.parameters) {
            drafts.push(draft(format!("line {number}, entry {index}"), parameters));
        }
    }
    Ok(drafts)
}

/// Names the first part that is missing.
fn missing(parts: &BTreeMap<(i32, i32), (usize, Payload)>) -> Option<String> {
    let batches: BTreeSet<i32> = parts.keys().map(|(batch, _)| *batch).collect();
    for batch in batches {
        let sizes = parts.range((batch, i32::MIN)..=(batch, i32::MAX)).map(|(_, (_, payload))| payload.batch_size);
        let size = sizes.max().unwrap_or(1);
        // A hostile size must not be counted up to.
        if size > 1000 {
            return Some("it claims to have more than 1,000 parts".to_owned());
        }
        if let Some(index) = (0..size).find(|index| !parts.contains_key(&(batch, *index))) {
            let part = index.saturating_add(1);
            return Some(format!("part {part} of {size} is missing; scan that QR code too"));
        }
    }
    None
}

fn payload(line: &str) -> Option<Payload> {
    let query = is_uri(line).then(|| line.split_once('?'))??.1;
    let data = query.split('&').find_map(|pair| pair.strip_prefix("data="))?;
    let data = percent_decode_str(data).decode_utf8().map(Cow::into_owned).ok()?;
    // Some scanners turn `+` into a blank.
    let data = Sensitive::new(BASE64.decode(data.replace(' ', "+").as_bytes()).ok()?);
    Payload::decode(data.expose().as_slice()).ok()
}

fn draft(place: String, parameters: Parameters) -> Draft {
    let mut draft = Draft::at(place);
    // The name may have the issuer in front.
    let (before, account) = match parameters.name.split_once(':') {
        Some((issuer, account)) => (Some(issuer.to_owned()), account.to_owned()),
        None => (None, parameters.name),
    };
    let issuer = Some(parameters.issuer).filter(|issuer| !issuer.is_empty()).or(before);
    draft.name(issuer, Some(account));
    draft.known.kind = match parameters.kind {
        0 => None,
        1 => Some("hotp".to_owned()),
        2 => Some("totp".to_owned()),
        _ => Some("a kind".to_owned()),
    };
    draft.known.algorithm = match parameters.algorithm {
        0 => None,
        1 => Some("SHA1".to_owned()),
        2 => Some("SHA256".to_owned()),
        3 => Some("SHA512".to_owned()),
        4 => Some("MD5".to_owned()),
        _ => Some("unknown".to_owned()),
    };
    draft.known.digits = match parameters.digits {
        0 => None,
        1 => Some(6),
        2 => Some(8),
        other => Some(u64::try_from(other).unwrap_or(0)),
    };
    if parameters.kind == 1 {
        // A counter of 0 is not written.
        draft.known.counter = Some(u64::try_from(parameters.counter).unwrap_or(u64::MAX));
    }
    draft.seed = Some(Sensitive::new(parameters.secret));
    draft.fill(&DEFAULTS);
    draft
}
