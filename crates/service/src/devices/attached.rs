//! The hardware keys that are plugged in: card slots with the ids of the keys in them, and the events of
//! keys that came and went.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::error::Error;
use mfad_core::model::KeyId;
use mfad_core::sync::{Mutex, MutexGuard, PoisonError};
use mfad_hardware::device::{Card, DeviceFault, Devices, Slot};

use super::types::{DeviceEvent, KeyState};

/// Time limit for opening a card that another program uses; longer than PC/SC's own retries take.
const OPENING: Duration = Duration::from_secs(5);
/// Maximum number of events kept for streams that lag behind; the oldest are dropped.
const EVENTS: usize = 1024;

/// Called with the number of the newest event whenever events may be new. Must return quickly.
pub type Announce = Box<dyn Fn(u64) + Send + Sync>;

/// The hardware keys of this host.
pub(crate) struct AttachedDevices {
    devices: Arc<dyn Devices>,
    state: Mutex<State>,
    announce: Announce,
}

#[derive(Default)]
struct State {
    present: Vec<Present>,
    events: VecDeque<DeviceEvent>,
    newest: u64,
}

/// A card that is present. Its id and event are unknown until the first contact.
struct Present {
    slot: Slot,
    key: Option<KeyId>,
    attached: Option<DeviceEvent>,
}

impl AttachedDevices {
    pub(crate) fn new(devices: Arc<dyn Devices>, announce: Announce) -> Self {
        Self { devices, state: Mutex::default(), announce }
    }

    /// Returns the slots that hold a card now.
    pub(super) fn slots(&self) -> Result<Vec<Slot>, Error> {
        Ok(self.devices.slots()?)
    }

    /// Opens a card for exclusive use, until the value is dropped.
    pub(super) fn open(&self, slot: &Slot) -> Result<Box<dyn Card>, Error> {
        Ok(self.devices.open(slot, OPENING)?)
    }

    /// Returns the id of the key in a slot, or `None` before the first contact.
    pub(super) fn key_in(&self, slot: &Slot) -> Option<KeyId> {
        self.state().present.iter().find(|present| present.slot == *slot).and_then(|present| present.key)
    }

    /// Returns the slots of the keys with these ids, as far as the ids are known.
    pub(super) fn slots_of(&self, keys: &[KeyId]) -> Vec<Slot> {
        let is_one = |present: &&Present| present.key.is_some_and(|key| keys.contains(&key));
        self.state().present.iter().filter(is_one).map(|present| present.slot.clone()).collect()
    }

    /// Waits until cards may have come or gone, at most `patience`, and returns the slots of new cards. `seen` is the
    /// generation that the last call returned, or 0.
    pub(super) fn changes(&self, seen: u64, patience: Duration, at: i64) -> (u64, Vec<Slot>) {
        let generation = self.devices.wait_for_change(seen, patience);
        // Without the smart card service no key is present. The reason is shown to callers that ask for a key.
        let now = match self.devices.slots() {
            Ok(slots) => slots,
            Err(DeviceFault::NoService | DeviceFault::Denied) => Vec::new(),
            Err(fault) => {
                tracing::warn!(%fault, "cannot list the card readers");
                Vec::new()
            }
        };
        let mut state = self.state();
        let (stay, went): (Vec<Present>, Vec<Present>) =
            std::mem::take(&mut state.present).into_iter().partition(|present| now.contains(&present.slot));
        let new: Vec<Slot> = now.into_iter().filter(|slot| stay.iter().all(|present| present.slot != *slot)).collect();
        state.present = stay;
        let unknown = |slot: &Slot| Present { slot: slot.clone(), key: None, attached: None };
        state.present.extend(new.iter().map(unknown));
        let went: Vec<DeviceEvent> = went.into_iter().filter_map(|present| present.attached).collect();
        for attached in went {
            state.push(DeviceEvent { at, is_attached: false, state: None, ..attached });
        }
        self.tell(&state);
        (generation, new)
    }

    /// Records the result of the first contact with a card, and announces its event.
    pub(super) fn met(&self, slot: &Slot, key: Option<KeyId>, state_of_key: KeyState, at: i64) {
        let mut state = self.state();
        // The card may be gone by now, or another contact may have announced it.
        if !state.present.iter().any(|present| present.slot == *slot && present.attached.is_none()) {
            return;
        }
        let event =
            DeviceEvent { seq: 0, at, is_attached: true, reader: slot.reader.clone(), key, state: Some(state_of_key) };
        let event = state.push(event);
        if let Some(present) = state.present.iter_mut().find(|present| present.slot == *slot) {
            present.key = key;
            present.attached = Some(event);
        }
        self.tell(&state);
    }

    /// Records that a key that is plugged in has been programmed by this daemon.
    pub(super) fn became_known(&self, key: KeyId) {
        let mut state = self.state();
        for present in state.present.iter_mut().filter(|present| present.key == Some(key)) {
            if let Some(attached) = &mut present.attached {
                attached.state = Some(KeyState::Known);
            }
        }
    }

    /// Returns the number of keys in each state, or `None` if the readers cannot be listed.
    pub(crate) fn counts(&self) -> Option<[(&'static str, usize); 4]> {
        self.devices.slots().ok()?;
        let state = self.state();
        let states: Vec<KeyState> =
            state.present.iter().filter_map(|present| present.attached.as_ref()?.state).collect();
        let all = [KeyState::New, KeyState::Known, KeyState::Reset, KeyState::Unreachable];
        Some(all.map(|wanted| (wanted.name(), states.iter().filter(|state| **state == wanted).count())))
    }

    /// Returns the events after a number, and the number to continue after. `None` returns the keys that are present.
    pub(super) fn events(&self, after: Option<u64>) -> (Vec<DeviceEvent>, u64) {
        let state = self.state();
        let events = match after {
            Some(after) => state.events.iter().filter(|event| event.seq > after).cloned().collect(),
            None => state.present.iter().filter_map(|present| present.attached.clone()).collect(),
        };
        (events, state.newest)
    }

    fn tell(&self, state: &State) {
        (self.announce)(state.newest);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn push(&mut self, event: DeviceEvent) -> DeviceEvent {
        self.newest = self.newest.saturating_add(1);
        let event = DeviceEvent { seq: self.newest, ..event };
        if self.events.len() >= EVENTS {
            self.events.pop_front();
        }
        self.events.push_back(event.clone());
        event
    }
}
