//! The daemon under load, and the users of its store, put there by the store's own verbs.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use argon2::{Algorithm, Argon2, Params, Version};
use hmac::{Hmac, KeyInit, Mac};
use mfad_core::model::{OtpKind, Period, UserId};
use mfad_store::{Decision, Listeners, MasterKey, SecretType, Store};
use serde_json::Value;
use sha1::Sha1;
use tokio::runtime::Runtime;

use super::drive::{Line, Load, Shot};
use super::people;

pub const PASSWORD: &str = "correct horse battery staple";
const PATIENCE: Duration = Duration::from_secs(60);
/// Users that are stored in one go.
const CHUNK: usize = 5_000;
/// A prime: steps of that length visit all users, each far from the one before.
const STRIDE: usize = 611_953;

/// The eight digits of a step or a counter (RFC 4226).
pub fn code(seed: &[u8], moving: u64) -> String {
    let mac = Hmac::<Sha1>::new_from_slice(seed).unwrap().chain_update(moving.to_be_bytes()).finalize().into_bytes();
    let at = usize::from(mac[19] & 0x0F);
    let cut = u32::from_be_bytes(mac[at..at + 4].try_into().unwrap()) & 0x7FFF_FFFF;
    format!("{:08}", cut % 100_000_000)
}

fn step() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() / 30
}

/// Users with a password, a factor that goes by time and ten backup codes each.
pub struct Seeded {
    /// Id and seed.
    pub users: Vec<(String, [u8; 20])>,
    shown: Arc<Vec<AtomicU64>>,
    next: AtomicUsize,
    /// The users that `right` goes through.
    range: Range<usize>,
    dir: PathBuf,
}

impl Seeded {
    /// Fills a new store. What a password and a set of codes look like is taken from a user whom the daemon made.
    pub fn make(dir: &Path, users: usize) -> Arc<Self> {
        let state = dir.join("state");
        assert!(Daemon::command(dir).arg("init").status().unwrap().success());
        let pattern = {
            let daemon = Daemon::start(dir);
            let runtime = Runtime::new().unwrap();
            runtime.block_on(daemon.pattern())
        };
        let key = MasterKey::from_bytes(&std::fs::read(state.join("master.key")).unwrap()).unwrap();
        let store = Store::open(&state, None, &key, Listeners::default()).unwrap();
        let (password, codes) = store
            .read(PATIENCE, |view| {
                let password = view.active_secret(pattern, SecretType::Password)?.expect("a password");
                let (_, codes) = view.backup_set(pattern)?.expect("codes");
                Ok((view.open_secret(&password)?.expose().clone(), codes.record.expose().clone()))
            })
            .unwrap();
        let mut made = Vec::with_capacity(users);
        for first in (0..users).step_by(CHUNK) {
            let (password, codes) = (password.clone(), codes.clone());
            let numbers = first..(first + CHUNK).min(users);
            let chunk = store.write(PATIENCE, move |tx| {
                let mut chunk = Vec::new();
                for number in numbers {
                    let others = [(SecretType::Password, &password[..]), (SecretType::Backup, &codes[..])];
                    let (user, _, seed) = people::put(tx, number, OtpKind::Totp(Period::THIRTY), &others)?;
                    chunk.push((user.to_string(), seed));
                }
                Ok(Decision::Commit(chunk))
            });
            made.extend(chunk.unwrap());
        }
        store.close();
        // Wrong codes and logins are measured with the others.
        let range = 0..users * 3 / 4;
        Arc::new(Self { shown: unshown(users), users: made, next: AtomicUsize::new(0), range, dir: state })
    }

    /// The same users in a copy of the store.
    pub fn copy(&self, state: PathBuf) -> Arc<Self> {
        let (users, range) = (self.users.clone(), self.range.clone());
        Arc::new(Self { shown: unshown(users.len()), users, next: AtomicUsize::new(0), range, dir: state })
    }

    /// The same users and codes; `right` goes through those of `range`.
    pub fn ranged(&self, range: Range<usize>) -> Arc<Self> {
        let (users, shown, dir) = (self.users.clone(), Arc::clone(&self.shown), self.dir.clone());
        Arc::new(Self { users, shown, next: AtomicUsize::new(0), range, dir })
    }

    /// The next code of a user that was not shown yet, as long as the window has one.
    pub fn code_of(&self, user: usize) -> Option<String> {
        let now = step();
        let next = |last: u64| Some((last + 1).max(now)).filter(|step| *step <= now + 1);
        let last = self.shown[user].fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).ok()?;
        next(last).map(|step| code(&self.users[user].1, step))
    }

    /// A right code of one user after another, in no order of their age.
    pub fn right(&self) -> Shot {
        for _ in 0..self.users.len() {
            let user = self.next.fetch_add(STRIDE, Ordering::Relaxed) % self.range.len() + self.range.start;
            if let Some(code) = self.code_of(user) {
                return self.verify(user, &code);
            }
        }
        panic!("every code of {} users was shown", self.users.len());
    }

    pub fn verify(&self, user: usize, code: &str) -> Shot {
        Shot::post(format!("/users/{}/verify", self.users[user].0), format!("{{\"token\":\"{code}\"}}"))
    }

    /// The size of the database without its log.
    pub fn size_kib(&self) -> f64 {
        std::fs::metadata(self.dir.join("mfad.db")).unwrap().len() as f64 / 1024.0
    }
}

