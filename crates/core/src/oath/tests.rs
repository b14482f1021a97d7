//! Test vectors of the two RFCs, properties, and comparison with a second implementation.

use hmac::{Hmac, KeyInit, Mac};
use proptest::prelude::*;
use sha1::Sha1;
use sha2::{Sha256, Sha512};

use super::*;
use crate::model::{Algorithm, Digits, OtpKind, Period, Profile, Text, TokenInput};

const SEED: &[u8] = b"12345678901234567890";

fn digits(count: u64) -> Digits {
    Digits::new(count).unwrap()
}

#[test]
fn otp_10_rfc_4226_appendix_d() {
    let expected = [755_224, 287_082, 359_152, 969_429, 338_314, 254_676, 287_922, 162_583, 399_871, 520_489];

    for (counter, code) in (0..).zip(expected) {
        assert_eq!(hotp(SEED, Algorithm::Sha1, counter, Digits::SIX), code, "counter {counter}");
    }
}

#[test]
fn otp_10_rfc_6238_appendix_b() {
    let seed_256 = b"12345678901234567890123456789012";
    let seed_512 = b"1234567890123456789012345678901234567890123456789012345678901234";
    let table: [(i64, u32, u32, u32); 6] = [
        (59, 94_287_082, 46_119_246, 90_693_936),
        (1_111_111_109, 7_081_804, 68_084_774, 25_091_201),
        (1_111_111_111, 14_050_471, 67_062_674, 99_943_326),
        (1_234_567_890, 89_005_924, 91_819_424, 93_441_116),
        (2_000_000_000, 69_279_037, 90_698_825, 38_618_901),
        (20_000_000_000, 65_353_130, 77_737_706, 47_863_826),
    ];

    for (time, sha1, sha256, sha512) in table {
        let step = step_at(time, Period::THIRTY);
        assert_eq!(hotp(SEED, Algorithm::Sha1, step, digits(8)), sha1, "SHA1 at {time}");
        assert_eq!(hotp(seed_256, Algorithm::Sha256, step, digits(8)), sha256, "SHA256 at {time}");
        assert_eq!(hotp(seed_512, Algorithm::Sha512, step, digits(8)), sha512, "SHA512 at {time}");
    }
}

#[test]
fn otp_4_a_window_never_holds_more_than_three_steps() {
    let allowed = [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0)];

    for back in 0..=5 {
        for forward in 0..=5 {
            let window = Window::new(back, forward);
            assert_eq!(window.is_some(), allowed.contains(&(back, forward)), "{back} {forward}");
            assert!(window.is_none_or(|window| window.width() == u64::from(back + forward + 1)), "{back} {forward}");
        }
    }
}

#[test]
fn otp_5_of_two_steps_with_one_code_the_highest_is_burned() {
    let (seed, first, second) = colliding_seed();
    let code = hotp(&seed, Algorithm::Sha1, first, Digits::SIX);
    let window = Window::new(2, 0).unwrap();

    let fresh = match_step(&seed, Algorithm::Sha1, Digits::SIX, code, second, window, None);
    let first_burned = match_step(&seed, Algorithm::Sha1, Digits::SIX, code, second, window, Some(first));
    let both_burned = match_step(&seed, Algorithm::Sha1, Digits::SIX, code, second, window, Some(second));

    assert_eq!((fresh, first_burned, both_burned), (Some(second), Some(second), None));
}

/// Returns a seed and two steps, at most two apart, that have the same code.
fn colliding_seed() -> (Vec<u8>, u64, u64) {
    let seed = SEED.to_vec();
    let mut before = [hotp(&seed, Algorithm::Sha1, 0, Digits::SIX), hotp(&seed, Algorithm::Sha1, 1, Digits::SIX)];
    for step in 2..20_000_000u64 {
        let code = hotp(&seed, Algorithm::Sha1, step, Digits::SIX);
        if code == before[0] {
            return (seed, step - 2, step);
        }
        if code == before[1] {
            return (seed, step - 1, step);
        }
        before = [before[1], code];
    }
    panic!("no collision in twenty million steps");
}

