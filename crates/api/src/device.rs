//! Hardware keys (PC/SC) and security keys (FIDO2) that are plugged into the daemon's host.

use serde::{Deserialize, Serialize};

use crate::closed_list::closed_list;

closed_list! {
    /// The state of a hardware key, as the daemon knows it.
    DeviceState {
        /// This daemon has never programmed the key.
        New = "new",
        /// This daemon has programmed the key.
        Known = "known",
        /// This daemon has programmed the key, but its OATH applet was reset since, or the key was swapped.
        Reset = "reset",
        /// The key does not answer.
        Unreachable = "unreachable",
    }
}

/// All hardware keys that are plugged in.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DeviceList {
    /// The keys, including those that cannot be reached.
    pub devices: Vec<Device>,
}

/// A hardware key in a reader of this host.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Device {
    /// The id of the key: Yubico's serial number, or a source and a number such as `nitrokey:a1b2c3d4`. `None` if nothing
    /// tells the key from others of its kind, or it could not be read.
    #[serde(default)]
    pub key: Option<String>,
    /// The serial number that is printed on a key of Yubico; `None` for every other key.
    pub serial: Option<u64>,
    /// The model, such as `YubiKey 5 NFC`; `None` if it is not known.
    pub model: Option<String>,
    /// The firmware version, such as `5.4.3`; `None` if the key could not be read.
    pub firmware: Option<String>,
    /// The shape, such as `usb-a-keychain` or `usb-c-nano`; `None` if the key does not report it.
    pub form_factor: Option<String>,
    /// The connection: `usb` (a port), or `nfc` (a contactless reader).
    pub transport: String,
    /// The name of the PC/SC reader that holds the key.
    pub reader: String,
    /// The OATH applet; `None` if the key has none, or could not be read.
    pub oath: Option<Applet>,
    /// Whether FIDO2 is enabled; `None` if the key has no FIDO2 application, or could not be read.
    pub fido2: Option<Fido2State>,
    /// The name of a [`DeviceState`]: `new`, `known`, `reset` or `unreachable`.
    pub state: String,
    /// Number of factors of this daemon on the key.
    pub programmed: u64,
    /// Why the key cannot be reached or programmed; `None` if it can.
    pub problem: Option<DeviceProblem>,
    /// The factors of this daemon on the key; `None` in a list of keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<Vec<DeviceCredential>>,
    /// The OATH password, encrypted with age to the recipient of the escrow. The outer `None`: not shown, as in a list
    /// of keys. The inner `None`: no escrow, no known password, or the caller is not an administrator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub escrow: Option<Option<String>>,
}

/// The OATH applet of a hardware key.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Applet {
    /// The version of the applet, such as `5.4.3`.
    pub version: String,
    /// The id of the applet, as `ykman` shows it; a reset changes it.
    pub device_id: String,
    /// Number of accounts; `None` if the daemon does not know the password and cannot count them.
    pub accounts: Option<u64>,
    /// Maximum number of accounts; `None` where only the key knows, which then refuses a further one.
    pub capacity: Option<u32>,
    /// Whether an OATH password is set.
    pub locked: bool,
    /// Whether the daemon stores that password.
    pub password_known: bool,
    /// Whether the key can require a touch for a code.
    pub touch: bool,
}

/// The FIDO2 application of a hardware key.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Fido2State {
    /// Whether FIDO2 is switched on in the settings of the key.
    pub enabled: bool,
}

/// The error of the last attempt to reach a key.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DeviceProblem {
    /// The name of an [`ErrorCode`](crate::ErrorCode).
    pub code: String,
    /// A sentence for people: what is wrong, and what to do.
    pub detail: String,
}

/// A factor of this daemon on a hardware key.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeviceCredential {
    /// The id of the factor.
    pub secret_id: String,
    /// The id of the user who owns the factor.
    pub user_id: String,
    /// The name of the account on the key.
    pub credential: String,
    /// `intended`: writing it was not confirmed. `programmed`: it is on the key and was proved. `erase`: it is erased
    /// at the next contact with the key, or if the key wants a touch for that, when the key is returned.
    pub status: String,
    /// Whether each code needs a touch.
    pub touch: bool,
}

/// The OATH accounts on a hardware key, including those of other programs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AccountList {
    /// The accounts; a key holds up to 255.
    pub accounts: Vec<Account>,
}

