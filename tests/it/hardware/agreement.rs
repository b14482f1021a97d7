//! The daemon and Yubico's `ykman` agree on what is on a key, behind a real pcscd. So the virtual key and the
//! daemon are both checked by a program that we did not write.

use serde_json::{Value, json};

use super::bench::{Bench, can_have_readers};
use crate::card::Key;
use crate::otp::{self, Profile};
use crate::people::{text, with};
use crate::wire::Request;

/// What the key shows for the account now, as ykman says.
fn shown(bench: &Bench, name: &str) -> String {
    bench.ykman_says(&["oath", "accounts", "code", "--single", name])
}

/// What the daemon thinks of a code; a user with one factor only, so that nothing else can fit.
fn takes(bench: &Bench, user: &str, code: &str) -> bool {
    bench.host.verify(user, &json!({"token": code})).status == 200
}

#[test]
fn totp_and_hotp_of_every_algorithm_and_length_agree_with_ykman() {
    let test = "totp_and_hotp_of_every_algorithm_and_length_agree_with_ykman";
    if !can_have_readers(test) {
        return;
    }
    let bench = Bench::with_key(Key::new(12_345_678));
    let mut number = 0;
    for algorithm in ["SHA1", "SHA256", "SHA512"] {
        for (digits, moving) in [
            (6, json!({"period": 30})),
            (7, json!({"period": 60})),
            (8, json!({"period": 30})),
            (6, json!({"kind": "hotp"})),
        ] {
            number += 1;
            let name = format!("user {number}");
            let user = bench.host.nobody(&name);
            let mut order = moving.clone();
            order["algorithm"] = json!(algorithm);
            order["digits"] = json!(digits);
            let secret = bench.provision(&user, &order).ok();
            assert_eq!(secret["status"], "pending", "{secret}");
            let path = format!("/users/{user}/secrets/{}/enroll", text(&secret["uid"]));
            let code = shown(&bench, &text(&secret["device"]["credential"]));
            assert_eq!(code.len(), digits, "{order}");
            let enrolled = bench.host.ask(&Request::put(&path, &json!({"token": code})).reason()).ok();
            assert_eq!(enrolled["status"], "active", "{order}");
            if moving["kind"] == "hotp" {
                for _ in 0..3 {
                    assert!(takes(&bench, &user, &shown(&bench, &text(&secret["device"]["credential"]))), "{order}");
                }
            }
        }
    }
    let accounts = bench.ykman_says(&["oath", "accounts", "list", "--oath-type"]);
    assert_eq!(accounts.lines().count(), number, "{accounts}");
}

#[test]
fn an_issuer_that_looks_like_a_period_is_read_by_ykman_as_it_was_meant() {
    let test = "an_issuer_that_looks_like_a_period_is_read_by_ykman_as_it_was_meant";
    if !can_have_readers(test) {
        return;
    }
    let bench = Bench::with_key(Key::new(7));
    let orders = [
        ("24/7 Bank", json!({"period": 30}), ", 30"),
        ("7/x", json!({}), ", 30"),
        ("30/30", json!({}), ", 30"),
        ("24/7 Bank", json!({"period": 60}), ", 60"),
        ("24/7 Bank", json!({"kind": "hotp"}), ""),
    ];
    for (number, (issuer, more, period)) in orders.into_iter().enumerate() {
        let user = bench.host.nobody(&format!("user {number}"));
        let secret = bench.provision(&user, &with(more, &json!({"issuer": issuer}))).ok();
        let name = text(&secret["device"]["credential"]);

        let listed = bench.ykman_says(&["oath", "accounts", "list", "--period"]);
        assert!(listed.lines().any(|line| line.starts_with(&format!("{name}{period}"))), "{name}: {listed}");
        let path = format!("/users/{user}/secrets/{}/enroll", text(&secret["uid"]));
        let code = shown(&bench, &name);
        bench.host.ask(&Request::put(&path, &json!({"token": code})).reason()).ok();
        let accounts = bench.host.ask(&Request::get("/devices/7/oath/accounts")).ok();
        let accounts = accounts["accounts"].as_array().unwrap();
        let account = accounts.iter().find(|account| account["name"] == name).expect("the account");
        assert_eq!((&account["issuer"], &account["account"]), (&json!(issuer), &json!(format!("user {number}"))));
    }
}

