//! The JSON bodies about logins to this host, and their conversion into the checked arguments of the calls.

use jiff::Timestamp;
use serde::Deserialize;

use mfad_core::model::{HostLogin, HostUser, Text, UserName};
use mfad_service::Call;

use super::bodies::{ProofBody, because};
use super::json::{SecretText, TokenMember, present};
use super::problem::Problem;

/// Maximum length of a PAM service, an account or a terminal, in characters.
const LONGEST_ITEM: usize = 64;
/// Maximum length of the name of a remote host, in characters (RFC 1035 section 2.3.4).
const LONGEST_HOST: usize = 255;

/// Body of `POST /verify`: an account of this host, a second factor of its user, and what PAM knows of the login.
#[serde_with::apply(Option => #[serde(default, deserialize_with = "present")])]
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HostVerifyBody {
    pub name: Option<String>,
    pub uid: Option<u32>,
    pub token: Option<TokenMember>,
    pub code: Option<SecretText>,
    pub device: Option<bool>,
    pub pin: Option<SecretText>,
    pub service: String,
    pub ruser: Option<String>,
    pub rhost: Option<String>,
    pub tty: Option<String>,
}

/// Body of `POST /break-glass`: an account of this host, and a login to it that a break-glass code let in.
#[serde_with::apply(Option => #[serde(default, deserialize_with = "present")])]
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BreakGlassBody {
    pub name: String,
    pub time: String,
    pub service: String,
    pub ruser: Option<String>,
    pub rhost: Option<String>,
    pub tty: Option<String>,
}

impl BreakGlassBody {
    pub(super) fn call(self) -> Result<Call, Problem> {
        let account = UserName::parse(&self.name).map_err(because("name"))?;
        let time: Timestamp =
            self.time.parse().map_err(|_| Problem::malformed("`time` is a time in the form 2026-11-30T12:00:00Z"))?;
        let login = host_login(&self.service, self.ruser, self.rhost, self.tty)?;
        Ok(Call::ReportBreakGlass(account, time.strftime("%FT%TZ").to_string(), login))
    }
}

/// Reads what PAM says of a login.
fn host_login(
    service: &str,
    ruser: Option<String>,
    rhost: Option<String>,
    tty: Option<String>,
) -> Result<HostLogin, Problem> {
    let item = |member, text: Option<String>, longest| {
        text.map(|text| Text::parse(&text, longest).map_err(because(member))).transpose()
    };
    Ok(HostLogin {
        service: Text::parse(service, LONGEST_ITEM).map_err(because("service"))?,
        ruser: item("ruser", ruser, LONGEST_ITEM)?,
        rhost: item("rhost", rhost, LONGEST_HOST)?,
        tty: item("tty", tty, LONGEST_ITEM)?,
    })
}

impl HostVerifyBody {
    /// Returns the call. Refuses a body with no account or factor, or with more than one.
    pub(super) fn call(self) -> Result<Call, Problem> {
        let name = self.name.map(|name| UserName::parse(&name).map_err(because("name"))).transpose()?;
        let user = host_user(name, self.uid)?;
        let login = host_login(&self.service, self.ruser, self.rhost, self.tty)?;
        if self.token.is_none() && self.code.is_none() && self.device.is_none() {
            return Err(Problem::malformed("one of `token`, `code` and `device: true` is needed"));
        }
        let proof =
            ProofBody { token: self.token, code: self.code, device: self.device, credential: None, pin: self.pin };
        Ok(Call::VerifyHostLogin(user, proof.proof()?, login))
    }
}

/// Returns the account that a request names.
pub(super) fn host_user(name: Option<UserName>, uid: Option<u32>) -> Result<HostUser, Problem> {
    match (name, uid) {
        (Some(name), None) => Ok(HostUser::Name(name)),
        (None, Some(uid)) => Ok(HostUser::Uid(uid)),
        _ => Err(Problem::malformed("one of `name` and `uid` is needed")),
    }
}
