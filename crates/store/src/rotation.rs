//! A new master key, without a stop (KEY-5). The next key lies in the store, sealed under the present one, until it has
//! taken the place of the present one outside; so a crash at any point leaves a store that opens with either.
//!
//! 1. The next key is noted. From then on new values are sealed under it.
//! 2. What the old key sealed is opened and sealed again, a few values a write.
//! 3. Once every value is counted to be under the new key, the store belongs to the new key.
//! 4. Once the new key is outside, the note goes.

use std::time::Duration;

use rusqlite::types::Value;
use rusqlite::{Connection, params};

use mfad_core::model::Sensitive;

use super::vault::{AssociatedData, MasterKey, Vault, same_tag};
use super::{
    AuditEntry, Decision, Fault, OpenFault, Store, Tx, View, devices, files, guard, secrets, signing, summaries,
};

/// The next key: the version of the key it is sealed under, then the sealed key.
const NEXT: &str = "next-key";
const VERSION: &str = "key-version";
const CORRUPT_STAGED: Fault = Fault::Corrupt("the next master key");
pub(super) const STAGED: AssociatedData<'static> =
    AssociatedData { table: "meta", row: b"next-key", user: &[], kind: "master-key", parameters: "" };
/// Values sealed again in one write.
const PAGE: u32 = 128;

/// Where a change of the master key stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// There is none.
    Idle,
    /// Values of the old key are being sealed again.
    Reencrypting,
    /// All values are under the new key, and the old one is still outside.
    AwaitingSwap,
}

/// How far a change of the master key is.
#[derive(Clone, Copy, Debug)]
pub struct Rotation {
    /// The version of the key that new values are sealed under.
    pub version: u32,
    /// Where it stands.
    pub phase: Phase,
    /// Sealed values in the store.
    pub total: u64,
    /// Those of them under the newest key.
    pub done: u64,
}

/// A sealed value wherever it stands.
pub(super) struct SealedValue {
    /// The key of its row.
    pub(super) key: Value,
    pub(super) home: OwnedAssociatedData,
    pub(super) sealed: Vec<u8>,
}

/// A [`AssociatedData`] that owns its parts.
pub(super) struct OwnedAssociatedData {
    pub(super) table: &'static str,
    pub(super) row: Vec<u8>,
    pub(super) user: Vec<u8>,
    pub(super) kind: &'static str,
    pub(super) parameters: String,
}

impl OwnedAssociatedData {
    fn associated_data(&self) -> AssociatedData<'_> {
        AssociatedData {
            table: self.table,
            row: &self.row,
            user: &self.user,
            kind: self.kind,
            parameters: &self.parameters,
        }
    }
}

/// A table with sealed values.
pub(super) struct Sealed {
    /// Below every key.
    pub(super) first: fn() -> Value,
    /// The next values after a key, in the order of keys.
    pub(super) after: fn(&Connection, &Value, u32) -> Result<Vec<SealedValue>, Fault>,
    /// Puts a value (second parameter) into the row of a key (first).
    pub(super) put: &'static str,
}

/// All of them. A table that is missing here would be lost with the old key; [`Store::finish_reencryption`] cannot see it, but the
/// test that looks for every BLOB column can.
const TABLES: [Sealed; 5] = [secrets::SEALED, signing::SEALED, devices::SEALED, guard::SEALED, summaries::SEALED];

/// A place between two values of all tables.
pub struct Cursor {
    table: usize,
    after: Value,
}

impl Cursor {
    /// Before the first value.
    pub fn start() -> Self {
        Self::of_table(0)
    }

    fn of_table(table: usize) -> Self {
        Self { table, after: TABLES.get(table).map_or(Value::Null, |table| (table.first)()) }
    }
}

/// The store's keys for a master key, whether it is the present one, the next one, or the last one.
pub(super) fn vault_for(connection: &Connection, master: &MasterKey) -> Result<Vault, OpenFault> {
    let missing = || OpenFault::Damaged("the key check is missing".to_owned());
    let instance = files::meta(connection, "instance")?.ok_or_else(missing)?;
    let check = files::meta(connection, "key-check")?.ok_or_else(missing)?;
    let version = version(connection)?;
    let vault = Vault::new(master, version)?;
    let next = staged(connection)?.map(|note| note.unwrap(master)).transpose()?.flatten();
    let is_present = same_tag(&check, &vault.key_check(&instance));
    match (is_present, next) {
        // In the middle of sealing again.
        (true, Some((_, next))) => {
            vault.rotate_to(&next)?;
            Ok(vault)
        }
        (true, None) => Ok(vault),
        // Everything is sealed under the next key, and the last one is still outside.
        (false, Some((noted, next))) => {
            let vault = Vault::new(master, noted)?;
            vault.rotate_to(&next)?;
            let is_next = same_tag(&check, &vault.key_check(&instance));
            if is_next { Ok(vault) } else { Err(OpenFault::WrongKey) }
        }
        (false, None) => Err(OpenFault::WrongKey),
    }
}

