//! Very many connections, slow ones among them: whoever behaves is served, and all of it is given back (R7).

use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;

use super::figure::{descriptors, quantile, report, size};
use crate::host::Host;
use crate::wire::{Connection, Request};

/// How long after the last byte everything has to be given back.
const RECLAIMED: Duration = Duration::from_secs(60);
const GOOD_CALLS: usize = 500;

fn open(host: &Host) -> u64 {
    let metrics = host.ask(&Request::get("/metrics")).text();
    let line = metrics.lines().find_map(|line| line.strip_prefix("mfad_connections ")).unwrap();
    line.parse().unwrap()
}

/// The 99th of a hundred times that a check of a code takes, in milliseconds.
fn p99(host: &Host, user: &str) -> f64 {
    let mut line = Connection::new(UnixStream::connect(host.socket()).unwrap(), None);
    let request = Request::get(format!("/users/{user}/secrets"));
    let mut times: Vec<f64> = (0..GOOD_CALLS)
        .map(|_| {
            let began = Instant::now();
            line.ask(&request).ok();
            began.elapsed().as_secs_f64() * 1000.0
        })
        .collect();
    quantile(&mut times, 0.99)
}

#[test]
fn r7_among_very_many_connections_a_good_one_is_served() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
    let wanted = size(1_000, 10_000);
    let room = usize::try_from(limit.maximum.unwrap_or(20_000)).unwrap().saturating_sub(500);
    let many = wanted.min(room);
    let config = format!("[limits]\nconnections = {}\nconnectionsPerPeer = {}\n", many + 100, many + 100);
    let host = Host::start(&config);
    let user = host.nobody("anna");
    host.pending_for(&user, &json!({}));
    let alone = p99(&host, &user);
    let before = descriptors(&host);

    let slow = many / 10;
    let lines: Vec<UnixStream> = (0..many)
        .map(|number| {
            let line = UnixStream::connect(host.socket()).unwrap();
            if number < slow {
                std::io::Write::write_all(&mut &line, b"POST /auth/password HTTP/1.1\r\nHost: m").unwrap();
            }
            line
        })
        .collect();
    let most = open(&host);
    let among = p99(&host, &user);
    let still = open(&host);
    let began = Instant::now();
    // Half of them stay: the daemon has to let them go by itself.
    let stay = lines.into_iter().step_by(2).collect::<Vec<_>>();
    while descriptors(&host) > before + 2 {
        assert!(began.elapsed() < RECLAIMED, "{} descriptors are not given back", descriptors(&host) - before);
        std::thread::sleep(Duration::from_millis(50));
    }
    let reclaimed = began.elapsed();
    drop(stay);

    let all = u64::try_from(many).unwrap();
    assert!(most >= all && still >= all * 9 / 10, "the harness holds them open at the same time: {most}, then {still}");
    let figure = format!("{among:.1} ms ({alone:.1} ms alone), all given back after {:.0} s", reclaimed.as_secs_f64());
    let name = format!("p99 of a good client among {many} connections, {slow} of them slow");
    report(&name, figure, "< 100 ms, 60 s among 10,000", among < 100.0 && many >= 10_000);
}
