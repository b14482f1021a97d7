//! A login to this host, as a PAM module describes it: the account, and what the module knows of the attempt.

use std::fmt::{self, Display, Formatter};

use super::name::{Text, UserName};

/// An account of this host. The user that stands for it has the same name, and the role `host`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostUser {
    /// The account's name.
    Name(UserName),
    /// The account's uid. The host knows its name.
    Uid(u32),
}

/// What a PAM module says of a login. Nothing here is checked: it is for readers of the audit log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostLogin {
    /// The PAM service, such as `sshd` (`PAM_SERVICE`).
    pub service: Text,
    /// The account that asks to become another one, as in `su` (`PAM_RUSER`).
    pub ruser: Option<Text>,
    /// The remote host (`PAM_RHOST`).
    pub rhost: Option<Text>,
    /// The terminal (`PAM_TTY`).
    pub tty: Option<Text>,
}

impl Display for HostLogin {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&one_word(&self.service))?;
        for (word, value) in [("by", &self.ruser), ("from", &self.rhost), ("on", &self.tty)] {
            if let Some(value) = value {
                write!(f, " {word} {}", one_word(value))?;
            }
        }
        Ok(())
    }
}

/// The value without what could be read as the next part of the text.
fn one_word(value: &Text) -> String {
    value.as_str().replace(|letter: char| letter.is_whitespace(), "?")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_is_told_in_words() {
        let text = |text: &str| Text::parse(text, 64).unwrap();
        let bare = HostLogin { service: text("sudo"), ruser: None, rhost: None, tty: None };

        assert_eq!(bare.to_string(), "sudo");
        let whole =
            HostLogin { ruser: Some(text("emmy")), rhost: Some(text("192.0.2.7")), tty: Some(text("pts/0")), ..bare };
        assert_eq!(whole.to_string(), "sudo by emmy from 192.0.2.7 on pts/0");
        let sly = HostLogin { ruser: Some(text("root from 192.0.2.99 x")), ..whole };
        assert_eq!(sly.to_string(), "sudo by root?from?192.0.2.99?x from 192.0.2.7 on pts/0");
    }
}
