//! Every answer and return value of the module, through `pamtester`.

use std::thread;

use serde_json::{Value, json};

use super::machine::Machine;
use super::rig::{AUTH_ERR, AUTHTOK_ERR, CONV_ERR, MAXTRIES, PERM_DENIED, SERVICE_ERR, Stack, module, run};
use crate::host::Host;
use crate::identity::can_be_others;
use crate::people::PASSWORD;
use crate::wire::Request;

fn last_detail(host: &Host) -> Value {
    let page = host.ask(&Request::get("/audit?limit=500")).ok();
    page["events"].as_array().unwrap().iter().rfind(|row| row["event"] == "verify").unwrap()["detail"].clone()
}

#[test]
fn a_code_lets_in_once() {
    let host = Host::start("");
    let (_, mut factor, _) = host.account("emmy");
    let stack = Stack::alone(host.socket(), "retries=0");
    let code = factor.next();
    // Authenticator apps show codes in groups.
    let spaced = format!(" {} {}", &code[..3], &code[3..]);

    stack.authenticate("emmy", &format!("{spaced}\n")).let_in().says("Code: ");
    stack.authenticate("emmy", &format!("{code}\n")).refused(AUTH_ERR).says("Wrong code, or one that was used before");
    // A length that none of the factors has tells nothing either.
    stack.authenticate("emmy", "123456\n").refused(AUTH_ERR).says("Wrong code").lacks("6 to 8 digits");
}

#[test]
fn a_backup_code_is_typed_at_the_same_prompt_and_the_rest_is_counted_unless_silent() {
    let host = Host::start("");
    let (_, _, codes) = host.account("emmy");
    let stack = Stack::alone(host.socket(), "");

    stack.authenticate("emmy", &format!("{}\n", codes[0])).let_in().says("Backup codes left: 9");
    let silent = stack.run(
        &[],
        "svc",
        "emmy",
        &["authenticate(PAM_SILENT)"],
        format!("{}\n{}\n", "1234567", codes[1].to_lowercase()).as_bytes(),
    );
    silent.let_in().lacks("Backup codes left");
    // sudo always sets the flag, and its users must learn what went wrong all the same.
    silent.says("code");
}

#[test]
fn a_wrong_code_may_be_followed_by_as_many_others_as_retries_says() {
    let host = Host::start("");
    let (user, mut factor, _) = host.account("emmy");
    let wrong: Vec<String> = factor.wrong_codes().take(2).collect();

    let right = factor.next();
    let answers = format!("{}\n{right}\n", wrong[0]);
    Stack::alone(host.socket(), "retries=1").authenticate("emmy", &answers).let_in();
    let answers = format!("{}\n{}\n", wrong[0], factor.next());
    Stack::alone(host.socket(), "retries=0").authenticate("emmy", &answers).refused(AUTH_ERR);
    assert_eq!(host.failures(&user), 1);
}

#[test]
fn what_is_no_code_is_refused_without_asking_the_daemon() {
    let host = Host::start("");
    let (user, _, _) = host.account("emmy");
    let stack = Stack::alone(host.socket(), "retries=0");
    let answer = |bytes: &[u8]| stack.run(&[], "svc", "emmy", &["authenticate"], bytes);

    for typed in ["12345", "hunter2", &"1".repeat(400)] {
        answer(format!("{typed}\n").as_bytes()).refused(AUTH_ERR).says("A code has 6 to 8 digits");
    }
    // What sshd answers for a user whom it denies; else anybody could lock root's factors.
    // They see what others see, so that nobody learns whom sshd admits.
    for typed in [b"\x08\r\x7fINCORRECT\n".as_slice(), b"\x08\n", b"123456\x7f\n", b"\xff\xfe\n"] {
        answer(typed).refused(AUTH_ERR).says("Wrong code, or one that was used before");
    }
    for typed in [b"\n".as_slice(), b""] {
        answer(typed).refused(AUTH_ERR).lacks("Wrong code");
    }
    assert_eq!(host.failures(&user), 0);
}

#[test]
fn thr_1_delays_and_locks_are_told_and_end_the_attempt() {
    for (limits, told) in [
        ("delayAfter = 1", "Too many failed attempts. Try again in "),
        ("delayAfter = 1\nlockAfter = 1", "locked after failed attempts. Ask an administrator"),
    ] {
        let host = Host::start(&format!("[throttle]\n{limits}\n"));
        let (_, mut factor, _) = host.account("emmy");
        let answers = format!("{}\n{}\n", factor.wrong(), factor.next());

        Stack::alone(host.socket(), "retries=9").authenticate("emmy", &answers).refused(MAXTRIES).says(told);
    }
}

