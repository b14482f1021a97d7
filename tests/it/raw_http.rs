//! Requests that are none, byte by byte (HTTP-4, HTTP-8), and odd but good ones.

use std::time::Duration;

use crate::document::check_house_rules;
use crate::host::Host;
use crate::wire::Request;

/// A good request that must not be answered when it hides behind a bad one.
const HIDDEN: &[u8] = b"GET /version HTTP/1.1\r\nHost: mfad\r\n\r\n";

fn get(rest: &str) -> Vec<u8> {
    format!("GET /health/live HTTP/1.1\r\nHost: mfad\r\n{rest}").into_bytes()
}

fn post(rest: &str) -> Vec<u8> {
    format!("POST /users HTTP/1.1\r\nHost: mfad\r\nContent-Type: application/json\r\n{rest}").into_bytes()
}

fn chunked(rest: &str) -> Vec<u8> {
    post(&format!("Transfer-Encoding: chunked\r\n\r\n{rest}"))
}

fn cases() -> Vec<(&'static str, Vec<u8>)> {
    let body = "{\"name\":\"a\"}";
    let sized = |length: &str| post(&format!("Content-Length: {length}\r\n\r\n{body}"));
    vec![
        (
            "length and chunked",
            post(&format!("Content-Length: 12\r\nTransfer-Encoding: chunked\r\n\r\nc\r\n{body}\r\n0\r\n\r\n")),
        ),
        (
            "chunked and length",
            post(&format!("Transfer-Encoding: chunked\r\nContent-Length: 12\r\n\r\nc\r\n{body}\r\n0\r\n\r\n")),
        ),
        ("two lengths that differ", post(&format!("Content-Length: 12\r\nContent-Length: 2\r\n\r\n{body}"))),
        ("two lengths in one field", sized("12, 2")),
        ("length with plus", sized("+12")),
        ("length with minus", sized("-12")),
        ("length in hexadecimal", sized("0xc")),
        ("length with space inside", sized("1 2")),
        ("length with fraction", sized("12.0")),
        ("length of nothing", sized("")),
        ("length in letters", sized("twelve")),
        ("length beyond 64 bits", sized("18446744073709551628")),
        ("unknown coding", post(&format!("Transfer-Encoding: gzip\r\n\r\n{body}"))),
        ("chunked not last", post(&format!("Transfer-Encoding: chunked, gzip\r\n\r\nc\r\n{body}\r\n0\r\n\r\n"))),
        ("misspelt coding", post(&format!("Transfer-Encoding: xchunked\r\n\r\nc\r\n{body}\r\n0\r\n\r\n"))),
        ("chunk size in letters", chunked(&format!("zz\r\n{body}\r\n0\r\n\r\n"))),
        ("chunk size with minus", chunked(&format!("-c\r\n{body}\r\n0\r\n\r\n"))),
        ("chunk size with plus", chunked(&format!("+c\r\n{body}\r\n0\r\n\r\n"))),
        ("chunk size with prefix", chunked(&format!("0xc\r\n{body}\r\n0\r\n\r\n"))),
        ("chunk size of nothing", chunked(&format!("\r\n{body}\r\n0\r\n\r\n"))),
        ("chunk size beyond 64 bits", chunked(&format!("10000000000000000c\r\n{body}\r\n0\r\n\r\n"))),
        ("chunk longer than its size", chunked(&format!("5\r\n{body}\r\n0\r\n\r\n"))),
        ("bare LF everywhere", b"GET /health/live HTTP/1.1\nHost: mfad\n\n".to_vec()),
        ("bare LF after the request line", b"GET /health/live HTTP/1.1\nHost: mfad\r\n\r\n".to_vec()),
        ("bare LF between fields", get("X-One: 1\nX-Two: 2\r\n\r\n")),
        ("bare LF at the end", get("\n")),
        ("bare CR in a value", get("X-One: 1\rX-Two: 2\r\n\r\n")),
        ("folded field", get("X-One: 1\r\n 2\r\n\r\n")),
        ("folded with a tab", get("X-One: 1\r\n\t2\r\n\r\n")),
        ("space before the first field", b"GET /health/live HTTP/1.1\r\n Host: mfad\r\n\r\n".to_vec()),
        ("NUL in a value", get("X-One: 1\u{0}2\r\n\r\n")),
        ("NUL in a name", get("X-\u{0}One: 1\r\n\r\n")),
        ("NUL in the target", b"GET /health\0/live HTTP/1.1\r\nHost: mfad\r\n\r\n".to_vec()),
        ("space before the colon", get("X-One : 1\r\n\r\n")),
        ("no colon", get("X-One\r\n\r\n")),
        ("no name", get(": 1\r\n\r\n")),
        ("name with odd characters", get("X(One): 1\r\n\r\n")),
        ("two spaces in the request line", b"GET  /health/live HTTP/1.1\r\nHost: mfad\r\n\r\n".to_vec()),
        ("no version", b"GET /health/live\r\nHost: mfad\r\n\r\n".to_vec()),
        ("version of nothing", b"GET /health/live HTTP/\r\nHost: mfad\r\n\r\n".to_vec()),
        ("version 9", b"GET /health/live HTTP/9.9\r\nHost: mfad\r\n\r\n".to_vec()),
        ("not a method", b"G@T /health/live HTTP/1.1\r\nHost: mfad\r\n\r\n".to_vec()),
        ("HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec()),
        ("TLS greeting", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 random bytes of no meaning\r\n\r\n".to_vec()),
        ("a JSON document", b"{\"type\": \"mfa\"}\r\n\r\n".to_vec()),
        ("eight-bit noise", [b"\xff\xfe\xfd\x80\x81".as_slice(), b"\r\n\r\n"].concat()),
    ]
}

#[test]
fn http_4_a_request_that_is_none_gets_a_400_and_the_connection_ends() {
    let host = Host::start("");

    for (what, bytes) in cases() {
        let mut connection = host.connect();
        connection.send(&[bytes.as_slice(), HIDDEN].concat()).unwrap();

        let answer = connection.answer(false).unwrap_or_else(|why| panic!("{what}: {why}"));

        let too_large = answer.status == 413 && what.contains("beyond 64 bits");
        assert!(answer.status == 400 || too_large, "{what}: {} {}", answer.status, answer.text());
        check_house_rules(false, &answer);
        let rest = connection.rest(Duration::from_secs(5)).unwrap_or_else(|| panic!("{what}: still open"));
        assert!(rest.is_empty(), "{what}: {}", String::from_utf8_lossy(&rest));
        host.ask(&Request::get("/health/live")).ok();
    }
    assert_eq!(host.ask(&Request::get("/users")).ok()["users"], serde_json::json!([]), "none of them made a user");
}

#[test]
fn requests_in_one_write_are_answered_in_order() {
    let host = Host::start("");
    let mut connection = host.connect();
    let requests = [Request::get("/health/live"), Request::get("/nowhere"), Request::get("/version")];

    let all: Vec<u8> = requests.iter().flat_map(Request::encode).collect();
    connection.send(&all).unwrap();

    for (request, status) in requests.iter().zip([200, 404, 200]) {
        let answer = connection.answer(false).unwrap();
        connection.check(request, &answer);
        assert_eq!(answer.status, status);
    }
}

#[test]
fn a_request_may_come_byte_by_byte_and_in_chunks() {
    let host = Host::start("");
    let mut connection = host.connect();

    for byte in Request::get("/version").encode() {
        connection.send(&[byte]).unwrap();
    }
    assert_eq!(connection.answer(false).unwrap().status, 200);
    for byte in chunked("5\r\n{\"nam\r\n7;ext=1\r\ne\":\"a\"}\r\n0\r\n\r\n") {
        connection.send(&[byte]).unwrap();
    }
    assert_eq!(connection.answer(false).unwrap().ok()["user"]["name"], "a");
}

#[test]
fn a_client_that_leaves_in_the_middle_harms_nobody() {
    let host = Host::start("");

    for length in [1, 20, 60, 120, 150] {
        let request = Request::post("/users", &serde_json::json!({"name": format!("user {length}")})).encode();
        host.connect().send(&request[..length.min(request.len() - 1)]).unwrap();
    }
    for _ in 0..50 {
        // The answer is never read; what was asked is done all the same (STO-7) or not at all.
        host.connect().send(&Request::get("/users").encode()).unwrap();
    }

    host.ask(&Request::get("/health/ready")).ok();
    assert_eq!(host.ask(&Request::get("/users")).ok()["users"], serde_json::json!([]));
}

#[test]
fn a_connection_serves_many_requests_good_and_bad() {
    let host = Host::start("");
    let mut connection = host.connect();

    for at in 0..50 {
        assert_eq!(connection.ask(&Request::get("/health/live")).status, 200);
        assert_eq!(connection.ask(&Request::post("/users", &serde_json::json!({"name": at}))).status, 400);
    }
}

#[test]
fn http_2_what_is_too_large_is_refused_after_whatever_was_answered_on_the_connection() {
    let host = Host::start("");
    let too_large = Request::post("/users", &serde_json::json!({"name": "x".repeat(25_000)}));
    let stream = Request::new("POST", "/backup").reason();

    for (before, status) in [(Request::get("/health/live"), 200), (Request::get("/nowhere"), 404), (stream, 200)] {
        let mut connection = host.connect();
        assert_eq!(connection.ask(&before).status, status);

        assert_eq!(connection.ask(&too_large).status, 413, "after {} {}", before.method, before.target);
    }
}
