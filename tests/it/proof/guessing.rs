//! Guesses at one factor from many sides: how many of them are looked at at all (THR-1, R9).

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use mfad_core::model::{Algorithm, Digits, Gate, Limits, Moment, Odds, Period, Throttle};
use mfad_core::oath::{CounterMatch, Window, hotp, match_counter, match_step, step_at};
use mfad_service::error::Error;
use proptest::prelude::*;
use serde_json::json;

use super::clock::Times;
use super::figure::{Dice, report, size};
use crate::host::Host;
use crate::otp;
use crate::wire::{Connection, Request};

const SIDES: usize = 64;
/// The most that may be looked at before an administrator has to step in.
const MOST: usize = 100;

/// Guesses at each of these users from all sides; how many were compared with anything.
fn evaluated(host: &Host, users: &[String], guesses: usize, wrong: &[String]) -> usize {
    let (turn, evaluated, busy) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
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
                        (429, "too-many-attempts") | (423, "factor-locked") => {}
                        (503, "busy") => drop(busy.fetch_add(1, Ordering::Relaxed)),
                        other => panic!("a guess is answered {other:?}"),
                    }
                }
            });
        }
    });
    let busy = busy.into_inner();
    assert!(busy <= guesses / 100, "{busy} of {guesses} met no throttle, but a daemon that was busy");
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

    assert!((5..=MOST).contains(&looked_at), "{looked_at} of {guesses} guesses were compared");
    let right = host.verify(&person.id, &json!({"token": factor.next()}));
    assert!(matches!(right.status, 423 | 429), "nor is the right code looked at meanwhile: {}", right.text());

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

/// Wrong codes as fast as the throttle looks at them, as many as that, and how many it has looked at when it locks.
fn looked_at(times: &mut Times, counter: Option<&[u8]>, most: u32) -> u32 {
    let mut looked_at = 0;
    while looked_at < most {
        let now = times.step();
        let code = |seed: &[u8], moving| otp::code(seed, otp::Hash::Sha1, 6, moving);
        let of_counter = (0..=101).filter_map(|counter_at| Some(code(counter?, counter_at)));
        let right: Vec<String> = (now - 1..=now + 1).map(|step| code(&times.seed, step)).chain(of_counter).collect();
        let wrong = (0..).map(|number| format!("{number:06}")).find(|code| !right.contains(code)).unwrap();
        match times.show_digits(&wrong) {
            Err(Error::WrongCode { .. }) => looked_at += 1,
            Err(Error::FactorLocked) => return looked_at,
            other => panic!("a wrong code ends with {other:?}"),
        }
        times.boot += 16 * 60_000;
        times.wall += 16 * 60_000;
    }
    looked_at
}

#[test]
fn r9_the_lock_comes_earlier_where_a_guess_has_better_odds() {
    let mut times = Times::begin(1_700_000_000_000);
    assert_eq!(looked_at(&mut times, None, u32::MAX), 100, "three codes count");
    times.unlock();

    let (_, counter) = times.also_count(Digits::SIX);

    assert_eq!(looked_at(&mut times, Some(&counter), u32::MAX), 21, "fourteen codes count");
    let times = times.restart();
    let right = otp::code(&times.seed, otp::Hash::Sha1, 6, times.step());
    assert!(matches!(times.show_digits(&right), Err(Error::FactorLocked)), "nor is the right one looked at");
}

#[test]
fn r9_guesses_stay_counted_as_what_they_were_when_a_factor_goes() {
    let mut times = Times::begin(1_700_000_000_000);
    let (counted, seed) = times.also_count(Digits::SIX);
    assert_eq!(looked_at(&mut times, Some(&seed), 20), 20, "14 codes each: 28 of 30 parts are spent");

    times.take_away(counted);

    let mut times = times.restart();
    assert_eq!(looked_at(&mut times, None, u32::MAX), 6, "3 codes each");
}

#[test]
fn r9_a_guess_that_there_is_no_room_for_locks_for_the_cheaper_ones_too() {
    let mut times = Times::begin(1_700_000_000_000);
    let (_, counter) = times.also_count(Digits::SIX);
    let (_, longer) = times.also_count(Digits::new(7).unwrap());
    assert_eq!(looked_at(&mut times, Some(&counter), 20), 20, "14 codes each: 280 of 300 parts are spent");
    let right: Vec<String> = (0..=101).map(|at| otp::code(&longer, otp::Hash::Sha1, 7, at)).collect();
    let cheap = otp::codes_but(right, 7).next().unwrap();
    let show_cheap = |times: &mut Times| {
        let shown = times.show_digits(&cheap);
        times.boot += 16 * 60_000;
        shown
    };
    for _ in 0..6 {
        assert!(matches!(show_cheap(&mut times), Err(Error::WrongCode { .. })), "1.1 parts each");
    }

    assert_eq!(looked_at(&mut times, Some(&counter), 1), 0, "14 parts more would be too many");

    let mut times = times.restart();
    assert!(matches!(show_cheap(&mut times), Err(Error::FactorLocked)), "the lock stays");
}