/// The version of the key that the store belongs to.
fn version(connection: &Connection) -> Result<u32, OpenFault> {
    let Some(bytes) = files::meta(connection, VERSION)? else { return Ok(super::vault::FIRST_KEY_VERSION) };
    let bytes = <[u8; 4]>::try_from(bytes.as_slice());
    bytes.map(u32::from_be_bytes).map_err(|_| OpenFault::Damaged("the key version is none".to_owned()))
}

/// The next key as it is noted.
struct Note {
    /// Of the key that it is sealed under.
    version: u32,
    sealed: Vec<u8>,
}

fn staged(connection: &Connection) -> Result<Option<Note>, Fault> {
    let Some(note) = files::meta(connection, NEXT)? else { return Ok(None) };
    let (version, sealed) = note.split_first_chunk::<4>().ok_or(CORRUPT_STAGED)?;
    Ok(Some(Note { version: u32::from_be_bytes(*version), sealed: sealed.to_vec() }))
}

impl Note {
    /// The noted key and the version of the key it is sealed under, if `master` is that key.
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

/// At start: a note that the present key did not seal is of a change that has ended.
pub(super) fn forget_ended(connection: &Connection, vault: &Vault) -> Result<(), Fault> {
    if !vault.is_rotating() && files::meta(connection, NEXT)?.is_some() {
        files::delete_meta(connection, NEXT)?;
    }
    Ok(())
}

impl View<'_> {
    fn phase(&self) -> Result<Phase, Fault> {
        if files::meta(self.connection, NEXT)?.is_none() {
            return Ok(Phase::Idle);
        }
        // Noted, and about to be held.
        if !self.vault.is_rotating() {
            return Ok(Phase::Reencrypting);
        }
        let instance = files::instance(self.connection)?;
        let check = files::meta(self.connection, "key-check")?.ok_or(Fault::Corrupt("the key check"))?;
        let belongs_to_new = same_tag(&check, &self.vault.key_check(&instance));
        Ok(if belongs_to_new { Phase::AwaitingSwap } else { Phase::Reencrypting })
    }

    /// All sealed values, and those under the newest key.
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
            cursor = match values.into_iter().next_back() {
                Some(last) => Cursor { after: last.key, ..cursor },
                None => Cursor::of_table(cursor.table.saturating_add(1)),
            };
        }
        Ok((total, done))
    }
}

impl Tx<'_> {
    /// Seals the values after a place again, where that is needed; the place to go on from, or `None` at the end.
    fn reencrypt(&self, cursor: &Cursor) -> Result<Option<Cursor>, Fault> {
        let Some(table) = TABLES.get(cursor.table) else { return Ok(None) };
        let values = (table.after)(self.connection, &cursor.after, PAGE)?;
        for value in &values {
            let data = value.home.associated_data();
            if !self.vault.is_current(&data, &value.sealed) {
                // One that neither key opens stays as it is: it must not keep the others from the new key. The count tells.
                let plain = match self.vault.open(&data, &value.sealed) {
                    Err(Fault::Seal) => {
                        tracing::error!(table = value.home.table, "a sealed value does not open and stays as it is");
                        continue;
                    }
                    opened => opened?,
                };
                let sealed = self.vault.seal(&data, plain.expose())?;
                self.connection.prepare_cached(table.put)?.execute(params![value.key, sealed])?;
            }
        }
        let next = values.into_iter().next_back().map(|last| Cursor { table: cursor.table, after: last.key });
        Ok(Some(next.unwrap_or_else(|| Cursor::of_table(cursor.table.saturating_add(1)))))
    }
}

impl Store {
    /// How far a change of the master key is; counts by opening every value.
    pub fn rotation(&self, patience: Duration) -> Result<Rotation, Fault> {
        self.read(patience, |view| {
            let (total, done) = view.count_sealed()?;
            Ok(Rotation { version: view.vault.key_version(), phase: view.phase()?, total, done })
        })
    }