#[test]
fn otp_8_no_time_and_no_counter_makes_the_arithmetic_fail() {
    let window = Window::DEFAULT;
    for time in [i64::MIN, -1, 0, 1, 1 << 32, i64::MAX] {
        let step = step_at(time, Period::THIRTY);
        let _ = match_step(SEED, Algorithm::Sha1, Digits::SIX, 0, step, window, None);
    }
    for step in [0, 1, u64::MAX - 1, u64::MAX] {
        let _ = match_step(SEED, Algorithm::Sha1, Digits::SIX, 0, step, window, Some(u64::MAX));
        let _ = match_counter(SEED, Algorithm::Sha1, Digits::SIX, 0, step, Some(u64::MAX));
    }
}

#[test]
fn otp_9_a_counter_looks_ahead_ten_and_resyncs_with_two_codes_within_a_hundred() {
    let at = |counter| hotp(SEED, Algorithm::Sha1, counter, Digits::SIX);
    let look =
        |code, expected, remembered| match_counter(SEED, Algorithm::Sha1, Digits::SIX, code, expected, remembered);

    assert_eq!(look(at(5), 5, None), CounterMatch::Accepted { next: 6 });
    assert_eq!(look(at(15), 5, None), CounterMatch::Accepted { next: 16 });
    assert_eq!(look(at(16), 5, None), CounterMatch::Ahead { counter: 16 });
    assert_eq!(look(at(105), 5, None), CounterMatch::Ahead { counter: 105 });
    assert_eq!(look(at(106), 5, None), CounterMatch::Unknown);
    assert_eq!(look(at(4), 5, None), CounterMatch::Unknown);
    assert_eq!(look(at(17), 5, Some(16)), CounterMatch::Accepted { next: 18 });
    assert_eq!(look(at(18), 5, Some(16)), CounterMatch::Ahead { counter: 18 });
    assert_eq!(look(at(8), 5, Some(7)), CounterMatch::Accepted { next: 9 }, "awaited, and near besides");
}

#[test]
fn otp_9_two_codes_before_the_counter_set_it_back_where_it_may_be_ahead() {
    let at = |counter| hotp(SEED, Algorithm::Sha1, counter, Digits::SIX);
    let look = |code, expected, ahead_by, remembered| {
        match_behind(SEED, Algorithm::Sha1, Digits::SIX, code, (expected, ahead_by), remembered)
    };

    assert_eq!(look(at(24), 25, 20, None), CounterMatch::Ahead { counter: 24 });
    assert_eq!(look(at(5), 25, 20, None), CounterMatch::Ahead { counter: 5 });
    assert_eq!(look(at(4), 25, 20, None), CounterMatch::Unknown);
    assert_eq!(look(at(25), 25, 20, None), CounterMatch::Unknown);
    assert_eq!(look(at(24), 25, 0, None), CounterMatch::Unknown);
    assert_eq!(look(at(6), 25, 20, Some(5)), CounterMatch::Accepted { next: 7 });
    assert_eq!(look(at(7), 25, 20, Some(5)), CounterMatch::Ahead { counter: 7 });
    assert_eq!(look(at(5), 25, 20, Some(5)), CounterMatch::Ahead { counter: 5 });
    assert_eq!(look(at(1), 2, 100, Some(0)), CounterMatch::Accepted { next: 2 }, "no counter before 0");
}

#[test]
fn otp_9_at_the_end_of_the_range_a_counter_refuses_instead_of_wrapping() {
    let code = hotp(SEED, Algorithm::Sha1, u64::MAX, Digits::SIX);

    for expected in [u64::MAX, u64::MAX - 10, u64::MAX - 100] {
        let found = match_counter(SEED, Algorithm::Sha1, Digits::SIX, code, expected, None);
        assert_eq!(found, CounterMatch::Unknown, "{expected}");
    }
}

