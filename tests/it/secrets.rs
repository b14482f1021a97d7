//! Secrets after they exist: proof for changes, names, passwords, API keys, removal; never their values.

use serde_json::{Value, json};

use crate::host::Host;
use crate::login::without_request_id;
use crate::people::{PASSWORD, Person, codes_of, text};
use crate::wire::Request;

fn list(host: &Host, person: &Person) -> Vec<Value> {
    host.ask(&Request::get(person.secrets())).ok()["secrets"].as_array().unwrap().clone()
}

fn one(host: &Host, person: &Person, kind: &str) -> Value {
    list(host, person).into_iter().find(|secret| secret["type"] == kind).unwrap_or_else(|| panic!("no {kind}"))
}

fn path_of(person: &Person, secret: &Value) -> String {
    format!("{}/{}", person.secrets(), text(&secret["uid"]))
}

#[test]
fn enr_3_with_an_active_factor_every_change_needs_fresh_proof() {
    let host = Host::start("");
    let (mut person, mut factor, _) = host.guarded("anna");
    let made = host.ask(&Request::post(person.secrets(), &json!({"type": "apikey"})).token(&person.token)).ok();
    let key = text(&made["secret"]["apikey"]);
    let pending = host.pending_for(&person.id, &json!({"name": "second"}));
    let changes = [
        Request::post(person.secrets(), &json!({"type": "mfa", "name": "third"})),
        Request::post(person.secrets(), &json!({"type": "apikey", "name": "other"})),
        Request::put(format!("{}/enroll", pending.path), &json!({"token": pending.code(pending.step())})),
        Request::put(
            format!("{}/password", person.secrets()),
            &json!({"secret": "another password", "current": PASSWORD}),
        ),
        Request::new("POST", format!("{}/codes", person.path())),
        Request::delete(&factor.path),
        Request::delete(path_of(&person, &made)),
        Request::delete(person.path()),
    ];

    // Neither an API key nor an administrator without a reason is fresh proof.
    for change in &changes[..6] {
        host.ask(&change.clone().token(&key)).refused(403, "fresh-proof-required");
        host.ask(change).refused(403, "fresh-proof-required");
    }
    host.ask(&changes[7].clone().token(&key)).refused(403, "fresh-proof-required");
    for reason in ["", &"x".repeat(257)] {
        let answer = host.ask(&changes[4].clone().header("Mfad-Reason", reason));
        assert!(matches!(answer.status, 400 | 403), "{}", answer.text());
    }

    // A second factor given a moment ago is, and so is an administrator's reason.
    host.log_in(&mut person, &mut factor);
    codes_of(&host.ask(&changes[4].clone().token(&person.token)).ok());
    host.ask(&changes[6].clone().reason()).done();
    host.ask(&changes[0].clone().reason()).ok();
}

#[test]
fn enr_3_without_fresh_proof_no_key_is_even_looked_for() {
    let host = Host::start("[devices]\nenabled = false\n");
    let (person, ..) = host.guarded("anna");
    let pending = host.pending_for(&person.id, &json!({"name": "second"}));
    let order = Request::post(person.secrets(), &json!({"type": "mfa", "device": {"any": true}}));
    let confirm = Request::put(format!("{}/enroll", pending.path), &json!({"device": true}));

    for act in [&order, &confirm] {
        host.ask(act).refused(403, "fresh-proof-required");
    }

    host.ask(&order.reason()).refused(503, "no-device");
    host.ask(&confirm.reason()).refused(409, "unsupported");
}

#[test]
fn az_4_an_app_may_not_do_what_needs_fresh_proof_even_with_a_reason() {
    if !crate::identity::can_be_others("az_4_an_app_may_not_do_what_needs_fresh_proof_even_with_a_reason") {
        return;
    }
    let host = Host::start("");
    let (person, _, _) = host.guarded("anna");

    let renewal = host.ask_as(crate::identity::APP, &Request::new("POST", format!("{}/codes", person.path())).reason());

    assert_eq!(renewal.status, 403, "{}", renewal.text());
}

