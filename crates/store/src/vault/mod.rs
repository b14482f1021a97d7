//! Seals columns: XChaCha20-Poly1305 under keys derived from the one master key (KEY-2, KEY-3).
//! What a value is and where it stands is authenticated with it, so a ciphertext moved to another
//! row, user or profile does not open.

pub(crate) mod locked;

use std::sync::Arc;

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use hkdf::Hkdf;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use mfad_core::entropy;
use mfad_core::model::{Sensitive, scrub_stack};
use mfad_core::sync::{PoisonError, RwLock};

use crate::Fault;
use locked::LockedKey;

/// The version of the master key that a new store begins with.
pub const FIRST_KEY_VERSION: u32 = 1;
const NONCE_LENGTH: usize = 24;

/// The master key: 32 bytes from outside the database.
pub type MasterKey = LockedKey;

/// Where a sealed value stands. All of it is authenticated.
#[derive(Clone, Copy, Debug)]
pub struct AssociatedData<'a> {
    /// The table.
    pub table: &'static str,
    /// The row's key.
    pub row: &'a [u8],
    /// The user the row belongs to, or nothing.
    pub user: &'a [u8],
    /// What kind of value it is.
    pub kind: &'static str,
    /// Parameters that must not be swapped under the value.
    pub parameters: &'a str,
}

/// The keys derived from the master key, one for each purpose. While the master key is being replaced, also those of
/// the old one: new values are sealed under the new key, and both open.
pub struct Vault {
    ring: RwLock<Ring>,
}

#[derive(Clone)]
struct Ring {
    current: Arc<Keys>,
    old: Option<Arc<Keys>>,
}

struct Keys {
    version: u32,
    seal: LockedKey,
    check: LockedKey,
    audit: LockedKey,
    refresh: LockedKey,
    throttle: LockedKey,
    backup: LockedKey,
}

impl Keys {
    /// By HKDF-SHA-256 (RFC 5869) with a distinct label each.
    fn new(master: &MasterKey, version: u32) -> Result<Arc<Self>, Fault> {
        let keys = Self::derived(master, version);
        // The hash works on blocks of the master key in its own frames, which nothing else need overwrite.
        scrub_stack();
        keys.map(Arc::new)
    }

    #[inline(never)]
    fn derived(master: &MasterKey, version: u32) -> Result<Self, Fault> {
        Ok(Self {
            version,
            seal: derive(master, "mfad seal v1")?,
            check: derive(master, "mfad key check v1")?,
            audit: derive(master, "mfad audit head v1")?,
            refresh: derive(master, "mfad refresh v1")?,
            throttle: derive(master, "mfad unknown logins v1")?,
            backup: derive(master, "mfad backup v1")?,
        })
    }

    fn are_locked(&self) -> bool {
        let Self { version: _, seal, check, audit, refresh, throttle, backup } = self;
        [seal, check, audit, refresh, throttle, backup].into_iter().all(LockedKey::is_locked)
    }

    fn key_check(&self, instance: &[u8]) -> [u8; 32] {
        keyed(&self.check, &[instance])
    }

    fn open(&self, data: &AssociatedData<'_>, sealed: &[u8]) -> Result<Sensitive<Vec<u8>>, Fault> {
        open_with(self.seal.expose(), &data.bytes(self.version), sealed)
    }
}

impl Vault {
    /// Derives the keys of a master key.
    pub fn new(master: &MasterKey, version: u32) -> Result<Self, Fault> {
        Ok(Self { ring: RwLock::new(Ring { current: Keys::new(master, version)?, old: None }) })
    }

