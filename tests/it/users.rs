//! Users: making, reading, changing, listing, deleting them, and who may.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::host::Host;
use crate::identity::{APP, AUDITOR, OVERFLOW, STRANGER, can_be_others};
use crate::people::{PASSWORD, text};
use crate::wire::Request;

fn make(host: &Host, body: Value) -> crate::wire::Answer {
    host.ask(&Request::post("/users", &body))
}

#[test]
fn a_user_is_made_with_or_without_a_password() {
    let host = Host::start("");

    let bare = make(&host, json!({"name": "bare"}));
    let full =
        make(&host, json!({"name": "full", "displayName": "Fülle", "email": "full@example.org", "password": PASSWORD}))
            .ok();

    let location = bare.header("location").unwrap().trim_start_matches("/v1").to_owned();
    let bare = bare.ok();
    assert_eq!(location, format!("/users/{}", text(&bare["user"]["uid"])));
    assert!(bare.get("token").is_none_or(Value::is_null), "{bare}");
    let user = &full["user"];
    for (member, value) in [
        ("name", json!("full")),
        ("displayName", json!("Fülle")),
        ("email", json!("full@example.org")),
        ("roles", json!([])),
        ("disabled", json!(false)),
        ("mfa", json!("none")),
    ] {
        assert_eq!(user[member], value, "{member}");
    }
    assert_eq!((&full["type"], full["token"].is_string(), full["refresh"].is_string()), (&json!("ACCESS"), true, true));
    assert_eq!(text(&user["uid"]).as_bytes()[14], b'7', "our own ids are of version 7");
    assert!(text(&user["dateCreated"]).ends_with('Z'));
}

#[test]
fn names_addresses_and_ids_are_unique_in_every_spelling() {
    let host = Host::start("");
    let id = "0190F3C2-6A4E-7000-8000-00000000ABCD";
    make(&host, json!({"name": "Straße", "email": "Anna@example.org", "id": id})).ok();

    // THR-4: unique after NFKC and case folding.
    for same in ["Straße", "STRASSE", "strasse", "ｓｔｒａｓｓｅ", "stra\u{17f}\u{17f}e"] {
        make(&host, json!({"name": same})).refused(409, "name-taken");
    }
    make(&host, json!({"name": "other", "email": "Anna@example.org"})).refused(409, "email-taken");
    make(&host, json!({"name": "other", "id": id.to_lowercase()})).refused(409, "id-taken");
    make(&host, json!({"name": "other"})).ok();
}

#[test]
fn a_user_with_odd_members_is_malformed() {
    let host = Host::start("");

    for odd in [
        json!({}),
        json!({"name": null}),
        json!({"name": ""}),
        json!({"name": "a:b"}),
        json!({"name": "a\nb"}),
        json!({"name": "a\u{0}b"}),
        json!({"name": "a\u{7f}b"}),
        json!({"name": "a\u{85}b"}),
        json!({"name": "x".repeat(65)}),
        json!({"name": ["anna"]}),
        json!({"name": "anna", "password": "short"}),
        json!({"name": "anna", "password": 12_345_678}),
        json!({"name": "anna", "password": "x".repeat(1025)}),
        json!({"name": "anna", "email": "no address"}),
        json!({"name": "anna", "email": ""}),
        json!({"name": "anna", "id": "no id"}),
        json!({"name": "anna", "id": "0190f3c26a4e70008000000000000000"}),
        json!({"name": "anna", "id": "{0190f3c2-6a4e-7000-8000-000000000000}"}),
        json!({"name": "anna", "id": "urn:uuid:0190f3c2-6a4e-7000-8000-000000000000"}),
        json!({"name": "anna", "id": ""}),
        json!({"name": "anna", "roles": ["admin"]}),
        json!({"name": "anna", "disabled": true}),
        json!({"name": "anna", "mfa": "active"}),
        json!({"name": "anna", "version": 1}),
        json!({"Name": "anna"}),
    ] {
        let answer = make(&host, odd.clone());
        assert_eq!((answer.status, answer.code().as_str()), (400, "malformed"), "{odd}");
    }
    make(&host, json!({"name": "x".repeat(64)})).ok();
    make(&host, json!({"name": "ü".repeat(64)})).ok();
    make(&host, json!({"name": "anna"})).ok();
}

