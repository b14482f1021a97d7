//! Secrets of users: passwords, one-time password factors, API keys, backup codes and security keys. Each value is
//! sealed for its row, user, type and parameters. This module stores and counts; it compares no code.

use rusqlite::types::Value;
use rusqlite::{OptionalExtension, params};

use mfad_core::model::{Label, OtpKind, SecretId, Sensitive, UserId};

use super::moving_factors::{after, stored};
use super::sealed::{OwnedAssociatedData, Sealed, SealedValue};
use super::secret_rows::{BackupSet, NewSecret, SecretRow, SecretType, Status, associated_data, binding, read};
use super::{Fault, Tx, View};

const COLUMNS: &str = "id, user, type, status, name, description, created, modified, last_used, expires, version, \
                       algorithm, digits, period, wrong, used, sealed, spare_of, guarded, number, unproved, \
                       weak";

/// The sealed values, for master key rotation. Every secret that has not ended has one.
pub(super) const SEALED: Sealed = Sealed {
    first: || Value::Blob(Vec::new()),
    after: |connection, after, limit| {
        let sql = format!("SELECT {COLUMNS} FROM secrets WHERE id > ?1 AND sealed IS NOT NULL ORDER BY id LIMIT ?2");
        let mut statement = connection.prepare_cached(&sql)?;
        let mut rows = statement.query(params![after, limit])?;
        let mut values = Vec::new();
        while let Some(row) = rows.next()? {
            let mut row = read(row)?;
            let sealed = row.sealed.take().ok_or(Fault::Corrupt("a secret without a value"))?;
            let home = OwnedAssociatedData {
                table: "secrets",
                row: row.id.as_bytes().to_vec(),
                user: row.user.as_bytes().to_vec(),
                kind: row.kind.name(),
                parameters: binding(row.profile.as_ref()),
            };
            values.push(SealedValue { key: Value::Blob(row.id.as_bytes().to_vec()), home, sealed });
        }
        Ok(values)
    },
    put: "UPDATE secrets SET sealed = ?2 WHERE id = ?1",
};

/// Numbers of imported factors that need attention.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MarkedFactors {
    /// Those that their users have not proved with a code yet.
    pub unproved: i64,
    /// Those with a seed of fewer than 128 bits.
    pub weak: i64,
}

