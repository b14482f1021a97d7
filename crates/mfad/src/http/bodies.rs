//! The JSON bodies of requests, and their conversion into the checked arguments of calls. It knows no paths.

use data_encoding::BASE64;
use serde::Deserialize;
use serde_json::{Map, Value};

use mfad_core::model::{
    Algorithm, BackupCode, Digits, Email, Label, OtpKind, Period, Pin, Profile, Sensitive, Text, UserId, UserName,
    UserRef,
};
use mfad_service::{
    Call, FirstCode, ImportOrder, KeyOrder, LONGEST_URI, MasterKey, MfaOrder, NewUserOrder, OtpauthUri, Proof,
    SecretChange, SecretOrder, SecretRef, SessionAfter, UserChange, Verification,
};

use super::device_bodies::{DeviceMember, HardwareMembers, LocalKeyMembers, local_key_order, provision_order};
use super::json::{LONGEST_PASSWORD, SecretText, TokenMember, present};
use super::problem::Problem;

/// Minimum length of a new password in bytes (AUT-5).
const SHORTEST_PASSWORD: usize = 8;
/// Maximum length of an action that a step-up confirms, and of a description, in characters.
pub(super) const LONGEST_ACTION: usize = 256;
/// Maximum length of a role name in bytes.
const LONGEST_ROLE: usize = 32;
const MOST_ROLES: usize = 16;

/// Body of `POST /users`.
#[serde_with::apply(Option => #[serde(default, deserialize_with = "present")])]
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct NewUserBody {
    pub name: String,
    pub id: Option<String>,
    pub display_name: Option<String>,
    pub email: Option<String>,
    pub password: Option<SecretText>,
}

impl TryFrom<NewUserBody> for NewUserOrder {
    type Error = Problem;

    fn try_from(body: NewUserBody) -> Result<Self, Problem> {
        Ok(Self {
            id: body.id.map(|text| UserId::parse(&text).ok_or_else(|| Problem::invalid("id"))).transpose()?,
            name: UserName::parse(&body.name).map_err(because("name"))?,
            display_name: display_name(body.display_name)?,
            email: email(body.email)?,
            password: body.password.map(|text| new_password(text, "password")).transpose()?,
        })
    }
}

/// Body of `PUT /users/:id`. In members with two `Option`s, the inner `None` is `null`, which removes the value.
#[serde_with::apply(Option => #[serde(default, deserialize_with = "present")])]
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct UserBody {
    pub version: i64,
    pub name: Option<String>,
    pub display_name: Option<Option<String>>,
    pub email: Option<Option<String>>,
    pub disabled: Option<bool>,
    pub roles: Option<Vec<String>>,
}

impl TryFrom<UserBody> for UserChange {
    type Error = Problem;

    fn try_from(body: UserBody) -> Result<Self, Problem> {
        Ok(Self {
            version: body.version,
            name: body.name.map(|text| UserName::parse(&text).map_err(because("name"))).transpose()?,
            display_name: body.display_name.map(display_name).transpose()?,
            email: body.email.map(email).transpose()?,
            disabled: body.disabled,
            roles: body.roles.map(roles).transpose()?,
        })
    }
}

pub(super) fn display_name(text: Option<String>) -> Result<Option<Text>, Problem> {
    text.map(|text| Text::parse(&text, 128).map_err(because("displayName"))).transpose()
}

pub(super) fn email(text: Option<String>) -> Result<Option<Email>, Problem> {
    text.map(|text| Email::parse(&text).map_err(because("email"))).transpose()
}

pub(super) fn roles(mut roles: Vec<String>) -> Result<Vec<String>, Problem> {
    let is_role = |role: &String| {
        (1..=LONGEST_ROLE).contains(&role.len())
            && role.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
    };
    if roles.len() > MOST_ROLES || !roles.iter().all(is_role) {
        return Err(Problem::malformed("`roles` are at most 16 words of letters, digits, `-`, `_` and `.`"));
    }
    roles.sort_unstable();
    roles.dedup();
    Ok(roles)
}

/// Body of `POST /users/:id/secrets`: the members of all types of secrets, of which each type accepts some.
#[serde_with::apply(Option => #[serde(default, deserialize_with = "present")])]
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct SecretBody {
    pub r#type: String,
    pub secret: Option<SecretText>,
    pub name: Option<String>,
    pub algorithm: Option<String>,
    pub digits: Option<u64>,
    pub period: Option<u64>,
    pub kind: Option<String>,
    pub issuer: Option<String>,
    pub account_name: Option<String>,
    pub device: Option<DeviceMember>,
    pub touch: Option<bool>,
    pub activate: Option<String>,
    pub replace: Option<bool>,
    pub protect: Option<bool>,
    pub spare_of: Option<String>,
    pub uv: Option<String>,
    pub local: Option<bool>,
    pub pin: Option<SecretText>,
    pub key: Option<String>,
    pub set_pin: Option<bool>,
    pub min_pin_length: Option<u64>,
    pub always_uv: Option<bool>,
    pub resident: Option<bool>,
}

