//! Notices that the store was put back to an older state (STO-12). The newest row of the audit chain is written down in
//! another directory, shortly after it was committed; every used code, and every change of a factor, has a row. At start the
//! chain must still hold that row: a store that does not is an older one, or one that went another way since.

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

use crate::rotation::{OwnedAssociatedData, Sealed, SealedValue};
use crate::vault::locked::LockedKey;
use crate::vault::{AssociatedData, Vault, keyed, same_tag};
use crate::{Fault, OpenFault, audit, files};

const FILE: &str = "mfad.guard";
const FIRST_LINE: &str = "mfad guard 1";
/// The key that authenticates the file, sealed in the table of single values.
const KEY: &str = "guard-key";
/// That the file was written once. The tag of the audit log says whether it is there.
const KNOWN: &str = "guard-known";
const KEY_DATA: AssociatedData<'static> =
    AssociatedData { table: "meta", row: b"guard-key", user: &[], kind: "guard", parameters: "" };
/// The shortest time between two writings of the file.
const PAUSE: Duration = Duration::from_secs(1);

/// A row of the audit chain: its number and its hash.
pub(crate) type Head = (i64, [u8; 32]);

/// The guard's key, as a table with sealed values.
pub(crate) const SEALED: Sealed = Sealed {
    first: || Value::Text(String::new()),
    after: |connection, after, _| {
        let Value::Text(after) = after else { return Ok(Vec::new()) };
        let sealed = if after.is_empty() { files::meta(connection, KEY)? } else { None };
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

/// The file of one store.
pub(crate) struct GuardRecord {
    path: PathBuf,
    instance: Vec<u8>,
    key: LockedKey,
    /// Whether the store has had a guard before.
    is_known: bool,
}

impl GuardRecord {
    /// Makes the directory if it is missing, and the key if the store has none.
    pub(crate) fn new(dir: &Path, connection: &Connection, vault: &Vault) -> Result<Self, OpenFault> {
        if fs::symlink_metadata(dir).is_err() {
            DirBuilder::new().mode(0o700).create(dir)?;
        }
        let instance = files::instance(connection)?;
        let is_known = is_known(connection)?;
        let key = match files::meta(connection, KEY)? {
            Some(sealed) => {
                let opened = vault.open(&KEY_DATA, &sealed)?;
                LockedKey::from_bytes(opened.expose()).map_err(|_| Fault::Corrupt("the guard's key"))?
            }
            None => {
                let key = LockedKey::random()?;
                files::put_meta(connection, KEY, &vault.seal(&KEY_DATA, key.expose())?)?;
                key
            }
        };
        Ok(Self { path: dir.join(FILE), instance, key, is_known })
    }

    /// Whether the store still holds what the file says it once held.
    pub(crate) fn check(&self, connection: &Connection) -> Result<(), OpenFault> {
        let heads = match fs::read_to_string(&self.path) {
            Ok(text) => self.parse(&text)?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                // A store without a row has nothing that could be lost.
                return match audit::newest(connection)? {
                    0 => Ok(()),
                    _ if self.is_known => {
                        Err(self.wrong("its file is missing, so nobody knows whether the store is an older one"))
                    }
                    _ => {
                        tracing::warn!(file = %self.path.display(), "the store has no roll-back guard yet; it has one from now on");
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
            // Written before there was a row.
            return Ok(());
        }
        let seen = heads.iter().map(|(seq, _)| *seq).max().unwrap_or(0);
        Err(OpenFault::RolledBack { found: audit::newest(connection)?, seen })
    }

    /// Writes down which rows the store may have; one of them is enough.
    pub(crate) fn write(&self, heads: &[Head]) -> std::io::Result<()> {
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
            return Err(wrong("it is no guard of this program"));
        }
        let instance = lines.next().and_then(|line| line.strip_prefix("instance ")).unwrap_or_default();
        if instance != HEXLOWER.encode(&self.instance) {
            return Err(wrong("it guards another store"));
        }
        let tag = tag.strip_prefix("tag ").and_then(|tag| HEXLOWER.decode(tag.trim_end().as_bytes()).ok());
        if !tag.is_some_and(|tag| same_tag(&tag, &keyed(&self.key, &[body.as_bytes()]))) {
            return Err(wrong("it was changed"));
        }
        let row = |line: &str| -> Option<Head> {
            let (seq, hash) = line.strip_prefix("row ")?.split_once(' ')?;
            Some((seq.parse().ok()?, HEXLOWER.decode(hash.as_bytes()).ok()?.try_into().ok()?))
        };
        lines.map(row).collect::<Option<Vec<_>>>().ok_or_else(|| wrong("a row is none"))
    }
}

/// Whether the store has had a guard whose file was written.
pub(crate) fn is_known(connection: &Connection) -> Result<bool, Fault> {
    Ok(files::meta(connection, KNOWN)?.is_some())
}

/// Notes whether it has one. The audit log is to be tagged after it.
pub(crate) fn note(connection: &Connection, is_known: bool) -> Result<(), Fault> {
    if is_known {
        files::put_meta(connection, KNOWN, &[1])?;
    } else {
        files::delete_meta(connection, KNOWN)?;
    }
    Ok(())
}

/// A store of before there was the note has a guard if it has its key.
pub(crate) fn take_over(connection: &Connection) -> Result<(), Fault> {
    note(connection, files::meta(connection, KEY)?.is_some())
}

/// The newest row, if there is one.
pub(crate) fn head(connection: &Connection) -> Result<Option<Head>, Fault> {
    let newest = "SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1";
    Ok(connection.query_row(newest, [], |row| Ok((row.get(0)?, row.get(1)?))).optional()?)
}

/// Writes the file in a thread of its own, so that no answer waits for it; at most once in [`PAUSE`].
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

/// Where the writer of the store leaves the newest row.
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

    /// Writes what is left, and ends.
    pub(crate) fn stop(self) {
        self.worker.state.lock().unwrap_or_else(PoisonError::into_inner).is_over = true;
        self.worker.changed.notify_one();
        if self.thread.join().is_err() {
            tracing::error!("the roll-back guard panicked");
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
                    tracing::warn!(%error, "the roll-back guard cannot be written; it is tried again");
                }
                is_well = written.is_ok();
                if !is_well {
                    let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
                    state.newest = state.newest.take().or(Some(head));
                }
            }
            if is_over {
                return;
            }
            let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            let _ = self.changed.wait_timeout_while(state, PAUSE, |watch| !watch.is_over);
        }
    }
}
