//! The flags of `import`.

use std::path::PathBuf;

use clap::Args;
use clap::builder::PossibleValuesParser;
use mfad_import::Format;

use crate::args::CodeFrom;

#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// Files that other programs exported, or with one otpauth URI per line; standard input if absent or `-`
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Show what would be taken over, and what would be refused and why, without changing anything
    #[arg(long, conflicts_with_all = ["trusted", "pending", "code_file", "code_stdin"])]
    pub dry_run: bool,
    /// Take the factors over at once, since their users have proved them elsewhere
    #[arg(long, conflicts_with_all = ["at_login", "pending", "code_file", "code_stdin", "name"])]
    pub trusted: bool,
    /// Let each user prove the factor with a first code, at the next login or verify
    #[arg(long, conflicts_with_all = ["pending", "code_file", "code_stdin", "name"])]
    pub at_login: bool,
    /// Create users that do not exist, without a password
    #[arg(long, conflicts_with_all = ["pending", "code_file", "code_stdin", "name"])]
    pub create_users: bool,
    /// Take factors with a secret of 80 to 127 bits too, and mark them as weak
    #[arg(long, conflicts_with_all = ["pending", "code_file", "code_stdin", "name"])]
    pub accept_weak: bool,
    /// Write what became of each entry to this file, as a JSON document in each line, without secrets
    #[arg(long, value_name = "FILE", conflicts_with_all = ["dry_run", "pending", "code_file", "code_stdin", "name"])]
    pub report: Option<PathBuf>,
    /// Format of the files, instead of the one that their content shows
    #[arg(long, value_name = "FORMAT", value_parser = PossibleValuesParser::new(Format::ALL.map(Format::name)), hide_possible_values = true)]
    pub format: Option<String>,
    /// Key of an encrypted file (PSKC, privacyIDEA), as bytes or hexadecimal digits
    #[arg(long, value_name = "FILE")]
    pub key_file: Option<PathBuf>,
    /// User who gets the factor, instead of the account named in the file
    #[arg(long)]
    pub user: Option<String>,
    /// CSV file with an account of the files and a user in each line; other accounts are users of the same name
    #[arg(long, value_name = "FILE", conflicts_with = "user")]
    pub map: Option<PathBuf>,
    /// Read the password of an encrypted file from this file, instead of asking for it
    #[arg(long, value_name = "FILE")]
    pub password_file: Option<PathBuf>,
    /// Name of the secret, such as `phone`
    #[arg(long)]
    pub name: Option<String>,
    /// Leave the factor pending for 15 minutes instead of asking for a code
    #[arg(long, conflicts_with_all = ["code_file", "code_stdin"])]
    pub pending: bool,
    /// Reason, recorded in the audit log
    #[arg(
        long,
        value_name = "TEXT",
        required_unless_present = "dry_run",
        default_value = "",
        hide_default_value = true
    )]
    pub reason: String,
    #[command(flatten)]
    pub code: CodeFrom,
}

impl ImportArgs {
    /// Whether the factors are taken over by a plan, instead of one by one with a code.
    pub(crate) fn is_job(&self) -> bool {
        let has_list = self.map.is_some() || self.report.is_some();
        self.dry_run || self.trusted || self.at_login || self.create_users || self.accept_weak || has_list
    }
}
