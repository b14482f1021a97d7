//! What a check costs in instructions, from the call to the commit, counted by valgrind's callgrind: a figure that is the
//! same on a busy machine, so that it shows what a change costs. HTTP is not in it.

#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::print_stdout,
    reason = "a benchmark prints its figures and fails by panicking"
)]

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use mfad::config::{Config, Overrides};
use mfad_core::model::{Algorithm, Digits, Moment, OtpKind, Peer, Period, Text, TokenInput, UserRef};
use mfad_core::oath::{hotp, step_at};
use mfad_hardware::device::NoDevices;
use mfad_service::{
    Call, Caller, CancellationToken, Confinement, Dependencies, KeySource, MasterKey, MasterKeyStore, Metrics, Policy,
    Proof, RequestContext, Service,
};
use mfad_store::{Decision, Listeners, Store};
use mfad_testkit::store_users as people;

/// Checks of a short run and of a long one. All else costs the same in both; the difference is the checks'.
const FEW: u32 = 100;
const MANY: u32 = 600;
const PATIENCE: Duration = Duration::from_secs(60);
const NOW: Moment = Moment { wall_ms: 1_700_000_000_000, boot_ms: 1_000, boot: [1; 16] };

/// The master key of a benchmark is not kept anywhere.
struct NoKeyStore;

impl MasterKeyStore for NoKeyStore {
    fn source(&self) -> KeySource {
        KeySource::File
    }

    fn replace(&self, _: &MasterKey) -> Result<(), String> {
        Err("there is no key file".to_owned())
    }
}

/// As a configuration without a line has it.
fn policy(dir: &Path) -> Policy {
    let config = dir.join("mfad.toml");
    std::fs::write(&config, "").unwrap();
    let (socket, state_dir) = (Some(dir.join("mfad.sock")), Some(dir.to_owned()));
    Config::load(&Overrides { config: Some(config), socket, state_dir, log: None }).unwrap().policy
}

fn context() -> RequestContext {
    RequestContext {
        caller: Caller {
            peer: Peer { uid: 0, gid: 0, groups: Vec::new(), pid: None },
            token: None,
            reason: Some(Text::parse("a benchmark", 64).unwrap()),
        },
        now: NOW,
        patience: PATIENCE,
        request: "benchmark".to_owned(),
        cancellation: CancellationToken::default(),
    }
}

/// Puts users into a new store, always as many, and checks a code of so many of them.
fn check(dir: &Path, number: usize) {
    let key = MasterKey::from_bytes(&[7; 32]).unwrap();
    mfad_store::create(dir, &key).unwrap();
    let store = Store::open(dir, None, &key, Listeners::default()).unwrap();
    let put = |tx: &mfad_store::Tx<'_>, number| people::put(tx, number, OtpKind::Totp(Period::THIRTY), &[]);
    let people = store
        .write(PATIENCE, move |tx| {
            let all: Result<Vec<_>, _> = (0..usize::try_from(MANY).unwrap()).map(|number| put(tx, number)).collect();
            Ok(Decision::Commit(all?))
        })
        .unwrap();
    let equipment = Dependencies {
        key_store: Box::new(NoKeyStore),
        devices: Arc::new(NoDevices),
        security_keys: Arc::new(NoDevices),
        on_device: Box::new(|_| {}),
        metrics: Metrics::default(),
        confinement: Confinement::None,
    };
    let service = Service::new(store, policy(dir), equipment, &NOW).unwrap();
    service.make_ready(&NOW).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let step = step_at(NOW.unix_seconds(), Period::THIRTY);
    let digits = Digits::new(8).unwrap();
    for (user, _, seed) in people.into_iter().take(number) {
        let code = format!("{:08}", hotp(&seed, Algorithm::Sha1, step, digits));
        let proof = Proof::Token(TokenInput::from_text(&code).unwrap());
        let done = runtime.block_on(service.handle_async(&context(), Call::Verify(UserRef::Id(user), proof)));
        assert!(done.is_ok(), "a right code");
    }
    service.close();
}

fn counted(number: u32) -> f64 {
    let dir = tempfile::tempdir().unwrap();
    let (out, state) = (dir.path().join("callgrind.out"), dir.path().join("state"));
    std::fs::create_dir(&state).unwrap();
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--quiet"]).arg(format!("--callgrind-out-file={}", out.display()));
    command.arg(std::env::current_exe().unwrap()).arg("--check").arg(number.to_string()).arg(state);
    let output = command.stdout(Stdio::null()).output().expect("valgrind, which `tools/needs bench` installs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let counted = std::fs::read_to_string(out).unwrap();
    let totals = counted.lines().find_map(|line| line.strip_prefix("totals: ")).expect("callgrind's totals");
    totals.trim().parse().unwrap()
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, what, number, state] = &arguments[..]
        && what == "--check"
    {
        return check(Path::new(state), number.parse().unwrap());
    }
    let each = (counted(MANY) - counted(FEW)) / f64::from(MANY - FEW);
    println!("instructions of a check: {each:.0}");
}
