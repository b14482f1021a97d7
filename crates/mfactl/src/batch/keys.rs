//! Tracks which hardware keys are plugged in and which of them may be programmed. It must not know the daemon.

use std::collections::{BTreeMap, BTreeSet};

/// The hardware keys of a batch, by serial number.
#[derive(Debug, Default)]
pub(super) struct Keys {
    /// Readers and the keys in them, oldest first. A busy key may report no serial number.
    present: Vec<(String, Option<u64>)>,
    /// Keys that are being programmed now, each with the other keys on which its row may have left an account. Those go
    /// to nobody meanwhile: the account that is left on them still belongs to a factor of that row's user.
    busy: BTreeMap<u64, BTreeSet<u64>>,
    /// Keys that were programmed in this batch or an earlier run, with the user of each.
    used: BTreeMap<u64, String>,
    /// Keys that are not used again until they are unplugged.
    aside: BTreeSet<u64>,
    /// Used keys that were already reported since they were plugged in.
    told: BTreeSet<u64>,
}

impl Keys {
    /// Records that a key was plugged in. Without a serial number, one that is known for the reader stays.
    pub(super) fn attached(&mut self, reader: String, serial: Option<u64>) {
        match self.present.iter_mut().find(|(name, _)| *name == reader) {
            Some((_, known)) => *known = serial.or(*known),
            None => self.present.push((reader, serial)),
        }
    }

    /// Records that the key in this reader was removed.
    pub(super) fn removed(&mut self, reader: &str) {
        let (gone, stay): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.present).into_iter().partition(|(name, _)| name == reader);
        self.present = stay;
        for serial in gone.into_iter().filter_map(|(_, serial)| serial) {
            self.aside.remove(&serial);
            self.told.remove(&serial);
        }
    }

    /// Replaces the list of attached keys. A busy key may report no serial number and then keeps the known one.
    pub(super) fn all(&mut self, now: Vec<(String, Option<u64>)>) {
        let before: Vec<String> = self.present.iter().map(|(reader, _)| reader.clone()).collect();
        for reader in before.iter().filter(|reader| now.iter().all(|(name, _)| name != *reader)) {
            self.removed(reader);
        }
        for (reader, serial) in now {
            self.attached(reader, serial);
        }
    }

    /// Forgets all attached keys: the daemon is away and lists them again after a reconnect.
    pub(super) fn lost(&mut self) {
        self.present.clear();
    }

    /// Serial numbers of the attached keys.
    pub(super) fn present(&self) -> Vec<u64> {
        self.present.iter().filter_map(|(_, serial)| *serial).collect()
    }

    /// The keys that may be programmed, in the order in which they were plugged in.
    pub(super) fn fresh(&self) -> Vec<u64> {
        self.present().into_iter().filter(|serial| self.is_fresh(*serial)).collect()
    }

    /// Whether a key may be programmed.
    pub(super) fn is_fresh(&self, serial: u64) -> bool {
        let is_held = self.busy.iter().any(|(busy, held)| *busy == serial || held.contains(&serial));
        !is_held && !self.used.contains_key(&serial) && !self.aside.contains(&serial)
    }

    /// Records that a key is being programmed for a row, which may have left accounts on the keys in `held`.
    pub(super) fn begin(&mut self, serial: u64, held: BTreeSet<u64>) {
        self.busy.insert(serial, held);
    }

    pub(super) fn end(&mut self, serial: u64) {
        self.busy.remove(&serial);
    }

    /// Assigns a key to a user. It is not reported as used until it is plugged in again.
    pub(super) fn use_for(&mut self, serial: u64, user: &str) {
        self.used.insert(serial, user.to_owned());
        self.told.insert(serial);
    }

    /// Records a key from the results of an earlier run.
    pub(super) fn used_before(&mut self, serial: u64, user: &str) {
        self.used.insert(serial, user.to_owned());
    }

    /// Makes a used key available again.
    pub(super) fn free(&mut self, serial: u64) {
        self.used.remove(&serial);
    }

    /// Excludes a key until it is unplugged.
    pub(super) fn put_aside(&mut self, serial: u64) {
        self.aside.insert(serial);
    }

    /// Returns the used keys that were plugged in, with their users; each key once per time it is plugged in.
    pub(super) fn tell_used(&mut self) -> Vec<(u64, String)> {
        let untold: Vec<u64> = self.present().into_iter().filter(|serial| !self.told.contains(serial)).collect();
        let used: Vec<(u64, String)> =
            untold.into_iter().filter_map(|serial| Some((serial, self.used.get(&serial)?.clone()))).collect();
        self.told.extend(used.iter().map(|(serial, _)| *serial));
        used
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(keys: &[(&str, Option<u64>)]) -> Keys {
        let mut all = Keys::default();
        keys.iter().for_each(|(reader, serial)| all.attached((*reader).to_owned(), *serial));
        all
    }

    #[test]
    fn a_key_is_fresh_until_it_is_busy_used_or_put_aside() {
        let mut keys = with(&[("a", Some(1)), ("b", Some(2)), ("c", Some(3)), ("d", Some(4)), ("e", None)]);

        keys.begin(1, BTreeSet::new());
        keys.use_for(2, "ann");
        keys.put_aside(3);

        assert_eq!(keys.fresh(), [4]);
        keys.end(1);
        assert_eq!(keys.fresh(), [1, 4]);
    }

    #[test]
    fn a_key_that_a_row_in_work_left_something_on_goes_to_nobody() {
        let mut keys = with(&[("a", Some(1))]);
        keys.begin(1, [2, 3].into());
        keys.attached("b".to_owned(), Some(2));
        keys.attached("c".to_owned(), Some(4));

        assert_eq!(keys.fresh(), [4]);
        keys.end(1);
        assert_eq!(keys.fresh(), [1, 2, 4]);
    }

    #[test]
    fn a_key_put_aside_may_be_tried_again_once_it_was_out() {
        let mut keys = with(&[("a", Some(1))]);
        keys.put_aside(1);

        keys.removed("a");
        keys.attached("a".to_owned(), Some(1));

        assert_eq!(keys.fresh(), [1]);
    }

    #[test]
    fn a_used_key_is_told_of_each_time_it_comes_back() {
        let mut keys = with(&[("a", Some(1)), ("b", Some(2))]);
        keys.used_before(2, "bob");
        keys.use_for(1, "ann");

        assert_eq!(keys.tell_used(), [(2, "bob".to_owned())]);
        assert!(keys.tell_used().is_empty());
        keys.removed("a");
        keys.attached("c".to_owned(), Some(1));
        assert_eq!(keys.tell_used(), [(1, "ann".to_owned())]);
    }

    #[test]
    fn a_look_at_all_keys_forgets_those_that_went_and_not_the_busy_ones() {
        let mut keys = with(&[("a", Some(1)), ("b", Some(2))]);

        keys.all(vec![("b".to_owned(), None), ("c".to_owned(), Some(3))]);

        assert_eq!(keys.present(), [2, 3]);
    }
}
