//! A daemon of its own for a test: private directory, configuration, process, log.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use mfad_hardware::device::{Devices, SecurityKeys};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::document::{Contract, Watch};
use crate::identity::{self, APP, AUDITOR};
use crate::inside::Inside;
use crate::wire::{Answer, Connection, Request};

const PATIENCE: Duration = Duration::from_secs(30);
const GLANCE: Duration = Duration::from_millis(10);

/// The places of a daemon, before there is one.
pub struct TestDirs {
    pub dir: TempDir,
    pub config: PathBuf,
    pub state: PathBuf,
    pub socket: PathBuf,
    pub log: PathBuf,
    /// The socket of the pcscd that the daemon is to use. By default there is none: whatever keys this host has
    /// are nobody's business here.
    pub pcscd: PathBuf,
}

impl TestDirs {
    /// A private directory with a configuration; nothing is initialised yet.
    pub fn new(extra_config: &str) -> Self {
        let dir = tempfile::Builder::new().prefix("mfad-it-").tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let dirs = Self {
            config: at("mfad.toml"),
            state: at("state"),
            socket: at("mfad.sock"),
            log: at("mfad.log"),
            pcscd: at("no pcscd here"),
            dir,
        };
        fs::write(&dirs.config, config(extra_config)).unwrap();
        // The daemon takes none that others may write, whatever the umask of the test is.
        fs::set_permissions(&dirs.config, Permissions::from_mode(0o600)).unwrap();
        dirs
    }

    pub fn mfad(&self) -> Command {
        // A long run takes the release build.
        let daemon = std::env::var_os("MFAD_TEST_DAEMON").unwrap_or_else(|| mfad_testkit::program("mfad").into());
        let mut command = Command::new(daemon);
        for name in
            ["MFAD_CONFIG", "MFAD_STATE_DIR", "MFAD_SOCKET", "CREDENTIALS_DIRECTORY", "LISTEN_FDS", "NOTIFY_SOCKET"]
        {
            command.env_remove(name);
        }
        // In a long run the log would be most of the work.
        let level = if crate::proof::is_long() { "info" } else { "trace" };
        command.env("PCSCLITE_CSOCK_NAME", &self.pcscd).env("MFAD_LOG", level).stdin(Stdio::null());
        command
    }

    pub fn init(&self) -> ExitStatus {
        self.init_command().status().unwrap()
    }

    fn init_command(&self) -> Command {
        let mut command = self.mfad();
        command.arg("init").arg("--config").arg(&self.config).arg("--state-dir").arg(&self.state);
        command.stdout(Stdio::null()).stderr(self.log_file());
        command
    }

    /// TestDirs whose master key is a credential, initialised. The second part is the directory that the service
    /// manager would hand over, to be named by `CREDENTIALS_DIRECTORY`.
    pub fn with_credential(key: u8) -> (Self, PathBuf) {
        let dirs = Self::new("");
        let credentials = dirs.dir.path().join("credentials");
        fs::create_dir(&credentials).unwrap();
        fs::write(credentials.join("mfad.key"), [key; 32]).unwrap();
        let mut command = dirs.init_command();
        assert!(command.env("CREDENTIALS_DIRECTORY", &credentials).status().unwrap().success());
        (dirs, credentials)
    }

    /// The command that serves, its log going to the file.
    pub fn serve(&self) -> Command {
        let mut command = self.mfad();
        command.arg("--config").arg(&self.config).arg("--state-dir").arg(&self.state).arg("--socket").arg(&self.socket);
        command.stdout(Stdio::null()).stderr(self.log_file());
        command
    }

    fn log_file(&self) -> File {
        File::options().create(true).append(true).open(&self.log).unwrap()
    }

    pub fn log_text(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }
}

/// The configuration of a test: whoever runs it may do everything, two other peers something, all others
/// nothing, and anybody may register unless `extra` says otherwise.
fn config(extra: &str) -> String {
    let registration = if extra.contains("registration") { "" } else { "registration = \"open\"\n" };
    let peer = |uid: u32, rights: &str| format!("\n[[peer]]\nuid = {uid}\nrights = [{rights}]\n");
    let mut text = format!("{registration}{extra}\n");
    text.push_str(&peer(identity::own_uid(), "\"admin\", \"app\", \"audit\""));
    text.push_str(&peer(APP, "\"app\""));
    text.push_str(&peer(AUDITOR, "\"audit\""));
    text
}

/// A running daemon. It is killed when the test is done with it.
pub struct Host {
    pub dirs: TestDirs,
    daemon: Option<Child>,
    inside: Option<Inside>,
    environment: Vec<(String, OsString)>,
    watch: OnceLock<Arc<Watch>>,
}

impl Host {
    pub fn start(extra_config: &str) -> Self {
        let dirs = TestDirs::new(extra_config);
        assert!(dirs.init().success(), "init: {}", dirs.log_text());
        Self::on(dirs)
    }

    /// A daemon on dirs that are initialised.
    pub fn on(dirs: TestDirs) -> Self {
        Self::on_with(dirs, &[])
    }

    /// The same, with this in its environment.
    pub fn on_with(dirs: TestDirs, environment: &[(&str, &OsStr)]) -> Self {
        let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let mut host = Self { dirs, daemon: None, inside: None, environment, watch: OnceLock::new() };
        host.launch();
        host.begin_watch();
        host
    }

