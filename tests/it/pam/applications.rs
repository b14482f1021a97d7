//! Real applications: OpenSSH on loopback, sudo and su, with accounts and stacks of their own in a mount namespace.

use std::fs::{self, Permissions};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::machine::{Machine, text};
use crate::host::{Host, wait};
use crate::identity::can_be_others;
use crate::wire::Request;
use rustix::process::{Pid, Signal, kill_process};

/// An OpenSSH server of a machine.
pub struct Sshd<'a> {
    machine: &'a Machine,
    server: Child,
    port: u16,
}

impl<'a> Sshd<'a> {
    pub fn start(machine: &'a Machine, more: &str) -> Self {
        let run = |program: &mut Command| assert!(program.output().unwrap().status.success());
        for name in ["host_key", "key"] {
            run(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(machine.path(name)));
        }
        fs::copy(machine.path("key.pub"), machine.path("authorized_keys")).unwrap();
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let at = |name: &str| machine.path(name).display().to_string();
        let config = format!(
            "ListenAddress 127.0.0.1:{port}\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\nUsePAM yes\n\
             KbdInteractiveAuthentication yes\nPasswordAuthentication no\nPermitRootLogin no\nStrictModes no\n\
             LoginGraceTime 30\n{more}",
            at("host_key"),
            at("authorized_keys"),
        );
        let write = |config: &str| fs::write(machine.path("sshd_config"), config).unwrap();
        // OpenSSH 9.8 and later slow a source down after some failures; earlier ones do not know the option.
        write(&format!("PerSourcePenalties no\n{config}"));
        let sshd = || {
            let mut command = machine.command("/usr/sbin/sshd");
            command.arg("-f").arg(machine.path("sshd_config"));
            command
        };
        if !sshd().arg("-t").output().unwrap().status.success() {
            write(&config);
        }
        let log = fs::File::create(machine.path("log")).unwrap();
        let mut server = sshd().args(["-D", "-e"]).stdin(Stdio::null()).stderr(log).spawn().unwrap();
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            let log = fs::read_to_string(machine.path("log")).unwrap();
            assert!(server.try_wait().unwrap().is_none() && Instant::now() < deadline, "{log}");
            thread::sleep(Duration::from_millis(10));
        }
        Self { machine, server, port }
    }

    /// Logs in with the OpenSSH client, which gets these answers to its prompts. Returns what it showed, the prompts
    /// first.
    pub fn log_in(&self, user: &str, answers: &[&str], more: &[&str]) -> (bool, String) {
        let output = self.client(user, answers, more, "echo logged in as $(id -un)").output().unwrap();
        let shown = fs::read_to_string(self.machine.path("prompts")).unwrap() + &text(&output);
        (output.status.success() && shown.contains(&format!("logged in as {user}")), shown)
    }

    /// The OpenSSH client that runs this command for the user. What it asks for is written down.
    pub fn client(&self, user: &str, answers: &[&str], more: &[&str], remote: &str) -> Command {
        let (answers_path, prompts) = (self.machine.path("answers"), self.machine.path("prompts"));
        fs::write(&answers_path, answers.iter().map(|answer| format!("{answer}\n")).collect::<String>()).unwrap();
        fs::write(&prompts, "").unwrap();
        let ask = self.machine.path("ask");
        let script = format!(
            "#!/bin/sh\nprintf '%s\\n' \"$1\" >>'{prompts}'\nhead -n 1 '{answers}'\nsed -i 1d '{answers}'\n",
            prompts = prompts.display(),
            answers = answers_path.display(),
        );
        fs::write(&ask, script).unwrap();
        fs::set_permissions(&ask, Permissions::from_mode(0o755)).unwrap();
        let mut command = Command::new("ssh");
        // Of each option the first value counts.
        command.args(["-F", "none", "-p", &self.port.to_string()]).args(more);
        for option in [
            "StrictHostKeyChecking=no",
            "UserKnownHostsFile=/dev/null",
            "GlobalKnownHostsFile=/dev/null",
            "PreferredAuthentications=keyboard-interactive",
            "NumberOfPasswordPrompts=1",
            "IdentityAgent=none",
        ] {
            command.args(["-o", option]);
        }
        command.arg(format!("{user}@127.0.0.1")).arg(remote);
        command.env("SSH_ASKPASS", &ask).env("SSH_ASKPASS_REQUIRE", "force").env("DISPLAY", ":none");
        command.stdin(Stdio::null());
        command
    }

    pub fn pid(&self) -> u32 {
        self.server.id()
    }
}

impl Drop for Sshd<'_> {
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.server), Signal::TERM);
        wait(&mut self.server, PATIENCE);
        if thread::panicking() {
            eprintln!("sshd's log:\n{}", fs::read_to_string(self.machine.path("log")).unwrap_or_default());
        }
    }
}

const PATIENCE: Duration = Duration::from_secs(30);

const ALONE: &str = "auth required MODULE retries=1\naccount required pam_permit.so\nsession required pam_permit.so\n";

