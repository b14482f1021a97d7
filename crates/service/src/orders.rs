//! The arguments of calls that have several: what is to be created or changed, and the proofs that callers present.

use serde_json::Value;

use mfad_core::model::{
    BackupCode, Email, Label, Pin, Profile, SecretId, Sensitive, Text, TokenInput, UserId, UserName,
};

use super::devices::ProvisionOrder;
use super::security_keys::{KeyOrder, LocalKeyOrder};

/// The secret that a path names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretRef {
    /// A well-formed id. Whether such a secret exists is looked up later.
    Id(SecretId),
    /// Text that is not an id. It gets the same answer as an unknown id (AZ-2).
    Malformed,
}

/// A second factor presented by a caller.
pub enum Proof {
    /// A one-time password (TOTP or HOTP).
    Token(TokenInput),
    /// A backup code, in any spelling.
    Code(BackupCode),
    /// A key of the user in a port of this host. A registered security key is asked first; otherwise a hardware key
    /// gives a code.
    Device {
        /// PIN of the security key, if it asks for one.
        pin: Option<Pin>,
    },
    /// A security key of the user in a port of this host.
    SecurityKey {
        /// PIN of the security key, if it asks for one.
        pin: Option<Pin>,
    },
    /// The assertion of a security key, as JSON from a browser (WebAuthn `PublicKeyCredential`).
    Credential(Value),
}

/// The proof that confirms a pending factor.
pub enum FirstCode {
    /// A code that the user typed.
    Token(TokenInput),
    /// A code that the daemon reads from the hardware key itself.
    Device,
    /// The new credential of a security key, as JSON from a browser (WebAuthn `PublicKeyCredential`).
    Credential(Value),
}

/// What becomes of the session in which a user confirms a factor. Every older token ends in either case (ENR-9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionAfter {
    /// It ends; the user logs in again.
    Ended,
    /// The reply has a new session in its place.
    Renewed,
}

/// A user to be created.
pub struct NewUserOrder {
    /// The id to use; `None` to have one made. With open registration only apps may choose it.
    pub id: Option<UserId>,
    /// Login name, unique among names and addresses.
    pub name: UserName,
    /// Name for display, up to 128 characters.
    pub display_name: Option<Text>,
    /// E-mail address, which can be used to log in.
    pub email: Option<Email>,
    /// First password, 8–1024 bytes.
    pub password: Option<Sensitive<String>>,
}

/// Changes to a user. `None` leaves a value as it is; in a nested `Option`, `Some(None)` removes it.
#[derive(Debug)]
pub struct UserChange {
    /// The version that the caller read. If it is outdated the change is refused.
    pub version: i64,
    /// New login name, unique among names and addresses.
    pub name: Option<UserName>,
    /// New name for display; `Some(None)` removes it.
    pub display_name: Option<Option<Text>>,
    /// New e-mail address; `Some(None)` removes it.
    pub email: Option<Option<Email>>,
    /// Whether the user is disabled. Users cannot change this for themselves.
    pub disabled: Option<bool>,
    /// The whole new list of roles. Users cannot change their own.
    pub roles: Option<Vec<String>>,
}

/// A secret to be created.
pub enum SecretOrder {
    /// A software factor, pending until its first code.
    Mfa(MfaOrder),
    /// A factor to be programmed onto a hardware key.
    Hardware(ProvisionOrder),
    /// A security key to be registered through a browser; pending until it has answered.
    Key(KeyOrder),
    /// A security key in a port of this host. It becomes active at once.
    LocalKey(LocalKeyOrder),
    /// A password, 8–1024 bytes. A user has at most one.
    Password(Sensitive<String>),
    /// An API key, which acts as the user without a login.
    ApiKey {
        /// Name; `None` for a default one.
        name: Option<Label>,
    },
}

/// A software factor to be created.
#[derive(Debug)]
pub struct MfaOrder {
    /// Name; `None` for a default one.
    pub name: Option<Label>,
    /// Algorithm, digits, and period or counter.
    pub profile: Profile,
    /// Issuer in the otpauth URI; `None` for the configured one.
    pub issuer: Option<Text>,
    /// Account in the otpauth URI; `None` for the user's login name.
    pub account: Option<Text>,
}

/// Changes to a secret. `None` leaves a value as it is.
#[derive(Debug)]
pub struct SecretChange {
    /// The version that the caller read. If it is outdated the change is refused.
    pub version: i64,
    /// New name, unique among the user's secrets.
    pub name: Option<Label>,
    /// New description; `Some(None)` removes it.
    pub description: Option<Option<Text>>,
}
