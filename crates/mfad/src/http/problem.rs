//! Problem documents (RFC 9457): the only mapping from errors of the service to code, title and status.

use std::time::Duration;

use hyper::StatusCode;
use mfad_api::{self as api, ErrorCode};

use mfad_core::model::KeyId;
use mfad_core::oath::Diagnosis;
use mfad_service::error::Error;

use super::framing::Reject;

/// A refusal of a request: the members of its problem document and its header fields.
#[derive(Debug)]
pub struct Problem {
    /// The HTTP status, also a member of the document.
    pub status: StatusCode,
    /// The stable code, one of the closed list in `docs/errors.md`.
    pub code: ErrorCode,
    /// A short name of the kind of problem, for people.
    pub title: &'static str,
    /// A sentence for people: what is wrong with this request, and what to do.
    pub detail: String,
    /// The methods that the path supports, for the header `Allow`; with 405.
    pub allow: Option<String>,
    /// The scheme that the resource accepts, for the header `WWW-Authenticate`; with 401.
    pub challenge: Option<&'static str>,
    /// Seconds to wait, for the header `Retry-After` and the member `retryAfter`; with 429 and 503.
    pub retry_after: Option<u64>,
    /// Attempts left for the challenge, the pending factor or the PIN.
    pub remaining: Option<u32>,
    /// The parameters under which a wrong first code would have been correct.
    pub diagnosis: Option<Box<api::Diagnosis>>,
    /// The serial numbers of the keys of Yubico to choose from.
    pub devices: Option<Vec<u64>>,
    /// The ids of all keys to choose from.
    pub keys: Option<Vec<String>>,
    /// The right that the caller lacks.
    pub right: Option<&'static str>,
    /// The programs that may hold the key.
    pub holder: Option<String>,
    /// The cause of a defect, for the journal only; `None` for other problems and once it is logged.
    pub cause: Option<String>,
}

impl Problem {
    fn new(status: StatusCode, code: ErrorCode, title: &'static str, detail: impl Into<String>) -> Self {
        Self {
            status,
            code,
            title,
            detail: detail.into(),
            allow: None,
            challenge: None,
            retry_after: None,
            remaining: None,
            diagnosis: None,
            devices: None,
            right: None,
            keys: None,
            holder: None,
            cause: None,
        }
    }

