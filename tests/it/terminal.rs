//! What a person sees of `mfactl` on a terminal of 80 columns and 24 rows.

use serde_json::{Value, json};

use crate::cli::{fails, succeeds};
use crate::host::Host;
use crate::interop::{python, python_has};
use crate::people::{PASSWORD, text};
use crate::wire::Request;

/// Runs `mfactl` on a terminal until the prompt is there. Returns what is on the screen, as one line.
fn seen_at(prompt: &str, host: &Host, arguments: &[&str]) -> String {
    let mut python = python();
    python.env("PAGER", "sed 's/^/paged: /'; read -r line < /dev/tty");
    python.arg(mfad_testkit::root().join("tests/terminal/screen.py")).arg(prompt);
    let command = python.arg(mfad_testkit::program("mfactl")).arg("--socket").arg(host.socket()).args(arguments);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines: Vec<String> = serde_json::from_slice(&output.stdout).unwrap();
    lines.iter().map(|line| format!("{line:<80}")).collect::<String>().trim().to_owned()
}

#[test]
fn what_ends_a_protection_is_asked_and_only_of_those_who_may_do_it() {
    if !python_has("pyte", "questions on a terminal") {
        return;
    }
    let host = Host::start("");
    let person = host.person("anna");
    host.enrol(&person, &json!({"name": "phone"}));
    let delete = ["secret", "delete", "anna", "phone", "--reason", "a test"];
    let renew = ["codes", "renew", "anna", "--reason", "a test"];

    let last = seen_at("[y/N]", &host, &delete);
    assert!(last.contains("the password alone lets the user in, and the backup codes end"), "{last}");
    assert!(seen_at("[y/N]", &host, &renew).contains("The present ones end at once"));
    for no_reason in [&delete[..4], &renew[..3]] {
        assert_eq!(fails(&host, no_reason, ""), 4, "{no_reason:?} is refused before anybody is asked");
    }

    let second = host.ask(&Request::post(format!("/users/{}/secrets", person.id), &json!({"type": "mfa"})).reason());
    assert_eq!(second.ok()["status"], "pending");
    let last = seen_at("[y/N]", &host, &delete);
    assert!(last.contains("the password alone"), "a pending factor lets nobody in: {last}");
}

#[test]
fn a_list_longer_than_the_window_comes_in_the_pager() {
    if !python_has("pyte", "a pager on a terminal") {
        return;
    }
    let host = Host::start("");
    for number in 0..30 {
        succeeds(&host, &["user", "add", &format!("user {number:02}")], "");
    }

    let paged = seen_at("paged: user 29", &host, &["user", "list"]);
    assert!(paged.contains("paged: user 28"), "{paged}");
    let unpaged = seen_at("user 29", &host, &["--no-pager", "user", "list"]);
    assert!(!unpaged.contains("paged"), "{unpaged}");
}

#[test]
fn long_help_comes_in_the_pager_too() {
    if !python_has("pyte", "help on a terminal") {
        return;
    }
    let host = Host::start("");

    assert!(seen_at("-y, --yes", &host, &["enroll", "-h"]).contains("paged:   -y"));
}

#[test]
fn a_command_to_paste_is_not_broken_into_lines() {
    if !python_has("pyte", "a long line on a terminal") {
        return;
    }
    let host = Host::start("");
    let seen = seen_at("created user", &host, &["--curl", "user", "add", "anna", "--email", "anna@example.org"]);

    // The terminal fills each row, where a line break would leave blanks.
    assert!(seen.contains("-H 'Content-Type: application/json' -d "), "{seen}");
    assert!(seen.contains("http://mfad/v1/users"), "{seen}");
}

#[test]
fn followed_events_stand_in_the_columns_of_those_before() {
    if !python_has("pyte", "columns on a terminal") {
        return;
    }
    let host = Host::start("");
    host.person("anna");
    let seen = seen_at("user.create", &host, &["audit", "tail", "--follow"]);

    let column = |word: &str| seen.find(word).unwrap_or_else(|| panic!("{word}: {seen}")) % 80;
    assert_eq!(column("EVENT"), column("user.create"), "{seen}");
    assert_eq!(column("OUTCOME"), column("ok "), "{seen}");
}

#[test]
fn the_qr_code_of_an_enrolment_is_read_from_the_screen_at_its_prompt_in_any_theme() {
    let test = "the QR code on a screen";
    if !["pyte", "cv2", "zxingcpp"].into_iter().all(|module| python_has(module, test)) {
        return;
    }
    let host = Host::start("");
    // With this name the code is larger, and has the narrow quiet zone.
    for user in ["anna", "anna.bell.miller@example.org"] {
        succeeds(&host, &["user", "add", user, "--password-stdin"], &format!("{PASSWORD}\n"));
        let mut python = python();
        python.arg(mfad_testkit::root().join("tests/terminal/enrol.py"));
        let output = python.arg(mfad_testkit::program("mfactl")).arg(host.socket()).arg(user).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let seen: Value = serde_json::from_slice(&output.stdout).unwrap();

        let screen: Vec<&str> = seen["screen"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        let key = screen.iter().find_map(|line| line.strip_prefix("cannot scan? type this key: ")).expect("the key");
        let key = key.replace(' ', "");
        for theme in ["dark", "light"] {
            for reader in [0, 1] {
                let uri = text(&seen["read"][theme][reader]);
                assert!(uri.starts_with("otpauth://totp/"), "{theme}, reader {reader}: {uri:?}\n{}", screen.join("\n"));
                assert!(uri.contains(&format!("secret={key}")), "{theme}, reader {reader}: {uri}");
            }
        }
    }
}
