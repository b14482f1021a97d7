//! The daemon under systemd's protocols, played by this test: readiness, watchdog, a socket that is handed over, and
//! new settings by SIGHUP.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::host::{TestDirs, wait};
use crate::wire::{Answer, Connection, Request};

pub const PATIENCE: Duration = Duration::from_secs(20);
const GLANCE: Duration = Duration::from_millis(5);

/// A daemon whose supervisor is this test.
pub struct Ward {
    pub dirs: TestDirs,
    told: UnixDatagram,
    notify: PathBuf,
    daemon: Option<Child>,
}

impl Drop for Ward {
    fn drop(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
    }
}

impl Ward {
    pub fn new(extra_config: &str) -> Self {
        let dirs = TestDirs::new(extra_config);
        assert!(dirs.init().success(), "{}", dirs.log_text());
        Self::on(dirs)
    }

    /// On dirs that are initialised.
    fn on(dirs: TestDirs) -> Self {
        let notify = dirs.dir.path().join("notify");
        let told = UnixDatagram::bind(&notify).unwrap();
        told.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { dirs, told, notify, daemon: None }
    }

    pub fn start(&mut self, prepare: impl FnOnce(&mut Command)) {
        let mut command = self.dirs.serve();
        command.env("NOTIFY_SOCKET", &self.notify);
        prepare(&mut command);
        self.daemon = Some(command.spawn().unwrap());
    }

    /// With a socket that was made for it: the first descriptor after the usual three (sd_listen_fds(3)).
    fn start_on(&mut self, listener: &UnixListener) {
        self.start_with(OwnedFd::from(listener.try_clone().unwrap()), "LISTEN_PID=$$ LISTEN_FDS=1");
    }

    /// With a descriptor and what is said about it, in the words of the shell.
    fn start_with(&mut self, descriptor: OwnedFd, said: &str) {
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", &format!("{said} exec \"$@\" 3<&0 0</dev/null"), "sh"]).stdin(descriptor);
        self.start_through(shell);
    }

    /// With files of its own in the place of the host's `/etc/group` and `/etc/passwd`; needs root.
    pub fn start_beside(&mut self, groups: &Path, users: &Path) {
        const PLACES: &str =
            "mount --bind \"$1\" /etc/group && mount --bind \"$2\" /etc/passwd && shift 2 && exec \"$@\"";
        let mut shell = Command::new("unshare");
        shell.args(["--mount", "/bin/sh", "-c", PLACES, "sh"]).arg(groups).arg(users).stdin(Stdio::null());
        self.start_through(shell);
    }

    /// By a command that ends in the daemon's own.
    fn start_through(&mut self, mut command: Command) {
        let plain = self.dirs.serve();
        command.arg(plain.get_program()).args(plain.get_args());
        for (name, value) in plain.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command.env("NOTIFY_SOCKET", &self.notify).stdout(Stdio::null());
        command.stderr(fs::File::options().append(true).open(&self.dirs.log).unwrap());
        self.daemon = Some(command.spawn().unwrap());
    }

    /// Waits until systemd is told this.
    #[track_caller]
    pub fn hears(&self, what: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        let mut buffer = [0; 4096];
        loop {
            let length =
                self.told.recv(&mut buffer).unwrap_or_else(|why| panic!("{what}: {why}: {}", self.dirs.log_text()));
            let said = String::from_utf8_lossy(&buffer[..length]).into_owned();
            if said.lines().any(|line| line.starts_with(what)) {
                return said;
            }
            assert!(Instant::now() < deadline, "{what} was not told");
        }
    }

    #[track_caller]
    pub fn logs(&self, what: &str) {
        self.logs_within(PATIENCE, what);
    }

    #[track_caller]
    pub fn logs_within(&self, patience: Duration, what: &str) {
        let deadline = Instant::now() + patience;
        while !self.dirs.log_text().contains(what) {
            assert!(Instant::now() < deadline, "{what:?} is not in: {}", self.dirs.log_text());
            thread::sleep(GLANCE);
        }
    }

    pub fn signal(&self, signal: Signal) {
        let id = self.daemon.as_ref().expect("a daemon").id();
        kill_process(Pid::from_raw(id.try_into().unwrap()).unwrap(), signal).unwrap();
    }

    pub fn ask(&self, request: &Request) -> io::Result<Answer> {
        Connection::new(UnixStream::connect(&self.dirs.socket)?, None).try_ask(request)
    }

    pub fn end(&mut self) {
        self.end_by(Signal::TERM);
    }

    /// The code of a daemon that ends by itself.
    #[track_caller]
    pub fn exit_code(&mut self) -> Option<i32> {
        let status = wait(self.daemon.as_mut().expect("a daemon"), PATIENCE);
        status.unwrap_or_else(|| panic!("it serves: {}", self.dirs.log_text())).code()
    }

    #[track_caller]
    fn end_by(&mut self, signal: Signal) {
        self.signal(signal);
        let mut daemon = self.daemon.take().unwrap();
        let status = wait(&mut daemon, PATIENCE).expect("it ends");
        assert_eq!(status.code(), Some(0), "{}", self.dirs.log_text());
    }
}

