//! Reading the audit log, page by page. Use cases write its rows in the transaction of the event.

use crate::error::Error;
use mfad_store::AuditRow;

use super::{AuditView, Reply, RequestContext, Service};

impl Service {
    /// Returns up to `limit` rows with a sequence number above `after`, oldest first. `next` is set only if the page is
    /// full.
    pub(super) fn audit_rows(&self, context: &RequestContext, after: i64, limit: u32) -> Result<Reply, Error> {
        let rows = self.look(context, |view| view.audit_rows(after, limit))?;
        let is_full = u32::try_from(rows.len()).is_ok_and(|count| count == limit);
        let next = rows.last().filter(|_| is_full).map(|row| row.seq);
        Ok(Reply::Audit { events: rows.into_iter().map(view_of).collect(), next })
    }
}

fn view_of(row: AuditRow) -> AuditView {
    AuditView {
        seq: row.seq,
        at: row.at,
        event: row.event,
        subject: row.subject,
        object: row.object,
        peer_uid: row.peer_uid,
        peer_pid: row.peer_pid,
        request: row.request,
        outcome: row.outcome,
        detail: row.detail,
        previous: row.previous,
        hash: row.hash,
    }
}
