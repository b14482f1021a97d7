//! The master key, its rotation, and backups, which must not overlap. No other use case sees the master key.

use std::path::PathBuf;
use std::time::Duration;

use crate::error::Error;
use mfad_api::AuditEvent;
use mfad_core::sync::{Mutex, PoisonError, TryLockError};
use mfad_store::{Cursor, MasterKey, Outcome, Phase, Rotation};

use super::{Reply, RequestContext, Service};

/// Writes in one request that rotates the master key. The reply then shows the progress, and the next request
/// continues.
const WRITES_AT_ONCE: u32 = 16;

/// The place outside the store where the master key is kept.
pub trait MasterKeyStore: Send + Sync {
    /// Returns how the master key is stored.
    fn source(&self) -> KeySource;
    /// Replaces the old master key with a new one, durably. Called only if the source is [`KeySource::File`].
    fn replace(&self, key: &MasterKey) -> Result<(), String>;
}

/// How the master key is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// A file in the daemon's state directory, which the daemon can replace.
    File,
    /// A systemd credential, which the daemon cannot write.
    Credential,
}

/// The master key as shown: everything but the key itself.
#[derive(Clone, Debug)]
pub struct MasterKeyView {
    /// How it is stored.
    pub source: KeySource,
    /// Progress of its rotation.
    pub rotation: Rotation,
    /// The directory of the store whose values it encrypts.
    pub state_dir: PathBuf,
}

/// The place outside the store where the master key is kept, and the progress of its rotation.
pub(super) struct MasterKeyRotation {
    store: Box<dyn MasterKeyStore>,
    /// Where re-encryption continues. Locked by the request or housekeeping that works on it, and during a backup.
    progress: Mutex<Option<Cursor>>,
}

impl MasterKeyRotation {
    pub(super) fn new(store: Box<dyn MasterKeyStore>) -> Self {
        Self { store, progress: Mutex::default() }
    }
}

impl Service {
    /// Shows where the master key is kept, and the progress of its rotation.
    pub(super) fn show_key(&self, context: &RequestContext) -> Result<Reply, Error> {
        let rotation = self.store.rotation(context.patience)?;
        let state_dir = self.store.dir().to_owned();
        Ok(Reply::MasterKey(MasterKeyView { source: self.master_key.store.source(), rotation, state_dir }))
    }

    /// Begins a rotation of the master key, or continues the one in progress.
    pub(super) fn rotate_key(&self, context: &RequestContext, next: Option<MasterKey>) -> Result<Reply, Error> {
        // Housekeeping must not meet a key that is staged in the store but not loaded yet.
        let turn = self.master_key.progress.lock().unwrap_or_else(PoisonError::into_inner);
        if self.store.phase(context.patience)? == Phase::Idle {
            let next = match (self.master_key.store.source(), next.as_ref()) {
                (KeySource::File, None) => MasterKey::random()?,
                (KeySource::Credential, Some(key)) => MasterKey::from_bytes(key.expose())?,
                (KeySource::File, Some(_)) => {
                    return Err(Error::Malformed(
                        "the daemon keeps the master key and makes the new one itself; leave out the body".to_owned(),
                    ));
                }
                (KeySource::Credential, None) => {
                    return Err(Error::Malformed(
                        "the master key is a credential; send the new key as `key`".to_owned(),
                    ));
                }
            };
            let mut entry = context.entry(AuditEvent::KeyRotate, Outcome::Ok, None, None);
            entry.detail = context.reason();
            self.store.begin_rotation(context.patience, &next, entry)?;
        }
        // A begin whose caller gave up waiting may have been committed all the same; its key is loaded here.
        self.store.take_up_staged_key(context.patience)?;
        // A caller that gives another key than the staged one would put a credential in place that decrypts nothing.
        if let Some(given) = &next
            && !self.store.is_newest_key(context.patience, given)?
        {
            return Err(Error::Version);
        }
        drop(turn);
        self.go_on_with_rotation(context, context.patience, WRITES_AT_ONCE)?;
        self.show_key(context)
    }

    /// Continues a rotation of the master key, for at most `writes` writes. Does nothing if there is none, or if
    /// another thread works on it.
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
                    AuditEvent::KeyResealed,
                    Outcome::Ok,
                    None,
                    None,
                    format!("{count} values under the new master key"),
                )
            };
            match self.store.finish_reencryption(patience, entry)? {
                Some(count) => tracing::info!(count, "all values are encrypted under the new master key"),
                // The next call begins again at the first value.
                None => tracing::warn!("values under the old master key remain; re-encryption starts again"),
            }
        }
        self.hand_over_key(context, patience)
    }

    /// Replaces the old master key outside the store, if the daemon can. For a credential, `mfactl` does it.
    fn hand_over_key(&self, context: &RequestContext, patience: Duration) -> Result<(), Error> {
        let is_ours = self.master_key.store.source() == KeySource::File;
        if !is_ours || self.store.phase(patience)? != Phase::AwaitingSwap {
            return Ok(());
        }
        let key = self.store.next_key(patience)?;
        let key = key.ok_or_else(|| Error::Internal("the next master key is gone".to_owned()))?;
        self.master_key.store.replace(&key).map_err(Error::StorageUnavailable)?;
        self.store.end_rotation(patience, context.entry(AuditEvent::KeyReplaced, Outcome::Ok, None, None))?;
        tracing::info!("the new master key has replaced the old one");
        Ok(())
    }

    /// Takes a copy of the store. Refused during a rotation, since it would be unknown later which master key the copy
    /// needs.
    pub(super) fn back_up(&self, context: &RequestContext) -> Result<Reply, Error> {
        // One copy at a time, and no rotation until it is made.
        let _turn = self.master_key.progress.lock().unwrap_or_else(PoisonError::into_inner);
        if self.store.phase(context.patience)? != Phase::Idle {
            return Err(Error::NotReady("the master key is being changed; take the backup once that is over"));
        }
        let mut entry = context.clone().entry(AuditEvent::StoreBackup, Outcome::Ok, None, None);
        entry.detail = context.reason();
        // The audit row of the backup is committed first, so that the copy contains it.
        self.change(context, move |tx, _| Ok(tx.audit(&entry)?))?;
        Ok(Reply::Backup(Box::new(self.store.backup(context.patience, context.now.wall_ms)?)))
    }
}
