//! `pam break-glass`: lists of one-time codes that let an account in while the daemon is out of service.

use jiff::Timestamp;
use mfad_break_glass::{CODE_BYTES, List, Lists, Use, code};
use nix::unistd::User;
use serde_json::json;
use zeroize::Zeroizing;

use super::must_be_root;
use crate::call::{Body, Call};
use crate::context::Context;
use crate::failure::Failure;
use crate::output::visible;
use crate::pam_args::BreakGlassArgs;

/// Number of codes in a list.
const CODES: usize = 10;
const HEADS: [&str; 4] = ["ACCOUNT", "LEFT", "LAST USE", "REPORTED"];

pub(super) async fn run(context: &mut Context, args: &BreakGlassArgs) -> Result<(), Failure> {
    must_be_root()?;
    match &args.account {
        Some(account) if args.remove => remove(context, account),
        Some(account) => make(context, account).await,
        None if args.report => report(context).await,
        None => list(context),
    }
}

fn failed(error: &std::io::Error) -> Failure {
    Failure::Denied(format!("the break-glass lists: {error}"))
}

/// Writes a new list in place of the one that the account has.
async fn make(context: &mut Context, account: &str) -> Result<(), Failure> {
    let known = User::from_name(account).ok().flatten();
    if known.is_none_or(|known| known.name != account) {
        return Err(Failure::Usage(format!("this host has no account of the name {}", visible(account))));
    }
    let lists = Lists::default();
    let old = lists.of(account);
    if !matches!(old, Ok(None)) {
        must_be_reported(account, old.as_ref().ok().and_then(Option::as_ref))?;
        let question = format!("replace the break-glass codes of {}? The present ones end at once.", visible(account));
        context.prompter.confirm(question).await?;
    }
    let codes: Vec<Zeroizing<String>> =
        (0..CODES).map(|_| random::<CODE_BYTES>().map(code)).collect::<Result<_, _>>()?;
    let texts: Vec<&str> = codes.iter().map(|code| code.as_str()).collect();
    lists.replace(account, random()?, &texts).map_err(|error| failed(&error))?;
    if context.out.is_json() {
        let document = Zeroizing::new(json!({"account": account, "codes": texts}).to_string());
        return context.out.document(&document);
    }
    context.out.note(&format!("break-glass codes of {}:", visible(account)))?;
    texts.iter().try_for_each(|code| context.out.line(code))?;
    context.out.note(
        "Each works once, in place of the second factor, while mfad is out of service. They are shown only once: print \
         them, and keep them in a sealed envelope.",
    )
}

fn random<const N: usize>() -> Result<[u8; N], Failure> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| Failure::Internal(format!("cannot get random bytes: {error}")))?;
    Ok(bytes)
}

/// Uses that the daemon does not know yet must not be lost with their list.
fn must_be_reported(account: &str, list: Option<&List>) -> Result<(), Failure> {
    if list.is_none_or(List::is_reported) {
        return Ok(());
    }
    Err(Failure::Denied(format!(
        "codes of {} were used, and the audit log does not have these logins yet; run mfactl pam break-glass --report first",
        visible(account)
    )))
}

fn remove(context: &mut Context, account: &str) -> Result<(), Failure> {
    let lists = Lists::default();
    must_be_reported(account, lists.of(account).ok().flatten().as_ref())?;
    if !lists.remove(account).map_err(|error| failed(&error))? {
        return Err(Failure::Denied(format!("{} has no break-glass codes", visible(account))));
    }
    context.out.note(&format!("the break-glass codes of {} are no longer valid", visible(account)))
}

fn list(context: &mut Context) -> Result<(), Failure> {
    let lists = readable(context)?;
    if context.out.is_json() {
        let rows: Vec<_> = lists
            .iter()
            .map(|list| {
                let uses: Vec<_> = list
                    .uses()
                    .map(|used| {
                        json!({
                            "time": time(used), "service": used.login.service, "ruser": used.login.ruser, "rhost": used.login.rhost,
                            "tty": used.login.tty, "isReported": used.is_reported,
                        })
                    })
                    .collect();
                json!({"account": list.account, "total": list.total(), "left": list.left(), "uses": uses})
            })
            .collect();
        return context.out.document(&json!({"lists": rows}).to_string());
    }
    let rows = lists.iter().map(|list| {
        let last = list.uses().last().map_or_else(|| "-".to_owned(), |used| context.out.time(time(used)));
        let is_reported = if list.is_reported() { "yes" } else { "no" };
        [list.account.clone(), format!("{} of {}", list.left(), list.total()), last, is_reported.to_owned()]
    });
    context.out.table(HEADS, &[], rows.collect())
}

/// The lists that can be read. A damaged one is named, and keeps no other from being used.
fn readable(context: &Context) -> Result<Vec<List>, Failure> {
    let mut lists = Vec::new();
    for (account, list) in Lists::default().all().map_err(|error| failed(&error))? {
        match list {
            Ok(list) => lists.push(list),
            Err(error) => context.out.error(&visible(&format!("the list of {account} cannot be used: {error}"))),
        }
    }
    Ok(lists)
}

/// Has the daemon record all uses that it does not know yet. What it refuses keeps no other list from being reported.
async fn report(context: &mut Context) -> Result<(), Failure> {
    let (mut total, mut failure) = (0_usize, None);
    for list in readable(context)? {
        let mut reported = Vec::new();
        let sent = send(context, &list, &mut reported).await;
        // What was sent before a failure is not sent again.
        Lists::default().set_reported(&list.account, &reported).map_err(|error| failed(&error))?;
        total = total.saturating_add(reported.len());
        failure = failure.or(sent.err());
    }
    if let Some(failure) = failure {
        return Err(failure);
    }
    if context.out.is_json() {
        return context.out.document(&json!({"reported": total}).to_string());
    }
    context.out.note(&format!("logins by break-glass codes that are now in the audit log: {total}"))
}

async fn send(context: &mut Context, list: &List, reported: &mut Vec<Use>) -> Result<(), Failure> {
    for used in list.uses().filter(|used| !used.is_reported) {
        let body = Body::new()
            .member("name", list.account.as_str())
            .member("time", time(used))
            .member("service", used.login.service.as_str())
            .optional("ruser", used.login.ruser.as_deref())
            .optional("rhost", used.login.rhost.as_deref())
            .optional("tty", used.login.tty.as_deref());
        context.client.ask(Call::post("/v1/break-glass").with(body)).await?;
        reported.push(used.clone());
    }
    Ok(())
}

fn time(used: &Use) -> String {
    let seconds = i64::try_from(used.at).unwrap_or(i64::MAX);
    Timestamp::from_second(seconds).unwrap_or(Timestamp::UNIX_EPOCH).to_string()
}