/// At the highest counter that the store keeps, a code would have no next counter.
#[test]
fn otp_9_at_the_end_of_what_the_store_keeps_a_right_code_is_refused_like_a_wrong_one() {
    let end = u64::MAX >> 1;
    let look = |counter, expected, remembered| {
        let code = hotp(SEED, Algorithm::Sha1, counter, Digits::SIX);
        match_counter(SEED, Algorithm::Sha1, Digits::SIX, code, expected, remembered)
    };

    for expected in [end, end - 1, end - 10, end - 100] {
        assert_eq!(look(end, expected, None), CounterMatch::Unknown, "{expected}");
        assert_eq!(look(end, expected, Some(end - 1)), CounterMatch::Unknown, "{expected}, awaited");
    }
    assert_eq!(look(end + 1, end, None), CounterMatch::Unknown);
    assert_eq!(look(end - 1, end - 1, None), CounterMatch::Accepted { next: end });
    assert_eq!(look(end - 1, end - 11, None), CounterMatch::Accepted { next: end });
    assert_eq!(look(end - 1, end - 12, None), CounterMatch::Ahead { counter: end - 1 });
}

#[test]
fn otp_9_a_counter_without_room_to_move_on_is_not_taken_over() {
    let uri = |counter: &str| format!("otpauth://hotp/a?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&counter={counter}");

    for counter in ["4611686018427387905", "9223372036854775707", "9223372036854775806", "9223372036854775807"] {
        assert_eq!(
            OtpauthUri::parse(&uri(counter)).err().as_deref(),
            Some("its counter is no number from 0 to 2^62"),
            "{counter}"
        );
    }
    let highest = OtpauthUri::parse(&uri("4611686018427387904")).map(|uri| uri.counter);
    assert_eq!(highest, Ok(HIGHEST_FIRST_COUNTER));
}

#[test]
fn a_code_is_cut_out_of_its_hmac() {
    for algorithm in Algorithm::ALL {
        let hmac = hmac_of(SEED, algorithm, &7u64.to_be_bytes());

        assert_eq!(hmac.expose().len(), algorithm.seed_length());
        let offset = usize::from(hmac.expose().last().unwrap() & 0x0f);
        let cut = u32::from_be_bytes(hmac.expose()[offset..offset + 4].try_into().unwrap()) & 0x7fff_ffff;
        assert_eq!(cut % 1_000_000, hotp(SEED, algorithm, 7, Digits::SIX));
    }
}

#[test]
fn an_uri_says_everything_and_escapes_what_it_must() {
    let profile =
        Profile { algorithm: Algorithm::Sha256, digits: digits(8), moving: OtpKind::Totp(Period::new(60).unwrap()) };
    let issuer = Text::parse("Big & Co", 64).unwrap();
    let account = Text::parse("ålice/?#", 64).unwrap();

    let uri = otpauth_uri(&profile, b"12345678901234567890", &issuer, &account);

    assert_eq!(
        uri.expose(),
        "otpauth://totp/Big%20%26%20Co:%C3%A5lice%2F%3F%23?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ\
         &issuer=Big%20%26%20Co&algorithm=SHA256&digits=8&period=60"
    );
}

#[test]
fn a_shortened_uri_lacks_the_defaults_alone() {
    let uri = |parameters: &str| format!("otpauth://totp/Big:anna?secret=GEZDGNBV{parameters}");
    let plain = uri("&issuer=Big&algorithm=SHA1&digits=6&period=30");
    let other = uri("&issuer=Big&algorithm=SHA1x&digits=8&period=300");

    assert_eq!(*shortened(&plain, true).expose(), uri("&issuer=Big"));
    assert_eq!(*shortened(&plain, false).expose(), uri(""));
    assert_eq!(*shortened(&other, true).expose(), other);
}

