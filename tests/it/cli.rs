//! `mfactl` as scripts use it: answers as JSON on standard output, secrets on standard input, exit codes.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use crate::fed::output_of;
use crate::host::Host;
use crate::identity;
use crate::people::{PASSWORD, text};
use crate::wire::Request;

pub fn mfactl(host: &Host, arguments: &[&str], input: impl AsRef<[u8]>) -> Output {
    let mut command = Command::new(mfad_testkit::program("mfactl"));
    command.arg("--socket").arg(host.socket()).args(arguments).env_remove("MFAD_SOCKET");
    output_of(command, input.as_ref())
}

#[track_caller]
pub fn succeeds(host: &Host, arguments: &[&str], input: &str) -> Value {
    let output = mfactl(host, &[&["--json"], arguments].concat(), input);
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{arguments:?}: {}\n{stdout}\n{stderr}", output.status);
    if stdout.trim().is_empty() {
        json!(null)
    } else {
        serde_json::from_str(&stdout).unwrap_or_else(|why| panic!("{arguments:?}: {why}: {stdout}"))
    }
}

/// The exit code of a refusal; it says something about it, and never on standard output alone.
#[track_caller]
pub fn fails(host: &Host, arguments: &[&str], input: &str) -> i32 {
    let output = mfactl(host, &[&["--json"], arguments].concat(), input);
    assert!(!output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stdout));
    assert!(!output.stderr.is_empty() || !output.stdout.is_empty(), "{arguments:?} says nothing");
    output.status.code().expect("an exit code")
}

#[test]
fn an_account_without_a_right_is_told_who_it_is_and_what_would_give_the_right() {
    let host = Host::start("");
    // The directory of the build may be root's alone.
    let program = host.dirs.dir.path().join("mfactl");
    fs::copy(mfad_testkit::program("mfactl"), &program).unwrap();
    let stranger = |arguments: &[&str]| {
        let mut command = Command::new(&program);
        command.arg("--socket").arg(host.socket()).args(arguments).uid(identity::STRANGER).gid(identity::STRANGER);
        command.output().unwrap()
    };

    let closed = stranger(&["user", "list"]);
    assert_eq!(closed.status.code(), Some(4));
    let stderr = String::from_utf8(closed.stderr).unwrap();
    assert!(
        stderr.contains(&format!("uid {}", identity::STRANGER)) && stderr.contains(" may not use it; "),
        "{stderr}"
    );
    fs::set_permissions(host.socket(), fs::Permissions::from_mode(0o666)).unwrap();
    for (arguments, right) in
        [(&["user", "list"][..], "app"), (&["user", "show", "anna"], "app"), (&["audit", "tail"], "audit")]
    {
        let output = stranger(arguments);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(4), "{arguments:?}: {stderr}");
        let lines: Vec<&str> = stderr.lines().collect();
        let [sentence, table, who, rights] = lines[..] else { panic!("{arguments:?}: {stderr}") };
        assert!(sentence.contains(&format!("uid {}", identity::STRANGER)), "{sentence}");
        assert!(
            sentence.contains(&format!("lacks the right `{right}`")) && sentence.contains("/etc/mfad/mfad.toml"),
            "{sentence}"
        );
        assert_eq!((table.trim(), rights.trim()), ("[[peer]]", format!("rights = [\"{right}\"]").as_str()));
        assert!(who.trim().starts_with("uid = ") || who.trim().starts_with("user = "), "{who}");
    }
}

#[test]
fn a_user_is_renamed_and_its_address_removed() {
    let host = Host::start("");
    succeeds(&host, &["user", "create", "anna", "--email", "anna@example.org"], "");

    let renamed =
        succeeds(&host, &["user", "set", "anna", "--name", "ann", "--email", "", "--display-name", "Ann B."], "");

    assert_eq!(
        (&renamed["name"], &renamed["email"], &renamed["displayName"]),
        (&json!("ann"), &json!(null), &json!("Ann B."))
    );
    assert_eq!(fails(&host, &["user", "set", "ann"], ""), 2, "nothing to change");
    assert!(String::from_utf8(mfactl(&host, &["user", "ls"], "").stdout).unwrap().contains("ann "));
    succeeds(&host, &["user", "rm", "ann", "--yes", "--reason", "a test"], "");
}

#[test]
fn a_list_fits_the_terminal_and_has_a_format_for_each_reader() {
    let host = Host::start("");
    let uid = text(&succeeds(&host, &["user", "add", "anna, b.", "--email", "a@example.org"], "")["user"]["uid"]);
    let list = |flags: &[&str]| {
        let output = mfactl(&host, &[flags, &["user", "list"]].concat(), "");
        assert!(output.status.success(), "{flags:?}");
        String::from_utf8(output.stdout).unwrap()
    };

    let table = list(&[]);
    assert!(table.lines().all(|line| line.chars().count() <= 80) && !table.contains(&uid), "{table}");
    assert!(table.starts_with("NAME") && list(&["-o", "wide"]).contains(&uid));
    assert!(list(&["--no-headers"]).starts_with("anna, b."));
    assert_eq!(list(&["-o", "name"]), "anna, b.\n");
    let values = list(&["-o", "csv"]);
    assert!(values.starts_with("NAME,UID,MFA,LOGIN,LOCKED,CREATED,CHANGED,EMAIL,DISPLAY NAME\n"), "{values}");
    assert!(values.contains(&format!("\"anna, b.\",{uid},none,enabled,no,20")), "{values}");
    assert_eq!(serde_json::from_str::<Value>(&list(&["-o", "json"])).unwrap()["users"][0]["uid"], uid.as_str());
}

