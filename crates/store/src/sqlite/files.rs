//! The files of the store: made only by `init`, checked at every start (STO-1, 2, 4, 8, 9).

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
use crate::vault::{FIRST_KEY_VERSION, MasterKey, Vault};
use crate::{Fault, OpenFault, audit, rotation, summaries};

/// The database's file name inside the state directory.
pub const DATABASE: &str = "mfad.db";
/// Its name while `init` is not done.
const UNFINISHED: &str = "mfad.db.init";
/// Marks the file as ours (`PRAGMA application_id`): "mfad" in ASCII.
const APPLICATION_ID: i32 = 0x6d66_6164;
/// SQLite before 3.51.3 can lose a commit when a WAL reset races a checkpoint.
const OLDEST_SQLITE: i32 = 3_051_003;

/// Pages of a database that is looked over after the start, not before it: 8 MiB.
const LARGE: u32 = 2_048;

/// Where the database lies in a state directory.
pub(crate) fn database(state_dir: &Path) -> PathBuf {
    state_dir.join(DATABASE)
}

/// The log beside a database, which SQLite makes when it opens it.
pub(crate) fn log_of(database: &Path) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push("-wal");
    name.into()
}

/// Makes a new, empty store in an existing directory. Fails if there is one already.
pub fn create(state_dir: &Path, master: &MasterKey) -> Result<(), OpenFault> {
    prepare(state_dir, master)?;
    settle(state_dir, master)
}

/// The first half: a whole store under another name. What an earlier attempt left there goes.
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
    put_meta(&tx, "instance", &instance)?;
    put_meta(&tx, "key-check", &vault.key_check(&instance))?;
    tx.commit()?;
    connection.close().map_err(|(_, error)| OpenFault::from(error))?;
    fs::File::open(&path)?.sync_all()?;
    fs::File::open(state_dir)?.sync_all()?;
    Ok(())
}

/// Whether the first half was done here, and not the second.
pub fn is_prepared(state_dir: &Path) -> bool {
    state_dir.join(UNFINISHED).exists() && !database(state_dir).exists()
}

/// The second half: the store gets its name, if the key opens it and there is none of that name.
pub fn settle(state_dir: &Path, master: &MasterKey) -> Result<(), OpenFault> {
    let path = state_dir.join(UNFINISHED);
    let (connection, _) = open_at(&path, state_dir, master)?;
    // One file, without a log beside it, which would not move along.
    connection.pragma_update(None, "journal_mode", "DELETE")?;
    connection.close().map_err(|(_, error)| OpenFault::from(error))?;
    match renameat_with(CWD, &path, CWD, database(state_dir), RenameFlags::NOREPLACE) {
        Ok(()) => {}
        Err(Errno::EXIST) => return Err(OpenFault::Exists),
        // Some file systems do not know the flag; whoever makes a store holds the lock of its directory.
        Err(Errno::INVAL | Errno::NOSYS) if !database(state_dir).exists() => fs::rename(&path, database(state_dir))?,
        Err(error) => return Err(OpenFault::Io(error.into())),
    }
    fs::File::open(state_dir)?.sync_all()?;
    Ok(())
}

/// Makes an empty file for a database; there must be none.
pub(crate) fn create_empty(path: &Path) -> Result<(), OpenFault> {
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    made.map(|_| ()).map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => OpenFault::Exists,
        _ => OpenFault::Io(error),
    })
}

/// Opens the writing connection of the store and checks everything that must hold.
pub(crate) fn open(state_dir: &Path, master: &MasterKey) -> Result<(Connection, Vault), OpenFault> {
    open_at(&database(state_dir), state_dir, master)
}

