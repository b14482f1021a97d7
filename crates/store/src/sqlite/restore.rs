//! Puts a backup in the place of the store, or takes the store that is there for one (STO-12). Whatever happened after the
//! copy was made is not in it, so nothing that may have been used since counts as unused: sessions end, steps and counters move
//! forward, backup codes are used up.
//!
//! The new store is complete and durable beside the old one before it takes its name. A kill at any point leaves one of the
//! two, whole; the guard knows both while it is not certain which.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use rusqlite::{Connection, Transaction, params};

use super::backup::{BackupFault, unpack};
use super::guard::{self, GuardRecord};
use crate::vault::{MasterKey, Vault};
use crate::{AuditEntry, Fault, OpenFault, Tx, View, audit, files, summaries};

const NEW: &str = "mfad.db.restoring";
const OLD: &str = "mfad.db.replaced";
/// How far counters move: as far as codes may be skipped, so that none given since counts again.
const COUNTERS_FORWARD: i64 = 10;

/// Where the store comes from.
pub enum Source<'a> {
    /// A backup.
    Backup(&'a mut dyn Read),
    /// The store that is there.
    InPlace,
}

/// How it is done.
pub struct Restoration<'a> {
    /// The state directory.
    pub state_dir: &'a Path,
    /// Where the roll-back guard keeps its file.
    pub guard_dir: Option<&'a Path>,
    /// The master key.
    pub master: &'a MasterKey,
    /// Whether a store that is there may be replaced.
    pub may_replace: bool,
    /// Whether nothing was used since the copy was made: backup codes keep counting.
    pub keep_codes: bool,
    /// Milliseconds since 1970.
    pub now: i64,
}

/// What is there now, and what it means.
#[derive(Clone, Copy, Debug, Default)]
pub struct Restored {
    /// When the backup was made, in milliseconds since 1970; none for the store in its place.
    pub made: Option<i64>,
    /// Users.
    pub users: u64,
    /// Active factors that go by the clock.
    pub timed: u64,
    /// Active factors that go by a counter.
    pub counted: u64,
    /// Users whose backup codes do not count any more.
    pub without_codes: u64,
    /// API keys, some of which may have been revoked since.
    pub api_keys: u64,
    /// Hardware keys with an account of this daemon.
    pub devices: u64,
}

/// Why it was not done. The store that was there is still there.
#[derive(Debug, thiserror::Error)]
pub enum RestoreFault {
    /// The backup.
    #[error(transparent)]
    Backup(#[from] BackupFault),
    /// The store in it, or the one that is there.
    #[error(transparent)]
    Store(#[from] OpenFault),
}

impl From<Fault> for RestoreFault {
    fn from(fault: Fault) -> Self {
        Self::Store(fault.into())
    }
}

impl From<rusqlite::Error> for RestoreFault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(error.into())
    }
}

impl From<std::io::Error> for RestoreFault {
    fn from(error: std::io::Error) -> Self {
        Self::Store(error.into())
    }
}

/// Does it. Nobody else may have the store open.
pub fn restore(
    source: Source<'_>,
    how: &Restoration<'_>,
    entry: impl FnOnce(&Restored) -> AuditEntry,
) -> Result<Restored, RestoreFault> {
    let there = files::database(how.state_dir);
    let is_there = fs::symlink_metadata(&there).is_ok();
    if is_there && !how.may_replace {
        return Err(OpenFault::Exists.into());
    }
    let fresh = how.state_dir.join(NEW);
    for path in with_log(&fresh) {
        remove(&path)?;
    }
    let made = match source {
        Source::Backup(from) => Some(unpack(from, &Vault::new(how.master, 0)?.backup_key()?, &fresh)?),
        Source::InPlace => {
            copy_in_place(how, &fresh)?;
            None
        }
    };
    let (connection, vault) = files::open_at(&fresh, how.state_dir, how.master)?;
    files::integrity_check(&connection)?;
    summaries::check_all(&connection, &vault)?;
    let mut restored = Restored { made, ..Restored::default() };
    let tx = connection.unchecked_transaction()?;
    harden(&tx, how, &mut restored)?;
    let chain = audit::Chain::read(&tx)?;
    Tx { view: View { connection: &tx, vault: &vault }, chain: &chain }.audit(&entry(&restored))?;
    guard::note(&tx, how.guard_dir.is_some())?;
    audit::sign_head(&tx, &vault, chain.end())?;
    tx.commit()?;
    let guard = how.guard_dir.map(|dir| GuardRecord::new(dir, &connection, &vault)).transpose()?;
    let head = guard::head(&connection)?;
    // One file, without a log beside it, which would not move along.
    connection.pragma_update(None, "journal_mode", "DELETE")?;
    connection.close().map_err(|(_, error)| error)?;
    File::open(&fresh)?.sync_all()?;
    put_in_place(how, &fresh, is_there, guard.as_ref(), head)?;
    Ok(restored)
}

