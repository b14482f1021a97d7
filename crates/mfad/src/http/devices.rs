//! Hardware keys on the wire: the bodies that their routes take, and the JSON of their answers.

use serde::Deserialize;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use mfad_core::model::{AccountName, SecretId, Serial};
use mfad_service::{
    AccountView, Activation, AppletView, Call, CredentialView, DeviceEvent, DeviceOfSecret, DeviceRef, GenuineView,
    KeyView, MfaOrder, OnDevice, PROOFS, PasswordChange, PivSlot, ProvisionOrder, ReturnedView, SecurityKeyView,
};

use super::bodies::{LONGEST_PASSWORD, wrong};
use super::problem::Problem;
use super::wire::{SecretText, present, time};

/// The member `device` of a new factor.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceMember {
    #[serde(default, deserialize_with = "present")]
    serial: Option<u32>,
    #[serde(default, deserialize_with = "present")]
    any: Option<bool>,
    #[serde(default, deserialize_with = "present")]
    password: Option<SecretText>,
}

/// The members of a new factor that go with `device`.
#[derive(Default)]
pub struct HardwareMembers {
    pub touch: Option<bool>,
    pub activate: Option<String>,
    pub replace: Option<bool>,
    pub protect: Option<bool>,
    pub spare_of: Option<String>,
}

impl HardwareMembers {
    /// Whether there is any.
    pub fn is_there(&self) -> bool {
        self.touch.is_some()
            || self.activate.is_some()
            || self.replace.is_some()
            || self.protect.is_some()
            || self.spare_of.is_some()
    }
}

/// A factor to be put onto a hardware key.
pub fn provision_order(
    mfa: MfaOrder,
    device: DeviceMember,
    members: HardwareMembers,
) -> Result<ProvisionOrder, Problem> {
    let activation = match members.activate.as_deref() {
        None | Some("by-code") => Activation::ByCode,
        Some("by-device") => Activation::ByDevice,
        Some(_) => return Err(wrong("activate")),
    };
    let spare_of = members.spare_of.map(|id| SecretId::parse(&id).ok_or_else(|| wrong("spareOf"))).transpose()?;
    Ok(ProvisionOrder {
        name: mfa.name,
        profile: mfa.profile,
        issuer: mfa.issuer,
        account: mfa.account,
        device: match (device.serial, device.any) {
            (Some(number), None) => DeviceRef::Serial(Serial::new(number).ok_or_else(|| wrong("serial"))?),
            (None, Some(true)) => DeviceRef::Any,
            _ => return Err(Problem::malformed("`device` has one of `serial` and `any: true`")),
        },
        password: device.password.map(|text| password(text, "password")).transpose()?,
        touch: members.touch.unwrap_or(false),
        activation,
        replace: members.replace.unwrap_or(false),
        protect: members.protect.unwrap_or(false),
        spare_of,
    })
}

fn password(text: SecretText, member: &str) -> Result<mfad_core::model::Sensitive<String>, Problem> {
    if (1..=LONGEST_PASSWORD).contains(&text.0.expose().len()) { Ok(text.0) } else { Err(wrong(member)) }
}

/// `PUT /devices/:serial/oath/accounts/:name`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RenameBody {
    name: String,
}

impl RenameBody {
    /// The new name.
    pub fn name(&self) -> Result<AccountName, Problem> {
        let is_clean = !self.name.chars().any(char::is_control);
        AccountName::from_bytes(self.name.as_bytes()).filter(|_| is_clean).ok_or_else(|| wrong("name"))
    }
}

/// `PUT /devices/:serial/oath/password`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DevicePasswordBody {
    #[serde(default, deserialize_with = "present")]
    current: Option<SecretText>,
    #[serde(default, deserialize_with = "present")]
    new: Option<SecretText>,
    #[serde(default, deserialize_with = "present")]
    random: Option<bool>,
    #[serde(default, deserialize_with = "present")]
    remove: Option<bool>,
}

impl DevicePasswordBody {
    /// What it asks for.
    pub fn call(self, serial: Serial) -> Result<Call, Problem> {
        let current = self.current.map(|text| password(text, "current")).transpose()?;
        let change = match (self.new, self.random, self.remove) {
            (None, None, None) if current.is_some() => PasswordChange::Learn,
            (Some(new), None, None) => PasswordChange::Set(password(new, "new")?),
            (None, Some(true), None) => PasswordChange::Random,
            (None, None, Some(true)) => PasswordChange::Remove,
            _ => {
                return Err(Problem::malformed("one of `current`, `new`, `random: true` and `remove: true` is needed"));
            }
        };
        Ok(Call::ChangeDevicePassword { serial, change, current })
    }
}

/// The query parameter `device` of a factor that is to go.
pub fn on_device(text: &str) -> Result<OnDevice, Problem> {
    match text {
        "erase" => Ok(OnDevice::Erase),
        "keep" => Ok(OnDevice::Keep),
        _ => Err(wrong("device")),
    }
}

/// A key.
pub fn key_value(key: &KeyView) -> Value {
    Value::Object(key_members(key))
}

