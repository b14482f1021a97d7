//! The makers' own applets behind every fault: what their makers wrote answers here, not what was concluded from it. The
//! applet of a Nitrokey 3 (crate secrets-app) is always run. `MFAD_TEST_APPLETS` names others that somebody has built,
//! by the ids of the keys: `canokey:3f2a11c0=/somewhere/canokey`. They speak as `tools/nitrokey` does. A number alone is a
//! YubiKey NEO.

use std::path::PathBuf;

use mfad_core::model::{AccountName, Algorithm, Digits, KeyId, Profile, Sensitive, TokenInput, UserRef};
use mfad_service::error::Error;
use mfad_service::{Call, FirstCode, Gives, PasswordChange, Proof, ProvisionOrder, Reply, SecretRef, SessionAfter};
use mfad_testkit::fixture::{HardwareFixture, after, by_device, hotp, order, totp};
use serde_json::json;

use super::bench::{Bench, can_have_readers};
use super::makers::nothing_is_left_after_a_pull;
use crate::card::{Key, Model, Touch};
use crate::people::text;
use crate::wire::Request;

const NITROKEY: &str = "nitrokey:a1b2c3d4";
const NAME: &str = "mfad:ann";
/// More accounts than any key has room for.
const MOST_ACCOUNTS: usize = 300;

/// A maker's applet, and how a program that knows nothing of the daemon talks to it.
struct Own {
    model: Model,
    id: String,
    number: u32,
    program: PathBuf,
}

impl Own {
    fn all() -> Vec<Self> {
        let nitrokey = mfad_testkit::program("mfad-nitrokey");
        let is_there = nitrokey.exists();
        assert!(is_there || std::env::var_os("CI").is_none(), "{} is missing", nitrokey.display());
        if !is_there {
            println!("skipped for the Nitrokey: tools/nitrokey was not built");
        }
        let nitrokey = is_there.then(|| format!("{NITROKEY}={}", nitrokey.display()));
        let named = std::env::var("MFAD_TEST_APPLETS").ok();
        let applets = nitrokey.iter().chain(&named).flat_map(|named| named.split(',')).map(|one| {
            let (id, program) = one.split_once('=').expect("id=program");
            let (model, number) = match id.split_once(':') {
                Some(("canokey", number)) => (Model::CanoKey, u32::from_str_radix(number, 16).unwrap()),
                Some(("nitrokey", number)) => (Model::Nitrokey, u32::from_str_radix(number, 16).unwrap()),
                Some(("pico", _)) => (Model::Pico, 0),
                _ => (Model::YubiKey, id.parse().unwrap_or_default()),
            };
            Self { model, id: id.to_owned(), number, program: program.into() }
        });
        applets.collect()
    }

    fn has_touch(&self) -> bool {
        !matches!(self.model, Model::Pico | Model::YubiKey)
    }

    fn has_sha512(&self) -> bool {
        !matches!(self.model, Model::Nitrokey | Model::YubiKey)
    }

    fn key(&self) -> Key {
        Key::with_applet(self.model, self.number, &self.program)
    }

    fn fixture(&self) -> HardwareFixture {
        HardwareFixture::with_key(self.key())
    }

    fn id(&self) -> KeyId {
        KeyId::parse(&self.id).unwrap()
    }

    /// All parts of a response, and the status word.
    fn ask(&self, key: &mut Key, apdu: &[u8]) -> (Vec<u8>, u16) {
        let more = if matches!(self.model, Model::YubiKey | Model::CanoKey) { 0xA5 } else { 0xC0 };
        let mut whole = Vec::new();
        let mut answer = key.transmit(apdu);
        loop {
            let status = u16::from_be_bytes(answer.split_off(answer.len() - 2).try_into().unwrap());
            whole.append(&mut answer);
            if status & 0xFF00 != 0x6100 {
                return (whole, status);
            }
            answer = key.transmit(&[0x00, more, 0x00, 0x00, 0x00]);
        }
    }

