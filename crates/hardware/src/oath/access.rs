//! The key that stands for the password of an OATH applet. With it, both sides prove that they know the password.

use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;

use mfad_core::model::Sensitive;

use crate::card::CardFault;

/// Rounds of PBKDF2, as all clients of these keys use them (YKOATH, SET CODE).
const ROUNDS: u32 = 1000;

/// A key derived from a password and the salt of an applet. It is valid for that applet only, until its reset.
pub struct AccessKey(Sensitive<[u8; Self::LENGTH]>);

impl AccessKey {
    /// Length of an access key in bytes.
    pub const LENGTH: usize = 16;

    /// Derives the key by PBKDF2-HMAC-SHA-1 (RFC 8018) from the password and the salt of the applet.
    pub fn derive(password: &str, salt: &[u8]) -> Self {
        let mut key = [0u8; Self::LENGTH];
        pbkdf2::pbkdf2_hmac::<Sha1>(password.as_bytes(), salt, ROUNDS, &mut key);
        Self(Sensitive::new(key))
    }

    /// Takes a key that was stored. Returns `None` unless it has 16 bytes.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(|key| Self(Sensitive::new(key)))
    }

    /// The bytes of the key, which must be stored encrypted.
    pub fn bytes(&self) -> &Sensitive<[u8; Self::LENGTH]> {
        &self.0
    }

    /// Returns the proof over a challenge: HMAC-SHA-1.
    pub(super) fn respond(&self, challenge: &[u8]) -> Result<Vec<u8>, CardFault> {
        let mac = <Hmac<Sha1> as KeyInit>::new_from_slice(self.0.expose());
        let mac = mac.map_err(|_| CardFault::Nonsense("no key"))?;
        Ok(mac.chain_update(challenge).finalize().into_bytes().to_vec())
    }
}