/// A running daemon.
pub struct Daemon {
    process: Child,
    socket: PathBuf,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.process.try_wait().unwrap().is_some() {
            return;
        }
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.process), rustix::process::Signal::TERM)
            .unwrap();
        let _ = self.process.wait();
    }
}

fn unshown(users: usize) -> Arc<Vec<AtomicU64>> {
    Arc::new((0..users).map(|_| AtomicU64::new(0)).collect())
}

impl Daemon {
    fn command(dir: &Path) -> Command {
        Self::as_started_by(Command::new(mfad_testkit::program("mfad")), dir)
    }

    /// The daemon with its arguments, as the given command starts it.
    fn as_started_by(mut command: Command, dir: &Path) -> Command {
        let config = dir.join("mfad.toml");
        let uid = rustix::process::getuid().as_raw();
        let text = format!(
            "registration = \"open\"\nguardDir = \"\"\n[limits]\nconnectionsPerPeer = 2000\n[devices]\nenabled = false\n\
             [argon2]\nqueue = 512\n[[peer]]\nuid = {uid}\nrights = [\"admin\", \"app\"]\n"
        );
        std::fs::write(&config, text).unwrap();
        command.arg("--config").arg(config).arg("--state-dir").arg(dir.join("state"));
        command.arg("--socket").arg(dir.join("mfad.sock"));
        command.env("MFAD_LOG", "warn").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    /// Until it is ready.
    pub fn start(dir: &Path) -> Self {
        Self::start_program(&mfad_testkit::program("mfad"), dir)
    }

    /// As [`Daemon::start`], of another build.
    pub fn start_program(program: &Path, dir: &Path) -> Self {
        let process = Self::as_started_by(Command::new(program), dir).spawn().unwrap();
        let mut daemon = Self { process, socket: dir.join("mfad.sock") };
        while std::os::unix::net::UnixStream::connect(&daemon.socket).is_err() {
            assert!(daemon.process.try_wait().unwrap().is_none(), "the daemon ended");
            thread::yield_now();
        }
        daemon
    }

    /// How long the first request takes that makes the holder of the socket start the daemon, as systemd does.
    pub fn activated(dir: &Path, runtime: &Runtime) -> Duration {
        let socket = dir.join("mfad.sock");
        let mut holder = Command::new("systemd-socket-activate");
        holder.arg("--listen").arg(&socket).arg("--setenv=MFAD_LOG").arg(mfad_testkit::program("mfad"));
        let mut daemon = Self { process: Self::as_started_by(holder, dir).spawn().unwrap(), socket };
        let first = loop {
            let began = Instant::now();
            if std::os::unix::net::UnixStream::connect(&daemon.socket).is_ok() {
                runtime.block_on(async { Line::open(&daemon.socket).await.ask(Shot::get("/health/live")).await });
                break began.elapsed();
            }
            assert!(daemon.process.try_wait().unwrap().is_none(), "the daemon ended");
            thread::yield_now();
        };
        let socket = daemon.socket.clone();
        drop(daemon);
        // Whoever holds a socket takes it away; this holder has become the daemon, which leaves it.
        std::fs::remove_file(socket).unwrap();
        first
    }

    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Kills it, as a power failure of the process would.
    pub fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// A user as the daemon makes one.
    async fn pattern(&self) -> UserId {
        let mut line = Line::open(&self.socket).await;
        let made =
            ask(&mut line, Shot::post("/users", format!("{{\"name\":\"pattern\",\"password\":\"{PASSWORD}\"}}"))).await;
        let (user, token) = (text(&made["user"]["uid"]), text(&made["token"]));
        let order = r#"{"type":"mfa","kind":"hotp","digits":8}"#.to_owned();
        let factor = ask(&mut line, Shot::post(format!("/users/{user}/secrets"), order).token(&token)).await;
        let seed = data_encoding::BASE32_NOPAD.decode(text(&factor["secret"]["secret"]).as_bytes()).unwrap();
        let path = format!("/users/{user}/secrets/{}/enroll", text(&factor["uid"]));
        let first = Shot::post(path, format!("{{\"token\":\"{}\"}}", code(&seed, 0))).put().token(&token);
        ask(&mut line, first).await;
        UserId::parse(&user).unwrap()
    }

    /// Nothing of replay protection is switched off.
    pub fn refuses_a_repeated_code(&self, seeded: &Arc<Seeded>) {
        let code = seeded.code_of(0).expect("a first code");
        Runtime::new().unwrap().block_on(async {
            let mut line = Line::open(&self.socket).await;
            assert_eq!(line.ask(seeded.verify(0, &code)).await.0, 200, "a right code");
            assert_eq!(line.ask(seeded.verify(0, &code)).await.0, 401, "the same code again");
        });
    }

    /// New users with a factor and backup codes, one after another on so many connections: the times of the
    /// confirmations.
    pub fn enrol(&self, runtime: &Runtime, width: usize, each: usize) -> Load {
        let began = Instant::now();
        let one = |line: usize| {
            let socket = self.socket.clone();
            async move {
                let mut connection = Line::open(&socket).await;
                let mut times = Vec::new();
                for turn in 0..each {
                    let user = text(
                        &ask(&mut connection, Shot::post("/users", format!("{{\"name\":\"new {line} {turn}\"}}")))
                            .await["user"]["uid"],
                    );
                    let order = r#"{"type":"mfa","digits":8}"#.to_owned();
                    let order = Shot::post(format!("/users/{user}/secrets"), order).reason();
                    let factor = ask(&mut connection, order).await;
                    let seed =
                        data_encoding::BASE32_NOPAD.decode(text(&factor["secret"]["secret"]).as_bytes()).unwrap();
                    let path = format!("/users/{user}/secrets/{}/enroll", text(&factor["uid"]));
                    let first = format!("{{\"token\":\"{}\"}}", code(&seed, step()));
                    let sent = Instant::now();
                    ask(&mut connection, Shot::post(path, first).put().reason()).await;
                    times.push(sent.elapsed().as_secs_f64() * 1000.0);
                }
                times
            }
        };
        let times = runtime.block_on(async {
            let all: Vec<_> = (0..width).map(|line| tokio::spawn(one(line))).collect();
            let mut times = Vec::new();
            for one in all {
                times.extend(one.await.unwrap());
            }
            times
        });
        Load::new(times, began.elapsed())
    }

    /// A challenge of each of these users.
    pub fn challenges(&self, runtime: &Runtime, users: Range<usize>) -> Vec<String> {
        let one = |number: usize| {
            let socket = self.socket.clone();
            async move {
                let mut line = Line::open(&socket).await;
                let body = format!("{{\"id\":\"{}\",\"password\":\"{PASSWORD}\"}}", people::name(number));
                text(&ask(&mut line, Shot::post("/auth/password", body)).await["token"])
            }
        };
        runtime.block_on(async {
            let mut challenges = Vec::new();
            for first in users.clone().step_by(8) {
                let eight: Vec<_> =
                    (first..(first + 8).min(users.end)).map(|number| tokio::spawn(one(number))).collect();
                for challenge in eight {
                    challenges.push(challenge.await.unwrap());
                }
            }
            challenges
        })
    }

    /// Until all of the store was looked over, which takes a processor while nobody else wants one.
    pub fn await_inspection(&self) {
        let is_going_on = || {
            let threads = std::fs::read_dir(format!("/proc/{}/task", self.process.id())).unwrap();
            // A thread may end while it is looked at.
            threads
                .map(|thread| std::fs::read_to_string(thread.unwrap().path().join("comm")).unwrap_or_default())
                .any(|name| "store-inspection".starts_with(name.trim_end()) && !name.is_empty())
        };
        let began = Instant::now();
        while is_going_on() {
            assert!(began.elapsed() < PATIENCE * 10, "the look at the store does not end");
            thread::sleep(Duration::from_millis(50));
        }
    }

    pub fn resident_mib(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
    }

    /// What it has used of the processors so far.
    pub fn processor_seconds(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process.id())).unwrap();
        let fields: Vec<f64> =
            stat.rsplit_once(')').unwrap().1.split_whitespace().map(|field| field.parse().unwrap_or(0.0)).collect();
        // Of user and system, in ticks of which there are a hundred in a second.
        (fields[11] + fields[12]) / 100.0
    }
}

async fn ask(line: &mut Line, shot: Shot) -> Value {
    let (status, body) = line.ask(shot).await;
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
    serde_json::from_slice(&body).unwrap()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// Bare argon2id at the daemon's cost, on all cores: hashes in a second.
pub fn raw_hashes(length: Duration) -> f64 {
    let began = Instant::now();
    let cores = thread::available_parallelism().unwrap().get();
    let hash = move || {
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::new(19_456, 2, 1, None).unwrap());
        let mut memory = vec![argon2::Block::default(); 19_456];
        let mut out = [0; 32];
        let mut count = 0u64;
        while began.elapsed() < length {
            argon2.hash_password_into_with_memory(PASSWORD.as_bytes(), &[7; 16], &mut out, &mut memory[..]).unwrap();
            count += 1;
        }
        count
    };
    let count: u64 =
        (0..cores).map(|_| thread::spawn(hash)).collect::<Vec<_>>().into_iter().map(|one| one.join().unwrap()).sum();
    count as f64 / began.elapsed().as_secs_f64()
}
