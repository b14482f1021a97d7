//! The life of the process: arguments, files, key, store, socket, serve, drain. No business rules.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Parser, Subcommand};
use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use zeroize::Zeroize;

use crate::config::{Config, ConfigFault, EXAMPLE, LogFormat, Overrides};
use crate::device::{Devices, NoDevices, PcscDevices};
use crate::entropy;
use crate::error::Error;
use crate::http::{Clock, Door, serve};
use crate::model::Sensitive;
use crate::service::Service;
use crate::store::{self, MasterKey, OpenFault, Store};

/// The master key's file in the state directory.
const KEY_FILE: &str = "master.key";
/// The master key's name as a systemd credential.
const CREDENTIAL: &str = "mfad.key";
/// Held by the running daemon.
const LOCK_FILE: &str = "mfad.lock";
/// The pause between two rounds of housekeeping.
const TEND: Duration = Duration::from_secs(20);
/// The pause between two looks whether the store has failed.
const WATCH: Duration = Duration::from_secs(1);
/// Threads that may block: store, hashes.
const BLOCKING_THREADS: usize = 512;

/// The multi-factor authentication daemon of one host.
#[derive(Debug, Parser)]
#[command(name = "mfad", version, max_term_width = 100)]
struct Arguments {
    /// The configuration file [default: /etc/mfad/mfad.toml if it exists]
    #[arg(long, env = "MFAD_CONFIG", global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The directory of the database and the master key [default: /var/lib/mfad]
    #[arg(long, env = "MFAD_STATE_DIR", global = true, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// The Unix socket to serve on [default: /run/mfad/mfad.sock]
    #[arg(long, env = "MFAD_SOCKET", global = true, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// What to log: error, warn, info, debug, trace [default: info]
    #[arg(long, env = "MFAD_LOG", global = true, value_name = "LEVEL")]
    log: Option<String>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make the state directory, the master key and an empty database, once
    Init,
}

/// Why the process ends, other than well. Each has its own exit code.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("configuration: {0}")]
    Config(#[from] ConfigFault),
    #[error("another instance is running on {0}")]
    Running(PathBuf),
    #[error("{path}: {why}")]
    Unsafe { path: PathBuf, why: &'static str },
    #[error("{0}: there is no state directory; run `mfad init` first")]
    NotInitialised(PathBuf),
    #[error("{0}: the master key is missing")]
    NoKey(PathBuf),
    #[error("{0}: this is no master key: it has to have 32 bytes")]
    NoSuchKey(PathBuf),
    #[error("the store: {0}")]
    Store(OpenFault),
    #[error("{path}: {cause}")]
    File { path: PathBuf, cause: std::io::Error },
    #[error("socket {path}: {cause}")]
    Socket { path: PathBuf, cause: std::io::Error },
    #[error("a write reached an unknown state; restart to recover")]
    StoreFailed,
    #[error("{0}")]
    Internal(String),
}

impl Failure {
    /// The exit codes that `docs/errors.md` lists; 2 is clap's for wrong arguments.
    fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_) => 3,
            Self::Running(_) => 4,
            Self::Unsafe { .. } | Self::File { .. } => 5,
            Self::NotInitialised(_) => 6,
            Self::NoKey(_) => 7,
            Self::NoSuchKey(_) => 8,
            Self::Store(fault) => match fault {
                OpenFault::WrongKey => 8,
                OpenFault::Missing | OpenFault::Damaged(_) | OpenFault::Setting(_) | OpenFault::Fault(_) => 9,
                OpenFault::Newer { .. } => 10,
                OpenFault::Io(_) | OpenFault::Unsafe => 5,
                OpenFault::Exists => 13,
            },
            Self::Socket { .. } => 11,
            Self::StoreFailed => 12,
            Self::Internal(_) => 70,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::Internal(cause) => Self::Internal(cause),
            other => Self::Internal(other.to_string()),
        }
    }
}

/// Runs `mfad`.
#[expect(clippy::print_stderr, reason = "before and after the log is there, stderr is where admins look")]
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("mfad: {failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}

fn run(arguments: Arguments) -> Result<(), Failure> {
    harden()?;
    let is_init = matches!(arguments.command, Some(Command::Init));
    if let (true, Some(path)) = (is_init, &arguments.config) {
        write_example(path)?;
    }
    let config = Config::load(&Overrides {
        config: arguments.config,
        socket: arguments.socket,
        state_dir: arguments.state_dir,
        log: arguments.log,
    })?;
    if is_init { init(&config) } else { daemon(&config) }
}

/// Nothing of this process shall end up in a core dump or in a file that others read (MEM-4, STO-9).
fn harden() -> Result<(), Failure> {
    use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit, umask};
    let failed = |what: &str| Failure::Internal(format!("{what} could not be set"));
    umask(rustix::fs::Mode::from_raw_mode(0o077));
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) }).map_err(|_| failed("the core limit"))?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(|_| failed("the dump behaviour"))?;
    // The usual soft limit is less than the connections that are allowed by default.
    let files = rustix::process::getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: files.maximum, ..files }).map_err(|_| failed("the file limit"))
}

