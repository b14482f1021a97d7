//! Another key that claims the number of one that is known (HW-4).

use mfad_core::model::Serial;
use mfad_service::Call;
use mfad_service::error::Error;

use crate::card::{Account, Key};
use mfad_testkit::fixture::{HardwareFixture, by_device, order, totp};

/// How an OATH applet is told to show all accounts; SELECT has the same instruction with other parameters.
const CALCULATE_ALL: (u8, u8, u8) = (0xA4, 0x00, 0x01);

/// When that coming APDU arrives, another key of the same number is there.
fn exchange_at(fixture: &HardwareFixture, at: usize) {
    let reader = fixture.reader().clone();
    fixture.reader().on_apdu(at, Box::new(move || reader.with_key(|key| *key = Key::new(7))));
}

#[test]
fn hw_4_a_key_of_the_same_number_and_account_is_not_asked_and_can_be_reset() {
    let fixture = HardwareFixture::with_key(Key::new(7));
    fixture.provision(by_device(totp())).unwrap();
    fixture.reader().pull();
    fixture.attend();

    fixture.reader().insert(Key::new(7).with_account(Account::foreign("mfad:ann")));
    fixture.attend();

    assert!(matches!(fixture.verify_by_key(), Err(Error::DeviceChanged)));
    assert_eq!(fixture.keys()[0].programmed, 0, "nothing of ours is on this one");
    assert!(fixture.ask(Call::ResetDevice(Serial::new(7).unwrap().into())).is_ok());
}

#[test]
fn hw_4_a_key_that_is_exchanged_while_it_is_programmed_gives_no_factor() {
    let begin = || HardwareFixture::with_key(Key::new(7));
    let whole = begin();
    let before = whole.reader().apdus();
    whole.provision(order(totp())).unwrap();
    let apdus = whole.reader().apdus() - before;
    let mut exchanged = 0;
    for at in 0..apdus {
        let fixture = begin();
        exchange_at(&fixture, at);

        let answer = fixture.provision(order(totp()));

        let is_on_key = fixture.names_on_key() == ["mfad:ann"];
        assert_eq!(answer.is_ok(), is_on_key, "exchanged at APDU {at}");
        assert_eq!(fixture.secrets().len(), usize::from(is_on_key), "exchanged at APDU {at}");
        exchanged += usize::from(!is_on_key);
    }
    assert!(exchanged > apdus / 2, "{exchanged} of {apdus}");
    // Also right after it showed that all is as it was written.
    let shown = whole.reader().log().iter().rposition(|apdu| *apdu == CALCULATE_ALL).expect("a look");
    let fixture = begin();
    exchange_at(&fixture, shown + 1 - before);
    assert!(fixture.provision(order(totp())).is_err());
    assert!(fixture.secrets().is_empty());
}
