//! A model of what a factor has to do, against what the daemon does: random stories of codes, used codes, wrong codes, backup
//! codes, waits, jumps of the clock, unlocks and restarts (OTP-3, THR-1, BKC-4, TIME-2).

use std::collections::BTreeSet;

use mfad_service::error::Error;

use super::clock::Times;
use super::figure::{Dice, report, size};

/// Failures in a row after which each costs a delay, and after which there is a lock.
const DELAY_AFTER: u32 = 5;
const LOCK_AFTER: u32 = 100;
/// The longest delay, in milliseconds.
const LONGEST: i64 = 15 * 60 * 1000;
/// One story of so many begins with enough guesses.
const GRIM: u64 = 20;
/// How many steps a story has.
const STEPS: usize = 40;

/// What one attempt ends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Taken,
    Wrong,
    Delayed,
    Locked,
}

/// All that matters of a user, as the documents have it.
#[derive(Clone, Debug)]
struct Model {
    last_step: u64,
    /// The steps of the clock at which codes were taken.
    uses: Vec<u64>,
    /// Steps that may have been used when the clock was ahead.
    kept: BTreeSet<u64>,
    used: BTreeSet<usize>,
    failures: u32,
    /// On the clock of the boot.
    delayed_until: i64,
    /// A defect on purpose, for the control.
    forgets_used_codes: bool,
}

impl Model {
    fn attempt(&mut self, boot: i64, is_right: bool) -> Outcome {
        if self.failures >= LOCK_AFTER {
            return Outcome::Locked;
        }
        if boot < self.delayed_until {
            return Outcome::Delayed;
        }
        if is_right {
            (self.failures, self.delayed_until) = (0, 0);
            return Outcome::Taken;
        }
        self.failures += 1;
        if let Some(doublings) = self.failures.checked_sub(DELAY_AFTER) {
            self.delayed_until = boot + (1000i64 << doublings.min(20)).min(LONGEST);
        }
        Outcome::Wrong
    }

    fn show(&mut self, step: u64, now: u64, boot: i64) -> Outcome {
        let is_new = step > self.last_step && !self.kept.contains(&step) || self.forgets_used_codes;
        let outcome = self.attempt(boot, is_new && step.abs_diff(now) <= 1);
        if outcome == Outcome::Taken {
            self.last_step = step;
            self.uses.push(now);
        }
        outcome
    }

    fn show_backup(&mut self, place: usize, boot: i64) -> Outcome {
        let outcome = self.attempt(boot, !self.used.contains(&place));
        if outcome == Outcome::Taken {
            self.used.insert(place);
        }
        outcome
    }

    fn unlock(&mut self, now: u64) {
        (self.failures, self.delayed_until) = (0, 0);
        if self.last_step > now + 1 {
            self.kept.insert(self.last_step);
            self.kept.extend(self.uses.iter().flat_map(|used| used - 2..=used + 1));
            self.last_step = now;
        }
    }
}

fn outcome(answer: Result<(), Error>) -> Outcome {
    match answer {
        Ok(()) => Outcome::Taken,
        Err(Error::WrongCode { .. }) => Outcome::Wrong,
        Err(Error::TooManyAttempts { .. }) => Outcome::Delayed,
        Err(Error::FactorLocked) => Outcome::Locked,
        Err(other) => panic!("another refusal: {other}"),
    }
}

/// One story; where daemon and model part, if they do.
fn story(seed: u64, forgets_used_codes: bool) -> Result<BTreeSet<&'static str>, String> {
    let mut dice = Dice(seed);
    let mut times = Times::begin(1_700_000_000_000);
    let mut model = Model {
        last_step: times.step(),
        uses: vec![times.step()],
        kept: BTreeSet::new(),
        used: BTreeSet::new(),
        failures: 0,
        delayed_until: 0,
        forgets_used_codes,
    };
    let mut seen = BTreeSet::new();
    // Some stories begin at a lock, or one or two guesses before it.
    let near = u64::from(LOCK_AFTER) - seed / GRIM % 3;
    let patient = if seed.is_multiple_of(GRIM) { usize::try_from(near).unwrap() } else { 0 };
    for number in 0..patient + STEPS {
        let mut kind = dice.below(16);
        if number < patient {
            kind = 5;
            (times.wall, times.boot) = (times.wall + LONGEST, times.boot + LONGEST);
        }
        let now = times.step();
        let (what, did, should) = match kind {
            0..=4 => {
                // Most often near the present, sometimes the very last one again.
                let step =
                    if dice.below(4) == 0 { model.last_step } else { now + 2 - u64::try_from(dice.below(5)).unwrap() };
                ("code", outcome(times.show(step)), model.show(step, now, times.boot))
            }
            5..=7 => ("wrong code", outcome(times.show(now + 1000)), model.show(now + 1000, now, times.boot)),
            8..=9 => {
                let place = dice.below(times.codes.len());
                ("backup code", outcome(times.show_backup(place)), model.show_backup(place, times.boot))
            }
            10..=12 => {
                let wait = *dice.pick(&[500, 1_500, 31_000, 90_000, 20 * 60_000]);
                (times.wall, times.boot) = (times.wall + wait, times.boot + wait);
                continue;
            }
            13 => {
                times.wall += *dice.pick(&[-86_400_000, -60_000, -30_000, 30_000, 86_400_000]);
                continue;
            }
            14 => {
                times.unlock();
                model.unlock(now);
                continue;
            }
            _ => {
                times = times.restart();
                continue;
            }
        };
        if did != should {
            return Err(format!(
                "story {seed}, step {number}: a {what} is {did:?} and should be {should:?}: {model:?}"
            ));
        }
        seen.insert(match did {
            Outcome::Taken => "taken",
            Outcome::Wrong => "wrong",
            Outcome::Delayed => "delayed",
            Outcome::Locked => "locked",
        });
    }
    Ok(seen)
}

#[test]
fn a_factor_does_what_its_model_does() {
    let stories = u64::try_from(size(25, 1_000)).unwrap();
    let mut seen = BTreeSet::new();
    for seed in 0..stories {
        match story(seed, false) {
            Ok(more) => seen.extend(more),
            Err(why) => panic!("{why}"),
        }
    }
    assert_eq!(seen, BTreeSet::from(["delayed", "locked", "taken", "wrong"]), "all of it comes up");
    // The control: a model in which used codes count again has to part from the daemon.
    assert!((0..20).any(|seed| story(seed, true).is_err()), "the harness finds a model that is wrong");

    let name = "random stories of a factor against its model";
    report(name, format!("0 differences in {stories}"), "0 in 1,000", stories >= 1_000);
}
