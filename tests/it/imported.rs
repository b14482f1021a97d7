//! Imported factors that their users prove with a first code (`mfactl import --at-login`, `trusted: false`), and factors
//! with a short secret (`--accept-weak`).

use std::fs;

use serde_json::{Value, json};

use crate::cli::mfactl;
use crate::host::Host;
use crate::otp::{self, Hash};
use crate::people::{PASSWORD, Person};
use crate::wire::Request;

const SEED: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";
/// 80 bits.
const SHORT: &str = "GEZDGNBVGY3TQOJQ";

fn hotp(user: &str, counter: u64, secret: &str) -> Value {
    json!({"user": user, "kind": "hotp", "counter": counter, "secret": secret})
}

fn job(host: &Host, more: &Value) -> Value {
    let body = crate::people::with(json!({"trusted": false}), more);
    host.ask(&Request::post("/imports", &body).reason()).ok()
}

fn code(secret: &str, counter: u64) -> Value {
    json!({"token": code_text(secret, counter)})
}

fn code_text(secret: &str, counter: u64) -> String {
    otp::code(&otp::seed_of(secret), Hash::Sha1, 6, counter)
}

/// A user with a password and an imported HOTP factor whose next counter is 3.
fn imported(host: &Host, name: &str) -> Person {
    let person = host.person(name);
    let answer = job(host, &json!({"factors": [hotp(name, 3, SEED)]}));
    assert_eq!(answer["results"][0]["state"], "imported", "{answer}");
    person
}

fn mfa_of(host: &Host, person: &Person) -> Value {
    host.ask(&Request::get(person.path())).ok()["mfa"].clone()
}

fn factor_of(host: &Host, person: &Person) -> Value {
    let listed = host.ask(&Request::get(person.secrets())).ok();
    listed["secrets"].as_array().unwrap().iter().find(|secret| secret["type"] == "mfa").unwrap().clone()
}

fn metric(host: &Host, line: &str) -> bool {
    host.ask(&Request::get("/metrics")).text().lines().any(|found| found == line)
}

fn events(host: &Host, event: &str) -> Vec<String> {
    let rows = host.ask(&Request::get("/audit?limit=500")).ok();
    let rows = rows["events"].as_array().unwrap().iter().filter(|row| row["event"] == event);
    rows.map(|row| row["detail"].as_str().unwrap_or_default().to_owned()).collect()
}

#[test]
fn a_second_import_may_say_that_the_factor_was_proved_elsewhere() {
    let host = Host::start("");
    let anna = imported(&host, "anna");
    assert_eq!(mfa_of(&host, &anna), "imported");

    let answer = job(&host, &json!({"trusted": true, "factors": [hotp("anna", 3, SEED)]}));

    assert_eq!(answer["results"][0]["state"], "imported", "{answer}");
    assert_ne!(mfa_of(&host, &anna), "imported");
    let answer = job(&host, &json!({"trusted": true, "factors": [hotp("anna", 3, SEED)]}));
    assert_eq!(answer["results"][0]["state"], "known", "{answer}");
}

#[test]
fn an_imported_factor_is_proved_by_its_first_code_at_a_login() {
    let mut host = Host::start("");
    let anna = imported(&host, "anna");

    assert_eq!((mfa_of(&host, &anna), factor_of(&host, &anna)["imported"].clone()), (json!("imported"), json!(true)));
    assert!(metric(&host, "mfad_imported_factors{state=\"unproved\"} 1"));
    let enrolled = events(&host, "factor.enroll").len();
    host.restart();
    let challenge = host.challenge(&anna);
    host.answer_totp(&challenge, &code_text(SEED, 2)).refused(401, "wrong-code");
    let session = host.answer_totp(&challenge, &code_text(SEED, 3)).ok();

    let token = session["token"].as_str().unwrap();
    assert_eq!(host.token_status(&anna, token), 200, "the first code ends older tokens, not this one");
    assert_eq!((mfa_of(&host, &anna), factor_of(&host, &anna)["imported"].clone()), (json!("active"), Value::Null));
    assert!(metric(&host, "mfad_imported_factors{state=\"unproved\"} 0"));
    assert_eq!(events(&host, "factor.import").len(), 1);
    assert_eq!(events(&host, "factor.enroll")[enrolled..], ["an imported factor, proved by its first code"]);
    let again = host.challenge(&anna);
    host.answer_totp(&again, &code_text(SEED, 3)).refused(401, "wrong-code");
    host.answer_totp(&again, &code_text(SEED, 4)).ok();
    assert_eq!(events(&host, "factor.enroll").len(), enrolled + 1, "the next code is an ordinary one");
}

