//! Virtual keys in virtual readers of a real pcscd, and a daemon that knows nothing of it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::card::{Attached, Key, Pcscd, Reader, attach};
use crate::fed::output_of;
use crate::host::{Host, TestDirs};
use crate::people::{text, with};
use crate::wire::{Answer, Request};

/// How long pcscd may take to see a key, and the daemon to meet it.
const PATIENCE: Duration = Duration::from_secs(30);
const GLANCE: Duration = Duration::from_millis(20);

pub struct Bench {
    pub host: Host,
    pub readers: Vec<Reader>,
    pub pcscd: Pcscd,
    _attached: Vec<Attached>,
    dir: TempDir,
}

/// Whether this host can run a pcscd with virtual readers; says so when it cannot. Where the project's own
/// install step ran, it can.
pub fn can_have_readers(test: &str) -> bool {
    let missing = Pcscd::missing();
    if let Some(missing) = &missing {
        assert!(std::env::var_os("CI").is_none(), "{test}: {missing}");
        println!("{test}: skipped, {missing}");
    }
    missing.is_none()
}

impl Bench {
    /// So many empty readers, and a daemon with these settings.
    pub fn new(readers: usize, extra_config: &str) -> Self {
        let dir = tempfile::Builder::new().prefix("mfad-readers-").tempdir().unwrap();
        let names: Vec<String> = (0..readers).map(reader_name).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let pcscd = Pcscd::start(dir.path(), &names).unwrap();
        let (mut handles, mut attached) = (Vec::new(), Vec::new());
        for number in 0..readers {
            let reader = Reader::new();
            attached.push(attach(reader.clone(), pcscd.port(number), Some(pcscd.net_namespace())));
            handles.push(reader);
        }
        let mut dirs = TestDirs::new(extra_config);
        dirs.pcscd = pcscd.socket();
        assert!(dirs.init().success(), "init: {}", dirs.log_text());
        Self { host: Host::on(dirs), readers: handles, pcscd, _attached: attached, dir }
    }

    /// One reader with this key in it, met by the daemon.
    pub fn with_key(key: Key) -> Self {
        let bench = Self::new(1, "");
        bench.insert(0, key);
        bench
    }

    /// Puts a key in and waits until the daemon has met it.
    #[track_caller]
    pub fn insert(&self, reader: usize, key: Key) {
        let id = key.id();
        self.readers[reader].insert(key);
        self.wait_for(&id);
    }

    /// Puts the key that a fault pulled in again, likewise.
    #[track_caller]
    pub fn reinsert(&self, reader: usize) {
        let id = self.readers[reader].with_key(|key| key.id());
        self.readers[reader].reinsert();
        self.wait_for(&id);
    }

    #[track_caller]
    pub fn pull(&self, reader: usize) -> Key {
        let key = self.readers[reader].pull().expect("a key");
        let name = self.pcscd.reader_name(reader);
        self.wait_until(|devices| devices.iter().all(|device| device["reader"] != name));
        key
    }

    #[track_caller]
    pub fn wait_for(&self, id: &str) {
        self.wait_until(|devices| devices.iter().any(|device| device["key"] == id));
    }

    #[track_caller]
    fn wait_until(&self, is_so: impl Fn(&[Value]) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_so(&self.devices()) {
            assert!(Instant::now() < deadline, "{:?}\n{}", self.devices(), self.pcscd.log());
            thread::sleep(GLANCE);
        }
    }

    pub fn reader(&self) -> &Reader {
        &self.readers[0]
    }

    /// The keys as the daemon lists them; none while it cannot.
    pub fn devices(&self) -> Vec<Value> {
        let answer = self.host.ask(&Request::get("/devices"));
        if answer.status != 200 {
            return Vec::new();
        }
        answer.json()["devices"].as_array().expect("devices").clone()
    }

    pub fn provision(&self, user: &str, more: &Value) -> Answer {
        let order = with(json!({"type": "mfa", "device": {"any": true}}), more);
        self.host.ask(&Request::post(format!("/users/{user}/secrets"), &order).reason())
    }

    /// A factor that the key itself confirmed.
    #[track_caller]
    pub fn provisioned(&self, user: &str, more: &Value) -> Value {
        self.provision(user, &with(json!({"activate": "by-device"}), more)).ok()
    }

    /// Yubico's own program on the first reader.
    pub fn ykman(&self, arguments: &[&str], input: &str) -> Output {
        let program = mfad_testkit::root().join(".venv/bin/ykman");
        let program = std::env::var_os("MFAD_TEST_PYTHON")
            .map(|python| Path::new(&python).with_file_name("ykman"))
            .unwrap_or(program);
        let mut command = Command::new(program);
        command.arg("--reader").arg(self.pcscd.reader_name(0)).args(arguments);
        command.env("PCSCLITE_CSOCK_NAME", self.pcscd.socket()).env("HOME", self.dir.path());
        command.env("XDG_CONFIG_HOME", self.dir.path()).env("XDG_DATA_HOME", self.dir.path());
        command.env("PYTHON_KEYRING_BACKEND", "keyring.backends.null.Keyring");
        output_of(command, input.as_bytes())
    }

    #[track_caller]
    pub fn ykman_says(&self, arguments: &[&str]) -> String {
        let output = self.ykman(arguments, "");
        let (said, complained) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "ykman {arguments:?}: {said}{complained}");
        said.trim().to_owned()
    }

    /// The facts that the crate `yubikey` reads of the key in the first reader.
    #[track_caller]
    pub fn yubikey_facts(&self) -> Value {
        let mut command = Command::new(mfad_testkit::program("examples/yubikey-facts"));
        command.arg(self.pcscd.reader_name(0)).env("PCSCLITE_CSOCK_NAME", self.pcscd.socket());
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Another program that holds the key of the first reader for itself, until it is killed.
    pub fn occupied(&self) -> Occupied {
        let program = "
import sys
from smartcard.System import readers
from smartcard.scard import SCARD_SHARE_EXCLUSIVE
connection = next(r for r in readers() if r.name == sys.argv[1]).createConnection()
connection.connect(mode=SCARD_SHARE_EXCLUSIVE)
print('held', flush=True)
sys.stdin.read()";
        let mut command = crate::interop::python();
        command.args(["-c", program]).arg(self.pcscd.reader_name(0)).env("PCSCLITE_CSOCK_NAME", self.pcscd.socket());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line.trim(), "held");
        // Its name is what people know such a program by.
        let known = self.dir.path().join("scdaemon");
        fs::copy("/bin/sleep", &known).unwrap();
        let namesake = Command::new(&known).arg("60").spawn().unwrap();
        Occupied(vec![child, namesake])
    }

    /// Events of the audit log, with their details.
    pub fn audit(&self) -> Vec<(String, String)> {
        let rows = self.host.ask(&Request::get("/audit?limit=500")).ok();
        let rows = rows["events"].as_array().expect("events").clone();
        rows.iter().map(|row| (text(&row["event"]), row["detail"].as_str().unwrap_or_default().to_owned())).collect()
    }

    /// A file of this bench.
    pub fn file(&self, name: &str, content: &str) -> std::path::PathBuf {
        let path = self.dir.path().join(name);
        fs::write(&path, content).unwrap();
        path
    }
}

/// Programs that end with this.
pub struct Occupied(Vec<Child>);

impl Drop for Occupied {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn reader_name(number: usize) -> String {
    if number == 0 { "Yubico YubiKey OTP+FIDO+CCID".to_owned() } else { format!("Yubico YubiKey CCID {number}") }
}
