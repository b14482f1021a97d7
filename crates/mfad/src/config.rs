//! Reads and checks the settings. A flag overrides the environment, which overrides the file, which overrides the
//! default. Unknown keys are refused, so that a misspelled setting is not ignored.
//!
//! It reads the file, the attestation roots and the user database of the host. It starts nothing and opens no store.

mod language;
mod peers;
mod sections;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::http::{ConnectionLimits, Page};
use mfad_core::model::Text;
use mfad_hardware::device::WantedReaders;
use mfad_service::{ImportedFactors, Policy};

pub use peers::NamedPeer;

use peers::{PeerEntry, gid_of, rules};
use sections::{
    Argon2Entry, DevicesEntry, ExportEntry, Fido2Entry, ImportedEntry, LimitsEntry, OtpEntry, ThrottleEntry,
    TokenBinding, TokenEntry,
};

/// Path of the configuration file, unless `--config` or `MFAD_CONFIG` names another.
pub const DEFAULT_PATH: &str = "/etc/mfad/mfad.toml";

/// Configuration that `mfad init` writes if the file does not exist: every setting with its default, commented out.
pub const EXAMPLE: &str = include_str!("../../../packaging/mfad.toml");

/// Why the settings are refused. The text begins with the file or the setting that is wrong.
#[derive(Debug, thiserror::Error)]
pub enum ConfigFault {
    /// The configuration file, or an attestation root that it names, cannot be read.
    #[error("{path}: {cause}")]
    Unreadable {
        /// The file that cannot be read.
        path: PathBuf,
        /// The error of the operating system.
        cause: std::io::Error,
    },
    /// The file is not TOML, or it has an unknown key or a value of the wrong type.
    #[error("{path}: {cause}")]
    Malformed {
        /// Path of the configuration file.
        path: PathBuf,
        /// The parser's message, with the line and its position.
        cause: String,
    },
    /// A value is out of range, or names something that this host does not have.
    #[error("{key}: {why}")]
    Value {
        /// The setting as the file names it, with its section, for example `fido2.rpId`.
        key: &'static str,
        /// Text that follows the setting's name, for example "must be 1 to 5".
        why: String,
    },
}

/// Settings from flags and environment variables, which override the file. A flag overrides its variable.
#[derive(Debug, Default)]
pub struct Overrides {
    /// `--config`, `MFAD_CONFIG`: the configuration file. It must exist if it is named here.
    pub config: Option<PathBuf>,
    /// `--socket`, `MFAD_SOCKET`: path of the Unix socket.
    pub socket: Option<PathBuf>,
    /// `--state-dir`, `MFAD_STATE_DIR`: the state directory.
    pub state_dir: Option<PathBuf>,
    /// `--log`, `MFAD_LOG`: the log level or filter.
    pub log: Option<String>,
}

/// Format of the log lines (`logFormat`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Text, sent to the journal with its fields if standard error goes there.
    #[default]
    Text,
    /// One JSON object per line, always on standard error.
    Json,
}

/// The settings after all checks.
#[derive(Clone, Debug)]
pub struct Config {
    /// Path of the Unix socket that the daemon binds. A socket from systemd is used instead, if there is one.
    pub socket: PathBuf,
    /// Permission bits of the socket: at least 0600, at most 0666.
    pub socket_mode: u32,
    /// Gid of the socket's group; `None` leaves the group unchanged.
    pub socket_group: Option<u32>,
    /// Directory of the database, the lock file and, unless it is a systemd credential, the master key.
    pub state_dir: PathBuf,
    /// Directory of the roll-back guard; `None` if `guardDir = ""` switches the guard off.
    pub guard_dir: Option<PathBuf>,
    /// Whether `guardDir` names another directory than the default. The daemon does not start if it cannot create that
    /// one. If it cannot create the default one, it runs without a guard.
    pub is_guard_wanted: bool,
    /// Filter for `tracing`: a level such as `info`, or directives for single modules.
    pub log: String,
    /// Format of the log lines.
    pub log_format: LogFormat,
    /// Limits on open connections.
    pub limits: ConnectionLimits,
    /// Parts of the names of the card readers to use; empty if hardware keys are switched off.
    pub readers: Option<WantedReaders>,
    /// The self-service page at `/ui/`; `None` if it is not served.
    pub page: Option<Page>,
    /// Settings by which the service decides. A reload replaces them as a whole.
    pub policy: Policy,
    /// Entries of `[[peer]]` whose user or group this host does not know yet. The policy has no rules for them.
    pub unknown_peers: Vec<NamedPeer>,
}

