//! The PIV applet, as far as attestation needs it (NIST SP 800-73-4 part 2; Yubico's extension ATTEST). It judges
//! nothing.

use std::fmt;

use crate::card::{CardFault, CardSession, Command, DONE, GET_RESPONSE, YUBIKEY_TOUCH, tlv};

use super::{Challenge, Curve};

const APPLICATION: [u8; 5] = [0xa0, 0x00, 0x00, 0x03, 0x08];

const GET_DATA: u8 = 0xcb;
const GENERAL_AUTHENTICATE: u8 = 0x87;
const ATTEST: u8 = 0xf9;

/// The data object with the certificate of the key that signs attestations (slot f9).
const ATTESTATION_CERTIFICATE: [u8; 3] = [0x5f, 0xff, 0x01];
const TAG_OBJECT: u8 = 0x5c;
const TAG_DATA: u8 = 0x53;
const TAG_CERTIFICATE: u8 = 0x70;
const TAG_CERTIFICATE_INFO: u8 = 0x71;
const TAG_TEMPLATE: u8 = 0x7c;
const TAG_CHALLENGE: u8 = 0x81;
const TAG_RESPONSE: u8 = 0x82;

/// A PIV slot whose key can be attested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot(u8);

impl Slot {
    /// Card authentication: keys of this slot need no PIN, unless they were made with another policy.
    pub const CARD_AUTHENTICATION: Self = Self(0x9e);

    /// Reads `9a`, `9c`, `9d`, `9e`, or `82` to `95`, in either case.
    pub fn parse(text: &str) -> Option<Self> {
        // The parser of integers also takes a plus sign.
        let is_plain = text.len() == 2 && text.bytes().all(|b| b.is_ascii_hexdigit());
        let number = u8::from_str_radix(text, 16).ok().filter(|_| is_plain)?;
        matches!(number, 0x9a | 0x9c..=0x9e | 0x82..=0x95).then_some(Self(number))
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02x}", self.0)
    }
}

/// The attestation of a key in a slot: two certificates in DER.
#[derive(Clone, Debug)]
pub struct AttestationChain {
    /// The certificate of the key in the slot.
    pub statement: Vec<u8>,
    /// The certificate of the key that signed it (slot f9).
    pub issuer: Vec<u8>,
}

/// Asks a hardware key for the attestation of a slot. Afterwards the PIV applet is selected.
pub fn attestation_chain(session: &mut CardSession<'_>, slot: Slot) -> Result<AttestationChain, CardFault> {
    let (_, status) = session.exchange(&Command::select(&APPLICATION), GET_RESPONSE)?;
    match status {
        DONE => {}
        0x6a82 | 0x6d00 | 0x6985 | 0x6999 => {
            return Err(CardFault::Unsupported("it has no PIV application, or it is switched off"));
        }
        other => return Err(CardFault::Status(other)),
    }
    let (statement, status) = session.exchange(&Command::new(ATTEST, slot.0, 0), GET_RESPONSE)?;
    match status {
        DONE => {}
        // No key, or one that was imported (Yubico: "attestation of imported keys is refused").
        0x6a80 | 0x6a82 | 0x6a88 | 0x6f00 => {
            return Err(CardFault::Unsupported("the PIV slot holds no key that was made on the key itself"));
        }
        0x6d00 => return Err(CardFault::Unsupported("it has no attestation; that needs firmware 4.3")),
        other => return Err(CardFault::Status(other)),
    }
    let read = Command::new(GET_DATA, 0x3f, 0xff).tlv(TAG_OBJECT, &ATTESTATION_CERTIFICATE);
    let (object, status) = session.exchange(&read, GET_RESPONSE)?;
    match status {
        DONE => {}
        0x6a82 => return Err(CardFault::Unsupported("its attestation certificate (slot f9) is gone")),
        other => return Err(CardFault::Status(other)),
    }
    let issuer = certificate_in(tlv::only(object.expose(), TAG_DATA)?)?;
    Ok(AttestationChain { statement: statement.expose().clone(), issuer })
}

/// Signs a challenge with the key in a slot; the PIV applet must be selected. `needs_touch` says whether that waits for
/// a touch.
pub fn sign(
    session: &mut CardSession<'_>,
    slot: Slot,
    challenge: &Challenge,
    needs_touch: bool,
) -> Result<Vec<u8>, CardFault> {
    let algorithm = match challenge.curve {
        Curve::P256 => 0x11,
        Curve::P384 => 0x14,
    };
    let length = u8::try_from(challenge.digest.len()).map_err(|_| CardFault::Unsupported("such a challenge"))?;
    // The empty response asks the card to fill it with the signature.
    let mut template = vec![TAG_RESPONSE, 0, TAG_CHALLENGE, length];
    template.extend_from_slice(&challenge.digest);
    let command = Command::new(GENERAL_AUTHENTICATE, algorithm, slot.0).tlv(TAG_TEMPLATE, &template);
    let (answer, status) = if needs_touch {
        session.exchange_with_touch(&command, GET_RESPONSE, YUBIKEY_TOUCH)?
    } else {
        session.exchange(&command, GET_RESPONSE)?
    };
    match status {
        DONE => {}
        0x6982 | 0x6985 if needs_touch => return Err(CardFault::NotTouched),
        other => return Err(CardFault::Status(other)),
    }
    tlv::only(tlv::only(answer.expose(), TAG_TEMPLATE)?, TAG_RESPONSE).map(<[u8]>::to_vec)
}

fn certificate_in(object: &[u8]) -> Result<Vec<u8>, CardFault> {
    let values = tlv::parse(object)?;
    let value = |tag| values.iter().find(|value| value.tag == tag).map(|value| value.value);
    // The lowest bit says that the certificate is compressed (SP 800-73-4 part 1, appendix A).
    if value(TAG_CERTIFICATE_INFO).is_some_and(|info| info.iter().any(|byte| byte & 1 != 0)) {
        return Err(CardFault::Unsupported("its attestation certificate is compressed"));
    }
    value(TAG_CERTIFICATE).map(<[u8]>::to_vec).ok_or(CardFault::Nonsense("an object without a certificate"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_slots_that_can_be_attested_are_taken() {
        for taken in ["9a", "9C", "9e", "82", "95"] {
            assert_eq!(Slot::parse(taken).unwrap().to_string(), taken.to_lowercase());
        }
        for refused in ["", "9b", "f9", "81", "96", "+9", "09a", "9"] {
            assert!(Slot::parse(refused).is_none(), "{refused}");
        }
    }

    #[test]
    fn the_certificate_is_found_in_its_object() {
        assert_eq!(certificate_in(&[0x70, 2, 0x30, 0, 0x71, 1, 0, 0xfe, 0]).unwrap(), [0x30, 0]);
        assert!(certificate_in(&[0x70, 1, 0x30, 0x71, 1, 1, 0xfe, 0]).is_err());
        assert!(certificate_in(&[0xfe, 0]).is_err());
    }
}