    /// A daemon in this process, with its own socket and store as ever, and with these security keys in its ports.
    pub fn with_keys(extra_config: &str, keys: Arc<dyn SecurityKeys>) -> Self {
        Self::inside(extra_config, None, keys)
    }

    /// As [`Self::with_keys`], with hardware keys too.
    pub fn with_hardware(extra_config: &str, hardware: Arc<dyn Devices>, keys: Arc<dyn SecurityKeys>) -> Self {
        Self::inside(extra_config, Some(hardware), keys)
    }

    fn inside(extra_config: &str, hardware: Option<Arc<dyn Devices>>, keys: Arc<dyn SecurityKeys>) -> Self {
        let dirs = TestDirs::new(extra_config);
        assert!(dirs.init().success(), "init: {}", dirs.log_text());
        let inside = Some(Inside::start(&dirs, hardware, keys));
        let host = Self { dirs, daemon: None, inside, environment: Vec::new(), watch: OnceLock::new() };
        host.begin_watch();
        host
    }

    fn begin_watch(&self) {
        let host = self;
        let contract = Contract::once(|| host.plainly(&Request::get("/openapi.json")).expect("the document").ok());
        let watched = host.watch.set(Arc::new(Watch::new(contract)));
        assert!(watched.is_ok(), "a host is watched once");
    }

    fn launch(&mut self) {
        let mut command = self.dirs.serve();
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        self.daemon = Some(command.spawn().unwrap());
        let deadline = Instant::now() + PATIENCE;
        while !self.plainly(&Request::get("/health/ready")).is_ok_and(|answer| answer.status == 200) {
            let ended = self.daemon.as_mut().and_then(|daemon| daemon.try_wait().unwrap());
            assert!(ended.is_none(), "the daemon ended, {ended:?}: {}", self.tail());
            assert!(Instant::now() < deadline, "the daemon is not ready: {}", self.tail());
            thread::sleep(GLANCE);
        }
    }

    fn plainly(&self, request: &Request) -> io::Result<Answer> {
        Connection::new(UnixStream::connect(&self.dirs.socket)?, None).try_ask(request)
    }

    /// SIGKILL, as a power cut would.
    pub fn kill(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            daemon.kill().unwrap();
            daemon.wait().unwrap();
        }
    }

    /// Kills it and starts it again on what is on the disk.
    pub fn restart(&mut self) {
        self.kill();
        self.launch();
    }

    /// SIGTERM; it must end well, and soon (SVC-2).
    pub fn stop(&mut self) {
        self.terminate();
        self.wait_for_end();
    }

    /// SIGTERM, and no more.
    pub fn terminate(&self) {
        kill_process(self.process(), Signal::TERM).unwrap();
    }

    /// After a SIGTERM.
    pub fn wait_for_end(&mut self) {
        let mut daemon = self.daemon.take().expect("a running daemon");
        let status =
            wait(&mut daemon, Duration::from_secs(10)).unwrap_or_else(|| panic!("still there: {}", self.tail()));
        assert_eq!(status.code(), Some(0), "{}", self.tail());
    }

    /// How it ended, after a signal that it does not survive.
    pub fn ended(&mut self) -> ExitStatus {
        let mut daemon = self.daemon.take().expect("a running daemon");
        wait(&mut daemon, PATIENCE).expect("it ends")
    }

    pub fn start_again(&mut self) {
        self.launch();
    }

    pub fn pid(&self) -> u32 {
        self.daemon.as_ref().expect("a running daemon").id()
    }

    /// To send a signal to.
    pub fn process(&self) -> Pid {
        Pid::from_child(self.daemon.as_ref().expect("a running daemon"))
    }

    pub fn socket(&self) -> &Path {
        &self.dirs.socket
    }

    pub fn watch(&self) -> Arc<Watch> {
        Arc::clone(self.watch.get().expect("a started host is watched"))
    }

    pub fn connect(&self) -> Connection {
        self.try_connect().unwrap()
    }

    /// The same with a daemon that may be gone.
    pub fn try_connect(&self) -> io::Result<Connection> {
        Ok(Connection::new(UnixStream::connect(self.socket())?, Some(self.watch())))
    }

    /// A connection as the peer `uid`; needs root.
    pub fn connect_as(&self, uid: u32) -> Connection {
        Connection::new(identity::connect_as(self.socket(), uid).unwrap(), Some(self.watch()))
    }

    #[track_caller]
    pub fn ask(&self, request: &Request) -> Answer {
        self.connect().ask(request)
    }

    #[track_caller]
    pub fn ask_as(&self, uid: u32, request: &Request) -> Answer {
        self.connect_as(uid).ask(request)
    }

    /// The last lines of the log.
    fn tail(&self) -> String {
        let text = self.dirs.log_text();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(25)..].join("\n")
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        drop(self.inside.take());
        if let Some(mut daemon) = self.daemon.take() {
            let early = daemon.try_wait().ok().flatten();
            let _ = daemon.kill();
            let _ = daemon.wait();
            if thread::panicking() {
                eprintln!("the daemon {early:?}, its last words:\n{}", self.tail());
            }
        }
    }
}

/// The status of a child that ends in time.
pub fn wait(child: &mut Child, patience: Duration) -> Option<ExitStatus> {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status);
        }
        if Instant::now() >= deadline {
            return None;
        }
        thread::sleep(GLANCE);
    }
}
