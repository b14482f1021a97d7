//! Guesses at one factor from many sides: how many of them are looked at at all (THR-1, R9).

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use serde_json::json;

use super::figure::{report, size};
use crate::host::Host;
use crate::wire::{Connection, Request};

const SIDES: usize = 64;
/// The most that may be looked at before an administrator has to step in.
const MOST: usize = 100;

/// Guesses at each of these users from all sides; how many were compared with anything.
fn evaluated(host: &Host, users: &[String], guesses: usize, wrong: &[String]) -> usize {
    let (turn, evaluated) = (AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|threads| {
        for _ in 0..SIDES {
            threads.spawn(|| {
                let mut line = fresh(host);
                loop {
                    let turn = turn.fetch_add(1, Ordering::Relaxed);
                    if turn >= guesses {
                        return;
                    }
                    let (user, code) = (&users[turn % users.len()], &wrong[turn % wrong.len()]);
                    let request = Request::post(format!("/users/{user}/verify"), &json!({"token": code}));
                    let answer = line.ask(&request);
                    match (answer.status, answer.code().as_str()) {
                        (401, "wrong-code") => drop(evaluated.fetch_add(1, Ordering::Relaxed)),
                        (429, "too-many-attempts") | (423, "factor-locked") | (503, "busy") => {}
                        other => panic!("a guess is answered {other:?}"),
                    }
                }
            });
        }
    });
    evaluated.into_inner()
}

fn fresh(host: &Host) -> Connection {
    Connection::new(std::os::unix::net::UnixStream::connect(host.socket()).unwrap(), None)
}

#[test]
fn r9_of_many_guesses_at_one_factor_few_are_looked_at() {
    let host = Host::start("");
    let (person, mut factor, _) = host.guarded("target");
    let wrong: Vec<String> = factor.wrong_codes().take(1000).collect();
    let guesses = size(10_000, 100_000);

    let looked_at = evaluated(&host, std::slice::from_ref(&person.id), guesses, &wrong);

    assert!(looked_at <= MOST, "{looked_at} of {guesses} guesses were compared");
    assert_eq!(
        host.verify(&person.id, &json!({"token": factor.next()})).status / 100,
        4,
        "nor is the right code looked at meanwhile"
    );

    // The control: as many users as it takes to be more have to be counted as more.
    let others: Vec<String> = (0..21)
        .map(|number| {
            let user = host.nobody(&format!("other {number}"));
            let mut factor = host.pending_for(&user, &json!({"kind": "hotp", "digits": 8}));
            host.confirm(&mut factor);
            user
        })
        .collect();
    let of_many = evaluated(&host, &others, 21 * 5, &wrong);
    assert!(of_many > MOST, "the harness counts what is looked at: {of_many}");

    report("guesses that are looked at", format!("{looked_at} of {guesses}"), "100 of 100,000", guesses >= 100_000);
}
