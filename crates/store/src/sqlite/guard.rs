//! The roll-back guard: detects that the store was replaced by an older state of itself (STO-12). Every used code and
//! every change of a factor has an audit row. The guard records the newest row in a file in another directory, shortly
//! after its commit. At start the audit chain must still contain the recorded row. A store that does not is an older
//! one, or a copy that has diverged since. This module decides nothing about requests.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use data_encoding::HEXLOWER;
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension};

use mfad_core::model::scrub_stack;
use mfad_core::sync::thread::{self, JoinHandle};
use mfad_core::sync::{Condvar, Mutex, PoisonError};

use crate::audit::Head;
use crate::meta;
use crate::sealed::{OwnedAssociatedData, Sealed, SealedValue};
use crate::vault::locked::LockedKey;
use crate::vault::{AssociatedData, Vault, keyed, same_tag};
use crate::{Fault, OpenFault, audit};

const FILE: &str = "mfad.guard";
const FIRST_LINE: &str = "mfad guard 1";
/// Key of the `meta` row with the sealed key that authenticates the guard's file.
const KEY: &str = "guard-key";
/// Key of the `meta` row which marks that the file was written once. The tag of the audit log covers whether the row
/// exists, so deleting it is detected.
const KNOWN: &str = "guard-known";
const KEY_DATA: AssociatedData<'static> =
    AssociatedData { table: "meta", row: b"guard-key", user: &[], kind: "guard", parameters: "" };
/// Shortest time between two writes of the file. It keeps a busy daemon from syncing a second file for every commit.
const PAUSE: Duration = Duration::from_secs(1);

/// The guard's key as a sealed value, for master key rotation.
pub(crate) const SEALED: Sealed = Sealed {
    first: || Value::Text(String::new()),
    after: |connection, after, _| {
        let Value::Text(after) = after else { return Ok(Vec::new()) };
        let sealed = if after.is_empty() { meta::meta(connection, KEY)? } else { None };
        let home = || OwnedAssociatedData {
            table: KEY_DATA.table,
            row: KEY_DATA.row.to_vec(),
            user: Vec::new(),
            kind: KEY_DATA.kind,
            parameters: String::new(),
        };
        let value = |sealed| SealedValue { key: Value::Text(KEY.to_owned()), home: home(), sealed };
        Ok(sealed.map(value).into_iter().collect())
    },
    put: "UPDATE meta SET value = ?2 WHERE key = ?1",
};

/// The guard's file for one store.
pub(crate) struct GuardRecord {
    path: PathBuf,
    instance: Vec<u8>,
    key: LockedKey,
    /// Whether the store has had a guard before.
    is_known: bool,
}

impl GuardRecord {
    /// Creates the directory if it is missing (mode 0700), and the guard's key if the store has none.
    pub(crate) fn new(dir: &Path, connection: &Connection, vault: &Vault) -> Result<Self, OpenFault> {
        if fs::symlink_metadata(dir).is_err() {
            DirBuilder::new().mode(0o700).create(dir)?;
        }
        let instance = meta::instance(connection)?;
        let is_known = is_known(connection)?;
        let key = match meta::meta(connection, KEY)? {
            Some(sealed) => {
                let opened = vault.open(&KEY_DATA, &sealed)?;
                LockedKey::from_bytes(opened.expose()).map_err(|_| Fault::Corrupt("the roll-back guard key"))?
            }
            None => {
                let key = LockedKey::random()?;
                meta::put_meta(connection, KEY, &vault.seal(&KEY_DATA, key.expose())?)?;
                key
            }
        };
        Ok(Self { path: dir.join(FILE), instance, key, is_known })
    }

    /// Checks that the store still contains a row that the file recorded.
    pub(crate) fn check(&self, connection: &Connection) -> Result<(), OpenFault> {
        let heads = match fs::read_to_string(&self.path) {
            Ok(text) => self.parse(&text)?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                // A store without audit rows has nothing that could be lost.
                return match audit::newest(connection)? {
                    0 => Ok(()),
                    _ if self.is_known => {
                        Err(self.wrong("its file is missing, so an older store could not be detected"))
                    }
                    _ => {
                        tracing::warn!(file = %self.path.display(), "the store has no roll-back guard; creating one");
                        Ok(())
                    }
                };
            }
            Err(error) => return Err(error.into()),
        };
        let holds =
            |(seq, hash): &Head| -> Result<bool, Fault> { Ok(audit::hash_of(connection, *seq)? == Some(*hash)) };
        for head in &heads {
            if holds(head)? {
                return Ok(());
            }
        }
        if heads.is_empty() {
            // The file was written before the first audit row.
            return Ok(());
        }
        let seen = heads.iter().map(|(seq, _)| *seq).max().unwrap_or(0);
        Err(OpenFault::RolledBack { found: audit::newest(connection)?, seen })
    }

    /// Replaces the file. `heads` are rows that the store may have; one match is enough. A restore records the old and
    /// the new store while either may be in place.
    pub(crate) fn write(&self, heads: &[Head]) -> std::io::Result<()> {
        // Write, sync and rename: a crash leaves the old or the new file, never a part of one.
        let next = self.path.with_extension("next");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&next)?;
        file.write_all(self.text(heads).as_bytes())?;
        file.sync_all()?;
        fs::rename(&next, &self.path)?;
        File::open(self.path.parent().unwrap_or(Path::new(".")))?.sync_all()
    }

    fn wrong(&self, why: &str) -> OpenFault {
        OpenFault::Guard { path: self.path.clone(), why: why.to_owned() }
    }

    fn text(&self, heads: &[Head]) -> String {
        let rows: String = heads.iter().map(|(seq, hash)| format!("row {seq} {}\n", HEXLOWER.encode(hash))).collect();
        let body = format!("{FIRST_LINE}\ninstance {}\n{rows}", HEXLOWER.encode(&self.instance));
        let tag = keyed(&self.key, &[body.as_bytes()]);
        format!("{body}tag {}\n", HEXLOWER.encode(&tag))
    }

    fn parse(&self, text: &str) -> Result<Vec<Head>, OpenFault> {
        let wrong = |why: &str| self.wrong(why);
        let tag_at = text.rfind("tag ").ok_or_else(|| wrong("it has no tag"))?;
        let (body, tag) = text.split_at(tag_at);
        let mut lines = body.lines();
        if lines.next() != Some(FIRST_LINE) {
            return Err(wrong("it is not a guard file of mfad"));
        }
        // The instance is compared before the tag. The file of another store has another key, and "was changed" would
        // mislead.
        let instance = lines.next().and_then(|line| line.strip_prefix("instance ")).unwrap_or_default();
        if instance != HEXLOWER.encode(&self.instance) {
            return Err(wrong("it belongs to another store"));
        }
        let tag = tag.strip_prefix("tag ").and_then(|tag| HEXLOWER.decode(tag.trim_end().as_bytes()).ok());
        if !tag.is_some_and(|tag| same_tag(&tag, &keyed(&self.key, &[body.as_bytes()]))) {
            return Err(wrong("it was changed"));
        }
        let row = |line: &str| -> Option<Head> {
            let (seq, hash) = line.strip_prefix("row ")?.split_once(' ')?;
            Some((seq.parse().ok()?, HEXLOWER.decode(hash.as_bytes()).ok()?.try_into().ok()?))
        };
        lines.map(row).collect::<Option<Vec<_>>>().ok_or_else(|| wrong("it has an invalid row"))
    }
}

