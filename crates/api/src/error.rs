//! Refusals: the problem document of RFC 9457 and its closed list of codes.

use serde::{Deserialize, Serialize};

use crate::closed_list::closed_list;

closed_list! {
    /// Why a request was refused. `docs/errors.md` says what to do about each.
    ErrorCode {
        /// The request cannot be understood (400).
        Malformed = "malformed",
        /// The body is longer than 16 KiB (413).
        BodyTooLarge = "body-too-large",
        /// The request target is longer than 2 KiB (414).
        TargetTooLong = "target-too-long",
        /// The body is not `application/json` (415).
        UnsupportedMediaType = "unsupported-media-type",
        /// The header block is too long or has too many fields (431).
        HeadersTooLarge = "headers-too-large",
        /// The path does not take this method (405).
        MethodNotAllowed = "method-not-allowed",
        /// The path or the thing is unknown, or not the caller's (404).
        NotFound = "not-found",
        /// `me` was asked without a user's token (403).
        MeWithoutUser = "me-without-user",
        /// No valid token (401).
        Unauthenticated = "unauthenticated",
        /// Wrong login or password (401).
        WrongCredentials = "wrong-credentials",
        /// Wrong code (401), or wrong first code (422).
        WrongCode = "wrong-code",
        /// The challenge has ended (401).
        ChallengeEnded = "challenge-ended",
        /// The session has ended (401).
        RefreshEnded = "refresh-ended",
        /// The receipt of a step-up is not valid (401).
        ReceiptRefused = "receipt-refused",
        /// The caller lacks a right (403).
        Forbidden = "forbidden",
        /// A second factor of the last five minutes is needed (403).
        FreshProofRequired = "fresh-proof-required",
        /// A login of the last five minutes is needed (403).
        FreshLoginRequired = "fresh-login-required",
        /// It was changed meanwhile (409).
        Version = "version",
        /// The name is taken (409).
        NameTaken = "name-taken",
        /// The mail address is taken (409).
        EmailTaken = "email-taken",
        /// The id is taken (409).
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
        /// The idempotency key belongs to another request (409).
        IdempotencyConflict = "idempotency-conflict",
        /// The pending secret has ended (410).
        Expired = "expired",
        /// The smart card service does not run (503).
        NoPcscd = "no-pcscd",
        /// The smart card service refuses the daemon (503).
        PcscdDenied = "pcscd-denied",
        /// The key is not plugged in (503).
        NoDevice = "no-device",
        /// Several keys could be meant (409).
        ManyDevices = "many-devices",
        /// Another program holds the key (503).
        DeviceBusy = "device-busy",
        /// The key was pulled during the operation (503).
        DeviceRemoved = "device-removed",
        /// The key has no room (409).
        DeviceFull = "device-full",
        /// The key's applet has a password that is not known (423).
        DeviceLocked = "device-locked",
        /// Wrong password of the key's applet (422).
        WrongDevicePassword = "wrong-device-password",
        /// The key was not touched in time (409).
        TouchTimeout = "touch-timeout",
        /// Another key, or a reset one (409).
        DeviceChanged = "device-changed",
        /// The key cannot do that (409).
        Unsupported = "unsupported",
        /// The daemon may not open the security key (503).
        HidDenied = "hid-denied",
        /// The security key is not registered for the user (409).
        NotThisKey = "not-this-key",
        /// The request was declined on the security key (409).
        TouchDenied = "touch-denied",
        /// The security key needs its PIN (409).
        PinRequired = "pin-required",
        /// Wrong PIN (422).
        PinWrong = "pin-wrong",
        /// The security key takes no PIN (423).
        PinBlocked = "pin-blocked",
        /// The key does not answer as it should (503).
        DeviceFailed = "device-failed",
        /// The key did not prove to be genuine (409).
        NotGenuine = "not-genuine",
        /// A factor depends on the account (409).
        DeviceInUse = "device-in-use",
        /// Locked after too many wrong codes (423).
        FactorLocked = "factor-locked",
        /// Delayed after wrong attempts, or over a rate limit (429).
        TooManyAttempts = "too-many-attempts",
        /// A queue is full, or the answer would come too late (503).
        Busy = "busy",
        /// The store cannot be written (503).
        StorageUnavailable = "storage-unavailable",
        /// The store is damaged (503).
        StorageDamaged = "storage-damaged",
        /// The daemon is not ready (503).
        NotReady = "not-ready",
        /// A defect (500).
        Internal = "internal",
    }
}

impl ErrorCode {
    /// Whether it is about a hardware key or a security key. `name-taken` is not, since users share it.
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

/// A refusal.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Problem {
    /// `urn:mfad:error:` and the code.
    #[serde(rename = "type")]
    pub kind: String,
    /// A short name of this kind of refusal.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What is wrong here, and what to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// One of [`ErrorCode`]; a newer daemon may have others.
    pub code: String,
    /// The id of the request, as in the journal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// Seconds after which a repetition makes sense.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u64>,
    /// Attempts left.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remaining: Option<u32>,
    /// Another profile under which a wrong first code would have been right.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub diagnosis: Option<Diagnosis>,
    /// The serial numbers of the keys that could be meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub devices: Option<Vec<u64>>,
    /// The program that likely holds the key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub holder: Option<String>,
}

impl Problem {
    /// The code, if this version knows it.
    pub fn known_code(&self) -> Option<ErrorCode> {
        ErrorCode::parse(&self.code)
    }
}

/// The profile under which a wrong first code would have been right.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Diagnosis {
    /// The hash algorithm.
    pub algorithm: Option<String>,
    /// Digits of a code.
    pub digits: Option<u8>,
    /// Seconds of a step, for time-based codes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub period: Option<u32>,
    /// Seconds by which the authenticator's clock is ahead; negative when behind.
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