#[test]
fn users_without_a_factor_are_asked_the_same_and_refused() {
    let host = Host::start("");
    host.give_account(&host.nobody("none"));
    let pending = host.nobody("pending");
    host.give_account(&pending);
    host.pending_for(&pending, &json!({}));
    // Without the role, a factor is nobody's.
    host.counted("shopper");
    let stack = Stack::alone(host.socket(), "retries=0");

    for user in ["none", "pending", "unknown", "shopper"] {
        stack.authenticate(user, "123456\n").refused(AUTH_ERR).says("Code: ").says("Wrong code");
    }
}

#[test]
fn nofactor_decides_about_accounts_without_a_factor_and_about_nobody_else() {
    let host = Host::start("");
    host.give_account(&host.nobody("games"));
    host.account("bin");
    let (gone, _, _) = host.account("sys");
    host.change(&gone, &json!({"disabled": true}));

    let ok = Stack::alone(host.socket(), "nofactor=ok retries=0");
    ok.authenticate("games", "").let_in().lacks("Code: ");
    // An account without a user.
    ok.authenticate("daemon", "").let_in();
    // A name that the host does not know for an account, though it may know the account by it.
    ok.authenticate("no-such-account", "123456\n").refused(AUTH_ERR);
    ok.authenticate("bin", "123456\n").refused(AUTH_ERR);
    ok.authenticate("sys", "123456\n").refused(AUTH_ERR);

    let grace = Stack::alone(host.socket(), "nofactor=enroll until=9999-12-31");
    grace
        .authenticate("games", "")
        .let_in()
        .says("You have no second factor. Ask an administrator for one by 9999-12-31");
    let over = Stack::alone(host.socket(), "nofactor=enroll until=2020-12-31 retries=0");
    over.authenticate("games", "123456\n").refused(AUTH_ERR);
}

#[test]
fn account_refuses_who_has_no_factor_if_it_enforces_and_says_so() {
    let host = Host::start("");
    host.give_account(&host.nobody("games"));
    host.account("bin");
    let account =
        |options: &str, user: &str| Stack::alone(host.socket(), options).run(&[], "svc", user, &["acct_mgmt"], b"");

    account("enforce", "bin").let_in();
    account("enforce", "games").refused(PERM_DENIED).says("You have no second factor, and this host requires one");
    account("enforce nofactor=ok", "games").let_in();
    account("enforce nofactor=enroll until=9999-12-31", "games").let_in();
    // Without `enforce` it has nothing to say, and a stack that hears nothing else refuses.
    account("", "bin").refused(PERM_DENIED);
}

#[test]
fn a_dry_run_lets_nobody_in_by_itself() {
    let host = Host::start("");
    let (_, mut factor, _) = host.account("emmy");
    let lines = format!("auth required MODULE socket={} dry_run\n", host.socket().display());

    let alone = Stack::new("svc", &lines);
    alone.authenticate("emmy", &format!("{}\n", factor.next())).refused(PERM_DENIED);
    let beside = Stack::new("svc", &format!("auth required pam_permit.so\n{lines}"));
    beside.authenticate("emmy", "123456\n123457\n123458\n").let_in().says("Code: ");
}

#[test]
fn mfad_checks_the_password_too_if_told_so() {
    let host = Host::start("");
    let (person, mut factor, _) = host.guarded("emmy");
    host.give_account(&person.id);
    host.give_account(&host.person("games").id);
    let stack = Stack::alone(host.socket(), "password+factor retries=0");

    let right = format!("{PASSWORD}\n{}\n", factor.next());
    stack.authenticate("emmy", &right).let_in().says("Password: ").says("Code: ").lacks(PASSWORD);
    let wrong = format!("another password\n{}\n", factor.next());
    stack.authenticate("emmy", &wrong).refused(AUTH_ERR).says("Wrong user name or password").lacks("Code: ");
    stack.authenticate("emmy", &format!("{PASSWORD}\n{}\n", factor.wrong())).refused(AUTH_ERR);
    let junk = stack.authenticate("emmy", "\x08\r\x7fINCORRECT\n123456\n");
    junk.refused(AUTH_ERR).says("Wrong user name or password");
    // A correct password alone lets nobody in.
    stack.authenticate("games", &format!("{PASSWORD}\n123456\n")).refused(AUTH_ERR);
    Stack::alone(host.socket(), "password+factor nofactor=ok").authenticate("games", &format!("{PASSWORD}\n")).let_in();
    assert_eq!(host.failures(&person.id), 1);
}

