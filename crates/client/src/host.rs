//! Typed calls for logins to this host, for PAM modules. The calling process needs the right `pam`.

use mfad_api::{HostLogin, Preflight, SecretString, Verified};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;

use crate::{Client, Error, Method, Request};

/// A second factor that a user presents for a login to this host.
pub enum HostProof<'a> {
    /// A one-time password of 6 to 8 digits.
    Token(&'a SecretString),
    /// A backup code.
    Code(&'a SecretString),
    /// A touch of a key in a port of this host, with the PIN of a security key that asks for one.
    Device(Option<&'a SecretString>),
}

#[derive(Serialize)]
struct HostVerifyBody<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<&'a SecretString>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'a SecretString>,
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pin: Option<&'a SecretString>,
    #[serde(flatten)]
    login: &'a HostLogin,
}

impl Client {
    /// Returns which second factors the user that stands for this account can use. It changes and counts nothing.
    pub fn preflight(&mut self, name: &str) -> Result<Preflight, Error> {
        let path = format!("/v1/preflight?name={}", utf8_percent_encode(name, RESERVED));
        self.ask(&Request::new(Method::Get, &path))?.read()
    }

    /// Checks a second factor of the user that stands for this account. A code that was accepted is used up, so a call
    /// whose answer was lost must not be repeated.
    pub fn verify_host_login(
        &mut self,
        name: &str,
        proof: &HostProof<'_>,
        login: &HostLogin,
    ) -> Result<Verified, Error> {
        let body = HostVerifyBody { name, token: None, code: None, device: None, pin: None, login };
        let body = match *proof {
            HostProof::Token(token) => HostVerifyBody { token: Some(token), ..body },
            HostProof::Code(code) => HostVerifyBody { code: Some(code), ..body },
            HostProof::Device(pin) => HostVerifyBody { device: Some(true), pin, ..body },
        };
        let verified: Verified = self.ask(&Request::new(Method::Post, "/v1/verify").with(&body)?)?.read()?;
        if verified.ok { Ok(verified) } else { Err(Error::Unexpected("a check without a result".to_owned())) }
    }
}

/// What is encoded in a query: all but the unreserved characters of RFC 3986 section 2.3.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_encoded_for_a_query() {
        let encoded = |name| utf8_percent_encode(name, RESERVED).to_string();

        assert_eq!(encoded("www-data"), "www-data");
        assert_eq!(encoded("a b&uid=0#?%é"), "a%20b%26uid%3D0%23%3F%25%C3%A9");
    }

    #[test]
    fn a_body_has_one_proof_and_what_pam_says() {
        let login =
            HostLogin { service: "sshd".to_owned(), rhost: Some("192.0.2.7".to_owned()), ..HostLogin::default() };
        let token = SecretString::new("123456".to_owned());
        let body =
            HostVerifyBody { name: "emmy", token: Some(&token), code: None, device: None, pin: None, login: &login };

        let json = serde_json::to_string(&body).unwrap();

        assert_eq!(json, r#"{"name":"emmy","token":"123456","service":"sshd","rhost":"192.0.2.7"}"#);
    }
}