#[test]
fn svc_1_readiness_the_watchdog_and_the_end_are_told() {
    let mut ward = Ward::new("");
    ward.start(|command| {
        command.env("WATCHDOG_USEC", "300000");
    });

    let told = ward.hears("READY=1");
    assert!(ward.ask(&Request::get("/health/ready")).unwrap().status == 200, "ready means ready: {told}");
    for _ in 0..3 {
        ward.hears("WATCHDOG=1");
    }
    ward.end();
    ward.hears("STOPPING=1");
}

#[test]
fn svc_1_a_daemon_that_does_not_answer_itself_is_not_kept_alive() {
    let mut ward = Ward::new("");
    ward.start(|command| {
        command.env("WATCHDOG_USEC", "300000");
    });
    ward.hears("WATCHDOG=1");

    fs::remove_file(&ward.dirs.socket).unwrap();

    ward.logs("the watchdog is not fed");
    // What was sent before is read; then there is silence for longer than the watchdog waits.
    ward.told.set_read_timeout(Some(Duration::from_millis(600))).unwrap();
    let mut buffer = [0; 512];
    let heard = (0..100).find(|_| ward.told.recv(&mut buffer).is_err());
    assert!(heard.is_some(), "it is fed for ever");
}

#[test]
fn svc_1_restarts_behind_a_socket_of_systemd_refuse_nobody() {
    const RESTARTS: usize = 20;
    let mut ward = Ward::new("");
    let listener = UnixListener::bind(&ward.dirs.socket).unwrap();
    fs::set_permissions(&ward.dirs.socket, fs::Permissions::from_mode(0o660)).unwrap();
    let (over, asked) = (AtomicBool::new(false), AtomicUsize::new(0));
    let socket = ward.dirs.socket.clone();

    let (refused, lost) = thread::scope(|threads| {
        let callers: Vec<_> = (0..4)
            .map(|_| {
                threads.spawn(|| {
                    let (mut refused, mut lost) = (0, 0);
                    while !over.load(Ordering::Relaxed) {
                        let Ok(stream) = UnixStream::connect(&socket) else {
                            refused += 1;
                            continue;
                        };
                        stream.set_read_timeout(Some(PATIENCE)).unwrap();
                        match Connection::new(stream, None).try_ask(&Request::get("/health/live")) {
                            Ok(answer) => assert_eq!(answer.status, 200),
                            Err(_) => lost += 1,
                        }
                        asked.fetch_add(1, Ordering::Relaxed);
                    }
                    (refused, lost)
                })
            })
            .collect();
        for _ in 0..RESTARTS {
            ward.start_on(&listener);
            ward.hears("READY=1");
            let before = asked.load(Ordering::Relaxed);
            while asked.load(Ordering::Relaxed) < before + 8 {
                thread::sleep(GLANCE);
            }
            ward.end();
            assert!(ward.dirs.socket.exists(), "the socket is systemd's");
        }
        ward.start_on(&listener);
        ward.hears("READY=1");
        over.store(true, Ordering::Relaxed);
        callers.into_iter().map(|caller| caller.join().unwrap()).fold((0, 0), |(a, b), (c, d)| (a + c, b + d))
    });

    let asked = asked.load(Ordering::Relaxed);
    println!("restarts: {RESTARTS} under load, {asked} requests, {refused} connects refused (goal 0), {lost} cut off");
    assert_eq!(refused, 0);
    // A connection that was accepted as the daemon began to stop may be closed before its request arrived.
    assert!(lost <= RESTARTS * 8, "{lost} of {asked}");
    ward.end();
}

