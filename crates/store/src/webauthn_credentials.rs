//! FIDO2 credentials of security keys. Their records are the sealed values of secrets of that type. This module holds
//! the parts that are searched by credential id or that change with each use. It verifies no assertion.

use rusqlite::{OptionalExtension, params};

use mfad_core::model::{SecretId, UserId};

use super::secret_rows::SecretType;
use super::{Fault, SecretRow, Tx, View};
use crate::meta;

/// Key of the `meta` row with the id of the relying party that all credentials are bound to.
const RELYING_PARTY: &str = "relying-party";

impl View<'_> {
    /// Returns the active security keys of a user, each with its signature counter. Fails if they do not match the
    /// user's summary (STO-13).
    pub fn active_keys(&self, user: UserId) -> Result<Vec<(SecretRow, u32)>, Fault> {
        let rows = self.checked_secrets(user)?.into_iter().filter(|row| row.kind == SecretType::Fido2);
        rows.map(|row| {
            let counter: Option<u32> = self
                .connection
                .prepare_cached("SELECT counter FROM fido2 WHERE secret = ?1")?
                .query_row([row.id.as_bytes()], |found| found.get(0))
                .optional()?;
            Ok((row, counter.ok_or(Fault::Corrupt("a security key without a credential"))?))
        })
        .collect()
    }

    /// Returns the credential ids of a user's security keys.
    pub fn credential_ids_of(&self, user: UserId) -> Result<Vec<Vec<u8>>, Fault> {
        let mut statement = self.connection.prepare_cached(
            "SELECT fido2.credential FROM fido2 JOIN secrets ON secrets.id = fido2.secret WHERE secrets.user = ?1",
        )?;
        let rows = statement.query_map([user.as_bytes()], |row| row.get(0))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Returns the active secret of a credential and its owner, whichever user that is.
    pub fn secret_of_credential(&self, credential: &[u8]) -> Result<Option<(UserId, SecretId)>, Fault> {
        let found: Option<(Vec<u8>, Vec<u8>)> = self
            .connection
            .prepare_cached(
                "SELECT secrets.user, secrets.id FROM fido2 JOIN secrets ON secrets.id = fido2.secret
                 WHERE fido2.credential = ?1 AND secrets.status = 'active'",
            )?
            .query_row([credential], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let corrupt = Fault::Corrupt("the secret of a FIDO2 credential");
        found
            .map(|(user, secret)| {
                let user = UserId::from_slice(&user).ok_or_else(|| corrupt.clone())?;
                Ok((user, SecretId::from_slice(&secret).ok_or(corrupt)?))
            })
            .transpose()
    }

    /// Returns the id of the relying party that credentials are bound to, or `None` while there are no credentials.
    pub fn relying_party(&self) -> Result<Option<String>, Fault> {
        let any: Option<i64> = self
            .connection
            .prepare_cached("SELECT 1 FROM fido2 LIMIT 1")?
            .query_row([], |row| row.get(0))
            .optional()?;
        let Some(_) = any else { return Ok(None) };
        let name = meta::meta(self.connection, RELYING_PARTY)?.and_then(|bytes| String::from_utf8(bytes).ok());
        name.map(Some).ok_or(Fault::Corrupt("the FIDO2 relying party"))
    }
}

impl Tx<'_> {
    /// Binds a credential id to its secret. Returns `false` if the credential id or the secret is bound already, for
    /// whichever user (FIDO-6).
    pub fn insert_credential_id(
        &self,
        secret: SecretId,
        credential: &[u8],
        counter: u32,
        relying_party: &str,
    ) -> Result<bool, Fault> {
        let inserted = self
            .writing()?
            .prepare_cached("INSERT INTO fido2 (credential, secret, counter) VALUES (?1, ?2, ?3)")?
            .execute(params![credential, secret.as_bytes(), counter]);
        match inserted {
            Ok(_) => {}
            Err(error) if super::fault::is_duplicate(&error) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        meta::put_meta(self.writing()?, RELYING_PARTY, relying_party.as_bytes())?;
        Ok(true)
    }

    /// Moves a signature counter on, and records the use. Returns `false` if the counter did not grow. A security key
    /// without a counter reports 0 each time, which is accepted (FIDO-5).
    pub fn consume_counter_of_key(&self, secret: SecretId, counter: u32, now: i64) -> Result<bool, Fault> {
        let moved = self
            .writing()?
            .prepare_cached(
                "UPDATE fido2 SET counter = ?2 WHERE secret = ?1 AND (counter < ?2 OR (counter = 0 AND ?2 = 0))",
            )?
            .execute(params![secret.as_bytes(), counter])?;
        if moved != 1 {
            return Ok(false);
        }
        self.writing()?
            .prepare_cached("UPDATE secrets SET last_used = ?2 WHERE id = ?1")?
            .execute(params![secret.as_bytes(), now])?;
        Ok(true)
    }

    /// Stores the record of a security key in its pending secret, and makes that active. Returns `false` if it was not
    /// pending any more.
    pub fn activate_key(&self, row: &SecretRow, record: &[u8], now: i64) -> Result<bool, Fault> {
        let sealed = self.seal_for(row, record)?;
        let changed = self
            .writing()?
            .prepare_cached(
                "UPDATE secrets SET status = 'active', expires = NULL, sealed = ?2, modified = ?3
                 WHERE id = ?1 AND status = 'pending'",
            )?
            .execute(params![row.id.as_bytes(), sealed, now])?;
        Ok(changed == 1)
    }
}
