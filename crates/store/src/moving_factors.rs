//! How far the codes of each factor are used up: the moving factor of RFC 4226 section 5.1, a TOTP step or a HOTP
//! counter. A use is appended to the audit log (see [`crate::recent_uses`]) and folded into the table
//! `moving_factors` later. Of all uses of a factor, the last one in the order of the audit log counts.

use std::collections::BTreeSet;

use rusqlite::{OptionalExtension, params};

use mfad_core::model::{OtpKind, Profile, SecretId, Sensitive};

use super::recent_uses::Use;
use super::secret_rows::{SecretRow, SecretType, Status};
use super::{Fault, Tx, View};

/// A factor that counts at login, with its seed in clear. The caller must use it at once and drop it (MEM-2).
pub struct ActiveFactor {
    /// The id of the factor's secret.
    pub id: SecretId,
    /// Algorithm, digits and kind.
    pub profile: Profile,
    /// The seed.
    pub seed: Sensitive<Vec<u8>>,
    /// An imported factor whose user has not given a code of it here yet.
    pub is_unproved: bool,
    /// The factor's row in `moving_factors`.
    pub(super) number: i64,
}

/// How far the codes of a factor are used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The first step that is not used up (OTP-3), or the next counter that is expected (OTP-9).
    pub next: u64,
    /// When the factor was last used, in milliseconds since 1970.
    pub used_at: Option<i64>,
    /// HOTP: a counter beyond the look-ahead whose code was just given. The code that follows it resynchronises
    /// (OTP-9).
    pub resync: Option<u64>,
    /// HOTP: by how many `next`, which another program counted, may be ahead of the token. 0 once a code was accepted.
    pub ahead: u8,
}

impl Position {
    /// The newest step that was used up, if any was.
    pub fn last_step(&self) -> Option<u64> {
        self.next.checked_sub(1)
    }
}

impl View<'_> {
    /// Returns how far the codes of a factor are used up. Fails if the factor's row is missing: a factor must never
    /// look as if no code had been used.
    pub fn position(&self, factor: &ActiveFactor) -> Result<Position, Fault> {
        self.position_of(factor.id, factor.number)
    }

    pub(super) fn position_of(&self, id: SecretId, number: i64) -> Result<Position, Fault> {
        let row: Option<(i64, Option<i64>, Option<i64>, u8)> = self
            .connection
            .prepare_cached("SELECT next, used_at, resync, ahead FROM moving_factors WHERE number = ?1")?
            .query_row([number], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))
            .optional()?;
        let (next, used_at, resync, ahead) = row.ok_or(Fault::Corrupt("a factor without its moving factor"))?;
        let kept = Position { next: unstored(next)?, used_at, resync: resync.map(unstored).transpose()?, ahead };
        Ok(match self.recent.of(id) {
            // Not the maximum of both: an administrator may have lowered the step since (TIME-2).
            Some(newest) => Position { next: newest.next, used_at: newest.at.or(kept.used_at), ..kept },
            None => kept,
        })
    }

    /// Adds to a row of a TOTP or HOTP factor how far its codes are used up.
    pub(super) fn with_position(&self, row: SecretRow) -> Result<SecretRow, Fault> {
        if row.kind != SecretType::Mfa || row.status == Status::Ended {
            return Ok(row);
        }
        let position = self.position_of(row.id, row.number.ok_or(Fault::Corrupt("a factor without a number"))?)?;
        let is_counted = row.profile.is_some_and(|profile| matches!(profile.moving, OtpKind::Hotp));
        let (last_step, counter) = if is_counted { (None, Some(position.next)) } else { (position.last_step(), None) };
        let last_used = row.last_used.max(position.used_at);
        Ok(SecretRow { last_step, counter, ahead: position.ahead, last_used, ..row })
    }
}