#[test]
fn a_diagnosis_names_the_profile_or_the_drift() {
    let own = Profile { algorithm: Algorithm::Sha1, digits: Digits::SIX, moving: OtpKind::Totp(Period::THIRTY) };
    let now = 1_700_000_000;
    let code = |profile: &Profile, time| {
        let OtpKind::Totp(period) = profile.moving else { panic!("a time profile") };
        let value = hotp(SEED, profile.algorithm, step_at(time, period), profile.digits);
        TokenInput::from_text(&format!("{value:0width$}", width = usize::from(profile.digits.count()))).unwrap()
    };

    let late = diagnose(&own, SEED, &code(&own, now - 600), now);
    let sha256 = Profile { algorithm: Algorithm::Sha256, ..own };
    let other_hash = diagnose(&own, SEED, &code(&sha256, now), now);
    let long = Profile { digits: digits(8), moving: OtpKind::Totp(Period::new(60).unwrap()), ..own };
    let other_shape = diagnose(&own, SEED, &code(&long, now), now);

    assert_eq!(late, Some(Diagnosis { profile: own, drift_seconds: -600 }));
    assert_eq!(other_hash, Some(Diagnosis { profile: sha256, drift_seconds: 0 }));
    assert_eq!(other_shape, Some(Diagnosis { profile: long, drift_seconds: 0 }));
}

/// The code that a device shows whose clock is at this Unix time.
fn shown(profile: &Profile, seconds: i64) -> TokenInput {
    let OtpKind::Totp(period) = profile.moving else { panic!("a time profile") };
    let value = hotp(SEED, profile.algorithm, step_at(seconds, period), profile.digits);
    TokenInput::from_text(&format!("{value:0width$}", width = usize::from(profile.digits.count()))).unwrap()
}

fn eight_digits(algorithm: Algorithm, period: u64) -> Profile {
    Profile { algorithm, digits: digits(8), moving: OtpKind::Totp(Period::new(period).unwrap()) }
}

#[test]
fn a_diagnosis_names_the_hours_and_quarters_of_another_time_zone() {
    let now = 1_700_000_010;
    let (hour, quarter) = (3_600, 900);
    for own in
        [eight_digits(Algorithm::Sha1, 30), eight_digits(Algorithm::Sha256, 60), eight_digits(Algorithm::Sha512, 17)]
    {
        for off in [
            hour,
            2 * hour,
            5 * hour + 2 * quarter,
            5 * hour + 3 * quarter,
            9 * hour + 2 * quarter,
            12 * hour + 3 * quarter,
            14 * hour,
            3 * quarter,
        ] {
            for drift_seconds in [off, -off] {
                let found = diagnose(&own, SEED, &shown(&own, now + drift_seconds), now);
                assert_eq!(found, Some(Diagnosis { profile: own, drift_seconds }), "{} {drift_seconds}", own.binding());
            }
        }
        let OtpKind::Totp(period) = own.moving else { panic!("a time profile") };
        for late in [-i64::from(period.seconds()), i64::from(period.seconds())] {
            let found = diagnose(&own, SEED, &shown(&own, now - 7 * hour + late), now);
            assert_eq!(found.map(|found| found.drift_seconds), Some(-7 * hour), "a step beside the hour");
        }
    }
}

#[test]
fn a_clock_that_is_in_no_time_zone_is_not_named() {
    let now = 1_700_000_010;
    let own = eight_digits(Algorithm::Sha1, 30);

    for off in [14 * 3_600 + 900, 15 * 3_600, 24 * 3_600, 3_600 + 420, 2_220, 5 * 3_600 + 300] {
        for off in [off, -off] {
            assert_eq!(diagnose(&own, SEED, &shown(&own, now + off), now), None, "{off}");
        }
    }
}

/// A factor that was imported from another program begins at that program's counter. The code of counter 0 is then an
/// old one, not a sign of another profile.
#[test]
fn a_diagnosis_never_says_what_the_factor_is_already() {
    let at = |counter, algorithm, count: u8| {
        let value = hotp(SEED, algorithm, counter, digits(u64::from(count)));
        TokenInput::from_text(&format!("{value:0width$}", width = usize::from(count))).unwrap()
    };
    for algorithm in Algorithm::ALL {
        for count in 6..=8 {
            let own = Profile { algorithm, digits: digits(u64::from(count)), moving: OtpKind::Hotp };
            assert_eq!(diagnose(&own, SEED, &at(0, algorithm, count), 0), None, "{}", own.binding());
        }
    }
    let own = eight_digits(Algorithm::Sha1, 30);
    assert_eq!(diagnose(&own, SEED, &shown(&own, 1_700_000_000), 1_700_000_000), None);

    let sha256 = Profile { algorithm: Algorithm::Sha256, digits: Digits::SIX, moving: OtpKind::Hotp };
    let own = Profile { algorithm: Algorithm::Sha1, ..sha256 };
    let found = diagnose(&own, SEED, &at(0, Algorithm::Sha256, 6), 0);
    assert_eq!(found, Some(Diagnosis { profile: sha256, drift_seconds: 0 }));
}