impl TryFrom<SecretBody> for SecretOrder {
    type Error = Problem;

    fn try_from(mut body: SecretBody) -> Result<Self, Problem> {
        let local_key = body.local_key_members();
        let is_about_fido2 =
            body.uv.is_some() || body.local.is_some() || body.pin.is_some() || local_key != LocalKeyMembers::default();
        if is_about_fido2 && body.r#type != "fido2" {
            return Err(Problem::malformed("a member that is for the type fido2 only"));
        }
        let device = body.device.take();
        let hardware = body.hardware_members();
        if device.is_none() && hardware.is_there() {
            return Err(Problem::malformed("a member that goes only with `device`"));
        }
        match body.r#type.as_str() {
            "mfa" if body.secret.is_none() => match device {
                Some(device) => provision_order(body.mfa()?, device, hardware).map(Self::Hardware),
                None => body.mfa().map(Self::Mfa),
            },
            _ if device.is_some() => Err(Problem::malformed("`device` is for the type mfa only")),
            "password" if !body.has_mfa_members() && body.name.is_none() => {
                let secret = body.secret.ok_or_else(|| Problem::malformed("missing field `secret`"))?;
                new_password(secret, "secret").map(Self::Password)
            }
            "fido2" if !body.has_mfa_members() && body.secret.is_none() => {
                let verification =
                    body.uv.as_deref().map(|text| Verification::parse(text).ok_or_else(|| Problem::invalid("uv")));
                let verification = verification.transpose()?.unwrap_or_default();
                let order = KeyOrder { name: label(body.name)?, verification };
                match (body.local.unwrap_or(false), pin(body.pin)?) {
                    (true, pin) => local_key_order(order, pin, local_key).map(Self::LocalKey),
                    (false, None) if local_key == LocalKeyMembers::default() => Ok(Self::Key(order)),
                    (false, _) => Err(Problem::malformed("a member that goes only with `local: true`")),
                }
            }
            "apikey" if !body.has_mfa_members() && body.secret.is_none() => {
                Ok(Self::ApiKey { name: label(body.name)? })
            }
            "mfa" | "password" | "apikey" | "fido2" => Err(Problem::malformed("a member that this type does not take")),
            _ => Err(Problem::malformed("`type` is one of mfa, fido2, password, apikey")),
        }
    }
}

/// Body of `POST /users/:id/secrets/import`.
#[serde_with::apply(Option => #[serde(default, deserialize_with = "present")])]
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImportBody {
    otpauth_url: SecretText,
    name: Option<String>,
}

impl TryFrom<ImportBody> for ImportOrder {
    type Error = Problem;

    fn try_from(body: ImportBody) -> Result<Self, Problem> {
        if body.otpauth_url.0.expose().len() > LONGEST_URI {
            return Err(Problem::malformed(format!("`otpauth_url` has more than {LONGEST_URI} bytes")));
        }
        let uri = OtpauthUri::parse(body.otpauth_url.0.expose());
        let uri = uri.map_err(|why| Problem::malformed(format!("`otpauth_url`: {why}")))?;
        Ok(Self { name: label(body.name)?, uri })
    }
}

/// Body of `POST /key/rotation` if the master key is a credential, which the daemon cannot replace itself.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KeyBody {
    key: SecretText,
}

impl KeyBody {
    /// Decodes the new master key: 32 bytes in Base64 (RFC 4648 section 4).
    pub(super) fn key(&self) -> Result<MasterKey, Problem> {
        let bytes =
            BASE64.decode(self.key.0.expose().as_bytes()).map(Sensitive::new).map_err(|_| Problem::invalid("key"))?;
        MasterKey::from_bytes(bytes.expose()).map_err(|_| Problem::invalid("key"))
    }
}

impl SecretBody {
    fn local_key_members(&mut self) -> LocalKeyMembers {
        LocalKeyMembers {
            key: self.key.take(),
            set_pin: self.set_pin.take(),
            min_pin_length: self.min_pin_length.take(),
            always_uv: self.always_uv.take(),
            resident: self.resident.take(),
        }
    }

    fn hardware_members(&mut self) -> HardwareMembers {
        HardwareMembers {
            touch: self.touch.take(),
            activate: self.activate.take(),
            replace: self.replace.take(),
            protect: self.protect.take(),
            spare_of: self.spare_of.take(),
        }
    }

