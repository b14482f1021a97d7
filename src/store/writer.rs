//! The one writer: takes the jobs that wait, runs each in its own savepoint of one transaction,
//! commits once, and only then answers all of them. Batches come from queueing, not from a timer.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::Connection;

use crate::stopwatch::Stopwatch;

use super::guard::Head;
use super::{Fault, OpenFault, Tx, Vault, View, audit};

/// Jobs that may wait; one more is refused as busy.
const QUEUE: usize = 1024;
/// Jobs of one batch.
const BATCH: usize = 256;

/// A job on its way through the writer, its types hidden.
trait Job: Send {
    /// Runs it; `true` keeps its changes.
    fn run(&mut self, tx: &Tx<'_>) -> bool;
    /// Tells the caller how it ended.
    fn answer(self: Box<Self>, committed: Result<(), Fault>);
}

/// What becomes of the changes of a job that ran without a fault.
pub enum Decision<T> {
    /// They are part of the batch.
    Keep(T),
    /// They are undone; the value is a refusal.
    Undo(T),
}

struct Task<T, F> {
    job: Option<F>,
    outcome: Option<Result<T, Fault>>,
    caller: SyncSender<Result<T, Fault>>,
}

impl<T, F> Job for Task<T, F>
where
    T: Send,
    F: FnOnce(&Tx<'_>) -> Result<Decision<T>, Fault> + Send,
{
    fn run(&mut self, tx: &Tx<'_>) -> bool {
        let Some(job) = self.job.take() else { return false };
        let (keep, outcome) = match catch_unwind(AssertUnwindSafe(|| job(tx))) {
            Ok(Ok(Decision::Keep(value))) => (true, Ok(value)),
            Ok(Ok(Decision::Undo(value))) => (false, Ok(value)),
            Ok(Err(fault)) => (false, Err(fault)),
            Err(_) => (false, Err(Fault::Panic)),
        };
        self.outcome = Some(outcome);
        keep
    }

    fn answer(self: Box<Self>, committed: Result<(), Fault>) {
        let outcome = match (self.outcome, committed) {
            (Some(Ok(value)), Ok(())) => Ok(value),
            (Some(Err(fault)), _) => Err(fault),
            (Some(Ok(_)), Err(fault)) => Err(fault),
            (None, Ok(())) => Err(Fault::Failed),
            (None, Err(fault)) => Err(fault),
        };
        // A caller that lost patience is no longer there to hear it.
        let _ = self.caller.send(outcome);
    }
}

/// How full the queue is.
#[derive(Clone, Copy, Debug)]
pub struct Depth {
    /// Jobs waiting or running.
    pub waiting: usize,
    /// The most that may wait.
    pub limit: usize,
}

pub(super) struct Writer {
    jobs: SyncSender<Box<dyn Job>>,
    state: Arc<State>,
    thread: JoinHandle<()>,
}

#[derive(Default)]
struct State {
    waiting: AtomicUsize,
    failed: AtomicBool,
}

impl Writer {
    pub(super) fn start(
        connection: Connection,
        vault: Arc<Vault>,
        on_audit: Box<dyn Fn(Head) + Send>,
        on_commit: Box<dyn Fn(Duration) + Send>,
    ) -> Result<Self, OpenFault> {
        let (jobs, queue) = sync_channel(QUEUE);
        let state = Arc::new(State::default());
        let room = Room { connection, vault, on_audit, on_commit, state: Arc::clone(&state) };
        let thread = std::thread::Builder::new().name("store-writer".to_owned()).spawn(move || room.serve(&queue))?;
        Ok(Self { jobs, state, thread })
    }

    pub(super) fn run<T, F>(&self, patience: Duration, job: F) -> Result<T, Fault>
    where
        T: Send + 'static,
        F: FnOnce(&Tx<'_>) -> Result<Decision<T>, Fault> + Send + 'static,
    {
        if self.has_failed() {
            return Err(Fault::Failed);
        }
        let (caller, answer) = sync_channel(1);
        self.state.waiting.fetch_add(1, Ordering::Relaxed);
        self.jobs.try_send(Box::new(Task { job: Some(job), outcome: None, caller })).map_err(|error| {
            self.state.waiting.fetch_sub(1, Ordering::Relaxed);
            match error {
                TrySendError::Full(_) => Fault::Busy,
                TrySendError::Disconnected(_) => Fault::Failed,
            }
        })?;
        answer.recv_timeout(patience).unwrap_or_else(|error| match error {
            RecvTimeoutError::Timeout => Err(Fault::Busy),
            RecvTimeoutError::Disconnected => Err(Fault::Failed),
        })
    }

    pub(super) fn depth(&self) -> Depth {
        Depth { waiting: self.state.waiting.load(Ordering::Relaxed), limit: QUEUE }
    }

    pub(super) fn has_failed(&self) -> bool {
        self.state.failed.load(Ordering::Acquire)
    }

    /// Lets the queue run empty, then closes the database.
    pub(super) fn stop(self) {
        let Self { jobs, thread, state: _ } = self;
        drop(jobs);
        if thread.join().is_err() {
            tracing::error!("the store's writer panicked");
        }
    }
}

/// What the writer thread owns.
struct Room {
    connection: Connection,
    vault: Arc<Vault>,
    on_audit: Box<dyn Fn(Head) + Send>,
    on_commit: Box<dyn Fn(Duration) + Send>,
    state: Arc<State>,
}

impl Room {
    fn serve(self, queue: &Receiver<Box<dyn Job>>) {
        while let Ok(first) = queue.recv() {
            let mut batch = vec![first];
            batch.extend(queue.try_iter().take(BATCH.saturating_sub(1)));
            let size = batch.len();
            self.run_batch(batch);
            self.state.waiting.fetch_sub(size, Ordering::Relaxed);
        }
        if let Err((_, error)) = self.connection.close() {
            tracing::error!(%error, "the store did not close cleanly");
        }
    }

    fn run_batch(&self, mut batch: Vec<Box<dyn Job>>) {
        let committed = self.attempt(&mut batch);
        if let Err(fault) = &committed {
            tracing::error!(%fault, jobs = batch.len(), "a write batch was not committed");
        }
        for job in batch {
            job.answer(committed.as_ref().map(|_| ()).map_err(Fault::clone));
        }
        if let Ok(Some(head)) = committed {
            (self.on_audit)(head);
        }
    }

    /// Runs and commits; the newest audit row comes back if the batch wrote one.
    fn attempt(&self, batch: &mut [Box<dyn Job>]) -> Result<Option<Head>, Fault> {
        if self.state.failed.load(Ordering::Acquire) {
            return Err(Fault::Failed);
        }
        self.connection.execute_batch("BEGIN IMMEDIATE")?;
        let newest = self.run_all(batch).inspect_err(|_| self.roll_back())?;
        let watch = Stopwatch::start(Duration::ZERO);
        match self.connection.execute_batch("COMMIT") {
            Ok(()) => {
                (self.on_commit)(watch.elapsed());
                Ok(newest)
            }
            Err(error) => {
                let fault = self.failed_commit(error);
                self.roll_back();
                Err(fault)
            }
        }
    }

    fn run_all(&self, batch: &mut [Box<dyn Job>]) -> Result<Option<Head>, Fault> {
        let before = audit::newest(&self.connection)?;
        let tx = Tx { view: View { connection: &self.connection, vault: &self.vault } };
        for job in batch {
            self.connection.execute_batch("SAVEPOINT job")?;
            let keep = job.run(&tx);
            self.connection.execute_batch(if keep { "RELEASE job" } else { "ROLLBACK TO job; RELEASE job" })?;
        }
        let after = audit::newest(&self.connection)?;
        if after == before {
            return Ok(None);
        }
        audit::sign_head(&self.connection, &self.vault)
    }

    /// A full disk leaves the old state, and trying again later is right. A failed sync leaves nobody
    /// knowing what is on the disk, so the process must end and let recovery find out (STO-6).
    fn failed_commit(&self, error: rusqlite::Error) -> Fault {
        let extended = error.sqlite_error().map(|e| e.extended_code);
        let unknown = [
            rusqlite::ffi::SQLITE_IOERR_FSYNC,
            rusqlite::ffi::SQLITE_IOERR_DIR_FSYNC,
            rusqlite::ffi::SQLITE_IOERR_TRUNCATE,
        ];
        if extended.is_some_and(|code| unknown.contains(&code)) {
            self.state.failed.store(true, Ordering::Release);
            return Fault::Failed;
        }
        error.into()
    }

    fn roll_back(&self) {
        // SQLite may have rolled back by itself already.
        if !self.connection.is_autocommit() && self.connection.execute_batch("ROLLBACK").is_err() {
            self.state.failed.store(true, Ordering::Release);
        }
    }
}
