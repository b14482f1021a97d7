//! The summary of a user: the active secrets, the roles, and whether the user is disabled, as one sealed value in the
//! user's own row (STO-13). Without it, a factor that was lost to a damaged index or a changed row would look like no
//! factor at all. The summary is written in the transaction of every change, and compared wherever a decision depends
//! on a second factor. It also holds the seeds of the one-time password factors, so that a check of a code reads and
//! opens this one value. This module does not decide who may log in.

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, params};

use zeroize::{Zeroize, ZeroizeOnDrop};

use mfad_core::model::{Algorithm, Digits, OtpKind, Period, Profile, SecretId, Sensitive, UserId};

use super::moving_factors::ActiveFactor;
use super::recent_uses::RecentUses;
use super::sealed::{OwnedAssociatedData, Sealed, SealedValue};
use super::vault::{AssociatedData, Vault};
use super::{Fault, OpenFault, SecretRow, SecretType, Tx, View};

const TABLE: &str = "users";
const KIND: &str = "summary";
/// Begins, after the id, the part with the seed of a factor. The name of a type has a space behind it there.
const SEED: &[u8] = b"seed:";
/// The flag of an imported factor that its user has not proved. The flag 1 is `is_guarded`.
const UNPROVED: u8 = 2;
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
CREATE TEMP TRIGGER change_of_secret AFTER UPDATE OF status, unproved ON main.secrets
WHEN 'active' IN (OLD.status, NEW.status) BEGIN
    INSERT OR IGNORE INTO changed VALUES (NEW.user, NEW.id);
END;
CREATE TEMP TRIGGER change_by_deletion AFTER DELETE ON main.secrets WHEN OLD.status = 'active' BEGIN
    INSERT OR IGNORE INTO changed VALUES (OLD.user, OLD.id);
END;
";
/// Reads the row of one user, as far as it decides about a login.
const OWN_ROW_SQL: &str = "SELECT roles, disabled, summary FROM users WHERE id = ?1";
/// Recorded when roles or `disabled` of the user changed.
const OWN_ROW: &[u8] = &[0];
/// Recorded when the user was created.
const NEW_USER: &[u8] = &[1];

/// The rows of a user that decide about a login. They are sealed as they are, not as a digest, so that an intended
/// change of one row can be told from damage to another.
#[derive(Clone, Default, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
struct Summary {
    /// The `disabled` flag as one byte, then the roles.
    own: Vec<u8>,
    /// The active secrets ordered by id, each as id, type, [`flags`] and parameters. A one-time password factor has
    /// a second part: id, [`SEED`], the number of its moving factor (8 bytes, big-endian) and the seed.
    secrets: Vec<Vec<u8>>,
}

/// What a login with a one-time password needs of a user, from the user's own row.
pub struct LoginFactors {
    /// Whether the user is disabled, and so cannot log in anywhere.
    pub is_disabled: bool,
    /// The active TOTP and HOTP factors, oldest first.
    pub factors: Vec<ActiveFactor>,
}

impl Summary {
    fn bytes(&self) -> Sensitive<Vec<u8>> {
        let length = self.parts().map(|part| part.len().saturating_add(4)).sum();
        // With its full capacity from the start, so that no copy without a wipe is left behind.
        let mut bytes = Vec::with_capacity(length);
        for part in self.parts() {
            // The length before each part makes the encoding unambiguous.
            bytes.extend_from_slice(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
            bytes.extend_from_slice(part);
        }
        Sensitive::new(bytes)
    }

    fn parts(&self) -> impl Iterator<Item = &Vec<u8>> {
        std::iter::once(&self.own).chain(&self.secrets)
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let parts: Option<Vec<&[u8]>> = Parts(bytes).collect();
        let (own, secrets) = parts.as_deref()?.split_first()?;
        Some(Self { own: own.to_vec(), secrets: secrets.iter().map(|part| part.to_vec()).collect() })
    }

    /// The summary without the parts that were changed on purpose.
    fn without(mut self, changed: &[Vec<u8>]) -> Self {
        if changed.iter().any(|part| part == OWN_ROW) {
            self.own.clear();
        }
        self.secrets.retain(|secret| !changed.iter().any(|part| part.len() == ID && secret.starts_with(part)));
        self
    }

    /// The summary as it was before schema version 7.
    fn without_seeds(mut self) -> Self {
        self.secrets.retain(|part| Part::read(part).is_some_and(|part| !part.rest.starts_with(SEED)));
        self
    }
}

/// The parts of an encoded summary. `None` for the part at which the encoding is invalid.
struct Parts<'a>(&'a [u8]);

impl<'a> Iterator for Parts<'a> {
    type Item = Option<&'a [u8]>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let split = self
            .0
            .split_first_chunk::<4>()
            .and_then(|(length, rest)| rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?));
        self.0 = split.map_or(&[], |(_, rest)| rest);
        Some(split.map(|(part, _)| part))
    }
}

