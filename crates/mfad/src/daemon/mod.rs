//! The life of the process: arguments, directories, master key, store, socket, serving, shutdown. It holds no business
//! rules.

mod detach;
mod failure;
mod idle;
mod journal;
mod manual;
mod master_key;
mod places;
mod restore;
mod sandbox;
mod settings;
mod signals;
mod socket;
mod supervisor;

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Parser, Subcommand};
use tokio::sync::watch;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry};

use crate::config::{Config, ConfigFault, EXAMPLE, LogFormat, Overrides};
use crate::http::{Clock, Server, serve};
use mfad_core::model::scrub_stack;
use mfad_hardware::device::{Devices, HidKeys, NoDevices, PcscDevices, SecurityKeys};
use mfad_service::{Dependencies, Metrics, Service};
use mfad_store::{Listeners, OpenFault, Store};

use detach::Starter;
use failure::{Failure, IF_NEEDED, file_fault};
use idle::{FileMappings, Quiet};
use journal::Journal;
use master_key::{HostKeyStore, KEY_FILE, credential_key, key_of_file, master_key, new_key, write_key};
use places::{check_state_dir, lock, make_state_dir};
use settings::UnknownPeers;
use signals::{Signals, Told};
use socket::{Listening, listen, make_socket_dir};

/// Interval of housekeeping. Unknown names in `[[peer]]` are looked up again as often.
const TEND: Duration = Duration::from_secs(20);
/// Interval at which the daemon checks whether the store has failed.
const WATCH: Duration = Duration::from_secs(1);
/// Maximum number of threads for calls that block: on the store, a password hash, a card or a touch.
const BLOCKING_THREADS: usize = 512;

/// The multi-factor authentication daemon of one Linux host.
#[derive(Debug, Parser)]
#[command(name = "mfad", version, max_term_width = 100)]
struct Arguments {
    /// Configuration file [default: /etc/mfad/mfad.toml if it exists]
    #[arg(long, env = "MFAD_CONFIG", global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Directory of the database and the master key [default: /var/lib/mfad]
    #[arg(long, env = "MFAD_STATE_DIR", global = true, value_name = "DIR", value_parser = path())]
    state_dir: Option<PathBuf>,
    /// Unix socket to listen on [default: /run/mfad/mfad.sock]
    #[arg(long, env = "MFAD_SOCKET", global = true, value_name = "PATH", value_parser = path())]
    socket: Option<PathBuf>,
    /// Log level: error, warn, info, debug or trace [default: info]
    #[arg(long, env = "MFAD_LOG", global = true, value_name = "LEVEL")]
    log: Option<String>,
    /// Run in the background, and return once the daemon serves; the log stays on standard error
    #[arg(long)]
    daemonize: bool,
    /// With --daemonize: file to write the process id to
    #[arg(long, value_name = "FILE", requires = "daemonize")]
    pid_file: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Create the state directory, the master key and an empty store
    Init {
        /// Do nothing if a store exists
        #[arg(long)]
        if_needed: bool,
    },
    /// Replace the store with a backup; the daemon must be stopped
    Restore(restore::RestoreArgs),
    /// Read the configuration and report errors in it, without changing anything
    Check,
    /// Write the man pages to a directory
    #[command(hide = true)]
    Manual {
        /// Target directory; created if it does not exist
        dir: PathBuf,
    },
}

/// Runs the command that the arguments name, and returns its exit code (docs/errors.md).
#[expect(clippy::print_stderr, reason = "before and after the log is there, stderr is where admins look")]
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut starter = Starter::default();
    let code = match run(arguments, &mut starter) {
        Ok(()) => 0,
        Err(failure) => {
            eprintln!("mfad: {failure}");
            failure.exit_code()
        }
    };
    // With `--daemonize`, a parent process waits for this code. It gets it after the message, so that the reason is on
    // the terminal when the parent exits.
    starter.ended(code);
    ExitCode::from(code)
}

/// Parses a path that may be empty: clap's own parser refuses an empty variable.
fn path() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().map(PathBuf::from)
}