impl View<'_> {
    /// Whether a name is free within a user. The names of ended secrets are free.
    pub fn is_name_free(&self, user: UserId, name: &Label) -> Result<bool, Fault> {
        let taken: Option<i64> = self
            .connection
            .prepare_cached("SELECT 1 FROM secrets WHERE user = ?1 AND name_key = ?2 AND status <> 'ended'")?
            .query_row(params![user.as_bytes(), name.key()], |row| row.get(0))
            .optional()?;
        Ok(taken.is_none())
    }

    /// Returns one secret of a user, in any status.
    pub fn secret(&self, user: UserId, id: SecretId) -> Result<Option<SecretRow>, Fault> {
        // The search starts with the user. So it takes the same time whether the id is unknown or belongs to another
        // user (AZ-2).
        let sql = format!("SELECT {COLUMNS} FROM secrets INDEXED BY secrets_by_user WHERE user = ?1 AND id = ?2");
        let mut statement = self.connection.prepare_cached(&sql)?;
        let mut rows = statement.query(params![user.as_bytes(), id.as_bytes()])?;
        rows.next()?.map(read).transpose()?.map(|row| self.with_position(row)).transpose()
    }

    /// Returns all secrets of a user that have not ended, oldest first.
    pub fn secrets(&self, user: UserId) -> Result<Vec<SecretRow>, Fault> {
        let sql = format!("SELECT {COLUMNS} FROM secrets WHERE user = ?1 AND status <> 'ended' ORDER BY id");
        self.rows(&sql, user)?.into_iter().map(|row| self.with_position(row)).collect()
    }

    fn rows(&self, sql: &str, user: UserId) -> Result<Vec<SecretRow>, Fault> {
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut rows = statement.query([user.as_bytes()])?;
        let mut secrets = Vec::new();
        while let Some(row) = rows.next()? {
            secrets.push(read(row)?);
        }
        Ok(secrets)
    }

    /// Returns the active secret of a type that a user has at most once: the password or the set of backup codes.
    pub fn active_secret(&self, user: UserId, kind: SecretType) -> Result<Option<SecretRow>, Fault> {
        let sql = format!("SELECT {COLUMNS} FROM secrets WHERE user = ?1 AND type = ?2 AND status = 'active' LIMIT 1");
        let mut statement = self.connection.prepare_cached(&sql)?;
        let mut rows = statement.query(params![user.as_bytes(), kind.name()])?;
        rows.next()?.map(read).transpose()
    }

    /// Returns the active one-time password factors, oldest first. Fails if they do not match the user's summary, so a
    /// lost factor is never "no factor" (STO-13).
    pub fn active_factors(&self, user: UserId) -> Result<Vec<SecretRow>, Fault> {
        let rows = self.checked_secrets(user)?.into_iter().filter(|row| row.kind == SecretType::Mfa);
        rows.map(|row| self.with_position(row)).collect()
    }

    /// Returns all active secrets, oldest first, without comparing them with the summary and without the position of a
    /// factor. For callers that have just changed them; a login must not be decided by this.
    pub fn active_secrets(&self, user: UserId) -> Result<Vec<SecretRow>, Fault> {
        let sql = format!("SELECT {COLUMNS} FROM secrets WHERE user = ?1 AND status = 'active' ORDER BY id");
        self.rows(&sql, user)
    }

    /// Returns an active API key by its id alone, since the key itself names no user.
    pub fn api_key(&self, id: SecretId) -> Result<Option<SecretRow>, Fault> {
        let sql = format!("SELECT {COLUMNS} FROM secrets WHERE id = ?1 AND type = 'apikey' AND status = 'active'");
        let mut statement = self.connection.prepare_cached(&sql)?;
        let mut rows = statement.query([id.as_bytes()])?;
        rows.next()?.map(read).transpose()
    }

    /// Counts the imported factors that their users have not proved yet, and the factors with a seed of fewer than 128
    /// bits.
    pub fn marked_factors(&self) -> Result<MarkedFactors, Fault> {
        let count = |sql| self.connection.prepare_cached(sql)?.query_row([], |row| row.get(0));
        Ok(MarkedFactors {
            unproved: count("SELECT count(*) FROM secrets WHERE unproved = 1")?,
            weak: count("SELECT count(*) FROM secrets WHERE weak = 1")?,
        })
    }

    /// Opens the sealed value. The caller must use it at once and drop it (MEM-2).
    pub fn open_secret(&self, row: &SecretRow) -> Result<Sensitive<Vec<u8>>, Fault> {
        let sealed = row.sealed.as_deref().ok_or(Fault::Corrupt("a secret without a value"))?;
        let parameters = binding(row.profile.as_ref());
        self.vault.open(&row.associated_data(&parameters), sealed)
    }

    /// Returns the user's set of backup codes, opened.
    pub fn backup_set(&self, user: UserId) -> Result<Option<(SecretRow, BackupSet)>, Fault> {
        let Some(row) = self.active_secret(user, SecretType::Backup)? else { return Ok(None) };
        let record = self.open_secret(&row)?;
        Ok(Some((row.clone(), BackupSet { used: row.used, record })))
    }
}

