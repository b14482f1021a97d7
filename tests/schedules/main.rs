//! Orders of events that a machine seldom takes: the use cases and a real store, whose threads take turns at every lock,
//! channel and wait as shuttle decides (SUP-5). An order that breaks a promise is printed, and can be gone through again
//! with `shuttle::replay`. Nobody's patience ends here, so whoever is never woken is a failure too.

#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::arithmetic_side_effects,
    clippy::disallowed_methods,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeSet;
use std::panic::catch_unwind;
use std::path::Path;
use std::sync::Arc;

use mfad_core::model::{BackupCode, Moment, SecretId, Sensitive, Text, UserId, UserRef};
use mfad_service::error::Error;
use mfad_service::{
    AuthView, Call, Cost, FirstCode, Proof, Reply, RequestContext, SecretOrder, SecretRef, Service, SessionAfter,
    UserChange,
};
use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::{Config, FailurePersistence, Runner};

use mfad_testkit::asking::{PASSWORD, Person, ask_with, code_of, enrol_at, granted, pending_at, step_at};
use mfad_testkit::fixture::{HardwareFixture, after, totp};

/// Orders of a story that are tried: so many drawn at random, and as many in which the one that goes on is seldom changed.
const ORDERS: usize = 100;
/// How often it is (probabilistic concurrency testing).
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

/// Two at once, and what came of each.
fn both<A: Send + 'static, B: Send + 'static>(
    one: impl FnOnce() -> A + Send,
    other: impl FnOnce() -> B + Send,
) -> (A, B) {
    shuttle::thread::scope(|threads| {
        let (one, other) = (threads.spawn(one), threads.spawn(other));
        (one.join().unwrap(), other.join().unwrap())
    })
}

/// The others are refused for what they came with, not for want of room or by a fault.
#[track_caller]
fn one_wins<T>(outcomes: &[Result<T, Error>]) {
    let won = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    let lost: Vec<&Error> = outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).collect();
    let why: Vec<String> = lost.iter().map(ToString::to_string).collect();
    assert_eq!(won, 1, "{why:?}");
    assert!(
        !lost.iter().any(|error| matches!(error, Error::Busy | Error::Internal(_) | Error::NotReady(_))),
        "{why:?}"
    );
}

/// A service with one user, and the moment at which everything happens.
fn open() -> (HardwareFixture, Moment) {
    let shop = HardwareFixture::new(0);
    let now = shop.clock.now();
    (shop, now)
}

/// A factor of its user that counts since the step before this one, and its seed.
fn enrolled(shop: &HardwareFixture, now: Moment) -> (SecretId, Vec<u8>) {
    let (secret, seed) = pending_at(shop, now, shop.user, totp());
    assert!(enrol_at(shop, now, shop.user, secret, code_of(&seed, step_at(now) - 1)).is_ok());
    (secret, seed)
}

fn me_by(shop: &HardwareFixture, now: Moment, token: &Sensitive<String>) -> Result<Reply, Error> {
    ask_with(shop, now, token, Call::ShowUser(UserRef::Me))
}

/// The place of what was done last under that name, among all that was; nothing if it was refused or never asked for.
fn place_of(shop: &HardwareFixture, event: &str) -> Option<usize> {
    shop.audit().iter().rposition(|row| row.event == event && row.outcome == "ok")
}

/// What the first of them did came before the second, if it came at all.
#[track_caller]
fn comes_before(shop: &HardwareFixture, first: &str, second: &str) {
    let (first, second) = (place_of(shop, first), place_of(shop, second));
    assert!(second.is_some() && first.is_none_or(|first| Some(first) < second), "{first:?}, {second:?}");
}

fn log_in_as(shop: &HardwareFixture, now: Moment, name: &str, password: &str) -> Result<AuthView, Error> {
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
            assert!(made.iter().filter(|made| **made).count() < 2, "both made one");
        });
    });
    assert!(said(found).contains("both made one"));
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
    assert!(said(found).contains("deadlock"));
}

/// With what words it panicked.
fn said(outcome: std::thread::Result<()>) -> String {
    let panicked = outcome.expect_err("no order was found");
    let words = panicked.downcast_ref::<String>().cloned();
    words.or_else(|| panicked.downcast_ref::<&str>().map(|words| (*words).to_owned())).expect("words")
}

