//! The words of the command line: commands, flags and their help. Knows nothing of the daemon.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use crate::args::{ActOnUser, ActingArgs, CodeFrom, PasswordFrom, PinFrom, UserArg};
use crate::device_args::{DeviceCommand, ProvisionCommand, ReceiptCommand};
use crate::help;

const GLOBAL: &str = "Global options";

/// Manage users and their second factors in mfad.
#[derive(Debug, Parser)]
#[command(name = "mfactl", version, after_help = help::MFACTL)]
pub struct Cli {
    /// What every command takes.
    #[command(flatten)]
    pub globals: Globals,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What every command takes.
#[derive(Debug, Args)]
pub struct Globals {
    /// Socket of the daemon
    #[arg(
        long,
        global = true,
        env = "MFAD_SOCKET",
        default_value = "/run/mfad/mfad.sock",
        value_name = "PATH",
        help_heading = "Global options"
    )]
    pub socket: PathBuf,
    /// Print the daemon's answer as one JSON document
    #[arg(long, global = true, help_heading = GLOBAL)]
    pub json: bool,
    /// Print only what was asked for, no remarks
    #[arg(long, short, global = true, help_heading = GLOBAL)]
    pub quiet: bool,
    /// Never ask on the terminal; what is missing is a usage error
    #[arg(long, global = true, help_heading = GLOBAL)]
    pub no_input: bool,
    /// Do not ask for confirmation
    #[arg(long, short, global = true, help_heading = GLOBAL)]
    pub yes: bool,
    /// Colours
    #[arg(long, global = true, value_enum, default_value_t = Colour::Auto, value_name = "WHEN", help_heading = GLOBAL)]
    pub color: Colour,
    /// Show each exchange as a curl line on standard error; secrets become $PASSWORD, $CODE, $TOKEN
    #[arg(long, global = true, help_heading = GLOBAL)]
    pub curl: bool,
}

/// When to use colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Colour {
    /// On a terminal, unless NO_COLOR is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// What can be done.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Users: add, list, show, disable, enable, delete
    #[command(subcommand)]
    User(UserCommand),
    /// Set a user's password
    #[command(
        after_help = help::PASSWD
    )]
    Passwd(PasswdArgs),
    /// Log in as a user: password, then a code if one is needed
    #[command(
        after_help = help::LOGIN
    )]
    Login(LoginArgs),
    /// Set up a second factor: show the QR code, check the first code, print the backup codes
    #[command(
        alias = "enrol",
        after_help = help::ENROLL
    )]
    Enroll(EnrollArgs),
    /// Check one code or backup code of a user, as an application does
    #[command(
        after_help = help::VERIFY
    )]
    Verify(VerifyArgs),
    /// Backup codes: renew
    #[command(subcommand)]
    Codes(CodesCommand),
    /// Secrets of a user: list, rename, delete
    #[command(subcommand)]
    Secret(SecretCommand),
    /// Hardware keys: list, info, accounts, provision, rename, delete, reset, password, return, watch
    #[command(subcommand)]
    Device(DeviceCommand),
    /// Security keys (FIDO2) in this host: enroll, list, delete
    #[command(subcommand)]
    Fido2(Fido2Command),
    /// Many hardware keys: batch
    #[command(subcommand)]
    Provision(ProvisionCommand),
    /// Receipts of programmed keys: verify, keys
    #[command(subcommand)]
    Receipt(ReceiptCommand),
    /// End the locks and delays of a user (admin)
    Unlock(UnlockArgs),
    /// The audit log: tail, verify
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Take over factors from another program by their otpauth URIs (admin)
    #[command(after_help = help::IMPORT)]
    Import(ImportArgs),
    /// The master key: show, rotate (admin)
    #[command(subcommand)]
    Key(KeyCommand),
    /// Copy the store while it is used; mfad restore reads the copy (admin)
    #[command(after_help = help::BACKUP)]
    Backup(BackupArgs),
    /// Look for what is not as it should be on this host, and say what to do
    #[command(after_help = help::DOCTOR)]
    Doctor(DoctorArgs),
    /// Whether the daemon lives and is ready, its version and login methods
    Status,
    /// Print what a shell needs to complete these commands
    #[command(after_help = help::COMPLETIONS)]
    Completions {
        /// Which shell
        shell: Shell,
    },
    /// Write the man pages and the completions of all shells into a directory
    #[command(hide = true)]
    Manual {
        /// The directory
        dir: PathBuf,
    },
}

