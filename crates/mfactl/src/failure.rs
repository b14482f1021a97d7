//! What can go wrong for the person at the command line, and the exit code each gets.

use std::fmt;

use mfad_api::ErrorCode;

use crate::problem::Problem;

/// How the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
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
    pub fn number(self) -> u8 {
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
    pub fn of_refusal(status: u16, code: &str) -> Self {
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
pub enum Failure {
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
    pub fn exit(&self) -> Option<Exit> {
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
    pub fn is_silent(&self) -> bool {
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

/// What the person may do about a refusal, where this program knows a way.
pub fn advice(code: ErrorCode) -> Option<&'static str> {
    match code {
        ErrorCode::FreshProofRequired => {
            Some("use --as-user to log in as the user (password, then code), or as an admin --reason TEXT")
        }
        ErrorCode::FreshLoginRequired => Some("run the command again: it logs in anew"),
        ErrorCode::Unauthenticated => {
            Some("this account has no rights of its own here; use --as-user where the command has it")
        }
        ErrorCode::MeWithoutUser => Some("give a name or uid, or use --as-user"),
        ErrorCode::Forbidden => {
            Some("rights come from [[peer]] in the daemon's configuration; some commands take --as-user instead")
        }
        ErrorCode::Version => Some("run the command again"),
        ErrorCode::Expired => Some("start again with mfactl enroll"),
        ErrorCode::FactorLocked => Some("with mfactl unlock"),
        _ => device_advice(code),
    }
}

fn device_advice(code: ErrorCode) -> Option<&'static str> {
    match code {
        ErrorCode::NoPcscd => Some("install and start pcscd"),
        ErrorCode::PcscdDenied => Some("allow the daemon's user by polkit, see docs/hardware.md"),
        ErrorCode::NoDevice => Some("mfactl device list shows which keys are there"),
        ErrorCode::ManyDevices => Some("give --serial, or leave only one key in"),
        ErrorCode::DeviceBusy => Some("end the program that holds the key, such as scdaemon: gpgconf --kill scdaemon"),
        ErrorCode::DeviceRemoved => Some("leave the key in until the command has ended"),
        ErrorCode::DeviceFull => Some("mfactl device accounts shows what is on it"),
        ErrorCode::DeviceLocked => Some("give the daemon its password with mfactl device password --learn"),
        ErrorCode::WrongDevicePassword => Some("if it is lost, mfactl device reset erases it with all accounts"),
        ErrorCode::TouchDenied => Some("run the command again if it was a mistake"),
        ErrorCode::PinRequired => Some("give the PIN with --pin-file or --pin-stdin"),
        ErrorCode::PinWrong => {
            Some("it is the PIN of the key, not the password; a key blocks it after eight wrong ones")
        }
        ErrorCode::PinBlocked => Some("unplug the key and plug it in again; if that does not help, it has to be reset"),
        ErrorCode::NotThisKey => Some("mfactl fido2 list shows the keys that are there"),
        ErrorCode::HidDenied => Some("install the udev rule of the package, then plug the key in again"),
        ErrorCode::TouchTimeout => Some("run the command again and touch the key that blinks"),
        ErrorCode::DeviceChanged => Some("mfactl device info shows what the daemon knows of it"),
        ErrorCode::Unsupported => Some("mfactl device info shows the firmware and what it can do"),
        ErrorCode::DeviceFailed => Some("if it goes on, try another port or another key"),
        ErrorCode::NotGenuine => Some("set the key aside; if others of its kind pass, it may be a forgery"),
        ErrorCode::DeviceInUse => {
            Some("delete the factor with mfactl secret delete, or take the key with mfactl device return")
        }
        _ => None,
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
    fn every_refusal_of_a_device_comes_with_advice() {
        for code in ErrorCode::ALL.iter().filter(|code| code.is_about_device()) {
            assert!(advice(*code).is_some(), "{code}");
        }
    }

    #[test]
    fn closed_output_is_no_failure_and_output_without_room_has_its_own_code() {
        assert!(Failure::OutputClosed.exit().is_none());
        assert_eq!(Failure::Output(String::new()).exit().map(Exit::number), Some(7));
    }
}