#[expect(clippy::print_stderr, reason = "an administrator reads what was made")]
fn init(config: &Config) -> Result<(), Failure> {
    let dir = &config.state_dir;
    make_state_dir(dir)?;
    check_state_dir(dir)?;
    let key_path = dir.join(KEY_FILE);
    if dir.join(store::DATABASE).exists() || key_path.exists() {
        return Err(Failure::Store(OpenFault::Exists));
    }
    let key = match credential_key()? {
        Some(key) => key,
        None => write_new_key(&key_path)?,
    };
    store::create(dir, &key).map_err(Failure::Store)?;
    eprintln!("mfad: made a new store in {}", dir.display());
    Ok(())
}

fn make_state_dir(dir: &Path) -> Result<(), Failure> {
    match fs::symlink_metadata(dir) {
        Ok(meta) if meta.is_dir() && is_ours(&meta) && is_empty(dir) => {
            fs::set_permissions(dir, fs::Permissions::from_mode(0o700)).map_err(|cause| file_fault(dir, cause))
        }
        Ok(_) => Ok(()),
        Err(_) => DirBuilder::new().mode(0o700).recursive(true).create(dir).map_err(|cause| file_fault(dir, cause)),
    }
}

fn is_empty(dir: &Path) -> bool {
    fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_none())
}

fn write_new_key(path: &Path) -> Result<MasterKey, Failure> {
    let key = entropy::secret::<32>().map_err(|cause| Failure::Internal(cause.to_string()))?;
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o400).open(path)?;
        file.write_all(key.expose())?;
        file.sync_all()
    };
    write().map_err(|cause| file_fault(path, cause))?;
    Ok(key)
}

/// A configuration that `init` is pointed to and that is not there yet is written with all defaults.
#[expect(clippy::print_stderr, reason = "an administrator reads what was made")]
fn write_example(path: &Path) -> Result<(), Failure> {
    let opened = OpenOptions::new().write(true).create_new(true).mode(0o644).open(path);
    let mut file = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => return Ok(()),
        Err(cause) => return Err(file_fault(path, cause)),
    };
    file.write_all(EXAMPLE.as_bytes()).map_err(|cause| file_fault(path, cause))?;
    eprintln!("mfad: wrote a configuration with all defaults to {}", path.display());
    Ok(())
}

fn daemon(config: &Config) -> Result<(), Failure> {
    start_log(config)?;
    std::panic::set_hook(Box::new(|panic| {
        // The place only: the message may hold what must not be logged (MEM-4).
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(place, "panic");
    }));
    let dir = &config.state_dir;
    if fs::symlink_metadata(dir).is_err() {
        return Err(Failure::NotInitialised(dir.clone()));
    }
    check_state_dir(dir)?;
    let _lock = lock(dir)?;
    let key = master_key(dir)?;
    let (audit_head, audit_seen) = watch::channel(0i64);
    let store = Store::open(dir, &key, move |seq| {
        audit_head.send_replace(seq);
    })
    .map_err(Failure::Store)?;
    drop(key);
    let clock = Clock::new().map_err(|cause| Failure::Internal(cause.to_string()))?;
    let (device_head, device_seen) = watch::channel(0u64);
    let on_device = Box::new(move |seq| {
        device_head.send_if_modified(|newest| std::mem::replace(newest, seq) != seq);
    });
    let service = Service::new(store, config.policy.clone(), hardware(config)?, on_device, &clock.now())?;
    let (close, closing) = watch::channel(false);
    let door = Door::new(service, clock, config.caps, audit_seen, device_seen, closing)
        .map_err(|cause| Failure::Internal(cause.to_string()))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS)
        .build()
        .map_err(|cause| Failure::Internal(cause.to_string()))?;
    let door = Arc::new(door);
    let attending = attend_devices(&door)?;
    let ended = runtime.block_on(serve_until_told(config, Arc::clone(&door), &close));
    // Also when it could not even begin to serve.
    close.send_replace(true);
    // Writes under way are with the store already; nothing else is worth waiting for.
    runtime.shutdown_timeout(Duration::from_secs(1));
    if attending.join().is_err() {
        tracing::error!("the thread that follows the hardware keys panicked");
    }
    match Arc::try_unwrap(door) {
        Ok(door) => door.into_service().close(),
        Err(_) => tracing::warn!("a request is still under way; the store recovers at the next start"),
    }
    tracing::info!("stopped");
    ended
}

