//! The files of the store: created only by `init` (and `restore`), and checked at every start (STO-1, STO-2, STO-4,
//! STO-8, STO-9). This module knows no rows apart from the single values in `meta`.

use std::fs::{self, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, OptionalExtension};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use mfad_core::entropy;

use super::schema::{check_acting, migrate, newest};
use crate::meta;
use crate::vault::{FIRST_KEY_VERSION, MasterKey, Vault};
use crate::{Fault, OpenFault, rotation, summaries};

/// Name of the database file in the state directory.
pub const DATABASE: &str = "mfad.db";
/// Name of the database file until `init` has finished.
const UNFINISHED: &str = "mfad.db.init";
/// Identifies the file as a database of mfad (`PRAGMA application_id`): "mfad" in ASCII.
const APPLICATION_ID: i32 = 0x6d66_6164;
/// SQLite before 3.51.3 can lose a commit when a WAL reset races a checkpoint.
const OLDEST_SQLITE: i32 = 3_051_003;

/// Number of pages above which the integrity check runs after the start, not before it: 8 MiB in pages of 4 KiB.
const LARGE: u32 = 2_048;

/// Path of the database in a state directory.
pub(crate) fn database(state_dir: &Path) -> PathBuf {
    state_dir.join(DATABASE)
}

/// Path of the WAL, which SQLite creates beside a database when it opens it.
pub(crate) fn log_of(database: &Path) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push("-wal");
    name.into()
}

/// Creates an empty store in an existing directory. Fails with [`OpenFault::Exists`] if there is one.
pub fn create(state_dir: &Path, master: &MasterKey) -> Result<(), OpenFault> {
    prepare(state_dir, master)?;
    settle(state_dir, master)
}

/// First half of [`create`]: writes a complete store under another name. Leftovers of an earlier attempt are deleted
/// first.
pub fn prepare(state_dir: &Path, master: &MasterKey) -> Result<(), OpenFault> {
    let path = state_dir.join(UNFINISHED);
    for name in [UNFINISHED.to_owned(), format!("{UNFINISHED}-wal"), format!("{UNFINISHED}-shm")] {
        match fs::remove_file(state_dir.join(name)) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
    }
    create_empty(&path)?;
    let vault = Vault::new(master, FIRST_KEY_VERSION)?;
    let mut connection = Connection::open_with_flags(&path, writer_flags())?;
    apply_settings(&connection)?;
    connection.pragma_update(None, "application_id", APPLICATION_ID)?;
    migrate(&mut connection, &vault)?;
    let instance = entropy::public::<16>().map_err(Fault::from)?;
    let tx = connection.transaction()?;
    meta::put_meta(&tx, "instance", &instance)?;
    meta::put_meta(&tx, "key-check", &vault.key_check(&instance))?;
    tx.commit()?;
    connection.close().map_err(|(_, error)| OpenFault::from(error))?;
    // The rename in `settle` must not become durable before the contents.
    fs::File::open(&path)?.sync_all()?;
    fs::File::open(state_dir)?.sync_all()?;
    Ok(())
}

/// Whether [`prepare`] has completed here, and [`settle`] has not.
pub fn is_prepared(state_dir: &Path) -> bool {
    state_dir.join(UNFINISHED).exists() && !database(state_dir).exists()
}

/// Second half of [`create`]: gives the store its final name, if the master key opens it and no store has that name.
pub fn settle(state_dir: &Path, master: &MasterKey) -> Result<(), OpenFault> {
    let path = state_dir.join(UNFINISHED);
    let (connection, _) = open_at(&path, state_dir, master)?;
    // SQLite then keeps everything in one file. A WAL beside it would not be renamed with it.
    connection.pragma_update(None, "journal_mode", "DELETE")?;
    connection.close().map_err(|(_, error)| OpenFault::from(error))?;
    match renameat_with(CWD, &path, CWD, database(state_dir), RenameFlags::NOREPLACE) {
        Ok(()) => {}
        Err(Errno::EXIST) => return Err(OpenFault::Exists),
        // Some file systems do not support the flag. The check before the rename is safe, since the caller holds the
        // lock of the state directory.
        Err(Errno::INVAL | Errno::NOSYS) if !database(state_dir).exists() => fs::rename(&path, database(state_dir))?,
        Err(error) => return Err(OpenFault::Io(error.into())),
    }
    fs::File::open(state_dir)?.sync_all()?;
    Ok(())
}

/// Creates an empty file of mode 0600 for a database. Fails if the file exists.
pub(crate) fn create_empty(path: &Path) -> Result<(), OpenFault> {
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    made.map(|_| ()).map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => OpenFault::Exists,
        _ => OpenFault::Io(error),
    })
}

/// Opens the writing connection of the store, and checks everything that must hold.
pub(crate) fn open(state_dir: &Path, master: &MasterKey) -> Result<(Connection, Vault), OpenFault> {
    open_at(&database(state_dir), state_dir, master)
}