#[test]
fn a_secret_is_shown_with_its_state_and_never_with_its_value() {
    let host = Host::start("");
    let (person, factor, codes) = host.guarded("anna");
    let mut pending = host.pending_for(&person.id, &json!({"name": "second", "algorithm": "SHA256"}));
    let made = host
        .ask(&Request::post(person.secrets(), &json!({"type": "apikey", "name": "robot"})).token(&person.token))
        .ok();
    let values = [factor.base32.clone(), pending.base32.clone(), text(&made["secret"]["apikey"]), codes[0].clone()];

    let mut seen = String::new();
    for token in [Some(&person.token), None] {
        for target in [
            person.path(),
            person.secrets(),
            factor.path.clone(),
            pending.path.clone(),
            path_of(&person, &made),
            path_of(&person, &one(&host, &person, "mfabackup")),
        ] {
            let request = Request::get(target);
            seen.push_str(&host.ask(&token.map_or(request.clone(), |token| request.token(token))).ok().to_string());
        }
    }
    seen.push_str(&host.confirm(&mut pending).to_string());

    for value in values {
        assert!(!seen.contains(&value), "ENR-6");
    }
    assert!(!seen.contains("otpauth"), "ENR-6");
    let (mfa, backup) = (one(&host, &person, "mfa"), one(&host, &person, "mfabackup"));
    assert_eq!((&mfa["kind"], &mfa["status"]), (&json!("hotp"), &json!("active")));
    assert!(mfa["lastUsed"].is_string() && mfa["dateCreated"].is_string() && mfa["version"].is_u64(), "{mfa}");
    assert_eq!(backup["remaining"], 10);
    assert_eq!(one(&host, &person, "password")["status"], "active");
}

#[test]
fn names_are_given_kept_and_unique_per_user() {
    let host = Host::start("");
    let person = host.person("anna");
    let make = |order: Value| host.ask(&Request::post(person.secrets(), &order).token(&person.token));

    let made = make(json!({"type": "apikey", "name": "robot"}));
    make(json!({"type": "apikey", "name": "robot"})).refused(409, "secret-name-taken");
    let other = host.person("boris");
    host.ask(&Request::post(other.secrets(), &json!({"type": "apikey", "name": "robot"})).token(&other.token)).ok();

    let path = path_of(&person, &made.ok());
    assert_eq!(
        made.header("location").map(|location| location.trim_start_matches("/v1").to_owned()),
        Some(path.clone())
    );
    let change = |body: Value| host.ask(&Request::put(&path, &body).token(&person.token));
    let version = made.ok()["version"].as_u64().unwrap();
    let renamed = change(json!({"version": version, "name": "machine", "description": "in the cellar"})).ok();
    assert_eq!((&renamed["name"], &renamed["description"]), (&json!("machine"), &json!("in the cellar")));
    assert!(renamed["version"].as_u64() > Some(version));
    change(json!({"version": version, "name": "late"})).refused(409, "version");
    change(json!({"name": "no version"})).refused(400, "malformed");
    make(json!({"type": "apikey", "name": "second"})).ok();
    let taken = change(json!({"version": renamed["version"], "name": "second"}));
    taken.refused(409, "secret-name-taken");
    assert_eq!(change(json!({"version": renamed["version"], "description": null})).ok()["description"], json!(null));
}

#[test]
fn an_api_key_acts_as_its_user_until_it_is_deleted() {
    let mut host = Host::start("");
    let (person, _, _) = host.guarded("anna");
    let made = host.ask(&Request::post(person.secrets(), &json!({"type": "apikey"})).token(&person.token)).ok();
    let key = text(&made["secret"]["apikey"]);

    assert!(key.starts_with("mfad_") && key.len() >= 5 + 43, "256 bits: {}", key.len());
    assert_eq!(host.ask(&Request::get("/users/me").token(&key)).ok()["uid"], person.id.as_str());
    host.restart();
    assert_eq!(host.token_status(&person, &key), 200);
    host.ask(&Request::get("/users").token(&key)).refused(403, "forbidden");
    host.ask(&Request::new("POST", "/auth/logout").token(&key)).refused(401, "unauthenticated");
    for near in [format!("{key}x"), key[..key.len() - 1].to_owned(), key.to_uppercase(), key.replace("mfad_", "")] {
        assert_eq!(host.token_status(&person, &near), 401);
    }
    host.ask(&Request::delete(path_of(&person, &made)).reason()).done();
    assert_eq!(host.token_status(&person, &key), 401);
}

