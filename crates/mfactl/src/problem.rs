//! A refusal of the daemon, as the person at the terminal reads it.

use std::fmt;
use std::ops::Deref;

use mfad_api::ErrorCode;

use crate::failure::advice;

/// A refusal: the problem document of RFC 9457.
#[derive(Debug, Default)]
pub struct Problem {
    body: mfad_api::Problem,
    /// The document as it came; empty if the answer was none.
    pub document: String,
}

impl Deref for Problem {
    type Target = mfad_api::Problem;

    fn deref(&self) -> &mfad_api::Problem {
        &self.body
    }
}

impl Problem {
    /// Reads the document; an answer that is none keeps its status.
    pub fn read(status: u16, document: &str) -> Self {
        match serde_json::from_str::<mfad_api::Problem>(document) {
            Ok(body) => Self { body: mfad_api::Problem { status, ..body }, document: document.to_owned() },
            Err(_) => {
                let title = format!("the daemon answered {status} without saying why");
                Self { body: mfad_api::Problem { status, title, ..Default::default() }, document: String::new() }
            }
        }
    }

    /// Whether the code was wrong and another may be tried.
    pub fn may_try_again(&self) -> bool {
        self.known_code() == Some(ErrorCode::WrongCode) && self.remaining.is_some_and(|left| left > 0)
    }

    /// Whether a security key needs its PIN, or another one.
    pub fn is_about_pin(&self) -> bool {
        matches!(self.known_code(), Some(ErrorCode::PinRequired | ErrorCode::PinWrong))
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.detail.as_deref().unwrap_or(&self.title);
        f.write_str(text)?;
        if let Some(holder) = self.holder.as_ref().filter(|holder| !text.contains(holder.as_str())) {
            write!(f, " (held by {holder})")?;
        }
        if let Some(devices) = self.devices.as_ref().filter(|devices| !devices.is_empty()) {
            let serials: Vec<String> = devices.iter().map(u64::to_string).collect();
            write!(f, " ({})", serials.join(", "))?;
        }
        if let Some(left) = self.remaining {
            write!(f, " ({left} more may be tried)")?;
        }
        if let Some(seconds) = self.retry_after {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_fresh_proof_names_both_ways() {
        let text = Problem::read(403, r#"{"code":"fresh-proof-required","detail":"say who"}"#).to_string();

        assert!(text.contains("--as-user") && text.contains("--reason"), "{text}");
    }

    #[test]
    fn an_answer_that_is_no_problem_document_keeps_its_status() {
        let problem = Problem::read(502, "<html>");

        assert_eq!(problem.status, 502);
        assert!(problem.to_string().contains("502"));
    }

    #[test]
    fn the_keys_and_the_holder_are_named() {
        let many = r#"{"code":"many-devices","detail":"which","devices":[12345678,12345679]}"#;
        let busy = r#"{"code":"device-busy","detail":"in use","holder":"scdaemon"}"#;

        assert!(Problem::read(409, many).to_string().starts_with("which (12345678, 12345679); "));
        assert!(Problem::read(503, busy).to_string().starts_with("in use (held by scdaemon); "));
    }

    #[test]
    fn another_code_may_be_tried_while_some_remain() {
        let left = |n: u32| Problem::read(422, &format!(r#"{{"code":"wrong-code","remaining":{n}}}"#)).may_try_again();

        assert!(left(1));
        assert!(!left(0));
        assert!(!Problem::read(401, r#"{"code":"wrong-code"}"#).may_try_again());
    }
}
