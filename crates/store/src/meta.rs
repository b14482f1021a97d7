//! The table `meta`: single values of the store by name.

use rusqlite::{Connection, OptionalExtension};

use crate::Fault;

/// Reads a value of the `meta` table.
pub(crate) fn meta(connection: &Connection, key: &str) -> rusqlite::Result<Option<Vec<u8>>> {
    connection.prepare_cached("SELECT value FROM meta WHERE key = ?1")?.query_row([key], |row| row.get(0)).optional()
}

/// Writes a value of the `meta` table.
pub(crate) fn put_meta(connection: &Connection, key: &str, value: &[u8]) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO meta (key, value) VALUES (?1, ?2) ON CONFLICT DO UPDATE SET value = excluded.value",
        )?
        .execute(rusqlite::params![key, value])?;
    Ok(())
}

/// Deletes a value of the `meta` table.
pub(crate) fn delete_meta(connection: &Connection, key: &str) -> rusqlite::Result<()> {
    connection.prepare_cached("DELETE FROM meta WHERE key = ?1")?.execute([key])?;
    Ok(())
}

/// Reads the random id that distinguishes this store from every other.
pub(crate) fn instance(connection: &Connection) -> Result<Vec<u8>, Fault> {
    meta(connection, "instance")?.ok_or(Fault::Corrupt("the instance id"))
}
