//! Which keys are plugged in and which of them may be used now. It only counts; it asks nobody.

use std::collections::{BTreeMap, BTreeSet};

/// The keys as the batch sees them.
#[derive(Debug, Default)]
pub struct Keys {
    /// Readers and the keys in them, as they came; no number for those that do not tell it.
    present: Vec<(String, Option<u64>)>,
    busy: BTreeSet<u64>,
    used: BTreeMap<u64, String>,
    aside: BTreeSet<u64>,
    told: BTreeSet<u64>,
}

impl Keys {
    /// A key came.
    pub fn attached(&mut self, reader: String, serial: Option<u64>) {
        match self.present.iter_mut().find(|(name, _)| *name == reader) {
            Some((_, known)) => *known = serial.or(*known),
            None => self.present.push((reader, serial)),
        }
    }

    /// A key went.
    pub fn removed(&mut self, reader: &str) {
        let (gone, stay): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.present).into_iter().partition(|(name, _)| name == reader);
        self.present = stay;
        for serial in gone.into_iter().filter_map(|(_, serial)| serial) {
            self.aside.remove(&serial);
            self.told.remove(&serial);
        }
    }

    /// All that is there. A key that does not tell its number, because it is busy, keeps the one it had.
    pub fn all(&mut self, now: Vec<(String, Option<u64>)>) {
        let before: Vec<String> = self.present.iter().map(|(reader, _)| reader.clone()).collect();
        for reader in before.iter().filter(|reader| now.iter().all(|(name, _)| name != *reader)) {
            self.removed(reader);
        }
        for (reader, serial) in now {
            self.attached(reader, serial);
        }
    }

    /// The daemon is away; what is there has to be told anew.
    pub fn lost(&mut self) {
        self.present.clear();
    }

    /// The numbers of the keys that are there.
    pub fn present(&self) -> Vec<u64> {
        self.present.iter().filter_map(|(_, serial)| *serial).collect()
    }

    /// The keys that may be used, as they came.
    pub fn fresh(&self) -> Vec<u64> {
        let is_fresh = |serial: &u64| {
            !self.busy.contains(serial) && !self.used.contains_key(serial) && !self.aside.contains(serial)
        };
        self.present().into_iter().filter(is_fresh).collect()
    }

    /// Work with a key begins.
    pub fn begin(&mut self, serial: u64) {
        self.busy.insert(serial);
    }

    /// Work with a key ended.
    pub fn end(&mut self, serial: u64) {
        self.busy.remove(&serial);
    }

    /// The key belongs to this user now.
    pub fn use_for(&mut self, serial: u64, user: &str) {
        self.used.insert(serial, user.to_owned());
        self.told.insert(serial);
    }

    /// The key was used in an earlier run.
    pub fn used_before(&mut self, serial: u64, user: &str) {
        self.used.insert(serial, user.to_owned());
    }

    /// The key is as it was and may be used again.
    pub fn free(&mut self, serial: u64) {
        self.used.remove(&serial);
    }

    /// The key is not used until it was taken out.
    pub fn put_aside(&mut self, serial: u64) {
        self.aside.insert(serial);
    }

    /// The keys that were plugged in although they were used, and for whom; each time once.
    pub fn tell_used(&mut self) -> Vec<(u64, String)> {
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

        keys.begin(1);
        keys.use_for(2, "ann");
        keys.put_aside(3);

        assert_eq!(keys.fresh(), [4]);
        keys.end(1);
        assert_eq!(keys.fresh(), [1, 4]);
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
