//! `yubikey-facts READER`: what the crate `yubikey`, which we did not write, reads of the key in that reader, as one line of
//! JSON. Tests compare it with what the daemon says of the same key.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a tool of the tests: it talks to whoever runs it, and fails by panicking"
)]

use data_encoding::HEXLOWER;
use serde_json::json;
use sha2::{Digest, Sha256};
use yubikey::certificate::Certificate;
use yubikey::piv::{AlgorithmId, SlotId, attest, sign_data};
use yubikey::reader::Context;
use yubikey::{Version, YubiKey};

fn main() {
    let wanted = std::env::args().nth(1).unwrap();
    let mut context = Context::open().unwrap();
    let readers: Vec<_> = context.iter().unwrap().collect();
    let mut key: YubiKey = readers.iter().find(|reader| reader.name() == wanted).unwrap().open().unwrap();
    let Version { major, minor, patch } = key.version();
    let slot = SlotId::CardAuthentication;
    let statement = attest(&mut key, slot).unwrap();
    let issuer = Certificate::read(&mut key, SlotId::Attestation).unwrap();
    let signature = sign_data(&mut key, &Sha256::digest(b"a message"), AlgorithmId::EccP256, slot).unwrap();
    let facts = json!({
        "serial": key.serial().0,
        "firmware": format!("{major}.{minor}.{patch}"),
        "statement": HEXLOWER.encode(&statement),
        "issuer": issuer.subject().to_string(),
        "signature": HEXLOWER.encode(&signature),
    });
    println!("{facts}");
}
