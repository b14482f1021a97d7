//! A reader that may hold a key, and the faults that are planned for single APDUs. The APDUs may come through the
//! daemon's traits or from a real pcscd.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use mfad_hardware::device::{UsbDevice, UsbPlace};

use super::key::Key;

/// The key is not in the reader, or is no longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone;

/// A fault at one APDU.
pub enum Fault {
    /// The key is pulled before it executes the command.
    Gone,
    /// The key executes the command and is pulled before it answers.
    LostAnswer,
    /// The command is not executed, and is answered with this status word.
    Status(u16),
    /// An account that the command stores gets a random key, and the response reports success.
    Lie,
    /// The response is delayed by this time.
    Slow(Duration),
    /// The command hangs until [`Reader::release`], and is executed then, or until the key is pulled.
    Hang,
    /// The key is pulled before it executes the command, and this key is inserted instead.
    Swap(Box<Key>),
    /// The command is executed, and answered with random bytes and 0x9000.
    Garbage,
}

/// A callback at an APDU. It may use the reader, except to transmit.
pub type Hook = Box<dyn FnOnce() + Send>;

/// Called after each insertion and each removal.
pub type Watcher = dyn Fn() + Send + Sync;

/// A reader; clones are handles to the same one.
#[derive(Clone, Default)]
pub struct Reader {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    key: Option<Key>,
    beside: Option<Key>,
    insertions: u64,
    /// Whether an APDU is in progress; the next one waits.
    is_busy: bool,
    is_hanging: bool,
    releases: u64,
    apdus: usize,
    log: Vec<(u8, u8, u8)>,
    cost: Duration,
    spent: Duration,
    faults: Vec<(usize, Fault)>,
    before: Vec<(usize, Hook)>,
    after: Vec<(usize, Hook)>,
    watchers: Vec<Weak<Watcher>>,
}

impl State {
    fn insertion(&self) -> Option<u64> {
        self.key.as_ref().map(|_| self.insertions)
    }

    /// Inserts a powered-off key. A key that is in the reader comes out and lies beside it.
    fn put_in(&mut self, key: Key) {
        self.take_out();
        self.key = Some(key);
        self.insertions += 1;
    }

    fn take_out(&mut self) {
        if let Some(mut key) = self.key.take() {
            key.power_off();
            self.beside = Some(key);
        }
    }
}

/// The fault and the callbacks that were planned for the arriving APDU.
struct Arrival {
    fault: Option<Fault>,
    before: Vec<Hook>,
    after: Vec<Hook>,
    cost: Duration,
}

impl Reader {
    /// Creates a reader without a key.
    pub fn new() -> Self {
        Self::default()
    }

    /// Inserts a key, powered off. A key that is in the reader comes out and lies beside it.
    pub fn insert(&self, key: Key) {
        self.change(|state| state.put_in(key));
    }

    /// Takes the key away, from inside the reader or from beside it.
    pub fn pull(&self) -> Option<Key> {
        self.change(|state| {
            let is_inside = state.key.is_some();
            let kept = if is_inside { state.beside.take() } else { None };
            state.take_out();
            std::mem::replace(&mut state.beside, kept)
        })
    }

    /// Whether a key lies beside the reader, because a fault pulled it.
    pub fn pulled(&self) -> bool {
        self.state().beside.is_some()
    }

    /// Inserts the key that lies beside the reader, which is a new insertion. A key in the reader comes out in
    /// exchange. Returns whether there was a key to insert.
    pub fn reinsert(&self) -> bool {
        self.change(|state| match state.beside.take() {
            Some(key) => {
                state.put_in(key);
                true
            }
            None => false,
        })
    }

    /// Calls `look` with the key in the reader, or else with the one beside it. Panics if there is none.
    pub fn with_key<T>(&self, look: impl FnOnce(&mut Key) -> T) -> T {
        let mut state = self.state();
        let state = &mut *state;
        look(state.key.as_mut().or(state.beside.as_mut()).expect("no key in the reader, nor beside it"))
    }

    /// Returns the USB device that the present key is; `None` without a key.
    pub fn usb(&self) -> Option<UsbDevice> {
        let state = self.state();
        let key = state.key.as_ref()?;
        let (vendor, product) = key.model().usb();
        // Derived from the number, so that the security key of the same device can be given the same place.
        let place = UsbPlace { bus: 1, address: key.serial().to_le_bytes()[0] };
        Some(UsbDevice { place, vendor, product, serial: None })
    }

    /// Returns the number of the present insertion; `None` without a key.
    pub fn insertion(&self) -> Option<u64> {
        self.state().insertion()
    }

    /// Switches the power of the key off and on.
    pub fn power_cycle(&self) {
        if let Some(key) = &mut self.state().key {
            key.power_off();
        }
    }

    /// Sends an APDU to the present key, and waits for the response: data and status word.
    pub fn transmit(&self, apdu: &[u8]) -> Result<Vec<u8>, Gone> {
        let insertion = self.insertion().ok_or(Gone)?;
        self.transmit_during(insertion, apdu)
    }

