//! What people do with keys: confirm, log in by touch, keep a spare, hand one back, lose one to a reset.

use serde_json::{Value, json};

use super::bench::{Bench, can_have_readers};
use crate::card::{Key, Touch};
use crate::fido2::{CONFIG, keyed};
use crate::host::Host;
use crate::identity::{APP, can_be_others};
use crate::interop::python;
use crate::otp;
use crate::people::{PASSWORD, codes_of, text, with};
use crate::wire::Request;

fn secret_path(secret: &Value) -> String {
    format!("/users/{}/secrets/{}", text(&secret["userId"]), text(&secret["uid"]))
}

/// A code that the factor has not seen yet and takes already: the one of the next step.
fn next_code(bench: &Bench, reader: usize, secret: &Value) -> String {
    let name = text(&secret["device"]["credential"]);
    bench.readers[reader].with_key(|key| key.code_at(&name, (otp::step(30) + 1) * 30))
}

#[test]
fn hw_3_a_key_is_programmed_proved_and_activated_in_one_call() {
    if !can_have_readers("hw_3_a_key_is_programmed_proved_and_activated_in_one_call") {
        return;
    }
    let bench = Bench::with_key(Key::new(7));
    let user = bench.host.nobody("ann");

    let secret = bench.provisioned(&user, &json!({"name": "blue key"}));

    assert_eq!((&secret["status"], &secret["name"]), (&json!("active"), &json!("blue key")));
    assert!(secret.get("secret").is_none(), "the seed is for the key alone: {secret}");
    assert_eq!(codes_of(&secret).len(), 10, "the first factor brings backup codes");
    assert_eq!(secret["device"]["serial"], 7);
    bench.host.verify(&user, &json!({"token": next_code(&bench, 0, &secret)})).ok();
    let second = bench.provisioned(&user, &json!({"accountName": "ann at work"}));
    assert_eq!(second["codes"], json!([]), "a later one brings none");
    let device = bench.devices().remove(0);
    assert_eq!((&device["state"], &device["programmed"]), (&json!("known"), &json!(2)));
    let metrics = bench.host.ask(&Request::get("/metrics")).text();
    for (state, count) in [("new", 0), ("known", 1), ("reset", 0), ("unreachable", 0)] {
        let line = format!("hardware_keys{{state=\"{state}\"}} {count}");
        assert!(metrics.contains(&line), "{line}: {metrics}");
    }
    assert_eq!(device["oath"]["deviceId"], secret["device"]["deviceId"]);
    let shown = bench.host.ask(&Request::get(secret_path(&secret))).ok();
    assert_eq!(shown["device"], secret["device"], "and it is shown wherever the factor is");
}

#[test]
fn a_pending_factor_is_confirmed_by_its_key_and_erased_when_it_is_replaced_or_deleted() {
    if !can_have_readers("a_pending_factor_is_confirmed_by_its_key_and_erased_when_it_is_replaced_or_deleted") {
        return;
    }
    let bench = Bench::with_key(Key::new(7));
    let user = bench.host.nobody("ann");
    let names = || bench.reader().with_key(|key| key.accounts().iter().map(|a| a.name.clone()).collect::<Vec<_>>());

    let first = bench.provision(&user, &json!({"accountName": "one"})).ok();
    let second = bench.provision(&user, &json!({"accountName": "two"})).ok();
    bench
        .host
        .ask(&Request::put(format!("{}/enroll", secret_path(&first)), &json!({"device": true})).reason())
        .refused(410, "expired");
    bench.host.ask(&Request::get("/devices/7/oath/accounts")).ok();
    assert_eq!(names(), [b"mfad:two".to_vec()], "the one that was replaced went from the key at the next contact");
    let enrolled =
        bench.host.ask(&Request::put(format!("{}/enroll", secret_path(&second)), &json!({"device": true})).reason());
    assert_eq!(enrolled.ok()["status"], "active");

    let third = bench.provision(&user, &json!({"accountName": "three"})).ok();
    bench.host.ask(&Request::delete(secret_path(&third)).reason()).done();
    assert_eq!(names(), [b"mfad:two".to_vec()]);
    bench.host.ask(&Request::delete(format!("{}?device=keep", secret_path(&second))).reason()).done();
    assert_eq!(names(), [b"mfad:two".to_vec()], "and one that shall stay does");
    let software = bench.host.pending_for(&user, &json!({}));
    bench.host.ask(&Request::delete(format!("{}?device=erase", software.path)).reason()).refused(400, "malformed");
}

