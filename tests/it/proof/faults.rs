//! Injects a fault, or a kill, at each system call of a change (R2, R4, STO-3, STO-6, A7). Acknowledged changes must be
//! there, and refused ones must not. A change that got no answer is there or not, but never in part.

use std::collections::BTreeMap;
use std::fs;

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde_json::json;

use super::figure::{Dice, report, size};
use crate::host::{Host, TestDirs};
use crate::people::{Factor, PASSWORD};
use crate::sessions::let_the_grace_pass;
use crate::strace::Strace;
use crate::wire::Request;

/// What the kernel may answer instead of doing it, and what may happen on the way there.
const FAULTS: [(&str, &[&str]); 8] = [
    ("pwrite64", &["error=EIO", "error=ENOSPC", "error=EROFS", "signal=SIGKILL"]),
    ("pread64", &["error=EIO", "signal=SIGKILL"]),
    ("openat", &["error=EIO", "error=ENOSPC", "error=EROFS", "signal=SIGKILL"]),
    ("ftruncate", &["error=EIO", "error=EROFS", "signal=SIGKILL"]),
    ("fdatasync", &["error=EIO", "error=ENOSPC", "signal=SIGKILL"]),
    ("fsync", &["error=EIO", "error=ENOSPC", "signal=SIGKILL"]),
    ("write", &["signal=SIGKILL"]),
    ("sendto", &["signal=SIGKILL"]),
];
/// The calls after whose failure nobody knows what is on the disk: then the daemon ends. No other failure may end it.
const SYNCS: [&str; 3] = ["fdatasync", "fsync", "ftruncate"];
/// How often a fault is tried that did not come about.
const TRIES: usize = 8;
/// Where a write of each change is cut short, in a long run.
const CUTS: usize = 12;

type Look = Box<dyn Fn(&Host) -> bool>;
/// Gets a new person of that name ready for a change.
type Flow = fn(&Host, &str) -> Change;

/// A change that is about to be asked for.
struct Change {
    ask: Request,
    /// The status that promises it. A wrong code is promised to be counted.
    granted: u16,
    /// Whether it happened; looking may use up what it looks at.
    happened: Look,
}

impl Change {
    fn new(ask: Request, happened: impl Fn(&Host) -> bool + 'static) -> Self {
        Self { ask, granted: 200, happened: Box::new(happened) }
    }

    fn granted(self, granted: u16) -> Self {
        Self { granted, ..self }
    }
}

/// Every change that an app, a user or an administrator can make without hardware; each for a new person of that name.
const FLOWS: [(&str, Flow); 22] = [
    ("make a user", make_user),
    ("register", register),
    ("rename a user", rename_user),
    ("disable a user", disable_user),
    ("delete a user", delete_user),
    ("order a factor", order_factor),
    ("import a factor", import_factor),
    ("confirm a factor", confirm_factor),
    ("rename a factor", rename_factor),
    ("delete a factor", delete_factor),
    ("show a right code", show_right_code),
    ("show a wrong code", show_wrong_code),
    ("use a backup code", use_backup_code),
    ("renew backup codes", renew_codes),
    ("unlock a user", unlock_user),
    ("change a password", change_password),
    ("make an API key", make_api_key),
    ("log in", log_in),
    ("refresh", refresh),
    ("log out", log_out),
    ("step up", step_up),
    ("redeem a receipt", redeem_receipt),
];

fn member(host: &Host, path: &str, name: &str) -> String {
    host.ask(&Request::get(path)).ok()[name].to_string()
}

fn has_secret(host: &Host, user: &str, kind: &str, status: &str) -> bool {
    let secrets = host.ask(&Request::get(format!("/users/{user}/secrets"))).ok();
    secrets["secrets"].as_array().unwrap().iter().any(|secret| secret["type"] == kind && secret["status"] == status)
}

fn log_in_with(host: &Host, name: &str, password: &str) -> u16 {
    host.ask(&Request::post("/auth/password", &json!({"id": name, "password": password}))).status
}

fn make_user(_: &Host, name: &str) -> Change {
    let ask = Request::post("/users", &json!({"name": name}));
    let again = ask.clone();
    Change::new(ask, move |host| host.ask(&again).status == 409)
}

