//! Tracks which hardware keys are plugged in and which of them may be programmed. It must not know the daemon.

use mfad_core::model::{IdSource, KeyId};
use std::collections::{BTreeMap, BTreeSet};

use super::queue::Touch;

/// The hardware keys of a batch, by id.
#[derive(Debug, Default)]
pub(super) struct Keys {
    /// Readers and the keys in them, oldest first. A busy key may tell no id.
    present: Vec<(String, Option<KeyId>)>,
    /// Keys that are being programmed now, each with the other keys on which its row may have left an account. Those go
    /// to nobody meanwhile: the account that is left on them still belongs to a factor of that row's user.
    busy: BTreeMap<KeyId, BTreeSet<KeyId>>,
    /// Keys that were programmed in this batch or an earlier run, with the user of each.
    used: BTreeMap<KeyId, String>,
    /// Keys that are not used again until they are unplugged.
    aside: BTreeSet<KeyId>,
    /// Keys that cannot require a touch.
    without_touch: BTreeSet<KeyId>,
    /// Used keys that were already reported since they were plugged in.
    told: BTreeSet<KeyId>,
}

impl Keys {
    /// Records that a key was plugged in. Without an id, one that is known for the reader stays.
    pub(super) fn attached(&mut self, reader: String, key: Option<KeyId>) {
        // The source of the id tells the kind of key, and keys of these kinds cannot require a touch.
        let never = |key: &KeyId| matches!(key.source(), IdSource::Pico | IdSource::Compatible);
        self.without_touch.extend(key.filter(never));
        match self.present.iter_mut().find(|(name, _)| *name == reader) {
            Some((_, known)) => *known = key.or(*known),
            None => self.present.push((reader, key)),
        }
    }

