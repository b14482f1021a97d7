//! Secrets of users: passwords, factors, security keys, API keys, backup codes. Values are shown once, when they are made.

use serde::{Deserialize, Serialize};

use crate::{PublicKeyOptions, SecretString};

/// A secret without its value.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Secret {
    /// The id, a UUID.
    pub uid: String,
    /// The user it belongs to.
    #[serde(default)]
    pub user_id: String,
    /// `password`, `mfa`, `fido2`, `apikey` or `mfabackup`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its name, unique among the secrets of the user.
    pub name: Option<String>,
    /// `pending` or `active`.
    pub status: String,
    /// When it was made, RFC 3339 in UTC.
    pub date_created: String,
    /// When it was last changed, RFC 3339 in UTC.
    #[serde(default)]
    pub date_modified: String,
    /// When it was last used, RFC 3339 in UTC.
    pub last_used: Option<String>,
    /// Counts the changes; a change names the version that it was made from.
    pub version: i64,
    /// Words of the user's.
    #[serde(default)]
    pub description: Option<String>,
    /// When a pending secret ends, RFC 3339 in UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
    /// The next counter of a counter-based factor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub counter: Option<u64>,
    /// Backup codes left.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remaining: Option<u32>,
    /// The hardware key that the factor is on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<OnDevice>,
    /// `totp` or `hotp`.
    #[serde(rename = "kind", skip_serializing_if = "Option::is_none")]
    pub otp_kind: Option<String>,
    /// `SHA1`, `SHA256` or `SHA512`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<String>,
    /// Digits of a code, 6 to 8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digits: Option<u8>,
    /// Seconds of a step, for time-based factors.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub period: Option<u32>,
}

/// The hardware key that a factor is on.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OnDevice {
    /// The serial number of the key.
    pub serial: u64,
    /// Its firmware.
    #[serde(default)]
    pub firmware: String,
    /// The id of its OATH applet; a reset changes it.
    #[serde(default)]
    pub device_id: String,
    /// The name of the account on the key.
    pub credential: String,
    /// Whether each code needs a touch.
    #[serde(default)]
    pub touch: bool,
    /// The proof that the key computes with the seed.
    pub proof: Option<Proof>,
}

/// The proof that a key computes with the seed that was written to it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Proof {
    /// How many challenges it answered.
    #[serde(default)]
    pub challenges: u32,
    /// When, RFC 3339 in UTC.
    pub time: String,
}

/// The secrets of a user.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SecretList {
    /// The secrets.
    pub secrets: Vec<Secret>,
}

/// A secret with a value that is shown this once.
#[derive(Debug, Serialize, Deserialize)]
pub struct NewSecret<V> {
    /// The secret's record.
    #[serde(flatten)]
    pub record: Secret,
    /// Its value.
    pub secret: V,
}

/// A pending factor and its seed.
#[derive(Debug, Serialize, Deserialize)]
pub struct NewFactor {
    /// The factor's record.
    #[serde(flatten)]
    pub record: Secret,
    /// The seed.
    pub secret: Seed,
    /// A QR code of the URI, in the form that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub qr: Option<SecretString>,
}

/// A seed in the two forms that authenticator apps take.
#[derive(Debug, Serialize, Deserialize)]
pub struct Seed {
    /// The `otpauth` URI, for a QR code.
    pub otpauth_url: SecretString,
    /// The seed in Base32, for typing.
    pub secret: SecretString,
}

/// An API key with its value.
pub type ApiKey = NewSecret<ApiKeyValue>;

/// The value of an API key.
#[derive(Debug, Serialize, Deserialize)]
pub struct ApiKeyValue {
    /// The key.
    pub apikey: SecretString,
}

/// A pending security key, and what a browser is given to make its credential.
pub type KeyRegistration = NewSecret<PublicKeyOptions>;

/// A factor that was put onto a hardware key.
#[derive(Debug, Serialize, Deserialize)]
pub struct Provisioned {
    /// The factor's record.
    #[serde(flatten)]
    pub record: Secret,
    /// The signed statement of what was put where.
    pub receipt: String,
    /// Backup codes, if it is active and the user's first factor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub codes: Option<Vec<SecretString>>,
}

/// Backup codes, shown this once, with the record of the factor that brought them.
#[derive(Debug, Serialize, Deserialize)]
pub struct BackupCodes {
    /// The factor that became active; none where the codes alone were made anew.
    #[serde(flatten)]
    pub record: Option<Secret>,
    /// The codes; empty for a user who had a factor before.
    #[serde(default)]
    pub codes: Vec<SecretString>,
}