/// The hardware of this host, or none if it is switched off.
fn hardware(config: &Config) -> Result<Arc<dyn Devices>, Failure> {
    if config.readers.is_empty() {
        return Ok(Arc::new(NoDevices));
    }
    let devices = PcscDevices::start(config.readers.clone());
    Ok(Arc::new(devices.map_err(|cause| Failure::Internal(format!("no thread to watch the readers: {cause}")))?))
}

fn attend_devices(door: &Arc<Door>) -> Result<std::thread::JoinHandle<()>, Failure> {
    let door = Arc::clone(door);
    let attend = std::thread::Builder::new().name("device-attend".to_owned()).spawn(move || door.attend_devices());
    attend.map_err(|cause| Failure::Internal(format!("no thread to follow the hardware keys: {cause}")))
}

async fn serve_until_told(config: &Config, door: Arc<Door>, close: &watch::Sender<bool>) -> Result<(), Failure> {
    let socket_fault = |cause| Failure::Socket { path: config.socket.clone(), cause };
    let listener = bind(config)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(socket_fault)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(socket_fault)?;
    let serving = tokio::spawn(serve(listener, Arc::clone(&door)));
    let tending = tokio::spawn(tend(Arc::clone(&door)));
    tracing::info!(socket = %config.socket.display(), sqlite = store::sqlite_version(), "ready");
    let outcome = tokio::select! {
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
        () = store_failure(&door) => Err(Failure::StoreFailed),
    };
    tracing::info!("stopping");
    close.send_replace(true);
    tending.abort();
    let _ = tending.await;
    if serving.await.is_err() {
        tracing::error!("the accept loop panicked");
    }
    let _ = fs::remove_file(&config.socket);
    outcome
}

async fn tend(door: Arc<Door>) {
    let mut rounds = tokio::time::interval(TEND);
    loop {
        rounds.tick().await;
        let door = Arc::clone(&door);
        let _ = tokio::task::spawn_blocking(move || door.tend()).await;
    }
}

async fn store_failure(door: &Door) {
    let mut looks = tokio::time::interval(WATCH);
    loop {
        looks.tick().await;
        if door.service().has_failed() {
            return;
        }
    }
}

fn start_log(config: &Config) -> Result<(), Failure> {
    let filter = tracing_subscriber::EnvFilter::try_new(&config.log)
        .map_err(|_| ConfigFault::Value { key: "log", why: "is no log level".to_owned() })?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false);
    let started = match config.log_format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
    started.map_err(|cause| Failure::Internal(cause.to_string()))
}

fn is_ours(meta: &fs::Metadata) -> bool {
    meta.uid() == rustix::process::geteuid().as_raw()
}

/// The directory of the database and the key: ours alone, and reached through nothing that others
/// could exchange (STO-9).
fn check_state_dir(dir: &Path) -> Result<(), Failure> {
    let wrong = |why| Err(Failure::Unsafe { path: dir.to_owned(), why });
    let meta = fs::symlink_metadata(dir).map_err(|cause| file_fault(dir, cause))?;
    if !meta.is_dir() {
        return wrong("is not a directory");
    }
    if !is_ours(&meta) {
        return wrong("belongs to another user");
    }
    if meta.mode() & 0o077 != 0 {
        return wrong("is open to others; its mode has to be 0700");
    }
    check_ancestors(dir)
}

/// No directory above may be writable by others, unless it is sticky like /tmp (SOCK-1).
fn check_ancestors(path: &Path) -> Result<(), Failure> {
    let whole = fs::canonicalize(path).map_err(|cause| file_fault(path, cause))?;
    for above in whole.ancestors().skip(1) {
        let meta = fs::metadata(above).map_err(|cause| file_fault(above, cause))?;
        let is_trusted = is_ours(&meta) || meta.uid() == 0;
        if !is_trusted || (meta.mode() & 0o022 != 0 && meta.mode() & 0o1000 == 0) {
            return Err(Failure::Unsafe { path: above.to_owned(), why: "can be changed by other users" });
        }
    }
    Ok(())
}

