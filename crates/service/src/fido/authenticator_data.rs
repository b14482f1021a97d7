//! Parses authenticator data (WebAuthn Level 3, section 6.1): a header of fixed length, then exactly the parts that the
//! flags announce. The library `webauthn-rs-core` ignores bytes after the last part that it needs, so this refuses
//! them.

use serde::Deserialize;
use serde_cbor_2::Value;

use super::FidoFault;

/// Flag UP: the user was present, which for a security key means a touch.
const PRESENT: u8 = 0x01;
/// Flag AT: attested credential data follows.
const ATTESTED: u8 = 0x40;
/// Flag ED: extension results follow.
const EXTENDED: u8 = 0x80;

/// COSE labels of a key's members, and the values for ES256 (RFC 9052 section 7, RFC 9053 sections 2.1 and 7.1).
const ALGORITHM: i8 = 3;
const CURVE: i8 = -1;
const ES256: i128 = -7;
const P256: i128 = 1;

/// The parts of authenticator data that are checked outside of the library.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct AuthenticatorData {
    /// SHA-256 of the relying party id.
    pub(super) relying_party: [u8; 32],
    /// Whether the user touched the key.
    pub(super) is_present: bool,
    /// The public key of the new credential; absent in an authentication.
    pub(super) attested: Option<PublicKey>,
}

/// The signature algorithm of a public key, as COSE numbers. The key itself is left to the library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PublicKey {
    algorithm: i128,
    /// Absent for algorithms without a curve, such as RSA.
    curve: Option<i128>,
}

impl AuthenticatorData {
    /// Parses authenticator data. Refuses a missing part and any byte too many.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, FidoFault> {
        parts(bytes).ok_or_else(|| FidoFault::Refused("the authenticator data does not match its flags".to_owned()))
    }

    /// Parses the authenticator data in an attestation object (section 6.5).
    pub(super) fn read_attested(object: &[u8]) -> Result<Self, FidoFault> {
        let none = || FidoFault::Refused("the attestation object has no authenticator data".to_owned());
        let Ok(Value::Map(object)) = serde_cbor_2::from_slice(object) else { return Err(none()) };
        let Some(Value::Bytes(data)) = object.get(&Value::Text("authData".to_owned())) else { return Err(none()) };
        Self::read(data)
    }
}

impl PublicKey {
    /// Refuses a key whose signatures the daemon cannot verify (FIDO-4). ES256 is allowed with the curve P-256 only
    /// (section 5.8.5).
    pub(super) fn must_be_taken(self) -> Result<(), FidoFault> {
        if self.algorithm == ES256 && self.curve == Some(P256) {
            Ok(())
        } else {
            Err(FidoFault::Algorithm(self.algorithm))
        }
    }
}

fn parts(bytes: &[u8]) -> Option<AuthenticatorData> {
    let (relying_party, rest) = bytes.split_first_chunk::<32>()?;
    let (flags, rest) = rest.split_first()?;
    let (_counter, mut rest) = rest.split_first_chunk::<4>()?;
    let mut attested = None;
    if flags & ATTESTED != 0 {
        let (_model, behind) = rest.split_first_chunk::<16>()?;
        let (length, behind) = behind.split_first_chunk::<2>()?;
        let (_id, behind) = behind.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        let (key, behind) = first_item(behind)?;
        attested = Some(public_key(&key)?);
        rest = behind;
    }
    if flags & EXTENDED != 0 {
        let (Value::Map(_), behind) = first_item(rest)? else { return None };
        rest = behind;
    }
    let is_present = flags & PRESENT != 0;
    rest.is_empty().then_some(AuthenticatorData { relying_party: *relying_party, is_present, attested })
}

/// Returns the CBOR item at the start of the bytes, and the bytes after it.
fn first_item(bytes: &[u8]) -> Option<(Value, &[u8])> {
    let mut reader = serde_cbor_2::Deserializer::from_slice(bytes);
    let item = Value::deserialize(&mut reader).ok()?;
    Some((item, bytes.get(reader.byte_offset()..)?))
}

