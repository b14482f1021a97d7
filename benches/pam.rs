//! What a login to the host costs, each figure a ratio of one run.
//!
//! - A login by a code through `pam_mfad.so`, beyond the same stack with `pam_permit.so`, beside one `POST /verify` on the
//!   same socket.
//! - The same login beside `pam_oath.so` with a users file of 10,000 lines and `pam_google_authenticator.so`. Both go by a
//!   counter, like our user, and write their file at each login.
//! - A process that loads the module and gets its first answer, beyond the same with `pam_permit.so`.
//!
//! All logins are made by libpam in this process, in turns, with stacks in a directory of the benchmark.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::arithmetic_side_effects,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a benchmark reads the clock, prints its figures and fails by panicking"
)]

use std::ffi::CString;
use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use data_encoding::{BASE32_NOPAD, HEXLOWER};
use hmac::{Hmac, KeyInit, Mac};
use mfad_client::{Authority, Client, HostLogin, HostProof, Method, Request, SecretString};
use mfad_pam_try::{Conversation, log_in};
use mfad_testkit::daemon::Daemon;
use serde_json::{Value, json};
use sha1::Sha1;
use zeroize::Zeroizing;

/// Turns, and logins of each kind in a turn.
const TURNS: usize = 10;
const LOGINS: usize = 20;
/// Lines in the users file of `pam_oath`; the user is in the middle.
const LINES: usize = 10_000;
/// The account that logs in. It exists on every host, as `pam_google_authenticator` wants it to.
const ACCOUNT: &str = "root";
/// The most that a login may add to a check, in checks.
const GOAL_ADDED: f64 = 2.0;
/// The longest that a login may take, in logins through the other modules.
const GOAL_OTHERS: f64 = 0.5;
/// The longest from the load of the module to its first answer.
const GOAL_FIRST: Duration = Duration::from_millis(5);

/// The daemon, and what a benchmark asks it.
struct Host(Daemon);

impl Host {
    fn socket(&self) -> &Path {
        &self.0.socket
    }

    fn client(&self) -> Client {
        Client::new(self.socket())
    }

    fn ask(&self, method: Method, path: &str, body: &Value) -> Value {
        let authority = Authority::Reason("a benchmark".to_owned());
        let request = Request::new(method, path).by(&authority).with(body).unwrap();
        self.client().ask(&request).unwrap().read().unwrap()
    }

    /// A user with a factor by counter, who stands for the account.
    fn account(&self) -> Factor {
        let made = self.ask(Method::Post, "/v1/users", &json!({"name": ACCOUNT}));
        let user = made["user"]["uid"].as_str().unwrap().to_owned();
        let secrets = format!("/v1/users/{user}/secrets");
        let secret = self.ask(Method::Post, &secrets, &json!({"type": "mfa", "kind": "hotp"}));
        let seed = BASE32_NOPAD.decode(secret["secret"]["secret"].as_str().unwrap().as_bytes()).unwrap();
        let mut factor = Factor { seed, counter: 0 };
        let path = format!("{secrets}/{}/enroll", secret["uid"].as_str().unwrap());
        self.ask(Method::Put, &path, &json!({"token": factor.next()}));
        let version = self.client().ask(&Request::new(Method::Get, &format!("/v1/users/{user}"))).unwrap();
        let version = version.read::<Value>().unwrap()["version"].clone();
        self.ask(Method::Put, &format!("/v1/users/{user}"), &json!({"version": version, "roles": ["host"]}));
        factor
    }
}

/// A factor by counter (RFC 4226), of six digits.
struct Factor {
    seed: Vec<u8>,
    counter: u64,
}

impl Factor {
    fn next(&mut self) -> String {
        let mac = Hmac::<Sha1>::new_from_slice(&self.seed).unwrap().chain_update(self.counter.to_be_bytes());
        let mac = mac.finalize().into_bytes();
        let at = usize::from(mac[19] & 0x0F);
        let cut = u32::from_be_bytes(mac[at..at + 4].try_into().unwrap()) & 0x7FFF_FFFF;
        self.counter += 1;
        format!("{:06}", cut % 1_000_000)
    }
}

/// Answers each prompt with the same code.
struct Typed(String);

impl Conversation for Typed {
    fn show(&mut self, _: &str) {}

    fn ask(&mut self, _: &str, _: bool) -> Option<Zeroizing<String>> {
        Some(Zeroizing::new(self.0.clone()))
    }
}

/// Stacks in a directory.
struct Stacks(CString);

impl Stacks {
    fn new(dir: &Path) -> Self {
        fs::create_dir(dir).unwrap();
        // Else libpam logs at each login that it is missing.
        fs::write(dir.join("other"), "auth required pam_deny.so\n").unwrap();
        Self(CString::new(dir.to_str().unwrap()).unwrap())
    }

    fn add(&self, service: &str, auth: &str) {
        let text = format!("auth required {auth}\naccount required pam_permit.so\n");
        fs::write(Path::new(self.0.to_str().unwrap()).join(service), text).unwrap();
    }

    /// The time of a login that must succeed.
    fn log_in(&self, service: &str, code: String) -> Duration {
        let (service, account) = (CString::new(service).unwrap(), CString::new(ACCOUNT).unwrap());
        let mut typed = Typed(code);
        let started = Instant::now();
        let result = log_in(&self.0, &service, &account, &mut typed);
        let time = started.elapsed();
        result.unwrap_or_else(|why| panic!("{service:?}: {why}"));
        time
    }