#[test]
fn a_user_is_changed_by_whoever_read_it_last() {
    let host = Host::start("");
    let person = host.person("anna");
    host.person("boris");
    let put = |body: Value| host.ask(&Request::put(person.path(), &body).token(&person.token));
    let version = host.ask(&Request::get("/users/me").token(&person.token)).ok()["version"].as_u64().unwrap();

    let changed = put(json!({"version": version, "displayName": "Anna", "email": "anna@example.org"})).ok();

    assert_eq!((&changed["displayName"], &changed["email"]), (&json!("Anna"), &json!("anna@example.org")));
    put(json!({"version": version, "displayName": "late"})).refused(409, "version");
    put(json!({"displayName": "no version"})).refused(400, "malformed");
    let version = changed["version"].clone();
    put(json!({"version": version, "name": "BORIS"})).refused(409, "name-taken");
    put(json!({"version": version, "disabled": true})).refused(403, "forbidden");
    put(json!({"version": version, "roles": ["admin"]})).refused(403, "forbidden");
    let renamed = put(json!({"version": version, "name": "Anna Two", "email": null})).ok();
    assert_eq!((&renamed["name"], &renamed["email"]), (&json!("Anna Two"), &json!(null)));
    host.ask(&Request::post("/auth/password", &json!({"id": "anna two", "password": PASSWORD}))).ok();
}

#[test]
fn the_list_is_read_in_pages_that_meet() {
    let host = Host::start("");
    let made: BTreeSet<String> = (0..25).map(|at| host.nobody(&format!("user {at}"))).collect();

    let mut read = Vec::new();
    let mut target = "/users?limit=10".to_owned();
    loop {
        let page = host.ask(&Request::get(&target)).ok();
        let users = page["users"].as_array().unwrap();
        assert!(users.len() <= 10);
        read.extend(users.iter().map(|user| text(&user["uid"])));
        let Some(next) = page["next"].as_str() else { break };
        target = format!("/users?limit=10&after={next}");
    }

    assert_eq!(read.len(), 25);
    assert_eq!(read.into_iter().collect::<BTreeSet<_>>(), made);
    for odd in [
        "limit=0",
        "limit=201",
        "limit=-1",
        "limit=x",
        "limit=",
        "limit=10&limit=10",
        "after=x",
        "offset=1",
        "limit=%31%30%00",
    ] {
        host.ask(&Request::get(format!("/users?{odd}"))).refused(400, "malformed");
    }
}

#[test]
fn a_deleted_user_is_gone_with_everything_it_had() {
    let host = Host::start("");
    let (person, mut factor, codes) = host.guarded("anna");
    let plain = host.person("boris");

    host.ask(&Request::delete(person.path()).token(&person.token)).done();
    host.ask(&Request::delete(plain.path()).token(&plain.token)).done();

    assert_eq!(host.token_status(&person, &person.token), 401);
    host.ask(&Request::get(person.path())).refused(404, "not-found");
    host.ask(&Request::get(person.secrets())).refused(404, "not-found");
    host.password(&person).refused(401, "wrong-credentials");
    host.verify(&person.id, &json!({"token": factor.next()})).refused(401, "wrong-code");
    host.verify(&person.id, &json!({"code": codes[0]})).refused(401, "wrong-code");
    let again = host.person("anna");
    assert_ne!(again.id, person.id);
}

