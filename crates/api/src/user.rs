//! Users.

use serde::{Deserialize, Serialize};

use crate::AuthToken;

/// A user.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct User {
    /// The id, a UUID.
    pub uid: String,
    /// The login name.
    pub name: String,
    /// A name for people.
    pub display_name: Option<String>,
    /// The mail address.
    pub email: Option<String>,
    /// The roles; `admin` is the one that the daemon itself knows.
    #[serde(default)]
    pub roles: Vec<String>,
    /// Whether logins are refused.
    pub disabled: bool,
    /// When the user was created, RFC 3339 in UTC.
    pub date_created: String,
    /// When the user was last changed, RFC 3339 in UTC.
    pub date_modified: String,
    /// Counts the changes; a change names the version that it was made from.
    pub version: i64,
    /// `none`, `pending` or `active`: whether a second factor protects the user.
    pub mfa: String,
}

/// A page of users.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct UserPage {
    /// The users, in the order of their ids.
    pub users: Vec<User>,
    /// The id to ask after for the next page; none on the last.
    pub next: Option<String>,
}

/// The answer to creating a user.
#[derive(Debug, Serialize, Deserialize)]
pub struct NewUser {
    /// The user.
    pub user: User,
    /// A login, if the user was created with a password.
    #[serde(flatten)]
    pub auth: Option<AuthToken>,
}
