//! Thirty-two at once: of every single-use thing exactly one use wins (R8).
//!
//! Each request is sent but for its last byte; then the last bytes go from one thread, one right after the other. Threads that
//! a barrier lets go are further apart where cores are few: of a daemon that reads before it writes, 32 uses of 32 counted
//! like this on two cores, and 16 to 28 from behind a barrier.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::fido2;
use crate::host::Host;
use crate::people::{Factor, codes_of, text};
use crate::proof::{is_long, report, size};
use crate::sessions::let_the_grace_pass;
use crate::wire::{Answer, Connection, Request};

const PARALLEL: usize = 32;
/// Hashes wait in line rather than be refused: the race is about codes, not about the queue.
const PATIENT: &str = "[argon2]\nqueue = 512\n";

/// Codes of a counter in a row that are all right, whichever of as many before them was used last.
const CODES_IN_SIGHT: usize = 5;

/// Rounds of a race in a short run, and in a long one.
const SHORT: usize = 200;
const MANY: usize = 10_000;
/// The same where each round hashes ten new backup codes, which takes a quarter of a second by design.
const FEW: usize = 200;

/// How many rounds there were, each with one winner, and how many there shall be.
fn report_rounds(what: &str, rounds: usize, goal: usize) {
    let figure = format!("1 winner of {PARALLEL} in each of {rounds} rounds");
    report(&format!("races: {what}"), figure, format!("1, in each of {goal}"), rounds >= goal);
}

/// Connections that fire together, kept alive from round to round.
struct Volley {
    connections: Vec<Connection>,
    fired: usize,
}

/// Of a long run one volley of so many is held against the document, which takes longer than the answers.
const HELD_AGAINST_THE_DOCUMENT: usize = 50;

impl Volley {
    fn new(host: &Host) -> Self {
        Self { connections: (0..PARALLEL).map(|_| host.connect()).collect(), fired: 0 }
    }

    fn fire(&mut self, request: &Request) -> Vec<Answer> {
        self.fire_each(std::slice::from_ref(request))
    }

    /// These in turn, all at once.
    fn fire_each(&mut self, requests: &[Request]) -> Vec<Answer> {
        self.fired += 1;
        let is_checked = !is_long() || self.fired.is_multiple_of(HELD_AGAINST_THE_DOCUMENT);
        let requests: Vec<(&Request, Vec<u8>)> = requests.iter().map(|request| (request, request.encode())).collect();
        for (connection, (_, bytes)) in self.connections.iter_mut().zip(requests.iter().cycle()) {
            connection.send(&bytes[..bytes.len() - 1]).unwrap();
        }
        for (connection, (_, bytes)) in self.connections.iter_mut().zip(requests.iter().cycle()) {
            connection.send(&bytes[bytes.len() - 1..]).unwrap();
        }
        let shots = self.connections.iter_mut().zip(requests.iter().cycle());
        shots
            .map(|(connection, (request, _))| {
                let answer = connection.answer(false).unwrap();
                if is_checked {
                    connection.check(request, &answer);
                }
                answer
            })
            .collect()
    }
}

/// The one winner of a volley; the losers' statuses must be among `losers`.
#[track_caller]
fn one_winner(answers: &[Answer], losers: &[u16]) -> Value {
    let (won, lost): (Vec<&Answer>, Vec<&Answer>) = answers.iter().partition(|answer| answer.status == 200);
    let statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
    assert_eq!(won.len(), 1, "{statuses:?}");
    assert!(lost.iter().all(|answer| losers.contains(&answer.status)), "{statuses:?}");
    assert!(lost.iter().any(|answer| answer.status != 429), "at least one was looked at: {statuses:?}");
    won[0].json()
}

#[test]
fn the_harness_sees_more_than_one_winner_and_none() {
    let host = Host::start("");
    let mut volley = Volley::new(&host);

    let all_win = volley.fire(&Request::get("/health/live"));
    let none_wins = volley.fire(&Request::get("/users/me"));

    for answers in [all_win, none_wins] {
        assert!(std::panic::catch_unwind(|| one_winner(&answers, &[400, 401])).is_err(), "{}", answers[0].status);
    }
}

