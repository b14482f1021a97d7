//! The password of a key's OATH applet, as the key of both sides' proof that they know it.

use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;

use mfad_core::model::Sensitive;

use crate::card::CardFault;

/// Rounds of PBKDF2 that all clients of these keys use (YKOATH, SET CODE).
const ROUNDS: u32 = 1000;

/// What a password and a key's salt give; good for that key only, and only until its applet is reset.
pub struct AccessKey(Sensitive<[u8; Self::LENGTH]>);

impl AccessKey {
    /// Bytes of a key.
    pub const LENGTH: usize = 16;

    /// PBKDF2-HMAC-SHA-1 (RFC 8018) of the password, salted with the applet's salt.
    pub fn derive(password: &str, salt: &[u8]) -> Self {
        let mut key = [0u8; Self::LENGTH];
        pbkdf2::pbkdf2_hmac::<Sha1>(password.as_bytes(), salt, ROUNDS, &mut key);
        Self(Sensitive::new(key))
    }

    /// Takes one back that was stored; `None` unless it has 16 bytes.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(|key| Self(Sensitive::new(key)))
    }

    /// The bytes, to be stored sealed.
    pub fn bytes(&self) -> &Sensitive<[u8; Self::LENGTH]> {
        &self.0
    }

    /// The proof over a challenge: HMAC-SHA-1.
    pub(super) fn respond(&self, challenge: &[u8]) -> Result<Vec<u8>, CardFault> {
        let mac = <Hmac<Sha1> as KeyInit>::new_from_slice(self.0.expose());
        let mac = mac.map_err(|_| CardFault::Nonsense("no key"))?;
        Ok(mac.chain_update(challenge).finalize().into_bytes().to_vec())
    }
}
