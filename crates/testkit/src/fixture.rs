//! The service with virtual keys and a real store, in this process, for tests that inject hundreds of faults at chosen
//! points. Behaviour that is visible through the real daemon is tested there.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use mfad::http::Clock;
use mfad_core::model::{
    Algorithm, Digits, HostLogin, HostUser, Limits, Moment, OtpKind, Peer, Period, Profile, Sensitive, Text,
    TokenInput, UserId, UserName, UserRef,
};
use mfad_core::oath::Window;
use mfad_hardware::device::{Devices, SecurityKeys, Slot};
use mfad_service::error::Error;
use mfad_service::token::TokenFormat;
use mfad_service::{
    Activation, Attestation, AuditRow, Call, Caller, CancellationToken, Confinement, Dependencies, DeviceEvent,
    DeviceRef, HashCost, KeySource, KeyView, MasterKey, MasterKeyStore, Metrics, NewUserOrder, Policy, Proof,
    ProvisionOrder, RelyingParty, Reply, RequestContext, SecretOrder, SecretView, Service, UserChange,
};
use mfad_store::{Listeners, Store};
use tempfile::TempDir;

use crate::card::{Key, Reader, VirtualDevices};
use crate::fido::{self, VirtualPorts};

const PATIENCE: Duration = Duration::from_secs(10);

/// A service over virtual readers, with one user.
pub struct HardwareFixture {
    pub service: Service,
    pub devices: Arc<VirtualDevices>,
    pub readers: Vec<Reader>,
    pub ports: Arc<VirtualPorts>,
    pub user: UserId,
    pub clock: Clock,
    /// Number of the newest event that the service has announced.
    announced: Arc<AtomicU64>,
    dir: TempDir,
}

pub fn profile(algorithm: Algorithm, digits: u64, moving: OtpKind) -> Profile {
    Profile { algorithm, digits: Digits::new(digits).unwrap(), moving }
}

pub fn totp() -> Profile {
    profile(Algorithm::Sha1, 6, OtpKind::Totp(Period::THIRTY))
}

/// Returns the moment `millis` milliseconds later, on both clocks.
pub fn after(begin: Moment, millis: i64) -> Moment {
    Moment { wall_ms: begin.wall_ms + millis, boot_ms: begin.boot_ms + millis, ..begin }
}

pub fn hotp() -> Profile {
    profile(Algorithm::Sha1, 6, OtpKind::Hotp)
}

pub fn by_device(profile: Profile) -> ProvisionOrder {
    ProvisionOrder { activation: Activation::ByDevice, ..order(profile) }
}

pub fn order(profile: Profile) -> ProvisionOrder {
    ProvisionOrder {
        name: None,
        profile,
        issuer: None,
        account: None,
        device: DeviceRef::Any,
        password: None,
        touch: false,
        activation: Activation::ByCode,
        replace: false,
        protect: false,
        spare_of: None,
    }
}

impl HardwareFixture {
    /// Creates a fixture with this number of empty readers.
    pub fn new(readers: usize) -> Self {
        Self::with_policy(readers, policy())
    }

    fn with_policy(readers: usize, policy: Policy) -> Self {
        Self::with_ports(readers, policy, Arc::default())
    }

    fn with_ports(readers: usize, policy: Policy, ports: Arc<VirtualPorts>) -> Self {
        let dir = tempfile::Builder::new().prefix("mfad-it-").tempdir().unwrap();
        mfad_store::create(dir.path(), &key()).unwrap();
        let readers: Vec<Reader> = (0..readers).map(|_| Reader::new()).collect();
        let named = readers.iter().enumerate().map(|(n, reader)| (format!("Yubico YubiKey {n:02}"), reader.clone()));
        let devices = Arc::new(VirtualDevices::new(named.collect()));
        let clock = Clock::new().unwrap();
        let announced = Arc::default();
        let service = open(&dir, policy, (&devices, &ports), &clock, &announced).unwrap();
        let user = UserId::at(0, &[0; 10]);
        let mut fixture = Self { service, devices, readers, ports, user, clock, announced, dir };
        fixture.user = fixture.new_user("ann");
        fixture
    }

    /// Ends the service, and starts another one on the same store.
    pub fn restart(self) -> Self {
        self.restart_under(policy())
    }

    /// As [`Self::restart`], with a higher cost of password hashes.
    pub fn restart_with_dearer_hashes(self) -> Self {
        let mut dearer = policy();
        dearer.hashing.memory_kib *= 2;
        self.restart_under(dearer)
    }

