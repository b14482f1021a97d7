//! What is left on a key goes at the next contact if it is ours, and stays if it is somebody else's (HW-10): the key tells,
//! or where it would want a touch, or move a counter, its kind does.

use mfad_core::model::{Profile, UserRef};
use mfad_service::{Call, Gives, ProvisionOrder, Reply, SecretRef};

use crate::card::{Account, Fault, HOTP, Key, TOTP};
use mfad_testkit::fixture::{HardwareFixture, by_device, hotp, order, totp};

const NAME: &str = "mfad:ann";

/// An account that somebody else put onto the key, under the name of ours.
fn foreign(kind: u8, touch: bool) -> Account {
    Account { kind, touch, ..Account::foreign(NAME) }
}

/// What somebody did to a key while it was away.
type Fate = fn(Key) -> Key;

/// What the account of our name on the key has as its seed.
fn seed_of(fixture: &HardwareFixture) -> Option<Vec<u8>> {
    fixture.reader().with_key(|key| key.account(NAME).map(|account| account.key.clone()))
}

/// A key that gave a factor, which was deleted while the key was away.
fn key_of_a_deleted_factor(profile: Profile, touch: bool) -> (HardwareFixture, Key) {
    let fixture = HardwareFixture::with_key(Key::new(7));
    let secret = fixture.provision(ProvisionOrder { touch, ..by_device(profile) }).unwrap();
    let key = fixture.reader().pull().expect("the key");
    fixture.attend();
    let gone = fixture.ask(Call::DeleteSecret(UserRef::Id(fixture.user), SecretRef::Id(secret.id), None));
    assert!(matches!(gone, Ok(Reply::Done)));
    (fixture, key)
}

#[test]
fn hw_10_the_account_of_a_factor_that_went_is_erased_when_its_key_comes_back() {
    for (profile, touch) in [(totp(), false), (totp(), true), (hotp(), false), (hotp(), true)] {
        let (fixture, key) = key_of_a_deleted_factor(profile, touch);
        assert!(key.account(NAME).is_some());

        fixture.reader().insert(key.with_account(Account::foreign("other:ann")));
        fixture.attend();

        assert_eq!(fixture.names_on_key(), ["other:ann"], "{profile:?}, touch {touch}");
    }
}

#[test]
fn hw_10_an_account_that_somebody_put_in_the_place_of_ours_stays() {
    for (profile, touch, other) in [
        (totp(), false, foreign(TOTP, false)),
        (totp(), false, foreign(TOTP, true)),
        (totp(), false, foreign(HOTP, false)),
        (totp(), true, foreign(TOTP, false)),
        (totp(), true, foreign(HOTP, false)),
        (hotp(), false, foreign(TOTP, false)),
        (hotp(), false, foreign(TOTP, true)),
        (hotp(), true, foreign(TOTP, true)),
    ] {
        let (fixture, key) = key_of_a_deleted_factor(profile, touch);

        fixture.reader().insert(key.without_account(NAME).with_account(other.clone()));
        fixture.attend();

        assert_eq!(
            fixture.reader().with_key(|key| key.account(NAME).cloned()),
            Some(other.clone()),
            "{profile:?}, touch {touch}"
        );
    }
}

#[test]
fn hw_10_a_counter_that_was_used_often_is_still_known_as_ours() {
    let (fixture, key) = key_of_a_deleted_factor(hotp(), false);
    let ours = key.account(NAME).expect("the account").clone();

    fixture.reader().insert(key.without_account(NAME).with_account(Account { counter: 20, ..ours }));
    fixture.attend();

    assert!(fixture.names_on_key().is_empty());
}

#[test]
fn hw_10_what_became_of_an_account_is_written_down() {
    let fates: [(Fate, &str); 4] = [
        (|key| key, "erased from the key"),
        (|key| key.without_account(NAME), "was not on the key"),
        (
            |key| key.without_account(NAME).with_account(foreign(TOTP, false)),
            "another account of that name is on the key and was left alone",
        ),
        (|_| Key::new(7), "went with the reset of the key"),
    ];
    for (fate, words) in fates {
        let (fixture, key) = key_of_a_deleted_factor(totp(), false);

        fixture.reader().insert(fate(key));
        fixture.attend();

        assert_eq!(fixture.noted("device.erase"), [format!("key 7, account {NAME}: {words}")]);
    }
}

#[test]
fn hw_10_what_was_to_be_overwritten_stays_unless_it_was() {
    for (profile, touch, other) in [
        (totp(), false, foreign(TOTP, false)),
        (totp(), true, foreign(TOTP, false)),
        (hotp(), false, foreign(HOTP, false)),
    ] {
        let begin = || HardwareFixture::with_key(Key::new(7).with_account(other.clone()));
        let replacing = || ProvisionOrder { replace: true, touch, ..order(profile) };
        let whole = begin();
        let before = whole.reader().apdus();
        whole.provision(replacing()).unwrap();
        let apdus = whole.reader().apdus() - before;
        let (mut untouched, mut overwritten) = (0, 0);
        for at in 0..apdus {
            let fixture = begin();
            fixture.reader().plan(at, Fault::Gone);
            let answer = fixture.provision(replacing());
            fixture.reader().clear();
            let is_untouched = seed_of(&fixture).as_ref() == Some(&other.key);
            assert!(answer.is_err(), "the key is gone at APDU {at}");

            fixture.reader().reinsert();
            fixture.attend();

            // Its counter may have moved by the one code that told whose it is.
            let expected = is_untouched.then(|| other.key.clone());
            assert_eq!(seed_of(&fixture), expected, "{profile:?}, touch {touch}, gone at APDU {at}");
            if is_untouched { untouched += 1 } else { overwritten += 1 }
        }
        assert!(untouched > 0 && overwritten > 0, "{untouched} and {overwritten} of {apdus}");
    }
}

#[test]
fn the_accounts_of_a_key_are_shown_with_whose_and_how_each_is() {
    let key = Key::new(7)
        .with_account(Account { touch: true, ..Account::foreign("other:touched") })
        .with_account(Account::foreign("other:ann"))
        .with_account(Account { kind: HOTP, ..Account::foreign("other:counting") });
    let fixture = HardwareFixture::with_key(key);
    let secret = fixture.provision(order(totp())).unwrap();

    let Ok(Reply::Accounts(shown)) = fixture.ask(Call::DeviceAccounts(secret.device.expect("a key").key)) else {
        panic!("no accounts");
    };

    let mut shown: Vec<_> = shown
        .into_iter()
        .map(|account| {
            (account.name.to_string(), account.touch, matches!(account.gives, Gives::Hotp(_)), account.owner)
        })
        .collect();
    shown.sort();
    let name = str::to_owned;
    assert_eq!(
        shown,
        [
            (name(NAME), Some(false), false, Some((secret.id, fixture.user))),
            (name("other:ann"), Some(false), false, None),
            (name("other:counting"), None, true, None),
            (name("other:touched"), Some(true), false, None),
        ]
    );
}