/// A key with the factors on it.
pub fn key_with_credentials(key: &KeyView, credentials: &[CredentialView], escrow: Option<&str>) -> Value {
    let mut members = key_members(key);
    members.insert("credentials".to_owned(), credentials.iter().map(credential_value).collect());
    members.insert("escrow".to_owned(), json!(escrow));
    Value::Object(members)
}

fn key_members(key: &KeyView) -> Map<String, Value> {
    let mut members = Map::new();
    let mut put = |name: &str, value: Value| members.insert(name.to_owned(), value);
    put("serial", json!(key.serial.map(Serial::number)));
    put("model", json!(key.model));
    put("firmware", json!(key.firmware.map(|firmware| firmware.to_string())));
    put("formFactor", json!(key.form_factor));
    put("transport", json!(if key.is_nfc { "nfc" } else { "usb" }));
    put("reader", json!(key.reader));
    put("oath", key.oath.as_ref().map_or(Value::Null, applet_value));
    put("fido2", key.fido2.map_or(Value::Null, |enabled| json!({ "enabled": enabled })));
    put("state", json!(key.state.name()));
    put("programmed", json!(key.programmed));
    let problem = key.problem.as_ref().map(Problem::from);
    put("problem", problem.map_or(Value::Null, |problem| json!({ "code": problem.code, "detail": problem.detail })));
    members
}

/// A security key in a port.
pub fn security_key_value(key: &SecurityKeyView) -> Value {
    let facts = key.facts.as_ref().ok();
    let problem = key.facts.as_ref().err().map(Problem::from);
    json!({
        "node": key.node,
        "product": key.product,
        "versions": facts.map(|facts| &facts.versions),
        "aaguid": facts.and_then(|facts| facts.aaguid).map(|id| Uuid::from_bytes(id).to_string()),
        "pin": facts.and_then(|facts| facts.has_pin),
        "fingerprint": facts.and_then(|facts| facts.has_fingerprint),
        "problem": problem.map(|problem| json!({ "code": problem.code, "detail": problem.detail })),
    })
}

fn applet_value(applet: &AppletView) -> Value {
    json!({
        "version": applet.version.to_string(),
        "deviceId": applet.device_id.as_str(),
        "accounts": applet.accounts,
        "capacity": applet.capacity,
        "locked": applet.has_password,
        "passwordKnown": applet.is_password_known,
        "touch": applet.has_touch,
    })
}

fn credential_value(credential: &CredentialView) -> Value {
    json!({
        "secretId": credential.secret.to_string(),
        "userId": credential.user.to_string(),
        "credential": credential.name.to_string(),
        "status": credential.status,
        "touch": credential.touch,
    })
}

/// An account on a key.
pub fn account_value(account: &AccountView) -> Value {
    let (period, issuer, name) = account.name.parts(account.is_hotp);
    let mut value = json!({
        "name": account.name.to_string(),
        "issuer": issuer,
        "account": name,
        "kind": if account.is_hotp { "hotp" } else { "totp" },
        "algorithm": account.algorithm.name(),
        "secretId": account.owner.map(|(secret, _)| secret.to_string()),
        "userId": account.owner.map(|(_, user)| user.to_string()),
    });
    if let (Some(members), false) = (value.as_object_mut(), account.is_hotp) {
        members.insert("period".to_owned(), json!(period));
        members.insert("touch".to_owned(), json!(account.touch.unwrap_or(false)));
    }
    value
}

/// Where a factor lies.
pub fn device_of_secret(device: &DeviceOfSecret) -> Value {
    json!({
        "serial": device.serial.number(),
        "firmware": device.firmware,
        "deviceId": device.device_id.as_str(),
        "credential": device.name.to_string(),
        "touch": device.touch,
        "proof": { "challenges": PROOFS, "time": time(device.proved) },
    })
}

/// A key that proved to be genuine.
pub fn genuine_value(genuine: &GenuineView) -> Value {
    json!({
        "serial": genuine.serial.number(),
        "firmware": genuine.firmware.to_string(),
        "slot": genuine.slot.to_string(),
        "root": genuine.root,
    })
}

/// The query parameter `slot` of an attestation.
pub fn piv_slot(text: &str) -> Result<PivSlot, Problem> {
    PivSlot::parse(text).ok_or_else(|| wrong("slot"))
}

/// What became of a factor on a returned key.
pub fn returned_value(returned: &ReturnedView) -> Value {
    json!({
        "secretId": returned.secret.to_string(),
        "userId": returned.user.to_string(),
        "credential": returned.name.to_string(),
        "proved": returned.is_proved,
        "erased": returned.is_erased,
        "revoked": returned.is_revoked,
    })
}

/// A key that came or went, as a server-sent event.
pub fn event_text(event: &DeviceEvent) -> String {
    let name = if event.is_attached { "attached" } else { "removed" };
    let data = json!({
        "seq": event.seq,
        "event": name,
        "time": time(event.at),
        "reader": event.reader,
        "serial": event.serial.map(Serial::number),
        "state": event.state.map(|state| state.name()),
    });
    format!("id: {}\nevent: {name}\ndata: {data}\n\n", event.seq)
}