    /// The time of a login by a process of its own, from its start to its end.
    fn log_in_alone(&self, service: &str, code: &str) -> Duration {
        let mut command = Command::new(mfad_testkit::program("mfad-pam-try"));
        command.args([self.0.to_str().unwrap(), service, ACCOUNT]);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let started = Instant::now();
        let mut process = command.spawn().unwrap();
        let _ = process.stdin.take().unwrap().write_all(format!("{code}\n").as_bytes());
        let is_in = process.wait().unwrap().success();
        let time = started.elapsed();
        assert!(is_in, "{service} in a process of its own");
        time
    }
}

fn has_module(name: &str) -> bool {
    let dirs = fs::read_dir("/usr/lib").into_iter().flatten().flatten().map(|entry| entry.path());
    dirs.chain(["/usr/lib".into(), "/lib".into()]).any(|dir| dir.join("security").join(name).exists())
}

fn p50(times: &mut [Duration]) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

fn private(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
}

/// A users file of `pam_oath`, and its user's factor.
fn oath_users(path: &Path) -> Factor {
    let factor = Factor { seed: vec![7; 20], counter: 0 };
    let line = |number: usize| {
        let name = if number == LINES / 2 { ACCOUNT.to_owned() } else { format!("user{number}") };
        format!("HOTP {name} - {}\n", HEXLOWER.encode(&factor.seed))
    };
    private(path, &(0..LINES).map(line).collect::<String>());
    factor
}

/// A file of `pam_google_authenticator`, and its factor.
fn google_file(path: &Path) -> Factor {
    let factor = Factor { seed: vec![9; 20], counter: 1 };
    private(path, &format!("{}\n\" HOTP_COUNTER 1\n\" WINDOW_SIZE 3\n", BASE32_NOPAD.encode(&factor.seed)));
    factor
}

/// Set in the process that has no console.
const INSIDE: &str = "MFAD_BENCH_WITHOUT_CONSOLE";

/// Runs this program once more, with `/dev/null` for the console. On a host without a system log, syslog(3) writes to the
/// console, which takes longer than a login.
fn run_without_console() {
    let script = format!("{}mount --bind /dev/null /dev/console\nexec \"$@\"", mfad_testkit::mounts::PRIVATE);
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "unchanged", "bash", "-c", &script, "bash"]);
    let status = command.args(std::env::args_os()).env(INSIDE, "1").status().unwrap();
    assert!(status.success(), "the benchmark without a console: {status}");
}

fn main() {
    // `cargo test` and `cargo bench` run every benchmark; tests are no use of it.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    if !Path::new("/dev/log").exists() && std::env::var_os(INSIDE).is_none() {
        run_without_console();
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let daemon = Host(Daemon::start(dir.path(), "", &[]));
    let mut ours = daemon.account();
    let stacks = Stacks::new(&dir.path().join("pam.d"));
    let module = mfad_testkit::program("libpam_mfad.so");
    stacks.add("ours", &format!("{} socket={}", module.display(), daemon.socket().display()));
    stacks.add("permit", "pam_permit.so");
    let (oath_file, google_path) = (dir.path().join("users.oath"), dir.path().join("google"));
    let mut others = Vec::new();
    if has_module("pam_oath.so") {
        stacks.add("oath", &format!("pam_oath.so usersfile={} window=5 digits=6", oath_file.display()));
        others.push(("oath", "pam_oath, 10,000 lines", oath_users(&oath_file), Vec::new()));
    }
    if has_module("pam_google_authenticator.so") {
        let options = format!("secret={} user=root no_strict_owner allowed_perm=0600", google_path.display());
        stacks.add("google", &format!("pam_google_authenticator.so {options}"));
        others.push(("google", "pam_google_authenticator", google_file(&google_path), Vec::new()));
    }

    let told = HostLogin { service: "ours".to_owned(), ..HostLogin::default() };
    let mut client = daemon.client();
    let (mut checks, mut logins, mut permits, mut alone, mut alone_permit) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..TURNS {
        for _ in 0..LOGINS {
            let code = SecretString::new(ours.next());
            let started = Instant::now();
            client.verify_host_login(ACCOUNT, &HostProof::Token(&code), &told).unwrap();
            checks.push(started.elapsed());
        }
        for _ in 0..LOGINS {
            logins.push(stacks.log_in("ours", ours.next()));
            permits.push(stacks.log_in("permit", String::new()));
        }
        // In a block of their own: their writes would be flushed with ours.
        for (service, _, factor, times) in &mut others {
            times.extend((0..LOGINS).map(|_| stacks.log_in(service, factor.next())));
        }
        for _ in 0..LOGINS {
            alone.push(stacks.log_in_alone("ours", &ours.next()));
            alone_permit.push(stacks.log_in_alone("permit", ""));
        }
    }

    let (check, login, permit) = (p50(&mut checks), p50(&mut logins), p50(&mut permits));
    let added = login.saturating_sub(permit);
    let met = |is_met: bool| if is_met { "met" } else { "not met" };
    let ratio = added.as_secs_f64() / check.as_secs_f64();
    println!("one check on the socket, p50: {:.3} ms", millis(check));
    println!(
        "a login by a code adds {:.3} ms, {ratio:.2} checks (goal {GOAL_ADDED}: {})",
        millis(added),
        met(ratio <= GOAL_ADDED)
    );
    for (_, name, _, mut times) in others {
        let other = p50(&mut times);
        let ratio = login.as_secs_f64() / other.as_secs_f64();
        println!(
            "a login takes {ratio:.2} of one through {name}, {:.3} ms (goal {GOAL_OTHERS}: {})",
            millis(other),
            met(ratio <= GOAL_OTHERS)
        );
    }
    let first = p50(&mut alone).saturating_sub(p50(&mut alone_permit));
    println!(
        "a process with the module takes {:.3} ms more than one with pam_permit (goal {:.0} ms: {})",
        millis(first),
        millis(GOAL_FIRST),
        met(first <= GOAL_FIRST)
    );
}
