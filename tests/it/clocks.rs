//! What goes by the clock, with the time as an input: the use cases in this process, at moments that the test chooses.

use mfad_core::model::{Moment, Sensitive, Text, UserRef};
use mfad_service::error::Error;
use mfad_service::{AuthView, Call, Proof, Reply, SecretOrder, SecretRef};

use crate::asking::{PASSWORD, Person, ask_with, code_of, enrol_at, granted, pending_at, step_at};
use crate::hardware::{HardwareFixture, after, totp};

const SECOND: i64 = 1_000;
const HOUR: i64 = 3_600 * SECOND;
const DAY: i64 = 24 * HOUR;

/// The same moment by a wall clock that was set by so much.
fn set(now: Moment, millis: i64) -> Moment {
    Moment { wall_ms: now.wall_ms + millis, ..now }
}

/// The ids of the keys that verify tokens.
fn key_ids(shop: &HardwareFixture) -> Vec<String> {
    match shop.ask(Call::KeySet) {
        Ok(Reply::KeySet(keys)) => keys.into_iter().map(|key| key.kid).collect(),
        _ => panic!("no keys"),
    }
}

#[test]
fn tok_7_a_signing_key_is_followed_after_a_month_and_forgotten_an_hour_later() {
    let shop = HardwareFixture::new(0);
    let begin = shop.clock.now();
    let tend = |shop: &HardwareFixture, millis| shop.service.tend(&after(begin, millis)).unwrap();
    tend(&shop, 0);
    let first = key_ids(&shop);
    assert_eq!(first.len(), 1);

    tend(&shop, 30 * DAY - HOUR);
    assert_eq!(key_ids(&shop), first, "a key serves for a month");
    tend(&shop, 30 * DAY);
    let both = key_ids(&shop);
    assert!(both.len() == 2 && both.contains(&first[0]), "tokens of the old key still count: {both:?}");
    tend(&shop, 30 * DAY + HOUR - 1);
    assert_eq!(key_ids(&shop), both);
    tend(&shop, 30 * DAY + HOUR);
    let last = key_ids(&shop);
    assert!(last.len() == 1 && last != first, "{last:?}");

    let shop = shop.restart();
    assert_eq!(key_ids(&shop), last, "it is gone from the store too");
}

#[test]
fn time_1_a_wall_clock_that_was_set_by_more_than_a_minute_is_written_down() {
    let shop = HardwareFixture::new(0);
    let begin = shop.clock.now();
    shop.service.tend(&begin).unwrap();

    shop.service.tend(&set(begin, 60 * SECOND)).unwrap();
    assert_eq!(shop.noted("clock.step"), [""; 0], "that far clocks drift");
    shop.service.tend(&set(begin, 121 * SECOND)).unwrap();
    shop.service.tend(&set(after(begin, DAY), 121 * SECOND)).unwrap();
    shop.service.tend(&set(after(begin, DAY), -9 * SECOND)).unwrap();

    let moved = |seconds: i64| format!("the wall clock moved by {seconds} s against the boot clock");
    assert_eq!(shop.noted("clock.step"), [moved(61), moved(-130)], "time that passes is no step");
}

#[test]
fn the_drift_of_the_wall_clock_is_shown_with_its_sign() {
    let shop = HardwareFixture::new(0);
    for expected in [0, 90, -90] {
        let now = set(shop.clock.now(), expected * SECOND);

        let Ok(Reply::Metrics(text)) = shop.ask_at(now, Call::Metrics) else { panic!("no metrics") };

        let line = text.lines().find_map(|line| line.strip_prefix("mfad_clock_drift_seconds ")).expect("the drift");
        let drift: f64 = line.parse().unwrap();
        assert!((drift - f64::from(i32::try_from(expected).unwrap())).abs() < 1.0, "{drift} for {expected}");
    }
}

#[test]
fn the_use_of_an_api_key_is_written_down_once_a_minute() {
    let shop = HardwareFixture::new(0);
    let (begin, user) = (shop.clock.now(), UserRef::Id(shop.user));
    let made = shop.ask(Call::CreateSecret(user, SecretOrder::ApiKey { name: None }));
    let Ok(Reply::ApiKeyCreated { secret, key }) = made else { panic!("no key") };
    let used = |millis| {
        let shown =
            ask_with(&shop, after(begin, millis), &key, Call::ShowSecret(UserRef::Me, SecretRef::Id(secret.id)));
        let Ok(Reply::Secret(shown)) = shown else { panic!("the key is refused") };
        shown.last_used.map(|used| used - begin.wall_ms)
    };

    assert_eq!(used(10), Some(10));
    assert_eq!(used(60_010), Some(10), "not each time: it would be a write for each request");
    assert_eq!(used(60_011), Some(60_011));
    assert_eq!(used(60_012), Some(60_011));
}