/// An OATH account on a hardware key, of this daemon or of another program.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Account {
    /// The name on the key: period and `/`, issuer and `:`, account. A period of 30 s is left out.
    pub name: String,
    /// The issuer in that name; `None` if the name has none.
    #[serde(default)]
    pub issuer: Option<String>,
    /// The account in that name, after period and issuer.
    #[serde(default)]
    pub account: String,
    /// `totp` (RFC 6238), `hotp` (RFC 4226), or `other` for what the daemon does not know and leaves alone.
    pub kind: String,
    /// The hash algorithm: `SHA1`, `SHA256` or `SHA512`; `None` for `other`.
    pub algorithm: Option<String>,
    /// The id of the factor that the account belongs to; `None` for accounts of other programs.
    pub secret_id: Option<String>,
    /// The id of the user who owns that factor.
    pub user_id: Option<String>,
    /// Period in seconds, according to the name; only for TOTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub period: Option<u64>,
    /// Whether each code needs a touch; only for TOTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub touch: Option<bool>,
}

/// The state of a hardware key's OATH password after a change.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DevicePassword {
    /// Whether an OATH password is set now.
    pub locked: bool,
    /// Whether the daemon stores the password.
    pub password_known: bool,
    /// The new password, encrypted with age to the recipient of the escrow; `None` without an escrow.
    pub escrow: Option<String>,
}

/// A hardware key whose attestation proves that it is genuine.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GenuineDevice {
    /// The serial number that is printed on the key, which the attestation confirms.
    pub serial: u64,
    /// The firmware version that the attestation names.
    pub firmware: String,
    /// The PIV slot whose key was attested.
    pub slot: String,
    /// The name of the root certificate to which the attestation leads.
    pub root: String,
}

/// A hardware key that was taken back from its user.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ReturnedDevice {
    /// The id of the key.
    #[serde(default)]
    pub key: String,
    /// The serial number that is printed on a key of Yubico; `None` for every other key.
    #[serde(default)]
    pub serial: Option<u64>,
    /// The outcome for each factor of this daemon on the key.
    pub credentials: Vec<ReturnedCredential>,
}

/// The outcome for one factor on a returned key.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReturnedCredential {
    /// The id of the factor.
    pub secret_id: String,
    /// The id of the user who owns the factor.
    pub user_id: String,
    /// The name of the account on the key.
    pub credential: String,
    /// Whether the key computed a correct code before the account was erased.
    pub proved: bool,
    /// Whether the account is no longer on the key.
    pub erased: bool,
    /// Whether the factor was deleted from the store.
    pub revoked: bool,
}

/// What is left of a factor that was deleted: its account on a key that erases accounts only when it is touched.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AccountLeft {
    /// The id of the key.
    pub key: String,
    /// The name of the account on the key.
    pub credential: String,
    /// A sentence for people: what to do.
    pub detail: String,
}

/// All security keys that are plugged in.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecurityKeyList {
    /// The keys, including those that do not answer.
    pub security_keys: Vec<SecurityKey>,
}

/// A security key in a port of this host.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SecurityKey {
    /// The name of its device node, such as `hidraw3`.
    pub node: String,
    /// The product name that the key reports.
    pub product: String,
    /// The protocol versions that the key supports, such as `FIDO_2_0`; `None` if it does not answer.
    pub versions: Option<Vec<String>>,
    /// The id of its model (AAGUID), a UUID; `None` if the key does not report it.
    #[serde(default)]
    pub aaguid: Option<String>,
    /// Whether a PIN is set; `None` if the key cannot have one.
    pub pin: Option<bool>,
    /// Whether the key verifies its user by fingerprint; `None` if it cannot.
    pub fingerprint: Option<bool>,
    /// Why the daemon cannot communicate with the key; `None` if it can.
    pub problem: Option<DeviceProblem>,
}

/// The data of an event: a hardware key was plugged in or removed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DeviceEvent {
    /// The number of the event since the daemon started, from 1.
    #[serde(default)]
    pub seq: u64,
    /// The kind of event: `attached` or `removed`.
    pub event: String,
    /// When it happened, RFC 3339 in UTC.
    #[serde(default)]
    pub time: String,
    /// The name of the PC/SC reader.
    pub reader: String,
    /// The id of the key; `None` if nothing tells it from others of its kind, or it does not answer.
    #[serde(default)]
    pub key: Option<String>,
    /// The serial number of a key of Yubico; `None` for every other key.
    pub serial: Option<u64>,
    /// The name of a [`DeviceState`]; `None` if the key was removed.
    pub state: Option<String>,
}

impl Device {
    /// Returns the factors on the key; empty if they are not shown.
    pub fn credentials(&self) -> &[DeviceCredential] {
        self.credentials.as_deref().unwrap_or_default()
    }
}
