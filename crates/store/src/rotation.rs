//! Master key rotation while the daemon serves (KEY-5). The next key is staged in the store, sealed under the present
//! one, until it has replaced the present one outside. So after a crash at any point the store opens with the key that
//! is outside. This module does not know where the master key is kept.
//!
//! 1. The next key is staged. From then on new values are sealed under it.
//! 2. Values of the old key are opened and re-encrypted, a few in each write.
//! 3. Once every value is counted to be under the new key, the store belongs to the new key.
//! 4. Once the new key has replaced the old one outside, the staged key is deleted.

use std::time::Duration;

use rusqlite::types::Value;
use rusqlite::{Connection, params};

use mfad_core::model::Sensitive;

use super::sealed::Sealed;
use super::vault::{AssociatedData, MasterKey, Vault, same_tag};
use super::{AuditEntry, Decision, Fault, OpenFault, Store, Tx, View, devices, guard, secrets, signing, summaries};
use crate::meta;

/// Key of the `meta` row with the staged key: the version of the master key that it is sealed under (4 bytes,
/// big-endian), then the sealed key.
const NEXT: &str = "next-key";
const VERSION: &str = "key-version";
const CORRUPT_STAGED: Fault = Fault::Corrupt("the staged master key");
pub(super) const STAGED: AssociatedData<'static> =
    AssociatedData { table: "meta", row: b"next-key", user: &[], kind: "master-key", parameters: "" };
/// Values per write, so that other jobs do not wait long.
const PAGE: u32 = 128;

/// The phase of a master key rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// No rotation in progress.
    Idle,
    /// Values that are sealed under the old key are being re-encrypted.
    Reencrypting,
    /// All values are under the new key, but the old key is still the one outside the store.
    AwaitingSwap,
}

/// Progress of a master key rotation.
#[derive(Clone, Copy, Debug)]
pub struct Rotation {
    /// Version of the master key that new values are sealed under.
    pub version: u32,
    /// How far the rotation is; see [`Phase`].
    pub phase: Phase,
    /// Number of sealed values in the store.
    pub total: u64,
    /// How many of them are sealed under the newest master key.
    pub done: u64,
}

/// All tables with sealed values. A new one must be added here, or its values are lost with the old key:
/// [`Store::finish_reencryption`] counts only the tables in this list.
const TABLES: [Sealed; 5] = [secrets::SEALED, signing::SEALED, devices::SEALED, guard::SEALED, summaries::SEALED];

/// A position between two sealed values, over all tables.
pub struct Cursor {
    table: usize,
    after: Value,
}

impl Cursor {
    /// The position before the first value.
    pub fn start() -> Self {
        Self::of_table(0)
    }

    fn of_table(table: usize) -> Self {
        Self { table, after: TABLES.get(table).map_or(Value::Null, |table| (table.first)()) }
    }
}

/// Derives the keys of the store from `master`, which may be the present, the next or the previous master key.
pub(super) fn vault_for(connection: &Connection, master: &MasterKey) -> Result<Vault, OpenFault> {
    let missing = || OpenFault::Damaged("the key-check value is missing".to_owned());
    let instance = meta::meta(connection, "instance")?.ok_or_else(missing)?;
    let check = meta::meta(connection, "key-check")?.ok_or_else(missing)?;
    let version = version(connection)?;
    let vault = Vault::new(master, version)?;
    let next = staged(connection)?.map(|note| note.unwrap(master)).transpose()?.flatten();
    // The key-check value, not the staged key, decides which master key the store belongs to.
    let is_present = same_tag(&check, &vault.key_check(&instance));
    match (is_present, next) {
        // Re-encryption is in progress.
        (true, Some((_, next))) => {
            vault.rotate_to(&next)?;
            Ok(vault)
        }
        (true, None) => Ok(vault),
        // Everything is sealed under the next key, and `master` is the old one, which is still outside.
        (false, Some((noted, next))) => {
            let vault = Vault::new(master, noted)?;
            vault.rotate_to(&next)?;
            let is_next = same_tag(&check, &vault.key_check(&instance));
            if is_next { Ok(vault) } else { Err(OpenFault::WrongKey) }
        }
        (false, None) => Err(OpenFault::WrongKey),
    }
}

/// Version of the master key that the store belongs to.
fn version(connection: &Connection) -> Result<u32, OpenFault> {
    let Some(bytes) = meta::meta(connection, VERSION)? else { return Ok(super::vault::FIRST_KEY_VERSION) };
    let bytes = <[u8; 4]>::try_from(bytes.as_slice());
    bytes.map(u32::from_be_bytes).map_err(|_| OpenFault::Damaged("the master key version is invalid".to_owned()))
}

/// The staged master key as stored.
struct Note {
    /// Version of the master key that it is sealed under.
    version: u32,
    sealed: Vec<u8>,
}

