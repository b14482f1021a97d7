//! Keys of every maker, one operation after the other: each is right, or refused rightly with nothing left. The columns
//! are the makers of docs/hardware.md.

use std::time::Duration;

use mfad_core::model::{AccountName, Algorithm, Digits, KeyId, Profile, Sensitive, UserRef};
use mfad_service::error::Error;
use mfad_service::{Call, Gives, KeyState, PasswordChange, ProvisionOrder, Reply, SecretRef};
use mfad_testkit::fixture::{HardwareFixture, by_device, hotp, order, totp};

use crate::card::{Account, Fault, HOTP, Key, Model, Touch};

const NUMBER: u32 = 0x0A1B_2C3D;
const NAME: &str = "mfad:ann";
/// More APDUs than any operation takes.
const MOST_APDUS: usize = 80;

fn with(model: Model) -> HardwareFixture {
    HardwareFixture::with_key(Key::of(model, NUMBER))
}

fn id(model: Model) -> KeyId {
    KeyId::parse(&Key::of(model, NUMBER).id()).unwrap()
}

fn name(text: &str) -> AccountName {
    AccountName::from_bytes(text.as_bytes()).unwrap()
}

fn profile(algorithm: Algorithm, digits: u8) -> Profile {
    Profile { algorithm, digits: Digits::new(digits.into()).unwrap(), ..totp() }
}

/// The code that the key would show now for its only account.
fn code(fixture: &HardwareFixture) -> String {
    let now = fixture.context().now.unix_seconds();
    fixture.reader().with_key(|key| key.code_at(NAME, u64::try_from(now).unwrap()))
}

fn accounts(fixture: &HardwareFixture, model: Model) -> Vec<(String, Gives, Option<bool>)> {
    match fixture.ask(Call::DeviceAccounts(id(model))) {
        Ok(Reply::Accounts(accounts)) => {
            accounts.into_iter().map(|account| (account.name.to_string(), account.gives, account.touch)).collect()
        }
        Ok(_) => panic!("another answer"),
        Err(error) => panic!("{model:?}: {error}"),
    }
}

fn unsupported(model: Model, error: &Error) {
    assert!(matches!(error, Error::Unsupported(_)), "{model:?}: {error}");
}

#[test]
fn a_key_is_named_by_its_maker_and_number() {
    let models = ["YubiKey 5 NFC", "CanoKey", "Nitrokey", "pico-fido"];
    for (model, product) in Model::ALL.into_iter().zip(models) {
        let fixture = with(model);

        let [key] = fixture.keys().try_into().expect("one key");

        assert_eq!((key.key, key.model, key.is_nfc), (Some(id(model)), Some(product), false));
        let applet = key.oath.expect("an applet");
        let capacity = (model == Model::YubiKey).then_some(32);
        assert_eq!((applet.capacity, applet.has_touch), (capacity, model != Model::Pico), "{model:?}");
        assert!(key.problem.is_none(), "{model:?}");
    }
}

#[test]
fn time_based_codes_of_every_length_and_hash_are_right_or_refused_before_anything_is_written() {
    for model in Model::ALL {
        for algorithm in [Algorithm::Sha1, Algorithm::Sha256, Algorithm::Sha512] {
            for digits in 6..=8 {
                let fixture = with(model);
                let made = fixture.provision(by_device(profile(algorithm, digits)));
                if model == Model::Nitrokey && algorithm == Algorithm::Sha512 {
                    unsupported(model, &made.unwrap_err());
                    assert!(fixture.names_on_key().is_empty() && fixture.secrets().is_empty());
                    continue;
                }
                assert_eq!(made.unwrap().status, "active", "{model:?} {algorithm:?} {digits}");
                // Its own code activated the factor, so the next step is the first that counts.
                let now = fixture.context().now;
                let later = mfad_testkit::fixture::after(now, 60_000);
                let code = fixture.reader().with_key(|key| key.code_at(NAME, later.unix_seconds().try_into().unwrap()));
                let token = mfad_core::model::TokenInput::from_text(&code).unwrap();
                let user = UserRef::Id(fixture.user);
                let proof = mfad_service::Proof::Token(token);
                assert!(fixture.ask_at(later, Call::Verify(user, proof)).is_ok(), "{model:?} {algorithm:?} {digits}");
            }
        }
    }
}