fn register(_: &Host, name: &str) -> Change {
    let ask = Request::post("/users", &json!({"name": name, "password": PASSWORD}));
    let name = name.to_owned();
    Change::new(ask, move |host| log_in_with(host, &name, PASSWORD) == 200)
}

fn rename_user(host: &Host, name: &str) -> Change {
    let path = format!("/users/{}", host.nobody(name));
    let ask = Request::put(&path, &json!({"version": 1, "displayName": "another"})).reason();
    Change::new(ask, move |host| member(host, &path, "displayName") == "\"another\"")
}

fn disable_user(host: &Host, name: &str) -> Change {
    let path = format!("/users/{}", host.nobody(name));
    let ask = Request::put(&path, &json!({"version": 1, "disabled": true})).reason();
    Change::new(ask, move |host| member(host, &path, "disabled") == "true")
}

fn delete_user(host: &Host, name: &str) -> Change {
    let (user, _, _) = host.counted(name);
    let path = format!("/users/{user}");
    let ask = Request::delete(&path).reason();
    Change::new(ask, move |host| host.ask(&Request::get(&path)).status == 404).granted(204)
}

fn order_factor(host: &Host, name: &str) -> Change {
    let user = host.nobody(name);
    let ask = Request::post(format!("/users/{user}/secrets"), &json!({"type": "mfa"})).reason();
    Change::new(ask, move |host| has_secret(host, &user, "mfa", "pending"))
}

fn import_factor(host: &Host, name: &str) -> Change {
    let user = host.nobody(name);
    let uri = "otpauth://totp/x:y?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=x";
    let order = json!({"otpauth_url": uri});
    let ask = Request::post(format!("/users/{user}/secrets/import"), &order).reason();
    Change::new(ask, move |host| has_secret(host, &user, "mfa", "pending"))
}

fn confirm_factor(host: &Host, name: &str) -> Change {
    let user = host.nobody(name);
    let mut factor = host.pending_for(&user, &json!({"kind": "hotp", "digits": 8}));
    let ask = Request::put(format!("{}/enroll", factor.path), &json!({"token": factor.next()})).reason();
    Change::new(ask, move |host| {
        let is_active = has_secret(host, &user, "mfa", "active");
        assert_eq!(has_secret(host, &user, "mfabackup", "active"), is_active, "ENR-4: both or none");
        is_active
    })
}

fn rename_factor(host: &Host, name: &str) -> Change {
    let (_, factor, _) = host.counted(name);
    let version = member(host, &factor.path, "version").parse::<u64>().unwrap();
    let ask = Request::put(&factor.path, &json!({"version": version, "name": "another"})).reason();
    Change::new(ask, move |host| member(host, &factor.path, "name") == "\"another\"")
}

fn delete_factor(host: &Host, name: &str) -> Change {
    let (_, factor, _) = host.counted(name);
    let ask = Request::delete(&factor.path).reason();
    Change::new(ask, move |host| host.ask(&Request::get(&factor.path)).status == 404).granted(204)
}

fn show_right_code(host: &Host, name: &str) -> Change {
    let (user, mut factor, _) = host.counted(name);
    let ask = Request::post(format!("/users/{user}/verify"), &json!({"token": factor.next()}));
    let again = ask.clone();
    Change::new(ask, move |host| host.ask(&again).status != 200)
}

fn show_wrong_code(host: &Host, name: &str) -> Change {
    let (user, mut factor, _) = host.counted(name);
    let path = format!("/users/{user}/verify");
    let ask = Request::post(&path, &json!({"token": factor.wrong()}));
    let right = Request::post(&path, &json!({"token": factor.next()}));
    Change::new(ask, move |host| host.ask(&right).status != 200).granted(401)
}

fn use_backup_code(host: &Host, name: &str) -> Change {
    let (user, _, codes) = host.counted(name);
    let ask = Request::post(format!("/users/{user}/verify"), &json!({"code": codes[3]}));
    let again = ask.clone();
    Change::new(ask, move |host| host.ask(&again).status != 200)
}

fn renew_codes(host: &Host, name: &str) -> Change {
    let (user, _, codes) = host.counted(name);
    let ask = Request::new("POST", format!("/users/{user}/codes")).reason();
    let old = Request::post(format!("/users/{user}/verify"), &json!({"code": codes[0]}));
    Change::new(ask, move |host| host.ask(&old).status != 200)
}

