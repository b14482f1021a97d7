//! What can be in the way of a key, each with its own code and a sentence that says what to do.

use mfad_hardware::card::CardFault;
use mfad_service::error::Error;
use serde_json::json;

use super::bench::{Bench, can_have_readers};
use crate::card::{Account, Applet, Fault, Key, Touch};
use crate::host::Host;
use crate::wire::{Answer, Request};
use mfad_testkit::fixture::{HardwareFixture, order, totp};

/// A refusal says what to do about it.
#[track_caller]
fn refused(answer: &Answer, status: u16, code: &str, advice: &str) {
    let problem = answer.refused(status, code);
    let detail = problem["detail"].as_str().unwrap_or_default();
    assert!(detail.contains(advice), "{code} should say {advice:?}: {detail}");
}

#[test]
fn without_a_smart_card_service_the_refusal_says_so() {
    let host = Host::start("");
    let user = host.nobody("ann");
    let order = json!({"type": "mfa", "device": {"any": true}});

    // The first look may be under way when the daemon is ready.
    let asked = || host.ask(&Request::post(format!("/users/{user}/secrets"), &order).reason());
    let answer = (0..100).map(|_| asked()).find(|answer| answer.json()["code"] == "no-pcscd").expect("no-pcscd");

    refused(&answer, 503, "no-pcscd", "install and start it");
    refused(&host.ask(&Request::get("/devices")), 503, "no-pcscd", "pcscd");
    let off = Host::start("[devices]\nenabled = false\n");
    let user = off.nobody("ann");
    refused(
        &off.ask(&Request::post(format!("/users/{user}/secrets"), &order).reason()),
        503,
        "no-device",
        "plug it in",
    );
}

#[test]
fn hw_8_a_service_user_whom_pcscd_refuses_is_told_of_the_polkit_rule() {
    let test = "hw_8_a_service_user_whom_pcscd_refuses_is_told_of_the_polkit_rule";
    if !can_have_readers(test) || !crate::identity::can_be_others(test) {
        return;
    }
    let fixture = HardwareFixture::with_key(Key::new(7));
    fixture.devices.refuse(Some(mfad_hardware::device::DeviceFault::Denied));

    let refusal = fixture.provision(order(totp())).unwrap_err();

    assert!(matches!(refusal, Error::PcscdDenied), "{refusal}");
    assert!(refusal.to_string().contains("polkit rule"), "{refusal}");
}

#[test]
fn every_state_of_a_key_has_its_own_refusal() {
    if !can_have_readers("every_state_of_a_key_has_its_own_refusal") {
        return;
    }
    let bench = Bench::new(2, "");
    let user = bench.host.nobody("ann");
    let provision = |more: serde_json::Value| bench.provision(&user, &more);

    refused(&provision(json!({})), 503, "no-device", "plug it in");
    refused(&provision(json!({"device": {"serial": 9}})), 503, "no-device", "the key 9");

    let crowded =
        (0..32).fold(Key::new(7), |key, number| key.with_account(Account::foreign(&format!("account {number}"))));
    bench.insert(0, crowded);
    refused(&provision(json!({})), 409, "device-full", "use another key");
    bench.pull(0);

    bench.insert(0, Key::new(7).with_capacity(1).with_account(Account::foreign("x")));
    refused(&provision(json!({})), 409, "device-full", "use another key");
    bench.insert(1, Key::new(8));
    refused(&provision(json!({})), 409, "many-devices", "serial number");
    bench.pull(0);
    bench.pull(1);

    bench.insert(0, Key::new(7).with_password("hunter2"));
    refused(&provision(json!({})), 423, "device-locked", "send it with the request");
    refused(&provision(json!({"device": {"any": true, "password": "x"}})), 422, "wrong-device-password", "wrong");
    bench.pull(0);

    bench.insert(0, Key::new(7));
    bench.reader().with_key(|key| key.touch = Touch::Refused);
    let touch = json!({"touch": true, "activate": "by-device"});
    refused(&provision(touch), 409, "touch-timeout", "touch it while it blinks");
    assert!(bench.reader().with_key(|key| key.accounts().is_empty()), "and nothing is left on the key");
    bench.reader().plan(4, Fault::Gone);
    refused(&provision(json!({})), 503, "device-removed", "plug it in");
    bench.reinsert(0);
    bench.reader().plan(6, Fault::Lie);
    refused(&provision(json!({})), 503, "device-failed", "unplug it, plug it in");
    bench.reader().clear();
    bench.pull(0);

    bench.insert(0, Key::neo(8));
    refused(&provision(json!({"touch": true})), 409, "unsupported", "firmware 4.2.6");
    refused(&provision(json!({"algorithm": "SHA512"})), 409, "unsupported", "firmware 4.3.1");
    bench.pull(0);
    bench.insert(0, Key::new(9).without(Applet::Oath));
    refused(&provision(json!({})), 409, "unsupported", "OATH");
}

