//! The use cases. [`Service::handle`] is the only way from a [`Call`] to a [`Reply`]: each arm
//! authorises once, then calls one use case. It knows no HTTP, no SQL, no clock.

mod audit;
mod authenticate;
mod authorise;
mod call;
mod devices;
mod enroll;
mod hasher;
mod health;
mod local_keys;
mod locks;
mod master_key;
mod metrics;
mod password;
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

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::device::{Devices, SecurityKeys};
use crate::error::Error;
use crate::model::{Moment, Peer, Right, SecretId, Sensitive, Text, UserId, scrub_stack};
use crate::store::{AuditEntry, Decision, Fault, Outcome, Store, Tx, View};
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Mutex, PoisonError, RwLock};
use crate::token::KeySet;

pub use crate::fido::{RelyingParty, Verification};
pub use crate::oath::OtpauthUri;
pub use crate::store::{Backup, MasterKey, Phase};
pub use call::{
    AuditView, AuthView, Call, FirstCode, ImportOrder, MfaOrder, NewUserOrder, Proof, Reply, SecretChange, SecretOrder,
    SecretRef, SecretView, UserChange, UserView,
};
pub use devices::{
    AccountView, Activation, Announce, AppletView, Attestation, CredentialView, DeviceEvent, DeviceOfSecret, DeviceRef,
    GenuineView, KeyState, KeyView, OnDevice, PROOFS, PasswordChange, PivSlot, ProvisionOrder, Recipient, ReturnedView,
};
pub use hasher::HashCost;
pub use local_keys::{SecurityKeyFacts, SecurityKeyView};
pub use master_key::{KeySource, MasterKeyStore, MasterKeyView};
pub use metrics::Metrics;
pub use policy::{PeerRule, Policy, Who};
pub use repeat::Told;
pub use secrets::LONGEST_URI;
pub use security_keys::KeyOrder;

use authorise::Scope;

/// How long the daemon waits for the store on its own behalf, at a start or in housekeeping.
const OWN_PATIENCE: Duration = Duration::from_secs(30);

/// Who asks, when, and how long they wait.
#[derive(Clone, Debug)]
pub struct RequestContext {
    /// The caller.
    pub caller: Caller,
    /// When the request arrived.
    pub now: Moment,
    /// How long each wait inside may last.
    pub patience: Duration,
    /// The request's id, as in its answer and in the audit log.
    pub request: String,
    /// Whether the caller is still there.
    pub cancellation: CancellationToken,
}

/// Notes that a caller has left. What is being stored does not stop for it (STO-7); a wait for a touch does.
#[derive(Clone, Debug, Default)]
pub struct CancellationToken(Arc<AtomicBool>);

impl CancellationToken {
    /// The caller is gone.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether that was noted.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// The caller as the door saw it.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The peer, from the kernel.
    pub peer: Peer,
    /// The text of a token, unchecked.
    pub token: Option<Arc<Sensitive<String>>>,
    /// Why an administrator does this.
    pub reason: Option<Text>,
}

/// What became of a call that was not to wait.
pub enum AsyncOutcome {
    /// It was carried out.
    Done(Result<Reply, Error>),
    /// It has to be given a thread.
    NeedsThread(Call),
}

/// The daemon's work, behind whatever server.
pub struct Service {
    store: Store,
    keys: RwLock<KeySet>,
    policy: RwLock<Arc<Policy>>,
    hasher: hasher::Hasher,
    locks: locks::Locks,
    metrics: Metrics,
    decoy: Arc<second_factor::Decoy>,
    attached: devices::AttachedDevices,
    security_keys: Arc<dyn SecurityKeys>,
    key_store: Box<dyn MasterKeyStore>,
    rotation: master_key::RotationProgress,
    ceremonies: security_keys::Ceremonies,
    rates: rates::Rates,
    probed: health::Probed,
    confinement: Confinement,
    /// Wall clock minus boot clock at the start, in milliseconds.
    clock_at_start: i64,
    /// Wall clock minus boot clock when it was last looked at, in milliseconds.
    clock_offset: Mutex<Option<i64>>,
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

/// Why a writing job stops.
enum Stop {
    /// Refused; what the job changed is undone.
    Rollback(Error),
    /// Refused; what the job changed (a count, an audit row) is kept.
    Commit(Error),
    /// The store failed; everything is undone.
    Fault(Fault),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Rollback(error)
    }
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
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

