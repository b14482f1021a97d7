//! What a key can and cannot do, and where its counter stands, when a factor is put onto it.

use mfad_core::model::{Algorithm, OtpKind, Period, SecretId, Text, TokenInput, UserRef};
use mfad_service::error::Error;
use mfad_service::{Call, FirstCode, ProvisionOrder, SecretRef, SessionAfter};

use crate::card::{Account, Key};
use crate::otp::{self, Hash};
use mfad_testkit::fixture::{HardwareFixture, after, by_device, hotp, order, profile, totp};

/// How the OATH applet is told to store an account; the OTP applet has the same instruction with other parameters.
const PUT: (u8, u8, u8) = (0x01, 0, 0);

fn puts(fixture: &HardwareFixture) -> usize {
    fixture.reader().log().into_iter().filter(|apdu| *apdu == PUT).count()
}

fn seed(fixture: &HardwareFixture, name: &str) -> Vec<u8> {
    fixture.reader().with_key(|key| key.account(name).expect("the account").key.clone())
}

fn first_code(fixture: &HardwareFixture, secret: SecretId, code: &str) -> Call {
    let token = TokenInput::from_text(code).expect("a code");
    Call::Enroll(UserRef::Id(fixture.user), SecretRef::Id(secret), FirstCode::Token(token), SessionAfter::Ended)
}

#[test]
fn a_counter_goes_on_where_the_proofs_left_it() {
    let fixture = HardwareFixture::with_key(Key::new(7));

    let secret = fixture.provision(order(hotp())).unwrap();

    assert_eq!(secret.counter, Some(2));
    assert_eq!(fixture.reader().with_key(|key| key.account("mfad:ann").map(|account| account.counter)), secret.counter);
}

#[test]
fn an_old_key_gives_what_it_can_and_is_not_asked_for_more() {
    let sha512 = profile(Algorithm::Sha512, 6, OtpKind::Totp(Period::THIRTY));
    for (refused, order) in
        [(false, order(totp())), (true, order(sha512)), (true, ProvisionOrder { touch: true, ..order(totp()) })]
    {
        let fixture = HardwareFixture::with_key(Key::neo(7));

        let answer = fixture.provision(order);

        assert_eq!(matches!(answer, Err(Error::Unsupported(_))), refused);
        assert_eq!((answer.is_err(), puts(&fixture) == 0), (refused, refused));
    }
}

#[test]
fn a_full_key_takes_no_new_account_and_has_one_overwritten() {
    let full = || {
        let others = (0..31).map(|number| Account::foreign(&format!("other:{number}")));
        others.chain([Account::foreign("mfad:ann")]).fold(Key::new(7), Key::with_account)
    };
    let fixture = HardwareFixture::with_key(full());
    let another = ProvisionOrder {
        profile: profile(Algorithm::Sha1, 6, OtpKind::Totp(Period::new(60).unwrap())),
        ..order(totp())
    };

    assert!(matches!(fixture.provision(another), Err(Error::DeviceFull)));
    assert_eq!(puts(&fixture), 0);

    assert!(fixture.provision(ProvisionOrder { replace: true, ..order(totp()) }).is_ok());
}

#[test]
fn a_factor_that_waited_too_long_is_over_wherever_its_key_is() {
    let fixture = HardwareFixture::with_key(Key::new(7));
    let secret = fixture.provision(order(totp())).unwrap();
    fixture.reader().pull();
    fixture.attend();
    let late = after(fixture.clock.now(), 16 * 60 * 1_000);
    let enrol =
        Call::Enroll(UserRef::Id(fixture.user), SecretRef::Id(secret.id), FirstCode::Device, SessionAfter::Ended);

    let answer = fixture.ask_at(late, enrol);

    assert!(matches!(answer, Err(Error::Expired)));
}

