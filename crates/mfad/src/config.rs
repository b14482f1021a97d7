//! Settings: flag over environment over file over default. Unknown keys are refused.

mod peers;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use url::Url;

use crate::http::ConnectionLimits;
use mfad_core::model::{Limits, Text};
use mfad_core::oath::Window;
use mfad_hardware::piv::{Roots, Slot};
use mfad_service::token::{AccessType, SigningAlgorithm, TokenFormat};
use mfad_service::{Attestation, HashCost, Policy, Recipient, RelyingParty};

pub use peers::NamedPeer;

use peers::{PeerEntry, gid_of, rules};

/// Where the configuration lies unless a flag or the environment says otherwise.
pub const DEFAULT_PATH: &str = "/etc/mfad/mfad.toml";

/// The file that `mfad init` writes when there is none.
pub const EXAMPLE: &str = include_str!("../../../packaging/mfad.toml");

/// What is wrong with the settings.
#[derive(Debug, thiserror::Error)]
pub enum ConfigFault {
    /// The file cannot be read.
    #[error("{path}: {cause}")]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        cause: std::io::Error,
    },
    /// The file is not what it should be.
    #[error("{path}: {cause}")]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// Why, and where.
        cause: String,
    },
    /// A value is out of its range.
    #[error("{key}: {why}")]
    Value {
        /// Which setting.
        key: &'static str,
        /// Why.
        why: String,
    },
}

/// Settings from flags and environment, which win over the file.
#[derive(Debug, Default)]
pub struct Overrides {
    /// The configuration file.
    pub config: Option<PathBuf>,
    /// The socket.
    pub socket: Option<PathBuf>,
    /// The state directory.
    pub state_dir: Option<PathBuf>,
    /// The log filter.
    pub log: Option<String>,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// The settings, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// The socket's path.
    pub socket: PathBuf,
    /// The socket's permission bits.
    pub socket_mode: u32,
    /// The socket's group.
    pub socket_group: Option<u32>,
    /// The state directory.
    pub state_dir: PathBuf,
    /// Where the roll-back guard keeps its file; none if it is switched off.
    pub guard_dir: Option<PathBuf>,
    /// Whether that is another directory than the usual one: then it has to be there or be made.
    pub is_guard_wanted: bool,
    /// The log filter.
    pub log: String,
    /// How log lines look.
    pub log_format: LogFormat,
    /// Connection limits.
    pub limits: ConnectionLimits,
    /// Parts of the names of the readers whose keys are used; none if hardware is off.
    pub readers: Vec<String>,
    /// Whether the self-service page is served.
    pub has_page: bool,
    /// What the service goes by.
    pub policy: Policy,
    /// Rules about users and groups that this host does not know, which the policy lacks.
    pub unknown_peers: Vec<NamedPeer>,
}

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
    ui: bool,
    issuer: Option<String>,
    log: Option<String>,
    log_format: LogFormat,
    peer: Vec<PeerEntry>,
    limits: LimitsEntry,
    fido2: Fido2Entry,
    devices: DevicesEntry,
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

#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum TokenBinding {
    #[default]
    Peer,
    None,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
struct TokenEntry {
    #[serde(rename = "type")]
    access_type: String,
    algorithm: String,
}

