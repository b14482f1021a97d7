//! PIN/UV auth protocols one and two (CTAP 2.1 section 6.5): they give a security key its PIN in a form that reveals it
//! to no observer of the wire.

use aes::Aes256;
use aes::cipher::{Block, BlockModeDecrypt, BlockModeEncrypt, KeyIvInit};
use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use p256::{PublicKey, SecretKey};
use sha2::{Digest, Sha256};
use zeroize::{Zeroize, Zeroizing};

use mfad_core::entropy;
use mfad_core::model::Sensitive;

use super::CtapFault;
use super::value::{Map, Members, Value, bytes, integer, numbered};

/// Length in bytes to which a new PIN is padded.
const NEW_PIN: usize = 64;
/// Length of an AES block in bytes.
const BLOCK: usize = 16;

/// The protocol that a security key supports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    One,
    Two,
}

impl Protocol {
    pub(super) fn of_number(number: i128) -> Option<Self> {
        match number {
            1 => Some(Self::One),
            2 => Some(Self::Two),
            _ => None,
        }
    }

    pub(super) fn number(self) -> Value {
        Value::from(match self {
            Self::One => 1i8,
            Self::Two => 2,
        })
    }
}

/// The operation that a token permits (CTAP 2.1 section 6.5.5.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permission {
    /// Making one credential for the relying party.
    Make,
    /// Giving one assertion to the relying party.
    Assert,
    /// Changing the settings of the key. It is for no relying party.
    Configure,
}

impl Permission {
    pub(super) fn bits(self) -> Value {
        Value::from(match self {
            Self::Make => 0x01i8,
            Self::Assert => 0x02,
            Self::Configure => 0x20,
        })
    }
}

/// A token of the key, by which it knows that its user was verified. It authenticates the next request.
pub struct PinToken {
    protocol: Protocol,
    token: Sensitive<Vec<u8>>,
}

impl PinToken {
    /// Returns the number of the protocol, and the proof over the client data hash.
    pub(super) fn prove(&self, client_data_hash: &[u8]) -> Result<(Value, Value), CtapFault> {
        let proof = authenticate(self.protocol, self.token.expose(), client_data_hash)?;
        Ok((self.protocol.number(), Value::Bytes(proof)))
    }
}

/// A secret shared with a key, for one exchange about its PIN.
pub(super) struct Shared {
    protocol: Protocol,
    /// The public key of this side, as the COSE key that the security key expects.
    pub(super) ours: Value,
    key: Sensitive<[u8; 32]>,
    /// Authenticates what is sent with a new PIN.
    mac: Sensitive<[u8; 32]>,
}

impl Shared {
    /// Agrees on the secret, given the public key of the security key.
    pub(super) fn agree(protocol: Protocol, theirs: &Map) -> Result<Self, CtapFault> {
        let theirs = read_point(theirs).ok_or(CtapFault::Nonsense("no point of P-256"))?;
        let (secret, ours) = new_pair()?;
        let agreed = secret.diffie_hellman(&theirs);
        let agreed = agreed.raw_secret_bytes();
        let mut key: [u8; 32] = Sha256::digest(agreed).into();
        let mut mac = key;
        // Protocol two derives an AES key and an HMAC key; protocol one uses one key for both.
        if protocol == Protocol::Two {
            let expand = |label: &[u8], key: &mut [u8; 32]| {
                let expanded = Hkdf::<Sha256>::new(Some(&[0; 32]), agreed).expand(label, key);
                expanded.map_err(|_| CtapFault::Internal("a key of that length cannot be made"))
            };
            expand(b"CTAP2 AES key", &mut key)?;
            expand(b"CTAP2 HMAC key", &mut mac)?;
        }
        let shared = Self { protocol, ours, key: Sensitive::new(key), mac: Sensitive::new(mac) };
        // `Sensitive` holds copies of the arrays.
        key.zeroize();
        mac.zeroize();
        Ok(shared)
    }

    /// Returns the first 16 bytes of the PIN's SHA-256, encrypted. The key compares just these.
    pub(super) fn hide_pin(&self, pin: &Sensitive<String>) -> Result<Value, CtapFault> {
        let digest = Sensitive::new(<[u8; 32]>::from(Sha256::digest(pin.expose().as_bytes())));
        let start = digest.expose().first_chunk::<BLOCK>().ok_or(CtapFault::Internal("a short digest"))?;
        let iv = match self.protocol {
            // Protocol one has an IV of zeros (CTAP 2.1 section 6.5.6).
            Protocol::One => [0; BLOCK],
            Protocol::Two => entropy::public().map_err(|_| CtapFault::Internal("no random bytes"))?,
        };
        let mut block = Block::<Aes256>::from(*start);
        cbc::Encryptor::<Aes256>::new(self.key.expose().into(), &iv.into()).encrypt_block(&mut block);
        // The key needs the random IV of protocol two.
        let prefix: &[u8] = match self.protocol {
            Protocol::One => &[],
            Protocol::Two => &iv,
        };
        Ok(Value::Bytes([prefix, block.as_slice()].concat()))
    }

