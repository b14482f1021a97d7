//! Genuine keys: what proves one, and everything that must not. The virtual maker's certificates and the papers of
//! its keys are read by Yubico's `ykman` and checked by the Python library `cryptography` as well.

use data_encoding::HEXLOWER;
use mfad_hardware::piv::{AttestationError, Roots, Slot};
use mfad_service::error::Error;
use mfad_service::{Attestation, Call, Reply};
use serde_json::json;

use super::bench::{Bench, can_have_readers};
use crate::card::{Applet, Attested, Fault, Key, Maker, Touch};
use crate::interop::python;
use crate::people::text;
use crate::wire::Request;
use mfad_testkit::fixture::{HardwareFixture, order, totp};

fn attestation(makers: &[&Maker]) -> Attestation {
    let pems: Vec<String> = makers.iter().map(|maker| maker.pem()).collect();
    let roots = Roots::read(pems.iter().map(String::as_bytes)).expect("roots");
    Attestation { roots: Some(roots), is_required: true, ..Attestation::default() }
}

fn id(number: u32) -> mfad_core::model::KeyId {
    mfad_core::model::Serial::new(number).unwrap().into()
}

/// What a demand for genuine keys says of this key, when it is to be programmed and when it is asked.
fn verdict(maker: &Maker, key: Key) -> Result<(), Error> {
    let number = key.serial();
    let fixture = HardwareFixture::under(attestation(&[maker]), key);
    let provisioned = fixture.provision(order(totp())).map(drop);
    let asked = fixture.ask(Call::AttestDevice(id(number), None)).map(drop);
    let left = fixture.names_on_key().len();
    match (&provisioned, &asked) {
        (Ok(()), Ok(())) => assert_eq!(left, 1),
        (Err(one), Err(other)) => {
            assert_eq!(one.to_string(), other.to_string());
            assert_eq!(left, 0, "nothing is written to a key that is refused");
            assert!(fixture.secrets().is_empty(), "and nothing is pending");
        }
        _ => panic!("two minds about a key: {provisioned:?}, {asked:?}"),
    }
    asked
}

#[track_caller]
fn is_distrusted(verdict: &Result<(), Error>, why: AttestationError) {
    assert!(matches!(verdict, Err(Error::NotGenuine(found)) if *found == why), "{why:?}: {verdict:?}");
}

#[track_caller]
fn cannot_be_asked(verdict: &Result<(), Error>, says: &str) {
    assert!(matches!(verdict, Err(Error::Unsupported(found)) if found.contains(says)), "{says:?}: {verdict:?}");
}

#[test]
fn a_key_with_papers_of_its_maker_is_genuine() {
    let (direct, line) = (Maker::new(), Maker::with_line());
    for maker in [&direct, &line] {
        for how in [
            Attested::default(),
            Attested { is_p384: true, ..Attested::default() },
            Attested { touch_policy: 2, ..Attested::default() },
        ] {
            verdict(maker, Key::new(7).attested(maker, &how)).unwrap();
        }
    }
    // A number whose first bit is set, which some keys write as if it were negative.
    verdict(&direct, Key::new(0xf000_0001).attested(&direct, &Attested::default())).unwrap();
}

