//! Typed calls for what users do with their own account: enrol a factor, confirm an action, recover. Each takes the
//! token of a login.

use mfad_api::{AuthToken, BackupCodes, NewFactor, NewUser, RedeemedReceipt, Secret, SecretList, SecretString, User};
use serde::Serialize;

use crate::{Authority, Client, Error, Method, Request};

/// The format of a QR code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QrFormat {
    /// An SVG document.
    Svg,
    /// A PNG picture in Base64.
    Png,
    /// Lines of text for a terminal.
    Text,
}

/// A factor that has become active. Every older token of the user has ended.
pub struct Enrollment {
    /// Ten backup codes with the user's first factor, otherwise empty.
    pub codes: Vec<SecretString>,
    /// The session that takes the place of the one that ended; after a first factor it lasts 15 minutes. `None` if the
    /// daemon could not give one: the user logs in again.
    pub session: Option<AuthToken>,
}

#[derive(Serialize)]
struct NewUserBody<'a> {
    name: &'a str,
    password: &'a SecretString,
}

#[derive(Serialize)]
struct FactorBody<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    name: &'a str,
}

#[derive(Serialize)]
struct TokenBody<'a> {
    token: &'a SecretString,
}

#[derive(Serialize)]
struct StepUpBody<'a> {
    token: &'a SecretString,
    action: &'a str,
}

#[derive(Serialize)]
struct ReceiptBody<'a> {
    receipt: &'a SecretString,
    action: &'a str,
}

impl Client {
    /// Creates a user. The calling process needs the right `app` unless registration is open.
    pub fn create_user(&mut self, name: &str, password: &SecretString) -> Result<User, Error> {
        let request = Request::new(Method::Post, "/v1/users").with(&NewUserBody { name, password })?;
        self.ask(&request)?.read().map(|made: NewUser| made.user)
    }

    /// Reads the user of a token.
    pub fn user(&mut self, session: &AuthToken) -> Result<User, Error> {
        self.ask_as(session, Method::Get, "/v1/users/me")?.read()
    }

    /// Exchanges the refresh token of a session for a new pair. Each refresh token works once.
    pub fn refresh(&mut self, session: &AuthToken) -> Result<AuthToken, Error> {
        let refresh = session.refresh.as_ref().ok_or(Error::Usage("this session has no refresh token"))?;
        let authority = Authority::Token(refresh.clone());
        access(self.ask(&Request::new(Method::Post, "/v1/auth/refresh").by(&authority))?.read()?)
    }

    /// Begins to enrol an authenticator app. Show the QR code or the seed once, and keep neither. The factor protects
    /// nothing until [`Client::activate`] got its first code.
    pub fn enroll(&mut self, session: &AuthToken, name: &str, qr: QrFormat) -> Result<NewFactor, Error> {
        let path = match qr {
            QrFormat::Svg => "/v1/users/me/secrets?qr=svg",
            QrFormat::Png => "/v1/users/me/secrets?qr=png",
            QrFormat::Text => "/v1/users/me/secrets?qr=text",
        };
        let authority = Authority::Token(session.token.clone());
        let request = Request::new(Method::Post, path).by(&authority).with(&FactorBody { kind: "mfa", name })?;
        self.ask(&request)?.read()
    }

    /// Activates a pending factor with its first code. `secret` is the uid of its record. A wrong code is
    /// [`Error::Refused`] with the status 422, whose problem may have a diagnosis of the device.
    pub fn activate(&mut self, session: &AuthToken, secret: &str, code: &SecretString) -> Result<Enrollment, Error> {
        let path = format!("/v1/users/me/secrets/{}/enroll?session=true", uuid(secret)?);
        let authority = Authority::Token(session.token.clone());
        let request = Request::new(Method::Put, &path).by(&authority).with(&TokenBody { token: code })?;
        let enrolled: BackupCodes = self.ask(&request)?.read()?;
        Ok(Enrollment { codes: enrolled.codes, session: enrolled.session.map(access).transpose()? })
    }

    /// Lists the user's password, factors, API keys and backup codes, without their values.
    pub fn secrets(&mut self, session: &AuthToken) -> Result<Vec<Secret>, Error> {
        let list: SecretList = self.ask_as(session, Method::Get, "/v1/users/me/secrets")?.read()?;
        Ok(list.secrets)
    }

    /// Deletes a factor, password or API key of the user. Deleting a factor needs a fresh proof, and ends every older
    /// token of the user.
    pub fn delete_secret(&mut self, session: &AuthToken, secret: &str) -> Result<(), Error> {
        let path = format!("/v1/users/me/secrets/{}", uuid(secret)?);
        self.ask_as(session, Method::Delete, &path).map(drop)
    }

    /// Has the user confirm one action with a one-time password. The token returned is fresh, and has a `receipt` to be
    /// redeemed once, within 5 minutes, for exactly this action.
    pub fn step_up(&mut self, session: &AuthToken, code: &SecretString, action: &str) -> Result<AuthToken, Error> {
        let authority = Authority::Token(session.token.clone());
        let body = StepUpBody { token: code, action };
        access(self.ask(&Request::new(Method::Post, "/v1/auth/stepup").by(&authority).with(&body)?)?.read()?)
    }

    /// Redeems the receipt of a step-up. The calling process needs the right `app`. Anything but a fresh receipt for
    /// this very action is [`Error::Refused`].
    pub fn redeem(&mut self, receipt: &SecretString, action: &str) -> Result<RedeemedReceipt, Error> {
        let request = Request::new(Method::Post, "/v1/auth/receipt").with(&ReceiptBody { receipt, action })?;
        let redeemed: RedeemedReceipt = self.ask(&request)?.read()?;
        if redeemed.ok { Ok(redeemed) } else { Err(Error::Unexpected("a receipt without a result".to_owned())) }
    }

    fn ask_as(&mut self, session: &AuthToken, method: Method, path: &str) -> Result<crate::Answer, Error> {
        let authority = Authority::Token(session.token.clone());
        self.ask(&Request::new(method, path).by(&authority))
    }
}

/// A token that lets in. Any other kind must not pass for one.
fn access(token: AuthToken) -> Result<AuthToken, Error> {
    if token.kind == "ACCESS" { Ok(token) } else { Err(Error::Unexpected("a login without access".to_owned())) }
}

/// An id for a path, if it cannot leave its place there.
pub(crate) fn uuid(id: &str) -> Result<&str, Error> {
    let is_plain = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    if is_plain { Ok(id) } else { Err(Error::Usage("an id is a UUID")) }
}
