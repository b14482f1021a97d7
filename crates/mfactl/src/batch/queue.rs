//! The rows of the manifest that still wait for a hardware key, and the choice of the row for the next key.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use super::manifest::Row;
use super::remaining::ProvisionedKey;
use mfad_core::model::KeyId;

/// First delay before a row is tried again; it doubles each time.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// Longest delay before a row is tried again.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// A row that is not done, with the state of its earlier attempts.
#[derive(Clone, Debug)]
pub(super) struct Open {
    pub row: Row,
    /// Uid of the user.
    pub uid: String,
    /// The first of two keys (`--spare`), once it is programmed.
    pub first: Option<ProvisionedKey>,
    /// Ids of the keys on which earlier attempts may have left an account.
    pub held: BTreeSet<KeyId>,
    /// The only key that the row can go on with: a factor of the user is on it, and its FIDO2 side is not registered.
    pub bound: Option<KeyId>,
    /// Attempts so far that ended without a result.
    pub attempts: u32,
    /// Keys that were in the way so far.
    pub refusals: u32,
}

impl Open {
    /// Whether this run received the response about that factor.
    pub(super) fn has_made(&self, placed: &ProvisionedKey) -> bool {
        self.first.as_ref().is_some_and(|first| first.secret == placed.secret && !first.is_found)
    }

    /// Delay before the next attempt.
    pub(super) fn pause(&self) -> Duration {
        match self.attempts.checked_sub(1) {
            None => Duration::ZERO,
            Some(doublings) => FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(doublings)).min(LONGEST_PAUSE),
        }
    }
}

/// Whether a key can require a touch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Touch {
    /// It cannot, so it is for a row that asks for none.
    Never,
    /// It can, as far as is known.
    Possible,
    /// It can, and other keys of this batch cannot. So rows that ask for a touch come first.
    Scarce,
}

/// Rows that are neither done nor being worked on, in their order.
#[derive(Debug, Default)]
pub(super) struct Queue(VecDeque<Open>);

impl Queue {
    pub(super) fn push(&mut self, open: Open) {
        self.0.push_back(open);
    }

    /// Returns a row to the front after an attempt.
    pub(super) fn put_back(&mut self, open: Open) {
        self.0.push_front(open);
    }

    /// Takes the row for an unused key: the row that may have left an account on it, otherwise the first row that does
    /// not wait for another attached key. So a key that an attempt left behind half done goes to its own user.
    pub(super) fn take_for(&mut self, key: KeyId, present: &[KeyId], can: Touch) -> Option<Open> {
        let fits = |open: &Open| match open.bound {
            Some(bound) => bound == key,
            None => can != Touch::Never || !open.row.touch,
        };
        let is_its_own = |open: &Open| (open.held.contains(&key) || open.bound == Some(key)) && fits(open);
        let is_free = |open: &Open| !present.iter().any(|key| open.held.contains(key)) && fits(open);
        let is_wanted = |open: &Open| can == Touch::Scarce && open.row.touch && is_free(open);
        let rows = || self.0.iter();
        let own = rows().position(is_its_own);
        let at = own.or_else(|| rows().position(is_wanted)).or_else(|| rows().position(is_free))?;
        self.0.remove(at)
    }

    pub(super) fn head(&self) -> Option<&Open> {
        self.0.front()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u32) -> KeyId {
        KeyId::parse(&number.to_string()).unwrap()
    }

    fn ids<const N: usize>(numbers: [u32; N]) -> [KeyId; N] {
        numbers.map(id)
    }

    fn open(user: &str, held: &[u32]) -> Open {
        let row = Row { line: 2, user: user.to_owned(), label: "key".to_owned(), touch: false };
        Open {
            row,
            uid: user.to_owned(),
            first: None,
            held: held.iter().copied().map(id).collect(),
            bound: None,
            attempts: 0,
            refusals: 0,
        }
    }

    fn queue(rows: &[(&str, &[u32])]) -> Queue {
        let mut queue = Queue::default();
        rows.iter().for_each(|(user, held)| queue.push(open(user, held)));
        queue
    }

