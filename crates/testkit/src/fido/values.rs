//! CBOR values of messages, and the encryption of PINs (CTAP 2.1 section 6.5).

use std::collections::BTreeMap;

use aes::Aes256;
use aes::cipher::{Block, BlockModeDecrypt, KeyIvInit};
use hmac::{Hmac, KeyInit, Mac};
use serde_cbor_2::Value;
use sha2::Sha256;

pub(super) type Map = BTreeMap<Value, Value>;

pub(super) fn decrypt(protocol: i128, cipher: &[u8; 32], sealed: &[u8]) -> Vec<u8> {
    let (iv, sealed) =
        if protocol == 1 { ([0; 16], sealed) } else { (sealed[..16].try_into().unwrap(), &sealed[16..]) };
    let mut decryptor = cbc::Decryptor::<Aes256>::new(cipher.into(), &iv.into());
    let open = |block: &[u8; 16]| {
        let mut block = Block::<Aes256>::from(*block);
        decryptor.decrypt_block(&mut block);
        block
    };
    sealed.as_chunks::<16>().0.iter().map(open).flat_map(|block| block.to_vec()).collect()
}

pub(super) fn mac(protocol: i128, key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    parts.iter().for_each(|part| mac.update(part));
    let mut tag = mac.finalize().into_bytes().to_vec();
    tag.truncate(if protocol == 1 { 16 } else { 32 });
    tag
}

pub(super) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).unwrap();
    bytes
}

pub(super) fn cose(point: &[u8], algorithm: i128) -> Value {
    let coordinate = |part: &[u8]| Value::Bytes(part.to_vec());
    numbered([
        (1, Value::Integer(2)),
        (3, Value::Integer(algorithm)),
        (-1, Value::Integer(1)),
        (-2, coordinate(&point[1..33])),
        (-3, coordinate(&point[33..])),
    ])
}

pub(super) fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

pub(super) fn numbered(members: impl IntoIterator<Item = (i128, Value)>) -> Value {
    Value::Map(members.into_iter().map(|(number, value)| (Value::Integer(number), value)).collect())
}

pub(super) fn named(members: impl IntoIterator<Item = (&'static str, Value)>) -> Value {
    Value::Map(members.into_iter().map(|(name, value)| (text(name), value)).collect())
}

pub(super) fn bytes(map: &Map, number: i128) -> Option<Vec<u8>> {
    match map.get(&Value::Integer(number)) {
        Some(Value::Bytes(bytes)) => Some(bytes.clone()),
        _ => None,
    }
}

pub(super) fn text_of(map: &Map, number: i128) -> Option<String> {
    match map.get(&Value::Integer(number)) {
        Some(Value::Text(text)) => Some(text.clone()),
        _ => None,
    }
}

pub(super) fn integer(map: &Map, number: i128) -> Option<i128> {
    match map.get(&Value::Integer(number)) {
        Some(Value::Integer(value)) => Some(*value),
        _ => None,
    }
}

pub(super) fn list(map: &Map, number: i128) -> &[Value] {
    match map.get(&Value::Integer(number)) {
        Some(Value::Array(list)) => list,
        _ => &[],
    }
}

pub(super) fn of<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    match value {
        Value::Map(map) => map.get(&text(name)),
        _ => None,
    }
}

pub(super) fn member(map: &Map, number: i128, name: &str) -> Option<String> {
    match of(map.get(&Value::Integer(number))?, name) {
        Some(Value::Text(text)) => Some(text.clone()),
        _ => None,
    }
}

pub(super) fn option(map: &Map, number: i128, name: &str) -> Option<bool> {
    match of(map.get(&Value::Integer(number))?, name) {
        Some(Value::Bool(is_on)) => Some(*is_on),
        _ => None,
    }
}
