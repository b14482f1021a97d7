//! `mfactl pam`: it changes a service only after a login through the new stack, and undoes what nobody confirms.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Output, Stdio};

use serde_json::{Value, json};

use super::machine::{Machine, text};
use super::rig::module;
use crate::host::Host;
use crate::identity::can_be_others;

const BEFORE: &str = "# a stack of this host\nauth required pam_permit.so\naccount required pam_permit.so\n\
    session required pam_permit.so\n";

/// How a program is run in the session of the test, in one of its own, and in one that began outside of its PID namespace.
const HERE: &[&str] = &[];
const ELSEWHERE: &[&str] = &["setsid", "--wait"];
const FROM_OUTSIDE: &[&str] = &["unshare", "--pid", "--fork"];

/// A machine with programs in the place of systemd's, which write down how they were called.
struct Admin<'a> {
    host: &'a Host,
    machine: Machine,
}

impl<'a> Admin<'a> {
    fn of(host: &'a Host, stack: &str) -> Self {
        let machine = Machine::new(host, stack);
        fs::create_dir(machine.path("bin")).unwrap();
        let admin = Self { host, machine };
        for program in ["systemd-run", "systemctl"] {
            admin.systemd(program, 0);
        }
        admin
    }

    /// Has a program of systemd end with this status.
    fn systemd(&self, program: &str, status: u8) {
        let path = self.machine.path("bin").join(program);
        let called = self.machine.path("called").display().to_string();
        let script = format!("#!/bin/sh\necho \"{program} $*\" >>'{called}'\necho 'no timer' >&2\nexit {status}\n");
        fs::write(&path, script).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
    }

    fn called(&self) -> String {
        fs::read_to_string(self.machine.path("called")).unwrap_or_default()
    }

    fn stack(&self) -> String {
        fs::read_to_string(self.machine.path("pam.d/sudo")).unwrap()
    }

    /// Runs `mfactl pam` as root, in a session of this kind.
    fn pam(&self, arguments: &[&str], answers: &str, session: &[&str]) -> Output {
        let mfactl = mfad_testkit::program("mfactl").display().to_string();
        let program = [session, &[&mfactl]].concat();
        let mut command = self.machine.command(program[0]);
        command.args(&program[1..]);
        let path = format!("{}:{}", self.machine.path("bin").display(), std::env::var("PATH").unwrap());
        command.env("PATH", path).env("MFAD_SOCKET", self.host.socket()).env_remove("SUDO_USER");
        command.arg("pam").args(arguments);
        let input = self.machine.path("answers");
        fs::write(&input, answers).unwrap();
        command.stdin(Stdio::from(fs::File::open(input).unwrap())).output().unwrap()
    }

    fn enable(&self, more: &[&str], answers: &str) -> Output {
        self.enable_by("emmy", more, answers, HERE)
    }

    fn enable_by(&self, account: &str, more: &[&str], answers: &str, session: &[&str]) -> Output {
        let options = format!("retries=0 socket={}", self.host.socket().display());
        let module = module().display().to_string();
        let arguments = ["enable", "sudo", "--module", &module, "--options", &options, "--account", account];
        self.pam(&[&arguments, more].concat(), answers, session)
    }
}

#[track_caller]
fn fails(output: &Output, why: &str) {
    assert!(!output.status.success() && text(output).contains(why), "{why:?}: {}", text(output));
}

#[track_caller]
fn succeeds(output: &Output, says: &str) {
    assert!(output.status.success() && text(output).contains(says), "{says:?}: {}", text(output));
}

#[test]
fn a_change_is_confirmed_by_a_login_in_another_session() {
    if !can_be_others("a_change_is_confirmed_by_a_login_in_another_session") {
        return;
    }
    let host = Host::start("");
    let (_, mut factor, _) = host.account("emmy");
    let admin = Admin::of(&host, BEFORE);
    let mode = |mode: u32| fs::set_permissions(admin.machine.path("pam.d/sudo"), Permissions::from_mode(mode)).unwrap();
    mode(0o640);

    let shown = admin.enable(&[], &format!("{}\n", factor.next()));
    succeeds(&shown, "sudo requires the second factor now. This is undone in 5 minutes.");
    assert!(text(&shown).contains("without a factor, and refused unless an option lets them in: root, bare"));
    assert!(admin.stack().starts_with("# a stack of this host\nauth required pam_permit.so\nauth\trequired\t/"));
    assert!(admin.stack().ends_with("session required pam_permit.so\n"), "{}", admin.stack());
    let permissions = fs::metadata(admin.machine.path("pam.d/sudo")).unwrap().permissions();
    assert_eq!(permissions.mode() & 0o777, 0o640);
    let called = admin.called();
    assert!(called.contains("--on-active=5min") && called.trim().ends_with("pam disable sudo"), "{called}");

    fails(&admin.enable(&[], ""), "is not confirmed yet");
    fails(&admin.pam(&["confirm", "sudo"], "", HERE), "this is the session that changed sudo");
    fails(&admin.pam(&["confirm", "sudo"], "", ELSEWHERE), "nobody has given a second factor to sudo since");
    let login = admin.machine.as_emmy(&["sudo", "-S", "id", "-un"], &format!("{}\n", factor.next()));
    succeeds(&login, "root");
    succeeds(&admin.pam(&["confirm", "sudo"], "", ELSEWHERE), "sudo keeps requiring the second factor");
    assert!(admin.called().contains("systemctl stop mfad-pam-undo-sudo.timer"));

    // The timer finds nothing to undo now, and an administrator can still take the module out.
    fails(&admin.pam(&["confirm", "sudo"], "", ELSEWHERE), "nothing is to be confirmed for sudo");
    succeeds(&admin.pam(&["disable", "sudo"], "", ELSEWHERE), "sudo does without the second factor");
    assert_eq!(admin.stack(), BEFORE);
    fails(&admin.pam(&["disable", "sudo"], "", ELSEWHERE), "has no pam_mfad.so; nothing was changed");
}

