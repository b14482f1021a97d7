//! A long time of everything at once: nothing grows (R14).

use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use super::figure::{descriptors, of_process, report, size};
use crate::host::Host;
use crate::people::{Factor, Person, text};
use crate::wire::{Answer, Connection, Request};

const SIDES: usize = 4;
/// From one turn of a side to the next: so many that all is in use, so few that the machine can do other things meanwhile.
const PACE: Duration = Duration::from_millis(10);
/// How often the daemon is looked at.
const LOOKS: usize = 40;

/// One who comes again and again, with a counter.
struct Regular {
    person: Person,
    factor: Factor,
    /// Stays wrong from one session to the next.
    wrong: String,
    line: Connection,
    calls: u64,
}

impl Regular {
    fn new(host: &Host, name: &str) -> Self {
        let (person, factor, _) = host.guarded(name);
        Self { person, wrong: factor.wrong(), factor, line: line(host), calls: 0 }
    }

    fn ask(&mut self, request: &Request) -> Answer {
        self.calls += 1;
        self.line.ask(request)
    }

    /// A right and a wrong code; now and then a whole session, or another factor.
    fn turn(&mut self, host: &Host, number: u64) {
        if number.is_multiple_of(50) {
            self.line = line(host);
            self.session();
            self.wrong = self.factor.wrong();
        }
        if number.is_multiple_of(70) {
            self.spare_factor();
        }
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
    resident_kib: f64,
    descriptors: usize,
    threads: usize,
    log_kib: u64,
}

fn holdings(host: &Host) -> Holdings {
    let log = std::fs::metadata(host.premises.state.join("mfad.db-wal")).map_or(0, |log| log.len());
    Holdings {
        resident_kib: of_process(host, "VmRSS:") as f64,
        descriptors: descriptors(host),
        threads: usize::try_from(of_process(host, "Threads:")).unwrap(),
        log_kib: log / 1024,
    }
}

/// The slope of the best line through equally spaced values, for each of them.
fn slope(values: &[f64]) -> f64 {
    let count = values.len() as f64;
    let (mean_x, mean_y) = ((count - 1.0) / 2.0, values.iter().sum::<f64>() / count);
    let (mut above, mut below) = (0.0, 0.0);
    for (x, y) in values.iter().enumerate() {
        above += (x as f64 - mean_x) * (y - mean_y);
        below += (x as f64 - mean_x).powi(2);
    }
    above / below
}

#[test]
fn r14_a_long_mixed_load_makes_nothing_grow() {
    let host = Host::start("");
    let length = Duration::from_secs(u64::try_from(size(8, 20 * 60)).unwrap());
    let regulars: Vec<_> = (0..SIDES).map(|side| Regular::new(&host, &format!("person {side}"))).collect();
    let (stop, calls) = (AtomicBool::new(false), AtomicU64::new(0));
    let looks: Vec<Holdings> = thread::scope(|threads| {
        let host = &host;
        for mut regular in regulars {
            let (stop, calls) = (&stop, &calls);
            threads.spawn(move || {
                let mut next = Instant::now();
                for number in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    regular.turn(host, number);
                    next += PACE;
                    thread::sleep(next.saturating_duration_since(Instant::now()));
                }
                calls.fetch_add(regular.calls, Ordering::Relaxed);
            });
        }
        let began = Instant::now();
        let looks = (1..=u32::try_from(LOOKS).unwrap())
            .map(|look| {
                let next = length * look / u32::try_from(LOOKS).unwrap();
                thread::sleep(next.saturating_sub(began.elapsed()));
                holdings(host)
            })
            .collect();
        stop.store(true, Ordering::Relaxed);
        looks
    });

    // The first quarter fills what every daemon fills once.
    let settled = &looks[LOOKS / 4..];
    let (first, last) = (settled[0], settled[settled.len() - 1]);
    let resident: Vec<f64> = settled.iter().map(|look| look.resident_kib).collect();
    let looks_an_hour = LOOKS as f64 * 3600.0 / length.as_secs_f64();
    let growth = slope(&resident) * looks_an_hour / 1024.0;
    assert!(last.descriptors <= first.descriptors + 4, "{first:?} {last:?}");
    assert!(last.threads <= first.threads + 4, "{first:?} {last:?}");
    assert!(last.log_kib <= 16 * 1024, "the log beside the database is never taken in: {last:?}");
    let leak: Vec<f64> = (0..30).map(|look| 10_000.0 + 100.0 * f64::from(look)).collect();
    assert!((slope(&leak) - 100.0).abs() < 1e-6, "the harness sees a slope");

    let figure = format!(
        "{growth:.2} MiB/h in {} calls over {} s; descriptors {} to {}, threads {} to {}, WAL {} KiB",
        calls.into_inner(),
        length.as_secs(),
        first.descriptors,
        last.descriptors,
        first.threads,
        last.threads,
        last.log_kib
    );
    report("soak", figure, "< 1 MiB/h over 1,200 s, all flat", growth < 1.0 && length.as_secs() >= 1200);
}
