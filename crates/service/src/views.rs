//! Users, secrets and logins as replies show them. The only secrets in them are new tokens. Times are
//! milliseconds since 1970.

use mfad_core::model::{Profile, SecretId, Sensitive, TokenKind, UserId};

use super::DeviceOfSecret;

/// A user as replies show it.
#[derive(Clone, Debug)]
pub struct UserView {
    /// The user id, a UUID.
    pub id: UserId,
    /// The login name, as it was spelled at creation or renaming.
    pub name: String,
    /// A free text for display; it is never used to log in.
    pub display_name: Option<String>,
    /// The e-mail address, with which the user can log in as well.
    pub email: Option<String>,
    /// The roles. `admin` and `host` have a meaning for the daemon; apps may use others.
    pub roles: Vec<String>,
    /// Whether all logins, tokens and verifies of the user are refused.
    pub disabled: bool,
    /// When the user was created.
    pub created: i64,
    /// When the user was last changed.
    pub modified: i64,
    /// Rises with each change; a change must name the version that it is based on.
    pub version: i64,
    /// State of the user's second factors: `none`, `pending`, `imported` (none of them proved yet) or `active`.
    pub mfa: &'static str,
    /// Whether attempts at the second factors are delayed or locked.
    pub lock: LockView,
}

/// Whether attempts at a user's second factors are evaluated, and why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockView {
    /// They are evaluated.
    Open {
        /// Number of consecutive wrong attempts.
        failures: u32,
    },
    /// They are not evaluated until then, after so many wrong ones.
    Delayed {
        /// When the delay ends.
        until: i64,
        /// Number of consecutive wrong attempts.
        failures: u32,
    },
    /// They are not evaluated until an administrator unlocks the user.
    Locked {
        /// When the last wrong attempt was, if it is known.
        since: Option<i64>,
        /// Number of consecutive wrong attempts.
        failures: u32,
    },
}

/// A secret as replies show it: everything but its value.
#[derive(Clone, Debug)]
pub struct SecretView {
    /// The secret id, a UUID.
    pub id: SecretId,
    /// The user to whom it belongs.
    pub user: UserId,
    /// The type, as the API names it: `password`, `mfa`, `fido2`, `apikey` or `mfabackup`.
    pub kind: &'static str,
    /// The name, unique among the secrets of the user.
    pub name: String,
    /// `pending` until the first correct code, then `active`.
    pub status: &'static str,
    /// When it was created.
    pub created: i64,
    /// When it was last changed.
    pub modified: i64,
    /// When it was last used successfully; absent if never.
    pub last_used: Option<i64>,
    /// Rises with each change; a change must name the version that it is based on.
    pub version: i64,
    /// A free text from the user.
    pub description: Option<String>,
    /// When a pending secret expires; absent for others.
    pub expires: Option<i64>,
    /// The parameters of a one-time password factor; absent for other types.
    pub profile: Option<Profile>,
    /// HOTP: the next counter that is expected.
    pub counter: Option<u64>,
    /// An imported factor that its user has not proved with a code yet.
    pub is_imported: bool,
    /// A factor with a seed of fewer than 128 bits.
    pub is_weak: bool,
    /// Unused backup codes, of a set of backup codes.
    pub remaining: Option<u32>,
    /// The hardware key that holds the factor's account, once it is programmed.
    pub device: Option<DeviceOfSecret>,
}

/// A new token with what belongs to it: the reply to a login, a step of one, a refresh or a step-up.
pub struct AuthView {
    /// The signed token, a compact JWS (RFC 7515).
    pub token: Sensitive<String>,
    /// Whether it is an access, challenge or enrolment token.
    pub kind: TokenKind,
    /// Lifetime of the token in seconds.
    pub expires_in: u64,
    /// The refresh token, if a session was opened or refreshed.
    pub refresh: Option<Sensitive<String>>,
    /// The user for whom the token speaks.
    pub user: UserId,
    /// The methods that can answer a challenge; absent for other tokens.
    pub methods: Option<Vec<&'static str>>,
    /// Unused backup codes, if one was just used.
    pub remaining: Option<u32>,
    /// Whether the factor that was just used has a seed of fewer than 128 bits.
    pub is_weak: bool,
    /// The receipt for the confirmed action, after a step-up.
    pub receipt: Option<Sensitive<String>>,
}
