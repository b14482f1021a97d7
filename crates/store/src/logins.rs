//! What is open between two requests: challenges that wait for a second factor, receipts that wait to be redeemed.

use rusqlite::{OptionalExtension, params};

use mfad_core::model::{Amr, ChallengeId, UserId};

use super::{Fault, Tx, View};

/// A right password that waits for its second factor (AUT-2).
#[derive(Clone, Debug)]
pub struct ChallengeRow {
    /// The id, named by its token.
    pub id: ChallengeId,
    /// Who gave the password.
    pub user: UserId,
    /// To which peer.
    pub peer: u32,
    /// The epoch it was given in.
    pub epoch: i64,
    /// Wrong answers so far.
    pub wrong: u32,
    /// Milliseconds since 1970.
    pub created: i64,
    /// Milliseconds since 1970.
    pub expires: i64,
}

/// Proof that a user confirmed one action with a second factor; good once.
#[derive(Clone, Debug)]
pub struct StepUpReceipt {
    /// SHA-256 of the receipt.
    pub digest: [u8; 32],
    /// Who confirmed.
    pub user: UserId,
    /// The uid of the app that may redeem it.
    pub peer: u32,
    /// The epoch it was given in.
    pub epoch: i64,
    /// SHA-256 of the action's text.
    pub action: [u8; 32],
    /// How it was confirmed.
    pub amr: Amr,
    /// When, in seconds since 1970.
    pub auth_time: i64,
    /// Milliseconds since 1970.
    pub expires: i64,
}

impl View<'_> {
    /// The open challenge of that id, if it has not expired.
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
    /// Opens a challenge; beyond `most` open ones of the same peer the user's oldest ends, but first those that a clock made
    /// which was ahead. Those of other peers stay.
    pub fn insert_challenge(&self, challenge: &ChallengeRow, most: u32) -> Result<(), Fault> {
        self.connection
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
        self.connection
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

    /// Counts a wrong answer; at `most` the challenge ends. Returns how many answers it still takes.
    pub fn count_wrong_answer(&self, challenge: &ChallengeRow, most: u32) -> Result<u32, Fault> {
        let wrong = challenge.wrong.saturating_add(1);
        if wrong >= most {
            self.end_challenge(challenge.id)?;
            return Ok(0);
        }
        self.connection
            .prepare_cached("UPDATE challenges SET wrong = ?2 WHERE id = ?1")?
            .execute(params![challenge.id.as_bytes(), wrong])?;
        Ok(most.saturating_sub(wrong))
    }

    /// Ends a challenge; `true` if it was open.
    pub fn end_challenge(&self, id: ChallengeId) -> Result<bool, Fault> {
        let gone = self.connection.prepare_cached("DELETE FROM challenges WHERE id = ?1")?.execute([id.as_bytes()])?;
        Ok(gone == 1)
    }

    /// Stores a receipt; beyond `most` the user's oldest ends, but first those that a clock made which was ahead.
    pub fn insert_receipt(&self, receipt: &StepUpReceipt, most: u32) -> Result<(), Fault> {
        self.connection
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
        self.connection
            .prepare_cached(
                "DELETE FROM receipts WHERE user = ?1 AND digest NOT IN
                 (SELECT digest FROM receipts WHERE user = ?1
                  ORDER BY digest = ?3 DESC, expires <= ?4 DESC, expires DESC, digest LIMIT ?2)",
            )?
            .execute(params![receipt.user.as_bytes(), most, receipt.digest, receipt.expires])?;
        Ok(())
    }

    /// Takes a receipt out, so that it is good once. It is gone whatever the caller then finds.
    pub fn take_receipt(&self, digest: &[u8; 32], now: i64) -> Result<Option<StepUpReceipt>, Fault> {
        let found = self
            .connection
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

    /// Forgets everything that has expired.
    pub fn sweep_logins(&self, now: i64) -> Result<(), Fault> {
        for sql in [
            "DELETE FROM challenges WHERE expires <= ?1",
            "DELETE FROM receipts WHERE expires <= ?1",
            "DELETE FROM sessions WHERE expires <= ?1",
        ] {
            self.connection.prepare_cached(sql)?.execute([now])?;
        }
        Ok(())
    }
}

/// Reads back what [`Amr::values`] wrote, joined by spaces.
pub(super) fn read_amr(text: &str) -> Result<Amr, Fault> {
    let values: Vec<&str> = text.split(' ').collect();
    Amr::from_values(&values).ok_or(Fault::Corrupt("an amr"))
}