    /// Returns a new PIN, padded with zeros to 64 bytes and encrypted, and the proof that goes with it.
    pub(super) fn hide_new_pin(&self, pin: &Sensitive<String>) -> Result<(Value, Value), CtapFault> {
        let iv = match self.protocol {
            Protocol::One => [0; BLOCK],
            Protocol::Two => entropy::public().map_err(|_| CtapFault::Internal("no random bytes"))?,
        };
        let mut padded = Zeroizing::new([0u8; NEW_PIN]);
        let place = padded.get_mut(..pin.expose().len()).filter(|place| place.len() < NEW_PIN);
        place.ok_or(CtapFault::Unsupported("a PIN of more than 63 bytes"))?.copy_from_slice(pin.expose().as_bytes());
        let mut encryptor = cbc::Encryptor::<Aes256>::new(self.key.expose().into(), &iv.into());
        let mut sealed = if self.protocol == Protocol::Two { iv.to_vec() } else { Vec::new() };
        for block in padded.as_chunks::<BLOCK>().0 {
            let mut block = Block::<Aes256>::from(*block);
            encryptor.encrypt_block(&mut block);
            sealed.extend_from_slice(&block);
        }
        let proof = authenticate(self.protocol, self.mac.expose(), &sealed)?;
        Ok((Value::Bytes(sealed), Value::Bytes(proof)))
    }

    /// Decrypts the token that a key gave.
    pub(super) fn open_token(self, sealed: &[u8]) -> Result<PinToken, CtapFault> {
        let nonsense = CtapFault::Nonsense("a token of another length");
        let (iv, sealed) = match self.protocol {
            Protocol::One => ([0; BLOCK], sealed),
            Protocol::Two => {
                let (iv, sealed) = sealed.split_first_chunk::<BLOCK>().ok_or(nonsense.clone())?;
                (*iv, sealed)
            }
        };
        let (blocks, rest) = sealed.as_chunks::<BLOCK>();
        // Protocol two has tokens of 32 bytes, protocol one also of 16.
        if !rest.is_empty() || !matches!((self.protocol, blocks.len()), (_, 2) | (Protocol::One, 1)) {
            return Err(nonsense);
        }
        let mut decryptor = cbc::Decryptor::<Aes256>::new(self.key.expose().into(), &iv.into());
        let mut token = Vec::with_capacity(sealed.len());
        for block in blocks {
            let mut block = Block::<Aes256>::from(*block);
            decryptor.decrypt_block(&mut block);
            token.extend_from_slice(&block);
            block.zeroize();
        }
        Ok(PinToken { protocol: self.protocol, token: Sensitive::new(token) })
    }
}

fn authenticate(protocol: Protocol, key: &[u8], message: &[u8]) -> Result<Vec<u8>, CtapFault> {
    let mac = Hmac::<Sha256>::new_from_slice(key).map_err(|_| CtapFault::Internal("a key that HMAC does not take"))?;
    let mut proof = mac.chain_update(message).finalize().into_bytes().to_vec();
    if protocol == Protocol::One {
        // Protocol one sends only half of the HMAC.
        proof.truncate(BLOCK);
    }
    Ok(proof)
}

/// Returns a key pair for one agreement. The public key is in COSE form (RFC 9053 section 7.1, algorithm -25).
fn new_pair() -> Result<(SecretKey, Value), CtapFault> {
    // Almost every string of 32 bytes is a valid private key. An invalid one is as unlikely as guessing a key.
    let random = entropy::secret::<32>().map_err(|_| CtapFault::Internal("no random bytes"))?;
    let secret = SecretKey::from_slice(random.expose()).map_err(|_| CtapFault::Internal("no key of P-256"))?;
    let point = p256::Sec1Point::from(secret.public_key());
    let coordinate = |bytes: Option<&p256::FieldBytes>| bytes.map(|bytes| Value::Bytes(bytes.to_vec()));
    let missing = || CtapFault::Internal("a point without coordinates");
    let x = coordinate(point.x()).ok_or_else(missing)?;
    let y = coordinate(point.y()).ok_or_else(missing)?;
    let (ec2, p256) = (Value::from(2i8), Value::from(1i8));
    Ok((secret, numbered([(1, ec2), (3, Value::from(-25i8)), (-1, p256), (-2, x), (-3, y)])))
}

fn read_point(cose: &Map) -> Option<PublicKey> {
    if integer::<i8>(cose.number(1)) != Some(2) || integer::<i8>(cose.number(-1)) != Some(1) {
        return None;
    }
    let coordinate = |number| bytes(cose.number(number)).filter(|bytes| bytes.len() == 32);
    let point = [&[0x04], coordinate(-2)?, coordinate(-3)?].concat();
    // Also refuses a point that is not on the curve.
    PublicKey::from_sec1_bytes(&point).ok()
}
