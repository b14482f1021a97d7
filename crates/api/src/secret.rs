//! Secrets of users: passwords, factors, security keys, API keys, backup codes. The value of a secret appears only in
//! the response that creates it.

use serde::{Deserialize, Serialize};

use crate::{AuthToken, PublicKeyOptions, SecretString};

/// The record of a secret, without its value.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Secret {
    /// The id, a UUID.
    pub uid: String,
    /// The id of the user who owns the secret.
    #[serde(default)]
    pub user_id: String,
    /// `password`, `mfa` (TOTP or HOTP), `fido2`, `apikey` or `mfabackup` (the set of backup codes).
    #[serde(rename = "type")]
    pub kind: String,
    /// The name, unique among the secrets of the user.
    pub name: Option<String>,
    /// `pending` until the first correct code, then `active`. A pending factor counts for nothing.
    pub status: String,
    /// When it was created, RFC 3339 in UTC.
    pub date_created: String,
    /// When it was last changed, RFC 3339 in UTC.
    #[serde(default)]
    pub date_modified: String,
    /// When it was last used, RFC 3339 in UTC; `None` if never.
    pub last_used: Option<String>,
    /// The number of changes, from 1. A change must name the version that it is based on.
    pub version: i64,
    /// A description that the user wrote, up to 256 characters.
    #[serde(default)]
    pub description: Option<String>,
    /// When a pending secret expires, RFC 3339 in UTC; absent once it is active.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
    /// The next counter that is expected; only for HOTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub counter: Option<u64>,
    /// `true` for an imported factor whose user has not given a code of it here yet; otherwise absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub imported: Option<bool>,
    /// `true` for a factor whose secret is shorter than 128 bits; otherwise absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weak: Option<bool>,
    /// Number of unused backup codes; only for `mfabackup`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remaining: Option<u32>,
    /// The hardware key that the factor is on; absent for other factors.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<OnDevice>,
    /// `totp` or `hotp`; only for `mfa`.
    #[serde(rename = "kind", skip_serializing_if = "Option::is_none")]
    pub otp_kind: Option<String>,
    /// `SHA1`, `SHA256` or `SHA512`; only for `mfa`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<String>,
    /// Number of digits of a code, 6 to 8; only for `mfa`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digits: Option<u8>,
    /// Period of a code in seconds; only for TOTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub period: Option<u32>,
}

/// The hardware key that a factor is on.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OnDevice {
    /// The id of the key: Yubico's serial number, or a source and a number such as `nitrokey:a1b2c3d4`.
    #[serde(default)]
    pub key: String,
    /// The serial number that is printed on a key of Yubico; `None` for every other key.
    pub serial: Option<u64>,
    /// The firmware version of the key, such as `5.4.3`.
    #[serde(default)]
    pub firmware: String,
    /// The id of the key's OATH applet, as `ykman` shows it; a reset changes it.
    #[serde(default)]
    pub device_id: String,
    /// The name of the account on the key.
    pub credential: String,
    /// Whether each code needs a touch.
    #[serde(default)]
    pub touch: bool,
    /// The proof that the account on the key has the right seed.
    pub proof: Option<Proof>,
}

/// The proof, made right after programming, that a key computes codes with the seed that was written to it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Proof {
    /// Number of challenges that the key answered correctly.
    #[serde(default)]
    pub challenges: u32,
    /// When the key answered them, RFC 3339 in UTC.
    pub time: String,
}

/// All secrets of a user, pending ones included.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SecretList {
    /// At most 64 secrets, without their values.
    pub secrets: Vec<Secret>,
}

/// A new secret with its value, which no later response repeats.
#[derive(Debug, Serialize, Deserialize)]
pub struct NewSecret<V> {
    /// The record, whose members are merged into this object.
    #[serde(flatten)]
    pub record: Secret,
    /// The value, in the shape of its type.
    pub secret: V,
}

/// A pending factor with its seed, which no later response repeats.
#[derive(Debug, Serialize, Deserialize)]
pub struct NewFactor {
    /// The record of the factor, whose members are merged into this object.
    #[serde(flatten)]
    pub record: Secret,
    /// The seed, as a URI and in Base32.
    pub secret: Seed,
    /// A QR code of the URI: SVG text, PNG in Base64, or lines of text. Absent if none was requested.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub qr: Option<SecretString>,
}

/// A seed in the two forms that authenticator apps take.
#[derive(Debug, Serialize, Deserialize)]
pub struct Seed {
    /// The `otpauth` URI, which authenticator apps read from a QR code.
    pub otpauth_url: SecretString,
    /// The seed in Base32 without padding, for typing.
    pub secret: SecretString,
}

/// A new API key, with its value.
pub type ApiKey = NewSecret<ApiKeyValue>;

/// The value of a new API key.
#[derive(Debug, Serialize, Deserialize)]
pub struct ApiKeyValue {
    /// The API key, `mfad_…`. It is sent like a token: `Authorization: jwt mfad_…`.
    pub apikey: SecretString,
}

/// A pending security key, with the options for the browser that creates its credential.
pub type KeyRegistration = NewSecret<PublicKeyOptions>;

/// A factor that was programmed onto a hardware key.
#[derive(Debug, Serialize, Deserialize)]
pub struct Provisioned {
    /// The record of the factor, whose members are merged into this object.
    #[serde(flatten)]
    pub record: Secret,
    /// The receipt of provisioning, a compact JWS: [`ReceiptClaims`](crate::ReceiptClaims), signed.
    pub receipt: String,
    /// Absent while the factor is pending. Ten backup codes with the user's first active factor, otherwise empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub codes: Option<Vec<SecretString>>,
}

/// New backup codes, which no later response repeats, and the factor whose activation created them.
#[derive(Debug, Serialize, Deserialize)]
pub struct BackupCodes {
    /// The factor that became active; `None` if only the codes were renewed.
    #[serde(flatten)]
    pub record: Option<Secret>,
    /// Ten codes; empty if the user already had an active factor.
    #[serde(default)]
    pub codes: Vec<SecretString>,
    /// The session that goes on after an enrolment, if the request asked for it with `session=true`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<AuthToken>,
}

/// What became of the factors of an import, in the order of the request.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ImportResults {
    /// One result for each factor.
    pub results: Vec<ImportResult>,
}

/// What became of one factor of an import.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImportResult {
    /// `imported`, `known` (the user has it already, and nothing was changed) or `refused`.
    pub state: String,
    /// The id of the user; absent if refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
    /// The id of the secret; absent if refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// The name of an [`ErrorCode`](crate::ErrorCode), if refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// A sentence for people, if refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}
