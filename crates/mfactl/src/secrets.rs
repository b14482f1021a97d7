//! `secret …` and `codes renew`, and what other commands need to find, show and delete secrets. Values never come here,
//! except new backup codes.

use crate::acting::Acting;
use crate::args::ActOnUser;
use crate::call::{Authority, Body, Call, segment};
use crate::cli::{CodesCommand, SecretCommand};
use crate::code::ask_for_touch;
use crate::context::Context;
use crate::failure::Failure;
use crate::output::{Output, visible};
use mfad_api::{AccountLeft, BackupCodes, Secret, SecretList};
use mfad_core::model::KeyId;

pub(crate) async fn run(context: &mut Context, command: &SecretCommand) -> Result<(), Failure> {
    let on = match command {
        SecretCommand::List(on) | SecretCommand::Rename { on, .. } | SecretCommand::Delete { on, .. } => on,
    };
    let acting = Acting::begin(context, &on.user, &on.acting).await?;
    let done = match command {
        SecretCommand::List(_) => list(context, &acting).await,
        SecretCommand::Rename { secret, name, .. } => rename(context, &acting, secret, name).await,
        SecretCommand::Delete { secret, .. } => delete(context, &acting, secret).await,
    };
    acting.end(context).await;
    done
}

pub(crate) async fn codes(context: &mut Context, command: &CodesCommand) -> Result<(), Failure> {
    let CodesCommand::Renew(on) = command;
    let acting = Acting::begin(context, &on.user, &on.acting).await?;
    let renewed = renew(context, &acting, on).await;
    acting.end(context).await;
    renewed
}

/// Prints the backup codes of a new factor. Only the first factor of a user comes with codes.
pub(crate) fn print_first_codes(out: Output, codes: &BackupCodes) -> Result<(), Failure> {
    if codes.codes.is_empty() {
        return out.note("the backup codes made with the first factor remain valid");
    }
    print_codes(out, codes)
}

/// Prints backup codes. The daemon returns them only once.
pub(crate) fn print_codes(out: Output, codes: &BackupCodes) -> Result<(), Failure> {
    out.note("backup codes:")?;
    codes.codes.iter().try_for_each(|code| out.line(&visible(code.as_str())))?;
    out.note(
        "Each code works once, in place of an authenticator code. They are shown only once: print them or write them \
         down, and keep them away from the authenticator.",
    )
}

/// Finds a secret of the user by uid or by name. Fails if several match.
pub(crate) async fn find(context: &mut Context, acting: &Acting, wanted: &str) -> Result<Secret, Failure> {
    pick(all(context, acting).await?, wanted)
}

async fn all(context: &mut Context, acting: &Acting) -> Result<Vec<Secret>, Failure> {
    let list: SecretList =
        context.client.ask(Call::get(acting.path("/secrets")).by(&acting.authority)).await?.read()?;
    Ok(list.secrets)
}

/// Whether the secret guards logins, so that the daemon ends it only for an administrator with a reason or after a
/// fresh second factor.
fn guards(secret: &Secret) -> bool {
    secret.status == "active" && matches!(secret.kind.as_str(), "mfa" | "fido2")
}

/// Refuses what the daemon would refuse, before the user is asked to confirm it.
fn must_have_proof(acting: &Acting) -> Result<(), Failure> {
    match acting.authority {
        Authority::Peer => Err(Failure::Forbidden(
            "this changes how the user is protected; give --reason TEXT as an admin, or use --as-user".to_owned(),
        )),
        Authority::Reason(_) | Authority::Token(_) | Authority::TokenWithReason(..) => Ok(()),
    }
}

fn pick(secrets: Vec<Secret>, wanted: &str) -> Result<Secret, Failure> {
    let (by_uid, others): (Vec<Secret>, Vec<Secret>) = secrets.into_iter().partition(|secret| secret.uid == wanted);
    let by_name = others.into_iter().filter(|secret| secret.name.as_deref() == Some(wanted));
    let mut found = by_uid.into_iter().chain(by_name);
    match (found.next(), found.next()) {
        (Some(only), None) => Ok(only),
        (Some(_), Some(_)) => Err(Failure::Denied(format!("several secrets are named {wanted}; give the uid"))),
        (None, _) => Err(Failure::Denied(format!("no such secret: {wanted}; mfactl secret list shows them"))),
    }
}

async fn list(context: &mut Context, acting: &Acting) -> Result<(), Failure> {
    let answer = context.client.ask(Call::get(acting.path("/secrets")).by(&acting.authority)).await?;
    if context.out.is_json() {
        return context.out.document(answer.text());
    }
    let list: SecretList = answer.read()?;
    let rows: Vec<[String; 7]> = list.secrets.into_iter().map(|secret| row(context.out, secret)).collect();
    context.out.table(["NAME", "UID", "TYPE", "STATUS", "PROFILE", "CREATED", "LAST USED"], &["UID", "CREATED"], rows)
}

/// Cell of a table for a text that may be missing.
pub(crate) fn or_dash(text: Option<String>) -> String {
    text.filter(|text| !text.is_empty()).unwrap_or_else(|| "-".to_owned())
}

fn row(out: Output, secret: Secret) -> [String; 7] {
    let (profile, state) = (profile(&secret), state(&secret));
    [
        or_dash(secret.name),
        secret.uid,
        secret.kind,
        state,
        profile,
        out.time(secret.date_created),
        out.time(or_dash(secret.last_used)),
    ]
}