#[test]
fn tok_6_a_token_does_not_outlive_its_user_in_another_one_of_the_same_id() {
    let host = Host::start("mfaRequired = true\n");
    let id = "0198c0de-0000-7000-8000-000000000001";
    let make = |name: &str| {
        text(&host.ask(&Request::post("/users", &json!({"id": id, "name": name, "password": PASSWORD}))).ok()["token"])
    };
    let early = make("anna");
    host.ask(&Request::delete(format!("/users/{id}")).reason()).done();

    let late = make("boris");

    let order = |token: &str| host.ask(&Request::post("/users/me/secrets", &json!({"type": "mfa"})).token(token));
    order(&early).refused(401, "unauthenticated");
    order(&late).ok();
}

#[test]
fn me_is_the_user_of_the_token() {
    let host = Host::start("");
    let person = host.person("anna");

    assert_eq!(host.ask(&Request::get("/users/me").token(&person.token)).ok()["uid"], person.id.as_str());
    host.ask(&Request::get("/users/me/secrets").token(&person.token)).ok();
    for target in ["/users/me", "/users/me/secrets"] {
        host.ask(&Request::get(target)).refused(403, "me-without-user");
    }
}

#[test]
fn a_token_speaks_for_its_user_only_whatever_the_peer_may_do() {
    let host = Host::start("");
    let (anna, boris) = (host.person("anna"), host.person("boris"));

    for request in [
        Request::get(boris.path()),
        Request::get(boris.secrets()),
        Request::delete(boris.path()),
        Request::post(boris.secrets(), &json!({"type": "mfa"})),
    ] {
        host.ask(&request.token(&anna.token)).refused(404, "not-found");
    }
    for request in [
        Request::get("/users"),
        Request::get("/audit"),
        Request::get("/metrics"),
        Request::new("POST", format!("{}/unlock", anna.path())).reason(),
    ] {
        host.ask(&request.token(&anna.token)).refused(403, "forbidden");
    }
}

#[test]
fn a_user_of_the_role_admin_keeps_the_rights_of_an_admin_peer() {
    let host = Host::start("");
    let (chief, other) = (host.person("chief"), host.person("other"));
    let version = host.ask(&Request::get(chief.path())).ok()["version"].clone();
    let promoted =
        host.ask(&Request::put(chief.path(), &json!({"version": version, "roles": ["admin"]})).reason()).ok();
    assert_eq!(promoted["roles"], json!(["admin"]));
    let token = text(&host.password(&chief).ok()["token"]);

    host.ask(&Request::get("/users").token(&token)).ok();
    host.ask(&Request::get(other.path()).token(&token)).ok();
    host.ask(&Request::get(chief.path()).token(&other.token)).refused(404, "not-found");
}

#[test]
fn az_4_peers_may_do_what_their_row_says() {
    if !can_be_others("az_4_peers_may_do_what_their_row_says") {
        return;
    }
    let host = Host::start("registration = \"closed\"\n");
    let person = host.person("anna");
    let anonymous = ["/auth", "/health/live", "/health/ready", "/version", "/openapi.json", "/.well-known/jwks.json"];
    let for_app = [Request::get("/users"), Request::get(person.path()), Request::get(person.secrets())];
    let for_audit = [Request::get("/audit"), Request::get("/metrics")];
    let refused = |uid: u32, request: &Request| matches!(host.ask_as(uid, request).status, 401 | 403);

    for uid in [STRANGER, APP, AUDITOR] {
        for target in anonymous {
            assert_eq!(host.ask_as(uid, &Request::get(target)).status, 200, "{uid} {target}");
        }
    }
    for request in &for_app {
        assert_eq!(host.ask_as(APP, request).status, 200, "{}", request.target);
        assert!(refused(STRANGER, request) && refused(AUDITOR, request), "{}", request.target);
    }
    for request in &for_audit {
        assert_eq!(host.ask_as(AUDITOR, request).status, 200, "{}", request.target);
        assert!(refused(STRANGER, request) && refused(APP, request), "{}", request.target);
    }
    let unlock = Request::new("POST", format!("{}/unlock", person.path())).reason();
    assert!([STRANGER, APP, AUDITOR].iter().all(|uid| refused(*uid, &unlock)));
    let register = |name: &str| Request::post("/users", &json!({"name": name}));
    assert!(refused(STRANGER, &register("one")) && refused(AUDITOR, &register("two")));
    host.ask_as(APP, &register("three")).ok();
    // Whoever has the password may log in from any peer; the token is that peer's.
    let login = Request::post("/auth/password", &json!({"id": "anna", "password": PASSWORD}));
    let token = text(&host.ask_as(STRANGER, &login).ok()["token"]);
    assert_eq!(host.ask_as(STRANGER, &Request::get("/users/me").token(&token)).status, 200);
}

