//! A refusal of the daemon, as a message with advice for the user.

use std::fmt;
use std::ops::Deref;

use mfad_api::ErrorCode;

use crate::account::{self, Needed};

/// A refusal: the problem document of RFC 9457.
#[derive(Debug, Default)]
pub(crate) struct Problem {
    body: mfad_api::Problem,
    /// The document as received; empty if the response was none.
    pub document: String,
    /// The right that the request needs, if the rights of the calling account decided.
    needed: Option<Needed>,
}

impl Deref for Problem {
    type Target = mfad_api::Problem;

    fn deref(&self) -> &mfad_api::Problem {
        &self.body
    }
}

impl Problem {
    /// Parses a problem document. If the text is none, only the status is kept.
    pub(crate) fn read(status: u16, document: &str) -> Self {
        match serde_json::from_str::<mfad_api::Problem>(document) {
            Ok(body) => {
                Self { body: mfad_api::Problem { status, ..body }, document: document.to_owned(), needed: None }
            }
            Err(_) => {
                let title = format!("the daemon answered {status} without saying why");
                Self { body: mfad_api::Problem { status, title, ..Default::default() }, ..Self::default() }
            }
        }
    }

    /// Whether the code was wrong, or had the wrong number of digits, and another may be tried.
    pub(crate) fn may_try_again(&self) -> bool {
        match self.known_code() {
            Some(ErrorCode::WrongCode) => self.remaining.is_some_and(|left| left > 0),
            Some(ErrorCode::Malformed) => true,
            _ => false,
        }
    }

    /// Notes which right the request needs, if it had no token, so that the rights of the calling account decided.
    pub(crate) fn of_account(self, needed: Option<Needed>) -> Self {
        Self { needed, ..self }
    }

    /// Returns the right that the calling account lacks, if the refusal is about that. An account without any right gets
    /// 401, since it could come with a token.
    pub(crate) fn missing_right(&self) -> Option<&str> {
        match self.known_code() {
            Some(ErrorCode::Unauthenticated) => self.needed.map(|needed| needed.right),
            Some(ErrorCode::Forbidden) => self.needed.map(|needed| match self.right.as_deref() {
                // The command goes on to what only administrators may do.
                Some("app") if needed.right == "admin" => "admin",
                Some(right) => right,
                None => needed.right,
            }),
            _ => None,
        }
    }

    /// The daemon's sentence, in the words of this program's users. The daemon ends a sentence with advice for its own
    /// callers, who send requests. That part is left out where the rest of the message says what to do here.
    fn text(&self) -> String {
        let whole = self.detail.as_deref().unwrap_or(&self.title);
        let whole = &whole.replace("send `replace`", "use --replace");
        let (fact, theirs) = whole.rsplit_once("; ").unwrap_or((whole, ""));
        let is_over = self.remaining == Some(0) && theirs.starts_with("try again");
        let is_timed =
            self.retry_after.is_some() && ["try again", "wait"].iter().any(|begin| theirs.starts_with(begin));
        let is_for_senders = theirs.contains('`') && theirs.starts_with("send");
        let has_own = self.known_code().is_some_and(says_it_better);
        let text = if is_over || is_timed || is_for_senders || has_own { fact } else { whole };
        // Members of a request are set in backticks; here they are flags or fields.
        text.replace('`', "")
    }

    /// Whether the security key requires its PIN, or the PIN was wrong.
    pub(crate) fn is_about_pin(&self) -> bool {
        matches!(self.known_code(), Some(ErrorCode::PinRequired | ErrorCode::PinWrong))
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(right) = self.missing_right() {
            let may_log_in = self.needed.is_some_and(|needed| needed.may_log_in);
            return f.write_str(&account::lacks_right(right, may_log_in));
        }
        let text = self.text();
        f.write_str(&text)?;
        if let Some(holder) = self.holder.as_ref().filter(|holder| !text.contains(holder.as_str())) {
            write!(f, " (programs here that often hold keys: {holder})")?;
        }
        if let Some(keys) = self.keys.as_ref().filter(|keys| !keys.is_empty()) {
            write!(f, " ({})", keys.join(", "))?;
        }
        match self.remaining {
            Some(0) => write!(f, "; that was the last attempt: start again")?,
            Some(left) => write!(f, " ({left} more may be tried)")?,
            None => {}
        }
        let is_mended_by_waiting = !matches!(self.known_code(), Some(ErrorCode::NoPcscd | ErrorCode::PcscdDenied));
        if let Some(seconds) = self.retry_after.filter(|_| is_mended_by_waiting) {
            write!(f, "; try again in {seconds} s")?;
        }
        if let Some(advice) = self.known_code().and_then(advice) {
            write!(f, "; {advice}")?;
        }
        match &self.request_id {
            Some(id) if self.status >= 500 => write!(f, " (request {id})"),
            Some(_) | None => Ok(()),
        }
    }
}

/// Whether the advice of this program says all that the daemon's does, for every refusal with this code.
fn says_it_better(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::FreshProofRequired
            | ErrorCode::FreshLoginRequired
            | ErrorCode::MeWithoutUser
            | ErrorCode::NoPcscd
            | ErrorCode::ManyDevices
            | ErrorCode::DeviceLocked
            | ErrorCode::WrongDevicePassword
            | ErrorCode::TouchDenied
            | ErrorCode::TouchTimeout
            | ErrorCode::PinRequired
            | ErrorCode::HidDenied
    )
}