#[test]
fn a_reload_takes_new_settings_and_keeps_the_old_ones_when_they_are_wrong() {
    let mut ward = Ward::new("");
    ward.start(|_| {});
    ward.hears("READY=1");
    let required = |ward: &Ward| ward.ask(&Request::get("/auth")).unwrap().ok()["mfaRequired"].clone();
    assert_eq!(required(&ward), json!(false));
    let config = fs::read_to_string(&ward.dirs.config).unwrap();
    let write = |text: &str| fs::write(&ward.dirs.config, text).unwrap();

    write(&format!("mfaRequired = true\nissuer = \"other\"\nsocketMode = \"0600\"\n{config}"));
    ward.signal(Signal::HUP);
    assert!(ward.hears("RELOADING=1").contains("MONOTONIC_USEC="));
    ward.hears("READY=1");
    assert_eq!(required(&ward), json!(true));
    // And no other.
    ward.logs("socketMode, issuer\"");

    write(&format!("mfaRequired = \"perhaps\"\n{config}"));
    ward.signal(Signal::HUP);
    ward.hears("READY=1");
    assert_eq!(required(&ward), json!(true), "what is wrong changes nothing");
    ward.logs("the old one stays in force");
    ward.end();
}

#[test]
fn what_is_handed_over_and_is_no_listening_socket_ends_the_daemon_with_its_code() {
    let own = "LISTEN_PID=$$ LISTEN_FDS=1";
    let (stream, _other_end) = UnixStream::pair().unwrap();
    let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listener = |ward: &Ward| UnixListener::bind(ward.dirs.dir.path().join("handed.sock")).unwrap();

    for (what, descriptor) in [
        ("a file", OwnedFd::from(fs::File::open("/dev/null").unwrap())),
        ("a connection", OwnedFd::from(stream)),
        ("datagrams", OwnedFd::from(UnixDatagram::unbound().unwrap())),
        ("TCP", OwnedFd::from(tcp)),
    ] {
        let mut ward = Ward::new("");
        ward.start_with(descriptor, own);

        assert_eq!(ward.exit_code(), Some(11), "{what}: {}", ward.dirs.log_text());
        assert!(!ward.dirs.socket.exists(), "{what}");
    }
    for said in [
        "LISTEN_PID=$$ LISTEN_FDS=0",
        "LISTEN_PID=$$ LISTEN_FDS=2",
        "LISTEN_PID=$$ LISTEN_FDS=one",
        "LISTEN_PID=$$ LISTEN_FDS=",
        "LISTEN_PID=$$ LISTEN_FDS=-1",
        "LISTEN_PID=me LISTEN_FDS=1",
        "LISTEN_PID= LISTEN_FDS=1",
    ] {
        let mut ward = Ward::new("");
        let descriptor = OwnedFd::from(listener(&ward));
        ward.start_with(descriptor, said);

        assert_eq!(ward.exit_code(), Some(11), "{said}: {}", ward.dirs.log_text());
        assert!(ward.dirs.log_text().contains("LISTEN_"), "it says what is wrong: {}", ward.dirs.log_text());
    }
}

#[test]
fn what_is_handed_over_to_another_process_is_ignored() {
    for said in
        ["LISTEN_PID=1 LISTEN_FDS=1", "LISTEN_PID=1 LISTEN_FDS=5", "LISTEN_PID=1 LISTEN_FDS=none", "LISTEN_PID=$$"]
    {
        let mut ward = Ward::new("");
        // In a directory that the daemon has to make.
        ward.dirs.socket = ward.dirs.dir.path().join("run").join("mfad.sock");
        let descriptor = OwnedFd::from(UnixListener::bind(ward.dirs.dir.path().join("others.sock")).unwrap());
        ward.start_with(descriptor, said);

        ward.hears("READY=1");
        assert_eq!(ward.ask(&Request::get("/health/ready")).unwrap().status, 200, "{said}");
        ward.end();
        assert!(!ward.dirs.socket.exists(), "{said}: it was the daemon's own");
    }
}