#[test]
fn enr_5_a_wrong_first_code_of_an_imported_factor_is_diagnosed_and_no_later_code_is_told() {
    let host = Host::start("");
    let bob = host.person("bob");
    let factor = json!({"user": "bob", "kind": "totp", "digits": 8, "secret": SEED});
    job(&host, &json!({"factors": [factor]}));
    let of = |hash, period, ahead: i64| {
        let step = otp::step(period).checked_add_signed(ahead).unwrap();
        otp::code(&otp::seed_of(SEED), hash, 8, step)
    };

    let challenge = host.challenge(&bob);
    let other = host.answer_totp(&challenge, &of(Hash::Sha256, 30, 0)).refused(401, "wrong-code");
    assert_eq!(other["diagnosis"]["algorithm"], "SHA256", "{other}");
    let late = host.answer_totp(&challenge, &of(Hash::Sha1, 30, -20)).refused(401, "wrong-code");
    assert!(late["diagnosis"]["driftSeconds"].as_i64().unwrap() <= -570, "{late}");
    let early = host.answer_totp(&challenge, &of(Hash::Sha1, 30, 20)).refused(401, "wrong-code");
    assert_eq!(early["diagnosis"], Value::Null, "whoever has the password would learn a code that is right later");
    // An app that has a code checked knows no password.
    let verified = host.verify(&bob.id, &json!({"token": of(Hash::Sha256, 30, 0)})).refused(401, "wrong-code");
    assert_eq!(verified["diagnosis"], Value::Null);
}

#[test]
fn by_policy_the_password_alone_lets_in_until_the_first_code() {
    let host = Host::start("importedFactors = \"allow\"");
    let carol = imported(&host, "carol");

    let first = host.password(&carol).ok();
    let other = host.password(&carol).ok();
    assert_eq!((&first["type"], &other["type"]), (&json!("ACCESS"), &json!("ACCESS")));
    let (mine, others) = (first["token"].as_str().unwrap(), other["token"].as_str().unwrap());
    // What ends a protection still asks for a code.
    let path = format!("{}/{}", carol.secrets(), factor_of(&host, &carol)["uid"].as_str().unwrap());
    let deleted = host.ask(&Request::delete(&path).token(mine));
    deleted.refused(403, "fresh-proof-required");
    let proved = Request::post("/auth/stepup", &json!({"token": code_text(SEED, 3), "action": "prove it"}));
    let proved = host.ask(&proved.token(mine)).ok();

    assert_eq!(host.token_status(&carol, proved["token"].as_str().unwrap()), 200, "the session goes on");
    assert_eq!(host.token_status(&carol, others), 401, "ENR-9: the other one was opened without this factor");
    assert_eq!(mfa_of(&host, &carol), "active");
    assert_eq!(host.password(&carol).ok()["type"], "CHALLENGE");

    let dave = imported(&host, "dave");
    host.verify(&dave.id, &code(SEED, 3)).ok();
    assert_eq!(host.password(&dave).ok()["type"], "CHALLENGE", "a check by an app proves it too");
}

#[test]
fn aut_7_where_everybody_needs_a_second_factor_an_imported_one_is_asked_for() {
    let host = Host::start("importedFactors = \"allow\"\nmfaRequired = true");
    let made = json!({"name": "eve", "password": PASSWORD});
    let made = host.ask(&Request::post("/users", &made)).ok();
    assert!(made["user"]["uid"].is_string());
    job(&host, &json!({"factors": [hotp("eve", 0, SEED)]}));

    let login = host.ask(&Request::post("/auth/password", &json!({"id": "eve", "password": PASSWORD}))).ok();

    assert_eq!(login["type"], "CHALLENGE");
}

