//! The client for programs in Rust, against the real daemon.

use std::time::Duration;

use mfad_api::ErrorCode;
use mfad_client::{Authority, Client, Credentials, Error, LoginStep, Method, Request, SecretString};
use serde_json::json;

use crate::host::Host;
use crate::people::PASSWORD;

fn secret(text: &str) -> SecretString {
    SecretString::new(text.to_owned())
}

fn refused(error: &Error) -> Option<ErrorCode> {
    if let Error::Refused(refusal) = error { refusal.code() } else { None }
}

#[test]
fn aut_1_the_client_logs_in_with_two_steps_and_ends_the_session() {
    let host = Host::start("");
    let (_, mut factor, _) = host.guarded("emmy");
    let mut client = Client::new(host.socket());
    let (right, wrong) = (secret(PASSWORD), secret("another password"));

    let error = client.log_in(&Credentials { id: "emmy", password: &wrong }).err().unwrap();
    assert_eq!(refused(&error), Some(ErrorCode::WrongCredentials));
    let LoginStep::SecondFactor(challenge) = client.log_in(&Credentials { id: "emmy", password: &right }).unwrap()
    else {
        panic!("the password alone let in");
    };
    let error = client.answer_with_code(&challenge, &secret(&factor.wrong())).err().unwrap();
    assert_eq!(refused(&error), Some(ErrorCode::WrongCode));
    let token = client.answer_with_code(&challenge, &secret(&factor.next())).unwrap();
    client.log_out(token).unwrap();
}

#[test]
fn otp_3_the_client_checks_a_code_once() {
    let host = Host::start("");
    let (person, mut factor, _) = host.guarded("emmy");
    let mut client = Client::new(host.socket());
    let code = secret(&factor.next());

    assert!(client.verify(&person.id, &code).unwrap().ok);
    assert_eq!(refused(&client.verify(&person.id, &code).err().unwrap()), Some(ErrorCode::WrongCode));
    assert!(matches!(client.verify("emmy/../x", &code), Err(Error::Usage(_))));
}

#[test]
fn a_client_without_a_daemon_says_where_it_looked() {
    let error = Client::new("/nowhere/mfad.sock").log_in(&Credentials { id: "a", password: &secret("b") });

    assert!(error.err().unwrap().to_string().contains("/nowhere/mfad.sock"));
}

#[test]
fn http_9_a_kept_connection_that_the_daemon_closed_is_replaced() {
    let mut host = Host::start("");
    let mut client = Client::new(host.socket());
    let live = Request::new(Method::Get, "/v1/health/live");
    assert_eq!(client.send(&live).unwrap().status, 200);

    host.restart();

    assert_eq!(client.send(&live).unwrap().status, 200);
}

#[test]
fn http_1_an_answer_that_does_not_come_in_time_is_an_error_that_says_so() {
    let (_dir, path, _listener) = silent_socket();

    let sent = Client::new(path).with_time(Duration::from_millis(50)).send(&Request::new(Method::Get, "/v1/version"));

    assert!(matches!(sent.err(), Some(Error::TimedOut)));
}

/// A socket on which nobody answers.
fn silent_socket() -> (tempfile::TempDir, std::path::PathBuf, std::os::unix::net::UnixListener) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("silent.sock");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    (dir, path, listener)
}

#[test]
fn a_stream_gives_its_events_and_can_be_stopped() {
    let host = Host::start("");
    let client = Client::new(host.socket());
    host.person("emmy");

    let mut stream = client.open(&Request::new(Method::Get, "/v1/audit/events?after=0")).unwrap();
    let mut text = String::new();
    while !text.contains("user.create") {
        text.push_str(std::str::from_utf8(&stream.next_piece().unwrap().unwrap()).unwrap());
    }
    drop(stream.stopper().unwrap());

    // What came before the end may still be read; then there is no more.
    while let Ok(Some(_)) = stream.next_piece() {}
    let reason = Authority::Reason("a\nb".to_owned());
    assert!(matches!(client.open(&Request::new(Method::Get, "/v1/audit").by(&reason)), Err(Error::Usage(_))));
}

#[test]
fn a_body_is_sent_as_json_and_a_refusal_keeps_its_document() {
    let host = Host::start("");
    let mut client = Client::new(host.socket());

    let request = Request::new(Method::Post, "/v1/users").with(&json!({"name": "emmy", "later": true})).unwrap();
    let answer = client.send(&request).unwrap();

    assert_eq!(answer.status, 400);
    let Err(Error::Refused(refusal)) = answer.granted() else { panic!("it was not refused") };
    assert_eq!(refusal.code(), Some(ErrorCode::Malformed));
    assert!(refusal.document.contains("urn:mfad:error:malformed"));
}
