//! Every command of `mfactl`, as text and as JSON, against a real daemon and a virtual key behind a real pcscd; and each of
//! them in the man pages and in what shells complete.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::bench::{Bench, can_have_readers};
use crate::card::{Account, Attested, Key, Maker};
use crate::fed::output_of;
use crate::people::{Factor, PASSWORD, text};
use crate::tour::RECIPIENT;
use crate::wire::Request;

const URI: &str = "otpauth://totp/Old:someone?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";
const REASON: [&str; 2] = ["--reason", "a walk"];

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Form {
    Text,
    Json,
}

struct Walk {
    bench: Bench,
    /// `user-add`, …
    commands: BTreeSet<String>,
    done: BTreeSet<(String, Form)>,
    /// What was said otherwise than it should be; all of it is told at the end.
    odd: Vec<String>,
}

/// The names of the commands that do something, from the man pages.
fn commands(manual: &Path) -> BTreeSet<String> {
    let names: BTreeSet<String> = fs::read_dir(manual)
        .unwrap()
        .filter_map(|file| {
            Some(file.unwrap().file_name().to_str()?.strip_suffix(".1")?.strip_prefix("mfactl-")?.to_owned())
        })
        .collect();
    let is_group = |name: &String| names.iter().any(|other| other.starts_with(&format!("{name}-")));
    names.iter().filter(|name| !is_group(name)).cloned().collect()
}

/// Whether a command changes this host: those run in `pam::enable`, in a mount namespace.
fn is_of_host(name: &str) -> bool {
    ["pam-enable", "pam-confirm", "pam-disable"].contains(&name)
}

fn manual(dir: &Path) {
    for program in [mfad_testkit::program("mfactl"), mfad_testkit::program("mfad")] {
        assert!(Command::new(program).arg("manual").arg(dir).status().unwrap().success());
    }
}

impl Walk {
    fn note(&mut self, form: Form, arguments: &[&str]) {
        let name = |words: usize| arguments.iter().take(words).copied().collect::<Vec<_>>().join("-");
        let name = [name(2), name(1)].into_iter().find(|name| self.commands.contains(name));
        self.done.insert((name.unwrap_or_else(|| panic!("{arguments:?} is no command")), form));
    }

    fn command(&self, form: Form, arguments: &[&str]) -> Command {
        let mut command = Command::new(mfad_testkit::program("mfactl"));
        command.arg("--socket").arg(self.bench.host.socket()).args(["--no-input", "--yes"]);
        if form == Form::Json {
            command.arg("--json");
        }
        command.args(arguments).env_remove("MFAD_SOCKET").env("MFAD_STATE_DIR", &self.bench.host.dirs.state);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    #[track_caller]
    fn run(&mut self, form: Form, arguments: &[&str], input: &str, fine: &[i32]) -> String {
        self.note(form, arguments);
        let output = output_of(self.command(form, arguments), input.as_bytes());
        let (said, aside) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8_lossy(&output.stderr));
        let code = output.status.code().expect("an exit code");
        assert!(fine.contains(&code), "{arguments:?} ends with {code}: {said}{aside}");
        said
    }

    /// What it says to a person has this in it.
    #[track_caller]
    fn says(&mut self, arguments: &[&str], input: &str, what: &str) {
        let said = self.run(Form::Text, arguments, input, &[0]);
        let is_json = serde_json::from_str::<Value>(&said).is_ok_and(|said| said.is_object());
        if !said.contains(what) || is_json {
            self.odd.push(format!("{arguments:?} does not say {what:?}: {said}"));
        }
    }

    /// The one document that it prints.
    #[track_caller]
    fn document(&mut self, arguments: &[&str], input: &str) -> Value {
        let said = self.run(Form::Json, arguments, input, &[0]);
        serde_json::from_str(&said).unwrap_or_else(|why| panic!("{arguments:?}: {why}: {said}"))
    }

    /// The first line of a command that goes on until it is ended.
    #[track_caller]
    fn first_line(&mut self, form: Form, arguments: &[&str]) -> String {
        self.note(form, arguments);
        let mut child = self.command(form, arguments).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        line
    }