    /// Takes an open store, the policy and the equipment. Nothing is written before [`Service::make_ready`].
    pub fn new(store: Store, policy: Policy, equipment: Dependencies, now: &Moment) -> Result<Self, Error> {
        let hasher = hasher::Hasher::new(policy.hashing)?;
        let Dependencies { key_store, devices, security_keys, on_device, metrics, confinement } = equipment;
        Ok(Self {
            decoy: Arc::new(second_factor::Decoy::new(store.vault())?),
            keys: RwLock::new(KeySet::new(policy.issuer.clone(), Vec::new())),
            store,
            policy: RwLock::new(Arc::new(policy)),
            hasher,
            locks: locks::Locks::default(),
            metrics,
            attached: devices::AttachedDevices::new(devices, on_device),
            security_keys,
            key_store,
            rotation: master_key::RotationProgress::default(),
            ceremonies: security_keys::Ceremonies::default(),
            rates: rates::Rates::default(),
            probed: health::Probed::default(),
            confinement,
            clock_at_start: tokens::offset_of(now),
            clock_offset: Mutex::new(None),
        })
    }

    /// What has to be there before the first call: makes the first signing keys if there are none.
    pub fn make_ready(&self, now: &Moment) -> Result<(), Error> {
        self.check_relying_party()?;
        self.tend(now)?;
        self.make_receipt_key(now.wall_ms)
    }

    /// Carries out one call.
    pub fn handle(&self, context: &RequestContext, call: Call) -> Result<Reply, Error> {
        let done = self.dispatch(context, call);
        scrub_stack();
        done.inspect_err(|error| self.note_tampering(context, error))
    }

    /// Carries out a call that waits for nothing but the store's writer, without a thread that waits. Those that may wait
    /// for anything else come back.
    pub async fn handle_async(&self, context: &RequestContext, call: Call) -> AsyncOutcome {
        let done = match call {
            Call::Live | Call::Version | Call::KeySet | Call::AuthMethods => self.dispatch(context, call),
            // An API key would have its use written down first.
            Call::Verify(user, Proof::Token(token)) if context.caller.token.is_none() => {
                match self.right(context, Right::App) {
                    Ok(()) => self.verify_async(context, user, token).await,
                    Err(error) => Err(error),
                }
            }
            Call::AnswerChallenge(Proof::Token(token)) => match self.challenge(context) {
                Ok(claims) => self.answer_challenge_async(context, claims, token).await,
                Err(error) => Err(error),
            },
            other => return AsyncOutcome::NeedsThread(other),
        };
        scrub_stack();
        if let Err(Error::Tampered(_)) = &done {
            log_unwritten(self.change_async(context, note_tampering).await);
        }
        AsyncOutcome::Done(done)
    }

    /// A sealed value that does not open leaves a row in the audit log (KEY-3). The call that met it
    /// was undone, so the row is a write of its own.
    fn note_tampering(&self, context: &RequestContext, error: &Error) {
        let Error::Tampered(_) = error else { return };
        log_unwritten(self.change(context, note_tampering));
    }

