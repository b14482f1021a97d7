//! The summary of a user: the active secrets, the roles, and whether the user is disabled, as one sealed value in the
//! user's own row (STO-13). Without it, a factor that was lost to a damaged index or a changed row would look like no
//! factor at all. The summary is written in the transaction of every change, and compared wherever a decision depends
//! on a second factor. This module does not decide who may log in.

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, params};

use mfad_core::model::{Profile, UserId};

use super::sealed::{OwnedAssociatedData, Sealed, SealedValue};
use super::vault::{AssociatedData, Vault};
use super::{Fault, OpenFault, SecretRow, Tx, View};

const TABLE: &str = "users";
const KIND: &str = "summary";
/// Length of an id in bytes.
const ID: usize = 16;
/// Users that are compared in one snapshot. A comparison of all users in one snapshot would keep the WAL from being
/// reset.
const PAGE: u32 = 128;

/// SQL that records which rows change: the user's own row, or one secret. Table and triggers are temporary, so they are
/// in memory and belong to the writing connection alone. A process that writes to the file can therefore not cause a
/// summary of its changes.
const NOTES: &str = "
CREATE TEMP TABLE changed (user BLOB NOT NULL, part BLOB NOT NULL, PRIMARY KEY (user, part)) STRICT, WITHOUT ROWID;
CREATE TEMP TRIGGER change_by_new_user AFTER INSERT ON main.users BEGIN
    INSERT OR IGNORE INTO changed VALUES (NEW.id, x'01'), (NEW.id, x'00');
END;
CREATE TEMP TRIGGER change_of_user AFTER UPDATE OF roles, disabled ON main.users
WHEN OLD.roles IS NOT NEW.roles OR OLD.disabled IS NOT NEW.disabled BEGIN
    INSERT OR IGNORE INTO changed VALUES (NEW.id, x'00');
END;
CREATE TEMP TRIGGER change_by_new_secret AFTER INSERT ON main.secrets WHEN NEW.status = 'active' BEGIN
    INSERT OR IGNORE INTO changed VALUES (NEW.user, NEW.id);
END;
CREATE TEMP TRIGGER change_of_secret AFTER UPDATE OF status ON main.secrets
WHEN 'active' IN (OLD.status, NEW.status) BEGIN
    INSERT OR IGNORE INTO changed VALUES (NEW.user, NEW.id);
END;
CREATE TEMP TRIGGER change_by_deletion AFTER DELETE ON main.secrets WHEN OLD.status = 'active' BEGIN
    INSERT OR IGNORE INTO changed VALUES (OLD.user, OLD.id);
END;
";
/// Recorded when roles or `disabled` of the user changed.
const OWN_ROW: &[u8] = &[0];
/// Recorded when the user was created.
const NEW_USER: &[u8] = &[1];

/// The rows of a user that decide about a login. They are sealed as they are, not as a digest, so that an intended
/// change of one row can be told from damage to another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Summary {
    /// The `disabled` flag as one byte, then the roles.
    own: Vec<u8>,
    /// The active secrets ordered by id, each as id, type, `is_guarded` and parameters.
    secrets: Vec<Vec<u8>>,
}

impl Summary {
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(256);
        for part in std::iter::once(&self.own).chain(&self.secrets) {
            // The length before each part makes the encoding unambiguous.
            bytes.extend_from_slice(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
            bytes.extend_from_slice(part);
        }
        bytes
    }

    fn parse(mut bytes: &[u8]) -> Option<Self> {
        let mut parts = Vec::new();
        while !bytes.is_empty() {
            let (length, rest) = bytes.split_first_chunk::<4>()?;
            let (part, rest) = rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
            parts.push(part.to_vec());
            bytes = rest;
        }
        let mut parts = parts.into_iter();
        Some(Self { own: parts.next()?, secrets: parts.collect() })
    }

    /// The summary without the parts that were changed on purpose.
    fn without(mut self, changed: &[Vec<u8>]) -> Self {
        if changed.iter().any(|part| part == OWN_ROW) {
            self.own.clear();
        }
        self.secrets.retain(|secret| !changed.iter().any(|part| part.len() == ID && secret.starts_with(part)));
        self
    }
}

