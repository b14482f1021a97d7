//! Routes a request: turns method, resource, query and body into a [`Call`]. After this, every text from outside has
//! been checked for its shape.

use data_encoding::BASE64;
use hyper::Method;
use percent_encoding::percent_decode_str;

use mfad_core::model::{HostUser, Sensitive, UserId, UserName};
use mfad_service::{Call, Proof, SecretOrder, SessionAfter};

use super::bodies::{
    ChangeBody, CodeBody, FirstCodeBody, ImportBody, KeyBody, LoginBody, NewUserBody, PasswordBody, ProofBody,
    ReceiptBody, SecretBody, SecurityKeyBody, StepUpBody, TokenBody, UserBody, action, backup_code, new_password,
};
use super::device_bodies::{DevicePasswordBody, RenameBody, on_device, piv_slot};
use super::host_bodies::{BreakGlassBody, HostVerifyBody, host_user};
use super::import_bodies::ImportsBody;
use super::json::{LONGEST_PASSWORD, read};
use super::moving_bodies::ExportBody;
use super::problem::Problem;
use super::qr::QrFormat;
use super::resource::Resource;

/// The operation that a request asks for.
pub enum Ask {
    /// A call to the service, and the format of the QR code if one was requested.
    Call(Call, Option<QrFormat>),
    /// The OpenAPI document of this API.
    OpenApi,
    /// A stream of hardware keys that are plugged in and removed.
    DeviceEvents,
    /// A backup of the store, as a stream.
    Backup,
    /// An export of users, as a stream.
    Export(Call),
    /// A stream of audit rows.
    AuditEvents {
        /// Number of the last row that the client has; 0 for all rows.
        after: i64,
    },
}

/// The parts of a request that a route reads.
pub struct Request<'a> {
    /// The HTTP method, which the resource supports.
    pub method: &'a Method,
    /// The query, without the question mark.
    pub query: Option<&'a str>,
    /// The login and password of an `Authorization: Basic` header.
    pub basic: Option<Basic>,
    /// The body, read completely; empty if there is none.
    pub body: &'a [u8],
    /// The header `Last-Event-ID`, after which an event stream resumes.
    pub last_event: Option<&'a str>,
}

/// The credentials of HTTP's Basic scheme (RFC 7617).
pub struct Basic {
    /// The login: the text before the first colon.
    pub login: String,
    /// The password: the text after the first colon, which may hold further colons.
    pub password: Sensitive<String>,
}

impl Basic {
    /// Decodes the Base64 after the name of the scheme; `None` if it is malformed.
    pub fn decode(encoded: &str) -> Option<Self> {
        let bytes = Sensitive::new(BASE64.decode(encoded.as_bytes()).ok()?);
        let (login, password) = std::str::from_utf8(bytes.expose()).ok()?.split_once(':')?;
        Some(Self { login: login.to_owned(), password: Sensitive::new(password.to_owned()) })
    }
}

