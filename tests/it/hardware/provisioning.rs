//! What a key can and cannot do, and where its counter stands, when a factor is put onto it.

use mfad::error::Error;
use mfad::model::{Algorithm, Moving, Period, UserRef};
use mfad::service::{Call, FirstCode, PROOFS, ProvisionOrder, SecretRef};

use super::workshop::{Workshop, after, hotp, order, profile, totp};
use crate::card::{Account, Key};

/// How the OATH applet is told to store an account; the OTP applet has the same instruction with other parameters.
const PUT: (u8, u8, u8) = (0x01, 0, 0);

fn puts(workshop: &Workshop) -> usize {
    workshop.reader().log().into_iter().filter(|apdu| *apdu == PUT).count()
}

#[test]
fn a_counter_goes_on_where_the_proofs_left_it() {
    let workshop = Workshop::with_key(Key::new(7));

    let secret = workshop.provision(order(hotp())).unwrap();

    assert_eq!(secret.counter, Some(u64::from(PROOFS)));
    assert_eq!(
        workshop.reader().with_key(|key| key.account("mfad:ann").map(|account| account.counter)),
        secret.counter
    );
}

#[test]
fn an_old_key_gives_what_it_can_and_is_not_asked_for_more() {
    let sha512 = profile(Algorithm::Sha512, 6, Moving::Time(Period::THIRTY));
    for (refused, order) in
        [(false, order(totp())), (true, order(sha512)), (true, ProvisionOrder { touch: true, ..order(totp()) })]
    {
        let workshop = Workshop::with_key(Key::neo(7));

        let answer = workshop.provision(order);

        assert_eq!(matches!(answer, Err(Error::Unsupported(_))), refused);
        assert_eq!((answer.is_err(), puts(&workshop) == 0), (refused, refused));
    }
}

#[test]
fn a_full_key_takes_no_new_account_and_has_one_overwritten() {
    let full = || {
        let others = (0..31).map(|number| Account::foreign(&format!("other:{number}")));
        others.chain([Account::foreign("mfad:ann")]).fold(Key::new(7), Key::with_account)
    };
    let workshop = Workshop::with_key(full());
    let another = ProvisionOrder {
        profile: profile(Algorithm::Sha1, 6, Moving::Time(Period::new(60).unwrap())),
        ..order(totp())
    };

    assert!(matches!(workshop.provision(another), Err(Error::DeviceFull)));
    assert_eq!(puts(&workshop), 0);

    assert!(workshop.provision(ProvisionOrder { replace: true, ..order(totp()) }).is_ok());
}

#[test]
fn a_factor_that_waited_too_long_is_over_wherever_its_key_is() {
    let workshop = Workshop::with_key(Key::new(7));
    let secret = workshop.provision(order(totp())).unwrap();
    workshop.reader().pull();
    workshop.attend();
    let late = after(workshop.clock.now(), 16 * 60 * 1_000);
    let enrol = Call::Enroll(UserRef::Id(workshop.user), SecretRef::Id(secret.id), FirstCode::Device);

    let answer = workshop.ask_at(late, enrol);

    assert!(matches!(answer, Err(Error::Expired)));
}
