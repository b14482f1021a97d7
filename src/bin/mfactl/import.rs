//! `import`: factors of another program, by their otpauth URIs. The codes that people have go on as they are.

use std::fs;
use std::io::Read;

use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::acting::{path, uid_of};
use crate::call::{Authority, Body, Call, segment};
use crate::cli::ImportArgs;
use crate::code::{Code, TOKEN};
use crate::desk::Desk;
use crate::failure::{Exit, Failure};
use crate::output::visible;
use crate::prompt::{Hidden, Source};
use crate::secrets::print_codes;
use crate::wire::{Codes, Secret};

/// The longest list of URIs, in bytes.
const LONGEST: u64 = 16 * 1024 * 1024;

/// `import`.
pub async fn run(desk: &mut Desk, args: &ImportArgs) -> Result<(), Failure> {
    let text = read(args)?;
    let lines: Vec<(usize, &str)> = (1..)
        .zip(text.lines())
        .map(|(number, line)| (number, line.trim()))
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
        .collect();
    if lines.is_empty() {
        return Err(Failure::Usage("there is no otpauth URI in the input".to_owned()));
    }
    let source = args.code.source();
    if lines.len() > 1 && (args.user.is_some() || source != Source::Prompt) {
        return Err(Failure::Usage("--user, --code-file and --code-stdin go with one URI".to_owned()));
    }
    if desk.asker.no_input && !args.pending && source == Source::Prompt {
        return Err(Failure::Usage("with --no-input give --pending, or --code-file or --code-stdin".to_owned()));
    }
    let mut failed = 0_usize;
    for (number, uri) in &lines {
        let done = import(desk, args, &source, uri).await;
        match done {
            Err(Failure::Refused(problem)) if lines.len() > 1 => {
                desk.out.error(&format!("line {number}: {problem}"));
                failed = failed.saturating_add(1);
            }
            Err(Failure::Denied(why)) if lines.len() > 1 => {
                desk.out.error(&format!("line {number}: {why}"));
                failed = failed.saturating_add(1);
            }
            other => other?,
        }
    }
    if failed > 0 {
        desk.out.error(&format!("{failed} of {} were not taken over", lines.len()));
        return Err(Failure::Told(Exit::Denied));
    }
    Ok(())
}

fn read(args: &ImportArgs) -> Result<Zeroizing<String>, Failure> {
    let limited = |source: &mut dyn Read| {
        let mut text = Zeroizing::new(String::with_capacity(64 * 1024));
        source.take(LONGEST).read_to_string(&mut text).map(|_| text)
    };
    let read = match &args.file {
        Some(file) if file.as_os_str() != "-" => fs::File::open(file).and_then(|mut file| limited(&mut file)),
        _ if args.code.source() == Source::Stdin => {
            return Err(Failure::Usage("the URIs and the code cannot both come from standard input".to_owned()));
        }
        _ => limited(&mut std::io::stdin().lock()),
    };
    read.map_err(|error| Failure::Usage(format!("the URIs cannot be read: {error}")))
}

async fn import(desk: &mut Desk, args: &ImportArgs, source: &Source, uri: &str) -> Result<(), Failure> {
    let name = match &args.user {
        Some(user) => user.clone(),
        None => account(uri).ok_or_else(|| Failure::Denied("the URI names no account; use --user".to_owned()))?,
    };
    let user = uid_of(desk, &name).await?;
    let authority = Authority::Reason(args.reason.clone());
    let body = Body::new()
        .secret("otpauth_url", &Hidden::new(uri.to_owned()), "$OTPAUTH_URL")
        .optional("name", args.name.as_deref());
    let answer = desk.client.ask(Call::post(path(&user, "/secrets/import")).by(&authority).with(body)).await?;
    let made: Secret = answer.read()?;
    if args.pending {
        if desk.out.is_json() {
            return desk.out.document(answer.text());
        }
        let name = visible(&name);
        return desk.out.note(&format!(
            "{name}: pending for 15 minutes; finish with: mfactl enroll {name} --finish {}",
            visible(&made.uid)
        ));
    }
    desk.out.aside(&visible(&format!("{name}: a code of the authenticator that has this factor")));
    let code = Code::ask(desk, TOKEN, source).await?;
    let enroll = path(&user, &format!("/secrets/{}/enroll", segment(&made.uid)));
    let answer = desk.client.ask(Call::put(enroll).by(&authority).with(code.body())).await?;
    if desk.out.is_json() {
        let enrolled: Value = answer.read()?;
        return desk.out.document(&json!({"user": user, "secret": enrolled}).to_string());
    }
    desk.out.note(&format!("{}: the factor is active", visible(&name)))?;
    let codes: Codes = answer.read()?;
    if codes.codes.is_empty() { Ok(()) } else { print_codes(desk.out, &codes) }
}

/// The account of a URI's label: what stands behind the issuer.
fn account(uri: &str) -> Option<String> {
    let label = uri.strip_prefix("otpauth://")?.split_once('/')?.1;
    let label = label.split('?').next()?;
    let label = percent_encoding::percent_decode_str(label).decode_utf8().ok()?;
    let account = label.split_once(':').map_or(label.as_ref(), |(_, account)| account).trim();
    (!account.is_empty()).then(|| account.to_owned())
}

#[cfg(test)]
mod tests {
    use super::account;

    #[test]
    fn the_account_stands_behind_the_issuer() {
        for (uri, name) in [
            ("otpauth://totp/ann?secret=x", Some("ann")),
            ("otpauth://totp/Old%20place:ann%40example.org?secret=x", Some("ann@example.org")),
            ("otpauth://totp/Old%3A%20ann", Some("ann")),
            ("otpauth://totp/?secret=x", None),
            ("https://example.org/ann", None),
        ] {
            assert_eq!(account(uri).as_deref(), name, "{uri}");
        }
    }
}