#[test]
fn aut_8_a_login_that_keeps_a_stronger_hash_is_a_use_of_the_same_password() {
    let shop = HardwareFixture::new(0);
    let user = UserRef::Id(shop.make_user("berta", Some(PASSWORD)));
    let password = |shop: &HardwareFixture| {
        let Ok(Reply::Secrets(secrets)) = shop.ask(Call::ListSecrets(user)) else { panic!("no list") };
        secrets.into_iter().find(|secret| secret.kind == "password").expect("a password")
    };
    let before = password(&shop);

    let shop = shop.restart_with_dearer_hashes();
    let now = after(shop.clock.now(), HOUR);
    granted(shop.ask_at(now, Call::LogIn { login: "berta".to_owned(), password: Sensitive::new(PASSWORD.to_owned()) }));

    let then = password(&shop);
    assert_eq!((then.version, then.modified), (before.version, before.modified));
    assert_eq!(then.last_used, Some(now.wall_ms));
}

#[test]
fn a_factor_that_waited_too_long_is_shown_no_more() {
    let shop = HardwareFixture::new(0);
    let begin = shop.clock.now();
    let (secret, _) = pending_at(&shop, begin, shop.user, totp());
    let user = UserRef::Id(shop.user);

    for (seconds, is_shown) in [(899, true), (900, false)] {
        let now = after(begin, seconds * SECOND);
        let one = shop.ask_at(now, Call::ShowSecret(user, SecretRef::Id(secret)));
        let Ok(Reply::Secrets(all)) = shop.ask_at(now, Call::ListSecrets(user)) else { panic!("no list") };

        assert_eq!((one.is_ok(), all.len()), (is_shown, usize::from(is_shown)), "after {seconds} s");
    }
}

#[test]
fn a_factor_that_is_over_is_told_so_for_a_day_and_forgotten_then() {
    let shop = HardwareFixture::new(0);
    let begin = shop.clock.now();
    let (first, seed) = pending_at(&shop, begin, shop.user, totp());
    pending_at(&shop, begin, shop.user, totp());
    let enrol = |millis| {
        let now = after(begin, millis);
        shop.service.tend(&now).unwrap();
        enrol_at(&shop, now, shop.user, first, code_of(&seed, step_at(now)))
    };

    for millis in [0, 2 * HOUR, DAY - HOUR] {
        assert!(matches!(enrol(millis), Err(Error::Expired)), "{millis}");
    }
    assert!(matches!(enrol(DAY + HOUR), Err(Error::NotFound)));
}

#[test]
fn thr_1_a_right_code_clears_the_guesses_before_it() {
    let shop = HardwareFixture::new(0);
    let now = shop.clock.now();
    let person = Person::at(&shop, now);
    let verify = |proof| shop.ask_at(now, Call::Verify(UserRef::Id(person.user), proof));

    // One less than begins a delay, twice.
    for _ in 0..2 {
        (0..4).for_each(|_| assert!(matches!(verify(person.wrong()), Err(Error::WrongCode { .. }))));
        assert!(verify(person.proof()).is_ok());
    }

    (0..5).for_each(|_| assert!(matches!(verify(person.wrong()), Err(Error::WrongCode { .. }))));
    assert!(matches!(verify(person.proof()), Err(Error::TooManyAttempts { .. })));
}

#[test]
fn aut_2_a_challenge_waits_for_five_minutes() {
    let shop = HardwareFixture::new(0);
    let begin = shop.clock.now();
    let person = Person::at(&shop, begin);
    let answer = |challenge: &Sensitive<String>, millis| {
        ask_with(&shop, after(begin, millis), challenge, Call::AnswerChallenge(person.proof()))
    };
    let (early, late) = (person.challenge(begin), person.challenge(begin));

    granted(answer(&early, 299 * SECOND));

    assert!(matches!(answer(&late, 301 * SECOND), Err(Error::Unauthenticated | Error::ChallengeEnded)));
}

#[test]
fn enr_3_a_second_factor_is_fresh_for_five_minutes() {
    let shop = HardwareFixture::new(0);
    let begin = shop.clock.now();
    let access = Person::at(&shop, begin).log_in(begin).token;
    let change = |millis| {
        let order = Call::CreateSecret(UserRef::Me, SecretOrder::ApiKey { name: None });
        ask_with(&shop, after(begin, millis), &access, order)
    };

    assert!(change(300 * SECOND).is_ok());
    assert!(matches!(change(301 * SECOND), Err(Error::FreshProofRequired)));
}

#[test]
fn a_receipt_is_good_for_five_minutes() {
    let shop = HardwareFixture::new(0);
    let begin = shop.clock.now();
    let person = Person::at(&shop, begin);
    let access = person.log_in(begin).token;
    let action = || Text::parse("pay", 64).unwrap();
    let receipt = || {
        let step_up = Call::StepUp { proof: person.proof(), action: action(), redeemer: None };
        granted(ask_with(&shop, begin, &access, step_up)).receipt.expect("a receipt")
    };
    let redeem = |receipt, millis| shop.ask_at(after(begin, millis), Call::RedeemReceipt { receipt, action: action() });
    let (early, late) = (receipt(), receipt());

    assert!(redeem(early, 299 * SECOND).is_ok());
    assert!(matches!(redeem(late, 301 * SECOND), Err(Error::ReceiptRefused)));
}

