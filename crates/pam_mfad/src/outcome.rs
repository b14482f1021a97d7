//! The outcome of an attempt, and the return value of PAM that stands for it.

use pam::constants::PamResultCode;

use crate::items::Login;
use crate::journal::Journal;
use crate::options::Options;

/// How an attempt ended. Only [`Outcome::Accepted`] lets the user in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The user gave what the options ask for.
    Accepted,
    /// The module has nothing to say: `account` without `enforce`.
    Ignored,
    /// A wrong answer, or none.
    Refused,
    /// The user has no second factor, and the options do not let in users without one.
    NoFactor,
    /// Too many wrong answers: delayed or locked by the daemon.
    TooMany,
    /// The application could not show a prompt, or the user broke off.
    NoConversation,
    /// The daemon did not decide.
    Unavailable,
}

impl Outcome {
    /// The return value. A dry run tells the journal what it would have returned, and returns `PAM_IGNORE`. `login` is
    /// `None` if PAM does not say who logs in.
    pub(crate) fn code(self, options: &Options, journal: &Journal, login: Option<&Login>) -> PamResultCode {
        let code = match self {
            Self::Accepted => PamResultCode::PAM_SUCCESS,
            Self::Ignored => PamResultCode::PAM_IGNORE,
            Self::Refused => PamResultCode::PAM_AUTH_ERR,
            Self::NoFactor => PamResultCode::PAM_PERM_DENIED,
            Self::TooMany => PamResultCode::PAM_MAXTRIES,
            Self::NoConversation => PamResultCode::PAM_CONV_ERR,
            Self::Unavailable => PamResultCode::PAM_AUTHINFO_UNAVAIL,
        };
        if !options.is_dry_run {
            return code;
        }
        let who = login.map_or("somebody", Login::shown);
        journal.notice(&format!("dry run: would have returned {code:?} for {who}"));
        PamResultCode::PAM_IGNORE
    }
}
