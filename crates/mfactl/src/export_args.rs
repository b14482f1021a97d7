//! The flags of `export`.

use std::path::PathBuf;

use clap::Args;
use clap::builder::PossibleValuesParser;

use crate::args::{ActingArgs, Answers};

#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// File for the export, written completely or not at all; `-` is standard output
    pub file: PathBuf,
    /// Age recipient (age1…), who alone can decrypt the export
    #[arg(long, value_name = "RECIPIENT")]
    pub to: String,
    /// Form of the plaintext: mfad (everything), otpauth or pskc
    #[arg(long, value_name = "FORMAT", default_value = "mfad", value_parser = PossibleValuesParser::new(["mfad", "otpauth", "pskc"]), hide_possible_values = true)]
    pub format: String,
    /// Include the seeds of factors on hardware keys
    #[arg(long, conflicts_with = "own")]
    pub hardware: bool,
    /// Export only the factors of this user, who logs in first
    #[arg(long = "self", value_name = "USER", conflicts_with_all = ["admin", "approval_file", "reason"])]
    pub own: Option<String>,
    /// Log in as this admin first; root needs no login
    #[arg(long, value_name = "USER")]
    pub admin: Option<String>,
    /// With --admin or --self: read the password of the login from a file
    #[arg(long, value_name = "FILE")]
    pub login_password_file: Option<PathBuf>,
    /// With --admin or --self: read the code of the login from a file
    #[arg(long, value_name = "FILE")]
    pub login_code_file: Option<PathBuf>,
    /// File with the receipt of another admin, who confirmed this export
    #[arg(long, value_name = "FILE")]
    pub approval_file: Option<PathBuf>,
    /// Replace an existing file
    #[arg(long)]
    pub force: bool,
    /// Reason, recorded in the audit log
    #[arg(long, value_name = "TEXT", required_unless_present = "own", default_value = "", hide_default_value = true)]
    pub reason: String,
}

impl ExportArgs {
    /// The sources of the answers of the login of `--admin`.
    pub(crate) fn answers(&self) -> Answers {
        let acting = ActingArgs {
            as_user: true,
            login_password_file: self.login_password_file.clone(),
            login_password_stdin: false,
            login_code_file: self.login_code_file.clone(),
            reason: None,
        };
        acting.answers()
    }
}
