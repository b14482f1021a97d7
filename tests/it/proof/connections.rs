//! Very many connections, slow ones among them: whoever behaves is served, and all of it is given back (R7).

use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, Signal, getrlimit, kill_process, prlimit, setrlimit};
use serde_json::json;

use super::figure::{descriptors, quantile, report, size};
use crate::host::Host;
use crate::wire::{Connection, Request};

/// How long after the last byte everything has to be given back.
const RECLAIMED: Duration = Duration::from_secs(60);
const GOOD_CALLS: usize = 500;
/// What the 99th of a hundred questions has to stay below.
const TOO_LONG: Duration = Duration::from_millis(100);

fn open(host: &Host) -> u64 {
    let metrics = host.ask(&Request::get("/metrics")).text();
    let line = metrics.lines().find_map(|line| line.strip_prefix("mfad_connections ")).unwrap();
    line.parse().unwrap()
}

/// The 99th of a hundred times that a question takes, in milliseconds. Before each question something may happen.
fn p99(host: &Host, user: &str, before: impl Fn(usize)) -> f64 {
    let mut line = Connection::new(UnixStream::connect(host.socket()).unwrap(), None);
    let request = Request::get(format!("/users/{user}/secrets"));
    let mut times: Vec<f64> = (0..GOOD_CALLS)
        .map(|number| {
            before(number);
            let began = Instant::now();
            line.ask(&request).ok();
            began.elapsed().as_secs_f64() * 1000.0
        })
        .collect();
    quantile(&mut times, 0.99)
}

/// The control: a daemon that stands still for a moment at every fiftieth question.
fn p99_with_halts(host: &Host, user: &str) -> f64 {
    let daemon = host.process();
    thread::scope(|threads| {
        p99(host, user, |number| {
            if number.is_multiple_of(50) {
                kill_process(daemon, Signal::STOP).unwrap();
                threads.spawn(move || {
                    thread::sleep(TOO_LONG * 2);
                    kill_process(daemon, Signal::CONT).unwrap();
                });
            }
        })
    })
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
    let alone = p99(&host, &user, |_| ());
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
    let among = p99(&host, &user, |_| ());
    let still = open(&host);
    let held = descriptors(&host);
    let began = Instant::now();
    // Half of them stay: the daemon has to let them go by itself.
    let stay = lines.into_iter().step_by(2).collect::<Vec<_>>();
    while descriptors(&host) > before + 2 {
        assert!(began.elapsed() < RECLAIMED, "{} descriptors are not given back", descriptors(&host) - before);
        thread::sleep(Duration::from_millis(50));
    }
    let reclaimed = began.elapsed();
    drop(stay);

    let all = u64::try_from(many).unwrap();
    assert!(most >= all && still >= all * 9 / 10, "the harness holds them open at the same time: {most}, then {still}");
    // The controls.
    assert!(held >= before + many * 9 / 10, "the harness sees descriptors that are not given back: {held}");
    let halting = p99_with_halts(&host, &user);
    let too_long = TOO_LONG.as_secs_f64() * 1000.0;
    assert!(halting >= too_long, "the harness finds a daemon that halts: {halting} ms");
    let figure = format!("{among:.1} ms ({alone:.1} ms alone), all given back after {:.0} s", reclaimed.as_secs_f64());
    let name = format!("p99 of a good client among {many} connections, {slow} of them slow");
    report(&name, figure, "< 100 ms, 60 s among 10,000", among < too_long && many >= 10_000);
}

#[test]
fn r7_without_a_descriptor_left_the_daemon_serves_who_is_inside_and_everybody_afterwards() {
    let host = Host::start("");
    let (user, mut factor, _) = host.counted("anna");
    let mut verify = |line: &mut Connection, is_right: bool| {
        let code = if is_right { factor.next() } else { factor.wrong() };
        line.ask(&Request::post(format!("/users/{user}/verify"), &json!({"token": code}))).status
    };
    let mut inside = host.connect();
    assert_eq!(verify(&mut inside, true), 200);
    let before = descriptors(&host);
    let few = Some(u64::try_from(before + 5).unwrap());
    prlimit(Some(host.process()), Resource::Nofile, Rlimit { current: few, ..getrlimit(Resource::Nofile) }).unwrap();

    let crowd: Vec<UnixStream> = (0..50).map(|_| UnixStream::connect(host.socket()).unwrap()).collect();

    let began = Instant::now();
    while !host.dirs.log_text().contains("a connection could not be accepted") {
        assert!(began.elapsed() < RECLAIMED, "the harness takes all descriptors: {}", descriptors(&host));
        thread::sleep(Duration::from_millis(10));
    }
    assert_eq!((verify(&mut inside, false), verify(&mut inside, true)), (401, 200), "who is inside is served");
    drop(crowd);
    assert_eq!(verify(&mut host.connect(), true), 200, "and everybody afterwards");
    assert!(!host.dirs.log_text().contains("panicked"));
}
