//! Restores a backup in place of the store, or treats the existing store as if it were a backup (STO-12). The copy
//! lacks everything that happened after it was made. So nothing that may have been used since then counts as unused:
//! sessions end, steps and counters move forward, backup codes are used up.
//!
//! The new store is complete and durable beside the old one before it is renamed into place. A kill at any point leaves
//! one of the two, complete. The roll-back guard accepts both while either may be in place.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use rusqlite::{Connection, Transaction, params};

use super::backup::{BackupFault, unpack};
use super::guard::{self, GuardRecord};
use crate::batch::Batch;
use crate::recent_uses::RecentUses;
use crate::vault::{MasterKey, Vault};
use crate::{AuditEntry, Fault, OpenFault, Tx, View, audit, files, folding, summaries};

const NEW: &str = "mfad.db.restoring";
/// Name of the store that a restore has replaced. Further ones get a number: each may be the only copy of its state.
const OLD: &str = "mfad.db.replaced";
/// The most replaced stores that are kept.
const MOST_OLD: u32 = 99;
/// How far HOTP counters move: the look-ahead (OTP-9), so that up to ten codes that were used since the copy was made
/// do not count again.
const COUNTERS_FORWARD: i64 = 10;

/// The source of a restore.
pub enum Source<'a> {
    /// A backup, as written by [`Backup`](crate::Backup).
    Backup(&'a mut dyn Read),
    /// The existing store, after it was put back to an older state by other means.
    InPlace,
}

/// The parameters of a restore.
pub struct Restoration<'a> {
    /// The state directory, which the caller has locked.
    pub state_dir: &'a Path,
    /// Directory of the roll-back guard's file; `None` without a guard.
    pub guard_dir: Option<&'a Path>,
    /// The master key that the backup or the existing store belongs to.
    pub master: &'a MasterKey,
    /// Whether an existing store may be replaced. It is kept as `mfad.db.replaced`, or with a number at the end.
    pub may_replace: bool,
    /// Whether backup codes stay valid. Safe only if none was used since the copy was made.
    pub keep_codes: bool,
    /// The present time, in milliseconds since 1970.
    pub now: i64,
}

/// The result of a restore: counts of what the restored store contains and of what the restore changed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Restored {
    /// When the backup was made, in milliseconds since 1970. `None` if the existing store was used.
    pub made: Option<i64>,
    /// Number of users, disabled ones included.
    pub users: u64,
    /// Number of active time-based factors. Their last step was moved forward.
    pub timed: u64,
    /// Number of active counter-based factors. Their counter was moved forward.
    pub counted: u64,
    /// Number of users whose backup codes were used up.
    pub without_codes: u64,
    /// Number of active API keys. Some may have been revoked since the copy was made.
    pub api_keys: u64,
    /// Number of hardware keys with an account that this daemon wrote.
    pub devices: u64,
}

