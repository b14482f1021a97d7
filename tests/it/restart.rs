//! Kill -9 after every acknowledged change: what was acknowledged is there afterwards (A7, R1).

use serde_json::{Value, json};

use crate::host::Host;
use crate::people::{Factor, Person, codes_of, text};
use crate::wire::Request;

fn mfa(host: &Host, person: &Person) -> Value {
    host.ask(&Request::get(person.path())).ok()["mfa"].clone()
}

fn shown(host: &Host, path: &str) -> Value {
    host.ask(&Request::get(path)).ok()
}

#[test]
fn every_acknowledged_change_of_a_long_story_outlives_a_kill() {
    let mut host = Host::start("");

    // A user and its password.
    let mut person = host.person("anna");
    host.restart();
    assert_eq!(shown(&host, &person.path())["name"], "anna");
    assert_eq!(host.token_status(&person, &person.token), 200);
    assert_eq!(host.password(&person).ok()["type"], "ACCESS");

    // A change of the user.
    let changed = host
        .ask(&Request::put(
            person.path(),
            &json!({"version": shown(&host, &person.path())["version"], "displayName": "Anna"}),
        ))
        .ok();
    host.restart();
    assert_eq!(shown(&host, &person.path()), changed);

    // A pending factor, a wrong code against it, a right one.
    let mut factor = host.pending(&person, &json!({"kind": "hotp", "digits": 8}));
    host.restart();
    assert_eq!((mfa(&host, &person), &shown(&host, &factor.path)["status"]), (json!("pending"), &json!("pending")));
    assert_eq!(host.password(&person).ok()["type"], "ACCESS", "ENR-1");
    let enrol =
        |factor: &Factor, code: String| Request::put(format!("{}/enroll", factor.path), &json!({"token": code}));
    host.ask(&enrol(&factor, factor.wrong())).refused(422, "wrong-code");
    host.restart();
    assert_eq!(host.ask(&enrol(&factor, factor.wrong())).refused(422, "wrong-code")["remaining"], 3, "ENR-5");
    let first_code = factor.next();
    let codes = codes_of(&host.ask(&enrol(&factor, first_code.clone())).ok());
    host.restart();
    assert_eq!(mfa(&host, &person), "active");
    assert_eq!(host.token_status(&person, &person.token), 401, "ENR-9");
    host.verify(&person.id, &json!({"token": first_code})).refused(401, "wrong-code");

    // A challenge, and the code that answers it.
    let challenge = host.challenge(&person);
    host.restart();
    let code = factor.next();
    let access = host.answer_totp(&challenge, &code).ok();
    person.token = text(&access["token"]);
    person.refresh = text(&access["refresh"]);
    host.restart();
    assert_eq!(host.token_status(&person, &person.token), 200);
    host.answer_totp(&challenge, &factor.next()).refused(401, "challenge-ended");
    host.verify(&person.id, &json!({"token": code})).refused(401, "wrong-code");

    // A backup code.
    host.verify(&person.id, &json!({"code": codes[3]})).ok();
    host.restart();
    host.verify(&person.id, &json!({"code": codes[3]})).refused(401, "wrong-code");
    host.verify(&person.id, &json!({"code": codes[4]})).ok();

    // A refresh.
    let old = person.refresh.clone();
    let renewed = host.ask(&Request::get("/auth/refresh").token(&old)).ok();
    host.restart();
    let again = host.ask(&Request::get("/auth/refresh").token(&text(&renewed["refresh"]))).ok();
    host.restart();
    host.ask(&Request::get("/auth/refresh").token(&old)).refused(401, "refresh-ended");
    host.restart();
    host.ask(&Request::get("/auth/refresh").token(&text(&again["refresh"]))).refused(401, "refresh-ended");

    // A receipt, given and used.
    host.log_in(&mut person, &mut factor);
    let step_up = Request::post("/auth/stepup", &json!({"token": factor.next(), "action": "pay"})).token(&person.token);
    let receipt = host.ask(&step_up).ok()["receipt"].clone();
    let redeem = Request::post("/auth/receipt", &json!({"receipt": receipt, "action": "pay"}));
    host.restart();
    host.ask(&redeem).ok();
    host.restart();
    host.ask(&redeem).refused(401, "receipt-refused");

    // New backup codes.
    let renewed =
        codes_of(&host.ask(&Request::new("POST", format!("{}/codes", person.path())).token(&person.token)).ok());
    host.restart();
    host.verify(&person.id, &json!({"code": codes[5]})).refused(401, "wrong-code");
    host.verify(&person.id, &json!({"code": renewed[0]})).ok();

    // A logout.
    host.log_in(&mut person, &mut factor);
    host.ask(&Request::new("POST", "/auth/logout").token(&person.token)).done();
    host.restart();
    assert_eq!(host.token_status(&person, &person.token), 401);

    // An API key, a second factor, a rename.
    host.log_in(&mut person, &mut factor);
    let made = host.ask(&Request::post(person.secrets(), &json!({"type": "apikey"})).token(&person.token)).ok();
    let key = text(&made["secret"]["apikey"]);
    host.restart();
    assert_eq!(host.token_status(&person, &key), 200);
    let mut second = host.pending_for(&person.id, &json!({"name": "second", "kind": "hotp", "digits": 8}));
    host.confirm(&mut second);
    host.restart();
    host.verify(&person.id, &json!({"token": second.next()})).ok();
    let version = shown(&host, &second.path)["version"].clone();
    let renamed = host.ask(&Request::put(&second.path, &json!({"version": version, "name": "other"}))).ok();
    host.restart();
    assert_eq!(shown(&host, &second.path), renamed);

    // A factor deleted, then the other, then a disabled user, then none.
    host.ask(&Request::delete(&factor.path).reason()).done();
    host.restart();
    host.verify(&person.id, &json!({"token": factor.next()})).refused(401, "wrong-code");
    assert_eq!(mfa(&host, &person), "active");
    host.ask(&Request::delete(&second.path).reason()).done();
    host.restart();
    assert_eq!((mfa(&host, &person), &host.password(&person).ok()["type"]), (json!("none"), &json!("ACCESS")));
    let password = Request::put(format!("{}/password", person.secrets()), &json!({"secret": "another password"}));
    host.ask(&password.reason()).ok();
    host.restart();
    host.password(&person).refused(401, "wrong-credentials");
    person.password = "another password".to_owned();
    host.password(&person).ok();
    let version = shown(&host, &person.path())["version"].clone();
    host.ask(&Request::put(person.path(), &json!({"version": version, "disabled": true}))).ok();
    host.restart();
    host.password(&person).refused(401, "wrong-credentials");
    host.ask(&Request::delete(person.path()).reason()).done();
    host.restart();
    host.ask(&Request::get(person.path())).refused(404, "not-found");
}

