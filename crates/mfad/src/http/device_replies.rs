//! Converts views of hardware keys and security keys into the JSON of `mfad-api`.

use mfad_api as api;
use mfad_core::model::{AccountName, KeyId, Serial};
use mfad_service::error::Error;
use mfad_service::{
    AccountView, AppletView, CredentialView, DeviceEvent, DeviceOfSecret, GenuineView, Gives, KeyView, ReturnedView,
    SecurityKeyView,
};
use uuid::Uuid;

use super::json::time;
use super::problem::Problem;

/// Converts a hardware key, without the factors on it.
pub(super) fn device(key: &KeyView) -> api::Device {
    api::Device {
        key: key.key.map(|key| key.to_string()),
        serial: key.key.and_then(serial),
        model: key.model.map(str::to_owned),
        firmware: key.firmware.map(|firmware| firmware.to_string()),
        form_factor: key.form_factor.map(str::to_owned),
        transport: if key.is_nfc { "nfc" } else { "usb" }.to_owned(),
        reader: key.reader.clone(),
        oath: key.oath.as_ref().map(applet),
        fido2: key.fido2.map(|enabled| api::Fido2State { enabled }),
        state: key.state.name().to_owned(),
        programmed: count(key.programmed),
        problem: key.problem.as_ref().map(problem),
        credentials: None,
        escrow: None,
    }
}

fn number(serial: Serial) -> u64 {
    u64::from(serial.number())
}

/// The serial number of a key of Yubico.
pub(super) fn serial(key: KeyId) -> Option<u64> {
    key.serial().map(number)
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

fn problem(error: &Error) -> api::DeviceProblem {
    let problem = Problem::from(error);
    api::DeviceProblem { code: problem.code.as_str().to_owned(), detail: problem.detail }
}

/// Converts a security key that is plugged into this host.
pub(super) fn security_key(key: &SecurityKeyView) -> api::SecurityKey {
    let facts = key.facts.as_ref().ok();
    api::SecurityKey {
        node: key.node.clone(),
        product: key.product.clone(),
        versions: facts.map(|facts| facts.versions.clone()),
        aaguid: facts.and_then(|facts| facts.aaguid).map(|id| Uuid::from_bytes(id).to_string()),
        pin: facts.and_then(|facts| facts.has_pin),
        fingerprint: facts.and_then(|facts| facts.has_fingerprint),
        problem: key.facts.as_ref().err().map(problem),
    }
}

fn applet(applet: &AppletView) -> api::Applet {
    api::Applet {
        version: applet.version.to_string(),
        device_id: applet.device_id.as_str().to_owned(),
        accounts: applet.accounts.map(count),
        capacity: applet.capacity,
        locked: applet.has_password,
        password_known: applet.is_password_known,
        touch: applet.has_touch,
    }
}

/// Converts a factor of this daemon on a hardware key.
pub(super) fn credential(credential: &CredentialView) -> api::DeviceCredential {
    api::DeviceCredential {
        secret_id: credential.secret.to_string(),
        user_id: credential.user.to_string(),
        credential: credential.name.to_string(),
        status: credential.status.to_owned(),
        touch: credential.touch,
    }
}

/// Converts an OATH account on a hardware key.
pub(super) fn account(account: &AccountView) -> api::Account {
    let (kind, algorithm) = match account.gives {
        Gives::Totp(algorithm) => ("totp", Some(algorithm)),
        Gives::Hotp(algorithm) => ("hotp", Some(algorithm)),
        Gives::Other => ("other", None),
    };
    let is_totp = kind == "totp";
    let (period, issuer, name) = account.name.parts(!is_totp);
    api::Account {
        name: account.name.to_string(),
        issuer,
        account: name,
        kind: kind.to_owned(),
        algorithm: algorithm.map(|algorithm| algorithm.name().to_owned()),
        secret_id: account.owner.map(|(secret, _)| secret.to_string()),
        user_id: account.owner.map(|(_, user)| user.to_string()),
        period: is_totp.then_some(period),
        touch: is_totp.then_some(account.touch.unwrap_or(false)),
    }
}

/// Converts the hardware key that a factor is on.
pub(super) fn on_device_of(device: &DeviceOfSecret) -> api::OnDevice {
    api::OnDevice {
        key: device.key.to_string(),
        serial: serial(device.key),
        firmware: device.firmware.clone(),
        device_id: device.device_id.as_str().to_owned(),
        credential: device.name.to_string(),
        touch: device.touch,
        proof: Some(api::Proof { challenges: device.proofs, time: time(device.proved) }),
    }
}

/// Converts the result of an attestation.
pub(super) fn genuine(genuine: &GenuineView) -> api::GenuineDevice {
    api::GenuineDevice {
        serial: number(genuine.serial),
        firmware: genuine.firmware.to_string(),
        slot: genuine.slot.to_string(),
        root: genuine.root.clone(),
    }
}

/// Converts what is left of a deleted factor on its hardware key.
pub(super) fn account_left(key: KeyId, name: &AccountName) -> api::AccountLeft {
    let detail = format!(
        "the factor is deleted, and its account {name} is still on the key {key}, which erases accounts only when it is \
         touched: return the key with POST /devices/{key}/return, or program it again, and touch it when it blinks"
    );
    api::AccountLeft { key: key.to_string(), credential: name.to_string(), detail }
}

/// Converts the outcome for one factor on a returned hardware key.
pub(super) fn returned(returned: &ReturnedView) -> api::ReturnedCredential {
    api::ReturnedCredential {
        secret_id: returned.secret.to_string(),
        user_id: returned.user.to_string(),
        credential: returned.name.to_string(),
        proved: returned.is_proved,
        erased: returned.is_erased,
        revoked: returned.is_revoked,
    }
}

/// Writes the arrival or removal of a hardware key as a server-sent event.
pub(super) fn event_text(event: &DeviceEvent) -> String {
    let name = if event.is_attached { "attached" } else { "removed" };
    let event = api::DeviceEvent {
        seq: event.seq,
        event: name.to_owned(),
        time: time(event.at),
        reader: event.reader.clone(),
        key: event.key.map(|key| key.to_string()),
        serial: event.key.and_then(serial),
        state: event.state.map(|state| state.name().to_owned()),
    };
    let data = serde_json::to_string(&event).unwrap_or_default();
    format!("id: {}\nevent: {name}\ndata: {data}\n\n", event.seq)
}