#[test]
fn counters_begin_where_the_key_does() {
    for (model, first) in Model::ALL.into_iter().zip([2, 3, 3, 2]) {
        let fixture = with(model);

        let secret = fixture.provision(order(hotp())).unwrap();

        assert_eq!(secret.counter, Some(first), "{model:?}");
        for _ in 0..3 {
            let (code, _) = next_hotp(&fixture, model);
            let token = mfad_core::model::TokenInput::from_text(&code).unwrap();
            let first_code = mfad_service::FirstCode::Token(token);
            match fixture.secrets().first().map(|secret| secret.status) {
                Some("pending") => {
                    let user = UserRef::Id(fixture.user);
                    let enroll =
                        Call::Enroll(user, SecretRef::Id(secret.id), first_code, mfad_service::SessionAfter::Ended);
                    assert!(fixture.ask(enroll).is_ok(), "{model:?}");
                }
                _ => assert!(fixture.verify(&code).is_ok(), "{model:?}"),
            }
        }
    }
}

/// The next code of the HOTP account, as the key gives it, and its counter.
fn next_hotp(fixture: &HardwareFixture, model: Model) -> (String, u64) {
    use hmac::{Hmac, KeyInit, Mac};
    fixture.reader().with_key(|key| {
        let account = key.account_mut(NAME).expect("the account");
        let counter = if model == Model::CanoKey { account.counter + 1 } else { account.counter };
        account.counter += 1;
        let mut mac = <Hmac<sha1::Sha1> as KeyInit>::new_from_slice(&account.key).unwrap();
        mac.update(&counter.to_be_bytes());
        let mac = mac.finalize().into_bytes();
        let offset = usize::from(mac[19] & 15);
        let number = u32::from_be_bytes(mac[offset..offset + 4].try_into().unwrap()) & 0x7FFF_FFFF;
        (format!("{:06}", number % 1_000_000), counter)
    })
}

#[test]
fn a_touch_is_required_where_the_key_enforces_it_and_refused_elsewhere() {
    for model in Model::ALL {
        let fixture = with(model);
        let made = fixture.provision(ProvisionOrder { touch: true, ..by_device(totp()) });
        if model == Model::Pico {
            unsupported(model, &made.unwrap_err());
            assert!(fixture.names_on_key().is_empty());
            continue;
        }
        assert_eq!(made.unwrap().status, "active", "{model:?}");
        assert_eq!(accounts(&fixture, model), [(NAME.to_owned(), Gives::Totp(Algorithm::Sha1), Some(true))]);
    }
}

#[test]
fn a_key_that_shows_a_touch_and_gives_codes_without_one_is_found_out() {
    for model in [Model::YubiKey, Model::CanoKey, Model::Nitrokey] {
        let fixture = HardwareFixture::with_key(Key::of(model, NUMBER).with_loose_touch());

        let made = fixture.provision(ProvisionOrder { touch: true, ..by_device(totp()) });

        assert!(matches!(made, Err(Error::DeviceFailed(_))), "{model:?}: {:?}", made.err());
        assert!(fixture.secrets().is_empty(), "{model:?}");
    }
}

#[test]
fn a_touch_that_does_not_come_is_called_so_and_leaves_no_factor() {
    for model in [Model::YubiKey, Model::CanoKey, Model::Nitrokey] {
        let mut key = Key::of(model, NUMBER);
        key.touch = Touch::Refused;
        let fixture = HardwareFixture::with_key(key);

        let made = fixture.provision(ProvisionOrder { touch: true, ..by_device(totp()) });

        assert!(matches!(made, Err(Error::TouchTimeout)), "{model:?}: {:?}", made.err());
        assert!(fixture.secrets().is_empty(), "{model:?}");
        assert!(fixture.names_on_key().is_empty(), "{model:?}");
    }
}