    fn ring(&self) -> Ring {
        self.ring.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn current(&self) -> Arc<Keys> {
        Arc::clone(&self.ring.read().unwrap_or_else(PoisonError::into_inner).current)
    }

    /// The version of the master key that values are sealed under.
    pub fn key_version(&self) -> u32 {
        self.current().version
    }

    /// Whether the keys are kept out of the swap.
    pub fn are_keys_locked(&self) -> bool {
        self.current().are_locked()
    }

    /// From now on seals under the next master key; what the present one sealed still opens.
    pub(crate) fn rotate_to(&self, next: &MasterKey) -> Result<(), Fault> {
        let mut ring = self.ring.write().unwrap_or_else(PoisonError::into_inner);
        let next = Keys::new(next, ring.current.version.saturating_add(1))?;
        ring.old = Some(std::mem::replace(&mut ring.current, next));
        Ok(())
    }

    /// Forgets the old master key.
    pub(crate) fn forget_old(&self) {
        self.ring.write().unwrap_or_else(PoisonError::into_inner).old = None;
    }

    /// Whether an old master key is still held.
    pub(crate) fn is_rotating(&self) -> bool {
        self.ring.read().unwrap_or_else(PoisonError::into_inner).old.is_some()
    }

    /// A value that only this master key gives for this database; tells a wrong key at start (KEY-1).
    pub fn key_check(&self, instance: &[u8]) -> [u8; 32] {
        self.current().key_check(instance)
    }

    /// Authenticates the newest row of the audit chain, so that cutting its end is noticed, with what else is to be the
    /// store's own word.
    pub fn audit_head(&self, word: &[u8], seq: i64, hash: &[u8]) -> [u8; 32] {
        keyed(&self.current().audit, &[word, &seq.to_be_bytes(), hash])
    }

    /// Whether that is the tag of the newest row, under the present master key or the old one.
    pub(crate) fn is_audit_head(&self, word: &[u8], seq: i64, hash: &[u8], tag: &[u8]) -> bool {
        let Ring { current, old } = self.ring();
        let is = |keys: &Keys| same_tag(tag, &keyed(&keys.audit, &[word, &seq.to_be_bytes(), hash]));
        is(&current) || old.is_some_and(|old| is(&old))
    }

    /// Authenticates a refresh token's parts.
    pub fn refresh_tag(&self, session: &[u8], generation: u32) -> Sensitive<[u8; 32]> {
        Sensitive::new(keyed(&self.current().refresh, &[session, &generation.to_be_bytes()]))
    }

    /// Where failures of a login that names nobody are counted: one of 65,536 places, so that the
    /// table stays small while an unknown name is throttled as a known one is (AUT-4).
    pub fn unknown_login_place(&self, login: &str) -> [u8; 2] {
        let tag = keyed(&self.current().throttle, &[login.as_bytes()]);
        [tag[0], tag[1]]
    }

    /// The key that backups are encrypted under.
    pub(crate) fn backup_key(&self) -> Result<LockedKey, Fault> {
        LockedKey::from_bytes(self.current().backup.expose())
    }

    /// Seals `plain` for its place: nonce, then ciphertext and tag.
    pub fn seal(&self, data: &AssociatedData<'_>, plain: &[u8]) -> Result<Vec<u8>, Fault> {
        let keys = self.current();
        seal_with(keys.seal.expose(), &data.bytes(keys.version), plain)
    }

    /// Opens what was sealed for this very place; anything else is a fault, never a value (KEY-4).
    pub fn open(&self, data: &AssociatedData<'_>, sealed: &[u8]) -> Result<Sensitive<Vec<u8>>, Fault> {
        let Ring { current, old } = self.ring();
        match (current.open(data, sealed), old) {
            (Err(Fault::Seal), Some(old)) => old.open(data, sealed),
            (opened, _) => opened,
        }
    }

    /// Opens what the old master key sealed, and nothing else.
    pub(crate) fn open_as_old(&self, data: &AssociatedData<'_>, sealed: &[u8]) -> Result<Sensitive<Vec<u8>>, Fault> {
        self.ring().old.ok_or(Fault::Seal)?.open(data, sealed)
    }

    /// Whether a value is sealed under the present master key.
    pub(crate) fn is_current(&self, data: &AssociatedData<'_>, sealed: &[u8]) -> bool {
        self.current().open(data, sealed).is_ok()
    }
}

/// Encrypts with a random nonce: nonce, then ciphertext and tag.
pub(crate) fn seal_with(key: &[u8], aad: &[u8], plain: &[u8]) -> Result<Vec<u8>, Fault> {
    let nonce = entropy::public::<NONCE_LENGTH>().map_err(|_| Fault::Crypto)?;
    let body = cipher(key)?.encrypt(&XNonce::from(nonce), Payload { msg: plain, aad }).map_err(|_| Fault::Crypto)?;
    Ok([nonce.as_slice(), &body].concat())
}

/// Opens what [`seal_with`] made of the same associated data.
pub(crate) fn open_with(key: &[u8], aad: &[u8], sealed: &[u8]) -> Result<Sensitive<Vec<u8>>, Fault> {
    let (nonce, body) = sealed.split_first_chunk::<NONCE_LENGTH>().ok_or(Fault::Seal)?;
    let opened = cipher(key)?.decrypt(&XNonce::from(*nonce), Payload { msg: body, aad });
    opened.map(Sensitive::new).map_err(|_| Fault::Seal)
}

fn cipher(key: &[u8]) -> Result<XChaCha20Poly1305, Fault> {
    XChaCha20Poly1305::new_from_slice(key).map_err(|_| Fault::Crypto)
}

impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Vault")
    }
}