#[test]
fn a_weak_factor_needs_consent_and_is_marked_until_it_is_gone() {
    let host = Host::start("");
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("list").display().to_string();
    fs::write(&file, format!("otpauth://hotp/ann?secret={SHORT}&counter=5\n")).unwrap();
    host.person("ann");
    let refused = Request::post("/imports", &json!({"factors": [hotp("ann", 5, SHORT)]})).reason();
    assert!(host.ask(&refused).refused(400, "malformed")["detail"].as_str().unwrap().contains("acceptWeak"));
    let import = |more: &[&str]| {
        mfactl(&host, &[&["--json", "import", "--trusted", "--reason", "a move", &file], more].concat(), "")
    };
    let without: Value = serde_json::from_slice(&import(&[]).stdout).unwrap();
    assert!(without["entries"][0]["reason"].as_str().unwrap().contains("--accept-weak"), "{without}");

    let with: Value = serde_json::from_slice(&import(&["--accept-weak"]).stdout).unwrap();

    assert_eq!(with["entries"][0]["state"], "imported");
    assert!(with["entries"][0]["notes"].to_string().contains("weak"), "{with}");
    let listed = host.ask(&Request::get("/users?name=ann")).ok();
    let ann = listed["users"][0]["uid"].as_str().unwrap().to_owned();
    let verified = host.verify(&ann, &code(SHORT, 5)).ok();
    assert!(verified["warning"].as_str().unwrap().contains("128 bits"), "{verified}");
    let login = json!({"id": "ann", "password": PASSWORD});
    let login = host.ask(&Request::post("/auth/password", &login)).ok();
    let session = host.answer_totp(login["token"].as_str().unwrap(), &code_text(SHORT, 6)).ok();
    assert!(session["warning"].as_str().unwrap().contains("enrol a new one"), "{session}");
    let shown = mfactl(&host, &["secret", "list", "ann"], "");
    assert!(String::from_utf8(shown.stdout).unwrap().contains("active, weak"));
    assert!(metric(&host, "mfad_imported_factors{state=\"weak\"} 1"));
    let doctor: Value = serde_json::from_slice(&mfactl(&host, &["--json", "doctor"], "").stdout).unwrap();
    let finding = doctor["findings"].as_array().unwrap().iter().find(|it| it["check"] == "factors").unwrap();
    assert_eq!(finding["state"], "warning", "{finding}");
    let secrets = host.ask(&Request::get(format!("/users/{ann}/secrets"))).ok();
    let weak = secrets["secrets"].as_array().unwrap().iter().find(|secret| secret["weak"] == true).unwrap();
    let path = format!("/users/{ann}/secrets/{}", weak["uid"].as_str().unwrap());
    assert_eq!(host.ask(&Request::delete(path).reason()).status, 204);
    assert!(metric(&host, "mfad_imported_factors{state=\"weak\"} 0"));
}

#[test]
fn a_long_list_is_read_in_parts_and_each_entry_is_reported_in_its_place() {
    let host = Host::start("");
    let dir = tempfile::tempdir().unwrap();
    let (file, report) = (dir.path().join("list"), dir.path().join("report"));
    // Only some have a secret that can be kept.
    let line = |number: usize| {
        let secret = if number.is_multiple_of(1500) { SEED } else { "GEZDGNBV" };
        format!(
            "otpauth://totp/Example%20Incorporated%20of%20Somewhere:user{number}?secret={secret}&issuer=Example%20Incorporated%20of%20Somewhere\n"
        )
    };
    let list: String = (1..=15_000).map(line).collect();
    assert!(list.len() > 1024 * 1024);
    fs::write(&file, list).unwrap();
    let (file, report) = (file.display().to_string(), report.display().to_string());

    let done = mfactl(
        &host,
        &["--json", "import", "--at-login", "--create-users", "--reason", "a move", "--report", &report, &file],
        "",
    );

    assert_eq!(done.status.code(), Some(1), "some were refused");
    let told: Value = serde_json::from_slice(&done.stdout).unwrap();
    let entries = told["entries"].as_array().unwrap();
    assert_eq!((entries.len(), &told["format"]), (15_000, &json!("otpauth")));
    for (number, entry) in (1..).zip(entries) {
        assert_eq!(entry["account"], format!("user{number}"));
        assert_eq!(entry["place"], format!("{file}, line {number}"));
        assert_eq!(entry["state"] == "imported", usize::is_multiple_of(number, 1500), "{entry}");
    }
    let written = fs::read_to_string(&report).unwrap();
    let rows: Vec<Value> = written.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(&rows, entries);
    assert!(![SEED, "GEZDGNBV"].iter().any(|secret| written.contains(secret)), "a secret is in the report");
    assert!(metric(&host, "mfad_imported_factors{state=\"unproved\"} 10"));
    // Once more, with no progress that was not made before.
    let again = mfactl(&host, &["--json", "import", "--at-login", "--reason", "a move", &file], "");
    let again: Value = serde_json::from_slice(&again.stdout).unwrap();
    let known = again["entries"].as_array().unwrap().iter().filter(|entry| entry["state"] == "known").count();
    assert_eq!(known, 10);
}