#[test]
fn an_account_is_replaced_although_the_key_writes_over_none() {
    for model in Model::ALL {
        let fixture = HardwareFixture::with_key(Key::of(model, NUMBER).with_account(Account::foreign(NAME)));

        let made = fixture.provision(ProvisionOrder { replace: true, ..by_device(totp()) });

        assert_eq!(made.unwrap().status, "active", "{model:?}");
        assert_eq!(fixture.names_on_key(), [NAME], "{model:?}");
        assert_ne!(code(&fixture), Account::foreign(NAME).code_at(0), "{model:?}");
    }
}

#[test]
fn long_lists_are_read_to_their_end() {
    for model in Model::ALL {
        // Each length of a last part, the empty one included.
        for chunk in 24..56 {
            let mut key = Key::of(model, NUMBER);
            key.chunk = chunk;
            let names: Vec<String> = (0..9).map(|number| format!("an issuer:account {number:07}")).collect();
            let key = names.iter().fold(key, |key, name| key.with_account(Account::foreign(name)));
            let fixture = HardwareFixture::with_key(key);

            let listed: Vec<String> = accounts(&fixture, model).into_iter().map(|(name, ..)| name).collect();

            assert_eq!(listed, names, "{model:?} in parts of {chunk}");
        }
    }
}

#[test]
fn an_entry_of_an_unknown_kind_is_listed_and_left_alone() {
    for model in Model::ALL {
        let slot = Account { kind: 0x40, ..Account::foreign("HmacSlot2") };
        let fixture = HardwareFixture::with_key(Key::of(model, NUMBER).with_account(slot));

        assert_eq!(accounts(&fixture, model), [("HmacSlot2".to_owned(), Gives::Other, None)]);
        assert_eq!(fixture.provision(by_device(totp())).unwrap().status, "active", "{model:?}");
        assert_eq!(fixture.names_on_key(), ["HmacSlot2", NAME]);
    }
}

#[test]
fn accounts_are_renamed_and_deleted() {
    for model in Model::ALL {
        let fixture = with(model);
        let secret = fixture.provision(by_device(totp())).unwrap();

        let renamed = fixture.ask(Call::RenameAccount(id(model), name(NAME), name("mfad:annette")));
        assert!(renamed.is_ok(), "{model:?}: {:?}", renamed.err());
        assert_eq!(fixture.names_on_key(), ["mfad:annette"], "{model:?}");
        let taken = fixture.ask(Call::RenameAccount(id(model), name("mfad:annette"), name("mfad:annette")));
        assert!(matches!(taken, Err(Error::AccountTaken)), "{model:?}");

        let deleted = fixture.ask(Call::DeleteSecret(UserRef::Id(fixture.user), SecretRef::Id(secret.id), None));
        assert!(matches!(deleted, Ok(Reply::Done)), "{model:?}: {:?}", deleted.err());
        assert!(fixture.names_on_key().is_empty(), "{model:?}");
    }
}

#[test]
fn a_full_key_says_so_itself_and_nothing_is_left() {
    for model in Model::ALL {
        let key = Key::of(model, NUMBER).with_capacity(2);
        let key = ["a", "b"].into_iter().fold(key, |key, name| key.with_account(Account::foreign(name)));
        let fixture = HardwareFixture::with_key(key);

        let refusal = fixture.provision(by_device(totp())).unwrap_err();

        assert!(matches!(refusal, Error::DeviceFull), "{model:?}: {refusal}");
        assert_eq!((fixture.names_on_key().len(), fixture.secrets().len()), (2, 0), "{model:?}");
        fixture.attend();
        assert!(fixture.service.unsettled_slots().is_empty(), "{model:?}");
    }
}

