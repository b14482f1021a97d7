//! Who a command acts on and by which right: names become uids, and `--as-user` becomes a token.

use crate::args::ActingArgs;
use crate::call::{Authority, Call, segment};
use crate::context::Context;
use crate::failure::Failure;
use crate::login;
use crate::prompt::{Hidden, Source};
use crate::wire::{User, UserPage};

/// A user, and the right by which the command acts on them.
pub struct Acting {
    /// The user's uid.
    pub uid: String,
    /// The right.
    pub authority: Authority,
    /// The password, if the user has just typed it.
    pub password: Option<Hidden>,
    has_session: bool,
}

impl Acting {
    /// Finds the user and gets the right that the flags ask for.
    pub async fn begin(context: &mut Context, user: &str, how: &ActingArgs) -> Result<Self, Failure> {
        if how.as_user {
            return Self::by_login(context, user).await;
        }
        let uid = uid_of(context, user).await?;
        Ok(Self { uid, authority: Authority::with_reason(how.reason.clone()), password: None, has_session: false })
    }

    /// Ends the session that `begin` made. A token that has ended already is no matter.
    pub async fn end(self, context: &mut Context) {
        if self.has_session {
            login::log_out(context, &self.authority).await;
        }
    }

    /// The path of the user, with `rest` below it.
    pub fn path(&self, rest: &str) -> String {
        path(&self.uid, rest)
    }

    /// Whether an admin acts, who need not know the current password.
    pub fn is_admin_with_reason(&self) -> bool {
        matches!(self.authority, Authority::Reason(_))
    }

    async fn by_login(context: &mut Context, user: &str) -> Result<Self, Failure> {
        let id = match user {
            "me" => context.prompter.word("user name", "give the name instead of `me`").await?,
            name => name.to_owned(),
        };
        let login = login::log_in(
            context,
            &id,
            &login::Answers {
                recovery: false,
                device: false,
                password: Source::Prompt,
                code: Source::Prompt,
                pin: Source::Prompt,
            },
        )
        .await?;
        let has_session = login.token.kind == "ACCESS";
        let token = Hidden::new(login.token.token);
        Ok(Self {
            uid: login.token.user_uid,
            authority: Authority::Token(token),
            password: Some(login.password),
            has_session,
        })
    }
}

/// The path of a user, with `rest` below it.
pub fn path(uid: &str, rest: &str) -> String {
    format!("/v1/users/{}{rest}", segment(uid))
}

/// The uid of a user by name; a uid and `me` stay what they are.
pub async fn uid_of(context: &mut Context, user: &str) -> Result<String, Failure> {
    if user == "me" || is_uid(user) {
        return Ok(user.to_owned());
    }
    let users = all_users(context).await.map_err(explain_lookup)?;
    pick(&users, user).map(|found| found.uid.clone())
}

/// The uids of many users, with one look at the list; each is found, or not, by itself.
pub async fn uids_of(context: &mut Context, users: &[&str]) -> Result<Vec<Result<String, Failure>>, Failure> {
    let known = if users.iter().all(|user| is_uid(user)) {
        Vec::new()
    } else {
        all_users(context).await.map_err(explain_lookup)?
    };
    let found = users.iter().map(|user| {
        if is_uid(user) { Ok((*user).to_owned()) } else { pick(&known, user).map(|found| found.uid.clone()) }
    });
    Ok(found.collect())
}

/// All users, page by page.
pub async fn all_users(context: &mut Context) -> Result<Vec<User>, Failure> {
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

fn pick<'a>(users: &'a [User], name: &str) -> Result<&'a User, Failure> {
    if let Some(exact) = users.iter().find(|user| user.name == name) {
        return Ok(exact);
    }
    let folded = name.to_lowercase();
    let mut alike = users.iter().filter(|user| user.name.to_lowercase() == folded);
    match (alike.next(), alike.next()) {
        (Some(only), None) => Ok(only),
        (Some(_), Some(_)) => {
            Err(Failure::Denied(format!("several users are named like {name}; write the name exactly or give the uid")))
        }
        (None, _) => Err(Failure::Denied(format!("there is no user {name}"))),
    }
}

fn explain_lookup(failure: Failure) -> Failure {
    match failure {
        Failure::Refused(problem) if matches!(problem.status, 401 | 403) => {
            let text = "only an account with the right app or admin can look a name up; \
                        give the uid, or use --as-user where the command has it";
            Failure::Forbidden(text.to_owned())
        }
        other => other,
    }
}

/// The canonical form of 36 characters (RFC 9562, section 4).
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
