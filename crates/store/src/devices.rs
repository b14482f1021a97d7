//! Hardware keys that the daemon has programmed, or whose OATH password it stores: the identity of their OATH applet,
//! and the sealed access key that opens it. This module does not talk to cards.

use rusqlite::types::Value;
use rusqlite::{Row, params};

use mfad_core::model::{DeviceId, KeyId, Sensitive};

use super::sealed::{OwnedAssociatedData, Sealed, SealedValue};
use super::vault::AssociatedData;
use super::{Fault, Tx, View};

/// The kind under which an access key is sealed.
const ACCESS: &str = "oath-access";

/// A hardware key as last seen. The access key of its OATH applet stays sealed until [`View::device_access`] opens it.
#[derive(Clone, Debug)]
pub struct DeviceRow {
    /// Identity of the key; the primary key of the row.
    pub key: KeyId,
    /// Identity of the OATH applet when this daemon last wrote to it. A reset of the applet changes it.
    pub device_id: DeviceId,
    /// Firmware version, as text.
    pub firmware: String,
    /// Product name, such as `YubiKey 5 NFC`.
    pub model: String,
    /// When the daemon last recorded the key, in milliseconds since 1970.
    pub seen: i64,
    /// Whether the key was later seen with another applet identity, which means that the applet was reset.
    pub was_reset: bool,
    /// The applet's password, sealed to a third party's public key (see `escrow` in the configuration). The daemon
    /// cannot open it. `None` without an escrow.
    pub escrow: Option<String>,
    access: Option<Vec<u8>>,
}

/// The sealed access keys, for master key rotation.
pub(super) const SEALED: Sealed = Sealed {
    first: || Value::Text(String::new()),
    after: |connection, after, limit| {
        let mut statement = connection.prepare_cached(
            "SELECT key, device_id, access FROM devices WHERE key > ?1 AND access IS NOT NULL
             ORDER BY key LIMIT ?2",
        )?;
        let mut rows = statement.query(params![after, limit])?;
        let mut values = Vec::new();
        while let Some(row) = rows.next()? {
            let text: String = row.get(0)?;
            let key = KeyId::parse(&text).ok_or(Fault::Corrupt("a hardware key"))?;
            let home = OwnedAssociatedData {
                table: "devices",
                row: row_of(key),
                user: Vec::new(),
                kind: ACCESS,
                parameters: row.get(1)?,
            };
            values.push(SealedValue { key: Value::Text(text), home, sealed: row.get(2)? });
        }
        Ok(values)
    },
    put: "UPDATE devices SET access = ?2 WHERE key = ?1",
};

impl DeviceRow {
    /// Whether the daemon stores an access key for the applet.
    pub fn has_access(&self) -> bool {
        self.access.is_some()
    }
}

impl View<'_> {
    /// Returns the hardware key, if the daemon knows it.
    pub fn device(&self, key: KeyId) -> Result<Option<DeviceRow>, Fault> {
        let mut statement = self.connection.prepare_cached(
            "SELECT key, device_id, firmware, model, seen, was_reset, access, escrow FROM devices WHERE key = ?1",
        )?;
        let mut rows = statement.query([key.to_string()])?;
        rows.next()?.map(read).transpose()
    }

    /// Opens the stored access key: the bytes derived from the password, not the password itself. They are two access
    /// keys, the new one first, while a change of the password is in progress. `None` if none is stored.
    pub fn device_access(&self, device: &DeviceRow) -> Result<Option<Sensitive<Vec<u8>>>, Fault> {
        let Some(sealed) = &device.access else { return Ok(None) };
        self.vault.open(&associated_data(&row_of(device.key), device.device_id.as_str()), sealed).map(Some)
    }
}

impl Tx<'_> {
    /// Records a key as it is now and clears `was_reset`. If its applet identity changed, the stored access key and
    /// escrow are dropped, since they belong to the former applet.
    pub fn note_device(
        &self,
        key: KeyId,
        device_id: &DeviceId,
        firmware: &str,
        model: &str,
        now: i64,
    ) -> Result<(), Fault> {
        self.writing()?
            .prepare_cached(
                "INSERT INTO devices (key, device_id, firmware, model, seen) VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT DO UPDATE SET
                    access = CASE WHEN device_id = excluded.device_id THEN access END,
                    escrow = CASE WHEN device_id = excluded.device_id THEN escrow END,
                    device_id = excluded.device_id, firmware = excluded.firmware, model = excluded.model,
                    seen = excluded.seen, was_reset = 0",
            )?
            .execute(params![key.to_string(), device_id.as_str(), firmware, model, now])?;
        Ok(())
    }

    /// Records that a key now has another applet identity than the one that was written to. Returns `false` if that was
    /// known, so that the caller audits it only once.
    pub fn note_reset(&self, key: KeyId, now: i64) -> Result<bool, Fault> {
        let changed = self
            .writing()?
            .prepare_cached("UPDATE devices SET was_reset = 1, seen = ?2 WHERE key = ?1 AND was_reset = 0")?
            .execute(params![key.to_string(), now])?;
        Ok(changed == 1)
    }

    /// Stores the access key of the applet and the escrow, or removes them (`None`). Changes nothing if the row has
    /// another applet identity.
    pub fn keep_access(
        &self,
        key: KeyId,
        device_id: &DeviceId,
        access: Option<&[u8]>,
        escrow: Option<&str>,
    ) -> Result<(), Fault> {
        let row = row_of(key);
        let sealed =
            access.map(|access| self.vault.seal(&associated_data(&row, device_id.as_str()), access)).transpose()?;
        self.writing()?
            .prepare_cached("UPDATE devices SET access = ?3, escrow = ?4 WHERE key = ?1 AND device_id = ?2")?
            .execute(params![key.to_string(), device_id.as_str(), sealed, escrow])?;
        Ok(())
    }
}

/// The row as a sealed access key is bound to it. Serial numbers are four bytes, since they were sealed so before keys of
/// other makers were known; a text of four bytes cannot be the identity of such a key.
fn row_of(key: KeyId) -> Vec<u8> {
    key.serial().map_or_else(|| key.to_string().into_bytes(), |serial| serial.number().to_be_bytes().to_vec())
}

fn associated_data<'a>(row: &'a [u8], device_id: &'a str) -> AssociatedData<'a> {
    AssociatedData { table: "devices", row, user: &[], kind: ACCESS, parameters: device_id }
}

fn read(row: &Row<'_>) -> Result<DeviceRow, Fault> {
    let corrupt = Fault::Corrupt("a hardware key");
    Ok(DeviceRow {
        key: KeyId::parse(&row.get::<_, String>(0)?).ok_or_else(|| corrupt.clone())?,
        device_id: DeviceId::from_text(row.get(1)?).ok_or(corrupt)?,
        firmware: row.get(2)?,
        model: row.get(3)?,
        seen: row.get(4)?,
        was_reset: row.get(5)?,
        access: row.get(6)?,
        escrow: row.get(7)?,
    })
}