/// What can be done with users.
#[derive(Debug, Subcommand)]
pub enum UserCommand {
    /// Create a user
    #[command(
        after_help = help::USER_ADD
    )]
    Add(UserAddArgs),
    /// List all users
    List,
    /// Show one user
    Show(ActOnUser),
    /// Keep a user from logging in; ends their sessions
    Disable(UserArg),
    /// Let a disabled user log in again
    Enable(UserArg),
    /// Delete a user with all secrets
    Delete(ActOnUser),
}

/// Arguments of `user add`.
#[derive(Debug, Args)]
pub struct UserAddArgs {
    /// Name, 1 to 64 characters
    pub name: String,
    /// Take this uid instead of a new one
    #[arg(long, value_name = "UUID")]
    pub id: Option<String>,
    /// Name for people
    #[arg(long, value_name = "TEXT")]
    pub display_name: Option<String>,
    /// Mail address; may be used to log in
    #[arg(long, value_name = "ADDRESS")]
    pub email: Option<String>,
    /// Ask for a password
    #[arg(long, conflicts_with_all = ["password_file", "password_stdin"])]
    pub password: bool,
    /// Where the password comes from.
    #[command(flatten)]
    pub password_from: PasswordFrom,
}

/// Arguments of `passwd`.
#[derive(Debug, Args)]
pub struct PasswdArgs {
    /// Who, and by which right.
    #[command(flatten)]
    pub on: ActOnUser,
    /// Where the new password comes from.
    #[command(flatten)]
    pub new: PasswordFrom,
    /// Read the current password from a file
    #[arg(long, value_name = "FILE", conflicts_with_all = ["as_user", "reason"])]
    pub current_file: Option<PathBuf>,
}

/// Arguments of `login`.
#[derive(Debug, Args)]
pub struct LoginArgs {
    /// Name, mail address or uid
    pub user: String,
    /// Answer with a backup code
    #[arg(long)]
    pub recovery: bool,
    /// Answer with the user's hardware key in this host; touch it when it blinks
    #[arg(long, conflicts_with_all = ["recovery", "code_file", "code_stdin"])]
    pub device: bool,
    /// With --device: where the PIN of a security key comes from.
    #[command(flatten)]
    pub pin: PinFrom,
    /// Print the access and refresh tokens; with --quiet the bare access token
    #[arg(long)]
    pub show_token: bool,
    /// Where the password comes from.
    #[command(flatten)]
    pub password: PasswordFrom,
    /// Where the code comes from.
    #[command(flatten)]
    pub code: CodeFrom,
}

/// Arguments of `enroll`.
#[derive(Debug, Args)]
pub struct EnrollArgs {
    /// Who, and by which right.
    #[command(flatten)]
    pub on: ActOnUser,
    /// The secret to make.
    #[command(flatten)]
    pub profile: ProfileArgs,
    /// Create the secret and stop; it stays pending for 15 minutes
    #[arg(long, conflicts_with_all = ["finish", "code_file", "code_stdin"])]
    pub start: bool,
    /// Finish a pending secret with its first code
    #[arg(long, value_name = "SECRET", conflicts_with = "ProfileArgs")]
    pub finish: Option<String>,
    /// With --finish: let the hardware key give the first code; touch it when it blinks
    #[arg(long, requires = "finish", conflicts_with_all = ["code_file", "code_stdin"])]
    pub device: bool,
    /// Where the first code comes from.
    #[command(flatten)]
    pub code: CodeFrom,
}

