//! What the time of an answer says: nothing about whether a user is there, how much of a code was right, whose an id is
//! (OTP-6, AUT-4, AZ-2). Two kinds of requests take turns; Welch's t and the medians tell whether one could tell them apart.

use std::time::{Duration, Instant};

use mfad::model::{Moving, Period, Sensitive};
use mfad::store::{Decision, Listeners, SecretType, Store};
use serde_json::json;

use super::figure::{Dice, quantile, report, size};
use crate::host::Host;
use crate::otp::{self, Hash};
use crate::people::PASSWORD;
use crate::wire::{Connection, Request};

#[path = "../../benches/load/people.rs"]
mod people;

/// Wrong answers that no delay follows.
const FREE: usize = 4;
/// Beyond this |t| two kinds can be told apart.
const TELLTALE: f64 = 4.5;
/// The medians of both kinds, one of the other.
const NEAR: f64 = 0.01;
/// Of all times, this part is looked at: what interrupts a machine now and then says nothing.
const USUAL: f64 = 0.95;
const PATIENCE: Duration = Duration::from_secs(60);

/// Two kinds of requests that shall take the same time.
struct Pair {
    name: &'static str,
    pairs: usize,
    /// The status that all of them get.
    status: u16,
    /// The request of this kind and number.
    shot: Box<dyn Fn(bool, usize) -> Request>,
}

struct Times {
    t: f64,
    medians: f64,
}

/// How far two kinds of times are apart: the more samples, the finer it sees.
fn compare(one: &[f64], other: &[f64]) -> Times {
    let mut all = [one, other].concat();
    let most = quantile(&mut all, USUAL);
    let usual = |times: &[f64]| -> Vec<f64> { times.iter().copied().filter(|time| *time <= most).collect() };
    let (mut one, mut other) = (usual(one), usual(other));
    let mean = |times: &[f64]| times.iter().sum::<f64>() / times.len() as f64;
    let spread = |times: &[f64]| {
        let mean = mean(times);
        times.iter().map(|time| (time - mean).powi(2)).sum::<f64>() / (times.len() - 1) as f64 / times.len() as f64
    };
    let t = (mean(&one) - mean(&other)) / (spread(&one) + spread(&other)).sqrt();
    Times { t, medians: quantile(&mut one, 0.5) / quantile(&mut other, 0.5) - 1.0 }
}

impl Times {
    fn are_alike(&self) -> bool {
        self.t.abs() < TELLTALE && self.medians.abs() <= NEAR
    }
}

impl Pair {
    /// Both kinds in turn, in an order that says nothing either.
    fn measure(&self, host: &Host, dice: &mut Dice) -> (Vec<f64>, Vec<f64>) {
        let mut line = Connection::new(std::os::unix::net::UnixStream::connect(host.socket()).unwrap(), None);
        let mut times = [Vec::new(), Vec::new()];
        for number in 0..self.pairs {
            let first = dice.below(2) == 0;
            for kind in [first, !first] {
                times[usize::from(kind)].push(self.time(&mut line, kind, number));
            }
        }
        let [one, other] = times;
        (one, other)
    }
}

impl Pair {
    fn time(&self, line: &mut Connection, kind: bool, number: usize) -> f64 {
        // Unknown users share the places where they are counted; one whose place is full makes room for another.
        for again in 0..10 {
            let request = (self.shot)(kind, number + again * self.pairs);
            let began = Instant::now();
            let answer = line.ask(&request);
            let took = began.elapsed().as_secs_f64();
            if answer.status != 429 {
                assert_eq!(answer.status, self.status, "{}: {}", self.name, answer.text());
                return took;
            }
        }
        panic!("{}: everybody is delayed", self.name);
    }
}

/// A code with one digit changed.
fn bend(code: &str, at: usize) -> String {
    let digit = (code.as_bytes()[at] - b'0' + 5) % 10;
    format!("{}{digit}{}", &code[..at], &code[at + 1..])
}

