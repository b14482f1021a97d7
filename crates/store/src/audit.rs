//! The audit log: append-only rows, each written in the transaction of the change that it records (LOG-4). Each row
//! holds the hash of the row before it, so a removed or changed row is visible (LOG-5). A keyed tag over the newest row
//! also detects a truncated log and a recomputed chain. This module does not know when an event occurs.

use std::cell::Cell;

use rusqlite::{Connection, OptionalExtension, Row, params};

use mfad_api::{AuditEvent, HashedRow};
use mfad_core::model::{SecretId, UserId};

use super::batch::WaitingRow;
use super::moving_factors::stored;
use super::{Fault, Tx, View};

/// Number and hash of a row of the audit chain.
pub(crate) type Head = (i64, [u8; 32]);

/// Whether the recorded operation was carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The operation was carried out.
    Ok,
    /// The operation was refused. Refusals are recorded too, such as a wrong code.
    Refused,
}

impl Outcome {
    /// The text in the `outcome` column, in the hash and in API answers.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Refused => "refused",
        }
    }
}

/// An audit row to be appended. [`Tx::audit`] adds its number and its hash.
#[derive(Clone, Debug)]
pub struct AuditEntry {
    /// When the event happened, in milliseconds since 1970 (UTC).
    pub at: i64,
    /// The event. Its name is stored and hashed.
    pub event: AuditEvent,
    /// The user that the event concerns, if any.
    pub subject: Option<UserId>,
    /// The secret that the event concerns, if any.
    pub object: Option<SecretId>,
    /// The uid of the calling process, from the kernel. `None` for events that no request caused, such as a clock step.
    pub peer_uid: Option<u32>,
    /// The pid of the calling process, if the kernel reported one.
    pub peer_pid: Option<i32>,
    /// The request id, as in the answer to the request. `None` for events that no request caused.
    pub request: Option<String>,
    /// Whether the operation was carried out or refused.
    pub outcome: Outcome,
    /// A sentence for administrators. It must never contain a secret (LOG-1).
    pub detail: Option<String>,
    /// The step or counter of `object` that was used up, if a one-time password was. The row is the durable record of
    /// that use. For a step that was lowered after a clock that was ahead: the step that it was lowered to.
    pub used: Option<u64>,
}

/// A row of the audit log as stored, together with the hash of the row before it.
#[derive(Clone, Debug)]
pub struct AuditRow {
    /// The number of the row. Numbers start at 1 and have no gaps.
    pub seq: i64,
    /// When the event happened, in milliseconds since 1970 (UTC).
    pub at: i64,
    /// The name of the event: one of [`AuditEvent`], or one that another version wrote.
    pub event: String,
    /// The user that the event concerns, if any.
    pub subject: Option<UserId>,
    /// The secret that the event concerns, if any.
    pub object: Option<SecretId>,
    /// The uid of the calling process. `None` for events that no request caused.
    pub peer_uid: Option<u32>,
    /// The pid of the calling process, if it is known.
    pub peer_pid: Option<i32>,
    /// The request id. `None` for events that no request caused.
    pub request: Option<String>,
    /// `ok` or `refused`; see [`Outcome`].
    pub outcome: String,
    /// A sentence for administrators, if the event has one.
    pub detail: Option<String>,
    /// The step or counter that was used up, if a one-time password was.
    pub used: Option<i64>,
    /// The hash of the previous row; 32 zero bytes for the first row.
    pub previous: [u8; 32],
    /// SHA-256 over `previous` and the fields of this row; see [`HashedRow::hash`].
    pub hash: [u8; 32],
}

impl Tx<'_> {
    /// Appends one row in the current transaction and extends the hash chain.
    pub fn audit(&self, entry: &AuditEntry) -> Result<(), Fault> {
        let (seq, previous) = self.chain.end().map_or((1, [0; 32]), |(seq, hash)| (seq.saturating_add(1), hash));
        let subject = entry.subject.map(|id| id.to_string());
        let object = entry.object.map(|id| id.to_string());
        let used = entry.used.map(stored).transpose()?;
        let row = HashedRow {
            seq,
            at: entry.at,
            event: entry.event.as_str(),
            subject: subject.as_deref(),
            object: object.as_deref(),
            peer_uid: entry.peer_uid,
            peer_pid: entry.peer_pid.map(i64::from),
            request: entry.request.as_deref(),
            outcome: entry.outcome.name(),
            detail: entry.detail.as_deref(),
            used,
        };
        let hash = row.hash(&previous).ok_or(Fault::Corrupt("an audit row"))?;
        self.batch.append(WaitingRow { seq, entry: entry.clone(), hash });
        // Later rows of the same transaction build on this one.
        self.chain.0.set(Some((seq, hash)));
        Ok(())
    }

    /// Makes the rows of earlier jobs of the batch visible to reads in this job.
    pub fn settle_audit(&self) -> Result<(), Fault> {
        self.writing().map(drop)
    }
}

