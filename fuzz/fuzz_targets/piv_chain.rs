//! The papers of hardware keys. The first byte of an input says what the rest is: `P` roots in PEM; `D` two certificates in
//! DER, the first behind a length of two bytes; `S` the text of a certificate, which then is signed by an issuer that is
//! trusted. No paper counts for another key or at another time, and none without the key that it names.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use mfad_core::model::{Firmware, Serial};
use mfad_hardware::piv::{UnverifiedAttestation, AttestationError, CheckError, AttestationChain, Roots};
use p256::ecdsa::signature::Signer;
use p256::ecdsa::{DerSignature, SigningKey};

/// A root, the issuer under it, and papers that are in order, as behind a `D`. `seeds.py` makes them.
const ROOT: &[u8] = include_bytes!("../data/piv_root.pem");
const ISSUER: &[u8] = include_bytes!("../data/piv_issuer.der");
const GENUINE: &[u8] = include_bytes!("../data/piv_papers.bin");

/// 2024, and the year 10000, which no certificate reaches.
const NOW: i64 = 1_704_067_200;
const NEVER: i64 = 253_402_300_800;
const SERIAL: u32 = 12_345_678;
const FIRMWARE: Firmware = Firmware(5, 7, 1);
/// ecdsa-with-SHA256 (RFC 5758 section 3.2).
const ALGORITHM: [u8; 12] = [0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];

static ROOTS: LazyLock<Roots> = LazyLock::new(|| {
    let roots = Roots::read([ROOT]).expect("a root");
    let chain = papers_of(GENUINE).expect("two certificates");
    assert!(check_at(&roots, &chain, SERIAL, NOW).is_ok(), "papers that are in order count");
    roots
});

fuzz_target!(|data: &[u8]| {
    match data.split_first() {
        Some((b'P', pem)) => check_roots(pem),
        Some((b'D', ders)) => {
            if let Some(chain) = papers_of(ders) {
                check(&chain, ders);
            }
        }
        Some((b'S', text)) => check(&AttestationChain { statement: signed(text), issuer: ISSUER.to_vec() }, text),
        _ => {}
    }
});

/// The first behind its length, and what is left.
fn papers_of(ders: &[u8]) -> Option<AttestationChain> {
    let (length, rest) = ders.split_first_chunk::<2>()?;
    let (statement, issuer) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
    Some(AttestationChain { statement: statement.to_vec(), issuer: issuer.to_vec() })
}

fn check_at(roots: &Roots, chain: &AttestationChain, serial: u32, now: i64) -> Result<UnverifiedAttestation, CheckError> {
    roots.check(chain, Serial::new(serial).expect("a number"), Some(FIRMWARE), now)
}

fn check(chain: &AttestationChain, other: &[u8]) {
    let Ok(claim) = check_at(&ROOTS, attestation_chain, SERIAL, NOW) else { return };
    let another = check_at(&ROOTS, attestation_chain, SERIAL + 1, NOW).expect_err("the number of another key");
    assert_eq!(another, CheckError::NotGenuine(AttestationError::OtherKey));
    for time in [i64::MIN, -1, 0, NEVER, i64::MAX] {
        let late = check_at(&ROOTS, attestation_chain, SERIAL, time).expect_err("a time at which the issuer is not valid");
        assert_eq!(late, CheckError::NotGenuine(AttestationError::NotValidNow));
    }
    let challenge = claim.challenge(&[7; 32]);
    let absent = claim.confirm(&challenge, other).expect_err("a signature that nobody made");
    assert_eq!(absent, CheckError::NotGenuine(AttestationError::NotPresent));
}

/// Whoever vouches for papers does not change what they say.
fn check_roots(pem: &[u8]) {
    let Ok(roots) = Roots::read([pem]) else { return };
    let chain = papers_of(GENUINE).expect("two certificates");
    if let Ok(claim) = check_at(&roots, &chain, SERIAL, NOW) {
        assert!(!claim.needs_touch());
    }
}

/// A certificate with that text, signed by the issuer.
fn signed(text: &[u8]) -> Vec<u8> {
    let key = SigningKey::from_slice(&[7; 32]).expect("a key");
    let signature: DerSignature = key.sign(text);
    let bits = [&[0], signature.as_bytes()].concat();
    element(0x30, &[text, &ALGORITHM, &element(0x03, &bits)].concat())
}

/// Tag, shortest length (X.690 section 10.1) and value.
fn element(tag: u8, value: &[u8]) -> Vec<u8> {
    let length = value.len().to_be_bytes();
    let length = &length[length.iter().take_while(|byte| **byte == 0).count().min(length.len() - 1)..];
    let long = if value.len() < 0x80 { Vec::new() } else { vec![0x80 | length.len() as u8] };
    [&[tag], long.as_slice(), length, value].concat()
}
