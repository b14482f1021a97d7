//! The FIDO2 side of a key, registered in the visit in which its OATH side is programmed: it is the same USB device, and
//! its settings are those that the operator asked for.

use mfad_core::model::{KeyId, Pin, UserId, UserRef};
use mfad_service::error::Error;
use mfad_service::{Call, KeyOrder, KeySetup, LocalKeyOrder, Reply, SecretOrder, Verification};
use mfad_testkit::fixture::{HardwareFixture, by_device, totp};

use serde_json::{Value, json};
use std::fs;
use std::sync::Arc;

use crate::card::{Key, Model, Reader, VirtualDevices};
use crate::cli::mfactl;
use crate::fido::{self, Finger, Make, Touch, VirtualPorts};
use crate::fido2::CONFIG;
use crate::host::Host;
use crate::wire::Request;

const PIN: &str = "482913";

fn with_settings() -> fido::Key {
    fido::Key::new(Make { has_settings: true, ..Make::default() })
}

fn order(on: &str, setup: KeySetup, resident: bool) -> LocalKeyOrder {
    LocalKeyOrder {
        key: KeyOrder { name: None, verification: Verification::Preferred },
        pin: setup.sets_pin.then(|| Pin::parse(PIN).unwrap()),
        on: Some(KeyId::parse(on).unwrap()),
        setup,
        resident,
    }
}

fn register(fixture: &HardwareFixture, user: UserId, order: LocalKeyOrder) -> Result<(), Error> {
    match fixture.ask(Call::CreateSecret(UserRef::Id(user), SecretOrder::LocalKey(order)))? {
        Reply::KeyRegistered { secret, .. } => {
            assert_eq!((secret.kind, secret.status), ("fido2", "active"));
            Ok(())
        }
        _ => panic!("another answer"),
    }
}

#[test]
fn each_user_gets_both_sides_of_one_key() {
    let keys = [Key::new(7), Key::of(Model::Nitrokey, 8), Key::of(Model::CanoKey, 9)];
    let ids: Vec<String> = keys.iter().map(Key::id).collect();
    let sides = [with_settings(), with_settings(), with_settings()];
    let fixture = HardwareFixture::with_both_sides(keys.into_iter().zip(sides.clone()));

    for (number, (id, side)) in ids.iter().zip(&sides).enumerate() {
        let user = fixture.new_user(&format!("user {number}"));
        let device = mfad_service::DeviceRef::Key(KeyId::parse(id).unwrap());
        let oath = mfad_service::ProvisionOrder { device, ..by_device(totp()) };
        assert!(fixture.ask(Call::CreateSecret(UserRef::Id(user), SecretOrder::Hardware(oath))).is_ok(), "{id}");
        register(&fixture, user, order(id, KeySetup::default(), number == 1)).unwrap();

        assert_eq!(side.settings().3, [number == 1], "{id}: one credential, on this key");
    }
}

#[test]
fn what_the_operator_asked_for_is_set_before_the_registration_and_only_once() {
    let side = with_settings();
    let fixture = HardwareFixture::with_both_sides([(Key::new(7), side.clone())]);
    let setup = KeySetup { sets_pin: true, shortest_pin: Some(6), always_verifies: true };

    register(&fixture, fixture.user, order("7", setup, true)).unwrap();
    assert_eq!(side.settings(), (Some(PIN.to_owned()), 6, true, vec![true]));

    // The response of an attempt may be lost after the key was set up; the next one finds it so.
    let other = fixture.new_user("bob");
    register(&fixture, other, order("7", setup, false)).unwrap();
    assert_eq!(side.settings(), (Some(PIN.to_owned()), 6, true, vec![true, false]));
}

