//! The flags of `pam`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::help;

#[derive(Debug, Subcommand)]
pub(crate) enum PamCommand {
    /// List the accounts of this host that can log in, and their second factors (admin)
    #[command(after_help = help::PAM_COVERAGE)]
    Coverage,
    /// Require a second factor in a service such as sshd; undone unless it is confirmed (root)
    #[command(after_help = help::PAM_ENABLE)]
    Enable(EnableArgs),
    /// Keep what `pam enable` changed, after a login in another session (root)
    #[command(after_help = help::PAM_CONFIRM)]
    Confirm(ServiceArg),
    /// Take the second factor out of a service (root)
    #[command(after_help = help::PAM_DISABLE)]
    Disable(DisableArgs),
    /// One-time codes for an account, for logins while the daemon is out of service (root)
    #[command(after_help = help::PAM_BREAK_GLASS)]
    BreakGlass(BreakGlassArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ServiceArg {
    /// PAM service: the name of a file in /etc/pam.d, such as sshd
    #[arg(value_parser = service)]
    pub service: String,
}

#[derive(Debug, Args)]
pub(crate) struct EnableArgs {
    #[command(flatten)]
    pub service: ServiceArg,
    /// Show what would change, and try a login, without changing anything
    #[arg(long)]
    pub dry_run: bool,
    /// Minutes until the change is undone, unless it is confirmed
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=60))]
    pub minutes: u16,
    /// Options of the module, such as 'nofactor=enroll until=2027-01-31'
    #[arg(long, value_name = "OPTIONS", default_value = "", hide_default_value = true)]
    pub options: String,
    /// Path of the module, if it is not where the package puts it
    #[arg(long, value_name = "FILE")]
    pub module: Option<PathBuf>,
    /// Do not try a login: for services that let root in without asking, such as su
    #[arg(long, conflicts_with = "dry_run")]
    pub without_trial: bool,
    /// Account that tries the login [default: the one that ran sudo or su, or root]
    #[arg(long, value_name = "ACCOUNT")]
    pub account: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct DisableArgs {
    /// PAM service: the name of a file in /etc/pam.d, such as sshd
    #[arg(value_parser = service, required_unless_present = "unconfirmed", conflicts_with = "unconfirmed")]
    pub service: Option<String>,
    /// Undo every change that is not confirmed, as at the start of the host
    #[arg(long)]
    pub unconfirmed: bool,
}

#[derive(Debug, Args)]
#[group(id = "what", required = true, args = ["account", "list", "report"])]
pub(crate) struct BreakGlassArgs {
    /// Account that gets ten new codes, in place of those that it has
    pub account: Option<String>,
    /// Delete the codes of the account
    #[arg(long, requires = "account")]
    pub remove: bool,
    /// List who has codes, how many are left, and when one was used
    #[arg(long)]
    pub list: bool,
    /// Report used codes to the daemon, for its audit log
    #[arg(long)]
    pub report: bool,
}

/// A name that cannot leave /etc/pam.d.
fn service(text: &str) -> Result<String, String> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if !text.is_empty() && !text.starts_with('.') && text.bytes().all(is_plain) {
        Ok(text.to_owned())
    } else {
        Err("give the name of a file in /etc/pam.d, such as sshd".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_the_name_of_a_file() {
        for name in ["sshd", "sudo-i", "gdm-password", "polkit-1", "common_auth"] {
            assert!(service(name).is_ok(), "{name}");
        }
        for name in ["", ".", "..", "../passwd", "/etc/pam.d/sshd", "a b", ".swp"] {
            assert!(service(name).is_err(), "{name}");
        }
    }
}