#[test]
fn enr_5_codes_of_another_length_are_no_free_guesses_at_what_is_on_a_key() {
    if !can_have_readers("enr_5_codes_of_another_length_are_no_free_guesses_at_what_is_on_a_key") {
        return;
    }
    let bench = Bench::with_key(Key::new(7));
    let user = bench.host.nobody("ann");
    let secret = bench.provision(&user, &json!({"accountName": "one"})).ok();
    let seed = bench.reader().with_key(|key| key.account("mfad:one").expect("the account").key.clone());
    let enrol = |code: &str| {
        let path = format!("{}/enroll", secret_path(&secret));
        bench.host.ask(&Request::put(path, &json!({"token": code})).reason())
    };

    // Its last digits are those of the code that counts.
    for step in otp::step(30) - 1..=otp::step(30) + 1 {
        enrol(&otp::code(&seed, otp::Hash::Sha1, 8, step)).refused(400, "malformed");
    }

    assert_eq!(enrol(&otp::code(&seed, otp::Hash::Sha1, 6, otp::step(30))).ok()["status"], "active");
}

#[test]
fn a_user_logs_in_by_touching_the_key_and_not_by_leaving_it_in() {
    if !can_have_readers("a_user_logs_in_by_touching_the_key_and_not_by_leaving_it_in") {
        return;
    }
    let bench = Bench::with_key(Key::new(7));
    let person = bench.host.person("ann");
    let mfa = |challenge: &str| Request::post("/auth/mfa", &json!({"device": true})).token(challenge);

    let silent = bench.provisioned(&person.id, &json!({"accountName": "silent"}));
    bench.host.ask(&mfa(&bench.host.challenge(&person))).refused(409, "unsupported");
    bench.host.verify(&person.id, &json!({"device": true})).refused(401, "wrong-code");
    if can_be_others("a_user_logs_in_by_touching_the_key_and_not_by_leaving_it_in") {
        let verify = Request::post(format!("/users/{}/verify", person.id), &json!({"device": true}));
        bench.host.ask_as(APP, &verify).refused(409, "unsupported");
    }
    bench.host.ask(&Request::delete(secret_path(&silent)).reason()).done();

    bench.provisioned(
        &person.id,
        &json!({"accountName": "touch", "touch": true, "algorithm": "SHA256", "kind": "hotp"}),
    );
    let offered = bench.host.password(&person).ok();
    assert_eq!(offered["methods"], json!(["totp", "device", "recovery"]));
    let access = bench.host.ask(&mfa(&text(&offered["token"]))).ok();
    assert_eq!(access["type"], "ACCESS");
    let step_up = Request::post("/auth/stepup", &json!({"device": true, "action": "pay"}));
    bench.host.ask(&step_up.token(&text(&access["token"]))).ok();
    bench.reader().with_key(|key| key.touch = Touch::Refused);
    bench.host.ask(&mfa(&bench.host.challenge(&person))).refused(409, "touch-timeout");
    bench.pull(0);
    bench.host.ask(&mfa(&bench.host.challenge(&person))).refused(503, "no-device");
    assert_eq!(bench.host.password(&person).ok()["type"], "CHALLENGE", "{PASSWORD}");
}

