//! The JSON body of a check for a login to this host, and its conversion into the checked arguments of the call.

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

impl HostVerifyBody {
    /// Returns the call. Refuses a body with no account or factor, or with more than one.
    pub(super) fn call(self) -> Result<Call, Problem> {
        let name = self.name.map(|name| UserName::parse(&name).map_err(because("name"))).transpose()?;
        let user = host_user(name, self.uid)?;
        let item = |member, text: Option<String>, longest| {
            text.map(|text| Text::parse(&text, longest).map_err(because(member))).transpose()
        };
        let login = HostLogin {
            service: Text::parse(&self.service, LONGEST_ITEM).map_err(because("service"))?,
            ruser: item("ruser", self.ruser, LONGEST_ITEM)?,
            rhost: item("rhost", self.rhost, LONGEST_HOST)?,
            tty: item("tty", self.tty, LONGEST_ITEM)?,
        };
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
