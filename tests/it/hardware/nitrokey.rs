//! The real applet of a Nitrokey 3 (crate secrets-app) behind a real pcscd and behind every fault: what its maker wrote
//! answers here, not what was concluded from it.

use std::path::Path;

use mfad_core::model::{AccountName, Algorithm, Digits, KeyId, Profile, TokenInput, UserRef};
use mfad_service::error::Error;
use mfad_service::{Call, FirstCode, Gives, Proof, ProvisionOrder, Reply, SecretRef, SessionAfter};
use mfad_testkit::fixture::{HardwareFixture, after, by_device, hotp, order, totp};
use serde_json::json;

use super::bench::{Bench, can_have_readers};
use crate::card::{Fault, Key, Touch};
use crate::people::text;
use crate::wire::Request;

const ID: &str = "nitrokey:a1b2c3d4";
const NAME: &str = "mfad:ann";
/// Number of accounts that fit.
const CAPACITY: usize = 50;

/// Whether the program with the applet was built; says so when it was not. In CI it is.
fn has_applet(test: &str) -> bool {
    let program = mfad_testkit::program("mfad-nitrokey");
    let is_there = Path::new(&program).exists();
    if !is_there {
        assert!(std::env::var_os("CI").is_none(), "{test}: {} is missing", Path::new(&program).display());
        println!("{test}: skipped, tools/nitrokey was not built");
    }
    is_there
}

fn id() -> KeyId {
    KeyId::parse(ID).unwrap()
}

fn name(text: &str) -> AccountName {
    AccountName::from_bytes(text.as_bytes()).unwrap()
}

const SELECT: [u8; 13] = [0x00, 0xA4, 0x04, 0x00, 0x07, 0xA0, 0x00, 0x00, 0x05, 0x27, 0x21, 0x01, 0x00];

/// What a client that knows nothing of the daemon gets from the applet: all parts of a response, and the status word.
fn ask(key: &mut Key, apdu: &[u8]) -> (Vec<u8>, u16) {
    let mut whole = Vec::new();
    let mut answer = key.transmit(apdu);
    loop {
        let status = u16::from_be_bytes(answer.split_off(answer.len() - 2).try_into().unwrap());
        whole.append(&mut answer);
        if status & 0xFF00 != 0x6100 {
            return (whole, status);
        }
        answer = key.transmit(&[0x00, 0xC0, 0x00, 0x00, 0x00]);
    }
}

fn names(fixture: &HardwareFixture) -> Vec<String> {
    fixture.reader().with_key(|key| {
        key.power_off();
        assert_eq!(ask(key, &SELECT).1, 0x9000);
        let (list, status) = ask(key, &[0x00, 0xA1, 0x00, 0x00, 0x00]);
        assert_eq!(status, 0x9000);
        let (mut names, mut rest) = (Vec::new(), list.as_slice());
        while let [0x72, length, after @ ..] = rest {
            let (entry, next) = after.split_at(usize::from(*length));
            names.push(String::from_utf8(entry[1..].to_vec()).unwrap());
            rest = next;
        }
        names
    })
}

/// The code that the applet gives for this challenge.
fn code(fixture: &HardwareFixture, challenge: u64, digits: u32) -> String {
    fixture.reader().with_key(|key| {
        ask(key, &SELECT);
        let data = [&[0x71, 8][..], NAME.as_bytes(), &[0x74, 8], &challenge.to_be_bytes()].concat();
        let head = [0x00, 0xA2, 0x00, 0x01, u8::try_from(data.len()).unwrap()];
        let (answer, status) = ask(key, &[&head[..], &data, &[0x00]].concat());
        assert_eq!(status, 0x9000);
        let number = u32::from_be_bytes(answer[3..7].try_into().unwrap()) % 10_u32.pow(digits);
        format!("{number:0width$}", width = usize::try_from(digits).unwrap())
    })
}

fn token(code: &str) -> TokenInput {
    TokenInput::from_text(code).unwrap()
}