    fn counted(&self, name: &str) -> Factor {
        let person = self.bench.host.person(name);
        self.bench.host.enrol(&person, &json!({"kind": "hotp"})).0
    }

    fn api_key(&self, user: &str, name: &str) {
        let order = json!({"type": "apikey", "name": name});
        self.bench.host.ask(&Request::post(format!("/users/{user}/secrets"), &order).reason()).ok();
    }

    fn users(&mut self) {
        let password = format!("{PASSWORD}\n");
        self.says(&["user", "add", "ann", "--password-stdin"], &password, "ann");
        let bob = self.document(&["user", "add", "bob", "--email", "bob@example.org", "--password-stdin"], &password);
        assert_eq!(bob["user"]["name"], "bob", "{bob}");
        self.says(&["user", "list"], "", "bob ");
        assert_eq!(self.document(&["user", "list"], "")["users"].as_array().unwrap().len(), 2);
        self.says(&["user", "show", "ann"], "", "ann");
        assert_eq!(self.document(&["user", "show", "bob"], "")["email"], "bob@example.org");
        self.says(&["user", "set", "ann", "--display-name", "Ann"], "", "ann");
        assert_eq!(self.document(&["user", "set", "bob", "--display-name", "Bob"], "")["displayName"], "Bob");
        self.says(&["user", "rename", "ann", "anna"], "", "anna");
        assert_eq!(self.document(&["user", "rename", "anna", "ann"], "")["name"], "ann");
        self.says(&["user", "disable", "ann"], "", "ann");
        assert_eq!(self.document(&["user", "disable", "bob"], "")["disabled"], true);
        self.says(&["user", "enable", "ann"], "", "ann");
        assert_eq!(self.document(&["user", "enable", "bob"], "")["disabled"], false);
        self.says(&[&["passwd", "ann", "--password-stdin"], &REASON[..]].concat(), &password, "password");
        let changed = self.document(&[&["passwd", "bob", "--password-stdin"], &REASON[..]].concat(), &password);
        assert_eq!(changed["type"], "password", "{changed}");
        self.says(&["login", "ann", "--password-stdin"], &password, "ann");
        assert_eq!(self.document(&["login", "bob", "--password-stdin"], &password)["type"], "ACCESS");
    }

    fn factors(&mut self) {
        self.says(&[&["enroll", "ann", "--start"], &REASON[..]].concat(), "", "otpauth://totp/");
        let made = self.document(&[&["enroll", "bob", "--start", "--hotp"], &REASON[..]].concat(), "");
        let mut factor = Factor::of(&made);
        let finish = ["enroll", "bob", "--finish", &factor.id.clone(), "--code-stdin", "--reason", "a walk"];
        let enrolled = self.document(&finish, &factor.next());
        assert_eq!((&enrolled["status"], enrolled["codes"].as_array().map(Vec::len)), (&json!("active"), Some(10)));
        self.says(&["verify", "bob", "--code-stdin"], &factor.next(), "correct");
        assert_eq!(self.document(&["verify", "bob", "--code-stdin"], &factor.next())["ok"], true);
        let mut cleo = self.counted("cleo");
        self.says(&["verify", "cleo", "--code-stdin"], &cleo.next(), "correct");
        self.says(&[&["codes", "renew", "cleo"], &REASON[..]].concat(), "", "-");
        let codes = self.document(&[&["codes", "renew", "bob"], &REASON[..]].concat(), "");
        assert_eq!(codes["codes"].as_array().map(Vec::len), Some(10), "{codes}");
        self.says(&["unlock", "ann", REASON[0], REASON[1]], "", "ann");
        self.document(&["unlock", "bob", REASON[0], REASON[1]], "");

        for (user, name) in [("ann", "one"), ("ann", "two")] {
            let uid = text(&self.document(&["user", "show", user], "")["uid"]);
            self.api_key(&uid, name);
        }
        self.says(&["secret", "list", "ann"], "", "apikey");
        assert_eq!(self.document(&["secret", "list", "ann"], "")["secrets"].as_array().map(Vec::len), Some(4));
        self.says(&["secret", "rename", "ann", "one", "first"], "", "first");
        assert_eq!(self.document(&["secret", "rename", "ann", "two", "second"], "")["name"], "second");
        self.says(&["secret", "delete", "ann", "first"], "", "first");
        self.document(&["secret", "delete", "ann", "second"], "");

        // Enrolling needs a key in a port, which this bench has not; with one it is tested elsewhere.
        let enroll = [&["fido2", "enroll", "ann"], &REASON[..]].concat();
        self.run(Form::Text, &enroll, "", &[5]);
        let refused = self.run(Form::Json, &enroll, "", &[5]);
        assert!(refused.contains("no-device"), "{refused}");
        self.says(&["fido2", "list"], "", "no security key");
        assert_eq!(self.document(&["fido2", "list"], "")["securityKeys"], json!([]));
        for (user, form) in [("ann", Form::Text), ("bob", Form::Json)] {
            let uid = text(&self.document(&["user", "show", user], "")["uid"]);
            let order = json!({"type": "fido2", "name": "blue"});
            self.bench.host.ask(&Request::post(format!("/users/{uid}/secrets"), &order).reason()).ok();
            self.run(form, &[&["fido2", "delete", user, "blue"], &REASON[..]].concat(), "", &[0]);
        }

        let import = |user| ["import", "--user", user, "--pending", REASON[0], REASON[1]];
        self.bench.host.nobody("dora");
        self.bench.host.nobody("emil");
        self.says(&import("dora"), URI, "pending");
        assert_eq!(self.document(&import("emil"), URI)["status"], "pending");
        self.says(&[&["user", "delete", "dora"], &REASON[..]].concat(), "", "dora");
        self.document(&[&["user", "delete", "emil"], &REASON[..]].concat(), "");
    }

