//! A kill at any moment under load: what was acknowledged is there, and nothing that was used counts again (STO-3, R1).

use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use super::figure::{Dice, report, size};
use crate::host::{Host, Premises};
use crate::people::{Factor, PASSWORD, text, with};
use crate::wire::{Connection, Request};

/// Users whose codes are checked all the time.
const CALLERS: usize = 4;
/// Codes before the newest that are shown again after a kill.
const SHOWN_AGAIN: u64 = 2;

/// A user with a counter, and what was acknowledged of it.
struct Caller {
    user: String,
    factor: Factor,
    /// The counter that is shown next.
    next: u64,
    /// The counters that were taken, to the knowledge of whoever showed them; the last one's answer may be lost.
    taken: Vec<u64>,
    in_doubt: Option<u64>,
}

/// What went wrong.
#[derive(Debug, Default, PartialEq, Eq)]
struct Losses {
    taken_twice: usize,
    enrolments_lost: usize,
    right_codes_refused: usize,
}

/// What clients were told.
struct Ledger {
    callers: Vec<Caller>,
    /// People whose enrolment was acknowledged.
    guarded: Vec<(String, String)>,
}

fn connect(host: &Host) -> Option<Connection> {
    Some(Connection::new(UnixStream::connect(host.socket()).ok()?, None))
}

fn show(line: &mut Connection, user: &str, code: &str) -> Option<u16> {
    let request = Request::post(format!("/users/{user}/verify"), &json!({"token": code}));
    line.try_ask(&request).ok().map(|answer| answer.status)
}

impl Caller {
    fn new(host: &Host, name: &str) -> Self {
        let user = host.nobody(name);
        let mut factor = host.pending_for(&user, &json!({"kind": "hotp", "digits": 8}));
        host.confirm(&mut factor);
        Self { user, next: factor.shown() + 1, factor, taken: Vec::new(), in_doubt: None }
    }

    /// Shows code after code until the daemon is gone.
    fn call(&mut self, host: &Host) {
        let Some(mut line) = connect(host) else { return };
        loop {
            let counter = self.next;
            self.next += 1;
            match show(&mut line, &self.user, &self.factor.code(counter)) {
                Some(200) => self.taken.push(counter),
                Some(other) => panic!("a right code is answered {other}"),
                None => {
                    self.in_doubt = Some(counter);
                    return;
                }
            }
        }
    }

    /// Shows used codes again, then a new one.
    fn check(&mut self, host: &Host, losses: &mut Losses) {
        let mut line = connect(host).expect("the daemon is back");
        let newest = self.taken.iter().rev().take(usize::try_from(SHOWN_AGAIN).unwrap());
        for counter in newest {
            if show(&mut line, &self.user, &self.factor.code(*counter)) == Some(200) {
                losses.taken_twice += 1;
            }
        }
        // It was taken or it was not; once it is acknowledged it must not be taken again.
        if let Some(counter) = self.in_doubt.take()
            && show(&mut line, &self.user, &self.factor.code(counter)) == Some(200)
            && show(&mut line, &self.user, &self.factor.code(counter)) == Some(200)
        {
            losses.taken_twice += 1;
        }
        if show(&mut line, &self.user, &self.factor.code(self.next)) == Some(200) {
            self.taken.push(self.next);
        } else {
            losses.right_codes_refused += 1;
        }
        self.next += 1;
    }
}

impl Ledger {
    fn new(host: &Host) -> Self {
        let callers = (0..CALLERS).map(|number| Caller::new(host, &format!("caller {number}"))).collect();
        Self { callers, guarded: Vec::new() }
    }

    /// Load from all sides, a kill after that long, a start, and what is left.
    fn cycle(&mut self, host: &mut Host, number: usize, after: Duration) -> Losses {
        let (callers, guarded) = (&mut self.callers, &mut self.guarded);
        thread::scope(|threads| {
            let seen = &*host;
            for caller in callers.iter_mut() {
                threads.spawn(|| caller.call(seen));
            }
            // Enrolments take longer than most cycles last: every fourth cycle lets one come to its end.
            if number.is_multiple_of(4) {
                let enrolling = threads.spawn(|| enrol(seen, &format!("guarded {number}")));
                guarded.extend(enrolling.join().unwrap());
            }
            thread::sleep(after);
            rustix::process::kill_process(seen.process(), rustix::process::Signal::KILL).unwrap();
        });
        host.restart();
        self.losses(host)
    }

