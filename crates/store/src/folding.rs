//! Moves recent uses of codes from the audit log into the table `moving_factors`, so that memory and the time of a start
//! stay bounded. A generation of uses is written in the order of the table, some rows in each commit. The commit with
//! the last of them also moves the mark: a start reads only the audit rows after it.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, params};

use mfad_api::AuditEvent;
use mfad_core::model::SecretId;
use mfad_core::stopwatch::Stopwatch;

use crate::moving_factors::{after, stored, unstored};
use crate::recent_uses::{RecentUses, Use};
use crate::{Fault, OpenFault, audit, meta};

/// Key of the `meta` row with the mark: the number of the last audit row whose uses are in the table (8 bytes,
/// big-endian).
const FOLDED: &str = "folded";
/// Number of uses at which a new generation begins. A start after a crash reads as many rows of the audit log, or twice
/// that, and two generations take some 8 MiB.
const GENERATION: usize = 50_000;
/// How long a generation may last.
const LONGEST: Duration = Duration::from_secs(120);
/// Number of audit rows after the mark at which an idle store moves it, although there is nothing to fold.
const ROWS_BEHIND: i64 = 10_000;
/// Number of uses folded in a transaction of their own, while no caller waits.
const SHARE_WHEN_IDLE: usize = 4_096;

/// The work of the writer's thread on recent uses.
pub(crate) struct Folder {
    recent: Arc<RecentUses>,
    /// The generation that is being folded.
    work: RefCell<Option<Work>>,
    age: Cell<Stopwatch>,
    mark: Cell<i64>,
}

struct Work {
    uses: Vec<(SecretId, Use)>,
    /// How many of them are durable in the table.
    done: usize,
    /// The newest audit row at the change of generations.
    mark: i64,
}

/// What a transaction wrote; see [`Folder::committed`].
pub(crate) struct Step {
    done: usize,
    is_last: bool,
}

impl Folder {
    /// Reads the uses after the mark from the audit log.
    pub(crate) fn read(connection: &Connection) -> Result<Self, OpenFault> {
        let recent = Arc::new(RecentUses::default());
        let mark = read_recent(connection, &recent)?;
        let has_future_steps = connection.query_row("SELECT EXISTS (SELECT 1 FROM future_steps)", [], |row| row.get(0));
        if has_future_steps? {
            recent.note_future_steps();
        }
        Ok(Self { recent, work: RefCell::new(None), age: Cell::new(Stopwatch::start(LONGEST)), mark: Cell::new(mark) })
    }

    pub(crate) fn recent(&self) -> &Arc<RecentUses> {
        &self.recent
    }

    /// Begins a new generation if the present one is full or old. `head` is the newest committed audit row.
    fn turn_if_due(&self, head: i64) {
        let is_due = self.recent.len() >= GENERATION || self.age.get().is_over() && head > self.mark.get();
        if is_due && self.work.borrow().is_none() {
            self.turn(head);
        }
    }

    fn turn(&self, head: i64) {
        *self.work.borrow_mut() = Some(Work { uses: self.recent.turn(), done: 0, mark: head });
        self.age.set(Stopwatch::start(LONGEST));
    }

    /// Folds some uses within the transaction of a batch of that many jobs. `head` is the newest committed audit row.
    pub(crate) fn step(&self, connection: &Connection, head: i64, jobs: usize) -> Result<Option<Step>, Fault> {
        self.turn_if_due(head);
        // More than the jobs can add, so that a generation is folded before the next one is full.
        let share = if self.recent.len() >= GENERATION { usize::MAX } else { jobs.saturating_mul(2) };
        self.write(connection, share)
    }

    /// Folds everything that there is, in a transaction of its own each time it is called while no caller waits.
    /// Returns `None` if there is nothing to do.
    pub(crate) fn step_when_idle(&self, connection: &Connection) -> Result<Option<Step>, Fault> {
        if self.work.borrow().is_none() {
            let head = audit::newest(connection)?;
            if self.recent.len() == 0 && head.saturating_sub(self.mark.get()) < ROWS_BEHIND {
                return Ok(None);
            }
            self.turn(head);
        }
        self.write(connection, SHARE_WHEN_IDLE)
    }

