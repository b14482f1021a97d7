//! What the time of an answer says: nothing about whether a user is there, how much of a code was right, whose an id is
//! (OTP-6, AUT-4, AZ-2). Two kinds of requests take turns; Welch's t and the medians tell whether one could tell them apart.

use std::time::{Duration, Instant};

use mfad_core::model::{OtpKind, Period};
use mfad_store::{Decision, Listeners, MasterKey, SecretType, Store};
use serde_json::json;

use super::figure::{Dice, quantile, report, size};
use crate::host::Host;
use crate::otp::{self, Hash};
use crate::people::PASSWORD;
use crate::wire::{Connection, Request};

use mfad_testkit::store_users as people;

/// Pairs of a long run.
const PAIRS: usize = 20_000;
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
struct Pair<'a> {
    name: &'static str,
    pairs: usize,
    /// How many of them there shall be.
    goal: usize,
    /// The status that all of them get.
    status: u16,
    /// The request of this kind and number.
    shot: &'a dyn Fn(bool, usize) -> Request,
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

/// Both kinds in turn, in an order that says nothing either.
fn take_turns(pairs: usize, dice: &mut Dice, mut time: impl FnMut(bool, usize) -> f64) -> Times {
    let mut times = [Vec::new(), Vec::new()];
    for number in 0..pairs {
        let first = dice.below(2) == 0;
        for kind in [first, !first] {
            times[usize::from(kind)].push(time(kind, number));
        }
    }
    compare(&times[0], &times[1])
}

/// The figure of two kinds, and how many pairs there shall be.
fn report_times(name: &str, times: &Times, pairs: usize, goal: usize) {
    let percent = USUAL * 100.0;
    let figure = format!(
        "Welch's t {:.2} of the quickest {percent:.0} %, medians {:+.2} % in {pairs} pairs",
        times.t.abs(),
        times.medians * 100.0
    );
    let wanted = format!("t < 4.5, medians within 1 %, in {goal}");
    report(&format!("time: {name}"), figure, wanted, times.are_alike() && pairs >= goal);
}

impl Pair<'_> {
    fn measure(&self, host: &Host, dice: &mut Dice) -> Times {
        let mut line = Connection::new(std::os::unix::net::UnixStream::connect(host.socket()).unwrap(), None);
        take_turns(self.pairs, dice, |kind, number| self.time(&mut line, kind, number))
    }

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

/// A host with very many people, who all have the same password and a factor each, the last ones one that counts.
struct Town {
    host: Host,
    made: Vec<people::Put>,
    dice: Dice,
}

impl Town {
    fn of(count: usize, counted: usize) -> Self {
        let mut host = Host::start("");
        let pattern = host.person("pattern");
        host.stop();
        let key = MasterKey::from_bytes(&std::fs::read(host.dirs.state.join("master.key")).unwrap()).unwrap();
        let store = Store::open(&host.dirs.state, None, &key, Listeners::default()).unwrap();
        let pattern = mfad_core::model::UserId::parse(&pattern.id).unwrap();
        let made = store.write(PATIENCE, move |tx| {
            let password = tx.active_secret(pattern, SecretType::Password)?.expect("a password");
            let password = tx.open_secret(&password)?;
            let mut made = Vec::new();
            for number in 0..count + counted {
                let moving = if number < count { OtpKind::Totp(Period::THIRTY) } else { OtpKind::Hotp };
                made.push(people::put(tx, number, moving, &[(SecretType::Password, password.expose())])?);
            }
            Ok(Decision::Commit(made))
        });
        let made = made.unwrap();
        store.close();
        host.start_again();
        Self { host, made, dice: Dice(17) }
    }

    /// Ids that nobody has.
    fn unknown(&mut self) -> impl Fn(usize) -> String + use<> {
        let base = self.dice.roll();
        move |number| format!("0198c0de-0000-7000-8000-{:012x}", (base ^ number as u64) & 0xFFFF_FFFF_FFFF)
    }