fn unlock_user(host: &Host, name: &str) -> Change {
    let (user, mut factor, _) = host.counted(name);
    let path = format!("/users/{user}/verify");
    host.ask(&Request::post(&path, &json!({"token": factor.wrong()}))).refused(401, "wrong-code");
    let ask = Request::new("POST", format!("/users/{user}/unlock")).reason();
    let right = Request::post(&path, &json!({"token": factor.next()}));
    Change::new(ask, move |host| host.ask(&right).status == 200).granted(204)
}

fn change_password(host: &Host, name: &str) -> Change {
    let person = host.person(name);
    let new = "another long password";
    let ask = Request::put(format!("{}/password", person.secrets()), &json!({"secret": new})).reason();
    Change::new(ask, move |host| log_in_with(host, &person.name, new) == 200)
}

fn make_api_key(host: &Host, name: &str) -> Change {
    let person = host.person(name);
    let ask = Request::post(person.secrets(), &json!({"type": "apikey"})).reason();
    Change::new(ask, move |host| has_secret(host, &person.id, "apikey", "active"))
}

fn log_in(host: &Host, name: &str) -> Change {
    let person = host.person(name);
    let (mut factor, _) = host.enrol(&person, &json!({"kind": "hotp", "digits": 8}));
    let challenge = host.challenge(&person);
    let code = json!({"token": factor.next()});
    let ask = Request::post("/auth/totp", &code).token(&challenge);
    let again = Request::post(format!("{}/verify", person.path()), &code);
    Change::new(ask, move |host| host.ask(&again).status != 200)
}

fn refresh(host: &Host, name: &str) -> Change {
    let person = host.person(name);
    let ask = Request::get("/auth/refresh").token(&person.refresh);
    let again = ask.clone();
    Change::new(ask, move |host| {
        let_the_grace_pass(host);
        host.ask(&again).status == 401
    })
}

fn log_out(host: &Host, name: &str) -> Change {
    let person = host.person(name);
    let ask = Request::new("POST", "/auth/logout").token(&person.token);
    Change::new(ask, move |host| host.token_status(&person, &person.token) == 401).granted(204)
}

fn step_up(host: &Host, name: &str) -> Change {
    let (person, mut factor, _) = host.guarded(name);
    let code = factor.next();
    let ask = Request::post("/auth/stepup", &json!({"token": code, "action": "pay"})).token(&person.token);
    let again = Request::post(format!("{}/verify", person.path()), &json!({"token": code}));
    Change::new(ask, move |host| host.ask(&again).status != 200)
}

fn redeem_receipt(host: &Host, name: &str) -> Change {
    let (person, mut factor, _) = host.guarded(name);
    let order = json!({"token": factor.next(), "action": "pay"});
    let receipt = host.ask(&Request::post("/auth/stepup", &order).token(&person.token)).ok()["receipt"].clone();
    let ask = Request::post("/auth/receipt", &json!({"receipt": receipt, "action": "pay"}));
    let again = ask.clone();
    Change::new(ask, move |host| host.ask(&again).status == 401)
}

/// What became of a change that met a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    /// Promised, and there.
    Granted,
    /// Refused, and not there; the daemon goes on.
    Refused,
    /// Nobody was told, or the daemon ended; it is there or it is not.
    Ended,
}

/// A host with somebody whose right code shows whether the daemon works.
struct Bench {
    host: Host,
    bystander: String,
    factor: Factor,
    number: usize,
}

impl Bench {
    fn new() -> Self {
        // One wrong code locks, so that it shows for as long as a test likes. The roll-back guard writes when it comes to
        // that, whatever is asked for meanwhile: it has a harness of its own.
        let dirs = TestDirs::new("guardDir = \"\"\n[throttle]\ndelayAfter = 1\nlockAfter = 1\n");
        assert!(dirs.init().success(), "{}", dirs.log_text());
        let host = Host::on(dirs);
        let (bystander, factor, _) = host.counted("bystander");
        Self { host, bystander, factor, number: 0 }
    }

    fn name(&mut self) -> String {
        self.number += 1;
        format!("person {}", self.number)
    }

    /// Whether a right code is taken.
    fn works(&mut self) -> bool {
        self.host.takes_next(&self.bystander, &mut self.factor)
    }