/// The newest row within one transaction, cached so that appending does not query for it each time.
pub(super) struct Chain(Cell<Option<Head>>);

impl Chain {
    /// Reads the newest committed row.
    pub(super) fn read(connection: &Connection) -> Result<Self, Fault> {
        Ok(Self(Cell::new(last_row(connection)?)))
    }

    /// Number and hash of the newest row, or `None` for an empty log.
    pub(super) fn end(&self) -> Option<Head> {
        self.0.get()
    }

    /// Resets the end to `end` after the rows behind it were rolled back.
    pub(super) fn cut(&self, end: Option<Head>) {
        self.0.set(end);
    }
}

impl View<'_> {
    /// Returns up to `limit` rows whose number is greater than `after`, oldest first.
    pub fn audit_rows(&self, after: i64, limit: u32) -> Result<Vec<AuditRow>, Fault> {
        // The first row of a page needs the hash of the row before it.
        let mut previous: [u8; 32] = self
            .connection
            .prepare_cached("SELECT hash FROM audit WHERE seq = ?1")?
            .query_row([after], |row| row.get(0))
            .optional()?
            .unwrap_or([0; 32]);
        let mut statement = self.connection.prepare_cached(
            "SELECT seq, at, event, subject, object, peer_uid, peer_pid, request, outcome, detail, hash,
                    used
             FROM audit WHERE seq > ?1 ORDER BY seq LIMIT ?2",
        )?;
        let mut rows = statement.query(params![after, limit])?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            let row = read_row(row, previous)?;
            previous = row.hash;
            found.push(row);
        }
        Ok(found)
    }

    /// Returns the number of the newest row, or 0 if the log is empty.
    pub fn newest_audit_row(&self) -> Result<i64, Fault> {
        newest(self.connection)
    }

    /// Returns when a secret was used or changed successfully, in milliseconds since 1970. Considers rows with a number
    /// greater than `after` and a time of at least `from`. Reads all of those rows, since no index covers them.
    pub fn done_with(&self, secret: SecretId, after: i64, from: i64) -> Result<Vec<i64>, Fault> {
        let mut statement = self.connection.prepare_cached(
            "SELECT at FROM audit WHERE seq > ?1 AND object = ?2 AND at >= ?3 AND outcome = 'ok' AND event <> ?4",
        )?;
        // To lower a step is no use of the factor.
        let lowered = AuditEvent::ClockStepLowered.as_str();
        let times = statement.query_map(params![after, secret.as_bytes(), from, lowered], |row| row.get(0))?;
        Ok(times.collect::<Result<_, _>>()?)
    }
}

fn read_row(row: &Row<'_>, previous: [u8; 32]) -> Result<AuditRow, Fault> {
    let subject: Option<Vec<u8>> = row.get(3)?;
    let object: Option<Vec<u8>> = row.get(4)?;
    Ok(AuditRow {
        seq: row.get(0)?,
        at: row.get(1)?,
        event: row.get(2)?,
        subject: subject.and_then(|bytes| UserId::from_slice(&bytes)),
        object: object.and_then(|bytes| SecretId::from_slice(&bytes)),
        peer_uid: row.get(5)?,
        peer_pid: row.get(6)?,
        request: row.get(7)?,
        outcome: row.get(8)?,
        detail: row.get(9)?,
        previous,
        hash: row.get(10)?,
        used: row.get(11)?,
    })
}

pub(super) fn last_row(connection: &Connection) -> rusqlite::Result<Option<Head>> {
    connection
        .prepare_cached("SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1")?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()
}

/// The number of the newest row, or 0 if the log is empty.
pub(super) fn newest(connection: &Connection) -> Result<i64, Fault> {
    Ok(last_row(connection)?.map_or(0, |(seq, _)| seq))
}

/// The hash of the row with that number, if the row exists.
pub(super) fn hash_of(connection: &Connection, seq: i64) -> Result<Option<[u8; 32]>, Fault> {
    let row = connection.query_row("SELECT hash FROM audit WHERE seq = ?1", [seq], |row| row.get(0)).optional();
    Ok(row?)
}