    fn select(&self, key: &mut Key) {
        key.power_off();
        let select = [0x00, 0xA4, 0x04, 0x00, 0x07, 0xA0, 0x00, 0x00, 0x05, 0x27, 0x21, 0x01, 0x00];
        assert_eq!(self.ask(key, &select).1, 0x9000);
    }

    fn put(&self, key: &mut Key, name: &str) -> u16 {
        self.select(key);
        let length = u8::try_from(name.len()).unwrap();
        let data = [&[0x71, length][..], name.as_bytes(), &[0x73, 16, 0x21, 6], &[7; 14]].concat();
        let put = [&[0x00, 0x01, 0x00, 0x00, u8::try_from(data.len()).unwrap()][..], &data].concat();
        self.ask(key, &put).1
    }

    fn names(&self, fixture: &HardwareFixture) -> Vec<String> {
        fixture.reader().with_key(|key| {
            self.select(key);
            let (list, status) = self.ask(key, &[0x00, 0xA1, 0x00, 0x00, 0x00]);
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
    fn code(&self, fixture: &HardwareFixture, challenge: u64, digits: u32) -> String {
        fixture.reader().with_key(|key| {
            self.select(key);
            let data = [&[0x71, 8][..], NAME.as_bytes(), &[0x74, 8], &challenge.to_be_bytes()].concat();
            let head = [0x00, 0xA2, 0x00, 0x01, u8::try_from(data.len()).unwrap()];
            let (answer, status) = self.ask(key, &[&head[..], &data, &[0x00]].concat());
            assert_eq!(status, 0x9000);
            let number = u32::from_be_bytes(answer[3..7].try_into().unwrap()) % 10_u32.pow(digits);
            format!("{number:0width$}", width = usize::try_from(digits).unwrap())
        })
    }

    fn unsupported(&self, error: &Error) {
        assert!(matches!(error, Error::Unsupported(_)), "{}: {error}", self.id);
    }
}

fn token(code: &str) -> TokenInput {
    TokenInput::from_text(code).unwrap()
}

fn name(text: &str) -> AccountName {
    AccountName::from_bytes(text.as_bytes()).unwrap()
}

#[test]
fn a_key_is_named_by_its_maker_and_number() {
    for applet in Own::all() {
        let [key] = applet.fixture().keys().try_into().expect("one key");
        assert_eq!(key.key, Some(applet.id()));
        assert!(key.problem.is_none(), "{}", applet.id);
    }
}

#[test]
fn ten_steps_of_every_length_and_hash_are_right_or_refused() {
    for applet in Own::all() {
        for algorithm in [Algorithm::Sha1, Algorithm::Sha256, Algorithm::Sha512] {
            for digits in 6..=8_u32 {
                let fixture = applet.fixture();
                let profile = Profile { algorithm, digits: Digits::new(digits.into()).unwrap(), ..totp() };
                let made = fixture.provision(by_device(profile));
                if algorithm == Algorithm::Sha512 && !applet.has_sha512() {
                    applet.unsupported(&made.unwrap_err());
                    assert!(applet.names(&fixture).is_empty() && fixture.secrets().is_empty());
                    continue;
                }
                assert_eq!(made.unwrap().status, "active", "{} {algorithm:?} {digits}", applet.id);
                let now = fixture.context().now;
                for step in 1..=10 {
                    let later = after(now, step * 30_000);
                    let right = applet.code(&fixture, u64::try_from(later.unix_seconds()).unwrap() / 30, digits);
                    let verify = Call::Verify(UserRef::Id(fixture.user), Proof::Token(token(&right)));
                    assert!(fixture.ask_at(later, verify).is_ok(), "{} {algorithm:?} {digits} {step}", applet.id);
                }
            }
        }
    }
}

#[test]
fn counters_go_on_where_the_key_is() {
    for applet in Own::all() {
        for touch in [false, true].into_iter().filter(|touch| !touch || applet.has_touch()) {
            let fixture = applet.fixture();
            let secret = fixture.provision(ProvisionOrder { touch, ..order(hotp()) }).unwrap();
            let first = FirstCode::Token(token(&applet.code(&fixture, 0, 6)));
            let user = UserRef::Id(fixture.user);
            assert!(fixture.ask(Call::Enroll(user, SecretRef::Id(secret.id), first, SessionAfter::Ended)).is_ok());
            for _ in 0..3 {
                assert!(fixture.verify(&applet.code(&fixture, 0, 6)).is_ok(), "{} touch {touch}", applet.id);
            }
        }
    }
}

#[test]
fn a_touch_is_required_where_the_key_enforces_it_and_refused_elsewhere() {
    for applet in Own::all() {
        let fixture = applet.fixture();
        let made = fixture.provision(ProvisionOrder { touch: true, ..by_device(totp()) });
        if !applet.has_touch() {
            applet.unsupported(&made.unwrap_err());
            assert!(applet.names(&fixture).is_empty() && fixture.secrets().is_empty());
            continue;
        }
        assert_eq!(made.unwrap().status, "active");
        let Ok(Reply::Accounts(accounts)) = fixture.ask(Call::DeviceAccounts(applet.id())) else { panic!("no list") };
        assert_eq!((accounts[0].touch, accounts[0].gives), (Some(true), Gives::Totp(Algorithm::Sha1)));

        let mut untouched = applet.key();
        untouched.touch = Touch::Refused;
        let fixture = HardwareFixture::with_key(untouched);
        let refusal = fixture.provision(ProvisionOrder { touch: true, ..by_device(totp()) }).unwrap_err();
        assert!(matches!(refusal, Error::TouchTimeout), "{}: {refusal}", applet.id);
        assert!(applet.names(&fixture).is_empty() && fixture.secrets().is_empty());
    }
}

#[test]
fn accounts_are_listed_renamed_replaced_and_deleted() {
    for applet in Own::all() {
        let fixture = applet.fixture();
        let secret = fixture.provision(by_device(totp())).unwrap();
        let renamed = fixture.ask(Call::RenameAccount(applet.id(), name(NAME), name("mfad:annette")));
        if applet.model == Model::YubiKey {
            applet.unsupported(&renamed.err().expect("a refusal"));
        } else {
            assert!(renamed.is_ok(), "{}: {:?}", applet.id, renamed.err());
            assert_eq!(applet.names(&fixture), ["mfad:annette"]);
        }
        let deleted = fixture.ask(Call::DeleteSecret(UserRef::Id(fixture.user), SecretRef::Id(secret.id), None));
        assert!(matches!(deleted, Ok(Reply::Done)), "{}: {:?}", applet.id, deleted.err());
        assert!(applet.names(&fixture).is_empty());

        fixture.reader().with_key(|key| assert_eq!(applet.put(key, NAME), 0x9000));
        assert!(matches!(fixture.provision(by_device(totp())), Err(Error::AccountTaken)));
        let replaced = fixture.provision(ProvisionOrder { replace: true, ..by_device(totp()) });
        assert_eq!(replaced.unwrap().status, "active");
        assert_eq!(applet.names(&fixture), [NAME]);
    }
}

#[test]
fn a_full_key_says_so_and_lists_of_every_length_are_read_to_their_end() {
    for applet in Own::all() {
        let fixture = applet.fixture();
        let put = |name: &str| fixture.reader().with_key(|key| applet.put(key, name)) == 0x9000;
        let (mut count, mut bytes) = (0, 0);
        // A key may have room for so many bytes: the last names are as long as the one that the daemon writes.
        for number in 0..MOST_ACCOUNTS {
            let name = format!("an issuer:{}{number:03}", "a".repeat(number % 40));
            // With pico-fido it is the list that ends.
            bytes += name.len() + 9;
            if applet.model == Model::Pico && bytes > 4095 || !put(&name) && !put(&format!("last:{number:03}")) {
                break;
            }
            count += 1;
            match fixture.ask(Call::DeviceAccounts(applet.id())) {
                Ok(Reply::Accounts(listed)) => assert_eq!(listed.len(), count, "{}", applet.id),
                other => panic!("{}: no list of {count}: {:?}", applet.id, other.err()),
            }
        }
        assert!(applet.model != Model::Nitrokey || count == 50, "{count}");
        let refusal = fixture.provision(by_device(totp())).unwrap_err();
        assert!(matches!(refusal, Error::DeviceFull), "{}: {refusal}", applet.id);
        assert_eq!((applet.names(&fixture).len(), fixture.secrets().len()), (count, 0));
        assert!(fixture.service.unsettled_slots().is_empty());
    }
}

#[test]
fn a_password_and_a_reset_are_right_or_refused() {
    for applet in Own::all() {
        let fixture = applet.fixture();
        let set = |change, current: Option<&str>| {
            let current = current.map(|text| Sensitive::new(text.to_owned()));
            fixture.ask(Call::ChangeDevicePassword { key: applet.id(), change, current })
        };
        let new = || PasswordChange::Set(Sensitive::new("hunter2 hunter2".to_owned()));
        let protected = set(new(), None);
        if applet.model == Model::Nitrokey {
            applet.unsupported(&protected.err().expect("a refusal"));
        } else {
            assert!(protected.is_ok(), "{}: {:?}", applet.id, protected.err());
            assert_eq!(fixture.keys()[0].oath.as_ref().map(|applet| applet.has_password), Some(true));
            assert_eq!(fixture.provision(by_device(totp())).unwrap().status, "active");
            let wrong = set(PasswordChange::Remove, Some("hunter3 hunter3"));
            assert!(matches!(wrong, Err(Error::WrongDevicePassword)), "{}: {:?}", applet.id, wrong.err());
            let removed = set(PasswordChange::Remove, None);
            assert!(removed.is_ok(), "{}: {:?}", applet.id, removed.err());
        }
        fixture.ask(Call::ReturnDevice(applet.id())).unwrap();
        let reset = fixture.ask(Call::ResetDevice(applet.id()));
        if applet.model == Model::CanoKey {
            applet.unsupported(&reset.err().expect("a refusal"));
        } else {
            assert!(reset.is_ok(), "{}: {:?}", applet.id, reset.err());
            assert!(applet.names(&fixture).is_empty());
        }
    }
}

#[test]
fn hw_1_a_pull_at_any_apdu_leaves_nothing_that_a_return_does_not_remove() {
    for applet in Own::all() {
        for touch in [false, true].into_iter().filter(|touch| !touch || applet.has_touch()) {
            nothing_is_left_after_a_pull(|| applet.key(), applet.id(), touch, |fixture| applet.names(fixture));
        }
    }
}

#[test]
fn a_person_uses_the_key_behind_a_real_pcscd() {
    let test = "a_person_uses_the_key_behind_a_real_pcscd";
    let Some(applet) = Own::all().into_iter().find(|applet| applet.id == NITROKEY) else { return };
    if !can_have_readers(test) {
        return;
    }
    let bench = Bench::new(1, "");
    bench.insert(0, applet.key());
    let [device] = bench.devices().try_into().expect("one key");
    assert_eq!(
        (&device["key"], &device["serial"], &device["model"]),
        (&json!(NITROKEY), &json!(null), &json!("Nitrokey"))
    );
    assert_eq!((&device["transport"], &device["problem"]), (&json!("usb"), &json!(null)));

    let user = bench.host.nobody("ann");
    let made = bench.provisioned(&user, &json!({"kind": "hotp", "touch": true}));
    assert_eq!((&made["status"], &made["device"]["key"]), (&json!("active"), &json!(NITROKEY)));
    let verified = bench.host.verify(&user, &json!({"device": true}));
    assert_eq!(verified.status, 200, "{}", verified.text());

    // Nobody touches the key, so the account stays; whoever hands the key back touches it.
    bench.reader().with_key(|key| key.touch = Touch::Refused);
    let path = format!("/users/{user}/secrets/{}", text(&made["uid"]));
    assert_eq!(bench.host.ask(&Request::new("DELETE", path).reason()).status, 202);
    bench.reader().with_key(|key| key.touch = Touch::Given);
    bench.host.ask(&Request::new("POST", format!("/devices/{NITROKEY}/return")).reason()).ok();
    let accounts = bench.host.ask(&Request::get(format!("/devices/{NITROKEY}/oath/accounts"))).ok();
    assert_eq!(accounts["accounts"], json!([]));
}
