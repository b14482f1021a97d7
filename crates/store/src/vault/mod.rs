//! Seals columns: XChaCha20-Poly1305 under keys that are derived from the master key (KEY-2, KEY-3). The place and kind
//! of a value are authenticated with it, so a ciphertext that was moved to another row, user or profile does not open.
//! This module knows no table and no SQL.

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

/// Version of the master key in a new store. Each rotation adds one.
pub const FIRST_KEY_VERSION: u32 = 1;
const NONCE_LENGTH: usize = 24;

/// The master key: 32 bytes that are kept outside the database (KEY-1).
pub type MasterKey = LockedKey;

/// The place of a sealed value. All parts are authenticated with the value, together with the version of the master
/// key.
#[derive(Clone, Copy, Debug)]
pub struct AssociatedData<'a> {
    /// Name of the table.
    pub table: &'static str,
    /// Primary key of the row.
    pub row: &'a [u8],
    /// Id of the user that the row belongs to; empty if it belongs to none.
    pub user: &'a [u8],
    /// Kind of the value, such as the type of a secret.
    pub kind: &'static str,
    /// Parameters that must not change under the value, such as the algorithm and digits of a factor; empty if there
    /// are none.
    pub parameters: &'a str,
}

/// The keys derived from the master key, one for each purpose. During a master key rotation it also holds those of the
/// old master key: new values are sealed under the new key, and both keys open values.
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
    /// Derives the keys by HKDF-SHA-256 (RFC 5869), with a label for each purpose.
    fn new(master: &MasterKey, version: u32) -> Result<Arc<Self>, Fault> {
        let keys = Self::derived(master, version);
        // The hash function leaves blocks of the master key on the stack, and later calls may not overwrite them.
        scrub_stack();
        keys.map(Arc::new)
    }

    // A call of its own, so that its stack frame is gone when `scrub_stack` runs.
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
    /// Derives the keys from a master key of that version.
    pub fn new(master: &MasterKey, version: u32) -> Result<Self, Fault> {
        Ok(Self { ring: RwLock::new(Ring { current: Keys::new(master, version)?, old: None }) })
    }

    fn ring(&self) -> Ring {
        self.ring.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn current(&self) -> Arc<Keys> {
        Arc::clone(&self.ring.read().unwrap_or_else(PoisonError::into_inner).current)
    }

    /// Version of the master key that new values are sealed under.
    pub fn key_version(&self) -> u32 {
        self.current().version
    }

    /// Whether all keys are in locked pages, and so never swapped out.
    pub fn are_keys_locked(&self) -> bool {
        self.current().are_locked()
    }

    /// Seals under the next master key from now on. Values sealed under the present one still open.
    pub(crate) fn rotate_to(&self, next: &MasterKey) -> Result<(), Fault> {
        let mut ring = self.ring.write().unwrap_or_else(PoisonError::into_inner);
        // On an error the present key stays in use.
        let next = Keys::new(next, ring.current.version.saturating_add(1))?;
        ring.old = Some(std::mem::replace(&mut ring.current, next));
        Ok(())
    }

    /// Drops the keys of the old master key.
    pub(crate) fn forget_old(&self) {
        self.ring.write().unwrap_or_else(PoisonError::into_inner).old = None;
    }

    /// Whether the keys of an old master key are still held.
    pub(crate) fn is_rotating(&self) -> bool {
        self.ring.read().unwrap_or_else(PoisonError::into_inner).old.is_some()
    }

    /// A value that depends on the master key and the instance id. The start compares it with the stored one to detect
    /// a wrong master key (KEY-1).
    pub fn key_check(&self, instance: &[u8]) -> [u8; 32] {
        self.current().key_check(instance)
    }

    /// The tag of the newest audit row, which detects a truncated log. `word` is additional data that the tag covers,
    /// such as the schema version.
    pub fn audit_head(&self, word: &[u8], seq: i64, hash: &[u8]) -> [u8; 32] {
        keyed(&self.current().audit, &[word, &seq.to_be_bytes(), hash])
    }

    /// Whether `tag` is the tag of that row, under the present or the old master key.
    pub(crate) fn is_audit_head(&self, word: &[u8], seq: i64, hash: &[u8], tag: &[u8]) -> bool {
        let Ring { current, old } = self.ring();
        let is = |keys: &Keys| same_tag(tag, &keyed(&keys.audit, &[word, &seq.to_be_bytes(), hash]));
        is(&current) || old.is_some_and(|old| is(&old))
    }

    /// Authenticates session id and generation of a refresh token.
    pub fn refresh_tag(&self, session: &[u8], generation: u32) -> Sensitive<[u8; 32]> {
        Sensitive::new(keyed(&self.current().refresh, &[session, &generation.to_be_bytes()]))
    }

    /// Throttle bucket for a login that matches no user: one of 65,536. So the table stays small, and an unknown name
    /// is throttled like a known one (AUT-4).
    pub fn unknown_login_place(&self, login: &str) -> [u8; 2] {
        let tag = keyed(&self.current().throttle, &[login.as_bytes()]);
        [tag[0], tag[1]]
    }

    /// The key that backups are encrypted under.
    pub(crate) fn backup_key(&self) -> Result<LockedKey, Fault> {
        LockedKey::from_bytes(self.current().backup.expose())
    }

    /// Seals `plain` for its place. The result is a nonce (24 bytes), the ciphertext and a tag (16 bytes).
    pub fn seal(&self, data: &AssociatedData<'_>, plain: &[u8]) -> Result<Vec<u8>, Fault> {
        let keys = self.current();
        seal_with(keys.seal.expose(), &data.bytes(keys.version), plain)
    }

    /// Opens a value that was sealed for exactly this place. Anything else fails with [`Fault::Seal`] and yields no
    /// bytes (KEY-4).
    pub fn open(&self, data: &AssociatedData<'_>, sealed: &[u8]) -> Result<Sensitive<Vec<u8>>, Fault> {
        let Ring { current, old } = self.ring();
        match (current.open(data, sealed), old) {
            // During a rotation a value may still be sealed under the old key.
            (Err(Fault::Seal), Some(old)) => old.open(data, sealed),
            (opened, _) => opened,
        }
    }

    /// Opens a value only if the old master key sealed it.
    pub(crate) fn open_as_old(&self, data: &AssociatedData<'_>, sealed: &[u8]) -> Result<Sensitive<Vec<u8>>, Fault> {
        self.ring().old.ok_or(Fault::Seal)?.open(data, sealed)
    }

    /// Whether a value is sealed under the present master key.
    pub(crate) fn is_current(&self, data: &AssociatedData<'_>, sealed: &[u8]) -> bool {
        self.current().open(data, sealed).is_ok()
    }
}

