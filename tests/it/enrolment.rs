//! From pending to active: profiles, first codes, wrong codes and what they tell.

use serde_json::{Value, json};

use crate::host::Host;
use crate::otp::{self, Hash, OtpKind, Profile};
use crate::people::{Factor, Person, text};
use crate::wire::{Answer, Request};

fn try_code(host: &Host, person: &Person, factor: &Factor, code: &str) -> Answer {
    host.ask(&Request::put(format!("{}/enroll", factor.path), &json!({"token": code})).token(&person.token))
}

/// Every profile that a factor may have (OTP-7), with four of the periods.
pub fn profiles(hash: Hash, digits: u32) -> Vec<Profile> {
    let moving = [15, 30, 60, 120].map(OtpKind::Totp).into_iter().chain([OtpKind::Hotp]);
    moving.map(|moving| Profile { hash, digits, moving }).collect()
}

#[test]
fn otp_7_every_profile_agrees_with_an_independent_computation() {
    let host = Host::start("");
    for hash in Hash::ALL {
        for digits in 6..=8 {
            let user = host.nobody(&format!("{}-{digits}", hash.name()));
            let mut factors = Vec::new();
            for (at, profile) in profiles(hash, digits).into_iter().enumerate() {
                let mut order = profile.order();
                order["name"] = json!(format!("factor {at}"));
                let mut factor = host.pending_for(&user, &order);
                assert_eq!((factor.profile, factor.seed.len()), (profile, hash.seed_bytes()), "OTP-1");

                let enrolled = host.confirm(&mut factor);

                assert_eq!((&enrolled["status"], &enrolled["algorithm"]), (&json!("active"), &json!(hash.name())));
                factors.push(factor);
            }
            // Each still answers with its next code when all are active.
            for factor in &mut factors {
                let verified = host.verify(&user, &json!({"token": factor.next()})).ok();
                // Fewer digits may be right for a neighbour, too, once in many runs.
                assert!(digits < 8 || verified["secretId"] == factor.id.as_str(), "{:?}", factor.profile);
            }
        }
    }
}

#[test]
fn otp_7_no_other_profile_is_taken() {
    let host = Host::start("");
    let person = host.person("anna");

    for odd in [
        json!({"algorithm": "MD5"}),
        json!({"algorithm": "sha1"}),
        json!({"algorithm": "SHA-1"}),
        json!({"algorithm": 1}),
        json!({"digits": 5}),
        json!({"digits": 9}),
        json!({"digits": 6.5}),
        json!({"digits": "6"}),
        json!({"digits": -6}),
        json!({"period": 14}),
        json!({"period": 121}),
        json!({"period": 0}),
        json!({"period": 4_294_967_326_u64}),
        json!({"period": "30"}),
        json!({"kind": "TOTP"}),
        json!({"kind": "steam"}),
        json!({"type": "MFA"}),
        json!({"type": "mfabackup"}),
        json!({"type": ""}),
        // ENR-7: nothing of this is the client's to say.
        json!({"secret": "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"}),
        json!({"seed": "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"}),
        json!({"counter": 5}),
        json!({"status": "active"}),
        json!({"userId": "00000000-0000-0000-0000-000000000000"}),
        json!({"uid": "00000000-0000-0000-0000-000000000000"}),
        json!({"name": ""}),
        json!({"name": "a\u{0}b"}),
        json!({"name": "x".repeat(10_000)}),
    ] {
        let order = crate::people::with(json!({"type": "mfa"}), &odd);
        let answer = host.ask(&Request::post(person.secrets(), &order).token(&person.token));

        assert_eq!((answer.status, answer.code().as_str()), (400, "malformed"), "{odd}");
    }
    assert_eq!(host.ask(&Request::get(person.path()).token(&person.token)).ok()["mfa"], "none");
}

#[test]
fn the_uri_names_issuer_account_and_profile() {
    let host = Host::start("issuer = \"Example & Söhne\"\n");
    let person = host.person("anna");

    let plain = host.pending(&person, &json!({}));
    let counted = host.pending(&person, &json!({"kind": "hotp", "digits": 8}));
    let named = host.pending(&person, &json!({"issuer": "Other 100%", "accountName": "anna@example.org", "algorithm": "SHA512", "digits": 7, "period": 45}));

    assert!(plain.url.starts_with("otpauth://totp/"), "{}", plain.url);
    assert!(plain.url.contains("anna") && plain.url.contains("issuer=Example%20%26%20S%C3%B6hne"), "{}", plain.url);
    assert!(
        counted.url.starts_with("otpauth://hotp/")
            && counted.url.contains("counter=0")
            && counted.url.contains("digits=8"),
        "{}",
        counted.url
    );
    for piece in ["secret=", "algorithm=SHA512", "digits=7", "period=45", "issuer=Other%20100%25"] {
        assert!(named.url.contains(piece), "{piece}: {}", named.url);
    }
    assert!(named.url.chars().all(|c| c.is_ascii_graphic()), "{}", named.url);
}

