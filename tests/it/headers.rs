//! Header fields that every request may bring, and those that every answer has.

use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::fmt::rfc2822::DateTimeParser;
use serde_json::json;

use crate::document::check_house_rules;
use crate::host::Host;
use crate::people::{PASSWORD, text};
use crate::wire::{Answer, Connection, Request};

const BASIC: &str = "Basic realm=\"mfad\", charset=\"UTF-8\"";
const BEARER: &str = "Bearer realm=\"mfad\"";

/// Requests that are refused before they are read, each for another reason, and the status of each.
fn unread() -> [(Vec<u8>, u16); 5] {
    let live = |rest: &str| format!("GET /health/live HTTP/1.1\r\nHost: mfad\r\n{rest}\r\n").into_bytes();
    [
        (b"GET /health/live HTTP/1.0\r\n\r\n".to_vec(), 400),
        (b"GET /health/live HTTP/1.1\nHost: mfad\n\n".to_vec(), 400),
        (live("Content-Length: 16385\r\n"), 413),
        (format!("GET /{} HTTP/1.1\r\nHost: mfad\r\n\r\n", "a".repeat(2048)).into_bytes(), 414),
        (live(&"X-Field: x\r\n".repeat(64)), 431),
    ]
}

fn sent(connection: &mut Connection, bytes: &[u8]) -> Answer {
    // The daemon may refuse, and close, before it has read everything.
    let _ = connection.send(bytes);
    let answer = connection.answer(false).unwrap();
    check_house_rules(false, &answer);
    answer
}

#[test]
fn a_refusal_of_what_was_never_read_has_an_id_that_the_journal_knows() {
    let host = Host::start("");
    let mut ids = Vec::new();

    for (bytes, status) in unread() {
        let answer = sent(&mut host.connect(), &bytes);

        assert_eq!(answer.status, status);
        let id = text(&answer.json()["requestId"]);
        assert_eq!(answer.header("request-id"), Some(id.as_str()));
        // Of many in a second a long run, which logs less, has only the first ones.
        assert!(crate::proof::is_long() || host.dirs.log_text().contains(&id), "{id}");
        ids.push(id);
    }

    let all = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), all, "each has an id of its own");
}

#[test]
fn a_refusal_for_want_of_a_place_has_an_id_that_the_journal_knows() {
    let host = Host::start("[limits]\nconnectionsPerPeer = 2\n");
    let mut held = Vec::new();

    let refused = loop {
        let mut connection = Connection::new(UnixStream::connect(host.socket()).unwrap(), None);
        let answer = connection.try_ask(&Request::get("/health/live")).unwrap();
        if answer.status == 503 {
            break answer;
        }
        held.push(connection);
    };

    check_house_rules(false, &refused);
    let id = text(&refused.refused(503, "busy")["requestId"]);
    assert_eq!(refused.header("request-id"), Some(id.as_str()));
    assert!(crate::proof::is_long() || host.dirs.log_text().contains(&id), "{id}");
}

#[test]
fn every_answer_has_one_date_and_it_is_now() {
    let host = Host::start("");
    let begin = SystemTime::now();
    let mut connection = host.connect();
    let mut answers: Vec<Answer> =
        ["/health/live", "/nowhere", "/auth/password"].map(|path| connection.ask(&Request::get(path))).into();
    answers.extend(unread().iter().map(|(bytes, _)| sent(&mut host.connect(), bytes)));

    for answer in answers {
        let dates: Vec<&String> =
            answer.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("date")).map(|(_, date)| date).collect();
        assert_eq!(dates.len(), 1, "{answer:?}");
        let date = DateTimeParser::new().parse_timestamp(dates[0]).unwrap();
        let date = UNIX_EPOCH + Duration::from_secs(u64::try_from(date.as_second()).unwrap());
        assert!(date + Duration::from_secs(1) > begin && date <= SystemTime::now(), "{answer:?}");
    }
}

#[test]
fn a_request_names_one_host_and_its_target_the_same_one() {
    let host = Host::start("");
    let mut connection = host.connect();
    let mut status = |target: &str, fields: &str| {
        let answer = sent(&mut connection, format!("GET {target} HTTP/1.1\r\n{fields}\r\n").as_bytes());
        if answer.status == 400 {
            answer.refused(400, "malformed");
        }
        answer.status
    };

    for (target, fields) in [
        ("/health/live", ""),
        ("/health/live", "Host: mfad\r\nHost: mfad\r\n"),
        ("/health/live", "Host: mfad\r\nhost: other\r\n"),
        ("/health/live", "Host: anna@mfad\r\n"),
        ("/health/live", "Host: mfad/health\r\n"),
        ("/health/live", "Host: mfad, other\r\n"),
        ("/nowhere", ""),
        ("http://other/health/live", "Host: mfad\r\n"),
        ("http://mfad/health/live", ""),
        ("http://mfad/health/live", "Host:\r\n"),
        ("http://mfad:80/health/live", "Host: mfad\r\n"),
        ("http://anna@mfad/health/live", "Host: mfad\r\n"),
        ("https://mfad/health/live", "Host: mfad\r\n"),
        ("ftp://mfad/health/live", "Host: mfad\r\n"),
    ] {
        assert_eq!(status(target, fields), 400, "{target} {fields:?}");
    }
    for (target, fields) in [
        ("/health/live", "Host: mfad\r\n"),
        ("/health/live", "Host: mfa.example.org:8443\r\n"),
        ("/health/live", "Host: [::1]:80\r\n"),
        ("/health/live", "Host:\r\n"),
        ("http://mfad/health/live", "Host: mfad\r\n"),
        ("http://MFAD/v1/health/live", "Host: mfad\r\n"),
    ] {
        assert_eq!(status(target, fields), 200, "{target} {fields:?}");
    }
}