impl Tx<'_> {
    /// Stores a secret: pending if `expires` is set, otherwise active. Returns `false` if a unique constraint refuses
    /// it, such as a name that is taken or a second pending factor.
    pub fn insert_secret(&self, new: &NewSecret) -> Result<bool, Fault> {
        let parameters = binding(new.profile.as_ref());
        let data = associated_data(&new.id, &new.user, new.kind, &parameters);
        let sealed = self.vault.seal(&data, new.value.expose())?;
        let (period, counter) = match new.profile.map(|p| p.moving) {
            Some(OtpKind::Totp(period)) => (Some(period.seconds()), None),
            Some(OtpKind::Hotp) => (None, Some(stored(new.first_counter)?)),
            None => (None, None),
        };
        let status = if new.expires.is_some() { Status::Pending } else { Status::Active };
        let number = new.profile.map(|_| self.insert_moving_factor(new.first_counter, new.ahead)).transpose()?;
        let inserted = self
            .writing()?
            .prepare_cached(
                "INSERT INTO secrets (id, user, type, status, name, name_key, created, modified, expires, algorithm,
                                      digits, period, counter, sealed, spare_of, guarded, number,
                                      unproved, weak)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)",
            )?
            .execute(params![
                new.id.as_bytes(),
                new.user.as_bytes(),
                new.kind.name(),
                status.name(),
                new.name.text(),
                new.name.key(),
                new.created,
                new.expires,
                new.profile.map(|p| p.algorithm.name()),
                new.profile.map(|p| p.digits.count()),
                period,
                counter,
                sealed,
                new.spare_of.as_ref().map(SecretId::as_bytes),
                new.is_guarded,
                number,
                new.is_unproved,
                new.is_weak(),
            ]);
        match inserted {
            Ok(_) => Ok(true),
            Err(error) if super::fault::is_duplicate(&error) => {
                let unused = "DELETE FROM moving_factors WHERE number = ?1";
                self.writing()?.prepare_cached(unused)?.execute([number])?;
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Changes name and description. Returns `false` if the name is taken.
    pub fn relabel(&self, row: &SecretRow, name: &Label, description: Option<&str>, now: i64) -> Result<bool, Fault> {
        let updated = self
            .writing()?
            .prepare_cached(
                "UPDATE secrets SET name = ?2, name_key = ?3, description = ?4, modified = ?5, version = version + 1
                 WHERE id = ?1",
            )?
            .execute(params![row.id.as_bytes(), name.text(), name.key(), description, now]);
        match updated {
            Ok(_) => Ok(true),
            Err(error) if super::fault::is_duplicate(&error) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Seals a value for an existing secret.
    pub(super) fn seal_for(&self, row: &SecretRow, value: &[u8]) -> Result<Vec<u8>, Fault> {
        self.vault.seal(&row.associated_data(&binding(row.profile.as_ref())), value)
    }

    /// Replaces the value of a secret, such as a password, and counts its version up.
    pub fn replace_value(&self, row: &SecretRow, value: &Sensitive<Vec<u8>>, now: i64) -> Result<(), Fault> {
        let sealed = self.seal_for(row, value.expose())?;
        self.writing()?
            .prepare_cached("UPDATE secrets SET sealed = ?2, modified = ?3, version = version + 1 WHERE id = ?1")?
            .execute(params![row.id.as_bytes(), sealed, now])?;
        Ok(())
    }

    /// Stores a stronger hash of the password that was just used (AUT-8). The version stays, since to API clients the
    /// secret is unchanged.
    pub fn strengthen(&self, row: &SecretRow, value: &Sensitive<Vec<u8>>, now: i64) -> Result<(), Fault> {
        let sealed = self.seal_for(row, value.expose())?;
        self.writing()?
            .prepare_cached("UPDATE secrets SET sealed = ?2, last_used = ?3 WHERE id = ?1")?
            .execute(params![row.id.as_bytes(), sealed, now])?;
        Ok(())
    }

    /// Ends the user's pending secret of a type, if there is one, and wipes its value (ENR-2).
    pub fn end_pending(&self, user: UserId, kind: SecretType, now: i64) -> Result<(), Fault> {
        self.writing()?
            .prepare_cached(
                "UPDATE secrets SET status = 'ended', sealed = NULL, modified = ?2
                 WHERE user = ?1 AND type = ?3 AND status = 'pending'",
            )?
            .execute(params![user.as_bytes(), now, kind.name()])?;
        Ok(())
    }

    /// Returns the user's pending secrets that have not expired: normally one, or two if a factor on a hardware key has
    /// a spare.
    pub fn pending_factors(&self, user: UserId, now: i64) -> Result<Vec<SecretRow>, Fault> {
        let all = self.secrets(user)?;
        Ok(all.into_iter().filter(|secret| secret.is_pending_at(now)).collect())
    }

    /// Counts a wrong first code, and returns the new count.
    pub fn count_wrong_code(&self, row: &SecretRow) -> Result<u32, Fault> {
        self.writing()?
            .prepare_cached("UPDATE secrets SET wrong = wrong + 1 WHERE id = ?1 AND status = 'pending'")?
            .execute([row.id.as_bytes()])?;
        Ok(row.wrong.saturating_add(1))
    }

    /// Makes a pending secret active (ENR-4). `used` is the step or counter of the code that proved a factor: it and
    /// all earlier ones are used up. Returns `false` if the secret was not pending any more.
    pub fn activate(&self, row: &SecretRow, used: Option<u64>, now: i64) -> Result<bool, Fault> {
        let changed = self
            .writing()?
            .prepare_cached(
                "UPDATE secrets SET status = 'active', expires = NULL, wrong = 0, modified = ?2, last_used = ?2,
                                    version = version + 1
                 WHERE id = ?1 AND status = 'pending'",
            )?
            .execute(params![row.id.as_bytes(), now])?;
        if let (1, Some(used)) = (changed, used) {
            self.set_moving_factor(row, after(used)?, now)?;
        }
        Ok(changed == 1)
    }

    /// Records that the user has proved an imported factor with a code.
    pub fn prove(&self, id: SecretId, now: i64) -> Result<(), Fault> {
        self.writing()?
            .prepare_cached(
                "UPDATE secrets SET unproved = 0, modified = ?2, version = version + 1 WHERE id = ?1 AND unproved = 1",
            )?
            .execute(params![id.as_bytes(), now])?;
        Ok(())
    }

    /// Uses up one backup code, given by its position in the set. Returns `false` if it was used already (BKC-4).
    pub fn consume_code(&self, id: SecretId, place: u8, now: i64) -> Result<bool, Fault> {
        let bit = 1i64.checked_shl(u32::from(place)).ok_or(Fault::Corrupt("the position of a backup code"))?;
        let changed = self
            .writing()?
            .prepare_cached("UPDATE secrets SET used = used | ?2, last_used = ?3 WHERE id = ?1 AND used & ?2 = 0")?
            .execute(params![id.as_bytes(), bit, now])?;
        Ok(changed == 1)
    }

    /// Records that a secret was used at `now` (milliseconds since 1970).
    pub fn touch(&self, id: SecretId, now: i64) -> Result<(), Fault> {
        self.writing()?
            .prepare_cached("UPDATE secrets SET last_used = ?2 WHERE id = ?1")?
            .execute(params![id.as_bytes(), now])?;
        Ok(())
    }

    /// Deletes a secret with its value.
    pub fn delete_secret(&self, id: SecretId) -> Result<(), Fault> {
        self.writing()?.prepare_cached("DELETE FROM secrets WHERE id = ?1")?.execute([id.as_bytes()])?;
        Ok(())
    }

    /// Ends pending secrets that have expired at `now`, and deletes those that ended before `forget_before` (both in
    /// milliseconds since 1970).
    pub fn sweep_secrets(&self, now: i64, forget_before: i64) -> Result<(), Fault> {
        self.writing()?
            .prepare_cached(
                "UPDATE secrets SET status = 'ended', sealed = NULL, modified = ?1
                 WHERE status = 'pending' AND expires <= ?1",
            )?
            .execute([now])?;
        self.writing()?
            .prepare_cached("DELETE FROM secrets WHERE status = 'ended' AND modified < ?1")?
            .execute([forget_before])?;
        self.sweep_future_steps()
    }
}