#[test]
fn a_session_of_another_pid_namespace_is_a_session_like_others() {
    if !can_be_others("a_session_of_another_pid_namespace_is_a_session_like_others") {
        return;
    }
    let host = Host::start("");
    let (_, mut factor, _) = host.account("emmy");
    let admin = Admin::of(&host, BEFORE);

    succeeds(&admin.enable_by("emmy", &[], &format!("{}\n", factor.next()), FROM_OUTSIDE), "sudo requires");
    fails(&admin.pam(&["confirm", "sudo"], "", FROM_OUTSIDE), "this is the session that changed sudo");
    fails(&admin.pam(&["confirm", "sudo"], "", ELSEWHERE), "nobody has given a second factor to sudo since");
    succeeds(&admin.pam(&["disable", "sudo"], "", FROM_OUTSIDE), "sudo is as it was before");
}

#[test]
fn what_is_not_confirmed_is_undone() {
    if !can_be_others("what_is_not_confirmed_is_undone") {
        return;
    }
    let host = Host::start("");
    let (_, mut factor, _) = host.account("emmy");
    let admin = Admin::of(&host, BEFORE);

    // As the timer does, and as the unit does at the start of the host.
    for undo in [["disable", "sudo"], ["disable", "--unconfirmed"]] {
        succeeds(&admin.enable(&["--minutes", "1"], &format!("{}\n", factor.next())), "undone in 1 minute.");
        assert_ne!(admin.stack(), BEFORE);
        succeeds(&admin.pam(&undo, "", ELSEWHERE), "sudo is as it was before");
        assert_eq!(admin.stack(), BEFORE);
    }
    // Somebody changed the service in the meantime: only the module goes.
    succeeds(&admin.enable(&[], &format!("{}\n", factor.next())), "sudo requires");
    let changed = format!("{}session required pam_permit.so\n", admin.stack());
    fs::write(admin.machine.path("pam.d/sudo"), changed).unwrap();
    succeeds(&admin.pam(&["disable", "sudo"], "", ELSEWHERE), "sudo is as it was before");
    assert_eq!(admin.stack(), format!("{BEFORE}session required pam_permit.so\n"));
}

#[test]
fn nothing_changes_unless_a_login_through_the_new_stack_works() {
    if !can_be_others("nothing_changes_unless_a_login_through_the_new_stack_works") {
        return;
    }
    let host = Host::start("");
    let (_, mut factor, _) = host.account("emmy");
    let admin = Admin::of(&host, BEFORE);

    let dry = admin.enable(&["--dry-run"], &format!("{}\n", factor.next()));
    succeeds(&dry, "emmy can log in; nothing was changed");
    assert!(text(&dry).contains("Code: ") && text(&dry).contains("pam.d/sudo, line 3:"), "{}", text(&dry));
    fails(&admin.enable(&[], &format!("{}\n", factor.wrong())), "emmy could not log in to sudo");
    fails(&admin.enable_by("bare", &[], "123456\n", HERE), "bare has no second factor here, and would be locked out");
    assert_eq!((admin.stack().as_str(), admin.called().as_str()), (BEFORE, ""));

    // Without a timer nothing is changed either.
    admin.systemd("systemd-run", 1);
    fails(&admin.enable(&[], &format!("{}\n", factor.next())), "systemd-run: no timer; nothing was changed");
    assert_eq!(admin.stack(), BEFORE);
    fails(&admin.pam(&["confirm", "sudo"], "", ELSEWHERE), "nothing is to be confirmed for sudo");
}