#[test]
fn ten_steps_of_every_length_and_hash_are_right_and_sha512_is_refused() {
    if !has_applet("ten_steps_of_every_length_and_hash_are_right_and_sha512_is_refused") {
        return;
    }
    for algorithm in [Algorithm::Sha1, Algorithm::Sha256] {
        for digits in 6..=8_u32 {
            let fixture = HardwareFixture::with_key(Key::real_nitrokey());
            let profile = Profile { algorithm, digits: Digits::new(digits.into()).unwrap(), ..totp() };
            assert_eq!(fixture.provision(by_device(profile)).unwrap().status, "active");
            let now = fixture.context().now;
            for step in 1..=10 {
                let later = after(now, step * 30_000);
                let right = code(&fixture, u64::try_from(later.unix_seconds()).unwrap() / 30, digits);
                let verify = Call::Verify(UserRef::Id(fixture.user), Proof::Token(token(&right)));
                assert!(fixture.ask_at(later, verify).is_ok(), "{algorithm:?} {digits} step {step}");
            }
        }
    }
    let fixture = HardwareFixture::with_key(Key::real_nitrokey());
    let refusal = fixture.provision(by_device(Profile { algorithm: Algorithm::Sha512, ..totp() })).unwrap_err();
    assert!(matches!(refusal, Error::Unsupported(_)), "{refusal}");
    assert!(names(&fixture).is_empty());
}

#[test]
fn counters_go_on_where_the_key_is_with_and_without_touch() {
    if !has_applet("counters_go_on_where_the_key_is_with_and_without_touch") {
        return;
    }
    for touch in [false, true] {
        let fixture = HardwareFixture::with_key(Key::real_nitrokey());
        let secret = fixture.provision(ProvisionOrder { touch, ..order(hotp()) }).unwrap();
        let first = FirstCode::Token(token(&code(&fixture, 0, 6)));
        let user = UserRef::Id(fixture.user);
        assert!(fixture.ask(Call::Enroll(user, SecretRef::Id(secret.id), first, SessionAfter::Ended)).is_ok());
        for _ in 0..3 {
            assert!(fixture.verify(&code(&fixture, 0, 6)).is_ok());
        }
    }
}

#[test]
fn a_touch_is_proved_shown_and_waited_for() {
    if !has_applet("a_touch_is_proved_shown_and_waited_for") {
        return;
    }
    let fixture = HardwareFixture::with_key(Key::real_nitrokey());
    let made = fixture.provision(ProvisionOrder { touch: true, ..by_device(totp()) }).unwrap();
    assert_eq!(made.status, "active");
    let Ok(Reply::Accounts(accounts)) = fixture.ask(Call::DeviceAccounts(id())) else { panic!("no list") };
    assert_eq!((accounts[0].touch, accounts[0].gives), (Some(true), Gives::Totp(Algorithm::Sha1)));
    assert!(fixture.provision(ProvisionOrder { touch: true, ..by_device(totp()) }).is_err(), "the name is taken");

    let mut untouched = Key::real_nitrokey();
    untouched.touch = Touch::Refused;
    let fixture = HardwareFixture::with_key(untouched);
    let refusal = fixture.provision(ProvisionOrder { touch: true, ..by_device(totp()) }).unwrap_err();
    assert!(matches!(refusal, Error::TouchTimeout), "{refusal}");
    assert!(names(&fixture).is_empty() && fixture.secrets().is_empty());
}

#[test]
fn accounts_are_listed_renamed_replaced_and_deleted_with_a_touch() {
    if !has_applet("accounts_are_listed_renamed_replaced_and_deleted_with_a_touch") {
        return;
    }
    let fixture = HardwareFixture::with_key(Key::real_nitrokey());
    let secret = fixture.provision(by_device(totp())).unwrap();
    let renamed = fixture.ask(Call::RenameAccount(id(), name(NAME), name("mfad:annette")));
    assert!(renamed.is_ok(), "{:?}", renamed.err());
    assert_eq!(names(&fixture), ["mfad:annette"]);

    let delete = || Call::DeleteSecret(UserRef::Id(fixture.user), SecretRef::Id(secret.id), None);
    assert!(matches!(fixture.ask(delete()), Ok(Reply::Done)));
    assert!(names(&fixture).is_empty());

    // An account of another program, which the daemon may write over.
    fixture.reader().with_key(|key| {
        ask(key, &SELECT);
        let data = [&[0x71, 8][..], NAME.as_bytes(), &[0x73, 16, 0x21, 6], &[7; 14]].concat();
        let put = [&[0x00, 0x01, 0x00, 0x00, u8::try_from(data.len()).unwrap()][..], &data].concat();
        assert_eq!(ask(key, &put).1, 0x9000);
    });
    assert!(matches!(fixture.provision(by_device(totp())), Err(Error::AccountTaken)));
    assert_eq!(fixture.provision(ProvisionOrder { replace: true, ..by_device(totp()) }).unwrap().status, "active");
    assert_eq!(names(&fixture), [NAME]);
}

