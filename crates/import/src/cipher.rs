//! The ciphers of encrypted exports.

use aes::Aes256;
use aes::cipher::block_padding::Pkcs7;
use aes::cipher::{BlockModeDecrypt as _, KeyIvInit as _};
use aes_gcm::aead::{Aead as _, KeyInit as _};
use aes_gcm::{Aes256Gcm, Key, Nonce};
use hmac::Hmac;
use mfad_core::model::Sensitive;
use sha1::Sha1;
use sha2::Sha256;

/// A key of 256 bits, wiped when dropped.
pub(crate) type KeyBytes = Sensitive<[u8; 32]>;

/// The most memory that a file may have its key derivation take, in bytes. A hostile file could name any amount.
const MOST_MEMORY: u64 = 256 << 20;
/// The most rounds of PBKDF2 that a file may ask for.
const MOST_ROUNDS: u32 = 10_000_000;

/// Opens AES-256-GCM. `sealed` ends with the tag. `None` if the key is wrong, or the bytes are damaged.
pub(crate) fn open(key: &KeyBytes, nonce: &[u8], sealed: &[u8]) -> Option<Sensitive<Vec<u8>>> {
    let nonce: [u8; 12] = nonce.try_into().ok()?;
    let cipher = Aes256Gcm::new(&Key::<Aes256Gcm>::from(*key.expose()));
    cipher.decrypt(&Nonce::from(nonce), sealed).ok().map(Sensitive::new)
}

/// Opens AES-256-CBC with the padding of PKCS #7. `None` if the padding is wrong.
pub(crate) fn open_cbc(key: &KeyBytes, iv: &[u8], sealed: &[u8]) -> Option<Sensitive<Vec<u8>>> {
    let cipher = cbc::Decryptor::<Aes256>::new_from_slices(key.expose(), iv).ok()?;
    cipher.decrypt_padded_vec::<Pkcs7>(sealed).ok().map(Sensitive::new)
}

/// scrypt (RFC 7914). `None` if the parameters are wrong, or ask for more memory than is allowed.
pub(crate) fn scrypt(password: &[u8], salt: &[u8], n: u64, r: u32, p: u32) -> Option<KeyBytes> {
    let is_power = n.is_power_of_two() && n > 1;
    let memory = n.checked_add(u64::from(p))?.checked_mul(u64::from(r))?.checked_mul(128)?;
    if !is_power || memory > MOST_MEMORY || p > 16 {
        return None;
    }
    let parameters = scrypt::Params::new(u8::try_from(n.ilog2()).ok()?, r, p).ok()?;
    let mut key = [0; 32];
    scrypt::scrypt(password, salt, &parameters, &mut key).ok()?;
    Some(Sensitive::new(key))
}

/// The hash of an HMAC.
#[derive(Clone, Copy)]
pub(crate) enum Hash {
    Sha1,
    Sha256,
}

/// PBKDF2 (RFC 8018 section 5.2) with HMAC and this hash. `None` if the file asks for too many rounds.
pub(crate) fn pbkdf2(hash: Hash, password: &[u8], salt: &[u8], rounds: u32, key: &mut [u8]) -> Option<()> {
    (1..=MOST_ROUNDS).contains(&rounds).then_some(())?;
    match hash {
        Hash::Sha1 => pbkdf2::pbkdf2::<Hmac<Sha1>>(password, salt, rounds, key),
        Hash::Sha256 => pbkdf2::pbkdf2::<Hmac<Sha256>>(password, salt, rounds, key),
    }
    .ok()
}

/// The same for a key of 256 bits.
pub(crate) fn pbkdf2_key(hash: Hash, password: &[u8], salt: &[u8], rounds: u32) -> Option<KeyBytes> {
    let mut key = [0; 32];
    pbkdf2(hash, password, salt, rounds, &mut key)?;
    Some(Sensitive::new(key))
}

/// Argon2id (RFC 9106), version 1.3.
pub(crate) fn argon2id(password: &[u8], salt: &[u8], kib: u32, rounds: u32, lanes: u32) -> Option<KeyBytes> {
    let parameters = argon2::Params::new(kib, rounds, lanes, Some(32)).ok()?;
    let argon2 = argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, parameters);
    let mut key = [0; 32];
    argon2.hash_password_into(password, salt, &mut key).ok()?;
    Some(Sensitive::new(key))
}