/// A part about a secret.
struct Part<'a> {
    id: SecretId,
    rest: &'a [u8],
}

impl<'a> Part<'a> {
    fn read(part: &'a [u8]) -> Option<Self> {
        let (id, rest) = part.split_at_checked(ID)?;
        Some(Self { id: SecretId::from_slice(id)?, rest })
    }

    /// The parameters, and whether it is not proved, if this is the first part of a one-time password factor.
    fn factor(&self) -> Option<(Profile, bool)> {
        let parameters = self.rest.strip_prefix(SecretType::Mfa.name().as_bytes())?.strip_prefix(b" ")?;
        // The byte before the parameters has the flags.
        let (flags, parameters) = parameters.split_first()?;
        let profile = Profile::from_binding(std::str::from_utf8(parameters).ok()?)?;
        Some((profile, flags & UNPROVED != 0))
    }

    /// Number and seed, if this is the second part of a one-time password factor.
    fn seed(&self) -> Option<(i64, Sensitive<Vec<u8>>)> {
        let (number, seed) = self.rest.strip_prefix(SEED)?.split_first_chunk::<8>()?;
        Some((i64::from_be_bytes(*number), Sensitive::new(seed.to_vec())))
    }
}

/// Reads the one-time password factors of an encoded summary whose first part is `own`. `None` if it is another one.
fn read_factors(bytes: &[u8], own: &[u8]) -> Option<Vec<ActiveFactor>> {
    let mut parts = Parts(bytes);
    if parts.next()?? != own {
        return None;
    }
    let mut factors = Vec::new();
    while let Some(part) = parts.next() {
        let part = Part::read(part?)?;
        let Some((profile, is_unproved)) = part.factor() else { continue };
        // Every one-time password factor has its seed right behind it.
        let behind = Part::read(parts.next()??).filter(|behind| behind.id == part.id)?;
        let (number, seed) = behind.seed()?;
        factors.push(ActiveFactor { id: part.id, profile, seed, is_unproved, number });
    }
    Some(factors)
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
            .prepare_cached(OWN_ROW_SQL)?
            .query_row([user.as_bytes()], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
            .optional()?;
        let Some((roles, disabled, sealed)) = found else { return Ok(None) };
        let rows = self.active_secrets(user)?;
        Ok(Some((self.summary_of(&roles, disabled, &rows)?, sealed, rows)))
    }

    /// Computes the summary of these rows.
    fn summary_of(&self, roles: &str, disabled: bool, rows: &[SecretRow]) -> Result<Summary, Fault> {
        let mut secrets = Vec::new();
        for row in rows {
            secrets.push(part_of(row.id, row.kind, flags(row.is_guarded, row.is_unproved), row.profile.as_ref()));
            if row.kind == SecretType::Mfa {
                let number = row.number.ok_or(Fault::Corrupt("a factor without a number"))?;
                // A seed that was moved or changed does not open.
                let seed = self.open_secret(row).map_err(|fault| match fault {
                    Fault::Seal => Fault::Disagrees,
                    other => other,
                })?;
                secrets.push(seed_part(row.id, number, &seed));
            }
        }
        Ok(Summary { own: own_part(roles, disabled), secrets })
    }

    /// Returns what a login with a one-time password needs of a user, from one row. Fails if roles or `disabled` are
    /// not those that were last written; `None` if the user does not exist. Other secrets of the user are not read.
    pub fn login_factors(&self, user: UserId) -> Result<Option<LoginFactors>, Fault> {
        let mut statement = self.connection.prepare_cached(OWN_ROW_SQL)?;
        let mut rows = statement.query([user.as_bytes()])?;
        let Some(row) = rows.next()? else { return Ok(None) };
        let is_disabled = row.get(1)?;
        let own = own_part(row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?, is_disabled);
        let sealed = row.get_ref(2)?.as_blob().map_err(|_| Fault::Disagrees)?;
        let opened = self.vault.open(&associated_data(&user), sealed)?;
        let factors = read_factors(opened.expose(), &own).ok_or(Fault::Disagrees)?;
        Ok(Some(LoginFactors { is_disabled, factors }))
    }

    /// Does the work of [`View::login_factors`] and [`View::position`] for a user who does not exist, so that time
    /// reveals nothing (AUT-4). Returns the factor of the decoy, or `None` if its value does not open any more.
    pub fn decoy_factors(&self, named: UserId, sealed: &[u8]) -> Result<Option<LoginFactors>, Fault> {
        let mut statement = self.connection.prepare_cached(OWN_ROW_SQL)?;
        let is_found = statement.exists([named.as_bytes()])?;
        let opened = self.vault.open(&associated_data(&nobody()), sealed);
        // The value was sealed at start, so it no longer opens once the master key has been rotated.
        let factors = opened.ok().and_then(|opened| read_factors(opened.expose(), &own_part("", false)));
        let position = self.position_of(nothing(), 0);
        std::hint::black_box((is_found, position.is_err()));
        Ok(factors.map(|factors| LoginFactors { is_disabled: false, factors }))
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
        let mut statement = self.writing()?.prepare_cached("SELECT user, part FROM temp.changed ORDER BY user")?;
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let rows: Vec<(Vec<u8>, Vec<u8>)> = rows.collect::<Result<_, _>>()?;
        for changed in rows.chunk_by(|one, next| one.0 == next.0) {
            let Some((user, _)) = changed.first() else { continue };
            let parts: Vec<Vec<u8>> = changed.iter().map(|(_, part)| part.clone()).collect();
            self.settle_summary(UserId::from_slice(user).ok_or(Fault::Corrupt("a user id"))?, &parts)?;
        }
        if !rows.is_empty() {
            self.writing()?.prepare_cached("DELETE FROM temp.changed")?.execute([])?;
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
    let sealed = view.vault.seal(&associated_data(&user), summary.bytes().expose())?;
    let put = "UPDATE users SET summary = ?2 WHERE id = ?1";
    view.connection.prepare_cached(put)?.execute(params![user.as_bytes(), sealed])?;
    Ok(())
}

/// The user whose decoy is sealed; no user has this id.
fn nobody() -> UserId {
    UserId::at(0, &[0; 10])
}

/// The factor of the decoy; no secret has this id.
fn nothing() -> SecretId {
    SecretId::at(0, &[0; 10])
}

fn own_part(roles: &str, disabled: bool) -> Vec<u8> {
    [&[u8::from(disabled)], roles.as_bytes()].concat()
}

/// What decides besides type and parameters, as one byte.
fn flags(is_guarded: bool, is_unproved: bool) -> u8 {
    u8::from(is_guarded) | if is_unproved { UNPROVED } else { 0 }
}

fn part_of(id: SecretId, kind: SecretType, flags: u8, profile: Option<&Profile>) -> Vec<u8> {
    let parameters = profile.map(Profile::binding).unwrap_or_default();
    [id.as_bytes(), kind.name().as_bytes(), &[b' ', flags], parameters.as_bytes()].concat()
}

fn seed_part(id: SecretId, number: i64, seed: &Sensitive<Vec<u8>>) -> Vec<u8> {
    [id.as_bytes(), SEED, &number.to_be_bytes(), seed.expose()].concat()
}

/// Seals a summary like that of a user with a password, one time-based factor of that seed and backup codes, for
/// [`View::decoy_factors`].
pub fn seal_decoy(vault: &Vault, seed: &Sensitive<Vec<u8>>) -> Result<Vec<u8>, Fault> {
    let id = nothing();
    let moving = OtpKind::Totp(Period::THIRTY);
    let profile = Profile { algorithm: Algorithm::Sha1, digits: Digits::SIX, moving };
    let secrets = vec![
        part_of(id, SecretType::Password, 0, None),
        part_of(id, SecretType::Mfa, 0, Some(&profile)),
        seed_part(id, 0, seed),
        part_of(id, SecretType::Backup, 0, None),
    ];
    let summary = Summary { own: own_part("", false), secrets };
    vault.seal(&associated_data(&nobody()), summary.bytes().expose())
}

/// Writes the summaries of all users, for a store from before they held the seeds. `is_compared` says that the store
/// has summaries: each must match its rows, or damage would be sealed.
pub(super) fn write_all(connection: &Connection, vault: &Vault, is_compared: bool) -> Result<(), OpenFault> {
    let view = View { connection, vault, recent: &RecentUses::default() };
    let ids: Vec<Vec<u8>> =
        connection.prepare("SELECT id FROM users")?.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    for id in ids {
        let user = UserId::from_slice(&id).ok_or(Fault::Corrupt("a user id"))?;
        let Some((found, sealed, _)) = view.summary(user)? else { continue };
        if is_compared && view.open_summary(user, sealed)? != found.clone().without_seeds() {
            return Err(Fault::Disagrees.into());
        }
        write(&view, user, &found)?;
    }
    Ok(())
}

/// Writes the summaries of all users as schema version 6 did, from rows that still have their numbers.
#[cfg(test)]
pub(super) fn write_all_of_version_6(connection: &Connection, vault: &Vault) {
    let view = View { connection, vault, recent: &RecentUses::default() };
    let mut statement = connection.prepare("SELECT id FROM users").unwrap();
    let ids = statement.query_map([], |row| row.get::<_, Vec<u8>>(0)).unwrap();
    for id in ids.map(Result::unwrap) {
        let user = UserId::from_slice(&id).unwrap();
        let (found, ..) = view.summary(user).unwrap().unwrap();
        write(&view, user, &found.without_seeds()).unwrap();
    }
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
    View { connection: &snapshot, vault, recent: &RecentUses::default() }.check_some(after)
}
