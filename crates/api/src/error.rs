//! Errors of the API: the problem document of RFC 9457 and the closed list of error codes.

use serde::{Deserialize, Serialize};

use crate::closed_list::closed_list;

closed_list! {
    /// Why a request was refused. `docs/errors.md` says what to do about each.
    ErrorCode {
        /// The request is malformed: its framing, a header, the JSON or a value (400).
        Malformed = "malformed",
        /// The body is longer than 16 KiB (413).
        BodyTooLarge = "body-too-large",
        /// The request target is longer than 2 KiB (414).
        TargetTooLong = "target-too-long",
        /// The body is not `application/json` (415).
        UnsupportedMediaType = "unsupported-media-type",
        /// The header block is too long or has too many fields (431).
        HeadersTooLarge = "headers-too-large",
        /// The path does not support this method (405).
        MethodNotAllowed = "method-not-allowed",
        /// No such path, or no such object that belongs to this caller (404).
        NotFound = "not-found",
        /// The path names `me`, and the request has no user's token (403).
        MeWithoutUser = "me-without-user",
        /// No credentials, or a token that is not valid here (401).
        Unauthenticated = "unauthenticated",
        /// Wrong login or password (401).
        WrongCredentials = "wrong-credentials",
        /// Wrong code (401), or wrong first code (422).
        WrongCode = "wrong-code",
        /// The challenge token has expired or was used up (401).
        ChallengeEnded = "challenge-ended",
        /// The refresh token is invalid, or its session has ended (401).
        RefreshEnded = "refresh-ended",
        /// The receipt of a step-up is not valid (401).
        ReceiptRefused = "receipt-refused",
        /// The caller lacks a right (403).
        Forbidden = "forbidden",
        /// A second factor given in the last five minutes is required (403).
        FreshProofRequired = "fresh-proof-required",
        /// A login in the last five minutes is required (403).
        FreshLoginRequired = "fresh-login-required",
        /// The object was changed since the version that the request names (409).
        Version = "version",
        /// The name belongs to another user, or to another account on the hardware key (409).
        NameTaken = "name-taken",
        /// The mail address is taken (409).
        EmailTaken = "email-taken",
        /// The id of the new user is taken (409).
        IdTaken = "id-taken",
        /// Another secret of the user has the name (409).
        SecretNameTaken = "secret-name-taken",
        /// The user has a password already (409).
        PasswordExists = "password-exists",
        /// The factor is active already (409).
        AlreadyActive = "already-active",
        /// The user has no active factor (409).
        NoFactor = "no-factor",
        /// The user has reached the limit on secrets (409).
        TooManySecrets = "too-many-secrets",
        /// The idempotency key was used with another body, its first request is still in progress, or its response can
        /// no longer be repeated (409).
        IdempotencyConflict = "idempotency-conflict",
        /// The pending secret has expired (410).
        Expired = "expired",
        /// The smart card service (pcscd) does not run (503).
        NoPcscd = "no-pcscd",
        /// The smart card service (pcscd) denies the daemon access (503).
        PcscdDenied = "pcscd-denied",
        /// The hardware key or security key is not plugged in (503).
        NoDevice = "no-device",
        /// Several keys are plugged in, and the request does not say which (409).
        ManyDevices = "many-devices",
        /// Another program holds the key (503).
        DeviceBusy = "device-busy",
        /// The key was pulled during the operation (503).
        DeviceRemoved = "device-removed",
        /// The key has no room for another account or credential (409).
        DeviceFull = "device-full",
        /// The key's OATH applet has a password that the daemon does not know (423).
        DeviceLocked = "device-locked",
        /// Wrong password of the key's OATH applet (422).
        WrongDevicePassword = "wrong-device-password",
        /// The key was not touched in time (409).
        TouchTimeout = "touch-timeout",
        /// The key was swapped or reset since it was last seen (409).
        DeviceChanged = "device-changed",
        /// The key, or the configuration of the daemon, does not support this (409).
        Unsupported = "unsupported",
        /// The daemon has no permission to open the security key's device node (503).
        HidDenied = "hid-denied",
        /// The security key is not registered for the user (409).
        NotThisKey = "not-this-key",
        /// The user declined the request on the security key (409).
        TouchDenied = "touch-denied",
        /// The security key requires its PIN (409).
        PinRequired = "pin-required",
        /// Wrong PIN of the security key (422).
        PinWrong = "pin-wrong",
        /// The security key accepts no PIN, or none until it is unplugged (423).
        PinBlocked = "pin-blocked",
        /// The key gives no answer or an invalid one (503).
        DeviceFailed = "device-failed",
        /// The attestation of the hardware key does not prove that it is genuine (409).
        NotGenuine = "not-genuine",
        /// An account on the hardware key belongs to a factor (409).
        DeviceInUse = "device-in-use",
        /// The user's second factors are locked after too many wrong codes (423).
        FactorLocked = "factor-locked",
        /// Delayed after wrong attempts, or over a rate limit (429).
        TooManyAttempts = "too-many-attempts",
        /// A queue is full, or the request could not complete in time (503).
        Busy = "busy",
        /// The store cannot be written (503).
        StorageUnavailable = "storage-unavailable",
        /// The store is damaged (503).
        StorageDamaged = "storage-damaged",
        /// The daemon cannot do its work, or the host's clock is before 1970 or after 9999 (503).
        NotReady = "not-ready",
        /// A defect of the daemon; its journal has the cause (500).
        Internal = "internal",
    }
}