/// Returns advice for the user about a refusal; `None` if this program has none.
pub(crate) fn advice(code: ErrorCode) -> Option<&'static str> {
    match code {
        ErrorCode::FreshProofRequired => {
            Some("use --as-user to log in as the user (password, then code), or as an admin --reason TEXT")
        }
        ErrorCode::FreshLoginRequired => Some("run the command again: it logs in anew"),
        ErrorCode::MeWithoutUser => Some("give a name or uid, or use --as-user"),
        ErrorCode::Version => Some("run the command again"),
        ErrorCode::Expired => Some("start again with mfactl enroll"),
        ErrorCode::FactorLocked => Some("administrators do that with mfactl unlock USER"),
        _ => device_advice(code),
    }
}

fn device_advice(code: ErrorCode) -> Option<&'static str> {
    match code {
        ErrorCode::NoPcscd => Some("install and start pcscd"),
        ErrorCode::PcscdDenied => Some("allow the daemon's user by polkit, see docs/hardware.md"),
        ErrorCode::NoDevice => Some("mfactl device list shows which keys are there"),
        ErrorCode::ManyDevices => Some("give --key, or leave only one key in"),
        ErrorCode::DeviceBusy => Some("end the program that holds the key, such as scdaemon: gpgconf --kill scdaemon"),
        ErrorCode::DeviceRemoved => Some("leave the key in until the command has ended"),
        ErrorCode::DeviceFull => Some("mfactl device accounts shows what is on it"),
        ErrorCode::DeviceLocked => Some("give the daemon its password with mfactl device password --learn"),
        ErrorCode::WrongDevicePassword => Some(
            "if it is lost, a reset erases it with all accounts (mfactl device reset; a CanoKey needs its own program)",
        ),
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
    fn every_refusal_of_a_device_comes_with_advice() {
        for code in ErrorCode::ALL.iter().filter(|code| code.is_about_device()) {
            assert!(advice(*code).is_some(), "{code}");
        }
    }

    #[test]
    fn advice_is_given_once_and_in_the_words_of_the_command_line() {
        let text = |document: &str| Problem::read(400, document).to_string();

        assert_eq!(
            text(r#"{"code":"pin-required","detail":"the key requires its PIN; send it as `pin`"}"#),
            "the key requires its PIN; give the PIN with --pin-file or --pin-stdin"
        );
        assert_eq!(
            text(
                r#"{"code":"too-many-attempts","detail":"too many attempts; wait before the next one","retryAfter":8}"#
            ),
            "too many attempts; try again in 8 s"
        );
        assert_eq!(
            text(r#"{"code":"wrong-code","detail":"wrong code; try again with a new one","remaining":0}"#),
            "wrong code; that was the last attempt: start again"
        );
        assert_eq!(
            text(
                r#"{"code":"secret-name-taken","detail":"it exists; choose another name, or send `replace` to overwrite it"}"#
            ),
            "it exists; choose another name, or use --replace to overwrite it"
        );
        assert_eq!(
            text(r#"{"code":"malformed","detail":"`name` mixes scripts; choose another one"}"#),
            "name mixes scripts; choose another one"
        );
    }

    #[test]
    fn advice_that_is_not_the_same_in_every_case_is_kept() {
        let spared = r#"{"code":"pin-blocked","detail":"none is tried; enter the right PIN in another program"}"#;
        let touch = r#"{"code":"unsupported","detail":"no touch here; use another key, or leave out `touch`"}"#;

        assert!(Problem::read(423, spared).to_string().contains("; enter the right PIN in another program; "));
        assert!(
            Problem::read(409, touch).to_string().starts_with("no touch here; use another key, or leave out touch")
        );
    }

    #[test]
    fn a_missing_fresh_proof_names_both_ways() {
        let text = Problem::read(403, r#"{"code":"fresh-proof-required","detail":"say who"}"#).to_string();

        assert!(text.contains("--as-user") && text.contains("--reason"), "{text}");
    }

    #[test]
    fn a_missing_right_is_one_of_the_calling_account_and_only_without_a_token() {
        let refusal = |document, is_by_account: bool| {
            Problem::read(403, document).of_account(is_by_account.then(|| Needed::by("/v1/key")))
        };
        let forbidden = r#"{"code":"forbidden","detail":"no","right":"audit"}"#;
        let unauthenticated = r#"{"code":"unauthenticated","detail":"log in"}"#;

        assert_eq!(refusal(forbidden, true).missing_right(), Some("audit"));
        assert_eq!(refusal(unauthenticated, true).missing_right(), Some("admin"));
        assert!(refusal(forbidden, true).to_string().contains("lacks the right `audit`"));
        assert_eq!(refusal(unauthenticated, false).to_string(), "log in");
    }

    #[test]
    fn an_answer_that_is_no_problem_document_keeps_its_status() {
        let problem = Problem::read(502, "<html>");

        assert_eq!(problem.status, 502);
        assert!(problem.to_string().contains("502"));
    }

    #[test]
    fn the_keys_and_the_holder_are_named() {
        let many =
            r#"{"code":"many-devices","detail":"which","devices":[12345678],"keys":["12345678","nitrokey:a1b2c3d4"]}"#;
        let busy = r#"{"code":"device-busy","detail":"in use","holder":"scdaemon"}"#;

        assert!(Problem::read(409, many).to_string().starts_with("which (12345678, nitrokey:a1b2c3d4); "));
        assert!(
            Problem::read(503, busy).to_string().starts_with("in use (programs here that often hold keys: scdaemon); ")
        );
    }

    #[test]
    fn another_code_may_be_tried_while_some_remain() {
        let left = |n: u32| Problem::read(422, &format!(r#"{{"code":"wrong-code","remaining":{n}}}"#)).may_try_again();

        assert!(left(1));
        assert!(!left(0));
        assert!(!Problem::read(401, r#"{"code":"wrong-code"}"#).may_try_again());
    }
}
