//! Codes that were used recently. The audit log is the durable record of a use: its row carries the step or counter. So
//! a check writes that row and nothing else, and the newest use of each factor is kept here until it is folded into the
//! table `moving_factors` (see [`crate::folding`]). This module writes nothing.

use std::cell::RefCell;
use std::collections::HashMap;

use mfad_core::model::SecretId;
use mfad_core::sync::atomic::{AtomicBool, Ordering};
use mfad_core::sync::{Mutex, MutexGuard, PoisonError};

use crate::Fault;

/// The newest use of a factor, in the order of the audit log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Use {
    /// The first step or counter that is not used up.
    pub(crate) next: u64,
    /// When the factor was used, in milliseconds since 1970. `None` leaves the time as it is.
    pub(crate) at: Option<i64>,
    /// The factor's row in `moving_factors`. `None` until it is looked up, after a start.
    pub(crate) number: Option<i64>,
}

/// The uses since the last fold, shared by the writer, which changes them, and the readers.
#[derive(Default)]
pub(crate) struct RecentUses {
    generations: Mutex<Generations>,
    /// Whether the table `future_steps` may have rows.
    has_future_steps: AtomicBool,
}

/// An entry of `newer` overrides one of `older`, which overrides the row in the table.
#[derive(Default)]
struct Generations {
    /// Uses since the last change of generations.
    newer: HashMap<SecretId, Use>,
    /// Uses that are being folded into the table. They stay until all of them are durable there.
    older: HashMap<SecretId, Use>,
}

impl RecentUses {
    fn generations(&self) -> MutexGuard<'_, Generations> {
        self.generations.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the newest use of a factor, if it is not only in the table.
    pub(crate) fn of(&self, factor: SecretId) -> Option<Use> {
        let generations = self.generations();
        generations.newer.get(&factor).or_else(|| generations.older.get(&factor)).copied()
    }

    /// Records a use. Returns the entry that it replaces, for [`RecentUses::put_back`].
    pub(crate) fn put(&self, factor: SecretId, newest: Use) -> Option<Use> {
        self.generations().newer.insert(factor, newest)
    }

    /// Takes the uses that a start found.
    pub(crate) fn begin_with(&self, uses: HashMap<SecretId, Use>) {
        self.generations().newer = uses;
    }

    fn put_back(&self, factor: SecretId, before: Option<Use>) {
        let mut generations = self.generations();
        match before {
            Some(before) => generations.newer.insert(factor, before),
            None => generations.newer.remove(&factor),
        };
    }

    /// Number of uses since the last change of generations.
    pub(crate) fn len(&self) -> usize {
        self.generations().newer.len()
    }

    /// Begins a new generation. Returns the uses of the one before, which are to be folded, in the order of the table.
    pub(crate) fn turn(&self) -> Vec<(SecretId, Use)> {
        let mut generations = self.generations();
        generations.older = std::mem::take(&mut generations.newer);
        let mut uses: Vec<_> = generations.older.iter().map(|(factor, newest)| (*factor, *newest)).collect();
        drop(generations);
        uses.sort_unstable_by_key(|(factor, newest)| (newest.number, *factor));
        uses
    }

    /// Forgets the older generation, once all of it is durable in the table.
    pub(crate) fn forget_older(&self) {
        self.generations().older = HashMap::new();
    }

    pub(crate) fn note_future_steps(&self) {
        self.has_future_steps.store(true, Ordering::Relaxed);
    }

    pub(crate) fn has_future_steps(&self) -> bool {
        self.has_future_steps.load(Ordering::Relaxed)
    }
}

/// The uses of one transaction, so that they can be undone with it.
#[derive(Default)]
pub(crate) struct UsesOfBatch {
    /// What each use replaced, oldest first.
    replaced: RefCell<Vec<(SecretId, Option<Use>)>>,
    /// Uses of the present job whose audit row was not written yet.
    unlogged: RefCell<Vec<(SecretId, u64)>>,
}

