//! Commands and flags for hardware keys, and their help texts. Flags have the names of Yubico's `ykman oath` where they
//! mean the same, so that operators need not learn new ones.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::args::{ActOnUser, PasswordFrom};
use crate::call::Body;
use crate::format::Format;
use crate::help;
use mfad_core::model::KeyId;

#[derive(Debug, Subcommand)]
pub(crate) enum DeviceCommand {
    /// List the hardware keys that are plugged in
    #[command(alias = "ls", after_help = help::DEVICE_LIST)]
    List,
    /// Show a hardware key and the factors on it
    #[command(alias = "show", after_help = help::DEVICE_INFO)]
    Info(KeyArg),
    /// Verify that a hardware key is genuine, by its maker's certificates
    #[command(after_help = help::DEVICE_ATTEST)]
    Attest {
        #[command(flatten)]
        on: KeyArg,
        /// PIV slot to attest: 9a, 9c, 9d, 9e, 82 to 95 [default: the daemon's attestationSlot, normally 9e]
        #[arg(long, value_name = "SLOT")]
        slot: Option<String>,
    },
    /// List the OATH accounts on a hardware key, including those of other programs
    #[command(after_help = help::DEVICE_ACCOUNTS)]
    Accounts(KeyArg),
    /// Program a factor of a user onto a hardware key
    #[command(after_help = help::DEVICE_PROVISION)]
    Provision(Box<ProvisionArgs>),
    /// Rename an account on a hardware key
    #[command(after_help = help::DEVICE_RENAME)]
    Rename {
        #[command(flatten)]
        on: ChangeKey,
        /// Current name, as shown by `device accounts`
        name: String,
        /// New name
        new: String,
    },
    /// Delete an account that belongs to no factor from a hardware key
    #[command(alias = "rm", after_help = help::DEVICE_DELETE)]
    Delete {
        #[command(flatten)]
        on: ChangeKey,
        /// Name, as shown by `device accounts`
        name: String,
        /// Do not ask for confirmation
        #[arg(long, short)]
        force: bool,
    },
    /// Erase the OATH application of a hardware key: all accounts and the password
    #[command(after_help = help::DEVICE_RESET)]
    Reset {
        #[command(flatten)]
        on: ChangeKey,
        /// Do not ask for confirmation
        #[arg(long, short)]
        force: bool,
    },
    /// Change the OATH password of a hardware key
    #[command(after_help = help::DEVICE_PASSWORD)]
    Password(DevicePasswordArgs),
    /// Take back a hardware key: verify it, erase its factors and revoke them
    #[command(after_help = help::DEVICE_RETURN)]
    Return(ChangeKey),
    /// Print an event each time a hardware key is plugged in or removed
    #[command(after_help = help::DEVICE_WATCH)]
    Watch,
}

/// Reads the id of a hardware key.
pub(crate) fn key_id(text: &str) -> Result<KeyId, &'static str> {
    KeyId::parse(text)
        .ok_or("give the number of a YubiKey, or an id as mfactl device list shows it, such as nitrokey:a1b2c3d4")
}

/// A hardware key, for commands that change nothing on it.
#[derive(Debug, Args)]
pub(crate) struct KeyArg {
    /// Id of the key, as mfactl device list shows it; on a YubiKey, the number printed on it
    #[arg(value_parser = key_id)]
    pub key: KeyId,
}

/// A hardware key, for commands that change it and so need a reason.
#[derive(Debug, Args)]
pub(crate) struct ChangeKey {
    /// Id of the key, as mfactl device list shows it; on a YubiKey, the number printed on it
    #[arg(value_parser = key_id)]
    pub key: KeyId,
    /// Reason, recorded in the audit log
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
}

#[derive(Debug, Args)]
pub(crate) struct DevicePasswordArgs {
    #[command(flatten)]
    pub on: ChangeKey,
    #[command(flatten)]
    pub deed: PasswordDeed,
    #[command(flatten)]
    pub new: PasswordFrom,
    /// Read the current password of the hardware key from a file; not needed if the daemon knows it
    #[arg(long, value_name = "FILE")]
    pub current_file: Option<PathBuf>,
}

