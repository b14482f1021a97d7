//! A kill at any moment under load: what was acknowledged is there, and nothing that was used counts again (STO-3, R1).

use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use super::figure::{Dice, integrity, is_long, report, size};
use crate::host::{Host, TestDirs};
use crate::people::{Factor, PASSWORD, text, with};
use crate::wire::{Connection, Request};

/// Users whose codes are checked all the time.
const CALLERS: usize = 4;
/// One cycle of so many has an enrolment, which takes longer than all the rest of it.
const ENROLLING: usize = 16;
/// A store goes through so many kills: a start reads all of it, which is the more the longer it has been used.
const LIFE: usize = 500;
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
    /// How many were taken under load, before the kills.
    under_load: usize,
}

/// What went wrong.
#[derive(Debug, Default, PartialEq, Eq)]
struct Losses {
    taken_twice: usize,
    enrolments_lost: usize,
    enrolments_by_half: usize,
    right_codes_refused: usize,
}

/// What clients were told.
struct Ledger {
    callers: Vec<Caller>,
    /// People whose enrolment was acknowledged.
    guarded: Vec<(String, String)>,
    /// People whose enrolment a kill may have ended anywhere.
    torn: Vec<String>,
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
        Self { user, next: factor.shown() + 1, factor, taken: Vec::new(), in_doubt: None, under_load: 0 }
    }

    /// Shows code after code until the daemon is gone.
    fn call(&mut self, host: &Host) {
        let Some(mut line) = connect(host) else { return };
        loop {
            let counter = self.next;
            self.next += 1;
            match show(&mut line, &self.user, &self.factor.code(counter)) {
                Some(200) => {
                    self.taken.push(counter);
                    self.under_load += 1;
                }
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
        Self { callers, guarded: Vec::new(), torn: Vec::new() }
    }

    /// Load from all sides, a kill after that long, a start, and what is left.
    fn cycle(&mut self, host: &mut Host, number: usize, after: Duration) -> Losses {
        let callers = &mut self.callers;
        let enrolled = thread::scope(|threads| {
            let seen = &*host;
            for caller in callers.iter_mut() {
                threads.spawn(|| caller.call(seen));
            }
            let mut enrolling =
                number.is_multiple_of(ENROLLING).then(|| threads.spawn(|| enrol(seen, &format!("guarded {number}"))));
            // It takes longer than most cycles last: every second one is let come to its end, the others are killed.
            let awaited = enrolling.take_if(|_| number.is_multiple_of(2 * ENROLLING));
            let enrolled = awaited.map(|enrolling| enrolling.join().unwrap());
            thread::sleep(if enrolling.is_some() { after * 5 } else { after });
            rustix::process::kill_process(seen.process(), rustix::process::Signal::KILL).unwrap();
            enrolled.or_else(|| enrolling.map(|enrolling| enrolling.join().unwrap()))
        });
        match enrolled {
            Some(Enrolled::Whole { name, user }) => self.guarded.push((name, user)),
            Some(Enrolled::Torn { user }) => self.torn.extend(user),
            None => {}
        }
        host.restart();
        self.losses(host, number.is_multiple_of(ENROLLING))
    }

    /// What is missing or counts again; of the newest enrolments also whether they can be logged in to, if that is asked for.
    fn losses(&mut self, host: &Host, logs_in: bool) -> Losses {
        let mut losses = Losses::default();
        for caller in &mut self.callers {
            caller.check(host, &mut losses);
        }
        // The newest are those that a crash could lose; older ones were looked at before.
        for (name, user) in self.guarded.iter().rev().take(2) {
            let shown = host.ask(&Request::get(format!("/users/{user}")));
            let is_guarded = shown.status == 200 && shown.json()["mfa"] == "active";
            let is_challenged = || {
                let login = host.ask(&Request::post("/auth/password", &json!({"id": name, "password": PASSWORD})));
                login.status == 200 && login.json()["type"] == "CHALLENGE"
            };
            if !is_guarded || (logs_in && !is_challenged()) {
                losses.enrolments_lost += 1;
            }
        }
        for user in self.torn.iter().rev().take(1) {
            let mfa = host.ask(&Request::get(format!("/users/{user}"))).ok()["mfa"].clone();
            let secrets = host.ask(&Request::get(format!("/users/{user}/secrets"))).ok()["secrets"].clone();
            let has_codes = secrets.as_array().unwrap().iter().any(|secret| secret["type"] == "mfabackup");
            losses.enrolments_by_half += usize::from((mfa == "active") != has_codes);
        }
        losses
    }
}

/// What became of an enrolment.
enum Enrolled {
    /// It was acknowledged.
    Whole { name: String, user: String },
    /// The daemon went away meanwhile; the user is there if that much was acknowledged.
    Torn { user: Option<String> },
}

fn enrol(host: &Host, name: &str) -> Enrolled {
    let mut user = None;
    match enrol_until(host, name, &mut user) {
        Some(()) => Enrolled::Whole { name: name.to_owned(), user: user.expect("the user was made") },
        None => Enrolled::Torn { user },
    }
}

/// A new person with a factor; something once the enrolment is acknowledged.
fn enrol_until(host: &Host, name: &str, made_user: &mut Option<String>) -> Option<()> {
    let mut line = connect(host)?;
    let mut ask = |request: Request| -> Option<Value> {
        let answer = line.try_ask(&request).ok()?;
        (answer.status == 200).then(|| answer.json())
    };
    let made = ask(Request::post("/users", &json!({"name": name, "password": PASSWORD})))?;
    let user = made_user.insert(text(&made["user"]["uid"]));
    let order = with(json!({"type": "mfa"}), &json!({"kind": "hotp"}));
    let mut factor = Factor::of(&ask(Request::post(format!("/users/{user}/secrets"), &order).reason())?);
    ask(Request::put(format!("{}/enroll", factor.path), &json!({"token": factor.next()})).reason())?;
    Some(())
}

/// A host, and what its clients were told.
struct Life {
    host: Host,
    ledger: Ledger,
}

/// What clients were told in all lives.
#[derive(Default)]
struct Told {
    codes: usize,
    enrolments: usize,
    torn: usize,
}

impl Life {
    fn begin() -> Self {
        let dirs = TestDirs::new("guardDir = \"\"\n[throttle]\ndelayAfter = 5\n");
        assert!(dirs.init().success(), "{}", dirs.log_text());
        let host = Host::on(dirs);
        let ledger = Ledger::new(&host);
        Self { host, ledger }
    }

    /// These kills; nothing may be lost by any of them.
    fn go_through(&mut self, cycles: std::ops::Range<usize>, dice: &mut Dice) {
        for number in cycles {
            let after = Duration::from_micros(dice.roll() % 40_000);
            let losses = self.ledger.cycle(&mut self.host, number, after);
            assert_eq!(losses, Losses::default(), "cycle {number}, killed after {after:?}");
            // All of it is read, so seldom.
            if number.is_multiple_of(100) {
                self.host.kill();
                assert_eq!(integrity(&self.host.dirs.state), "ok", "cycle {number}");
                self.host.start_again();
            }
        }
    }

    fn tell(&self, told: &mut Told) {
        assert!(self.ledger.callers.iter().all(|caller| caller.under_load > 0), "somebody never had a code taken");
        told.codes += self.ledger.callers.iter().map(|caller| caller.under_load).sum::<usize>();
        told.enrolments += self.ledger.guarded.len();
        told.torn += self.ledger.torn.len();
    }

    /// A store that forgets the last second of what it acknowledged has to be found out.
    fn forget(&mut self) {
        let Self { host, ledger } = self;
        let copy = host.dirs.dir.path().join("earlier");
        host.kill();
        copy_store(&host.dirs.state, &copy);
        host.start_again();
        let mut lines: Vec<Connection> = ledger.callers.iter().filter_map(|_| connect(host)).collect();
        for (caller, line) in ledger.callers.iter_mut().zip(&mut lines) {
            let counter = caller.next;
            assert_eq!(show(line, &caller.user, &caller.factor.code(counter)), Some(200));
            caller.taken.push(counter);
            caller.next += 1;
        }
        let Enrolled::Whole { name, user } = enrol(host, "forgotten") else { panic!("no enrolment") };
        ledger.guarded.push((name, user));
        host.kill();
        copy_store(&copy, &host.dirs.state);
        host.start_again();
        let found = ledger.losses(host, true);
        assert_eq!((found.taken_twice, found.enrolments_lost), (CALLERS, 1), "the harness finds what was forgotten");
    }
}

#[test]
fn r1_a_kill_at_any_moment_loses_nothing_that_was_acknowledged() {
    let mut dice = Dice(1);
    let cycles = size(200, 10_000);
    let mut told = Told::default();
    for first in (0..cycles).step_by(LIFE) {
        let mut life = Life::begin();
        life.go_through(first..cycles.min(first + LIFE), &mut dice);
        life.tell(&mut told);
        // The control.
        if first == 0 {
            life.forget();
        }
    }
    let Told { codes, enrolments, torn } = told;
    assert!(codes > cycles, "too little was going on: {codes} codes in {cycles} cycles");
    assert!(enrolments >= cycles / ENROLLING / 2, "only {enrolments} enrolments came to their end");
    assert!(!is_long() || torn > 0, "no enrolment was cut off");

    let figure = format!(
        "0 lost, 0 taken twice in {cycles} kills with {codes} acknowledged codes, {enrolments} enrolments and {torn} cut off"
    );
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
