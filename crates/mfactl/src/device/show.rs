//! `device list`, `info`, `attest` and `accounts`: hardware keys as the daemon sees them.

use percent_encoding::NON_ALPHANUMERIC;

use crate::call::Call;
use crate::context::Context;
use crate::failure::Failure;
use crate::output::{Output, Tone, visible};
use crate::problem::advice;
use mfad_api::{Account, AccountList, Applet, Device, DeviceCredential, DeviceList, ErrorCode, GenuineDevice};
use mfad_core::model::KeyId;

pub(super) async fn list(context: &mut Context) -> Result<(), Failure> {
    let answer = context.client.ask(Call::get("/v1/devices")).await?;
    if context.out.is_json() {
        return context.out.document(answer.text());
    }
    let list: DeviceList = answer.read()?;
    let rows: Vec<[String; 6]> = list.devices.iter().map(row).collect();
    context.out.table(["KEY", "MODEL", "FIRMWARE", "STATE", "ACCOUNTS", "READER"], &["READER"], rows)?;
    list.devices.iter().for_each(|device| remark(context.out, device));
    if list.devices.is_empty() { context.out.note("no hardware key is plugged in") } else { Ok(()) }
}

pub(super) async fn info(context: &mut Context, key: KeyId) -> Result<(), Failure> {
    let answer = context.client.ask(Call::get(format!("/v1/devices/{key}"))).await?;
    if context.out.is_json() {
        return context.out.document(answer.text());
    }
    let device: Device = answer.read()?;
    context.out.pairs(&pairs(&device))?;
    if !device.credentials().is_empty() {
        let rows: Vec<[String; 5]> = device.credentials().iter().map(credential_row).collect();
        context.out.table(["ACCOUNT", "STATUS", "TOUCH", "USER", "SECRET"], &["USER", "SECRET"], rows)?;
    }
    if let Some(escrow) = &device.escrow.clone().flatten() {
        print_escrow(context.out, escrow)?;
    }
    remark(context.out, &device);
    Ok(())
}

pub(super) async fn attest(context: &mut Context, key: KeyId, slot: Option<&str>) -> Result<(), Failure> {
    let slot = slot.map(|slot| format!("?slot={}", percent_encoding::utf8_percent_encode(slot, NON_ALPHANUMERIC)));
    let path = format!("/v1/devices/{key}/attest{}", slot.unwrap_or_default());
    let answer = context.client.ask(Call::post(path)).await?;
    if context.out.is_json() {
        return context.out.document(answer.text());
    }
    let genuine: GenuineDevice = answer.read()?;
    context.out.pairs(&[
        ("serial", genuine.serial.to_string()),
        ("firmware", visible(&genuine.firmware)),
        ("attested slot", visible(&genuine.slot)),
        ("attested by", visible(&genuine.root)),
    ])?;
    context.out.note(&context.out.tone("the hardware key is genuine", Tone::Good))
}

pub(super) async fn accounts(context: &mut Context, key: KeyId) -> Result<(), Failure> {
    let answer = context.client.ask(Call::get(format!("/v1/devices/{key}/oath/accounts"))).await?;
    if context.out.is_json() {
        return context.out.document(answer.text());
    }
    let list: AccountList = answer.read()?;
    let rows: Vec<[String; 7]> = list.accounts.into_iter().map(account_row).collect();
    context.out.table(["NAME", "KIND", "ALGORITHM", "PERIOD", "TOUCH", "USER", "SECRET"], &["USER", "SECRET"], rows)
}

/// Prints the OATH password of a key, encrypted to the age recipient of the escrow.
pub(super) fn print_escrow(out: Output, escrow: &str) -> Result<(), Failure> {
    out.note("OATH password of the hardware key, encrypted to the escrow (decrypt it with age --decrypt):")?;
    escrow.lines().try_for_each(|line| out.line(&visible(line)))
}

pub(super) fn yes_or_no(value: bool) -> String {
    if value { "yes" } else { "no" }.to_owned()
}

fn or_dash(text: Option<String>) -> String {
    text.unwrap_or_else(|| "-".to_owned())
}

fn row(device: &Device) -> [String; 6] {
    [
        or_dash(device.key.clone()),
        or_dash(device.model.clone()),
        or_dash(device.firmware.clone()),
        device.state.clone(),
        or_dash(device.oath.as_ref().map(count)),
        device.reader.clone(),
    ]
}