#[test]
fn signals_that_ask_for_nothing_do_not_end_the_daemon() {
    let mut ward = Ward::new("");
    ward.start(|_| {});
    ward.hears("READY=1");

    for signal in [Signal::USR1, Signal::USR2, Signal::ALARM] {
        ward.signal(signal);
        assert_eq!(ward.ask(&Request::get("/health/ready")).unwrap().status, 200, "{signal:?}");
    }

    // One that had been ended by a signal would have no exit code.
    ward.end();
}

#[test]
fn svc_2_each_signal_that_stops_the_daemon_does_it_in_good_order() {
    for signal in [Signal::QUIT, Signal::INT, Signal::TERM] {
        let mut ward = Ward::new("");
        ward.start(|_| {});
        ward.hears("READY=1");
        let idle = UnixStream::connect(&ward.dirs.socket).unwrap();

        ward.end_by(signal);

        ward.hears("STOPPING=1");
        assert!(!ward.dirs.socket.exists(), "{signal:?}");
        assert!(ward.dirs.log_text().lines().any(|line| line.ends_with("stopped")), "{signal:?}");
        drop(idle);
    }
}

#[test]
fn a_configuration_is_checked_without_being_used() {
    let dirs = TestDirs::new("");
    let check = |text: &str| {
        fs::write(&dirs.config, text).unwrap();
        dirs.mfad().arg("check").arg("--config").arg(&dirs.config).output().unwrap()
    };

    assert_eq!(check("mfaRequired = true\n").status.code(), Some(0));
    let wrong = check("mfaRequired = 7\n");
    assert_eq!(wrong.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("mfaRequired"), "it says what is wrong");
    assert!(!dirs.state.exists(), "nothing is made");
}

#[test]
fn an_init_if_needed_happens_once() {
    let dirs = TestDirs::new("");
    let init = || {
        let mut command = dirs.mfad();
        command.args(["init", "--if-needed", "--config"]).arg(&dirs.config);
        command.arg("--state-dir").arg(&dirs.state).stderr(Stdio::null()).status().unwrap()
    };

    assert!(init().success());
    let key = fs::read(dirs.state.join("master.key")).unwrap();
    assert!(init().success());
    assert_eq!(fs::read(dirs.state.join("master.key")).unwrap(), key);
}

#[test]
fn key_1_a_credential_takes_the_place_of_the_key_file() {
    let (dirs, credentials) = TestDirs::with_credential(7);
    assert!(!dirs.state.join("master.key").exists(), "there is no second key");
    let mut ward = Ward::on(dirs);

    ward.start(|command| {
        command.env("CREDENTIALS_DIRECTORY", &credentials);
    });

    ward.hears("READY=1");
    ward.end();
}

/// `MFAD_CONFIG` and the like come with the command.
fn in_background(dirs: &TestDirs, pid_file: &Path) -> Command {
    let plain = dirs.serve();
    let mut command = dirs.mfad();
    command.args(plain.get_args()).arg("--daemonize").arg("--pid-file").arg(pid_file);
    command.stdout(Stdio::null()).stderr(fs::File::options().append(true).open(&dirs.log).unwrap());
    command
}

#[test]
fn a_start_into_the_background_returns_when_the_daemon_serves() {
    let dirs = TestDirs::new("");
    assert!(dirs.init().success(), "{}", dirs.log_text());
    let pid_file = dirs.dir.path().join("mfad.pid");
    let ask = || Connection::new(UnixStream::connect(&dirs.socket)?, None).try_ask(&Request::get("/health/ready"));

    let status = in_background(&dirs, &pid_file).status().unwrap();

    assert_eq!(status.code(), Some(0), "{}", dirs.log_text());
    let answered = ask().map(|answer| answer.status);
    let pid: i32 = fs::read_to_string(&pid_file).unwrap().trim().parse().unwrap();
    let pid = Pid::from_raw(pid).unwrap();
    let again = in_background(&dirs, &dirs.dir.path().join("other.pid")).status().unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    let deadline = Instant::now() + PATIENCE;
    while pid_file.exists() && Instant::now() < deadline {
        thread::sleep(GLANCE);
    }
    assert_eq!(answered.unwrap(), 200);
    assert_eq!(again.code(), Some(4), "another instance is running: {}", dirs.log_text());
    assert!(!pid_file.exists() && dirs.log_text().contains("stopped"), "{}", dirs.log_text());
}

