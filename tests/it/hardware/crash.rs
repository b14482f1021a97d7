//! SIGKILL for the real daemon at every APDU and every commit of a provision (HW-1, A7): after the start and
//! the contact that follow, no active factor that the key cannot answer, no account that nobody owns.

use rustix::process::{Signal, kill_process};
use serde_json::{Value, json};

use super::bench::{Bench, can_have_readers};
use crate::card::Key;
use crate::otp;
use crate::people::{text, with};
use crate::proof::report;
use crate::strace::Strace;
use crate::wire::Request;

const SERIAL: u32 = 7;

fn scenarios() -> [(&'static str, Value); 3] {
    [
        ("totp by code", json!({})),
        ("totp with touch by device", json!({"touch": true, "activate": "by-device"})),
        ("hotp by device", json!({"kind": "hotp", "activate": "by-device"})),
    ]
}

/// What came of all the kills.
#[derive(Default)]
struct Tally {
    kills: u32,
    active: u32,
    pending: u32,
    undone: u32,
}

impl Tally {
    fn report(&self, what: &str, is_all: bool) {
        let figure = format!(
            "0 factors without their key, 0 orphans in {} kills: {} active, {} pending, {} undone",
            self.kills, self.active, self.pending, self.undone
        );
        report(&format!("kills while a key is programmed, {what}"), figure, "0, 0, before and after every one", is_all);
    }
}

fn ask(bench: &Bench, user: &str, order: &Value) -> Option<Value> {
    let order = with(json!({"type": "mfa", "device": {"any": true}}), order);
    let request = Request::post(format!("/users/{user}/secrets"), &order).reason();
    bench.host.connect().try_ask(&request).ok().map(|answer| answer.json())
}

/// Starts the daemon that was killed, lets it meet the key, and looks at what there is; leaves the key empty.
fn look(bench: &mut Bench, user: &str, here: &str, tally: &mut Tally) {
    bench.host.restart();
    bench.wait_for(&SERIAL.to_string());
    tally.kills += 1;
    let secrets = bench.host.ask(&Request::get(format!("/users/{user}/secrets"))).ok();
    let factors: Vec<Value> =
        secrets["secrets"].as_array().unwrap().iter().filter(|secret| secret["type"] == "mfa").cloned().collect();
    let names: Vec<String> = bench
        .reader()
        .with_key(|key| key.accounts().iter().map(|a| String::from_utf8_lossy(&a.name).into_owned()).collect());
    let owned: Vec<String> = factors.iter().map(|factor| text(&factor["device"]["credential"])).collect();
    assert_eq!(names, owned, "{here}: what is on the key is what factors are for");
    match factors.first() {
        None => tally.undone += 1,
        Some(factor) if factor["status"] == "active" => {
            tally.active += 1;
            answers(bench, user, factor, here);
        }
        Some(factor) => {
            tally.pending += 1;
            let path = format!("/users/{user}/secrets/{}/enroll", text(&factor["uid"]));
            bench.host.ask(&Request::put(path, &json!({"device": true})).reason()).ok();
        }
    }
    for factor in &factors {
        bench.host.ask(&Request::delete(format!("/users/{user}/secrets/{}", text(&factor["uid"]))).reason()).done();
    }
    assert!(bench.reader().with_key(|key| key.accounts().is_empty()), "{here}: the key is not empty afterwards");
}

/// The key gives a code that the active factor takes.
fn answers(bench: &Bench, user: &str, factor: &Value, here: &str) {
    let name = text(&factor["device"]["credential"]);
    let proof = if factor["kind"] == "hotp" {
        json!({"device": true})
    } else {
        // The step of the activation is used up; the next one is taken already.
        json!({"token": bench.reader().with_key(|key| key.code_at(&name, (otp::step(30) + 1) * 30))})
    };
    let request = Request::post(format!("/users/{user}/verify"), &proof);
    let answer = bench.host.ask(&request);
    assert_eq!(answer.status, 200, "{here}: the key cannot answer: {}", answer.text());
}

/// The control: the harness finds a factor whose account is gone from its key.
fn has_to_find_what_is_gone(bench: &mut Bench) {
    let user = bench.host.nobody("control");
    let made = ask(bench, &user, &json!({"kind": "hotp", "activate": "by-device"})).expect("an answer");
    assert_eq!(made["status"], "active", "{made}");
    bench.reader().with_key(|key| *key = Key::new(SERIAL));
    let look = || look(bench, &user, "the control", &mut Tally::default());
    let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(look));
    assert!(found.is_err(), "the harness finds a factor without its key");
}