/// Change to make to an OATH password; with none of the flags, a new one is set.
#[derive(Debug, Args)]
#[group(multiple = false)]
pub(crate) struct PasswordDeed {
    /// Tell the daemon the password that the hardware key already has
    #[arg(long, conflicts_with_all = ["password_file", "password_stdin"])]
    pub learn: bool,
    /// Set a new password (the default)
    #[arg(long)]
    pub change: bool,
    /// Set a random password, known only to the daemon and to the escrow if there is one
    #[arg(long, conflicts_with_all = ["password_file", "password_stdin"])]
    pub random: bool,
    /// Remove the password
    #[arg(long, conflicts_with_all = ["password_file", "password_stdin"])]
    pub remove: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ProvisionArgs {
    #[command(flatten)]
    pub on: ActOnUser,
    /// Id of the key, as mfactl device list shows it; not needed if only one hardware key is plugged in
    #[arg(long, alias = "serial", value_name = "ID", value_parser = key_id)]
    pub key: Option<KeyId>,
    /// Name of the factor, such as `blue key`
    #[arg(long, value_name = "LABEL")]
    pub name: Option<String>,
    /// Require a touch for each code
    #[arg(long, short)]
    pub touch: bool,
    #[command(flatten)]
    pub profile: KeyProfileArgs,
    /// Account name shown in the authenticator app
    #[arg(long)]
    pub account: Option<String>,
    /// Overwrite an account of the same name on the hardware key; not with --as-user
    #[arg(long, short)]
    pub force: bool,
    /// Set a random password if the hardware key has none; not with --as-user
    #[arg(long)]
    pub protect: bool,
    /// Leave the factor pending until the user enters a code, instead of having the key compute the first one
    #[arg(long)]
    pub pending: bool,
    /// Make this the spare of a pending factor on another hardware key; both become active together
    #[arg(long, value_name = "SECRET")]
    pub spare_of: Option<String>,
    /// Write the receipt to this file, which must not exist
    #[arg(long, value_name = "FILE")]
    pub receipt: Option<PathBuf>,
}

/// Parameters of a factor on a hardware key. The daemon chooses those that are not given.
#[derive(Clone, Debug, Args)]
pub(crate) struct KeyProfileArgs {
    // Without it, the global flag would bring its `-o` here, which is `--oath-type` as in ykman. clap passes the value on
    // to the global flag.
    #[arg(id = "output", long = "output", value_enum, default_value_t = Format::Table, hide = true)]
    shadowed_output: Format,
    /// Time-based (TOTP) or counter-based (HOTP) codes
    #[arg(long, short = 'o', value_name = "TYPE", value_parser = ["TOTP", "HOTP"], ignore_case = true)]
    pub oath_type: Option<String>,
    /// Number of digits per code: 6 to 8
    #[arg(long, short, value_parser = clap::value_parser!(u8).range(6..=8))]
    pub digits: Option<u8>,
    /// Hash algorithm
    #[arg(long, short, value_parser = ["SHA1", "SHA256", "SHA512"], ignore_case = true)]
    pub algorithm: Option<String>,
    /// Seconds per time step: 15 to 120 (TOTP only)
    #[arg(long, short = 'P', value_name = "SECONDS", value_parser = clap::value_parser!(u16).range(15..=120))]
    pub period: Option<u16>,
    /// Issuer name shown in the authenticator app
    #[arg(long, short)]
    pub issuer: Option<String>,
}

impl KeyProfileArgs {
    /// Adds the parameters that were given to a request body; the API takes lower-case kinds and upper-case algorithms.
    pub(crate) fn add_to(&self, body: Body) -> Body {
        body.optional("kind", self.oath_type.as_deref().map(str::to_ascii_lowercase))
            .optional("digits", self.digits)
            .optional("algorithm", self.algorithm.as_deref().map(str::to_ascii_uppercase))
            .optional("period", self.period)
            .optional("issuer", self.issuer.as_deref())
    }
}

/// Settings of a security key that an operator hands out.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct SecurityKeySetup {
    /// The shortest PIN that the security key takes from then on
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(4..=63))]
    pub min_pin_length: Option<u8>,
    /// Let the security key verify its user for every request
    #[arg(long)]
    pub always_uv: bool,
    /// Let the security key keep the credential, so that a browser finds the user without a name
    #[arg(long)]
    pub resident: bool,
}

impl SecurityKeySetup {
    /// Adds the settings to a request.
    pub(crate) fn add_to(self, body: Body) -> Body {
        body.optional("minPinLength", self.min_pin_length)
            .optional("alwaysUv", self.always_uv.then_some(true))
            .optional("resident", self.resident.then_some(true))
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum ProvisionCommand {
    /// Program one hardware key after the other for the users in a manifest
    #[command(after_help = help::PROVISION_BATCH)]
    Batch(Box<BatchArgs>),
}

#[derive(Debug, Args)]
pub(crate) struct BatchArgs {
    /// CSV file with the columns user, label, touch; the last two are optional
    #[arg(value_name = "MANIFEST.csv")]
    pub manifest: PathBuf,
    /// Results file; an existing one is resumed [default: the manifest with the extension .results.csv]
    #[arg(long, value_name = "FILE")]
    pub results: Option<PathBuf>,
    /// Leave the factors pending until the users enter a code
    #[arg(long)]
    pub pending: bool,
    /// Program two hardware keys for each user
    #[arg(long)]
    pub spare: bool,
    #[command(flatten)]
    pub profile: KeyProfileArgs,
    /// Set a random password on each hardware key that has none
    #[arg(long)]
    pub protect: bool,
    /// Register the FIDO2 side of each hardware key too
    #[arg(long)]
    pub fido2: bool,
    /// Set a random PIN on each security key, and write it to this directory, one file per key
    #[arg(long, value_name = "DIR", requires = "fido2")]
    pub pins: Option<PathBuf>,
    #[command(flatten)]
    pub setup: SecurityKeySetup,
    /// Write the receipts to this directory, one file per hardware key
    #[arg(long, value_name = "DIR")]
    pub receipts: Option<PathBuf>,
    /// Write the backup codes to this directory, one file per user; without it, they are not shown anywhere
    #[arg(long, value_name = "DIR")]
    pub codes: Option<PathBuf>,
    /// Act as an admin for this reason, recorded in the audit log
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// Exit when no unused hardware key is plugged in, instead of waiting for the next one
    #[arg(long)]
    pub no_wait: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ReceiptCommand {
    /// Verify a receipt without the daemon
    #[command(after_help = help::RECEIPT_VERIFY)]
    Verify {
        /// Receipt file
        file: PathBuf,
        /// Public signing keys of receipts, as printed by `receipt keys`
        #[arg(long, value_name = "JWKS.json")]
        keys: PathBuf,
    },
    /// Print the public signing keys of receipts
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