#[test]
fn whoever_has_keys_of_both_kinds_logs_in_with_the_one_that_is_there() {
    if !can_have_readers("whoever_has_keys_of_both_kinds_logs_in_with_the_one_that_is_there") {
        return;
    }
    let bench = Bench::new(1, CONFIG);
    bench.insert(0, Key::new(7));
    let (person, ..) = keyed(&bench.host, "ann", "preferred");
    bench.provisioned(&person.id, &json!({"touch": true, "kind": "hotp"}));
    let mfa = |challenge: &str| Request::post("/auth/mfa", &json!({"device": true})).token(challenge);

    // The security key is elsewhere.
    let access = bench.host.ask(&mfa(&bench.host.challenge(&person))).ok();

    assert_eq!(access["type"], "ACCESS");
}

#[test]
fn a_spare_key_becomes_active_together_with_the_first_and_not_before() {
    if !can_have_readers("a_spare_key_becomes_active_together_with_the_first_and_not_before") {
        return;
    }
    let bench = Bench::new(2, "");
    bench.insert(0, Key::new(7));
    bench.insert(1, Key::new(8));
    let user = bench.host.nobody("ann");

    let many = bench.provision(&user, &json!({}));
    assert_eq!(many.refused(409, "many-devices")["devices"], json!([7, 8]));
    let first = bench.provision(&user, &json!({"device": {"serial": 7}})).ok();
    let same = json!({"device": {"serial": 7}, "spareOf": first["uid"], "accountName": "spare"});
    bench.provision(&user, &same).refused(409, "unsupported");
    assert_eq!(bench.host.ask(&Request::get(format!("/users/{user}"))).ok()["mfa"], "pending");
    let spare = bench.provisioned(&user, &json!({"device": {"serial": 8}, "spareOf": first["uid"]}));

    assert_eq!(spare["status"], "active");
    assert_eq!(bench.host.ask(&Request::get(secret_path(&first))).ok()["status"], "active");
    for (reader, secret) in [(0, &first), (1, &spare)] {
        bench.host.verify(&user, &json!({"token": next_code(&bench, reader, secret)})).ok();
    }
}

#[test]
fn a_key_that_is_handed_back_with_other_seeds_revokes_nothing() {
    if !can_have_readers("a_key_that_is_handed_back_with_other_seeds_revokes_nothing") {
        return;
    }
    let bench = Bench::with_key(Key::new(7));
    let mut secrets = Vec::new();
    for (name, kind) in [("ann", "totp"), ("bob", "hotp")] {
        let user = bench.host.nobody(name);
        secrets.push(bench.provisioned(&user, &json!({"kind": kind})));
        let kind = kind.to_uppercase();
        let other = ["add", "--force", "--oath-type", &kind, "--issuer", "mfad", name, "JBSWY3DPEHPK3PXP"];
        bench.ykman_says(&[&["oath", "accounts"], &other[..]].concat());
    }

    let returned = bench.host.ask(&Request::new("POST", "/devices/7/return").reason()).ok();

    let credentials = returned["credentials"].as_array().unwrap();
    assert_eq!(credentials.len(), 2);
    for credential in credentials {
        for done in ["proved", "erased", "revoked"] {
            assert_eq!(credential[done], false, "{done}: {returned}");
        }
    }
    for secret in &secrets {
        assert_eq!(bench.host.ask(&Request::get(secret_path(secret))).ok()["status"], "active");
    }
    assert_eq!(bench.reader().with_key(|key| key.accounts().len()), 2);
}

