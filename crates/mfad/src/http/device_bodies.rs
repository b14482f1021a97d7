//! Bodies and query parameters about hardware keys, and their conversion into the arguments of calls.

use mfad_core::model::{AccountName, KeyId, Pin, SecretId, Serial};
use mfad_service::{
    Activation, Call, DeviceRef, KeyOrder, KeySetup, LocalKeyOrder, MfaOrder, OnDevice, PasswordChange, PivSlot,
    ProvisionOrder,
};
use serde::Deserialize;

use super::json::{LONGEST_PASSWORD, SecretText, present};
use super::problem::Problem;

/// The lengths that a security key can be told to ask of a PIN (CTAP 2.1 section 6.11.4), in characters.
const PIN_LENGTHS: std::ops::RangeInclusive<u8> = 4..=63;

/// The member `device` of a new factor: the hardware key to program, by id, by serial number or as the only one attached.
#[serde_with::apply(Option => #[serde(default, deserialize_with = "present")])]
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceMember {
    key: Option<String>,
    serial: Option<u32>,
    any: Option<bool>,
    password: Option<SecretText>,
}

/// The members of a new factor that are accepted only together with `device`.
#[derive(Default)]
pub(super) struct HardwareMembers {
    pub touch: Option<bool>,
    pub activate: Option<String>,
    pub replace: Option<bool>,
    pub protect: Option<bool>,
    pub spare_of: Option<String>,
}

impl HardwareMembers {
    /// Whether any of the members is present.
    pub(super) fn is_there(&self) -> bool {
        self.touch.is_some()
            || self.activate.is_some()
            || self.replace.is_some()
            || self.protect.is_some()
            || self.spare_of.is_some()
    }
}

/// The members of a security key that are accepted only together with `local: true`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct LocalKeyMembers {
    pub key: Option<String>,
    pub set_pin: Option<bool>,
    pub min_pin_length: Option<u64>,
    pub always_uv: Option<bool>,
    pub resident: Option<bool>,
}

/// Builds the order to register a security key in a port of this host.
pub(super) fn local_key_order(
    key: KeyOrder,
    pin: Option<Pin>,
    members: LocalKeyMembers,
) -> Result<LocalKeyOrder, Problem> {
    let sets_pin = members.set_pin.unwrap_or(false);
    if sets_pin && pin.is_none() {
        return Err(Problem::malformed("`setPin` needs the PIN as `pin`"));
    }
    let length = |length: u64| u8::try_from(length).ok().filter(|length| PIN_LENGTHS.contains(length));
    let shortest_pin = members
        .min_pin_length
        .map(|given| length(given).ok_or_else(|| Problem::malformed("`minPinLength` is 4 to 63")))
        .transpose()?;
    let on = members.key.map(|text| KeyId::parse(&text).ok_or_else(|| Problem::invalid("key"))).transpose()?;
    let setup = KeySetup { sets_pin, shortest_pin, always_verifies: members.always_uv.unwrap_or(false) };
    Ok(LocalKeyOrder { key, pin, on, setup, resident: members.resident.unwrap_or(false) })
}

/// Builds the order to program a factor onto a hardware key.
pub(super) fn provision_order(
    mfa: MfaOrder,
    device: DeviceMember,
    members: HardwareMembers,
) -> Result<ProvisionOrder, Problem> {
    let activation = match members.activate.as_deref() {
        None | Some("by-code") => Activation::ByCode,
        Some("by-device") => Activation::ByDevice,
        Some(_) => return Err(Problem::invalid("activate")),
    };
    let spare_of =
        members.spare_of.map(|id| SecretId::parse(&id).ok_or_else(|| Problem::invalid("spareOf"))).transpose()?;
    Ok(ProvisionOrder {
        name: mfa.name,
        profile: mfa.profile,
        issuer: mfa.issuer,
        account: mfa.account,
        device: match (device.key, device.serial, device.any) {
            (Some(text), None, None) => DeviceRef::Key(KeyId::parse(&text).ok_or_else(|| Problem::invalid("key"))?),
            (None, Some(number), None) => {
                DeviceRef::Key(Serial::new(number).ok_or_else(|| Problem::invalid("serial"))?.into())
            }
            (None, None, Some(true)) => DeviceRef::Any,
            _ => return Err(Problem::malformed("`device` has one of `key`, `serial` and `any: true`")),
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
    if (1..=LONGEST_PASSWORD).contains(&text.0.expose().len()) { Ok(text.0) } else { Err(Problem::invalid(member)) }
}

/// Body of `PUT /devices/:key/oath/accounts/:name`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RenameBody {
    name: String,
}

impl RenameBody {
    /// Parses the new name, which must have no control characters.
    pub(super) fn name(&self) -> Result<AccountName, Problem> {
        let is_clean = !self.name.chars().any(char::is_control);
        AccountName::from_bytes(self.name.as_bytes()).filter(|_| is_clean).ok_or_else(|| Problem::invalid("name"))
    }
}

/// Body of `PUT /devices/:key/oath/password`.
#[serde_with::apply(Option => #[serde(default, deserialize_with = "present")])]
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DevicePasswordBody {
    current: Option<SecretText>,
    new: Option<SecretText>,
    random: Option<bool>,
    remove: Option<bool>,
}

impl DevicePasswordBody {
    /// Returns the call. `current` alone lets the daemon learn the password that the key has; otherwise one change is
    /// required.
    pub(super) fn call(self, key: KeyId) -> Result<Call, Problem> {
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
        Ok(Call::ChangeDevicePassword { key, change, current })
    }
}

/// Parses the query parameter `device` of a deletion: whether to erase the factor's account on its hardware key.
pub(super) fn on_device(text: &str) -> Result<OnDevice, Problem> {
    match text {
        "erase" => Ok(OnDevice::Erase),
        "keep" => Ok(OnDevice::Keep),
        _ => Err(Problem::invalid("device")),
    }
}

/// Parses the query parameter `slot` of an attestation.
pub(super) fn piv_slot(text: &str) -> Result<PivSlot, Problem> {
    PivSlot::parse(text).ok_or_else(|| Problem::invalid("slot"))
}