#[test]
fn otp_6_aut_4_az_2_the_time_of_an_answer_says_nothing() {
    let pairs = size(200, 20_000);
    let passwords = size(8, 2_000);
    let mut host = Host::start("");
    let person = host.person("pattern");
    host.stop();
    let key: [u8; 32] = std::fs::read(host.premises.state.join("master.key")).unwrap().try_into().unwrap();
    let store = Store::open(&host.premises.state, None, &Sensitive::new(key), Listeners::default()).unwrap();
    let pattern = mfad::model::UserId::parse(&person.id).unwrap();
    // One for each free guess of the three kinds of codes, then one for each free guess of passwords.
    let count = 3 * pairs.div_ceil(FREE) + passwords.div_ceil(FREE);
    let by_time = Moving::Time(Period::THIRTY);
    let made = store.write(PATIENCE, move |tx| {
        let password = tx.active_secret(pattern, SecretType::Password)?.expect("a password");
        let password = tx.open_secret(&password)?;
        let mut made = Vec::new();
        for number in 0..count {
            made.push(people::put(tx, number, by_time, &[(SecretType::Password, password.expose())])?);
        }
        Ok(Decision::Keep(made))
    });
    let made = std::sync::Arc::new(made.unwrap());
    store.close();
    host.start_again();
    let person = host.person("asker");
    let mut dice = Dice(17);
    let unknown = {
        let base = dice.roll();
        move |number: usize| format!("0198c0de-0000-7000-8000-{:012x}", (base ^ number as u64) & 0xFFFF_FFFF_FFFF)
    };
    let verify = |user: String, code: String| Request::post(format!("/users/{user}/verify"), &json!({"token": code}));

    let known = {
        let made = std::sync::Arc::clone(&made);
        move |is_known: bool, number: usize| {
            let user = if is_known { made[number / FREE].0.to_string() } else { unknown(number) };
            verify(user, "00000001".to_owned())
        }
    };
    let digits = {
        let (made, first) = (std::sync::Arc::clone(&made), pairs.div_ceil(FREE));
        move |is_first_right: bool, number: usize| {
            let (user, _, seed) = &made[first + 2 * (number / FREE) + usize::from(is_first_right)];
            let right = otp::code(seed, Hash::Sha1, 8, otp::step(30));
            verify(user.to_string(), bend(&right, if is_first_right { 7 } else { 0 }))
        }
    };
    let foreign = {
        let (made, token, path) = (std::sync::Arc::clone(&made), person.token.clone(), person.secrets());
        move |is_foreign: bool, number: usize| {
            let secret = if is_foreign { made[number % made.len()].1.to_string() } else { unknown(number) };
            Request::get(format!("{path}/{secret}")).token(&token)
        }
    };
    let logins = {
        let first = 3 * pairs.div_ceil(FREE);
        move |is_known: bool, number: usize| {
            let name = if is_known { people::name(first + number / FREE) } else { format!("nobody {number}") };
            Request::post("/auth/password", &json!({"id": name, "password": format!("not {PASSWORD}")}))
        }
    };
    for pair in [
        Pair { name: "codes of known and unknown users", pairs, status: 401, shot: Box::new(known) },
        Pair { name: "codes with the first or the last digit wrong", pairs, status: 401, shot: Box::new(digits) },
        Pair { name: "secrets of others and of nobody", pairs, status: 404, shot: Box::new(foreign) },
        Pair { name: "passwords of known and unknown users", pairs: passwords, status: 401, shot: Box::new(logins) },
    ] {
        let (one, other) = pair.measure(&host, &mut dice);
        let times = compare(&one, &other);
        // The control: a hundredth and a half more is seen.
        let slower: Vec<f64> = other.iter().map(|time| time * 1.015).collect();
        assert!(pair.pairs < 1_000 || !compare(&one, &slower).are_alike() || !times.are_alike(), "too blunt");

        let figure =
            format!("Welch's t {:.2}, medians {:+.2} % in {} pairs", times.t.abs(), times.medians * 100.0, pair.pairs);
        let name = format!("time: {}", pair.name);
        report(&name, figure, "t < 4.5, medians within 1 %, in 20,000", times.are_alike() && pair.pairs >= 20_000);
    }
}