#[test]
fn az_4_a_refusal_says_which_right_is_missing_and_a_stranger_has_to_say_who_it_is() {
    if !can_be_others("az_4_a_refusal_says_which_right_is_missing_and_a_stranger_has_to_say_who_it_is") {
        return;
    }
    let host = Host::start("");
    let person = host.person("anna");
    let unlock = Request::new("POST", format!("{}/unlock", person.path())).reason();

    for (uid, request, right) in [
        (APP, Request::get("/audit"), "audit"),
        (AUDITOR, Request::get("/users"), "app"),
        (APP, Request::get("/key"), "admin"),
        (APP, unlock, "admin"),
    ] {
        let answer = host.ask_as(uid, &request);
        let named = answer.refused(403, "forbidden")["detail"].clone();
        assert!(text(&named).contains(&format!("`{right}`")), "{}: {named}", request.target);
    }
    // Without a token and without a right there is nobody to speak of.
    host.ask_as(STRANGER, &Request::get("/users/me")).refused(403, "me-without-user");
    host.ask_as(STRANGER, &Request::get(person.path())).refused(401, "unauthenticated");
    host.ask_as(STRANGER, &Request::get("/users")).refused(401, "unauthenticated");
}

#[test]
fn sock_4_a_peer_that_the_kernel_cannot_name_is_shown_the_door() {
    if !can_be_others("sock_4_a_peer_that_the_kernel_cannot_name_is_shown_the_door") {
        return;
    }
    let host = Host::start("");

    let answer = host.connect_as(OVERFLOW).try_ask(&Request::get("/health/live"));

    assert!(answer.is_err(), "{answer:?}");
    host.ask(&Request::get("/health/live")).ok();
}

#[test]
fn an_idempotency_key_gives_the_same_answer_for_the_same_request_only() {
    let host = Host::start("");
    let keyed = |key: &str, body: &Value| host.ask(&Request::post("/users", body).header("Idempotency-Key", key));

    let first = keyed("order-66", &json!({"name": "anna"}));
    let again = keyed("order-66", &json!({"name": "anna"}));
    let other = keyed("order-66", &json!({"name": "boris"}));

    assert_eq!((first.status, &first.body), (200, &again.body));
    other.refused(409, "idempotency-conflict");
    keyed("order-67", &json!({"name": "anna"})).refused(409, "name-taken");
    let (user, _, _) = host.counted("dora");
    let renew = Request::new("POST", format!("/users/{user}/codes")).header("Idempotency-Key", "order-68");
    host.ask(&renew.clone().reason()).ok();
    host.ask(&renew).refused(403, "fresh-proof-required");
    for odd in ["", &"x".repeat(65), "a b", "ü"] {
        keyed(odd, &json!({"name": "clara"})).refused(400, "malformed");
    }
    if can_be_others("an_idempotency_key_gives_the_same_answer_for_the_same_request_only") {
        let theirs = host
            .ask_as(STRANGER, &Request::post("/users", &json!({"name": "anna"})).header("Idempotency-Key", "order-66"));
        theirs.refused(409, "name-taken");
    }
}