fn run(arguments: Arguments, starter: &mut Starter) -> Result<(), Failure> {
    harden()?;
    // Before the configuration is read, since a file that is named must exist.
    if let (Some(Command::Init { .. }), Some(path)) = (&arguments.command, &arguments.config) {
        write_example(path)?;
    }
    let overrides = Overrides {
        config: arguments.config,
        // A variable that is empty counts for nothing.
        socket: arguments.socket.filter(|path| !path.as_os_str().is_empty()),
        state_dir: arguments.state_dir.filter(|path| !path.as_os_str().is_empty()),
        log: arguments.log,
    };
    if let Some(Command::Manual { dir }) = &arguments.command {
        return manual::write(dir);
    }
    let config = settings::load(&overrides)?;
    match arguments.command {
        Some(Command::Init { if_needed: true }) if config.state_dir.join(mfad_store::DATABASE).exists() => Ok(()),
        Some(Command::Init { .. }) => init(&config),
        Some(Command::Restore(args)) => restore::run(&config, &args),
        Some(Command::Check) => {
            config.check_names()?;
            tell_ok(Config::path(&overrides));
            Ok(())
        }
        // Done above: the man pages need no configuration.
        Some(Command::Manual { .. }) => Ok(()),
        None => {
            if arguments.daemonize {
                *starter = Starter::detached(arguments.pid_file.as_deref())?;
            }
            daemon(&config, &overrides, starter)
        }
    }
}

/// Switches core dumps off, and keeps other users from reading new files (MEM-4, STO-9). Raises the limit on open
/// files.
fn harden() -> Result<(), Failure> {
    use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit, umask};
    let failed = |what: &str| Failure::Internal(format!("cannot set {what}"));
    umask(rustix::fs::Mode::from_raw_mode(0o077));
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) }).map_err(|_| failed("the core limit"))?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(|_| failed("the dump behaviour"))?;
    // The usual soft limit is lower than the default limit on connections.
    let files = rustix::process::getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: files.maximum, ..files }).map_err(|_| failed("the file limit"))
}

/// Says that a check found nothing wrong.
#[expect(clippy::print_stderr, reason = "an administrator reads it, as of other checks of a configuration")]
fn tell_ok(config: Option<&Path>) {
    match config {
        Some(path) => eprintln!("mfad: ok: {}", path.display()),
        None => eprintln!("mfad: ok: without a configuration file, every setting has its default"),
    }
}

#[expect(clippy::print_stderr, reason = "an administrator reads what was made")]
fn init(config: &Config) -> Result<(), Failure> {
    let dir = &config.state_dir;
    make_state_dir(dir)?;
    check_state_dir(dir)?;
    let key_path = dir.join(KEY_FILE);
    if dir.join(mfad_store::DATABASE).exists() {
        return Err(Failure::Exists(IF_NEEDED));
    }
    let _lock = lock(dir)?;
    // The order is: prepare a complete store under a temporary name, write its key, give the store its name. So this
    // completes a run that was interrupted at any point. A key without a prepared store belongs to a store elsewhere.
    let key = match (key_path.exists(), mfad_store::is_prepared(dir)) {
        // The prepared store was created with this key, even if a credential holds another one now.
        (true, true) => key_of_file(&key_path)?,
        (true, false) => return Err(Failure::Exists(IF_NEEDED)),
        (false, _) => {
            let credential = credential_key()?;
            let is_outside = credential.is_some();
            let key = credential.map_or_else(new_key, Ok)?;
            mfad_store::prepare(dir, &key).map_err(Failure::Store)?;
            if !is_outside {
                write_key(&key_path, &key)?;
            }
            key
        }
    };
    mfad_store::settle(dir, &key).map_err(Failure::Store)?;
    eprintln!("mfad: created a new store in {}", dir.display());
    Ok(())
}

/// Writes the example configuration to the path that `init` was given, unless the file exists.
#[expect(clippy::print_stderr, reason = "an administrator reads what was made")]
fn write_example(path: &Path) -> Result<(), Failure> {
    let opened = OpenOptions::new().write(true).create_new(true).mode(0o644).open(path);
    let mut file = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => return Ok(()),
        Err(cause) => return Err(file_fault(path, cause)),
    };
    file.write_all(EXAMPLE.as_bytes()).map_err(|cause| file_fault(path, cause))?;
    eprintln!("mfad: wrote a configuration with the defaults to {}", path.display());
    Ok(())
}

