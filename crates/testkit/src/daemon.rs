//! A daemon for benchmarks: the real program with a new store. It ends with its handle.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How long a start, or another thing that is waited for, may take.
const PATIENCE: Duration = Duration::from_secs(30);

pub struct Daemon {
    process: Child,
    pub socket: PathBuf,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Daemon {
    /// In a directory, with this account as its administrator. `config` comes before that.
    pub fn start(dir: &Path, config: &str, environment: &[(&str, &OsStr)]) -> Self {
        let (file, state, socket) = (dir.join("mfad.toml"), dir.join("state"), dir.join("mfad.sock"));
        let uid = rustix::process::getuid().as_raw();
        fs::write(&file, format!("{config}\n[[peer]]\nuid = {uid}\nrights = [\"admin\", \"pam\"]\n")).unwrap();
        let mfad = || {
            let mut command = Command::new(crate::program("mfad"));
            command.arg("--config").arg(&file).arg("--state-dir").arg(&state).envs(environment.iter().copied());
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            command
        };
        assert!(mfad().arg("init").status().unwrap().success());
        let process = mfad().arg("--socket").arg(&socket).spawn().unwrap();
        let daemon = Self { process, socket };
        until(|| UnixStream::connect(&daemon.socket).is_ok());
        daemon
    }

    pub fn pid(&self) -> u32 {
        self.process.id()
    }
}

/// Waits until something is so.
pub fn until(is_so: impl Fn() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < PATIENCE, "it takes too long");
        thread::sleep(Duration::from_millis(10));
    }
}