/// Like [`open`], for a database under another name in that directory.
pub(crate) fn open_at(path: &Path, state_dir: &Path, master: &MasterKey) -> Result<(Connection, Vault), OpenFault> {
    check_file(path)?;
    let mut connection = Connection::open_with_flags(path, writer_flags())?;
    if rusqlite::version_number() < OLDEST_SQLITE {
        return Err(OpenFault::Setting("SQLite 3.51.3 or newer"));
    }
    let application: i32 = connection.query_row("PRAGMA application_id", [], |row| row.get(0))?;
    let version: u32 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if application != APPLICATION_ID || version == 0 {
        return Err(OpenFault::Damaged("the file is not a database of mfad".to_owned()));
    }
    if version > newest() {
        return Err(OpenFault::Newer { found: version, known: newest() });
    }
    apply_settings(&connection)?;
    let vault = rotation::vault_for(&connection, master)?;
    // Before the statements below, in which a foreign trigger or index would take part.
    check_acting(&connection, version)?;
    // A migration moves pages. So before one the whole database is checked, whatever its size.
    let is_looked_over = version < newest() || !is_large(&connection)?;
    if is_looked_over {
        integrity_check(&connection)?;
    }
    // Before any row is trusted: a migration tags the audit log again and computes new summaries.
    crate::audit_tag::check_head(&connection, &vault, version)?;
    if version < newest() {
        back_up(&connection, state_dir, version)?;
        migrate(&mut connection, &vault)?;
        // The migration of a large store leaves a long WAL. The integrity check of a large store waits for a short one.
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    }
    if is_looked_over {
        summaries::check_all(&connection, &vault)?;
    }
    rotation::forget_ended(&connection, &vault)?;
    Ok((connection, vault))
}

/// Opens one read-only connection.
pub(crate) fn open_reader(path: &Path) -> Result<Connection, OpenFault> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(std::time::Duration::from_secs(5))?;
    connection.execute_batch("PRAGMA trusted_schema = OFF; PRAGMA mmap_size = 0; PRAGMA temp_store = MEMORY;")?;
    plan_once(&connection, 64)?;
    Ok(connection)
}

/// Caches prepared statements with the plan that was made for them. By default SQLite replans some statements for each
/// value, because the value might match a partial index.
fn plan_once(connection: &Connection, statements: usize) -> rusqlite::Result<()> {
    connection.set_prepared_statement_cache_capacity(statements);
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map(drop)
}

fn writer_flags() -> OpenFlags {
    OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX
}

/// Refuses a database file that is missing, empty, a link, owned by another user, or accessible to group or others.
fn check_file(path: &Path) -> Result<(), OpenFault> {
    // Checked before SQLite opens the file, since SQLite follows links and initialises an empty file.
    let meta = match fs::symlink_metadata(path) {
        Ok(meta) => meta,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(OpenFault::Missing),
        Err(error) => return Err(error.into()),
    };
    if !meta.file_type().is_file() {
        return Err(OpenFault::Damaged("the database is not a regular file".to_owned()));
    }
    if meta.len() == 0 {
        return Err(OpenFault::Damaged("the database is empty".to_owned()));
    }
    if meta.uid() != rustix::process::geteuid().as_raw() || meta.permissions().mode() & 0o077 != 0 {
        return Err(OpenFault::Unsafe);
    }
    Ok(())
}

fn apply_settings(connection: &Connection) -> Result<(), OpenFault> {
    connection.busy_timeout(std::time::Duration::from_secs(5))?;
    connection.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA secure_delete = ON;
         PRAGMA temp_store = MEMORY; PRAGMA trusted_schema = OFF; PRAGMA mmap_size = 0; PRAGMA cell_size_check = ON;
         PRAGMA wal_autocheckpoint = 1000; PRAGMA journal_size_limit = 8388608; PRAGMA cache_size = -8192;",
    )?;
    plan_once(connection, 128)?;
    let mode: String = connection.query_row("PRAGMA journal_mode", [], |row| row.get(0))?;
    // SQLite ignores a pragma that it does not know or cannot follow. So the settings that durability and secrecy
    // depend on are read back.
    if mode != "wal" {
        return Err(OpenFault::Setting("journal_mode=WAL"));
    }
    let wanted: [(&str, &str, i64); 6] = [
        ("PRAGMA synchronous", "synchronous=FULL", 2),
        ("PRAGMA foreign_keys", "foreign_keys=ON", 1),
        ("PRAGMA secure_delete", "secure_delete=ON", 1),
        ("PRAGMA temp_store", "temp_store=MEMORY", 2),
        ("PRAGMA trusted_schema", "trusted_schema=OFF", 0),
        ("PRAGMA mmap_size", "mmap_size=0", 0),
    ];
    for (question, setting, expected) in wanted {
        let found: Option<i64> = connection.query_row(question, [], |row| row.get(0)).optional()?;
        if found.unwrap_or(0) != expected {
            return Err(OpenFault::Setting(setting));
        }
    }
    Ok(())
}

/// Whether the integrity check of the whole database would delay the start for too long.
pub(crate) fn is_large(connection: &Connection) -> Result<bool, OpenFault> {
    let pages: u32 = connection.query_row("PRAGMA page_count", [], |row| row.get(0))?;
    Ok(pages > LARGE)
}

/// Checks the pages of one table and of its indexes, and compares the indexes with the table.
pub(crate) fn integrity_check_of(connection: &Connection, table: &str) -> Result<(), OpenFault> {
    check(connection, &format!("PRAGMA integrity_check('{table}')"))
}

/// Checks the whole database, and compares the indexes with their tables. For a large database this takes longer than a
/// start may (STO-13).
pub(crate) fn integrity_check(connection: &Connection) -> Result<(), OpenFault> {
    check(connection, "PRAGMA integrity_check(1)")
}

fn check(connection: &Connection, question: &str) -> Result<(), OpenFault> {
    let finding: String = connection.query_row(question, [], |row| row.get(0))?;
    if finding == "ok" { Ok(()) } else { Err(OpenFault::Damaged(finding)) }
}

/// Copies the database beside itself, before its schema changes (STO-11).
fn back_up(connection: &Connection, state_dir: &Path, version: u32) -> Result<(), OpenFault> {
    let path = state_dir.join(format!("mfad.db.before-v{version}-upgrade"));
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
    connection.backup("main", &path, None::<fn(rusqlite::backup::Progress)>)?;
    Ok(())
}