#[test]
fn what_the_key_cannot_do_is_refused_before_anything_is_set() {
    let side = fido::Key::new(Make::default());
    let fixture = HardwareFixture::with_both_sides([(Key::new(7), side.clone())]);
    let only_pin = KeySetup { sets_pin: true, ..KeySetup::default() };
    for (setup, resident) in [
        (KeySetup { shortest_pin: Some(6), ..only_pin }, false),
        (KeySetup { always_verifies: true, ..only_pin }, false),
        (only_pin, true),
    ] {
        let refusal = register(&fixture, fixture.user, order("7", setup, resident)).unwrap_err();
        assert!(matches!(refusal, Error::Unsupported(_)), "{refusal}");
        assert_eq!(side.settings().0, None);
    }
    register(&fixture, fixture.user, order("7", only_pin, false)).unwrap();
    assert_eq!(side.settings().0.as_deref(), Some(PIN));
}

#[test]
fn a_user_cannot_change_the_settings_of_a_key_with_the_own_token() {
    let side = with_settings();
    let fixture = HardwareFixture::with_both_sides([(Key::new(7), side.clone())]);
    let eve = fixture.make_user("eve", Some("correct horse"));
    let setup = KeySetup { sets_pin: true, ..KeySetup::default() };

    let refused =
        fixture.create_by_own_token(eve, "eve", "correct horse", SecretOrder::LocalKey(order("7", setup, false)));

    assert!(matches!(refused, Err(Error::Forbidden(_))), "{:?}", refused.err());
    assert_eq!(side.settings(), (None, 4, false, Vec::new()));
}

#[test]
fn a_key_without_its_other_side_is_not_mixed_up_with_another_one() {
    let side = with_settings();
    let fixture = HardwareFixture::with_both_sides([(Key::new(7), side.clone())]);
    let key = fixture.reader().pull().unwrap();
    // Another key in the reader: the security key is that of key 7.
    fixture.reader().insert(Key::new(8));
    fixture.attend();

    let refusal = register(&fixture, fixture.user, order("8", KeySetup::default(), false)).unwrap_err();

    assert!(matches!(refusal, Error::Unsupported(_)), "{refusal}");
    assert_eq!(side.settings().3, Vec::<bool>::new());
    drop(key);
}

/// A host with readers that hold these keys, and with their FIDO2 sides in its ports.
fn host_with(keys: Vec<(Key, fido::Key)>) -> (Host, Vec<Reader>) {
    let readers: Vec<Reader> = keys.iter().map(|_| Reader::new()).collect();
    let named = readers.iter().enumerate().map(|(n, reader)| (format!("Yubico YubiKey {n:02}"), reader.clone()));
    let (devices, ports) = (Arc::new(VirtualDevices::new(named.collect())), Arc::new(VirtualPorts::default()));
    let host = Host::with_hardware(CONFIG, devices, Arc::clone(&ports) as _);
    for (reader, (key, side)) in readers.iter().zip(keys) {
        reader.insert(key);
        ports.plug_in_at(side, reader.usb().map(|usb| usb.place));
    }
    (host, readers)
}

/// Type, name and status of a user's factors.
fn factors(host: &Host, user: &str) -> Vec<(String, String, String)> {
    let listed = host.ask(&Request::get(format!("/users/{user}/secrets"))).ok();
    let word = |secret: &Value, name: &str| secret[name].as_str().unwrap_or_default().to_owned();
    let of = |secret: &Value| (word(secret, "type"), word(secret, "name"), word(secret, "status"));
    let mut all: Vec<_> = listed["secrets"].as_array().unwrap().iter().map(of).collect();
    all.retain(|(kind, ..)| kind == "mfa" || kind == "fido2");
    all.sort();
    all
}

fn both(label: &str) -> Vec<(String, String, String)> {
    let active = "active".to_owned();
    vec![("fido2".to_owned(), format!("{label} fido2"), active.clone()), ("mfa".to_owned(), label.to_owned(), active)]
}