/// Why a restore failed. An existing store was not replaced.
#[derive(Debug, thiserror::Error)]
pub enum RestoreFault {
    /// The backup cannot be read.
    #[error(transparent)]
    Backup(#[from] BackupFault),
    /// The store in the backup, or the existing one, is not usable.
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

/// Runs the restore, and writes the audit entry made by `entry`. The caller must hold the lock of the state directory:
/// the daemon must be stopped.
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
    // Before the hardening, which raises what is in the table.
    folding::fold_all(&tx)?;
    harden(&tx, how, &mut restored)?;
    let chain = audit::Chain::read(&tx)?;
    let (recent, batch) = (RecentUses::default(), Batch::of_one_job());
    let view = View { connection: &tx, vault: &vault, recent: &recent };
    Tx { view, chain: &chain, batch: &batch }.audit(&entry(&restored))?;
    batch.insert_all_rows(&tx)?;
    guard::note(&tx, how.guard_dir.is_some())?;
    // The marker may have changed the data that the tag covers, so the tag is computed last.
    crate::audit_tag::sign_head(&tx, &vault, super::schema::newest(), chain.end())?;
    tx.commit()?;
    let guard = how.guard_dir.map(|dir| GuardRecord::new(dir, &connection, &vault)).transpose()?;
    let head = guard::head(&connection)?;
    // SQLite then keeps everything in one file. A WAL beside it would not be renamed with it.
    connection.pragma_update(None, "journal_mode", "DELETE")?;
    connection.close().map_err(|(_, error)| error)?;
    File::open(&fresh)?.sync_all()?;
    put_in_place(how, &fresh, is_there, guard.as_ref(), head)?;
    Ok(restored)
}

/// Copies the existing store into a single file beside it. Its rows are checked later.
fn copy_in_place(how: &Restoration<'_>, fresh: &Path) -> Result<(), RestoreFault> {
    let (connection, _) = files::open_at(&files::database(how.state_dir), how.state_dir, how.master)?;
    files::create_empty(fresh)?;
    connection.backup("main", fresh, None::<fn(rusqlite::backup::Progress)>)?;
    Ok(())
}

/// Invalidates everything that may have been used since the copy was made.
fn harden(tx: &Transaction<'_>, how: &Restoration<'_>, restored: &mut Restored) -> Result<(), RestoreFault> {
    let count = |sql: &str| tx.query_row(sql, [], |row| row.get::<_, i64>(0).map(i64::unsigned_abs));
    restored.users = count("SELECT count(*) FROM users")?;
    restored.timed = count("SELECT count(*) FROM secrets WHERE status = 'active' AND period IS NOT NULL")?;
    restored.counted = count("SELECT count(*) FROM secrets WHERE status = 'active' AND counter IS NOT NULL")?;
    restored.api_keys = count("SELECT count(*) FROM secrets WHERE status = 'active' AND type = 'apikey'")?;
    restored.devices = count("SELECT count(DISTINCT key) FROM credentials WHERE state = 'programmed'")?;
    // No token issued since can have this epoch. The keys that signed those tokens are deleted too.
    tx.execute("UPDATE users SET epoch = max(epoch + 1, ?1)", [how.now])?;
    tx.execute("DELETE FROM signing_keys WHERE purpose = 'token'", [])?;
    for table in ["sessions", "challenges", "receipts"] {
        tx.execute(&format!("DELETE FROM {table}"), [])?;
    }
    tx.execute(
        // One step beyond the present one, since the window may accept the next step's code (OTP-4).
        "UPDATE moving_factors SET next = max(next, ?1 / 1000 / period + 2)
         FROM secrets WHERE secrets.number = moving_factors.number AND period IS NOT NULL",
        [how.now],
    )?;
    tx.execute(
        "UPDATE moving_factors SET next = min(next, 9223372036854775807 - ?1) + ?1, resync = NULL
         FROM secrets WHERE secrets.number = moving_factors.number AND counter IS NOT NULL",
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
    head: Option<audit::Head>,
) -> Result<(), RestoreFault> {
    let there = files::database(how.state_dir);
    let directory = File::open(how.state_dir)?;
    if is_there {
        settle_log(&there)?;
        let old = free_name(how.state_dir)?;
        for (from, to) in with_log(&there).into_iter().zip(with_log(&old)) {
            if fs::symlink_metadata(&from).is_ok() {
                // A link, not a rename: the old store keeps its name until the new one takes it.
                fs::hard_link(&from, &to)?;
            }
        }
        if let Some(guard) = guard {
            let old = Connection::open(&there).ok().and_then(|old| guard::head(&old).ok().flatten());
            guard.write(&old.into_iter().chain(head).collect::<Vec<_>>())?;
        }
        // The WAL of the old database must not be applied to the new one.
        for path in with_log(&there).into_iter().skip(1) {
            remove(&path)?;
        }
        directory.sync_all()?;
    } else if let (Some(guard), Some(head)) = (guard, head) {
        // A store that is marked as having a guard must never exist without the guard's file.
        guard.write(&[head])?;
    }
    fs::rename(fresh, &there)?;
    directory.sync_all()?;
    if let (Some(guard), Some(head)) = (guard, head) {
        guard.write(&[head])?;
    }
    Ok(())
}

/// Returns the first name that no replaced store has.
fn free_name(dir: &Path) -> Result<std::path::PathBuf, RestoreFault> {
    let names =
        (1..=MOST_OLD).map(|number| dir.join(if number == 1 { OLD.to_owned() } else { format!("{OLD}-{number}") }));
    let is_free = |path: &std::path::PathBuf| with_log(path).iter().all(|file| fs::symlink_metadata(file).is_err());
    names.into_iter().find(is_free).ok_or_else(|| {
        let why = format!("{} has {MOST_OLD} files {OLD}*; move some away first", dir.display());
        OpenFault::Io(std::io::Error::new(std::io::ErrorKind::AlreadyExists, why)).into()
    })
}

/// Checkpoints the WAL of a database into it, since the kept copy without its WAL would be an older state. A database
/// that is too damaged for that must be moved away by hand.
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
            "the WAL of the existing store cannot be checkpointed, so move its files away first".to_owned(),
        )
        .into()),
        Err(error) => Err(error.into()),
    }
}

/// The files that belong to a database, the database first.
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
