//! Responses to logins, to checks of a second factor and to redeemed receipts, and the public signing keys.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::SecretString;

/// The response to one step of a login, to a refresh, or to a step-up.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuthToken {
    /// The token, a compact JWS (RFC 7515).
    pub token: SecretString,
    /// `ACCESS` (a session), `CHALLENGE` (a second factor is required) or `ENROLL` (a first factor must be set up).
    #[serde(rename = "type")]
    pub kind: String,
    /// Lifetime of the token in seconds.
    pub expires_in: u64,
    /// The user's id; absent in the response that creates a user, which has the user document beside it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_uid: Option<String>,
    /// The refresh token of the session; absent after a step-up, and with `CHALLENGE` and `ENROLL`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refresh: Option<SecretString>,
    /// The methods that answer the challenge: `totp`, `device`, `recovery`, `fido2`. Only with `CHALLENGE`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub methods: Option<Vec<String>>,
    /// Number of unused backup codes; present after one was used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remaining: Option<u32>,
    /// A warning for the user that at most three backup codes are left, or that the secret of the authenticator is short.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
    /// The receipt of a step-up, which one app can redeem once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receipt: Option<SecretString>,
}

/// The login methods and registration policy of this daemon.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuthMethods {
    /// The methods that this daemon offers: `password`, `totp`, `recovery`, and `fido2` if security keys are
    /// configured.
    pub methods: Vec<String>,
    /// `open` or `closed`: whether any peer may create users.
    pub registration: String,
    /// Whether every user must have a second factor.
    pub mfa_required: bool,
    /// The name of the site from the daemon's configuration, as tokens and authenticator apps carry it.
    pub issuer: String,
}

/// The response to an app that had a second factor checked.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Verified {
    /// Always true: a wrong code is answered with a problem document.
    pub ok: bool,
    /// The id of the factor that was used.
    pub secret_id: String,
    /// `totp`, `hotp`, `recovery` or `fido2`.
    pub method: String,
    /// When the factor was checked, RFC 3339 in UTC.
    pub auth_time: String,
    /// The unused backup codes, if one was just used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remaining: Option<u32>,
    /// A warning for the user that the secret of the authenticator is short.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
}

/// The second factors of a user who logs in to this host.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Preflight {
    /// The id of the user that stands for the account, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
    /// `unknown` if no user stands for the account, `disabled`, or the state of its factors: `none`, `pending` or
    /// `active`.
    pub state: String,
    /// The methods that can prove this user, the one used last first: `totp`, `device`, `fido2` and `recovery`. Empty
    /// unless the state is `active`.
    pub methods: Vec<String>,
}

/// The response to an app that redeemed the receipt of a step-up.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RedeemedReceipt {
    /// Always true: a refused receipt is answered with a problem document.
    pub ok: bool,
    /// The user who confirmed the action.
    pub user_id: String,
    /// When the user gave the second factor, RFC 3339 in UTC.
    pub auth_time: String,
    /// How the user authenticated: authentication method references (RFC 8176).
    pub amr: Vec<String>,
}

/// The options with which a browser creates or uses a credential (WebAuthn Level 3 section 5.1).
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PublicKeyOptions {
    /// The options as JSON, ready for `parseCreationOptionsFromJSON` or `parseRequestOptionsFromJSON`.
    pub public_key: Value,
}

/// A set of public keys (RFC 7517 section 5).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PublicKeySet {
    /// The public keys that verify new and still valid tokens, or receipts of provisioning.
    pub keys: Vec<PublicKey>,
}

/// A public Ed25519 signing key (RFC 8037 section 2).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PublicKey {
    /// The key type, always `OKP`.
    pub kty: String,
    /// The curve, always `Ed25519`.
    pub crv: String,
    /// The id of the key. The header of a token names the key that signed it.
    pub kid: String,
    /// The public key, base64url without padding.
    pub x: String,
    /// `EdDSA` (RFC 8037) or `Ed25519` (RFC 9864), the same as in the headers of new tokens. Other programs may leave
    /// it out of a set (RFC 7517 section 4.4).
    #[serde(default)]
    pub alg: String,
    /// The use of the key: `sig`, for signatures. Empty if the set leaves it out.
    #[serde(rename = "use", default)]
    pub purpose: String,
}

/// What PAM says of a login. The daemon writes it into its audit log, and does not check it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostLogin {
    /// The PAM service, such as `sshd`.
    pub service: String,
    /// The account that asks to become another one, as in `su`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ruser: Option<String>,
    /// The remote host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rhost: Option<String>,
    /// The terminal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tty: Option<String>,
}
