//! Whether the service can do its work, and its counters as text.

use std::time::Duration;

use crate::error::Error;
use crate::store::Decision;

use super::tokens::offset_of;
use super::{Occasion, Reply, Service};

impl Service {
    /// Ready means: nothing panicked, and an empty write becomes durable (SVC-4).
    pub(super) fn ready(&self, occasion: &Occasion) -> Result<Reply, Error> {
        if self.metrics.panics() > 0 {
            return Err(Error::NotReady("a request panicked; see the journal, then restart"));
        }
        if self.store.has_failed() {
            return Err(Error::NotReady("a write failed; the daemon has to restart"));
        }
        let at = occasion.now.wall_ms;
        let probe = self.store.write(occasion.patience, move |tx| {
            tx.probe(at)?;
            Ok(Decision::Keep(()))
        });
        match probe {
            Ok(()) => Ok(Reply::Ready),
            Err(fault) => {
                tracing::error!(%fault, "the readiness probe could not write");
                Err(Error::NotReady("the store cannot be written"))
            }
        }
    }

    /// The counters in the Prometheus text format.
    pub(super) fn metrics_text(&self, occasion: &Occasion) -> Result<Reply, Error> {
        let depth = self.store.depth();
        let drift = offset_of(&occasion.now).saturating_sub(self.clock_at_start);
        self.metrics.set_clock_drift(Duration::from_millis(drift.unsigned_abs()), drift < 0);
        self.metrics.set_keys(self.keyring.counts());
        self.metrics.set_queues(depth.waiting, self.hasher.waiting());
        self.metrics.text().map(Reply::Metrics)
    }
}