#[test]
fn a_key_that_could_not_list_another_account_is_full() {
    let names: Vec<String> = (0..215).map(|number| format!("name {number:05}")).collect();
    let key = names.iter().fold(Key::of(Model::Pico, NUMBER), |key, name| key.with_account(Account::foreign(name)));
    let fixture = HardwareFixture::with_key(key);

    let refusal = fixture.provision(by_device(totp())).unwrap_err();
    assert!(matches!(refusal, Error::DeviceFull), "{refusal}");
    let rename = |new: &str| fixture.ask(Call::RenameAccount(id(Model::Pico), name(&names[0]), name(new)));
    assert!(matches!(rename("a name that is longer").err(), Some(Error::DeviceFull)));
    assert!(rename("short").is_ok());
    assert_eq!(accounts(&fixture, Model::Pico).len(), names.len());
    assert!(fixture.service.unsettled_slots().is_empty());
}

#[test]
fn a_key_with_more_accounts_than_it_can_list_is_refused_with_nothing_written() {
    let names: Vec<String> = (0..220).map(|number| format!("name {number:05}")).collect();
    let key = names.iter().fold(Key::of(Model::Pico, NUMBER), |key, name| key.with_account(Account::foreign(name)));
    let fixture = HardwareFixture::with_key(key);

    unsupported(Model::Pico, &fixture.provision(by_device(totp())).unwrap_err());
    assert_eq!(fixture.names_on_key().len(), names.len());
    let listed = fixture.ask(Call::DeviceAccounts(id(Model::Pico)));
    unsupported(Model::Pico, &listed.err().expect("a refusal"));
    assert!(fixture.service.unsettled_slots().is_empty());
    // The way out.
    assert!(fixture.ask(Call::ResetDevice(id(Model::Pico))).is_ok());
    assert_eq!(fixture.provision(by_device(totp())).unwrap().status, "active");
}

fn set_password(fixture: &HardwareFixture, model: Model) -> Result<Reply, Error> {
    let new = PasswordChange::Set(Sensitive::new("hunter2 hunter2".to_owned()));
    fixture.ask(Call::ChangeDevicePassword { key: id(model), change: new, current: None })
}

#[test]
fn a_password_protects_every_key_that_can_have_one() {
    for model in Model::ALL {
        let fixture = with(model);
        let set = set_password(&fixture, model);
        if model == Model::Nitrokey {
            unsupported(model, &set.err().expect("a refusal"));
            let protected = fixture.provision(ProvisionOrder { protect: true, ..by_device(totp()) });
            unsupported(model, &protected.unwrap_err());
            assert!(fixture.names_on_key().is_empty());
            continue;
        }
        assert!(set.is_ok(), "{model:?}: {:?}", set.err());
        assert!(fixture.reader().with_key(|key| key.has_password()), "{model:?}");
        // The daemon knows it, and nobody else's is taken.
        assert_eq!(fixture.provision(by_device(totp())).unwrap().status, "active", "{model:?}");
        let wrong = Some(Sensitive::new("hunter3 hunter3".to_owned()));
        let removed =
            fixture.ask(Call::ChangeDevicePassword { key: id(model), change: PasswordChange::Remove, current: wrong });
        assert!(matches!(removed, Err(Error::WrongDevicePassword)), "{model:?}: {:?}", removed.err());
    }
}

#[test]
fn what_a_key_only_says_that_it_did_is_found_out() {
    for model in [Model::YubiKey, Model::CanoKey, Model::Pico] {
        let fixture = HardwareFixture::with_key(Key::of(model, NUMBER).with_false_reports());
        let set = set_password(&fixture, model);
        assert!(matches!(set, Err(Error::DeviceFailed(_))), "{model:?}: {:?}", set.err());
    }
    for model in [Model::YubiKey, Model::Pico] {
        let key = Key::of(model, NUMBER).with_account(Account::foreign("x")).with_false_reports();
        let fixture = HardwareFixture::with_key(key);
        let reset = fixture.ask(Call::ResetDevice(id(model)));
        assert!(matches!(reset, Err(Error::DeviceFailed(_))), "{model:?}: {:?}", reset.err());
    }
}

