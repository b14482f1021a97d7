//! What a login is good for afterwards: refresh, logout, step-up, receipts, and the app's `verify`.

use serde_json::{Value, json};

use crate::host::Host;
use crate::identity::{APP, STRANGER, can_be_others};
use crate::login::without_request_id;
use crate::people::{Person, text};
use crate::tokens::claims;
use crate::wire::{Answer, Request};

fn refresh(host: &Host, token: &str) -> Answer {
    host.ask(&Request::get("/auth/refresh").token(token))
}

/// The seconds go by in which an exchanged refresh token still gets its successor.
pub fn let_the_grace_pass(host: &Host) {
    let store = rusqlite::Connection::open(host.dirs.state.join("mfad.db")).unwrap();
    store.busy_timeout(std::time::Duration::from_secs(10)).unwrap();
    store.execute_batch("PRAGMA synchronous = OFF; UPDATE sessions SET rotated = rotated - 10000").unwrap();
}

#[test]
fn a_refresh_token_whose_answer_was_lost_gets_the_same_successor_for_some_seconds() {
    let host = Host::start("");
    for ask in [
        (|token: &str| Request::get("/auth/refresh").token(token)) as fn(&str) -> Request,
        |token| Request::new("POST", "/auth/refresh").token(token),
        |token| Request::new("POST", "/auth/refresh").token(token).header("Idempotency-Key", "one"),
        |token| {
            Request::new("POST", "/v1/auth/refresh").token(token).header("Idempotency-Key", token.get(..8).unwrap())
        },
    ] {
        let person = host.password(&Person::named("anna", &host)).ok();
        let first = text(&person["refresh"]);

        // The answer is lost; then two tabs ask at once.
        let answers = [(); 3].map(|()| host.ask(&ask(&first)).ok());

        for answer in &answers {
            assert_eq!(answer["refresh"], answers[0]["refresh"]);
            assert_eq!(host.ask(&Request::get("/users/me").token(&text(&answer["token"]))).status, 200);
        }
        let next = host.ask(&ask(&text(&answers[0]["refresh"]))).ok();
        // Two generations back there is no grace.
        host.ask(&Request::new("POST", "/auth/refresh").token(&first)).refused(401, "refresh-ended");
        refresh(&host, &text(&next["refresh"])).refused(401, "refresh-ended");
    }
}

#[test]
fn after_the_grace_a_refresh_token_that_comes_back_ends_its_session() {
    let host = Host::start("");
    for method in ["GET", "POST"] {
        let person = host.password(&Person::named("anna", &host)).ok();
        let ask = || host.ask(&Request::new(method, "/auth/refresh").token(&text(&person["refresh"])));
        let next = ask().ok();
        let_the_grace_pass(&host);

        ask().refused(401, "refresh-ended");

        refresh(&host, &text(&next["refresh"])).refused(401, "refresh-ended");
    }
}

#[test]
fn a_refresh_token_rotates_and_the_reuse_of_an_old_one_ends_the_family() {
    let host = Host::start("");
    let person = host.person("anna");
    let other_session = host.password(&person).ok();

    let second = refresh(&host, &person.refresh).ok();
    let third = refresh(&host, &text(&second["refresh"])).ok();
    assert_eq!((&second["type"], &third["type"]), (&json!("ACCESS"), &json!("ACCESS")));
    assert_eq!(host.token_status(&person, &text(&third["token"])), 200);

    let_the_grace_pass(&host);
    refresh(&host, &text(&second["refresh"])).refused(401, "refresh-ended");
    refresh(&host, &text(&third["refresh"])).refused(401, "refresh-ended");
    assert_eq!(host.token_status(&person, &text(&third["token"])), 401, "the family ended with its access tokens");
    refresh(&host, &text(&other_session["refresh"])).ok();
}

#[test]
fn aut_3_a_refreshed_token_says_how_and_when_its_user_logged_in_not_when_it_was_refreshed() {
    let host = Host::start("");
    let (person, _, _) = host.guarded("anna");

    let refreshed = refresh(&host, &person.refresh).ok();

    let (old, new) = (claims(&person.token), claims(&text(&refreshed["token"])));
    for member in ["authTime", "amr", "sub", "iss", "aud", "peer", "epoch"] {
        assert_eq!(old[member], new[member], "{member}");
    }
    assert!(new["amr"].as_array().unwrap().contains(&json!("mfa")), "{new}");
    assert_ne!(old["jti"], new["jti"]);
}