fn public_key(key: &Value) -> Option<PublicKey> {
    let Value::Map(key) = key else { return None };
    let number = |label: i8| match key.get(&Value::from(label)) {
        Some(Value::Integer(number)) => Some(*number),
        _ => None,
    };
    Some(PublicKey { algorithm: number(ALGORITHM)?, curve: number(CURVE) })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `{1: 2, 3: -7, -1: 1}` in CBOR: the members of a key that are checked.
    const KEY: &[u8] = &[0xa3, 1, 2, 3, 0x26, 0x20, 1];
    /// `{"a": true}` in CBOR, in place of extension results.
    const EXTENSIONS: &[u8] = &[0xa1, 0x61, b'a', 0xf5];

    fn data(flags: u8, parts: &[&[u8]]) -> Vec<u8> {
        [&[7; 32][..], &[flags], &[0, 0, 0, 1], &parts.concat()].concat()
    }

    fn attested(key: &[u8]) -> Vec<u8> {
        [&[0; 16][..], &[0, 3], b"id!", key].concat()
    }

    #[test]
    fn the_flags_say_what_follows_to_the_byte() {
        let credential = attested(KEY);
        let credential = credential.as_slice();
        let key = Some(PublicKey { algorithm: -7, curve: Some(1) });
        for (flags, parts, expected) in [
            (0x01, Vec::new(), None),
            (0x05, Vec::new(), None),
            (0x41, vec![credential], key),
            (0x81, vec![EXTENSIONS], None),
            (0xc5, vec![credential, EXTENSIONS], key),
        ] {
            let whole = data(flags, &parts);
            let read = AuthenticatorData::read(&whole).unwrap();
            assert_eq!((read.attested, read.is_present, read.relying_party), (expected, true, [7; 32]));

            for extra in [&[0][..], &[0xa0], EXTENSIONS] {
                assert!(AuthenticatorData::read(&[&whole[..], extra].concat()).is_err(), "{flags:x} and {extra:?}");
            }
            for length in 0..whole.len() {
                assert!(AuthenticatorData::read(&whole[..length]).is_err(), "{flags:x} cut at {length}");
            }
        }
    }

    #[test]
    fn a_part_that_no_flag_names_is_refused() {
        let credential = attested(KEY);
        let credential = credential.as_slice();
        for (flags, parts) in [
            (0x01, vec![credential]),
            (0x01, vec![EXTENSIONS]),
            (0x41, vec![credential, EXTENSIONS]),
            (0x81, vec![credential]),
            (0x81, vec![&[0x01][..]]),
            (0xc1, vec![EXTENSIONS, credential]),
        ] {
            assert!(AuthenticatorData::read(&data(flags, &parts)).is_err(), "{flags:x} {parts:?}");
        }
        assert!(!AuthenticatorData::read(&data(0, &[])).unwrap().is_present);
    }

    #[test]
    fn only_keys_that_signatures_are_verified_with_are_taken() {
        let judged = |key: &[u8]| {
            let read = AuthenticatorData::read(&data(0x41, &[&attested(key)])).unwrap();
            read.attested.unwrap().must_be_taken()
        };

        assert_eq!(judged(KEY), Ok(()));
        // Ed25519, RS256, ES384, and ES256 on the curve P-521.
        assert_eq!(judged(&[0xa3, 1, 1, 3, 0x27, 0x20, 6]), Err(FidoFault::Algorithm(-8)));
        assert_eq!(judged(&[0xa2, 1, 3, 3, 0x39, 1, 0]), Err(FidoFault::Algorithm(-257)));
        assert_eq!(judged(&[0xa3, 1, 2, 3, 0x38, 0x22, 0x20, 2]), Err(FidoFault::Algorithm(-35)));
        assert_eq!(judged(&[0xa3, 1, 2, 3, 0x26, 0x20, 3]), Err(FidoFault::Algorithm(-7)));
        for odd in [&[0xa1, 1, 2][..], &[0xa2, 1, 2, 3, 0x61, b'x'], &[0x80], &[0x26]] {
            assert!(AuthenticatorData::read(&data(0x41, &[&attested(odd)])).is_err(), "{odd:?}");
        }
    }

    #[test]
    fn an_attestation_object_holds_the_data_under_its_name() {
        let data = data(0x41, &[&attested(KEY)]);
        let length = u8::try_from(data.len()).unwrap();
        let object = [&[0xa1, 0x68][..], b"authData", &[0x58, length], &data].concat();

        assert!(AuthenticatorData::read_attested(&object).unwrap().attested.is_some());
        for odd in
            [&object[1..], &object[..object.len() - 1], b"\xa0", b"\x80", b"\xa1\x02\x41\x00", b"\xa1\x68authData\x60"]
        {
            assert!(AuthenticatorData::read_attested(odd).is_err(), "{odd:?}");
        }
    }
}
