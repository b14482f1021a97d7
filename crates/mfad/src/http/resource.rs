//! The paths of the API: the resource that each names, and the methods that it supports.

use hyper::Method;

use mfad_core::model::{AccountName, KeyId, SecretId, UserRef};
use mfad_service::SecretRef;

/// A path of the API, with its parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resource {
    /// `/users`
    Users,
    /// `/users/:id`
    User(UserRef),
    /// `/users/:id/unlock`
    Unlock(UserRef),
    /// `/users/:id/codes`
    Codes(UserRef),
    /// `/users/:id/verify`
    Verify(UserRef),
    /// `/users/:id/secrets`
    Secrets(UserRef),
    /// `/users/:id/secrets/password`
    PasswordOf(UserRef),
    /// `/users/:id/secrets/import`
    Import(UserRef),
    /// `/users/:id/secrets/:id`
    Secret(UserRef, SecretRef),
    /// `/users/:id/secrets/:id/enroll`
    Enroll(UserRef, SecretRef),
    /// `/auth`
    Auth,
    /// `/auth/password`
    AuthPassword,
    /// `/auth/totp`
    AuthTotp,
    /// `/auth/recovery`
    AuthRecovery,
    /// `/auth/mfa`
    AuthMfa,
    /// `/auth/fido2`
    AuthFido2,
    /// `/auth/fido2/options`
    AuthFido2Options,
    /// `/users/:id/fido2/options`
    KeyOptionsOf(UserRef),
    /// `/auth/stepup`
    AuthStepUp,
    /// `/auth/receipt`
    AuthReceipt,
    /// `/auth/refresh`
    AuthRefresh,
    /// `/auth/logout`
    AuthLogout,
    /// `/verify`
    HostVerify,
    /// `/imports`
    Imports,
    /// `/break-glass`
    BreakGlass,
    /// `/preflight`
    Preflight,
    /// `/.well-known/jwks.json`
    KeySet,
    /// `/.well-known/receipt-keys.json`
    ReceiptKeys,
    /// `/devices`
    Devices,
    /// `/devices/fido2`
    SecurityKeys,
    /// `/devices/events`
    DeviceEvents,
    /// `/devices/:key`
    Device(KeyId),
    /// `/devices/:key/oath/accounts`
    DeviceAccounts(KeyId),
    /// `/devices/:key/oath/accounts/:name`
    DeviceAccount(KeyId, AccountName),
    /// `/devices/:key/oath/reset`
    DeviceReset(KeyId),
    /// `/devices/:key/oath/password`
    DevicePassword(KeyId),
    /// `/devices/:key/attest`
    DeviceAttest(KeyId),
    /// `/devices/:key/return`
    DeviceReturn(KeyId),
    /// `/key`
    Key,
    /// `/key/rotation`
    KeyRotation,
    /// `/users/:id/export`
    ExportOf(UserRef),
    /// `/exports`
    Exports,
    /// `/backup`
    Backup,
    /// `/health/live`
    Live,
    /// `/health/ready`
    Ready,
    /// `/metrics`
    Metrics,
    /// `/openapi.json`
    OpenApi,
    /// `/version`
    Version,
    /// `/audit`
    Audit,
    /// `/audit/events`
    AuditEvents,
}

