//! A user with everything that proves who it is, as one daemon exports it and another one imports it. In an export each
//! user is one line of JSON.

use serde::{Deserialize, Serialize};

use crate::SecretString;

/// The version of the lines of an export.
pub const EXPORT_VERSION: u32 = 1;

/// The first line of an export.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExportHead {
    /// [`EXPORT_VERSION`].
    pub mfad_export: u32,
    /// When it was made, in seconds since 1970.
    pub created: i64,
    /// The issuer of that daemon.
    pub issuer: String,
}

/// The last line of an export. Without it, the export was cut off.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExportEnd {
    /// Always `true`.
    pub mfad_export_end: bool,
    /// Number of users.
    pub users: u64,
    /// Number of one-time password factors.
    pub factors: u64,
    /// What was left behind.
    pub left_out: LeftOut,
}

/// Numbers of secrets that an export does not have.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LeftOut {
    /// One-time password factors on hardware keys.
    pub hardware_factors: u64,
    /// Security keys.
    pub security_keys: u64,
    /// API keys.
    pub api_keys: u64,
    /// Factors that were never confirmed.
    pub pending_factors: u64,
}

/// A user.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct MovedUser {
    /// The login name.
    pub name: String,
    /// The name to show.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    /// The e-mail address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// The roles.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
    /// Whether the user is disabled.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub disabled: bool,
    /// The hash record of the password, in Base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<SecretString>,
    /// The backup codes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup_codes: Option<MovedCodes>,
    /// The one-time password factors, in the order of their names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub factors: Vec<MovedFactor>,
}

/// A set of backup codes.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct MovedCodes {
    /// The hash record of the set, in Base64.
    pub record: SecretString,
    /// The used codes, as one bit for each place in the set.
    pub used: u32,
}

/// A one-time password factor.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct MovedFactor {
    /// The name.
    pub name: String,
    /// The description.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// `totp` or `hotp`.
    pub kind: String,
    /// `SHA1`, `SHA256` or `SHA512`.
    pub algorithm: String,
    /// 6 to 8.
    pub digits: u8,
    /// The period in seconds, of TOTP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub period: Option<u32>,
    /// The newest step that is used up, of TOTP; absent if none is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used_step: Option<u64>,
    /// The next counter, of HOTP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counter: Option<u64>,
    /// By how many `counter` may be ahead of the token, of HOTP whose code was not given here yet; absent for 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counter_ahead_by: Option<u8>,
    /// The seed in Base32 without padding.
    pub secret: SecretString,
    /// Whether it was imported, and its user has not given a code of it yet.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub imported: bool,
}