impl ErrorCode {
    /// Returns whether the error concerns a hardware key or a security key. `name-taken` does not count, since it can
    /// concern a user as well.
    pub fn is_about_device(self) -> bool {
        matches!(
            self,
            Self::NoPcscd
                | Self::PcscdDenied
                | Self::NoDevice
                | Self::ManyDevices
                | Self::DeviceBusy
                | Self::DeviceRemoved
                | Self::DeviceFull
                | Self::DeviceLocked
                | Self::WrongDevicePassword
                | Self::TouchTimeout
                | Self::TouchDenied
                | Self::PinRequired
                | Self::PinWrong
                | Self::PinBlocked
                | Self::NotThisKey
                | Self::HidDenied
                | Self::DeviceChanged
                | Self::DeviceFailed
                | Self::DeviceInUse
                | Self::NotGenuine
                | Self::Unsupported
        )
    }
}

/// A problem document (RFC 9457): why a request was not carried out.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Problem {
    /// `urn:mfad:error:` and the code.
    #[serde(rename = "type")]
    pub kind: String,
    /// A short name of the kind of error, the same for each `code` and status.
    pub title: String,
    /// The HTTP status, 400 to 599.
    pub status: u16,
    /// A sentence for people: what is wrong with this request, and what to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The name of an [`ErrorCode`]. A newer daemon may send others.
    pub code: String,
    /// The id of the request, the same as in the journal and in the audit log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// Seconds to wait before the next attempt; with status 429 and 503.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u64>,
    /// Attempts left for the challenge, the pending factor or the PIN; with `wrong-code` and `pin-wrong`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remaining: Option<u32>,
    /// The parameters under which a wrong first code would have been correct, if any; with `wrong-code`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub diagnosis: Option<Diagnosis>,
    /// The serial numbers of the keys of Yubico to choose from; with `many-devices`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub devices: Option<Vec<u64>>,
    /// The ids of all keys to choose from; with `many-devices`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys: Option<Vec<String>>,
    /// The right that the caller lacks: `admin`, `app`, `audit` or `pam`; with `forbidden`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub right: Option<String>,
    /// Running programs that often hold keys, as a list. It is a guess, and absent if there is none; with `device-busy`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub holder: Option<String>,
}

impl Problem {
    /// Returns the error code; `None` if this version does not know it.
    pub fn known_code(&self) -> Option<ErrorCode> {
        ErrorCode::parse(&self.code)
    }
}

/// The parameters under which a wrong first code would have been correct. They show which setting of the authenticator
/// is wrong.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Diagnosis {
    /// `SHA1`, `SHA256` or `SHA512`.
    pub algorithm: Option<String>,
    /// Number of digits of a code, 6 to 8.
    pub digits: Option<u8>,
    /// Period of a code in seconds; only for TOTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub period: Option<u32>,
    /// Seconds by which the authenticator's clock is ahead of the daemon's; negative if it is behind.
    pub drift_seconds: Option<i64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_read_as_it_is_written() {
        for code in ErrorCode::ALL {
            assert_eq!(ErrorCode::parse(code.as_str()), Some(*code));
        }
        assert_eq!(ErrorCode::parse("no-such-code"), None);
    }

    #[test]
    fn a_member_that_is_unknown_is_ignored() {
        let problem: Problem = serde_json::from_str(r#"{"code":"busy","status":503,"later":true}"#).unwrap();

        assert_eq!((problem.known_code(), problem.status), (Some(ErrorCode::Busy), 503));
    }
}
