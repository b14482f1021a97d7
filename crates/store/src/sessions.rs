//! Login sessions: the family of one refresh token and the access tokens that were issued from it. Tokens are not
//! stored; a session only counts generations of the refresh token.

use rusqlite::{OptionalExtension, params};

use mfad_core::model::{Amr, SessionId, UserId};

use super::logins::read_amr;
use super::{Fault, Tx, View};

/// A session as stored.
#[derive(Clone, Debug)]
pub struct SessionRow {
    /// The id, which is part of each token of the session.
    pub id: SessionId,
    /// The user who logged in.
    pub user: UserId,
    /// The user's epoch when the session was opened. A later epoch ends it (ENR-9).
    pub epoch: i64,
    /// The uid of the process that opened the session.
    pub peer: u32,
    /// The generation of the refresh token that is valid now. Starts at 1.
    pub generation: u32,
    /// When the present generation began, in milliseconds since 1970. `None` for the first generation.
    pub rotated: Option<i64>,
    /// The authentication methods of the login (RFC 8176).
    pub amr: Amr,
    /// When the user logged in, in seconds since 1970.
    pub auth_time: i64,
    /// When the session was opened, in milliseconds since 1970.
    pub created: i64,
    /// When the session ends, in milliseconds since 1970. A refresh moves it.
    pub expires: i64,
}

impl View<'_> {
    /// Returns the session with that id, unless it has expired at `now` (milliseconds since 1970).
    pub fn session(&self, id: SessionId, now: i64) -> Result<Option<SessionRow>, Fault> {
        let found = self
            .connection
            .prepare_cached(
                "SELECT user, epoch, peer, generation, amr, auth_time, created, expires, rotated FROM sessions
                 WHERE id = ?1 AND expires > ?2",
            )?
            .query_row(params![id.as_bytes(), now], |row| {
                Ok((
                    row.get::<_, Vec<u8>>(0)?,
                    row.get(1)?,
                    row.get(2)?,
                    row.get(3)?,
                    row.get::<_, String>(4)?,
                    row.get(5)?,
                    row.get(6)?,
                    row.get(7)?,
                    row.get(8)?,
                ))
            })
            .optional()?;
        let Some((user, epoch, peer, generation, amr, auth_time, created, expires, rotated)) = found else {
            return Ok(None);
        };
        let user = UserId::from_slice(&user).ok_or(Fault::Corrupt("a session's user"))?;
        let amr = read_amr(&amr)?;
        Ok(Some(SessionRow { id, user, epoch, peer, generation, rotated, amr, auth_time, created, expires }))
    }
}

impl Tx<'_> {
    /// Opens a session. If the user then has more than `most`, the oldest end, and those with a creation time in the
    /// future end first: a clock that was ahead made them.
    pub fn insert_session(&self, session: &SessionRow, most: u32) -> Result<(), Fault> {
        self.writing()?
            .prepare_cached(
                "INSERT INTO sessions (id, user, epoch, peer, generation, amr, auth_time, created, expires)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            )?
            .execute(params![
                session.id.as_bytes(),
                session.user.as_bytes(),
                session.epoch,
                session.peer,
                session.generation,
                session.amr.values().join(" "),
                session.auth_time,
                session.created,
                session.expires,
            ])?;
        // The new one is always kept, then those whose time is not in the future, newest first.
        self.writing()?
            .prepare_cached(
                "DELETE FROM sessions WHERE user = ?1 AND id NOT IN
                 (SELECT id FROM sessions WHERE user = ?1
                  ORDER BY id = ?3 DESC, created <= ?4 DESC, created DESC, id DESC LIMIT ?2)",
            )?
            .execute(params![session.user.as_bytes(), most, session.id.as_bytes(), session.created])?;
        Ok(())
    }

    /// Moves the refresh token on to the next generation. Returns `false` if `generation` is not the valid one.
    pub fn rotate_session(&self, id: SessionId, generation: u32, expires: i64, now: i64) -> Result<bool, Fault> {
        let changed = self
            .writing()?
            .prepare_cached(
                "UPDATE sessions SET generation = generation + 1, expires = ?3, rotated = ?4
                 WHERE id = ?1 AND generation = ?2",
            )?
            .execute(params![id.as_bytes(), generation, expires, now])?;
        Ok(changed == 1)
    }

    /// Ends a session with all its tokens. Returns whether it was open.
    pub fn end_session(&self, id: SessionId) -> Result<bool, Fault> {
        let gone = self.writing()?.prepare_cached("DELETE FROM sessions WHERE id = ?1")?.execute([id.as_bytes()])?;
        Ok(gone == 1)
    }
}