    fn has_mfa_members(&self) -> bool {
        self.algorithm.is_some()
            || self.digits.is_some()
            || self.period.is_some()
            || self.kind.is_some()
            || self.issuer.is_some()
            || self.account_name.is_some()
    }

    fn mfa(self) -> Result<MfaOrder, Problem> {
        let period = self.period.map(|n| Period::new(n).ok_or_else(|| Problem::invalid("period"))).transpose()?;
        let moving = match (self.kind.as_deref(), period) {
            (None | Some("totp"), period) => OtpKind::Totp(period.unwrap_or(Period::THIRTY)),
            (Some("hotp"), None) => OtpKind::Hotp,
            (Some("hotp"), Some(_)) => return Err(Problem::malformed("`period` is for totp only")),
            (Some(_), _) => return Err(Problem::invalid("kind")),
        };
        let algorithm = self
            .algorithm
            .map_or(Ok(Algorithm::Sha1), |text| Algorithm::parse(&text).ok_or_else(|| Problem::invalid("algorithm")))?;
        let digits =
            self.digits.map_or(Ok(Digits::SIX), |n| Digits::new(n).ok_or_else(|| Problem::invalid("digits")))?;
        let part = |text: Option<String>, member| {
            text.map(|text| Text::parse_label_part(&text).map_err(because(member))).transpose()
        };
        Ok(MfaOrder {
            name: label(self.name)?,
            profile: Profile { algorithm, digits, moving },
            issuer: part(self.issuer, "issuer")?,
            account: part(self.account_name, "accountName")?,
        })
    }
}

pub(super) fn label(text: Option<String>) -> Result<Option<Label>, Problem> {
    text.map(|text| Label::parse(&text).map_err(because("name"))).transpose()
}

/// Body of `PUT /users/:id/secrets/:id`: a new name or description, or the first code of a pending factor.
#[serde_with::apply(Option => #[serde(default, deserialize_with = "present")])]
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ChangeBody {
    pub version: Option<i64>,
    pub name: Option<String>,
    pub description: Option<Option<String>>,
    pub token: Option<TokenMember>,
    pub device: Option<bool>,
}

impl ChangeBody {
    /// Returns the call: `Enroll` if the body has a first code, otherwise `ChangeSecret`.
    pub(super) fn call(self, user: UserRef, secret: SecretRef) -> Result<Call, Problem> {
        if self.token.is_some() || self.device.is_some() {
            if self.version.is_some() || self.name.is_some() || self.description.is_some() {
                return Err(Problem::malformed("`token` or `device` stands alone"));
            }
            let first = FirstCodeBody { token: self.token, device: self.device, credential: None };
            return Ok(Call::Enroll(user, secret, first.first_code()?, SessionAfter::Ended));
        }
        let describe = |text: Option<String>| {
            text.map(|text| Text::parse(&text, LONGEST_ACTION).map_err(because("description"))).transpose()
        };
        let change = SecretChange {
            version: self.version.ok_or_else(|| Problem::malformed("missing field `version`"))?,
            name: label(self.name)?,
            description: self.description.map(describe).transpose()?,
        };
        Ok(Call::ChangeSecret(user, secret, change))
    }
}

/// Body of `PUT /users/:id/secrets/password`.
#[serde_with::apply(Option => #[serde(default, deserialize_with = "present")])]
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PasswordBody {
    pub secret: SecretText,
    pub current: Option<SecretText>,
}

/// Body of `POST /auth/password`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LoginBody {
    pub id: String,
    pub password: SecretText,
}

/// Body of `POST /auth/totp`: a one-time password.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TokenBody {
    pub token: TokenMember,
}

/// Body of `PUT /users/:id/secrets/:id/enroll`: the first proof of a pending factor, from the user, a hardware key or a
/// browser.
#[serde_with::apply(Option => #[serde(default, deserialize_with = "present")])]
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FirstCodeBody {
    pub token: Option<TokenMember>,
    pub device: Option<bool>,
    pub credential: Option<Map<String, Value>>,
}

impl FirstCodeBody {
    /// Returns the proof. Refuses a body with none, or with more than one.
    pub(super) fn first_code(self) -> Result<FirstCode, Problem> {
        match (self.token, self.device, self.credential) {
            (Some(token), None, None) => Ok(FirstCode::Token(token.0)),
            (None, Some(true), None) => Ok(FirstCode::Device),
            (None, None, Some(credential)) => Ok(FirstCode::Credential(Value::Object(credential))),
            (None, None, None) => Err(Problem::malformed("missing field `token`")),
            _ => Err(Problem::malformed("one of `token`, `device: true` and `credential` is needed")),
        }
    }
}

