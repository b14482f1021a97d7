//! What the daemon's answers say, as far as this program reads them. Unknown members are let be.

mod devices;

use std::fmt;

use serde::Deserialize;

use crate::failure::advice;

pub use devices::{
    Account, AccountList, Applet, Credential, Device, DeviceEvent, DeviceList, DevicePassword, Genuine, Returned,
    ReturnedCredential, SecurityKey, SecurityKeyList,
};

/// A user.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct User {
    /// Id.
    pub uid: String,
    /// Name.
    pub name: String,
    /// Name for people.
    pub display_name: Option<String>,
    /// Mail address.
    pub email: Option<String>,
    /// Roles.
    #[serde(default)]
    pub roles: Vec<String>,
    /// Whether logging in is barred.
    pub disabled: bool,
    /// When made.
    pub date_created: String,
    /// When last changed.
    pub date_modified: String,
    /// Needed to change it.
    pub version: i64,
    /// `none`, `pending` or `active`.
    pub mfa: String,
}

/// A page of users.
#[derive(Debug, Deserialize)]
pub struct UserPage {
    /// The users.
    pub users: Vec<User>,
    /// What to ask for next.
    pub next: Option<String>,
}

/// The answer to creating a user.
#[derive(Deserialize)]
pub struct NewUser {
    /// The user.
    pub user: User,
    /// An access token, if there is a password.
    pub token: Option<String>,
}

/// A secret, without its value.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Secret {
    /// Id.
    pub uid: String,
    /// `password`, `mfa`, `apikey`, `mfabackup`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Name.
    pub name: Option<String>,
    /// `pending` or `active`.
    pub status: String,
    /// When made.
    pub date_created: String,
    /// When last used.
    pub last_used: Option<String>,
    /// Needed to change it.
    pub version: i64,
    /// `totp` or `hotp`.
    #[serde(rename = "kind")]
    pub moving: Option<String>,
    /// Hash algorithm.
    pub algorithm: Option<String>,
    /// Digits of a code.
    pub digits: Option<u8>,
    /// Seconds of a step.
    pub period: Option<u32>,
    /// Counter.
    pub counter: Option<u64>,
    /// Backup codes left.
    pub remaining: Option<u32>,
    /// The hardware key it is on.
    pub device: Option<OnKey>,
}

/// The hardware key that a factor is on.
#[derive(Clone, Debug, Deserialize)]
pub struct OnKey {
    /// Number of the key.
    pub serial: u64,
    /// Name of the account on the key.
    pub credential: String,
    /// How it was proved.
    pub proof: Option<KeyProof>,
}

/// The proof that a key computes with the seed.
#[derive(Clone, Debug, Deserialize)]
pub struct KeyProof {
    /// When.
    pub time: String,
}

/// The secrets of a user.
#[derive(Debug, Deserialize)]
pub struct SecretList {
    /// The secrets.
    pub secrets: Vec<Secret>,
}

/// The answer to creating an mfa secret: shown this once.
#[derive(Deserialize)]
pub struct NewFactor {
    /// The secret's record.
    #[serde(flatten)]
    pub record: Secret,
    /// Its value.
    pub secret: Seed,
    /// QR code as lines of text.
    pub qr: Option<String>,
    /// When the pending secret ends.
    pub expires: Option<String>,
}

/// A seed in the two forms for authenticators.
#[derive(Deserialize)]
pub struct Seed {
    /// URL for a QR code.
    pub otpauth_url: String,
    /// Base32, for typing.
    pub secret: String,
}

/// The answer to putting a factor onto a key.
#[derive(Deserialize)]
pub struct Provisioned {
    /// The secret's record.
    #[serde(flatten)]
    pub record: Secret,
    /// The signed statement of it; given only here.
    pub receipt: String,
    /// Backup codes, if it was the first factor and is active.
    #[serde(default)]
    pub codes: Vec<String>,
}

/// A set of backup codes.
#[derive(Deserialize)]
pub struct Codes {
    /// The codes; empty when a later factor was set up.
    #[serde(default)]
    pub codes: Vec<String>,
}