impl Resource {
    /// Returns the resource of a path, with or without the prefix `/v1`; `None` if there is none.
    pub fn of_path(path: &str) -> Option<Self> {
        let path = path.strip_prefix("/v1").filter(|rest| rest.starts_with('/')).unwrap_or(path);
        let segments: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
        Some(match segments.as_slice() {
            ["users"] => Self::Users,
            ["users", user] => Self::User(UserRef::parse(named(user)?)),
            ["users", user, "unlock"] => Self::Unlock(UserRef::parse(named(user)?)),
            ["users", user, "codes"] => Self::Codes(UserRef::parse(named(user)?)),
            ["users", user, "export"] => Self::ExportOf(UserRef::parse(named(user)?)),
            ["users", user, "verify"] => Self::Verify(UserRef::parse(named(user)?)),
            ["users", user, "secrets"] => Self::Secrets(UserRef::parse(named(user)?)),
            ["users", user, "secrets", "password"] => Self::PasswordOf(UserRef::parse(named(user)?)),
            ["users", user, "secrets", "import"] => Self::Import(UserRef::parse(named(user)?)),
            ["users", user, "secrets", secret] => {
                Self::Secret(UserRef::parse(named(user)?), secret_ref(named(secret)?))
            }
            ["users", user, "secrets", secret, "enroll"] => {
                Self::Enroll(UserRef::parse(named(user)?), secret_ref(named(secret)?))
            }
            ["auth"] => Self::Auth,
            ["auth", "password"] => Self::AuthPassword,
            ["auth", "totp"] => Self::AuthTotp,
            ["auth", "recovery"] => Self::AuthRecovery,
            ["auth", "mfa"] => Self::AuthMfa,
            ["auth", "fido2"] => Self::AuthFido2,
            ["auth", "fido2", "options"] => Self::AuthFido2Options,
            ["users", user, "fido2", "options"] => Self::KeyOptionsOf(UserRef::parse(named(user)?)),
            ["auth", "stepup"] => Self::AuthStepUp,
            ["auth", "receipt"] => Self::AuthReceipt,
            ["auth", "refresh"] => Self::AuthRefresh,
            ["auth", "logout"] => Self::AuthLogout,
            ["verify"] => Self::HostVerify,
            ["imports"] => Self::Imports,
            ["break-glass"] => Self::BreakGlass,
            ["preflight"] => Self::Preflight,
            [".well-known", "jwks.json"] => Self::KeySet,
            [".well-known", "receipt-keys.json"] => Self::ReceiptKeys,
            ["devices"] => Self::Devices,
            ["devices", "fido2"] => Self::SecurityKeys,
            ["devices", "events"] => Self::DeviceEvents,
            ["devices", key] => Self::Device(KeyId::parse(key)?),
            ["devices", key, "oath", "accounts"] => Self::DeviceAccounts(KeyId::parse(key)?),
            ["devices", key, "oath", "accounts", name] => Self::DeviceAccount(KeyId::parse(key)?, account_name(name)?),
            ["devices", key, "oath", "reset"] => Self::DeviceReset(KeyId::parse(key)?),
            ["devices", key, "oath", "password"] => Self::DevicePassword(KeyId::parse(key)?),
            ["devices", key, "attest"] => Self::DeviceAttest(KeyId::parse(key)?),
            ["devices", key, "return"] => Self::DeviceReturn(KeyId::parse(key)?),
            ["key"] => Self::Key,
            ["key", "rotation"] => Self::KeyRotation,
            ["backup"] => Self::Backup,
            ["exports"] => Self::Exports,
            ["health", "live"] => Self::Live,
            ["health", "ready"] => Self::Ready,
            ["metrics"] => Self::Metrics,
            ["openapi.json"] => Self::OpenApi,
            ["version"] => Self::Version,
            ["audit"] => Self::Audit,
            ["audit", "events"] => Self::AuditEvents,
            _ => return None,
        })
    }

    /// Returns the methods that the resource supports.
    pub fn methods(&self) -> &'static [Method] {
        match self {
            Self::Users | Self::Secrets(_) => &[Method::GET, Method::POST],
            Self::User(_) | Self::Secret(..) => &[Method::GET, Method::PUT, Method::DELETE],
            Self::AuthPassword | Self::AuthRefresh => &[Method::GET, Method::POST],
            Self::Unlock(_)
            | Self::Codes(_)
            | Self::Verify(_)
            | Self::HostVerify
            | Self::BreakGlass
            | Self::Imports
            | Self::AuthTotp
            | Self::AuthRecovery
            | Self::AuthMfa
            | Self::AuthFido2
            | Self::AuthFido2Options
            | Self::KeyOptionsOf(_)
            | Self::AuthStepUp
            | Self::AuthReceipt
            | Self::AuthLogout
            | Self::Import(_)
            | Self::KeyRotation
            | Self::Backup
            | Self::Exports
            | Self::ExportOf(_)
            | Self::DeviceReset(_)
            | Self::DeviceAttest(_)
            | Self::DeviceReturn(_) => &[Method::POST],
            Self::PasswordOf(_) | Self::Enroll(..) | Self::DevicePassword(_) => &[Method::PUT],
            Self::DeviceAccount(..) => &[Method::PUT, Method::DELETE],
            Self::Auth
            | Self::Preflight
            | Self::KeySet
            | Self::ReceiptKeys
            | Self::Devices
            | Self::SecurityKeys
            | Self::DeviceEvents
            | Self::Device(_)
            | Self::DeviceAccounts(_)
            | Self::Key
            | Self::Live
            | Self::Ready
            | Self::Metrics
            | Self::OpenApi
            | Self::Version
            | Self::Audit
            | Self::AuditEvents => &[Method::GET],
        }
    }
}

/// Decodes the percent-encoded name of an OATH account (RFC 3986 section 2.1).
fn account_name(segment: &str) -> Option<AccountName> {
    AccountName::from_bytes(&percent_encoding::percent_decode_str(segment).collect::<Vec<u8>>())
}

/// Refuses an empty segment where an id is expected.
fn named(segment: &str) -> Option<&str> {
    (!segment.is_empty()).then_some(segment)
}

fn secret_ref(segment: &str) -> SecretRef {
    SecretId::parse(segment).map_or(SecretRef::Malformed, SecretRef::Id)
}
