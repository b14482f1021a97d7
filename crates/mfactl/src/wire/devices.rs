//! The JSON of hardware keys.

use serde::Deserialize;

/// The hardware keys that are plugged in.
#[derive(Debug, Deserialize)]
pub struct DeviceList {
    /// The keys.
    pub devices: Vec<Device>,
}

/// A hardware key.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Device {
    /// Number of the key, if it tells it.
    pub serial: Option<u64>,
    /// Model.
    pub model: Option<String>,
    /// Firmware.
    pub firmware: Option<String>,
    /// Shape.
    pub form_factor: Option<String>,
    /// `usb` or `nfc`.
    pub transport: String,
    /// Name of the reader.
    pub reader: String,
    /// Its OATH application.
    pub oath: Option<Applet>,
    /// Whether FIDO2 is on, if it tells.
    pub fido2: Option<Fido>,
    /// `new`, `known`, `reset` or `unreachable`.
    pub state: String,
    /// Factors of this daemon on it.
    pub programmed: u32,
    /// Why it cannot be reached.
    pub problem: Option<DeviceProblem>,
    /// The factors; only when one key is shown.
    #[serde(default)]
    pub credentials: Vec<Credential>,
    /// Its password for the holder of the escrow; only when one key is shown.
    pub escrow: Option<String>,
}

/// The security keys that are plugged in.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecurityKeyList {
    /// The keys.
    pub security_keys: Vec<SecurityKey>,
}

/// A security key.
#[derive(Debug, Deserialize)]
pub struct SecurityKey {
    /// What the kernel calls it.
    pub node: String,
    /// What it calls itself.
    pub product: String,
    /// The protocols that it knows.
    pub versions: Option<Vec<String>>,
    /// Whether it has a PIN; nothing if it cannot have one.
    pub pin: Option<bool>,
    /// Whether it knows a fingerprint; nothing if it cannot.
    pub fingerprint: Option<bool>,
    /// Why it cannot be talked to.
    pub problem: Option<DeviceProblem>,
}

/// The OATH application of a key.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Applet {
    /// Version.
    pub version: String,
    /// Changes with each reset.
    pub device_id: String,
    /// Accounts on it; not known while it is locked.
    pub accounts: Option<u32>,
    /// How many fit.
    pub capacity: Option<u32>,
    /// Whether it has a password.
    pub locked: bool,
    /// Whether the daemon keeps that password.
    pub password_known: bool,
    /// Whether it can require a touch.
    pub touch: bool,
}

/// FIDO2 on a key.
#[derive(Debug, Deserialize)]
pub struct Fido {
    /// Whether it is on.
    pub enabled: bool,
}

/// Why a key cannot be reached.
#[derive(Debug, Deserialize)]
pub struct DeviceProblem {
    /// One of the closed list of codes.
    pub code: String,
    /// In words.
    pub detail: String,
}

/// A factor of the daemon on a key.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Credential {
    /// The factor.
    pub secret_id: String,
    /// Whose.
    pub user_id: String,
    /// Name of the account on the key.
    pub credential: String,
    /// `intended`, `programmed` or `erase`.
    pub status: String,
    /// Whether each code needs a touch.
    pub touch: bool,
}

/// The accounts on a key.
#[derive(Debug, Deserialize)]
pub struct AccountList {
    /// The accounts.
    pub accounts: Vec<Account>,
}

/// An account on a key, of this daemon or another program.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Account {
    /// Name on the key.
    pub name: String,
    /// `totp` or `hotp`.
    pub kind: String,
    /// Hash algorithm.
    pub algorithm: String,
    /// Seconds of a step.
    pub period: Option<u32>,
    /// Whether each code needs a touch, if it tells.
    pub touch: Option<bool>,
    /// The factor, if it is one of this daemon.
    pub secret_id: Option<String>,
    /// Whose.
    pub user_id: Option<String>,
}

/// What is known of a key's password.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DevicePassword {
    /// Whether it has one.
    pub locked: bool,
    /// Whether the daemon keeps it.
    pub password_known: bool,
    /// The password for the holder of the escrow.
    pub escrow: Option<String>,
}

/// What became of the factors on a returned key.
#[derive(Debug, Deserialize)]
pub struct Returned {
    /// Each factor.
    pub credentials: Vec<ReturnedCredential>,
}

/// What became of one of them.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReturnedCredential {
    /// The factor.
    pub secret_id: String,
    /// Whose.
    pub user_id: String,
    /// Name of the account on the key.
    pub credential: String,
    /// The key gave a right code.
    pub proved: bool,
    /// The account is gone from the key.
    pub erased: bool,
    /// The factor is gone from the daemon.
    pub revoked: bool,
}

/// A key that came or went.
#[derive(Clone, Debug, Deserialize)]
pub struct DeviceEvent {
    /// `attached` or `removed`.
    pub event: String,
    /// RFC 3339.
    pub time: String,
    /// Name of the reader.
    pub reader: String,
    /// Number of the key, if it told.
    pub serial: Option<u64>,
    /// State of the key, while it is there.
    pub state: Option<String>,
}

/// A key that proved to be genuine.
#[derive(Debug, Deserialize)]
pub struct Genuine {
    /// Number that its maker vouches for.
    pub serial: u32,
    /// Firmware that its maker vouches for.
    pub firmware: String,
    /// The PIV slot whose key was attested.
    pub slot: String,
    /// Name of the root that vouches.
    pub root: String,
}
