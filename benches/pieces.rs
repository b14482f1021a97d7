//! The pieces that a check and a login are made of, one by one: what a change of one of them costs or saves.

#![allow(
    unreachable_pub,
    missing_docs,
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    reason = "a benchmark fails by panicking; the macro writes functions without documents"
)]

use std::hint::black_box;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use mfad::http::normalise;
use mfad_core::model::{Algorithm, Amr, BackupCode, Digits, Sensitive, SessionId, TokenKind, UserId};
use mfad_core::oath::{OtpauthUri, Window, match_counter, match_step};
use mfad_service::token::{ACCESS_LIFETIME, Claims, KeySet, SigningKey};
use mfad_store::{AssociatedData, FIRST_KEY_VERSION, MasterKey, Vault};

const SEED: [u8; 20] = *b"12345678901234567890";
const NOW: i64 = 1_700_000_000;

fn otp(c: &mut Criterion) {
    for algorithm in [Algorithm::Sha1, Algorithm::Sha256, Algorithm::Sha512] {
        c.bench_function(&format!("otp: three steps, {}", algorithm.name()), |b| {
            b.iter(|| match_step(black_box(&SEED), algorithm, Digits::SIX, 123_456, 56_666_666, Window::DEFAULT, None));
        });
    }
    c.bench_function("otp: a counter and all that it may be ahead", |b| {
        b.iter(|| match_counter(black_box(&SEED), Algorithm::Sha1, Digits::SIX, 123_456, 1_000, None));
    });
    c.bench_function("otp: read a backup code", |b| b.iter(|| BackupCode::parse(black_box("ABCD-EFGH-JKMN-PQRS"))));
    let uri = "otpauth://totp/Example:anna?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&algorithm=SHA256&digits=8";
    c.bench_function("otp: read an otpauth URI", |b| b.iter(|| OtpauthUri::parse(black_box(uri)).is_ok()));
}

fn vault(c: &mut Criterion) {
    let vault = Vault::new(&MasterKey::from_bytes(&[7; 32]).unwrap(), FIRST_KEY_VERSION).unwrap();
    let data =
        AssociatedData { table: "secrets", row: &[1; 16], user: &[2; 16], kind: "mfa", parameters: "totp/SHA1/6/30" };
    let sealed = vault.seal(&data, &SEED).unwrap();
    c.bench_function("vault: seal a seed", |b| b.iter(|| vault.seal(&data, black_box(&SEED)).unwrap()));
    c.bench_function("vault: open a seed", |b| b.iter(|| vault.open(&data, black_box(&sealed)).unwrap()));
}

fn claims() -> Claims {
    Claims {
        kind: TokenKind::Access,
        subject: UserId::at(NOW, &[1; 10]),
        id: [3; 16],
        session: Some(SessionId::at(NOW, &[2; 10])),
        issued_at: NOW,
        expires_at: NOW + i64::try_from(ACCESS_LIFETIME.as_secs()).unwrap(),
        epoch: 1,
        amr: Amr::Password,
        auth_time: NOW,
        peer: 1000,
        roles: vec!["admin".to_owned()],
    }
}

fn tokens(c: &mut Criterion) {
    let set = || KeySet::new("mfad".to_owned(), vec![SigningKey::new(&Sensitive::new([9; 32]), 0)]);
    let (signer, token) = (set(), set().sign(&claims()).unwrap());
    c.bench_function("token: sign", |b| b.iter(|| signer.sign(black_box(&claims())).unwrap()));
    c.bench_function("token: verify one that is new to this process", |b| {
        b.iter_batched(set, |set| set.verify(token.expose(), NOW).unwrap(), BatchSize::SmallInput);
    });
    let known = set();
    known.verify(token.expose(), NOW).unwrap();
    c.bench_function("token: verify one that was seen", |b| b.iter(|| known.verify(token.expose(), NOW).unwrap()));
}

fn json(c: &mut Criterion) {
    let body = br#"{"token":"123456"}"#;
    c.bench_function("json: a small body, as lenient clients write it", |b| b.iter(|| normalise(black_box(body))));
}

criterion_group!(pieces, otp, vault, tokens, json);
criterion_main!(pieces);