    /// How often the change asks the kernel for each of these, by any one thread.
    fn count(&mut self, flow: Flow) -> BTreeMap<&'static str, usize> {
        let name = self.name();
        let change = flow(&self.host, &name);
        let log = self.host.dirs.dir.path().join("calls");
        let calls: Vec<&str> = FAULTS.iter().map(|(call, _)| *call).collect();
        let trace = format!("trace={}", calls.join(","));
        let mut strace = Strace::attach(self.host.pid(), &["-f", "-e", &trace, "-o", log.to_str().unwrap()]);
        let answer = self.host.ask(&change.ask);
        assert_eq!(answer.status, change.granted, "{name}: {}", answer.text());
        self.host.kill();
        strace.wait();
        self.host.start_again();
        assert!((change.happened)(&self.host), "a change that met no fault");
        let log = fs::read_to_string(log).unwrap();
        let of_each = |call: &str| {
            let mut threads: BTreeMap<&str, usize> = BTreeMap::new();
            for (thread, rest) in log.lines().filter_map(|line| line.split_once(' ')) {
                if rest.trim_start().starts_with(&format!("{call}(")) {
                    *threads.entry(thread).or_default() += 1;
                }
            }
            threads.into_values().max().unwrap_or(0)
        };
        calls.into_iter().map(|call| (call, of_each(call))).collect()
    }

    /// Asks for the change while the fault is there, starts the daemon anew, and looks.
    fn attempt<F>(
        &mut self,
        change: &Change,
        begin: impl FnOnce(&Host) -> F,
        end: impl FnOnce(F),
    ) -> Result<End, String> {
        let fault = begin(&self.host);
        let told = self.host.connect().try_ask(&change.ask).map(|answer| answer.status);
        end(fault);
        let lives = self.works();
        self.host.restart();
        if !self.works() {
            return Err("the daemon that was started anew refuses a right code".to_owned());
        }
        let happened = (change.happened)(&self.host);
        match told {
            Ok(status) if status == change.granted && happened => Ok(End::Granted),
            Ok(status) if status == change.granted => Err("it was promised, and is not there".to_owned()),
            Ok(status) if status < 500 => Err(format!("a fault of the disk is answered {status}")),
            Ok(status) if lives && happened => Err(format!("it was refused with {status}, and is there")),
            Ok(_) if lives => Ok(End::Refused),
            Err(_) if lives => Err("no answer, and the daemon goes on".to_owned()),
            Ok(_) | Err(_) => Ok(End::Ended),
        }
    }

    /// The fault at that call of the change, and whether it came to it.
    fn inject(&mut self, change: &Change, call: &str, fault: &str, when: usize) -> Result<(End, bool), String> {
        let (trace, inject) = (format!("trace={call}"), format!("inject={call}:{fault}:when={when}"));
        let log = self.host.dirs.dir.path().join("injected");
        let into = log.to_str().unwrap();
        let attach = |host: &Host| Strace::attach(host.pid(), &["-f", "-e", &trace, "-e", &inject, "-o", into]);
        let end = self.attempt(change, attach, drop)?;
        let is_kill = fault.starts_with("signal");
        if end == End::Ended && !is_kill && !SYNCS.contains(&call) {
            return Err("the daemon ended, which it may only when it does not know what is on the disk".to_owned());
        }
        // A kill is often not in the log, whose writer is let go of at once; nor is what came before a daemon's end.
        Ok((end, end == End::Ended || fs::read_to_string(&log).unwrap().contains("(INJECTED)")))
    }

    /// By how many bytes the change makes the log beside the database grow, which begins at nothing.
    fn growth(&mut self, flow: Flow) -> u64 {
        // While the daemon has nothing to do it takes the log in, and begins it anew with the next change.
        for _ in 0..TRIES {
            self.host.stop();
            self.host.start_again();
            let name = self.name();
            let change = flow(&self.host, &name);
            let before = self.log_length();
            assert_eq!(self.host.ask(&change.ask).status, change.granted, "{name}");
            let after = self.log_length();
            if after > before {
                return after - before;
            }
        }
        panic!("a change that is not written down");
    }

    fn log_length(&self) -> u64 {
        fs::metadata(self.host.dirs.state.join("mfad.db-wal")).map_or(0, |log| log.len())
    }

    /// The log beside the database may grow by so many bytes and no more.
    fn cut_short(&mut self, change: &Change, room: u64) -> Result<End, String> {
        let limit = |daemon: Pid, current: Option<u64>| {
            prlimit(Some(daemon), Resource::Fsize, Rlimit { current, maximum: None }).unwrap();
        };
        let most = self.log_length() + room;
        let begin = |host: &Host| {
            let daemon = host.process();
            limit(daemon, Some(most));
            daemon
        };
        match self.attempt(change, begin, |daemon| limit(daemon, None))? {
            End::Ended => Err("a full disk ended the daemon".to_owned()),
            end => Ok(end),
        }
    }
}