/// Counters that other programs had moved so far were once taken over.
#[test]
fn otp_9_at_the_end_of_counters_a_right_code_is_refused_like_a_wrong_one() {
    let end = u64::MAX >> 1;

    for expected in [end, end - 3, end - 10] {
        let fixture = HardwareFixture::with_key(Key::new(7));
        fixture.provision(by_device(hotp())).unwrap();
        let seed = seed(&fixture, "mfad:ann");
        let code = |counter| otp::code(&seed, Hash::Sha1, 6, counter);
        let wrong = otp::codes_but((end - 120..=end).map(code).collect(), 6).next().expect("a code");
        fixture.behind(&format!("UPDATE moving_factors SET next = {expected}"));
        for refused in [&code(end), &wrong] {
            let answer = fixture.verify(refused);
            assert!(matches!(answer, Err(Error::WrongCode { .. })), "{expected}: {answer:?}");
        }
        if expected < end {
            assert!(fixture.verify(&code(end - 1)).is_ok(), "{expected}");
            let answer = fixture.verify(&code(end));
            assert!(matches!(answer, Err(Error::WrongCode { .. })), "{expected}: {answer:?}");
        }
    }
}

#[test]
fn otp_9_at_the_end_of_counters_a_first_code_is_refused_like_a_wrong_one() {
    for (expected, is_right) in [(0, false), (1, true), (5, false)] {
        let fixture = HardwareFixture::with_key(Key::new(7));
        let secret = fixture.provision(order(hotp())).unwrap();
        let seed = seed(&fixture, "mfad:ann");
        let end = u64::MAX >> 1;
        fixture.behind(&format!("UPDATE moving_factors SET next = {}", end - expected));
        let shown = if is_right { end - 1 } else { end };

        let answer = fixture.ask(first_code(&fixture, secret.id, &otp::code(&seed, Hash::Sha1, 6, shown)));

        let is_refused = matches!(answer, Err(Error::WrongFirstCode { remaining: 4, diagnosis: None }));
        assert_eq!((answer.is_ok(), is_refused), (is_right, !is_right), "{expected}");
    }
}

/// The seed on a key was shown to nobody: a guess that would be right later is not told so.
#[test]
fn enr_5_a_code_of_a_later_time_is_not_named_for_a_factor_on_a_key() {
    let fixture = HardwareFixture::with_key(Key::new(7));
    let eight = profile(Algorithm::Sha1, 8, OtpKind::Totp(Period::THIRTY));
    let secret = fixture.provision(order(eight)).unwrap();
    let seed = seed(&fixture, "mfad:ann");
    let now = fixture.clock.now();
    let step = u64::try_from(now.unix_seconds()).unwrap() / 30;

    for (shown, expected) in
        [(step - 240, Some(-7_200)), (step - 20, Some(-600)), (step + 20, None), (step + 240, None)]
    {
        let answer = fixture.ask_at(now, first_code(&fixture, secret.id, &otp::code(&seed, Hash::Sha1, 8, shown)));

        let Err(Error::WrongFirstCode { diagnosis, .. }) = answer else { panic!("another answer") };
        assert_eq!(diagnosis.map(|found| found.drift_seconds), expected);
    }
}

#[test]
fn an_issuer_that_looks_like_a_period_stands_behind_the_real_one_on_the_key() {
    let minute = profile(Algorithm::Sha1, 6, OtpKind::Totp(Period::new(60).unwrap()));
    for (issuer, profile, expected) in [
        ("24/7 Bank", totp(), "30/24/7 Bank:ann"),
        ("7/x", totp(), "30/7/x:ann"),
        ("30/30", totp(), "30/30/30:ann"),
        ("24/7 Bank", minute, "60/24/7 Bank:ann"),
        ("24/7 Bank", hotp(), "24/7 Bank:ann"),
    ] {
        let fixture = HardwareFixture::with_key(Key::new(7));
        let issuer = Some(Text::parse_label_part(issuer).unwrap());

        fixture.provision(ProvisionOrder { issuer, ..by_device(profile) }).unwrap();

        assert_eq!(fixture.names_on_key(), [expected]);
    }
}

#[test]
fn a_name_that_programs_would_read_otherwise_is_refused_before_the_key_is_written() {
    let long = "x".repeat(64 - "24/7:ann".len());
    for issuer in ["Steam", &format!("24/7{long}"), &"x".repeat(61)] {
        let fixture = HardwareFixture::with_key(Key::new(7));
        let order = ProvisionOrder { issuer: Some(Text::parse(issuer, 64).unwrap()), ..by_device(totp()) };

        assert!(matches!(fixture.provision(order), Err(Error::Malformed(_))), "{issuer}");
        assert_eq!(puts(&fixture), 0);
    }
}