/// A position in the uses of a batch; see [`UsesOfBatch::undo`].
#[derive(Clone, Copy)]
pub(crate) struct Mark(usize);

impl UsesOfBatch {
    /// Records a use in `recent`. The job must also write its audit row, or it is rolled back.
    pub(crate) fn record(&self, recent: &RecentUses, factor: SecretId, used: u64, newest: Use) {
        self.replaced.borrow_mut().push((factor, recent.put(factor, newest)));
        self.unlogged.borrow_mut().push((factor, used));
    }

    /// Notes that the audit row of a use was written.
    pub(crate) fn note_logged(&self, factor: Option<SecretId>, used: u64) {
        self.unlogged.borrow_mut().retain(|(id, step)| Some(*id) != factor || *step != used);
    }

    /// Fails if the job used a code up without an audit row: a restart would make the code valid again.
    pub(crate) fn must_be_logged(&self) -> Result<(), Fault> {
        if self.unlogged.borrow().is_empty() { Ok(()) } else { Err(Fault::Corrupt("a used code without an audit row")) }
    }

    /// The position before the uses of the next job.
    pub(crate) fn begin_job(&self) -> Mark {
        self.unlogged.borrow_mut().clear();
        Mark(self.replaced.borrow().len())
    }

    /// Undoes the uses since a position, newest first.
    pub(crate) fn undo(&self, recent: &RecentUses, Mark(since): Mark) {
        for (factor, before) in self.replaced.borrow_mut().drain(since..).rev() {
            recent.put_back(factor, before);
        }
    }

    /// Undoes all uses of the batch.
    pub(crate) fn undo_all(&self, recent: &RecentUses) {
        self.undo(recent, Mark(0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u8) -> SecretId {
        SecretId::at(i64::from(number), &[number; 10])
    }

    fn newest(next: u64) -> Use {
        Use { next, at: Some(1), number: Some(1) }
    }

    #[test]
    fn a_use_that_is_undone_leaves_what_was_there() {
        let (recent, batch) = (RecentUses::default(), UsesOfBatch::default());
        recent.put(id(1), newest(5));

        let first = batch.begin_job();
        batch.record(&recent, id(1), 6, newest(7));
        let second = batch.begin_job();
        batch.record(&recent, id(1), 8, newest(9));
        batch.record(&recent, id(2), 3, newest(4));
        batch.undo(&recent, second);
        assert_eq!((recent.of(id(1)), recent.of(id(2))), (Some(newest(7)), None));

        batch.undo(&recent, first);
        assert_eq!(recent.of(id(1)), Some(newest(5)));
    }

    #[test]
    fn a_generation_counts_until_it_is_forgotten_and_the_newer_one_overrides_it() {
        let recent = RecentUses::default();
        recent.put(id(2), Use { number: Some(2), ..newest(5) });
        recent.put(id(1), newest(6));

        let uses: Vec<u64> = recent.turn().iter().map(|(_, newest)| newest.next).collect();
        recent.put(id(1), newest(3));

        assert_eq!(uses, [6, 5], "in the order of the table");
        assert_eq!(recent.of(id(1)), Some(newest(3)), "a step that was lowered since");
        assert_eq!(recent.of(id(2)).map(|newest| newest.next), Some(5));
        recent.forget_older();
        assert_eq!((recent.of(id(2)), recent.len()), (None, 1));
    }

    #[test]
    fn otp_3_a_use_without_its_audit_row_is_noticed() {
        let (recent, batch) = (RecentUses::default(), UsesOfBatch::default());
        batch.begin_job();
        batch.record(&recent, id(1), 6, newest(7));

        assert!(batch.must_be_logged().is_err());
        batch.note_logged(Some(id(2)), 6);
        batch.note_logged(Some(id(1)), 5);
        assert!(batch.must_be_logged().is_err());
        batch.note_logged(Some(id(1)), 6);
        assert!(batch.must_be_logged().is_ok());
    }
}
