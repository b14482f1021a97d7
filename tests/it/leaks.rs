//! Nothing that opens anything is written anywhere in the clear: a full story with planted secrets at log
//! level trace, then a search through the bytes of every file the daemon wrote (LOG-1, LOG-2, A6).

use std::collections::HashMap;
use std::fs;

use data_encoding::{BASE32_NOPAD, BASE64, BASE64_NOPAD, BASE64URL_NOPAD, HEXLOWER, HEXUPPER};
use serde_json::json;

use crate::host::Host;
use crate::people::{Factor, codes_of, text};
use crate::wire::Request;

/// What is looked for, and what to call it when it is found.
pub struct Needle {
    what: String,
    bytes: Vec<u8>,
    /// A run of digits: what stands in a longer run is another number.
    digits: bool,
}

#[derive(Default)]
pub struct Needles(Vec<Needle>);

impl Needles {
    fn put(&mut self, what: &str, bytes: &[u8]) {
        let digits = bytes.iter().all(u8::is_ascii_digit);
        self.0.push(Needle { what: what.to_owned(), bytes: bytes.to_vec(), digits });
    }

    /// A secret as it may be written: as it is, and in the usual encodings. The last characters of a Base64
    /// text depend on what follows, so they are left off.
    pub fn secret(&mut self, what: &str, bytes: &[u8]) {
        let without_end = |encoded: String| {
            encoded.trim_end_matches('=').as_bytes()[..encoded.trim_end_matches('=').len() - 2].to_vec()
        };
        self.put(what, bytes);
        self.put(&format!("{what} in hexadecimal"), HEXLOWER.encode(bytes).as_bytes());
        self.put(&format!("{what} in upper hexadecimal"), HEXUPPER.encode(bytes).as_bytes());
        self.put(&format!("{what} in Base64"), &without_end(BASE64.encode(bytes)));
        self.put(&format!("{what} in Base64url"), &without_end(BASE64URL_NOPAD.encode(bytes)));
        self.put(&format!("{what} in Base32"), BASE32_NOPAD.encode(bytes).as_bytes());
        self.put(&format!("{what} in lower Base32"), BASE32_NOPAD.encode(bytes).to_lowercase().as_bytes());
    }

    fn seed(&mut self, factor: &Factor) {
        self.secret("a seed", &factor.seed);
        let list: Vec<String> = factor.seed.iter().map(u8::to_string).collect();
        self.put("a seed as a list", list.join(", ").as_bytes());
    }

    fn code(&mut self, code: &str) {
        self.put("a one-time password", code.as_bytes());
    }

    fn backup_codes(&mut self, codes: &[String]) {
        for code in codes {
            let plain = code.replace('-', "");
            for written in [code.clone(), plain.clone(), code.to_lowercase(), plain.to_lowercase()] {
                self.put("a backup code", written.as_bytes());
            }
        }
    }

    /// The part of a token that nobody can make.
    fn token(&mut self, what: &str, token: &str) {
        let signature = token.rsplit('.').next().unwrap();
        self.put(what, signature.as_bytes());
        if let Ok(bytes) = BASE64URL_NOPAD.decode(signature.trim_start_matches("mfad_").as_bytes()) {
            self.put(&format!("{what}, decoded"), &bytes);
            self.put(&format!("{what} in hexadecimal"), HEXLOWER.encode(&bytes).as_bytes());
            self.put(&format!("{what} in Base64"), BASE64_NOPAD.encode(&bytes).as_bytes());
        }
    }

    /// One pass over the haystack, whatever the number of needles.
    pub fn hits(&self, file: &str, haystack: &[u8]) -> Vec<String> {
        let mut by_start: HashMap<[u8; 2], Vec<&Needle>> = HashMap::new();
        for needle in &self.0 {
            by_start.entry([needle.bytes[0], needle.bytes[1]]).or_default().push(needle);
        }
        let starts = haystack.windows(2).enumerate().filter_map(|(at, pair)| Some((at, by_start.get(pair)?)));
        let found = starts.flat_map(|(at, needles)| needles.iter().filter(move |needle| needle.is_at(haystack, at)));
        found.map(|needle| format!("{} in {file}", needle.what)).collect()
    }
}

impl Needle {
    fn is_at(&self, haystack: &[u8], at: usize) -> bool {
        let digit_at = |at: Option<usize>| at.and_then(|at| haystack.get(at)).is_some_and(u8::is_ascii_digit);
        let part_of_longer = self.digits && (digit_at(at.checked_sub(1)) || digit_at(at.checked_add(self.bytes.len())));
        haystack[at..].starts_with(&self.bytes) && !part_of_longer
    }
}

/// Every file that the daemon wrote, but for the key that must be in its own.
pub fn files(host: &Host) -> Vec<(String, Vec<u8>)> {
    let mut files = vec![("the log".to_owned(), fs::read(&host.premises.log).unwrap())];
    for entry in fs::read_dir(&host.premises.state).unwrap().chain(fs::read_dir(host.premises.dir.path()).unwrap()) {
        let path = entry.unwrap().path();
        if path.is_file() && path.file_name().is_none_or(|name| name != "master.key") {
            files.push((path.display().to_string(), fs::read(&path).unwrap()));
        }
    }
    files
}

/// Goes through everything that takes or gives a secret.
fn story(host: &Host) -> Needles {
    let mut needles = Needles::default();
    let made = json!({"name": "planted-name-4711", "password": "planted first password"});
    let made = host.ask(&Request::post("/users", &made)).ok();
    let mut person = crate::people::Person {
        id: text(&made["user"]["uid"]),
        name: "planted-name-4711".to_owned(),
        password: "planted first password".to_owned(),
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
    let change = Request::put(format!("{}/password", person.secrets()), &json!({"secret": "planted second password"}));
    host.ask(&change.reason()).ok();
    needles.secret("a password", b"planted second password");
    mistakes(host, &mut needles, &person.token);
    needles
}

/// Secrets in places where they do not belong, as people and programs do send them.
fn mistakes(host: &Host, needles: &mut Needles, token: &str) {
    let misplaced = "planted misplaced password";
    needles.secret("a misplaced password", misplaced.as_bytes());
    let basic = BASE64.encode(format!("nobody:{misplaced}").as_bytes());
    needles.put("a Basic header", basic.as_bytes());
    for request in [
        Request::post("/auth/password", &json!({"id": "planted-name-4711", "password": misplaced})),
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
    let mut host = Host::start("");

    let needles = story(&host);

    let while_running = files(&host);
    host.stop();
    for (file, bytes) in while_running.iter().chain(&files(&host)) {
        let hits = needles.hits(file, bytes);
        assert!(hits.is_empty(), "{hits:#?}");
    }

    // The search finds what is there: the user's name in the store, the start in the log …
    let mut control = Needles::default();
    control.put("the user's name", b"planted-name-4711");
    assert!(
        while_running.iter().any(|(file, bytes)| file.contains("mfad.db") && !control.hits(file, bytes).is_empty())
    );
    let mut ready = Needles::default();
    ready.put("the word", b"ready");
    assert!(!ready.hits("log", &while_running[0].1).is_empty());
    // … and every needle where it was put.
    for needle in &needles.0 {
        let found = |before: &[u8], after: &[u8]| needles.hits("the control", &[before, &needle.bytes, after].concat());
        assert!(
            found(b"\x00\xffbefore\n", b"\nafter\x00").iter().any(|hit| hit.starts_with(&needle.what)),
            "{}",
            needle.what
        );
        assert!(!needle.digits || found(b"1", b"2").is_empty(), "a part of a longer number is another number");
    }
}