#[test]
fn tok_6_logout_ends_its_session_and_no_other_also_after_a_restart() {
    let mut host = Host::start("");
    let person = host.person("anna");
    let other: Value = host.password(&person).ok();

    host.ask(&Request::new("POST", "/auth/logout").token(&person.token)).done();

    for _ in 0..2 {
        assert_eq!(host.token_status(&person, &person.token), 401);
        assert_eq!(refresh(&host, &person.refresh).status, 401);
        assert_eq!(host.token_status(&person, &text(&other["token"])), 200);
        host.restart();
    }
    refresh(&host, &text(&other["refresh"])).ok();
}

/// Confirms an action with a second factor; yields the receipt.
fn step_up(host: &Host, person: &Person, proof: Value, action: &str) -> Answer {
    let mut body = proof;
    body["action"] = json!(action);
    host.ask(&Request::post("/auth/stepup", &body).token(&person.token))
}

fn redeem(host: &Host, receipt: &Value, action: &str) -> Answer {
    host.ask(&Request::post("/auth/receipt", &json!({"receipt": receipt, "action": action})))
}

/// Ten minutes pass for all sessions, in the store.
fn let_sessions_age(host: &mut Host) {
    host.stop();
    let store = rusqlite::Connection::open(host.dirs.state.join("mfad.db")).unwrap();
    store.execute("UPDATE sessions SET auth_time = auth_time - 600, created = created - 600000", []).unwrap();
    drop(store);
    host.start_again();
}

#[test]
fn enr_3_a_step_up_makes_its_own_token_fresh_and_no_refreshed_one() {
    let mut host = Host::start("");
    let (person, mut factor, _) = host.guarded("anna");
    let_sessions_age(&mut host);
    let first = refresh(&host, &person.refresh).ok();
    let renew = |token: &Value| host.ask(&Request::new("POST", format!("{}/codes", person.path())).token(&text(token)));
    renew(&first["token"]).refused(403, "fresh-proof-required");

    let stepped = step_up(&host, &person, json!({"token": factor.next()}), "pay").ok();
    let second = refresh(&host, &text(&first["refresh"])).ok();

    renew(&second["token"]).refused(403, "fresh-proof-required");
    assert_eq!(renew(&stepped["token"]).ok()["codes"].as_array().unwrap().len(), 10);
}

#[test]
fn aut_3_a_step_up_says_how_it_was_done_in_its_token_and_in_its_receipt() {
    let host = Host::start("");
    let (person, mut factor, codes) = host.guarded("anna");

    for (proof, methods) in [
        (json!({"code": codes[0]}), json!(["pwd", "kba", "mfa"])),
        (json!({"token": factor.next()}), json!(["pwd", "otp", "mfa"])),
    ] {
        let stepped = step_up(&host, &person, proof, "pay").ok();

        assert_eq!(crate::tokens::claims(&text(&stepped["token"]))["amr"], methods);
        assert_eq!(redeem(&host, &stepped["receipt"], "pay").ok()["amr"], methods);
    }
}

#[test]
fn tok_6_what_a_user_held_before_it_was_disabled_is_over_when_it_is_enabled_again() {
    let host = Host::start("");
    let (person, mut factor, _) = host.guarded("anna");
    let challenge = host.challenge(&person);

    for disabled in [true, false] {
        let version = host.ask(&Request::get(person.path())).ok()["version"].clone();
        let change = json!({"version": version, "disabled": disabled});
        host.ask(&Request::put(person.path(), &change).reason()).ok();
    }

    assert_eq!(host.token_status(&person, &person.token), 401);
    refresh(&host, &person.refresh).refused(401, "refresh-ended");
    assert_eq!(host.answer_totp(&challenge, &factor.next()).status, 401);
}

#[test]
fn enr_3_a_name_or_address_needs_fresh_proof_with_a_users_own_token_and_a_display_name_does_not() {
    let mut host = Host::start("");
    let (person, _, _) = host.guarded("anna");
    let made = host.ask(&Request::post(person.secrets(), &json!({"type": "apikey"})).token(&person.token)).ok();
    let key = text(&made["secret"]["apikey"]);
    let_sessions_age(&mut host);
    let stale = text(&refresh(&host, &person.refresh).ok()["token"]);
    let version = || host.ask(&Request::get(person.path())).ok()["version"].clone();
    let put = |mut body: Value| {
        body["version"] = version();
        Request::put(person.path(), &body)
    };

    for body in [json!({"name": "other"}), json!({"email": "other@example.org"})] {
        for token in [&stale, &key] {
            host.ask(&put(body.clone()).token(token)).refused(403, "fresh-proof-required");
        }
    }
    host.ask(&put(json!({"name": "anna", "displayName": "Anna"})).token(&stale)).ok();
    assert_eq!(host.ask(&put(json!({"name": "other"}))).ok()["name"], "other", "an app may");
}

