//! `device password`: the OATH password of a hardware key.

use super::show::{print_escrow, yes_or_no};
use crate::call::{Authority, Body, Call};
use crate::client::Answer;
use crate::context::Context;
use crate::device_args::{DevicePasswordArgs, PasswordDeed};
use crate::failure::Failure;
use crate::prompt::{KEY_PASSWORD, Source};
use crate::secret_text::Hidden;
use mfad_api::DevicePassword;
use mfad_core::model::KeyId;

/// Change to make to the password.
enum Deed {
    Learn,
    Set(Hidden),
    Random,
    Remove,
}

pub(super) async fn run(context: &mut Context, args: &DevicePasswordArgs) -> Result<(), Failure> {
    // `--learn` always needs the current password. Otherwise it is asked for only if the daemon does not know it.
    let source = Source::chosen(false, args.current_file.as_deref());
    let mut current = match source {
        Source::File(_) => Some(context.prompter.secret(KEY_PASSWORD, &source).await?),
        Source::Prompt | Source::Stdin if args.deed.learn => {
            Some(context.prompter.secret(KEY_PASSWORD, &source).await?)
        }
        Source::Prompt | Source::Stdin => None,
    };
    let deed = deed(context, args).await?;
    let mut answer = change(context, args, &deed, current.as_ref()).await;
    if current.is_none() && !context.prompter.no_input && wants_current(&answer) {
        current = Some(context.prompter.secret(KEY_PASSWORD, &source).await?);
        answer = change(context, args, &deed, current.as_ref()).await;
    }
    tell(context, args.on.key, &answer?)
}

async fn deed(context: &Context, args: &DevicePasswordArgs) -> Result<Deed, Failure> {
    let PasswordDeed { learn, change: _default, random, remove } = args.deed;
    Ok(match (learn, random, remove) {
        (true, _, _) => Deed::Learn,
        (_, true, _) => Deed::Random,
        (_, _, true) => Deed::Remove,
        (false, false, false) => {
            let key = format!("key {}", args.on.key);
            Deed::Set(context.prompter.new_password(&args.new.source(), &key, 1).await?)
        }
    })
}

async fn change(
    context: &mut Context,
    args: &DevicePasswordArgs,
    deed: &Deed,
    current: Option<&Hidden>,
) -> Result<Answer, Failure> {
    let body = match deed {
        Deed::Learn => Body::new(),
        Deed::Set(new) => Body::new().secret("new", new, "$NEW_PASSWORD"),
        Deed::Random => Body::new().member("random", true),
        Deed::Remove => Body::new().member("remove", true),
    };
    let body = match current {
        Some(current) => body.secret("current", current, "$PASSWORD"),
        None => body,
    };
    let authority = Authority::Reason(args.on.reason.clone());
    let path = format!("/v1/devices/{}/oath/password", args.on.key);
    context.client.ask(Call::put(path).by(&authority).with(body)).await
}

/// Whether the daemon refused because it does not know the current password.
fn wants_current(answer: &Result<Answer, Failure>) -> bool {
    matches!(answer, Err(Failure::Refused(problem)) if problem.code == "device-locked")
}

fn tell(context: &Context, key: KeyId, answer: &Answer) -> Result<(), Failure> {
    if context.out.is_json() {
        return context.out.document(answer.text());
    }
    let now: DevicePassword = answer.read()?;
    context.out.pairs(&[
        ("key", key.to_string()),
        ("has a password", yes_or_no(now.locked)),
        ("known to the daemon", yes_or_no(now.password_known)),
    ])?;
    match &now.escrow {
        Some(escrow) => print_escrow(context.out, escrow),
        None => Ok(()),
    }
}
