//! `device provision`: programs a factor of one user onto one hardware key.

use serde_json::json;

use crate::acting::Acting;
use crate::call::{Body, Call};
use crate::client::Answer;
use crate::code::ask_for_touch;
use crate::context::Context;
use crate::device_args::ProvisionArgs;
use crate::failure::Failure;
use crate::output::{Output, visible};
use crate::receipt;
use crate::secrets::{find, print_codes};
use mfad_api::{BackupCodes, Provisioned, Secret};

pub(super) async fn run(context: &mut Context, args: &ProvisionArgs) -> Result<(), Failure> {
    // Checked before anything is programmed, since the receipt is returned only once.
    if let Some(file) = args.receipt.as_ref().filter(|file| file.exists()) {
        return Err(Failure::Usage(format!("{} already exists; choose a new file for the receipt", file.display())));
    }
    let acting = Acting::begin(context, &args.on.user, &args.on.acting).await?;
    let provisioned = provision(context, &acting, args).await;
    acting.end(context).await;
    provisioned
}

async fn provision(context: &mut Context, acting: &Acting, args: &ProvisionArgs) -> Result<(), Failure> {
    let spare_of = match &args.spare_of {
        Some(wanted) => Some(find(context, acting, wanted).await?.uid),
        None => None,
    };
    let changes_by_touch = args.key.is_some_and(|key| key.changes_by_touch());
    if args.touch && (!args.pending || changes_by_touch) {
        ask_for_touch(context.out);
    }
    let call = Call::post(acting.path("/secrets")).by(&acting.authority).with(body(args, spare_of.as_deref()));
    let answer = context.client.ask(call).await?;
    let Provisioned { record, receipt, codes } = answer.read()?;
    // Backup codes are returned only once, so they are shown before writing a file can fail.
    show(
        context.out,
        args,
        &answer,
        &record,
        &BackupCodes { record: None, codes: codes.unwrap_or_default(), session: None },
    )?;
    match &args.receipt {
        Some(file) => match receipt::keep(file, &receipt) {
            Ok(()) => context.out.note(&visible(&format!("receipt written to {}", file.display()))),
            Err(error) => {
                context.out.show(&visible(&receipt))?;
                Err(Failure::Output(format!("cannot write the receipt to {}: {error}", file.display())))
            }
        },
        None if context.out.is_json() || context.out.is_quiet() => Ok(()),
        None => {
            context.out.note("receipt, shown only once (--receipt FILE writes it to a file):")?;
            context.out.line(&visible(&receipt))
        }
    }
}

fn body(args: &ProvisionArgs, spare_of: Option<&str>) -> Body {
    let device = match args.key {
        Some(key) => json!({"key": key.to_string()}),
        None => json!({"any": true}),
    };
    let body = Body::new().member("type", "mfa").optional("name", args.name.as_deref());
    args.profile
        .add_to(body)
        .optional("accountName", args.account.as_deref())
        .member("device", device)
        .member("activate", if args.pending { "by-code" } else { "by-device" })
        .optional("touch", args.touch.then_some(true))
        .optional("replace", args.force.then_some(true))
        .optional("protect", args.protect.then_some(true))
        .optional("spareOf", spare_of)
}

fn show(
    out: Output,
    args: &ProvisionArgs,
    answer: &Answer,
    record: &Secret,
    codes: &BackupCodes,
) -> Result<(), Failure> {
    if out.is_json() {
        return out.document(answer.text());
    }
    let on =
        record.device.as_ref().map_or_else(|| "the hardware key".to_owned(), |key| format!("hardware key {}", key.key));
    let account = record.device.as_ref().map(|key| format!(" as {}", key.credential)).unwrap_or_default();
    out.note(&visible(&format!(
        "factor {} of {} is on {on}{account} and {}",
        record.name.as_deref().unwrap_or(&record.uid),
        args.on.user,
        record.status
    )))?;
    if args.pending {
        let finish = format!("mfactl enroll {} --finish {}", args.on.user, record.uid);
        return out.note(&visible(&format!("finish with: {finish}, or the same with --device")));
    }
    if codes.codes.is_empty() {
        return out.note("the backup codes made with the first factor remain valid");
    }
    print_codes(out, codes)
}
