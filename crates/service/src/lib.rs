//! The use cases. [`Service::handle`] is the only way from a [`Call`] to a [`Reply`]: each arm
//! authorises once, then calls one use case. It knows no HTTP, no SQL, no clock.

#![cfg_attr(test, allow(clippy::arithmetic_side_effects, reason = "a test that overflows fails, as it should"))]

pub mod error;
pub mod fido;
pub mod token;

mod access;
mod audit;
mod authenticate;
mod authorise;
mod call;
mod ceremonies;
mod context;
mod decoy;
mod devices;
mod dispatch;
mod enroll;
mod hasher;
mod health;
mod host_clock;
mod jobs;
mod local_keys;
mod locks;
mod master_key;
mod metrics;
mod password;
mod passwords;
mod policy;
mod rates;
mod receipts;
mod repeat;
mod second_factor;
mod secrets;
mod security_keys;
mod tokens;
mod users;
mod verify;
mod views;

use std::sync::Arc;
use std::time::Duration;

use crate::error::Error;
use crate::token::KeySet;
use mfad_core::model::Moment;
use mfad_core::sync::{PoisonError, RwLock};
use mfad_hardware::device::{Devices, SecurityKeys};
use mfad_store::Store;

pub use crate::fido::{RelyingParty, Verification};
pub use call::{
    Call, FirstCode, ImportOrder, MfaOrder, NewUserOrder, Proof, Reply, SecretChange, SecretOrder, SecretRef,
    UserChange,
};
pub use context::{Caller, CancellationToken, RequestContext};
pub use devices::{
    AccountView, Activation, Announce, AppletView, Attestation, CredentialView, DeviceEvent, DeviceOfSecret, DeviceRef,
    GenuineView, KeyState, KeyView, OnDevice, PROOFS, PasswordChange, PivSlot, ProvisionOrder, Recipient, ReturnedView,
};
pub use dispatch::Cost;
pub use hasher::HashCost;
pub use local_keys::{SecurityKeyFacts, SecurityKeyView};
pub use master_key::{KeySource, MasterKeyStore, MasterKeyView};
pub use metrics::Metrics;
pub use mfad_core::oath::OtpauthUri;
pub use mfad_store::{Backup, MasterKey, Phase};
pub use policy::{PeerRule, Policy, Who};
pub use repeat::Told;
pub use secrets::LONGEST_URI;
pub use security_keys::KeyOrder;
pub use views::{AuditView, AuthView, SecretView, UserView};

use ceremonies::WebAuthn;
use host_clock::HostClock;
use jobs::{Job, Stop};
use master_key::MasterKeyRotation;
use passwords::Passwords;

/// How long the daemon waits for the store on its own behalf, at a start or in housekeeping.
const OWN_PATIENCE: Duration = Duration::from_secs(30);

/// The daemon's work, behind whatever server.
pub struct Service {
    store: Store,
    keys: RwLock<KeySet>,
    policy: RwLock<Arc<Policy>>,
    metrics: Metrics,
    passwords: Passwords,
    hardware_keys: devices::AttachedDevices,
    webauthn: WebAuthn,
    master_key: MasterKeyRotation,
    decoy: Arc<decoy::Decoy>,
    rates: rates::Rates,
    probed: health::Probed,
    confinement: Confinement,
    clock: HostClock,
}

/// What the service has of the house it works in.
pub struct Dependencies {
    /// Who keeps the master key.
    pub key_store: Box<dyn MasterKeyStore>,
    /// The cards in readers.
    pub devices: Arc<dyn Devices>,
    /// The security keys in ports.
    pub security_keys: Arc<dyn SecurityKeys>,
    /// Told the number of the newest event about hardware keys.
    pub on_device: Announce,
    /// The counters.
    pub metrics: Metrics,
    /// How far the process is confined.
    pub confinement: Confinement,
}

/// How far the kernel keeps the process from what it does not need (Landlock).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confinement {
    /// In all that was asked for.
    Full,
    /// In what this kernel knows.
    Partial,
    /// Not at all.
    None,
}

impl Service {
    /// Goes by another policy from the next request on. Returns the settings that stay as they are until a restart.
    pub fn reload(&self, mut policy: Policy) -> Vec<&'static str> {
        let mut kept = Vec::new();
        let old = self.policy();
        if policy.issuer != old.issuer {
            policy.issuer.clone_from(&old.issuer);
            kept.push("issuer");
        }
        if policy.token_format != old.token_format {
            policy.token_format = old.token_format;
            kept.push("token");
        }
        if policy.hashing != old.hashing {
            policy.hashing = old.hashing;
            kept.push("argon2");
        }
        if policy.relying_party != old.relying_party {
            policy.relying_party.clone_from(&old.relying_party);
            kept.push("fido2");
        }
        *self.policy.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(policy);
        kept
    }

    /// Adds a rule to the policy, from the next request on.
    pub fn admit(&self, rule: PeerRule) {
        let mut policy = self.policy.write().unwrap_or_else(PoisonError::into_inner);
        Arc::make_mut(&mut policy).peers.push(rule);
    }

    /// The policy of this moment.
    fn policy(&self) -> Arc<Policy> {
        Arc::clone(&self.policy.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes an open store, the policy and the dependencies. Nothing is written before [`Service::make_ready`].
    pub fn new(store: Store, policy: Policy, dependencies: Dependencies, now: &Moment) -> Result<Self, Error> {
        let passwords = Passwords::new(policy.hashing)?;
        let Dependencies { key_store, devices, security_keys, on_device, metrics, confinement } = dependencies;
        Ok(Self {
            decoy: Arc::new(decoy::Decoy::new(store.vault())?),
            keys: RwLock::new(KeySet::new(policy.issuer.clone(), Vec::new())),
            store,
            policy: RwLock::new(Arc::new(policy)),
            metrics,
            passwords,
            hardware_keys: devices::AttachedDevices::new(devices, on_device),
            webauthn: WebAuthn::new(security_keys),
            master_key: MasterKeyRotation::new(key_store),
            rates: rates::Rates::default(),
            probed: health::Probed::default(),
            confinement,
            clock: HostClock::new(now),
        })
    }

    /// What has to be there before the first call: makes the first signing keys if there are none.
    pub fn make_ready(&self, now: &Moment) -> Result<(), Error> {
        self.check_relying_party()?;
        self.tend(now)?;
        self.make_receipt_key(now.wall_ms)
    }

    /// The counters of this service.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Whether the process has to end because a write reached an unknown state (STO-6).
    pub fn has_failed(&self) -> bool {
        self.store.has_failed()
    }

    /// What is wrong with the database, if that is why.
    pub fn damage(&self) -> Option<&str> {
        self.store.damage()
    }

    /// Ends the service once nobody uses it: waits for the writes under way, closes the store.
    pub fn close(self) {
        self.store.close();
    }

    fn with_keys<T>(&self, job: impl FnOnce(&KeySet) -> T) -> T {
        job(&self.keys.read().unwrap_or_else(PoisonError::into_inner))
    }
}