#[test]
fn aut_7_a_session_without_a_factor_ends_when_the_settings_demand_one() {
    let mut host = Host::start("");
    let person = host.person("anna");
    let (guarded, _, _) = host.guarded("boris");
    let api_key = |owner: &Person, request: Request| {
        let made = host.ask(&request.json(&json!({"type": "apikey"}))).ok();
        (owner.clone(), text(&made["secret"]["apikey"]))
    };
    let by_password = api_key(&person, Request::new("POST", person.secrets()).token(&person.token));
    let root = host.person("root of the app");
    host.ask(&Request::put(root.path(), &json!({"version": 1, "roles": ["admin"]})).reason()).ok();
    let root = host.password(&root).ok();
    let by_weak_admin = api_key(&person, Request::new("POST", person.secrets()).token(&text(&root["token"])).reason());
    let by_factor = api_key(&guarded, Request::new("POST", guarded.secrets()).token(&guarded.token));
    let by_admin = api_key(&person, Request::new("POST", person.secrets()).reason());
    for (owner, key) in [&by_password, &by_weak_admin, &by_factor, &by_admin] {
        assert_eq!(host.token_status(owner, key), 200, "nothing is demanded yet");
    }
    host.stop();
    let config = std::fs::read_to_string(&host.dirs.config).unwrap();
    std::fs::write(&host.dirs.config, format!("mfaRequired = true\n{config}")).unwrap();
    host.start_again();

    // At the next request, whatever it is: it need not be a refresh.
    assert_eq!(host.token_status(&person, &person.token), 401);
    for request in [
        Request::post(person.secrets(), &json!({"type": "apikey"})),
        Request::put(person.path(), &json!({"version": 1, "displayName": "A"})),
        Request::new("POST", "/auth/logout"),
    ] {
        host.ask(&request.token(&person.token)).refused(401, "unauthenticated");
    }
    for ((owner, key), status) in [(&by_password, 401), (&by_weak_admin, 401), (&by_factor, 200), (&by_admin, 200)] {
        assert_eq!(host.token_status(owner, key), status);
    }
    refresh(&host, &person.refresh).refused(401, "refresh-ended");
    assert_eq!(host.token_status(&guarded, &guarded.token), 200);
    refresh(&host, &guarded.refresh).ok();
}

#[test]
fn time_2_after_a_clock_that_was_ahead_new_logins_are_not_ended_by_its_sessions() {
    let mut host = Host::start("");
    let (mut person, mut factor, _) = host.guarded("anna");
    host.stop();
    let store = rusqlite::Connection::open(host.dirs.state.join("mfad.db")).unwrap();
    let made_ahead = [
        (
            32,
            "sessions (id, user, epoch, peer, generation, amr, auth_time, created, expires) SELECT \
             randomblob(16), user, epoch, peer, generation, amr, auth_time + 86400, created + 86400000, expires + 86400000",
        ),
        (
            5,
            "challenges (id, user, epoch, created, expires) SELECT \
             randomblob(16), user, epoch, created + 86400000, expires + 86400000",
        ),
        (
            32,
            "receipts (digest, user, epoch, action, amr, auth_time, expires) SELECT \
             randomblob(32), user, epoch, randomblob(32), amr, auth_time + 86400, expires + 86400000",
        ),
    ];
    for (many, rows) in made_ahead {
        for _ in 0..many {
            store.execute(&format!("INSERT INTO {rows} FROM sessions LIMIT 1"), []).unwrap();
        }
    }
    drop(store);
    host.start_again();

    host.log_in(&mut person, &mut factor);

    assert_eq!(host.token_status(&person, &person.token), 200);
    let receipt = step_up(&host, &person, json!({"token": factor.next()}), "pay").ok()["receipt"].clone();
    redeem(&host, &receipt, "pay").ok();
    refresh(&host, &person.refresh).ok();
}