fn staged(connection: &Connection) -> Result<Option<Note>, Fault> {
    let Some(note) = meta::meta(connection, NEXT)? else { return Ok(None) };
    let (version, sealed) = note.split_first_chunk::<4>().ok_or(CORRUPT_STAGED)?;
    Ok(Some(Note { version: u32::from_be_bytes(*version), sealed: sealed.to_vec() }))
}

impl Note {
    /// Returns the staged key and the version of the key it is sealed under, if `master` is that key.
    fn unwrap(&self, master: &MasterKey) -> Result<Option<(u32, MasterKey)>, Fault> {
        match Vault::new(master, self.version)?.open(&STAGED, &self.sealed) {
            Ok(key) => key_of(&key).map(|key| Some((self.version, key))),
            Err(_) => Ok(None),
        }
    }
}

fn key_of(bytes: &Sensitive<Vec<u8>>) -> Result<MasterKey, Fault> {
    MasterKey::from_bytes(bytes.expose()).map_err(|_| CORRUPT_STAGED)
}

/// Deletes, at start, a staged key of a rotation that has ended: one that the present key did not seal.
pub(super) fn forget_ended(connection: &Connection, vault: &Vault) -> Result<(), Fault> {
    if !vault.is_rotating() && meta::meta(connection, NEXT)?.is_some() {
        meta::delete_meta(connection, NEXT)?;
    }
    Ok(())
}

impl View<'_> {
    fn phase(&self) -> Result<Phase, Fault> {
        if meta::meta(self.connection, NEXT)?.is_none() {
            return Ok(Phase::Idle);
        }
        // The key is staged, and [`Store::begin_rotation`] is about to load it.
        if !self.vault.is_rotating() {
            return Ok(Phase::Reencrypting);
        }
        let instance = meta::instance(self.connection)?;
        let check = meta::meta(self.connection, "key-check")?.ok_or(Fault::Corrupt("the key-check value"))?;
        let belongs_to_new = same_tag(&check, &self.vault.key_check(&instance));
        Ok(if belongs_to_new { Phase::AwaitingSwap } else { Phase::Reencrypting })
    }

    /// Counts all sealed values, and those under the newest master key.
    fn count_sealed(&self) -> Result<(u64, u64), Fault> {
        let (mut total, mut done) = (0u64, 0u64);
        let mut cursor = Cursor::start();
        while let Some(table) = TABLES.get(cursor.table) {
            let values = (table.after)(self.connection, &cursor.after, PAGE)?;
            for value in &values {
                total = total.saturating_add(1);
                done =
                    done.saturating_add(u64::from(self.vault.is_current(&value.home.associated_data(), &value.sealed)));
            }
            // An empty page means that the table is done.
            cursor = match values.into_iter().next_back() {
                Some(last) => Cursor { after: last.key, ..cursor },
                None => Cursor::of_table(cursor.table.saturating_add(1)),
            };
        }
        Ok((total, done))
    }
}

impl Tx<'_> {
    /// Re-encrypts the next values after a position, where needed. Returns the position to continue from, or `None` at
    /// the end.
    fn reencrypt(&self, cursor: &Cursor) -> Result<Option<Cursor>, Fault> {
        let Some(table) = TABLES.get(cursor.table) else { return Ok(None) };
        let values = (table.after)(self.writing()?, &cursor.after, PAGE)?;
        for value in &values {
            let data = value.home.associated_data();
            if !self.vault.is_current(&data, &value.sealed) {
                // A value that neither key opens stays as it is, and the others still get the new key. The count in
                // `finish_reencryption` then keeps the rotation from completing.
                let plain = match self.vault.open(&data, &value.sealed) {
                    Err(Fault::Seal) => {
                        tracing::error!(table = value.home.table, "a sealed value cannot be decrypted; left unchanged");
                        continue;
                    }
                    opened => opened?,
                };
                let sealed = self.vault.seal(&data, plain.expose())?;
                self.writing()?.prepare_cached(table.put)?.execute(params![value.key, sealed])?;
            }
        }
        let next = values.into_iter().next_back().map(|last| Cursor { table: cursor.table, after: last.key });
        Ok(Some(next.unwrap_or_else(|| Cursor::of_table(cursor.table.saturating_add(1)))))
    }
}

impl Store {
    /// Returns the progress of a master key rotation. Opens every sealed value to count them, so it is slow for a large
    /// store.
    pub fn rotation(&self, patience: Duration) -> Result<Rotation, Fault> {
        self.read(patience, |view| {
            let (total, done) = view.count_sealed()?;
            Ok(Rotation { version: view.vault.key_version(), phase: view.phase()?, total, done })
        })
    }

