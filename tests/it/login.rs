//! The two steps of a login: password, then code or backup code.

use serde_json::json;

use crate::host::Host;
use crate::identity::{OTHER_STRANGER, STRANGER, can_be_others};
use crate::otp;
use crate::people::{PASSWORD, Person, text};
use crate::wire::{Answer, Request};

#[test]
fn aut_1_a_password_alone_gives_only_a_challenge_once_a_factor_is_active() {
    let host = Host::start("");
    let person = host.person("anna");
    let mut factor = host.pending(&person, &json!({}));

    let while_pending = host.password(&person).ok();
    let enrol = Request::put(format!("{}/enroll", factor.path), &json!({"token": factor.next()})).token(&person.token);
    host.ask(&enrol).ok();
    let while_active = host.password(&person).ok();

    assert_eq!(while_pending["type"], "ACCESS", "ENR-1: a pending factor changes nothing");
    assert_eq!(while_active["type"], "CHALLENGE");
    assert_eq!(while_active["methods"], json!(["totp", "recovery"]));
    assert!(while_active["refresh"].is_null() && while_active["expiresIn"].as_u64() <= Some(300), "{while_active}");
    let answer = host.answer_totp(&text(&while_active["token"]), &factor.next()).ok();
    assert_eq!((&answer["type"], &answer["userUid"]), (&json!("ACCESS"), &json!(person.id)));
    assert!(answer["expiresIn"].as_u64() <= Some(900), "TOK-3");
}

#[test]
fn otp_3_a_code_is_refused_the_second_time() {
    let host = Host::start("");
    let person = host.person("anna");
    let (mut factor, _) = host.enrol(&person, &json!({}));
    let enrolled_with = factor.code(factor.shown());

    let replay_of_enrolment = host.answer_totp(&host.challenge(&person), &enrolled_with);
    let code = factor.next();
    let first = host.answer_totp(&host.challenge(&person), &code);
    let second = host.answer_totp(&host.challenge(&person), &code);
    let at_another_door = host.verify(&person.id, &json!({"token": code}));

    replay_of_enrolment.refused(401, "wrong-code");
    first.ok();
    second.refused(401, "wrong-code");
    at_another_door.refused(401, "wrong-code");
}

#[test]
fn otp_4_the_three_steps_of_the_window_pass_once_each_and_in_order() {
    let host = Host::start("");
    let person = host.person("anna");
    let mut factor = host.pending(&person, &json!({"period": otp::roomy_period()}));
    let present = factor.step();
    let login = |code: String| host.answer_totp(&host.challenge(&person), &code);

    // Outside the window on both sides, then its three steps.
    let enrol = |token: String| {
        host.ask(&Request::put(format!("{}/enroll", factor.path), &json!({"token": token})).token(&person.token))
    };
    enrol(factor.code(present - 2)).refused(422, "wrong-code");
    enrol(factor.code(present - 1)).ok();
    login(factor.code(present - 1)).refused(401, "wrong-code");
    login(factor.code(present + 2)).refused(401, "wrong-code");
    login(factor.code(present)).ok();
    login(factor.code(present)).refused(401, "wrong-code");
    login(factor.show(present + 1)).ok();
    for used in [present - 1, present, present + 1] {
        login(factor.code(used)).refused(401, "wrong-code");
    }
}

#[test]
fn otp_3_a_step_that_was_passed_over_is_burned_too() {
    let host = Host::start("");
    let person = host.person("anna");
    let mut factor = host.pending(&person, &json!({"period": otp::roomy_period()}));
    let present = factor.step();
    let early = factor.show(present - 1);
    host.ask(&Request::put(format!("{}/enroll", factor.path), &json!({"token": early})).token(&person.token)).ok();

    let later = host.answer_totp(&host.challenge(&person), &factor.code(present + 1));
    let earlier = host.answer_totp(&host.challenge(&person), &factor.code(present));

    later.ok();
    earlier.refused(401, "wrong-code");
}

