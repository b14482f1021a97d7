//! Completions of shells. The scripts ask this program, and the program asks the daemon for the names of users and
//! secrets. After an error it offers nothing and prints nothing.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Command as Clap, ValueHint};
use clap_complete::engine::CompletionCandidate;
use clap_complete::env::Shells;
use clap_complete::{CompleteEnv, Shell};
use mfad_api::{SecretList, User, UserPage};
use mfad_client::{Client, Method, Request};

use crate::call::segment;
use crate::socket::socket;

/// Variable by which the scripts call this program.
const VARIABLE: &str = "MFACTL_COMPLETE";
/// A shell waits for this, so a daemon that hangs must not hold it up.
const TIME: Duration = Duration::from_millis(500);
/// Most users to read. A shell could not show more of them.
const MOST_USERS: usize = 1000;

/// If a completion script called this program, answers it and exits. Otherwise does nothing.
pub(crate) fn answer(command: fn() -> Clap) {
    CompleteEnv::with_factory(|| without_paths(command())).var(VARIABLE).complete();
}

/// Leaves file names to the shells, which quote them. The scripts would pass them on as they are, and a file that somebody
/// named `$(…)` would be run.
fn without_paths(command: Clap) -> Clap {
    command
        .mut_args(|arg| match arg.get_value_hint() {
            ValueHint::Unknown => arg,
            _ => arg.value_hint(ValueHint::Other),
        })
        .mut_subcommands(without_paths)
}

/// The script that a shell reads. It calls `mfactl` of the search path.
pub(crate) fn script(shell: Shell) -> io::Result<Vec<u8>> {
    let mut script = Vec::new();
    match Shells::builtins().completer(&shell.to_string()) {
        Some(completer) => completer.write_registration(VARIABLE, "mfactl", "mfactl", "mfactl", &mut script)?,
        None => return Err(io::Error::other("there is no script for this shell")),
    }
    if shell == Shell::Bash {
        // Where this program offers nothing, readline completes file names.
        script = replaced(&script, "-o bashdefault", "-o bashdefault -o default")?;
    }
    if shell == Shell::Zsh {
        let files = "[[ -n $completions ]] || { _files; return }\n    if [[ -n $completions ]]; then";
        script = replaced(&script, "if [[ -n $completions ]]; then", files)?;
        // As a file of the function path it is first run in the place of the function that it defines.
        script.extend_from_slice(
            b"\nif [ \"$funcstack[1]\" = \"_mfactl\" ]; then\n    _clap_dynamic_completer_mfactl \"$@\"\nfi\n",
        );
    }
    Ok(script)
}

fn replaced(script: &[u8], old: &str, new: &str) -> io::Result<Vec<u8>> {
    let script = std::str::from_utf8(script).map_err(io::Error::other)?;
    if !script.contains(old) {
        return Err(io::Error::other("the script is another one than expected"));
    }
    Ok(script.replace(old, new).into_bytes())
}

/// Names of users, for an argument that names one.
pub(crate) fn users(current: &OsStr) -> Vec<CompletionCandidate> {
    let names = all_users(&mut client()).into_iter().map(|user| user.name);
    offered(names, current)
}

/// Names of the secrets of the user that the word before names.
pub(crate) fn secrets(current: &OsStr) -> Vec<CompletionCandidate> {
    let names = word_before().map(|user| secrets_of(&user)).unwrap_or_default();
    offered(names.into_iter(), current)
}

/// Only names that are one word for every shell. The scripts do not quote, and others than the operator may choose the
/// names: one with `$(…)` in it would be run.
fn offered(names: impl Iterator<Item = String>, current: &OsStr) -> Vec<CompletionCandidate> {
    let begun = current.to_string_lossy();
    let is_plain = |name: &str| {
        let is_plain = |letter: char| letter.is_alphanumeric() || matches!(letter, '.' | '_' | '@' | '+' | '-');
        !name.starts_with('-') && name.chars().all(is_plain)
    };
    names.filter(|name| is_plain(name) && name.starts_with(&*begun)).map(CompletionCandidate::new).collect()
}

fn all_users(client: &mut Client) -> Vec<User> {
    let mut users: Vec<User> = Vec::new();
    let mut after = String::new();
    while users.len() < MOST_USERS {
        let path = format!("/v1/users?limit=200{after}");
        let page = client.ask(&Request::new(Method::Get, &path)).and_then(|answer| answer.read::<UserPage>());
        let Ok(page) = page else { break };
        users.extend(page.users);
        let Some(next) = page.next else { break };
        after = format!("&after={next}");
    }
    users
}

fn secrets_of(user: &str) -> Vec<String> {
    let mut client = client();
    let path = format!("/v1/users?name={}", segment(user));
    let page = client.ask(&Request::new(Method::Get, &path)).and_then(|answer| answer.read::<UserPage>());
    let Some(found) = page.ok().and_then(|page| page.users.into_iter().next()) else { return Vec::new() };
    let path = format!("/v1/users/{}/secrets", found.uid);
    let list = client.ask(&Request::new(Method::Get, &path)).and_then(|answer| answer.read::<SecretList>());
    list.map(|list| list.secrets.into_iter().filter_map(|secret| secret.name).collect()).unwrap_or_default()
}

fn client() -> Client {
    let named = words().windows(2).find_map(|pair| match pair {
        [flag, path] if flag == "--socket" => Some(PathBuf::from(path)),
        _ => None,
    });
    Client::new(socket(named)).with_time(TIME)
}

/// The words of the command line that is completed. The scripts pass them after `--`.
fn words() -> Vec<OsString> {
    std::env::args_os().skip_while(|word| word != "--").skip(1).collect()
}

/// The word before the one that is completed.
fn word_before() -> Option<String> {
    let words = words();
    let index = std::env::var("_CLAP_COMPLETE_INDEX").ok().and_then(|index| index.parse::<usize>().ok());
    // fish passes the words up to the cursor, and no index.
    let index = index.unwrap_or(words.len().saturating_sub(1));
    words.get(index.checked_sub(1)?)?.to_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offered_of(names: &[&str], current: &str) -> Vec<String> {
        let names = names.iter().map(|name| (*name).to_owned());
        let offered = offered(names, OsStr::new(current));
        offered.iter().map(|candidate| candidate.get_value().to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn names_with_the_beginning_are_offered() {
        assert_eq!(offered_of(&["ann", "anna@example.org", "bob"], "an"), ["ann", "anna@example.org"]);
        assert_eq!(offered_of(&["zoë", "ann"], ""), ["zoë", "ann"]);
    }

    #[test]
    fn a_name_that_a_shell_would_read_otherwise_is_not_offered() {
        for name in [
            "a b",
            "$(id)",
            "`id`",
            "a;b",
            "a&b",
            "a|b",
            "a>b",
            "a'b",
            "a\"b",
            "a\\b",
            "a\nb",
            "*",
            "~",
            "-x",
            "a\u{202e}b",
        ] {
            assert!(offered_of(&[name], "").is_empty(), "{name:?}");
        }
    }

    #[test]
    fn every_shell_of_the_manual_has_a_script_that_asks_this_program() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let script = String::from_utf8(script(shell).unwrap()).unwrap();

            assert!(script.contains("MFACTL_COMPLETE=") && script.contains("mfactl"), "{script}");
        }
    }
}