    /// As [`Reader::transmit`], but only to the key of that insertion.
    pub fn transmit_during(&self, insertion: u64, apdu: &[u8]) -> Result<Vec<u8>, Gone> {
        self.begin(insertion)?;
        let started = Instant::now();
        let answer = self.exchange(insertion, apdu);
        let mut state = self.state();
        state.is_busy = false;
        state.spent += started.elapsed();
        self.shared.changed.notify_all();
        answer
    }

    /// Plans a fault for a later APDU; 0 is the next one.
    pub fn plan(&self, at: usize, fault: Fault) {
        let mut state = self.state();
        let at = state.apdus + at;
        state.faults.push((at, fault));
    }

    /// Plans a callback for the arrival of a later APDU, before its fault and its execution; 0 is the next one.
    pub fn on_apdu(&self, at: usize, hook: Hook) {
        let mut state = self.state();
        let at = state.apdus + at;
        state.before.push((at, hook));
    }

    /// Plans a callback after the execution of a later APDU, before its response is returned; 0 is the next one. A
    /// fault that prevents the response prevents the callback too, except for [`Fault::LostAnswer`].
    pub fn after_apdu(&self, at: usize, hook: Hook) {
        let mut state = self.state();
        let at = state.apdus + at;
        state.after.push((at, hook));
    }

    /// Drops all faults and callbacks that are still planned.
    pub fn clear(&self) {
        let mut state = self.state();
        state.faults.clear();
        state.before.clear();
        state.after.clear();
    }

    /// Lets a hanging APDU continue.
    pub fn release(&self) {
        self.state().releases += 1;
        self.shared.changed.notify_all();
    }

    /// Whether an APDU hangs now.
    pub fn is_hanging(&self) -> bool {
        self.state().is_hanging
    }

    /// Returns the number of APDUs that have arrived.
    pub fn apdus(&self) -> usize {
        self.state().apdus
    }

    /// Returns instruction, P1 and P2 of every APDU that has arrived.
    pub fn log(&self) -> Vec<(u8, u8, u8)> {
        self.state().log.clone()
    }

    /// Returns the total duration of all APDUs, without the time that they waited for each other.
    pub fn apdu_time(&self) -> Duration {
        self.state().spent
    }

    /// Makes each APDU take at least this long, as on a real key.
    pub fn set_cost(&self, cost: Duration) {
        self.state().cost = cost;
    }

    /// Calls the watcher after each insertion and removal, until it is dropped.
    pub fn watch(&self, watcher: &Arc<Watcher>) {
        self.state().watchers.push(Arc::downgrade(watcher));
    }