#[test]
fn a_reset_by_the_daemon_empties_the_key_where_the_daemon_can_do_it() {
    for model in Model::ALL {
        let fixture = HardwareFixture::with_key(Key::of(model, NUMBER).with_account(Account::foreign("x")));
        let reset = fixture.ask(Call::ResetDevice(id(model)));
        if model == Model::CanoKey {
            unsupported(model, &reset.err().expect("a refusal"));
            assert_eq!(fixture.names_on_key(), ["x"]);
            continue;
        }
        assert!(reset.is_ok(), "{model:?}: {:?}", reset.err());
        assert!(fixture.names_on_key().is_empty(), "{model:?}");
    }
}

#[test]
fn hw_4_a_reset_by_another_program_is_noticed_with_and_without_a_new_salt() {
    for model in Model::ALL {
        let fixture = with(model);
        fixture.provision(by_device(totp())).unwrap();
        assert_eq!(fixture.keys()[0].state, KeyState::Known, "{model:?}");

        // Another key of the number, as fresh as after a reset; pico-fido keeps its salt.
        let mut key = fixture.reader().pull().unwrap();
        let reset = if model == Model::Pico { key.without_account(NAME) } else { Key::of(model, NUMBER) };
        key = reset;
        fixture.reader().insert(key);
        fixture.attend();

        assert_eq!(fixture.keys()[0].state, KeyState::Reset, "{model:?}");
        assert_eq!(fixture.noted("device.reset-seen").len(), 1, "{model:?}");
        assert!(fixture.verify_by_key().is_err(), "{model:?}");
    }
}

#[test]
fn two_keys_of_one_number_are_not_told_apart() {
    for (model, is_met) in Model::ALL.into_iter().flat_map(|model| [(model, false), (model, true)]) {
        let fixture = HardwareFixture::new(2);
        fixture.readers.iter().for_each(|reader| reader.insert(Key::of(model, NUMBER)));
        if is_met {
            fixture.attend();
        }
        let device = mfad_service::DeviceRef::Key(id(model));

        let made = fixture.provision(ProvisionOrder { device, ..by_device(totp()) });

        assert!(matches!(made, Err(Error::TwinDevices(_))), "{model:?}: {:?}", made.err());
        assert!(matches!(fixture.ask(Call::ResetDevice(id(model))), Err(Error::TwinDevices(_))), "{model:?}");
        assert!(fixture.readers.iter().all(|reader| reader.with_key(|key| key.accounts().is_empty())));
    }
}

#[test]
fn hw_1_a_pull_at_any_apdu_leaves_nothing_that_the_next_contact_or_a_return_does_not_remove() {
    for model in Model::ALL {
        for touch in [false, true].into_iter().filter(|touch| !touch || model != Model::Pico) {
            let new_key = || {
                let mut key = Key::of(model, NUMBER);
                key.touch_delay = Duration::from_millis(60);
                key
            };
            nothing_is_left_after_a_pull(new_key, id(model), touch, HardwareFixture::names_on_key);
        }
    }
}

/// Programs a new key again and again, and pulls it at one APDU after the other: with a lost answer, and before the
/// command reached it. `names` lists the accounts on the key.
pub(super) fn nothing_is_left_after_a_pull(
    new_key: impl Fn() -> Key,
    id: KeyId,
    touch: bool,
    names: impl Fn(&HardwareFixture) -> Vec<String>,
) {
    for lost_answer in [false, true] {
        for at in 0..MOST_APDUS {
            let fixture = HardwareFixture::with_key(new_key());
            fixture.reader().plan(at, if lost_answer { Fault::LostAnswer } else { Fault::Gone });
            let made = fixture.provision(ProvisionOrder { touch, ..by_device(totp()) });
            let was_pulled = fixture.reader().pulled();
            fixture.reader().clear();
            fixture.reader().reinsert();
            fixture.attend();
            let seen = format!("{id}, touch {touch}, lost {lost_answer}, at {at}: {:?}", made.as_ref().err());
            if made.is_err() && id.changes_by_touch() {
                // Nobody was asked for a touch meanwhile.
                fixture.ask(Call::ReturnDevice(id)).unwrap_or_else(|error| panic!("{seen}: {error}"));
            }
            assert_eq!(names(&fixture).len(), usize::from(made.is_ok()), "{seen}");
            assert_eq!(fixture.secrets().len(), usize::from(made.is_ok()), "{seen}");
            assert!(fixture.service.unsettled_slots().is_empty(), "{seen}");
            if !was_pulled {
                assert!(at > 10, "{seen}: so few APDUs");
                break;
            }
            assert!(at + 1 < MOST_APDUS, "{seen}: the operation does not end");
        }
    }
}