#[test]
fn a_login_that_is_not_asked_for_a_factor_proves_nothing() {
    if !can_be_others("a_login_that_is_not_asked_for_a_factor_proves_nothing") {
        return;
    }
    let host = Host::start("");
    host.account("emmy");
    // As su has it for root.
    let admin = Admin::of(&host, &format!("auth sufficient pam_rootok.so\n{BEFORE}"));
    let before = admin.stack();

    fails(&admin.enable(&[], ""), "emmy was let in without a second factor, so the new stack was not tried");
    assert_eq!(admin.stack(), before);
    let shown = admin.enable(&["--without-trial"], "");
    succeeds(&shown, "sudo requires the second factor now");
    assert!(text(&shown).contains("sudo-i is a service of its own, and does not ask yet"), "{}", text(&shown));
    succeeds(&admin.pam(&["disable", "sudo"], "", ELSEWHERE), "sudo is as it was before");
}

#[test]
fn a_service_that_cannot_get_the_module_is_left_alone() {
    if !can_be_others("a_service_that_cannot_get_the_module_is_left_alone") {
        return;
    }
    let host = Host::start("");
    host.account("emmy");
    for (stack, why) in [
        ("account required pam_permit.so\n", "has no `auth` line"),
        ("auth required MODULE\n", "has pam_mfad.so already"),
    ] {
        let admin = Admin::of(&host, stack);
        let before = admin.stack();
        fails(&admin.enable(&[], ""), why);
        assert_eq!(admin.stack(), before);
    }
    let admin = Admin::of(&host, BEFORE);
    fails(&admin.pam(&["enable", "no-such-service"], "", HERE), "/etc/pam.d/no-such-service: No such file");
    fails(&admin.pam(&["enable", "../sudoers"], "", HERE), "give the name of a file in /etc/pam.d");
    let missing = ["enable", "sudo", "--module", "/nowhere/pam_mfad.so"];
    fails(&admin.pam(&missing, "", HERE), "is no absolute path of a file");
}

#[test]
fn coverage_lists_who_could_not_log_in() {
    if !can_be_others("coverage_lists_who_could_not_log_in") {
        return;
    }
    let host = Host::start("");
    host.account("emmy");
    host.counted("sshd");
    let admin = Admin::of(&host, BEFORE);

    let table = admin.pam(&["coverage"], "", HERE);
    succeeds(&table, "could not log in if a second factor were required: 3 of 4 accounts");
    succeeds(&table, "for example: mfactl user set sshd --add-role host --reason TEXT");
    let json = admin.pam(&["coverage", "--json"], "", HERE);
    let document: Value = serde_json::from_slice(&json.stdout).unwrap();
    let emmy = document["accounts"].as_array().unwrap().iter().find(|row| row["account"] == "emmy").unwrap();
    assert_eq!(emmy["methods"], json!(["totp", "recovery"]));
    assert_eq!((&emmy["state"], &emmy["isCovered"]), (&json!("active"), &json!(true)));
    let bare = document["accounts"].as_array().unwrap().iter().find(|row| row["account"] == "bare").unwrap();
    assert_eq!((&bare["state"], &bare["isCovered"]), (&json!("unknown"), &json!(false)));
}

#[test]
fn answers_in_json_name_service_and_state() {
    if !can_be_others("answers_in_json_name_service_and_state") {
        return;
    }
    let host = Host::start("");
    let (_, mut factor, _) = host.account("emmy");
    let admin = Admin::of(&host, BEFORE);
    let said = |output: &Output| -> Value { serde_json::from_slice(&output.stdout).unwrap() };

    let enabled = admin.enable(&["--json"], &format!("{}\n", factor.next()));
    assert_eq!(said(&enabled), json!({"service": "sudo", "state": "enabled"}), "{}", text(&enabled));
    admin.machine.as_emmy(&["sudo", "-S", "true"], &format!("{}\n", factor.next()));
    let confirmed = admin.pam(&["confirm", "sudo", "--json"], "", ELSEWHERE);
    assert_eq!(said(&confirmed), json!({"service": "sudo", "state": "confirmed"}));
    let disabled = admin.pam(&["disable", "sudo", "--json"], "", ELSEWHERE);
    assert_eq!(said(&disabled), json!({"service": "sudo", "state": "disabled"}));
}

#[test]
fn who_is_not_root_changes_nothing() {
    if !can_be_others("who_is_not_root_changes_nothing") {
        return;
    }
    let host = Host::start("");
    let machine = Machine::new(&host, BEFORE);
    let mfactl = mfad_testkit::program("mfactl");
    let place = machine.path("mfactl");
    fs::copy(mfactl, &place).unwrap();

    for command in [["enable", "sudo"], ["confirm", "sudo"], ["disable", "sudo"]] {
        let shown = machine.as_emmy(&[&[place.to_str().unwrap(), "pam"], &command[..]].concat(), "");
        assert_eq!(shown.status.code(), Some(4), "{}", text(&shown));
        assert!(text(&shown).contains("only root may do this"), "{}", text(&shown));
    }
    assert!(Path::new(&machine.path("pam.d/sudo")).exists());
}
