//! State between two requests: challenges that wait for a second factor, and step-up receipts that wait to be redeemed.
//! This module does not decide whether a login succeeds.

use rusqlite::{OptionalExtension, params};

use mfad_core::model::{Amr, ChallengeId, UserId};

use super::{Fault, Tx, View};

/// A challenge: a password was correct, and the second factor is still due (AUT-2).
#[derive(Clone, Debug)]
pub struct ChallengeRow {
    /// The id, which is part of the challenge token.
    pub id: ChallengeId,
    /// The user whose password was correct.
    pub user: UserId,
    /// The uid of the process that gave the password.
    pub peer: u32,
    /// The user's epoch when the challenge was created.
    pub epoch: i64,
    /// Number of wrong answers so far.
    pub wrong: u32,
    /// When the challenge was created, in milliseconds since 1970.
    pub created: i64,
    /// When the challenge ends, in milliseconds since 1970.
    pub expires: i64,
}

/// Proof that a user confirmed one action with a second factor. It can be redeemed once.
#[derive(Clone, Debug)]
pub struct StepUpReceipt {
    /// SHA-256 of the receipt. The receipt itself is not stored.
    pub digest: [u8; 32],
    /// The user who confirmed the action.
    pub user: UserId,
    /// The uid of the only app that may redeem the receipt.
    pub peer: u32,
    /// The user's epoch when the receipt was created.
    pub epoch: i64,
    /// SHA-256 of the text that describes the confirmed action.
    pub action: [u8; 32],
    /// The authentication methods that were used (RFC 8176).
    pub amr: Amr,
    /// When the user confirmed, in seconds since 1970.
    pub auth_time: i64,
    /// When the receipt ends, in milliseconds since 1970.
    pub expires: i64,
}

impl View<'_> {
    /// Returns the challenge with that id, unless it has expired at `now` (milliseconds since 1970).
    pub fn challenge(&self, id: ChallengeId, now: i64) -> Result<Option<ChallengeRow>, Fault> {
        let found = self
            .connection
            .prepare_cached(
                "SELECT user, epoch, wrong, created, expires, peer FROM challenges WHERE id = ?1 AND expires > ?2",
            )?
            .query_row(params![id.as_bytes(), now], |row| {
                Ok((row.get::<_, Vec<u8>>(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?))
            })
            .optional()?;
        let Some((user, epoch, wrong, created, expires, peer)) = found else { return Ok(None) };
        let user = UserId::from_slice(&user).ok_or(Fault::Corrupt("a challenge's user"))?;
        Ok(Some(ChallengeRow { id, user, peer, epoch, wrong, created, expires }))
    }
}

