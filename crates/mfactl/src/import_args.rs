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
    #[arg(long, conflicts_with_all = ["pending", "code_file", "code_stdin", "name"])]
    pub trusted: bool,
    /// With --trusted: create users that do not exist, without a password
    #[arg(long, requires = "trusted")]
    pub create_users: bool,
    /// Format of the files, instead of the one that their content shows
    #[arg(long, value_name = "FORMAT", value_parser = PossibleValuesParser::new(Format::ALL.map(Format::name)), hide_possible_values = true)]
    pub format: Option<String>,
    /// Key of an encrypted PSKC file, as bytes or hexadecimal digits
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
