//! Answers kept for an `Idempotency-Key`: given again only to whoever would still be allowed to ask, and no secret after what
//! it belongs to was used (ENR-8).

use rustix::process::{Signal, kill_process};
use serde_json::json;

use crate::host::Host;
use crate::identity::{APP, can_be_others};
use crate::people::{Factor, codes_of, text};
use crate::wire::Request;

const KEY: &str = "Idempotency-Key";

fn order() -> serde_json::Value {
    json!({"type": "mfa", "kind": "hotp"})
}

#[test]
fn enr_8_a_seed_is_told_again_while_its_factor_is_pending_and_not_after() {
    let host = Host::start("");
    let person = host.person("anna");
    let ask = || host.ask(&Request::post(person.secrets(), &order()).token(&person.token).header(KEY, "one"));
    let first = ask();
    assert_eq!((first.status, &first.body), (200, &ask().body), "its answer may have been lost");

    let mut factor = Factor::of(&first.json());
    let enrol = Request::put(format!("{}/enroll", factor.path), &json!({"token": factor.next()}));
    host.ask(&enrol.token(&person.token)).ok();

    ask().refused(401, "unauthenticated");
    let admin = || host.ask(&Request::post(person.secrets(), &order()).reason().header(KEY, "two"));
    let mut second = Factor::of(&admin().ok());
    assert_eq!(admin().status, 200);
    host.confirm(&mut second);
    admin().refused(409, "idempotency-conflict");
    // Neither after another one took its place, nor after it was removed.
    let third = Request::post(person.secrets(), &order()).reason().header(KEY, "three");
    host.ask(&third).ok();
    host.ask(&Request::post(person.secrets(), &order()).reason().header(KEY, "four")).ok();
    host.ask(&third).refused(409, "idempotency-conflict");
}

#[test]
fn enr_8_backup_codes_are_told_again_until_anything_was_used() {
    let host = Host::start("");
    for (name, used) in [("anna", "a code"), ("boris", "the factor"), ("clara", "nothing"), ("dora", "the password")] {
        let person = host.person(name);
        let mut factor = host.pending(&person, &json!({"kind": "hotp"}));
        let enrol = Request::put(format!("{}/enroll", factor.path), &json!({"token": factor.next()}));
        let enrol = enrol.token(&person.token).header(KEY, "one");
        let codes = codes_of(&host.ask(&enrol).ok());
        // The token was ended by the enrolment itself.
        assert_eq!(codes_of(&host.ask(&enrol).ok()), codes, "{name}");

        match used {
            "a code" => host.verify(&person.id, &json!({"code": codes[0]})).ok(),
            "the factor" => host.verify(&person.id, &json!({"token": factor.next()})).ok(),
            "the password" => host.password(&person).ok(),
            _ => json!(null),
        };

        let again = host.ask(&enrol);
        match used {
            "nothing" => assert_eq!(codes_of(&again.ok()), codes),
            _ => _ = again.refused(409, "idempotency-conflict"),
        }
    }
}

#[test]
fn a_kept_answer_is_refused_like_its_request() {
    let host = Host::start("");
    let (person, _, _) = host.guarded("anna");
    let asked = |key: &str, token: &str| {
        let answer =
            host.ask(&Request::post(person.secrets(), &json!({"type": "apikey"})).token(token).header(KEY, key));
        (answer.status, answer.json()["secret"]["apikey"].clone())
    };
    let (status, value) = asked("one", &person.token);
    assert_eq!((status, asked("one", &person.token)), (200, (200, value.clone())));

    // After a logout.
    host.ask(&Request::new("POST", "/auth/logout").token(&person.token)).done();
    assert_eq!(asked("one", &person.token).0, 401);

    // By a key that was deleted.
    let api_key = text(&value);
    let put = |version: u64| {
        let body = json!({"version": version, "displayName": "A"});
        host.ask(&Request::put(person.path(), &body).token(&api_key).header(KEY, "two"))
    };
    assert_eq!((put(1).status, put(1).status), (200, 200));
    let list = host.ask(&Request::get(person.secrets()).reason()).ok();
    let row = list["secrets"].as_array().unwrap().iter().find(|row| row["type"] == "apikey").unwrap().clone();
    host.ask(&Request::delete(format!("{}/{}", person.secrets(), text(&row["uid"]))).reason()).done();
    put(1).refused(401, "unauthenticated");

    // Of a user who was disabled, or is gone.
    for end in ["disabled", "deleted"] {
        let other = host.person(&format!("boris {end}"));
        let login = Request::post("/auth/password", &json!({"id": other.name, "password": other.password}));
        let login = login.header(KEY, end);
        assert_eq!(host.ask(&login).ok()["token"], host.ask(&login).ok()["token"]);
        if end == "disabled" {
            let version = host.ask(&Request::get(other.path()).reason()).ok()["version"].clone();
            host.ask(&Request::put(other.path(), &json!({"version": version, "disabled": true})).reason()).ok();
        } else {
            host.ask(&Request::delete(other.path()).reason()).done();
        }
        host.ask(&login).refused(409, "idempotency-conflict");
    }
}