#[test]
fn a_picture_of_the_uri_comes_once_and_only_when_asked_for() {
    let host = Host::start("");
    let person = host.person("anna");
    let make = |query: &str| {
        host.ask(&Request::post(format!("{}{query}", person.secrets()), &json!({"type": "mfa"})).token(&person.token))
    };

    let made = make("").ok();
    let svg = text(&make("?qr=svg").ok()["qr"]);
    let png = data_encoding::BASE64.decode(text(&make("?qr=png").ok()["qr"]).as_bytes()).unwrap();
    let block = make("?qr=text").ok();

    assert!(made.get("qr").is_none_or(Value::is_null), "{made}");
    assert!(svg.contains("<svg"), "{svg}");
    assert!(png.starts_with(b"\x89PNG\r\n\x1a\n"));
    assert!(text(&block["qr"]).lines().count() > 10);
    make("?qr=gif").refused(400, "malformed");
    let shown =
        host.ask(&Request::get(format!("{}/{}", person.secrets(), text(&block["uid"]))).token(&person.token)).ok();
    assert!(
        shown.get("qr").is_none_or(Value::is_null) && shown.get("secret").is_none_or(Value::is_null),
        "ENR-6: {shown}"
    );
}

#[test]
fn enr_2_a_new_pending_factor_ends_the_older_and_never_touches_an_active_one() {
    let host = Host::start("");
    let person = host.person("anna");
    let mut first = host.pending(&person, &json!({}));
    let mut second = host.pending(&person, &json!({}));

    let code = first.next();
    let of_first = try_code(&host, &person, &first, &code);
    assert!(
        matches!((of_first.status, of_first.code().as_str()), (410, "expired") | (404, "not-found")),
        "{}",
        of_first.text()
    );
    assert_ne!(first.seed, second.seed);
    let code = second.next();
    try_code(&host, &person, &second, &code).ok();

    host.pending_for(&person.id, &json!({"name": "third"}));
    host.pending_for(&person.id, &json!({"name": "fourth"}));
    host.answer_totp(&host.challenge(&person), &second.next()).ok();
    let secrets = host.ask(&Request::get(person.secrets())).ok()["secrets"].clone();
    let pending = secrets.as_array().unwrap().iter().filter(|secret| secret["status"] == "pending");
    assert_eq!(pending.count(), 1, "{secrets}");
}

#[test]
fn enr_5_five_wrong_codes_end_a_pending_factor_also_over_restarts() {
    let mut host = Host::start("");
    let person = host.person("anna");
    let mut factor = host.pending(&person, &json!({"digits": 8}));
    let wrong = factor.wrong();
    let right = factor.next();

    for remaining in [4, 3, 2, 1] {
        let problem = try_code(&host, &person, &factor, &wrong).refused(422, "wrong-code");
        assert_eq!(problem["remaining"], remaining);
        host.restart();
    }
    let fifth = try_code(&host, &person, &factor, &wrong);
    assert!(matches!(fifth.status, 410 | 422), "{}", fifth.text());

    let after = try_code(&host, &person, &factor, &right);
    assert!(matches!((after.status, after.code().as_str()), (410, "expired") | (404, "not-found")), "{}", after.text());
    assert_eq!(host.ask(&Request::get(person.path()).token(&person.token)).ok()["mfa"], "none");
    let mut next = host.pending(&person, &json!({}));
    let code = next.next();
    try_code(&host, &person, &next, &code).ok();
}