#[test]
fn a_receipt_is_good_for_its_action_and_once() {
    let host = Host::start("");
    let (person, mut factor, codes) = host.guarded("anna");

    let stepped = step_up(&host, &person, json!({"token": factor.next()}), "pay 10").ok();
    assert_eq!((&stepped["type"], &stepped["refresh"]), (&json!("ACCESS"), &json!(null)));
    assert_eq!(host.token_status(&person, &text(&stepped["token"])), 200);

    redeem(&host, &stepped["receipt"], "pay 1000").refused(401, "receipt-refused");
    let by_code = step_up(&host, &person, json!({"code": codes[0]}), "pay 20").ok();
    let redeemed = redeem(&host, &by_code["receipt"], "pay 20").ok();
    assert_eq!((&redeemed["ok"], &redeemed["userId"]), (&json!(true), &json!(person.id)));
    assert!(redeemed["amr"].as_array().unwrap().contains(&json!("mfa")), "{redeemed}");
    redeem(&host, &by_code["receipt"], "pay 20").refused(401, "receipt-refused");
    redeem(&host, &json!("no receipt at all"), "pay 20").refused(401, "receipt-refused");
}

#[test]
fn a_receipt_is_redeemed_by_its_user_or_an_app_and_by_nobody_else() {
    let host = Host::start("");
    let (person, mut factor, _) = host.guarded("anna");
    let other = host.person("boris");
    let mut receipt = |action| step_up(&host, &person, json!({"token": factor.next()}), action).ok()["receipt"].clone();
    let mut redeem = |action| Request::post("/auth/receipt", &json!({"receipt": receipt(action), "action": action}));

    let foreign = host.ask(&redeem("one").token(&other.token));
    let own = host.ask(&redeem("two").token(&person.token));

    assert!(matches!(foreign.status, 401 | 403), "{}", foreign.status);
    own.ok();
    if can_be_others("a_receipt_is_redeemed_by_its_user_or_an_app_and_by_nobody_else") {
        assert!(matches!(host.ask_as(STRANGER, &redeem("three")).status, 401 | 403));
        // An app that neither asked for it nor was named.
        host.ask_as(APP, &redeem("four")).refused(401, "receipt-refused");
    }
}

#[test]
fn a_step_up_needs_a_good_code_and_an_access_token() {
    let host = Host::start("");
    let (person, mut factor, _) = host.guarded("anna");
    let plain = host.person("boris");

    step_up(&host, &person, json!({"token": factor.wrong()}), "x").refused(401, "wrong-code");
    step_up(&host, &person, json!({"token": factor.next()}), &"x".repeat(257)).refused(400, "malformed");
    let no_action = Request::post("/auth/stepup", &json!({"token": factor.next()})).token(&person.token);
    host.ask(&no_action).refused(400, "malformed");
    let challenge = host.challenge(&person);
    let by_challenge = Request::post("/auth/stepup", &json!({"token": factor.next(), "action": "x"})).token(&challenge);
    host.ask(&by_challenge).refused(401, "unauthenticated");
    let without_factor = step_up(&host, &plain, json!({"token": "000000"}), "x");
    assert!(matches!(without_factor.status, 401 | 409), "AUT-6: {}", without_factor.text());
}

#[test]
fn verify_says_which_factor_and_when() {
    let host = Host::start("");
    let (person, mut counter, codes) = host.guarded("anna");
    let mut time = host.pending_for(&person.id, &json!({"name": "time", "digits": 8}));
    host.confirm(&mut time);

    for (proof, method, secret) in [
        (json!({"token": counter.next()}), "hotp", Some(&counter.id)),
        (json!({"token": time.next()}), "totp", Some(&time.id)),
        (json!({"code": codes[0]}), "recovery", None),
    ] {
        let before = crate::otp::now();
        let verified = host.verify(&person.id, &proof).ok();

        assert_eq!((&verified["ok"], &verified["method"]), (&json!(true), &json!(method)), "{verified}");
        assert!(secret.is_none_or(|secret| verified["secretId"] == *secret), "{verified}");
        let shown = host.ask(&Request::get(format!("{}/{}", person.secrets(), text(&verified["secretId"])))).ok();
        assert!(shown["lastUsed"].is_string(), "{shown}");
        assert!(crate::otp::now() - before < 60);
    }
}

