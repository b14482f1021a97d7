//! Users and the names they log in with. This module does not decide whether a user may log in.

use rusqlite::{Row, params};

use mfad_core::model::{Email, Text, UserId, UserName};

use super::secret_rows::SecretType;
use super::{Fault, Tx, View};

/// A user as stored.
#[derive(Clone, Debug)]
pub struct UserRow {
    /// The id, a UUID that never changes.
    pub id: UserId,
    /// The login name as the user wrote it. Names are compared by a canonical key.
    pub name: String,
    /// Name for display, if one is set.
    pub display_name: Option<String>,
    /// E-mail address, if one is set. It is a login name too.
    pub email: Option<String>,
    /// Names of roles. `admin` and `host` mean something to the daemon; all others are for apps to read.
    pub roles: Vec<String>,
    /// Whether the user is disabled, and so cannot log in anywhere.
    pub disabled: bool,
    /// When the user was created, in milliseconds since 1970.
    pub created: i64,
    /// When a field above was last changed, in milliseconds since 1970.
    pub modified: i64,
    /// Raised by each change of the fields above, so that an update that is based on an older version can be refused.
    /// Starts at 1.
    pub version: i64,
    /// The session epoch. Tokens of an earlier epoch are invalid (ENR-9).
    pub epoch: i64,
}

impl UserRow {
    /// Whether the user has this role.
    pub fn has_role(&self, role: &str) -> bool {
        self.roles.iter().any(|own| own == role)
    }
}

/// A user to be created; see [`Tx::insert_user`].
#[derive(Clone, Debug)]
pub struct NewUser {
    /// The id, chosen by the caller.
    pub id: UserId,
    /// The login name. Its canonical key must not belong to another user.
    pub name: UserName,
    /// Name for display; it need not be unique.
    pub display_name: Option<Text>,
    /// E-mail address, which is a login name too.
    pub email: Option<Email>,
    /// Milliseconds since 1970. It is also the first epoch, which is at least 1.
    pub created: i64,
}

/// The field of a user that belongs to another user already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// A user with this id exists.
    Id,
    /// The name: another user has it as name or e-mail address.
    Name,
    /// The e-mail address: another user has it as name or e-mail address.
    Email,
}

/// The state of a user's second factors (TOTP, HOTP and security keys).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MfaState {
    /// No factor, or only pending ones that have expired.
    None,
    /// A factor waits for its first code.
    Pending,
    /// All factors that count at login are imported ones that the user has not proved here yet.
    Imported,
    /// At least one proved factor counts at login.
    Active,
}

impl MfaState {
    /// Whether there is a factor whose codes are accepted.
    pub fn has_factor(self) -> bool {
        match self {
            Self::Active | Self::Imported => true,
            Self::None | Self::Pending => false,
        }
    }
}

const COLUMNS: &str = "id, name, display_name, email, roles, disabled, created, modified, version, epoch";

impl View<'_> {
    /// Returns the user with that id.
    pub fn user(&self, id: UserId) -> Result<Option<UserRow>, Fault> {
        let sql = format!("SELECT {COLUMNS} FROM users WHERE id = ?1");
        let mut statement = self.connection.prepare_cached(&sql)?;
        let mut rows = statement.query([id.as_bytes()])?;
        rows.next()?.map(read).transpose()
    }

    /// Returns the user with that name or e-mail address, given as its canonical key.
    pub fn user_by_login(&self, key: &str) -> Result<Option<UserRow>, Fault> {
        let sql = format!("SELECT {COLUMNS} FROM users WHERE id = (SELECT user FROM logins WHERE key = ?1)");
        let mut statement = self.connection.prepare_cached(&sql)?;
        let mut rows = statement.query([key])?;
        rows.next()?.map(read).transpose()
    }

    /// Returns up to `limit` users whose id is greater than `after`, ordered by id.
    pub fn users(&self, after: Option<UserId>, limit: u32) -> Result<Vec<UserRow>, Fault> {
        let sql = format!("SELECT {COLUMNS} FROM users WHERE id > ?1 ORDER BY id LIMIT ?2");
        let mut statement = self.connection.prepare_cached(&sql)?;
        let mut rows = statement.query(params![after.as_ref().map_or(&[][..], |id| id.as_bytes()), limit])?;
        let mut users = Vec::new();
        while let Some(row) = rows.next()? {
            users.push(read(row)?);
        }
        Ok(users)
    }

    /// Returns the state of the user's factors at `now` (milliseconds since 1970). Fails if the secrets do not match
    /// the user's summary: a lost factor is a fault, never "no factor" (STO-13).
    pub fn mfa_state(&self, user: UserId, now: i64) -> Result<MfaState, Fault> {
        let mut found = None;
        for row in self.checked_secrets(user)? {
            match row.kind {
                SecretType::Mfa if row.is_unproved => found = Some(MfaState::Imported),
                SecretType::Mfa | SecretType::Fido2 => return Ok(MfaState::Active),
                SecretType::Password | SecretType::ApiKey | SecretType::Backup => {}
            }
        }
        if let Some(state) = found {
            return Ok(state);
        }
        // The summary covers active secrets only. An active factor that only this second query finds is damage as well.
        match self.shown_mfa_state(user, now)? {
            MfaState::Active | MfaState::Imported => Err(Fault::Disagrees),
            state @ (MfaState::None | MfaState::Pending) => Ok(state),
        }
    }

    /// Returns the same state without comparing the summary. For lists only; a login must not be decided by this.
    pub fn shown_mfa_state(&self, user: UserId, now: i64) -> Result<MfaState, Fault> {
        let best: Option<i64> = self
            .connection
            .prepare_cached(
                "SELECT max(CASE WHEN status = 'active' THEN 3 - unproved WHEN expires > ?2 THEN 1 ELSE 0 END)
                 FROM secrets WHERE user = ?1 AND type IN ('mfa', 'fido2') AND status IN ('active', 'pending')",
            )?
            .query_row(params![user.as_bytes(), now], |row| row.get(0))?;
        Ok(match best {
            Some(3) => MfaState::Active,
            Some(2) => MfaState::Imported,
            Some(1) => MfaState::Pending,
            Some(_) | None => MfaState::None,
        })
    }
}

