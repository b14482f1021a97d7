//! The command line: commands, flags and their help texts. `--help` and the man pages print the doc comments of the
//! commands and flags in this file. It must not know how a command is carried out, nor anything about the daemon.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use clap_complete::engine::ArgValueCompleter;

use crate::args::{ActOnUser, ActingArgs, CodeFrom, PasswordFrom, PinFrom, ProofFrom};
use crate::audit_args::AuditCommand;
use crate::completion;
use crate::device_args::{DeviceCommand, ProvisionCommand, ReceiptCommand};
use crate::device_args::{SecurityKeySetup, key_id};
use crate::export_args::ExportArgs;
use crate::format::Format;
use crate::help;
use crate::import_args::ImportArgs;
use crate::pam_args::PamCommand;
use crate::session_args::{LogoutArgs, StepUpArgs, WhoamiArgs};
use crate::socket::socket;
use crate::user_args::UserCommand;
use mfad_core::model::KeyId;

impl Globals {
    /// The socket of the flag, of the variable `MFAD_SOCKET`, or of the package. An empty path counts for nothing.
    pub(crate) fn socket(&self) -> PathBuf {
        socket(self.socket.clone())
    }
}

/// Heading of the flags that every command accepts.
const GLOBAL: &str = "Global options";

/// Manage the users of mfad and their second factors
#[derive(Debug, Parser)]
#[command(name = "mfactl", version, after_help = help::MFACTL, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub globals: Globals,
    #[command(subcommand)]
    pub command: Command,
}

/// Flags that every command accepts, before or after its name.
#[derive(Debug, Args)]
pub(crate) struct Globals {
    /// Path of the daemon's socket [env: MFAD_SOCKET] [default: /run/mfad/mfad.sock]
    // Without clap's `env`: it takes a variable for an argument, and then shows no help where there is no other, and a
    // usage as if the flag were needed.
    #[arg(long, global = true, value_name = "PATH", help_heading = GLOBAL)]
    socket: Option<PathBuf>,
    /// Print the daemon's response as one JSON document; the same as `--output json`
    #[arg(long, global = true, help_heading = GLOBAL)]
    pub json: bool,
    /// How to print lists
    #[arg(
        long,
        short,
        global = true,
        value_enum,
        default_value_t = Format::Table,
        conflicts_with = "json",
        value_name = "FORMAT",
        help_heading = GLOBAL
    )]
    pub output: Format,
    /// Print lists without the names of the columns
    #[arg(long, global = true, help_heading = GLOBAL)]
    pub no_headers: bool,
    /// Do not show long lists in a pager
    #[arg(long, global = true, help_heading = GLOBAL)]
    pub no_pager: bool,
    /// Print only the requested data, no notes
    #[arg(long, short, global = true, help_heading = GLOBAL)]
    pub quiet: bool,
    /// Never prompt; missing input is a usage error
    #[arg(long, global = true, help_heading = GLOBAL)]
    pub no_input: bool,
    /// Do not ask for confirmation
    #[arg(long, short, global = true, help_heading = GLOBAL)]
    pub yes: bool,
    /// When to use colours
    #[arg(long, global = true, value_enum, default_value_t = Colour::Auto, value_name = "WHEN", help_heading = GLOBAL)]
    pub color: Colour,
    /// Print each request as a curl command on standard error; secrets appear as $PASSWORD, $CODE, $TOKEN
    #[arg(long, global = true, help_heading = GLOBAL)]
    pub curl: bool,
}