/// The summaries as sealed values, for master key rotation. Every user has one.
pub(super) const SEALED: Sealed = Sealed {
    first: || Value::Blob(Vec::new()),
    after: |connection, after, limit| {
        let mut statement = connection.prepare_cached(
            "SELECT id, summary FROM users WHERE id > ?1 AND summary IS NOT NULL ORDER BY id LIMIT ?2",
        )?;
        let mut rows = statement.query(params![after, limit])?;
        let mut values = Vec::new();
        while let Some(row) = rows.next()? {
            let id: Vec<u8> = row.get(0)?;
            let home = OwnedAssociatedData {
                table: TABLE,
                row: id.clone(),
                user: id.clone(),
                kind: KIND,
                parameters: String::new(),
            };
            values.push(SealedValue { key: Value::Blob(id), home, sealed: row.get(1)? });
        }
        Ok(values)
    },
    put: "UPDATE users SET summary = ?2 WHERE id = ?1",
};

fn associated_data(user: &UserId) -> AssociatedData<'_> {
    AssociatedData { table: TABLE, row: user.as_bytes(), user: user.as_bytes(), kind: KIND, parameters: "" }
}

/// Creates the temporary table and the triggers in the writing connection.
pub(super) fn take_notes(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(NOTES)
}

/// A sealed summary as stored. It is NULL until the first one is written, and otherwise only in a damaged row.
type Stored = Option<Vec<u8>>;

impl View<'_> {
    /// Fails with [`Fault::Disagrees`] unless the active secrets, the roles and `disabled` of a user are those that
    /// were last written. A user who does not exist passes.
    pub fn check_summary(&self, user: UserId) -> Result<(), Fault> {
        self.checked_secrets(user).map(drop)
    }

    /// Returns the active secrets of a user exactly as they were compared with the summary. Decisions about a factor
    /// must use these rows, since another query through a damaged index may miss one.
    pub(super) fn checked_secrets(&self, user: UserId) -> Result<Vec<SecretRow>, Fault> {
        let Some((found, sealed, rows)) = self.summary(user)? else { return Ok(Vec::new()) };
        if self.open_summary(user, sealed)? == found { Ok(rows) } else { Err(Fault::Disagrees) }
    }

    /// Returns the summary of the present rows, the stored summary, and the active secrets. `None` if the user does not
    /// exist.
    fn summary(&self, user: UserId) -> Result<Option<(Summary, Stored, Vec<SecretRow>)>, Fault> {
        let found: Option<(String, bool, Stored)> = self
            .connection
            .prepare_cached("SELECT roles, disabled, summary FROM users WHERE id = ?1")?
            .query_row([user.as_bytes()], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
            .optional()?;
        let Some((roles, disabled, sealed)) = found else { return Ok(None) };
        let rows = self.active_secrets(user)?;
        Ok(Some((self.summary_of(&roles, disabled, &rows), sealed, rows)))
    }

    /// Computes the summary of these rows.
    pub(super) fn summary_of(&self, roles: &str, disabled: bool, rows: &[SecretRow]) -> Summary {
        let own = [&[u8::from(disabled)], roles.as_bytes()].concat();
        let mut secrets = Vec::new();
        for SecretRow { id, kind, profile, is_guarded, .. } in rows {
            let parameters = profile.as_ref().map(Profile::binding).unwrap_or_default();
            secrets.push(
                [id.as_bytes(), kind.name().as_bytes(), &[b' ', u8::from(*is_guarded)], parameters.as_bytes()].concat(),
            );
        }
        Summary { own, secrets }
    }

    fn open_summary(&self, user: UserId, sealed: Stored) -> Result<Summary, Fault> {
        let opened = self.vault.open(&associated_data(&user), &sealed.ok_or(Fault::Disagrees)?)?;
        Summary::parse(opened.expose()).ok_or(Fault::Disagrees)
    }

    fn check_some(&self, after: &[u8]) -> Result<Option<Vec<u8>>, OpenFault> {
        let mut statement =
            self.connection.prepare_cached("SELECT id FROM users WHERE id > ?1 ORDER BY id LIMIT ?2")?;
        let ids = statement.query_map(params![after, PAGE], |row| row.get(0))?;
        let ids: Vec<Vec<u8>> = ids.collect::<Result<_, _>>()?;
        for id in &ids {
            let user = UserId::from_slice(id).ok_or(Fault::Corrupt("a user id"))?;
            self.check_summary(user).map_err(|fault| match fault {
                // These mean damage. Any other fault, such as a busy store, says nothing about the rows.
                Fault::Disagrees | Fault::Seal | Fault::Corrupt(_) => {
                    OpenFault::Damaged(format!("the rows of user {user} do not match their summary: {fault}"))
                }
                other => other.into(),
            })?;
        }
        Ok(ids.into_iter().next_back())
    }
}