    /// Waits until no other APDU is in progress.
    fn begin(&self, insertion: u64) -> Result<(), Gone> {
        let waits = |state: &mut State| state.insertion() == Some(insertion) && state.is_busy;
        let waited = self.shared.changed.wait_while(self.state(), waits);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner);
        if state.insertion() != Some(insertion) {
            return Err(Gone);
        }
        state.is_busy = true;
        Ok(())
    }

    fn exchange(&self, insertion: u64, apdu: &[u8]) -> Result<Vec<u8>, Gone> {
        let Arrival { fault, before, after, cost } = self.arrive(apdu);
        before.into_iter().for_each(|hook| hook());
        self.linger(insertion, cost)?;
        let is_lost = matches!(fault, Some(Fault::LostAnswer));
        let answer = self.execute(insertion, apdu, fault)?;
        after.into_iter().for_each(|hook| hook());
        if is_lost {
            self.change(State::take_out);
        }
        if self.insertion() == Some(insertion) { Ok(answer) } else { Err(Gone) }
    }

    fn arrive(&self, apdu: &[u8]) -> Arrival {
        let mut state = self.state();
        let now = state.apdus;
        state.apdus += 1;
        let header = |at: usize| apdu.get(at).copied().unwrap_or_default();
        state.log.push((header(1), header(2), header(3)));
        Arrival {
            fault: due(&mut state.faults, now).pop(),
            before: due(&mut state.before, now),
            after: due(&mut state.after, now),
            cost: state.cost,
        }
    }

    fn execute(&self, insertion: u64, apdu: &[u8], fault: Option<Fault>) -> Result<Vec<u8>, Gone> {
        match fault {
            None | Some(Fault::LostAnswer) => self.reach_key(insertion, apdu, Key::transmit),
            Some(Fault::Lie) => self.reach_key(insertion, apdu, Key::transmit_falsely),
            Some(Fault::Garbage) => self.reach_key(insertion, apdu, Key::transmit).map(|_| garbage()),
            Some(Fault::Status(status)) => Ok(status.to_be_bytes().to_vec()),
            Some(Fault::Slow(delay)) => {
                self.linger(insertion, delay)?;
                self.reach_key(insertion, apdu, Key::transmit)
            }
            Some(Fault::Hang) => {
                self.hang(insertion);
                self.reach_key(insertion, apdu, Key::transmit)
            }
            Some(Fault::Gone) => {
                self.change(State::take_out);
                Err(Gone)
            }
            Some(Fault::Swap(key)) => {
                self.change(|state| state.put_in(*key));
                Err(Gone)
            }
        }
    }

    /// Waits for a touch if the command needs one, then lets the key execute the command.
    fn reach_key(&self, insertion: u64, apdu: &[u8], act: fn(&mut Key, &[u8]) -> Vec<u8>) -> Result<Vec<u8>, Gone> {
        let blinks = self.state().key.as_mut().map_or(Duration::ZERO, |key| key.blinks(apdu));
        self.linger(insertion, blinks)?;
        let mut state = self.state();
        if state.insertion() != Some(insertion) {
            return Err(Gone);
        }
        state.key.as_mut().map(|key| act(key, apdu)).ok_or(Gone)
    }

    /// Waits for `delay`. Fails at once if the key is pulled.
    fn linger(&self, insertion: u64, delay: Duration) -> Result<(), Gone> {
        let is_there = |state: &mut State| state.insertion() == Some(insertion);
        let waited = self.shared.changed.wait_timeout_while(self.state(), delay, is_there);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if state.insertion() == Some(insertion) { Ok(()) } else { Err(Gone) }
    }

    fn hang(&self, insertion: u64) {
        let mut state = self.state();
        let releases = state.releases;
        state.is_hanging = true;
        self.shared.changed.notify_all();
        let hangs = |state: &mut State| state.insertion() == Some(insertion) && state.releases == releases;
        let waited = self.shared.changed.wait_while(state, hangs);
        waited.unwrap_or_else(PoisonError::into_inner).is_hanging = false;
    }

    /// Changes the state. If the insertion changed, wakes the waiting threads and calls the watchers.
    fn change<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state();
        let before = state.insertion();
        let outcome = act(&mut state);
        let is_changed = state.insertion() != before;
        state.watchers.retain(|watcher| watcher.strong_count() > 0);
        let watchers = state.watchers.clone();
        drop(state);
        if is_changed {
            self.shared.changed.notify_all();
            // The lock is released first, because watchers read the state of the reader.
            watchers.iter().filter_map(Weak::upgrade).for_each(|watcher| watcher());
        }
        outcome
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Removes and returns the entries that are planned for this APDU.
fn due<T>(plan: &mut Vec<(usize, T)>, now: usize) -> Vec<T> {
    plan.extract_if(.., |(at, _)| *at == now).map(|(_, planned)| planned).collect()
}

fn garbage() -> Vec<u8> {
    let mut bytes = vec![0; 16];
    getrandom::fill(&mut bytes).unwrap();
    bytes.extend([0x90, 0x00]);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    const SELECT_OATH: [u8; 12] = [0x00, 0xA4, 0x04, 0x00, 0x07, 0xA0, 0x00, 0x00, 0x05, 0x27, 0x21, 0x01];

    #[test]
    fn a_fault_comes_at_its_apdu_and_not_before() {
        let reader = Reader::new();
        reader.insert(Key::new(1));
        reader.plan(1, Fault::Gone);

        assert!(reader.transmit(&SELECT_OATH).is_ok());
        assert_eq!(reader.transmit(&SELECT_OATH), Err(Gone));

        assert!(reader.pulled());
        assert_eq!((reader.apdus(), reader.with_key(|key| key.apdus())), (2, 1));
    }

    #[test]
    fn a_lost_answer_was_executed() {
        let reader = Reader::new();
        reader.insert(Key::new(1));
        reader.plan(0, Fault::LostAnswer);

        assert_eq!(reader.transmit(&SELECT_OATH), Err(Gone));

        assert_eq!(reader.with_key(|key| key.apdus()), 1);
        assert!(reader.reinsert());
        assert_eq!(reader.insertion(), Some(2));
    }

    #[test]
    fn a_key_that_hangs_goes_on_when_it_is_released() {
        let reader = Reader::new();
        reader.insert(Key::new(1));
        reader.plan(0, Fault::Hang);

        let sender = reader.clone();
        let waiting = std::thread::spawn(move || sender.transmit(&SELECT_OATH));
        while !reader.is_hanging() {
            std::thread::yield_now();
        }
        reader.release();

        assert!(waiting.join().unwrap().is_ok());
    }

    #[test]
    fn a_swapped_key_is_another_insertion() {
        let reader = Reader::new();
        reader.insert(Key::new(1));
        reader.plan(0, Fault::Swap(Box::new(Key::new(2))));

        assert_eq!(reader.transmit(&SELECT_OATH), Err(Gone));

        assert_eq!((reader.insertion(), reader.with_key(|key| key.serial())), (Some(2), 2));
        assert_eq!(reader.pull().map(|key| key.serial()), Some(2));
        assert_eq!(reader.pull().map(|key| key.serial()), Some(1));
    }
}
