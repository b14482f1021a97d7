//! Tokens. An input is read in three ways: as the text of a token, which only this program can write; as JSON, the
//! claims of a token with a valid signature; and as the position and the value of one changed byte, with the role of a
//! user.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mfad_core::model::{Amr, Sensitive, SessionId, TokenKind, UserId};
use mfad_service::token::{Claims, KeySet, SigningKey, TokenFault, sign_statement};
use serde_json::Value;

const NOW: i64 = 1_700_000_000;
/// Lifetime of the token that lasts longest, in seconds.
const LIFETIME: i64 = 15 * 60;
/// The longest token that is parsed, in bytes.
const LONGEST: usize = 4096;

fuzz_target!(|data: &[u8]| {
    if let Ok(text) = str::from_utf8(data) {
        check_text(text);
    }
    if let Ok(claims) = serde_json::from_slice::<Value>(data) {
        check_signed(&claims);
    }
    check_changed(data);
});

fn keys() -> Vec<SigningKey> {
    vec![SigningKey::new(&Sensitive::new([1; 32]), 0)]
}

/// Returns a set with an empty cache, so that it computes every signature.
fn fresh() -> KeySet {
    KeySet::new("mfad".to_owned(), keys())
}

/// Only one spelling of a token is accepted: the one that was signed here.
fn check_text(text: &str) {
    let set = fresh();
    for now in [i64::MIN, NOW, i64::MAX] {
        let Ok(claims) = set.verify(text, now) else { continue };
        assert_eq!(fresh().sign(&claims).expect("there is a key").expose(), text);
    }
}

/// Statements are signed like tokens, so any claims can get a valid signature.
fn check_signed(claims: &Value) {
    for kind in TokenKind::ALL {
        let token = sign_statement(&keys(), kind.name(), claims).expect("there is a key");
        let Ok(read) = fresh().verify(&token, NOW) else { continue };
        assert_eq!(read.kind, kind);
        assert_eq!(read.session.is_some(), kind == TokenKind::Access);
        assert!(read.expires_at > NOW && (1..=LIFETIME).contains(&(read.expires_at - read.issued_at)));
        let again = fresh().sign(&read).expect("there is a key");
        assert_eq!(fresh().verify(again.expose(), NOW), Ok(read));
    }
}

fn check_changed(data: &[u8]) {
    let Some((&[high, low, flip], role)) = data.split_first_chunk::<3>() else { return };
    let claims = claims(TokenKind::ALL[usize::from(flip) % TokenKind::ALL.len()], role);
    let token = fresh().sign(&claims).expect("there is a key");
    let fits = token.expose().len() <= LONGEST;
    assert_eq!(fresh().verify(token.expose(), NOW), if fits { Ok(claims) } else { Err(TokenFault::Shape) });

    let mut bytes = token.expose().clone().into_bytes();
    let place = usize::from(u16::from_be_bytes([high, low])) % bytes.len();
    bytes[place] ^= flip;
    let Ok(changed) = String::from_utf8(bytes) else { return };
    assert!(flip == 0 || fresh().verify(&changed, NOW).is_err(), "{changed}");
}

fn claims(kind: TokenKind, role: &[u8]) -> Claims {
    Claims {
        kind,
        subject: UserId::at(1, &[1; 10]),
        id: *SessionId::at(1, &[2; 10]).as_bytes(),
        session: (kind == TokenKind::Access).then(|| SessionId::at(1, &[3; 10])),
        issued_at: NOW,
        expires_at: NOW + LIFETIME,
        epoch: role.first_chunk().copied().map_or(0, i64::from_be_bytes),
        amr: Amr::PasswordAndOtp,
        auth_time: NOW,
        peer: 1000,
        roles: vec![String::from_utf8_lossy(role).into_owned()],
    }
}
