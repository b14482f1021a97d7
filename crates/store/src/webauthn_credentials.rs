//! Credentials of security keys (FIDO2). Their records are the sealed values of secrets of that type; here is what has to be
//! found by credential, or moves with each use.

use rusqlite::{OptionalExtension, params};

use mfad_core::model::{SecretId, UserId};

use super::secrets::SecretType;
use super::{Fault, SecretRow, Tx, View, files};

/// The relying party that the credentials are bound to.
const RELYING_PARTY: &str = "relying-party";

impl View<'_> {
    /// The active security keys of a user, each with its counter.
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

    /// The ids of a user's credentials.
    pub fn credential_ids_of(&self, user: UserId) -> Result<Vec<Vec<u8>>, Fault> {
        let mut statement = self.connection.prepare_cached(
            "SELECT fido2.credential FROM fido2 JOIN secrets ON secrets.id = fido2.secret WHERE secrets.user = ?1",
        )?;
        let rows = statement.query_map([user.as_bytes()], |row| row.get(0))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// The secret of a credential, whoever's it is.
    pub fn secret_of_credential(&self, credential: &[u8]) -> Result<Option<(UserId, SecretId)>, Fault> {
        let found: Option<(Vec<u8>, Vec<u8>)> = self
            .connection
            .prepare_cached(
                "SELECT secrets.user, secrets.id FROM fido2 JOIN secrets ON secrets.id = fido2.secret
                 WHERE fido2.credential = ?1 AND secrets.status = 'active'",
            )?
            .query_row([credential], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let corrupt = Fault::Corrupt("a security key");
        found
            .map(|(user, secret)| {
                let user = UserId::from_slice(&user).ok_or_else(|| corrupt.clone())?;
                Ok((user, SecretId::from_slice(&secret).ok_or(corrupt)?))
            })
            .transpose()
    }

    /// The relying party that credentials are bound to; none while there are none.
    pub fn relying_party(&self) -> Result<Option<String>, Fault> {
        let any: Option<i64> = self
            .connection
            .prepare_cached("SELECT 1 FROM fido2 LIMIT 1")?
            .query_row([], |row| row.get(0))
            .optional()?;
        let Some(_) = any else { return Ok(None) };
        let name = files::meta(self.connection, RELYING_PARTY)?.and_then(|bytes| String::from_utf8(bytes).ok());
        name.map(Some).ok_or(Fault::Corrupt("the relying party"))
    }
}

impl Tx<'_> {
    /// Binds a credential to its secret; `false` if it is somebody's already (FIDO-6).
    pub fn insert_credential_id(
        &self,
        secret: SecretId,
        credential: &[u8],
        counter: u32,
        relying_party: &str,
    ) -> Result<bool, Fault> {
        let inserted = self
            .connection
            .prepare_cached("INSERT INTO fido2 (credential, secret, counter) VALUES (?1, ?2, ?3)")?
            .execute(params![credential, secret.as_bytes(), counter]);
        match inserted {
            Ok(_) => {}
            Err(error) if super::fault::is_duplicate(&error) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        files::put_meta(self.connection, RELYING_PARTY, relying_party.as_bytes())?;
        Ok(true)
    }

    /// Moves a counter on; `false` if it does not move. A key without a counter says 0 each time (FIDO-5).
    pub fn consume_counter_of_key(&self, secret: SecretId, counter: u32, now: i64) -> Result<bool, Fault> {
        let moved = self
            .connection
            .prepare_cached(
                "UPDATE fido2 SET counter = ?2 WHERE secret = ?1 AND (counter < ?2 OR (counter = 0 AND ?2 = 0))",
            )?
            .execute(params![secret.as_bytes(), counter])?;
        if moved != 1 {
            return Ok(false);
        }
        self.connection
            .prepare_cached("UPDATE secrets SET last_used = ?2 WHERE id = ?1")?
            .execute(params![secret.as_bytes(), now])?;
        Ok(true)
    }

    /// Puts the record of a key into its pending secret and makes it active; `false` if it does not wait any more.
    pub fn activate_key(&self, row: &SecretRow, record: &[u8], now: i64) -> Result<bool, Fault> {
        let sealed = self.seal_for(row, record)?;
        let changed = self
            .connection
            .prepare_cached(
                "UPDATE secrets SET status = 'active', expires = NULL, sealed = ?2, modified = ?3
                 WHERE id = ?1 AND status = 'pending'",
            )?
            .execute(params![row.id.as_bytes(), sealed, now])?;
        Ok(changed == 1)
    }
}
