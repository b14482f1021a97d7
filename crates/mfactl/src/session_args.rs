//! The flags of `whoami`, `step-up` and `logout`.

use std::path::PathBuf;

use clap::Args;

use crate::args::{CodeFrom, PinFrom};
use crate::prompt::Source;

/// Source of an access token.
#[derive(Debug, Args)]
#[group(multiple = false)]
pub(crate) struct TokenFrom {
    /// Read the access token from a file
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Read the access token from standard input
    #[arg(long)]
    pub token_stdin: bool,
}

impl TokenFrom {
    /// The source that the flags name, if they name one.
    pub(crate) fn source(&self) -> Option<Source> {
        let is_named = self.token_stdin || self.token_file.is_some();
        is_named.then(|| Source::chosen(self.token_stdin, self.token_file.as_deref()))
    }
}

#[derive(Debug, Args)]
pub(crate) struct WhoamiArgs {
    #[command(flatten)]
    pub token: TokenFrom,
}

#[derive(Debug, Args)]
pub(crate) struct StepUpArgs {
    /// The action to confirm, such as `pay 100 EUR to Bob`
    pub action: String,
    #[command(flatten)]
    pub token: TokenFrom,
    /// Use a backup code
    #[arg(long)]
    pub recovery: bool,
    /// Use the user's hardware key or security key plugged into this host; touch it when it blinks
    #[arg(long, conflicts_with_all = ["recovery", "code_file", "code_stdin"])]
    pub device: bool,
    #[command(flatten)]
    pub pin: PinFrom,
    /// Print the fresh access token as well
    #[arg(long)]
    pub show_token: bool,
    #[command(flatten)]
    pub code: CodeFrom,
}

#[derive(Debug, Args)]
pub(crate) struct LogoutArgs {
    #[command(flatten)]
    pub token: TokenFrom,
}