#[test]
fn a_401_names_the_scheme_that_its_resource_takes_and_what_is_missing() {
    let host = Host::start("");
    let person = host.person("anna");
    let login = |password: &str| Request::post("/auth/password", &json!({"id": "anna", "password": password}));
    let basic = |words: &str| format!("Basic {}", data_encoding::BASE64.encode(words.as_bytes()));
    let get = || Request::get("/auth/password");

    for (request, code, detail) in [
        (get(), "unauthenticated", "no credentials were given"),
        (get().header("Authorization", "Basic ?"), "unauthenticated", "cannot be read"),
        (get().token(&person.token), "unauthenticated", "login and password"),
        (get().header("Authorization", &basic("anna:wrong password")), "wrong-credentials", ""),
        (Request::get("/v1/auth/password"), "unauthenticated", "no credentials were given"),
        (login("wrong password"), "wrong-credentials", ""),
    ] {
        let answer = host.ask(&request);

        assert_eq!(answer.header("www-authenticate"), Some(BASIC), "{answer:?}");
        let said = text(&answer.refused(401, code)["detail"]);
        assert!(said.contains(detail), "{said}");
    }
    let change = json!({"secret": "another password", "current": "wrong password"});
    for (request, code, detail) in [
        (Request::get(person.path()).token("no.such.token"), "unauthenticated", "a valid token is needed"),
        (Request::get(person.path()).header("Authorization", &basic("anna:x")), "unauthenticated", "this scheme"),
        (Request::get("/auth/refresh"), "unauthenticated", "no credentials were given"),
        (Request::post("/auth/totp", &json!({"token": "123456"})), "unauthenticated", "no credentials were given"),
        (Request::put(format!("{}/password", person.secrets()), &change).token(&person.token), "wrong-credentials", ""),
    ] {
        let answer = host.ask(&request);

        assert_eq!(answer.header("www-authenticate"), Some(BEARER), "{answer:?}");
        let said = text(&answer.refused(401, code)["detail"]);
        assert!(said.contains(detail), "{said}");
    }
}

#[test]
fn a_client_that_goes_by_the_challenge_sends_the_password() {
    let host = Host::start("");
    host.person("anna");

    for scheme in ["--anyauth", "--basic"] {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--fail-with-body", scheme, "-u", &format!("anna:{PASSWORD}"), "--unix-socket"]);
        let output = curl.arg(host.socket()).arg("http://localhost/auth/password").output().expect("curl is there");

        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{scheme}: {said}{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn a_location_keeps_the_version_that_the_request_named() {
    let host = Host::start("");
    let person = host.person("boris");

    for prefix in ["", "/v1"] {
        let at = |path: &str| format!("{prefix}{path}");
        let name = format!("anna{}", prefix.replace('/', ""));
        let made = host.ask(&Request::post(at("/users"), &json!({"name": name})));
        assert_eq!(made.header("location"), Some(at(&format!("/users/{}", text(&made.ok()["user"]["uid"]))).as_str()));

        for kind in ["apikey", "mfa"] {
            let order = json!({"type": kind, "name": format!("{kind} {name}")});
            let request = Request::post(at(&person.secrets()), &order).token(&person.token);
            let request = request.header("Idempotency-Key", &format!("{kind}{prefix}"));
            for answer in [host.ask(&request), host.ask(&request)] {
                let location = answer.header("location").expect("Location").to_owned();

                assert_eq!(location, at(&format!("{}/{}", person.secrets(), text(&answer.ok()["uid"]))));
                host.ask(&Request::get(location).token(&person.token)).ok();
            }
        }
    }
}

#[test]
fn a_reason_is_printable_ascii_and_comes_once() {
    let host = Host::start("");
    let (person, ..) = host.guarded("anna");
    let codes = || Request::new("POST", format!("{}/codes", person.path()));

    for odd in ["Übergabe", "lost\u{a0}phone", "lost phone 😀", "lost\tphone", "", &"x".repeat(257)] {
        let refused = host.ask(&codes().header("Mfad-Reason", odd)).refused(400, "malformed");
        assert!(text(&refused["detail"]).contains("`Mfad-Reason`"), "{odd:?}: {refused}");
    }
    for twice in [["a", "b"], ["a", "a"], ["a", "é"]] {
        let request = codes().header("Mfad-Reason", twice[0]).header("mfad-reason", twice[1]);
        let refused = host.ask(&request).refused(400, "malformed");
        assert!(text(&refused["detail"]).contains("duplicated"), "{twice:?}: {refused}");
    }
    for good in ["a", "lost phone (ticket 7)", "~ \"quoted\" !"] {
        host.ask(&codes().header("Mfad-Reason", good)).ok();
    }
}

#[test]
fn a_proxy_that_speaks_http_1_0_is_told_what_to_set() {
    let host = Host::start("");

    for request in [
        "GET /v1/health/live HTTP/1.0\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        "POST /v1/auth/password HTTP/1.0\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}",
        "GET /ui/ HTTP/1.0\r\n\r\n",
    ] {
        let refused = sent(&mut host.connect(), request.as_bytes()).refused(400, "malformed");

        let detail = text(&refused["detail"]);
        for needed in ["HTTP/1.1", "proxy_http_version 1.1;", "proxy_set_header Connection \"\";"] {
            assert!(detail.contains(needed), "{detail}");
        }
    }
}