    fn taken(queue: &mut Queue, key: KeyId, present: &[KeyId]) -> Option<String> {
        queue.take_for(key, present, Touch::Possible).map(|open| open.row.user)
    }

    #[test]
    fn keys_go_to_the_rows_in_their_order() {
        let mut queue = queue(&[("ann", &[]), ("bob", &[])]);

        assert_eq!(taken(&mut queue, id(7), &ids([7, 8])).as_deref(), Some("ann"));
        assert_eq!(taken(&mut queue, id(8), &ids([7, 8])).as_deref(), Some("bob"));
        assert_eq!(taken(&mut queue, id(9), &ids([7, 8, 9])), None);
    }

    #[test]
    fn a_key_goes_to_the_row_that_left_something_on_it() {
        let mut queue = queue(&[("ann", &[]), ("bob", &[7])]);

        assert_eq!(taken(&mut queue, id(7), &ids([7])).as_deref(), Some("bob"));
    }

    #[test]
    fn a_row_takes_another_key_only_when_its_own_is_gone() {
        let mut queue = queue(&[("ann", &[7]), ("bob", &[])]);

        assert_eq!(taken(&mut queue, id(8), &ids([7, 8])).as_deref(), Some("bob"));
        assert_eq!(taken(&mut queue, id(8), &ids([7, 8])), None);
        assert_eq!(taken(&mut queue, id(8), &ids([8])).as_deref(), Some("ann"));
    }

    #[test]
    fn a_row_goes_on_with_any_key_that_it_left_something_on() {
        let mut queue = queue(&[("ann", &[7, 8]), ("bob", &[])]);

        assert_eq!(taken(&mut queue, id(9), &ids([8, 9])).as_deref(), Some("bob"));
        assert_eq!(taken(&mut queue, id(8), &ids([8, 9])).as_deref(), Some("ann"));
    }

    #[test]
    fn a_key_that_cannot_require_a_touch_goes_to_a_row_without() {
        let mut queue = Queue::default();
        let ann = open("ann", &[]);
        queue.push(Open { row: Row { touch: true, ..ann.row.clone() }, ..ann });
        queue.push(open("bob", &[]));

        assert_eq!(queue.take_for(id(7), &[id(7)], Touch::Never).map(|open| open.row.user).as_deref(), Some("bob"));
        assert!(queue.take_for(id(7), &[id(7)], Touch::Never).is_none());
        assert_eq!(queue.take_for(id(8), &[id(8)], Touch::Possible).map(|open| open.row.user).as_deref(), Some("ann"));
    }

    #[test]
    fn where_touch_is_scarce_it_is_kept_for_the_rows_that_ask_for_it() {
        let mut queue = Queue::default();
        queue.push(open("ann", &[]));
        let bob = open("bob", &[]);
        queue.push(Open { row: Row { touch: true, ..bob.row.clone() }, ..bob });

        assert_eq!(queue.take_for(id(7), &[id(7)], Touch::Scarce).map(|open| open.row.user).as_deref(), Some("bob"));
        assert_eq!(queue.take_for(id(8), &[id(8)], Touch::Scarce).map(|open| open.row.user).as_deref(), Some("ann"));
    }

    #[test]
    fn a_row_that_is_bound_to_a_key_waits_for_it() {
        let mut queue = Queue::default();
        queue.push(Open { bound: Some(id(7)), ..open("ann", &[]) });

        assert_eq!(taken(&mut queue, id(8), &[id(8)]), None);
        assert_eq!(taken(&mut queue, id(7), &[id(7), id(8)]).as_deref(), Some("ann"));
    }

    #[test]
    fn a_row_put_back_is_next() {
        let mut queue = queue(&[("bob", &[])]);

        queue.put_back(open("ann", &[]));

        assert_eq!(queue.head().unwrap().row.user, "ann");
    }

    #[test]
    fn pauses_double_up_to_five_seconds() {
        let pause = |attempts| Open { attempts, ..open("ann", &[]) }.pause().as_millis();

        assert_eq!([0, 1, 2, 3, 5, 6, 99].map(pause), [0, 200, 400, 800, 3200, 5000, 5000]);
    }
}
