//! The words of the commands for hardware keys. Flags are named as Yubico's `ykman oath` has them, where
//! they mean the same.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::args::{ActOnUser, PasswordFrom};
use crate::call::Body;
use crate::help;

/// What can be done with hardware keys.
#[derive(Debug, Subcommand)]
pub enum DeviceCommand {
    /// List the keys that are plugged in
    #[command(after_help = help::DEVICE_LIST)]
    List,
    /// Show one key and the factors on it
    #[command(alias = "show", after_help = help::DEVICE_INFO)]
    Info(KeyArg),
    /// Check that a key is genuine, by its maker's certificates
    #[command(after_help = help::DEVICE_ATTEST)]
    Attest {
        /// Which key.
        #[command(flatten)]
        on: KeyArg,
        /// PIV slot whose key is attested: 9a, 9c, 9d, 9e, 82 to 95 [default: the daemon's, which is 9e]
        #[arg(long, value_name = "SLOT")]
        slot: Option<String>,
    },
    /// List the OATH accounts on a key, also those of other programs
    #[command(after_help = help::DEVICE_ACCOUNTS)]
    Accounts(KeyArg),
    /// Put a factor of a user onto a key
    #[command(after_help = help::DEVICE_PROVISION)]
    Provision(Box<ProvisionArgs>),
    /// Give an account on a key another name
    #[command(after_help = help::DEVICE_RENAME)]
    Rename {
        /// Which key, and why.
        #[command(flatten)]
        on: ChangeKey,
        /// Present name, as `device accounts` shows it
        name: String,
        /// New name
        new: String,
    },
    /// Delete an account that belongs to no factor from a key
    #[command(after_help = help::DEVICE_DELETE)]
    Delete {
        /// Which key, and why.
        #[command(flatten)]
        on: ChangeKey,
        /// Name, as `device accounts` shows it
        name: String,
        /// Do not ask for confirmation
        #[arg(long, short)]
        force: bool,
    },
    /// Erase the OATH application of a key: all accounts and its password
    #[command(after_help = help::DEVICE_RESET)]
    Reset {
        /// Which key, and why.
        #[command(flatten)]
        on: ChangeKey,
        /// Do not ask for confirmation
        #[arg(long, short)]
        force: bool,
    },
    /// Change the password of a key's OATH application
    #[command(after_help = help::DEVICE_PASSWORD)]
    Password(DevicePasswordArgs),
    /// Take a key back: prove it, erase its factors, revoke them
    #[command(after_help = help::DEVICE_RETURN)]
    Return(ChangeKey),
    /// Show keys as they come and go
    #[command(after_help = help::DEVICE_WATCH)]
    Watch,
}

/// A key.
#[derive(Debug, Args)]
pub struct KeyArg {
    /// Number printed on the key
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    pub serial: u32,
}

/// A key that is to be changed.
#[derive(Debug, Args)]
pub struct ChangeKey {
    /// Number printed on the key
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    pub serial: u32,
    /// Why, for the audit log
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
}

/// Arguments of `device password`.
#[derive(Debug, Args)]
pub struct DevicePasswordArgs {
    /// Which key, and why.
    #[command(flatten)]
    pub on: ChangeKey,
    /// What to do.
    #[command(flatten)]
    pub deed: PasswordDeed,
    /// Where the new password comes from.
    #[command(flatten)]
    pub new: PasswordFrom,
    /// Read the current password of the key from a file; not needed if the daemon knows it
    #[arg(long, value_name = "FILE")]
    pub current_file: Option<PathBuf>,
}

/// What to do with a key's password. Without any: change it.
#[derive(Debug, Args)]
#[group(multiple = false)]
pub struct PasswordDeed {
    /// Give the daemon the password that the key has
    #[arg(long, conflicts_with_all = ["password_file", "password_stdin"])]
    pub learn: bool,
    /// Set a new password (the default)
    #[arg(long)]
    pub change: bool,
    /// Set a random password that only the daemon knows, and the escrow if there is one
    #[arg(long, conflicts_with_all = ["password_file", "password_stdin"])]
    pub random: bool,
    /// Have no password any more
    #[arg(long, conflicts_with_all = ["password_file", "password_stdin"])]
    pub remove: bool,
}

/// Arguments of `device provision`.
#[derive(Debug, Args)]
pub struct ProvisionArgs {
    /// Who, and by which right.
    #[command(flatten)]
    pub on: ActOnUser,
    /// Number printed on the key; without it the only key that is plugged in
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub serial: Option<u32>,
    /// Name of the factor, such as `blue key`
    #[arg(long, value_name = "LABEL")]
    pub name: Option<String>,
    /// Require a touch of the key for each code
    #[arg(long, short)]
    pub touch: bool,
    /// The factor to make.
    #[command(flatten)]
    pub profile: KeyProfileArgs,
    /// Account shown by the authenticator
    #[arg(long)]
    pub account: Option<String>,
    /// Overwrite an account of the same name on the key; not with --as-user
    #[arg(long, short)]
    pub force: bool,
    /// Give the key a random password, if it has none; not with --as-user
    #[arg(long)]
    pub protect: bool,
    /// Stay pending until the user gives a code, instead of letting the key give the first one
    #[arg(long)]
    pub pending: bool,
    /// Make this key the spare of a pending factor on another key; both become active together
    #[arg(long, value_name = "SECRET")]
    pub spare_of: Option<String>,
    /// Write the receipt to a new file
    #[arg(long, value_name = "FILE")]
    pub receipt: Option<PathBuf>,
}