#[test]
fn the_password_is_that_of_the_user_who_stands_for_the_account_and_of_no_other() {
    let host = Host::start("");
    let made = json!({"name": "mallory", "email": "games@example.org", "password": PASSWORD});
    host.ask(&Request::post("/users", &made)).ok();
    // An account's name in the hands of somebody whom no administrator made stand for it.
    host.person("bin");

    for (options, account) in [
        ("password+factor nofactor=ok name=%u@example.org", "games"),
        ("password+factor nofactor=ok", "bin"),
        ("password+factor nofactor=ok", "mallory"),
    ] {
        let shown = Stack::alone(host.socket(), options).authenticate(account, &format!("{PASSWORD}\n"));
        shown.refused(AUTH_ERR).says("Wrong user name or password");
    }
}

#[test]
fn user_and_name_say_whose_factor_it_is() {
    let host = Host::start("");
    let (_, mut factor, _) = host.account("emmy@example.org");
    let socket = host.socket();
    let of_caller = Stack::alone(socket, "user=ruser name=%u@example.org retries=0");

    let answers = format!("{}\n", factor.next());
    of_caller.run(&["ruser=emmy"], "svc", "root", &["authenticate"], answers.as_bytes()).let_in();
    assert!(last_detail(&host).as_str().unwrap().contains("svc by emmy"));
    let answers = format!("{}\n", factor.next());
    of_caller.run(&[], "svc", "emmy", &["authenticate"], answers.as_bytes()).refused(AUTH_ERR);
    // In a login from another host, the other side would choose whose factor counts.
    let remote = ["ruser=emmy", "rhost=192.0.2.7"];
    of_caller.run(&remote, "svc", "root", &["authenticate"], answers.as_bytes()).refused(AUTH_ERR);
}

#[test]
fn the_audit_log_names_service_remote_host_and_terminal() {
    let host = Host::start("");
    let (_, mut factor, _) = host.account("emmy");
    let stack = Stack::alone(host.socket(), "");

    let items = ["rhost=192.0.2.7", "tty=pts/3"];
    stack.run(&items, "svc", "emmy", &["authenticate"], format!("{}\n", factor.next()).as_bytes()).let_in();

    assert_eq!(last_detail(&host), "svc from 192.0.2.7 on pts/3: hotp");
}

#[test]
fn an_option_that_is_not_known_refuses_everybody() {
    let host = Host::start("");
    let (_, mut factor, _) = host.account("emmy");

    for options in ["nullok", "nofactor=allow", "retries=many"] {
        let stack = Stack::alone(host.socket(), options);
        stack.authenticate("emmy", &format!("{}\n", factor.next())).refused(SERVICE_ERR);
    }
    // A dry run refuses nobody, whatever is wrong.
    for options in ["dry_run nullok", "dry_run user=ruser", "dry_run socket=/nowhere/s"] {
        let module = super::rig::module();
        let line = format!("auth required {} socket={} {options}", module.display(), host.socket().display());
        let stack = Stack::new("svc", &format!("auth required pam_permit.so\n{line}"));
        stack.authenticate("emmy", "").let_in();
    }
}

#[test]
fn setcred_and_sessions_succeed_and_ask_nobody_and_passwords_are_not_changed() {
    let host = Host::start("");
    let stack = Stack::alone(host.socket(), "");
    let run = |operation: &str| stack.run(&[], "svc", "emmy", &[operation], b"");

    for operation in [
        "setcred",
        "setcred(PAM_ESTABLISH_CRED)",
        "setcred(PAM_REINITIALIZE_CRED)",
        "setcred(PAM_REFRESH_CRED)",
        "open_session",
        "close_session",
    ] {
        run(operation).let_in().lacks("Code: ");
    }
    run("chauthtok").refused(AUTHTOK_ERR);
}

#[test]
fn an_application_that_cannot_ask_is_refused() {
    let host = Host::start("");
    host.account("emmy");
    // pamtester's conversation answers with NULL once its input has ended.
    let shown = Stack::alone(host.socket(), "").authenticate("emmy", "");
    assert!(!shown.success && (shown.text.contains(AUTH_ERR) || shown.text.contains(CONV_ERR)), "{shown:?}");
}