#[test]
fn a_full_key_says_so_and_a_long_list_is_read_to_its_end() {
    if !has_applet("a_full_key_says_so_and_a_long_list_is_read_to_its_end") {
        return;
    }
    let fixture = HardwareFixture::with_key(Key::real_nitrokey());
    fixture.reader().with_key(|key| {
        ask(key, &SELECT);
        for number in 0..CAPACITY {
            let name = format!("a rather long issuer of accounts:account {number:03}");
            let length = u8::try_from(name.len()).unwrap();
            let data = [&[0x71, length][..], name.as_bytes(), &[0x73, 16, 0x21, 6], &[7; 14]].concat();
            let put = [&[0x00, 0x01, 0x00, 0x00, u8::try_from(data.len()).unwrap()][..], &data].concat();
            assert_eq!(ask(key, &put).1, 0x9000, "{number}");
        }
    });

    let Ok(Reply::Accounts(accounts)) = fixture.ask(Call::DeviceAccounts(id())) else { panic!("no list") };
    assert_eq!(accounts.len(), CAPACITY);
    let refusal = fixture.provision(by_device(totp())).unwrap_err();
    assert!(matches!(refusal, Error::DeviceFull), "{refusal}");
    assert_eq!((names(&fixture).len(), fixture.secrets().len()), (CAPACITY, 0));
    assert!(fixture.service.unsettled_slots().is_empty());
}

#[test]
fn hw_1_a_pull_at_any_apdu_leaves_nothing_that_a_return_does_not_remove() {
    if !has_applet("hw_1_a_pull_at_any_apdu_leaves_nothing_that_a_return_does_not_remove") {
        return;
    }
    for touch in [false, true] {
        for lost_answer in [false, true] {
            let mut at = 0;
            loop {
                let fixture = HardwareFixture::with_key(Key::real_nitrokey());
                fixture.reader().plan(at, if lost_answer { Fault::LostAnswer } else { Fault::Gone });
                let made = fixture.provision(ProvisionOrder { touch, ..by_device(totp()) });
                let was_pulled = fixture.reader().pulled();
                fixture.reader().clear();
                fixture.reader().reinsert();
                fixture.attend();
                let seen = format!("touch {touch}, lost {lost_answer}, at {at}: {:?}", made.as_ref().err());
                if made.is_err() {
                    fixture.ask(Call::ReturnDevice(id())).unwrap_or_else(|error| panic!("{seen}: {error}"));
                }
                assert_eq!(names(&fixture).len(), usize::from(made.is_ok()), "{seen}");
                assert_eq!(fixture.secrets().len(), usize::from(made.is_ok()), "{seen}");
                assert!(fixture.service.unsettled_slots().is_empty(), "{seen}");
                if !was_pulled {
                    break;
                }
                at += 1;
            }
            assert!(at > 10, "so many APDUs at least: {at}");
        }
    }
}

#[test]
fn a_person_uses_the_key_behind_a_real_pcscd() {
    let test = "a_person_uses_the_key_behind_a_real_pcscd";
    if !has_applet(test) || !can_have_readers(test) {
        return;
    }
    let bench = Bench::new(1, "");
    bench.insert(0, Key::real_nitrokey());
    let [device] = bench.devices().try_into().expect("one key");
    assert_eq!((&device["key"], &device["serial"], &device["model"]), (&json!(ID), &json!(null), &json!("Nitrokey")));
    assert_eq!((&device["transport"], &device["problem"]), (&json!("usb"), &json!(null)));

    let user = bench.host.nobody("ann");
    let made = bench.provisioned(&user, &json!({"kind": "hotp", "touch": true}));
    assert_eq!((&made["status"], &made["device"]["key"]), (&json!("active"), &json!(ID)));
    let verified = bench.host.verify(&user, &json!({"device": true}));
    assert_eq!(verified.status, 200, "{}", verified.text());

    // Nobody touches the key, so the account stays; whoever hands the key back touches it.
    bench.reader().with_key(|key| key.touch = Touch::Refused);
    let path = format!("/users/{user}/secrets/{}", text(&made["uid"]));
    assert_eq!(bench.host.ask(&Request::new("DELETE", path).reason()).status, 202);
    bench.reader().with_key(|key| key.touch = Touch::Given);
    bench.host.ask(&Request::new("POST", format!("/devices/{ID}/return")).reason()).ok();
    let accounts = bench.host.ask(&Request::get(format!("/devices/{ID}/oath/accounts"))).ok();
    assert_eq!(accounts["accounts"], json!([]));
}