impl Tx<'_> {
    /// Stores a challenge. If the user then has more than `most` from the same peer, the oldest end, and those with a
    /// creation time in the future end first: a clock that was ahead made them. Challenges of other peers stay, so one
    /// app cannot push out those of another.
    pub fn insert_challenge(&self, challenge: &ChallengeRow, most: u32) -> Result<(), Fault> {
        self.writing()?
            .prepare_cached(
                "INSERT INTO challenges (id, user, epoch, created, expires, peer) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute(params![
                challenge.id.as_bytes(),
                challenge.user.as_bytes(),
                challenge.epoch,
                challenge.created,
                challenge.expires,
                challenge.peer,
            ])?;
        // The new one is always kept, then those whose time is not in the future, newest first.
        self.writing()?
            .prepare_cached(
                "DELETE FROM challenges WHERE user = ?1 AND peer = ?5 AND id NOT IN
                 (SELECT id FROM challenges WHERE user = ?1 AND peer = ?5
                  ORDER BY id = ?3 DESC, created <= ?4 DESC, created DESC, id DESC LIMIT ?2)",
            )?
            .execute(params![
                challenge.user.as_bytes(),
                most,
                challenge.id.as_bytes(),
                challenge.created,
                challenge.peer
            ])?;
        Ok(())
    }

    /// Counts a wrong answer and ends the challenge at `most`. Returns how many answers it still accepts.
    pub fn count_wrong_answer(&self, challenge: &ChallengeRow, most: u32) -> Result<u32, Fault> {
        let wrong = challenge.wrong.saturating_add(1);
        if wrong >= most {
            self.end_challenge(challenge.id)?;
            return Ok(0);
        }
        self.writing()?
            .prepare_cached("UPDATE challenges SET wrong = ?2 WHERE id = ?1")?
            .execute(params![challenge.id.as_bytes(), wrong])?;
        Ok(most.saturating_sub(wrong))
    }

    /// Ends a challenge. Returns whether it was still open.
    pub fn end_challenge(&self, id: ChallengeId) -> Result<bool, Fault> {
        let gone = self.writing()?.prepare_cached("DELETE FROM challenges WHERE id = ?1")?.execute([id.as_bytes()])?;
        Ok(gone == 1)
    }

    /// Stores a receipt. If the user then has more than `most`, the oldest end, and those with a later expiry than the
    /// new one end first: a clock that was ahead made them.
    pub fn insert_receipt(&self, receipt: &StepUpReceipt, most: u32) -> Result<(), Fault> {
        self.writing()?
            .prepare_cached(
                "INSERT INTO receipts (digest, user, epoch, action, amr, auth_time, expires, peer)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            )?
            .execute(params![
                receipt.digest,
                receipt.user.as_bytes(),
                receipt.epoch,
                receipt.action,
                receipt.amr.values().join(" "),
                receipt.auth_time,
                receipt.expires,
                receipt.peer,
            ])?;
        // The new one is always kept, then those whose time is not in the future, newest first.
        self.writing()?
            .prepare_cached(
                "DELETE FROM receipts WHERE user = ?1 AND digest NOT IN
                 (SELECT digest FROM receipts WHERE user = ?1
                  ORDER BY digest = ?3 DESC, expires <= ?4 DESC, expires DESC, digest LIMIT ?2)",
            )?
            .execute(params![receipt.user.as_bytes(), most, receipt.digest, receipt.expires])?;
        Ok(())
    }

    /// Removes a receipt and returns it, so that it can be redeemed only once. It stays removed even if the caller then
    /// rejects it. `None` if it does not exist or has expired.
    pub fn take_receipt(&self, digest: &[u8; 32], now: i64) -> Result<Option<StepUpReceipt>, Fault> {
        let found = self
            .writing()?
            .prepare_cached(
                "DELETE FROM receipts WHERE digest = ?1 RETURNING user, epoch, action, amr, auth_time, expires, peer",
            )?
            .query_row([digest], |row| {
                Ok((
                    row.get::<_, Vec<u8>>(0)?,
                    row.get::<_, i64>(1)?,
                    row.get::<_, [u8; 32]>(2)?,
                    row.get::<_, String>(3)?,
                    row.get::<_, i64>(4)?,
                    row.get::<_, i64>(5)?,
                    row.get::<_, u32>(6)?,
                ))
            })
            .optional()?;
        let Some((user, epoch, action, amr, auth_time, expires, peer)) = found else { return Ok(None) };
        if expires <= now {
            return Ok(None);
        }
        Ok(Some(StepUpReceipt {
            digest: *digest,
            user: UserId::from_slice(&user).ok_or(Fault::Corrupt("a receipt's user"))?,
            peer,
            epoch,
            action,
            amr: read_amr(&amr)?,
            auth_time,
            expires,
        }))
    }

    /// Deletes challenges, receipts and sessions that have expired at `now` (milliseconds since 1970).
    pub fn sweep_logins(&self, now: i64) -> Result<(), Fault> {
        for sql in [
            "DELETE FROM challenges WHERE expires <= ?1",
            "DELETE FROM receipts WHERE expires <= ?1",
            "DELETE FROM sessions WHERE expires <= ?1",
        ] {
            self.writing()?.prepare_cached(sql)?.execute([now])?;
        }
        Ok(())
    }
}

/// Parses the output of [`Amr::values`] joined by spaces.
pub(super) fn read_amr(text: &str) -> Result<Amr, Fault> {
    let values: Vec<&str> = text.split(' ').collect();
    Amr::from_values(&values).ok_or(Fault::Corrupt("a list of authentication methods"))
}