/// When to use colours. The doc comments of the variants are part of the help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Colour {
    /// On a terminal, unless NO_COLOR is set or TERM is dumb
    Auto,
    /// Even if the output is not a terminal
    Always,
    /// Plain text only
    Never,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Manage users: add, list, show, set, disable, enable, delete
    #[command(subcommand)]
    User(UserCommand),
    /// Set a user's password
    #[command(
        after_help = help::PASSWD
    )]
    Passwd(PasswdArgs),
    /// Log in as a user: password, then a code if one is required
    #[command(
        after_help = help::LOGIN
    )]
    Login(LoginArgs),
    /// Enrol a second factor: show the QR code, verify the first code, print the backup codes
    #[command(
        alias = "enrol",
        after_help = help::ENROLL
    )]
    Enroll(EnrollArgs),
    /// Show the rights of the calling account, or whose token this is
    #[command(after_help = help::WHOAMI)]
    Whoami(WhoamiArgs),
    /// Confirm one action with a second factor, and print the receipt
    #[command(after_help = help::STEP_UP)]
    StepUp(StepUpArgs),
    /// End the session of an access token
    #[command(after_help = help::LOGOUT)]
    Logout(LogoutArgs),
    /// Verify a code or backup code of a user, as an application does
    #[command(
        after_help = help::VERIFY
    )]
    Verify(VerifyArgs),
    /// Manage backup codes: renew
    #[command(subcommand)]
    Codes(CodesCommand),
    /// Manage the secrets of a user: list, rename, delete
    #[command(subcommand, after_help = help::SECRET)]
    Secret(SecretCommand),
    /// Manage hardware keys: list, info, attest, accounts, provision, rename, delete, reset, password, return, watch
    #[command(subcommand)]
    Device(DeviceCommand),
    /// Manage security keys (FIDO2) on this host: enroll, list, delete
    #[command(subcommand)]
    Fido2(Fido2Command),
    /// Program hardware keys for many users: batch
    #[command(subcommand)]
    Provision(ProvisionCommand),
    /// Verify receipts of programmed hardware keys: verify, keys
    #[command(subcommand)]
    Receipt(ReceiptCommand),
    /// Clear the locks and delays of a user (admin)
    Unlock(UnlockArgs),
    /// Read the audit log: tail, verify
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Import factors of other programs, or users of another daemon (admin)
    #[command(after_help = help::IMPORT)]
    Import(ImportArgs),
    /// Export users and their factors, encrypted to an age recipient (admin)
    #[command(after_help = help::EXPORT)]
    Export(ExportArgs),
    /// Manage the master key: show, rotate (admin)
    // `key` is the former name. It stays for one release, so that scripts keep working.
    #[command(subcommand, alias = "key", after_help = help::MASTER_KEY)]
    MasterKey(MasterKeyCommand),
    /// Back up the store while the daemon runs; `mfad restore` restores it (admin)
    #[command(after_help = help::BACKUP)]
    Backup(BackupArgs),
    /// Require second factors in ssh, sudo and other PAM services
    #[command(subcommand)]
    Pam(PamCommand),
    /// Find problems on this host and suggest how to fix them
    #[command(after_help = help::DOCTOR)]
    Doctor(DoctorArgs),
    /// Show whether the daemon is live and ready, its version and its login methods
    Status,
    /// Print the completion script for a shell
    #[command(after_help = help::COMPLETIONS)]
    Completions {
        /// Shell to print the script for
        shell: Shell,
    },
    /// Write the man pages and the completion scripts of all shells to a directory
    #[command(hide = true)]
    Manual {
        /// Directory to write to; it is created if missing
        dir: PathBuf,
    },
}

