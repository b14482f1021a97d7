//! A long time of everything at once: nothing grows (R14).

use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use super::figure::{descriptors, of_process, report, size};
use crate::host::Host;
use crate::wire::{Connection, Request};

const SIDES: usize = 4;
/// How often the daemon is looked at.
const LOOKS: usize = 40;

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
    let people: Vec<_> = (0..SIDES).map(|side| host.guarded(&format!("person {side}"))).collect();
    let (stop, calls) = (AtomicBool::new(false), AtomicU64::new(0));
    let looks: Vec<Holdings> = thread::scope(|threads| {
        let host = &host;
        for (person, mut factor, _) in people {
            let (stop, calls) = (&stop, &calls);
            threads.spawn(move || {
                let mut line = Connection::new(UnixStream::connect(host.socket()).unwrap(), None);
                let verify = format!("/users/{}/verify", person.id);
                for turn in 0u64.. {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    if turn.is_multiple_of(50) {
                        host.password(&person).ok();
                        line = Connection::new(UnixStream::connect(host.socket()).unwrap(), None);
                    }
                    line.ask(&Request::post(&verify, &json!({"token": factor.next()}))).ok();
                    line.ask(&Request::post(&verify, &json!({"token": "00000000"})));
                    calls.fetch_add(2, Ordering::Relaxed);
                }
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
    assert!(last.log_kib <= 64 * 1024, "the log beside the database is never taken in: {last:?}");
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
