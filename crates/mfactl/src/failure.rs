//! What can go wrong for the person at the command line, and the exit code each gets.

use std::fmt;

use mfad_api::ErrorCode;

use crate::problem::Problem;

/// How the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Denied, not found, in conflict, or a wrong code.
    Denied,
    /// The command line or its input is wrong or not complete.
    Usage,
    /// The daemon does not answer or is not ready.
    Unreachable,
    /// The caller may not do this.
    Forbidden,
    /// Something about a hardware key.
    Device,
    /// Locked, or too many attempts.
    Limited,
    /// The output cannot be written, such as for want of room.
    Output,
    /// A defect, here or in the daemon.
    Internal,
    /// Control-C.
    Interrupted,
}

impl Exit {
    /// The number the process ends with.
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::Denied => 1,
            Self::Usage => 2,
            Self::Unreachable => 3,
            Self::Forbidden => 4,
            Self::Device => 5,
            Self::Limited => 6,
            Self::Output => 7,
            Self::Internal => 70,
            Self::Interrupted => 130,
        }
    }

    /// The one map from the daemon's refusals (status and code of the problem document) to exit
    /// codes. The code decides only for devices, whose refusals come with several statuses.
    pub(crate) fn of_refusal(status: u16, code: &str) -> Self {
        if ErrorCode::parse(code).is_some_and(ErrorCode::is_about_device) {
            return Self::Device;
        }
        match status {
            401 | 404 | 409 | 410 | 422 => Self::Denied,
            400 | 413 | 414 | 431 => Self::Usage,
            503 => Self::Unreachable,
            403 => Self::Forbidden,
            423 | 429 => Self::Limited,
            _ => Self::Internal,
        }
    }
}

/// Why a command was not done.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Something is missing or wrong on the command line or in what it names.
    Usage(String),
    /// A plain no that the daemon did not say: not found, not confirmed.
    Denied(String),
    /// The daemon could not be reached or broke off.
    Unreachable(String),
    /// The operating system does not let the caller.
    Forbidden(String),
    /// The daemon refused.
    Refused(Box<Problem>),
    /// The result is already told; only the exit code is left.
    Reported(Exit),
    /// The output cannot be written.
    Output(String),
    /// A defect, or an answer that makes no sense.
    Internal(String),
    /// Nobody reads our output any more.
    OutputClosed,
    /// Control-C.
    Interrupted,
}

impl Failure {
    /// The exit code it gets; none when it is no failure worth one.
    pub(crate) fn exit(&self) -> Option<Exit> {
        match self {
            Self::Usage(_) => Some(Exit::Usage),
            Self::Denied(_) => Some(Exit::Denied),
            Self::Unreachable(_) => Some(Exit::Unreachable),
            Self::Forbidden(_) => Some(Exit::Forbidden),
            Self::Refused(problem) => Some(Exit::of_refusal(problem.status, &problem.code)),
            Self::Reported(exit) => Some(*exit),
            Self::Output(_) => Some(Exit::Output),
            Self::Internal(_) => Some(Exit::Internal),
            Self::OutputClosed => None,
            Self::Interrupted => Some(Exit::Interrupted),
        }
    }

    /// Whether there is a sentence to show.
    pub(crate) fn is_silent(&self) -> bool {
        matches!(self, Self::Reported(_) | Self::OutputClosed | Self::Interrupted)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(text)
            | Self::Denied(text)
            | Self::Unreachable(text)
            | Self::Forbidden(text)
            | Self::Output(text)
            | Self::Internal(text) => f.write_str(text),
            Self::Refused(problem) => write!(f, "{problem}"),
            Self::Reported(_) | Self::OutputClosed | Self::Interrupted => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_documented_refusal_has_its_exit_code() {
        for (status, code, number) in [
            (400, "malformed", 2),
            (401, "unauthenticated", 1),
            (401, "wrong-credentials", 1),
            (401, "wrong-code", 1),
            (401, "challenge-ended", 1),
            (403, "forbidden", 4),
            (403, "fresh-proof-required", 4),
            (403, "fresh-login-required", 4),
            (403, "me-without-user", 4),
            (404, "not-found", 1),
            (405, "method-not-allowed", 70),
            (409, "version", 1),
            (409, "name-taken", 1),
            (410, "expired", 1),
            (413, "body-too-large", 2),
            (415, "unsupported-media-type", 70),
            (422, "wrong-code", 1),
            (423, "factor-locked", 6),
            (429, "too-many-attempts", 6),
            (500, "internal", 70),
            (503, "busy", 3),
            (503, "storage-unavailable", 3),
            (503, "storage-damaged", 3),
            (503, "not-ready", 3),
            (503, "no-pcscd", 5),
            (503, "pcscd-denied", 5),
            (503, "device-failed", 5),
            (409, "device-full", 5),
            (409, "device-in-use", 5),
            (409, "not-genuine", 5),
            (422, "wrong-device-password", 5),
            (423, "device-locked", 5),
            (422, "pin-wrong", 5),
            (423, "pin-blocked", 5),
        ] {
            assert_eq!(Exit::of_refusal(status, code).number(), number, "{status} {code}");
        }
    }

    #[test]
    fn closed_output_is_no_failure_and_output_without_room_has_its_own_code() {
        assert!(Failure::OutputClosed.exit().is_none());
        assert_eq!(Failure::Output(String::new()).exit().map(Exit::number), Some(7));
    }
}
