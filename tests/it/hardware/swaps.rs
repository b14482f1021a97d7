//! Another key that claims the number of one that is known (HW-4).

use mfad::error::Error;
use mfad::model::Serial;
use mfad::service::Call;

use super::workshop::{Workshop, by_device, order, totp};
use crate::card::{Account, Key};

/// How an OATH applet is told to show all accounts; SELECT has the same instruction with other parameters.
const CALCULATE_ALL: (u8, u8, u8) = (0xA4, 0x00, 0x01);

/// When that coming APDU arrives, another key of the same number is there.
fn exchange_at(workshop: &Workshop, at: usize) {
    let reader = workshop.reader().clone();
    workshop.reader().on_apdu(at, Box::new(move || reader.with_key(|key| *key = Key::new(7))));
}

#[test]
fn hw_4_a_key_of_the_same_number_and_account_is_not_asked_and_can_be_reset() {
    let workshop = Workshop::with_key(Key::new(7));
    workshop.provision(by_device(totp())).unwrap();
    workshop.reader().pull();
    workshop.attend();

    workshop.reader().insert(Key::new(7).with_account(Account::foreign("mfad:ann")));
    workshop.attend();

    assert!(matches!(workshop.verify_by_key(), Err(Error::DeviceChanged)));
    assert_eq!(workshop.keys()[0].programmed, 0, "nothing of ours is on this one");
    assert!(workshop.ask(Call::ResetDevice(Serial::new(7).unwrap())).is_ok());
}

#[test]
fn hw_4_a_key_that_is_exchanged_while_it_is_programmed_gives_no_factor() {
    let begin = || Workshop::with_key(Key::new(7));
    let whole = begin();
    let before = whole.reader().apdus();
    whole.provision(order(totp())).unwrap();
    let apdus = whole.reader().apdus() - before;
    let mut exchanged = 0;
    for at in 0..apdus {
        let workshop = begin();
        exchange_at(&workshop, at);

        let answer = workshop.provision(order(totp()));

        let is_on_key = workshop.names_on_key() == ["mfad:ann"];
        assert_eq!(answer.is_ok(), is_on_key, "exchanged at APDU {at}");
        assert_eq!(workshop.secrets().len(), usize::from(is_on_key), "exchanged at APDU {at}");
        exchanged += usize::from(!is_on_key);
    }
    assert!(exchanged > apdus / 2, "{exchanged} of {apdus}");
    // Also right after it showed that all is as it was written.
    let shown = whole.reader().log().iter().rposition(|apdu| *apdu == CALCULATE_ALL).expect("a look");
    let workshop = begin();
    exchange_at(&workshop, shown + 1 - before);
    assert!(workshop.provision(order(totp())).is_err());
    assert!(workshop.secrets().is_empty());
}