/// A factor of somebody who is attacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Timed(Window),
    Counted,
}

impl Kind {
    /// The codes that count at one moment, as the documents have it.
    fn codes(self) -> u64 {
        match self {
            Self::Timed(window) => window.width(),
            Self::Counted => 11,
        }
    }
}

/// Somebody under attack: the factors and their throttle.
struct Victim {
    digits: Digits,
    factors: Vec<(Kind, [u8; 20], Option<u64>)>,
    counter: u64,
    throttle: Throttle,
    /// A defect on purpose, for the control, if not: every guess counts the same.
    heeds_odds: bool,
}

impl Victim {
    fn new(kinds: &[Kind], digits: Digits, heeds_odds: bool, dice: &mut Dice) -> Self {
        let seed = |dice: &mut Dice| {
            let mut seed = [0; 20];
            seed.iter_mut().for_each(|byte| *byte = dice.roll().to_be_bytes()[0]);
            seed
        };
        let factors = kinds.iter().map(|kind| (*kind, seed(dice), None)).collect();
        Self { digits, factors, counter: dice.roll() >> 32, throttle: Throttle::clear(), heeds_odds }
    }

    /// A guess: nothing if it is not looked at, else whether it is taken.
    fn guess(&mut self, code: u32, now: &Moment) -> Option<bool> {
        let of_all = self.factors.iter().map(|(kind, ..)| Odds::of(kind.codes(), self.digits));
        let odds = of_all.fold(Odds::NONE, Odds::or);
        let is_one_too_many = self.heeds_odds && self.throttle.leaves_no_room_for(odds);
        if self.throttle.gate(&LIMITS, now) != Gate::Open || is_one_too_many {
            return None;
        }
        let mut is_taken = false;
        for (kind, seed, resync) in &mut self.factors {
            match *kind {
                Kind::Timed(window) => {
                    let current = step_at(now.unix_seconds(), Period::THIRTY);
                    is_taken |= match_step(seed, Algorithm::Sha1, self.digits, code, current, window, None).is_some();
                }
                Kind::Counted => match match_counter(seed, Algorithm::Sha1, self.digits, code, self.counter, *resync) {
                    CounterMatch::Accepted { .. } => is_taken = true,
                    CounterMatch::Ahead { counter } => *resync = Some(counter),
                    CounterMatch::Unknown => *resync = None,
                },
            }
        }
        if !is_taken {
            self.throttle = self.throttle.fail(&LIMITS, now, if self.heeds_odds { odds } else { Odds::NONE });
        }
        Some(is_taken)
    }
}

/// The time at which an attack begins, and some time after.
fn after(ms: i64) -> Moment {
    Moment { wall_ms: 1_700_000_000_000 + ms, boot_ms: 1_000_000 + ms, boot: [1; 16] }
}

const LIMITS: Limits = Limits { delay_after: 5, lock_after: Some(100) };

/// Guesses as fast as the throttle looks at them, until it does not any more: whether one is taken.
fn falls(mut victim: Victim, dice: &mut Dice) -> bool {
    let codes = usize::try_from(victim.digits.modulus()).unwrap();
    let mut ms = 0;
    loop {
        match victim.throttle.gate(&LIMITS, &after(ms)) {
            Gate::Open => {}
            Gate::Delayed(wait) => ms += i64::try_from(wait.as_millis()).unwrap(),
            Gate::Locked => return false,
        }
        let code = u32::try_from(dice.below(codes)).unwrap();
        if victim.guess(code, &after(ms)).expect("the delay is over") {
            return true;
        }
    }
}

/// How many of so many attacked people fall to guessing.
fn fallen(people: usize, kinds: &[Kind], heeds_odds: bool) -> usize {
    let parts = thread::available_parallelism().unwrap().get();
    let part = |number: usize| {
        let mut dice = Dice(0xDEC0DE + u64::try_from(number).unwrap());
        let mut one = |_: &usize| {
            let victim = Victim::new(kinds, Digits::SIX, heeds_odds, &mut dice);
            falls(victim, &mut dice)
        };
        (number..people).step_by(parts).filter(|number| one(number)).count()
    };
    thread::scope(|threads| {
        let running: Vec<_> = (0..parts).map(|number| threads.spawn(move || part(number))).collect();
        running.into_iter().map(|part| part.join().unwrap()).sum()
    })
}

