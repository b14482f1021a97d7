//! The use cases of the daemon. [`Service::handle`] and [`Service::handle_async`] are the only ways from a [`Call`] to
//! a [`Reply`]: each authorises the call once by the table in `access`, then calls one use case. This crate knows no
//! HTTP and no SQL, and takes the time as an argument.

#![cfg_attr(test, allow(clippy::arithmetic_side_effects, reason = "a test that overflows fails, as it should"))]

pub mod error;
pub mod fido;
pub mod token;

mod access;
mod age;
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
mod export;
mod export_lines;
mod future_steps;
mod hasher;
mod health;
mod host_clock;
mod host_logins;
mod import;
mod import_users;
mod imported_factors;
mod jobs;
mod local_keys;
mod locks;
mod master_key;
mod metrics;
mod orders;
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
pub use age::Recipient;
pub use call::{Call, Reply};
pub use context::{Caller, CancellationToken, RequestContext};
pub use devices::{
    AccountView, Activation, Announce, AppletView, Attestation, CredentialView, DeviceEvent, DeviceOfSecret, DeviceRef,
    GenuineView, Gives, KeyState, KeyView, OnDevice, PasswordChange, PivSlot, ProvisionOrder, ReturnedView,
};
pub use dispatch::Cost;
pub use export::{Export, ExportOrder};
pub use export_lines::ExportFormat;
pub use hasher::HashCost;
pub use import::{ImportJob, ImportOrder, Imported, ImportedFactor};
pub use import_users::{ImportedUser, ImportedUserResult, MovedFactor};
pub use local_keys::{SecurityKeyFacts, SecurityKeyView};
pub use master_key::{KeySource, MasterKeyStore, MasterKeyView};
pub use metrics::Metrics;
pub use mfad_core::oath::OtpauthUri;
pub use mfad_store::{AuditRow, Backup, MasterKey, Phase};
pub use orders::{
    FirstCode, MfaOrder, NewUserOrder, Proof, SecretChange, SecretOrder, SecretRef, SessionAfter, UserChange,
};
pub use policy::{ExportPolicy, ImportedFactors, PeerRule, Policy, Who};
pub use repeat::Told;
pub use secrets::LONGEST_URI;
pub use security_keys::{KeyOrder, KeySetup, LocalKeyOrder};
pub use views::{AuthView, LockView, SecretView, UserView};

use ceremonies::WebAuthn;
use host_clock::HostClock;
use jobs::{Job, Stop};
use master_key::MasterKeyRotation;
use passwords::Passwords;

/// How long the daemon waits for the store on its own behalf, at start and in housekeeping.
const OWN_PATIENCE: Duration = Duration::from_secs(30);

/// All use cases, with the store, policy and hardware that they work on. Any server may call it.
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

/// Everything that the service needs from the process it runs in.
pub struct Dependencies {
    /// The place outside the store that keeps the master key: a file or a systemd credential.
    pub key_store: Box<dyn MasterKeyStore>,
    /// Smart cards in readers: PC/SC, or virtual ones in tests.
    pub devices: Arc<dyn Devices>,
    /// Security keys in the ports of this host: CTAPHID, or virtual ones in tests.
    pub security_keys: Arc<dyn SecurityKeys>,
    /// Called with the number of the newest hardware key event, to wake event streams.
    pub on_device: Announce,
    /// The metrics, which the server counts into as well.
    pub metrics: Metrics,
    /// How far Landlock confines the process, as shown by [`Call::Version`].
    pub confinement: Confinement,
}

/// How far the kernel keeps the process from files, programs and sockets that it does not need (Landlock).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confinement {
    /// All requested restrictions are in force.
    Full,
    /// Only the restrictions that this kernel supports are in force.
    Partial,
    /// No restriction is in force: the kernel has no Landlock, or it is switched off.
    None,
}

impl Service {
    /// Replaces the policy from the next request on. Returns the names of the changed settings that keep their old
    /// value until a restart.
    pub fn reload(&self, mut policy: Policy) -> Vec<&'static str> {
        let mut kept = Vec::new();
        let old = self.policy();
        // Objects built at start depend on these settings, so their old values stay in force.
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

    /// Adds a peer rule to the policy from the next request on. Used for rules whose user or group name was unknown at
    /// start.
    pub fn admit(&self, rule: PeerRule) {
        let mut policy = self.policy.write().unwrap_or_else(PoisonError::into_inner);
        Arc::make_mut(&mut policy).peers.push(rule);
    }

    /// Returns the policy in force now. A reload does not change the returned value.
    fn policy(&self) -> Arc<Policy> {
        // A panic under this lock cannot leave half a policy, so poisoning is ignored.
        Arc::clone(&self.policy.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Builds the service over an open store. Writes nothing; call [`Service::make_ready`] before the first call.
    pub fn new(store: Store, policy: Policy, dependencies: Dependencies, now: &Moment) -> Result<Self, Error> {
        let passwords = Passwords::new(policy.hashing)?;
        let Dependencies { key_store, devices, security_keys, on_device, metrics, confinement } = dependencies;
        Ok(Self {
            decoy: Arc::new(decoy::Decoy::new(store.vault())?),
            // `make_ready` loads the signing keys.
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

    /// Prepares the store for the first call: checks the relying party, runs housekeeping, and makes signing keys if
    /// there are none.
    pub fn make_ready(&self, now: &Moment) -> Result<(), Error> {
        self.check_relying_party()?;
        self.tend(now)?;
        self.make_receipt_key(now.wall_ms)
    }

    /// Returns the metrics, for the server to count into.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Returns whether the process must end because it is unknown whether a write reached the disk (STO-6).
    pub fn has_failed(&self) -> bool {
        self.store.has_failed()
    }

    /// Returns the damage that a database check found, if that is why the process must end.
    pub fn damage(&self) -> Option<&str> {
        self.store.damage()
    }

    /// Gives back memory that makes the next calls faster but is not needed.
    pub fn shrink(&self) {
        if let Err(fault) = self.store.shrink(OWN_PATIENCE) {
            tracing::debug!(%fault, "the caches of the store were not emptied");
        }
    }

    /// Closes the store after the writes in progress. Takes the service by value, so no call can follow.
    pub fn close(self) {
        self.store.close();
    }

    fn with_keys<T>(&self, job: impl FnOnce(&KeySet) -> T) -> T {
        job(&self.keys.read().unwrap_or_else(PoisonError::into_inner))
    }
}
