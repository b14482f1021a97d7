//! Hardware keys in readers and security keys in ports.

use serde::{Deserialize, Serialize};

use crate::closed_list::closed_list;

closed_list! {
    /// What the daemon knows of a hardware key.
    DeviceState {
        /// Nothing was put onto it.
        New = "new",
        /// The daemon put something onto it.
        Known = "known",
        /// It was reset since.
        Reset = "reset",
        /// It does not answer.
        Unreachable = "unreachable",
    }
}

/// The hardware keys that are plugged in.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DeviceList {
    /// The keys.
    pub devices: Vec<Device>,
}

/// A hardware key.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Device {
    /// The serial number, if the key tells it.
    pub serial: Option<u64>,
    /// The model.
    pub model: Option<String>,
    /// The firmware.
    pub firmware: Option<String>,
    /// The shape.
    pub form_factor: Option<String>,
    /// `usb` or `nfc`.
    pub transport: String,
    /// The name of the reader.
    pub reader: String,
    /// The OATH applet, if it can be reached.
    pub oath: Option<Applet>,
    /// Whether FIDO2 is enabled, if the key tells.
    pub fido2: Option<Fido2State>,
    /// `new`, `known`, `reset` or `unreachable`.
    pub state: String,
    /// Factors of this daemon on it.
    pub programmed: u64,
    /// Why it cannot be reached.
    pub problem: Option<DeviceProblem>,
    /// The factors on it; only where one key is shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<Vec<DeviceCredential>>,
    /// The password of its applet, sealed to the escrow's recipient; only where one key is shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub escrow: Option<Option<String>>,
}

/// The OATH applet of a key.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Applet {
    /// Its version.
    pub version: String,
    /// Its id; a reset changes it.
    pub device_id: String,
    /// Accounts on it; unknown while it is locked.
    pub accounts: Option<u64>,
    /// How many accounts fit.
    pub capacity: Option<u32>,
    /// Whether it has a password.
    pub locked: bool,
    /// Whether the daemon keeps that password.
    pub password_known: bool,
    /// Whether it can require a touch.
    pub touch: bool,
}

/// FIDO2 on a key.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Fido2State {
    /// Whether it is enabled.
    pub enabled: bool,
}

/// Why a key cannot be reached.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DeviceProblem {
    /// An error code.
    pub code: String,
    /// A sentence for people.
    pub detail: String,
}

/// A factor of the daemon on a key.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeviceCredential {
    /// The factor.
    pub secret_id: String,
    /// Its user.
    pub user_id: String,
    /// The name of the account on the key.
    pub credential: String,
    /// `intended`, `programmed` or `erase`.
    pub status: String,
    /// Whether each code needs a touch.
    pub touch: bool,
}

/// The accounts on a key.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AccountList {
    /// The accounts.
    pub accounts: Vec<Account>,
}

/// An account on a key, of this daemon or of another program.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Account {
    /// The name on the key.
    pub name: String,
    /// The issuer in that name.
    #[serde(default)]
    pub issuer: Option<String>,
    /// The account in that name.
    #[serde(default)]
    pub account: String,
    /// `totp` or `hotp`.
    pub kind: String,
    /// `SHA1`, `SHA256` or `SHA512`.
    pub algorithm: String,
    /// The factor, if it is one of this daemon.
    pub secret_id: Option<String>,
    /// Its user.
    pub user_id: Option<String>,
    /// Seconds of a step; time-based accounts only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub period: Option<u64>,
    /// Whether each code needs a touch; time-based accounts only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub touch: Option<bool>,
}

/// The password of a key's applet.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DevicePassword {
    /// Whether there is one.
    pub locked: bool,
    /// Whether the daemon keeps it.
    pub password_known: bool,
    /// The new one, sealed to the escrow's recipient.
    pub escrow: Option<String>,
}

/// A key that proved to be genuine.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GenuineDevice {
    /// The serial number.
    pub serial: u64,
    /// The firmware.
    pub firmware: String,
    /// The PIV slot whose key was attested.
    pub slot: String,
    /// The name of the root certificate.
    pub root: String,
}

/// A key that was taken back from its user.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ReturnedDevice {
    /// The serial number.
    #[serde(default)]
    pub serial: u64,
    /// The outcome for each factor on it.
    pub credentials: Vec<ReturnedCredential>,
}

/// The outcome for one factor on a returned key.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReturnedCredential {
    /// The factor.
    pub secret_id: String,
    /// Its user.
    pub user_id: String,
    /// The name of the account on the key.
    pub credential: String,
    /// Whether the key gave a right code.
    pub proved: bool,
    /// Whether the account is gone from the key.
    pub erased: bool,
    /// Whether the factor is gone from the store.
    pub revoked: bool,
}

/// The security keys that are plugged in.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecurityKeyList {
    /// The keys.
    pub security_keys: Vec<SecurityKey>,
}

/// A security key in a port of this host.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SecurityKey {
    /// The name of its device node.
    pub node: String,
    /// What it calls itself.
    pub product: String,
    /// The protocol versions that it speaks.
    pub versions: Option<Vec<String>>,
    /// The id of its model (AAGUID).
    #[serde(default)]
    pub aaguid: Option<String>,
    /// Whether it has a PIN; none if it cannot have one.
    pub pin: Option<bool>,
    /// Whether it knows a fingerprint; none if it cannot.
    pub fingerprint: Option<bool>,
    /// Why it does not answer.
    pub problem: Option<DeviceProblem>,
}

/// A key that was plugged in or pulled.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DeviceEvent {
    /// 1, 2, 3, …
    #[serde(default)]
    pub seq: u64,
    /// `attached` or `removed`.
    pub event: String,
    /// When, RFC 3339 in UTC.
    #[serde(default)]
    pub time: String,
    /// The name of the reader.
    pub reader: String,
    /// The serial number, if the key tells it.
    pub serial: Option<u64>,
    /// `new`, `known`, `reset` or `unreachable`.
    pub state: Option<String>,
}

impl Device {
    /// The factors on the key; none where they are not shown.
    pub fn credentials(&self) -> &[DeviceCredential] {
        self.credentials.as_deref().unwrap_or_default()
    }
}
