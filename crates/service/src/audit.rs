//! Reading the audit log, page by page. Use cases write its rows in the transaction of the event.

use crate::error::Error;

use super::{Reply, RequestContext, Service};

impl Service {
    /// Returns up to `limit` rows with a sequence number above `after`, oldest first. `next` is set only if the page is
    /// full.
    pub(super) fn audit_rows(&self, context: &RequestContext, after: i64, limit: u32) -> Result<Reply, Error> {
        let rows = self.look(context, |view| view.audit_rows(after, limit))?;
        let is_full = u32::try_from(rows.len()).is_ok_and(|count| count == limit);
        let next = rows.last().filter(|_| is_full).map(|row| row.seq);
        Ok(Reply::Audit { events: rows, next })
    }
}