/// Kills at every `step`th APDU, before the key executes the command and after it did.
fn kill_at_apdus(test: &str, step: usize) {
    if !can_have_readers(test) {
        return;
    }
    let mut bench = Bench::with_key(Key::new(SERIAL));
    let mut tally = Tally::default();
    for (number, (name, order)) in scenarios().into_iter().enumerate() {
        let user = bench.host.nobody(&format!("user {number}"));
        let before = bench.reader().apdus();
        let made = ask(&bench, &user, &order).expect("an answer");
        let boundaries = bench.reader().apdus() - before;
        assert!(made["uid"].is_string() && boundaries > 8, "{made}");
        bench.host.ask(&Request::delete(format!("/users/{user}/secrets/{}", text(&made["uid"]))).reason()).done();
        for at in (0..boundaries).step_by(step) {
            for is_before in [true, false] {
                let here = format!("{name}, killed at APDU {at} of {boundaries}, before it: {is_before}");
                let daemon = bench.host.process();
                let kill = Box::new(move || kill_process(daemon, Signal::KILL).unwrap());
                if is_before {
                    bench.reader().on_apdu(at, kill)
                } else {
                    bench.reader().after_apdu(at, kill)
                }
                assert!(ask(&bench, &user, &order).is_none(), "{here}: it goes on");
                bench.reader().clear();
                look(&mut bench, &user, &here, &mut tally);
            }
        }
    }
    has_to_find_what_is_gone(&mut bench);
    tally.report("at an APDU", step == 1);
}

#[test]
fn hw_1_a_kill_at_any_fourth_apdu_leaves_no_orphan_and_no_factor_without_its_key() {
    kill_at_apdus("hw_1_a_kill_at_any_fourth_apdu_leaves_no_orphan_and_no_factor_without_its_key", 4);
}

#[test]
#[ignore = "takes minutes: a restart of the daemon for every APDU"]
fn hw_1_a_kill_at_any_apdu_leaves_no_orphan_and_no_factor_without_its_key() {
    kill_at_apdus("hw_1_a_kill_at_any_apdu_leaves_no_orphan_and_no_factor_without_its_key", 1);
}

/// strace on the daemon, which kills it at the `at`th sync of a file from now on.
fn kill_at_sync(daemon: u32, at: u32) -> Strace {
    let inject = format!("inject=fsync,fdatasync:signal=SIGKILL:when={at}");
    Strace::attach(daemon, &["-f", "-e", "trace=fsync,fdatasync", "-e", &inject])
}

#[test]
fn hw_1_a_kill_at_any_commit_leaves_no_orphan_and_no_factor_without_its_key() {
    let test = "hw_1_a_kill_at_any_commit_leaves_no_orphan_and_no_factor_without_its_key";
    if !can_have_readers(test) || !crate::identity::can_be_others(test) {
        return;
    }
    let mut bench = Bench::with_key(Key::new(SERIAL));
    let mut tally = Tally::default();
    for (number, (name, order)) in scenarios().into_iter().enumerate() {
        let user = bench.host.nobody(&format!("user {number}"));
        for at in 1..=20 {
            let here = format!("{name}, killed at sync {at}");
            let strace = kill_at_sync(bench.host.pid(), at);
            let survived = ask(&bench, &user, &order).is_some();
            drop(strace);
            look(&mut bench, &user, &here, &mut tally);
            if survived {
                assert!(at > 2, "{here}: there were fewer commits than there must be");
                break;
            }
        }
    }
    has_to_find_what_is_gone(&mut bench);
    tally.report("at a commit", true);
}
