//! The user that a command acts on, and the authority to do so: resolves names to uids and turns `--as-user` into a
//! login and its token. It must not know which command acts.

use crate::args::ActingArgs;
use crate::call::{Authority, Call, segment};
use crate::context::Context;
use crate::failure::Failure;
use crate::login;
use crate::secret_text::Hidden;
use mfad_api::{User, UserPage};

/// A user, and the authority by which a command acts on them. Call [`Acting::end`] when done, also after a failure.
pub(crate) struct Acting {
    /// Uid of the user, or `me` as it was typed.
    pub uid: String,
    pub authority: Authority,
    /// The password that the user typed for `--as-user`, so that `passwd` need not ask for it again.
    pub password: Option<Hidden>,
    /// Whether `--as-user` returned an access token, whose session [`Acting::end`] ends.
    has_session: bool,
}

impl Acting {
    /// Looks up the user, and logs in as them if the flags say `--as-user`.
    pub(crate) async fn begin(context: &mut Context, user: &str, how: &ActingArgs) -> Result<Self, Failure> {
        if how.as_user {
            return Self::by_login(context, user, how).await;
        }
        let uid = uid_of(context, user).await?;
        Ok(Self { uid, authority: Authority::with_reason(how.reason.clone()), password: None, has_session: false })
    }

    /// Ends the session that `begin` started. It is not an error if the command has already ended it.
    pub(crate) async fn end(self, context: &mut Context) {
        if self.has_session {
            login::log_out(context, &self.authority).await;
        }
    }

    /// API path of the user, followed by `rest`.
    pub(crate) fn path(&self, rest: &str) -> String {
        path(&self.uid, rest)
    }

    /// Whether an admin acts with a reason. An admin need not know the user's current password.
    pub(crate) fn is_admin_with_reason(&self) -> bool {
        matches!(self.authority, Authority::Reason(_))
    }

    async fn by_login(context: &mut Context, user: &str, how: &ActingArgs) -> Result<Self, Failure> {
        let id = match user {
            "me" => context.prompter.word("user name", "give the name instead of `me`").await?,
            name => name.to_owned(),
        };
        let login = login::log_in(context, &id, &how.answers()).await?;
        let has_session = login.token.kind == "ACCESS";
        let token = login.token.token.into_inner();
        Ok(Self {
            uid: login.token.user_uid.unwrap_or_default(),
            authority: Authority::Token(token),
            password: Some(login.password),
            has_session,
        })
    }
}

/// API path of a user, followed by `rest`.
pub(crate) fn path(uid: &str, rest: &str) -> String {
    format!("/v1/users/{}{rest}", segment(uid))
}

/// Uid of the user with this name. A uid and `me` are returned unchanged.
pub(crate) async fn uid_of(context: &mut Context, user: &str) -> Result<String, Failure> {
    if user == "me" || is_uid(user) {
        return Ok(user.to_owned());
    }
    let path = format!("/v1/users?name={}", segment(user));
    let answer = context.client.send(Call::get(path)).await?;
    if answer.status == 400 {
        // Nobody can have such a name.
        return Err(Failure::Denied(format!("no such user: {user}")));
    }
    let page: UserPage = answer.granted()?.read()?;
    pick(&page.users, user).map(|found| found.uid.clone())
}

/// Uids of many users, in order, for one request of the user list. A name that is not found fails alone.
pub(crate) async fn uids_of(context: &mut Context, users: &[&str]) -> Result<Vec<Result<String, Failure>>, Failure> {
    let known = if users.iter().all(|user| is_uid(user)) { Vec::new() } else { all_users(context).await? };
    let found = users.iter().map(|user| {
        if is_uid(user) { Ok((*user).to_owned()) } else { pick(&known, user).map(|found| found.uid.clone()) }
    });
    Ok(found.collect())
}

/// All users, fetched in pages of 200.
pub(crate) async fn all_users(context: &mut Context) -> Result<Vec<User>, Failure> {
    let mut users = Vec::new();
    let mut after = String::new();
    loop {
        let page: UserPage = context.client.ask(Call::get(format!("/v1/users?limit=200{after}"))).await?.read()?;
        users.extend(page.users);
        match page.next {
            Some(next) => after = format!("&after={}", segment(&next)),
            None => return Ok(users),
        }
    }
}

/// Prefers the exact name. Otherwise a name that differs only in case is taken if it is the only one, since taking one
/// of several could act on the wrong user.
fn pick<'a>(users: &'a [User], name: &str) -> Result<&'a User, Failure> {
    if let Some(exact) = users.iter().find(|user| user.name == name) {
        return Ok(exact);
    }
    let folded = name.to_lowercase();
    let mut alike = users.iter().filter(|user| user.name.to_lowercase() == folded);
    match (alike.next(), alike.next()) {
        (Some(only), None) => Ok(only),
        (Some(_), Some(_)) => {
            Err(Failure::Denied(format!("several users match {name}; give the exact name or the uid")))
        }
        (None, _) => Err(Failure::Denied(format!("no such user: {name}"))),
    }
}

/// Whether the text is a UUID in its canonical form of 36 characters (RFC 9562 section 4).
fn is_uid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(place, byte)| match place {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn users(names: &[&str]) -> Vec<User> {
        let user = |name: &&str| User {
            uid: format!("uid of {name}"),
            name: (*name).to_owned(),
            display_name: None,
            email: None,
            roles: Vec::new(),
            disabled: false,
            date_created: String::new(),
            date_modified: String::new(),
            version: 1,
            mfa: "none".to_owned(),
            lock: mfad_api::Lock::default(),
        };
        names.iter().map(user).collect()
    }

    #[test]
    fn the_exact_name_wins() {
        let users = users(&["ANN", "ann"]);

        assert_eq!(pick(&users, "ann").unwrap().uid, "uid of ann");
    }

    #[test]
    fn case_does_not_matter_when_one_name_fits() {
        assert_eq!(pick(&users(&["Ann", "bob"]), "aNN").unwrap().uid, "uid of Ann");
        assert!(pick(&users(&["Ann", "ANN"]), "ann").is_err());
        assert!(pick(&users(&["Ann"]), "an").is_err());
    }

    #[test]
    fn a_uid_is_36_characters() {
        assert!(is_uid("00000000-0000-0000-0000-000000000000"));
        assert!(!is_uid("00000000-0000-0000-0000-00000000000"));
        assert!(!is_uid("00000000000000000000000000000000-000"));
        assert!(!is_uid("g0000000-0000-0000-0000-000000000000"));
    }
}
