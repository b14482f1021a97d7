//! The audit log: append-only rows, written in the transaction of the change they tell of, each
//! holding the hash of the one before (LOG-4, LOG-5). A keyed tag over the newest row shows when
//! the end was cut off or the whole chain was computed anew.

use std::cell::Cell;

use rusqlite::{Connection, OptionalExtension, Row, params};
use sha2::{Digest, Sha256};

use mfad_core::model::{SecretId, UserId};

use super::vault::Vault;
use super::{Fault, OpenFault, Tx, View, files};
use crate::sqlite::guard::{self, Head};
use crate::sqlite::schema::newest as newest_version;

const HEAD: &str = "audit-head";
/// Since this version of the schema the tag says more than the newest row.
const TAGGED_VERSION: u32 = 6;

/// Whether the thing was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was.
    Ok,
    /// It was refused.
    Refused,
}

impl Outcome {
    /// As stored and shown.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Refused => "refused",
        }
    }
}

/// What is to be written down.
#[derive(Clone, Debug)]
pub struct AuditEntry {
    /// Milliseconds since 1970.
    pub at: i64,
    /// What happened, as `area.verb`.
    pub event: &'static str,
    /// Whom it concerns.
    pub subject: Option<UserId>,
    /// Which secret it concerns.
    pub object: Option<SecretId>,
    /// Who asked.
    pub peer_uid: Option<u32>,
    /// By which process, if known.
    pub peer_pid: Option<i32>,
    /// In which request.
    pub request: Option<String>,
    /// How it ended.
    pub outcome: Outcome,
    /// Words for a person; never a secret.
    pub detail: Option<String>,
}

/// One row of the log.
#[derive(Clone, Debug)]
pub struct AuditRow {
    /// 1, 2, 3, … without a gap.
    pub seq: i64,
    /// Milliseconds since 1970.
    pub at: i64,
    /// What happened.
    pub event: String,
    /// Whom it concerns.
    pub subject: Option<UserId>,
    /// Which secret it concerns.
    pub object: Option<SecretId>,
    /// Who asked.
    pub peer_uid: Option<u32>,
    /// By which process.
    pub peer_pid: Option<i32>,
    /// In which request.
    pub request: Option<String>,
    /// `ok` or `refused`.
    pub outcome: String,
    /// Words for a person.
    pub detail: Option<String>,
    /// The hash of the row before; zeros for the first.
    pub previous: [u8; 32],
    /// SHA-256 over `previous` and this row's fields.
    pub hash: [u8; 32],
}

/// What a check of the chain found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChainState {
    /// All rows follow from one another.
    Whole,
    /// This row is the first that does not follow.
    BrokenAt(i64),
}

impl Tx<'_> {
    /// Appends one row.
    pub fn audit(&self, entry: &AuditEntry) -> Result<(), Fault> {
        let (seq, previous) = self.chain.end().map_or((1, [0; 32]), |(seq, hash)| (seq.saturating_add(1), hash));
        let subject = entry.subject.map(|id| id.to_string());
        let object = entry.object.map(|id| id.to_string());
        let hash = row_hash(
            &previous,
            &(
                seq,
                entry.at,
                entry.event,
                subject,
                object,
                entry.peer_uid,
                entry.peer_pid,
                entry.request.as_deref(),
                entry.outcome.name(),
                entry.detail.as_deref(),
            ),
        )?;
        self.connection
            .prepare_cached(
                "INSERT INTO audit (seq, at, event, subject, object, peer_uid, peer_pid, request, outcome, detail, hash)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
            )?
            .execute(params![
                seq,
                entry.at,
                entry.event,
                entry.subject.as_ref().map(UserId::as_bytes),
                entry.object.as_ref().map(SecretId::as_bytes),
                entry.peer_uid,
                entry.peer_pid,
                entry.request,
                entry.outcome.name(),
                entry.detail,
                hash,
            ])?;
        self.chain.0.set(Some((seq, hash)));
        Ok(())
    }
}

/// The end of the chain as it is within one transaction, so that nobody has to look it up for each row.
pub(super) struct Chain(Cell<Option<Head>>);

impl Chain {
    /// As the database has it.
    pub(super) fn read(connection: &Connection) -> Result<Self, Fault> {
        Ok(Self(Cell::new(last_row(connection)?)))
    }

    /// The newest row.
    pub(super) fn end(&self) -> Option<Head> {
        self.0.get()
    }

    /// The rows after that one were undone.
    pub(super) fn cut(&self, end: Option<Head>) {
        self.0.set(end);
    }
}