fn daemon(config: &Config, overrides: &Overrides, starter: &Starter) -> Result<(), Failure> {
    let log = start_log(config)?;
    std::panic::set_hook(Box::new(|panic| {
        // Only the location: the message may contain data that must not be logged (MEM-4).
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(place, "panic");
    }));
    let dir = &config.state_dir;
    if fs::symlink_metadata(dir).is_err() {
        return Err(Failure::NotInitialised(dir.clone()));
    }
    check_state_dir(dir)?;
    let _lock = lock(dir)?;
    // The sandbox hides `/proc`.
    let mappings = Arc::new(FileMappings::read());
    let (server, close) = server(config)?;
    let server = Arc::new(server);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(connection_threads())
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS)
        .build()
        .map_err(|cause| Failure::Internal(cause.to_string()))?;
    let attending = attend_devices(&server)?;
    let ended =
        runtime.block_on(serve_until_told(config, overrides, starter, &log, Arc::clone(&server), mappings, &close));
    // Sent even if serving did not begin: the device thread runs until then.
    close.send_replace(true);
    // Writes that have begun are in the store's queue and complete there. Nothing else is worth a longer wait.
    runtime.shutdown_timeout(Duration::from_secs(1));
    if attending.join().is_err() {
        tracing::error!("the thread that follows hardware keys panicked");
    }
    match Arc::try_unwrap(server) {
        Ok(server) => server.into_service().close(),
        Err(_) => tracing::warn!("a request is still in progress; the store recovers at the next start"),
    }
    tracing::info!("stopped");
    ended
}

/// Opens the store and builds the server over it, before the process has any other thread. Also returns the sender that
/// tells the server to stop.
fn server(config: &Config) -> Result<(Server, watch::Sender<bool>), Failure> {
    let dir = &config.state_dir;
    let key = master_key(dir)?;
    let key_store = Box::new(HostKeyStore::of(dir));
    let guard_dir = guard_dir(config)?;
    let socket_dir = make_socket_dir(&config.socket)?;
    let writable: Vec<&Path> = [Some(dir.as_path()), guard_dir, socket_dir].into_iter().flatten().collect();
    // Before the store starts the first thread: Landlock does not bind threads that already run.
    let confinement = sandbox::enter(&writable);
    let (audit_head, audit_seen) = watch::channel(0i64);
    let metrics = Metrics::default();
    let audited = Box::new(move |seq| {
        audit_head.send_replace(seq);
    });
    let listeners = Listeners { audited, committed: metrics.commit_listener() };
    let store = Store::open(dir, guard_dir, &key, listeners).map_err(Failure::Store)?;
    // A store that has had a guard runs without one only if the configuration switches the guard off.
    if let (true, Some(path)) = (store.lacks_its_guard(), &config.guard_dir) {
        let why = "this store has had a guard, and the directory of the guard cannot be created".to_owned();
        return Err(Failure::Store(OpenFault::Guard { path: path.clone(), why }));
    }
    drop(key);
    // Deriving the keys left traces on the stack of this thread. From now on it only waits for the daemon to stop, so
    // nothing else would overwrite them (MEM-3).
    scrub_stack();
    let clock = Clock::new().map_err(|cause| Failure::Internal(cause.to_string()))?;
    let (device_head, device_seen) = watch::channel(0u64);
    let on_device = Box::new(move |seq| {
        device_head.send_if_modified(|newest| std::mem::replace(newest, seq) != seq);
    });
    let (devices, security_keys) = hardware(config)?;
    let dependencies = Dependencies { key_store, devices, security_keys, on_device, metrics, confinement };
    let service = Service::new(store, config.policy.clone(), dependencies, &clock.now())?;
    service.make_ready(&clock.now()).map_err(|error| failed_store(&service).unwrap_or_else(|| error.into()))?;
    scrub_stack();
    let (close, closing) = watch::channel(false);
    let server = Server::new(service, clock, config.limits, config.page.clone(), audit_seen, device_seen, closing)
        .map_err(|cause| Failure::Internal(cause.to_string()))?;
    Ok((server, close))
}