#[test]
fn otp_3_a_code_counts_once() {
    in_many_orders(|| {
        let (shop, now) = open();
        let (_, seed) = enrolled(&shop, now);
        let verify = || Call::Verify(UserRef::Id(shop.user), Proof::Token(code_of(&seed, step_at(now))));
        // The door's patience has a timer, which never rings here.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let _inside = runtime.enter();

        let outcomes = at_once(each(4, |number| {
            if number % 2 == 0 {
                return shop.ask_at(now, verify());
            }
            // As the door asks, without a thread that waits.
            let context = RequestContext { now, ..shop.context() };
            assert_eq!(Service::cost(&context, &verify()), Cost::Commit, "it is given a thread");
            shuttle::future::block_on(shop.service.handle_async(&context, verify()))
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

        let outcomes = at_once(each(3, |_| enrol_at(&shop, now, shop.user, secret, code_of(&seed, step_at(now)))));

        one_wins(&outcomes);
        assert!(outcomes.iter().all(|outcome| matches!(outcome, Ok(_) | Err(Error::AlreadyActive))));
        let Ok(Reply::Secrets(secrets)) = shop.ask(Call::ListSecrets(UserRef::Id(shop.user))) else {
            panic!("no list")
        };
        let sets: Vec<_> = secrets.iter().filter_map(|secret| secret.remaining).collect();
        assert_eq!(sets, [10], "one set of codes");
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
fn aut_2_a_challenge_has_one_answer_and_its_refresh_token_one_successor() {
    in_many_orders(|| {
        let (shop, now) = open();
        let person = Person::at(&shop, now);
        let challenge = person.challenge(now);
        // Both are right.
        let (first, second) = (person.proof(), person.proof());
        let answer = |proof| ask_with(&shop, now, &challenge, Call::AnswerChallenge(proof));

        let answers: [_; 2] = both(|| answer(first), || answer(second)).into();

        one_wins(&answers);
        let access = granted(answers.into_iter().find(Result::is_ok).unwrap());
        let refresh = access.refresh.expect("a refresh token");
        let renewals: Vec<AuthView> =
            at_once(each(2, |_| ask_with(&shop, now, &refresh, Call::Refresh))).into_iter().map(granted).collect();
        let successors: BTreeSet<&String> =
            renewals.iter().map(|view| view.refresh.as_ref().expect("a refresh token").expose()).collect();
        assert_eq!(successors.len(), 1, "whoever asks at once gets the same one");
        let later = after(now, 10_000);
        assert!(ask_with(&shop, later, &refresh, Call::Refresh).is_err());
        assert!(me_by(&shop, later, &renewals[0].token).is_err(), "a later use ends the family");
    });
}

#[test]
fn a_receipt_is_redeemed_once() {
    in_many_orders(|| {
        let (shop, now) = open();
        let person = Person::at(&shop, now);
        let access = person.log_in(now).token;
        let action = || Text::parse("pay", 64).unwrap();
        let step_up = Call::StepUp { proof: person.proof(), action: action(), redeemer: None };
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
        let calls = (0..BEFORE_A_DELAY + 2).map(|_| Call::Verify(UserRef::Id(person.user), person.wrong()));
        let deeds = calls.map(|call| Box::new(|| shop.ask_at(now, call)) as Deed<'_, _>);

        assert_eq!(looked_at(&at_once(deeds.collect())), BEFORE_A_DELAY);
    });
}

#[test]
fn thr_2_wrong_backup_codes_at_once_are_looked_at_no_more_often_than_in_turn() {
    in_many_orders(|| {
        let (shop, now) = open();
        enrolled(&shop, now);

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
fn aut_5_all_who_wait_for_a_hash_or_for_each_other_get_their_turn() {
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
        let enrol = || enrol_at(&shop, now, user, secret, code_of(&seed, step_at(now)));

        let (login, enrolled) = both(|| log_in_as(&shop, now, "berta", PASSWORD), enrol);

        assert!(enrolled.is_ok());
        let login = login.expect("the password is right");
        assert!(me_by(&shop, now, &login.token).is_err(), "what the password alone gave is over");
    });
}

#[test]
fn enr_9_a_login_beside_a_change_of_the_password_leaves_no_session_of_the_old_one() {
    in_many_orders(|| {
        let (shop, now) = open();
        let user = UserRef::Id(shop.make_user("berta", Some(PASSWORD)));
        let change = || shop.ask_at(now, change_of(user, "another password", None));

        let (login, changed) = both(|| log_in_as(&shop, now, "berta", PASSWORD), change);

        assert!(changed.is_ok());
        if let Ok(login) = login {
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
fn tok_6_a_login_beside_the_end_of_its_user_comes_before_it_or_is_refused() {
    in_many_orders(|| {
        let (shop, now) = open();
        let user = shop.make_user("berta", Some(PASSWORD));

        let (login, ()) = both(|| log_in_as(&shop, now, "berta", PASSWORD), || disable_at(&shop, now, user));

        if let Ok(login) = login {
            assert!(me_by(&shop, now, &login.token).is_err());
        }
        comes_before(&shop, "login.password", "user.disable");
    });
}

fn disable_at(shop: &HardwareFixture, now: Moment, user: UserId) {
    let Ok(Reply::User(shown)) = shop.ask_at(now, Call::ShowUser(UserRef::Id(user))) else { panic!("no user") };
    let change = UserChange { disabled: Some(true), ..unchanged(shown.version) };
    assert!(shop.ask_at(now, Call::UpdateUser(UserRef::Id(user), change)).is_ok());
}

fn unchanged(version: i64) -> UserChange {
    UserChange { version, name: None, display_name: None, email: None, disabled: None, roles: None }
}

#[test]
fn tok_6_an_api_key_that_is_deleted_meanwhile_enrols_nothing() {
    in_many_orders(|| {
        let (shop, now) = open();
        let user = shop.make_user("berta", Some(PASSWORD));
        let made = shop.ask_at(now, Call::CreateSecret(UserRef::Id(user), SecretOrder::ApiKey { name: None }));
        let Ok(Reply::ApiKeyCreated { secret: entry, key }) = made else { panic!("no key") };
        let (factor, seed) = pending_at(&shop, now, user, totp());
        let first = || FirstCode::Token(code_of(&seed, step_at(now)));
        let enrol = || {
            ask_with(&shop, now, &key, Call::Enroll(UserRef::Me, SecretRef::Id(factor), first(), SessionAfter::Ended))
                .is_ok()
        };
        let delete = || shop.ask_at(now, Call::DeleteSecret(UserRef::Id(user), SecretRef::Id(entry.id), None)).is_ok();

        let (enrolled, deleted) = both(enrol, delete);

        assert!(deleted);
        assert_eq!(enrolled, place_of(&shop, "factor.enroll").is_some());
        comes_before(&shop, "factor.enroll", "secret.delete");
    });
}

#[test]
fn tok_6_an_administrator_who_is_disabled_meanwhile_changes_nobodys_password() {
    in_many_orders(|| {
        let (shop, now) = open();
        let (boss, berta) = (shop.make_user("boss", Some(PASSWORD)), shop.make_user("berta", Some(PASSWORD)));
        let made = UserChange { roles: Some(vec!["admin".to_owned()]), ..unchanged(1) };
        assert!(shop.ask_at(now, Call::UpdateUser(UserRef::Id(boss), made)).is_ok());
        let token = log_in_as(&shop, now, "boss", PASSWORD).unwrap().token;
        let change = || {
            let mut context = RequestContext { now, ..shop.context() };
            context.caller.token = Some(Arc::new(Sensitive::new(token.expose().clone())));
            shop.service.handle(&context, change_of(UserRef::Id(berta), "another password", None)).is_ok()
        };

        let (changed, ()) = both(change, || disable_at(&shop, now, boss));

        assert_eq!(changed, place_of(&shop, "password.change").is_some());
        comes_before(&shop, "password.change", "user.disable");
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
        let (secret, seed) = enrolled(&shop, now);
        let user = UserRef::Id(shop.user);
        let show = |step| shop.ask_at(now, Call::Verify(user, Proof::Token(code_of(&seed, step))));
        let take_away = || shop.ask_at(now, Call::DeleteSecret(user, SecretRef::Id(secret), None));

        let (shown, taken_away) = both(|| show(step_at(now)), take_away);

        assert!(taken_away.is_ok());
        assert!(show(step_at(now) + 1).is_err(), "a factor that is gone has no codes");
        assert_eq!(shown.is_ok(), place_of(&shop, "verify").is_some(), "what was granted is written down");
        comes_before(&shop, "verify", "secret.delete");
    });
}