#[test]
fn a_wrong_first_code_is_diagnosed_when_it_is_right_for_another_profile() {
    let host = Host::start("");
    let people = std::cell::Cell::new(0);
    let diagnosis = |order: Value, other: &dyn Fn(&Factor) -> String| {
        people.set(people.get() + 1);
        let factor = host.pending_for(&host.nobody(&format!("user {}", people.get())), &order);
        let enrol = Request::put(format!("{}/enroll", factor.path), &json!({"token": other(&factor)}));
        host.ask(&enrol).refused(422, "wrong-code")["diagnosis"].clone()
    };
    let period = otp::roomy_period();
    let base = json!({"period": period, "digits": 8});

    let algorithm = diagnosis(base.clone(), &|factor| otp::code(&factor.seed, Hash::Sha256, 8, factor.step()));
    let digits = diagnosis(json!({"period": period}), &|factor| otp::code(&factor.seed, Hash::Sha1, 8, factor.step()));
    let thirty = diagnosis(base.clone(), &|factor| otp::code(&factor.seed, Hash::Sha1, 8, otp::step(30)));
    let behind = diagnosis(base.clone(), &|factor| factor.code(factor.step() - 4));
    let ahead = diagnosis(base.clone(), &|factor| factor.code(factor.step() + 4));
    let unknown = diagnosis(base, &Factor::wrong);

    assert_eq!((&algorithm["algorithm"], &algorithm["digits"]), (&json!("SHA256"), &json!(8)), "{algorithm}");
    assert_eq!((&digits["algorithm"], &digits["digits"]), (&json!("SHA1"), &json!(8)), "{digits}");
    assert_eq!(thirty["period"], 30, "{thirty}");
    for (drift, steps) in [(behind, -4), (ahead, 4)] {
        // The roomy period keeps both clocks in one step, so the drift is exact to a step.
        let expected = steps * i64::try_from(period).unwrap();
        assert_eq!((&drift["driftSeconds"], &drift["period"]), (&json!(expected), &json!(period)), "{drift}");
    }
    assert!(unknown.is_null(), "{unknown}");
}

#[test]
fn a_wrong_first_code_is_diagnosed_when_it_is_right_in_another_time_zone() {
    let host = Host::start("");
    // In quarters of an hour: of a device that is set to another country's time.
    let zones = [4, -4, 22, -22, 23, -38, 56, -56, 57, -60];
    for (number, quarters) in zones.into_iter().enumerate() {
        let factor = host.pending_for(&host.nobody(&format!("user {number}")), &json!({"period": 60, "digits": 8}));
        let code = factor.code(factor.step().checked_add_signed(quarters * 15).unwrap());

        let enrol = Request::put(format!("{}/enroll", factor.path), &json!({"token": code}));
        let diagnosis = host.ask(&enrol).refused(422, "wrong-code")["diagnosis"].clone();

        if quarters.abs() > 56 {
            assert!(diagnosis.is_null(), "{quarters}: {diagnosis}");
        } else {
            assert_eq!((&diagnosis["driftSeconds"], &diagnosis["period"]), (&json!(quarters * 900), &json!(60)));
        }
        assert_eq!(host.ask(&Request::get(&factor.path).reason()).ok()["status"], "pending", "nothing is activated");
    }
}

/// The first counter's code of a factor that another program had moved on is old, and says nothing of its profile.
#[test]
fn a_diagnosis_is_not_the_profile_of_the_factor_itself() {
    let host = Host::start("");
    for (number, counter) in [12, 500, 1_u64 << 40].into_iter().enumerate() {
        let person = host.nobody(&format!("user {number}"));
        let uri = format!("otpauth://hotp/a?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&digits=8&counter={counter}");
        let import = Request::post(format!("/users/{person}/secrets/import"), &json!({"otpauth_url": uri}));
        let secret = host.ask(&import.reason()).ok();
        let old = otp::code(&otp::seed_of("GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"), Hash::Sha1, 8, 0);

        let path = format!("/users/{person}/secrets/{}/enroll", text(&secret["uid"]));
        let problem = host.ask(&Request::put(&path, &json!({"token": old})).reason()).refused(422, "wrong-code");

        assert!(problem.get("diagnosis").is_none_or(Value::is_null), "{problem}");
    }
}

#[test]
fn no_diagnosis_is_made_for_an_active_factor() {
    let host = Host::start("");
    let person = host.person("anna");
    let (factor, _) = host.enrol(&person, &json!({}));
    let other = otp::code(&factor.seed, Hash::Sha256, 6, factor.step());

    let problem = host.answer_totp(&host.challenge(&person), &other).refused(401, "wrong-code");

    assert!(problem.get("diagnosis").is_none_or(Value::is_null), "{problem}");
}

#[test]
fn enr_8_enrolling_again_gives_409_and_reveals_nothing() {
    let host = Host::start("");
    let person = host.person("anna");
    let (mut factor, _) = host.enrol(&person, &json!({}));
    let (same, later) = (factor.code(factor.shown()), factor.next());

    for code in [same, later.clone(), factor.wrong()] {
        let again = host.ask(&Request::put(format!("{}/enroll", factor.path), &json!({"token": code})).reason());
        let problem = again.refused(409, "already-active");
        assert!(problem.get("codes").is_none(), "{problem}");
    }
    host.answer_totp(&host.challenge(&person), &later).ok();
}

