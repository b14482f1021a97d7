//! A long time of everything at once: nothing grows (R14).

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use super::figure::{descriptors, is_long, of_process, report, size};
use crate::host::Host;
use crate::people::{Factor, Person, text};
use crate::wire::{Answer, Connection, Request};

const SIDES: usize = 4;
/// From one turn of a side to the next: so many that all is in use, so few that the machine can do other things meanwhile.
const PACE: Duration = Duration::from_millis(25);
/// How often the daemon is looked at.
const LOOKS: usize = 24;
/// How long nobody asks before a look in a long run: longer than connections and threads live on with nothing to do. What is
/// held then is held for good.
const PAUSE: Duration = Duration::from_secs(12);

/// One who comes again and again, with a counter.
struct Regular {
    person: Person,
    factor: Factor,
    /// Stays wrong from one session to the next.
    wrong: String,
    line: Connection,
    turns: u64,
    calls: u64,
}

impl Regular {
    fn new(host: &Host, name: &str) -> Self {
        let (person, factor, _) = host.guarded(name);
        Self { person, wrong: factor.wrong(), factor, line: line(host), turns: 0, calls: 0 }
    }

    fn ask(&mut self, request: &Request) -> Answer {
        self.calls += 1;
        self.line.ask(request)
    }

    /// A right and a wrong code; now and then a whole session, or another factor.
    fn turn(&mut self, host: &Host) {
        if self.turns.is_multiple_of(50) {
            self.line = line(host);
            self.session();
            self.wrong = self.factor.wrong();
        }
        if self.turns.is_multiple_of(70) {
            self.spare_factor();
        }
        self.turns += 1;
        let verify = format!("{}/verify", self.person.path());
        let code = self.factor.next();
        self.ask(&Request::post(&verify, &json!({"token": code}))).ok();
        let wrong = json!({"token": self.wrong});
        self.ask(&Request::post(&verify, &wrong)).refused(401, "wrong-code");
    }

    /// From the password to the logout.
    fn session(&mut self) {
        let password = json!({"id": self.person.name, "password": self.person.password});
        let challenge = self.ask(&Request::post("/auth/password", &password)).ok();
        let code = json!({"token": self.factor.next()});
        let login = self.ask(&Request::post("/auth/totp", &code).token(&text(&challenge["token"]))).ok();
        let renewed = self.ask(&Request::get("/auth/refresh").token(&text(&login["refresh"]))).ok();
        let access = text(&renewed["token"]);
        let order = json!({"token": self.factor.next(), "action": "pay"});
        let receipt = self.ask(&Request::post("/auth/stepup", &order).token(&access)).ok()["receipt"].clone();
        self.ask(&Request::post("/auth/receipt", &json!({"receipt": receipt, "action": "pay"}))).ok();
        self.ask(&Request::get(self.person.secrets()).token(&access)).ok();
        self.ask(&Request::new("POST", "/auth/logout").token(&access)).done();
    }

    /// A second factor: made, confirmed, deleted.
    fn spare_factor(&mut self) {
        let order = json!({"type": "mfa", "name": "spare", "kind": "hotp"});
        let mut spare = Factor::of(&self.ask(&Request::post(self.person.secrets(), &order).reason()).ok());
        let first = json!({"token": spare.next()});
        self.ask(&Request::put(format!("{}/enroll", spare.path), &first).reason()).ok();
        self.ask(&Request::delete(&spare.path).reason()).done();
    }
}

fn line(host: &Host) -> Connection {
    Connection::new(UnixStream::connect(host.socket()).unwrap(), None)
}

/// What a process holds.
#[derive(Clone, Copy, Debug)]
struct Holdings {
    at: Instant,
    resident_kib: f64,
    descriptors: usize,
    threads: usize,
    log_kib: u64,
}

fn holdings(host: &Host) -> Holdings {
    let log = std::fs::metadata(host.dirs.state.join("mfad.db-wal")).map_or(0, |log| log.len());
    Holdings {
        at: Instant::now(),
        resident_kib: of_process(host, "VmRSS:") as f64,
        descriptors: descriptors(host),
        threads: usize::try_from(of_process(host, "Threads:")).unwrap(),
        log_kib: log / 1024,
    }
}

/// The slope of the best line through these points.
fn slope(points: &[(f64, f64)]) -> f64 {
    let count = points.len() as f64;
    let mean = |part: fn(&(f64, f64)) -> f64| points.iter().map(part).sum::<f64>() / count;
    let (mean_x, mean_y) = (mean(|point| point.0), mean(|point| point.1));
    let above: f64 = points.iter().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum();
    let below: f64 = points.iter().map(|(x, _)| (x - mean_x).powi(2)).sum();
    above / below
}