fn lock(dir: &Path) -> Result<File, Failure> {
    let path = dir.join(LOCK_FILE);
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
    let file = file.map_err(|cause| file_fault(&path, cause))?;
    let locked = rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive);
    locked.map_err(|_| Failure::Running(dir.to_owned()))?;
    Ok(file)
}

/// The systemd credential if there is one, else the file in the state directory (KEY-1).
fn master_key(dir: &Path) -> Result<MasterKey, Failure> {
    if let Some(key) = credential_key()? {
        return Ok(key);
    }
    let path = dir.join(KEY_FILE);
    let meta = match fs::symlink_metadata(&path) {
        Ok(meta) => meta,
        Err(_) if dir.join(store::DATABASE).exists() => return Err(Failure::NoKey(path)),
        Err(_) => return Err(Failure::NotInitialised(dir.to_owned())),
    };
    let wrong = |why| Err(Failure::Unsafe { path: path.clone(), why });
    if !meta.file_type().is_file() {
        return wrong("is not a regular file");
    }
    if !is_ours(&meta) || meta.mode() & 0o077 != 0 {
        return wrong("belongs to another user or is open to others; its mode has to be 0400");
    }
    read_key(&path)
}

fn credential_key() -> Result<Option<MasterKey>, Failure> {
    let Some(dir) = std::env::var_os("CREDENTIALS_DIRECTORY") else { return Ok(None) };
    let path = Path::new(&dir).join(CREDENTIAL);
    if path.exists() { read_key(&path).map(Some) } else { Ok(None) }
}

fn read_key(path: &Path) -> Result<MasterKey, Failure> {
    let mut key = [0u8; 32];
    let mut more = [0u8; 1];
    let read = File::open(path).and_then(|mut file| {
        file.read_exact(&mut key)?;
        file.read(&mut more)
    });
    match read {
        Ok(0) => {
            let sealed = Sensitive::new(key);
            key.zeroize();
            Ok(sealed)
        }
        Ok(_) => Err(Failure::NoSuchKey(path.to_owned())),
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Err(Failure::NoSuchKey(path.to_owned())),
        Err(cause) => Err(file_fault(path, cause)),
    }
}

/// Binds the socket where nobody can have put something else, with its mode set before anybody can
/// reach it (SOCK-1, SOCK-2).
fn bind(config: &Config) -> Result<UnixListener, Failure> {
    let path = &config.socket;
    let fault = |cause| Failure::Socket { path: path.clone(), cause };
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if fs::symlink_metadata(parent).is_err() {
        DirBuilder::new().mode(0o750).create(parent).map_err(fault)?;
    }
    check_socket_dir(parent)?;
    remove_stale(path)?;
    // The umask of 0077 makes it 0600; it is opened wider only once group and mode are right.
    let listener = UnixListener::bind(path).map_err(fault)?;
    if let Some(group) = config.socket_group {
        std::os::unix::fs::chown(path, None, Some(group)).map_err(fault)?;
    }
    fs::set_permissions(path, fs::Permissions::from_mode(config.socket_mode)).map_err(fault)?;
    Ok(listener)
}

fn check_socket_dir(dir: &Path) -> Result<(), Failure> {
    let wrong = |why| Err(Failure::Unsafe { path: dir.to_owned(), why });
    let meta = fs::symlink_metadata(dir).map_err(|cause| file_fault(dir, cause))?;
    if !meta.is_dir() {
        return wrong("the socket's directory is a link or no directory");
    }
    if !is_ours(&meta) && meta.uid() != 0 {
        return wrong("the socket's directory belongs to another user");
    }
    if meta.mode() & 0o022 != 0 {
        return wrong("the socket's directory can be written by others");
    }
    if meta.mode() & 0o007 != 0 {
        tracing::warn!(dir = %dir.display(), "the socket's directory is open to all; 0750 is enough");
    }
    check_ancestors(dir)
}

/// Removes a socket that nobody answers on; one that answers is another instance.
fn remove_stale(path: &Path) -> Result<(), Failure> {
    let Ok(meta) = fs::symlink_metadata(path) else { return Ok(()) };
    if !meta.file_type().is_socket() || !is_ours(&meta) {
        return Err(Failure::Unsafe { path: path.to_owned(), why: "is there already and is no socket of ours" });
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(|cause| Failure::Socket { path: path.to_owned(), cause })
        }
        Ok(_) => Err(Failure::Running(path.to_owned())),
        Err(cause) => Err(Failure::Socket { path: path.to_owned(), cause }),
    }
}

fn file_fault(path: &Path, cause: std::io::Error) -> Failure {
    Failure::File { path: path.to_owned(), cause }
}