    fn losses(&mut self, host: &Host) -> Losses {
        let mut losses = Losses::default();
        for caller in &mut self.callers {
            caller.check(host, &mut losses);
        }
        // The newest are those that a crash could lose; older ones were looked at before.
        for (name, user) in self.guarded.iter().rev().take(2) {
            let shown = host.ask(&Request::get(format!("/users/{user}")));
            let login = host.ask(&Request::post("/auth/password", &json!({"id": name, "password": PASSWORD})));
            let is_guarded = shown.status == 200 && shown.json()["mfa"] == "active";
            if !is_guarded || login.status != 200 || login.json()["type"] != "CHALLENGE" {
                losses.enrolments_lost += 1;
            }
        }
        losses
    }
}

/// A new person with a factor: name and id, once the enrolment is acknowledged.
fn enrol(host: &Host, name: &str) -> Option<(String, String)> {
    let mut line = connect(host)?;
    let mut ask = |request: Request| -> Option<Value> {
        let answer = line.try_ask(&request).ok()?;
        (answer.status == 200).then(|| answer.json())
    };
    let made = ask(Request::post("/users", &json!({"name": name, "password": PASSWORD})))?;
    let user = text(&made["user"]["uid"]);
    let order = with(json!({"type": "mfa"}), &json!({"kind": "hotp"}));
    let mut factor = Factor::of(&ask(Request::post(format!("/users/{user}/secrets"), &order).reason())?);
    ask(Request::put(format!("{}/enroll", factor.path), &json!({"token": factor.next()})).reason())?;
    Some((name.to_owned(), user))
}

#[test]
fn r1_a_kill_at_any_moment_loses_nothing_that_was_acknowledged() {
    let premises = Premises::new("guardDir = \"\"\n[throttle]\ndelayAfter = 5\n");
    assert!(premises.init().success(), "{}", premises.log_text());
    let mut host = Host::on(premises);
    let mut ledger = Ledger::new(&host);
    let mut dice = Dice(1);
    let cycles = size(60, 2_000);
    let mut acknowledged = 0;
    for number in 0..cycles {
        let before: usize = ledger.callers.iter().map(|caller| caller.taken.len()).sum();
        let after = Duration::from_micros(dice.roll() % 60_000);
        let losses = ledger.cycle(&mut host, number, after);
        assert_eq!(losses, Losses::default(), "cycle {number}, killed after {after:?}");
        acknowledged += ledger.callers.iter().map(|caller| caller.taken.len()).sum::<usize>() - before;
    }
    assert!(acknowledged > cycles, "too little was going on: {acknowledged} codes in {cycles} cycles");

    // The control: a store that forgets the last second of what it acknowledged has to be found out.
    let copy = host.premises.dir.path().join("earlier");
    host.kill();
    copy_store(&host.premises.state, &copy);
    host.start_again();
    let mut lines: Vec<Connection> = ledger.callers.iter().filter_map(|_| connect(&host)).collect();
    for (caller, line) in ledger.callers.iter_mut().zip(&mut lines) {
        let counter = caller.next;
        assert_eq!(show(line, &caller.user, &caller.factor.code(counter)), Some(200));
        caller.taken.push(counter);
        caller.next += 1;
    }
    let guarded = enrol(&host, "forgotten").expect("an enrolment");
    ledger.guarded.push(guarded);
    host.kill();
    copy_store(&copy, &host.premises.state);
    host.start_again();
    let found = ledger.losses(&host);
    assert_eq!((found.taken_twice, found.enrolments_lost), (CALLERS, 1), "the harness finds what was forgotten");

    let figure = format!("0 lost, 0 taken twice in {cycles} kills with {acknowledged} acknowledged codes");
    report("kill -9 under load", figure, "0 in 10,000 kills", cycles >= 10_000);
}

/// The files of a store that nobody uses, the log beside it too.
fn copy_store(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).unwrap();
    for name in ["mfad.db", "mfad.db-wal", "mfad.db-shm"] {
        let _none = std::fs::remove_file(to.join(name));
        if from.join(name).exists() {
            std::fs::copy(from.join(name), to.join(name)).unwrap();
        }
    }
}
