//! Users, secrets, logins and audit rows as replies show them.

use mfad_core::model::{Profile, SecretId, Sensitive, TokenKind, UserId};

use super::DeviceOfSecret;

/// A user as shown.
#[derive(Clone, Debug)]
pub struct UserView {
    /// The id.
    pub id: UserId,
    /// The login name.
    pub name: String,
    /// A name for display.
    pub display_name: Option<String>,
    /// An address.
    pub email: Option<String>,
    /// Roles.
    pub roles: Vec<String>,
    /// Whether it may log in.
    pub disabled: bool,
    /// When it was made.
    pub created: i64,
    /// When it was changed.
    pub modified: i64,
    /// Counts the changes.
    pub version: i64,
    /// `none`, `pending` or `active`.
    pub mfa: &'static str,
}

/// A secret as shown: everything but its value.
#[derive(Clone, Debug)]
pub struct SecretView {
    /// The id.
    pub id: SecretId,
    /// Whose it is.
    pub user: UserId,
    /// The type.
    pub kind: &'static str,
    /// Its name.
    pub name: String,
    /// `pending` or `active`.
    pub status: &'static str,
    /// When it was made.
    pub created: i64,
    /// When it was changed.
    pub modified: i64,
    /// When it was used.
    pub last_used: Option<i64>,
    /// Counts the changes.
    pub version: i64,
    /// Words about it.
    pub description: Option<String>,
    /// When a pending one ends.
    pub expires: Option<i64>,
    /// A factor's parameters.
    pub profile: Option<Profile>,
    /// HOTP: the next counter.
    pub counter: Option<u64>,
    /// Backup codes left.
    pub remaining: Option<u32>,
    /// The hardware key it is on.
    pub device: Option<DeviceOfSecret>,
}

/// A token with what belongs to it.
pub struct AuthView {
    /// The token.
    pub token: Sensitive<String>,
    /// Its kind.
    pub kind: TokenKind,
    /// How many seconds it is good.
    pub expires_in: u64,
    /// The refresh token.
    pub refresh: Option<Sensitive<String>>,
    /// Whose it is.
    pub user: UserId,
    /// What a challenge takes.
    pub methods: Option<Vec<&'static str>>,
    /// Backup codes left, after one was used.
    pub remaining: Option<u32>,
    /// A receipt for the confirmed action.
    pub receipt: Option<Sensitive<String>>,
}

/// One row of the audit log as shown.
#[derive(Clone, Debug)]
pub struct AuditView {
    /// 1, 2, 3, …
    pub seq: i64,
    /// When.
    pub at: i64,
    /// What happened.
    pub event: String,
    /// Whom it concerns.
    pub subject: Option<UserId>,
    /// Which secret it concerns.
    pub object: Option<SecretId>,
    /// Who asked.
    pub peer_uid: Option<u32>,
    /// By which process.
    pub peer_pid: Option<i32>,
    /// In which request.
    pub request: Option<String>,
    /// `ok` or `refused`.
    pub outcome: String,
    /// Words for a person.
    pub detail: Option<String>,
    /// The hash of the row before.
    pub previous: [u8; 32],
    /// The hash of this row.
    pub hash: [u8; 32],
}
