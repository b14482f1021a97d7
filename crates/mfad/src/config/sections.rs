//! The sections of the configuration file: their keys, defaults and bounds.

use std::path::PathBuf;
use std::sync::Arc;

use mfad_core::model::Limits;
use mfad_core::oath::Window;
use mfad_hardware::card::KEY_MAKERS;
use mfad_hardware::device::WantedReaders;
use mfad_hardware::piv::{Roots, Slot};
use mfad_service::token::{AccessType, SigningAlgorithm, TokenFormat};
use mfad_service::{Attestation, ExportPolicy, HashCost, Recipient, RelyingParty};
use serde::Deserialize;
use url::Url;

use super::{ConfigFault, value};

const MOST_BEFORE_LOCK: u32 = 100;

/// The thresholds of THR-1, which the configuration can only lower.
const MOST_BEFORE_DELAY: u32 = 5;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub(super) struct Fido2Entry {
    pub(super) rp_id: String,
    pub(super) origins: Vec<String>,
    pub(super) rp_name: Option<String>,
}

impl Fido2Entry {
    pub(super) fn checked(&self, issuer: &str) -> Result<Option<Arc<RelyingParty>>, ConfigFault> {
        if self.rp_id.is_empty() && self.origins.is_empty() {
            // Security keys are not set up.
            return Ok(None);
        }
        // Parsed origins have lower-case hosts, so another spelling would never match one.
        let is_name = |part: &str| {
            !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        };
        if !self.rp_id.split('.').all(is_name) {
            return Err(value("fido2.rpId", "must be a lower-case host name"));
        }
        let origins = self.origins.iter().map(|text| origin(text)).collect::<Result<Vec<_>, _>>()?;
        let name = self.rp_name.as_deref().unwrap_or(issuer);
        RelyingParty::new(&self.rp_id, &origins, name)
            .map(|party| Some(Arc::new(party)))
            .map_err(|why| value("fido2.origins", why))
    }
}

/// Words in the names of readers that are keys.
const READER_WORDS: [&str; 4] = ["yubikey", "nitrokey", "canokey", "pico"];

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub(super) struct DevicesEntry {
    pub(super) enabled: bool,
    pub(super) readers: Option<Vec<String>>,
    pub(super) usb_vendors: Option<Vec<String>>,
    pub(super) protect: bool,
    pub(super) escrow: String,
    pub(super) attestation_roots: Vec<PathBuf>,
    pub(super) attestation_slot: String,
    pub(super) require_attestation: bool,
}

impl Default for DevicesEntry {
    fn default() -> Self {
        Self {
            enabled: true,
            readers: None,
            usb_vendors: None,
            protect: false,
            escrow: String::new(),
            attestation_roots: Vec::new(),
            attestation_slot: Slot::CARD_AUTHENTICATION.to_string(),
            require_attestation: false,
        }
    }
}

impl DevicesEntry {
    /// Returns the readers to use; `None` if hardware keys are switched off. Who names readers means no others, so the
    /// default list of makers counts only without `readers`.
    pub(super) fn checked(&self) -> Result<Option<WantedReaders>, ConfigFault> {
        if self.readers.as_ref().is_some_and(|words| words.is_empty() || words.iter().any(String::is_empty)) {
            return Err(value("devices.readers", "must list at least one part of a reader name, and no empty text"));
        }
        let vendor = |text: &String| {
            let is_hex = text.len() == 4 && text.bytes().all(|b| b.is_ascii_hexdigit());
            let number = u16::from_str_radix(text, 16).ok().filter(|_| is_hex);
            number.ok_or_else(|| {
                value("devices.usbVendors", "must list numbers of four hexadecimal digits, such as 1050")
            })
        };
        let usb_vendors = match &self.usb_vendors {
            Some(given) => given.iter().map(vendor).collect::<Result<_, _>>()?,
            None if self.readers.is_none() => KEY_MAKERS.to_vec(),
            None => Vec::new(),
        };
        let words = self.readers.clone().unwrap_or_else(|| READER_WORDS.map(str::to_owned).to_vec());
        Ok(self.enabled.then_some(WantedReaders { words, usb_vendors }))
    }

    pub(super) fn recipient(&self) -> Result<Option<Recipient>, ConfigFault> {
        if self.escrow.is_empty() {
            return Ok(None);
        }
        let recipient = Recipient::parse(&self.escrow);
        recipient.map(Some).ok_or_else(|| {
            value("devices.escrow", "must be an age recipient (age1…) or an X25519 public key in Base64")
        })
    }