#[test]
fn a_key_that_is_handed_back_proves_itself_and_leaves_nothing() {
    if !can_have_readers("a_key_that_is_handed_back_proves_itself_and_leaves_nothing") {
        return;
    }
    let bench = Bench::new(1, "[devices]\nprotect = true\n");
    bench.insert(0, Key::new(7));
    let (ann, bob) = (bench.host.nobody("ann"), bench.host.nobody("bob"));
    bench.provisioned(&ann, &json!({"touch": true}));
    bench.provisioned(&bob, &json!({"kind": "hotp"}));
    assert!(bench.reader().with_key(|key| key.has_password()), "every key gets a password of its own here");

    let back = Request::new("POST", "/devices/7/return");
    bench.host.ask(&back).refused(403, "fresh-proof-required");
    let returned = bench.host.ask(&back.reason()).ok();

    for credential in returned["credentials"].as_array().unwrap() {
        assert_eq!(
            (&credential["proved"], &credential["erased"], &credential["revoked"]),
            (&json!(true), &json!(true), &json!(true)),
            "{returned}"
        );
    }
    assert_eq!(returned["credentials"].as_array().map(Vec::len), Some(2));
    assert!(bench.reader().with_key(|key| key.accounts().is_empty() && !key.has_password()));
    for user in [ann, bob] {
        assert_eq!(bench.host.ask(&Request::get(format!("/users/{user}"))).ok()["mfa"], "none");
        let left = bench.host.ask(&Request::get(format!("/users/{user}/secrets"))).ok();
        assert_eq!(left["secrets"], json!([]), "backup codes go with the last factor");
    }
    let events = bench.audit();
    for event in ["device.program", "device.return", "device.erase", "secret.delete"] {
        assert!(events.iter().any(|(name, _)| name == event), "{event} is not in the audit log");
    }
}

#[test]
fn hw_4_a_key_that_was_reset_or_swapped_is_noticed_at_the_next_contact() {
    if !can_have_readers("hw_4_a_key_that_was_reset_or_swapped_is_noticed_at_the_next_contact") {
        return;
    }
    let bench = Bench::with_key(Key::new(7));
    let user = bench.host.nobody("ann");
    let secret = bench.provisioned(&user, &json!({"touch": true}));
    let resets = |events: &[(String, String)]| events.iter().filter(|(name, _)| name == "device.reset-seen").count();
    assert_eq!(bench.devices()[0]["state"], "known");
    assert_eq!(resets(&bench.audit()), 0);
    bench.pull(0);

    // Another key that claims the same number.
    bench.insert(0, Key::new(7));

    assert_eq!(bench.devices()[0]["state"], "reset");
    assert_eq!(resets(&bench.audit()), 1);
    bench.devices();
    assert_eq!(resets(&bench.audit()), 1, "it is written down once");
    bench.host.verify(&user, &json!({"device": true})).refused(409, "device-changed");
    assert_eq!(bench.host.ask(&Request::get(secret_path(&secret))).ok()["status"], "active", "nobody's MFA is off");
}

#[test]
fn a_random_password_is_kept_for_the_daemon_and_the_escrow_alone() {
    if !can_have_readers("a_random_password_is_kept_for_the_daemon_and_the_escrow_alone") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let identity = dir.path().join("identity");
    let made = std::process::Command::new("age-keygen").arg("-o").arg(&identity).output().expect("age is there");
    let said = String::from_utf8_lossy(&made.stderr).into_owned();
    let recipient = said.split_whitespace().find(|word| word.starts_with("age1")).expect("a public key").to_owned();
    let mut bench = Bench::new(1, &format!("[devices]\nescrow = \"{recipient}\"\n"));
    bench.insert(0, Key::new(7));
    let user = bench.host.nobody("ann");

    let secret = bench.provisioned(&user, &json!({"protect": true}));
    let locked = bench.ykman(&["oath", "accounts", "list"], "\n");
    let escrow = text(&bench.host.ask(&Request::get("/devices/7")).ok()["escrow"]);

    assert!(!locked.status.success(), "ykman opens it without the password");
    let mut age = std::process::Command::new("age");
    age.arg("--decrypt").arg("--identity").arg(&identity).arg(bench.file("escrow", &escrow));
    let password = String::from_utf8(age.output().unwrap().stdout).unwrap();
    assert_eq!(password.len(), 32, "age opens what was sealed for it");
    assert_eq!(bench.ykman_says(&["oath", "accounts", "list", "--password", &password]), "mfad:ann");
    bench.host.restart();
    bench.wait_for("7");
    assert_eq!(bench.devices()[0]["oath"]["passwordKnown"], true, "and the daemon opens it after a restart");
    bench.host.verify(&user, &json!({"token": next_code(&bench, 0, &secret)})).ok();
}

