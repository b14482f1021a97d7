//! The master key, and copies of the store: what its key_store needs and nobody else.

use std::time::Duration;

use crate::error::Error;
use mfad_core::sync::{Mutex, PoisonError, TryLockError};
use mfad_store::{Cursor, MasterKey, Outcome, Phase, Rotation};

use super::{Reply, RequestContext, Service};

/// Writes of one request that changes the master key; the request then tells how far it is.
const WRITES_AT_ONCE: u32 = 16;

/// Who keeps the master key outside the store.
pub trait MasterKeyStore: Send + Sync {
    /// Where it is kept.
    fn source(&self) -> KeySource;
    /// Puts a new key in the place of the old one, durably. Asked only where the source is a file.
    fn replace(&self, key: &MasterKey) -> Result<(), String>;
}

/// Where the master key is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// In a file of the daemon's own.
    File,
    /// In a credential that the service manager hands over, and that the daemon cannot write.
    Credential,
}

/// The master key as shown: everything but the key.
#[derive(Clone, Copy, Debug)]
pub struct MasterKeyView {
    /// Where it is kept.
    pub source: KeySource,
    /// How far a change of it is.
    pub rotation: Rotation,
}

/// The place outside the store where the master key is kept, and how far its rotation is.
pub(super) struct MasterKeyRotation {
    store: Box<dyn MasterKeyStore>,
    /// Where re-encryption goes on. Held by the one that works on it.
    progress: Mutex<Option<Cursor>>,
}

impl MasterKeyRotation {
    pub(super) fn new(store: Box<dyn MasterKeyStore>) -> Self {
        Self { store, progress: Mutex::default() }
    }
}

impl Service {
    /// Where the master key is kept and how far a change of it is.
    pub(super) fn show_key(&self, context: &RequestContext) -> Result<Reply, Error> {
        let rotation = self.store.rotation(context.patience)?;
        Ok(Reply::MasterKey(MasterKeyView { source: self.master_key.store.source(), rotation }))
    }

    /// Begins a change of the master key, or goes on with the one that is under way.
    pub(super) fn rotate_key(&self, context: &RequestContext, next: Option<MasterKey>) -> Result<Reply, Error> {
        // Housekeeping must not meet a key that is noted and not held yet.
        let turn = self.master_key.progress.lock().unwrap_or_else(PoisonError::into_inner);
        if self.store.phase(context.patience)? == Phase::Idle {
            let next = match (self.master_key.store.source(), next.as_ref()) {
                (KeySource::File, None) => MasterKey::random()?,
                (KeySource::Credential, Some(key)) => MasterKey::from_bytes(key.expose())?,
                (KeySource::File, Some(_)) => {
                    return Err(Error::Malformed(
                        "the daemon keeps the master key and makes a new one itself".to_owned(),
                    ));
                }
                (KeySource::Credential, None) => {
                    return Err(Error::Malformed(
                        "the master key is a credential; the new one has to be given".to_owned(),
                    ));
                }
            };
            let mut entry = context.entry("key.rotate", Outcome::Ok, None, None);
            entry.detail = context.reason();
            self.store.begin_rotation(context.patience, &next, entry)?;
        }
        self.store.take_up_staged_key(context.patience)?;
        // Whoever gave another key than the one that is noted would put one outside that opens nothing.
        if let Some(given) = &next
            && !self.store.is_newest_key(context.patience, given)?
        {
            return Err(Error::Version);
        }
        drop(turn);
        self.go_on_with_rotation(context, context.patience, WRITES_AT_ONCE)?;
        self.show_key(context)
    }

    /// Works on a change of the master key, if one is under way and nobody else does.
    pub(super) fn go_on_with_rotation(
        &self,
        context: &RequestContext,
        patience: Duration,
        writes: u32,
    ) -> Result<(), Error> {
        let mut cursor = match self.master_key.progress.try_lock() {
            Ok(cursor) => cursor,
            Err(TryLockError::Poisoned(poisoned)) => PoisonError::into_inner(poisoned),
            Err(TryLockError::WouldBlock) => return Ok(()),
        };
        self.store.take_up_staged_key(patience)?;
        if self.store.phase(patience)? == Phase::Reencrypting {
            for _ in 0..writes {
                *cursor = self.store.reencrypt(patience, cursor.take().unwrap_or_else(Cursor::start))?;
                if cursor.is_none() {
                    break;
                }
            }
            if cursor.is_some() {
                return Ok(());
            }
            let at = context.clone();
            let entry = move |count: u64| {
                at.entry_with(
                    "key.resealed",
                    Outcome::Ok,
                    None,
                    None,
                    format!("{count} values under the new master key"),
                )
            };
            match self.store.finish_reencryption(patience, entry)? {
                Some(count) => tracing::info!(count, "every sealed value is under the new master key"),
                // Begins again from the start.
                None => tracing::warn!("values of the old master key are left; they are sealed again"),
            }
        }
        self.hand_over_key(context, patience)
    }

    /// Puts the new key in the place of the old one, where the daemon can.
    fn hand_over_key(&self, context: &RequestContext, patience: Duration) -> Result<(), Error> {
        let is_ours = self.master_key.store.source() == KeySource::File;
        if !is_ours || self.store.phase(patience)? != Phase::AwaitingSwap {
            return Ok(());
        }
        let key = self.store.next_key(patience)?;
        let key = key.ok_or_else(|| Error::Internal("the next master key is gone".to_owned()))?;
        self.master_key.store.replace(&key).map_err(Error::StorageUnavailable)?;
        self.store.end_rotation(patience, context.entry("key.replaced", Outcome::Ok, None, None))?;
        tracing::info!("the new master key has taken the place of the old one");
        Ok(())
    }

    /// A copy of the store. Not while the key changes: which one it would need could not be told later.
    pub(super) fn back_up(&self, context: &RequestContext) -> Result<Reply, Error> {
        // One copy at a time, and no change of the key until it is made.
        let _turn = self.master_key.progress.lock().unwrap_or_else(PoisonError::into_inner);
        if self.store.phase(context.patience)? != Phase::Idle {
            return Err(Error::NotReady("the master key is being changed; take the backup once that is over"));
        }
        let mut entry = context.clone().entry("store.backup", Outcome::Ok, None, None);
        entry.detail = context.reason();
        // Its own row is in the copy.
        self.change(context, move |tx, _| Ok(tx.audit(&entry)?))?;
        Ok(Reply::Backup(Box::new(self.store.backup(context.patience, context.now.wall_ms)?)))
    }
}