/// The present store as a single file beside itself. Its rows are not looked at yet.
fn copy_in_place(how: &Restoration<'_>, fresh: &Path) -> Result<(), RestoreFault> {
    let (connection, _) = files::open_at(&files::database(how.state_dir), how.state_dir, how.master)?;
    files::create_empty(fresh)?;
    connection.backup("main", fresh, None::<fn(rusqlite::backup::Progress)>)?;
    Ok(())
}

/// Nothing that may have been used since the copy was made counts as unused.
fn harden(tx: &Transaction<'_>, how: &Restoration<'_>, restored: &mut Restored) -> Result<(), RestoreFault> {
    let count = |sql: &str| tx.query_row(sql, [], |row| row.get::<_, i64>(0).map(i64::unsigned_abs));
    restored.users = count("SELECT count(*) FROM users")?;
    restored.timed = count("SELECT count(*) FROM secrets WHERE status = 'active' AND period IS NOT NULL")?;
    restored.counted = count("SELECT count(*) FROM secrets WHERE status = 'active' AND counter IS NOT NULL")?;
    restored.api_keys = count("SELECT count(*) FROM secrets WHERE status = 'active' AND type = 'apikey'")?;
    restored.devices = count("SELECT count(DISTINCT serial) FROM credentials WHERE state = 'programmed'")?;
    // An epoch that no token of the time since can have; and the keys that signed those go too.
    tx.execute("UPDATE users SET epoch = max(epoch + 1, ?1)", [how.now])?;
    tx.execute("DELETE FROM signing_keys WHERE purpose = 'token'", [])?;
    for table in ["sessions", "challenges", "receipts"] {
        tx.execute(&format!("DELETE FROM {table}"), [])?;
    }
    tx.execute(
        "UPDATE secrets SET last_step = max(coalesce(last_step, 0), ?1 / 1000 / period + 1)
         WHERE status <> 'ended' AND period IS NOT NULL",
        [how.now],
    )?;
    tx.execute(
        "UPDATE secrets SET counter = min(counter, 9223372036854775807 - ?1) + ?1, resync = NULL WHERE status <> 'ended' AND counter IS NOT NULL",
        [COUNTERS_FORWARD],
    )?;
    if !how.keep_codes {
        let all = (1u32 << mfad_core::model::CODES_PER_SET).saturating_sub(1);
        let changed = tx.execute(
            "UPDATE secrets SET used = ?1, modified = ?2 WHERE type = 'mfabackup' AND status = 'active'",
            params![all, how.now],
        )?;
        restored.without_codes = u64::try_from(changed).unwrap_or(u64::MAX);
    }
    Ok(())
}

fn put_in_place(
    how: &Restoration<'_>,
    fresh: &Path,
    is_there: bool,
    guard: Option<&GuardRecord>,
    head: Option<guard::Head>,
) -> Result<(), RestoreFault> {
    let there = files::database(how.state_dir);
    let directory = File::open(how.state_dir)?;
    if is_there {
        settle_log(&there)?;
        let old = how.state_dir.join(OLD);
        for (from, to) in with_log(&there).into_iter().zip(with_log(&old)) {
            remove(&to)?;
            if fs::symlink_metadata(&from).is_ok() {
                fs::hard_link(&from, &to)?;
            }
        }
        if let Some(guard) = guard {
            let old = Connection::open(&there).ok().and_then(|old| guard::head(&old).ok().flatten());
            guard.write(&old.into_iter().chain(head).collect::<Vec<_>>())?;
        }
        // The log of the old database must not meet the new one.
        for path in with_log(&there).into_iter().skip(1) {
            remove(&path)?;
        }
        directory.sync_all()?;
    } else if let (Some(guard), Some(head)) = (guard, head) {
        // A store that says it has a guard is never there without the file.
        guard.write(&[head])?;
    }
    fs::rename(fresh, &there)?;
    directory.sync_all()?;
    if let (Some(guard), Some(head)) = (guard, head) {
        guard.write(&[head])?;
    }
    Ok(())
}

/// Moves the log of a database into it: without its log, the old store would be an older one. One that is too damaged for
/// that has to be moved away by hand.
fn settle_log(path: &Path) -> Result<(), RestoreFault> {
    let settled = Connection::open(path).and_then(|connection| {
        connection.execute_batch("PRAGMA trusted_schema = OFF; PRAGMA wal_checkpoint(TRUNCATE);")?;
        connection.close().map_err(|(_, error)| error)
    });
    let [_, log, ..] = with_log(path);
    let is_left = fs::metadata(log).is_ok_and(|log| log.len() > 0);
    match settled {
        Ok(()) if !is_left => Ok(()),
        Ok(()) => Err(OpenFault::Damaged(
            "the log of the store that is there cannot be settled; move its files away".to_owned(),
        )
        .into()),
        Err(error) => Err(error.into()),
    }
}

/// The files of a database: itself first.
fn with_log(path: &Path) -> [std::path::PathBuf; 4] {
    ["", "-wal", "-shm", "-journal"].map(|suffix| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        name.into()
    })
}

fn remove(path: &Path) -> std::io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}
