//! What one caller may leave in the store: users, factors and changes have a rate, `id` is for apps, and readiness is not a
//! write for everybody who asks.

use serde_json::json;

use crate::host::Host;
use crate::identity::{APP, OTHER_STRANGER, STRANGER, can_be_others};
use crate::people::text;
use crate::wire::Request;

fn register(name: &str) -> Request {
    Request::post("/users", &json!({"name": name}))
}

#[test]
fn a_peer_without_a_right_makes_users_at_a_rate_and_another_peer_does_not_pay_for_it() {
    if !can_be_others("a_peer_without_a_right_makes_users_at_a_rate_and_another_peer_does_not_pay_for_it") {
        return;
    }
    let host = Host::start("");
    for number in 0..60 {
        host.ask_as(STRANGER, &register(&format!("user {number}"))).ok();
    }

    let refused = host.ask_as(STRANGER, &register("one more"));
    refused.refused(429, "too-many-attempts");
    assert!((1..=10).contains(&refused.retry_after().as_secs()));
    host.ask_as(OTHER_STRANGER, &register("other")).ok();
    for number in 0..70 {
        host.ask_as(APP, &register(&format!("of an app {number}"))).ok();
    }
}

#[test]
fn a_peer_without_a_right_chooses_no_id_and_no_name_that_looks_like_another() {
    if !can_be_others("a_peer_without_a_right_chooses_no_id_and_no_name_that_looks_like_another") {
        return;
    }
    let host = Host::start("");
    let with_id = Request::post("/users", &json!({"name": "boris", "id": "0190f3c2-6a4e-7000-8000-000000000001"}));
    host.ask_as(STRANGER, &with_id).refused(403, "forbidden");
    host.ask_as(APP, &with_id).ok();
    host.ask_as(APP, &register("paypal")).ok();

    // With a Cyrillic letter in it, of Cyrillic letters alone, with a Greek one, with one that nobody sees.
    for name in ["p\u{430}ypal", "\u{0440}\u{0430}\u{0443}\u{0440}\u{0430}\u{04cf}", "p\u{3b1}ypal", "pay\u{200b}pal"] {
        host.ask_as(STRANGER, &register(name)).refused(400, "malformed");
    }
    // Nor by a new name.
    let password = json!({"name": "clara", "password": crate::people::PASSWORD});
    let made = host.ask_as(STRANGER, &Request::post("/users", &password)).ok();
    let rename =
        Request::put(format!("/users/{}", text(&made["user"]["uid"])), &json!({"version": 1, "name": "p\u{430}ypal"}));
    host.ask_as(STRANGER, &rename.token(&text(&made["token"]))).refused(400, "malformed");
    for name in ["Jos\u{e9}", "\u{418}\u{432}\u{430}\u{43d}", "\u{5c71}\u{7530}\u{3055}\u{3093}", "Zo\u{eb} 2"] {
        host.ask_as(STRANGER, &register(name)).ok();
    }
}

/// Does everything that has a rate once too often: as a user, and, where that can be, as a peer without a right.
pub fn exceed(host: &Host, can_be_others: bool) {
    let person = host.person("somebody in a hurry");
    let change = Request::put(person.path(), &json!({"version": 99, "displayName": "A"})).token(&person.token);
    while host.ask(&change).status != 429 {}
    for request in [
        Request::new("POST", format!("{}/codes", person.path())),
        Request::put(format!("{}/{}", person.secrets(), crate::tour::RANDOM), &json!({"version": 1, "name": "x"})),
    ] {
        host.ask(&request.token(&person.token)).refused(429, "too-many-attempts");
    }
    let mut number = 0;
    while can_be_others && host.ask_as(STRANGER, &register(&format!("hurried {number}"))).status != 429 {
        number += 1;
    }
}

