//! Responses of a security key. The first byte of an input selects the requests. The rest are the responses, each
//! behind a length of two bytes. They pass through CTAP2, the stand-in for a browser, and the checks of the relying
//! party.

#![no_main]

use std::sync::LazyLock;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use mfad_core::model::Sensitive;
use mfad_core::stopwatch::Stopwatch;
use mfad_fuzz::ScriptedKey;
use mfad_hardware::ctap::{Authenticator, CtapFault, Permission, Verified};
use mfad_hardware::device::Wait;
use mfad_service::fido::{AuthenticationAnswer, KeyRecord, Location, RegistrationAnswer, RelyingParty, Verification};
use url::Url;

const ID: &str = "example.org";
const HASH: [u8; 32] = [9; 32];
/// Longer than any script takes.
const PATIENCE: Duration = Duration::from_secs(60);
const NEVER: &(dyn Fn() -> bool + Sync) = &|| false;

/// Bits of the first byte. The two lowest bits select the user verification.
const WITH_PIN: u8 = 0x04;
const WITH_KNOWN: u8 = 0x08;
/// Single requests instead of a ceremony.
const BARE: u8 = 0x80;

static PARTY: LazyLock<RelyingParty> = LazyLock::new(|| {
    let origin = Url::parse("https://example.org").expect("an origin");
    RelyingParty::new(ID, &[origin], "Example").expect("a relying party")
});

fuzz_target!(
    // A panic in the WebAuthn library counts as a refusal. The fuzzer's own hook would end the run first.
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
    // If only one credential may answer, a key may leave out its id.
    key.assert(ID, &HASH, &ids[..1], Verified::No).map(drop)
}

/// Returns the record if the relying party accepts the new credential.
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

/// Returns the record after a round trip through its stored form.
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