/// Encrypts with a random nonce. The result is the nonce, the ciphertext and the tag.
pub(crate) fn seal_with(key: &[u8], aad: &[u8], plain: &[u8]) -> Result<Vec<u8>, Fault> {
    let nonce = entropy::public::<NONCE_LENGTH>().map_err(|_| Fault::Crypto)?;
    let body = cipher(key)?.encrypt(&XNonce::from(nonce), Payload { msg: plain, aad }).map_err(|_| Fault::Crypto)?;
    Ok([nonce.as_slice(), &body].concat())
}

/// Decrypts the output of [`seal_with`] for the same associated data.
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
    /// Encodes every part with its length before it, so that no two places have the same bytes.
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

/// Compares two tags in constant time.
pub fn same_tag(one: &[u8], other: &[u8]) -> bool {
    bool::from(one.ct_eq(other))
}

fn derive(master: &MasterKey, label: &str) -> Result<LockedKey, Fault> {
    LockedKey::filled(|key| {
        Hkdf::<Sha256>::new(None, master.expose()).expand(label.as_bytes(), key).map_err(|_| Fault::Crypto)
    })
}

/// HMAC-SHA-256 (RFC 2104) over the parts, concatenated without lengths. Callers must keep that unambiguous.
pub(crate) fn keyed(key: &LockedKey, parts: &[&[u8]]) -> [u8; 32] {
    // HMAC accepts keys of any length, so 32 bytes cannot fail.
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