    #[inline(never)]
    fn dispatch(&self, context: &RequestContext, call: Call) -> Result<Reply, Error> {
        match call {
            Call::CreateUser(order) => {
                self.may_register_as(context, &order)?;
                self.create_user(context, order)
            }
            Call::ListUsers { after, limit } => {
                self.right(context, Right::App)?;
                self.list_users(context, after, limit)
            }
            Call::ShowUser(user) => {
                let access = self.access_to(context, user, Scope::Enrolment)?;
                self.show_user(context, &access)
            }
            Call::UpdateUser(user, change) => {
                let access = self.access_to(context, user, Scope::Full)?;
                self.count_change(context, &access)?;
                self.update_user(context, access, change)
            }
            Call::DeleteUser(user) => {
                let access = self.access_to(context, user, Scope::Full)?;
                self.delete_user(context, access)
            }
            Call::UnlockUser(user) => {
                let access = self.access_to(context, user, Scope::Administration)?;
                self.unlock_user(context, &access)
            }
            Call::CreateSecret(user, SecretOrder::Mfa(order)) => {
                let access = self.access_to(context, user, Scope::Enrolment)?;
                self.count_factor(context, &access)?;
                self.create_factor(context, access, order)
            }
            Call::CreateSecret(user, SecretOrder::Hardware(order)) => {
                let access = self.access_to(context, user, Scope::Enrolment)?;
                self.count_factor(context, &access)?;
                self.provision(context, access, order)
            }
            Call::CreateSecret(user, SecretOrder::Key(order)) => {
                let access = self.access_to(context, user, Scope::Enrolment)?;
                self.count_factor(context, &access)?;
                self.create_key(context, access, order)
            }
            Call::CreateSecret(user, SecretOrder::LocalKey(order, pin)) => {
                let access = self.access_to(context, user, Scope::Enrolment)?;
                self.count_factor(context, &access)?;
                self.register_here(context, &access, order, pin.as_ref())
            }
            Call::CreateSecret(user, SecretOrder::Password(password)) => {
                let access = self.access_to(context, user, Scope::Full)?;
                self.count_change(context, &access)?;
                self.create_password(context, access, &password)
            }
            Call::CreateSecret(user, SecretOrder::ApiKey { name }) => {
                let access = self.access_to(context, user, Scope::Full)?;
                self.count_change(context, &access)?;
                self.create_api_key(context, access, name)
            }
            Call::ImportFactor(user, order) => {
                let access = self.access_to(context, user, Scope::Administration)?;
                self.import_factor(context, access, order)
            }
            Call::ListSecrets(user) => {
                let access = self.access_to(context, user, Scope::Enrolment)?;
                self.list_secrets(context, &access)
            }
            Call::ShowSecret(user, secret) => {
                let access = self.access_to(context, user, Scope::Enrolment)?;
                self.show_secret(context, &access, secret)
            }
            Call::ChangeSecret(user, secret, change) => {
                let access = self.access_to(context, user, Scope::Full)?;
                self.count_change(context, &access)?;
                self.change_secret(context, access, secret, change)
            }
            Call::Enroll(user, secret, first) => {
                let access = self
                    .access_to(context, user, Scope::Enrolment)
                    .map_err(|refusal| self.late_enrolment(context, user, secret, refusal))?;
                self.enroll_with(context, &access, secret, first)
            }
            Call::ChangePassword { user, new, current } => {
                let access = self.access_to(context, user, Scope::Full)?;
                self.change_password(context, access, &new, current.as_ref())
            }
            Call::RenewCodes(user) => {
                let access = self.access_to(context, user, Scope::Full)?;
                self.count_change(context, &access)?;
                self.renew_codes(context, access)
            }
            Call::DeleteSecret(user, secret, on_device) => {
                let access = self.access_to(context, user, Scope::Full)?;
                self.delete_secret(context, access, secret, on_device)
            }
            Call::AuthMethods => Ok(Reply::AuthMethods {
                open_registration: self.policy().open_registration,
                mfa_required: self.policy().mfa_required,
                security_keys: self.policy().relying_party.is_some(),
            }),
            Call::AskForOwnKey => self.ask_for_own_key(context),
            Call::AskForKeyOf(user) => {
                self.right(context, Right::App)?;
                self.ask_for_key_of(context, user)
            }
            Call::LogIn { login, password } => self.log_in(context, &login, &password),
            Call::AnswerChallenge(proof) => {
                let claims = self.challenge(context)?;
                self.answer_challenge(context, claims, proof)
            }
            Call::StepUp { proof, action, redeemer } => {
                let signed = self.session(context)?;
                self.step_up(context, signed, proof, &action, redeemer)
            }
            Call::RedeemReceipt { receipt, action } => {
                let redeemer = self.redeemer(context)?;
                self.redeem_receipt(context, redeemer, &receipt, &action)
            }
            Call::Refresh => self.refresh(context),
            Call::LogOut => {
                let signed = self.session(context)?;
                self.log_out(context, signed)
            }
            Call::Verify(user, proof) => {
                self.right(context, Right::App)?;
                self.verify(context, user, proof)
            }
            Call::KeySet => Ok(Reply::KeySet(self.with_keys(KeySet::public_keys))),
            Call::ReceiptKeys => self.receipt_keys(),
            Call::ListDevices => {
                self.right(context, Right::App)?;
                self.list_devices(context)
            }
            Call::ListSecurityKeys => {
                self.right(context, Right::App)?;
                self.list_security_keys(context)
            }
            Call::ShowDevice(serial) => {
                self.right(context, Right::App)?;
                let with_escrow = self.right(context, Right::Admin).is_ok();
                self.show_device(context, serial, with_escrow)
            }
            Call::DeviceEvents { after } => {
                self.right(context, Right::App)?;
                Ok(self.device_events(after))
            }
            Call::DeviceAccounts(serial) => {
                self.right(context, Right::Admin)?;
                self.device_accounts(context, serial)
            }
            Call::RenameAccount(serial, name, new) => {
                self.right_with_reason(context)?;
                self.rename_account(context, serial, &name, &new)
            }
            Call::DeleteAccount(serial, name) => {
                self.right_with_reason(context)?;
                self.delete_account(context, serial, &name)
            }
            Call::ResetDevice(serial) => {
                self.right_with_reason(context)?;
                self.reset_device(context, serial)
            }
            Call::ChangeDevicePassword { serial, change, current } => {
                self.right_with_reason(context)?;
                self.change_device_password(context, serial, change, current.as_ref())
            }
            Call::AttestDevice(serial, slot) => {
                self.right(context, Right::Admin)?;
                self.attest_device(context, serial, slot)
            }
            Call::ReturnDevice(serial) => {
                self.right_with_reason(context)?;
                self.return_device(context, serial)
            }
            Call::AuditRows { after, limit } => {
                self.right(context, Right::Audit)?;
                self.audit_rows(context, after, limit)
            }
            Call::ShowKey => {
                self.right(context, Right::Admin)?;
                self.show_key(context)
            }
            Call::RotateKey(next) => {
                self.right_with_reason(context)?;
                self.rotate_key(context, next)
            }
            Call::BackUp => {
                self.right_with_reason(context)?;
                self.back_up(context)
            }
            Call::Live => Ok(Reply::Live),
            Call::Ready => self.ready(context),
            Call::Metrics => {
                self.right(context, Right::Audit)?;
                self.metrics_text(context)
            }
            Call::Version => Ok(Reply::Version {
                sqlite: crate::store::sqlite_version(),
                confinement: self.confinement,
                are_keys_locked: self.store.vault().are_keys_locked(),
            }),
        }
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

    /// Runs a writing job; returns once what it changed is durable.
    fn change<T: Send + 'static>(&self, context: &RequestContext, job: impl Job<T>) -> Result<T, Error> {
        self.change_within(context.patience, context, job)
    }

