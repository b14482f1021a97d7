//! Errors on the wire: the single map from an error to its code, title and status (RFC 9457).

use std::time::Duration;

use hyper::StatusCode;
use serde_json::{Map, Value, json};

use mfad_service::error::Error;

use super::framing::Reject;

/// An error as the caller sees it.
#[derive(Debug)]
pub struct Problem {
    /// The HTTP status.
    pub status: StatusCode,
    /// The stable code, one of the closed list in `docs/errors.md`.
    pub code: &'static str,
    /// A short name of the kind of problem.
    pub title: &'static str,
    /// What is wrong here, and what to do.
    pub detail: String,
    /// For the header `Allow`.
    pub allow: Option<String>,
    /// For the header `WWW-Authenticate`, which goes by the resource.
    pub challenge: Option<&'static str>,
    /// For the header `Retry-After` and the member `retryAfter`, in seconds.
    pub retry_after: Option<u64>,
    /// Further members.
    pub more: Map<String, Value>,
    /// Why, for the journal alone; none if it is there already, or if it is no defect.
    pub cause: Option<String>,
}

impl Problem {
    fn new(status: StatusCode, code: &'static str, title: &'static str, detail: impl Into<String>) -> Self {
        Self {
            status,
            code,
            title,
            detail: detail.into(),
            allow: None,
            challenge: None,
            retry_after: None,
            more: Map::new(),
            cause: None,
        }
    }

    /// 400: this part of the request cannot be what it is.
    pub fn malformed(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "malformed", "Malformed request", detail)
    }

    /// 404: no such path, or nothing there for this caller.
    pub fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", "Not found", Error::NotFound.to_string())
    }

    /// 405: the path is there, the method is not.
    pub fn method_not_allowed(allow: String) -> Self {
        let detail = format!("this path takes {allow}");
        Self {
            allow: Some(allow),
            ..Self::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "Method not allowed", detail)
        }
    }

    /// 413: the body is longer than 16 KiB.
    pub fn body_too_large() -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "body-too-large", "Body too large", "a body has at most 16384 bytes")
    }

    /// 415: the body is not `application/json`.
    pub fn unsupported_media_type() -> Self {
        Self::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported-media-type",
            "Unsupported media type",
            "send the body as application/json",
        )
    }

    /// 409: the idempotency key belongs to another request.
    pub fn idempotency_conflict(detail: &str) -> Self {
        Self::new(StatusCode::CONFLICT, "idempotency-conflict", "Idempotency key in use", detail)
    }

    /// 503: over a limit, or the answer did not come in time.
    pub fn busy() -> Self {
        Self::from(&Error::Busy)
    }

    /// 500: a defect. The caller is told nothing about it, the journal its cause, which must hold nothing secret.
    pub fn internal(cause: impl Into<String>) -> Self {
        let detail = "the daemon has a defect; its journal has the cause under this request id";
        Self {
            cause: Some(cause.into()),
            ..Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "Internal error", detail)
        }
    }

    /// The JSON body.
    pub fn body(&self, request: &str) -> Vec<u8> {
        let mut members = Map::new();
        members.insert("type".to_owned(), json!(format!("urn:mfad:error:{}", self.code)));
        members.insert("title".to_owned(), json!(self.title));
        members.insert("status".to_owned(), json!(self.status.as_u16()));
        members.insert("detail".to_owned(), json!(self.detail));
        members.insert("code".to_owned(), json!(self.code));
        members.insert("requestId".to_owned(), json!(request));
        if let Some(seconds) = self.retry_after {
            members.insert("retryAfter".to_owned(), json!(seconds));
        }
        members.extend(self.more.clone());
        Value::Object(members).to_string().into_bytes()
    }

    fn with(mut self, name: &str, value: Value) -> Self {
        self.more.insert(name.to_owned(), value);
        self
    }

    fn retry_in(self, wait: Duration) -> Self {
        let whole = wait.as_secs();
        let seconds = if wait.subsec_nanos() > 0 { whole.saturating_add(1) } else { whole };
        Self { retry_after: Some(seconds.max(1)), ..self }
    }
}

