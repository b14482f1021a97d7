//! A fault at every APDU boundary (HW-1, HW-6, HW-10, R17): whatever goes wrong wherever, there is no active
//! factor that the key cannot answer, and after the next contact no account on the key that nobody owns.

use mfad_core::model::{Algorithm, OtpKind, Period};
use mfad_service::{Activation, ProvisionOrder};

use crate::card::{Account, Fault, Key, SHA1, TOTP};
use mfad_testkit::fixture::{HardwareFixture, order, profile, totp};

/// An account that somebody else put onto the key, and that must stay.
fn foreign() -> Account {
    Account {
        name: b"other:ann".to_vec(),
        kind: TOTP,
        algorithm: SHA1,
        digits: 6,
        key: vec![9; 20],
        touch: false,
        counter: 0,
    }
}

struct Scenario {
    name: &'static str,
    order: fn() -> ProvisionOrder,
    /// An account of the very name is on the key before.
    replaces: bool,
}

const SCENARIOS: [Scenario; 6] = [
    Scenario { name: "totp", order: || order(totp()), replaces: false },
    Scenario {
        name: "totp by device",
        order: || ProvisionOrder { activation: Activation::ByDevice, ..order(totp()) },
        replaces: false,
    },
    Scenario {
        name: "totp with touch by device",
        order: || ProvisionOrder { touch: true, activation: Activation::ByDevice, ..order(totp()) },
        replaces: false,
    },
    Scenario {
        name: "hotp by device",
        order: || ProvisionOrder {
            activation: Activation::ByDevice,
            ..order(profile(Algorithm::Sha256, 8, OtpKind::Hotp))
        },
        replaces: false,
    },
    Scenario {
        name: "totp replaced",
        order: || ProvisionOrder {
            replace: true,
            ..order(profile(Algorithm::Sha512, 7, OtpKind::Totp(Period::new(60).unwrap())))
        },
        replaces: true,
    },
    Scenario {
        name: "totp with a random password",
        order: || ProvisionOrder { protect: true, ..order(totp()) },
        replaces: false,
    },
];

const FAULTS: [&str; 7] = ["gone", "lost answer", "wrong status", "no room", "lie", "garbage", "swap"];

fn fault(name: &str) -> Fault {
    match name {
        "gone" => Fault::Gone,
        "lost answer" => Fault::LostAnswer,
        "wrong status" => Fault::Status(0x6f00),
        "no room" => Fault::Status(0x6a84),
        "lie" => Fault::Lie,
        "garbage" => Fault::Garbage,
        "swap" => Fault::Swap(Box::new(Key::new(99))),
        other => panic!("{other} is no fault"),
    }
}

impl Scenario {
    fn key(&self) -> Key {
        let key = Key::new(7).with_account(foreign());
        if !self.replaces {
            return key;
        }
        key.with_account(Account { name: b"60/mfad:ann".to_vec(), ..foreign() })
    }

    fn fixture(&self) -> HardwareFixture {
        HardwareFixture::with_key(self.key())
    }

    /// How many APDUs it takes when nothing goes wrong.
    fn boundaries(&self) -> usize {
        let fixture = self.fixture();
        let before = fixture.reader().apdus();
        fixture.provision((self.order)()).unwrap();
        fixture.reader().apdus() - before
    }

    /// One fault at one APDU; yields whether the call succeeded all the same.
    fn suffer(&self, name: &str, at: usize) -> bool {
        let here = format!("{}: {name} at APDU {at}", self.name);
        let fixture = self.fixture();
        fixture.reader().plan(at, fault(name));

        let answer = fixture.provision((self.order)());
        fixture.reader().clear();
        settle(&fixture);

        let factors = fixture.secrets();
        match &answer {
            Ok(secret) => assert!(factors.iter().any(|factor| factor.id == secret.id), "{here}: a factor vanished"),
            Err(_) => assert!(factors.is_empty(), "{here}: refused, and a factor is left"),
        }
        for factor in &factors {
            if factor.status == "active" {
                fixture.verify_by_key().unwrap_or_else(|why| {
                    // The step of the activation is used up; the next one is as good a proof.
                    let later = fixture.clock.now().unix_seconds() as u64 + 30;
                    let name = factor.device.as_ref().expect("a key").name.to_string();
                    let code = fixture.reader().with_key(|key| key.code_at(&name, later));
                    fixture.verify(&code).unwrap_or_else(|_| panic!("{here}: the key cannot answer: {why}"));
                });
            }
        }
        let names = fixture.names_on_key();
        assert!(names.contains(&"other:ann".to_owned()), "{here}: somebody else's account is gone");
        let ours = names.iter().filter(|name| name.ends_with("mfad:ann")).count();
        let replaced = usize::from(
            self.replaces
                && fixture
                    .reader()
                    .with_key(|key| key.account("60/mfad:ann").is_some_and(|account| account.key == vec![9; 20])),
        );
        assert_eq!(ours - replaced, factors.len(), "{here}: {names:?} for {} factors", factors.len());
        answer.is_ok()
    }
}

/// The key that is meant lies in the reader again, and the daemon has met it.
fn settle(fixture: &HardwareFixture) {
    if fixture.reader().pulled() {
        fixture.reader().reinsert();
    }
    fixture.attend();
}

#[test]
fn hw_10_a_fault_at_any_apdu_leaves_no_orphan_and_no_factor_without_its_key() {
    let (mut tried, mut survived) = (0, 0);
    for scenario in SCENARIOS {
        let boundaries = scenario.boundaries();
        for name in FAULTS {
            for at in 0..boundaries {
                tried += 1;
                survived += usize::from(scenario.suffer(name, at));
            }
        }
    }
    println!("faults: {tried} injected, {survived} without effect, 0 orphans, 0 factors without a key (goal 0, 0)");
    assert!(tried > 500, "only {tried} faults were tried");
}

#[test]
fn hw_10_two_faults_in_a_row_are_settled_at_the_contact_after() {
    let scenario = &SCENARIOS[0];
    let boundaries = scenario.boundaries();
    for at in 0..boundaries {
        for second in 0..6 {
            let fixture = scenario.fixture();
            fixture.reader().plan(at, Fault::LostAnswer);
            let _ = fixture.provision(order(totp()));
            fixture.reader().clear();

            fixture.reader().plan(second, Fault::LostAnswer);
            settle(&fixture);
            fixture.reader().clear();
            settle(&fixture);

            let ours = fixture.names_on_key().iter().filter(|name| *name == "mfad:ann").count();
            assert_eq!(ours, fixture.secrets().len(), "faults at {at} and {second}");
        }
    }
}