    /// Returns the phase without counting values.
    pub fn phase(&self, patience: Duration) -> Result<Phase, Fault> {
        self.read(patience, |view| view.phase())
    }

    /// Stages the next master key and seals new values under it from then on. Does nothing if a rotation is in
    /// progress.
    pub fn begin_rotation(&self, patience: Duration, next: &MasterKey, entry: AuditEntry) -> Result<(), Fault> {
        let copy = MasterKey::from_bytes(next.expose())?;
        let has_begun = self.write(patience, move |tx| {
            if tx.phase()? != Phase::Idle {
                return Ok(Decision::Rollback(false));
            }
            let sealed = tx.vault.seal(&STAGED, copy.expose())?;
            let note = [tx.vault.key_version().to_be_bytes().as_slice(), &sealed].concat();
            meta::put_meta(tx.writing()?, NEXT, &note)?;
            tx.audit(&entry)?;
            Ok(Decision::Commit(true))
        })?;
        // Only once the staged key is durable: a crash before that would lose the key, and with it every value sealed
        // under it.
        if has_begun {
            self.vault.rotate_to(next)?;
        }
        Ok(())
    }

    /// Loads the staged master key if it is not loaded yet, since a write whose caller ran out of patience may still
    /// have been committed. The caller must prevent that another rotation begins meanwhile.
    pub fn take_up_staged_key(&self, patience: Duration) -> Result<(), Fault> {
        if self.vault.is_rotating() {
            // The end of a rotation may also have been committed after its caller ran out of patience.
            if self.phase(patience)? == Phase::Idle {
                self.vault.forget_old();
            }
            return Ok(());
        }
        let noted = self.read(patience, |view| {
            let Some(note) = staged(view.connection)? else { return Ok(None) };
            // A staged key that the present key did not seal belongs to a rotation that has ended.
            view.vault.open(&STAGED, &note.sealed).ok().map(|key| key_of(&key)).transpose()
        })?;
        noted.map_or(Ok(()), |next| self.vault.rotate_to(&next))
    }

    /// Returns whether `key` is the newest master key, which new values are sealed under.
    pub fn is_newest_key(&self, patience: Duration, key: &MasterKey) -> Result<bool, Fault> {
        let given = Vault::new(key, self.vault.key_version())?;
        self.read(patience, |view| {
            let instance = meta::instance(view.connection)?;
            Ok(same_tag(&given.key_check(&instance), &view.vault.key_check(&instance)))
        })
    }

    /// Re-encrypts some more values. Returns the position to continue from, or `None` at the end.
    pub fn reencrypt(&self, patience: Duration, cursor: Cursor) -> Result<Option<Cursor>, Fault> {
        self.write(patience, move |tx| tx.reencrypt(&cursor).map(Decision::Commit))
    }

    /// Assigns the store to the new master key if every value is sealed under it, and writes the audit entry made by
    /// `entry` from their number. Returns that number, or `None` if values of the old key are left or no re-encryption
    /// is in progress.
    pub fn finish_reencryption(
        &self,
        patience: Duration,
        entry: impl FnOnce(u64) -> AuditEntry + Send + 'static,
    ) -> Result<Option<u64>, Fault> {
        self.write(patience, move |tx| {
            // Counted in the same transaction, since other jobs write sealed values between two pages of the
            // re-encryption.
            let (total, done) = tx.count_sealed()?;
            if total != done || tx.phase()? != Phase::Reencrypting {
                return Ok(Decision::Rollback(None));
            }
            let instance = meta::instance(tx.connection)?;
            meta::put_meta(tx.writing()?, "key-check", &tx.vault.key_check(&instance))?;
            meta::put_meta(tx.writing()?, VERSION, &tx.vault.key_version().to_be_bytes())?;
            tx.audit(&entry(total))?;
            Ok(Decision::Commit(Some(total)))
        })
    }

    /// Returns the new master key, so that the caller can put it in place of the old one outside the store. `None` if
    /// no rotation is in progress.
    pub fn next_key(&self, patience: Duration) -> Result<Option<MasterKey>, Fault> {
        self.read(patience, |view| {
            let Some(note) = staged(view.connection)? else { return Ok(None) };
            key_of(&view.vault.open_as_old(&STAGED, &note.sealed)?).map(Some)
        })
    }

    /// Ends the rotation after the new master key has replaced the old one outside the store, and forgets the old key.
    pub fn end_rotation(&self, patience: Duration, entry: AuditEntry) -> Result<(), Fault> {
        self.write(patience, move |tx| {
            if tx.phase()? != Phase::AwaitingSwap {
                return Ok(Decision::Rollback(()));
            }
            meta::delete_meta(tx.writing()?, NEXT)?;
            tx.audit(&entry)?;
            Ok(Decision::Commit(()))
        })?;
        self.vault.forget_old();
        Ok(())
    }
}