/// The file as written, before any check.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
struct File {
    socket: Option<PathBuf>,
    socket_mode: Option<String>,
    socket_group: Option<String>,
    state_dir: Option<PathBuf>,
    guard_dir: Option<PathBuf>,
    registration: Registration,
    token_binding: TokenBinding,
    token: TokenEntry,
    mfa_required: bool,
    imported_factors: ImportedEntry,
    ui: bool,
    ui_language: Option<PathBuf>,
    issuer: Option<String>,
    log: Option<String>,
    log_format: LogFormat,
    peer: Vec<PeerEntry>,
    limits: LimitsEntry,
    fido2: Fido2Entry,
    devices: DevicesEntry,
    export: ExportEntry,
    otp: OtpEntry,
    throttle: ThrottleEntry,
    argon2: Argon2Entry,
}

#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Registration {
    #[default]
    Closed,
    Open,
}

impl Config {
    /// Returns the names of the settings that differ in `new` and take effect only at a restart. Those of the policy
    /// are not among them; [`mfad_service::Service::reload`] returns them.
    pub fn differences_that_need_a_restart(&self, new: &Self) -> Vec<&'static str> {
        let differs = [
            ("socket", self.socket != new.socket),
            ("socketMode", self.socket_mode != new.socket_mode),
            ("socketGroup", self.socket_group != new.socket_group),
            ("stateDir", self.state_dir != new.state_dir),
            ("guardDir", self.guard_dir != new.guard_dir),
            ("logFormat", self.log_format != new.log_format),
            ("limits", self.limits != new.limits),
            ("ui or uiLanguage", self.page != new.page),
            ("devices.enabled, devices.readers or devices.usbVendors", self.readers != new.readers),
        ];
        differs.into_iter().filter_map(|(name, differs)| differs.then_some(name)).collect()
    }

    /// Returns the file that [`Config::load`] reads: the one in `overrides`, else the default one if it exists.
    pub fn path(overrides: &Overrides) -> Option<&Path> {
        match &overrides.config {
            Some(path) => Some(path.as_path()),
            None => Some(Path::new(DEFAULT_PATH)).filter(|path| path.exists()),
        }
    }

    /// Reads the file, applies the overrides, and checks every value. Without a file the defaults apply.
    pub fn load(overrides: &Overrides) -> Result<Self, ConfigFault> {
        let file = Self::path(overrides).map(read).transpose()?.unwrap_or_default();
        file.checked(overrides)
    }

    /// Refuses names in `[[peer]]` that this host does not know, for `mfad check`. The daemon itself starts without
    /// these rules and looks the names up again, since a directory service may not answer yet while the host boots.
    pub fn check_names(&self) -> Result<(), ConfigFault> {
        match self.unknown_peers.first() {
            Some(peer) => Err(value("peer", format!("{peer} does not exist on this host"))),
            None => Ok(()),
        }
    }
}

/// Returns the default directory of the roll-back guard: the state directory's path with `-guard` appended. It is not
/// inside the state directory, so that an older copy of that directory does not bring back an older guard.
fn beside(state_dir: &Path) -> PathBuf {
    let mut name = state_dir.file_name().unwrap_or_default().to_owned();
    name.push("-guard");
    state_dir.with_file_name(name)
}

fn read(path: &Path) -> Result<File, ConfigFault> {
    let text =
        std::fs::read_to_string(path).map_err(|cause| ConfigFault::Unreadable { path: path.to_owned(), cause })?;
    toml::from_str(&text).map_err(|cause| ConfigFault::Malformed { path: path.to_owned(), cause: cause.to_string() })
}

