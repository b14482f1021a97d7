//! Thirty-two at once: of every single-use thing exactly one use wins (R8).
//!
//! Each request is sent but for its last byte; a barrier lets all the last bytes go together.

use std::sync::Barrier;
use std::thread;

use serde_json::{Value, json};

use crate::host::Host;
use crate::people::{Factor, codes_of, text};
use crate::wire::{Answer, Connection, Request};

const PARALLEL: usize = 32;
/// Hashes wait in line rather than be refused: the race is about codes, not about the queue.
const PATIENT: &str = "[argon2]\nqueue = 512\n";

/// How many rounds, so that a longer run needs no change of the code.
fn rounds(usual: usize) -> usize {
    std::env::var("MFAD_TEST_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(usual)
}

/// Connections that fire together, kept alive from round to round.
struct Volley {
    connections: Vec<Connection>,
}

impl Volley {
    fn new(host: &Host) -> Self {
        Self { connections: (0..PARALLEL).map(|_| host.connect()).collect() }
    }

    fn fire(&mut self, request: &Request) -> Vec<Answer> {
        let bytes = request.encode();
        let (most, last) = bytes.split_at(bytes.len() - 1);
        for connection in &mut self.connections {
            connection.send(most).unwrap();
        }
        let barrier = Barrier::new(PARALLEL);
        thread::scope(|scope| {
            let shots: Vec<_> = self
                .connections
                .iter_mut()
                .map(|connection| {
                    let barrier = &barrier;
                    scope.spawn(move || {
                        barrier.wait();
                        connection.send(last).unwrap();
                        let answer = connection.answer(false).unwrap();
                        connection.check(request, &answer);
                        answer
                    })
                })
                .collect();
            shots.into_iter().map(|shot| shot.join().unwrap()).collect()
        })
    }
}

/// The one winner of a volley; the losers' statuses must be among `losers`.
#[track_caller]
fn one_winner(answers: &[Answer], losers: &[u16]) -> Value {
    let (won, lost): (Vec<&Answer>, Vec<&Answer>) = answers.iter().partition(|answer| answer.status == 200);
    let statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
    assert_eq!(won.len(), 1, "{statuses:?}");
    assert!(lost.iter().all(|answer| losers.contains(&answer.status)), "{statuses:?}");
    won[0].json()
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

    for round in 0..rounds(200) {
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

    for round in 0..rounds(20) {
        let person = host.person(&format!("user {round}"));
        let mut factor = time_based(&host, &person.id);

        // The winner ends the token itself, so a loser may find it dead before it finds the factor active.
        let enrolled = one_winner(&volley.fire(&enrol_request(&mut factor).token(&person.token)), &[401, 409]);

        host.verify(&person.id, &json!({"code": codes_of(&enrolled)[9]})).ok();
    }
}

#[test]
fn aut_2_one_challenge_has_one_winner_with_one_code() {
    let host = Host::start(PATIENT);
    let mut volley = Volley::new(&host);
    let (person, mut factor, _) = host.guarded("anna");

    for _ in 0..rounds(50) {
        let challenge = host.challenge(&person);
        let login = Request::post("/auth/totp", &json!({"token": factor.next()})).token(&challenge);

        let access = one_winner(&volley.fire(&login), &[401, 429]);

        assert_eq!(host.token_status(&person, &text(&access["token"])), 200);
        host.unlock(&person.id);
    }
}

#[test]
fn a_refresh_token_has_one_winner_and_the_reuse_ends_its_family() {
    let host = Host::start("");
    let mut volley = Volley::new(&host);
    let person = host.person("anna");

    for _ in 0..rounds(50) {
        let refresh = text(&host.password(&person).ok()["refresh"]);

        let renewed = one_winner(&volley.fire(&Request::get("/auth/refresh").token(&refresh)), &[401]);

        let next = host.ask(&Request::get("/auth/refresh").token(&text(&renewed["refresh"])));
        next.refused(401, "refresh-ended");
    }
}

#[test]
fn a_receipt_has_one_winner() {
    let host = Host::start(PATIENT);
    let mut volley = Volley::new(&host);
    let (person, mut factor, _) = host.guarded("anna");

    for _ in 0..rounds(50) {
        let step_up =
            Request::post("/auth/stepup", &json!({"token": factor.next(), "action": "pay"})).token(&person.token);
        let receipt = host.ask(&step_up).ok()["receipt"].clone();

        one_winner(
            &volley.fire(&Request::post("/auth/receipt", &json!({"receipt": receipt, "action": "pay"}))),
            &[401],
        );
    }
}

#[test]
fn a_name_has_one_winner() {
    let host = Host::start("");
    let mut volley = Volley::new(&host);

    for round in 0..rounds(50) {
        one_winner(&volley.fire(&Request::post("/users", &json!({"name": format!("user {round}")}))), &[409]);
    }
    assert_eq!(
        host.ask(&Request::get("/users?limit=200")).ok()["users"].as_array().unwrap().len(),
        rounds(50).min(200)
    );
}

#[test]
fn enr_2_of_32_new_pending_factors_one_stays() {
    let host = Host::start("");
    let mut volley = Volley::new(&host);

    for round in 0..rounds(20) {
        let user = host.nobody(&format!("user {round}"));
        let answers = volley.fire(&Request::post(format!("/users/{user}/secrets"), &json!({"type": "mfa"})));

        assert!(answers.iter().all(|answer| answer.status == 200));
        let alive: Vec<Factor> = answers
            .iter()
            .map(|answer| Factor::of(&answer.json()))
            .filter(|factor| host.ask(&Request::get(&factor.path)).status == 200)
            .collect();
        assert_eq!(alive.len(), 1);
        let mut last = alive[0].clone();
        host.confirm(&mut last);
    }
}

#[test]
fn otp_3_the_winner_is_not_beaten_by_a_kill() {
    let mut host = Host::start(PATIENT);
    for round in 0..rounds(10) {
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
}