impl Default for TokenEntry {
    fn default() -> Self {
        Self { access_type: "ACCESS".to_owned(), algorithm: "EdDSA".to_owned() }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
struct LimitsEntry {
    connections: usize,
    connections_per_peer: usize,
}

impl Default for LimitsEntry {
    fn default() -> Self {
        Self { connections: 4096, connections_per_peer: 256 }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
struct Fido2Entry {
    rp_id: String,
    origins: Vec<String>,
    rp_name: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
struct DevicesEntry {
    enabled: bool,
    readers: Vec<String>,
    protect: bool,
    escrow: String,
    attestation_roots: Vec<PathBuf>,
    attestation_slot: String,
    require_attestation: bool,
}

impl Default for DevicesEntry {
    fn default() -> Self {
        Self {
            enabled: true,
            readers: vec!["yubikey".to_owned()],
            protect: false,
            escrow: String::new(),
            attestation_roots: Vec::new(),
            attestation_slot: Slot::CARD_AUTHENTICATION.to_string(),
            require_attestation: false,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
struct OtpEntry {
    window_back: u8,
    window_forward: u8,
}

impl Default for OtpEntry {
    fn default() -> Self {
        Self { window_back: 1, window_forward: 1 }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
struct ThrottleEntry {
    delay_after: u32,
    lock_after: u32,
}

/// The numbers of THR-1, which a configuration may only lower.
const MOST_BEFORE_DELAY: u32 = 5;
const MOST_BEFORE_LOCK: u32 = 100;

impl Default for ThrottleEntry {
    fn default() -> Self {
        Self { delay_after: MOST_BEFORE_DELAY, lock_after: MOST_BEFORE_LOCK }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
struct Argon2Entry {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
    workers: usize,
    queue: usize,
}

impl Default for Argon2Entry {
    fn default() -> Self {
        Self {
            memory_kib: HashCost::LEAST_MEMORY_KIB,
            passes: HashCost::FEWEST_PASSES,
            lanes: 1,
            workers: 0,
            queue: 64,
        }
    }
}

impl Config {
    /// The names of the settings that differ and that a running daemon does not take.
    pub fn differences_that_need_a_restart(&self, new: &Self) -> Vec<&'static str> {
        let differs = [
            ("socket", self.socket != new.socket),
            ("socketMode", self.socket_mode != new.socket_mode),
            ("socketGroup", self.socket_group != new.socket_group),
            ("stateDir", self.state_dir != new.state_dir),
            ("guardDir", self.guard_dir != new.guard_dir),
            ("logFormat", self.log_format != new.log_format),
            ("limits", self.limits != new.limits),
            ("ui", self.has_page != new.has_page),
            ("devices.enabled or devices.readers", self.readers != new.readers),
        ];
        differs.into_iter().filter_map(|(name, differs)| differs.then_some(name)).collect()
    }

    /// The file that [`Config::load`] reads, if there has to be one.
    pub fn path(overrides: &Overrides) -> Option<&Path> {
        match &overrides.config {
            Some(path) => Some(path.as_path()),
            None => Some(Path::new(DEFAULT_PATH)).filter(|path| path.exists()),
        }
    }

    /// Reads the file, if there has to be one, and puts the overrides over it.
    pub fn load(overrides: &Overrides) -> Result<Self, ConfigFault> {
        let file = Self::path(overrides).map(read).transpose()?.unwrap_or_default();
        file.checked(overrides)
    }

    /// Refuses names in `[[peer]]` that this host does not know. A daemon does without their rules and looks again: a host
    /// that boots may not know them yet.
    pub fn check_names(&self) -> Result<(), ConfigFault> {
        match self.unknown_peers.first() {
            Some(peer) => Err(value("peer", format!("there is no {peer} on this host"))),
            None => Ok(()),
        }
    }
}

/// The directory of the roll-back guard: beside the state directory, so that whoever puts that one back leaves it alone.
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
        Text::parse_label_part(issuer).map_err(|why| value("issuer", why))?;
        let or = |flag: &Option<PathBuf>, file: &Option<PathBuf>, usual: &str| {
            flag.clone().or_else(|| file.clone()).unwrap_or_else(|| PathBuf::from(usual))
        };
        let log = overrides.log.clone().or_else(|| self.log.clone()).unwrap_or_else(|| "info".to_owned());
        if self.limits.connections == 0 || self.limits.connections_per_peer == 0 {
            return Err(value("limits", "a limit of 0 would lock everybody out"));
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
            has_page: self.ui,
            policy: Policy {
                open_registration: self.registration == Registration::Open,
                bind_tokens: self.token_binding == TokenBinding::Peer,
                mfa_required: self.mfa_required,
                issuer: issuer.to_owned(),
                token_format: self.token.checked()?,
                window: self.otp.checked()?,
                factor_limits: self.throttle.checked(true)?,
                password_limits: self.throttle.checked(false)?,
                hashing: self.argon2.checked()?,
                protect_keys: self.devices.protect,
                escrow: self.devices.recipient()?,
                attestation: self.devices.attestation()?,
                relying_party: self.fido2.checked(issuer)?,
                peers,
            },
            unknown_peers,
        })
    }
}

impl Fido2Entry {
    fn checked(&self, issuer: &str) -> Result<Option<Arc<RelyingParty>>, ConfigFault> {
        if self.rp_id.is_empty() && self.origins.is_empty() {
            return Ok(None);
        }
        let is_name = |part: &str| {
            !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        };
        if !self.rp_id.split('.').all(is_name) {
            return Err(value("fido2.rpId", "is the name of a host, in lower case"));
        }
        let origins = self.origins.iter().map(|text| origin(text)).collect::<Result<Vec<_>, _>>()?;
        let name = self.rp_name.as_deref().unwrap_or(issuer);
        RelyingParty::new(&self.rp_id, &origins, name)
            .map(|party| Some(Arc::new(party)))
            .map_err(|why| value("fido2.origins", why))
    }
}

/// One origin. To a URL, `*` is a letter of a host's name; but no page has such a host.
fn origin(text: &str) -> Result<Url, ConfigFault> {
    let refused = |why: &str| value("fido2.origins", format!("{text:?}: {why}, like https://login.example.org"));
    let url = Url::parse(text);
    if text.contains('*') || url.as_ref().is_ok_and(|url| url.as_str().contains('*')) {
        return Err(refused("there are no wildcards: write each origin in full"));
    }
    url.map_err(|why| refused(&format!("{why}: write scheme, host and port")))
}

impl TokenEntry {
    fn checked(&self) -> Result<TokenFormat, ConfigFault> {
        let access_type = AccessType::parse(&self.access_type);
        let algorithm = SigningAlgorithm::parse(&self.algorithm);
        Ok(TokenFormat {
            access_type: access_type.ok_or_else(|| value("token.type", "is \"ACCESS\", \"at+jwt\" or \"JWT\""))?,
            algorithm: algorithm.ok_or_else(|| value("token.algorithm", "is \"EdDSA\" or \"Ed25519\""))?,
        })
    }
}

impl DevicesEntry {
    fn checked(&self) -> Result<Vec<String>, ConfigFault> {
        if self.readers.is_empty() || self.readers.iter().any(String::is_empty) {
            return Err(value("devices.readers", "is a list of parts of reader names, none of them empty"));
        }
        Ok(if self.enabled { self.readers.clone() } else { Vec::new() })
    }

    fn recipient(&self) -> Result<Option<Recipient>, ConfigFault> {
        if self.escrow.is_empty() {
            return Ok(None);
        }
        let recipient = Recipient::parse(&self.escrow);
        recipient.map(Some).ok_or_else(|| {
            value("devices.escrow", "is neither an age recipient (age1…) nor an X25519 public key in Base64")
        })
    }

    fn attestation(&self) -> Result<Attestation, ConfigFault> {
        let slot = Slot::parse(&self.attestation_slot);
        let slot = slot.ok_or_else(|| value("devices.attestationSlot", "is 9a, 9c, 9d, 9e or 82 to 95"))?;
        if self.attestation_roots.is_empty() {
            return if self.require_attestation {
                Err(value("devices.requireAttestation", "needs attestationRoots"))
            } else {
                Ok(Attestation { slot, ..Attestation::default() })
            };
        }
        let read =
            |path: &PathBuf| std::fs::read(path).map_err(|cause| ConfigFault::Unreadable { path: path.clone(), cause });
        let files = self.attestation_roots.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        let roots = Roots::read(files.iter().map(Vec::as_slice));
        let roots = roots.map_err(|fault| value("devices.attestationRoots", fault.to_string()))?;
        Ok(Attestation { roots: Some(roots), slot, is_required: self.require_attestation })
    }
}

impl OtpEntry {
    fn checked(&self) -> Result<Window, ConfigFault> {
        Window::new(self.window_back, self.window_forward)
            .ok_or_else(|| value("otp", "windowBack is 0 to 2, windowForward 0 or 1, together at most 2"))
    }
}

impl ThrottleEntry {
    fn checked(&self, locks: bool) -> Result<Limits, ConfigFault> {
        if !(1..=MOST_BEFORE_DELAY).contains(&self.delay_after) {
            return Err(value("throttle.delayAfter", "is 1 to 5"));
        }
        if !(self.delay_after..=MOST_BEFORE_LOCK).contains(&self.lock_after) {
            return Err(value("throttle.lockAfter", "is at least delayAfter and at most 100"));
        }
        Ok(Limits { delay_after: self.delay_after, lock_after: locks.then_some(self.lock_after) })
    }
}

impl Argon2Entry {
    fn checked(&self) -> Result<HashCost, ConfigFault> {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let cost = HashCost {
            memory_kib: self.memory_kib,
            passes: self.passes,
            lanes: self.lanes,
            workers: if self.workers == 0 { processors } else { self.workers },
            queue: self.queue,
        };
        if cost.is_sane() {
            Ok(cost)
        } else {
            Err(value("argon2", "memoryKib is at least 19456, passes at least 2, lanes 1 to 8, queue at least 1"))
        }
    }
}

fn group_id(name: &str) -> Result<u32, ConfigFault> {
    gid_of(name).ok_or_else(|| value("socketGroup", format!("there is no group {name:?} on this host")))
}

fn socket_mode(text: &str) -> Result<u32, ConfigFault> {
    u32::from_str_radix(text, 8)
        .ok()
        .filter(|mode| mode & !0o666 == 0 && mode & 0o600 == 0o600)
        .ok_or_else(|| value("socketMode", "is an octal mode such as \"0660\""))
}

fn value(key: &'static str, why: impl Into<String>) -> ConfigFault {
    ConfigFault::Value { key, why: why.into() }
}
