//! Orders of events that a machine seldom takes: the use cases and a real store, whose threads take turns at every lock,
//! channel and wait as shuttle decides (SUP-5). An order that breaks a promise is printed, and can be gone through again
//! with `shuttle::replay`. Nobody's patience ends here, so whoever is never woken is a failure too.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::arithmetic_side_effects,
    clippy::disallowed_methods,
    reason = "a test fails by panicking"
)]

#[path = "../it/asking.rs"]
mod asking;
#[path = "../card/mod.rs"]
mod card;
#[path = "../it/otp.rs"]
#[expect(dead_code, reason = "other tests compute more")]
mod otp;
#[path = "../it/hardware/workshop.rs"]
#[expect(dead_code, reason = "other tests do more in it")]
mod workshop;

/// As the other tests name it.
mod hardware {
    pub use crate::workshop::{Workshop, totp};
}

use std::panic::catch_unwind;
use std::path::Path;

use mfad::error::Error;
use mfad::model::{BackupCode, Moment, Sensitive, Text, UserRef};
use mfad::service::{AuthView, Call, Occasion, Proof, Reply, SecretOrder, SecretRef, Soon, UserChange};
use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::{Config, FailurePersistence, Runner};

use asking::{PASSWORD, Person, ask_with, code_of, enrol_at, granted, pending_at, step_at};
use workshop::{Workshop, totp};

/// Orders of a story that are tried: so many drawn at random, and as many with few turns that are not the nearest.
const ORDERS: usize = 100;
/// Turns that come as a surprise (probabilistic concurrency testing).
const DEPTH: usize = 3;
const SEED: u64 = 7;
/// As much as a use case needs, hashes and SQLite included.
const STACK: usize = 4 * 1024 * 1024;
/// Wrong ones in a row before there is a delay.
const BEFORE_A_DELAY: usize = 5;

fn in_many_orders(story: fn()) {
    // No power is cut here: where stores need not wait for a disk, there is time for twice as many orders.
    let memory = Path::new("/dev/shm");
    if memory.is_dir() {
        let _was_done = tempfile::env::override_temp_dir(memory);
    }
    go_through(RandomScheduler::new_from_seed(SEED, ORDERS), story);
    go_through(PctScheduler::new_from_seed(SEED, DEPTH, ORDERS), story);
}

fn go_through(scheduler: impl Scheduler + 'static, story: fn()) {
    let mut config = Config::new();
    config.stack_size = STACK;
    config.failure_persistence = FailurePersistence::Print;
    Runner::new(scheduler, config).run(story);
}

/// What one of them does.
type Deed<'a, T> = Box<dyn FnOnce() -> T + Send + 'a>;

/// All at once, and what came of each.
fn at_once<T: Send + 'static>(deeds: Vec<Deed<'_, T>>) -> Vec<T> {
    shuttle::thread::scope(|threads| {
        let going: Vec<_> = deeds.into_iter().map(|deed| threads.spawn(deed)).collect();
        going.into_iter().map(|one| one.join().unwrap()).collect()
    })
}

/// The same of so many.
fn each<'a, T>(count: usize, deed: impl Fn(usize) -> T + Send + Sync + Copy + 'a) -> Vec<Deed<'a, T>> {
    (0..count).map(|number| Box::new(move || deed(number)) as Deed<'a, T>).collect()
}

#[track_caller]
fn one_wins<T>(outcomes: &[Result<T, Error>]) {
    let won = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    let why: Vec<String> = outcomes.iter().filter_map(|outcome| outcome.as_ref().err().map(Error::to_string)).collect();
    assert_eq!(won, 1, "{why:?}");
}

/// A service with one user, and the moment at which everything happens.
fn open() -> (Workshop, Moment) {
    let shop = Workshop::new(0);
    let now = shop.clock.now();
    (shop, now)
}

fn me_by(shop: &Workshop, now: Moment, token: &Sensitive<String>) -> Result<Reply, Error> {
    ask_with(shop, now, token, Call::ShowUser(UserRef::Me))
}

fn log_in_as(shop: &Workshop, now: Moment, name: &str, password: &str) -> Result<AuthView, Error> {
    let password = Sensitive::new(password.to_owned());
    shop.ask_at(now, Call::LogIn { login: name.to_owned(), password }).map(|reply| granted(Ok(reply)))
}