proptest! {
    #[test]
    fn sup_4_a_code_is_accepted_once_in_its_window_and_steps_only_rise(
        seed in proptest::collection::vec(any::<u8>(), 16..=64),
        current in 2u64..u64::MAX / 2,
        offset in -3i64..=3,
    ) {
        let step = current.checked_add_signed(offset).unwrap();
        let code = hotp(&seed, Algorithm::Sha256, step, digits(8));

        let found = match_step(&seed, Algorithm::Sha256, digits(8), code, current, Window::DEFAULT, None);

        if offset.abs() <= 1 {
            let found = found.unwrap();
            prop_assert!(found >= step);
            prop_assert_eq!(match_step(&seed, Algorithm::Sha256, digits(8), code, current, Window::DEFAULT, Some(found)), None);
        }
    }

    #[test]
    fn thirty_lines_of_our_own_compute_the_same_codes_and_hmacs(
        seed in proptest::collection::vec(any::<u8>(), 16..=64),
        counter in any::<u64>(),
        algorithm in 0usize..3,
        count in 6u64..=8,
    ) {
        let algorithm = [Algorithm::Sha1, Algorithm::Sha256, Algorithm::Sha512][algorithm];

        let hmac = own_hmac(&seed, algorithm, counter);

        let theirs = hmac_of(&seed, algorithm, &counter.to_be_bytes());
        prop_assert_eq!(theirs.expose(), &hmac);
        prop_assert_eq!(hotp(&seed, algorithm, counter, digits(count)), truncated(&hmac) % digits(count).modulus());
    }
}

#[test]
fn totp_rs_reads_the_uris_that_are_written_here() {
    for (algorithm, count, period) in [(Algorithm::Sha1, 6, 30), (Algorithm::Sha256, 8, 60), (Algorithm::Sha512, 7, 15)]
    {
        let moving = OtpKind::Totp(Period::new(period).unwrap());
        let profile = Profile { algorithm, digits: digits(count), moving };
        let part = |text| Text::parse_label_part(text).unwrap();

        let uri = otpauth_uri(&profile, SEED, &part("Big Co"), &part("ann@example.org"));

        let read = totp_rs::Totp::from_url(uri.expose()).unwrap();
        assert_eq!((read.issuer(), read.account_name()), (Some("Big Co"), "ann@example.org"));
        let code = hotp(SEED, algorithm, 100, digits(count));
        assert_eq!(
            read.generate(100 * period).to_string(),
            format!("{code:0width$}", width = usize::try_from(count).unwrap())
        );
    }
}

/// The second implementation: HMAC and dynamic truncation (RFC 4226 section 5.3).
fn own_hmac(seed: &[u8], algorithm: Algorithm, counter: u64) -> Vec<u8> {
    fn of<M: KeyInit + Mac>(seed: &[u8], counter: u64) -> Vec<u8> {
        let mac = <M as KeyInit>::new_from_slice(seed).unwrap();
        mac.chain_update(counter.to_be_bytes()).finalize().into_bytes().to_vec()
    }
    match algorithm {
        Algorithm::Sha1 => of::<Hmac<Sha1>>(seed, counter),
        Algorithm::Sha256 => of::<Hmac<Sha256>>(seed, counter),
        Algorithm::Sha512 => of::<Hmac<Sha512>>(seed, counter),
    }
}

fn truncated(hmac: &[u8]) -> u32 {
    let offset = usize::from(hmac[hmac.len() - 1] & 0x0f);
    u32::from_be_bytes(hmac[offset..offset + 4].try_into().unwrap()) & 0x7fff_ffff
}
