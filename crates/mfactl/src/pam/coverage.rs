//! `pam coverage`: the accounts of this host that can log in, and whether they could still do so if a second factor were
//! required.

use std::process::Command;

use serde_json::json;

use crate::call::{Call, segment};
use crate::context::Context;
use crate::curl::quoted;
use crate::failure::Failure;
use crate::output::visible;
use mfad_api::{ErrorCode, Preflight, UserPage};

const HEADS: [&str; 5] = ["ACCOUNT", "UID", "FACTOR", "METHODS", "LOGIN"];

/// Shells of accounts that nobody logs in to.
const NO_SHELLS: [&str; 3] = ["nologin", "false", "sync"];

/// An account of this host, with the state of its user.
pub(super) struct Account {
    pub name: String,
    uid: String,
    state: Preflight,
    /// Whether a user has the account's name and lacks the role.
    lacks_role: bool,
}

impl Account {
    /// Whether the account has a factor that counts.
    pub(super) fn is_covered(&self) -> bool {
        self.state.state == "active"
    }
}

pub(super) async fn run(context: &mut Context) -> Result<(), Failure> {
    let accounts = accounts(context).await?;
    if context.out.is_json() {
        let rows: Vec<_> = accounts
            .iter()
            .map(|account| {
                json!({
                    "account": account.name,
                    "uid": account.uid.parse::<u32>().ok(),
                    "state": account.state.state,
                    "methods": account.state.methods,
                    "isCovered": account.is_covered(),
                    "lacksRole": account.lacks_role,
                })
            })
            .collect();
        return context.out.document(&json!({"accounts": rows}).to_string());
    }
    let missing = accounts.iter().filter(|account| !account.is_covered()).count();
    let total = accounts.len();
    let without_role: Vec<String> =
        accounts.iter().filter(|account| account.lacks_role).map(|account| account.name.clone()).collect();
    let rows = accounts.into_iter().map(|account| {
        let login = if account.is_covered() { "asked for it" } else { "refused" };
        let methods = if account.state.methods.is_empty() { "-".to_owned() } else { account.state.methods.join(", ") };
        let factor = if account.lacks_role { "no role".to_owned() } else { account.state.state };
        [account.name, account.uid, factor, methods, login.to_owned()]
    });
    context.out.table(HEADS, &[], rows.collect())?;
    if let Some(first) = without_role.first() {
        context.out.note(&format!(
            "users without the role `host`, which makes them stand for their accounts: {}; for example: mfactl user set {} \
             --add-role host --reason TEXT",
            visible(&without_role.join(", ")),
            quoted(first)
        ))?;
    }
    context.out.note(&format!("could not log in if a second factor were required: {missing} of {total} accounts"))
}

/// The accounts with a shell, as the host's directory lists them, each with the state of its user.
pub(super) async fn accounts(context: &mut Context) -> Result<Vec<Account>, Failure> {
    let listed = Command::new("getent")
        .arg("passwd")
        .output()
        .map_err(|error| Failure::Denied(format!("cannot list the accounts of this host: getent: {error}")))?;
    let text = String::from_utf8_lossy(&listed.stdout).into_owned();
    let mut accounts = Vec::new();
    for (name, uid) in text.lines().filter_map(with_shell) {
        let answer = context.client.send(Call::get(format!("/v1/preflight?name={}", segment(name)))).await?;
        let state = match answer.status {
            200 => answer.read()?,
            // No user can have this name.
            400 if answer.problem().known_code() == Some(ErrorCode::Malformed) => {
                Preflight { user_id: None, state: "unknown".to_owned(), methods: Vec::new() }
            }
            _ => answer.granted()?.read()?,
        };
        let lacks_role = state.state == "unknown" && has_user(context, name).await?;
        accounts.push(Account { name: name.to_owned(), uid: uid.to_owned(), state, lacks_role });
    }
    Ok(accounts)
}

/// Whether a user has exactly this name.
async fn has_user(context: &mut Context, name: &str) -> Result<bool, Failure> {
    let answer = context.client.send(Call::get(format!("/v1/users?name={}", segment(name)))).await?;
    if answer.status != 200 {
        return Ok(false);
    }
    let page: UserPage = answer.read()?;
    Ok(page.users.iter().any(|user| user.name == name))
}

/// Name and uid of a line of `passwd(5)` whose account has a shell.
fn with_shell(line: &str) -> Option<(&str, &str)> {
    let fields: Vec<&str> = line.split(':').collect();
    let [name, _, uid, _, _, _, shell] = fields.as_slice() else { return None };
    let program = shell.rsplit('/').next().unwrap_or_default();
    (!NO_SHELLS.contains(&program)).then_some((*name, *uid))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_without_a_shell_are_left_out() {
        assert_eq!(with_shell("emmy:x:1000:1000:Emmy,,,:/home/emmy:/bin/bash"), Some(("emmy", "1000")));
        // An empty shell is /bin/sh.
        assert_eq!(with_shell("old:x:1001:1001::/home/old:"), Some(("old", "1001")));
        for line in ["www-data:x:33:33:w:/var/www:/usr/sbin/nologin", "sync:x:4:65534:s:/bin:/bin/sync", "odd", ""] {
            assert_eq!(with_shell(line), None, "{line}");
        }
    }
}
