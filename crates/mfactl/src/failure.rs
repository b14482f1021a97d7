//! Failures of a command, and the exit code of each (docs/errors.md).

use std::fmt;

use mfad_api::ErrorCode;

use crate::problem::Problem;

/// Exit codes of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// 1: denied, not found, in conflict, or a wrong code or password.
    Denied,
    /// 2: the command line or its input is wrong or incomplete.
    Usage,
    /// 3: the daemon does not answer or is not ready.
    Unreachable,
    /// 4: the caller is not permitted to do this.
    Forbidden,
    /// 5: a hardware key or security key is missing, busy or refuses.
    Device,
    /// 6: locked or rate limited.
    Limited,
    /// 7: the output cannot be written, for example because the disk is full.
    Output,
    /// 70: a defect of this program or of the daemon.
    Internal,
    /// 130: interrupted by Control-C.
    Interrupted,
}

impl Exit {
    /// Returns the number with which the process exits.
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

    /// Maps a refusal of the daemon (status and code of its problem document) to an exit code. The code decides only
    /// for hardware and security keys, whose refusals have several statuses.
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

/// Why a command was not carried out. Each text is a message for the user.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The command line, or a file or input that it names, is wrong or incomplete.
    Usage(String),
    /// Denied without asking the daemon: not found in a list.
    Denied(String),
    /// The user did not confirm.
    NotConfirmed,
    /// The daemon could not be reached, or the connection broke.
    Unreachable(String),
    /// The operating system denies the caller access.
    Forbidden(String),
    /// The daemon refused the request.
    Refused(Box<Problem>),
    /// The result was printed already; only the exit code is left.
    Reported(Exit),
    /// The output cannot be written, for example because the disk is full.
    Output(String),
    /// A defect, or a response that cannot be parsed.
    Internal(String),
    /// The reader of the output has closed it, as `head` does.
    OutputClosed,
    /// The user pressed Control-C.
    Interrupted,
}

impl Failure {
    /// Returns the exit code; `None` if the output was closed, which is no error.
    pub(crate) fn exit(&self) -> Option<Exit> {
        match self {
            Self::Usage(_) => Some(Exit::Usage),
            Self::Denied(_) | Self::NotConfirmed => Some(Exit::Denied),
            Self::Unreachable(_) => Some(Exit::Unreachable),
            Self::Forbidden(_) => Some(Exit::Forbidden),
            Self::Refused(problem) if problem.missing_right().is_some() => Some(Exit::Forbidden),
            Self::Refused(problem) => Some(Exit::of_refusal(problem.status, &problem.code)),
            Self::Reported(exit) => Some(*exit),
            Self::Output(_) => Some(Exit::Output),
            Self::Internal(_) => Some(Exit::Internal),
            Self::OutputClosed => None,
            Self::Interrupted => Some(Exit::Interrupted),
        }
    }

    /// Whether a pending factor has ended with this refusal, or was confirmed by another request.
    pub(crate) fn has_ended_factor(&self) -> bool {
        let Self::Refused(problem) = self else { return false };
        let is_over = matches!(problem.known_code(), Some(ErrorCode::Expired | ErrorCode::AlreadyActive));
        is_over || problem.remaining == Some(0)
    }

    /// Whether there is no message to print.
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
            Self::NotConfirmed => f.write_str("not confirmed; nothing was changed"),
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
