//! Virtual readers behind the daemon's `Devices` and `Card` traits, without pcscd. Each is held by one caller at a
//! time; tests can pull its key, make it hang, or make it refuse.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mfad_core::model::Sensitive;
use mfad_hardware::device::{Card, DeviceFault, Devices, ReaderFacts, Slot};

use super::slot::{Gone, Reader, Watcher};
use super::vpcd::ATR;

/// The virtual readers of a host. The test keeps handles to them.
pub struct VirtualDevices {
    places: Vec<Place>,
    bell: Arc<Bell>,
    refusal: Mutex<Option<DeviceFault>>,
    /// Keeps the watcher alive, since the readers hold only weak references to it.
    _watcher: Arc<Watcher>,
}

struct Place {
    name: String,
    reader: Reader,
    turn: Arc<Turn>,
}

impl Place {
    fn holds(&self, slot: &Slot) -> Result<(), DeviceFault> {
        if self.reader.insertion() == Some(slot.insertion) { Ok(()) } else { Err(DeviceFault::Removed) }
    }
}

impl VirtualDevices {
    /// Builds a host with these readers, each with its PC/SC name.
    pub fn new(mut readers: Vec<(String, Reader)>) -> Self {
        readers.sort_by(|(one, _), (other, _)| one.cmp(other));
        let bell = Arc::new(Bell::default());
        let rung = Arc::clone(&bell);
        let watcher: Arc<Watcher> = Arc::new(move || rung.ring());
        for (_, reader) in &readers {
            reader.watch(&watcher);
        }
        let place = |(name, reader)| Place { name, reader, turn: Arc::default() };
        let places = readers.into_iter().map(place).collect();
        Self { places, bell, refusal: Mutex::default(), _watcher: watcher }
    }

    /// Makes every call fail with this fault from now on; `None` makes them work again.
    pub fn refuse(&self, refusal: Option<DeviceFault>) {
        *self.refusal.lock().unwrap_or_else(PoisonError::into_inner) = refusal;
        self.bell.ring();
    }

    fn refused(&self) -> Result<(), DeviceFault> {
        let refusal = self.refusal.lock().unwrap_or_else(PoisonError::into_inner).clone();
        refusal.map_or(Ok(()), Err)
    }
}

impl Devices for VirtualDevices {
    fn slots(&self) -> Result<Vec<Slot>, DeviceFault> {
        self.refused()?;
        let slot = |place: &Place| Some(Slot { reader: place.name.clone(), insertion: place.reader.insertion()? });
        Ok(self.places.iter().filter_map(slot).collect())
    }

    fn wait_for_change(&self, seen: u64, patience: Duration) -> u64 {
        self.bell.wait(seen, patience)
    }

    fn open(&self, slot: &Slot, patience: Duration) -> Result<Box<dyn Card>, DeviceFault> {
        self.refused()?;
        let place = self.places.iter().find(|place| place.name == slot.reader).ok_or(DeviceFault::Removed)?;
        place.holds(slot)?;
        let held = Turn::take(&place.turn, slot.insertion, patience)?;
        place.holds(slot)?;
        let (commands, queue) = channel();
        let (reader, turn, insertion) = (place.reader.clone(), Arc::clone(&place.turn), slot.insertion);
        std::thread::Builder::new()
            .name("virtual-card".to_owned())
            .spawn(move || carry(&reader, insertion, &turn, &queue))
            .map_err(|cause| DeviceFault::Failed(cause.to_string()))?;
        let facts = ReaderFacts { name: place.name.clone(), usb: place.reader.usb(), atr: ATR.to_vec() };
        Ok(Box::new(VirtualCard { commands, fault: None, insertion: slot.insertion, held, facts }))
    }
}

struct Command {
    bytes: Vec<u8>,
    answer: SyncSender<Result<Vec<u8>, Gone>>,
}

/// A card held exclusively. After a fault every command fails with the same fault.
struct VirtualCard {
    commands: Sender<Command>,
    fault: Option<DeviceFault>,
    insertion: u64,
    held: Held,
    facts: ReaderFacts,
}

impl VirtualCard {
    fn exchange(&self, bytes: Vec<u8>, patience: Duration) -> Result<Vec<u8>, DeviceFault> {
        let (answer, given) = sync_channel(1);
        self.held.0.set_working(Some(self.insertion));
        self.commands.send(Command { bytes, answer }).map_err(|_| DeviceFault::Removed)?;
        match given.recv_timeout(patience) {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(Gone)) | Err(RecvTimeoutError::Disconnected) => Err(DeviceFault::Removed),
            Err(RecvTimeoutError::Timeout) => Err(DeviceFault::Hung),
        }
    }
}

impl Card for VirtualCard {
    fn reader(&self) -> &ReaderFacts {
        &self.facts
    }