    /// Where it stands, without counting.
    pub fn phase(&self, patience: Duration) -> Result<Phase, Fault> {
        self.read(patience, |view| view.phase())
    }

    /// Notes the next master key and seals under it from now on, unless a change is under way already.
    pub fn begin_rotation(&self, patience: Duration, next: &MasterKey, entry: AuditEntry) -> Result<(), Fault> {
        let copy = MasterKey::from_bytes(next.expose())?;
        let has_begun = self.write(patience, move |tx| {
            if tx.phase()? != Phase::Idle {
                return Ok(Decision::Rollback(false));
            }
            let sealed = tx.vault.seal(&STAGED, copy.expose())?;
            let note = [tx.vault.key_version().to_be_bytes().as_slice(), &sealed].concat();
            files::put_meta(tx.connection, NEXT, &note)?;
            tx.audit(&entry)?;
            Ok(Decision::Commit(true))
        })?;
        // Only once the note is durable: a value under a key that nobody has would be lost.
        if has_begun {
            self.vault.rotate_to(next)?;
        }
        Ok(())
    }

    /// Holds the next master key if it is noted and not held yet: a write whose caller lost patience may be committed all the
    /// same. Nobody else may begin a change meanwhile.
    pub fn take_up_staged_key(&self, patience: Duration) -> Result<(), Fault> {
        if self.vault.is_rotating() {
            // An end whose caller lost patience, too.
            if self.phase(patience)? == Phase::Idle {
                self.vault.forget_old();
            }
            return Ok(());
        }
        let noted = self.read(patience, |view| {
            let Some(note) = staged(view.connection)? else { return Ok(None) };
            // One that the present key did not seal is of a change that has ended.
            view.vault.open(&STAGED, &note.sealed).ok().map(|key| key_of(&key)).transpose()
        })?;
        noted.map_or(Ok(()), |next| self.vault.rotate_to(&next))
    }

    /// Whether that is the newest master key, which values are sealed under now.
    pub fn is_newest_key(&self, patience: Duration, key: &MasterKey) -> Result<bool, Fault> {
        let given = Vault::new(key, self.vault.key_version())?;
        self.read(patience, |view| {
            let instance = files::instance(view.connection)?;
            Ok(same_tag(&given.key_check(&instance), &view.vault.key_check(&instance)))
        })
    }

    /// Seals some more values again; the place to go on from, or `None` at the end.
    pub fn reencrypt(&self, patience: Duration, cursor: Cursor) -> Result<Option<Cursor>, Fault> {
        self.write(patience, move |tx| tx.reencrypt(&cursor).map(Decision::Commit))
    }

    /// Gives the store to the new key if every value is under it; how many there are.
    pub fn finish_reencryption(
        &self,
        patience: Duration,
        entry: impl FnOnce(u64) -> AuditEntry + Send + 'static,
    ) -> Result<Option<u64>, Fault> {
        self.write(patience, move |tx| {
            let (total, done) = tx.count_sealed()?;
            if total != done || tx.phase()? != Phase::Reencrypting {
                return Ok(Decision::Rollback(None));
            }
            let instance = files::instance(tx.connection)?;
            files::put_meta(tx.connection, "key-check", &tx.vault.key_check(&instance))?;
            files::put_meta(tx.connection, VERSION, &tx.vault.key_version().to_be_bytes())?;
            tx.audit(&entry(total))?;
            Ok(Decision::Commit(Some(total)))
        })
    }

    /// The new master key, for whoever puts it in the place of the old one.
    pub fn next_key(&self, patience: Duration) -> Result<Option<MasterKey>, Fault> {
        self.read(patience, |view| {
            let Some(note) = staged(view.connection)? else { return Ok(None) };
            key_of(&view.vault.open_as_old(&STAGED, &note.sealed)?).map(Some)
        })
    }

    /// Ends the change: the new key is in its place.
    pub fn end_rotation(&self, patience: Duration, entry: AuditEntry) -> Result<(), Fault> {
        self.write(patience, move |tx| {
            if tx.phase()? != Phase::AwaitingSwap {
                return Ok(Decision::Rollback(()));
            }
            files::delete_meta(tx.connection, NEXT)?;
            tx.audit(&entry)?;
            Ok(Decision::Commit(()))
        })?;
        self.vault.forget_old();
        Ok(())
    }
}