/// Turns of all sides for so long, in parts, and what the daemon holds after each. Before each look something may happen.
fn watch(host: &Host, regulars: &mut [Regular], length: Duration, mut before: impl FnMut()) -> Vec<Holdings> {
    let part = length / u32::try_from(LOOKS).unwrap();
    (0..LOOKS)
        .map(|_| {
            take_turns(host, regulars, part);
            before();
            holdings(host)
        })
        .collect()
}

/// Turns of all sides for so long.
fn take_turns(host: &Host, regulars: &mut [Regular], length: Duration) {
    let end = Instant::now() + length;
    thread::scope(|threads| {
        for regular in regulars {
            threads.spawn(move || {
                regular.line = line(host);
                let mut next = Instant::now();
                while next < end {
                    regular.turn(host);
                    next += PACE;
                    thread::sleep(next.saturating_duration_since(Instant::now()));
                }
            });
        }
    });
}

/// What became of what a daemon holds.
#[derive(Debug)]
struct Growth {
    mib_an_hour: f64,
    first: Holdings,
    most_descriptors: usize,
    most_threads: usize,
    most_log_kib: u64,
}

impl Growth {
    fn of(looks: &[Holdings]) -> Self {
        // The first quarter fills what every daemon fills once.
        let settled = &looks[LOOKS / 4..];
        let hours = |look: &Holdings| (look.at - settled[0].at).as_secs_f64() / 3600.0;
        let resident: Vec<(f64, f64)> = settled.iter().map(|look| (hours(look), look.resident_kib / 1024.0)).collect();
        let most = |part: fn(&Holdings) -> usize| settled.iter().map(part).max().unwrap();
        Self {
            mib_an_hour: slope(&resident),
            first: settled[0],
            most_descriptors: most(|look| look.descriptors),
            most_threads: most(|look| look.threads),
            most_log_kib: settled.iter().map(|look| look.log_kib).max().unwrap(),
        }
    }

    fn is_flat(&self) -> bool {
        self.most_descriptors <= self.first.descriptors + 4
            && self.most_threads <= self.first.threads + 4
            // Beyond it the log beside the database is never taken in.
            && self.most_log_kib <= 16 * 1024
    }
}

#[test]
fn r14_a_long_mixed_load_makes_nothing_grow() {
    let host = Host::start("");
    let length = Duration::from_secs(u64::try_from(size(8, 20 * 60)).unwrap());
    let mut regulars: Vec<_> = (0..SIDES).map(|side| Regular::new(&host, &format!("person {side}"))).collect();
    let pause = if is_long() { PAUSE } else { Duration::ZERO };
    let looks = watch(&host, &mut regulars, length, || thread::sleep(pause));
    let growth = Growth::of(&looks);
    let calls: u64 = regulars.iter().map(|regular| regular.calls).sum();
    assert!(growth.is_flat(), "{growth:?}");
    has_to_see_growth(&host, &mut regulars);

    let Growth { mib_an_hour, first, most_descriptors, most_threads, most_log_kib } = growth;
    let figure = format!(
        "{mib_an_hour:.2} MiB/h after the first quarter of {} s, in {calls} calls; descriptors {} and at most \
         {most_descriptors}, threads {} and at most {most_threads}, WAL at most {most_log_kib} KiB",
        length.as_secs(),
        first.descriptors,
        first.threads,
    );
    report("soak", figure, "< 1 MiB/h over 1,200 s, all flat", mib_an_hour < 1.0 && length.as_secs() >= 1200);
}

/// The control: a daemon that holds on to a few requests more at each look, by connections that stop within one.
fn has_to_see_growth(host: &Host, regulars: &mut [Regular]) {
    let length = Duration::from_secs(4);
    let mut held = Vec::new();
    let looks = watch(host, regulars, length, || {
        for _ in 0..8 {
            let mut line = UnixStream::connect(host.socket()).unwrap();
            line.write_all(b"POST /auth/password HTTP/1.1\r\nHost: mfad\r\nContent-Length: 16000\r\n\r\n").unwrap();
            line.write_all(&[b' '; 15_900]).unwrap();
            held.push(line);
        }
    });
    let growth = Growth::of(&looks);
    // Two hundred times sixteen kilobytes in seconds: more than any noise of the machine.
    assert!(growth.mib_an_hour >= 100.0, "the harness sees memory that grows: {growth:?}");
    assert!(!growth.is_flat(), "the harness sees descriptors that are not given back: {growth:?}");
}