#[test]
fn ten_steps_of_the_key_are_the_codes_of_the_daemon() {
    if !can_have_readers("ten_steps_of_the_key_are_the_codes_of_the_daemon") {
        return;
    }
    let bench = Bench::with_key(Key::new(7));
    let user = bench.host.nobody("ann");
    let secret = bench.provisioned(&user, &json!({"algorithm": "SHA256", "digits": 8}));
    let seed = bench.reader().with_key(|key| key.account("mfad:ann").expect("the account").key.clone());

    let profile = Profile::of(&secret);
    let now = otp::step(30);
    for step in now..now + 10 {
        let shown = bench.reader().with_key(|key| key.code_at("mfad:ann", step * 30));
        assert_eq!(shown, profile.code(&seed, step), "step {step}");
    }
    let current = bench.ykman_says(&["oath", "accounts", "code", "--single", "mfad:ann"]);
    assert!([now, now + 1, now + 2].iter().any(|step| profile.code(&seed, *step) == current));
}

#[test]
fn a_locked_applet_and_touch_work_with_ykman_as_with_the_daemon() {
    if !can_have_readers("a_locked_applet_and_touch_work_with_ykman_as_with_the_daemon") {
        return;
    }
    let bench = Bench::with_key(Key::new(7));
    bench.ykman_says(&["oath", "access", "change", "--new-password", "hunter2 hunter2"]);
    let user = bench.host.nobody("ann");

    bench.provision(&user, &json!({})).refused(423, "device-locked");
    bench
        .provision(&user, &json!({"device": {"any": true, "password": "wrong"}}))
        .refused(422, "wrong-device-password");
    let order = json!({"device": {"any": true, "password": "hunter2 hunter2"}, "touch": true, "activate": "by-device"});
    let secret = bench.provision(&user, &order).ok();

    assert_eq!((&secret["status"], &secret["device"]["touch"]), (&json!("active"), &json!(true)));
    let accounts = bench.ykman_says(&["oath", "accounts", "code", "--password", "hunter2 hunter2"]);
    assert!(accounts.contains("[Requires Touch]") || accounts.contains("mfad:ann"), "{accounts}");
    let device = bench.devices().remove(0);
    assert_eq!((&device["oath"]["locked"], &device["oath"]["passwordKnown"]), (&json!(true), &json!(false)));
    // Once it is told the password, the daemon opens the key by itself.
    let password = Request::put("/devices/7/oath/password", &json!({"current": "hunter2 hunter2"})).reason();
    assert_eq!(bench.host.ask(&password).ok()["passwordKnown"], true);
    let accounts = bench.host.ask(&Request::get("/devices/7/oath/accounts")).ok();
    assert_eq!(accounts["accounts"].as_array().map(Vec::len), Some(1), "{accounts}");
}

#[test]
fn what_ykman_writes_the_daemon_lists_renames_and_deletes() {
    if !can_have_readers("what_ykman_writes_the_daemon_lists_renames_and_deletes") {
        return;
    }
    let bench = Bench::with_key(Key::new(7));
    bench.ykman_says(&["oath", "accounts", "add", "--issuer", "Elsewhere", "ann", "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"]);
    bench.ykman_says(&["oath", "accounts", "add", "--oath-type", "HOTP", "--touch", "bob", "JBSWY3DPEHPK3PXP"]);

    let listed = bench.host.ask(&Request::get("/devices/7/oath/accounts")).ok();
    let names: Vec<&Value> = listed["accounts"].as_array().unwrap().iter().map(|account| &account["name"]).collect();
    assert_eq!(names, ["Elsewhere:ann", "bob"]);
    assert_eq!(listed["accounts"][0]["issuer"], "Elsewhere");
    let renamed =
        Request::put("/devices/7/oath/accounts/Elsewhere:ann", &json!({"name": "Elsewhere:ann@example.org"})).reason();
    assert_eq!(bench.host.ask(&renamed).ok()["account"], "ann@example.org");
    bench.host.ask(&Request::new("DELETE", "/devices/7/oath/accounts/bob").reason()).done();
    assert_eq!(bench.ykman_says(&["oath", "accounts", "list"]), "Elsewhere:ann@example.org");

    bench.host.ask(&Request::new("POST", "/devices/7/oath/reset").reason()).done();
    assert_eq!(bench.ykman_says(&["oath", "accounts", "list"]), "");
}
