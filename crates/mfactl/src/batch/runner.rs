//! The main loop of a batch: assigns each unused hardware key to a row, runs several attempts at once, and records and
//! reports their results.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};

use super::feed::News;
use super::folders::Folders;
use super::keys::Keys;
use super::manifest::Row;
use super::progress::Progress;
use super::queue::{Open, Queue};
use super::remaining::ProvisionedKey;
use super::results::{Entry, ResultsFile, Status};
use super::row::{Outcome, Plan, work};
use crate::client::Client;
use crate::failure::Failure;
use mfad_core::model::KeyId;

/// With `--no-wait`: attempts per row, and failed reconnects in a row, before giving up. Otherwise there is no limit.
const TRIES: u32 = 8;

/// Keys that may be in the way of one row before the row fails.
const MOST_REFUSALS: u32 = 5;

/// Counts for the summary.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Rows done in this run.
    pub done: u32,
    /// Rows that failed in this run.
    pub failed: u32,
    /// Users whose backup codes were not saved.
    pub codes_lost: u32,
}

/// State of a batch that outlives its main loop.
pub(super) struct BatchRunner {
    pub client: Client,
    pub plan: Arc<Plan>,
    pub results: ResultsFile,
    pub keys: Keys,
    pub queue: Queue,
    pub folders: Folders,
    pub progress: Progress,
    pub tally: Tally,
    /// `--no-wait`: end when no unused key is attached.
    pub no_wait: bool,
}

/// A finished attempt: its row, the id of its key, and its result.
type Ended = (Open, KeyId, Outcome);

/// State of the main loop.
struct RunState<'a> {
    runner: &'a mut BatchRunner,
    /// Attempts that are running, one per key.
    tasks: JoinSet<Ended>,
    /// Whether the list of attached keys is current.
    is_connected: bool,
    /// Failed reconnects since the last successful one.
    losses: u32,
    /// Whether the user was asked to plug in a key, and no attempt has started since.
    has_asked: bool,
}

impl BatchRunner {
    /// Runs until every row is done or failed, or with `--no-wait` until no unused key is attached.
    pub(super) async fn run(&mut self, mut news: mpsc::Receiver<News>) -> Result<(), Failure> {
        let mut state =
            RunState { runner: self, tasks: JoinSet::new(), is_connected: false, losses: 0, has_asked: false };
        loop {
            state.begin_what_can_be();
            if state.is_over() {
                return Ok(());
            }
            state.ask_for_a_key();
            tokio::select! {
                Some(ended) = state.tasks.join_next(), if !state.tasks.is_empty() => state.ended(ended)?,
                heard = news.recv() => state.heard(heard)?,
            }
        }
    }

    /// Records that the factors of a row are on their keys. Receipts and backup codes are saved before the result,
    /// since the next run skips a row that has one.
    pub(super) fn done(&mut self, row: &Row, placed: &[ProvisionedKey]) -> Result<(), Failure> {
        let mut entries = Vec::new();
        for one in placed {
            self.keep(one);
            self.keys.use_for(one.key, &row.user);
            entries.push(entry_of(row, one));
        }
        self.results.append(entries.clone())?;
        self.tally.done = self.tally.done.saturating_add(1);
        entries.iter().try_for_each(|entry| self.progress.result(entry))
    }

    /// Records that a row failed.
    pub(super) fn failed(&mut self, row: &Row, key: Option<KeyId>, code: &str, text: &str) -> Result<(), Failure> {
        let entry = Entry {
            user: row.user.clone(),
            label: row.label.clone(),
            key,
            secret: None,
            status: Status::Failed,
            detail: code.to_owned(),
            time: None,
        };
        self.results.append(vec![entry.clone()])?;
        self.tally.failed = self.tally.failed.saturating_add(1);
        self.progress.complain(&format!("line {}, {}: {text}", row.line, row.user));
        self.progress.result(&entry)
    }