#[test]
fn a_kept_answer_of_a_login_ends_with_its_session() {
    let host = Host::start("");
    let (person, mut factor, _) = host.guarded("anna");
    let body = json!({"token": factor.next()});
    let answer = Request::post("/auth/totp", &body).token(&host.challenge(&person)).header(KEY, "one");
    let first = host.ask(&answer).ok();
    assert_eq!(host.ask(&answer).ok(), first, "a lost answer");

    host.ask(&Request::new("POST", "/auth/refresh").token(&text(&first["refresh"]))).ok();

    host.ask(&answer).refused(409, "idempotency-conflict");
    let body = json!({"token": factor.next()});
    let answer = Request::post("/auth/totp", &body).token(&host.challenge(&person)).header(KEY, "two");
    let second = host.ask(&answer).ok();
    host.ask(&Request::new("POST", "/auth/logout").token(&text(&second["token"]))).done();
    host.ask(&answer).refused(409, "idempotency-conflict");
}

#[test]
fn a_kept_step_up_ends_with_the_session_it_was_done_in() {
    let host = Host::start("");
    let (person, mut factor, _) = host.guarded("anna");
    let order = json!({"token": factor.next(), "action": "pay"});
    let step_up = Request::post("/auth/stepup", &order).token(&person.token).header(KEY, "one");
    let first = host.ask(&step_up).ok();
    assert_eq!(host.ask(&step_up).ok(), first);

    host.ask(&Request::new("POST", "/auth/logout").token(&person.token)).done();

    host.ask(&step_up).refused(401, "unauthenticated");
}

#[test]
fn backup_codes_are_told_again_although_a_program_uses_an_api_key_meanwhile() {
    let host = Host::start("");
    let (person, _, _) = host.guarded("anna");
    let made = host.ask(&Request::post(person.secrets(), &json!({"type": "apikey"})).token(&person.token)).ok();
    let renew = Request::new("POST", format!("{}/codes", person.path())).token(&person.token).header(KEY, "one");
    let codes = codes_of(&host.ask(&renew).ok());

    assert_eq!(host.token_status(&person, &text(&made["secret"]["apikey"])), 200);

    assert_eq!(codes_of(&host.ask(&renew).ok()), codes);
}

#[test]
fn a_kept_answer_is_refused_to_a_peer_that_lost_its_right() {
    if !can_be_others("a_kept_answer_is_refused_to_a_peer_that_lost_its_right") {
        return;
    }
    let host = Host::start("");
    let user = host.nobody("anna");
    let create = Request::post(format!("/users/{user}/secrets"), &order()).header(KEY, "one");
    let verify = Request::post("/users", &json!({"name": "boris"})).header(KEY, "two");
    for request in [&create, &verify] {
        assert_eq!((host.ask_as(APP, request).status, host.ask_as(APP, request).status), (200, 200));
    }

    let config = std::fs::read_to_string(&host.dirs.config).unwrap();
    let without = config.replace(&format!("uid = {APP}\nrights = [\"app\"]"), &format!("uid = {APP}\nrights = []"));
    assert_ne!(config, without);
    std::fs::write(&host.dirs.config, without.replace("registration = \"open\"", "registration = \"closed\"")).unwrap();
    kill_process(host.process(), Signal::HUP).unwrap();
    let until = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while !host.dirs.log_text().contains("configuration reloaded") {
        assert!(std::time::Instant::now() < until, "the reload");
        std::thread::yield_now();
    }

    for request in [&create, &verify] {
        host.ask_as(APP, request).refused(401, "unauthenticated");
    }
}
