//! Classifies failures of a batch: try again, give up on the row or the key, or stop the batch.

use crate::failure::Failure;
use crate::problem::Problem;

/// Consequence of a failure for the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The same attempt may succeed later, or once the key is plugged in again.
    Again,
    /// The row of this user fails. The key can be used for other users.
    Failed,
    /// The key is in the way. The row goes on with another key.
    OtherKey,
    /// Attempts fail for every user and key, so the batch stops.
    Stop,
}

impl Verdict {
    pub(super) fn of(failure: &Failure) -> Self {
        match failure {
            Failure::Unreachable(_) => Self::Again,
            Failure::Refused(problem) => Self::of_refusal(problem),
            Failure::Usage(_)
            | Failure::Denied(_)
            | Failure::NotConfirmed
            | Failure::Forbidden(_)
            | Failure::Reported(_)
            | Failure::Output(_)
            | Failure::Internal(_)
            | Failure::OutputClosed
            | Failure::Interrupted => Self::Stop,
        }
    }

    fn of_refusal(problem: &Problem) -> Self {
        match (problem.code.as_str(), problem.status) {
            // The daemon cannot open security keys at all.
            ("hid-denied", _) => Self::Stop,
            ("touch-timeout" | "device-changed", _) | (_, 429 | 502..=504) => Self::Again,
            ("name-taken" | "device-full" | "device-locked" | "device-in-use" | "not-genuine" | "unsupported", _)
            | ("pin-required" | "pin-wrong" | "pin-blocked" | "touch-denied", _)
            | ("wrong-device-password", _) => Self::OtherKey,
            ("forbidden" | "unauthenticated", _) => Self::Stop,
            _ => Self::Failed,
        }
    }
}

/// Whether the refusal may come from an earlier attempt whose response was lost: its factor exists, or is already gone.
pub(super) fn tells_of_another(failure: &Failure) -> bool {
    let codes = ["secret-name-taken", "already-active", "expired", "not-found"];
    matches!(failure, Failure::Refused(problem) if codes.contains(&problem.code.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16, code: &str) -> Failure {
        Failure::Refused(Box::new(Problem::read(status, &format!(r#"{{"code":"{code}"}}"#))))
    }

    #[test]
    fn what_may_work_in_a_moment_is_done_again() {
        for (status, code) in [
            (503, "device-removed"),
            (503, "no-device"),
            (503, "device-busy"),
            (503, "device-failed"),
            (503, "no-pcscd"),
            (503, "busy"),
            (409, "touch-timeout"),
            (409, "device-changed"),
            (429, "too-many-attempts"),
        ] {
            assert_eq!(Verdict::of(&refused(status, code)), Verdict::Again, "{code}");
        }
        assert_eq!(Verdict::of(&Failure::Unreachable(String::new())), Verdict::Again);
    }

    #[test]
    fn what_the_user_is_refused_leaves_the_key_to_the_next() {
        for (status, code) in [
            (404, "not-found"),
            (409, "secret-name-taken"),
            (409, "too-many-secrets"),
            (403, "fresh-proof-required"),
            (400, "malformed"),
        ] {
            assert_eq!(Verdict::of(&refused(status, code)), Verdict::Failed, "{code}");
        }
    }

    #[test]
    fn what_a_key_refuses_leaves_the_user_to_the_next_key() {
        for (status, code) in [(409, "device-full"), (409, "name-taken"), (423, "device-locked"), (409, "unsupported")]
        {
            assert_eq!(Verdict::of(&refused(status, code)), Verdict::OtherKey, "{code}");
        }
    }

    #[test]
    fn without_rights_nothing_goes_on() {
        assert_eq!(Verdict::of(&refused(403, "forbidden")), Verdict::Stop);
        assert_eq!(Verdict::of(&Failure::Forbidden(String::new())), Verdict::Stop);
    }
}