/// The answer to a login step.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuthToken {
    /// The token.
    pub token: String,
    /// `ACCESS`, `CHALLENGE` or `ENROLL`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Seconds.
    pub expires_in: i64,
    /// Refresh token.
    pub refresh: Option<String>,
    /// Whose.
    pub user_uid: String,
    /// Backup codes left.
    pub remaining: Option<u32>,
    /// A remark on few backup codes.
    pub warning: Option<String>,
}

/// The answer to a right code.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Verified {
    /// Which secret.
    pub secret_id: String,
    /// `totp`, `hotp` or `recovery`.
    pub method: String,
    /// When.
    pub auth_time: serde_json::Value,
}

/// One row of the audit log.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// 1, 2, 3, …
    pub seq: i64,
    /// RFC 3339 with three decimals.
    pub time: String,
    /// What happened.
    pub event: String,
    /// Whom it concerns.
    pub subject: Option<String>,
    /// Which secret.
    pub object: Option<String>,
    /// Who asked.
    pub peer_uid: Option<u32>,
    /// By which process.
    pub peer_pid: Option<i64>,
    /// In which request.
    pub request_id: Option<String>,
    /// `ok` or `refused`.
    pub outcome: String,
    /// Words for a person.
    pub detail: Option<String>,
    /// Hash of the row before, in hexadecimal.
    pub prev: String,
    /// Hash of this row, in hexadecimal.
    pub hash: String,
}

/// A page of the audit log.
#[derive(Debug, Deserialize)]
pub struct EventPage {
    /// The events, oldest first.
    pub events: Vec<Event>,
}

/// A refusal: the problem document of RFC 9457.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Problem {
    /// HTTP status.
    pub status: u16,
    /// One of the closed list of codes.
    pub code: String,
    /// The kind of refusal in words.
    pub title: String,
    /// This refusal in words.
    pub detail: Option<String>,
    /// For the journal.
    pub request_id: Option<String>,
    /// Seconds.
    pub retry_after: Option<u64>,
    /// Attempts left.
    pub remaining: Option<u32>,
    /// Why a first code was wrong.
    pub diagnosis: Option<Diagnosis>,
    /// The keys that could be meant.
    pub devices: Vec<u64>,
    /// The program that likely holds the key.
    pub holder: Option<String>,
    /// The document as it came; empty if it was none.
    #[serde(skip)]
    pub document: String,
}

impl Problem {
    /// Reads the document; an answer that is none keeps its status.
    pub fn read(status: u16, document: &str) -> Self {
        match serde_json::from_str::<Self>(document) {
            Ok(problem) => Self { status, document: document.to_owned(), ..problem },
            Err(_) => {
                Self { status, title: format!("the daemon answered {status} without saying why"), ..Self::default() }
            }
        }
    }

    /// Whether the code was wrong and another may be tried.
    pub fn may_try_again(&self) -> bool {
        self.code == "wrong-code" && self.remaining.is_some_and(|left| left > 0)
    }

    /// Whether a security key wants its PIN, or another one.
    pub fn is_about_pin(&self) -> bool {
        matches!(self.code.as_str(), "pin-required" | "pin-wrong")
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.detail.as_deref().unwrap_or(&self.title);
        f.write_str(text)?;
        if let Some(holder) = self.holder.as_ref().filter(|holder| !text.contains(holder.as_str())) {
            write!(f, " (held by {holder})")?;
        }
        if !self.devices.is_empty() {
            let serials: Vec<String> = self.devices.iter().map(u64::to_string).collect();
            write!(f, " ({})", serials.join(", "))?;
        }
        if let Some(left) = self.remaining {
            write!(f, " ({left} more may be tried)")?;
        }
        if let Some(seconds) = self.retry_after {
            write!(f, "; try again in {seconds} s")?;
        }
        if let Some(advice) = advice(&self.code) {
            write!(f, "; {advice}")?;
        }
        match &self.request_id {
            Some(id) if self.status >= 500 => write!(f, " (request {id})"),
            Some(_) | None => Ok(()),
        }
    }
}

/// The profile under which a wrong first code would have been right.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Diagnosis {
    /// Hash algorithm.
    pub algorithm: Option<String>,
    /// Digits.
    pub digits: Option<u8>,
    /// Seconds of a step.
    pub period: Option<u32>,
    /// Seconds the authenticator's clock is ahead; negative when behind.
    pub drift_seconds: Option<i64>,
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
