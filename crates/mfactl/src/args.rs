//! Groups of flags that several commands share: the user to act on, the authority to do so, and the sources of secrets.
//! No flag takes a secret as its value, since other users of the host can read arguments in /proc (MEM-5).

use std::path::PathBuf;

use clap::Args;
use clap_complete::engine::ArgValueCompleter;

use crate::completion;
use crate::failure::Failure;
use crate::prompt::{LOGIN_PASSWORD, Source, Wanted};

/// A user, for commands that have no `--as-user`.
#[derive(Debug, Args)]
pub(crate) struct UserArg {
    /// Name or uid
    #[arg(add = ArgValueCompleter::new(completion::users))]
    pub user: String,
    /// Act as an admin for this reason, recorded in the audit log
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
}

/// A user, and the authority to act on them.
#[derive(Debug, Args)]
pub(crate) struct ActOnUser {
    /// Name or uid, or `me` with --as-user
    #[arg(add = ArgValueCompleter::new(completion::users))]
    pub user: String,
    #[command(flatten)]
    pub acting: ActingArgs,
}

/// Authority to act on a user. With neither flag, the rights of the calling account apply.
#[derive(Debug, Args)]
pub(crate) struct ActingArgs {
    /// Log in as the user first and act with their own rights
    #[arg(long, conflicts_with = "reason")]
    pub as_user: bool,
    /// With --as-user: read the password of the login from a file
    #[arg(long, value_name = "FILE", requires = "as_user")]
    pub login_password_file: Option<PathBuf>,
    /// With --as-user: read the password of the login from standard input
    #[arg(long, requires = "as_user", conflicts_with = "login_password_file")]
    pub login_password_stdin: bool,
    /// With --as-user: read the code of the login from a file
    #[arg(long, value_name = "FILE", requires = "as_user")]
    pub login_code_file: Option<PathBuf>,
    /// Act as an admin for this reason, recorded in the audit log
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
}

impl ActingArgs {
    /// Sources of the answers of the login of `--as-user`.
    pub(crate) fn answers(&self) -> Answers {
        Answers {
            recovery: false,
            device: false,
            password: Source::chosen(self.login_password_stdin, self.login_password_file.as_deref()),
            wanted: LOGIN_PASSWORD,
            code: Source::chosen(false, self.login_code_file.as_deref()),
            pin: Source::Prompt,
        }
    }
}

/// Sources of the answers of a login.
pub(crate) struct Answers {
    /// Whether the second factor is a backup code.
    pub recovery: bool,
    /// Whether the second factor is a key plugged into the host; then `code` is not used.
    pub device: bool,
    pub password: Source,
    /// The password, as prompts and messages name it.
    pub wanted: Wanted,
    pub code: Source,
    /// PIN of a security key, if it requires one.
    pub pin: Source,
}

/// Source of a password; with neither flag, the terminal.
#[derive(Debug, Args)]
#[group(multiple = false)]
pub(crate) struct PasswordFrom {
    /// Read the password from a file
    #[arg(long, value_name = "FILE")]
    pub password_file: Option<PathBuf>,
    /// Read the password from standard input
    #[arg(long)]
    pub password_stdin: bool,
}

impl PasswordFrom {
    pub(crate) fn source(&self) -> Source {
        Source::chosen(self.password_stdin, self.password_file.as_deref())
    }
}

/// Source of the PIN of a security key; with neither flag, the terminal.
#[derive(Debug, Args)]
#[group(multiple = false)]
pub(crate) struct PinFrom {
    /// Read the PIN of the security key from a file
    #[arg(long, value_name = "FILE")]
    pub pin_file: Option<PathBuf>,
    /// Read the PIN of the security key from standard input
    #[arg(long)]
    pub pin_stdin: bool,
}

impl PinFrom {
    /// Refuses a PIN source where no security key is asked: a PIN that is silently ignored would look accepted.
    pub(crate) fn check(&self, is_asked: bool) -> Result<(), Failure> {
        if !is_asked && self.source() != Source::Prompt {
            return Err(Failure::Usage("a PIN is accepted only together with --device".to_owned()));
        }
        Ok(())
    }

    pub(crate) fn source(&self) -> Source {
        Source::chosen(self.pin_stdin, self.pin_file.as_deref())
    }
}

/// How a second factor is given; with none of the flags, as a code on the terminal.
#[derive(Debug, Args)]
pub(crate) struct ProofFrom {
    /// Use a backup code
    #[arg(long)]
    pub recovery: bool,
    /// Use the user's hardware key or security key plugged into this host; touch it when it blinks
    #[arg(long, conflicts_with_all = ["recovery", "code_file", "code_stdin"])]
    pub device: bool,
    #[command(flatten)]
    pub pin: PinFrom,
    #[command(flatten)]
    pub code: CodeFrom,
}

/// Source of a code; with neither flag, the terminal.
#[derive(Debug, Args)]
#[group(multiple = false)]
pub(crate) struct CodeFrom {
    /// Read the code from a file
    #[arg(long, value_name = "FILE")]
    pub code_file: Option<PathBuf>,
    /// Read the code from standard input
    #[arg(long)]
    pub code_stdin: bool,
}

impl CodeFrom {
    pub(crate) fn source(&self) -> Source {
        Source::chosen(self.code_stdin, self.code_file.as_deref())
    }
}