/// What kind of factor is put onto a key. What is left out, the daemon decides.
#[derive(Clone, Debug, Args)]
pub struct KeyProfileArgs {
    /// Codes by time or by counter
    #[arg(long, short = 'o', value_name = "TYPE", value_parser = ["TOTP", "HOTP"], ignore_case = true)]
    pub oath_type: Option<String>,
    /// Digits of a code
    #[arg(long, short, value_parser = clap::value_parser!(u8).range(6..=8))]
    pub digits: Option<u8>,
    /// Hash algorithm
    #[arg(long, short, value_parser = ["SHA1", "SHA256", "SHA512"], ignore_case = true)]
    pub algorithm: Option<String>,
    /// Seconds a code is shown (TOTP only)
    #[arg(long, short = 'P', value_name = "SECONDS", value_parser = clap::value_parser!(u16).range(15..=120))]
    pub period: Option<u16>,
    /// Issuer shown by the authenticator
    #[arg(long, short)]
    pub issuer: Option<String>,
}

impl KeyProfileArgs {
    /// Adds the members of a request that say it.
    pub fn add_to(&self, body: Body) -> Body {
        body.optional("kind", self.oath_type.as_deref().map(str::to_ascii_lowercase))
            .optional("digits", self.digits)
            .optional("algorithm", self.algorithm.as_deref().map(str::to_ascii_uppercase))
            .optional("period", self.period)
            .optional("issuer", self.issuer.as_deref())
    }
}

/// What can be done with many keys.
#[derive(Debug, Subcommand)]
pub enum ProvisionCommand {
    /// Put factors onto one key after the other, for the users of a manifest
    #[command(after_help = help::PROVISION_BATCH)]
    Batch(Box<BatchArgs>),
}

/// Arguments of `provision batch`.
#[derive(Debug, Args)]
pub struct BatchArgs {
    /// CSV file with the columns user, label, touch; the last two may be missing
    #[arg(value_name = "MANIFEST.csv")]
    pub manifest: PathBuf,
    /// File of results, also of an earlier run that is gone on with [default: the manifest's name with .results.csv]
    #[arg(long, value_name = "FILE")]
    pub results: Option<PathBuf>,
    /// Let the factors stay pending until the users give a code
    #[arg(long)]
    pub pending: bool,
    /// Two keys for each user
    #[arg(long)]
    pub spare: bool,
    /// The factors to make.
    #[command(flatten)]
    pub profile: KeyProfileArgs,
    /// Give each key a random password, if it has none
    #[arg(long)]
    pub protect: bool,
    /// Write the receipts into this directory, one file a key
    #[arg(long, value_name = "DIR")]
    pub receipts: Option<PathBuf>,
    /// Write backup codes into this directory, one file a user; otherwise nobody gets to see them
    #[arg(long, value_name = "DIR")]
    pub codes: Option<PathBuf>,
    /// Act as an admin, for this reason; it goes into the audit log
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// End when no fresh key is plugged in, instead of waiting for the next one
    #[arg(long)]
    pub no_wait: bool,
}

/// What can be done with receipts.
#[derive(Debug, Subcommand)]
pub enum ReceiptCommand {
    /// Check a receipt without the daemon
    #[command(after_help = help::RECEIPT_VERIFY)]
    Verify {
        /// The receipt
        file: PathBuf,
        /// The keys that sign receipts, as `receipt keys` prints them
        #[arg(long, value_name = "JWKS.json")]
        keys: PathBuf,
    },
    /// Print the keys that sign receipts
    #[command(after_help = help::RECEIPT_KEYS)]
    Keys,
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use crate::cli::Cli;

    #[test]
    fn flags_of_ykman_are_understood() {
        for taken in [
            &["mfactl", "device", "provision", "ann", "-t", "-o", "hotp", "-d", "8", "-a", "sha256", "-i", "x"][..],
            &["mfactl", "device", "provision", "ann", "--oath-type", "TOTP", "-P", "60", "-f", "--serial", "7"],
            &["mfactl", "device", "delete", "7", "a:b", "--reason", "x", "-f"],
            &["mfactl", "device", "password", "7", "--reason", "x"],
            &["mfactl", "provision", "batch", "m.csv", "-d", "6", "--spare", "--no-wait"],
        ] {
            assert!(Cli::try_parse_from(taken).is_ok(), "{taken:?}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for refused in [
            &["mfactl", "device", "info", "0"][..],
            &["mfactl", "device", "info", "4294967296"],
            &["mfactl", "device", "reset", "7"],
            &["mfactl", "device", "password", "7", "--reason", "x", "--learn", "--remove"],
            &["mfactl", "device", "password", "7", "--reason", "x", "--random", "--password-stdin"],
            &["mfactl", "device", "provision", "ann", "-d", "9"],
            &["mfactl", "receipt", "verify", "r"],
        ] {
            assert!(Cli::try_parse_from(refused).is_err(), "{refused:?}");
        }
    }
}
