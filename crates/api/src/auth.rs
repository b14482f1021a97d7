//! Logins and checks.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::SecretString;

/// The answer to a step of a login.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuthToken {
    /// The token, a compact JWS.
    pub token: SecretString,
    /// `ACCESS`, `CHALLENGE` or `ENROLL`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Seconds for which the token is valid.
    pub expires_in: u64,
    /// The user's id; absent where a user has just been created.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_uid: Option<String>,
    /// The refresh token of a session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refresh: Option<SecretString>,
    /// The second factors that a challenge takes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub methods: Option<Vec<String>>,
    /// Backup codes left, after one was used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remaining: Option<u32>,
    /// A remark that few backup codes are left.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
    /// The receipt of a step-up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receipt: Option<SecretString>,
}

/// The ways to log in.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuthMethods {
    /// The methods that this daemon offers.
    pub methods: Vec<String>,
    /// `open` or `closed`: whether any peer may create users.
    pub registration: String,
    /// Whether every user needs a second factor.
    pub mfa_required: bool,
}

/// The answer to a check that an app made.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Verified {
    /// Always true; a refusal is a problem document.
    pub ok: bool,
    /// The factor that was used.
    pub secret_id: String,
    /// `totp`, `hotp`, `recovery` or `fido2`.
    pub method: String,
    /// When, RFC 3339 in UTC.
    pub auth_time: String,
}

/// The answer to redeeming the receipt of a step-up.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RedeemedReceipt {
    /// Always true; a refusal is a problem document.
    pub ok: bool,
    /// The user who confirmed the action.
    pub user_id: String,
    /// When, RFC 3339 in UTC.
    pub auth_time: String,
    /// How (RFC 8176).
    pub amr: Vec<String>,
}

/// What a browser is given to make or use a credential (WebAuthn level 3, section 5).
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PublicKeyOptions {
    /// The options as JSON.
    pub public_key: Value,
}

/// A set of public keys (RFC 7517 section 5).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PublicKeySet {
    /// The keys.
    pub keys: Vec<PublicKey>,
}

/// An Ed25519 key (RFC 8037 section 2).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PublicKey {
    /// `OKP`.
    pub kty: String,
    /// `Ed25519`.
    pub crv: String,
    /// The name of the key, as tokens have it in their header.
    pub kid: String,
    /// The public key, base64url without padding.
    pub x: String,
    /// `EdDSA` or `Ed25519`. Other programs may leave it out of a set (RFC 7517 section 4.4).
    #[serde(default)]
    pub alg: String,
    /// `sig`.
    #[serde(rename = "use", default)]
    pub purpose: String,
}