    fn write(&self, connection: &Connection, share: usize) -> Result<Option<Step>, Fault> {
        let work = self.work.borrow();
        let Some(work) = work.as_ref() else { return Ok(None) };
        let done = work.done.saturating_add(share).min(work.uses.len());
        for (factor, newest) in work.uses.get(work.done..done).unwrap_or_default() {
            write_use(connection, *factor, newest)?;
        }
        let is_last = done == work.uses.len();
        if is_last {
            meta::put_meta(connection, FOLDED, &work.mark.to_be_bytes())?;
        }
        Ok(Some(Step { done, is_last }))
    }

    /// Notes that the transaction of a step was committed.
    pub(crate) fn committed(&self, step: &Step) {
        let mut work = self.work.borrow_mut();
        if let Some(ended) = work.take_if(|_| step.is_last) {
            self.mark.set(ended.mark);
            self.recent.forget_older();
        } else if let Some(work) = work.as_mut() {
            work.done = step.done;
        }
    }
}

/// Folds all uses at once, for a store that no daemon serves from.
pub(crate) fn fold_all(connection: &Connection) -> Result<(), OpenFault> {
    let recent = RecentUses::default();
    read_recent(connection, &recent)?;
    for (factor, newest) in recent.turn() {
        write_use(connection, factor, &newest)?;
    }
    Ok(mark_newest(connection)?)
}

/// Sets the mark to the newest audit row: all uses are in the table.
pub(crate) fn mark_newest(connection: &Connection) -> Result<(), Fault> {
    Ok(meta::put_meta(connection, FOLDED, &audit::newest(connection)?.to_be_bytes())?)
}

/// A factor that was deleted meanwhile has no row any more, and its number is never given again.
fn write_use(connection: &Connection, factor: SecretId, newest: &Use) -> Result<(), Fault> {
    let next = stored(newest.next)?;
    match newest.number {
        Some(number) => connection
            .prepare_cached("UPDATE moving_factors SET next = ?2, used_at = coalesce(?3, used_at) WHERE number = ?1")?
            .execute(params![number, next, newest.at])?,
        None => connection
            .prepare_cached(
                "UPDATE moving_factors SET next = ?2, used_at = coalesce(?3, used_at)
                 WHERE number = (SELECT number FROM secrets WHERE id = ?1)",
            )?
            .execute(params![factor.as_bytes(), next, newest.at])?,
    };
    Ok(())
}

/// Reads the audit rows after the mark into `recent`, in their order: the last row about a factor counts, since a step
/// may have been lowered (TIME-2). Returns the mark.
fn read_recent(connection: &Connection, recent: &RecentUses) -> Result<i64, OpenFault> {
    let damaged = || OpenFault::Damaged("the mark of the folded codes is missing or invalid".to_owned());
    let mark = meta::meta(connection, FOLDED)?.and_then(|mark| <[u8; 8]>::try_from(mark.as_slice()).ok());
    let mark = i64::from_be_bytes(mark.ok_or_else(damaged)?);
    let newest = audit::newest(connection)?;
    if !(0..=newest).contains(&mark) {
        return Err(damaged());
    }
    let rows_behind = usize::try_from(newest.saturating_sub(mark)).unwrap_or(usize::MAX);
    let mut uses = HashMap::with_capacity(rows_behind.min(GENERATION.saturating_mul(2)));
    let mut statement = connection
        .prepare("SELECT object, used, at, event FROM audit WHERE seq > ?1 AND used IS NOT NULL ORDER BY seq")?;
    let mut rows = statement.query([mark])?;
    while let Some(row) = rows.next()? {
        let factor = row.get_ref(0)?.as_blob().ok().and_then(SecretId::from_slice);
        let factor = factor.ok_or(Fault::Corrupt("a used code without its factor"))?;
        let used = unstored(row.get(1)?)?;
        let is_lowered = row.get_ref(3)?.as_str().is_ok_and(|event| event == AuditEvent::ClockStepLowered.as_str());
        // To lower a step is no use: the time of the last one stays.
        let at = if is_lowered { uses.get(&factor).and_then(|newest: &Use| newest.at) } else { Some(row.get(2)?) };
        uses.insert(factor, Use { next: after(used)?, at, number: None });
    }
    recent.begin_with(uses);
    Ok(mark)
}
