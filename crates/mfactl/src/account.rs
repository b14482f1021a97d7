//! The account that runs this program, and what would give it a right that it lacks.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::unistd::{Gid, Group, User, getuid};

/// Group whose members the daemon takes as administrators.
const ADMIN_GROUP: &str = "mfad-admin";
/// The daemon's configuration, where its package puts it.
const CONFIG: &str = "/etc/mfad/mfad.toml";

/// What to tell a user whose account lacks a right: which account, which right, and what would give it. The lines that
/// it speaks of are [`rule_lines`].
pub(crate) fn lacks_right(right: &str) -> String {
    lacks(&uid_and_name(), right)
}

fn lacks(account: &str, right: &str) -> String {
    let group =
        if right == "admin" { format!("add the account to the group {ADMIN_GROUP}, or ") } else { String::new() };
    format!(
        "{account} lacks the right `{right}`; {group}add these lines to the daemon's configuration ({CONFIG}) and reload \
         it; commands that have --as-user can do without"
    )
}

/// The lines of the configuration that give this account a right.
pub(crate) fn rule_lines(right: &str) -> [String; 3] {
    let who = match name() {
        Some(name) => format!("user = \"{name}\""),
        None => format!("uid = {}", getuid()),
    };
    ["[[peer]]".to_owned(), who, format!("rights = [\"{right}\"]")]
}

/// What to tell a user whose account may not connect to the socket.
pub(crate) fn lacks_socket(socket: &Path) -> String {
    let group = fs::metadata(socket).ok().and_then(|found| group_name(found.gid()));
    let group = group.unwrap_or_else(|| "mfad".to_owned());
    if group == "root" {
        return format!("{} may not use it; have root give the socket a group of its own", uid_and_name());
    }
    format!("{} may not use it; add the account to the group {group}, then log in again", uid_and_name())
}

fn uid_and_name() -> String {
    match name() {
        Some(name) => format!("uid {} ({name})", getuid()),
        None => format!("uid {}", getuid()),
    }
}

fn name() -> Option<String> {
    User::from_uid(getuid()).ok().flatten().map(|user| user.name)
}

fn group_name(gid: u32) -> Option<String> {
    Group::from_gid(Gid::from_raw(gid)).ok().flatten().map(|group| group.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sentence_names_account_and_right_and_the_lines_give_it() {
        let text = lacks("uid 1000 (ann)", "audit");

        assert!(text.starts_with("uid 1000 (ann) lacks the right `audit`; "), "{text}");
        assert!(text.contains("; add these lines to the daemon's configuration (/etc/mfad/mfad.toml)"), "{text}");
        assert!(lacks("", "admin").contains("add the account to the group mfad-admin, or add these lines"));
        let [table, who, rights] = rule_lines("audit");
        assert_eq!((table.as_str(), rights.as_str()), ("[[peer]]", "rights = [\"audit\"]"));
        assert!(who.starts_with("user = \"") || who.starts_with("uid = "), "{who}");
    }
}