#[test]
fn sto_6_a_fault_at_any_call_of_a_change_leaves_it_whole_or_undone() {
    let mut bench = Bench::new();
    let mut dice = Dice(11);
    let mut cases = Vec::new();
    for (name, flow) in FLOWS {
        for (call, count) in bench.count(flow) {
            println!("{name}: {call} {count}");
            let faults = FAULTS.iter().find(|(of, _)| *of == call).map_or(&[][..], |(_, faults)| *faults);
            cases.extend((1..=count).flat_map(|at| faults.iter().map(move |fault| (name, flow, call, *fault, at))));
        }
    }
    let all = cases.len();
    let most = size(60, usize::MAX);
    while cases.len() > most {
        cases.swap_remove(dice.below(cases.len()));
    }
    let mut ends: BTreeMap<End, usize> = BTreeMap::new();
    let (mut missed, mut by_chance) = (0, 0);
    for (name, flow, call, fault, at) in cases.iter().copied() {
        let mut is_met = false;
        // Not each time does the change make as many calls, nor the same thread all of them.
        for _ in 0..TRIES {
            let person = bench.name();
            let change = flow(&bench.host, &person);
            let tried = bench.inject(&change, call, fault, at);
            println!("{name}, {fault} at {call} {at}: {tried:?}");
            let (end, is_there) = tried.unwrap();
            if is_there {
                is_met = true;
                *ends.entry(end).or_default() += 1;
                break;
            }
            assert_eq!(end, End::Granted, "{name}: nothing was in its way");
        }
        // The first count may hold a call that comes once in a hundred times, when one thread wakes another.
        if !is_met && bench.count(flow)[call] < at {
            by_chance += 1;
        } else if !is_met {
            missed += 1;
        }
    }
    let cuts = size(1, CUTS);
    for (name, flow) in FLOWS {
        let growth = bench.growth(flow);
        for _ in 0..cuts {
            let mut is_met = false;
            for _ in 0..TRIES {
                let person = bench.name();
                let change = flow(&bench.host, &person);
                let room = dice.roll() % growth;
                let end = bench.cut_short(&change, room).unwrap();
                println!("{name}, with room for {room} of {growth} bytes: {end:?}");
                is_met = end == End::Refused;
                if is_met {
                    *ends.entry(end).or_default() += 1;
                    break;
                }
                bench.host.stop();
                bench.host.start_again();
            }
            missed += usize::from(!is_met);
        }
    }
    assert!([End::Refused, End::Ended].iter().all(|end| ends.contains_key(end)), "{ends:?}");

    // The control: a disk that says it wrote and did not has to be found out.
    let person = bench.name();
    let change = show_right_code(&bench.host, &person);
    let (trace, inject) = ("trace=pwrite64", "inject=pwrite64:retval=4096");
    let strace = Strace::attach(bench.host.pid(), &["-f", "-e", trace, "-e", inject]);
    let told = bench.host.connect().try_ask(&change.ask).map(|answer| answer.status).unwrap();
    bench.host.kill();
    drop(strace);
    bench.host.start_again();
    assert_eq!((told, (change.happened)(&bench.host)), (200, false), "the harness finds what was not written");

    let log = bench.host.dirs.log_text();
    assert!(!log.contains("panicked"), "a fault of the disk made something panic");
    let done = cases.len() + cuts * FLOWS.len() - missed - by_chance;
    let ways = all + CUTS * FLOWS.len() - by_chance;
    let figure = format!("0 changes half made or lost in {done} faults, of {ways} ways to fail");
    let is_all = cases.len() == all && missed == 0;
    report("a fault or a kill at each system call of 22 changes", figure, "0, at every call", is_all);
}