    pub(super) fn attestation(&self) -> Result<Attestation, ConfigFault> {
        let slot = Slot::parse(&self.attestation_slot);
        let slot = slot.ok_or_else(|| value("devices.attestationSlot", "must be 9a, 9c, 9d, 9e or 82 to 95"))?;
        if self.attestation_roots.is_empty() {
            // Without roots no key can be accepted as genuine.
            return if self.require_attestation {
                Err(value("devices.requireAttestation", "requires attestationRoots"))
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

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub(super) struct ExportEntry {
    pub(super) recipients: Vec<String>,
    pub(super) needs_two: bool,
    pub(super) own: bool,
}

impl ExportEntry {
    pub(super) fn checked(&self) -> Result<ExportPolicy, ConfigFault> {
        let recipients = self.recipients.iter().map(|text| Recipient::parse(text)).collect::<Option<Vec<_>>>();
        let recipients = recipients.ok_or_else(|| value("export.recipients", "must list age recipients (age1…)"))?;
        Ok(ExportPolicy { recipients, needs_two: self.needs_two, allows_own: self.own })
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub(super) struct OtpEntry {
    pub(super) window_back: u8,
    pub(super) window_forward: u8,
}

impl Default for OtpEntry {
    fn default() -> Self {
        Self { window_back: 1, window_forward: 1 }
    }
}

impl OtpEntry {
    pub(super) fn checked(&self) -> Result<Window, ConfigFault> {
        Window::new(self.window_back, self.window_forward)
            .ok_or_else(|| value("otp", "windowBack must be 0 to 2, windowForward 0 or 1, and their sum at most 2"))
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub(super) struct ThrottleEntry {
    pub(super) delay_after: u32,
    pub(super) lock_after: u32,
}

impl Default for ThrottleEntry {
    fn default() -> Self {
        Self { delay_after: MOST_BEFORE_DELAY, lock_after: MOST_BEFORE_LOCK }
    }
}

impl ThrottleEntry {
    /// Returns the limits of second factors; with `locks` false those of passwords, which are delayed but never locked
    /// (THR-5).
    pub(super) fn checked(&self, locks: bool) -> Result<Limits, ConfigFault> {
        if !(1..=MOST_BEFORE_DELAY).contains(&self.delay_after) {
            return Err(value("throttle.delayAfter", "must be 1 to 5"));
        }
        if !(self.delay_after..=MOST_BEFORE_LOCK).contains(&self.lock_after) {
            return Err(value("throttle.lockAfter", "must be at least delayAfter and at most 100"));
        }
        Ok(Limits { delay_after: self.delay_after, lock_after: locks.then_some(self.lock_after) })
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub(super) struct Argon2Entry {
    pub(super) memory_kib: u32,
    pub(super) passes: u32,
    pub(super) lanes: u32,
    pub(super) workers: usize,
    pub(super) queue: usize,
}

impl Default for Argon2Entry {
    fn default() -> Self {
        Self {
            memory_kib: HashCost::LEAST_MEMORY_KIB,
            passes: HashCost::FEWEST_PASSES,
            lanes: 1,
            // 0 stands for the number of processors.
            workers: 0,
            queue: 64,
        }
    }
}

impl Argon2Entry {
    pub(super) fn checked(&self) -> Result<HashCost, ConfigFault> {
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
            Err(value("argon2", "memoryKib must be 19456 to 1048576, passes 2 to 16, lanes 1 to 8, queue at least 1"))
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub(super) struct TokenEntry {
    #[serde(rename = "type")]
    pub(super) access_type: String,
    pub(super) algorithm: String,
}

impl Default for TokenEntry {
    fn default() -> Self {
        Self { access_type: "ACCESS".to_owned(), algorithm: "EdDSA".to_owned() }
    }
}

impl TokenEntry {
    pub(super) fn checked(&self) -> Result<TokenFormat, ConfigFault> {
        let access_type = AccessType::parse(&self.access_type);
        let algorithm = SigningAlgorithm::parse(&self.algorithm);
        Ok(TokenFormat {
            access_type: access_type.ok_or_else(|| value("token.type", "must be \"ACCESS\", \"at+jwt\" or \"JWT\""))?,
            algorithm: algorithm.ok_or_else(|| value("token.algorithm", "must be \"EdDSA\" or \"Ed25519\""))?,
        })
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub(super) struct LimitsEntry {
    pub(super) connections: usize,
    pub(super) connections_per_peer: usize,
}

impl Default for LimitsEntry {
    fn default() -> Self {
        Self { connections: 4096, connections_per_peer: 256 }
    }
}

/// What an imported factor that is not proved yet means for a login with the password.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum ImportedEntry {
    #[default]
    Require,
    Allow,
}

#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum TokenBinding {
    #[default]
    Peer,
    None,
}

/// Parses one origin. The URL parser accepts `*` in a host name, but no page has such a host: a wildcard would match
/// nothing, and the administrator would not notice.
fn origin(text: &str) -> Result<Url, ConfigFault> {
    let refused = |why: &str| value("fido2.origins", format!("{text:?}: {why}, for example https://login.example.org"));
    let url = Url::parse(text);
    if text.contains('*') || url.as_ref().is_ok_and(|url| url.as_str().contains('*')) {
        return Err(refused("wildcards are not supported; write each origin in full"));
    }
    url.map_err(|why| refused(&format!("{why}; write scheme, host and port")))
}