#[test]
fn no_variable_of_the_caller_has_an_effect() {
    let host = Host::start("");
    let (_, mut factor, _) = host.account("emmy");
    let environment = [
        ("MFAD_SOCKET", "/nowhere"),
        ("RUST_BACKTRACE", "full"),
        ("RUST_LOG", "trace"),
        ("http_proxy", "http://127.0.0.1:9"),
        ("TMPDIR", "/nowhere"),
    ];
    let answers = format!("{}\n", factor.next());

    Stack::alone(host.socket(), "")
        .run_as(&[], "svc", "emmy", &["authenticate"], answers.as_bytes(), &environment)
        .let_in();
}

#[test]
fn of_200_logins_with_one_code_one_gets_in() {
    // In the stacks of a namespace, since `pam_wrapper` is not for many at once.
    if !can_be_others("of_200_logins_with_one_code_one_gets_in") {
        return;
    }
    let host = Host::start("");
    let (_, mut factor, _) = host.account("emmy");
    let machine = Machine::new(&host, "auth required MODULE retries=0 timeout=30\n");
    let answers = format!("{}\n", factor.next());
    let login = || {
        let mut command = machine.command("pamtester");
        command.args(["sudo", "emmy", "authenticate"]);
        run(command, answers.as_bytes())
    };

    // Twenty at a time: a process each.
    let logins: Vec<_> = (0..10)
        .flat_map(|_| {
            thread::scope(|scope| {
                let all: Vec<_> = (0..20).map(|_| scope.spawn(login)).collect();
                all.into_iter().map(|login| login.join().unwrap()).collect::<Vec<_>>()
            })
        })
        .collect();

    assert_eq!(logins.iter().filter(|login| login.success).count(), 1);
    assert!(
        logins
            .iter()
            .filter(|login| !login.success)
            .all(|login| login.text.contains(AUTH_ERR) || login.text.contains(MAXTRIES)),
        "{logins:?}"
    );
}

/// Long form: 1,000 logins.
#[test]
fn many_logins_in_one_process_lose_no_memory_and_no_file() {
    let host = Host::start("");
    let (_, mut factor, _) = host.account("emmy");
    let logins = if crate::proof::is_long() { 1000 } else { 20 };
    // Half of them after a wrong answer that the module itself refuses.
    let answers: String = (0..logins)
        .map(|login| if login % 2 == 0 { format!("{}\n", factor.next()) } else { format!("no\n{}\n", factor.next()) })
        .collect();

    let shown = Stack::alone(host.socket(), "").checked("emmy", &vec!["authenticate"; logins], answers.as_bytes());

    assert_eq!(shown.let_in().text.matches("successfully authenticated").count(), logins, "{}", shown.text);
    // Valgrind lists what is open at the end, and what was open before the program began.
    let open = shown.text.lines().filter(|line| line.contains(" Open ")).count();
    assert_eq!(open, shown.text.matches("<inherited from parent>").count(), "{}", shown.text);
}

#[test]
fn the_module_exports_the_functions_of_pam_and_needs_few_libraries() {
    let (exported, needed) = dynamic();

    assert_eq!(
        exported,
        [
            "pam_sm_acct_mgmt",
            "pam_sm_authenticate",
            "pam_sm_chauthtok",
            "pam_sm_close_session",
            "pam_sm_open_session",
            "pam_sm_setcred",
        ]
    );
    let known = ["libpam.so.0", "libgcc_s.so.1", "libc.so.6", "ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1"];
    assert!(needed.iter().all(|name| known.contains(&name.as_str())), "{needed:?}");
}

/// The names that a shared object defines for others, sorted, and the libraries that it needs (by `nm` and `objdump` of
/// the binutils of the host).
fn dynamic() -> (Vec<String>, Vec<String>) {
    let lines = |program: &str, args: &[&str]| -> Vec<String> {
        let output = std::process::Command::new(program).args(args).arg(module()).output().expect("binutils");
        String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
    };
    let mut exported: Vec<String> = lines("nm", &["--dynamic", "--defined-only"])
        .iter()
        .filter_map(|line| line.split_whitespace().nth(2).map(str::to_owned))
        .collect();
    exported.sort();
    let needed = lines("objdump", &["--private-headers"]);
    let needed = needed.iter().filter_map(|line| line.trim().strip_prefix("NEEDED")).map(|name| name.trim().to_owned());
    (exported, needed.collect())
}
