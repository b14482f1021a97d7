//! Receipts of provisioning: signed statements (JWT, RFC 7519) of which factor was written to which hardware key, when,
//! and at whose request.

use serde::{Deserialize, Serialize};

/// The `typ` in the JWS header of a provisioning receipt.
pub const RECEIPT_TYPE: &str = "RECEIPT";
/// The `aud` of a provisioning receipt. It keeps receipts and access tokens apart.
pub const PROVISIONING_AUDIENCE: &str = "mfad:provision";

/// The claims of a provisioning receipt. They hold no secret.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReceiptClaims {
    /// The issuer name of the daemon, from its configuration.
    pub iss: String,
    /// The audience, always [`PROVISIONING_AUDIENCE`].
    pub aud: String,
    /// The id of the receipt, unique among all receipts.
    pub jti: String,
    /// When the receipt was issued, in seconds since 1970.
    pub iat: i64,
    /// The id of the user who owns the factor.
    pub sub: String,
    /// The id of the factor.
    pub secret_id: String,
    /// The id of the hardware key: Yubico's serial number, or a source and a number such as `nitrokey:a1b2c3d4`.
    #[serde(default)]
    pub key: String,
    /// The serial number of a hardware key of Yubico; absent for every other key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<u32>,
    /// The firmware version of the hardware key, such as `5.4.3`.
    pub firmware: String,
    /// The id of the key's OATH applet; a reset changes it.
    pub device_id: String,
    /// The name of the account on the key.
    pub credential: String,
    /// `totp` (RFC 6238) or `hotp` (RFC 4226).
    pub kind: String,
    /// `SHA1`, `SHA256` or `SHA512`.
    pub algorithm: String,
    /// Number of digits of a code, 6 to 8.
    pub digits: u8,
    /// Whether each code needs a touch.
    pub touch: bool,
    /// The uid of the process that requested the provisioning.
    pub operator_uid: u32,
    /// Number of challenges that the key answered correctly with the new seed.
    pub proof: u32,
    /// The name of the root certificate that attests the key; absent unless the configuration demands genuine keys.
    #[serde(rename = "vouchedBy", default, skip_serializing_if = "Option::is_none")]
    pub attested_by: Option<String>,
    /// Period of a TOTP code in seconds; absent for HOTP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub period: Option<u32>,
    /// The first time step whose code is accepted; absent for HOTP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_step: Option<u64>,
    /// The first counter whose code is accepted; absent for TOTP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_counter: Option<u64>,
}
