//! The users who still wait for a key, and which of them gets the next one.

use std::collections::VecDeque;
use std::time::Duration;

use super::manifest::Row;
use super::remaining::ProvisionedKey;

/// The first pause before a row is done again; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// A row that is not done.
#[derive(Clone, Debug)]
pub struct Open {
    /// The row.
    pub row: Row,
    /// The user's uid.
    pub uid: String,
    /// The first of two keys, once it is programmed.
    pub first: Option<ProvisionedKey>,
    /// The key on which something of this row may have been left.
    pub held: Option<u64>,
    /// How often it was tried without an end.
    pub attempts: u32,
}

impl Open {
    /// Whether the answer about that factor came.
    pub fn has_made(&self, placed: &ProvisionedKey) -> bool {
        self.first.as_ref().is_some_and(|first| first.secret == placed.secret && !first.is_found)
    }

    /// How long to wait before it is done now.
    pub fn pause(&self) -> Duration {
        match self.attempts.checked_sub(1) {
            None => Duration::ZERO,
            Some(doublings) => FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(doublings)).min(LONGEST_PAUSE),
        }
    }
}

/// The rows that are not done and not in work, in their order.
#[derive(Debug, Default)]
pub struct Queue(VecDeque<Open>);

impl Queue {
    /// A row at the end.
    pub fn push(&mut self, open: Open) {
        self.0.push_back(open);
    }

    /// A row that was in work and is next again.
    pub fn put_back(&mut self, open: Open) {
        self.0.push_front(open);
    }

    /// The row for a fresh key: the one that has left something on it, else the first that waits for no
    /// other key that is there.
    pub fn take_for(&mut self, serial: u64, present: &[u64]) -> Option<Open> {
        let is_its_own = |open: &Open| open.held == Some(serial);
        let is_free = |open: &Open| open.held.is_none_or(|held| !present.contains(&held));
        let at = self.0.iter().position(is_its_own).or_else(|| self.0.iter().position(is_free))?;
        self.0.remove(at)
    }

    /// The row that is next.
    pub fn head(&self) -> Option<&Open> {
        self.0.front()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(user: &str, held: Option<u64>) -> Open {
        let row = Row { line: 2, user: user.to_owned(), label: "key".to_owned(), touch: false };
        Open { row, uid: user.to_owned(), first: None, held, attempts: 0 }
    }

    fn queue(rows: &[(&str, Option<u64>)]) -> Queue {
        let mut queue = Queue::default();
        rows.iter().for_each(|(user, held)| queue.push(open(user, *held)));
        queue
    }

    fn taken(queue: &mut Queue, serial: u64, present: &[u64]) -> Option<String> {
        queue.take_for(serial, present).map(|open| open.row.user)
    }

    #[test]
    fn keys_go_to_the_rows_in_their_order() {
        let mut queue = queue(&[("ann", None), ("bob", None)]);

        assert_eq!(taken(&mut queue, 7, &[7, 8]).as_deref(), Some("ann"));
        assert_eq!(taken(&mut queue, 8, &[7, 8]).as_deref(), Some("bob"));
        assert_eq!(taken(&mut queue, 9, &[7, 8, 9]), None);
    }

    #[test]
    fn a_key_goes_to_the_row_that_left_something_on_it() {
        let mut queue = queue(&[("ann", None), ("bob", Some(7))]);

        assert_eq!(taken(&mut queue, 7, &[7]).as_deref(), Some("bob"));
    }

    #[test]
    fn a_row_takes_another_key_only_when_its_own_is_gone() {
        let mut queue = queue(&[("ann", Some(7)), ("bob", None)]);

        assert_eq!(taken(&mut queue, 8, &[7, 8]).as_deref(), Some("bob"));
        assert_eq!(taken(&mut queue, 8, &[7, 8]), None);
        assert_eq!(taken(&mut queue, 8, &[8]).as_deref(), Some("ann"));
    }

    #[test]
    fn a_row_put_back_is_next() {
        let mut queue = queue(&[("bob", None)]);

        queue.put_back(open("ann", None));

        assert_eq!(queue.head().unwrap().row.user, "ann");
    }

    #[test]
    fn pauses_double_up_to_five_seconds() {
        let pause = |attempts| Open { attempts, ..open("ann", None) }.pause().as_millis();

        assert_eq!([0, 1, 2, 3, 5, 6, 99].map(pause), [0, 200, 400, 800, 3200, 5000, 5000]);
    }
}