    fn keep(&mut self, placed: &ProvisionedKey) {
        let unkept = self.folders.keep(placed);
        unkept.remarks.iter().for_each(|remark| self.progress.complain(remark));
        self.tally.codes_lost = self.tally.codes_lost.saturating_add(u32::from(unkept.codes));
    }
}

impl RunState<'_> {
    fn begin_what_can_be(&mut self) {
        let present = self.runner.keys.present();
        for key in self.runner.keys.fresh() {
            // A row that was begun in this loop may hold the key.
            if !self.runner.keys.is_fresh(key) {
                continue;
            }
            let touch = self.runner.keys.touch(key);
            let Some(open) = self.runner.queue.take_for(key, &present, touch) else { continue };
            self.runner.keys.begin(key, open.held.clone());
            self.has_asked = false;
            // A Nitrokey also wants a touch before it lets go of what an earlier attempt left on it.
            let is_left_on = open.held.contains(&key) && key.changes_by_touch();
            let is_confirmed = !self.runner.plan.pending || key.changes_by_touch();
            if (open.row.touch && is_confirmed) || is_left_on || self.runner.plan.fido2.is_some() {
                self.runner
                    .progress
                    .say(&format!("hardware key {key} is for {}: touch it when it blinks", open.row.user));
            }
            let (plan, present) = (Arc::clone(&self.runner.plan), present.clone());
            let mut client = self.runner.client.another();
            self.tasks.spawn(async move {
                let outcome = work(&mut client, &plan, &open, key, &present).await;
                (open, key, outcome)
            });
        }
    }

    fn is_over(&self) -> bool {
        self.tasks.is_empty() && (self.runner.queue.is_empty() || (self.runner.no_wait && self.is_connected))
    }

    fn ask_for_a_key(&mut self) {
        if self.has_asked || !self.is_connected || !self.tasks.is_empty() {
            return;
        }
        if let Some(open) = self.runner.queue.head() {
            let which = match open.bound {
                Some(key) => format!("hardware key {key} again"),
                None if open.first.is_some() => "the second hardware key".to_owned(),
                None => "a hardware key".to_owned(),
            };
            self.runner.progress.say(&format!("plug in {which} for {}", open.row.user));
            self.has_asked = true;
        }
    }

    fn ended(&mut self, ended: Result<Ended, JoinError>) -> Result<(), Failure> {
        let (open, key, outcome) = ended
            .map_err(|error| Failure::Internal(format!("an attempt to program a hardware key was aborted: {error}")))?;
        self.runner.keys.end(key);
        match outcome {
            Outcome::Done(mut placed) => {
                self.forget_first(&open);
                placed.iter_mut().for_each(|one| one.is_found &= !open.has_made(one));
                self.runner.done(&open.row, &placed)
            }
            Outcome::Half(first) => {
                self.half_done(open, first);
                Ok(())
            }
            Outcome::Bound(to) => {
                self.runner.keys.free(to);
                // The next attempt asks the daemon what is done.
                let attempts = open.attempts.max(1);
                self.runner.queue.put_back(Open { bound: Some(to), attempts, ..open });
                Ok(())
            }
            Outcome::Again(failure) => {
                self.again(open, key, &failure);
                Ok(())
            }
            Outcome::Failed { code, text } => self.runner.failed(&open.row, Some(key), &code, &text),
            Outcome::OtherKey(failure) => self.other_key(open, key, &failure),
            Outcome::Stop(failure) => Err(failure),
        }
    }

    /// Releases the first key of a row. The caller assigns it again if it is part of the result: the row may have been
    /// programmed onto other keys.
    fn forget_first(&mut self, open: &Open) {
        if let Some(first) = &open.first {
            self.runner.keys.free(first.key);
        }
    }

    fn half_done(&mut self, open: Open, first: ProvisionedKey) {
        self.runner.keep(&first);
        self.forget_first(&open);
        self.runner.keys.use_for(first.key, &open.row.user);
        self.runner.progress.say(&format!("hardware key {} is the first key of {}", first.key, open.row.user));
        let first = ProvisionedKey { receipt: None, codes: Vec::new(), ..first };
        self.runner.queue.put_back(Open { first: Some(first), held: BTreeSet::new(), attempts: 0, ..open });
    }

    /// Returns a row to the queue whose key is in the way. The key may still do for a row that asks for no touch. After
    /// many keys the fault is not theirs.
    fn other_key(&mut self, mut open: Open, key: KeyId, failure: &Failure) -> Result<(), Failure> {
        open.refusals = open.refusals.saturating_add(1);
        let (code, is_about_touch) = match failure {
            Failure::Refused(problem) => (problem.code.clone(), problem.to_string().contains("touch")),
            other => (other.to_string(), false),
        };
        let is_for_others = code == "unsupported" && is_about_touch && open.row.touch;
        if !(is_for_others && self.runner.keys.note_without_touch(key)) {
            self.runner.keys.put_aside(key);
        }
        // What is left on the key is the daemon's to remove, so the row need not wait for it.
        open.held.remove(&key);
        if open.refusals >= MOST_REFUSALS {
            return self.runner.failed(&open.row, Some(key), &code, &failure.to_string());
        }
        self.runner.progress.say(&format!("hardware key {key} is not for {}: {failure}", open.row.user));
        self.runner.queue.put_back(open);
        Ok(())
    }

    fn again(&mut self, open: Open, key: KeyId, failure: &Failure) {
        self.runner.progress.say(&format!("hardware key {key} for {}: {failure}; retrying", open.row.user));
        let attempts = open.attempts.saturating_add(1);
        let mut held = open.held;
        held.insert(key);
        if self.runner.no_wait && attempts >= TRIES {
            self.runner.keys.put_aside(key);
            held.remove(&key);
        }
        self.runner.queue.put_back(Open { attempts, held, ..open });
    }

    fn heard(&mut self, news: Option<News>) -> Result<(), Failure> {
        match news {
            Some(News::All(all)) => {
                self.runner.keys.all(all);
                (self.is_connected, self.losses) = (true, 0);
            }
            Some(News::Event(event)) if event.event == "removed" => self.runner.keys.removed(&event.reader),
            Some(News::Event(event)) => {
                if event.key.is_none() {
                    self.say_unread(&event.reader);
                }
                let key = event.key.as_deref().and_then(KeyId::parse);
                self.runner.keys.attached(event.reader, key);
            }
            Some(News::Lost(failure)) => return self.lost(failure),
            Some(News::Refused(failure)) => return Err(failure),
            None => return Err(Failure::Internal("the task that watches hardware keys has ended".to_owned())),
        }
        for (key, user) in self.runner.keys.tell_used() {
            self.runner.progress.say(&format!("hardware key {key} is already used for {user}; plug in another one"));
        }
        Ok(())
    }

    fn lost(&mut self, failure: Failure) -> Result<(), Failure> {
        self.runner.keys.lost();
        self.is_connected = false;
        self.losses = self.losses.saturating_add(1);
        if self.runner.no_wait && self.losses >= TRIES {
            return Err(failure);
        }
        if self.losses == 1 {
            self.runner.progress.say(&format!("{failure}; retrying"));
        }
        Ok(())
    }

    fn say_unread(&self, reader: &str) {
        self.runner
            .progress
            .say(&format!("the hardware key in {reader} reports no id; see mfactl device list, or plug it in again"));
    }
}

fn entry_of(row: &Row, placed: &ProvisionedKey) -> Entry {
    let status = if placed.is_active { "active" } else { "pending" };
    Entry {
        user: row.user.clone(),
        label: placed.label.clone(),
        key: Some(placed.key),
        secret: Some(placed.secret.clone()),
        status: Status::Done,
        detail: if placed.is_found { format!("{status}, response was lost") } else { status.to_owned() },
        time: placed.time.clone(),
    }
}
