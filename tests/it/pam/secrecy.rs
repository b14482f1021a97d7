//! What is left of a login in the memory of the program that logged somebody in: no code.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use super::applications::Sshd;
use super::machine::{EMMY, ENFORCING, Machine};
use crate::host::Host;
use crate::identity::can_be_others;
use crate::memory::writable_memory;

/// What the user's command prints once it runs.
const READY: &str = "logged in and here";

/// The process and all below it.
fn family(pid: u32) -> Vec<u32> {
    let tasks = format!("/proc/{pid}/task/{pid}/children");
    let children = fs::read_to_string(tasks).unwrap_or_default();
    let below = children.split_whitespace().flat_map(|child| family(child.parse().unwrap()));
    [pid].into_iter().chain(below).collect()
}

/// Those of the processes that run this program, each with the places where this text lies in its memory.
fn holders(pids: &[u32], program: &str, text: &str) -> Vec<(u32, Vec<String>)> {
    let runs = |pid: &&u32| {
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        name.trim().starts_with(program)
    };
    let places = |pid: u32| {
        let blocks = writable_memory(pid).into_iter();
        let has = |bytes: &[u8]| bytes.windows(text.len()).any(|window| window == text.as_bytes());
        blocks.filter(|(_, bytes)| has(bytes)).map(|(line, _)| line).collect()
    };
    pids.iter().filter(runs).map(|pid| (*pid, places(*pid))).collect()
}

/// Waits for the line that the user's command prints.
fn wait_until_ready(child: &mut Child) {
    let output = BufReader::new(child.stdout.take().unwrap());
    let mut lines = output.lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains(READY)), "the login failed");
}

fn end(mut child: Child, pids: &[u32]) {
    for pid in pids.iter().rev() {
        let pid = Pid::from_raw(i32::try_from(*pid).unwrap()).unwrap();
        let _ = kill_process(pid, Signal::KILL);
    }
    let _ = child.wait();
}

#[test]
fn mem_3_after_a_login_sudo_holds_no_code() {
    if !can_be_others("mem_3_after_a_login_sudo_holds_no_code") {
        return;
    }
    let host = Host::start("");
    let (_, mut factor, _) = host.account("emmy");
    let machine = Machine::new(&host, ENFORCING);
    let code = factor.next();
    let id = EMMY.to_string();
    let mut command = machine.command("setpriv");
    command.args(["--reuid", &id, "--regid", &id, "--clear-groups", "sudo", "-S", "sh", "-c"]);
    command.arg(format!("echo {READY}; read wait")).current_dir("/");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    child.stdin.as_mut().unwrap().write_all(format!("{code}\n").as_bytes()).unwrap();
    wait_until_ready(&mut child);

    let pids = family(child.id());
    let found = holders(&pids, "sudo", &code);
    // The control: the search finds what is there.
    let service = holders(&pids, "sudo", "pam_mfad");
    end(child, &pids);

    assert!(!found.is_empty() && found.iter().all(|(_, places)| places.is_empty()), "{found:?}");
    assert!(service.iter().any(|(_, places)| !places.is_empty()), "{service:?}");
}

#[test]
fn mem_3_after_a_login_sshd_holds_no_code() {
    if !can_be_others("mem_3_after_a_login_sshd_holds_no_code") {
        return;
    }
    let host = Host::start("");
    let (_, mut factor, _) = host.account("emmy");
    let machine = Machine::new(&host, ENFORCING);
    let sshd = Sshd::start(&machine, "");
    let code = factor.next();
    let mut client = sshd.client("emmy", &[&code], &[], &format!("echo {READY}; sleep 600"));
    let mut child = client.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    wait_until_ready(&mut child);

    let pids = family(sshd.pid());
    let found = holders(&pids, "sshd", &code);
    let service = holders(&pids, "sshd", "emmy");
    // The server itself ends with its handle.
    end(child, &pids[1..]);

    assert!(found.len() > 1 && found.iter().all(|(_, places)| places.is_empty()), "{found:?}");
    assert!(service.iter().any(|(_, places)| !places.is_empty()), "{service:?}");
}