    fn keys(&mut self) {
        for name in ["fay", "gus"] {
            self.bench.host.nobody(name);
        }
        self.says(&["device", "list"], "", "YubiKey");
        assert_eq!(self.document(&["device", "list"], "")["devices"][0]["serial"], 7);
        self.says(&["device", "info", "7"], "", "5.");
        assert_eq!(self.document(&["device", "info", "7"], "")["serial"], 7);
        self.says(&["device", "attest", "7"], "", "genuine");
        assert_eq!(self.document(&["device", "attest", "7"], "")["serial"], 7);
        self.says(&["device", "accounts", "7"], "", "old:one");
        let accounts = self.document(&["device", "accounts", "7"], "");
        assert_eq!(accounts["accounts"].as_array().map(Vec::len), Some(3), "{accounts}");
        self.says(&["device", "rename", "7", "old:one", "old:first", REASON[0], REASON[1]], "", "old:first");
        let renamed = self.document(&["device", "rename", "7", "old:two", "old:second", REASON[0], REASON[1]], "");
        assert_eq!(renamed["name"], "old:second", "{renamed}");
        self.says(&["device", "delete", "7", "old:first", REASON[0], REASON[1]], "", "old:first");
        self.document(&["device", "delete", "7", "old:second", REASON[0], REASON[1]], "");
        self.says(&["device", "password", "7", "--random", REASON[0], REASON[1]], "", "7");
        let password = self.document(&["device", "password", "7", "--remove", REASON[0], REASON[1]], "");
        assert_eq!(password["locked"], false, "{password}");
        assert!(self.first_line(Form::Text, &["device", "watch"]).contains("key=7"));
        let event: Value = serde_json::from_str(&self.first_line(Form::Json, &["device", "watch"])).unwrap();
        assert_eq!(event["serial"], 7, "{event}");

        let receipt = self.bench.file("x", "").with_file_name("receipt");
        let receipt = receipt.to_str().unwrap();
        let provision = |user, receipt| ["device", "provision", user, "--receipt", receipt, REASON[0], REASON[1]];
        self.says(&provision("fay", receipt), "", "active");
        let made = self.document(&provision("gus", &format!("{receipt}-gus")), "");
        assert_eq!((&made["status"], &made["device"]["serial"]), (&json!("active"), &json!(7)), "{made}");
        // A key set is JSON in either form.
        let keys = self.document(&["receipt", "keys"], "");
        assert_eq!(serde_json::from_str::<Value>(&self.run(Form::Text, &["receipt", "keys"], "", &[0])).unwrap(), keys);
        let keys = self.bench.file("keys.json", &keys.to_string());
        let keys = keys.to_str().unwrap();
        self.says(&["receipt", "verify", receipt, "--keys", keys], "", "mfad:fay");
        let verified = self.document(&["receipt", "verify", &format!("{receipt}-gus"), "--keys", keys], "");
        assert_eq!(verified["credential"], "mfad:gus", "{verified}");
        self.says(&["device", "return", "7", REASON[0], REASON[1]], "", "7");
        assert_eq!(self.document(&["device", "return", "7", REASON[0], REASON[1]], "")["credentials"], json!([]));
        self.says(&["device", "reset", "7", REASON[0], REASON[1]], "", "7");
        self.document(&["device", "reset", "7", REASON[0], REASON[1]], "");

        for (serial, user) in [(8, "fay"), (9, "gus")] {
            self.bench.pull(0);
            self.bench.insert(0, Key::new(serial));
            let manifest = self.bench.file(&format!("{user}.csv"), &format!("user\n{user}\n"));
            let batch = ["provision", "batch", manifest.to_str().unwrap(), "--no-wait", REASON[0], REASON[1]];
            if serial == 8 {
                self.run(Form::Text, &batch, "", &[0]);
            } else {
                self.run(Form::Json, &batch, "", &[0]);
            }
            let results = fs::read_to_string(manifest.with_extension("results.csv")).unwrap();
            assert!(results.contains(&serial.to_string()) && results.contains("done"), "{results}");
        }
    }