/// What kind of secret `enroll` makes. What is left out, the daemon decides.
#[derive(Debug, Args)]
pub struct ProfileArgs {
    /// Name of the secret, such as `phone`
    #[arg(long)]
    pub name: Option<String>,
    /// Hash algorithm; many authenticators know only SHA1
    #[arg(long, value_parser = ["SHA1", "SHA256", "SHA512"], ignore_case = true)]
    pub algorithm: Option<String>,
    /// Digits of a code
    #[arg(long, value_parser = clap::value_parser!(u8).range(6..=8))]
    pub digits: Option<u8>,
    /// Seconds a code is shown
    #[arg(long, value_name = "SECONDS", conflicts_with = "hotp")]
    #[arg(value_parser = clap::value_parser!(u16).range(15..=120))]
    pub period: Option<u16>,
    /// Codes by counter instead of time
    #[arg(long)]
    pub hotp: bool,
    /// Issuer shown by the authenticator
    #[arg(long)]
    pub issuer: Option<String>,
    /// Account shown by the authenticator
    #[arg(long)]
    pub account: Option<String>,
}

/// Arguments of `verify`.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// Name or uid
    pub user: String,
    /// Let the user's hardware key in this host give the code; touch it when it blinks
    #[arg(long, conflicts_with_all = ["code_file", "code_stdin"])]
    pub device: bool,
    /// With --device: where the PIN of a security key comes from.
    #[command(flatten)]
    pub pin: PinFrom,
    /// Where the code comes from.
    #[command(flatten)]
    pub code: CodeFrom,
}

/// What can be done with backup codes.
#[derive(Debug, Subcommand)]
pub enum CodesCommand {
    /// Make new backup codes; the old ones end
    Renew(ActOnUser),
}

/// What can be done with secrets.
#[derive(Debug, Subcommand)]
pub enum SecretCommand {
    /// List a user's secrets; values are never shown
    List(ActOnUser),
    /// Give a secret another name
    #[command(after_help = help::SECRET_RENAME)]
    Rename {
        /// Who, and by which right.
        #[command(flatten)]
        on: ActOnUser,
        /// Uid or present name of the secret
        secret: String,
        /// New name
        name: String,
    },
    /// Delete a secret
    Delete {
        /// Who, and by which right.
        #[command(flatten)]
        on: ActOnUser,
        /// Uid or name of the secret
        secret: String,
    },
}

/// What can be done with security keys.
#[derive(Debug, Subcommand)]
pub enum Fido2Command {
    /// Register the security key that is plugged in as a second factor; touch it when it blinks
    #[command(after_help = help::FIDO2_ENROLL)]
    Enroll(Fido2EnrollArgs),
    /// List the security keys that are plugged in, or those of a user
    #[command(after_help = help::FIDO2_LIST)]
    List {
        /// Name or uid of the user whose registered keys are listed, or `me` with --as-user
        user: Option<String>,
        /// By which right.
        #[command(flatten)]
        acting: ActingArgs,
    },
    /// Delete a security key of a user; on the key itself nothing changes
    Delete {
        /// Who, and by which right.
        #[command(flatten)]
        on: ActOnUser,
        /// Uid or name of the security key
        secret: String,
    },
}

/// Arguments of `fido2 enroll`.
#[derive(Debug, Args)]
pub struct Fido2EnrollArgs {
    /// Who, and by which right.
    #[command(flatten)]
    pub on: ActOnUser,
    /// Name of the key, such as `blue key`
    #[arg(long)]
    pub name: Option<String>,
    /// Whether the key has to know who touches it, by a PIN or a fingerprint [default: preferred]
    #[arg(long, value_parser = ["required", "preferred", "discouraged"], value_name = "WHEN")]
    pub uv: Option<String>,
    /// Where the PIN comes from.
    #[command(flatten)]
    pub pin: PinFrom,
}

