//! The receipt of a programmed key: a signed statement of what was put where, by whom, when (RFC 7519).

use serde::{Deserialize, Serialize};

/// The `typ` of a receipt's header.
pub const RECEIPT_TYPE: &str = "RECEIPT";
/// The audience of a provisioning receipt.
pub const PROVISIONING_AUDIENCE: &str = "mfad:provision";

/// The claims of a provisioning receipt. They hold no secret.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReceiptClaims {
    /// The issuer of the daemon.
    pub iss: String,
    /// [`PROVISIONING_AUDIENCE`].
    pub aud: String,
    /// The id of the receipt.
    pub jti: String,
    /// When, in seconds since 1970.
    pub iat: i64,
    /// The id of the user.
    pub sub: String,
    /// The id of the factor.
    pub secret_id: String,
    /// The serial number of the key.
    pub serial: u32,
    /// Its firmware.
    pub firmware: String,
    /// The id of its OATH applet.
    pub device_id: String,
    /// The name of the account on the key.
    pub credential: String,
    /// `totp` or `hotp`.
    pub kind: String,
    /// `SHA1`, `SHA256` or `SHA512`.
    pub algorithm: String,
    /// Digits of a code.
    pub digits: u8,
    /// Whether each code needs a touch.
    pub touch: bool,
    /// The uid of the process that asked.
    pub operator_uid: u32,
    /// How many challenges the key answered.
    pub proof: u32,
    /// The root certificate that attests the key, if that was asked.
    #[serde(rename = "vouchedBy", default, skip_serializing_if = "Option::is_none")]
    pub attested_by: Option<String>,
    /// Seconds of a step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub period: Option<u32>,
    /// The first time step that counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_step: Option<u64>,
    /// The first counter that counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_counter: Option<u64>,
}