/// Number of threads that serve connections: one for two processors. The writer's thread does as much for a check of a
/// code as they do, and threads that wait for a processor only take turns with it.
fn connection_threads() -> usize {
    std::thread::available_parallelism().map_or(1, |processors| processors.get().div_ceil(2))
}

/// Returns the directory of the roll-back guard, created if it is missing. If the default directory cannot be created,
/// there is no guard: the parent of the state directory need not belong to this account.
fn guard_dir(config: &Config) -> Result<Option<&Path>, Failure> {
    let Some(dir) = config.guard_dir.as_deref() else { return Ok(None) };
    if fs::symlink_metadata(dir).is_err() {
        match DirBuilder::new().mode(0o700).create(dir) {
            Ok(()) => {}
            Err(cause) if config.is_guard_wanted => return Err(file_fault(dir, cause)),
            Err(error) => {
                tracing::warn!(dir = %dir.display(), %error, "no roll-back guard: its directory cannot be created");
                return Ok(None);
            }
        }
    }
    check_state_dir(dir)?;
    Ok(Some(dir))
}

/// Access to the smart cards and the security keys of a host.
type Hardware = (Arc<dyn Devices>, Arc<dyn SecurityKeys>);

/// Opens the hardware of this host, or returns stand-ins without any key if it is switched off.
fn hardware(config: &Config) -> Result<Hardware, Failure> {
    let Some(readers) = &config.readers else {
        return Ok((Arc::new(NoDevices), Arc::new(NoDevices)));
    };
    let devices = PcscDevices::start(readers.clone());
    let devices = devices.map_err(|cause| Failure::Internal(format!("cannot watch the card readers: {cause}")))?;
    Ok((Arc::new(devices), Arc::new(HidKeys::default())))
}

fn attend_devices(server: &Arc<Server>) -> Result<std::thread::JoinHandle<()>, Failure> {
    let server = Arc::clone(server);
    let attend = std::thread::Builder::new().name("device-attend".to_owned()).spawn(move || server.attend_devices());
    attend.map_err(|cause| Failure::Internal(format!("cannot follow the hardware keys: {cause}")))
}

/// Serves until a signal asks the daemon to stop, or the store fails.
async fn serve_until_told(
    config: &Config,
    overrides: &Overrides,
    starter: &Starter,
    log: &LogLevel,
    server: Arc<Server>,
    mappings: Arc<FileMappings>,
    close: &watch::Sender<bool>,
) -> Result<(), Failure> {
    let socket_fault = |cause| Failure::Socket { path: config.socket.clone(), cause };
    let Listening { listener, path, is_inherited } = listen(config)?;
    let mut signals = Signals::take().map_err(socket_fault)?;
    let unknown_peers = Arc::new(UnknownPeers::new(config.unknown_peers.clone()));
    let serving = tokio::spawn(serve(listener, Arc::clone(&server)));
    let tending = tokio::spawn(tend(Arc::clone(&server), Arc::clone(&unknown_peers), mappings));
    let watching = tokio::spawn(supervisor::feed_watchdog(path.clone()));
    tracing::info!(socket = %path.display(), sqlite = mfad_store::sqlite_version(), "ready");
    supervisor::ready();
    starter.ready();
    let outcome = loop {
        tokio::select! {
            told = signals.next() => match told {
                Told::Stop => break Ok(()),
                Told::Reload => take_new_settings(config, overrides, log, &server, &unknown_peers),
            },
            () = store_failure(&server) => break Err(failed_store(server.service()).unwrap_or(Failure::StoreFailed)),
        }
    };
    supervisor::stopping();
    watching.abort();
    tracing::info!("stopping");
    close.send_replace(true);
    tending.abort();
    let _ = tending.await;
    if serving.await.is_err() {
        tracing::error!("the accept loop panicked");
    }
    // systemd keeps its socket, where clients wait during a restart.
    if !is_inherited {
        let _ = fs::remove_file(&path);
    }
    outcome
}