#[derive(Debug, Args)]
pub(crate) struct PasswdArgs {
    #[command(flatten)]
    pub on: ActOnUser,
    #[command(flatten)]
    pub new: PasswordFrom,
    /// Read the current password from a file
    #[arg(long, value_name = "FILE", conflicts_with_all = ["as_user", "reason"])]
    pub current_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct LoginArgs {
    /// Name, email address or uid
    #[arg(add = ArgValueCompleter::new(completion::users))]
    pub user: String,
    #[command(flatten)]
    pub proof: ProofFrom,
    /// Print the access and refresh tokens; with --quiet, only the access token
    #[arg(long)]
    pub show_token: bool,
    #[command(flatten)]
    pub password: PasswordFrom,
}

#[derive(Debug, Args)]
pub(crate) struct EnrollArgs {
    #[command(flatten)]
    pub on: ActOnUser,
    #[command(flatten)]
    pub profile: ProfileArgs,
    /// Only create the secret; it stays pending for 15 minutes
    #[arg(long, conflicts_with_all = ["finish", "code_file", "code_stdin"])]
    pub start: bool,
    /// Activate a pending secret with its first code
    #[arg(long, value_name = "SECRET", conflicts_with = "ProfileArgs")]
    pub finish: Option<String>,
    /// With --finish: have the hardware key compute the first code; touch it when it blinks
    #[arg(long, requires = "finish", conflicts_with_all = ["code_file", "code_stdin"])]
    pub device: bool,
    #[command(flatten)]
    pub code: CodeFrom,
}

/// Parameters of the secret that `enroll` creates. The daemon chooses those that are not given.
#[derive(Debug, Args)]
pub(crate) struct ProfileArgs {
    /// Name of the secret, such as `phone`
    #[arg(long)]
    pub name: Option<String>,
    /// Hash algorithm; many authenticator apps support only SHA1
    #[arg(long, value_parser = ["SHA1", "SHA256", "SHA512"], ignore_case = true)]
    pub algorithm: Option<String>,
    /// Number of digits per code: 6 to 8
    #[arg(long, value_parser = clap::value_parser!(u8).range(6..=8))]
    pub digits: Option<u8>,
    /// Seconds per time step of a TOTP code: 15 to 120
    #[arg(long, value_name = "SECONDS", conflicts_with = "hotp")]
    #[arg(value_parser = clap::value_parser!(u16).range(15..=120))]
    pub period: Option<u16>,
    /// Use counter-based codes (HOTP) instead of time-based codes (TOTP)
    #[arg(long)]
    pub hotp: bool,
    /// Issuer name shown in the authenticator app
    #[arg(long)]
    pub issuer: Option<String>,
    /// Account name shown in the authenticator app
    #[arg(long)]
    pub account: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// Name or uid
    #[arg(add = ArgValueCompleter::new(completion::users))]
    pub user: String,
    /// Use the user's hardware key or security key plugged into this host; touch it when it blinks
    #[arg(long, conflicts_with_all = ["code_file", "code_stdin"])]
    pub device: bool,
    #[command(flatten)]
    pub pin: PinFrom,
    #[command(flatten)]
    pub code: CodeFrom,
}

#[derive(Debug, Subcommand)]
pub(crate) enum CodesCommand {
    /// Create new backup codes and revoke the old ones
    Renew(ActOnUser),
}

#[derive(Debug, Subcommand)]
pub(crate) enum SecretCommand {
    /// List the secrets of a user; values are never shown
    #[command(alias = "ls")]
    List(ActOnUser),
    /// Rename a secret
    #[command(after_help = help::SECRET_RENAME)]
    Rename {
        #[command(flatten)]
        on: ActOnUser,
        /// Uid or current name of the secret
        #[arg(add = ArgValueCompleter::new(completion::secrets))]
        secret: String,
        /// New name
        name: String,
    },
    /// Delete a secret
    #[command(alias = "rm")]
    Delete {
        #[command(flatten)]
        on: ActOnUser,
        /// Uid or name of the secret
        #[arg(add = ArgValueCompleter::new(completion::secrets))]
        secret: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Fido2Command {
    /// Register the plugged-in security key as a second factor; touch it when it blinks
    #[command(after_help = help::FIDO2_ENROLL)]
    Enroll(Fido2EnrollArgs),
    /// List the security keys that are plugged in, or those registered for a user
    #[command(alias = "ls", after_help = help::FIDO2_LIST)]
    List {
        /// Name or uid of a user, or `me` with --as-user: list their registered security keys
        #[arg(add = ArgValueCompleter::new(completion::users))]
        user: Option<String>,
        #[command(flatten)]
        acting: ActingArgs,
    },
    /// Delete a registered security key of a user; nothing changes on the security key itself
    #[command(alias = "rm")]
    Delete {
        #[command(flatten)]
        on: ActOnUser,
        /// Uid or name of the security key
        #[arg(add = ArgValueCompleter::new(completion::secrets))]
        secret: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Fido2EnrollArgs {
    #[command(flatten)]
    pub on: ActOnUser,
    /// Name of the security key, such as `blue key`
    #[arg(long)]
    pub name: Option<String>,
    /// Whether the security key must verify its user by PIN or fingerprint [default: preferred]
    #[arg(long, value_parser = ["required", "preferred", "discouraged"], value_name = "WHEN")]
    pub uv: Option<String>,
    #[command(flatten)]
    pub pin: PinFrom,
    /// The hardware key whose FIDO2 side is meant, as mfactl device list shows it
    #[arg(long, value_name = "ID", value_parser = key_id)]
    pub key: Option<KeyId>,
    /// Set the PIN on a security key that has none
    #[arg(long)]
    pub set_pin: bool,
    #[command(flatten)]
    pub setup: SecurityKeySetup,
}

#[derive(Debug, Args)]
pub(crate) struct UnlockArgs {
    /// Name or uid
    #[arg(add = ArgValueCompleter::new(completion::users))]
    pub user: String,
    /// Reason, recorded in the audit log
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
}

#[derive(Debug, Subcommand)]
pub(crate) enum MasterKeyCommand {
    /// Show where the master key is kept and the progress of a rotation
    Show,
    /// Re-encrypt everything under a new master key while the daemon runs; resumes an interrupted rotation
    #[command(after_help = help::MASTER_KEY_ROTATE)]
    Rotate(RotateArgs),
}

#[derive(Debug, Args)]
pub(crate) struct RotateArgs {
    /// Write the new master key to this file unencrypted, instead of encrypting it to this host with systemd-creds
    #[arg(long, value_name = "FILE")]
    pub to: Option<PathBuf>,
    /// Reason, recorded in the audit log
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
}

#[derive(Debug, Args)]
pub(crate) struct BackupArgs {
    /// Backup file, written completely or not at all; `-` is standard output
    pub file: PathBuf,
    /// Replace an existing file
    #[arg(long)]
    pub force: bool,
    /// Reason, recorded in the audit log
    #[arg(long, value_name = "TEXT", default_value = "backup")]
    pub reason: String,
}

#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// State directory of the daemon; by default the one that the daemon names [env: MFAD_STATE_DIR]
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// Fail on warnings too
    #[arg(long)]
    pub strict: bool,
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
    fn the_help_fits_a_terminal_of_80_columns() {
        fn check(command: &clap::Command) {
            let texts = [command.get_after_help(), command.get_long_about()];
            for line in texts
                .into_iter()
                .flatten()
                .map(ToString::to_string)
                .flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>())
            {
                assert!(line.chars().count() <= 80, "{}: {line}", command.get_name());
            }
            command.get_subcommands().for_each(check);
        }

        check(&Cli::command());
    }

    #[test]
    fn a_password_is_never_an_argument() {
        assert!(Cli::try_parse_from(["mfactl", "user", "add", "ann", "--password", "hunter2"]).is_err());
        assert!(Cli::try_parse_from(["mfactl", "login", "ann", "--code-stdin=123456"]).is_err());
    }

    #[test]
    fn the_old_name_of_master_key_still_works() {
        for name in ["master-key", "key"] {
            let cli = Cli::try_parse_from(["mfactl", name, "rotate", "--reason", "yearly"]).unwrap();
            assert!(matches!(cli.command, Command::MasterKey(MasterKeyCommand::Rotate(_))), "{name}");
        }
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