    /// Records that the key in this reader was removed.
    pub(super) fn removed(&mut self, reader: &str) {
        let (gone, stay): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.present).into_iter().partition(|(name, _)| name == reader);
        self.present = stay;
        for key in gone.into_iter().filter_map(|(_, key)| key) {
            self.aside.remove(&key);
            self.told.remove(&key);
        }
    }

    /// Replaces the list of attached keys. A busy key may tell no id and then keeps the known one.
    pub(super) fn all(&mut self, now: Vec<(String, Option<KeyId>)>) {
        let before: Vec<String> = self.present.iter().map(|(reader, _)| reader.clone()).collect();
        for reader in before.iter().filter(|reader| now.iter().all(|(name, _)| name != *reader)) {
            self.removed(reader);
        }
        for (reader, key) in now {
            self.attached(reader, key);
        }
    }

    /// Forgets all attached keys: the daemon is away and lists them again after a reconnect.
    pub(super) fn lost(&mut self) {
        self.present.clear();
    }

    /// Ids of the attached keys.
    pub(super) fn present(&self) -> Vec<KeyId> {
        self.present.iter().filter_map(|(_, key)| *key).collect()
    }

    /// The keys that may be programmed, in the order in which they were plugged in.
    pub(super) fn fresh(&self) -> Vec<KeyId> {
        self.present().into_iter().filter(|key| self.is_fresh(*key)).collect()
    }

    /// Whether a key may be programmed.
    pub(super) fn is_fresh(&self, key: KeyId) -> bool {
        let is_held = self.busy.iter().any(|(busy, held)| *busy == key || held.contains(&key));
        !is_held && !self.used.contains_key(&key) && !self.aside.contains(&key)
    }

    /// Records that a key is being programmed for a row, which may have left accounts on the keys in `held`.
    pub(super) fn begin(&mut self, key: KeyId, held: BTreeSet<KeyId>) {
        self.busy.insert(key, held);
    }

    pub(super) fn end(&mut self, key: KeyId) {
        self.busy.remove(&key);
    }

    /// Assigns a key to a user. It is not reported as used until it is plugged in again.
    pub(super) fn use_for(&mut self, key: KeyId, user: &str) {
        self.used.insert(key, user.to_owned());
        self.told.insert(key);
    }

    /// Records a key from the results of an earlier run.
    pub(super) fn used_before(&mut self, key: KeyId, user: &str) {
        self.used.insert(key, user.to_owned());
    }

    /// Makes a used key available again.
    pub(super) fn free(&mut self, key: KeyId) {
        self.used.remove(&key);
    }

    /// Excludes a key until it is unplugged.
    pub(super) fn put_aside(&mut self, key: KeyId) {
        self.aside.insert(key);
    }

    /// Records that a key cannot require a touch. Returns `false` if that was known.
    pub(super) fn note_without_touch(&mut self, key: KeyId) -> bool {
        self.without_touch.insert(key)
    }

    /// Whether a key can require a touch, as far as is known.
    pub(super) fn touch(&self, key: KeyId) -> Touch {
        if self.without_touch.contains(&key) {
            Touch::Never
        } else if self.without_touch.is_empty() {
            Touch::Possible
        } else {
            Touch::Scarce
        }
    }

    /// Returns the used keys that were plugged in, with their users; each key once per time it is plugged in.
    pub(super) fn tell_used(&mut self) -> Vec<(KeyId, String)> {
        let untold: Vec<KeyId> = self.present().into_iter().filter(|key| !self.told.contains(key)).collect();
        let used: Vec<(KeyId, String)> =
            untold.into_iter().filter_map(|key| Some((key, self.used.get(&key)?.clone()))).collect();
        self.told.extend(used.iter().map(|(key, _)| *key));
        used
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

    fn with(keys: &[(&str, Option<KeyId>)]) -> Keys {
        let mut all = Keys::default();
        keys.iter().for_each(|(reader, key)| all.attached((*reader).to_owned(), *key));
        all
    }

    #[test]
    fn a_key_is_fresh_until_it_is_busy_used_or_put_aside() {
        let mut keys =
            with(&[("a", Some(id(1))), ("b", Some(id(2))), ("c", Some(id(3))), ("d", Some(id(4))), ("e", None)]);

        keys.begin(id(1), BTreeSet::new());
        keys.use_for(id(2), "ann");
        keys.put_aside(id(3));

        assert_eq!(keys.fresh(), ids([4]));
        keys.end(id(1));
        assert_eq!(keys.fresh(), ids([1, 4]));
    }

    #[test]
    fn a_key_that_a_row_in_work_left_something_on_goes_to_nobody() {
        let mut keys = with(&[("a", Some(id(1)))]);
        keys.begin(id(1), ids([2, 3]).into());
        keys.attached("b".to_owned(), Some(id(2)));
        keys.attached("c".to_owned(), Some(id(4)));

        assert_eq!(keys.fresh(), ids([4]));
        keys.end(id(1));
        assert_eq!(keys.fresh(), ids([1, 2, 4]));
    }

    #[test]
    fn a_key_put_aside_may_be_tried_again_once_it_was_out() {
        let mut keys = with(&[("a", Some(id(1)))]);
        keys.put_aside(id(1));

        keys.removed("a");
        keys.attached("a".to_owned(), Some(id(1)));

        assert_eq!(keys.fresh(), ids([1]));
    }

    #[test]
    fn a_used_key_is_told_of_each_time_it_comes_back() {
        let mut keys = with(&[("a", Some(id(1))), ("b", Some(id(2)))]);
        keys.used_before(id(2), "bob");
        keys.use_for(id(1), "ann");

        assert_eq!(keys.tell_used(), [(id(2), "bob".to_owned())]);
        assert!(keys.tell_used().is_empty());
        keys.removed("a");
        keys.attached("c".to_owned(), Some(id(1)));
        assert_eq!(keys.tell_used(), [(id(1), "ann".to_owned())]);
    }

    #[test]
    fn a_look_at_all_keys_forgets_those_that_went_and_not_the_busy_ones() {
        let mut keys = with(&[("a", Some(id(1))), ("b", Some(id(2)))]);

        keys.all(vec![("b".to_owned(), None), ("c".to_owned(), Some(id(3)))]);

        assert_eq!(keys.present(), ids([2, 3]));
    }
}