#[test]
fn a_password_is_made_once_and_changed_with_the_old_one() {
    let host = Host::start("");
    let user = host.nobody("anna");
    let secrets = format!("/users/{user}/secrets");
    let make = |secret: &str| host.ask(&Request::post(&secrets, &json!({"type": "password", "secret": secret})));
    let login =
        |password: &str| host.ask(&Request::post("/auth/password", &json!({"id": "anna", "password": password})));

    make("1234567").refused(400, "malformed");
    make(&"x".repeat(1025)).refused(400, "malformed");
    let longest = "é".repeat(512);
    assert_eq!(make(&longest).ok()["type"], "password");
    make("another password").refused(409, "password-exists");
    let token = text(&login(&longest).ok()["token"]);

    let change = |body: Value| host.ask(&Request::put(format!("{secrets}/password"), &body).token(&token));
    change(json!({"secret": "12345678", "current": "not the password"})).refused(401, "wrong-credentials");
    change(json!({"secret": "12345678"})).refused(400, "malformed");
    change(json!({"secret": "1234567", "current": longest})).refused(400, "malformed");
    change(json!({"secret": "12345678", "current": longest})).ok();

    login(&longest).refused(401, "wrong-credentials");
    login("12345678").ok();
    host.ask(&Request::get(&secrets).token(&token)).refused(401, "unauthenticated");
}

#[test]
fn thr_7_a_right_old_password_clears_the_guesses_before_it() {
    let host = Host::start("");
    let person = host.person("anna");
    let change = |current: &str| {
        let order = json!({"secret": PASSWORD, "current": current});
        host.ask(&Request::put(format!("{}/password", person.secrets()), &order).reason())
    };

    // One less than begins a delay, twice.
    for _ in 0..2 {
        (0..4).for_each(|_| drop(change("not the password").refused(401, "wrong-credentials")));
        change(PASSWORD).ok();
    }

    (0..5).for_each(|_| drop(change("not the password").refused(401, "wrong-credentials")));
    change(PASSWORD).refused(429, "too-many-attempts");
}

#[test]
fn thr_1_a_right_password_clears_the_guesses_before_it() {
    let host = Host::start("");
    let person = host.person("anna");
    let guesser = Person { password: "not the password".to_owned(), ..person.clone() };

    for _ in 0..2 {
        (0..4).for_each(|_| drop(host.password(&guesser).refused(401, "wrong-credentials")));
        host.password(&person).ok();
    }

    (0..5).for_each(|_| drop(host.password(&guesser).refused(401, "wrong-credentials")));
    host.password(&person).refused(429, "too-many-attempts");
}

#[test]
fn a_user_has_at_most_32_secrets_and_room_again_when_one_goes() {
    let host = Host::start("");
    let person = host.person("anna");
    let make = |order: Value| host.ask(&Request::post(person.secrets(), &order).reason());
    // The password is one of them.
    let made: Vec<Value> = (1..32).map(|_| make(json!({"type": "apikey"})).ok()).collect();

    for order in [json!({"type": "apikey"}), json!({"type": "mfa"})] {
        make(order).refused(409, "too-many-secrets");
    }

    host.ask(&Request::delete(path_of(&person, &made[0])).reason()).done();
    make(json!({"type": "mfa"})).ok();
    assert_eq!(list(&host, &person).len(), 32);
}

#[test]
fn enr_10_after_the_last_factor_is_deleted_the_password_alone_is_enough() {
    let host = Host::start("");
    let (person, mut factor, codes) = host.guarded("anna");
    let challenge = host.challenge(&person);

    host.ask(&Request::delete(&factor.path).token(&person.token)).done();

    host.ask(&Request::get(&factor.path)).refused(404, "not-found");
    assert_eq!(host.ask(&Request::get(person.path())).ok()["mfa"], "none");
    assert!(list(&host, &person).iter().all(|secret| secret["type"] == "password"), "the backup codes went with it");
    assert_eq!(host.answer_recovery(&challenge, &codes[0]).status, 401);
    host.verify(&person.id, &json!({"token": factor.next()})).refused(401, "wrong-code");
    host.verify(&person.id, &json!({"code": codes[0]})).refused(401, "wrong-code");
    assert_eq!(host.password(&person).ok()["type"], "ACCESS");
}