/// Whether the store has had a guard whose file was written.
pub(crate) fn is_known(connection: &Connection) -> Result<bool, Fault> {
    Ok(meta::meta(connection, KNOWN)?.is_some())
}

/// Sets or clears the marker. The audit log must be tagged again afterwards.
pub(crate) fn note(connection: &Connection, is_known: bool) -> Result<(), Fault> {
    if is_known {
        meta::put_meta(connection, KNOWN, &[1])?;
    } else {
        meta::delete_meta(connection, KNOWN)?;
    }
    Ok(())
}

/// Sets the marker in a store from before it existed: such a store has a guard if it has the guard's key.
pub(crate) fn take_over(connection: &Connection) -> Result<(), Fault> {
    note(connection, meta::meta(connection, KEY)?.is_some())
}

/// Number and hash of the newest audit row, if there is one.
pub(crate) fn head(connection: &Connection) -> Result<Option<Head>, Fault> {
    let newest = "SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1";
    Ok(connection.query_row(newest, [], |row| Ok((row.get(0)?, row.get(1)?))).optional()?)
}

/// The thread that writes the guard's file, at most once per [`PAUSE`], so that no answer waits for a second disk
/// write.
pub(crate) struct RollbackGuard {
    worker: Arc<GuardWorker>,
    thread: JoinHandle<()>,
}

#[derive(Default)]
struct GuardWorker {
    state: Mutex<GuardState>,
    changed: Condvar,
}

#[derive(Default)]
struct GuardState {
    newest: Option<Head>,
    is_over: bool,
}

/// Where the writer leaves the newest audit row for the guard's thread. A newer row replaces one that was not written
/// yet.
#[derive(Clone)]
pub(crate) struct GuardMailbox(Arc<GuardWorker>);

impl GuardMailbox {
    pub(crate) fn leave(&self, head: Head) {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner).newest = Some(head);
        self.0.changed.notify_one();
    }
}

impl RollbackGuard {
    pub(crate) fn start(guard: GuardRecord, head: Option<Head>) -> std::io::Result<Self> {
        let worker = Arc::new(GuardWorker::default());
        let shared = Arc::clone(&worker);
        guard.write(head.as_slice())?;
        let thread = thread::Builder::new().name("store-guard".to_owned()).spawn(move || shared.serve(&guard))?;
        Ok(Self { worker, thread })
    }

    pub(crate) fn mailbox(&self) -> GuardMailbox {
        GuardMailbox(Arc::clone(&self.worker))
    }

    /// Writes the row that is still waiting, and ends the thread.
    pub(crate) fn stop(self) {
        self.worker.state.lock().unwrap_or_else(PoisonError::into_inner).is_over = true;
        self.worker.changed.notify_one();
        if self.thread.join().is_err() {
            tracing::error!("the thread of the roll-back guard panicked");
        }
    }
}

impl GuardWorker {
    fn serve(&self, guard: &GuardRecord) {
        let mut is_well = true;
        loop {
            let idle = |watch: &mut GuardState| watch.newest.is_none() && !watch.is_over;
            let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            let mut state = self.changed.wait_while(state, idle).unwrap_or_else(PoisonError::into_inner);
            let (newest, is_over) = (state.newest.take(), state.is_over);
            drop(state);
            if let Some(head) = newest {
                let written = guard.write(&[head]);
                scrub_stack();
                if let Err(error) = &written
                    && is_well
                {
                    tracing::warn!(%error, "cannot write the file of the roll-back guard; will retry");
                }
                is_well = written.is_ok();
                if !is_well {
                    let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
                    // A newer row that arrived meanwhile takes precedence.
                    state.newest = state.newest.take().or(Some(head));
                }
            }
            if is_over {
                return;
            }
            let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            // Only the end of the guard cuts the pause short, not a new row.
            let _ = self.changed.wait_timeout_while(state, PAUSE, |watch| !watch.is_over);
        }
    }
}
