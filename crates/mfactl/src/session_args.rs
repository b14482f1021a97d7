//! The flags of `whoami`, `step-up` and `logout`.

use std::path::PathBuf;

use clap::Args;

use crate::args::ProofFrom;
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
    #[command(flatten)]
    pub proof: ProofFrom,
    /// Print the fresh access token as well
    #[arg(long)]
    pub show_token: bool,
}

#[derive(Debug, Args)]
pub(crate) struct LogoutArgs {
    #[command(flatten)]
    pub token: TokenFrom,
}