/// The control: between a look and what is done about it there is room for somebody else.
#[test]
fn an_order_is_found_in_which_two_see_that_there_is_none_and_both_make_one() {
    let found = catch_unwind(|| {
        in_many_orders(|| {
            let (shop, _) = open();
            let user = UserRef::Id(shop.user);
            let made = at_once(each(2, |_| {
                let Ok(Reply::Secrets(there)) = shop.ask(Call::ListSecrets(user)) else { panic!("no list") };
                there.is_empty() && shop.ask(Call::CreateSecret(user, SecretOrder::ApiKey { name: None })).is_ok()
            }));
            assert_eq!(made.iter().filter(|made| **made).count(), 1);
        });
    });
    assert!(found.is_err(), "no order was found");
}

/// The control: a thread that nobody wakes.
#[test]
fn a_wait_without_an_end_is_found() {
    let found = catch_unwind(|| {
        in_many_orders(|| {
            let (lock, woken) = (shuttle::sync::Mutex::new(false), shuttle::sync::Condvar::new());
            let wait = || drop(woken.wait_while(lock.lock().unwrap(), |is_done| !*is_done).unwrap());
            let careless = || {
                *lock.lock().unwrap() = true;
                woken.notify_one();
            };
            at_once(vec![Box::new(wait) as Deed<'_, ()>, Box::new(wait), Box::new(careless)]);
        });
    });
    assert!(found.is_err(), "no order was found");
}

#[test]
fn otp_3_a_code_counts_once() {
    in_many_orders(|| {
        let (shop, now) = open();
        let (secret, seed) = pending_at(&shop, now, shop.user, totp());
        assert!(enrol_at(&shop, now, shop.user, secret, code_of(&seed, step_at(now) - 1)).is_ok());
        let verify = || Call::Verify(UserRef::Id(shop.user), Proof::Token(code_of(&seed, step_at(now))));
        // The door's patience has a timer, which never rings here.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let _inside = runtime.enter();

        let outcomes = at_once(each(4, |number| {
            if number % 2 == 0 {
                return shop.ask_at(now, verify());
            }
            // As the door asks, without a thread that waits.
            let occasion = Occasion { now, ..shop.occasion() };
            match shuttle::future::block_on(shop.service.handle_soon(&occasion, verify())) {
                Soon::Done(outcome) => outcome,
                Soon::Later(_) => panic!("it is given a thread"),
            }
        }));

        one_wins(&outcomes);
    });
}

#[test]
fn bkc_4_a_backup_code_counts_once() {
    in_many_orders(|| {
        let (shop, now) = open();
        let (secret, seed) = pending_at(&shop, now, shop.user, totp());
        let enrolled = enrol_at(&shop, now, shop.user, secret, code_of(&seed, step_at(now)));
        let Ok(Reply::Enrolled { codes, .. }) = enrolled else { panic!("no codes") };

        let outcomes = at_once(each(3, |_| {
            let code = BackupCode::parse(codes[3].expose()).unwrap();
            shop.ask_at(now, Call::Verify(UserRef::Id(shop.user), Proof::Code(code)))
        }));

        one_wins(&outcomes);
        let backup = shop.ask(Call::ListSecrets(UserRef::Id(shop.user)));
        let Ok(Reply::Secrets(secrets)) = backup else { panic!("no list") };
        assert_eq!(secrets.iter().find_map(|secret| secret.remaining), Some(9));
    });
}

#[test]
fn enr_4_an_enrolment_counts_once() {
    in_many_orders(|| {
        let (shop, now) = open();
        let (secret, seed) = pending_at(&shop, now, shop.user, totp());

        one_wins(&at_once(each(3, |_| enrol_at(&shop, now, shop.user, secret, code_of(&seed, step_at(now))))));
    });
}

#[test]
fn enr_2_of_new_pending_factors_one_stays() {
    in_many_orders(|| {
        let (shop, now) = open();

        at_once(each(3, |_| pending_at(&shop, now, shop.user, totp())));

        assert_eq!(shop.secrets().len(), 1);
    });
}

#[test]
fn aut_2_a_challenge_has_one_answer_and_a_refresh_token_one_use() {
    in_many_orders(|| {
        let (shop, now) = open();
        let person = Person::at(&shop, now);
        let challenge = person.challenge(now);
        // Both are right.
        let proofs = [person.proof(), person.proof()];
        let answer = |proof| ask_with(&shop, now, &challenge, Call::AnswerChallenge(proof));
        let answers = proofs.map(|proof| Box::new(move || answer(proof)) as Deed<'_, _>);

        let answers = at_once(answers.into());

        one_wins(&answers);
        let access = granted(answers.into_iter().find(Result::is_ok).unwrap());
        let refresh = access.refresh.expect("a refresh token");
        let renewals = at_once(each(2, |_| ask_with(&shop, now, &refresh, Call::Refresh)));
        one_wins(&renewals);
        let renewed = granted(renewals.into_iter().find(Result::is_ok).unwrap());
        assert!(me_by(&shop, now, &renewed.token).is_err(), "a second use ends the family");
    });
}

#[test]
fn a_receipt_is_redeemed_once() {
    in_many_orders(|| {
        let (shop, now) = open();
        let person = Person::at(&shop, now);
        let access = person.log_in(now).token;
        let action = || Text::parse("pay", 64).unwrap();
        let step_up = Call::StepUp { proof: person.proof(), action: action() };
        let receipt = granted(ask_with(&shop, now, &access, step_up)).receipt.expect("a receipt");

        one_wins(&at_once(each(3, |_| {
            let receipt = Sensitive::new(receipt.expose().clone());
            shop.ask_at(now, Call::RedeemReceipt { receipt, action: action() })
        })));
    });
}

/// How many of the wrong ones were looked at; the others were refused unseen.
fn looked_at<T>(outcomes: &[Result<T, Error>]) -> usize {
    let is_wrong = |outcome: &&Result<T, Error>| match outcome {
        Err(Error::WrongCode { .. } | Error::WrongCredentials) => true,
        Err(Error::TooManyAttempts { .. }) => false,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("a wrong one is taken"),
    };
    outcomes.iter().filter(is_wrong).count()
}

#[test]
fn thr_2_wrong_codes_at_once_are_looked_at_no_more_often_than_in_turn() {
    in_many_orders(|| {
        let (shop, now) = open();
        let person = Person::at(&shop, now);
        // Of a counter far from where the factor is.
        let wrong = || Call::Verify(UserRef::Id(person.user), Proof::Token(code_of(&person.seed, 1_000)));
        let calls = (0..BEFORE_A_DELAY + 2).map(|_| wrong());
        let deeds = calls.map(|call| Box::new(|| shop.ask_at(now, call)) as Deed<'_, _>);

        assert_eq!(looked_at(&at_once(deeds.collect())), BEFORE_A_DELAY);
    });
}

#[test]
fn thr_2_wrong_backup_codes_at_once_are_looked_at_no_more_often_than_in_turn() {
    in_many_orders(|| {
        let (shop, now) = open();
        let (secret, seed) = pending_at(&shop, now, shop.user, totp());
        assert!(enrol_at(&shop, now, shop.user, secret, code_of(&seed, step_at(now))).is_ok());

        let outcomes = at_once(each(BEFORE_A_DELAY + 2, |_| {
            let code = BackupCode::from_random(&[1; 10]);
            shop.ask_at(now, Call::Verify(UserRef::Id(shop.user), Proof::Code(code)))
        }));

        assert_eq!(looked_at(&outcomes), BEFORE_A_DELAY);
    });
}

#[test]
fn thr_2_wrong_passwords_at_once_are_looked_at_no_more_often_than_in_turn() {
    in_many_orders(|| {
        let (shop, now) = open();
        shop.make_user("berta", Some(PASSWORD));

        let outcomes = at_once(each(BEFORE_A_DELAY + 2, |_| log_in_as(&shop, now, "berta", "a wrong password")));

        assert_eq!(looked_at(&outcomes), BEFORE_A_DELAY);
    });
}

#[test]
fn aut_5_thr_8_all_who_wait_for_a_hash_or_for_each_other_get_their_turn() {
    in_many_orders(|| {
        let (shop, now) = open();
        let names = ["berta", "carl", "dora"];
        for name in names {
            shop.make_user(name, Some(PASSWORD));
        }

        // Two of each, of whom one waits for the other.
        let outcomes = at_once(each(2 * names.len(), |number| log_in_as(&shop, now, names[number / 2], PASSWORD)));

        assert!(outcomes.iter().all(Result::is_ok));
    });
}

/// No password alone lets anybody in once a factor is active.
#[test]
fn aut_1_a_login_beside_an_enrolment_leaves_no_session_without_the_factor() {
    in_many_orders(|| {
        let (shop, now) = open();
        let user = shop.make_user("berta", Some(PASSWORD));
        let (secret, seed) = pending_at(&shop, now, user, totp());
        let log_in = || log_in_as(&shop, now, "berta", PASSWORD).ok();
        let enrol = || {
            assert!(enrol_at(&shop, now, user, secret, code_of(&seed, step_at(now))).is_ok());
            None
        };

        let came = at_once(vec![Box::new(log_in) as Deed<'_, Option<AuthView>>, Box::new(enrol)]);

        let login = came.into_iter().flatten().next().expect("the password is right");
        assert!(me_by(&shop, now, &login.token).is_err(), "what the password alone gave is over");
    });
}

#[test]
fn enr_9_a_login_beside_a_change_of_the_password_leaves_no_session_of_the_old_one() {
    in_many_orders(|| {
        let (shop, now) = open();
        let user = UserRef::Id(shop.make_user("berta", Some(PASSWORD)));
        let log_in = || log_in_as(&shop, now, "berta", PASSWORD).ok();
        let change = || {
            assert!(shop.ask_at(now, change_of(user, "another password", None)).is_ok());
            None
        };

        let came = at_once(vec![Box::new(log_in) as Deed<'_, Option<AuthView>>, Box::new(change)]);

        for login in came.into_iter().flatten() {
            assert!(me_by(&shop, now, &login.token).is_err(), "what the old password gave is over");
        }
        assert!(log_in_as(&shop, now, "berta", PASSWORD).is_err());
        assert!(log_in_as(&shop, now, "berta", "another password").is_ok());
    });
}

fn change_of(user: UserRef, new: &str, current: Option<&str>) -> Call {
    let secret = |text: &str| Sensitive::new(text.to_owned());
    Call::ChangePassword { user, new: secret(new), current: current.map(secret) }
}

#[test]
fn of_two_changes_from_the_same_password_one_comes_too_late() {
    in_many_orders(|| {
        let (shop, now) = open();
        let user = UserRef::Id(shop.make_user("berta", Some(PASSWORD)));
        let passwords = ["a first password", "a second password"];

        let outcomes = at_once(each(2, |number| shop.ask_at(now, change_of(user, passwords[number], Some(PASSWORD)))));

        one_wins(&outcomes);
        for (password, changed) in passwords.iter().zip(&outcomes) {
            assert_eq!(log_in_as(&shop, now, "berta", password).is_ok(), changed.is_ok());
        }
    });
}

#[test]
fn tok_6_a_login_beside_the_end_of_its_user_leaves_no_session() {
    in_many_orders(|| {
        let (shop, now) = open();
        let user = UserRef::Id(shop.make_user("berta", Some(PASSWORD)));
        let disabled =
            UserChange { version: 1, name: None, display_name: None, email: None, disabled: Some(true), roles: None };
        let log_in = || log_in_as(&shop, now, "berta", PASSWORD).ok();
        let disable = || {
            assert!(shop.ask_at(now, Call::UpdateUser(user, disabled)).is_ok());
            None
        };

        let came = at_once(vec![Box::new(log_in) as Deed<'_, Option<AuthView>>, Box::new(disable)]);

        for login in came.into_iter().flatten() {
            assert!(me_by(&shop, now, &login.token).is_err());
        }
    });
}

#[test]
fn aut_8_a_right_password_is_taken_beside_a_login_that_keeps_a_stronger_hash_of_it() {
    in_many_orders(|| {
        let (shop, now) = open();
        shop.make_user("berta", Some(PASSWORD));
        let shop = shop.restart_with_dearer_hashes();

        let outcomes = at_once(each(2, |_| log_in_as(&shop, now, "berta", PASSWORD)));

        assert!(outcomes.iter().all(Result::is_ok));
    });
}

#[test]
fn a_code_beside_the_end_of_its_factor_comes_before_it_or_counts_no_more() {
    in_many_orders(|| {
        let (shop, now) = open();
        let (secret, seed) = pending_at(&shop, now, shop.user, totp());
        assert!(enrol_at(&shop, now, shop.user, secret, code_of(&seed, step_at(now) - 1)).is_ok());
        let user = UserRef::Id(shop.user);
        let show = |step| shop.ask_at(now, Call::Verify(user, Proof::Token(code_of(&seed, step))));
        let take_away = || shop.ask_at(now, Call::DeleteSecret(user, SecretRef::Id(secret), None));

        let came = at_once(vec![Box::new(|| show(step_at(now))) as Deed<'_, _>, Box::new(take_away)]);

        assert!(came[1].is_ok());
        assert!(show(step_at(now) + 1).is_err(), "a factor that is gone has no codes");
        let rows = shop.audit();
        let place = |event: &str| rows.iter().position(|row| row.event == event && row.outcome == "ok");
        assert_eq!(came[0].is_ok(), place("verify").is_some(), "what was granted is written down");
        assert!(place("verify").is_none_or(|verified| Some(verified) < place("secret.delete")));
    });
}
