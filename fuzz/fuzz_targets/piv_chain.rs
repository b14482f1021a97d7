//! Attestation chains of hardware keys. The first byte of an input says what the rest is: `P` roots in PEM; `D` two
//! certificates in DER, the first behind a length of two bytes; `S` the signed part of a certificate, which a trusted
//! issuer then signs. No chain is accepted for another hardware key or at another time, and none without a signature by
//! the attested key.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use mfad_core::model::{Firmware, Serial};
use mfad_hardware::piv::{AttestationChain, AttestationError, CheckError, Roots, UnverifiedAttestation};
use p256::ecdsa::signature::Signer;
use p256::ecdsa::{DerSignature, SigningKey};

/// A root, the issuer under it, and a valid chain in the form that follows a `D`. `seeds.py` makes them.
const ROOT: &[u8] = include_bytes!("../data/piv_root.pem");
const ISSUER: &[u8] = include_bytes!("../data/piv_issuer.der");
const GENUINE: &[u8] = include_bytes!("../data/piv_attestation.bin");

/// The years 2024 and 10000. No certificate is valid in the second one.
const NOW: i64 = 1_704_067_200;
const NEVER: i64 = 253_402_300_800;
const SERIAL: u32 = 12_345_678;
const FIRMWARE: Firmware = Firmware(5, 7, 1);
/// ecdsa-with-SHA256 (RFC 5758 section 3.2).
const ALGORITHM: [u8; 12] = [0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];

static ROOTS: LazyLock<Roots> = LazyLock::new(|| {
    let roots = Roots::read([ROOT]).expect("a root");
    let chain = chain_of(GENUINE).expect("two certificates");
    assert!(check_at(&roots, &chain, SERIAL, NOW).is_ok(), "a valid chain is accepted");
    roots
});

fuzz_target!(|data: &[u8]| {
    match data.split_first() {
        Some((b'P', pem)) => check_roots(pem),
        Some((b'D', ders)) => {
            if let Some(chain) = chain_of(ders) {
                check(&chain, ders);
            }
        }
        Some((b'S', text)) => check(&AttestationChain { statement: signed(text), issuer: ISSUER.to_vec() }, text),
        _ => {}
    }
});

/// Splits two certificates: the first is behind its length, the second is the rest.
fn chain_of(ders: &[u8]) -> Option<AttestationChain> {
    let (length, rest) = ders.split_first_chunk::<2>()?;
    let (statement, issuer) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
    Some(AttestationChain { statement: statement.to_vec(), issuer: issuer.to_vec() })
}

fn check_at(
    roots: &Roots,
    chain: &AttestationChain,
    serial: u32,
    now: i64,
) -> Result<UnverifiedAttestation, CheckError> {
    roots.check(chain, Serial::new(serial).expect("a number"), Some(FIRMWARE), now)
}

fn check(chain: &AttestationChain, other: &[u8]) {
    let Ok(attestation) = check_at(&ROOTS, chain, SERIAL, NOW) else { return };
    let another = check_at(&ROOTS, chain, SERIAL + 1, NOW).expect_err("the number of another key");
    assert_eq!(another, CheckError::NotGenuine(AttestationError::OtherKey));
    for time in [i64::MIN, -1, 0, NEVER, i64::MAX] {
        let late = check_at(&ROOTS, chain, SERIAL, time).expect_err("a time at which the issuer is not valid");
        assert_eq!(late, CheckError::NotGenuine(AttestationError::NotValidNow));
    }
    let challenge = attestation.challenge(&[7; 32]);
    let absent = attestation.confirm(&challenge, other).expect_err("a signature that nobody made");
    assert_eq!(absent, CheckError::NotGenuine(AttestationError::NotPresent));
}

/// The roots do not change the content of the attestation.
fn check_roots(pem: &[u8]) {
    let Ok(roots) = Roots::read([pem]) else { return };
    let chain = chain_of(GENUINE).expect("two certificates");
    if let Ok(attestation) = check_at(&roots, &chain, SERIAL, NOW) {
        assert!(!attestation.needs_touch());
    }
}

/// Returns a certificate with that signed part, signed by the issuer.
fn signed(text: &[u8]) -> Vec<u8> {
    let key = SigningKey::from_slice(&[7; 32]).expect("a key");
    let signature: DerSignature = key.sign(text);
    let bits = [&[0], signature.as_bytes()].concat();
    element(0x30, &[text, &ALGORITHM, &element(0x03, &bits)].concat())
}

/// Returns an element: tag, shortest length (X.690 section 10.1) and value.
fn element(tag: u8, value: &[u8]) -> Vec<u8> {
    let length = value.len().to_be_bytes();
    let length = &length[length.iter().take_while(|byte| **byte == 0).count().min(length.len() - 1)..];
    let long = if value.len() < 0x80 { Vec::new() } else { vec![0x80 | length.len() as u8] };
    [&[tag], long.as_slice(), length, value].concat()
}