#[test]
fn a_start_into_the_background_that_fails_says_so_to_whoever_asked() {
    let dirs = TestDirs::new("");
    fs::write(&dirs.log, "").unwrap();

    let status = in_background(&dirs, &dirs.dir.path().join("mfad.pid")).status().unwrap();

    assert_eq!(status.code(), Some(6), "{}", dirs.log_text());
    assert!(dirs.log_text().contains("run `mfad init` first"), "{}", dirs.log_text());
}

#[test]
fn svc_3_the_daemon_is_confined_and_its_keys_locked_as_far_as_this_host_can() {
    let host = crate::host::Host::start("");
    let version = host.ask(&Request::get("/version")).ok();
    let modules = fs::read_to_string("/sys/kernel/security/lsm").unwrap_or_default();
    if modules.contains("landlock") {
        assert_ne!(version["landlock"], "none", "{version}");
    }
    let status = fs::read_to_string(format!("/proc/{}/status", host.pid())).unwrap();
    let locked = status.lines().find_map(|line| line.strip_prefix("VmLck:")).unwrap().trim().to_owned();
    assert_eq!(version["keysLocked"], json!(locked != "0 kB"), "{locked}");
    println!("landlock {}, locked memory {locked}", version["landlock"]);
}

#[test]
fn the_log_goes_into_the_journal_only_where_standard_error_does() {
    let mut ward = Ward::new("");
    ward.start(|command| {
        command.env("JOURNAL_STREAM", "1:1");
    });
    ward.hears("READY=1");
    ward.logs("ready");
    ward.end();
}

#[test]
fn the_dashboard_shows_every_metric_and_no_other() {
    let host = crate::host::Host::start("");
    let (person, mut factor, _) = host.guarded("anna");
    host.verify(&person.id, &json!({"token": factor.next()})).ok();
    let timed = host.person("boris");
    let (mut clock, _) = host.enrol(&timed, &json!({}));
    host.verify(&timed.id, &json!({"token": clock.next()})).ok();
    host.give_account(&person.id);
    let login = json!({"name": "anna", "token": factor.next(), "service": "sshd"});
    host.ask(&crate::wire::Request::post("/verify", &login)).ok();
    let text = host.ask(&Request::get("/metrics")).text();
    let described: std::collections::BTreeSet<&str> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    let dashboard = fs::read_to_string(mfad_testkit::root().join("docs/grafana.json")).unwrap();
    // Without a reader there is no hardware key to count.
    let described: std::collections::BTreeSet<&str> = described.into_iter().chain(["mfad_hardware_keys"]).collect();
    let parsed: serde_json::Value = serde_json::from_str(&dashboard).unwrap();
    assert!(parsed["panels"].as_array().is_some_and(|panels| panels.len() >= 10));
    let words =
        dashboard.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(|word| word.starts_with("mfad_"));
    let plain =
        |word: &str| ["_total", "_bucket"].iter().find_map(|end| word.strip_suffix(end)).unwrap_or(word).to_owned();
    let shown: std::collections::BTreeSet<String> = words.map(plain).collect();

    assert_eq!(shown, described.iter().map(|name| (*name).to_owned()).collect());
    for line in [
        "mfad_commit_seconds_count ",
        "mfad_clock_drift_seconds ",
        "mfad_readers_reachable 0",
        "mfad_code_drift_total{steps=",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    let service = fs::read_to_string(mfad_testkit::root().join("docs/service.md")).unwrap();
    for name in described {
        assert!(service.contains(&format!("`{name}")), "{name} is not in docs/service.md");
    }
}