impl From<Reject> for Problem {
    fn from(reject: Reject) -> Self {
        match reject {
            Reject::Malformed(why) => Self::malformed(why),
            Reject::BodyTooLarge => Self::body_too_large(),
            Reject::TargetTooLong => Self::new(
                StatusCode::URI_TOO_LONG,
                "target-too-long",
                "Request target too long",
                "a request target has at most 2048 bytes",
            ),
            Reject::HeadersTooLarge => Self::new(
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "headers-too-large",
                "Header fields too large",
                "a header block has at most 64 fields and 16384 bytes",
            ),
        }
    }
}

impl From<&Error> for Problem {
    fn from(error: &Error) -> Self {
        let says = |status, code, title| Self::new(status, code, title, error.to_string());
        let unavailable =
            |code, title| says(StatusCode::SERVICE_UNAVAILABLE, code, title).retry_in(Duration::from_secs(1));
        match error {
            Error::Malformed(_) => says(StatusCode::BAD_REQUEST, "malformed", "Malformed request"),
            Error::MeWithoutUser => says(StatusCode::FORBIDDEN, "me-without-user", "No user to be `me`"),
            Error::Unauthenticated => says(StatusCode::UNAUTHORIZED, "unauthenticated", "Not authenticated"),
            Error::WrongCredentials => says(StatusCode::UNAUTHORIZED, "wrong-credentials", "Wrong credentials"),
            Error::WrongCode { remaining } => {
                let problem = says(StatusCode::UNAUTHORIZED, "wrong-code", "Wrong code");
                match remaining {
                    Some(remaining) => problem.with("remaining", json!(remaining)),
                    None => problem,
                }
            }
            Error::ChallengeEnded => says(StatusCode::UNAUTHORIZED, "challenge-ended", "Challenge ended"),
            Error::RefreshEnded => says(StatusCode::UNAUTHORIZED, "refresh-ended", "Session ended"),
            Error::ReceiptRefused => says(StatusCode::UNAUTHORIZED, "receipt-refused", "Receipt refused"),
            Error::Forbidden(_) => says(StatusCode::FORBIDDEN, "forbidden", "Not allowed"),
            Error::FreshProofRequired => says(StatusCode::FORBIDDEN, "fresh-proof-required", "Fresh proof required"),
            Error::FreshLoginRequired => says(StatusCode::FORBIDDEN, "fresh-login-required", "Fresh login required"),
            Error::NotFound => Self::not_found(),
            Error::Version => says(StatusCode::CONFLICT, "version", "Version conflict"),
            Error::NameTaken => says(StatusCode::CONFLICT, "name-taken", "Name taken"),
            Error::EmailTaken => says(StatusCode::CONFLICT, "email-taken", "E-mail address taken"),
            Error::IdTaken => says(StatusCode::CONFLICT, "id-taken", "Id taken"),
            Error::SecretNameTaken => says(StatusCode::CONFLICT, "secret-name-taken", "Secret name taken"),
            Error::PasswordExists => says(StatusCode::CONFLICT, "password-exists", "Password exists"),
            Error::AlreadyActive => says(StatusCode::CONFLICT, "already-active", "Already active"),
            Error::NoFactor => says(StatusCode::CONFLICT, "no-factor", "No active factor"),
            Error::TooManySecrets => says(StatusCode::CONFLICT, "too-many-secrets", "Too many secrets"),
            Error::ToldOnce => Self::idempotency_conflict(&error.to_string()),
            Error::Expired => says(StatusCode::GONE, "expired", "Pending secret ended"),
            Error::WrongFirstCode { remaining, diagnosis } => {
                let problem = says(StatusCode::UNPROCESSABLE_ENTITY, "wrong-code", "Wrong code")
                    .with("remaining", json!(remaining));
                match diagnosis {
                    Some(found) => problem.with("diagnosis", super::wire::diagnosis(found)),
                    None => problem,
                }
            }
            Error::NoPcscd => unavailable("no-pcscd", "No smart card service"),
            Error::PcscdDenied => unavailable("pcscd-denied", "Smart card service refuses"),
            Error::NoDevice(_) => unavailable("no-device", "No such key"),
            Error::ManyDevices(serials) => {
                let serials: Vec<u32> = serials.iter().map(|serial| serial.number()).collect();
                says(StatusCode::CONFLICT, "many-devices", "Several keys").with("devices", json!(serials))
            }
            Error::DeviceBusy { holder } => {
                let problem = unavailable("device-busy", "Key in use");
                match holder {
                    Some(holder) => problem.with("holder", json!(holder)),
                    None => problem,
                }
            }
            Error::DeviceRemoved => unavailable("device-removed", "Key removed"),
            Error::DeviceFull => says(StatusCode::CONFLICT, "device-full", "Key full"),
            Error::DeviceLocked => says(StatusCode::LOCKED, "device-locked", "Key locked"),
            Error::WrongDevicePassword => {
                says(StatusCode::UNPROCESSABLE_ENTITY, "wrong-device-password", "Wrong password of the key")
            }
            Error::AccountTaken => says(StatusCode::CONFLICT, "name-taken", "Name taken"),
            Error::TouchTimeout => says(StatusCode::CONFLICT, "touch-timeout", "Key not touched"),
            Error::DeviceChanged => says(StatusCode::CONFLICT, "device-changed", "Another key"),
            Error::Unsupported(_) => says(StatusCode::CONFLICT, "unsupported", "Not supported"),
            Error::HidDenied => unavailable("hid-denied", "Security key closed to the daemon"),
            Error::ManySecurityKeys(_) => {
                // They have no serial numbers.
                says(StatusCode::CONFLICT, "many-devices", "Several keys").with("devices", json!([]))
            }
            Error::NotThisKey => says(StatusCode::CONFLICT, "not-this-key", "Another security key"),
            Error::TouchDenied => says(StatusCode::CONFLICT, "touch-denied", "Declined on the key"),
            Error::PinRequired => says(StatusCode::CONFLICT, "pin-required", "PIN required"),
            Error::PinWrong { remaining } => {
                says(StatusCode::UNPROCESSABLE_ENTITY, "pin-wrong", "Wrong PIN").with("remaining", json!(remaining))
            }
            Error::PinBlocked(_) => says(StatusCode::LOCKED, "pin-blocked", "PIN blocked"),
            Error::DeviceFailed(_) => unavailable("device-failed", "Key failed"),
            Error::NotGenuine(_) => says(StatusCode::CONFLICT, "not-genuine", "Key not genuine"),
            Error::DeviceInUse => says(StatusCode::CONFLICT, "device-in-use", "Key in use by a factor"),
            Error::FactorLocked => says(StatusCode::LOCKED, "factor-locked", "Factor locked"),
            Error::TooManyAttempts { wait } => {
                says(StatusCode::TOO_MANY_REQUESTS, "too-many-attempts", "Too many attempts").retry_in(*wait)
            }
            Error::Busy => says(StatusCode::SERVICE_UNAVAILABLE, "busy", "Busy").retry_in(Duration::from_secs(1)),
            Error::StorageUnavailable(_) => {
                says(StatusCode::SERVICE_UNAVAILABLE, "storage-unavailable", "Storage unavailable")
                    .retry_in(Duration::from_secs(5))
            }
            Error::NotReady(_) => {
                says(StatusCode::SERVICE_UNAVAILABLE, "not-ready", "Not ready").retry_in(Duration::from_secs(5))
            }
            Error::Tampered(_) => says(StatusCode::SERVICE_UNAVAILABLE, "storage-damaged", "Storage damaged")
                .retry_in(Duration::from_secs(60)),
            Error::Internal(cause) => Self::internal(cause.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_defect_has_a_cause_and_its_answer_does_not_tell_it() {
        for problem in [
            Problem::internal("hunter2"),
            Problem::from(&Error::Internal("hunter2".to_owned())),
            Problem::internal("hunter2".to_owned()),
        ] {
            let cause = problem.cause.clone().expect("a cause");
            let body = String::from_utf8(problem.body("an-id")).unwrap();

            assert_eq!(problem.status, StatusCode::INTERNAL_SERVER_ERROR);
            assert!(!body.contains(&cause) && body.contains("an-id"), "{body}");
        }
        for error in [Error::NotFound, Error::Busy, Error::Unauthenticated] {
            assert!(Problem::from(&error).cause.is_none(), "{error}");
        }
    }
}
