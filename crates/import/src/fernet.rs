//! Fernet tokens (github.com/fernet/spec): AES-128-CBC and HMAC-SHA256 under one key, in Base64.

use aes::Aes128;
use aes::cipher::block_padding::Pkcs7;
use aes::cipher::{BlockModeDecrypt as _, KeyIvInit as _};
use data_encoding::BASE64URL;
use hmac::{Hmac, KeyInit as _, Mac as _};
use mfad_core::model::Sensitive;
use sha2::Sha256;

/// Version 0x80 and the first bytes of a time before the year 2242, in Base64.
const START: &str = "gAAAAA";
/// Version and time.
const HEAD: usize = 9;
const IV: usize = 16;
const TAG: usize = 32;

pub(crate) fn is(text: &str) -> bool {
    text.trim_start().starts_with(START)
}

/// Opens a token. The key has 16 bytes for the tag, then 16 for the cipher.
pub(crate) fn open(key: &Sensitive<Vec<u8>>, text: &str) -> Option<Sensitive<Vec<u8>>> {
    let (signing, encryption) = key.expose().split_first_chunk::<16>()?;
    let token = BASE64URL.decode(text.trim().as_bytes()).ok()?;
    let (signed, tag) = token.split_at_checked(token.len().checked_sub(TAG)?)?;
    let mac = Hmac::<Sha256>::new_from_slice(signing).ok()?.chain_update(signed);
    mac.verify_slice(tag).ok()?;
    let (iv, sealed) = signed.get(HEAD..)?.split_at_checked(IV)?;
    let cipher = cbc::Decryptor::<Aes128>::new_from_slices(encryption, iv).ok()?;
    cipher.decrypt_padded_vec::<Pkcs7>(sealed).ok().map(Sensitive::new)
}