impl Tx<'_> {
    /// Writes the summaries of all users whose rows a job changed, before the changes are kept. Rows that it did not
    /// change must still match the old summary, so a summary is never computed from damaged rows.
    pub(super) fn settle_summaries(&self) -> Result<(), Fault> {
        let mut statement = self.connection.prepare_cached("SELECT user, part FROM temp.changed ORDER BY user")?;
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let rows: Vec<(Vec<u8>, Vec<u8>)> = rows.collect::<Result<_, _>>()?;
        for changed in rows.chunk_by(|one, next| one.0 == next.0) {
            let Some((user, _)) = changed.first() else { continue };
            let parts: Vec<Vec<u8>> = changed.iter().map(|(_, part)| part.clone()).collect();
            self.settle_summary(UserId::from_slice(user).ok_or(Fault::Corrupt("a user id"))?, &parts)?;
        }
        if !rows.is_empty() {
            self.connection.prepare_cached("DELETE FROM temp.changed")?.execute([])?;
        }
        Ok(())
    }

    fn settle_summary(&self, user: UserId, changed: &[Vec<u8>]) -> Result<(), Fault> {
        let Some((found, sealed, _)) = self.summary(user)? else { return Ok(()) };
        let is_new = changed.iter().any(|part| part == NEW_USER);
        // A new user has no summary yet. Its row and its secrets are all among the changes.
        let before = if is_new { Summary::default() } else { self.open_summary(user, sealed)? };
        if before.without(changed) != found.clone().without(changed) {
            return Err(Fault::Disagrees);
        }
        write(&self.view, user, &found)
    }
}

fn write(view: &View<'_>, user: UserId, summary: &Summary) -> Result<(), Fault> {
    let sealed = view.vault.seal(&associated_data(&user), &summary.bytes())?;
    let put = "UPDATE users SET summary = ?2 WHERE id = ?1";
    view.connection.prepare_cached(put)?.execute(params![user.as_bytes(), sealed])?;
    Ok(())
}

/// Writes the summaries of all users, for a store from before summaries existed.
pub(super) fn write_all(connection: &Connection, vault: &Vault) -> Result<(), OpenFault> {
    let view = View { connection, vault };
    let ids: Vec<Vec<u8>> =
        connection.prepare("SELECT id FROM users")?.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    for id in ids {
        let user = UserId::from_slice(&id).ok_or(Fault::Corrupt("a user id"))?;
        if let Some((found, ..)) = view.summary(user)? {
            write(&view, user, &found)?;
        }
    }
    Ok(())
}

/// Compares all users with their summaries.
pub(super) fn check_all(connection: &Connection, vault: &Vault) -> Result<(), OpenFault> {
    let mut after = Some(Vec::new());
    while let Some(last) = after {
        after = check_some(connection, vault, &last)?;
    }
    Ok(())
}

/// Compares up to 128 users whose id is greater than `after`, in one snapshot. Returns the last id, or `None` at the
/// end.
pub(super) fn check_some(connection: &Connection, vault: &Vault, after: &[u8]) -> Result<Option<Vec<u8>>, OpenFault> {
    let snapshot = connection.unchecked_transaction()?;
    View { connection: &snapshot, vault }.check_some(after)
}
