//! `device rename`, `delete`, `reset` and `return`: commands that change a hardware key. The daemon talks to the key
//! and decides what is permitted.

use crate::call::{Authority, Body, Call, segment};
use crate::code::ask_for_touch;
use crate::context::Context;
use crate::device_args::ChangeKey;
use crate::failure::{Exit, Failure};
use crate::output::{Output, Tone, visible};
use mfad_api::{ReturnedCredential, ReturnedDevice};
use mfad_core::model::KeyId;

/// Asks for the touch that some keys want for every change.
fn ask_if_needed(out: Output, key: KeyId) {
    if key.changes_by_touch() {
        ask_for_touch(out);
    }
}

pub(super) async fn rename(context: &mut Context, on: &ChangeKey, name: &str, new: &str) -> Result<(), Failure> {
    let authority = Authority::Reason(on.reason.clone());
    let body = Body::new().member("name", new);
    ask_if_needed(context.out, on.key);
    let answer = context.client.ask(Call::put(account(on.key, name)).by(&authority).with(body)).await?;
    if context.out.is_json() {
        return context.out.document(answer.text());
    }
    context.out.note(&format!("renamed {} to {} on hardware key {}", visible(name), visible(new), on.key))
}

pub(super) async fn delete(context: &mut Context, on: &ChangeKey, name: &str, force: bool) -> Result<(), Failure> {
    if !force {
        context.prompter.confirm(format!("delete account {} from hardware key {}?", visible(name), on.key)).await?;
    }
    let authority = Authority::Reason(on.reason.clone());
    ask_if_needed(context.out, on.key);
    let answer = context.client.ask(Call::delete(account(on.key, name)).by(&authority)).await?;
    if context.out.is_json() {
        return context.out.document(answer.text());
    }
    context.out.note(&format!("deleted {} from hardware key {}", visible(name), on.key))
}

pub(super) async fn reset(context: &mut Context, on: &ChangeKey, force: bool) -> Result<(), Failure> {
    if !force {
        let question =
            "erase all OATH accounts, including those of other programs, and the OATH password of hardware key";
        context.prompter.confirm(format!("{question} {}?", on.key)).await?;
    }
    let authority = Authority::Reason(on.reason.clone());
    let path = format!("/v1/devices/{}/oath/reset", on.key);
    ask_if_needed(context.out, on.key);
    let answer = context.client.ask(Call::post(path).by(&authority).with(Body::new())).await?;
    if context.out.is_json() {
        return context.out.document(answer.text());
    }
    context.out.note(&format!("reset the OATH application of hardware key {}", on.key))
}

/// Carries out `device return`: the daemon checks the factors on the key, revokes them and erases them.
pub(super) async fn take_back(context: &mut Context, on: &ChangeKey) -> Result<(), Failure> {
    let authority = Authority::Reason(on.reason.clone());
    let path = format!("/v1/devices/{}/return", on.key);
    // The daemon has the key compute a code for each account, and some accounts require a touch.
    ask_for_touch(context.out);
    let answer = context.client.ask(Call::post(path).by(&authority).with(Body::new())).await?;
    let returned: ReturnedDevice = answer.read()?;
    if context.out.is_json() {
        context.out.document(answer.text())?;
    } else {
        tell(context.out, on.key, &returned)?;
    }
    if returned.credentials.iter().all(is_whole) { Ok(()) } else { Err(Failure::Reported(Exit::Denied)) }
}

fn tell(out: Output, key: KeyId, returned: &ReturnedDevice) -> Result<(), Failure> {
    if returned.credentials.is_empty() {
        return out.note(&format!("no factor of this daemon is on hardware key {key}"));
    }
    for one in &returned.credentials {
        let steps = [("verified", one.proved), ("erased", one.erased), ("revoked", one.revoked)];
        let steps: Vec<String> = steps.into_iter().map(|(name, done)| step(out, name, done)).collect();
        let what = format!("{} of user {} (secret {})", one.credential, one.user_id, one.secret_id);
        out.line(&format!("{}: {}", visible(&what), steps.join(", ")))?;
    }
    if returned.credentials.iter().all(is_whole) {
        return out.note(&format!("hardware key {key} was returned"));
    }
    out.aside("incomplete: factors whose code was wrong were left unchanged");
    Ok(())
}

fn step(out: Output, name: &str, done: bool) -> String {
    if done { out.tone(name, Tone::Good) } else { format!("{} {name}", out.tone("not", Tone::Bad)) }
}

fn is_whole(one: &ReturnedCredential) -> bool {
    one.proved && one.erased && one.revoked
}

/// API path of an account on a key. The names of OATH accounts may contain `/`, which must not start a new segment.
fn account(key: KeyId, name: &str) -> String {
    format!("/v1/devices/{key}/oath/accounts/{}", segment(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_period_in_a_name_stays_in_its_segment() {
        assert_eq!(account(KeyId::parse("7").unwrap(), "60/mfad:ann"), "/v1/devices/7/oath/accounts/60%2Fmfad:ann");
    }
}