    fn transmit(
        &mut self,
        command: &Sensitive<Vec<u8>>,
        patience: Duration,
    ) -> Result<Sensitive<Vec<u8>>, DeviceFault> {
        if let Some(fault) = &self.fault {
            return Err(fault.clone());
        }
        let answer = self.exchange(command.expose().clone(), patience);
        self.fault = answer.as_ref().err().cloned();
        answer.map(Sensitive::new)
    }
}

/// Passes commands to the card on a thread of its own, which may block without limit.
fn carry(reader: &Reader, insertion: u64, turn: &Turn, commands: &Receiver<Command>) {
    while let Ok(command) = commands.recv() {
        let answer = reader.transmit_during(insertion, &command.bytes);
        turn.set_working(None);
        // The caller may have given up waiting.
        drop(command.answer.send(answer));
    }
}

/// Lock on a card, which one caller holds at a time.
#[derive(Default)]
struct Turn {
    state: Mutex<Turns>,
    changed: Condvar,
}

#[derive(Default)]
struct Turns {
    is_held: bool,
    /// The insertion whose card has not answered its last command yet.
    working: Option<u64>,
}

impl Turn {
    fn take(turn: &Arc<Self>, insertion: u64, patience: Duration) -> Result<Held, DeviceFault> {
        let waited = turn.changed.wait_timeout_while(turn.state(), patience, |state| state.is_held);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if state.is_held {
            return Err(DeviceFault::Busy { holder: None });
        }
        // An earlier holder gave up on a command that the card has still not answered.
        if state.working == Some(insertion) {
            return Err(DeviceFault::Hung);
        }
        state.is_held = true;
        Ok(Held(Arc::clone(turn)))
    }

    fn set_working(&self, working: Option<u64>) {
        self.state().working = working;
    }

    fn state(&self) -> MutexGuard<'_, Turns> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Held(Arc<Turn>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.state().is_held = false;
        self.0.changed.notify_all();
    }
}

/// Counts changes of the readers, and wakes threads that wait for one.
#[derive(Default)]
struct Bell {
    rings: Mutex<u64>,
    rung: Condvar,
}

impl Bell {
    fn ring(&self) {
        *self.rings.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.rung.notify_all();
    }

    fn wait(&self, seen: u64, patience: Duration) -> u64 {
        let rings = self.rings.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.rung.wait_timeout_while(rings, patience, |rings| *rings == seen);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

#[cfg(test)]
mod tests {
    use super::super::key::Key;
    use super::super::slot::Fault;
    use super::*;

    const SOON: Duration = Duration::from_millis(20);
    const SELECT_OATH: [u8; 12] = [0x00, 0xA4, 0x04, 0x00, 0x07, 0xA0, 0x00, 0x00, 0x05, 0x27, 0x21, 0x01];

    #[test]
    fn a_card_is_held_by_one_at_a_time() {
        let (_reader, devices) = host();
        let slot = devices.slots().unwrap().remove(0);

        let first = devices.open(&slot, SOON).unwrap();
        assert_eq!(devices.open(&slot, SOON).err(), Some(DeviceFault::Busy { holder: None }));
        drop(first);

        assert!(devices.open(&slot, SOON).is_ok());
    }

    #[test]
    fn a_card_that_hangs_is_given_up_and_stays_so_until_it_answers() {
        let (reader, devices) = host();
        let slot = devices.slots().unwrap().remove(0);
        reader.plan(0, Fault::Hang);

        let mut card = devices.open(&slot, SOON).unwrap();
        let answer = card.transmit(&Sensitive::new(SELECT_OATH.to_vec()), SOON);
        assert_eq!(answer.err(), Some(DeviceFault::Hung));
        drop(card);
        assert_eq!(devices.open(&slot, SOON).err(), Some(DeviceFault::Hung));
        reader.release();

        while devices.open(&slot, SOON).is_err() {
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_card_that_was_away_is_another_one() {
        let (reader, devices) = host();
        let slot = devices.slots().unwrap().remove(0);
        let generation = devices.wait_for_change(u64::MAX, Duration::ZERO);
        let mut card = devices.open(&slot, SOON).unwrap();

        reader.insert(reader.pull().unwrap());

        let answer = card.transmit(&Sensitive::new(SELECT_OATH.to_vec()), SOON);
        assert_eq!(answer.err(), Some(DeviceFault::Removed));
        assert_eq!(devices.open(&slot, SOON).err(), Some(DeviceFault::Removed));
        assert_ne!(devices.wait_for_change(generation, SOON), generation);
    }

    fn host() -> (Reader, VirtualDevices) {
        let reader = Reader::new();
        reader.insert(Key::new(1));
        let devices = VirtualDevices::new(vec![("reader".to_owned(), reader.clone())]);
        (reader, devices)
    }
}
