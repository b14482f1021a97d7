//! Write jobs: closures that the store's writer runs in a transaction, and whether their changes are committed.

use std::time::Duration;

use tokio::sync::oneshot;

use crate::error::Error;
use mfad_store::{Decision, Fault, Tx, View};

use super::{RequestContext, Service};

/// The reason why a write job ends without a value, and what happens to its changes.
pub(super) enum Stop {
    /// Refused. The job's changes are rolled back.
    Rollback(Error),
    /// Refused. The job's changes (a failure count, an audit row) are committed.
    Commit(Error),
    /// The store failed. Everything is rolled back.
    Fault(Fault),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Rollback(error)
    }
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl Service {
    /// Runs a write job. Returns once its changes are durable.
    pub(super) fn change<T: Send + 'static>(&self, context: &RequestContext, job: impl Job<T>) -> Result<T, Error> {
        self.change_within(context.patience, context, job)
    }

    /// Runs a write job, and waits for it at most `patience` instead of the request's own limit.
    pub(super) fn change_within<T: Send + 'static>(
        &self,
        patience: Duration,
        context: &RequestContext,
        job: impl Job<T>,
    ) -> Result<T, Error> {
        let context = context.clone();
        self.store.write(patience, move |tx| decide(job(tx, &context)))?
    }

    /// Runs a write job without blocking a thread. The change is made even if the caller stops waiting for it (STO-7).
    pub(super) async fn change_async<T: Send + 'static>(
        &self,
        context: &RequestContext,
        job: impl Job<T>,
    ) -> Result<T, Error> {
        let (done, answer) = oneshot::channel();
        let job_context = context.clone();
        self.store.submit(move |tx| decide(job(tx, &job_context)), move |outcome| drop(done.send(outcome)))?;
        match tokio::time::timeout(context.patience, answer).await {
            Ok(outcome) => outcome.unwrap_or(Err(Fault::Failed))?,
            // The job is in the queue and will still run: "busy" does not mean that nothing was changed.
            Err(_) => Err(Fault::Busy.into()),
        }
    }

    pub(super) fn look<T>(
        &self,
        context: &RequestContext,
        job: impl FnOnce(&View<'_>) -> Result<T, Fault>,
    ) -> Result<T, Error> {
        Ok(self.store.read(context.patience, job)?)
    }
}

/// A closure that runs on the writer's thread. It must not wait for anything.
pub(super) trait Job<T>: FnOnce(&Tx<'_>, &RequestContext) -> Result<T, Stop> + Send + 'static {}

impl<T, F: FnOnce(&Tx<'_>, &RequestContext) -> Result<T, Stop> + Send + 'static> Job<T> for F {}

/// Decides whether the job's changes are committed or rolled back.
fn decide<T>(outcome: Result<T, Stop>) -> Result<Decision<Result<T, Error>>, Fault> {
    match outcome {
        Ok(value) => Ok(Decision::Commit(Ok(value))),
        Err(Stop::Commit(error)) => Ok(Decision::Commit(Err(error))),
        Err(Stop::Rollback(error)) => Ok(Decision::Rollback(Err(error))),
        Err(Stop::Fault(fault)) => Err(fault),
    }
}