impl Tx<'_> {
    /// Stores the moving factor of a new factor. Returns its number.
    pub(super) fn insert_moving_factor(&self, first: u64, ahead: u8) -> Result<i64, Fault> {
        let insert = "INSERT INTO moving_factors (next, ahead) VALUES (?1, ?2)";
        self.writing()?.prepare_cached(insert)?.execute(params![stored(first)?, ahead])?;
        Ok(self.writing()?.last_insert_rowid())
    }

    /// Uses up a step or counter and all earlier ones. `position` is that of the factor, read in the same job. Returns
    /// `false` if it was used up already (OTP-3, OTP-9). The job must write an audit row about the factor with
    /// [`AuditEntry::used`](crate::AuditEntry::used); otherwise it is rolled back.
    pub fn use_up(&self, factor: &ActiveFactor, position: &Position, used: u64, now: i64) -> Result<bool, Fault> {
        // Compared again with the recent uses: `position` may be older than a use in the same job.
        let next = self.recent.of(factor.id).map_or(position.next, |newest| newest.next);
        if used < next || self.was_used_ahead(factor.id, used)? {
            return Ok(false);
        }
        let clear = (position.resync.is_some() || position.ahead > 0).then_some(0);
        self.record_use(factor.id, factor.number, clear, used, now)?;
        Ok(true)
    }

    /// Uses up a counter before the expected one, which may be ahead of the token ([`Position::ahead`]). The counters
    /// between the two are expected again. Returns `false` if this is not such a counter. The job must write an audit row
    /// as for [`Tx::use_up`].
    pub fn turn_back(&self, factor: &ActiveFactor, position: &Position, used: u64, now: i64) -> Result<bool, Fault> {
        // Read again: an earlier use in the same job ends this.
        let is_unused = self.position(factor)? == *position && position.ahead > 0;
        let first = position.next.saturating_sub(position.ahead.into());
        if !is_unused || !(first..position.next).contains(&used) {
            return Ok(false);
        }
        let clear = (position.resync.is_some() || position.ahead > 0).then_some(0);
        self.record_use(factor.id, factor.number, clear, used, now)?;
        Ok(true)
    }

    /// Records a use. `ahead` replaces what the table has about resynchronisation, if it has something.
    fn record_use(&self, id: SecretId, number: i64, ahead: Option<u8>, used: u64, now: i64) -> Result<(), Fault> {
        if let Some(ahead) = ahead {
            self.writing()?
                .prepare_cached("UPDATE moving_factors SET resync = NULL, ahead = ?2 WHERE number = ?1")?
                .execute(params![number, ahead])?;
        }
        self.batch.uses.record(self.recent, id, used, Use { next: after(used)?, at: Some(now), number: Some(number) });
        Ok(())
    }

    /// Whether a step was used while the clock was ahead, although the last step was lowered since.
    fn was_used_ahead(&self, factor: SecretId, step: u64) -> Result<bool, Fault> {
        if !self.recent.has_future_steps() {
            return Ok(false);
        }
        let mut found = self.connection.prepare_cached("SELECT 1 FROM future_steps WHERE secret = ?1 AND step = ?2")?;
        Ok(found.exists(params![factor.as_bytes(), stored(step)?])?)
    }

    /// Stores the counter of a code beyond the look-ahead, or clears it (`None`); see [`Position::resync`].
    pub fn remember_resync(&self, factor: &ActiveFactor, counter: Option<u64>) -> Result<(), Fault> {
        self.writing()?
            .prepare_cached("UPDATE moving_factors SET resync = ?2 WHERE number = ?1")?
            .execute(params![factor.number, counter.map(stored).transpose()?])?;
        Ok(())
    }

    /// Uses up a step or counter of a known factor that was used in another program, and all earlier ones. `ahead` is by
    /// how many the counter may be ahead of the token; it has no effect once a code was accepted here. Returns `false` if
    /// it was used up already. The job must write an audit row as for [`Tx::use_up`].
    pub fn use_up_elsewhere(&self, row: &SecretRow, used: u64, ahead: u8, now: i64) -> Result<bool, Fault> {
        let number = row.number.ok_or(Fault::Corrupt("a factor without a number"))?;
        let position = self.position_of(row.id, number)?;
        if used < position.next {
            return Ok(false);
        }
        let ahead = if position.ahead > 0 { ahead } else { 0 };
        self.record_use(row.id, number, (position.resync.is_some() || position.ahead > 0).then_some(ahead), used, now)?;
        Ok(true)
    }

    /// Lowers a last used step that lies beyond `current` back to `current`, after a clock that was ahead (TIME-2).
    /// `used` are steps that may have been used; those beyond `current` are recorded, so that they stay used (OTP-3).
    /// Returns `false` if the last step was not beyond `current`. Otherwise the job must write an audit row about the
    /// factor with `current` as its [`AuditEntry::used`](crate::AuditEntry::used), which a restart obeys.
    pub fn lower_last_step(&self, row: &SecretRow, current: u64, used: &BTreeSet<u64>) -> Result<bool, Fault> {
        let number = row.number.ok_or(Fault::Corrupt("a factor without a number"))?;
        let position = self.position_of(row.id, number)?;
        let next = after(current)?;
        if position.next <= next {
            return Ok(false);
        }
        let mut keep =
            self.writing()?.prepare_cached("INSERT OR IGNORE INTO future_steps (secret, step) VALUES (?1, ?2)")?;
        for step in used.iter().filter(|step| **step > current) {
            keep.execute(params![row.id.as_bytes(), stored(*step)?])?;
        }
        self.recent.note_future_steps();
        let lowered = Use { next, at: position.used_at, number: Some(number) };
        self.batch.uses.record(self.recent, row.id, current, lowered);
        Ok(true)
    }

    /// Deletes recorded steps of factors whose later steps were used. It waits for a later use and not for the time to
    /// pass: the clock that says so may be wrong again.
    pub(super) fn sweep_future_steps(&self) -> Result<(), Fault> {
        if !self.recent.has_future_steps() {
            return Ok(());
        }
        let factors: Vec<(Vec<u8>, i64)> = self
            .connection
            .prepare_cached("SELECT id, number FROM secrets WHERE id IN (SELECT secret FROM future_steps)")?
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<Result<_, _>>()?;
        for (id, number) in factors {
            let factor = SecretId::from_slice(&id).ok_or(Fault::Corrupt("a secret id"))?;
            // Not the row of the table alone: it may be of before the step was lowered.
            let next = self.position_of(factor, number)?.next;
            self.writing()?
                .prepare_cached("DELETE FROM future_steps WHERE secret = ?1 AND step < ?2")?
                .execute(params![id, stored(next)?])?;
        }
        Ok(())
    }

    /// Sets how far the codes of a factor are used up, when it becomes active.
    pub(super) fn set_moving_factor(&self, row: &SecretRow, next: u64, now: i64) -> Result<(), Fault> {
        let number = row.number.ok_or(Fault::Corrupt("a factor without a number"))?;
        self.writing()?
            .prepare_cached(
                "UPDATE moving_factors SET next = ?2, used_at = ?3, resync = NULL, ahead = 0 WHERE number = ?1",
            )?
            .execute(params![number, stored(next)?, now])?;
        Ok(())
    }
}

/// The step or counter after a used one.
pub(super) fn after(used: u64) -> Result<u64, Fault> {
    used.checked_add(1).ok_or(Fault::Corrupt("a step or counter out of range"))
}

pub(super) fn unstored(number: i64) -> Result<u64, Fault> {
    u64::try_from(number).map_err(|_| Fault::Corrupt("a negative step or counter"))
}

pub(super) fn stored(number: u64) -> Result<i64, Fault> {
    i64::try_from(number).map_err(|_| Fault::Corrupt("a step or counter out of range"))
}