impl View<'_> {
    /// Up to `limit` rows after `after`, oldest first.
    pub fn audit_rows(&self, after: i64, limit: u32) -> Result<Vec<AuditRow>, Fault> {
        let mut previous: [u8; 32] = self
            .connection
            .prepare_cached("SELECT hash FROM audit WHERE seq = ?1")?
            .query_row([after], |row| row.get(0))
            .optional()?
            .unwrap_or([0; 32]);
        let mut statement = self.connection.prepare_cached(
            "SELECT seq, at, event, subject, object, peer_uid, peer_pid, request, outcome, detail, hash
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

    /// The number of the newest row; 0 while there is none.
    pub fn newest_audit_row(&self) -> Result<i64, Fault> {
        newest(self.connection)
    }

    /// When something was done with a secret, in the rows after one, at or after a time (milliseconds since 1970). It reads
    /// all of those rows.
    pub fn done_with(&self, secret: SecretId, after: i64, from: i64) -> Result<Vec<i64>, Fault> {
        let mut statement = self
            .connection
            .prepare_cached("SELECT at FROM audit WHERE seq > ?1 AND object = ?2 AND at >= ?3 AND outcome = 'ok'")?;
        let times = statement.query_map(params![after, secret.as_bytes(), from], |row| row.get(0))?;
        Ok(times.collect::<Result<_, _>>()?)
    }

    /// Recomputes the whole chain.
    pub fn audit_chain(&self) -> Result<ChainState, Fault> {
        let mut after = 0;
        loop {
            let rows = self.audit_rows(after, 1000)?;
            for row in &rows {
                if row.seq != after.saturating_add(1) || row.computed_hash()? != row.hash {
                    return Ok(ChainState::BrokenAt(row.seq));
                }
                after = row.seq;
            }
            if rows.is_empty() {
                return Ok(ChainState::Whole);
            }
        }
    }
}

impl AuditRow {
    fn computed_hash(&self) -> Result<[u8; 32], Fault> {
        row_hash(
            &self.previous,
            &(
                self.seq,
                self.at,
                self.event.as_str(),
                self.subject.map(|id| id.to_string()),
                self.object.map(|id| id.to_string()),
                self.peer_uid,
                self.peer_pid,
                self.request.as_deref(),
                self.outcome.as_str(),
                self.detail.as_deref(),
            ),
        )
    }
}

type HashedFields<'a> = (
    i64,
    i64,
    &'a str,
    Option<String>,
    Option<String>,
    Option<u32>,
    Option<i32>,
    Option<&'a str>,
    &'a str,
    Option<&'a str>,
);

/// SHA-256 over the previous hash and the fields as one compact JSON array: anybody who reads the
/// log can recompute it.
fn row_hash(previous: &[u8; 32], fields: &HashedFields<'_>) -> Result<[u8; 32], Fault> {
    let json = serde_json::to_vec(fields).map_err(|_| Fault::Corrupt("an audit row"))?;
    Ok(Sha256::new().chain_update(previous).chain_update(json).finalize().into())
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
    })
}

fn last_row(connection: &Connection) -> rusqlite::Result<Option<Head>> {
    connection
        .prepare_cached("SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1")?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()
}

/// The newest sequence number, 0 when there is none.
pub(super) fn newest(connection: &Connection) -> Result<i64, Fault> {
    Ok(last_row(connection)?.map_or(0, |(seq, _)| seq))
}

/// The hash of a row, if there is one of that number.
pub(super) fn hash_of(connection: &Connection, seq: i64) -> Result<Option<[u8; 32]>, Fault> {
    let row = connection.query_row("SELECT hash FROM audit WHERE seq = ?1", [seq], |row| row.get(0)).optional();
    Ok(row?)
}

/// What the tag says beside the newest row: the version of the schema, so that nobody has an older one upgraded anew, and
/// whether the store has a roll-back guard. Before version 6 it said nothing.
fn word(connection: &Connection, version: u32) -> Result<Vec<u8>, Fault> {
    if version < TAGGED_VERSION {
        return Ok(Vec::new());
    }
    Ok([&version.to_be_bytes(), [u8::from(guard::is_known(connection)?)].as_slice()].concat())
}

/// Tags the newest row. Called once a batch, just before it commits.
pub(super) fn sign_head(connection: &Connection, vault: &Vault, head: Option<Head>) -> Result<(), Fault> {
    let Some((seq, hash)) = head else { return Ok(()) };
    let word = word(connection, newest_version())?;
    Ok(files::put_meta(connection, HEAD, &vault.audit_head(&word, seq, &hash))?)
}

/// Tags it anew, after what the tag says beside it has changed.
pub(super) fn sign_again(connection: &Connection, vault: &Vault) -> Result<(), Fault> {
    sign_head(connection, vault, last_row(connection)?)
}

/// At start: the newest row must be the one that was tagged, in a store of that version.
pub(super) fn check_head(connection: &Connection, vault: &Vault, version: u32) -> Result<(), OpenFault> {
    let tag = files::meta(connection, HEAD)?;
    let word = word(connection, version)?;
    let holds = match (last_row(connection)?, tag) {
        (None, None) => true,
        (Some((seq, hash)), Some(tag)) => vault.is_audit_head(&word, seq, &hash, &tag),
        (None, Some(_)) | (Some(_), None) => false,
    };
    if holds { Ok(()) } else { Err(OpenFault::Damaged("the end of the audit log was changed".to_owned())) }
}