#[test]
fn everything_that_is_wrong_with_papers_is_found() {
    let maker = Maker::new();
    let judged = |how: &Attested| verdict(&maker, Key::new(7).attested(&maker, how));
    let usual = Attested::default;

    is_distrusted(&judged(&Attested { is_copied: true, ..usual() }), AttestationError::NotPresent);
    is_distrusted(&judged(&Attested { is_copied: true, is_p384: true, ..usual() }), AttestationError::NotPresent);
    is_distrusted(&judged(&Attested { serial: Some(8), ..usual() }), AttestationError::OtherKey);
    is_distrusted(&judged(&Attested { firmware: Some((5, 7, 1)), ..usual() }), AttestationError::OtherKey);
    is_distrusted(&judged(&Attested { is_authority: false, ..usual() }), AttestationError::NotAllowed);
    is_distrusted(&judged(&Attested { has_demand: true, ..usual() }), AttestationError::NotAllowed);
    is_distrusted(&judged(&Attested { until: "20200101000000Z", ..usual() }), AttestationError::NotValidNow);
    // One who calls himself like the maker, and one whom nobody knows.
    let namesake = Maker::new();
    is_distrusted(&verdict(&maker, Key::new(7).attested(&namesake, &usual())), AttestationError::WrongSignature);
    is_distrusted(&verdict(&maker, Key::new(7).attested(&Maker::with_line(), &usual())), AttestationError::UnknownRoot);
    let both = HardwareFixture::under(attestation(&[&maker, &namesake]), Key::new(7).attested(&namesake, &usual()));
    both.provision(order(totp())).unwrap();

    cannot_be_asked(&judged(&Attested { pin_policy: 2, ..usual() }), "PIN policy NEVER");
    cannot_be_asked(&judged(&Attested { slot: 0x9A, ..usual() }), "no key that was made on the key");
    cannot_be_asked(&judged(&Attested { tells_serial: false, ..usual() }), "firmware 5.0");
    cannot_be_asked(&verdict(&maker, Key::new(7)), "no key that was made on the key");
    cannot_be_asked(&verdict(&maker, Key::new(7).attested(&maker, &usual()).without(Applet::Piv)), "PIV application");
}

#[test]
fn a_key_that_nobody_touches_is_not_genuine_for_that() {
    let maker = Maker::new();
    let mut key = Key::new(7).attested(&maker, &Attested { touch_policy: 2, ..Attested::default() });
    key.touch = Touch::Refused;

    let refusal = verdict(&maker, key).unwrap_err();

    assert!(matches!(refusal, Error::TouchTimeout), "{refusal}");
}

#[test]
fn hw_6_a_fault_at_any_apdu_of_an_attestation_is_a_clean_refusal() {
    let maker = Maker::new();
    let (mut faults, mut passed) = (0, 0);
    for at in 1..40 {
        let faults_at = [Fault::Gone, Fault::Status(0x6f00), Fault::Status(0x6982), Fault::Status(0x6110)];
        for (number, fault) in faults_at.into_iter().enumerate() {
            let key = Key::new(7).attested(&maker, &Attested::default());
            let fixture = HardwareFixture::under(attestation(&[&maker]), key);
            fixture.reader().plan(at, fault);
            match fixture.ask(Call::AttestDevice(id(7), None)) {
                Ok(_) => passed += 1,
                Err(Error::Internal(cause)) => panic!("fault {number} at {at} is a defect: {cause}"),
                Err(_) => faults += 1,
            }
        }
    }
    println!("attestation: {faults} faults refused, {passed} beyond the last APDU");
    assert!(faults >= 30 && passed > 0, "{faults} {passed}");
}

#[test]
fn roots_that_are_none_are_refused() {
    let pem = Maker::with_line().pem();
    let (between, root) = pem.split_at(pem.find("-----END CERTIFICATE-----\n").unwrap() + 26);

    assert!(Roots::read([pem.as_bytes()]).is_ok());
    assert!(Roots::read([between.as_bytes(), root.as_bytes()]).is_ok());
    for refused in [between, "", "hello", &root[..200], &root.replace("MII", "MIJ")] {
        assert!(Roots::read([refused.as_bytes()]).is_err(), "{refused}");
    }
}

#[test]
fn a_slot_can_be_named() {
    let maker = Maker::new();
    let key = Key::new(7).attested(&maker, &Attested { slot: 0x9A, ..Attested::default() });
    let fixture = HardwareFixture::under(Attestation { is_required: false, ..attestation(&[&maker]) }, key);

    match fixture.ask(Call::AttestDevice(id(7), Slot::parse("9a"))) {
        Ok(Reply::Genuine(found)) => {
            assert_eq!((found.slot.to_string(), found.root.as_str()), ("9a".to_owned(), maker.name()))
        }
        _ => panic!("not genuine"),
    }
    fixture.provision(order(totp())).unwrap();
}

