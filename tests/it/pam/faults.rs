//! A daemon that is gone, hangs, is slow, answers garbage or may not be asked: a refusal, and in time.

use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::thread;
use std::time::Duration;

use super::machine::{Machine, text};
use super::rig::{AUTHINFO_UNAVAIL, Stack};
use crate::host::Host;
use crate::identity::can_be_others;

#[test]
fn a_daemon_that_is_gone_is_a_refusal_that_says_so() {
    let mut host = Host::start("");
    let (_, mut factor, _) = host.account("emmy");
    let code = format!("{}\n", factor.next());
    let stack = Stack::alone(host.socket(), "nofactor=ok");
    host.kill();

    for user in ["emmy", "games"] {
        stack.authenticate(user, &code).refused(AUTHINFO_UNAVAIL).says("The second factor is out of service");
    }
    let account = Stack::alone(host.socket(), "enforce").run(&[], "svc", "emmy", &["acct_mgmt"], b"");
    account.refused(AUTHINFO_UNAVAIL);
    for operation in ["setcred", "open_session", "close_session"] {
        stack.run(&[], "svc", "emmy", &[operation], b"").let_in();
    }
    Stack::alone("/nowhere/mfad.sock".as_ref(), "").authenticate("emmy", &code).refused(AUTHINFO_UNAVAIL);
}

/// A daemon that answers each connection with these bytes, or says nothing.
fn pretender(answer: Option<&'static [u8]>) -> (tempfile::TempDir, std::path::PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let listener = UnixListener::bind(&path).unwrap();
    thread::spawn(move || {
        let mut kept = Vec::new();
        for mut stream in listener.incoming().flatten() {
            if let Some(answer) = answer {
                let _ = stream.read(&mut [0; 4096]);
                let _ = stream.write_all(answer);
            } else {
                kept.push(stream);
            }
        }
    });
    (dir, path)
}

#[test]
fn a_daemon_that_hangs_or_answers_garbage_is_a_refusal() {
    for answer in [
        None,
        Some(b"".as_slice()),
        Some(b"\x00\xff garbage"),
        Some(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nnull"),
        Some(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"),
        Some(b"HTTP/1.1 200 OK\r\ncontent-length: 9999999999\r\n\r\n{"),
        Some(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"state\":\"none\""),
        Some(b"HTTP/1.1 500 Oops\r\ncontent-length: 0\r\n\r\n"),
        Some(b"HTTP/1.1 204 No Content\r\n\r\n"),
    ] {
        let (_dir, path) = pretender(answer);
        let stack = Stack::alone(&path, "timeout=1 nofactor=ok");

        stack.authenticate("emmy", "123456\n").refused(AUTHINFO_UNAVAIL);
    }
}

#[test]
fn a_socket_that_others_could_replace_is_not_asked() {
    let (dir, path) =
        pretender(Some(b"HTTP/1.1 200 OK\r\ncontent-length: 30\r\n\r\n{\"state\":\"none\",\"methods\":[]}\n"));
    let stack = Stack::alone(&path, "nofactor=ok");
    stack.authenticate("games", "").let_in();

    let open = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    std::fs::set_permissions(dir.path(), open).unwrap();
    stack.authenticate("games", "").refused(AUTHINFO_UNAVAIL);
}

/// A daemon that knows an active user, and answers everything else with this status and error code, after a pause.
pub fn knowing(status: &str, code: &str, pause: Duration) -> (tempfile::TempDir, std::path::PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let listener = UnixListener::bind(&path).unwrap();
    let http = |status: &str, body: &str| {
        format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
    };
    let known = http("200 OK", r#"{"state":"active","userId":"u","methods":["totp"]}"#);
    let number = &status[..3];
    let refusal = http(status, &format!(r#"{{"type":"t","title":"Title","status":{number},"code":"{code}"}}"#));
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut request = [0; 4096];
            let read = stream.read(&mut request).unwrap_or(0);
            thread::sleep(pause);
            let is_preflight = request[..read].starts_with(b"GET /v1/preflight");
            let _ = stream.write_all(if is_preflight { known.as_bytes() } else { refusal.as_bytes() });
        }
    });
    (dir, path)
}

#[test]
fn all_waits_before_an_answer_of_the_user_share_one_deadline() {
    // Each answer comes in time, and both together do not.
    let (_dir, path) = knowing("401 Unauthorized", "wrong-credentials", Duration::from_millis(600));
    // The first line asks for the password, so that nobody answers a prompt of the module.
    let lines = format!(
        "auth required pam_exec.so quiet expose_authtok /bin/true\n\
         auth required MODULE password+factor timeout=1 socket={}",
        path.display()
    );

    Stack::new("svc", &lines).authenticate("emmy", "hunter2\n").refused(AUTHINFO_UNAVAIL).lacks("Wrong user name");
    let patient = lines.replace("timeout=1", "timeout=30");
    Stack::new("svc", &patient).authenticate("emmy", "hunter2\n").says("Wrong user name or password");
}

#[test]
fn who_may_not_use_the_socket_is_refused_and_can_be_given_credentials_all_the_same() {
    if !can_be_others("who_may_not_use_the_socket_is_refused_and_can_be_given_credentials_all_the_same") {
        return;
    }
    let host = Host::start("");
    let (user, mut factor, _) = host.account("emmy");
    let machine = Machine::new(&host, "auth required MODULE nofactor=ok\n");
    let tester = |operation: &str, answers: &str| machine.as_emmy(&["pamtester", "su", "emmy", operation], answers);

    // As su of sudo-rs, which runs as its caller.
    let shown = tester("authenticate", &format!("{}\n", factor.next()));
    assert!(!shown.status.success() && text(&shown).contains(AUTHINFO_UNAVAIL), "{}", text(&shown));
    // Applications set credentials with the rights of the user, too.
    assert!(tester("setcred", "").status.success());
    assert_eq!(host.failures(&user), 0);
}