    fn measure(&mut self, pair: &Pair<'_>) -> Times {
        pair.measure(&self.host, &mut self.dice)
    }

    fn report(&mut self, pair: &Pair<'_>) {
        let times = self.measure(pair);
        report_times(pair.name, &times, pair.pairs, pair.goal);
    }
}

fn verify(user: String, code: String) -> Request {
    Request::post(format!("/users/{user}/verify"), &json!({"token": code}))
}

#[test]
fn otp_6_az_2_the_time_of_an_answer_to_a_code_says_nothing() {
    let pairs = size(200, PAIRS);
    // One for each free guess of each of the three kinds, and of the control.
    let each = pairs.div_ceil(FREE);
    let mut town = Town::of(4 * each, each);
    let unknown = town.unknown();
    let made = town.made.clone();
    let known = |is_known: bool, number: usize| {
        let user = if is_known { made[number / FREE].0.to_string() } else { unknown(number) };
        verify(user, "00000001".to_owned())
    };
    town.report(&Pair { name: "codes of known and unknown users", pairs, goal: PAIRS, status: 401, shot: &known });

    let first = each;
    let digits = |is_first_right: bool, number: usize| {
        let (user, _, seed) = &made[first + 2 * (number / FREE) + usize::from(is_first_right)];
        let right = otp::code(seed, Hash::Sha1, 8, otp::step(30));
        verify(user.to_string(), bend(&right, if is_first_right { 7 } else { 0 }))
    };
    town.report(&Pair {
        name: "codes with the first or the last digit wrong",
        pairs,
        goal: PAIRS,
        status: 401,
        shot: &digits,
    });
    tell_counters_apart(&mut town, pairs);
}

/// A hundred and one codes take longer than three (see the limits in docs/security.md).
fn tell_counters_apart(town: &mut Town, pairs: usize) {
    let each = pairs.div_ceil(FREE);
    let made = town.made.clone();
    let counted = |is_counted: bool, number: usize| {
        let user = if is_counted { 4 * each } else { 3 * each } + number / FREE;
        verify(made[user].0.to_string(), "00000001".to_owned())
    };
    let pair = Pair { name: "the control", pairs, goal: pairs, status: 401, shot: &counted };
    let times = town.measure(&pair);
    println!("time: those who count, Welch's t {:.2}, medians {:+.2} %", times.t.abs(), times.medians * 100.0);
    // So few pairs show nothing.
    assert!(pairs < PAIRS || !times.are_alike(), "the harness is too blunt for a known difference");
}

#[test]
fn az_2_the_time_of_an_answer_does_not_say_whose_an_id_is() {
    let pairs = size(200, PAIRS);
    let mut town = Town::of(pairs.div_ceil(FREE), 0);
    let asker = town.host.person("asker");
    let (unknown, made, path) = (town.unknown(), town.made.clone(), asker.secrets());
    let foreign = |is_foreign: bool, number: usize| {
        let secret = if is_foreign { made[number % made.len()].1.to_string() } else { unknown(number) };
        Request::get(format!("{path}/{secret}")).token(&asker.token)
    };
    town.report(&Pair { name: "secrets of others and of nobody", pairs, goal: PAIRS, status: 404, shot: &foreign });
}

#[test]
fn aut_4_the_time_of_an_answer_to_a_password_does_not_say_who_is_there() {
    let pairs = size(8, PAIRS);
    let mut town = Town::of(pairs.div_ceil(FREE), 0);
    let logins = |is_known: bool, number: usize| {
        let name = if is_known { people::name(number / FREE) } else { format!("nobody {number}") };
        Request::post("/auth/password", &json!({"id": name, "password": format!("not {PASSWORD}")}))
    };
    town.report(&Pair { name: "passwords of known and unknown users", pairs, goal: PAIRS, status: 401, shot: &logins });
}