/// The control: a daemon that reads whether something was used before it writes that it is.
#[test]
fn the_harness_finds_what_is_read_and_only_then_written() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("careless.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let is_used = AtomicBool::new(false);
    let connect = || Connection::new(UnixStream::connect(&socket).unwrap(), None);
    let mut volley = Volley { connections: (0..PARALLEL).map(|_| connect()).collect(), fired: 0 };
    let most = thread::scope(|threads| {
        for line in listener.incoming().take(PARALLEL) {
            threads.spawn(|| answer_carelessly(line.unwrap(), &is_used));
        }
        let most = (0..50).map(|_| {
            is_used.store(false, Ordering::SeqCst);
            volley.fire(&Request::get("/once")).iter().filter(|answer| answer.status == 200).count()
        });
        let most = most.max().unwrap();
        drop(volley);
        most
    });
    assert!(most > PARALLEL / 2, "never more than {most}");
}

fn answer_carelessly(mut line: UnixStream, is_used: &AtomicBool) {
    let (mut asked, mut some) = (Vec::new(), [0; 1024]);
    loop {
        let count = line.read(&mut some).unwrap();
        if count == 0 {
            return;
        }
        asked.extend_from_slice(&some[..count]);
        if asked.ends_with(b"\r\n\r\n") {
            asked.clear();
            let status = if is_used.load(Ordering::SeqCst) { 401 } else { 200 };
            // As long as a busy disk takes.
            thread::sleep(Duration::from_millis(1));
            is_used.store(true, Ordering::SeqCst);
            line.write_all(format!("HTTP/1.1 {status} x\r\ncontent-length: 0\r\n\r\n").as_bytes()).unwrap();
        }
    }
}

fn time_based(host: &Host, user: &str) -> Factor {
    host.pending_for(user, &json!({"period": 120}))
}

fn enrol_request(factor: &mut Factor) -> Request {
    Request::put(format!("{}/enroll", factor.path), &json!({"token": factor.next()}))
}

#[test]
fn otp_3_enr_4_bkc_4_of_32_enrolments_logins_and_backup_codes_at_once_exactly_one_wins() {
    let host = Host::start(PATIENT);
    let mut volley = Volley::new(&host);
    let rounds = size(SHORT, FEW);

    for round in 0..rounds {
        let user = host.nobody(&format!("user {round}"));
        let mut factor = time_based(&host, &user);
        let verify = |proof: Value| Request::post(format!("/users/{user}/verify"), &proof);

        // The reason is for the losers: when they come there is an active factor already.
        let enrolled = one_winner(&volley.fire(&enrol_request(&mut factor).reason()), &[409]);
        let codes = codes_of(&enrolled);
        assert_eq!(codes.len(), 10, "ENR-4: one set of codes");

        // Always above the step that the enrolment burned, always inside the window.
        one_winner(&volley.fire(&verify(json!({"token": factor.next()}))), &[401, 429]);

        // The losers were failures; without this the codes would only meet their delay.
        host.unlock(&user);
        one_winner(&volley.fire(&verify(json!({"code": codes[0]}))), &[401, 429]);
        host.unlock(&user);
        assert_eq!(remaining(&host, &user), 9, "BKC-4: one use is one code");
    }
    report_rounds("a first enrolment with its backup codes, a code, a backup code", rounds, FEW);
}

#[test]
fn otp_3_of_32_codes_of_a_clock_or_a_counter_at_once_exactly_one_counts() {
    let host = Host::start(PATIENT);
    let mut volley = Volley::new(&host);
    let rounds = size(SHORT, MANY);
    let user = host.nobody("anna");
    let mut factor = host.pending_for(&user, &json!({"kind": "hotp", "digits": 8}));
    host.confirm(&mut factor);

    for _ in 0..rounds {
        let verify = Request::post(format!("/users/{user}/verify"), &json!({"token": factor.next()}));
        one_winner(&volley.fire(&verify), &[401, 429]);
        host.unlock(&user);
    }
    report_rounds("a code of a counter", rounds, MANY);

    for _ in 0..rounds {
        // The second factor of a user needs no new backup codes, which take long.
        let mut second = host.pending_for(&user, &json!({"name": "second", "period": 120}));
        one_winner(&volley.fire(&enrol_request(&mut second).reason()), &[409]);
        let verify = Request::post(format!("/users/{user}/verify"), &json!({"token": second.next()}));
        one_winner(&volley.fire(&verify), &[401, 429]);
        host.unlock(&user);
        host.ask(&Request::delete(&second.path).reason()).done();
    }
    report_rounds("an enrolment and a code of a clock", rounds, MANY);
}