#[test]
fn a_key_without_calculate_all_is_refused_before_anything_is_written() {
    let fixture = HardwareFixture::with_key(Key::new(7).without_calculate_all());

    unsupported(Model::YubiKey, &fixture.provision(by_device(totp())).unwrap_err());

    assert!(fixture.names_on_key().is_empty() && fixture.secrets().is_empty());
    assert!(fixture.service.unsettled_slots().is_empty());
    assert_eq!(fixture.keys()[0].state, KeyState::New, "it can still be listed");
}

#[test]
fn a_journal_row_ends_on_a_key_that_lost_the_command_to_show_it() {
    let fixture = HardwareFixture::with_key(Key::new(7));
    // The account is on the key, and its row is not done.
    fixture.reader().plan(9, Fault::Gone);
    fixture.provision(order(totp())).unwrap_err();
    let key = fixture.reader().pull().unwrap().without_calculate_all();

    fixture.reader().insert(key);
    fixture.attend();

    assert!(fixture.names_on_key().is_empty());
    assert!(fixture.service.unsettled_slots().is_empty());
}

/// A key that came back after its secret was deleted: its account waits for a touch.
fn with_an_account_that_waits_for_a_touch() -> HardwareFixture {
    let fixture = with(Model::Nitrokey);
    let secret = fixture.provision(by_device(totp())).unwrap();
    let key = fixture.reader().pull().unwrap();
    fixture.ask(Call::DeleteSecret(UserRef::Id(fixture.user), SecretRef::Id(secret.id), None)).unwrap();
    fixture.reader().insert(key);
    fixture.attend();
    fixture
}

#[test]
fn nothing_blinks_on_a_key_that_nobody_attends() {
    let fixture = with_an_account_that_waits_for_a_touch();

    assert!(fixture.service.unsettled_slots().is_empty(), "the key is not visited for it again and again");
    for _ in 0..3 {
        fixture.attend();
        fixture.keys();
    }
    assert_eq!(fixture.names_on_key(), [NAME]);
    let deleted = fixture.reader().log().iter().filter(|(instruction, ..)| *instruction == 0x02).count();
    assert_eq!(deleted, 0, "no DELETE was sent");

    fixture.ask(Call::ReturnDevice(id(Model::Nitrokey))).unwrap();
    assert!(fixture.names_on_key().is_empty());
    assert!(fixture.service.unsettled_slots().is_empty());
}

#[test]
fn hotp_with_touch_goes_on_with_the_counter_after_the_proofs() {
    for (model, first) in [(Model::YubiKey, 2), (Model::CanoKey, 3), (Model::Nitrokey, 1)] {
        let fixture = with(model);

        let secret = fixture.provision(ProvisionOrder { touch: true, ..order(hotp()) }).unwrap();

        assert_eq!(secret.counter, Some(first), "{model:?}");
        let (_, next) = next_hotp(&fixture, model);
        assert_eq!(next, first, "{model:?}");
        assert!(
            fixture
                .reader()
                .with_key(|key| key.account(NAME).unwrap().kind == HOTP && key.account(NAME).unwrap().touch)
        );
    }
}