#[test]
fn ssh_lets_in_with_a_code_or_a_backup_code_and_with_nothing_else() {
    if !can_be_others("ssh_lets_in_with_a_code_or_a_backup_code_and_with_nothing_else") {
        return;
    }
    let mut host = Host::start("");
    let (_, mut factor, codes) = host.account("emmy");
    host.give_account(&host.nobody("bare"));
    let machine = Machine::new(&host, ALONE);
    let sshd = Sshd::start(&machine, "");
    let wrong = factor.wrong();

    let code = factor.next();
    let (is_in, shown) = sshd.log_in("emmy", &[&code], &[]);
    assert!(is_in && shown.contains("Code: "), "{shown}");
    let (is_in, shown) = sshd.log_in("emmy", &[&code, &wrong], &[]);
    assert!(!is_in && shown.contains("Wrong code, or one that was used before"), "{shown}");
    let (is_in, shown) = sshd.log_in("emmy", &[&wrong, &factor.next()], &[]);
    // The text of the refusal comes with the next prompt.
    assert!(is_in && shown.contains("Wrong code"), "{shown}");
    let (is_in, shown) = sshd.log_in("emmy", &[&codes[0]], &[]);
    assert!(is_in && shown.contains("Backup codes left: 9"), "{shown}");

    for user in ["bare", "no-such-account"] {
        let (is_in, shown) = sshd.log_in(user, &["123456", "123456"], &[]);
        assert!(!is_in && shown.contains("Code: "), "{user}: {shown}");
    }
    let page = host.ask(&Request::get("/audit?limit=500")).ok();
    let told = page["events"].as_array().unwrap().iter().any(|row| row["detail"] == "sshd from 127.0.0.1 on ssh: hotp");
    assert!(told, "{page}");

    host.kill();
    let (is_in, shown) = sshd.log_in("emmy", &[&factor.next()], &[]);
    assert!(!is_in && !shown.contains("Code: "), "{shown}");
}

#[test]
fn ssh_for_a_user_whom_it_denies_counts_nothing() {
    if !can_be_others("ssh_for_a_user_whom_it_denies_counts_nothing") {
        return;
    }
    let host = Host::start("");
    let (root, mut factor, _) = host.account("root");
    let machine = Machine::new(&host, ALONE);
    let sshd = Sshd::start(&machine, "");

    for answer in [factor.wrong(), factor.next(), "7K3M-9QXT-0C5W-HR2E".to_owned()] {
        let (is_in, shown) = sshd.log_in("root", &[&answer, &answer], &[]);
        assert!(!is_in && shown.contains("Code: "), "{shown}");
    }
    assert_eq!(host.failures(&root), 0);
    // Whom sshd denies sees what an admitted user without a factor sees, so that nobody learns whom it admits.
    let seen = |user: &str| {
        let (is_in, shown) = sshd.log_in(user, &["123456", "123456"], &[]);
        assert!(!is_in, "{shown}");
        shown
            .replace(user, "USER")
            .lines()
            .filter(|line| !line.contains("Warning: Permanently"))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let admitted = seen("bare");
    for denied in ["root", "no-such-account"] {
        assert_eq!(seen(denied), admitted, "{denied}");
    }
}

#[test]
fn the_password_method_of_ssh_does_not_answer_for_the_user() {
    if !can_be_others("the_password_method_of_ssh_does_not_answer_for_the_user") {
        return;
    }
    let host = Host::start("");
    let (user, _, _) = host.account("emmy");
    let machine = Machine::new(&host, ALONE);
    let sshd = Sshd::start(&machine, "");
    drop(sshd);
    let sshd = restarted(&machine, "PasswordAuthentication yes\n");

    let by_password = ["-o", "PreferredAuthentications=password"];
    let (is_in, shown) = sshd.log_in("emmy", &["123456"], &by_password);

    assert!(!is_in, "{shown}");
    assert_eq!(host.failures(&user), 0);
}

/// The same machine with another server, whose first lines these are: the first value of an option counts.
fn restarted<'a>(machine: &'a Machine, first: &str) -> Sshd<'a> {
    for name in ["host_key", "host_key.pub", "key", "key.pub"] {
        fs::remove_file(machine.path(name)).unwrap();
    }
    Sshd::start(machine, first)
}