/// The status, with what an import left to do.
fn state(secret: &Secret) -> String {
    let marks = [("imported", secret.imported), ("weak", secret.weak)];
    let marks = marks.into_iter().filter(|(_, is_set)| *is_set == Some(true)).map(|(mark, _)| mark);
    std::iter::once(secret.status.as_str()).chain(marks).collect::<Vec<_>>().join(", ")
}

fn profile(secret: &Secret) -> String {
    let parts = [
        secret.otp_kind.clone(),
        secret.algorithm.clone(),
        secret.digits.map(|digits| format!("{digits} digits")),
        secret.period.map(|period| format!("{period} s")),
        secret.counter.map(|counter| format!("counter {counter}")),
        secret.remaining.map(|left| format!("{left} left")),
        secret.device.as_ref().map(|key| format!("on key {}", key.key)),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    if parts.is_empty() { "-".to_owned() } else { parts.join(" ") }
}

/// The kind of a secret as people call it.
fn in_words(kind: &str) -> &str {
    match kind {
        "mfa" => "authenticator",
        "fido2" => "security key",
        "mfabackup" => "backup codes",
        "apikey" => "API key",
        other => other,
    }
}

async fn rename(context: &mut Context, acting: &Acting, wanted: &str, name: &str) -> Result<(), Failure> {
    let secret = find(context, acting, wanted).await?;
    let body = Body::new().member("name", name).member("version", secret.version);
    let answer = context.client.ask(Call::put(one(acting, &secret)).by(&acting.authority).with(body)).await?;
    if context.out.is_json() {
        return context.out.document(answer.text());
    }
    context.out.note(&format!("renamed {} to {}", visible(wanted), visible(name)))
}

async fn delete(context: &mut Context, acting: &Acting, wanted: &str) -> Result<(), Failure> {
    let secret = find(context, acting, wanted).await?;
    remove(context, acting, &secret).await
}

/// Asks for confirmation, then deletes the secret.
pub(crate) async fn remove(context: &mut Context, acting: &Acting, secret: &Secret) -> Result<(), Failure> {
    let mut is_last = false;
    if guards(secret) {
        must_have_proof(acting)?;
        is_last = all(context, acting).await?.iter().filter(|secret| guards(secret)).count() == 1;
    }
    let name = secret.name.as_deref().unwrap_or("without a name");
    let what = format!("{} {name} ({}, {})", in_words(&secret.kind), secret.uid, secret.status);
    let warning = match secret.kind.as_str() {
        _ if is_last => " It is the last factor: then the password alone lets the user in, and the backup codes end.",
        "mfabackup" => " Then no code takes the place of an authenticator that is lost.",
        _ => "",
    };
    context.prompter.confirm(format!("delete {}?{warning}", visible(&what))).await?;
    if secret.device.as_ref().is_some_and(|on| KeyId::parse(&on.key).is_some_and(|key| key.changes_by_touch())) {
        ask_for_touch(context.out);
    }
    let answer = context.client.ask(Call::delete(one(acting, secret)).by(&acting.authority)).await?;
    if context.out.is_json() {
        return context.out.document(answer.text());
    }
    context.out.note(&format!("deleted {}", visible(&what)))?;
    match answer.read::<AccountLeft>() {
        Ok(left) => context.out.note(&visible(&left.detail)),
        // Nothing is left.
        Err(_) => Ok(()),
    }
}

async fn renew(context: &mut Context, acting: &Acting, on: &ActOnUser) -> Result<(), Failure> {
    // Who may not do it is told so, and is not asked first.
    if all(context, acting).await?.iter().any(guards) {
        must_have_proof(acting)?;
    }
    let question = format!("renew the backup codes of {}? The present ones end at once.", visible(&on.user));
    context.prompter.confirm(question).await?;
    let answer = context.client.ask(Call::post(acting.path("/codes")).by(&acting.authority)).await?;
    if context.out.is_json() {
        return context.out.document(answer.text());
    }
    context.out.note(&format!("the previous backup codes of {} are no longer valid", visible(&on.user)))?;
    print_codes(context.out, &answer.read()?)
}

fn one(acting: &Acting, secret: &Secret) -> String {
    acting.path(&format!("/secrets/{}", segment(&secret.uid)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(uid: &str, name: &str) -> Secret {
        let record = serde_json::json!({
            "uid": uid, "type": "mfa", "name": name, "status": "active", "dateCreated": "", "version": 1,
            "kind": "hotp", "digits": 6, "counter": 3,
        });
        serde_json::from_value(record).unwrap()
    }

    #[test]
    fn a_secret_is_found_by_uid_or_by_name() {
        let secrets = || vec![secret("1", "phone"), secret("2", "key")];

        assert_eq!(pick(secrets(), "2").unwrap().uid, "2");
        assert_eq!(pick(secrets(), "phone").unwrap().uid, "1");
        assert!(pick(secrets(), "pho").is_err());
    }

    #[test]
    fn two_of_one_name_need_the_uid() {
        assert!(pick(vec![secret("1", "phone"), secret("2", "phone")], "phone").is_err());
    }

    #[test]
    fn a_profile_says_what_is_known() {
        assert_eq!(profile(&secret("1", "phone")), "hotp 6 digits counter 3");
    }
}