#[test]
fn a_user_cannot_end_what_is_known_of_a_key_with_a_card_that_shows_its_id() {
    for model in [Model::YubiKey, Model::CanoKey] {
        let fixture = with(model);
        set_password(&fixture, model).unwrap();
        fixture.provision(by_device(totp())).unwrap();
        let real = fixture.reader().pull().unwrap();
        fixture.reader().insert(Key::of(model, NUMBER));
        fixture.attend();

        let eve = fixture.make_user("eve", Some("correct horse"));
        let made = fixture.provision_by_own_token(eve, "eve", "correct horse", order(totp()));
        assert!(matches!(made, Err(Error::DeviceChanged)), "{model:?}: {:?}", made.err());

        fixture.reader().insert(real);
        fixture.attend();
        assert_eq!(accounts(&fixture, model).len(), 1, "{model:?}: the daemon still has the password");
    }
}

#[test]
fn hw_10_an_account_of_another_program_stays_until_it_was_really_replaced() {
    for model in [Model::YubiKey, Model::CanoKey, Model::Nitrokey] {
        let theirs = Account { touch: true, ..Account::foreign(NAME) };
        for at in 0..MOST_APDUS {
            let fixture = HardwareFixture::with_key(Key::of(model, NUMBER).with_account(theirs.clone()));
            fixture.reader().plan(at, Fault::Gone);
            let order = ProvisionOrder { touch: true, replace: true, ..order(totp()) };
            let made = fixture.provision(order);
            let was_pulled = fixture.reader().pulled();
            let removed = fixture.reader().with_key(|key| key.account(NAME) != Some(&theirs));
            fixture.reader().clear();
            fixture.reader().reinsert();
            fixture.attend();
            fixture.ask(Call::ReturnDevice(id(model))).unwrap();

            let is_there = fixture.reader().with_key(|key| key.account(NAME) == Some(&theirs));
            assert_eq!(is_there, !removed, "{model:?} at {at}: {:?}", made.err());
            if !was_pulled {
                break;
            }
        }
    }
}

#[test]
fn an_account_that_waits_to_be_erased_is_not_renamed_away_from_its_journal() {
    let fixture = with_an_account_that_waits_for_a_touch();

    let renamed = fixture.ask(Call::RenameAccount(id(Model::Nitrokey), name(NAME), name("mine")));

    assert!(matches!(renamed, Err(Error::DeviceInUse)), "{:?}", renamed.err());
    fixture.ask(Call::ReturnDevice(id(Model::Nitrokey))).unwrap();
    assert!(fixture.names_on_key().is_empty());
}

#[test]
fn a_key_is_returned_although_its_user_deleted_one_of_its_accounts() {
    for model in Model::ALL {
        let fixture = with(model);
        let first = fixture.provision(by_device(totp())).unwrap();
        let account = Some(mfad_core::model::Text::parse("second", 64).unwrap());
        fixture.provision(ProvisionOrder { account, ..by_device(totp()) }).unwrap();
        let key = fixture.reader().pull().unwrap().without_account(NAME);
        fixture.reader().insert(key);
        fixture.attend();

        let Ok(Reply::Returned { credentials, .. }) = fixture.ask(Call::ReturnDevice(id(model))) else {
            panic!("{model:?}: no answer")
        };

        let revoked: Vec<bool> = credentials.iter().map(|one| one.is_revoked).collect();
        assert_eq!(revoked, [false, true], "{model:?}");
        assert_eq!(fixture.secrets().iter().map(|secret| secret.id).collect::<Vec<_>>(), [first.id], "{model:?}");
    }
}

#[test]
fn the_journal_of_a_nitrokey_tells_no_code_that_still_counts() {
    let fixture = with(Model::Nitrokey);
    fixture.provision(order(hotp())).unwrap();

    // One digest of 32 bytes for each counter that the proofs used up.
    let length: i64 = fixture.of_store("SELECT length(responses) FROM credentials");

    assert_eq!(length, 3 * 32);
}
