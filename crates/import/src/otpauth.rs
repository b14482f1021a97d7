//! otpauth URIs, one in each line: of authenticator apps, and as FreeOTP+, Ente and otpclient write them.

use std::borrow::Cow;
use std::collections::BTreeMap;

use percent_encoding::percent_decode_str;

use crate::draft::{Defaults, Draft, word};
use crate::entry::Refusal;
use crate::json::digits;
use crate::{Fault, Format};

const SCHEME: &str = "otpauth://";
/// Parameters that programs use for names, pictures and the order of their lists. No code depends on them.
const PASSED_OVER: [&str; 8] = ["image", "icon", "color", "lock", "codedisplay", "tag", "tags", "creator"];
const DEFAULTS: Defaults = Defaults { program: "an authenticator app", kind: None, counter: None };

/// Whether a line is an otpauth URI. Scheme and type may be in capitals (RFC 3986 section 6.2.2.1).
pub(crate) fn is_uri(line: &str) -> bool {
    line.get(..SCHEME.len()).is_some_and(|scheme| scheme.eq_ignore_ascii_case(SCHEME))
}

/// Reads lines, of which `before` come before them in the file. Empty ones and comments are skipped.
pub(crate) fn read(bytes: &[u8], before: usize) -> Result<Vec<Draft>, Fault> {
    let text = std::str::from_utf8(bytes).map_err(|_| Fault::Damaged(Format::Otpauth, "it is not UTF-8".to_owned()))?;
    let lines = (before.saturating_add(1)..).zip(text.lines()).map(|(number, line)| (number, line.trim()));
    let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    Ok(lines.map(|(number, line)| uri(format!("line {number}"), line)).collect())
}

/// Reads one URI.
pub(crate) fn uri(place: String, text: &str) -> Draft {
    let mut draft = Draft::at(place);
    if let Err(refusal) = parse(&mut draft, text) {
        draft.refuse(refusal);
    }
    draft
}

fn parse(draft: &mut Draft, text: &str) -> Result<(), Refusal> {
    let damaged = |what: &str| Refusal::Damaged(what.to_owned());
    if !is_uri(text) {
        return Err(damaged("it is no otpauth URI"));
    }
    // A known exporter cuts line ends, so that the next URI begins in this one.
    let rest = text.get(SCHEME.len()..).unwrap_or_default();
    if rest.to_ascii_lowercase().contains(SCHEME) {
        return Err(damaged("two URIs stand in one line"));
    }
    let (path, query) = rest.split_once('?').ok_or_else(|| damaged("the URI has no parameters"))?;
    let (kind, label) = path.split_once('/').ok_or_else(|| damaged("the URI has no label"))?;
    draft.known.kind = Some(kind.to_ascii_lowercase());
    let label = decoded(label).ok_or_else(|| damaged("its label is no UTF-8"))?;
    let (mut issuer, mut account) = match label.split_once(':') {
        Some((issuer, account)) => (Some(issuer.trim().to_owned()), account.trim().to_owned()),
        None => (None, label.trim().to_owned()),
    };
    // A known converter writes the issuer twice.
    if let Some(before) = &issuer
        && let Some(rest) = account.strip_prefix(before.as_str()).and_then(|rest| rest.strip_prefix(':'))
    {
        account = rest.trim().to_owned();
    }
    draft.name(issuer.clone(), Some(account.clone()));
    let mut seen = BTreeMap::new();
    let mut secret = None;
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').ok_or_else(|| damaged("a parameter has no value"))?;
        let name = name.to_ascii_lowercase();
        // One program writes the issuer twice.
        match seen.insert(name.clone(), value) {
            Some(before) if before != value => return Err(damaged("a parameter comes twice")),
            Some(_) => continue,
            None => {}
        }
        // Ente has written `null` for what it does not know.
        if value == "null" || value.is_empty() {
            continue;
        }
        let number = || digits(value).ok_or_else(|| Refusal::Damaged(format!("its {} is no number", word(&name))));
        match name.as_str() {
            "secret" => secret = Some(decoded(value).ok_or_else(|| damaged("its secret is no text"))?),
            "algorithm" => draft.known.algorithm = decoded(value),
            "digits" => draft.known.digits = Some(number()?),
            "period" => draft.known.period = Some(number()?),
            "counter" => draft.known.counter = Some(number()?),
            "issuer" => issuer = Some(decoded(value).ok_or_else(|| damaged("its issuer is no UTF-8"))?),
            "encoder" if value.eq_ignore_ascii_case("steam") => return Err(Refusal::Kind("Steam".to_owned())),
            name if PASSED_OVER.contains(&name) => {}
            name => return Err(Refusal::Parameter(word(name))),
        }
    }
    draft.name(issuer, Some(account));
    match kind.to_ascii_lowercase().as_str() {
        "totp" => drop(draft.known.counter.take()),
        "hotp" => drop(draft.known.period.take()),
        _ => {}
    }
    draft.fill(&DEFAULTS);
    match secret {
        Some(secret) => draft.base32(&secret),
        None => return Err(Refusal::NoSecret),
    }
    Ok(())
}

fn decoded(text: &str) -> Option<String> {
    percent_decode_str(text).decode_utf8().ok().map(Cow::into_owned)
}
