//! Typed calls for the most common tasks: a login in two steps, and a check of a second factor.

use mfad_api::{AuthToken, SecretString, Verified};
use serde::Serialize;

use crate::account::uuid;
use crate::{Authority, Client, Error, Method, Request};

/// The name and password of a login.
pub struct Credentials<'a> {
    /// The login name, e-mail address or id of the user.
    pub id: &'a str,
    /// The password, sent exactly as it is.
    pub password: &'a SecretString,
}

/// The outcome of the first step of a login.
pub enum LoginStep {
    /// The login is complete: the user has no second factor, and the daemon demands none.
    LoggedIn(AuthToken),
    /// The password was correct. A second factor must answer this challenge within five minutes.
    SecondFactor(AuthToken),
    /// The password was correct. The user must first enrol a second factor with this token.
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
    /// Does the first step of a login: sends the password. A wrong password is [`Error::Refused`].
    pub fn log_in(&mut self, credentials: &Credentials<'_>) -> Result<LoginStep, Error> {
        let body = PasswordBody { id: credentials.id, password: credentials.password };
        let answer = self.ask(&Request::new(Method::Post, "/v1/auth/password").with(&body)?)?;
        let token: AuthToken = answer.read()?;
        match token.kind.as_str() {
            "ACCESS" => Ok(LoginStep::LoggedIn(token)),
            "CHALLENGE" => Ok(LoginStep::SecondFactor(token)),
            "ENROLL" => Ok(LoginStep::MustEnroll(token)),
            // An unknown type must not pass for a login.
            _ => Err(Error::Unexpected("a token of an unknown type".to_owned())),
        }
    }

    /// Does the second step of a login with a one-time password of 6 to 8 digits. Returns the access token.
    pub fn answer_with_code(&mut self, challenge: &AuthToken, code: &SecretString) -> Result<AuthToken, Error> {
        self.answer(challenge, "/v1/auth/totp", &TokenBody { token: code })
    }

    /// Does the second step of a login with a backup code. Returns the access token.
    pub fn answer_with_backup_code(&mut self, challenge: &AuthToken, code: &SecretString) -> Result<AuthToken, Error> {
        self.answer(challenge, "/v1/auth/recovery", &CodeBody { code })
    }

    fn answer(&mut self, challenge: &AuthToken, path: &str, body: &impl Serialize) -> Result<AuthToken, Error> {
        let authority = Authority::Token(challenge.token.clone());
        let token: AuthToken = self.ask(&Request::new(Method::Post, path).by(&authority).with(body)?)?.read()?;
        if token.kind == "ACCESS" { Ok(token) } else { Err(Error::Unexpected("a login without access".to_owned())) }
    }

    /// Checks a one-time password of a user. The calling process needs the right `app`. `user` is the user's id, a
    /// UUID.
    pub fn verify(&mut self, user: &str, code: &SecretString) -> Result<Verified, Error> {
        let path = format!("/v1/users/{}/verify", uuid(user)?);
        let verified: Verified =
            self.ask(&Request::new(Method::Post, &path).with(&TokenBody { token: code })?)?.read()?;
        if verified.ok { Ok(verified) } else { Err(Error::Unexpected("a check without a result".to_owned())) }
    }

    /// Ends the session of an access token, and with it its refresh token.
    pub fn log_out(&mut self, token: AuthToken) -> Result<(), Error> {
        let authority = Authority::Token(token.token);
        self.ask(&Request::new(Method::Post, "/v1/auth/logout").by(&authority)).map(drop)
    }
}