#[test]
fn bkc_4_of_32_uses_of_a_backup_code_at_once_exactly_one_counts() {
    // After the first that is wrong the others are not looked at, which would take a hash each.
    let host = Host::start(&format!("{PATIENT}[throttle]\ndelayAfter = 1\n"));
    let mut volley = Volley::new(&host);
    let rounds = size(SHORT, MANY);
    let user = host.nobody("anna");
    let mut factor = host.pending_for(&user, &json!({"kind": "hotp", "digits": 8}));
    let mut codes = codes_of(&host.confirm(&mut factor));

    for _ in 0..rounds {
        if codes.is_empty() {
            assert_eq!(remaining(&host, &user), 0, "one use is one code");
            codes = codes_of(&host.ask(&Request::new("POST", format!("/users/{user}/codes")).reason()).ok());
        }
        let verify = Request::post(format!("/users/{user}/verify"), &json!({"code": codes.pop()}));

        one_winner(&volley.fire(&verify), &[401, 429]);

        host.unlock(&user);
    }
    assert_eq!(remaining(&host, &user), u64::try_from(codes.len()).unwrap());
    report_rounds("a backup code", rounds, MANY);
}

fn remaining(host: &Host, user: &str) -> u64 {
    let secrets = host.ask(&Request::get(format!("/users/{user}/secrets"))).ok()["secrets"].clone();
    let backup = secrets.as_array().unwrap().iter().find(|secret| secret["type"] == "mfabackup").unwrap().clone();
    backup["remaining"].as_u64().unwrap()
}

#[test]
fn enr_4_enrolments_with_the_users_own_token_have_one_winner_too() {
    let host = Host::start(PATIENT);
    let mut volley = Volley::new(&host);
    let rounds = size(20, FEW);

    for round in 0..rounds {
        let person = host.person(&format!("user {round}"));
        let mut factor = time_based(&host, &person.id);

        // The winner ends the token itself, so a loser may find it dead before it finds the factor active.
        let enrolled = one_winner(&volley.fire(&enrol_request(&mut factor).token(&person.token)), &[401, 409]);

        host.verify(&person.id, &json!({"code": codes_of(&enrolled)[9]})).ok();
    }
    report_rounds("a first enrolment with the user's own token", rounds, FEW);
}

#[test]
fn aut_2_one_challenge_has_one_winner_with_one_code_and_the_reuse_of_its_refresh_token_ends_its_family() {
    let host = Host::start(PATIENT);
    let mut volley = Volley::new(&host);
    let (person, mut factor, _) = host.guarded("anna");
    let rounds = size(SHORT, MANY);

    // Both in one round: each needs a login, and so a hash.
    for _ in 0..rounds {
        let challenge = host.challenge(&person);
        // Each of these codes is right, so only the challenge has one winner.
        let logins: Vec<Request> = (0..CODES_IN_SIGHT)
            .map(|_| Request::post("/auth/totp", &json!({"token": factor.next()})).token(&challenge))
            .collect();

        let access = one_winner(&volley.fire_each(&logins), &[401]);

        assert_eq!(host.token_status(&person, &text(&access["token"])), 200);
        let refresh = Request::new("POST", "/auth/refresh").token(&text(&access["refresh"]));

        let successors: BTreeSet<String> =
            volley.fire(&refresh).iter().map(|answer| text(&answer.ok()["refresh"])).collect();

        assert_eq!(successors.len(), 1, "tabs that ask at once get one successor");
        let next = Request::new("POST", "/auth/refresh").token(successors.first().unwrap());
        let_the_grace_pass(&host);
        host.ask(&refresh).refused(401, "refresh-ended");
        host.ask(&next).refused(401, "refresh-ended");
        host.unlock(&person.id);
    }
    report_rounds("a challenge", rounds, MANY);
    report_rounds("a refresh token", rounds, MANY);
}

