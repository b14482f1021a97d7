//! Readiness, and the metrics as text.

use std::time::Duration;

use crate::error::Error;
use mfad_core::sync::{Mutex, PoisonError};
use mfad_store::Decision;

use super::{Reply, RequestContext, Service};

/// How long the result of a probe is reused, in milliseconds. Anyone may ask, and each probe is a durable write.
const PROBE_LIFETIME: i64 = 1_000;

/// Time of the last probe on the boot clock, and whether the store could be written.
#[derive(Default)]
pub(super) struct Probed(Mutex<Option<(i64, bool)>>);

impl Service {
    /// Reports ready if no request has panicked, no write has failed, and an empty write becomes durable (SVC-4).
    pub(super) fn ready(&self, context: &RequestContext) -> Result<Reply, Error> {
        if self.metrics.panics() > 0 {
            return Err(Error::NotReady("a request panicked; see the journal, then restart"));
        }
        if self.store.has_failed() {
            return Err(Error::NotReady("a write failed; the daemon has to restart"));
        }
        // The lock is held during the probe, so that concurrent requests share it.
        let mut probed = self.probed.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = context.now.boot_ms;
        let is_writable = match *probed {
            Some((at, is_writable)) if (0..PROBE_LIFETIME).contains(&now.saturating_sub(at)) => is_writable,
            Some(_) | None => {
                let is_writable = self.probe(context);
                *probed = Some((now, is_writable));
                is_writable
            }
        };
        if is_writable { Ok(Reply::Ready) } else { Err(Error::NotReady("the store cannot be written")) }
    }

    fn probe(&self, context: &RequestContext) -> bool {
        let at = context.now.wall_ms;
        let probe = self.store.write(context.patience, move |tx| {
            tx.probe(at)?;
            Ok(Decision::Commit(()))
        });
        probe.inspect_err(|fault| tracing::error!(%fault, "the readiness probe could not write to the store")).is_ok()
    }

    /// Returns the metrics in the Prometheus text format.
    // Gauges of queues, clock and hardware keys are read only now, when they are asked for.
    pub(super) fn metrics_text(&self, context: &RequestContext) -> Result<Reply, Error> {
        let depth = self.store.depth();
        let drift = self.clock.drift(&context.now);
        self.metrics.set_clock_drift(Duration::from_millis(drift.unsigned_abs()), drift < 0);
        self.metrics.set_keys(self.hardware_keys.counts());
        let marked = self.look(context, |view| view.marked_factors())?;
        self.metrics.set_imported(marked.unproved, marked.weak);
        self.metrics.set_queues(depth.waiting, self.passwords.waiting());
        self.metrics.text().map(Reply::Metrics)
    }
}