    /// 400: a part of the request is malformed; `detail` says which.
    pub fn malformed(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, ErrorCode::Malformed, "Malformed request", detail)
    }

    /// 400: a member or parameter has an invalid value.
    pub fn invalid(member: &str) -> Self {
        Self::malformed(format!("invalid value for `{member}`"))
    }

    /// 404: no such path, or no such object that belongs to this caller.
    pub fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, ErrorCode::NotFound, "Not found", Error::NotFound.to_string())
    }

    /// 405: the path does not support this method.
    pub fn method_not_allowed(allow: String) -> Self {
        let detail = format!("this path takes {allow}");
        Self {
            allow: Some(allow),
            ..Self::new(StatusCode::METHOD_NOT_ALLOWED, ErrorCode::MethodNotAllowed, "Method not allowed", detail)
        }
    }

    /// 413: the body is longer than 16 KiB.
    pub fn body_too_large() -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            ErrorCode::BodyTooLarge,
            "Body too large",
            "a body has at most 16384 bytes",
        )
    }

    /// 415: the body is not `application/json`.
    pub fn unsupported_media_type() -> Self {
        Self::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            ErrorCode::UnsupportedMediaType,
            "Unsupported media type",
            "send the body as application/json",
        )
    }

    /// 409: the idempotency key was used for another request, or its response cannot be repeated.
    pub fn idempotency_conflict(detail: &str) -> Self {
        Self::new(StatusCode::CONFLICT, ErrorCode::IdempotencyConflict, "Idempotency key in use", detail)
    }

    /// 503: a limit is reached, or the request could not complete in time.
    pub fn busy() -> Self {
        Self::from(&Error::Busy)
    }

    /// 500: a defect. Only the journal gets the cause, which must hold no secret.
    pub fn internal(cause: impl Into<String>) -> Self {
        let detail = "the daemon has a defect; its journal has the cause under this request id";
        Self {
            cause: Some(cause.into()),
            ..Self::new(StatusCode::INTERNAL_SERVER_ERROR, ErrorCode::Internal, "Internal error", detail)
        }
    }

    /// Returns the problem document as JSON, with the id of the request.
    pub fn body(&self, request: &str) -> Vec<u8> {
        let document = api::Problem {
            kind: format!("urn:mfad:error:{}", self.code),
            title: self.title.to_owned(),
            status: self.status.as_u16(),
            detail: Some(self.detail.clone()),
            code: self.code.as_str().to_owned(),
            request_id: Some(request.to_owned()),
            retry_after: self.retry_after,
            remaining: self.remaining,
            diagnosis: self.diagnosis.as_deref().cloned(),
            devices: self.devices.clone(),
            right: self.right.map(str::to_owned),
            keys: self.keys.clone(),
            holder: self.holder.clone(),
        };
        serde_json::to_vec(&document).unwrap_or_default()
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
                ErrorCode::TargetTooLong,
                "Request target too long",
                "a request target has at most 2048 bytes",
            ),
            Reject::HeadersTooLarge => Self::new(
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                ErrorCode::HeadersTooLarge,
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
            Error::Malformed(_) => says(StatusCode::BAD_REQUEST, ErrorCode::Malformed, "Malformed request"),
            Error::MeWithoutUser => says(StatusCode::FORBIDDEN, ErrorCode::MeWithoutUser, "No user to be `me`"),
            Error::Unauthenticated => says(StatusCode::UNAUTHORIZED, ErrorCode::Unauthenticated, "Not authenticated"),
            Error::WrongCredentials => says(StatusCode::UNAUTHORIZED, ErrorCode::WrongCredentials, "Wrong credentials"),
            Error::WrongCode { remaining, diagnosis } => Self {
                remaining: *remaining,
                diagnosis: diagnosis.as_ref().map(|found| Box::new(diagnosis_of(found))),
                ..says(StatusCode::UNAUTHORIZED, ErrorCode::WrongCode, "Wrong code")
            },
            Error::ChallengeEnded => says(StatusCode::UNAUTHORIZED, ErrorCode::ChallengeEnded, "Challenge ended"),
            Error::RefreshEnded => says(StatusCode::UNAUTHORIZED, ErrorCode::RefreshEnded, "Session ended"),
            Error::ReceiptRefused => says(StatusCode::UNAUTHORIZED, ErrorCode::ReceiptRefused, "Receipt refused"),
            Error::Forbidden(right) => {
                Self { right: Some(right), ..says(StatusCode::FORBIDDEN, ErrorCode::Forbidden, "Not allowed") }
            }
            Error::ForeignAccount => {
                Self { right: Some("admin"), ..says(StatusCode::FORBIDDEN, ErrorCode::Forbidden, "Not allowed") }
            }
            Error::FreshProofRequired => {
                says(StatusCode::FORBIDDEN, ErrorCode::FreshProofRequired, "Fresh proof required")
            }
            Error::FreshLoginRequired => {
                says(StatusCode::FORBIDDEN, ErrorCode::FreshLoginRequired, "Fresh login required")
            }
            Error::NotFound => Self::not_found(),
            Error::Version => says(StatusCode::CONFLICT, ErrorCode::Version, "Version conflict"),
            Error::NameTaken => says(StatusCode::CONFLICT, ErrorCode::NameTaken, "Name taken"),
            Error::EmailTaken => says(StatusCode::CONFLICT, ErrorCode::EmailTaken, "E-mail address taken"),
            Error::IdTaken => says(StatusCode::CONFLICT, ErrorCode::IdTaken, "Id taken"),
            Error::SecretNameTaken => says(StatusCode::CONFLICT, ErrorCode::SecretNameTaken, "Secret name taken"),
            Error::PasswordExists => says(StatusCode::CONFLICT, ErrorCode::PasswordExists, "Password exists"),
            Error::AlreadyActive => says(StatusCode::CONFLICT, ErrorCode::AlreadyActive, "Already active"),
            Error::NoFactor => says(StatusCode::CONFLICT, ErrorCode::NoFactor, "No active factor"),
            Error::TooManySecrets => says(StatusCode::CONFLICT, ErrorCode::TooManySecrets, "Too many secrets"),
            Error::ToldOnce => Self::idempotency_conflict(&error.to_string()),
            Error::Expired => says(StatusCode::GONE, ErrorCode::Expired, "Pending secret ended"),
            Error::WrongFirstCode { remaining, diagnosis } => Self {
                remaining: Some(*remaining),
                diagnosis: diagnosis.as_ref().map(|found| Box::new(diagnosis_of(found))),
                ..says(StatusCode::UNPROCESSABLE_ENTITY, ErrorCode::WrongCode, "Wrong code")
            },
            Error::NoPcscd => unavailable(ErrorCode::NoPcscd, "No smart card service"),
            Error::PcscdDenied => unavailable(ErrorCode::PcscdDenied, "Smart card service refuses"),
            Error::NoDevice(_) => unavailable(ErrorCode::NoDevice, "No such key"),
            Error::ManyDevices(keys) => {
                several_keys(keys, says(StatusCode::CONFLICT, ErrorCode::ManyDevices, "Several keys"))
            }
            Error::TwinDevices(key) => {
                several_keys(&[*key], says(StatusCode::CONFLICT, ErrorCode::ManyDevices, "Several keys"))
            }
            Error::DeviceBusy { holder } => {
                Self { holder: holder.clone(), ..unavailable(ErrorCode::DeviceBusy, "Key in use") }
            }
            Error::DeviceRemoved => unavailable(ErrorCode::DeviceRemoved, "Key removed"),
            Error::DeviceFull => says(StatusCode::CONFLICT, ErrorCode::DeviceFull, "Key full"),
            Error::DeviceLocked => says(StatusCode::LOCKED, ErrorCode::DeviceLocked, "Key locked"),
            Error::WrongDevicePassword => {
                says(StatusCode::UNPROCESSABLE_ENTITY, ErrorCode::WrongDevicePassword, "Wrong password of the key")
            }
            Error::AccountTaken => says(StatusCode::CONFLICT, ErrorCode::NameTaken, "Name taken"),
            Error::TouchTimeout => says(StatusCode::CONFLICT, ErrorCode::TouchTimeout, "Key not touched"),
            Error::DeviceChanged => says(StatusCode::CONFLICT, ErrorCode::DeviceChanged, "Another key"),
            Error::Unsupported(_) => says(StatusCode::CONFLICT, ErrorCode::Unsupported, "Not supported"),
            Error::HidDenied => unavailable(ErrorCode::HidDenied, "Security key closed to the daemon"),
            Error::ManySecurityKeys(_) => {
                // They have no ids.
                several_keys(&[], says(StatusCode::CONFLICT, ErrorCode::ManyDevices, "Several keys"))
            }
            Error::NotThisKey => says(StatusCode::CONFLICT, ErrorCode::NotThisKey, "Another security key"),
            Error::TouchDenied => says(StatusCode::CONFLICT, ErrorCode::TouchDenied, "Declined on the key"),
            Error::PinRequired => says(StatusCode::CONFLICT, ErrorCode::PinRequired, "PIN required"),
            Error::PinWrong { remaining } => Self {
                remaining: Some(u32::from(*remaining)),
                ..says(StatusCode::UNPROCESSABLE_ENTITY, ErrorCode::PinWrong, "Wrong PIN")
            },
            Error::PinBlocked(_) => says(StatusCode::LOCKED, ErrorCode::PinBlocked, "PIN blocked"),
            Error::DeviceHung | Error::DeviceFailed(_) => unavailable(ErrorCode::DeviceFailed, "Key failed"),
            Error::NotGenuine(_) => says(StatusCode::CONFLICT, ErrorCode::NotGenuine, "Key not genuine"),
            Error::DeviceInUse => says(StatusCode::CONFLICT, ErrorCode::DeviceInUse, "Key in use by a factor"),
            Error::FactorLocked => says(StatusCode::LOCKED, ErrorCode::FactorLocked, "Factor locked"),
            Error::TooManyAttempts { wait } => {
                says(StatusCode::TOO_MANY_REQUESTS, ErrorCode::TooManyAttempts, "Too many attempts").retry_in(*wait)
            }
            Error::Busy => {
                says(StatusCode::SERVICE_UNAVAILABLE, ErrorCode::Busy, "Busy").retry_in(Duration::from_secs(1))
            }
            Error::StorageUnavailable(_) => {
                says(StatusCode::SERVICE_UNAVAILABLE, ErrorCode::StorageUnavailable, "Storage unavailable")
                    .retry_in(Duration::from_secs(5))
            }
            Error::NotReady(_) => {
                says(StatusCode::SERVICE_UNAVAILABLE, ErrorCode::NotReady, "Not ready").retry_in(Duration::from_secs(5))
            }
            Error::Tampered(_) => says(StatusCode::SERVICE_UNAVAILABLE, ErrorCode::StorageDamaged, "Storage damaged")
                .retry_in(Duration::from_secs(60)),
            Error::Internal(cause) => Self::internal(cause.clone()),
        }
    }
}

fn several_keys(keys: &[KeyId], problem: Problem) -> Problem {
    Problem {
        devices: Some(keys.iter().filter_map(KeyId::serial).map(|serial| u64::from(serial.number())).collect()),
        keys: Some(keys.iter().map(KeyId::to_string).collect()),
        ..problem
    }
}

fn diagnosis_of(found: &Diagnosis) -> api::Diagnosis {
    let profile = &found.profile;
    api::Diagnosis {
        algorithm: Some(profile.algorithm.name().to_owned()),
        digits: Some(profile.digits.count()),
        period: profile.period_seconds(),
        drift_seconds: Some(found.drift_seconds),
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
