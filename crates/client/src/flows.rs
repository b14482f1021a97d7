//! The flows that programs need most, typed: a login in two steps, and a check of a second factor.

use mfad_api::{AuthToken, SecretString, Verified};
use serde::Serialize;

use crate::{Authority, Client, Error, Method, Request};

/// Whose login it is.
pub struct Credentials<'a> {
    /// The name, the mail address or the id of the user.
    pub id: &'a str,
    /// The password.
    pub password: &'a SecretString,
}

/// The outcome of the first step of a login.
pub enum LoginStep {
    /// The user has no second factor, and none is demanded.
    LoggedIn(AuthToken),
    /// The password was right; a second factor has to answer this challenge.
    SecondFactor(AuthToken),
    /// The password was right; the user has to enrol a second factor with this token.
    MustEnroll(AuthToken),
}

#[derive(Serialize)]
struct PasswordBody<'a> {
    id: &'a str,
    password: &'a SecretString,
}

#[derive(Serialize)]
struct TokenBody<'a> {
    token: &'a SecretString,
}

#[derive(Serialize)]
struct CodeBody<'a> {
    code: &'a SecretString,
}

impl Client {
    /// The first step of a login.
    pub fn log_in(&mut self, credentials: &Credentials<'_>) -> Result<LoginStep, Error> {
        let body = PasswordBody { id: credentials.id, password: credentials.password };
        let answer = self.ask(&Request::new(Method::Post, "/v1/auth/password").with(&body)?)?;
        let token: AuthToken = answer.read()?;
        match token.kind.as_str() {
            "ACCESS" => Ok(LoginStep::LoggedIn(token)),
            "CHALLENGE" => Ok(LoginStep::SecondFactor(token)),
            "ENROLL" => Ok(LoginStep::MustEnroll(token)),
            // A kind that is unknown must not pass for a login.
            _ => Err(Error::Unexpected("a token of an unknown type".to_owned())),
        }
    }

    /// The second step of a login, with a one-time password of 6 to 8 digits.
    pub fn answer_with_code(&mut self, challenge: &AuthToken, code: &SecretString) -> Result<AuthToken, Error> {
        self.answer(challenge, "/v1/auth/totp", &TokenBody { token: code })
    }

    /// The second step of a login, with a backup code.
    pub fn answer_with_backup_code(&mut self, challenge: &AuthToken, code: &SecretString) -> Result<AuthToken, Error> {
        self.answer(challenge, "/v1/auth/recovery", &CodeBody { code })
    }

    fn answer(&mut self, challenge: &AuthToken, path: &str, body: &impl Serialize) -> Result<AuthToken, Error> {
        let authority = Authority::Token(challenge.token.clone());
        let token: AuthToken = self.ask(&Request::new(Method::Post, path).by(&authority).with(body)?)?.read()?;
        if token.kind == "ACCESS" { Ok(token) } else { Err(Error::Unexpected("a login without access".to_owned())) }
    }

    /// Checks a one-time password of a user, by the right `app` of the calling process. The id is the user's UUID.
    pub fn verify(&mut self, user: &str, code: &SecretString) -> Result<Verified, Error> {
        if !user.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-') {
            return Err(Error::Usage("the id of a user is a UUID"));
        }
        let path = format!("/v1/users/{user}/verify");
        let verified: Verified =
            self.ask(&Request::new(Method::Post, &path).with(&TokenBody { token: code })?)?.read()?;
        if verified.ok { Ok(verified) } else { Err(Error::Unexpected("a check without a result".to_owned())) }
    }

    /// Ends a session.
    pub fn log_out(&mut self, token: AuthToken) -> Result<(), Error> {
        let authority = Authority::Token(token.token);
        self.ask(&Request::new(Method::Post, "/v1/auth/logout").by(&authority)).map(drop)
    }
}