#[test]
fn thr_6_failures_are_counted_on_over_a_kill_after_each() {
    let mut host = Host::start("");
    let (person, factor, _) = host.guarded("anna");

    for _ in 0..4 {
        host.verify(&person.id, &json!({"token": factor.wrong()})).refused(401, "wrong-code");
        host.restart();
    }
    host.verify(&person.id, &json!({"token": factor.wrong()})).refused(401, "wrong-code");

    // Five in a row: the delay has begun, although each process saw only one.
    let next = host.verify(&person.id, &json!({"token": factor.wrong()}));
    next.refused(429, "too-many-attempts");
}

#[test]
fn aut_2_wrong_answers_of_a_challenge_are_counted_on_over_a_kill() {
    let mut host = Host::start("");
    let (person, factor, _) = host.guarded("anna");
    let challenge = host.challenge(&person);

    for remaining in [4, 3, 2, 1] {
        let refusal = host.answer_totp(&challenge, &factor.wrong()).refused(401, "wrong-code");
        assert_eq!(refusal["remaining"], remaining);
        host.restart();
    }
}

#[test]
fn tok_6_signing_keys_and_the_audit_log_go_on_over_a_graceful_stop() {
    let mut host = Host::start("");
    let (person, _, _) = host.guarded("anna");
    let keys = shown(&host, "/.well-known/jwks.json");
    let log = crate::audit::read(&host);

    host.stop();
    host.start_again();

    assert_eq!(shown(&host, "/.well-known/jwks.json"), keys);
    assert_eq!(host.token_status(&person, &person.token), 200);
    let after = crate::audit::read(&host);
    assert_eq!(after[..log.len()], log[..]);
}