/// Arguments of `unlock`.
#[derive(Debug, Args)]
pub struct UnlockArgs {
    /// Name or uid
    pub user: String,
    /// Why, for the audit log
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
}

/// Arguments of `import`.
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// A file with one otpauth URI a line; standard input if absent or `-`
    pub file: Option<PathBuf>,
    /// Whose it is, instead of the account in the URI
    #[arg(long)]
    pub user: Option<String>,
    /// Name of the secret, such as `phone`
    #[arg(long)]
    pub name: Option<String>,
    /// Leave it pending for 15 minutes instead of asking for a code
    #[arg(long, conflicts_with_all = ["code_file", "code_stdin"])]
    pub pending: bool,
    /// Why, for the audit log
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
    /// Where the code comes from.
    #[command(flatten)]
    pub code: CodeFrom,
}

/// What can be done with the master key.
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Show where the master key is kept and how far a change of it is
    Show,
    /// Seal everything under a new master key, without a stop; goes on with a change that was interrupted
    #[command(after_help = help::KEY_ROTATE)]
    Rotate(RotateArgs),
}

/// Arguments of `key rotate`.
#[derive(Debug, Args)]
pub struct RotateArgs {
    /// Write the new key to this file as it is, instead of encrypting it to this host with systemd-creds
    #[arg(long, value_name = "FILE")]
    pub to: Option<PathBuf>,
    /// Why, for the audit log
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
}

/// Arguments of `backup`.
#[derive(Debug, Args)]
pub struct BackupArgs {
    /// Where the copy goes, complete or not there; `-` is standard output
    pub file: PathBuf,
    /// Replace a file that is there
    #[arg(long)]
    pub force: bool,
    /// Why, for the audit log
    #[arg(long, value_name = "TEXT", default_value = "backup")]
    pub reason: String,
}

/// Arguments of `doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// The daemon's state directory
    #[arg(long, value_name = "DIR", env = "MFAD_STATE_DIR", default_value = "/var/lib/mfad")]
    pub state_dir: PathBuf,
}

/// What can be done with the audit log.
#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// Show the newest events
    #[command(
        after_help = help::AUDIT_TAIL
    )]
    Tail {
        /// How many
        #[arg(short = 'n', long = "lines", default_value_t = 10, value_name = "N")]
        lines: u32,
        /// Go on with new events as they come
        #[arg(long, short)]
        follow: bool,
    },
    /// Recompute the hash chain of the whole log
    #[command(after_help = help::AUDIT_VERIFY)]
    Verify,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_password_is_never_an_argument() {
        assert!(Cli::try_parse_from(["mfactl", "user", "add", "ann", "--password", "hunter2"]).is_err());
        assert!(Cli::try_parse_from(["mfactl", "login", "ann", "--code-stdin=123456"]).is_err());
    }

    #[test]
    fn one_source_and_one_right_at_most() {
        for refused in [
            &["mfactl", "passwd", "ann", "--as-user", "--reason", "x"][..],
            &["mfactl", "user", "add", "ann", "--password", "--password-stdin"],
            &["mfactl", "verify", "ann", "--code-stdin", "--code-file", "f"],
            &["mfactl", "enroll", "ann", "--hotp", "--period", "30"],
            &["mfactl", "enroll", "ann", "--start", "--finish", "x"],
            &["mfactl", "enroll", "ann", "--finish", "x", "--digits", "8"],
            &["mfactl", "enroll", "ann", "--device"],
            &["mfactl", "verify", "ann", "--device", "--code-stdin"],
            &["mfactl", "login", "ann", "--device", "--recovery"],
            &["mfactl", "fido2", "enroll", "ann", "--pin-stdin", "--pin-file", "f"],
            &["mfactl", "fido2", "enroll", "ann", "--uv", "perhaps"],
        ] {
            assert!(Cli::try_parse_from(refused).is_err(), "{refused:?}");
        }
    }
}
