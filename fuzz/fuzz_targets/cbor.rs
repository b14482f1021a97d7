//! What a security key answers. The first byte of an input says what it is asked, the rest are its answers, each behind a
//! length of two bytes. They go the whole way: CTAP2, the part of a browser, and the judgement of the relying party.

#![no_main]

use std::sync::LazyLock;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use mfad_hardware::ctap::{Authenticator, CtapFault, Permission, Verified};
use mfad_hardware::device::Wait;
use mfad_service::fido::{AuthenticationAnswer, KeyRecord, Location, RegistrationAnswer, RelyingParty, Verification};
use mfad_core::model::Sensitive;
use mfad_core::stopwatch::Stopwatch;
use mfad_fuzz::ScriptedKey;
use url::Url;

const ID: &str = "example.org";
const HASH: [u8; 32] = [9; 32];
/// More than the script takes.
const PATIENCE: Duration = Duration::from_secs(60);
const NEVER: &(dyn Fn() -> bool + Sync) = &|| false;

/// Bits of the first byte, above two for the verification of the user.
const WITH_PIN: u8 = 0x04;
const WITH_KNOWN: u8 = 0x08;
/// Not a ceremony, but each question by itself.
const BARE: u8 = 0x80;

static PARTY: LazyLock<RelyingParty> = LazyLock::new(|| {
    let origin = Url::parse("https://example.org").expect("an origin");
    RelyingParty::new(ID, &[origin], "Example").expect("a relying party")
});

fuzz_target!(
    // A panic of the library that judges answers is caught and refused; the hook of the fuzzer would end the run before.
    init: std::panic::set_hook(Box::new(|panic| eprintln!("{panic}"))),
    |data: &[u8]| {
        let Some((&how, script)) = data.split_first() else { return };
        let mut key = ScriptedKey::new(script);
        let pin = (how & WITH_PIN != 0).then(|| Sensitive::new("1234".to_owned()));
        let done = if how & BARE != 0 {
            question(&mut key, pin.as_ref())
        } else {
            register(&mut key, pin.as_ref(), how).and_then(|record| match record {
                Some(record) => authenticate(&mut key, pin.as_ref(), &record),
                None => Ok(()),
            })
        };
        if let Err(fault) = done {
            assert!(!fault.to_string().is_empty());
        }
    }
);

fn wait() -> Wait<'static> {
    Wait { time: Stopwatch::start(PATIENCE), is_pointless: NEVER }
}

fn meet<'a>(key: &'a mut ScriptedKey<'_>) -> Result<Authenticator<'a>, CtapFault> {
    let authenticator = Authenticator::meet(key, wait())?;
    assert!(authenticator.most_credentials() > 0);
    let has_one = authenticator.has_pin() == Some(true) || authenticator.has_built_in_verification() == Some(true);
    assert_eq!(authenticator.can_verify(), has_one);
    let _ = (authenticator.versions(), authenticator.aaguid());
    Ok(authenticator)
}

fn question(key: &mut ScriptedKey<'_>, pin: Option<&Sensitive<String>>) -> Result<(), CtapFault> {
    let ids = [vec![1u8; 32], vec![2u8; 64]];
    let mut key = meet(key)?;
    key.select()?;
    key.probe(ID, &HASH, &ids[0])?;
    let token = key.verify_user(pin, ID, Permission::Assert)?;
    let user = token.as_ref().map_or(Verified::ByItself, Verified::ByToken);
    key.assert(ID, &HASH, &ids, user)?;
    // Where only one may answer, a key may leave out which one did.
    key.assert(ID, &HASH, &ids[..1], Verified::No).map(drop)
}

/// A record, if the relying party took what the key made.
fn register(
    key: &mut ScriptedKey<'_>,
    pin: Option<&Sensitive<String>>,
    how: u8,
) -> Result<Option<KeyRecord>, CtapFault> {
    let verification = match how & 0x03 {
        0x00 => Verification::Preferred,
        0x01 => Verification::Required,
        _ => Verification::Discouraged,
    };
    let known = if how & WITH_KNOWN != 0 { vec![vec![1; 32], vec![2; 64]] } else { Vec::new() };
    let asked = PARTY.start_registration(&[3; 16], "anna", known, verification);
    let (options, registration) = asked.expect("options for anybody");
    let answer = PARTY.client(pin).create(&mut meet(key)?, &options)?;
    let answer = RegistrationAnswer::read(&answer).expect("a client writes every member");
    let Ok(record) = PARTY.finish_registration(&registration, &answer) else { return Ok(None) };
    assert!((1..=1023).contains(&record.id().len()));
    let back = stored(&record);
    assert_eq!((back.id(), back.counter()), (record.id(), record.counter()));
    Ok(Some(record))
}

/// The record as it comes back from the store.
fn stored(record: &KeyRecord) -> KeyRecord {
    let bytes = record.to_bytes().expect("a record can be stored");
    KeyRecord::from_bytes(&bytes, record.counter()).expect("what was stored can be read")
}

fn authenticate(
    key: &mut ScriptedKey<'_>,
    pin: Option<&Sensitive<String>>,
    record: &KeyRecord,
) -> Result<(), CtapFault> {
    let mut key = meet(key)?;
    let place = PARTY.client(pin).locate(&mut key, &[stored(record)])?;
    assert!(matches!(place, Location::Here(0) | Location::Perhaps | Location::Elsewhere));
    let asked = PARTY.start_authentication(&[3; 16], vec![stored(record)]);
    let (options, authentication) = asked.expect("options for a record");
    let answer = PARTY.client(pin).get(&mut key, &options)?;
    let answer = AuthenticationAnswer::read(&answer).expect("a client writes every member");
    if let Ok(assertion) = PARTY.finish_authentication(&authentication, &answer) {
        assert_eq!(assertion.credential, record.id());
    }
    Ok(())
}