#[test]
fn one_of_two_factors_goes_alone() {
    let host = Host::start("");
    let (mut person, mut first, codes) = host.guarded("anna");
    let mut second = host.pending_for(&person.id, &json!({"name": "second", "kind": "hotp", "digits": 8}));
    host.confirm(&mut second);
    host.log_in(&mut person, &mut first);

    host.ask(&Request::delete(&first.path).token(&person.token)).done();

    host.verify(&person.id, &json!({"token": first.next()})).refused(401, "wrong-code");
    host.verify(&person.id, &json!({"token": second.next()})).ok();
    host.verify(&person.id, &json!({"code": codes[0]})).ok();
    host.log_in(&mut person, &mut second);
}

#[test]
fn bkc_8_new_codes_replace_the_whole_set() {
    let host = Host::start("");
    let (person, _, old) = host.guarded("anna");
    host.verify(&person.id, &json!({"code": old[0]})).ok();

    let new = codes_of(&host.ask(&Request::new("POST", format!("{}/codes", person.path())).token(&person.token)).ok());

    assert_eq!(new.len(), 10);
    assert_eq!(one(&host, &person, "mfabackup")["remaining"], 10);
    host.verify(&person.id, &json!({"code": old[1]})).refused(401, "wrong-code");
    host.verify(&person.id, &json!({"code": new[0]})).ok();
    assert_eq!(host.token_status(&person, &person.token), 401, "ENR-9");
}

#[test]
fn az_2_foreign_random_and_malformed_ids_answer_alike() {
    let host = Host::start("");
    let (anna, boris) = (host.person("anna"), host.person("boris"));
    let foreign = host.ask(&Request::post(boris.secrets(), &json!({"type": "apikey"})).token(&boris.token)).ok();
    let foreign_id = text(&foreign["uid"]);
    let random = "0190f3c2-6a4e-7000-8000-000000000000";
    let alike = without_request_id(&host.ask(&Request::get(format!("/users/{random}")).token(&anna.token)));
    assert_eq!(alike.0, 404);

    for user in [
        boris.id.as_str(),
        random,
        "no-id",
        "0190f3c26a4e70008000000000000000",
        "%7B0190f3c2-6a4e-7000-8000-000000000000%7D",
        "urn:uuid:0190f3c2-6a4e-7000-8000-000000000000",
    ] {
        for rest in ["", "/secrets", &format!("/secrets/{foreign_id}"), &format!("/secrets/{random}"), "/secrets/no-id"]
        {
            let answer = host.ask(&Request::get(format!("/users/{user}{rest}")).token(&anna.token));
            assert_eq!(without_request_id(&answer), alike, "AZ-2: /users/{user}{rest}");
        }
    }
    // AZ-1: a secret is looked for under its user, whoever asks.
    for secret in [foreign_id.as_str(), random, "no-id"] {
        for token in [Some(&anna.token), None] {
            let get = Request::get(format!("{}/{secret}", anna.secrets()));
            let get = token.map_or(get.clone(), |token| get.token(token));
            assert_eq!(without_request_id(&host.ask(&get)), alike, "AZ-1: {secret}");
        }
        let delete = Request::delete(format!("{}/{secret}", anna.secrets())).token(&anna.token);
        assert_eq!(without_request_id(&host.ask(&delete)), alike);
        let enrol =
            Request::put(format!("{}/{secret}/enroll", anna.secrets()), &json!({"token": "123456"})).token(&anna.token);
        assert_eq!(without_request_id(&host.ask(&enrol)), alike);
    }
    assert_eq!(host.token_status(&boris, &text(&foreign["secret"]["apikey"])), 200);
    // AZ-3: upper case is the same id.
    assert_eq!(host.ask(&Request::get(format!("/users/{}", anna.id.to_uppercase())).token(&anna.token)).status, 200);
}