#[test]
fn a_batch_gives_each_user_both_sides_of_one_key_and_goes_on_with_that_key() {
    let sides = [with_settings(), with_settings()];
    let keys = vec![(Key::new(7), sides[0].clone()), (Key::of(Model::Nitrokey, 8), sides[1].clone())];
    let (host, _readers) = host_with(keys);
    let users = ["ann", "bob"].map(|name| host.nobody(name));
    let place = host.dirs.dir.path().join("batch");
    fs::create_dir(&place).unwrap();
    let manifest = place.join("staff.csv");
    fs::write(&manifest, "user,label\nann,blue\nbob,red\n").unwrap();
    let (pins, codes) = (place.join("pins"), place.join("codes"));
    let batch = || {
        let words = ["--no-input", "--yes", "provision", "batch", manifest.to_str().unwrap(), "--fido2", "--no-wait"];
        let folders = ["--pins", pins.to_str().unwrap(), "--codes", codes.to_str().unwrap()];
        let settings = ["--min-pin-length", "6", "--resident", "--reason", "first day"];
        mfactl(&host, &[&words[..], &folders[..], &settings[..]].concat(), "")
    };

    // Nobody touches the security keys, so that each user has only one side of a key after the first run.
    sides.iter().for_each(|side| side.set_finger(Finger::Always(Touch::TimedOut)));
    let first = batch();
    assert!(!first.status.success(), "{}", String::from_utf8_lossy(&first.stderr));
    let on = |user: &String| {
        let listed = host.ask(&Request::get(format!("/users/{user}/secrets"))).ok();
        let one = listed["secrets"].as_array().unwrap().iter().find(|secret| secret["type"] == "mfa").cloned();
        one.map(|secret| secret["device"]["key"].as_str().unwrap().to_owned())
    };
    let before = users.each_ref().map(on);
    assert!(before.iter().all(Option::is_some), "{before:?}: {}", String::from_utf8_lossy(&first.stderr));

    sides.iter().for_each(|side| side.set_finger(Finger::Always(Touch::Given)));
    let second = batch();

    assert!(second.status.success(), "{}", String::from_utf8_lossy(&second.stderr));
    assert_eq!(factors(&host, &users[0]), both("blue"));
    assert_eq!(factors(&host, &users[1]), both("red"));
    assert_eq!(users.each_ref().map(on), before, "each user went on with the same key");
    let results = fs::read_to_string(place.join("staff.results.csv")).unwrap();
    assert_eq!(results.lines().filter(|line| line.contains(",done,")).count(), 4, "{results}");
    for (side, key) in sides.iter().zip(["7", "nitrokey:00000008"]) {
        let (pin, shortest, _, kept) = side.settings();
        let written = fs::read_to_string(pins.join(format!("{key}.pin"))).unwrap();
        assert_eq!((pin.as_deref(), shortest, kept), (Some(written.trim_end()), 6, vec![true]));
        assert!(!results.contains(written.trim_end()), "a result holds no secret");
    }

    let third = batch();
    assert!(third.status.success() && sides.iter().all(|side| side.settings().3.len() == 1), "nothing is left to do");
    let accounts = json!(host.ask(&Request::get("/devices")).ok()["devices"][0]["programmed"]);
    assert_eq!(accounts, 1);
}

#[test]
fn a_key_whose_other_side_cannot_do_what_is_asked_fails_its_user_and_says_so() {
    let (host, _readers) = host_with(vec![(Key::new(7), fido::Key::new(Make::default()))]);
    let user = host.nobody("ann");
    let place = host.dirs.dir.path().join("batch");
    fs::create_dir(&place).unwrap();
    let manifest = place.join("staff.csv");
    fs::write(&manifest, "user,label\nann,blue\n").unwrap();
    let words = ["--no-input", "--yes", "provision", "batch", manifest.to_str().unwrap(), "--fido2", "--no-wait"];

    let output = mfactl(&host, &[&words[..], &["--always-uv", "--reason", "first day"]].concat(), "");

    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("verify its user for every request"), "{said}");
    let results = fs::read_to_string(place.join("staff.results.csv")).unwrap();
    assert!(results.contains("ann,blue,7,,failed,unsupported"), "{results}");
    assert_eq!(factors(&host, &user), both("blue")[1..], "the factor that works is kept");
    let again = mfactl(&host, &[&words[..], &["--reason", "without that"]].concat(), "");
    assert!(again.status.success(), "{}", String::from_utf8_lossy(&again.stderr));
    assert_eq!(factors(&host, &user), both("blue"));
}
