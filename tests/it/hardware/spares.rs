//! A key and its spare: programmed one after the other, active together.

use std::sync::Arc;

use mfad_core::model::{SecretId, Serial, Text, TokenInput, UserRef};
use mfad_service::error::Error;
use mfad_service::{
    Activation, Call, DeviceRef, FirstCode, ProvisionOrder, SecretOrder, SecretRef, SecretView, SessionAfter,
};

use crate::card::Touch;
use mfad_testkit::fixture::{HardwareFixture, after, order, totp};

/// Longer than a pending factor waits, in milliseconds.
const TOO_LONG: i64 = 16 * 60 * 1_000;

fn on(serial: u32, spare_of: Option<SecretId>) -> ProvisionOrder {
    ProvisionOrder { device: DeviceRef::Key(Serial::new(serial).unwrap().into()), spare_of, ..order(totp()) }
}

/// The same under a name that no account on the key has yet.
fn also_on(serial: u32, spare_of: SecretId) -> ProvisionOrder {
    ProvisionOrder { account: Some(Text::parse_label_part("other").unwrap()), ..on(serial, Some(spare_of)) }
}

fn status_of(fixture: &HardwareFixture, secret: &SecretView) -> &'static str {
    fixture.secrets().iter().find(|shown| shown.id == secret.id).map_or("gone", |shown| shown.status)
}

/// How many accounts are on the key in that reader.
fn accounts(fixture: &HardwareFixture, reader: usize) -> usize {
    fixture.readers[reader].with_key(|key| key.accounts().len())
}

/// The user types the code of the key in that reader.
fn confirm(fixture: &HardwareFixture, reader: usize, secret: &SecretView) {
    let now = fixture.clock.now();
    let name = secret.device.as_ref().expect("a key").name.to_string();
    let seconds = u64::try_from(now.unix_seconds()).unwrap();
    let code = fixture.readers[reader].with_key(|key| key.code_at(&name, seconds));
    let code = FirstCode::Token(TokenInput::from_text(&code).unwrap());
    let enrol = Call::Enroll(UserRef::Id(fixture.user), SecretRef::Id(secret.id), code, SessionAfter::Ended);
    assert!(fixture.ask_at(now, enrol).is_ok());
}

#[test]
fn the_first_code_of_either_key_makes_both_active() {
    for confirmed in [0, 1] {
        let fixture = HardwareFixture::with_keys(3);
        let first = fixture.provision(on(1, None)).unwrap();
        let spare = fixture.provision(on(2, Some(first.id))).unwrap();
        let pair = [&first, &spare];
        assert_eq!(pair.map(|secret| status_of(&fixture, secret)), ["pending"; 2]);

        confirm(&fixture, confirmed, pair[confirmed]);

        assert_eq!(pair.map(|secret| status_of(&fixture, secret)), ["active"; 2], "confirmed by key {confirmed}");
    }
}

#[test]
fn a_spare_stays_active_whose_first_key_is_confirmed_while_it_waits_for_a_touch() {
    let begin = || {
        let fixture = Arc::new(HardwareFixture::with_keys(2));
        let first = fixture.provision(on(1, None)).unwrap();
        (fixture, first)
    };
    let spare_of = |first| ProvisionOrder { activation: Activation::ByDevice, touch: true, ..on(2, Some(first)) };
    let (trial, first) = begin();
    let before = trial.readers[1].apdus();
    trial.provision(spare_of(first.id)).unwrap();
    let last = trial.readers[1].apdus() - before - 1;

    for touch in [Touch::Given, Touch::Refused] {
        let (fixture, first) = begin();
        let (inside, secret) = (Arc::clone(&fixture), first.clone());
        let confirm = move || {
            confirm(&inside, 0, &secret);
            inside.readers[1].with_key(|key| key.touch = touch);
        };
        fixture.readers[1].on_apdu(last, Box::new(confirm));
        let spare = fixture.provision(spare_of(first.id)).unwrap();

        assert_eq!(spare.status, "active", "{touch:?}");
        assert_eq!([&first, &spare].map(|secret| status_of(&fixture, secret)), ["active"; 2], "{touch:?}");
        assert_eq!(accounts(&fixture, 1), 1, "{touch:?}");
    }
}

#[test]
fn a_spare_stands_beside_one_pending_factor_on_another_key() {
    let fixture = HardwareFixture::with_keys(3);
    let stranger = SecretId::at(0, &[0; 10]);
    assert!(matches!(fixture.provision(on(2, Some(stranger))), Err(Error::NotFound)));
    let first = fixture.provision(on(1, None)).unwrap();
    assert!(matches!(fixture.provision(also_on(1, first.id)), Err(Error::Unsupported(_))));
    fixture.provision(on(2, Some(first.id))).unwrap();

    assert!(matches!(fixture.provision(on(3, Some(first.id))), Err(Error::TooManySecrets)));
    assert_eq!([0, 1, 2].map(|reader| accounts(&fixture, reader)), [1, 1, 0], "what is refused leaves nothing");

    let active = fixture.provision(ProvisionOrder { activation: Activation::ByDevice, ..on(3, None) }).unwrap();
    assert!(matches!(fixture.provision(also_on(2, active.id)), Err(Error::AlreadyActive)));
}

#[test]
fn a_spare_of_a_factor_that_waited_too_long_is_refused() {
    let fixture = HardwareFixture::with_keys(3);
    let first = fixture.provision(on(1, None)).unwrap();
    let late = after(fixture.clock.now(), TOO_LONG);
    let order = SecretOrder::Hardware(on(2, Some(first.id)));

    let refused = fixture.ask_at(late, Call::CreateSecret(UserRef::Id(fixture.user), order));

    assert!(matches!(refused, Err(Error::Expired)));
    assert_eq!(accounts(&fixture, 1), 0);
}

#[test]
fn a_new_order_ends_a_pair_that_nobody_confirmed() {
    let fixture = HardwareFixture::with_keys(3);
    let first = fixture.provision(on(1, None)).unwrap();
    let spare = fixture.provision(on(2, Some(first.id))).unwrap();

    let other = fixture.provision(on(3, None)).unwrap();
    fixture.attend();

    assert_eq!([&first, &spare, &other].map(|secret| status_of(&fixture, secret)), ["gone", "gone", "pending"]);
    assert_eq!([0, 1, 2].map(|reader| accounts(&fixture, reader)), [0, 0, 1], "their accounts went at the contact");
}
