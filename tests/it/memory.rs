//! What a daemon that has been idle for five seconds still holds of what it was told and told others:
//! nothing (MEM-3).

use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use data_encoding::HEXLOWER;
use serde_json::json;

use crate::host::Host;
use crate::identity::can_be_others;
use crate::people::text;
use crate::wire::Request;

const HERE: &str = "mem_3_five_seconds_after_the_last_request_no_secret_is_left_in_memory";

/// Which of the named texts lie in the writable memory of the daemon.
pub fn found(host: &Host, needles: &BTreeMap<String, String>) -> Vec<String> {
    let bytes = needles.iter().map(|(name, text)| (name.clone(), text.as_bytes().to_vec())).collect();
    found_bytes(host, &bytes)
}

/// The same for bytes that are no text.
pub fn found_bytes(host: &Host, needles: &BTreeMap<String, Vec<u8>>) -> Vec<String> {
    let needles: BTreeMap<&String, String> =
        needles.iter().map(|(name, bytes)| (name, HEXLOWER.encode(bytes))).collect();
    let script = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/proof/memory.py");
    let mut search = Command::new("python3")
        .arg(script)
        .arg(host.pid().to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    search.stdin.take().unwrap().write_all(json!(needles).to_string().as_bytes()).unwrap();
    let output = search.wait_with_output().unwrap();
    assert!(output.status.success());
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn mem_3_five_seconds_after_the_last_request_no_secret_is_left_in_memory() {
    if !can_be_others(HERE) {
        return;
    }
    let host = Host::start("");
    let mut needles = BTreeMap::new();
    for number in 0..10 {
        let mut put = |what: &str, value: &str| needles.insert(format!("{what} of {number}"), value.to_owned());
        let name = format!("person {number}");
        let password = format!("pass \"word\" {}", HEXLOWER.encode(&[number; 12]));
        put("password", &password);
        put("wrong password", &format!("not {number} {password}"));
        let made = host.ask(&Request::post("/users", &json!({"name": name, "password": password}))).ok();
        let signature = |token: &str| token.rsplit('.').next().unwrap().to_owned();
        let token = text(&made["token"]);
        put("first token", &signature(&token));
        put("refresh token", &text(&made["refresh"]));
        let order = Request::post("/users/me/secrets?qr=svg", &json!({"type": "mfa", "kind": "hotp"}));
        let secret = host.ask(&order.token(&token)).ok();
        let mut factor = crate::people::Factor::of(&secret);
        put("seed", &factor.base32);
        put("seed in hexadecimal", &HEXLOWER.encode(&factor.seed));
        let enrol = Request::put(format!("{}/enroll", factor.path), &json!({"token": factor.next()}));
        let codes = crate::people::codes_of(&host.ask(&enrol.token(&token).header("Idempotency-Key", "k")).ok());
        for (place, code) in codes.iter().enumerate() {
            put(&format!("code {place}"), code);
            put(&format!("plain code {place}"), &code.replace('-', ""));
        }
        let log_in =
            |password: &str| host.ask(&Request::post("/auth/password", &json!({"id": name, "password": password})));
        log_in(&format!("not {number} {password}")).refused(401, "wrong-credentials");
        let challenge = text(&log_in(&password).ok()["token"]);
        put("challenge", &signature(&challenge));
        let access = text(&host.answer_totp(&challenge, &factor.next()).ok()["token"]);
        put("access token", &signature(&access));
        let key = Request::post("/users/me/secrets", &json!({"type": "apikey"})).token(&access);
        put("api key", &text(&host.ask(&key).ok()["secret"]["apikey"]));
        let challenge = text(&log_in(&password).ok()["token"]);
        host.answer_recovery(&challenge, &codes[0]).ok();
    }
    // The control: what a connection that is still open was told is found.
    let mut open = host.connect();
    let planted = json!({"id": "nobody", "password": "planted and to be found"});
    open.ask(&Request::post("/auth/password", &planted)).refused(401, "wrong-credentials");
    let planted = BTreeMap::from([("planted".to_owned(), "planted and to be found".to_owned())]);
    assert_eq!(found(&host, &planted), ["planted"], "the search finds what is there");
    needles.extend(planted);

    thread::sleep(Duration::from_secs(5));

    assert_eq!(found(&host, &needles), Vec::<String>::new());
}