    /// The same with another limit on the wait.
    fn change_within<T: Send + 'static>(
        &self,
        patience: Duration,
        context: &RequestContext,
        job: impl Job<T>,
    ) -> Result<T, Error> {
        let context = context.clone();
        self.store.write(patience, move |tx| decide(job(tx, &context)))?
    }

    /// The same without a thread that waits. The change is made even if nobody waits for its end any more (STO-7).
    async fn change_async<T: Send + 'static>(&self, context: &RequestContext, job: impl Job<T>) -> Result<T, Error> {
        let (done, answer) = oneshot::channel();
        let job_context = context.clone();
        self.store.submit(move |tx| decide(job(tx, &job_context)), move |outcome| drop(done.send(outcome)))?;
        match tokio::time::timeout(context.patience, answer).await {
            Ok(outcome) => outcome.unwrap_or(Err(Fault::Failed))?,
            Err(_) => Err(Fault::Busy.into()),
        }
    }

    fn look<T>(&self, context: &RequestContext, job: impl FnOnce(&View<'_>) -> Result<T, Fault>) -> Result<T, Error> {
        Ok(self.store.read(context.patience, job)?)
    }

    fn with_keys<T>(&self, job: impl FnOnce(&KeySet) -> T) -> T {
        job(&self.keys.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A writing job.
trait Job<T>: FnOnce(&Tx<'_>, &RequestContext) -> Result<T, Stop> + Send + 'static {}

impl<T, F: FnOnce(&Tx<'_>, &RequestContext) -> Result<T, Stop> + Send + 'static> Job<T> for F {}

/// What is kept of a job's changes.
fn decide<T>(outcome: Result<T, Stop>) -> Result<Decision<Result<T, Error>>, Fault> {
    match outcome {
        Ok(value) => Ok(Decision::Commit(Ok(value))),
        Err(Stop::Commit(error)) => Ok(Decision::Commit(Err(error))),
        Err(Stop::Rollback(error)) => Ok(Decision::Rollback(Err(error))),
        Err(Stop::Fault(fault)) => Err(fault),
    }
}

fn note_tampering(tx: &Tx<'_>, context: &RequestContext) -> Result<(), Stop> {
    Ok(tx.audit(&context.entry("store.tampered", Outcome::Refused, None, None))?)
}

fn log_unwritten(noted: Result<(), Error>) {
    if let Err(error) = noted {
        tracing::error!(%error, "tampering could not be written to the audit log");
    }
}

impl RequestContext {
    /// The context of what the daemon does by itself.
    fn of_host(now: &Moment) -> Self {
        let random = crate::entropy::public().unwrap_or_default();
        Self {
            caller: Caller {
                peer: Peer {
                    uid: rustix::process::geteuid().as_raw(),
                    gid: rustix::process::getegid().as_raw(),
                    groups: Vec::new(),
                    pid: i32::try_from(std::process::id()).ok(),
                },
                token: None,
                reason: None,
            },
            now: *now,
            patience: OWN_PATIENCE,
            request: SecretId::at(now.wall_ms, &random).to_string(),
            cancellation: CancellationToken::default(),
        }
    }

    /// The reason an administrator gave, as the audit log keeps it.
    fn reason(&self) -> Option<String> {
        self.caller.reason.as_ref().map(|reason| reason.as_str().to_owned())
    }

    /// An audit row of this request.
    fn entry(
        &self,
        event: &'static str,
        outcome: Outcome,
        subject: Option<UserId>,
        object: Option<SecretId>,
    ) -> AuditEntry {
        AuditEntry {
            at: self.now.wall_ms,
            event,
            subject,
            object,
            peer_uid: Some(self.caller.peer.uid),
            peer_pid: self.caller.peer.pid,
            request: Some(self.request.clone()),
            outcome,
            detail: None,
        }
    }

    /// The same with a detail for people.
    fn entry_with(
        &self,
        event: &'static str,
        outcome: Outcome,
        subject: Option<UserId>,
        object: Option<SecretId>,
        detail: impl Into<String>,
    ) -> AuditEntry {
        AuditEntry { detail: Some(detail.into()), ..self.entry(event, outcome, subject, object) }
    }

    fn new_secret_id(&self) -> Result<SecretId, Fault> {
        Ok(SecretId::at(self.now.wall_ms, &crate::entropy::public()?))
    }
}