impl Tx<'_> {
    /// Creates a user, unless its id, name or address is taken. The first epoch is later than that of any token of a
    /// former user with the same id.
    pub fn insert_user(&self, user: &NewUser) -> Result<Result<(), Taken>, Fault> {
        let inserted = self
            .writing()?
            .prepare_cached(
                "INSERT INTO users (id, name, display_name, email, created, modified, epoch)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?5, max(?5, 1)) ON CONFLICT (id) DO NOTHING",
            )?
            .execute(params![
                user.id.as_bytes(),
                user.name.text(),
                user.display_name.as_ref().map(Text::as_str),
                user.email.as_ref().map(Email::text),
                user.created,
            ])?;
        if inserted == 0 {
            return Ok(Err(Taken::Id));
        }
        self.claim_logins(user.id, &user.name, user.email.as_ref())
    }

    /// Writes the changed fields of a user, and counts its version up.
    pub fn update_user(&self, user: &UserRow, now: i64) -> Result<Result<(), Taken>, Fault> {
        let name = UserName::parse(&user.name).map_err(|_| Fault::Corrupt("a user name"))?;
        let email = user.email.as_deref().map(Email::parse).transpose().map_err(|_| Fault::Corrupt("an e-mail"))?;
        self.writing()?
            .prepare_cached(
                "UPDATE users SET name = ?2, display_name = ?3, email = ?4, roles = ?5, disabled = ?6, modified = ?7,
                 version = version + 1 WHERE id = ?1",
            )?
            .execute(params![
                user.id.as_bytes(),
                user.name,
                user.display_name,
                user.email,
                user.roles.join(" "),
                user.disabled,
                now,
            ])?;
        self.writing()?.prepare_cached("DELETE FROM logins WHERE user = ?1")?.execute([user.id.as_bytes()])?;
        self.claim_logins(user.id, &name, email.as_ref())
    }

    /// Deletes a user and everything that belongs to it. Returns whether it existed.
    pub fn delete_user(&self, id: UserId) -> Result<bool, Fault> {
        let gone = self.writing()?.prepare_cached("DELETE FROM users WHERE id = ?1")?.execute([id.as_bytes()])?;
        self.clear_throttles(id)?;
        Ok(gone == 1)
    }

    /// Ends all tokens, sessions, challenges and receipts of the user (ENR-9, ENR-10).
    pub fn bump_epoch(&self, id: UserId) -> Result<(), Fault> {
        for sql in [
            "UPDATE users SET epoch = epoch + 1 WHERE id = ?1",
            "DELETE FROM challenges WHERE user = ?1",
            "DELETE FROM sessions WHERE user = ?1",
            "DELETE FROM receipts WHERE user = ?1",
        ] {
            self.writing()?.prepare_cached(sql)?.execute([id.as_bytes()])?;
        }
        Ok(())
    }

    /// Claims the logins of a user who has none.
    fn claim_logins(&self, id: UserId, name: &UserName, email: Option<&Email>) -> Result<Result<(), Taken>, Fault> {
        if !self.claim_login(id, name.key(), "name")? {
            return Ok(Err(Taken::Name));
        }
        let Some(email) = email else { return Ok(Ok(())) };
        // A user whose name is an e-mail address may have it as the address too.
        let claimed = email.key() == name.key() || self.claim_login(id, email.key(), "email")?;
        Ok(if claimed { Ok(()) } else { Err(Taken::Email) })
    }

    fn claim_login(&self, id: UserId, key: &str, kind: &str) -> Result<bool, Fault> {
        let claimed = self
            .writing()?
            .prepare_cached("INSERT INTO logins (key, user, kind) VALUES (?1, ?2, ?3) ON CONFLICT (key) DO NOTHING")?
            .execute(params![key, id.as_bytes(), kind])?;
        Ok(claimed == 1)
    }
}

fn read(row: &Row<'_>) -> Result<UserRow, Fault> {
    let id: Vec<u8> = row.get(0)?;
    let roles: String = row.get(4)?;
    Ok(UserRow {
        id: UserId::from_slice(&id).ok_or(Fault::Corrupt("a user id"))?,
        name: row.get(1)?,
        display_name: row.get(2)?,
        email: row.get(3)?,
        roles: roles.split_whitespace().map(str::to_owned).collect(),
        disabled: row.get(5)?,
        created: row.get(6)?,
        modified: row.get(7)?,
        version: row.get(8)?,
        epoch: row.get(9)?,
    })
}