#[test]
fn a_users_own_token_neither_overwrites_an_account_nor_locks_a_key() {
    let host = Host::start("");
    let person = host.person("anna");
    for more in [json!({"replace": true}), json!({"protect": true})] {
        let order = with(json!({"type": "mfa", "device": {"any": true}}), &more);

        let refused = host.ask(&Request::post(person.secrets(), &order).token(&person.token));

        refused.refused(403, "forbidden");
    }
}

#[test]
fn a_receipt_says_what_was_programmed_and_another_library_verifies_it() {
    if !can_have_readers("a_receipt_says_what_was_programmed_and_another_library_verifies_it") {
        return;
    }
    let bench = Bench::with_key(Key::new(7));
    let user = bench.host.nobody("ann");
    let secret = bench.provisioned(&user, &json!({"algorithm": "SHA512", "digits": 8, "period": 60}));
    let keys = bench.host.ask(&Request::get("/.well-known/receipt-keys.json")).ok();

    let program = "
import json, sys, jwt
receipt, keys = sys.argv[1], json.loads(sys.argv[2])
key = jwt.PyJWK(next(k for k in keys['keys'] if k['kid'] == jwt.get_unverified_header(receipt)['kid']))
print(json.dumps(jwt.decode(receipt, key.key, algorithms=['EdDSA'], audience='mfad:provision')))";
    let run = python().args(["-c", program]).arg(text(&secret["receipt"])).arg(keys.to_string()).output().unwrap();
    let claims: Value = serde_json::from_slice(&run.stdout)
        .unwrap_or_else(|why| panic!("{why}: {}", String::from_utf8_lossy(&run.stderr)));

    for (claim, value) in [
        ("sub", json!(user)),
        ("secretId", secret["uid"].clone()),
        ("serial", json!(7)),
        ("firmware", json!("5.4.3")),
        ("deviceId", secret["device"]["deviceId"].clone()),
        ("credential", json!("60/mfad:ann")),
        ("algorithm", json!("SHA512")),
        ("digits", json!(8)),
        ("period", json!(60)),
        ("touch", json!(false)),
        ("operatorUid", json!(crate::identity::own_uid())),
        ("proof", json!(2)),
    ] {
        assert_eq!(claims[claim], value, "{claim}: {claims}");
    }
    let tokens = bench.host.ask(&Request::get("/.well-known/jwks.json")).ok();
    assert_ne!(tokens["keys"][0]["kid"], keys["keys"][0]["kid"], "receipts have a key of their own");
    let header = bench.host.ask(&Request::get(format!("/users/{user}")).token(&text(&secret["receipt"])));
    header.refused(401, "unauthenticated");
}

#[test]
fn the_stream_tells_which_keys_are_there_and_which_come_and_go() {
    if !can_have_readers("the_stream_tells_which_keys_are_there_and_which_come_and_go") {
        return;
    }
    let bench = Bench::with_key(Key::new(7));
    let mut stream = bench.host.connect().stream(&Request::get("/devices/events"));

    let there = stream.next_event();
    bench.pull(0);
    let went = stream.next_event();
    bench.insert(0, Key::neo(8));
    let came = stream.next_event();

    assert_eq!((&there["event"], &there["serial"], &there["state"]), (&json!("attached"), &json!(7), &json!("new")));
    assert_eq!((&went["event"], &went["serial"]), (&json!("removed"), &json!(7)));
    assert_eq!((&came["event"], &came["serial"]), (&json!("attached"), &json!(8)));
    assert!(came["seq"].as_u64() > went["seq"].as_u64());
    let neo = bench.devices().remove(0);
    assert_eq!((&neo["model"], &neo["firmware"]), (&json!("YubiKey NEO"), &json!("3.4.9")));
    assert_eq!((&neo["oath"]["touch"], &neo["oath"]["capacity"]), (&json!(false), &json!(null)));
}
