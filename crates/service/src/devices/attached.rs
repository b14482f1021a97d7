//! Which keys are plugged in: the readers' slots with the numbers of the keys in them, and what came and went.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::error::Error;
use mfad_core::model::Serial;
use mfad_core::sync::{Mutex, MutexGuard, PoisonError};
use mfad_hardware::device::{Card, DeviceFault, Devices, Slot};

use super::types::{DeviceEvent, KeyState};

/// How long to wait for a key that somebody else uses: longer than PC/SC's own retries take.
const OPENING: Duration = Duration::from_secs(5);
/// Events kept for streams that are slow.
const EVENTS: usize = 1024;

/// Told the newest event's number.
pub type Announce = Box<dyn Fn(u64) + Send + Sync>;

/// The keys of this host.
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

/// A card that is there. Until the first contact nothing more is known.
struct Present {
    slot: Slot,
    serial: Option<Serial>,
    attached: Option<DeviceEvent>,
}

impl AttachedDevices {
    pub(crate) fn new(devices: Arc<dyn Devices>, announce: Announce) -> Self {
        Self { devices, state: Mutex::default(), announce }
    }

    /// The cards that are there now.
    pub(super) fn slots(&self) -> Result<Vec<Slot>, Error> {
        Ok(self.devices.slots()?)
    }

    /// Begins the exclusive use of a card.
    pub(super) fn open(&self, slot: &Slot) -> Result<Box<dyn Card>, Error> {
        Ok(self.devices.open(slot, OPENING)?)
    }

    /// The number of the key in a slot, if there was a contact.
    pub(super) fn serial_in(&self, slot: &Slot) -> Option<Serial> {
        self.state().present.iter().find(|present| present.slot == *slot).and_then(|present| present.serial)
    }

    /// The slots of keys with these numbers, as far as they are known.
    pub(super) fn slots_of(&self, serials: &[Serial]) -> Vec<Slot> {
        let is_one = |present: &&Present| present.serial.is_some_and(|serial| serials.contains(&serial));
        self.state().present.iter().filter(is_one).map(|present| present.slot.clone()).collect()
    }

    /// Waits until cards may have come or gone, and returns those that came. `seen` is what the last
    /// call returned, 0 at first.
    pub(super) fn changes(&self, seen: u64, patience: Duration, at: i64) -> (u64, Vec<Slot>) {
        let generation = self.devices.wait_for_change(seen, patience);
        // Without the service nothing is there; why is told to whoever asks for a key.
        let now = match self.devices.slots() {
            Ok(slots) => slots,
            Err(DeviceFault::NoService | DeviceFault::Denied) => Vec::new(),
            Err(fault) => {
                tracing::warn!(%fault, "the readers cannot be listed");
                Vec::new()
            }
        };
        let mut state = self.state();
        let (stay, went): (Vec<Present>, Vec<Present>) =
            std::mem::take(&mut state.present).into_iter().partition(|present| now.contains(&present.slot));
        let new: Vec<Slot> = now.into_iter().filter(|slot| stay.iter().all(|present| present.slot != *slot)).collect();
        state.present = stay;
        let unknown = |slot: &Slot| Present { slot: slot.clone(), serial: None, attached: None };
        state.present.extend(new.iter().map(unknown));
        let went: Vec<DeviceEvent> = went.into_iter().filter_map(|present| present.attached).collect();
        for attached in went {
            state.push(DeviceEvent { at, is_attached: false, state: None, ..attached });
        }
        self.tell(&state);
        (generation, new)
    }

    /// Notes what a first contact showed.
    pub(super) fn met(&self, slot: &Slot, serial: Option<Serial>, key: KeyState, at: i64) {
        let mut state = self.state();
        if !state.present.iter().any(|present| present.slot == *slot && present.attached.is_none()) {
            return;
        }
        let event =
            DeviceEvent { seq: 0, at, is_attached: true, reader: slot.reader.clone(), serial, state: Some(key) };
        let event = state.push(event);
        if let Some(present) = state.present.iter_mut().find(|present| present.slot == *slot) {
            present.serial = serial;
            present.attached = Some(event);
        }
        self.tell(&state);
    }

    /// Notes that a key which is plugged in is one of ours from now on.
    pub(super) fn became_known(&self, serial: Serial) {
        let mut state = self.state();
        for present in state.present.iter_mut().filter(|present| present.serial == Some(serial)) {
            if let Some(attached) = &mut present.attached {
                attached.state = Some(KeyState::Known);
            }
        }
    }

    /// How many keys are in which state; none if the readers cannot be asked.
    pub(crate) fn counts(&self) -> Option<[(&'static str, usize); 4]> {
        self.devices.slots().ok()?;
        let state = self.state();
        let states: Vec<KeyState> =
            state.present.iter().filter_map(|present| present.attached.as_ref()?.state).collect();
        let all = [KeyState::New, KeyState::Known, KeyState::Reset, KeyState::Unreachable];
        Some(all.map(|wanted| (wanted.name(), states.iter().filter(|state| **state == wanted).count())))
    }

    /// Events after one, and the number to go on after. `None`: the keys that are there now.
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