#[test]
fn a_session_lasts_for_a_day_from_its_last_refresh_and_for_thirty_at_most() {
    let shop = HardwareFixture::new(0);
    let begin = shop.clock.now();
    let person = Person::at(&shop, begin);
    let refresh = |session: &AuthView, millis| {
        ask_with(&shop, after(begin, millis), session.refresh.as_ref().expect("a refresh token"), Call::Refresh)
    };

    let forgotten = granted(refresh(&person.log_in(begin), DAY - SECOND));
    assert!(matches!(refresh(&forgotten, 2 * DAY), Err(Error::RefreshEnded)));
    let mut kept = person.log_in(begin);
    for hours in (20..720).step_by(20).chain([719]) {
        kept = granted(refresh(&kept, hours * HOUR));
    }
    assert!(matches!(refresh(&kept, 30 * DAY), Err(Error::RefreshEnded)));
}

#[test]
fn enr_2_a_pending_factor_waits_for_a_quarter_of_an_hour() {
    let shop = HardwareFixture::new(0);
    let begin = shop.clock.now();
    let late = after(begin, 900 * SECOND);
    for (now, is_taken) in [(after(begin, 899 * SECOND), true), (late, false)] {
        let user = shop.new_user(if is_taken { "early" } else { "late" });
        let (secret, seed) = pending_at(&shop, begin, user, totp());

        let answer = enrol_at(&shop, now, user, secret, code_of(&seed, step_at(now)));

        assert_eq!(answer.is_ok(), is_taken);
        assert!(is_taken || matches!(answer, Err(Error::Expired)));
    }
}

#[test]
fn otp_3_a_code_that_was_used_while_the_clock_was_ahead_is_used_after_an_unlock_too() {
    // Before the clock was set back one code was used, or several; and it was set back, and unlocked, more than once.
    for (ahead, unlocks) in
        [(vec![DAY], 1), (vec![DAY, DAY + 10 * 60 * SECOND, 2 * DAY], 1), (vec![60 * SECOND, DAY], 3)]
    {
        let shop = HardwareFixture::new(0);
        let (begin, user) = (shop.clock.now(), UserRef::Id(shop.user));
        let (secret, seed) = pending_at(&shop, begin, shop.user, totp());
        assert!(enrol_at(&shop, begin, shop.user, secret, code_of(&seed, step_at(begin))).is_ok());
        let takes = |now| {
            let proof = Proof::Token(code_of(&seed, step_at(now)));
            shop.ask_at(now, Call::Verify(user, proof)).is_ok()
        };
        for millis in &ahead {
            assert!(takes(set(begin, *millis)), "{millis} ahead");
        }

        let mut back = begin;
        for _ in 0..unlocks {
            back = after(back, 10 * SECOND);
            assert!(shop.ask_at(back, Call::UnlockUser(user)).is_ok());
        }

        assert!(takes(after(begin, 30 * 60 * SECOND)), "codes of the present count");
        for millis in &ahead {
            assert!(!takes(after(begin, *millis)), "the code of {millis} ms ahead was used: {ahead:?}");
        }
        let last = after(begin, 2 * DAY + 300 * SECOND);
        assert!(takes(last) && !takes(last), "later ones count, each once");
    }
}

#[test]
fn time_2_an_administrator_ends_the_wait_for_a_clock_that_was_ahead_and_no_code_counts_twice() {
    let shop = HardwareFixture::new(0);
    let (begin, user) = (shop.clock.now(), UserRef::Id(shop.user));
    let (secret, seed) = pending_at(&shop, begin, shop.user, totp());
    assert!(enrol_at(&shop, begin, shop.user, secret, code_of(&seed, step_at(begin))).is_ok());
    let takes = |now, steps_ahead| {
        let proof = Proof::Token(code_of(&seed, step_at(now) + steps_ahead));
        shop.ask_at(now, Call::Verify(user, proof)).is_ok()
    };
    let unlock = |now| assert!(shop.ask_at(now, Call::UnlockUser(user)).is_ok());

    assert!(takes(set(begin, DAY), 0), "a day ahead");
    let back = after(begin, 300 * SECOND);
    assert!(!takes(back, 0) && !takes(back, 1));
    unlock(back);
    assert!(!takes(back, 0), "the present step is used up, whatever was shown in it");
    assert!(takes(back, 1));
    // The window reaches one step ahead: that is no clock that was ahead, and what was shown stays used.
    unlock(back);
    assert!(!takes(back, 1));
    assert_eq!(shop.noted("user.unlock"), ["a test (1 future steps reset)", "a test"]);
    assert_eq!(shop.noted("clock.future-step").len(), 2, "one for each code that was refused for it");
}
