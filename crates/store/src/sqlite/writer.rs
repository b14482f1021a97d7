//! The only writer of the store. It takes the waiting jobs, runs each in a savepoint of one transaction, commits once,
//! and only then answers all of them (group commit). Batches form because callers queue; no timer is involved. This
//! module does not know what a job writes.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rusqlite::Connection;

use mfad_core::model::scrub_stack;
use mfad_core::stopwatch::Stopwatch;
use mfad_core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use mfad_core::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use mfad_core::sync::thread::{self, JoinHandle};

use crate::audit::{Chain, Head};
use crate::batch::Batch;
use crate::folding::{Folder, Step};
use crate::{Fault, OpenFault, Tx, Vault, View};

/// Maximum number of waiting jobs. One more is refused as busy.
const QUEUE: usize = 1024;
/// Maximum number of jobs in a batch.
const BATCH: usize = 256;

/// How long the writer waits for a job before it checkpoints the WAL.
const IDLE: Duration = Duration::from_secs(1);

/// A job with its types erased, so that jobs of any result type share one queue.
trait Job: Send {
    /// Runs the job. Returns whether its changes are kept.
    fn run(&mut self, tx: &Tx<'_>) -> bool;
    /// Reports the result to the caller. `committed` is the result of the batch.
    fn answer(self: Box<Self>, committed: Result<(), Fault>);
}

/// The decision of a job that ran without a fault: keep or roll back its changes. Either way the value is returned to
/// the caller.
pub enum Decision<T> {
    /// The changes become part of the batch.
    Commit(T),
    /// The changes are rolled back, for example after a refusal.
    Rollback(T),
}

struct Task<T, F, A> {
    job: Option<F>,
    outcome: Option<Result<T, Fault>>,
    answer: A,
}

impl<T, F, A> Job for Task<T, F, A>
where
    T: Send,
    F: FnOnce(&Tx<'_>) -> Result<Decision<T>, Fault> + Send,
    A: FnOnce(Result<T, Fault>) + Send,
{
    fn run(&mut self, tx: &Tx<'_>) -> bool {
        let Some(job) = self.job.take() else { return false };
        let (keep, outcome) = match catch_unwind(AssertUnwindSafe(|| job(tx))) {
            // Both are part of the job's own savepoint: if one fails, only this job is rolled back.
            Ok(Ok(Decision::Commit(value))) => match settle(tx) {
                Ok(()) => (true, Ok(value)),
                Err(fault) => (false, Err(fault)),
            },
            Ok(Ok(Decision::Rollback(value))) => (false, Ok(value)),
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
        (self.answer)(outcome);
    }
}

/// Completes the changes of a job.
fn settle(tx: &Tx<'_>) -> Result<(), Fault> {
    if tx.batch.has_changes() {
        tx.settle_summaries()?;
    }
    tx.batch.uses.must_be_logged()
}

/// The fill level of the write queue.
#[derive(Clone, Copy, Debug)]
pub struct Depth {
    /// Jobs that wait or run.
    pub waiting: usize,
    /// Maximum number of waiting jobs; one more is refused with [`Fault::Busy`].
    pub limit: usize,
}

pub(crate) struct Writer {
    jobs: SyncSender<Box<dyn Job>>,
    state: Arc<State>,
    thread: JoinHandle<()>,
}

/// State that all threads of the store share.
#[derive(Default)]
pub(crate) struct State {
    waiting: AtomicUsize,
    failed: AtomicBool,
    damage: OnceLock<String>,
}

impl State {
    /// Records damage of the database: nothing may be written any more, and a restart would not repair it.
    pub(crate) fn note_damage(&self, finding: String) {
        let _first = self.damage.set(finding);
        self.fail();
    }

    /// Whether a caller waits for the writer.
    pub(crate) fn is_busy(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    /// Refuses all further writes. The process must end.
    fn fail(&self) {
        self.failed.store(true, Ordering::Release);
    }

    /// Whether the error is a failed sync. It is then unknown what is on the disk, so the process must end and recover
    /// at the next start (STO-6). Retrying the sync could report success for data that were lost.
    pub(crate) fn note_failed_sync(&self, error: &rusqlite::Error) -> bool {
        let unknown = [
            rusqlite::ffi::SQLITE_IOERR_FSYNC,
            rusqlite::ffi::SQLITE_IOERR_DIR_FSYNC,
            rusqlite::ffi::SQLITE_IOERR_TRUNCATE,
        ];
        let was_sync = error.sqlite_error().is_some_and(|error| unknown.contains(&error.extended_code));
        if was_sync {
            self.fail();
        }
        was_sync
    }
}

impl Writer {
    pub(crate) fn start(
        connection: Connection,
        vault: Arc<Vault>,
        folder: Folder,
        on_audit: Box<dyn Fn(Head) + Send>,
        on_commit: Box<dyn Fn(Duration) + Send>,
    ) -> Result<Self, OpenFault> {
        let (jobs, queue) = sync_channel(QUEUE);
        let state = Arc::new(State::default());
        let worker = WriterThread { connection, vault, folder, on_audit, on_commit, state: Arc::clone(&state) };
        let thread = thread::Builder::new().name("store-writer".to_owned()).spawn(move || worker.serve(&queue))?;
        Ok(Self { jobs, state, thread })
    }

    /// Queues a job. `answer` runs on the writer thread once the batch is durable or has failed. It is never called if
    /// the job could not be queued.
    pub(crate) fn submit<T, F, A>(&self, job: F, answer: A) -> Result<(), Fault>
    where
        T: Send + 'static,
        F: FnOnce(&Tx<'_>) -> Result<Decision<T>, Fault> + Send + 'static,
        A: FnOnce(Result<T, Fault>) + Send + 'static,
    {
        if self.has_failed() {
            return Err(Fault::Failed);
        }
        // Before the send: otherwise the writer might finish the job first, and the subtraction would underflow.
        self.state.waiting.fetch_add(1, Ordering::Relaxed);
        self.jobs.try_send(Box::new(Task { job: Some(job), outcome: None, answer })).map_err(|error| {
            self.state.waiting.fetch_sub(1, Ordering::Relaxed);
            match error {
                TrySendError::Full(_) => Fault::Busy,
                TrySendError::Disconnected(_) => Fault::Failed,
            }
        })
    }

    pub(crate) fn run<T, F>(&self, patience: Duration, job: F) -> Result<T, Fault>
    where
        T: Send + 'static,
        F: FnOnce(&Tx<'_>) -> Result<Decision<T>, Fault> + Send + 'static,
    {
        let (caller, answer) = sync_channel(1);
        // A caller whose patience ran out has dropped the receiver; the result is then discarded.
        self.submit(job, move |outcome| _ = caller.send(outcome))?;
        answer.recv_timeout(patience).unwrap_or_else(|error| match error {
            RecvTimeoutError::Timeout => Err(Fault::Busy),
            RecvTimeoutError::Disconnected => Err(Fault::Failed),
        })
    }

    /// A description of the damage that the integrity check found, if any.
    pub(crate) fn damage(&self) -> Option<&str> {
        self.state.damage.get().map(String::as_str)
    }

    pub(crate) fn state(&self) -> Arc<State> {
        Arc::clone(&self.state)
    }

    pub(crate) fn depth(&self) -> Depth {
        Depth { waiting: self.state.waiting.load(Ordering::Relaxed), limit: QUEUE }
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.state.failed.load(Ordering::Acquire)
    }

    /// Waits until the queue is empty, then closes the database.
    pub(crate) fn stop(self) {
        let Self { jobs, thread, state: _ } = self;
        drop(jobs);
        if thread.join().is_err() {
            tracing::error!("the writer thread of the store panicked");
        }
    }
}

/// State that the writer thread owns.
struct WriterThread {
    connection: Connection,
    vault: Arc<Vault>,
    folder: Folder,
    on_audit: Box<dyn Fn(Head) + Send>,
    on_commit: Box<dyn Fn(Duration) + Send>,
    state: Arc<State>,
}

impl WriterThread {
    fn serve(self, queue: &Receiver<Box<dyn Job>>) {
        let mut was_log_moved = false;
        loop {
            let first =
                if was_log_moved { queue.recv().map_err(RecvTimeoutError::from) } else { queue.recv_timeout(IDLE) };
            match first {
                Ok(first) => {
                    let mut batch = vec![first];
                    // Callers that are about to submit a job get the chance to join this commit, instead of waiting for
                    // it.
                    thread::yield_now();
                    batch.extend(queue.try_iter().take(BATCH.saturating_sub(1)));
                    let size = batch.len();
                    self.run_batch(batch);
                    scrub_stack();
                    self.state.waiting.fetch_sub(size, Ordering::Relaxed);
                    was_log_moved = false;
                }
                Err(RecvTimeoutError::Timeout) => {
                    self.fold_while_idle();
                    self.checkpoint();
                    was_log_moved = true;
                }
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        if let Err((_, error)) = self.connection.close() {
            tracing::error!(%error, "the database was not closed cleanly");
        }
    }

    /// Folds the recent uses of codes into their table while no caller waits.
    fn fold_while_idle(&self) {
        while !self.state.failed.load(Ordering::Acquire) && !self.state.is_busy() {
            match self.fold_some() {
                Ok(true) => {}
                Ok(false) => return,
                Err(fault) => {
                    tracing::error!(%fault, "the used codes were not folded; they stay in the audit log");
                    return;
                }
            }
        }
    }

    /// Returns whether there may be more to fold.
    fn fold_some(&self) -> Result<bool, Fault> {
        self.execute("BEGIN IMMEDIATE")?;
        let step = self.folder.step_when_idle(&self.connection).inspect_err(|_| self.roll_back())?;
        self.commit()?;
        if let Some(step) = &step {
            self.folder.committed(step);
        }
        Ok(step.is_some())
    }

    /// Checkpoints the WAL while no caller waits, so that it is seldom necessary under load. Passive: it waits for no
    /// reader.
    fn checkpoint(&self) {
        if self.state.failed.load(Ordering::Acquire) {
            return;
        }
        let moved = self.connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
        if let Err(error) = moved {
            let fault = self.failed_commit(error);
            tracing::error!(%fault, "the WAL of the store was not checkpointed");
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
        // Callers are answered first. The listeners only wake event streams and the roll-back guard.
        if let Ok(Some(head)) = committed {
            (self.on_audit)(head);
        }
    }

    /// Runs and commits a batch. Returns the newest audit row if the batch wrote one.
    fn attempt(&self, batch: &mut [Box<dyn Job>]) -> Result<Option<Head>, Fault> {
        if self.state.failed.load(Ordering::Acquire) {
            return Err(Fault::Failed);
        }
        self.execute("BEGIN IMMEDIATE")?;
        let state = Batch::default();
        let done = self.run_all(batch, &state).inspect_err(|_| self.roll_back()).and_then(|done| {
            let watch = Stopwatch::start(Duration::ZERO);
            self.commit()?;
            (self.on_commit)(watch.elapsed());
            Ok(done)
        });
        // What was not committed did not use a code up.
        let (newest, folded) = done.inspect_err(|_| state.uses.undo_all(self.folder.recent()))?;
        if let Some(step) = &folded {
            self.folder.committed(step);
        }
        Ok(newest)
    }

    /// Commits the transaction, or rolls it back.
    fn commit(&self) -> Result<(), Fault> {
        self.execute("COMMIT").map_err(|error| {
            let fault = self.failed_commit(error);
            self.roll_back();
            fault
        })
    }

    fn run_all(&self, jobs: &mut [Box<dyn Job>], batch: &Batch) -> Result<(Option<Head>, Option<Step>), Fault> {
        let chain = Chain::read(&self.connection)?;
        let before = chain.end();
        let folded = self.folder.step(&self.connection, before.map_or(0, |(seq, _)| seq), jobs.len())?;
        let view = View { connection: &self.connection, vault: &self.vault, recent: self.folder.recent() };
        let tx = Tx { view, chain: &chain, batch };
        for job in jobs {
            let end = chain.end();
            let mark = batch.begin_job(&self.connection);
            let is_kept = job.run(&tx);
            // After some disk errors SQLite rolls back the whole transaction by itself.
            if self.connection.is_autocommit() {
                return Err(Fault::Unwritable("SQLite rolled back the transaction".to_owned()));
            }
            if is_kept {
                batch.keep_job(&self.connection, &mark)?;
            } else {
                // What is kept in memory follows the savepoint.
                chain.cut(end);
                batch.undo_job(&self.connection, self.folder.recent(), &mark)?;
            }
        }
        batch.insert_all_rows(&self.connection)?;
        let newest = chain.end().filter(|_| chain.end() != before);
        crate::audit_tag::sign_head(&self.connection, &self.vault, super::schema::newest(), newest)?;
        Ok((newest, folded))
    }

    /// Runs one of a few constant statements, prepared once.
    fn execute(&self, statement: &str) -> rusqlite::Result<()> {
        self.connection.prepare_cached(statement)?.execute([]).map(drop)
    }

    /// The fault to report for a failed commit. Unless it was a failed sync, the old state is intact and a later
    /// attempt may succeed, for example after a full disk.
    fn failed_commit(&self, error: rusqlite::Error) -> Fault {
        if self.state.note_failed_sync(&error) { Fault::Failed } else { error.into() }
    }

    fn roll_back(&self) {
        // SQLite may have rolled back by itself already.
        if !self.connection.is_autocommit() && self.connection.execute_batch("ROLLBACK").is_err() {
            self.state.fail();
        }
    }
}