/// Whether a count is what such a chance brings about, but for one run in four hundred. The dice are the same each time.
fn is_what_comes_of(fallen: usize, people: usize, chance: f64) -> bool {
    let expected = people as f64 * chance;
    (fallen as f64 - expected).abs() <= 3.0 * expected.sqrt()
}

#[test]
fn r9_three_in_ten_thousand_fall_to_guessing_whatever_their_factors() {
    const STATED: f64 = 3e-4;
    let timed = Kind::Timed(Window::DEFAULT);
    for (who, kinds, people) in [
        ("a time-based factor", &[timed][..], size(10_000, 100_000)),
        ("a counter-based factor", &[Kind::Counted], size(200, 20_000)),
        ("two of the one and one of the other", &[timed, timed, Kind::Counted], size(200, 20_000)),
    ] {
        let fallen = fallen(people, kinds, true);
        let is_so = is_what_comes_of(fallen, people, STATED);
        report(
            &format!("guessed at until the lock, simulated: {who}"),
            format!("{fallen} of {people} fall"),
            format!("{:.0}, within three standard deviations", people as f64 * STATED),
            is_so,
        );
        assert!(is_so, "{who}: {fallen} of {people} fall");
    }
    // The control: ten counters, each guess counted as if there were one. Eleven in a thousand fall.
    let people = size(20, 1_000);
    let fallen = fallen(people, &[Kind::Counted; 10], false);
    // So few people show nothing.
    assert!(people < 1_000 || !is_what_comes_of(fallen, people, STATED), "a late lock is seen: {fallen}");
}

proptest! {
    /// Whatever somebody does with time and with reboots, and whatever is guessed: not more than a hundred guesses are
    /// looked at, and not earlier than the delays allow.
    #[test]
    fn thr_1_no_order_of_guesses_waits_and_reboots_has_more_looked_at(
        waits in proptest::collection::vec((0i64..2_000_000, -10_000_000i64..10_000_000, 0u8..20), 1..400),
        is_patient in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let mut dice = Dice(seed);
        let mut victim = Victim::new(&[Kind::Counted], Digits::new(8).unwrap(), true, &mut dice);
        let (mut boot, mut wall, mut booted) = (0i64, 0i64, 0u8);
        let (mut looked_at, mut last_look, mut is_same_boot) = (0u32, 0i64, true);
        for (wait, step, event) in waits {
            boot += if is_patient { wait.max(900_000) } else { wait };
            wall += wait;
            match event {
                // The wall clock is set.
                0 => wall += step,
                1 => (booted, is_same_boot) = (booted.wrapping_add(1), false),
                _ => {}
            }
            let now = Moment { wall_ms: 1_700_000_000_000 + wall, boot_ms: 1_000_000 + boot, boot: [booted; 16] };
            // Wrong for sure: it has more digits than a code.
            if victim.guess(u32::MAX, &now).is_some() {
                if is_same_boot && looked_at >= LIMITS.delay_after {
                    let doublings = looked_at - LIMITS.delay_after;
                    let delay = 1000i64.checked_shl(doublings).filter(|_| doublings < 20).unwrap_or(i64::MAX).min(900_000);
                    prop_assert!(boot - last_look >= delay, "guess {looked_at} came after {} ms", boot - last_look);
                }
                (last_look, is_same_boot) = (boot, true);
                looked_at += 1;
            }
        }
        prop_assert!(looked_at <= 100, "{looked_at} were looked at");
    }

    /// The codes that count at one moment are those of the window and no others, whatever the seed and the time.
    #[test]
    fn otp_4_no_code_counts_but_those_of_the_window(
        seed in any::<[u8; 20]>(),
        current in 2u64..1 << 40,
        back in 0u8..=2,
        forward in 0u8..=1,
        guess in 0u32..1_000_000,
    ) {
        let Some(window) = Window::new(back, forward) else { return Ok(()) };
        let code = |counter| hotp(&seed, Algorithm::Sha1, counter, Digits::SIX);
        let timed = |guess| match_step(&seed, Algorithm::Sha1, Digits::SIX, guess, current, window, None).is_some();
        let counted =
            |guess| matches!(match_counter(&seed, Algorithm::Sha1, Digits::SIX, guess, current, None), CounterMatch::Accepted { .. });
        let of_window: Vec<u32> = (current - u64::from(back)..=current + u64::from(forward)).map(code).collect();
        let ahead: Vec<u32> = (current..=current + 10).map(code).collect();
        for guess in of_window.iter().chain(&ahead).copied().chain([guess]) {
            prop_assert_eq!(timed(guess), of_window.contains(&guess));
            prop_assert_eq!(counted(guess), ahead.contains(&guess));
        }
        prop_assert!(of_window.len() <= 3);
    }
}
