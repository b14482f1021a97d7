//! The user document, pages of users, and the response to creating a user.

use serde::{Deserialize, Serialize};

use crate::AuthToken;

/// A user, without its secrets.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct User {
    /// The id, a UUID.
    pub uid: String,
    /// The login name, 1 to 64 characters, as the user wrote it.
    pub name: String,
    /// A name to show to people, up to 128 characters. It cannot be used to log in.
    pub display_name: Option<String>,
    /// The e-mail address, which works as a login name too.
    pub email: Option<String>,
    /// The roles, at most 16. The daemon gives a meaning to `admin`, and to `host`: the user stands for the
    /// account of this name in logins to the host. All others are for apps to read.
    #[serde(default)]
    pub roles: Vec<String>,
    /// Whether the user is disabled: logins are refused, and all sessions have ended.
    pub disabled: bool,
    /// When the user was created, RFC 3339 in UTC.
    pub date_created: String,
    /// When the user was last changed, RFC 3339 in UTC.
    pub date_modified: String,
    /// The number of changes, from 1. A change must name the version that it is based on.
    pub version: i64,
    /// `none`, `pending` (a factor waits for its first code) or `active` (logins require a second factor).
    pub mfa: String,
    /// Whether attempts at the second factors are delayed or locked.
    #[serde(default)]
    pub lock: Lock,
}

/// Whether attempts at a user's second factors are evaluated.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Lock {
    /// `none`, `delayed` (until the time `until`) or `locked` (until an administrator unlocks the user).
    pub state: String,
    /// The number of wrong attempts since the last right one; with `none` only if there were any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failures: Option<u32>,
    /// When the delay ends, RFC 3339 in UTC; with `delayed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// When the last wrong attempt was, RFC 3339 in UTC; with `locked`, if it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
}

/// A page of users.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct UserPage {
    /// The users, in the order of their ids.
    pub users: Vec<User>,
    /// The value of `after` for the next page; `None` on the last page.
    pub next: Option<String>,
}

/// The response to the creation of a user.
#[derive(Debug, Serialize, Deserialize)]
pub struct NewUser {
    /// The user that was created.
    pub user: User,
    /// A login of the new user, if it was created with a password.
    #[serde(flatten)]
    pub auth: Option<AuthToken>,
}