    fn audit_filters(&mut self) {
        let tail = |more: &[&'static str]| [&["audit", "tail", "-n", "1000"], more].concat();
        let events = |walk: &mut Self, more: &[&'static str]| -> Vec<Value> {
            let page = walk.document(&tail(more), "");
            page["events"].as_array().unwrap().clone()
        };
        let uid = text(&self.document(&["user", "show", "bob"], "")["uid"]);
        let all = events(self, &[]);
        let of_bob = events(self, &["--user", "bob"]);
        assert!(!of_bob.is_empty() && of_bob.len() < all.len());
        assert!(of_bob.iter().all(|event| event["subject"] == uid.as_str()), "{of_bob:?}");
        let area = events(self, &["--user", "bob", "--event", "code", "--outcome", "ok"]);
        assert!(area.is_empty(), "{area:?}");
        let verified = events(self, &["--user", "bob", "--event", "verify"]);
        assert_eq!(verified.len(), 2, "{verified:?}");
        assert_eq!(events(self, &["--since", "1h"]).len(), all.len());
        assert_eq!(events(self, &["--until", "1h"]), [Value::Null; 0]);
        assert_eq!(events(self, &["--since", "2100-01-01"]), [Value::Null; 0]);

        let csv = self.run(Form::Text, &tail(&["--user", "bob", "--event", "verify", "-o", "csv"]), "", &[0]);
        let lines: Vec<&str> = csv.lines().collect();
        assert_eq!((lines.len(), lines[0]), (3, "SEQ,TIME,EVENT,OUTCOME,USER,BY,SECRET,PID,DETAIL"), "{csv}");
        assert!(lines[1].contains(",verify,ok,bob,"), "{csv}");
        let refused = self.command(Form::Text, &["audit", "tail", "--since", "yesterday"]).output().unwrap();
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(refused.status.code() == Some(2) && said.contains("2026-01-31"), "{said}");
    }

    /// What can be done with the token of a login.
    fn tokens(&mut self) {
        let (user, mut factor) = ("ida", self.counted("ida"));
        self.says(&["whoami"], "", "admin, app, audit, pam");
        assert_eq!(self.document(&["whoami"], "")["rights"], json!(["admin", "app", "audit", "pam"]));
        let password = self.bench.file("password", PASSWORD);
        let login = ["login", user, "--password-file", password.to_str().unwrap(), "--code-stdin"];
        let session = |walk: &mut Self, factor: &mut Factor| {
            let login = walk.document(&login, &factor.next());
            walk.bench.file("token", &text(&login["token"])).to_str().unwrap().to_owned()
        };
        let token = session(self, &mut factor);
        self.says(&["whoami", "--token-file", &token], "", "password, authenticator code");
        assert_eq!(self.document(&["whoami", "--token-file", &token], "")["name"], user);
        let step_up = ["step-up", "pay 1 EUR", "--token-file", &token, "--code-stdin"];
        self.says(&step_up, &factor.next(), "receipt");
        // With --recovery only a backup code is taken, in both commands.
        self.run(Form::Text, &[&step_up[..], &["--recovery"]].concat(), "123456", &[2]);
        self.run(Form::Text, &[&login[..], &["--recovery"]].concat(), "123456", &[2]);
        let confirmed = self.document(&step_up, &factor.next());
        let redeem = json!({"receipt": confirmed["receipt"], "action": "pay 1 EUR"});
        assert_eq!(self.bench.host.ask(&Request::post("/auth/receipt", &redeem)).ok()["ok"], true);
        self.says(&["logout", "--token-file", &token], "", "ended");
        self.run(Form::Text, &["whoami", "--token-file", &token], "", &[1]);
        let token = session(self, &mut factor);
        self.document(&["logout", "--token-file", &token], "");

        // The login of --as-user from files, and only one secret from standard input.
        let as_user = ["secret", "list", user, "--as-user", "--login-password-file", password.to_str().unwrap()];
        let code = self.bench.file("code", &factor.next());
        let listed = self.document(&[&as_user[..], &["--login-code-file", code.to_str().unwrap()]].concat(), "");
        assert!(listed["secrets"].as_array().unwrap().iter().any(|secret| secret["type"] == "mfa"), "{listed}");
        let both = ["passwd", user, "--as-user", "--login-password-stdin", "--password-stdin"];
        let code = ["--login-code-file", code.to_str().unwrap()];
        let refused = self.command(Form::Text, &[&both[..], &code].concat()).stdin(Stdio::null()).output().unwrap();
        assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    }

    fn house(&mut self) {
        self.says(&["status"], "", "ready");
        assert_eq!(self.document(&["status"], "")["ready"]["status"], "ready");
        self.says(&["pam", "coverage"], "", "could not log in if a second factor were required");
        assert!(self.document(&["pam", "coverage"], "")["accounts"].is_array());
        self.says(&["pam", "break-glass", "--list"], "", "ACCOUNT");
        assert!(self.document(&["pam", "break-glass", "--list"], "")["lists"].is_array());
        self.says(&["audit", "tail", "-n", "3"], "", "session.end");
        assert_eq!(self.document(&["audit", "tail", "-n", "3"], "")["events"].as_array().map(Vec::len), Some(3));
        self.audit_filters();
        self.says(&["audit", "verify"], "", "whole");
        assert_eq!(self.document(&["audit", "verify"], "")["ok"], true);
        self.says(&["master-key", "show"], "", "file");
        assert_eq!(self.document(&["master-key", "show"], "")["state"], "settled");
        self.says(&["master-key", "rotate", REASON[0], REASON[1]], "", "under master key 2");
        assert_eq!(self.document(&["master-key", "rotate", REASON[0], REASON[1]], "")["version"], 3);
        let file = self.bench.file("y", "").with_file_name("backup");
        let file = file.to_str().unwrap();
        self.says(&["backup", file], "", "bytes");
        let backup = self.document(&["backup", file, "--force"], "");
        assert_eq!(backup["bytes"], fs::metadata(file).unwrap().len(), "{backup}");
        let not_replaced = self.command(Form::Text, &["backup", file]).output().unwrap();
        assert_eq!(not_replaced.status.code(), Some(1));
        let file = self.bench.file("z", "").with_file_name("export.age");
        let export = ["export", file.to_str().unwrap(), "--to", RECIPIENT, "--force", REASON[0], REASON[1]];
        self.says(&export, "", "export.age");
        let exported = self.document(&export, "");
        assert_eq!(exported["bytes"], fs::metadata(&file).unwrap().len(), "{exported}");

        // Whether this host's clock is synchronised is its own business: 1 is a finding.
        let said = self.run(Form::Text, &["doctor"], "", &[0, 1]);
        assert!(said.contains("master key") && said.contains("-> make it an encrypted credential"), "{said}");
        let found: Value = serde_json::from_str(&self.run(Form::Json, &["doctor"], "", &[0, 1])).unwrap();
        let state = |check: &str| {
            let findings = found["findings"].as_array().unwrap();
            text(&findings.iter().find(|found| found["check"] == check).unwrap_or_else(|| panic!("{found}"))["state"])
        };
        for (check, expected) in
            [("daemon", "ok"), ("version", "ok"), ("pcscd", "ok"), ("master key", "warning"), ("store", "ok")]
        {
            assert_eq!(state(check), expected, "{check}: {found}");
        }
        for shell in ["bash", "zsh", "fish"] {
            let script = self.run(Form::Text, &["completions", shell], "", &[0]);
            assert!(script.contains("MFACTL_COMPLETE=") && script.contains("mfactl"), "{shell}");
        }
    }
}

#[test]
fn every_command_of_mfactl_is_walked_in_text_and_json() {
    const HERE: &str = "every_command_of_mfactl_is_walked_in_text_and_json";
    if !can_have_readers(HERE) {
        return;
    }
    let maker = Maker::with_line();
    let dir = tempfile::Builder::new().prefix("mfad-walk-").tempdir().unwrap();
    let roots = dir.path().join("maker.pem");
    fs::write(&roots, maker.pem()).unwrap();
    manual(&dir.path().join("manual"));
    let bench = Bench::new(1, &format!("[devices]\nattestationRoots = [{roots:?}]\n{}", crate::fido2::CONFIG));
    let key = ["old:one", "old:two", "old:three"]
        .iter()
        .fold(Key::new(7), |key, name| key.with_account(Account::foreign(name)));
    bench.insert(0, key.attested(&maker, &Attested::default()));
    let mut walk =
        Walk { bench, commands: commands(&dir.path().join("manual")), done: BTreeSet::new(), odd: Vec::new() };

    walk.users();
    walk.factors();
    walk.keys();
    walk.tokens();
    walk.house();

    assert!(walk.odd.is_empty(), "{:#?}", walk.odd);
    // A script has one form.
    let wanted = walk.commands.iter().flat_map(|name| [(name.clone(), Form::Text), (name.clone(), Form::Json)]);
    let left: Vec<_> =
        wanted.filter(|step| !walk.done.contains(step) && step.0 != "completions" && !is_of_host(&step.0)).collect();
    assert!(left.is_empty(), "not walked: {left:?}");
    println!("mfactl: {} commands, each in text and JSON", walk.commands.len());
}

#[test]
fn every_command_has_a_page_and_is_completed() {
    let dir = tempfile::Builder::new().prefix("mfad-walk-").tempdir().unwrap();
    manual(dir.path());
    let read = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap();
    let commands = commands(dir.path());
    assert!(commands.len() > 30, "{commands:?}");

    for name in &commands {
        let page = read(&format!("mfactl-{name}.1"));
        for section in [".SH NAME", ".SH SYNOPSIS", ".SH DESCRIPTION", ".SH OPTIONS"] {
            assert!(page.contains(section), "{name}: {section}");
        }
    }
    for script in ["mfactl.bash", "_mfactl", "mfactl.fish"] {
        assert!(read(script).contains("mfactl"), "{script}");
    }
    for (page, word) in [
        ("mfad.8", "SIGHUP"),
        ("mfad.8", "restore"),
        ("mfad.toml.5", "guardDir"),
        ("mfactl.1", "doctor"),
        ("mfactl.1", "byte order mark"),
        ("mfactl.1", ".SH EXIT STATUS\n"),
        ("mfactl-user-add.1", ".TP\n7\nthe output cannot be written\n"),
        ("mfactl-user-add.1", ".SH SEE ALSO\nmfactl\\-user(1), "),
        ("mfactl-master-key-rotate.1", r"\fBmfactl master\-key rotate\fR"),
    ] {
        assert!(read(page).contains(word), "{page}: {word}");
    }
}
