//! The groups of flags that several commands share: who, by which right, and where secrets come from.

use std::path::PathBuf;

use clap::Args;

use crate::failure::Failure;
use crate::prompt::Source;

/// A user.
#[derive(Debug, Args)]
pub struct UserArg {
    /// Name or uid
    pub user: String,
    /// Reason of an admin, for the audit log
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
}

/// A user and the right to act on them.
#[derive(Debug, Args)]
pub struct ActOnUser {
    /// Name or uid, or `me` with --as-user
    pub user: String,
    /// By which right.
    #[command(flatten)]
    pub acting: ActingArgs,
}

/// By which right a command acts on a user. Without either: the rights of the calling account.
#[derive(Debug, Args)]
#[group(multiple = false)]
pub struct ActingArgs {
    /// Log in as the user first and act with their own right
    #[arg(long)]
    pub as_user: bool,
    /// Act as an admin, for this reason; it goes into the audit log
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
}

/// Where a password comes from, if not from the terminal.
#[derive(Debug, Args)]
#[group(multiple = false)]
pub struct PasswordFrom {
    /// Read the password from a file
    #[arg(long, value_name = "FILE")]
    pub password_file: Option<PathBuf>,
    /// Read the password from standard input
    #[arg(long)]
    pub password_stdin: bool,
}

impl PasswordFrom {
    /// The place chosen.
    pub fn source(&self) -> Source {
        Source::chosen(self.password_stdin, self.password_file.as_deref())
    }
}

/// Where the PIN of a security key comes from, if not from the terminal.
#[derive(Debug, Args)]
#[group(multiple = false)]
pub struct PinFrom {
    /// Read the PIN of the security key from a file
    #[arg(long, value_name = "FILE")]
    pub pin_file: Option<PathBuf>,
    /// Read the PIN of the security key from standard input
    #[arg(long)]
    pub pin_stdin: bool,
}

impl PinFrom {
    /// Refuses a source where no key is asked.
    pub fn check(&self, is_asked: bool) -> Result<(), Failure> {
        if !is_asked && self.source() != Source::Prompt {
            return Err(Failure::Usage("a PIN goes only with --device".to_owned()));
        }
        Ok(())
    }

    /// The place chosen.
    pub fn source(&self) -> Source {
        Source::chosen(self.pin_stdin, self.pin_file.as_deref())
    }
}

/// Where a code comes from, if not from the terminal.
#[derive(Debug, Args)]
#[group(multiple = false)]
pub struct CodeFrom {
    /// Read the code from a file
    #[arg(long, value_name = "FILE")]
    pub code_file: Option<PathBuf>,
    /// Read the code from standard input
    #[arg(long)]
    pub code_stdin: bool,
}

impl CodeFrom {
    /// The place chosen.
    pub fn source(&self) -> Source {
        Source::chosen(self.code_stdin, self.code_file.as_deref())
    }
}