#[test]
fn otp_5_any_of_several_factors_answers_and_burns_only_its_own_step() {
    let host = Host::start("");
    let (person, mut first, _) = host.guarded("anna");
    let mut second = host.pending_for(&person.id, &json!({"name": "second", "digits": 8, "algorithm": "SHA256"}));
    let enrolled = host.confirm(&mut second);

    let by_second = host.answer_totp(&host.challenge(&person), &second.next());
    let by_first = host.answer_totp(&host.challenge(&person), &first.next());

    assert_eq!(enrolled["codes"], json!([]), "backup codes come with the first factor only");
    by_second.ok();
    by_first.ok();
}

#[test]
fn bkc_4_a_backup_code_works_once_and_the_answer_tells_how_many_remain() {
    let host = Host::start("");
    let person = host.person("anna");
    let (_, codes) = host.enrol(&person, &json!({}));

    for (used, code) in codes.iter().enumerate() {
        let answer = host.answer_recovery(&host.challenge(&person), code).ok();

        let remaining = 9 - used;
        assert_eq!((&answer["type"], &answer["remaining"]), (&json!("ACCESS"), &json!(remaining)), "BKC-7");
        assert_eq!(answer["warning"].is_string(), remaining <= 3, "{answer}");
    }
    host.answer_recovery(&host.challenge(&person), &codes[0]).refused(401, "wrong-code");
    host.answer_recovery(&host.challenge(&person), &codes[9]).refused(401, "wrong-code");
}

#[test]
fn bkc_1_backup_codes_are_distinct_and_of_the_documented_shape() {
    let host = Host::start("");
    let person = host.person("anna");

    let (_, codes) = host.enrol(&person, &json!({}));

    for code in &codes {
        let groups: Vec<&str> = code.split('-').collect();
        assert_eq!(groups.iter().map(|group| group.len()).collect::<Vec<_>>(), [4; 4], "{code}");
        assert!(groups.concat().chars().all(|c| "0123456789ABCDEFGHJKMNPQRSTVWXYZ".contains(c)), "{code}");
    }
    let distinct: std::collections::BTreeSet<&String> = codes.iter().collect();
    assert_eq!(distinct.len(), 10);
}

#[test]
fn bkc_3_a_backup_code_is_taken_in_any_way_a_person_may_write_it() {
    let host = Host::start("");
    let person = host.person("anna");
    let (_, codes) = host.enrol(&person, &json!({}));
    let look_alikes = |code: &str| code.replace('0', "O").replace('1', "l");
    let written = [
        codes[0].to_lowercase(),
        codes[1].replace('-', ""),
        look_alikes(&codes[2]),
        look_alikes(&codes[3]).to_lowercase().replace('l', "I"),
    ];

    for code in written {
        host.answer_recovery(&host.challenge(&person), &code).ok();
    }

    let challenge = host.challenge(&person);
    for odd in [
        "",
        "0000-0000-0000-000",
        "0000-0000-0000-00000",
        "0000 0000 0000 0000",
        "0000-0000-0000-000U",
        "٠000-0000-0000-0000",
    ] {
        host.answer_recovery(&challenge, odd).refused(400, "malformed");
    }
    host.answer_recovery(&challenge, &codes[4]).ok();
}

#[test]
fn bkc_5_a_backup_code_of_somebody_else_is_refused() {
    let host = Host::start("");
    let (anna, boris) = (host.person("anna"), host.person("boris"));
    let (_, codes_of_anna) = host.enrol(&anna, &json!({}));
    host.enrol(&boris, &json!({}));

    let foreign = host.answer_recovery(&host.challenge(&boris), &codes_of_anna[0]);

    foreign.refused(401, "wrong-code");
    host.answer_recovery(&host.challenge(&anna), &codes_of_anna[0]).ok();
}

