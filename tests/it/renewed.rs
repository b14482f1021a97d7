//! A session that goes on after an enrolment, for whoever asks for it with `session=true`.

use serde_json::{Value, json};

use crate::host::Host;
use crate::people::{Factor, Person, codes_of, text};
use crate::tokens::claims;
use crate::wire::{Answer, Request};

fn enrol(host: &Host, person: &Person, factor: &mut Factor) -> Answer {
    let code = factor.next();
    host.ask(&enrolment(factor, code).token(&person.token))
}

fn enrolment(factor: &Factor, code: String) -> Request {
    Request::put(format!("{}/enroll?session=true", factor.path), &json!({"token": code}))
}

fn amr(token: &str) -> Value {
    claims(token)["amr"].clone()
}

#[test]
fn enr_9_the_session_of_an_enrolment_is_a_new_one_and_every_older_token_ends() {
    let host = Host::start("");
    let person = host.person("anna");
    let elsewhere = host.password(&person).ok();
    let mut factor = host.pending(&person, &json!({}));

    let enrolled = enrol(&host, &person, &mut factor).ok();

    assert_eq!(codes_of(&enrolled).len(), 10);
    let session = &enrolled["session"];
    assert_eq!((&session["type"], &session["userUid"]), (&json!("ACCESS"), &json!(person.id)));
    for (token, status) in [(&person.token, 401), (&text(&elsewhere["token"]), 401), (&text(&session["token"]), 200)] {
        assert_eq!(host.token_status(&person, token), status);
    }
    for refresh in [&person.refresh, &text(&elsewhere["refresh"])] {
        host.ask(&Request::new("POST", "/auth/refresh").token(refresh)).refused(401, "refresh-ended");
    }
    assert!(session.get("refresh").is_none() && amr(&text(&session["token"])) == json!(["pwd", "otp", "mfa"]));
}

#[test]
fn enr_3_the_session_of_a_first_factor_makes_no_api_key_that_counts_as_guarded() {
    let mut host = Host::start("");
    let person = host.person("anna");
    let mut factor = host.pending(&person, &json!({}));
    let enrolled = enrol(&host, &person, &mut factor).ok();
    let token = text(&enrolled["session"]["token"]);
    let made = host.ask(&Request::post(person.secrets(), &json!({"type": "apikey", "name": "k"})).token(&token)).ok();
    let key = text(&made["secret"]["apikey"]);
    assert_eq!(host.token_status(&person, &key), 200);

    host.stop();
    let config = std::fs::read_to_string(&host.dirs.config).unwrap();
    std::fs::write(&host.dirs.config, format!("mfaRequired = true\n{config}")).unwrap();
    host.start_again();

    assert_eq!(host.token_status(&person, &key), 401);
    assert_eq!(host.token_status(&person, &token), 200);
}

#[test]
fn enr_9_a_session_with_a_second_factor_goes_on_after_another_one() {
    let host = Host::start("");
    let (person, _, _) = host.guarded("anna");
    let mut fob = host.pending(&person, &json!({"kind": "hotp", "name": "fob"}));

    let enrolled = enrol(&host, &person, &mut fob).ok();

    let refresh = text(&enrolled["session"]["refresh"]);
    let refreshed = host.ask(&Request::new("POST", "/auth/refresh").token(&refresh)).ok();
    assert_eq!(host.token_status(&person, &text(&refreshed["token"])), 200);
    host.ask(&Request::new("POST", "/auth/refresh").token(&person.refresh)).refused(401, "refresh-ended");
}

#[test]
fn enr_3_the_renewed_session_has_a_second_factor_of_the_time_of_its_login() {
    let host = Host::start("");
    let person = host.person("anna");
    let login = claims(&person.token);
    let mut factor = host.pending(&person, &json!({}));
    let enrolled = enrol(&host, &person, &mut factor).ok();
    let token = text(&enrolled["session"]["token"]);

    assert_eq!(claims(&token)["auth_time"], login["auth_time"]);
    // The login was a moment ago, so the next factor needs no other proof.
    let second = Person { token, ..person };
    let mut fob = host.pending(&second, &json!({"kind": "hotp"}));
    let enrolled = enrol(&host, &second, &mut fob).ok();
    assert_eq!(
        (codes_of(&enrolled).len(), amr(&text(&enrolled["session"]["token"]))),
        (0, json!(["pwd", "otp", "mfa"]))
    );
}

#[test]
fn a_session_is_given_only_to_those_who_ask_and_came_by_a_login() {
    let host = Host::start("");
    let person = host.person("anna");
    let key = host.ask(&Request::post(person.secrets(), &json!({"type": "apikey", "name": "k"})).token(&person.token));
    let key = text(&key.ok()["secret"]["apikey"]);
    let mut factor = host.pending(&person, &json!({}));
    let code = factor.next();

    for refused in [enrolment(&factor, code.clone()).reason(), enrolment(&factor, code.clone()).token(&key)] {
        host.ask(&refused).refused(400, "malformed");
    }
    let odd = Request::put(format!("{}/enroll?session=yes", factor.path), &json!({"token": code}));
    host.ask(&odd.token(&person.token)).refused(400, "malformed");
    let plain = Request::put(format!("{}/enroll?session=false", factor.path), &json!({"token": code}));
    let enrolled = host.ask(&plain.token(&person.token)).ok();

    assert!(enrolled.get("session").is_none(), "{enrolled}");
}

#[test]
fn aut_7_whoever_must_enrol_is_logged_in_after_it() {
    let host = Host::start("mfaRequired = true\n");
    let person = host.person("anna");
    let login = host.password(&person).ok();
    assert_eq!(login["type"], "ENROLL");
    let person = Person { token: text(&login["token"]), ..person };
    let mut factor = host.pending(&person, &json!({}));

    let enrolled = enrol(&host, &person, &mut factor).ok();

    assert_eq!(host.token_status(&person, &text(&enrolled["session"]["token"])), 200);
    assert_eq!(host.token_status(&person, &person.token), 401);
}

#[test]
fn enr_8_a_lost_answer_with_a_session_is_given_again_until_the_session_is_used() {
    let host = Host::start("");
    let person = host.person("anna");
    let mut factor = host.pending(&person, &json!({}));
    let code = factor.next();
    let request = enrolment(&factor, code).token(&person.token).header("Idempotency-Key", "once");

    let first = host.ask(&request).ok();
    let second = host.ask(&request).ok();

    assert_eq!(first, second);
    host.ask(&Request::new("POST", "/auth/logout").token(&text(&first["session"]["token"]))).done();
    let challenge = host.challenge(&person);
    host.answer_totp(&challenge, &factor.next()).ok();
    host.ask(&request).refused(409, "idempotency-conflict");
}
