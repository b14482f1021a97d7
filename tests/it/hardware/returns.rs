//! A key at the end of its service: handed back, or reset.

use mfad_core::model::KeyId;
use mfad_service::error::Error;
use mfad_service::{Call, KeyState, ProvisionOrder, Reply, ReturnedView};

use crate::card::{Account, Key};
use mfad_testkit::fixture::{HardwareFixture, by_device, totp};

const NAME: &str = "mfad:ann";

fn key() -> KeyId {
    KeyId::parse("7").expect("a serial number")
}

fn hand_back(fixture: &HardwareFixture) -> ReturnedView {
    match fixture.ask(Call::ReturnDevice(key())) {
        Ok(Reply::Returned { mut credentials, .. }) => credentials.remove(0),
        _ => panic!("it is not taken back"),
    }
}

#[test]
fn an_account_that_cannot_be_known_as_ours_stays_on_a_key_that_is_handed_back() {
    let fixture = HardwareFixture::with_key(Key::new(7));
    fixture.provision(by_device(totp())).unwrap();
    let key = fixture.reader().pull().expect("the key");
    let ours = key.account(NAME).expect("the account").clone();
    // Another program wrote it again, with a touch: it gives the code, and is not as it was written.
    fixture.reader().insert(key.without_account(NAME).with_account(Account { touch: true, ..ours }));
    fixture.attend();

    let returned = hand_back(&fixture);

    assert_eq!((returned.is_proved, returned.is_revoked, returned.is_erased), (true, true, false));
    assert_eq!(fixture.names_on_key(), [NAME]);
    assert!(fixture.secrets().is_empty());
}

#[test]
fn the_password_stays_on_a_key_that_holds_accounts_of_others() {
    let fixture = HardwareFixture::with_key(Key::new(7).with_account(Account::foreign("other:ann")));
    fixture.provision(ProvisionOrder { protect: true, ..by_device(totp()) }).unwrap();

    let returned = hand_back(&fixture);

    assert!(returned.is_erased);
    assert!(fixture.reader().with_key(|key| key.has_password()));
    assert!(fixture.keys()[0].oath.as_ref().expect("an applet").is_password_known, "whoever asks can still open it");
}

#[test]
fn a_key_that_the_daemon_reset_is_known_as_it_is_now() {
    let fixture = HardwareFixture::with_key(Key::new(7));
    fixture.provision(by_device(totp())).unwrap();
    assert!(matches!(fixture.ask(Call::ResetDevice(key())), Err(Error::DeviceInUse)));
    hand_back(&fixture);

    assert!(fixture.ask(Call::ResetDevice(key())).is_ok());

    assert_eq!(fixture.keys()[0].state, KeyState::Known);
    assert!(fixture.noted("device.reset-seen").is_empty());
}
