//! Nothing that opens anything is written anywhere in the clear: a full story with planted secrets at log
//! level trace, then a search through the bytes of every file the daemon wrote (LOG-1, LOG-2, A6).

use std::ffi::OsStr;
use std::fs;

use data_encoding::BASE64;
use serde_json::json;

use crate::host::{Host, TestDirs};
use crate::needles::Needles;
use crate::people::{Person, codes_of, text};
use crate::proof::{report, size};
use crate::wire::Request;

/// Every file that the daemon wrote, but for the key that must be in its own.
pub fn files(host: &Host) -> Vec<(String, Vec<u8>)> {
    let mut files = vec![("the log".to_owned(), fs::read(&host.dirs.log).unwrap())];
    let mut folders = vec![host.dirs.dir.path().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.is_file() && path.file_name().is_none_or(|name| name != "master.key") {
                files.push((path.display().to_string(), fs::read(&path).unwrap()));
            }
        }
    }
    files
}

/// The people of a story.
fn name(number: usize) -> String {
    format!("planted-name-{number:04}")
}

/// Goes through everything that takes or gives a secret, as one person after another.
pub fn stories(host: &Host, people: usize) -> Needles {
    let mut needles = Needles::default();
    (0..people).for_each(|number| story(host, number, &mut needles));
    needles
}

fn story(host: &Host, number: usize, needles: &mut Needles) {
    // Written in JSON, the quotes have something before them.
    let (name, password) = (name(number), format!("planted \"first\" password {number:04}"));
    let made = host.ask(&Request::post("/users", &json!({"name": name, "password": password}))).ok();
    let mut person = Person {
        id: text(&made["user"]["uid"]),
        name,
        password,
        token: text(&made["token"]),
        refresh: text(&made["refresh"]),
    };
    needles.secret("a password", person.password.as_bytes());
    needles.token("an access token", &person.token);
    needles.token("a refresh token", &person.refresh);

    let replaced = host.pending(&person, &json!({"digits": 8}));
    let mut factor = host.pending(&person, &json!({"digits": 8, "kind": "hotp", "algorithm": "SHA256"}));
    needles.seed(&replaced);
    needles.seed(&factor);
    let wrong =
        (73_519_204..).map(|number: u32| number.to_string()).find(|code| !factor.near().contains(code)).unwrap();
    needles.code(&wrong);
    let enrol =
        |token: &str| Request::put(format!("{}/enroll", factor.path), &json!({"token": token})).token(&person.token);
    host.ask(&enrol(&wrong)).refused(422, "wrong-code");
    let first_code = factor.clone().next();
    needles.code(&first_code);
    let codes = codes_of(&host.ask(&enrol(&first_code)).ok());
    needles.backup_codes(&codes);
    factor.next();

    let challenge = host.challenge(&person);
    needles.token("a challenge", &challenge);
    host.answer_totp(&challenge, &wrong).refused(401, "wrong-code");
    let code = factor.next();
    needles.code(&code);
    let access = host.answer_totp(&challenge, &code).ok();
    person.token = text(&access["token"]);
    needles.token("an access token", &person.token);
    needles.token("a refresh token", &text(&access["refresh"]));
    let renewed = host.ask(&Request::get("/auth/refresh").token(&text(&access["refresh"]))).ok();
    needles.token("a refresh token", &text(&renewed["refresh"]));
    host.answer_recovery(&host.challenge(&person), &codes[0]).ok();
    host.verify(&person.id, &json!({"code": codes[1]})).ok();
    host.verify(&person.id, &json!({"code": codes[1]})).refused(401, "wrong-code");

    let code = factor.next();
    needles.code(&code);
    let stepped =
        host.ask(&Request::post("/auth/stepup", &json!({"token": code, "action": "pay"})).token(&person.token)).ok();
    needles.token("a receipt", &text(&stepped["receipt"]));
    host.ask(&Request::post("/auth/receipt", &json!({"receipt": stepped["receipt"], "action": "pay"}))).ok();
    let key = text(
        &host.ask(&Request::post(person.secrets(), &json!({"type": "apikey"})).token(&person.token)).ok()["secret"]["apikey"],
    );
    needles.token("an API key", &key);
    assert_eq!(host.token_status(&person, &key), 200);
    let mut second = host.pending_for(&person.id, &json!({"name": "second", "digits": 8, "algorithm": "SHA512"}));
    needles.seed(&second);
    host.confirm(&mut second);
    needles.code(&second.code(second.shown()));
    needles.backup_codes(&codes_of(&host.ask(&Request::new("POST", format!("{}/codes", person.path())).reason()).ok()));
    host.ask(&Request::delete(&second.path).reason()).done();
    let second = format!("planted second password {number:04}");
    let change = Request::put(format!("{}/password", person.secrets()), &json!({"secret": second}));
    host.ask(&change.reason()).ok();
    needles.secret("a password", second.as_bytes());
    mistakes(host, needles, &person, number);
}

