//! The account that runs this program, and what would give it a right that it lacks.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::unistd::{Gid, Group, User, getuid};

/// Group whose members the daemon takes as administrators.
const ADMIN_GROUP: &str = "mfad-admin";
/// The daemon's configuration, where its package puts it.
const CONFIG: &str = "/etc/mfad/mfad.toml";

/// What a request needs if it comes without a token.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Needed {
    /// The least right.
    pub right: &'static str,
    /// Whether the user's own login would do instead.
    pub may_log_in: bool,
}

impl Needed {
    /// By the path of the request, with `/v1`.
    pub(crate) fn by(path: &str) -> Self {
        let parts: Vec<&str> = path.split('?').next().unwrap_or_default().split('/').skip(2).collect();
        let (right, may_log_in) = match parts.as_slice() {
            ["audit" | "metrics", ..] => ("audit", false),
            ["verify" | "preflight"] => ("pam", false),
            ["users", _, "unlock"] | ["users", _, "secrets", "import"] => ("admin", false),
            ["users", _, "verify"] | ["users"] | ["devices"] | ["devices", _] => ("app", false),
            ["users", ..] => ("app", true),
            _ => ("admin", false),
        };
        Self { right, may_log_in }
    }
}

/// What to tell a user whose account lacks a right: which account, which right, and what would give it. The lines that
/// it speaks of are [`rule_lines`].
pub(crate) fn lacks_right(right: &str, may_log_in: bool) -> String {
    lacks(&uid_and_name(), right, may_log_in)
}

fn lacks(account: &str, right: &str, may_log_in: bool) -> String {
    let instead = if may_log_in { "; or log in as the user with --as-user" } else { "" };
    let group = if right == "admin" {
        format!("add the account to the groups mfad and {ADMIN_GROUP}, or ")
    } else {
        String::new()
    };
    format!(
        "{account} lacks the right `{right}`; {group}add these lines to the daemon's configuration ({CONFIG}) and reload \
         it{instead}"
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

/// The uid that the kernel shows for accounts of other user namespaces (`/proc/sys/kernel/overflowuid`).
const OVERFLOW: u32 = 65534;

/// What to tell the account with that uid.
pub(crate) const NOBODY: &str = "the daemon serves no request of uid 65534 (nobody), since that uid stands for accounts of \
     other user namespaces; use another account";

/// Whether this is that account.
pub(crate) fn is_overflow() -> bool {
    getuid().as_raw() == OVERFLOW
}

/// What to tell a user whose account may not connect to the socket.
pub(crate) fn lacks_socket(socket: &Path) -> String {
    let Ok(found) = fs::metadata(socket) else {
        return format!(
            "{} may not enter a directory on the way to it; add the account to the group mfad (usermod -aG mfad NAME), \
             then log in again",
            uid_and_name()
        );
    };
    let group = group_name(found.gid()).unwrap_or_else(|| format!("with gid {}", found.gid()));
    if group == "root" {
        return format!(
            "{} may not use it; have root set `socketGroup` in the configuration, or SocketGroup= in mfad.socket",
            uid_and_name()
        );
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
    fn the_least_right_is_named() {
        let needed = |path| (Needed::by(path).right, Needed::by(path).may_log_in);

        assert_eq!(needed("/v1/audit?after=0&limit=1"), ("audit", false));
        assert_eq!(needed("/v1/users?limit=200"), ("app", false));
        assert_eq!(needed("/v1/users/u/verify"), ("app", false));
        assert_eq!(needed("/v1/users/u/secrets/s"), ("app", true));
        assert_eq!(needed("/v1/users/u/unlock"), ("admin", false));
        assert_eq!(needed("/v1/devices/7"), ("app", false));
        assert_eq!(needed("/v1/devices/7/oath/accounts"), ("admin", false));
        assert_eq!(needed("/v1/preflight?name=emmy"), ("pam", false));
        assert_eq!(needed("/v1/backup"), ("admin", false));
    }

    #[test]
    fn the_sentence_names_account_and_right_and_the_lines_give_it() {
        let text = lacks("uid 1000 (ann)", "audit", false);

        assert!(text.starts_with("uid 1000 (ann) lacks the right `audit`; "), "{text}");
        assert!(text.contains("; add these lines to the daemon's configuration (/etc/mfad/mfad.toml)"), "{text}");
        assert!(!text.contains("--as-user") && lacks("", "app", true).contains("--as-user"));
        assert!(
            lacks("", "admin", false).contains("add the account to the groups mfad and mfad-admin, or add these lines")
        );
        let [table, who, rights] = rule_lines("audit");
        assert_eq!((table.as_str(), rights.as_str()), ("[[peer]]", "rights = [\"audit\"]"));
        assert!(who.starts_with("user = \"") || who.starts_with("uid = "), "{who}");
    }
}
