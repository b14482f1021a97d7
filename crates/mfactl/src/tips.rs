//! Tips for commands that mfactl does not have and people try all the same.

use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::audit_args::event_names;

/// Words of other tools and of everyday speech, and the command that does it here. clap compares letters alone: it would
/// suggest `unlock` for `lock`, the opposite.
const WORDS: [(&[&str], &str); 9] = [
    (&["ban", "block", "deactivate", "lock", "suspend"], "to bar a user from logging in: 'mfactl user disable USER'"),
    (&["log", "logs", "journal", "events"], "to read the audit log: 'mfactl audit tail'"),
    (&["restore"], "to restore a backup: 'mfad restore', while the daemon is stopped; see mfad(8)"),
    (&["users", "list", "ls"], "to list the users: 'mfactl user list'"),
    (&["rename"], "to rename a user: 'mfactl user rename OLD NEW'; a secret: 'mfactl secret rename'"),
    (&["adduser", "useradd", "add", "create", "new"], "to create a user: 'mfactl user add NAME'"),
    (&["deluser", "userdel", "remove", "delete", "rm"], "to delete a user: 'mfactl user delete USER'"),
    (&["password", "passwd"], "to set a password: 'mfactl passwd USER'"),
    (
        &["apikey", "api-key", "apikeys", "key-create"],
        "API keys are made through the API: 'mfactl secret --help' shows the call",
    ),
];

/// Replaces the tip of clap if the unknown command is a usual word for a command of another name here. Other errors stay
/// as they are.
pub(crate) fn improve(mut error: clap::Error) -> clap::Error {
    if error.kind() == ErrorKind::InvalidValue {
        return with_events(error);
    }
    if error.kind() != ErrorKind::InvalidSubcommand {
        return error;
    }
    let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidSubcommand) else {
        return error;
    };
    if let Some((_, tip)) = WORDS.iter().find(|(words, _)| words.contains(&word.as_str())) {
        let tip = StyledStr::from(*tip);
        error.remove(ContextKind::SuggestedSubcommand);
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip]));
    }
    error
}

/// Names the events of the audit log of which the unknown word is a part, as `lock` is of `factor.lock`.
fn with_events(mut error: clap::Error) -> clap::Error {
    let is_event =
        matches!(error.get(ContextKind::InvalidArg), Some(ContextValue::String(flag)) if flag.starts_with("--event"));
    let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidValue).filter(|_| is_event) else {
        return error;
    };
    let found: Vec<String> = event_names().into_iter().filter(|name| has_part(name, word)).map(str::to_owned).collect();
    if !word.is_empty() && !found.is_empty() {
        error.insert(ContextKind::SuggestedValue, ContextValue::Strings(found));
    }
    error
}

fn has_part(name: &str, word: &str) -> bool {
    name.split(['.', '-']).any(|part| part.starts_with(word))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::Cli;

    fn told(words: &[&str]) -> String {
        let tried = Cli::try_parse_from([&["mfactl"], words].concat());
        improve(tried.err().unwrap()).to_string()
    }

    #[test]
    fn a_word_for_disabling_a_user_leads_to_that_command() {
        for words in [&["lock", "ann"][..], &["block", "ann"], &["user", "lock", "ann"], &["user", "suspend", "ann"]] {
            let text = told(words);
            assert!(text.contains("tip: to bar a user from logging in: 'mfactl user disable USER'"), "{text}");
            assert!(!text.contains("unlock"), "{text}");
        }
        assert!(Cli::try_parse_from(["mfactl", "user", "disable", "ann", "--reason", "left"]).is_ok());
    }

    #[test]
    fn every_tip_names_a_command_that_there_is() {
        for (words, tip) in WORDS {
            let text = told(&words[..1]);
            assert!(text.contains(tip), "{text}");
            for command in tip.split('\'').skip(1).step_by(2).filter_map(|command| command.strip_prefix("mfactl ")) {
                let names: Vec<&str> = command
                    .split(' ')
                    .take_while(|word| word.chars().all(|letter| letter.is_ascii_lowercase()))
                    .collect();
                let mut root = <Cli as clap::CommandFactory>::command();
                let mut at = &mut root;
                for name in names {
                    at = at.find_subcommand_mut(name).unwrap_or_else(|| panic!("no command {name} for {tip}"));
                }
            }
        }
    }

    #[test]
    fn a_half_of_an_event_leads_to_its_whole_name() {
        let text = told(&["audit", "tail", "--event", "lock"]);
        assert!(text.contains("a similar value exists: 'factor.lock'"), "{text}");
        assert!(!told(&["audit", "tail", "--event", "nothing"]).contains("similar value"));
    }

    #[test]
    fn other_unknown_commands_keep_the_tip_of_clap() {
        let text = told(&["unlok", "ann"]);
        assert!(text.contains("'unlock'"), "{text}");
        assert!(!text.contains("disable"), "{text}");
    }
}
