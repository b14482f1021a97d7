//! Writing jobs: closures that the store's writer runs in a transaction, and what becomes of their changes.

use std::time::Duration;

use tokio::sync::oneshot;

use crate::error::Error;
use mfad_store::{Decision, Fault, Tx, View};

use super::{RequestContext, Service};

/// Why a writing job stops.
pub(super) enum Stop {
    /// Refused; what the job changed is undone.
    Rollback(Error),
    /// Refused; what the job changed (a count, an audit row) is kept.
    Commit(Error),
    /// The store failed; everything is undone.
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
    /// Runs a writing job; returns once what it changed is durable.
    pub(super) fn change<T: Send + 'static>(&self, context: &RequestContext, job: impl Job<T>) -> Result<T, Error> {
        self.change_within(context.patience, context, job)
    }

    /// The same with another limit on the wait.
    pub(super) fn change_within<T: Send + 'static>(
        &self,
        patience: Duration,
        context: &RequestContext,
        job: impl Job<T>,
    ) -> Result<T, Error> {
        let context = context.clone();
        self.store.write(patience, move |tx| decide(job(tx, &context)))?
    }

    /// The same without a thread that waits. The change is made even if nobody waits for its end any more (STO-7).
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

/// A writing job.
pub(super) trait Job<T>: FnOnce(&Tx<'_>, &RequestContext) -> Result<T, Stop> + Send + 'static {}

impl<T, F: FnOnce(&Tx<'_>, &RequestContext) -> Result<T, Stop> + Send + 'static> Job<T> for F {}

/// What is kept of a job's changes.
fn decide<T>(outcome: Result<T, Stop>) -> Result<Decision<Result<T, Error>>, Fault> {
    match outcome {
        Ok(value) => Ok(Decision::Commit(Ok(value))),
        Err(Stop::Commit(error)) => Ok(Decision::Commit(Err(error))),
        Err(Stop::Rollback(error)) => Ok(Decision::Rollback(Err(error))),
        Err(Stop::Fault(fault)) => Err(fault),
    }
}