#[test]
fn enr_8_the_token_that_an_enrolment_ended_is_told_of_it_and_of_nothing_else() {
    let host = Host::start("");
    let counts = json!({"kind": "hotp"});
    let (mut anna, bob) = (host.person("anna"), host.person("bob"));
    let ended = anna.token.clone();
    let (mut factor, _) = host.enrol(&anna, &counts);
    let (of_bob, _) = host.enrol(&bob, &counts);
    let body = json!({"token": "123456"});
    let again = |path: &str, token: &str| host.ask(&Request::put(format!("{path}/enroll"), &body).token(token));

    again(&factor.path, &ended).refused(409, "already-active");
    again(&format!("/users/me/secrets/{}", factor.id), &ended).refused(409, "already-active");
    // What is not the caller's, or no active factor.
    again(&of_bob.path, &ended).refused(401, "unauthenticated");
    again(&format!("{}/{}", bob.secrets(), factor.id), &ended).refused(401, "unauthenticated");
    let secrets = host.ask(&Request::get(anna.secrets()).reason()).ok();
    let password = secrets["secrets"].as_array().unwrap().iter().find(|one| one["type"] == "password").unwrap();
    again(&format!("{}/{}", anna.secrets(), text(&password["uid"])), &ended).refused(401, "unauthenticated");
    let pending = host.pending_for(&anna.id, &counts);
    again(&pending.path, &ended).refused(401, "unauthenticated");

    // Tokens that ended for another reason, or are of another kind.
    host.log_in(&mut anna, &mut factor);
    host.ask(&Request::new("POST", "/auth/logout").token(&anna.token)).done();
    again(&factor.path, &anna.token).refused(401, "unauthenticated");
    let challenge = host.challenge(&anna);
    let mut second = pending;
    host.confirm(&mut second);
    again(&factor.path, &challenge).refused(401, "unauthenticated");
    let version = host.ask(&Request::get(anna.path()).reason()).ok()["version"].clone();
    host.ask(&Request::put(anna.path(), &json!({"version": version, "disabled": true})).reason()).ok();
    again(&factor.path, &ended).refused(401, "unauthenticated");
}

#[test]
fn enr_8_an_idempotency_key_serves_the_codes_again_to_the_same_caller() {
    let host = Host::start("");
    let person = host.person("anna");
    let mut factor = host.pending_for(&person.id, &json!({}));
    let body = json!({"token": factor.next()});
    let enrol = |key: &str, body: &Value| {
        host.ask(&Request::put(format!("{}/enroll", factor.path), body).header("Idempotency-Key", key))
    };

    let first = enrol("key-1", &body);
    let again = enrol("key-1", &body);
    let other_key = enrol("key-2", &body);
    let other_body = enrol("key-1", &json!({"token": "000000"}));

    assert_eq!((first.status, &first.body), (200, &again.body));
    assert!(matches!(other_key.status, 403 | 409), "{}", other_key.text());
    other_body.refused(409, "idempotency-conflict");
}

#[test]
fn enr_1_a_pending_factor_counts_for_nothing() {
    let host = Host::start("");
    let person = host.person("anna");
    let mut factor = host.pending(&person, &json!({}));

    assert_eq!(host.ask(&Request::get(person.path()).token(&person.token)).ok()["mfa"], "pending");
    assert_eq!(host.password(&person).ok()["type"], "ACCESS");
    host.verify(&person.id, &json!({"token": factor.next()})).refused(401, "wrong-code");
    host.ask(&Request::new("POST", format!("{}/codes", person.path())).reason()).refused(409, "no-factor");
    host.ask(&Request::delete(&factor.path).token(&person.token)).done();
    assert_eq!(host.ask(&Request::get(person.path()).token(&person.token)).ok()["mfa"], "none");
}