#[test]
fn aut_2_a_challenge_ends_after_five_wrong_answers() {
    let host = Host::start("");
    let (person, mut factor, _) = host.guarded("anna");
    let (tried, other) = (host.challenge(&person), host.challenge(&person));
    let wrong = factor.wrong();

    // A success in between keeps the throttle out of it: five in all, never five in a row.
    let mut remaining = Vec::new();
    for _ in 0..3 {
        remaining.push(host.answer_totp(&tried, &wrong).refused(401, "wrong-code")["remaining"].clone());
    }
    host.answer_totp(&other, &factor.next()).ok();
    remaining.push(host.answer_totp(&tried, &wrong).refused(401, "wrong-code")["remaining"].clone());
    let fifth = host.answer_totp(&tried, &wrong);
    let right = host.answer_totp(&tried, &factor.next());

    assert_eq!(remaining, [json!(4), json!(3), json!(2), json!(1)]);
    assert_eq!(fifth.status, 401);
    right.refused(401, "challenge-ended");
}

#[test]
fn aut_2_a_challenge_is_answered_once_and_the_oldest_of_six_ends() {
    let host = Host::start("");
    let (person, mut factor, codes) = host.guarded("anna");
    let challenges: Vec<String> = (0..6).map(|_| host.challenge(&person)).collect();

    let oldest = host.answer_totp(&challenges[0], &factor.next());
    let second = host.answer_totp(&challenges[1], &factor.next());
    let again = host.answer_totp(&challenges[1], &factor.next());
    let again_by_code = host.answer_recovery(&challenges[1], &codes[0]);

    oldest.refused(401, "challenge-ended");
    second.ok();
    again.refused(401, "challenge-ended");
    again_by_code.refused(401, "challenge-ended");
}

#[test]
fn the_one_door_takes_codes_and_backup_codes() {
    let host = Host::start("");
    let (person, mut factor, codes) = host.guarded("anna");
    let door = |body| host.ask(&Request::post("/auth/mfa", &body).token(&host.challenge(&person)));

    assert_eq!(door(json!({"token": factor.next()})).ok()["type"], "ACCESS");
    assert_eq!(door(json!({"code": codes[0]})).ok()["remaining"], 9);
    door(json!({"token": factor.wrong()})).refused(401, "wrong-code");
    door(json!({})).refused(400, "malformed");
    door(json!({"token": factor.next(), "code": codes[1]})).refused(400, "malformed");
}

#[test]
fn a_password_is_taken_by_basic_and_by_body_with_name_address_or_id() {
    let host = Host::start("");
    let password = "with:colons : and ünïcode ";
    let order = json!({"name": "anna", "email": "anna@example.org", "password": password});
    let id = text(&host.ask(&Request::post("/users", &order)).ok()["user"]["uid"]);

    for login in ["anna", "anna@example.org", "ANNA", id.as_str()] {
        let basic = data_encoding::BASE64.encode(format!("{login}:{password}").as_bytes());
        let by_basic =
            host.ask(&Request::get("/auth/password").header("Authorization", &format!("Basic {basic}"))).ok();
        let by_body = host.ask(&Request::post("/auth/password", &json!({"id": login, "password": password}))).ok();

        assert_eq!((&by_basic["userUid"], &by_body["userUid"]), (&json!(id), &json!(id)), "{login}");
    }
    // AUT-5: verified exactly as received.
    let trimmed = host.ask(&Request::post("/auth/password", &json!({"id": "anna", "password": password.trim()})));
    trimmed.refused(401, "wrong-credentials");
    for odd in ["Basic", "Basic !!!", "Basic YW5uYQ", "Basic YW5uYQ==", "Basic //8="] {
        let answer = host.ask(&Request::get("/auth/password").header("Authorization", odd));
        assert!(matches!(answer.status, 400 | 401), "{odd}: {}", answer.status);
    }
}