#[test]
fn verify_answers_alike_for_wrong_used_unknown_and_pending() {
    let host = Host::start("");
    let (person, mut factor, codes) = host.guarded("anna");
    let pending = host.person("boris");
    let mut not_yet = host.pending(&pending, &json!({}));
    let bare = host.person("clara");
    let used = factor.next();
    host.verify(&person.id, &json!({"token": used})).ok();
    host.verify(&person.id, &json!({"code": codes[0]})).ok();

    let answers = [
        host.verify(&person.id, &json!({"token": factor.wrong()})),
        host.verify(&person.id, &json!({"token": used})),
        host.verify(&person.id, &json!({"code": codes[0]})),
        host.verify(&pending.id, &json!({"token": not_yet.next()})),
        host.verify(&bare.id, &json!({"token": "123456"})),
        host.verify("0190f3c2-6a4e-7000-8000-000000000000", &json!({"token": "123456"})),
        host.verify("0190f3c2-6a4e-7000-8000-000000000000", &json!({"code": codes[1]})),
    ];

    let alike = without_request_id(&answers[0]);
    assert_eq!(alike.0, 401);
    for answer in &answers {
        answer.refused(401, "wrong-code");
        assert_eq!(without_request_id(answer), alike);
    }
}

#[test]
fn verify_is_for_peers_with_the_right_app_and_not_for_users() {
    let host = Host::start("");
    let (person, mut factor, _) = host.guarded("anna");
    let request = |code: String| Request::post(format!("{}/verify", person.path()), &json!({"token": code}));

    let by_user = host.ask(&request(factor.next()).token(&person.token));

    by_user.refused(403, "forbidden");
    if can_be_others("verify_is_for_peers_with_the_right_app_and_not_for_users") {
        assert!(matches!(host.ask_as(STRANGER, &request(factor.next())).status, 401 | 403));
        host.ask_as(APP, &request(factor.next())).ok();
    }
}

#[test]
fn otp_9_a_counter_far_ahead_is_found_again_by_two_codes_in_a_row() {
    let host = Host::start("");
    let (person, mut factor, _) = host.guarded("anna");
    let login = |code: &str| host.answer_totp(&host.challenge(&person), code);
    let base = factor.shown();

    // Within the look-ahead one code is enough, and what was passed over is gone.
    login(&factor.show(base + 10)).ok();
    login(&factor.code(base + 5)).refused(401, "wrong-code");

    // Beyond it the first code only says where to look.
    let far = factor.shown() + 60;
    login(&factor.code(far)).refused(401, "wrong-code");
    login(&factor.code(far + 2)).refused(401, "wrong-code");
    login(&factor.code(far)).refused(401, "wrong-code");
    login(&factor.show(far + 1)).ok();
    login(&factor.code(far)).refused(401, "wrong-code");
    login(&factor.next()).ok();

    // More than a hundred ahead is nowhere.
    let beyond = factor.shown() + 130;
    login(&factor.code(beyond)).refused(401, "wrong-code");
    login(&factor.code(beyond + 1)).refused(401, "wrong-code");
    login(&factor.next()).ok();
}

#[test]
fn a_receipt_is_redeemed_by_the_app_that_asked_for_it_or_by_the_one_it_names() {
    if !can_be_others("a_receipt_is_redeemed_by_the_app_that_asked_for_it_or_by_the_one_it_names") {
        return;
    }
    let host = Host::start("tokenBinding = \"none\"\n");
    let (person, mut factor, _) = host.guarded("anna");
    let own = crate::identity::own_uid();
    let redeem_as = |uid: u32, receipt: &Value, token: Option<&str>| {
        let request = Request::post("/auth/receipt", &json!({"receipt": receipt, "action": "pay"}));
        host.ask_as(uid, &token.map_or_else(|| request.clone(), |token| request.clone().token(token)))
    };

    for (named, may, may_not) in [(json!(null), own, APP), (json!(APP), APP, own), (json!(own), own, APP)] {
        let mut proof = json!({"token": factor.next()});
        if !named.is_null() {
            proof["redeemer"] = named.clone();
        }
        let receipt = step_up(&host, &person, proof, "pay").ok()["receipt"].clone();

        redeem_as(may_not, &receipt, None).refused(401, "receipt-refused");
        assert_eq!(redeem_as(may, &receipt, None).ok()["userId"], person.id.as_str(), "{named}: it stays good");
        redeem_as(may, &receipt, None).refused(401, "receipt-refused");
    }
    for odd in [json!("root"), json!(-1), json!(4_294_967_296_u64), json!(null)] {
        let proof = json!({"token": "000000", "redeemer": odd});
        step_up(&host, &person, proof, "pay").refused(400, "malformed");
    }
}