/// Number of accounts and how many fit. `locked` if the daemon does not know the OATH password and cannot count them.
fn count(applet: &Applet) -> String {
    match (applet.accounts, applet.capacity) {
        (Some(accounts), Some(capacity)) => format!("{accounts}/{capacity}"),
        (Some(accounts), None) => accounts.to_string(),
        (None, _) => "locked".to_owned(),
    }
}

fn pairs(device: &Device) -> Vec<(&'static str, String)> {
    let mut pairs = vec![
        ("key", or_dash(device.key.clone())),
        ("model", or_dash(device.model.clone())),
        ("firmware", or_dash(device.firmware.clone())),
        ("form factor", or_dash(device.form_factor.clone())),
        ("reader", format!("{} ({})", device.reader, device.transport)),
        ("state", device.state.clone()),
        ("factors", device.programmed.to_string()),
        ("fido2", or_dash(device.fido2.as_ref().map(|fido| if fido.enabled { "on" } else { "off" }.to_owned()))),
    ];
    if let Some(applet) = &device.oath {
        pairs.extend([
            ("oath version", applet.version.clone()),
            ("oath device id", applet.device_id.clone()),
            ("accounts", count(applet)),
            ("password", password(applet).to_owned()),
            ("can require touch", yes_or_no(applet.touch)),
        ]);
    }
    pairs
}

fn password(applet: &Applet) -> &'static str {
    match (applet.locked, applet.password_known) {
        (false, _) => "none",
        (true, true) => "set, known to the daemon",
        (true, false) => "set, not known to the daemon",
    }
}

fn credential_row(credential: &DeviceCredential) -> [String; 5] {
    [
        credential.credential.clone(),
        credential.status.clone(),
        yes_or_no(credential.touch),
        credential.user_id.clone(),
        credential.secret_id.clone(),
    ]
}

fn account_row(account: Account) -> [String; 7] {
    [
        account.name,
        account.kind,
        or_dash(account.algorithm),
        or_dash(account.period.map(|seconds| format!("{seconds} s"))),
        or_dash(account.touch.map(yes_or_no)),
        or_dash(account.user_id),
        or_dash(account.secret_id),
    ]
}

/// Prints advice about a key with a problem, on standard error.
fn remark(out: Output, device: &Device) {
    if out.is_quiet() {
        return;
    }
    if let Some(text) = what_to_do(device) {
        out.aside(&visible(&text));
    }
}

fn what_to_do(device: &Device) -> Option<String> {
    if let Some(problem) = &device.problem {
        let advice =
            ErrorCode::parse(&problem.code).and_then(advice).map(|advice| format!("; {advice}")).unwrap_or_default();
        return Some(format!("the hardware key in {}: {}{advice}", device.reader, problem.detail));
    }
    let key = device.key.clone().unwrap_or_else(|| format!("in {}", device.reader));
    (device.state == "reset").then(|| {
        format!(
            "hardware key {key} was reset or exchanged after it was programmed, so the factors on it are lost: \
             delete them with mfactl secret delete and create new ones"
        )
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn device(more: Value) -> Device {
        let mut record = json!({
            "key": "7", "serial": 7, "model": "YubiKey 5", "firmware": "5.4.3", "formFactor": null, "transport": "usb",
            "reader": "Yubico 00 00", "oath": null, "fido2": null, "state": "known", "programmed": 0, "problem": null,
        });
        for (name, value) in more.as_object().unwrap() {
            record[name] = value.clone();
        }
        serde_json::from_value(record).unwrap()
    }

    fn applet(accounts: Value, locked: bool) -> Value {
        json!({"oath": {"version": "5.4.3", "deviceId": "x", "accounts": accounts, "capacity": 32, "locked": locked,
            "passwordKnown": false, "touch": true}})
    }

    #[test]
    fn accounts_are_shown_of_how_many_fit() {
        assert_eq!(row(&device(applet(json!(3), false)))[4], "3/32");
        assert_eq!(row(&device(applet(Value::Null, true)))[4], "locked");
        assert_eq!(row(&device(json!({})))[4], "-");
    }

    #[test]
    fn a_key_that_is_not_as_it_should_be_comes_with_what_to_do() {
        let busy = json!({"state": "unreachable", "problem": {"code": "device-busy", "detail": "in use"}});

        assert!(
            what_to_do(&device(busy)).unwrap().starts_with("the hardware key in Yubico 00 00: in use; end the program")
        );
        assert!(what_to_do(&device(json!({"state": "reset"}))).unwrap().starts_with("hardware key 7 was reset"));
        assert!(what_to_do(&device(json!({}))).is_none());
    }
}