/// Secrets in places where they do not belong, as people and programs do send them.
fn mistakes(host: &Host, needles: &mut Needles, person: &Person, number: usize) {
    let (misplaced, token) = (format!("planted misplaced password {number:04}"), &person.token);
    let misplaced = misplaced.as_str();
    needles.secret("a misplaced password", misplaced.as_bytes());
    let basic = BASE64.encode(format!("nobody:{misplaced}").as_bytes());
    needles.put("a Basic header", basic.as_bytes());
    for request in [
        Request::post("/auth/password", &json!({"id": person.name, "password": misplaced})),
        Request::post("/auth/password", &json!({"id": "nobody", "password": misplaced, "extra": misplaced})),
        Request::new("POST", "/auth/password").text(&format!("{{\"id\":\"x\",\"password\":\"{misplaced}\"")),
        Request::new("POST", "/users").text(&format!("{{\"name\":\"x\",\"{misplaced}\":1}}")),
        Request::new("POST", "/users").bytes("text/plain", misplaced.as_bytes()),
        Request::post("/auth/totp", &json!({"token": misplaced})).token(token),
        Request::get("/auth/password").header("Authorization", &format!("Basic {basic}")),
        Request::get("/users/me").header("Authorization", misplaced),
        Request::get("/users/me").header("Authorization", &format!("jwt {misplaced}")),
        Request::get("/users/me").header("Cookie", misplaced),
        Request::get(format!("/users/me?jwt={token}")),
    ] {
        assert!(host.ask(&request).status >= 400);
    }
    let mut connection = host.connect();
    connection.send(format!("{misplaced}\r\n\r\n").as_bytes()).unwrap();
    let _ = connection.answer(false);
}

#[test]
fn log_1_no_secret_is_written_in_the_clear_to_store_or_log() {
    let dirs = TestDirs::new("");
    assert!(dirs.init().success(), "{}", dirs.log_text());
    let mut host = Host::on_with(dirs, &[("MFAD_LOG", OsStr::new("trace"))]);

    let needles = stories(&host, size(1, 30));

    let while_running = files(&host);
    let backup = host.ask(&Request::new("POST", "/backup").reason());
    assert_eq!(backup.status, 200);
    host.stop();
    let backup = ("a backup".to_owned(), backup.body);
    for (file, bytes) in while_running.iter().chain(&files(&host)).chain([&backup]) {
        let hits = needles.hits(file, bytes);
        assert!(hits.is_empty(), "{hits:#?}");
    }

    // The search finds what is there: the user's name in the store, the start in the log …
    let mut control = Needles::default();
    control.put("the user's name", name(0).as_bytes());
    assert!(
        while_running.iter().any(|(file, bytes)| file.contains("mfad.db") && !control.hits(file, bytes).is_empty())
    );
    let mut ready = Needles::default();
    ready.put("the word", b"ready");
    assert!(!ready.hits("log", &while_running[0].1).is_empty());
    // … and every needle where it was put.
    needles.check();
    for file in ["mfad.db", "mfad.guard"] {
        assert!(while_running.iter().any(|(name, _)| name.ends_with(file)), "{file} is searched");
    }
    let figure =
        format!("0 of {} in {} forms in log at level trace, store, guard, backup", needles.secrets(), needles.forms());
    report("secrets in what is written", figure, "0 of 1,000", needles.secrets() >= 1_000);
}
