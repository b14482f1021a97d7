//! Break-glass codes: they let their account in while the daemon is gone, once each, and the audit log learns of it.

use std::fs;
use std::process::{Output, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use super::applications::Sshd;
use super::faults::knowing;
use super::machine::{ENFORCING, Machine, text};
use super::rig::module;
use crate::host::Host;
use crate::identity::can_be_others;
use crate::wire::Request;

const PROMPT: &str = "Break-glass code: ";

/// Runs `mfactl pam break-glass` as root.
fn mfactl(host: &Host, machine: &Machine, arguments: &[&str]) -> Output {
    let mut command = machine.command(mfad_testkit::program("mfactl").to_str().unwrap());
    command.env("MFAD_SOCKET", host.socket()).args(["--yes", "pam", "break-glass"]).args(arguments);
    command.stdin(Stdio::null()).output().unwrap()
}

#[track_caller]
fn document(host: &Host, machine: &Machine, arguments: &[&str]) -> Value {
    let output = mfactl(host, machine, &[&["--json"], arguments].concat());
    assert!(output.status.success(), "{}", text(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn codes_for(host: &Host, machine: &Machine, account: &str) -> Vec<String> {
    let made = document(host, machine, &[account]);
    made["codes"].as_array().unwrap().iter().map(|code| code.as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_code_lets_its_account_in_once_while_the_daemon_is_gone_and_is_reported_afterwards() {
    if !can_be_others("a_code_lets_its_account_in_once_while_the_daemon_is_gone_and_is_reported_afterwards") {
        return;
    }
    let mut host = Host::start("");
    let (user, mut factor, _) = host.account("emmy");
    let machine = Machine::new(&host, ENFORCING);
    let codes = codes_for(&host, &machine, "emmy");
    assert_eq!(codes.len(), 10);
    let sudo = |answers: &[&str]| {
        let lines: String = answers.iter().map(|answer| format!("{answer}\n")).collect();
        machine.as_emmy(&["sudo", "-S", "id", "-un"], &lines)
    };

    // The daemon decides as long as it can, and takes no such code.
    let shown = sudo(&[&codes[0]]);
    assert!(!shown.status.success() && !text(&shown).contains(PROMPT), "{}", text(&shown));

    host.kill();
    let shown = sudo(&[&factor.next(), &codes[0].to_lowercase()]);
    assert!(shown.status.success() && text(&shown).contains(PROMPT), "{}", text(&shown));
    assert!(text(&shown).contains("Wrong code") && text(&shown).contains("out of service"), "{}", text(&shown));
    let shown = sudo(&[&codes[0], "123456"]);
    assert!(!shown.status.success(), "a code works once: {}", text(&shown));
    let list = document(&host, &machine, &["--list"])["lists"][0].clone();
    assert_eq!((&list["account"], &list["left"], &list["total"]), (&json!("emmy"), &json!(9), &json!(10)));
    assert_eq!((&list["uses"][0]["service"], &list["uses"][0]["isReported"]), (&json!("sudo"), &json!(false)));
    let again = mfactl(&host, &machine, &["emmy"]);
    assert!(!again.status.success() && text(&again).contains("--report first"), "{}", text(&again));

    host.start_again();
    assert_eq!(document(&host, &machine, &["--report"]), json!({"reported": 1}));
    assert_eq!(document(&host, &machine, &["--report"]), json!({"reported": 0}));
    let page = host.ask(&Request::get("/audit?limit=500")).ok();
    let rows: Vec<&Value> =
        page["events"].as_array().unwrap().iter().filter(|row| row["event"] == "host.break-glass").collect();
    assert_eq!((rows.len(), &rows[0]["subject"]), (1, &json!(user)));
    let detail = rows[0]["detail"].as_str().unwrap();
    assert!(detail.starts_with("sudo by emmy") && detail.ends_with('Z'), "{detail}");

    // New codes end the old ones, and none are left after a removal.
    let newer = codes_for(&host, &machine, "emmy");
    host.kill();
    assert!(!sudo(&[&codes[1], "x"]).status.success());
    assert!(sudo(&[&newer[1]]).status.success());
    // A use that the audit log lacks is not lost with its list.
    assert!(!mfactl(&host, &machine, &["emmy", "--remove"]).status.success());
    host.start_again();
    assert_eq!(document(&host, &machine, &["--report"]), json!({"reported": 1}));
    assert!(mfactl(&host, &machine, &["emmy", "--remove"]).status.success());
    host.kill();
    let shown = sudo(&[&newer[2]]);
    assert!(!shown.status.success() && !text(&shown).contains(PROMPT), "{}", text(&shown));
}

#[test]
fn ssh_asks_for_a_code_of_the_list_and_only_accounts_that_have_one() {
    if !can_be_others("ssh_asks_for_a_code_of_the_list_and_only_accounts_that_have_one") {
        return;
    }
    let mut host = Host::start("");
    host.account("emmy");
    let machine = Machine::new(&host, ENFORCING);
    let codes = codes_for(&host, &machine, "emmy");
    let sshd = Sshd::start(&machine, "");
    host.kill();

    let (is_in, shown) = sshd.log_in("emmy", &[&codes[3]], &[]);
    assert!(is_in && shown.contains(PROMPT), "{shown}");
    let (is_in, shown) = sshd.log_in("emmy", &[&codes[3], &codes[3]], &[]);
    assert!(!is_in, "{shown}");
    let (is_in, shown) = sshd.log_in("bare", &[&codes[4]], &[]);
    assert!(!is_in && !shown.contains(PROMPT) && shown.contains("out of service"), "{shown}");
    // A key of ssh reaches `account` alone, where nobody can be asked.
    let key = machine.path("key").display().to_string();
    let (is_in, shown) = sshd.log_in("emmy", &[], &["-i", &key, "-o", "PreferredAuthentications=publickey"]);
    assert!(!is_in, "{shown}");
}

#[test]
fn no_code_stands_for_the_password_and_a_list_that_others_can_write_is_not_used() {
    if !can_be_others("no_code_stands_for_the_password_and_a_list_that_others_can_write_is_not_used") {
        return;
    }
    let mut host = Host::start("");
    host.account("emmy");
    let both = Machine::new(&host, &ENFORCING.replace("retries=1", "retries=1 password+factor"));
    let second = Machine::new(&host, ENFORCING);
    let codes = codes_for(&host, &both, "emmy");
    let others = codes_for(&host, &second, "emmy");
    host.kill();
    let sudo = |machine: &Machine, code: &str| machine.as_emmy(&["sudo", "-S", "id", "-un"], &format!("{code}\n"));

    let shown = sudo(&both, &codes[0]);
    assert!(!shown.status.success() && !text(&shown).contains(PROMPT), "{}", text(&shown));
    let directory = second.path("lib/mfad-pam/break-glass");
    let open = |mode| fs::set_permissions(&directory, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
    open(0o777);
    let shown = sudo(&second, &others[0]);
    assert!(!shown.status.success() && !text(&shown).contains(PROMPT), "{}", text(&shown));
    open(0o700);
    assert!(sudo(&second, &others[0]).status.success());
}

#[test]
fn only_root_makes_codes_and_only_for_accounts() {
    if !can_be_others("only_root_makes_codes_and_only_for_accounts") {
        return;
    }
    let host = Host::start("");
    let machine = Machine::new(&host, ENFORCING);
    let program = mfad_testkit::program("mfactl").display().to_string();

    for (account, why) in [("nobody-here", "no account of the name"), ("../emmy", "no account of the name")] {
        let shown = mfactl(&host, &machine, &[account]);
        assert!(!shown.status.success() && text(&shown).contains(why), "{}", text(&shown));
    }
    let shown = machine.as_emmy(&[&program, "pam", "break-glass", "emmy"], "");
    assert_eq!(shown.status.code(), Some(4), "{}", text(&shown));
    let shown = mfactl(&host, &machine, &["emmy", "--remove"]);
    assert!(!shown.status.success() && text(&shown).contains("has no break-glass codes"), "{}", text(&shown));
}

#[test]
fn a_daemon_that_cannot_work_is_as_good_as_none_and_one_that_refuses_the_module_is_not() {
    if !can_be_others("a_daemon_that_cannot_work_is_as_good_as_none_and_one_that_refuses_the_module_is_not") {
        return;
    }
    let host = Host::start("");
    for (status, code, is_down) in [
        ("503 Service Unavailable", "busy", true),
        ("500 Internal", "internal", true),
        ("403 Forbidden", "forbidden", false),
    ] {
        let (_dir, path) = knowing(status, code, Duration::ZERO);
        let line = format!("{} socket={}", module().display(), path.display());
        let machine = Machine::new(&host, &ENFORCING.replace("MODULE", &line));
        let codes = codes_for(&host, &machine, "emmy");

        let shown = machine.as_emmy(&["sudo", "-S", "id", "-un"], &format!("123456\n{}\n", codes[0]));

        assert_eq!((shown.status.success(), text(&shown).contains(PROMPT)), (is_down, is_down), "{}", text(&shown));
    }
}

#[test]
fn a_damaged_list_keeps_no_other_from_being_used_and_can_be_replaced() {
    if !can_be_others("a_damaged_list_keeps_no_other_from_being_used_and_can_be_replaced") {
        return;
    }
    let host = Host::start("");
    let machine = Machine::new(&host, ENFORCING);
    codes_for(&host, &machine, "bare");
    codes_for(&host, &machine, "emmy");
    fs::write(machine.path("lib/mfad-pam/break-glass/bare.json"), "{").unwrap();

    let listed = mfactl(&host, &machine, &["--list"]);
    assert!(text(&listed).contains("10 of 10") && text(&listed).contains("the list of bare"), "{}", text(&listed));
    assert!(mfactl(&host, &machine, &["--report"]).status.success());
    assert_eq!(codes_for(&host, &machine, "bare").len(), 10);
}