/// The same for a database under another name in that directory.
pub(crate) fn open_at(path: &Path, state_dir: &Path, master: &MasterKey) -> Result<(Connection, Vault), OpenFault> {
    check_file(path)?;
    let mut connection = Connection::open_with_flags(path, writer_flags())?;
    if rusqlite::version_number() < OLDEST_SQLITE {
        return Err(OpenFault::Setting("sqlite 3.51.3 or newer"));
    }
    let application: i32 = connection.query_row("PRAGMA application_id", [], |row| row.get(0))?;
    let version: u32 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if application != APPLICATION_ID || version == 0 {
        return Err(OpenFault::Damaged("this is not a database of mfad".to_owned()));
    }
    if version > newest() {
        return Err(OpenFault::Newer { found: version, known: newest() });
    }
    apply_settings(&connection)?;
    let vault = rotation::vault_for(&connection, master)?;
    // Pages are moved by a change of the schema: first they are looked at, however many there are.
    check_acting(&connection, version)?;
    let is_looked_over = version < newest() || !is_large(&connection)?;
    if is_looked_over {
        integrity_check(&connection)?;
    }
    // Before anything of it is believed and made new.
    audit::check_head(&connection, &vault, version)?;
    if version < newest() {
        back_up(&connection, state_dir, version)?;
        migrate(&mut connection, &vault)?;
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

/// Keeps statements, with the plan that was made for them: by default some are planned anew for each value.
fn plan_once(connection: &Connection, statements: usize) -> rusqlite::Result<()> {
    connection.set_prepared_statement_cache_capacity(statements);
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map(drop)
}

fn writer_flags() -> OpenFlags {
    OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX
}

/// A file that is missing, empty, a link or open to others is no store.
fn check_file(path: &Path) -> Result<(), OpenFault> {
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

/// Whether a look over all of it would keep the daemon from serving for longer than a start may take.
pub(crate) fn is_large(connection: &Connection) -> Result<bool, OpenFault> {
    let pages: u32 = connection.query_row("PRAGMA page_count", [], |row| row.get(0))?;
    Ok(pages > LARGE)
}

/// Looks over the pages of one table and its indexes, and whether the indexes hold what the table holds.
pub(crate) fn integrity_check_of(connection: &Connection, table: &str) -> Result<(), OpenFault> {
    check(connection, &format!("PRAGMA integrity_check('{table}')"))
}

/// Checks all of a database, and its indexes against its tables. Of a large one that takes longer than a start may (STO-13).
pub(crate) fn integrity_check(connection: &Connection) -> Result<(), OpenFault> {
    check(connection, "PRAGMA integrity_check(1)")
}

fn check(connection: &Connection, question: &str) -> Result<(), OpenFault> {
    let finding: String = connection.query_row(question, [], |row| row.get(0))?;
    if finding == "ok" { Ok(()) } else { Err(OpenFault::Damaged(finding)) }
}

/// Copies the database beside itself before its schema changes.
fn back_up(connection: &Connection, state_dir: &Path, version: u32) -> Result<(), OpenFault> {
    let path = state_dir.join(format!("mfad.db.before-v{version}-upgrade"));
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
    connection.backup("main", &path, None::<fn(rusqlite::backup::Progress)>)?;
    Ok(())
}

/// Reads one value of the table of single values.
pub(crate) fn meta(connection: &Connection, key: &str) -> rusqlite::Result<Option<Vec<u8>>> {
    connection.prepare_cached("SELECT value FROM meta WHERE key = ?1")?.query_row([key], |row| row.get(0)).optional()
}

/// What tells this store from every other.
pub(crate) fn instance(connection: &Connection) -> Result<Vec<u8>, Fault> {
    meta(connection, "instance")?.ok_or(Fault::Corrupt("the instance"))
}

/// Writes one value of the table of single values.
pub(crate) fn put_meta(connection: &Connection, key: &str, value: &[u8]) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO meta (key, value) VALUES (?1, ?2) ON CONFLICT DO UPDATE SET value = excluded.value",
        )?
        .execute(rusqlite::params![key, value])?;
    Ok(())
}

/// Removes one value of the table of single values.
pub(crate) fn delete_meta(connection: &Connection, key: &str) -> rusqlite::Result<()> {
    connection.prepare_cached("DELETE FROM meta WHERE key = ?1")?.execute([key])?;
    Ok(())
}