#[test]
fn ykman_shows_the_papers_and_cryptography_agrees_with_the_daemon() {
    if !can_have_readers("ykman_shows_the_papers_and_cryptography_agrees_with_the_daemon") {
        return;
    }
    let maker = Maker::new();
    let dir = tempfile::Builder::new().prefix("mfad-maker-").tempdir().unwrap();
    let roots = dir.path().join("maker.pem");
    std::fs::write(&roots, maker.pem()).unwrap();
    let devices = format!("[devices]\nattestationRoots = [{roots:?}]\nrequireAttestation = true\n");
    let bench = Bench::new(1, &devices);
    bench.insert(0, Key::new(7).attested(&maker, &Attested::default()));
    let user = bench.host.nobody("ann");

    let statement = bench.ykman_says(&["piv", "keys", "attest", "9e", "-"]);
    let issuer = bench.ykman_says(&["piv", "certificates", "export", "f9", "-"]);
    let program = "
import sys
from cryptography import x509
statement, issuer, root = (x509.load_pem_x509_certificate(a.encode()) for a in sys.argv[1:])
root.verify_directly_issued_by(root)
issuer.verify_directly_issued_by(root)
statement.verify_directly_issued_by(issuer)
oid = x509.ObjectIdentifier('1.3.6.1.4.1.41482.3.7')
print(statement.extensions.get_extension_for_oid(oid).value.value.hex())";
    let run = python().args(["-c", program, &statement, &issuer, &maker.pem()]).output().unwrap();
    let said = String::from_utf8_lossy(&run.stdout);
    assert_eq!(said.trim(), "020400000007", "{}", String::from_utf8_lossy(&run.stderr));

    let genuine = bench.host.ask(&Request::new("POST", "/devices/7/attest")).ok();
    let expected = json!({"serial": 7, "firmware": "5.4.3", "slot": "9e", "root": maker.name()});
    assert_eq!(genuine, expected);
    let secret = bench.provisioned(&user, &json!({}));
    assert!(crate::tokens::claims(&text(&secret["receipt"]))["vouchedBy"] == maker.name(), "{secret}");

    bench.pull(0);
    bench.insert(0, Key::new(8).attested(&maker, &Attested { is_copied: true, ..Attested::default() }));
    bench.host.ask(&Request::new("POST", "/devices/8/attest")).refused(409, "not-genuine");
    let other = bench.host.nobody("bob");
    let problem = bench.provision(&other, &json!({})).refused(409, "not-genuine");
    assert!(text(&problem["detail"]).contains("could not sign"), "{problem}");
    let audit = bench.audit();
    for (event, detail) in [("device.attest", "key 7 is genuine"), ("device.attest", "key 8: it could not sign")] {
        assert!(audit.iter().any(|(e, d)| e == event && d.contains(detail)), "{event} {detail}: {audit:?}");
    }
    println!("papers of 1 key read by ykman and checked by cryptography and the daemon alike");
}

/// The crate `yubikey` shares no code with the daemon or the virtual key, and is written from Yubico's documents.
#[test]
fn the_crate_yubikey_reads_of_a_key_what_the_daemon_says_of_it() {
    if !can_have_readers("the_crate_yubikey_reads_of_a_key_what_the_daemon_says_of_it") {
        return;
    }
    let maker = Maker::new();
    let dir = tempfile::Builder::new().prefix("mfad-maker-").tempdir().unwrap();
    let roots = dir.path().join("maker.pem");
    std::fs::write(&roots, maker.pem()).unwrap();
    let bench = Bench::new(1, &format!("[devices]\nattestationRoots = [{roots:?}]\n"));
    bench.insert(0, Key::new(3_000_000_007).attested(&maker, &Attested::default()));

    let facts = bench.yubikey_facts();
    let genuine = bench.host.ask(&Request::new("POST", "/devices/3000000007/attest")).ok();

    assert_eq!((&facts["serial"], &facts["firmware"]), (&genuine["serial"], &genuine["firmware"]));
    let statement = HEXLOWER.decode(text(&facts["statement"]).as_bytes()).unwrap();
    assert_eq!(statement[0], 0x30, "an X.509 certificate in DER");
    assert!(!text(&facts["issuer"]).is_empty() && !text(&facts["signature"]).is_empty(), "{facts}");
    let listed = bench.devices();
    assert_eq!((&listed[0]["serial"], &listed[0]["firmware"]), (&facts["serial"], &facts["firmware"]));
}