impl AssociatedData<'_> {
    /// Every part with its length before it, so that no two places have the same bytes.
    fn bytes(&self, key_version: u32) -> Vec<u8> {
        let version = key_version.to_be_bytes();
        let parts: [&[u8]; 6] =
            [self.table.as_bytes(), self.row, self.user, self.kind.as_bytes(), self.parameters.as_bytes(), &version];
        let mut bytes = Vec::with_capacity(128);
        for part in parts {
            bytes.extend_from_slice(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
            bytes.extend_from_slice(part);
        }
        bytes
    }
}

/// Whether two tags are the same, in constant time.
pub fn same_tag(one: &[u8], other: &[u8]) -> bool {
    bool::from(one.ct_eq(other))
}

fn derive(master: &MasterKey, label: &str) -> Result<LockedKey, Fault> {
    LockedKey::filled(|key| {
        Hkdf::<Sha256>::new(None, master.expose()).expand(label.as_bytes(), key).map_err(|_| Fault::Crypto)
    })
}

/// HMAC-SHA-256 (RFC 2104) over the parts, one after the other.
pub(crate) fn keyed(key: &LockedKey, parts: &[&[u8]]) -> [u8; 32] {
    // HMAC takes a key of every length; 32 bytes cannot fail.
    let Ok(mut mac) = <Hmac<Sha256> as hmac::KeyInit>::new_from_slice(key.expose()) else { return [0; 32] };
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vault(byte: u8) -> Vault {
        Vault::new(&LockedKey::from_bytes(&[byte; 32]).unwrap(), FIRST_KEY_VERSION).unwrap()
    }

    fn associated_data<'a>(row: &'a [u8], user: &'a [u8], parameters: &'a str) -> AssociatedData<'a> {
        AssociatedData { table: "secrets", row, user, kind: "mfa", parameters }
    }

    #[test]
    fn key_3_a_value_opens_in_its_own_place_only() {
        let vault_one = vault(1);
        let home = associated_data(b"row", b"user", "totp/SHA1/6/30");
        let sealed = vault_one.seal(&home, b"seed").unwrap();

        assert_eq!(vault_one.open(&home, &sealed).unwrap().expose(), b"seed");
        for other in [
            associated_data(b"row2", b"user", "totp/SHA1/6/30"),
            associated_data(b"row", b"user2", "totp/SHA1/6/30"),
            associated_data(b"row", b"user", "totp/SHA1/8/30"),
            associated_data(b"rowu", b"ser", "totp/SHA1/6/30"),
            AssociatedData { kind: "password", ..home },
            AssociatedData { table: "keys", ..home },
        ] {
            assert!(vault_one.open(&other, &sealed).is_err(), "{other:?}");
        }
        assert!(vault(2).open(&home, &sealed).is_err());
    }

    #[test]
    fn key_4_a_changed_or_short_value_does_not_open() {
        let vault = vault(1);
        let home = associated_data(b"row", b"user", "");
        let sealed = vault.seal(&home, b"seed").unwrap();

        for at in 0..sealed.len() {
            let mut bent = sealed.clone();
            bent[at] ^= 1;
            assert!(vault.open(&home, &bent).is_err(), "byte {at}");
            assert!(vault.open(&home, &sealed[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn key_5_both_master_keys_open_until_the_old_one_is_forgotten() {
        let vault = vault(1);
        let home = associated_data(b"row", b"user", "");
        let old = vault.seal(&home, b"seed").unwrap();

        vault.rotate_to(&LockedKey::from_bytes(&[2; 32]).unwrap()).unwrap();

        let new = vault.seal(&home, b"seed").unwrap();
        assert_eq!(
            (vault.key_version(), vault.is_current(&home, &old), vault.is_current(&home, &new)),
            (2, false, true)
        );
        assert_eq!(vault.open(&home, &old).unwrap().expose(), b"seed");
        vault.forget_old();
        assert!(vault.open(&home, &old).is_err());
        assert_eq!(vault.open(&home, &new).unwrap().expose(), b"seed");
    }

    #[test]
    fn the_same_value_is_never_sealed_alike() {
        let vault = vault(1);
        let home = associated_data(b"row", b"user", "");

        assert_ne!(vault.seal(&home, b"seed").unwrap(), vault.seal(&home, b"seed").unwrap());
    }
}