    fn restart_under(self, policy: Policy) -> Self {
        let Self { service, devices, readers, ports, user, clock, announced, dir } = self;
        service.close();
        // A store with a foreign trigger does not open.
        let store = rusqlite::Connection::open(dir.path().join(mfad_store::DATABASE)).unwrap();
        store.execute_batch("DROP TRIGGER IF EXISTS refusal").unwrap();
        drop(store);
        let service = open(&dir, policy, (&devices, &ports), &clock, &announced).unwrap();
        Self { service, devices, readers, ports, user, clock, announced, dir }
    }

    /// Ends the service, and returns the bytes of its store.
    pub fn store_at_the_end(self) -> Vec<u8> {
        self.service.close();
        std::fs::read(self.dir.path().join(mfad_store::DATABASE)).unwrap()
    }

    /// Starts a service on a store of these bytes, without a reader; `None` if the store does not open.
    pub fn on_store(bytes: &[u8]) -> Option<Self> {
        // In memory: a test may ask for thousands.
        let dir = tempfile::Builder::new().prefix("mfad-it-").tempdir_in("/dev/shm").unwrap();
        let path = dir.path().join(mfad_store::DATABASE);
        std::fs::write(&path, bytes).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        let devices = Arc::new(VirtualDevices::new(Vec::new()));
        let clock = Clock::new().unwrap();
        let announced = Arc::default();
        let ports = Arc::default();
        let service = open(&dir, policy(), (&devices, &ports), &clock, &announced)?;
        let user = UserId::at(0, &[0; 10]);
        Some(Self { service, devices, readers: Vec::new(), ports, user, clock, announced, dir })
    }

    /// Makes the store refuse one kind of write, such as `INSERT ON audit`, with the message `why`.
    pub fn refuse(&self, write: &str, why: &str) {
        self.behind(&format!("CREATE TRIGGER refusal BEFORE {write} BEGIN SELECT RAISE(ABORT, '{why}'); END"));
    }

    /// Makes the store accept all writes again.
    pub fn refuse_nothing(&self) {
        self.behind("DROP TRIGGER IF EXISTS refusal");
    }

    /// Deletes the record of the steps that were used while the clock was ahead.
    pub fn forget_future_steps(&self) {
        self.behind("DELETE FROM future_steps");
    }

    /// Runs a statement on the database file, bypassing the service.
    pub fn behind(&self, statement: &str) {
        let store = rusqlite::Connection::open(self.dir.path().join(mfad_store::DATABASE)).unwrap();
        store.execute_batch(&format!("PRAGMA synchronous = OFF; {statement}")).unwrap();
    }

    pub fn new_user(&self, name: &str) -> UserId {
        self.make_user(name, None)
    }

    pub fn make_user(&self, name: &str, password: Option<&str>) -> UserId {
        let order = NewUserOrder {
            id: None,
            name: UserName::parse(name).unwrap(),
            display_name: None,
            email: None,
            password: password.map(|password| Sensitive::new(password.to_owned())),
        };
        match self.ask(Call::CreateUser(order)) {
            Ok(Reply::UserCreated { user, .. }) => user.id,
            _ => panic!("no user"),
        }
    }

    /// Creates a fixture with one reader that holds this key.
    pub fn with_key(key: Key) -> Self {
        let fixture = Self::new(1);
        fixture.readers[0].insert(key);
        fixture.attend();
        fixture
    }

    /// Creates a fixture with this number of readers, whose keys have the serial numbers from 1 on.
    pub fn with_keys(keys: usize) -> Self {
        let fixture = Self::new(keys);
        for (reader, number) in fixture.readers.iter().zip(1..) {
            reader.insert(Key::new(number));
        }
        fixture.attend();
        fixture
    }

    /// Creates a fixture with one reader for each of these keys, whose security key is in a port of the same USB device.
    /// The service is a relying party.
    pub fn with_both_sides(keys: impl IntoIterator<Item = (Key, fido::Key)>) -> Self {
        let origin = url::Url::parse("https://login.example.org").unwrap();
        let party = RelyingParty::new("example.org", &[origin], "mfad").unwrap();
        let keys: Vec<(Key, fido::Key)> = keys.into_iter().collect();
        let policy = Policy { relying_party: Some(Arc::new(party)), ..policy() };
        let fixture = Self::with_ports(keys.len(), policy, Arc::default());
        for (reader, (key, side)) in fixture.readers.iter().zip(keys) {
            reader.insert(key);
            fixture.ports.plug_in_at(side, reader.usb().map(|usb| usb.place));
        }
        fixture.attend();
        fixture
    }