#[test]
fn ssh_with_a_key_asks_for_the_code_too_and_account_refuses_who_has_no_factor() {
    if !can_be_others("ssh_with_a_key_asks_for_the_code_too_and_account_refuses_who_has_no_factor") {
        return;
    }
    let host = Host::start("");
    let (_, mut factor, _) = host.account("emmy");
    host.give_account(&host.nobody("bare"));
    let stack = "auth required MODULE retries=0\naccount required MODULE enforce\nsession required pam_permit.so\n";
    let machine = Machine::new(&host, stack);
    let key = machine.path("key").display().to_string();
    let with_key = ["-i", key.as_str(), "-o", "PreferredAuthentications=publickey,keyboard-interactive"];

    let sshd = Sshd::start(&machine, "AuthenticationMethods publickey,keyboard-interactive:pam\n");
    let (is_in, shown) = sshd.log_in("emmy", &[&factor.next()], &with_key);
    assert!(is_in && shown.contains("Code: "), "{shown}");
    let (is_in, shown) = sshd.log_in("emmy", &[&factor.wrong()], &with_key);
    assert!(!is_in, "{shown}");
    drop(sshd);

    // The key alone does not come by the module's `auth`, but by its `account`.
    let sshd = restarted(&machine, "AuthenticationMethods publickey\n");
    let key = machine.path("key").display().to_string();
    let with_key = ["-i", key.as_str(), "-o", "PreferredAuthentications=publickey"];
    assert!(sshd.log_in("emmy", &[], &with_key).0);
    let (is_in, shown) = sshd.log_in("bare", &[], &with_key);
    assert!(!is_in && shown.contains("You have no second factor, and this host requires one"), "{shown}");
}

#[test]
fn sudo_asks_for_the_code_of_its_caller() {
    if !can_be_others("sudo_asks_for_the_code_of_its_caller") {
        return;
    }
    let mut host = Host::start("");
    let (user, mut factor, _) = host.account("emmy");
    let machine = Machine::new(&host, ALONE);
    let sudo = |answers: &str| machine.as_emmy(&["sudo", "-S", "id", "-un"], answers);

    let shown = sudo(&format!("{}\n", factor.next()));
    assert!(shown.status.success() && text(&shown).contains("root"), "{}", text(&shown));
    let shown = sudo(&format!("{}\n{}\n", factor.wrong(), factor.next()));
    // sudo sets PAM_SILENT, and the reason is shown all the same.
    assert!(shown.status.success() && text(&shown).contains("Wrong code"), "{}", text(&shown));
    let shown = machine.as_emmy(&["sudo", "-n", "id", "-un"], "");
    assert!(!shown.status.success(), "{}", text(&shown));
    assert_eq!(host.failures(&user), 0);

    host.kill();
    let shown = sudo(&format!("{}\n", factor.next()));
    assert!(!shown.status.success() && text(&shown).contains("out of service"), "{}", text(&shown));
}

#[test]
fn sudo_asks_once_while_it_remembers_its_caller() {
    if !can_be_others("sudo_asks_once_while_it_remembers_its_caller") {
        return;
    }
    let host = Host::start("");
    let (_, mut factor, _) = host.account("emmy");
    let machine =
        Machine::new(&host, &ALONE.replace("account required pam_permit.so", "account required MODULE enforce"));
    let rules = "Defaults !lecture, timestamp_timeout=5, timestamp_type=global\nemmy ALL=(ALL) ALL\n";
    fs::write(machine.path("sudoers"), rules).unwrap();
    let twice = "sudo -S id -un && sudo -n id -un";

    let shown = machine.as_emmy(&["sh", "-c", twice], &format!("{}\n", factor.next()));

    assert!(shown.status.success(), "{}", text(&shown));
    assert_eq!(text(&shown).matches("root").count(), 2, "{}", text(&shown));
    assert_eq!(text(&shown).matches("Code: ").count(), 1, "{}", text(&shown));
}

#[test]
fn su_asks_for_the_code_of_the_target_or_with_an_option_of_the_caller() {
    if !can_be_others("su_asks_for_the_code_of_the_target_or_with_an_option_of_the_caller") {
        return;
    }
    let host = Host::start("");
    let (_, mut root, _) = host.account("root");
    let (_, mut emmy, _) = host.account("emmy");
    let su = |stack: &str, answers: &str| Machine::new(&host, stack).as_emmy(&["su", "root", "-c", "id -un"], answers);
    let of_caller = ALONE.replace("retries=1", "retries=1 user=ruser");

    let shown = su(ALONE, &format!("{}\n", root.next()));
    assert!(shown.status.success() && text(&shown).contains("root"), "{}", text(&shown));
    assert!(!su(ALONE, &format!("{}\n", emmy.next())).status.success());
    let shown = su(&of_caller, &format!("{}\n", emmy.next()));
    assert!(shown.status.success() && text(&shown).contains("root"), "{}", text(&shown));
    assert!(!su(&of_caller, &format!("{}\n", root.next())).status.success());
    assert!(!su(ALONE, "").status.success());
}

#[test]
fn a_stack_without_the_module_file_refuses_everybody() {
    if !can_be_others("a_stack_without_the_module_file_refuses_everybody") {
        return;
    }
    let host = Host::start("");
    for dash in ["", "-"] {
        let stack = format!(
            "{dash}auth required /nowhere/pam_mfad.so\nauth required pam_permit.so\naccount required pam_permit.so\n"
        );
        let shown = Machine::new(&host, &stack).as_emmy(&["sudo", "-S", "id", "-un"], "123456\n");
        assert!(!shown.status.success(), "{dash}: {}", text(&shown));
    }
}
