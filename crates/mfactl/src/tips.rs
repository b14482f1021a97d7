//! Tips for commands that mfactl does not have and people try all the same.

use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, ErrorKind};

/// Words of other tools for `user disable`. clap compares letters alone and would suggest `unlock`, the opposite.
const DISABLE: [&str; 5] = ["ban", "block", "deactivate", "lock", "suspend"];

/// Replaces the tip of clap if the unknown command is a usual word for a command of another name here. Other errors stay
/// as they are.
pub(crate) fn improve(mut error: clap::Error) -> clap::Error {
    if error.kind() != ErrorKind::InvalidSubcommand {
        return error;
    }
    let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidSubcommand) else {
        return error;
    };
    if DISABLE.contains(&word.as_str()) {
        let tip = StyledStr::from("to bar a user from logging in: 'mfactl user disable USER'");
        error.remove(ContextKind::SuggestedSubcommand);
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip]));
    }
    error
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
    fn other_unknown_commands_keep_the_tip_of_clap() {
        let text = told(&["unlok", "ann"]);
        assert!(text.contains("'unlock'"), "{text}");
        assert!(!text.contains("disable"), "{text}");
    }
}