    /// Creates a fixture with one reader that holds this key, under these settings of attestation.
    pub fn under(attestation: Attestation, key: Key) -> Self {
        let fixture = Self::with_policy(1, Policy { attestation, ..policy() });
        fixture.reader().insert(key);
        fixture.attend();
        fixture
    }

    pub fn reader(&self) -> &Reader {
        &self.readers[0]
    }

    pub fn context(&self) -> RequestContext {
        RequestContext {
            caller: Caller {
                peer: Peer { uid: 0, gid: 0, groups: Vec::new(), pid: None },
                token: None,
                reason: Some(Text::parse("a test", 64).unwrap()),
            },
            now: self.clock.now(),
            patience: PATIENCE,
            request: "test".to_owned(),
            cancellation: CancellationToken::default(),
        }
    }

    pub fn ask(&self, call: Call) -> Result<Reply, Error> {
        self.service.handle(&self.context(), call)
    }

    /// As [`Self::ask`], at a moment that the test chooses.
    pub fn ask_at(&self, now: Moment, call: Call) -> Result<Reply, Error> {
        self.service.handle(&RequestContext { now, ..self.context() }, call)
    }

    /// Does the work of the daemon's device thread after keys were inserted or removed. Returns the slots of new keys.
    pub fn attend(&self) -> Vec<Slot> {
        let (_, new) = self.service.attend_devices(u64::MAX, Duration::ZERO, &self.clock.now());
        for slot in new.iter().chain(&self.service.unsettled_slots()) {
            self.service.contact(slot, &self.clock.now());
        }
        new
    }

    pub fn provision(&self, order: ProvisionOrder) -> Result<SecretView, Error> {
        match self.ask(Call::CreateSecret(UserRef::Id(self.user), SecretOrder::Hardware(order)))? {
            Reply::Provisioned { secret, .. } => Ok(secret),
            _ => panic!("another answer"),
        }
    }

    /// Creates a secret as a user who has logged in and has no right besides.
    pub fn create_by_own_token(
        &self,
        user: UserId,
        name: &str,
        password: &str,
        order: SecretOrder,
    ) -> Result<Reply, Error> {
        let login = Call::LogIn { login: name.to_owned(), password: Sensitive::new(password.to_owned()) };
        let Ok(Reply::Auth(auth)) = self.ask(login) else { panic!("no login") };
        let mut context = self.context();
        context.caller.reason = None;
        context.caller.token = Some(Arc::new(auth.token));
        self.service.handle(&context, Call::CreateSecret(UserRef::Id(user), order))
    }

    /// As [`Self::provision`], by a user who has logged in and has no right besides.
    pub fn provision_by_own_token(
        &self,
        user: UserId,
        name: &str,
        password: &str,
        order: ProvisionOrder,
    ) -> Result<SecretView, Error> {
        match self.create_by_own_token(user, name, password, SecretOrder::Hardware(order))? {
            Reply::Provisioned { secret, .. } => Ok(secret),
            _ => panic!("another answer"),
        }
    }

    /// Reads one number from the database file, bypassing the service.
    pub fn of_store(&self, query: &str) -> i64 {
        let store = rusqlite::Connection::open(self.dir.path().join(mfad_store::DATABASE)).unwrap();
        store.query_row(query, [], |row| row.get(0)).unwrap()
    }

    pub fn secrets(&self) -> Vec<SecretView> {
        match self.ask(Call::ListSecrets(UserRef::Id(self.user))) {
            Ok(Reply::Secrets(secrets)) => secrets.into_iter().filter(|secret| secret.kind == "mfa").collect(),
            _ => panic!("no list"),
        }
    }

    /// The keys that are plugged in.
    pub fn keys(&self) -> Vec<KeyView> {
        match self.ask(Call::ListDevices) {
            Ok(Reply::Devices(keys)) => keys,
            _ => panic!("no list"),
        }
    }

    /// Returns the events after that number, and the number of the newest.
    pub fn events_after(&self, after: u64) -> (Vec<DeviceEvent>, u64) {
        match self.ask(Call::DeviceEvents { after: Some(after) }) {
            Ok(Reply::DeviceEvents { events, next }) => (events, next),
            _ => panic!("no events"),
        }
    }

    pub fn announced(&self) -> u64 {
        self.announced.load(Ordering::SeqCst)
    }