#[test]
fn one_token_begins_factors_and_makes_changes_at_a_rate() {
    let host = Host::start("");
    let (person, other) = (host.person("anna"), host.person("boris"));
    let order = |who: &crate::people::Person| {
        host.ask(&Request::post(who.secrets(), &json!({"type": "mfa"})).token(&who.token))
    };
    for _ in 0..32 {
        order(&person).ok();
    }

    // However often, it uses up nothing of others.
    for _ in 0..1100 {
        order(&person).refused(429, "too-many-attempts");
    }
    order(&other).ok();
    host.pending_for(&person.id, &json!({}));

    // A change that is refused counts as well: it was worth a look.
    let change = || {
        let body = json!({"version": 99, "displayName": "A"});
        host.ask(&Request::put(person.path(), &body).token(&person.token))
    };
    for _ in 0..240 {
        change().refused(409, "version");
    }
    change().refused(429, "too-many-attempts");
    for request in [
        Request::post(person.secrets(), &json!({"type": "apikey"})),
        Request::new("POST", format!("{}/codes", person.path())),
        Request::put(format!("{}/{}", person.secrets(), crate::tour::RANDOM), &json!({"version": 1, "name": "x"})),
    ] {
        host.ask(&request.token(&person.token)).refused(429, "too-many-attempts");
    }
    // Whoever looks, logs in, or takes away what was stolen, is not concerned; nor is another session of the same user.
    assert_eq!(host.token_status(&person, &person.token), 200);
    let remove = Request::delete(format!("{}/{}", person.secrets(), crate::tour::RANDOM));
    host.ask(&remove.token(&person.token)).refused(404, "not-found");
    let password = json!({"secret": "another password", "current": "not the password"});
    let change_password = Request::put(format!("{}/password", person.secrets()), &password);
    host.ask(&change_password.token(&person.token)).refused(401, "wrong-credentials");
    let elsewhere = text(&host.password(&person).ok()["token"]);
    let body = json!({"version": 1, "displayName": "B"});
    host.ask(&Request::put(person.path(), &body).token(&elsewhere)).ok();
    host.ask(&Request::put(other.path(), &json!({"version": 1, "displayName": "B"})).token(&other.token)).ok();
}

#[test]
fn readiness_is_probed_once_a_second_whoever_asks() {
    let host = Host::start("");
    let commits = || {
        let metrics = host.ask(&Request::get("/metrics"));
        let text = metrics.text();
        let line =
            text.lines().find(|line| line.starts_with("mfad_commit_seconds_count")).expect("commits are counted");
        line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()
    };
    let (before, began) = (commits(), std::time::Instant::now());

    let mut line = host.connect();
    for _ in 0..400 {
        assert_eq!(text(&line.ask(&Request::get("/health/ready")).ok()["status"]), "ready");
    }

    // Housekeeping commits now and then, too.
    let most = began.elapsed().as_secs() + 5;
    assert!(commits() - before <= most, "{} commits", commits() - before);
}

/// The address space that a daemon has, in bytes.
fn address_space(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmSize:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

#[test]
fn where_the_address_space_ends_requests_are_refused_and_the_daemon_goes_on() {
    const MIB: u64 = 1024 * 1024;
    let mut host = Host::start("");
    host.person("anna");
    let usual = address_space(host.pid());
    let login = Request::post("/auth/password", &json!({"id": "anna", "password": crate::people::PASSWORD}));
    host.stop();
    let mut refused = 0;
    for limit in [usual - 30 * MIB, usual - 2 * MIB, usual + 4 * MIB, usual + 16 * MIB, usual + 32 * MIB] {
        let serve = host.dirs.serve();
        let mut limited = std::process::Command::new("prlimit");
        limited.arg(format!("--as={limit}")).arg(serve.get_program()).args(serve.get_args());
        limited.envs(serve.get_envs().filter_map(|(name, value)| Some((name, value?))));
        limited.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
        let mut daemon = limited.spawn().unwrap();
        let until = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while std::os::unix::net::UnixStream::connect(host.socket()).is_err() {
            assert!(
                std::time::Instant::now() < until && daemon.try_wait().unwrap().is_none(),
                "it serves with {limit}"
            );
            std::thread::yield_now();
        }

        // Each may need a thread and the memory of a hash.
        let answers: Vec<u16> = std::thread::scope(|scope| {
            let asking: Vec<_> = (0..12).map(|_| scope.spawn(|| host.ask(&login).status)).collect();
            asking.into_iter().map(|answer| answer.join().unwrap()).collect()
        });

        assert!(answers.iter().all(|status| matches!(status, 200 | 503)), "{answers:?} with {limit}");
        refused += answers.iter().filter(|status| **status == 503).count();
        host.ask(&Request::get("/health/live")).ok();
        assert!(daemon.try_wait().unwrap().is_none(), "it lives");
        daemon.kill().unwrap();
        daemon.wait().unwrap();
        let _ = std::fs::remove_file(host.socket());
    }
    assert!(refused > 0, "the harness reaches the limit");
}