#[test]
fn a_code_is_asked_once_where_there_is_no_terminal() {
    let host = Host::start("");
    let person = host.person("anna");
    let mut command = Command::new("setsid");
    command.arg("--wait").arg(mfad_testkit::program("mfactl")).arg("--socket").arg(host.socket());

    let output = command.args(["verify", &person.id]).stdin(Stdio::null()).output().unwrap();

    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert_eq!(stderr.matches("no terminal to prompt for the code").count(), 1, "{stderr}");
}

#[test]
fn an_empty_variable_means_the_default_socket_and_no_command_shows_the_help() {
    let mfactl = || Command::new(mfad_testkit::program("mfactl"));

    let status = mfactl().env("MFAD_SOCKET", "").args(["--curl", "status"]).output().unwrap();
    assert!(String::from_utf8_lossy(&status.stderr).contains("--unix-socket /run/mfad/mfad.sock"), "{status:?}");
    for socket in ["", "/run/elsewhere"] {
        let help = mfactl().env("MFAD_SOCKET", socket).output().unwrap();
        assert!(String::from_utf8_lossy(&help.stderr).contains("Manage the users of mfad"), "{help:?}");
        let usage =
            String::from_utf8(mfactl().env("MFAD_SOCKET", socket).arg("login").output().unwrap().stderr).unwrap();
        assert!(
            usage.contains("Usage: mfactl login <USER>") || usage.contains("Usage: mfactl login [OPTIONS] <USER>"),
            "{usage}"
        );
    }
}

#[test]
fn users_are_added_listed_and_shown() {
    let host = Host::start("");

    let added = succeeds(&host, &["user", "add", "anna", "--password-stdin"], &format!("{PASSWORD}\n"));
    let listed = succeeds(&host, &["user", "list"], "");
    let shown = succeeds(&host, &["user", "show", "anna"], "");

    assert!(added.to_string().contains("anna"), "{added}");
    assert!(listed.to_string().contains("anna"), "{listed}");
    assert_eq!((&shown["name"], &shown["mfa"]), (&json!("anna"), &json!("none")));
    let login = host.ask(&Request::post("/auth/password", &json!({"id": "anna", "password": PASSWORD}))).ok();
    assert_eq!(login["userUid"], shown["uid"], "the end of the line is no part of the password");
    assert_eq!(fails(&host, &["user", "add", "anna"], ""), 1);
    assert_eq!(fails(&host, &["user", "show", "nobody"], ""), 1);
    assert!(!String::from_utf8_lossy(&mfactl(&host, &["user", "list"], "").stdout).trim().is_empty());
}

#[test]
fn an_enrolment_that_may_not_ask_fails() {
    let host = Host::start("");
    host.person("anna");

    assert_eq!(fails(&host, &["enroll", "anna", "--no-input"], ""), 2);
}

#[test]
fn codes_are_verified_from_standard_input_and_a_lock_is_ended() {
    let host = Host::start("");
    let (person, mut factor, _) = host.guarded("anna");

    let verified = succeeds(&host, &["verify", "anna", "--code-stdin"], &format!("{}\n", factor.next()));
    assert_eq!((&verified["ok"], &verified["secretId"]), (&json!(true), &json!(factor.id)));
    for _ in 0..5 {
        assert_eq!(fails(&host, &["verify", "anna", "--code-stdin"], &format!("{}\n", factor.wrong())), 1);
    }
    succeeds(&host, &["unlock", "anna", "--reason", "she called"], "");
    host.verify(&person.id, &json!({"token": factor.next()})).ok();
}

#[test]
fn the_audit_log_is_verified_and_the_state_told() {
    let host = Host::start("");
    host.guarded("anna");

    succeeds(&host, &["audit", "verify"], "");
    let status = succeeds(&host, &["status"], "");

    assert!(status.to_string().contains(&text(&host.ask(&Request::get("/version")).ok()["version"])), "{status}");
}

#[test]
fn faults_have_their_exit_codes() {
    let mut host = Host::start("");

    assert_eq!(mfactl(&host, &["no-such-command"], "").status.code(), Some(2));
    assert_eq!(mfactl(&host, &["user", "add"], "").status.code(), Some(2));
    host.kill();
    assert_eq!(mfactl(&host, &["status"], "").status.code(), Some(3));
    std::fs::remove_file(host.socket()).unwrap();
    assert_eq!(mfactl(&host, &["--json", "user", "list"], "").status.code(), Some(3));
}

#[test]
fn mem_5_no_secret_is_taken_from_the_command_line() {
    let host = Host::start("");

    for arguments in [["user", "add", "anna", "--password", PASSWORD], ["verify", "anna", "--code", "123456", "--json"]]
    {
        assert_eq!(mfactl(&host, &arguments, "").status.code(), Some(2), "{arguments:?}");
    }
}
