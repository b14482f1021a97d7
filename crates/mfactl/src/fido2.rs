//! `fido2 …`: security keys plugged into the daemon's host, and those registered for users. The daemon talks to the
//! keys; this module never does.

use serde_json::Value;

use crate::acting::Acting;
use crate::call::{Body, Call};
use crate::cli::{Fido2Command, Fido2EnrollArgs};
use crate::code::ask_key;
use crate::context::Context;
use crate::failure::Failure;
use crate::output::{Output, visible};
use crate::prompt::Source;
use crate::secrets::{find, or_dash, print_first_codes, remove};
use mfad_api::{Secret, SecretList, SecurityKey, SecurityKeyList};

pub(crate) async fn run(context: &mut Context, command: &Fido2Command) -> Result<(), Failure> {
    let (user, how) = match command {
        Fido2Command::Enroll(args) => (&args.on.user, &args.on.acting),
        Fido2Command::Delete { on, .. } => (&on.user, &on.acting),
        Fido2Command::List { user: Some(user), acting } => (user, acting),
        Fido2Command::List { user: None, acting } if acting.as_user || acting.reason.is_some() => {
            return Err(Failure::Usage(
                "--as-user and --reason need a user; without one, the plugged-in security keys are listed".to_owned(),
            ));
        }
        Fido2Command::List { user: None, .. } => return list_plugged(context).await,
    };
    let acting = Acting::begin(context, user, how).await?;
    let done = match command {
        Fido2Command::Enroll(args) => enroll(context, &acting, args).await,
        Fido2Command::Delete { secret, .. } => delete(context, &acting, secret).await,
        Fido2Command::List { .. } => list_registered(context, &acting).await,
    };
    acting.end(context).await;
    done
}

async fn enroll(context: &mut Context, acting: &Acting, args: &Fido2EnrollArgs) -> Result<(), Failure> {
    if args.set_pin && args.pin.source() == Source::Prompt {
        // Otherwise the key would be asked without one first.
        return Err(Failure::Usage("--set-pin takes the new PIN from --pin-file or --pin-stdin".to_owned()));
    }
    let body = || {
        let body = Body::new()
            .member("type", "fido2")
            .member("local", true)
            .optional("name", args.name.as_deref())
            .optional("uv", args.uv.as_deref())
            .optional("key", args.key.map(|key| key.to_string()))
            .optional("setPin", args.set_pin.then_some(true));
        args.setup.add_to(body)
    };
    let call = || Call::post(acting.path("/secrets")).by(&acting.authority);
    let answer = ask_key(context, call, body, &args.pin.source()).await?;
    if context.out.is_json() {
        return context.out.document(answer.text());
    }
    let made: Secret = answer.read()?;
    let name = visible(&or_dash(made.name));
    context.out.note(&format!("the security key {name} is active; older sessions have ended"))?;
    print_first_codes(context.out, &answer.read()?)
}

async fn list_plugged(context: &mut Context) -> Result<(), Failure> {
    let answer = context.client.ask(Call::get("/v1/devices/fido2")).await?;
    if context.out.is_json() {
        return context.out.document(answer.text());
    }
    let list: SecurityKeyList = answer.read()?;
    let rows: Vec<[String; 5]> = list.security_keys.iter().map(row).collect();
    context.out.table(["PORT", "PRODUCT", "PROTOCOLS", "PIN", "FINGERPRINT"], &[], rows)?;
    list.security_keys.iter().for_each(|key| remark(context.out, key));
    if list.security_keys.is_empty() { context.out.note("no security key is plugged in") } else { Ok(()) }
}

fn row(key: &SecurityKey) -> [String; 5] {
    let whether = |it: Option<bool>| match it {
        Some(true) => "yes",
        Some(false) => "no",
        None => "-",
    };
    [
        key.node.clone(),
        key.product.clone(),
        or_dash(key.versions.as_ref().map(|versions| versions.join(" "))),
        whether(key.pin).to_owned(),
        whether(key.fingerprint).to_owned(),
    ]
}

fn remark(out: Output, key: &SecurityKey) {
    if let Some(problem) = &key.problem {
        out.aside(&visible(&format!("{}: {}", key.node, problem.detail)));
    }
}

async fn list_registered(context: &mut Context, acting: &Acting) -> Result<(), Failure> {
    let answer = context.client.ask(Call::get(acting.path("/secrets")).by(&acting.authority)).await?;
    if context.out.is_json() {
        // The API lists secrets of all types; the document keeps its shape with fewer entries.
        let mut all: Value = answer.read()?;
        if let Some(secrets) = all.get_mut("secrets").and_then(Value::as_array_mut) {
            secrets.retain(|secret| secret.get("type").is_some_and(|kind| kind == "fido2"));
        }
        return context.out.document(&all.to_string());
    }
    let list: SecretList = answer.read()?;
    let keys = list.secrets.into_iter().filter(|secret| secret.kind == "fido2");
    let out = context.out;
    let row = |key: Secret| {
        [or_dash(key.name), key.uid, key.status, out.time(key.date_created), out.time(or_dash(key.last_used))]
    };
    let rows: Vec<[String; 5]> = keys.map(row).collect();
    let is_empty = rows.is_empty();
    context.out.table(["NAME", "UID", "STATUS", "CREATED", "LAST USED"], &["UID"], rows)?;
    if is_empty { context.out.note("no security key is registered") } else { Ok(()) }
}

async fn delete(context: &mut Context, acting: &Acting, wanted: &str) -> Result<(), Failure> {
    let secret = find(context, acting, wanted).await?;
    if secret.kind != "fido2" {
        return Err(Failure::Denied(format!("{} is not a security key", visible(wanted))));
    }
    remove(context, acting, &secret).await
}