    pub fn audit(&self) -> Vec<AuditRow> {
        match self.ask(Call::AuditRows { after: 0, limit: 500 }) {
            Ok(Reply::Audit { events, .. }) => events,
            _ => panic!("no rows"),
        }
    }

    /// Returns the details of all audit rows with this event.
    pub fn noted(&self, event: &str) -> Vec<String> {
        let rows = self.audit().into_iter().filter(|row| row.event == event);
        rows.map(|row| row.detail.unwrap_or_default()).collect()
    }

    pub fn verify(&self, code: &str) -> Result<(), Error> {
        let token = TokenInput::from_text(code).expect("a code");
        self.ask(Call::Verify(UserRef::Id(self.user), Proof::Token(token))).map(drop)
    }

    pub fn verify_by_key(&self) -> Result<(), Error> {
        self.ask(Call::Verify(UserRef::Id(self.user), Proof::Device { pin: None })).map(drop)
    }

    /// Lets the user stand for the account of its name.
    pub fn give_account(&self) {
        let Ok(Reply::User(user)) = self.ask(Call::ShowUser(UserRef::Id(self.user))) else { panic!("no user") };
        let roles = Some(vec!["host".to_owned()]);
        let change =
            UserChange { version: user.version, name: None, display_name: None, email: None, disabled: None, roles };
        self.ask(Call::UpdateUser(UserRef::Id(self.user), change)).expect("an administrator may");
    }

    /// A login to this host by the key in the reader, as root's PAM modules ask for.
    pub fn host_login_by_key(&self, name: &str) -> Result<(), Error> {
        let name = UserName::parse(name).expect("a name");
        let service = Text::parse("login", 64).expect("a service");
        let login = HostLogin { service, ruser: None, rhost: None, tty: None };
        self.ask(Call::VerifyHostLogin(HostUser::Name(name), Proof::Device { pin: None }, login)).map(drop)
    }

    /// Returns the names of all accounts on the key, which is in the reader or beside it.
    pub fn names_on_key(&self) -> Vec<String> {
        self.reader().with_key(|key| {
            key.accounts().iter().map(|account| String::from_utf8_lossy(&account.name).into_owned()).collect()
        })
    }
}

/// A master key in a place that the daemon cannot write, as with a systemd credential.
pub struct NoKeyStore;

impl MasterKeyStore for NoKeyStore {
    fn source(&self) -> KeySource {
        KeySource::Credential
    }

    fn replace(&self, _: &MasterKey) -> Result<(), String> {
        Err("nobody asks for that here".to_owned())
    }
}

fn key() -> MasterKey {
    MasterKey::from_bytes(&[7; 32]).unwrap()
}

fn open(
    dir: &TempDir,
    policy: Policy,
    (devices, ports): (&Arc<VirtualDevices>, &Arc<VirtualPorts>),
    clock: &Clock,
    announced: &Arc<AtomicU64>,
) -> Option<Service> {
    let announced = Arc::clone(announced);
    let store = Store::open(dir.path(), None, &key(), Listeners::default()).ok()?;
    let equipment = Dependencies {
        key_store: Box::new(NoKeyStore),
        devices: Arc::clone(devices) as Arc<dyn Devices>,
        security_keys: Arc::clone(ports) as Arc<dyn SecurityKeys>,
        on_device: Box::new(move |newest| announced.store(newest, Ordering::SeqCst)),
        metrics: Metrics::default(),
        confinement: Confinement::None,
    };
    let service = Service::new(store, policy, equipment, &clock.now()).ok()?;
    service.make_ready(&clock.now()).ok()?;
    Some(service)
}

fn policy() -> Policy {
    let limits = |lock_after| Limits { delay_after: 5, lock_after };
    Policy {
        relying_party: None,
        open_registration: true,
        bind_tokens: true,
        mfa_required: false,
        imported_factors: mfad_service::ImportedFactors::Require,
        export: mfad_service::ExportPolicy::default(),
        issuer: "mfad".to_owned(),
        token_format: TokenFormat::default(),
        window: Window::DEFAULT,
        factor_limits: limits(Some(100)),
        password_limits: limits(None),
        // Far below the minimum of the configuration, so that tests do not wait for hashes.
        hashing: HashCost { memory_kib: 64, passes: 1, lanes: 1, workers: 2, queue: 64 },
        protect_keys: false,
        escrow: None,
        attestation: Attestation::default(),
        peers: Vec::new(),
    }
}