#[test]
fn aut_4_unknown_user_wrong_password_and_disabled_user_are_told_apart_by_nothing() {
    let host = Host::start("");
    let (wrong, disabled) = (host.person("wrong"), host.person("disabled"));
    let (guarded, _, _) = host.guarded("guarded");
    let passwordless = host.nobody("passwordless");
    host.ask(&Request::put(disabled.path(), &json!({"version": version(&host, &disabled), "disabled": true}))).ok();

    let login = |id: &str, password: &str| {
        without_request_id(&host.ask(&Request::post("/auth/password", &json!({"id": id, "password": password}))))
    };
    let answers = [
        login("unknown", &wrong.password),
        login(&wrong.name, "not the password"),
        login(&guarded.name, "not the password"),
        login(&disabled.name, &disabled.password),
        login(&disabled.name, "not the password"),
        login(&passwordless, "not the password"),
        login("00000000-0000-4000-8000-000000000000", "not the password"),
    ];

    assert_eq!(answers[0].0, 401);
    for answer in &answers {
        assert_eq!(answer, &answers[0]);
    }
}

#[test]
fn aut_7_where_a_second_factor_is_required_the_password_gives_only_an_enrol_token() {
    let host = Host::start("mfaRequired = true\n");
    let mut person = host.person("anna");
    let answer = host.password(&person).ok();
    let token = text(&answer["token"]);

    assert_eq!((&answer["type"], &answer["refresh"]), (&json!("ENROLL"), &json!(null)));
    assert_eq!(host.ask(&Request::get("/auth")).ok()["mfaRequired"], true);
    let receipt = Request::post("/auth/receipt", &json!({"receipt": "none", "action": "none"}));
    for request in [
        Request::new("POST", "/auth/logout"),
        receipt,
        Request::post("/auth/stepup", &json!({"token": "000000", "action": "x"})),
    ] {
        host.ask(&request.token(&token)).refused(401, "unauthenticated");
    }
    assert_eq!(
        host.ask(&Request::put(person.path(), &json!({"version": 1, "displayName": "A"})).token(&token)).status,
        401,
        "TOK-4"
    );

    person.token = token;
    let (mut factor, _) = host.enrol(&person, &json!({"kind": "hotp"}));
    host.log_in(&mut person, &mut factor);
    assert_eq!(host.token_status(&person, &person.token), 200);
}

fn version(host: &Host, person: &Person) -> u64 {
    host.ask(&Request::get(person.path())).ok()["version"].as_u64().unwrap()
}

/// The status, the names of the headers in order, and the bytes of the body but for the one id that differs.
pub fn without_request_id(answer: &Answer) -> (u16, Vec<String>, String) {
    let id = text(&answer.json()["requestId"]);
    let names = answer.headers.iter().map(|(name, _)| name.to_lowercase()).collect();
    (answer.status, names, answer.text().replace(&id, ""))
}

#[test]
fn thr_8_logins_of_one_peer_end_no_challenge_of_another() {
    if !can_be_others("thr_8_logins_of_one_peer_end_no_challenge_of_another") {
        return;
    }
    let host = Host::start("");
    let (anna, mut factor, _) = host.guarded("anna");
    let login = Request::post("/auth/password", &json!({"id": "anna", "password": PASSWORD}));
    let open = host.challenge(&anna);

    for stranger in [STRANGER, OTHER_STRANGER] {
        for _ in 0..7 {
            assert_eq!(host.ask_as(stranger, &login).ok()["type"], "CHALLENGE");
        }
    }

    host.answer_totp(&open, &factor.next()).ok();
    // Of one peer the oldest ends beyond five, as ever.
    let oldest = host.challenge(&anna);
    let others: Vec<String> = (0..5).map(|_| host.challenge(&anna)).collect();
    host.answer_totp(&oldest, &factor.next()).refused(401, "challenge-ended");
    host.answer_totp(&others[0], &factor.next()).ok();
}
