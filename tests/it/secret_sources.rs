//! Secrets that come in files and pipes: which bytes are the secret, whatever program wrote them.

use std::fs;
use std::path::Path;

use serde_json::json;

use crate::cli::{mfactl, succeeds};
use crate::host::Host;
use crate::people::PASSWORD;
use crate::wire::Request;

fn utf16(text: &str, mark: bool) -> Vec<u8> {
    let mark = mark.then_some('\u{feff}');
    mark.into_iter().chain(text.chars()).flat_map(|c| u16::try_from(u32::from(c)).unwrap().to_le_bytes()).collect()
}

/// Exit code and words.
fn refusal(host: &Host, arguments: &[&str], input: impl AsRef<[u8]>) -> (Option<i32>, String) {
    let output = mfactl(host, arguments, input);
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

fn log_in(host: &Host, name: &str, password: &str) -> u16 {
    host.ask(&Request::post("/auth/password", &json!({"id": name, "password": password}))).status
}

fn written(dir: &Path, bytes: impl AsRef<[u8]>) -> String {
    let path = dir.join("secret");
    fs::write(&path, bytes).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn a_line_end_and_a_byte_order_mark_are_no_part_of_a_password() {
    let host = Host::start("");
    let dir = host.dirs.dir.path();
    let forms = ["", "\n", "\r\n"].iter().flat_map(|end| ["", "\u{feff}"].map(|mark| format!("{mark}{PASSWORD}{end}")));

    for (number, form) in forms.enumerate() {
        let (piped, filed) = (format!("piped {number}"), format!("filed {number}"));
        succeeds(&host, &["user", "add", &piped, "--password-stdin"], &form);
        succeeds(&host, &["user", "add", &filed, "--password-file", &written(dir, &form)], "");

        assert_eq!((log_in(&host, &piped, PASSWORD), log_in(&host, &filed, PASSWORD)), (200, 200), "{form:?}");
        succeeds(&host, &["login", &piped, "--password-file", &written(dir, &form)], "");
    }
}

#[test]
fn a_password_with_control_characters_or_of_another_encoding_is_refused_and_nothing_happens() {
    let host = Host::start("");
    let dir = host.dirs.dir.path();
    let text = |text: &str| format!("{PASSWORD}{text}").into_bytes();

    for (bytes, why) in [
        (text("\n\n"), "line feed"),
        (text("\nanother line\n"), "line feed"),
        (text("\r"), "carriage return"),
        (text("\r\n\r\n"), "carriage return"),
        (text("\0"), "NUL"),
        (text("\t"), "tab"),
        (text("\u{7f}"), "delete"),
        (utf16(PASSWORD, true), "UTF-16"),
        (utf16(PASSWORD, false), "UTF-16"),
        ([PASSWORD.as_bytes(), b"\xe4"].concat(), "not UTF-8"),
        (b"\r\n".to_vec(), "empty"),
        ("\u{feff}\n".as_bytes().to_vec(), "empty"),
    ] {
        for (flags, input) in [
            (vec!["--password-stdin".to_owned()], bytes.as_slice()),
            (vec!["--password-file".to_owned(), written(dir, &bytes)], &b""[..]),
        ] {
            let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
            let (code, words) = refusal(&host, &[&["user", "add", "anna"], &flags[..]].concat(), input);
            assert_eq!(code, Some(2), "{bytes:?}: {words}");
            assert!(words.contains(why) && words.contains("password") && !words.contains(PASSWORD), "{why}: {words}");
        }
    }
    assert_eq!(host.ask(&Request::get("/users")).ok()["users"], json!([]));
}

#[test]
fn codes_pins_and_current_passwords_follow_the_same_rule() {
    let host = Host::start("");
    let dir = host.dirs.dir.path();
    let (_, mut factor, _) = host.guarded("anna");
    let mut verify = |form: &dyn Fn(String) -> String| {
        let input = form(factor.next());
        mfactl(&host, &["verify", "anna", "--code-stdin"], input).status.code()
    };

    assert_eq!(verify(&|code| format!("{code}\r\n")), Some(0));
    assert_eq!(verify(&|code| format!("\u{feff}{code}")), Some(0));
    assert_eq!(verify(&|code| format!("\u{feff}{code}\r\n")), Some(0));
    assert_eq!(verify(&|code| format!("{code}\n\n")), Some(2));

    host.person("boris");
    for (bad, why) in [("1234\r\n\n", "carriage return"), ("1234\0", "NUL"), ("\u{feff}", "empty")] {
        let file = written(dir, bad);
        let passwd = ["passwd", "boris", "--password-stdin", "--no-input", "--current-file", &file];
        let learn = ["device", "password", "7", "--learn", "--reason", "x", "--current-file", &file];
        let enroll = ["fido2", "enroll", "boris", "--reason", "x", "--pin-file", &file];
        for (arguments, what) in [
            (&passwd[..], "current password"),
            (&learn[..], "current password of the hardware key"),
            (&enroll[..], "PIN"),
        ] {
            let (code, words) = refusal(&host, arguments, PASSWORD);
            assert_eq!(code, Some(2), "{arguments:?} {bad:?}: {words}");
            assert!(words.contains(why) && words.contains(what), "{arguments:?} {bad:?}: {words}");
        }
    }
    assert_eq!(log_in(&host, "boris", PASSWORD), 200);
}