/// Returns why the process must end, if the store can no longer be used. Damage has its own exit code, since a restart
/// does not repair it.
fn failed_store(service: &Service) -> Option<Failure> {
    service.has_failed().then(|| match service.damage() {
        Some(finding) => Failure::Store(OpenFault::Damaged(finding.to_owned())),
        None => Failure::StoreFailed,
    })
}

/// Reloads the configuration (SIGHUP). An invalid one changes nothing. Logs the settings that need a restart.
fn take_new_settings(config: &Config, overrides: &Overrides, log: &LogLevel, server: &Server, peers: &UnknownPeers) {
    supervisor::reloading();
    let taken = settings::load(overrides).and_then(|new| {
        let filter = filter_of(&new)?;
        let mut kept = config.differences_that_need_a_restart(&new);
        kept.extend(peers.reload(new, server.service()));
        Ok((filter, kept))
    });
    match taken {
        Ok((filter, kept)) => {
            if log.reload(filter).is_err() {
                tracing::warn!("cannot change the log level");
            }
            tracing::info!("configuration reloaded");
            if !kept.is_empty() {
                tracing::warn!(settings = kept.join(", "), "these settings take effect at the next restart");
            }
        }
        Err(fault) => tracing::error!(%fault, "the new configuration is invalid; the old one stays in force"),
    }
    // For systemd the reload is over, even if it failed.
    supervisor::ready();
}

/// Does the housekeeping at intervals, on a thread that may block. Gives memory back after a minute without a request.
async fn tend(server: Arc<Server>, unknown_peers: Arc<UnknownPeers>, mappings: Arc<FileMappings>) {
    let mut rounds = tokio::time::interval(TEND);
    let mut quiet = Quiet::default();
    loop {
        rounds.tick().await;
        let is_quiet = quiet.is_long(server.service().metrics().answered());
        let (server, unknown_peers, mappings) =
            (Arc::clone(&server), Arc::clone(&unknown_peers), Arc::clone(&mappings));
        let round = move || {
            server.tend();
            if is_quiet {
                server.service().shrink();
            }
            // Looking up names may take long. With a weak reference it does not keep the store from being closed.
            let open = Arc::downgrade(&server);
            drop(server);
            unknown_peers.look_again(|rule| {
                if let Some(server) = open.upgrade() {
                    server.service().admit(rule);
                }
            });
            if is_quiet {
                mappings.release();
            }
        };
        let _ = tokio::task::spawn_blocking(round).await;
    }
}

/// Returns once the store has failed.
async fn store_failure(server: &Server) {
    let mut looks = tokio::time::interval(WATCH);
    loop {
        looks.tick().await;
        if server.service().has_failed() {
            return;
        }
    }
}

/// Handle by which a reload changes the log level.
type LogLevel = tracing_subscriber::reload::Handle<EnvFilter, Registry>;

fn filter_of(config: &Config) -> Result<EnvFilter, ConfigFault> {
    let filter = EnvFilter::try_new(&config.log).ok();
    // This crate would log challenges and responses of security keys (LOG-1).
    let quiet = "webauthn_rs_core=off".parse().ok();
    let filter = filter.zip(quiet).map(|(filter, quiet)| filter.add_directive(quiet));
    filter.ok_or_else(|| ConfigFault::Value { key: "log", why: "must be error, warn, info, debug or trace".to_owned() })
}

fn start_log(config: &Config) -> Result<LogLevel, Failure> {
    let (filter, level) = tracing_subscriber::reload::Layer::new(filter_of(config)?);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(false);
    let registry = tracing_subscriber::registry().with(filter);
    let started = match (config.log_format, Journal::of_standard_error()) {
        (LogFormat::Text, Some(journal)) => registry.with(journal).try_init(),
        (LogFormat::Text, None) => registry.with(lines).try_init(),
        (LogFormat::Json, _) => registry.with(lines.json()).try_init(),
    };
    started.map_err(|cause| Failure::Internal(cause.to_string()))?;
    Ok(level)
}