#[test]
fn thr_7_guesses_at_the_password_of_a_key_count_on_whose_token_brings_them() {
    if !can_have_readers("thr_7_guesses_at_the_password_of_a_key_count_on_whose_token_brings_them") {
        return;
    }
    let bench = Bench::with_key(Key::new(7).with_password("hunter2 hunter2"));
    let (person, other) = (bench.host.person("anna"), bench.host.nobody("boris"));
    let order = |password: &str| json!({"type": "mfa", "device": {"any": true, "password": password}});
    let own = |password: &str| bench.host.ask(&Request::post(person.secrets(), &order(password)).token(&person.token));

    for _ in 0..5 {
        own("hunter3 hunter3").refused(422, "wrong-device-password");
    }
    own("hunter2 hunter2").refused(429, "too-many-attempts");
    let bare = json!({"type": "mfa", "device": {"any": true}});
    let unasked = bench.host.ask(&Request::post(person.secrets(), &bare).token(&person.token));
    unasked.refused(423, "device-locked");
    // An operator who mistypes it shuts nobody out.
    for _ in 0..6 {
        bench.provision(&other, &order("hunter3 hunter3")).refused(422, "wrong-device-password");
    }
    bench.provision(&other, &order("hunter2 hunter2")).ok();
    bench.host.ask(&Request::new("POST", format!("{}/unlock", person.path())).reason()).done();
    own("hunter2 hunter2").ok();
    let noted = bench.audit().iter().filter(|(event, _)| event == "device.password-wrong").count();
    assert_eq!(noted, 5);
}

#[test]
fn the_overwrite_defect_of_older_firmware_is_not_walked_into() {
    let like = Account::foreign("mfad:ann@home");
    for ((a, b, c), is_refused) in [((4, 0, 0), true), ((4, 3, 4), true), ((4, 3, 5), false), ((5, 4, 3), false)] {
        let fixture = HardwareFixture::with_key(Key::new(7).with_firmware(a, b, c).with_account(like.clone()));
        let answer = fixture.provision(order(totp()));
        assert_eq!(matches!(answer, Err(Error::Unsupported(_))), is_refused, "{a}.{b}.{c}");
    }
}

#[test]
fn hw_2_a_key_that_another_program_holds_is_busy_and_free_again_afterwards() {
    if !can_have_readers("hw_2_a_key_that_another_program_holds_is_busy_and_free_again_afterwards") {
        return;
    }
    let bench = Bench::with_key(Key::new(7));
    let user = bench.host.nobody("ann");

    let occupied = bench.occupied();
    let answer = bench.provision(&user, &json!({}));
    refused(&answer, 503, "device-busy", "scdaemon");
    assert_eq!(answer.json()["holder"], "scdaemon");
    assert_eq!(bench.devices()[0]["problem"]["code"], "device-busy");
    drop(occupied);

    bench.provision(&user, &json!({})).ok();
}

#[test]
fn hw_7_a_key_that_hangs_is_given_up_and_works_again_when_it_is_back() {
    let fixture = HardwareFixture::with_key(Key::new(7));
    fixture.reader().plan(3, Fault::Hang);

    let refusal = fixture.provision(order(totp())).unwrap_err();
    assert!(matches!(refusal, Error::DeviceHung), "{refusal}");
    let again = fixture.provision(order(totp())).unwrap_err();
    assert!(matches!(again, Error::DeviceHung), "it is not waited for twice: {again}");

    fixture.reader().release();
    // A key that answers again is used again.
    mfad_testkit::daemon::until(|| fixture.provision(order(totp())).is_ok());
}

#[test]
fn hw_6_every_status_word_ends_in_a_clean_refusal() {
    for status in [0x6a84, 0x6982, 0x6984, 0x6a80, 0x6d00, 0x6e00, 0x6700, 0x6985, 0x6f00, 0x9001, 0x0000, 0xffff] {
        for at in 2..8 {
            let fixture = HardwareFixture::with_key(Key::new(7));
            fixture.reader().plan(at, Fault::Status(status));
            let answer = fixture.provision(order(totp()));
            fixture.reader().clear();
            fixture.attend();
            assert_eq!(fixture.names_on_key().len(), fixture.secrets().len(), "{status:04x} at {at}");
            if let Err(Error::Internal(cause)) = answer {
                panic!("{status:04x} at {at} is a defect: {cause}");
            }
        }
    }
    // A status word that promises more for ever.
    let fixture = HardwareFixture::with_key(Key::new(7));
    (0..200).for_each(|at| fixture.reader().plan(at + 3, Fault::Status(0x6110)));
    let refusal = fixture.provision(order(totp())).unwrap_err();
    assert!(matches!(refusal, Error::DeviceFailed(_)), "{refusal}: {:?}", CardFault::Nonsense("x"));
    assert!(fixture.reader().apdus() < 120, "it is not asked for ever");
}