impl File {
    fn checked(self, overrides: &Overrides) -> Result<Config, ConfigFault> {
        let issuer = self.issuer.as_deref().unwrap_or("mfad");
        // The issuer is part of the label of otpauth URIs, where a colon separates it from the account name.
        Text::parse_label_part(issuer).map_err(|why| value("issuer", why))?;
        let or = |flag: &Option<PathBuf>, file: &Option<PathBuf>, usual: &str| {
            flag.clone().or_else(|| file.clone()).unwrap_or_else(|| PathBuf::from(usual))
        };
        let log = overrides.log.clone().or_else(|| self.log.clone()).unwrap_or_else(|| "info".to_owned());
        if self.limits.connections == 0 || self.limits.connections_per_peer == 0 {
            return Err(value("limits", "connections and connectionsPerPeer must be at least 1"));
        }
        let state_dir = or(&overrides.state_dir, &self.state_dir, "/var/lib/mfad");
        let usual_guard_dir = beside(&state_dir);
        let guard_dir = self.guard_dir.clone().unwrap_or_else(|| usual_guard_dir.clone());
        let (peers, unknown_peers) = rules(&self.peer)?;
        Ok(Config {
            socket: or(&overrides.socket, &self.socket, "/run/mfad/mfad.sock"),
            socket_mode: socket_mode(self.socket_mode.as_deref().unwrap_or("0660"))?,
            socket_group: self.socket_group.as_deref().filter(|g| !g.is_empty()).map(group_id).transpose()?,
            state_dir,
            is_guard_wanted: guard_dir != usual_guard_dir,
            guard_dir: Some(guard_dir).filter(|dir| !dir.as_os_str().is_empty()),
            log,
            log_format: self.log_format,
            limits: ConnectionLimits { total: self.limits.connections, per_peer: self.limits.connections_per_peer },
            readers: self.devices.checked()?,
            page: self.page()?,
            policy: Policy {
                open_registration: self.registration == Registration::Open,
                bind_tokens: self.token_binding == TokenBinding::Peer,
                mfa_required: self.mfa_required,
                imported_factors: match self.imported_factors {
                    ImportedEntry::Require => ImportedFactors::Require,
                    ImportedEntry::Allow => ImportedFactors::Allow,
                },
                issuer: issuer.to_owned(),
                token_format: self.token.checked()?,
                window: self.otp.checked()?,
                factor_limits: self.throttle.checked(true)?,
                // Passwords are delayed but never locked (THR-5).
                password_limits: self.throttle.checked(false)?,
                hashing: self.argon2.checked()?,
                protect_keys: self.devices.protect,
                escrow: self.devices.recipient()?,
                export: self.export.checked()?,
                attestation: self.devices.attestation()?,
                relying_party: self.fido2.checked(issuer)?,
                peers,
            },
            unknown_peers,
        })
    }
}

impl File {
    fn page(&self) -> Result<Option<Page>, ConfigFault> {
        // A file that is wrong is refused even while the page is off.
        let words = language::words(self.ui_language.as_deref())?;
        Ok(self.ui.then_some(Page { words }))
    }
}

fn group_id(name: &str) -> Result<u32, ConfigFault> {
    gid_of(name).ok_or_else(|| value("socketGroup", format!("group {name:?} does not exist on this host")))
}

/// Parses the mode of the socket. The owner must have access, because the daemon feeds its watchdog by requests
/// through this socket (SVC-1).
fn socket_mode(text: &str) -> Result<u32, ConfigFault> {
    u32::from_str_radix(text, 8)
        .ok()
        .filter(|mode| mode & !0o666 == 0 && mode & 0o600 == 0o600)
        .ok_or_else(|| value("socketMode", "must be an octal mode from \"0600\" to \"0666\", such as \"0660\""))
}

fn value(key: &'static str, why: impl Into<String>) -> ConfigFault {
    ConfigFault::Value { key, why: why.into() }
}