#[test]
fn a_first_factor_wants_a_login_of_the_last_five_minutes_and_an_api_key_is_none() {
    let mut host = Host::start("");
    let person = host.person("anna");
    let made = host.ask(&Request::post(person.secrets(), &json!({"type": "apikey"})).token(&person.token)).ok();
    let key = text(&made["secret"]["apikey"]);
    let order = |kind: &str| Request::post(person.secrets(), &json!({"type": "mfa", "kind": kind}));
    for kind in ["totp", "hotp"] {
        host.ask(&order(kind).token(&key)).refused(403, "fresh-login-required");
    }

    // One that the owner began is not confirmed by it either.
    let mut factor = host.pending(&person, &json!({"kind": "hotp"}));
    let enrol = Request::put(format!("{}/enroll", factor.path), &json!({"token": factor.next()}));
    host.ask(&enrol.clone().token(&key)).refused(403, "fresh-login-required");
    assert_eq!(host.password(&person).ok()["type"], "ACCESS", "nobody is locked out");

    // A stolen token of an old login begins nothing, and confirms nothing that was begun by another one.
    host.stop();
    let store = rusqlite::Connection::open(host.dirs.state.join("mfad.db")).unwrap();
    store.execute("UPDATE sessions SET auth_time = auth_time - 301, created = created - 301000", []).unwrap();
    drop(store);
    host.start_again();
    let old = host.ask(&Request::new("POST", "/auth/refresh").token(&person.refresh)).ok();
    host.ask(&order("totp").token(&text(&old["token"]))).refused(403, "fresh-login-required");
    host.ask(&enrol.clone().token(&text(&old["token"]))).refused(403, "fresh-login-required");
    let fresh = host.password(&person).ok();
    host.ask(&order("hotp").token(&text(&fresh["token"]))).ok();

    // An administrator and an app answer for themselves.
    let (by_app, by_admin) = (host.nobody("boris"), host.nobody("clara"));
    host.ask(&Request::post(format!("/users/{by_app}/secrets"), &json!({"type": "mfa"}))).ok();
    host.pending_for(&by_admin, &json!({}));
}

#[test]
fn a_uri_that_fits_no_picture_is_refused_before_anything_changes() {
    let host = Host::start("");
    let person = host.person("anna");
    let kept = host.pending(&person, &json!({"kind": "hotp"}));
    for (letter, fits, too_long) in [("\u{1F511}", 32, 64), ("\u{20AC}\u{1F511}", 16, 32), ("\u{1D538}", 50, 56)] {
        for qr in ["", "?qr=svg", "?qr=png", "?qr=text"] {
            let order = |count: usize| {
                let name = letter.repeat(count);
                let body = json!({"type": "mfa", "kind": "hotp", "issuer": name, "accountName": name});
                Request::post(format!("{}{qr}", person.secrets()), &body).token(&person.token)
            };

            let refused = host.ask(&order(too_long));
            assert!(refused.status == 400, "{letter} {qr}: {}", refused.text());
            let list = host.ask(&Request::get(person.secrets()).token(&person.token)).ok();
            let pending: Vec<&str> = list["secrets"]
                .as_array()
                .unwrap()
                .iter()
                .filter(|row| row["status"] == "pending")
                .map(|row| row["uid"].as_str().unwrap())
                .collect();
            assert!(pending.len() == 1, "the pending factor of before is still there: {pending:?}");

            let made = host.ask(&order(fits)).ok();
            assert!(made["secret"]["otpauth_url"].as_str().unwrap().len() <= 2048);
        }
    }
    assert!(!kept.id.is_empty());
}

#[test]
fn without_a_factor_neither_an_api_key_nor_an_old_token_changes_how_one_logs_in() {
    let mut host = Host::start("");
    let person = host.person("anna");
    let make_key =
        |host: &Host, token: &str| host.ask(&Request::post(person.secrets(), &json!({"type": "apikey"})).token(token));
    let key = text(&make_key(&host, &person.token).ok()["secret"]["apikey"]);
    host.stop();
    let store = rusqlite::Connection::open(host.dirs.state.join("mfad.db")).unwrap();
    store.execute("UPDATE sessions SET auth_time = auth_time - 301, created = created - 301000", []).unwrap();
    drop(store);
    host.start_again();
    let old = text(&host.ask(&Request::new("POST", "/auth/refresh").token(&person.refresh)).ok()["token"]);
    let list = host.ask(&Request::get(person.secrets()).token(&key)).ok();
    let password = list["secrets"].as_array().unwrap().iter().find(|row| row["type"] == "password").unwrap();
    let password = format!("{}/{}", person.secrets(), text(&password["uid"]));

    for stolen in [&key, &old] {
        for request in [
            Request::delete(&password),
            Request::post(person.secrets(), &json!({"type": "apikey"})),
            Request::post(person.secrets(), &json!({"type": "mfa"})),
            Request::put(person.path(), &json!({"version": 1, "name": "another"})),
            Request::put(person.path(), &json!({"version": 1, "email": "a@example.org"})),
            Request::delete(person.path()),
        ] {
            host.ask(&request.token(stolen)).refused(403, "fresh-login-required");
        }
    }

    let fresh = text(&host.password(&person).ok()["token"]);
    make_key(&host, &fresh).ok();
    host.ask(&Request::put(person.path(), &json!({"version": 1, "email": "a@example.org"})).token(&fresh)).ok();
}