/// Returns the operation. The caller has checked that the resource supports the method.
pub fn route(resource: Resource, request: &Request<'_>) -> Result<Ask, Problem> {
    let is = |method: Method| *request.method == method;
    let mut query = Query::parse(request.query)?;
    let mut qr = None;
    let call = match resource {
        Resource::Users if is(Method::POST) => Call::CreateUser(read::<NewUserBody>(request.body)?.try_into()?),
        Resource::Users => {
            request.no_body()?;
            let after = query
                .take("after")
                .map(|text| UserId::parse(text).ok_or_else(|| Problem::invalid("after")))
                .transpose()?;
            match query.take("name") {
                Some(_) if after.is_some() => return Err(Problem::malformed("`name` stands alone")),
                Some(text) => Call::FindUser(user_name(text)?),
                None => Call::ListUsers { after, limit: query.limit(50, 200)? },
            }
        }
        Resource::User(user) if is(Method::PUT) => Call::UpdateUser(user, read::<UserBody>(request.body)?.try_into()?),
        Resource::User(user) => {
            request.no_body()?;
            if is(Method::DELETE) { Call::DeleteUser(user) } else { Call::ShowUser(user) }
        }
        Resource::Unlock(user) => {
            request.no_body()?;
            Call::UnlockUser(user)
        }
        Resource::Codes(user) => {
            request.no_body()?;
            Call::RenewCodes(user)
        }
        Resource::Verify(user) => Call::Verify(user, read::<ProofBody>(request.body)?.proof()?),
        Resource::Secrets(user) if is(Method::POST) => {
            qr =
                query.take("qr").map(|text| QrFormat::parse(text).ok_or_else(|| Problem::invalid("qr"))).transpose()?;
            let order: SecretOrder = read::<SecretBody>(request.body)?.try_into()?;
            if qr.is_some() && !matches!(order, SecretOrder::Mfa(_)) {
                return Err(Problem::invalid("qr"));
            }
            Call::CreateSecret(user, order)
        }
        Resource::Secrets(user) => {
            request.no_body()?;
            Call::ListSecrets(user)
        }
        Resource::PasswordOf(user) => {
            let body = read::<PasswordBody>(request.body)?;
            let current = body.current.map(|text| text.0);
            if current.as_ref().is_some_and(|text| text.expose().len() > LONGEST_PASSWORD) {
                return Err(Problem::invalid("current"));
            }
            Call::ChangePassword { user, new: new_password(body.secret, "secret")?, current }
        }
        Resource::Secret(user, secret) if is(Method::PUT) => read::<ChangeBody>(request.body)?.call(user, secret)?,
        Resource::Secret(user, secret) => {
            request.no_body()?;
            if is(Method::DELETE) {
                Call::DeleteSecret(user, secret, query.take("device").map(on_device).transpose()?)
            } else {
                Call::ShowSecret(user, secret)
            }
        }
        Resource::Enroll(user, secret) => {
            let after = query.take("session").map_or(Ok(SessionAfter::Ended), session_after)?;
            Call::Enroll(user, secret, read::<FirstCodeBody>(request.body)?.first_code()?, after)
        }
        Resource::Auth => request.without_body(Call::AuthMethods)?,
        Resource::AuthPassword if is(Method::POST) => {
            let body = read::<LoginBody>(request.body)?;
            log_in(body.id, body.password.0)?
        }
        Resource::AuthPassword => {
            request.no_body()?;
            query.end()?;
            let basic =
                request.basic.as_ref().ok_or_else(|| Problem::from(&mfad_service::error::Error::Unauthenticated))?;
            log_in(basic.login.clone(), Sensitive::new(basic.password.expose().clone()))?
        }
        Resource::AuthTotp => Call::AnswerChallenge(Proof::Token(read::<TokenBody>(request.body)?.token.0)),
        Resource::AuthRecovery => {
            Call::AnswerChallenge(Proof::Code(backup_code(&read::<CodeBody>(request.body)?.code)?))
        }
        Resource::AuthMfa => Call::AnswerChallenge(read::<ProofBody>(request.body)?.proof()?),
        Resource::AuthFido2 => Call::AnswerChallenge(read::<SecurityKeyBody>(request.body)?.proof()?),
        Resource::AuthFido2Options => request.without_body(Call::AskForOwnKey)?,
        Resource::KeyOptionsOf(user) => request.without_body(Call::AskForKeyOf(user))?,
        Resource::AuthStepUp => {
            let body = read::<StepUpBody>(request.body)?;
            let action = action(&body.action)?;
            Call::StepUp {
                proof: ProofBody {
                    token: body.token,
                    code: body.code,
                    device: body.device,
                    credential: body.credential,
                    pin: body.pin,
                }
                .proof()?,
                action,
                redeemer: body.redeemer,
            }
        }
        Resource::AuthReceipt => {
            let body = read::<ReceiptBody>(request.body)?;
            Call::RedeemReceipt { receipt: body.receipt.0, action: action(&body.action)? }
        }
        Resource::AuthRefresh => request.without_body(Call::Refresh)?,
        Resource::AuthLogout => request.without_body(Call::LogOut)?,
        Resource::HostVerify => read::<HostVerifyBody>(request.body)?.call()?,
        Resource::Imports => read::<ImportsBody>(request.body)?.call()?,
        Resource::BreakGlass => read::<BreakGlassBody>(request.body)?.call()?,
        Resource::Preflight => {
            request.no_body()?;
            Call::Preflight(query.host_user()?)
        }
        Resource::KeySet => request.without_body(Call::KeySet)?,
        Resource::ReceiptKeys => request.without_body(Call::ReceiptKeys)?,
        Resource::SecurityKeys => request.without_body(Call::ListSecurityKeys)?,
        Resource::Devices => request.without_body(Call::ListDevices)?,
        Resource::Device(key) => request.without_body(Call::ShowDevice(key))?,
        Resource::DeviceEvents => {
            request.no_body()?;
            query.end()?;
            return Ok(Ask::DeviceEvents);
        }
        Resource::DeviceAccounts(key) => request.without_body(Call::DeviceAccounts(key))?,
        Resource::DeviceAccount(key, name) if is(Method::PUT) => {
            Call::RenameAccount(key, name, read::<RenameBody>(request.body)?.name()?)
        }
        Resource::DeviceAccount(key, name) => request.without_body(Call::DeleteAccount(key, name))?,
        Resource::DeviceReset(key) => request.without_body(Call::ResetDevice(key))?,
        Resource::DevicePassword(key) => read::<DevicePasswordBody>(request.body)?.call(key)?,
        Resource::DeviceAttest(key) => {
            request.no_body()?;
            Call::AttestDevice(key, query.take("slot").map(piv_slot).transpose()?)
        }
        Resource::DeviceReturn(key) => request.without_body(Call::ReturnDevice(key))?,
        Resource::Import(user) => Call::ImportFactor(user, read::<ImportBody>(request.body)?.try_into()?),
        Resource::Key => request.without_body(Call::ShowKey)?,
        Resource::KeyRotation if request.no_body().is_ok() => Call::RotateKey(None),
        Resource::KeyRotation => Call::RotateKey(Some(read::<KeyBody>(request.body)?.key()?)),
        Resource::Backup => {
            request.no_body()?;
            query.end()?;
            return Ok(Ask::Backup);
        }
        Resource::Exports => {
            query.end()?;
            return Ok(Ask::Export(Call::Export(read::<ExportBody>(request.body)?.order()?)));
        }
        Resource::ExportOf(user) => {
            query.end()?;
            return Ok(Ask::Export(Call::ExportOwn(user, read::<ExportBody>(request.body)?.order()?)));
        }
        Resource::Live => request.without_body(Call::Live)?,
        Resource::Ready => request.without_body(Call::Ready)?,
        Resource::Metrics => request.without_body(Call::Metrics)?,
        Resource::Version => request.without_body(Call::Version)?,
        Resource::Audit => {
            request.no_body()?;
            Call::AuditRows { after: query.after()?, limit: query.limit(100, 500)? }
        }
        Resource::OpenApi => {
            request.no_body()?;
            query.end()?;
            return Ok(Ask::OpenApi);
        }
        Resource::AuditEvents => {
            request.no_body()?;
            let from_query = query.after()?;
            query.end()?;
            let resumed =
                request.last_event.map(|id| id.parse().map_err(|_| Problem::invalid("Last-Event-ID"))).transpose()?;
            return Ok(Ask::AuditEvents { after: resumed.unwrap_or(from_query) });
        }
    };
    query.end()?;
    Ok(Ask::Call(call, qr))
}