#[test]
fn fido_7_one_answer_of_a_security_key_has_one_winner() {
    let host = Host::start(fido2::CONFIG);
    let mut volley = Volley::new(&host);
    let (person, mut key, ..) = fido2::keyed(&host, "anna", "preferred");
    let rounds = size(SHORT, MANY);

    for _ in 0..rounds {
        let options = Request::new("POST", format!("{}/fido2/options", person.path()));
        let asked = host.ask(&options).ok()["publicKey"].clone();
        let answer = json!({"credential": key.answer(&asked, fido2::Wrong::default())});

        one_winner(&volley.fire(&Request::post(format!("{}/verify", person.path()), &answer)), &[401, 410, 429]);

        host.unlock(&person.id);
    }
    report_rounds("an answer of a security key", rounds, MANY);
}

#[test]
fn a_receipt_has_one_winner() {
    let host = Host::start(PATIENT);
    let mut volley = Volley::new(&host);
    let (mut person, mut factor, _) = host.guarded("anna");
    let rounds = size(SHORT, MANY);

    for round in 1..=rounds {
        // A token lives shorter than a long run.
        if round.is_multiple_of(1_000) {
            host.log_in(&mut person, &mut factor);
        }
        let step_up =
            Request::post("/auth/stepup", &json!({"token": factor.next(), "action": "pay"})).token(&person.token);
        let receipt = host.ask(&step_up).ok()["receipt"].clone();

        one_winner(
            &volley.fire(&Request::post("/auth/receipt", &json!({"receipt": receipt, "action": "pay"}))),
            &[401],
        );
    }
    report_rounds("a receipt", rounds, MANY);
}

#[test]
fn a_name_has_one_winner() {
    let host = Host::start("");
    let mut volley = Volley::new(&host);
    let rounds = size(SHORT, MANY);

    for round in 0..rounds {
        one_winner(&volley.fire(&Request::post("/users", &json!({"name": format!("user {round}")}))), &[409]);
    }
    assert_eq!(host.ask(&Request::get("/users?limit=200")).ok()["users"].as_array().unwrap().len(), rounds.min(200));
    report_rounds("a name", rounds, MANY);
}

#[test]
fn enr_2_of_32_new_pending_factors_one_stays() {
    let host = Host::start("");
    let mut volley = Volley::new(&host);
    let rounds = size(SHORT, MANY);

    for round in 0..rounds {
        let user = host.nobody(&format!("user {round}"));
        let answers = volley.fire(&Request::post(format!("/users/{user}/secrets"), &json!({"type": "mfa"})));

        assert!(answers.iter().all(|answer| answer.status == 200));
        let listed = host.ask(&Request::get(format!("/users/{user}/secrets"))).ok()["secrets"].clone();
        let alive: Vec<String> = listed.as_array().unwrap().iter().map(|secret| text(&secret["uid"])).collect();
        assert_eq!(alive.len(), 1);
        // The one that stayed is a whole one; seldom, since a first enrolment takes long.
        if round.is_multiple_of(size(20, 50)) {
            let made = answers.iter().map(Answer::json).find(|made| made["uid"] == *alive[0]).expect("one of them");
            host.confirm(&mut Factor::of(&made));
        }
    }
    report_rounds("a pending factor", rounds, MANY);
}

#[test]
fn otp_3_the_winner_is_not_beaten_by_a_kill() {
    let mut host = Host::start(PATIENT);
    let goal = 100;
    let rounds = size(10, goal);
    for round in 0..rounds {
        let user = host.nobody(&format!("user {round}"));
        let mut factor = time_based(&host, &user);
        host.confirm(&mut factor);
        let code = factor.next();
        one_winner(
            &Volley::new(&host).fire(&Request::post(format!("/users/{user}/verify"), &json!({"token": code}))),
            &[401, 429],
        );

        host.restart();

        host.unlock(&user);
        host.verify(&user, &json!({"token": code})).refused(401, "wrong-code");
    }
    report_rounds("a code, and a kill after it", rounds, goal);
}