/// Body of `POST /auth/recovery`: a backup code.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CodeBody {
    pub code: SecretText,
}

/// Body of `POST /auth/mfa` and of `POST /users/:id/verify`: a second factor of any kind.
#[serde_with::apply(Option => #[serde(default, deserialize_with = "present")])]
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ProofBody {
    pub token: Option<TokenMember>,
    pub code: Option<SecretText>,
    pub device: Option<bool>,
    pub credential: Option<Map<String, Value>>,
    pub pin: Option<SecretText>,
}

impl ProofBody {
    /// Returns the proof. Refuses a body with none, or with more than one.
    pub(super) fn proof(self) -> Result<Proof, Problem> {
        let pin = pin(self.pin)?;
        if pin.is_some() && self.device != Some(true) {
            return Err(Problem::malformed("`pin` goes only with `device: true`"));
        }
        match (self.token, self.code, self.device, self.credential) {
            (Some(token), None, None, None) => Ok(Proof::Token(token.0)),
            (None, Some(code), None, None) => backup_code(&code).map(Proof::Code),
            (None, None, Some(true), None) => Ok(Proof::Device { pin }),
            (None, None, None, Some(credential)) => Ok(Proof::Credential(Value::Object(credential))),
            _ => Err(Problem::malformed("one of `token`, `code`, `device: true` and `credential` is needed")),
        }
    }
}

/// Body of `POST /auth/stepup`: the members of [`ProofBody`], the action, and the app that may redeem the receipt.
#[serde_with::apply(Option => #[serde(default, deserialize_with = "present")])]
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StepUpBody {
    pub token: Option<TokenMember>,
    pub code: Option<SecretText>,
    pub device: Option<bool>,
    pub credential: Option<Map<String, Value>>,
    pub pin: Option<SecretText>,
    pub action: String,
    pub redeemer: Option<u32>,
}

/// Body of `POST /auth/fido2`: the response of a security key in a browser, or a security key that is plugged into this
/// host.
#[serde_with::apply(Option => #[serde(default, deserialize_with = "present")])]
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SecurityKeyBody {
    pub credential: Option<Map<String, Value>>,
    pub device: Option<bool>,
    pub pin: Option<SecretText>,
}

impl SecurityKeyBody {
    /// Returns the proof. Refuses a body with none, or with more than one.
    pub(super) fn proof(self) -> Result<Proof, Problem> {
        match (self.credential, self.device, pin(self.pin)?) {
            (Some(credential), None, None) => Ok(Proof::Credential(Value::Object(credential))),
            (None, Some(true), pin) => Ok(Proof::SecurityKey { pin }),
            (None, None, None) => Err(Problem::malformed("missing field `credential`")),
            _ => {
                Err(Problem::malformed("one of `credential` and `device: true` is needed; `pin` goes with the latter"))
            }
        }
    }
}

/// Body of `POST /auth/receipt`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ReceiptBody {
    pub receipt: SecretText,
    pub action: String,
}
/// Returns a function that builds the refusal of a member from a reason.
pub(super) fn because(member: &str) -> impl Fn(&'static str) -> Problem {
    move |why| Problem::malformed(format!("`{member}` {why}"))
}

/// Parses the action that a step-up confirms.
pub(super) fn action(text: &str) -> Result<Text, Problem> {
    Text::parse(text, LONGEST_ACTION).map_err(because("action"))
}

/// Accepts a password that is going to be stored: 8 to 1024 bytes without control characters (AUT-5).
pub(super) fn new_password(text: SecretText, member: &str) -> Result<Sensitive<String>, Problem> {
    let length = text.0.expose().len();
    if !(SHORTEST_PASSWORD..=LONGEST_PASSWORD).contains(&length) {
        return Err(Problem::malformed(format!("`{member}` must have 8 to 1024 bytes")));
    }
    if text.0.expose().chars().any(char::is_control) {
        return Err(Problem::malformed(format!(
            "`{member}` has a control character, such as the end of a line, which nobody can type; leave it out"
        )));
    }
    Ok(text.0)
}

/// Parses the PIN of a security key: 4 characters to 63 bytes (CTAP 2.1 section 6.5.1).
fn pin(text: Option<SecretText>) -> Result<Option<Pin>, Problem> {
    let refused = || Problem::malformed("`pin` has 4 characters to 63 bytes");
    text.map(|text| Pin::parse(text.0.expose()).ok_or_else(refused)).transpose()
}

/// Parses a backup code, in either case and with hyphens anywhere.
pub(super) fn backup_code(text: &SecretText) -> Result<BackupCode, Problem> {
    BackupCode::parse(text.0.expose()).ok_or_else(|| Problem::malformed("`code` is no backup code"))
}
