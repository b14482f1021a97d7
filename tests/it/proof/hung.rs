//! A hardware key that does not answer: its own caller hears so in time, and nobody else waits (HW-7).

use std::thread;
use std::time::Instant;

use serde_json::json;

use super::figure::{quantile, report, size};
use crate::card::{Fault, Key};
use crate::hardware::{Bench, can_have_readers};
use crate::wire::Request;

/// Milliseconds that each of many requests takes that have nothing to do with a key.
fn others(bench: &Bench, user: &str) -> Vec<f64> {
    let ask = || {
        let started = Instant::now();
        bench.host.ask(&Request::get(format!("/users/{user}/secrets"))).ok();
        started.elapsed().as_secs_f64() * 1000.0
    };
    (0..size(200, 2000)).map(|_| ask()).collect()
}

#[test]
fn hw_7_a_key_that_hangs_delays_nobody_and_its_caller_hears_so() {
    let test = "hw_7_a_key_that_hangs_delays_nobody_and_its_caller_hears_so";
    if !can_have_readers(test) {
        return;
    }
    let bench = Bench::new(2, "");
    bench.insert(0, Key::new(7));
    bench.insert(1, Key::new(8));
    let user = bench.host.nobody("ann");
    others(&bench, &user);
    let mut before = others(&bench, &user);

    bench.reader().plan(4, Fault::Hang);
    let (mut beside, heard) = thread::scope(|threads| {
        let caller = threads.spawn(|| {
            let started = Instant::now();
            let answer = bench.provision(&user, &json!({"device": {"key": "7"}}));
            answer.refused(503, "device-failed");
            started.elapsed().as_secs_f64()
        });
        while !bench.reader().is_hanging() {
            thread::yield_now();
        }
        let beside = others(&bench, &user);
        // The other key is used meanwhile.
        bench.provision(&bench.host.nobody("bob"), &json!({"device": {"key": "8"}})).ok();
        (beside, caller.join().unwrap())
    });
    // It is not waited for a second time.
    bench.provision(&user, &json!({"device": {"key": "7"}})).refused(503, "device-failed");
    bench.reader().release();

    let ratio = quantile(&mut beside, 0.99) / quantile(&mut before, 0.99);
    let name = "a key that hangs: its caller hears after; p99 of other requests beside it";
    report(name, format!("{heard:.1} s; {ratio:.2} x"), "5 s; at most 1.5 x", heard < 6.0 && ratio <= 1.5);
}