impl Request<'_> {
    /// Refuses a body on a route that has none, except `{}` with POST.
    fn no_body(&self) -> Result<(), Problem> {
        if self.body.is_empty() || (*self.method == Method::POST && self.body.trim_ascii() == b"{}") {
            Ok(())
        } else {
            Err(Problem::malformed("this route takes no body"))
        }
    }

    fn without_body(&self, call: Call) -> Result<Call, Problem> {
        self.no_body().map(|()| call)
    }
}

/// The query parameters. Duplicates are refused, and so are parameters that the route does not take.
struct Query<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Query<'a> {
    fn parse(query: Option<&'a str>) -> Result<Self, Problem> {
        let mut pairs: Vec<(&str, &str)> = Vec::new();
        for part in query.into_iter().filter(|q| !q.is_empty()).flat_map(|q| q.split('&')) {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            if pairs.iter().any(|(known, _)| *known == name) {
                return Err(Problem::malformed("a query parameter comes twice"));
            }
            pairs.push((name, value));
        }
        Ok(Self(pairs))
    }

    fn take(&mut self, name: &str) -> Option<&'a str> {
        let at = self.0.iter().position(|(known, _)| *known == name)?;
        Some(self.0.swap_remove(at).1)
    }

    fn limit(&mut self, usual: u32, most: u32) -> Result<u32, Problem> {
        let Some(text) = self.take("limit") else { return Ok(usual) };
        plain_number(text)
            .filter(|n| (1..=i64::from(most)).contains(n))
            .and_then(|n| u32::try_from(n).ok())
            .ok_or_else(|| Problem::invalid("limit"))
    }

    /// The account of this host, by `name` or by `uid`.
    fn host_user(&mut self) -> Result<HostUser, Problem> {
        let name = self.take("name").map(user_name).transpose()?;
        let number = |text| plain_number(text).and_then(|uid| u32::try_from(uid).ok());
        let uid = self.take("uid").map(|text| number(text).ok_or_else(|| Problem::invalid("uid"))).transpose()?;
        host_user(name, uid)
    }

    fn after(&mut self) -> Result<i64, Problem> {
        self.take("after").map_or(Ok(0), |text| plain_number(text).ok_or_else(|| Problem::invalid("after")))
    }

    fn end(&self) -> Result<(), Problem> {
        if self.0.is_empty() { Ok(()) } else { Err(Problem::malformed("an unknown query parameter")) }
    }
}

fn session_after(text: &str) -> Result<SessionAfter, Problem> {
    match text {
        "true" => Ok(SessionAfter::Renewed),
        "false" => Ok(SessionAfter::Ended),
        _ => Err(Problem::invalid("session")),
    }
}

/// A user's name in a query, percent-encoded (RFC 3986 section 2.1).
fn user_name(encoded: &str) -> Result<UserName, Problem> {
    let invalid = || Problem::invalid("name");
    let text = percent_decode_str(encoded).decode_utf8().map_err(|_| invalid())?;
    UserName::parse(&text).map_err(|_| invalid())
}

fn plain_number(text: &str) -> Option<i64> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

fn log_in(login: String, password: Sensitive<String>) -> Result<Call, Problem> {
    if login.is_empty() || login.len() > LONGEST_PASSWORD || password.expose().len() > LONGEST_PASSWORD {
        return Err(Problem::malformed("a login and a password have at most 1024 bytes each"));
    }
    Ok(Call::LogIn { login, password })
}
