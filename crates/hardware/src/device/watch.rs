//! The one thread that follows which readers exist and which of them hold a card. It sends no command to a card.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ffi::{CStr, CString};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use pcsc::{Attribute, Context, Disposition, Error, PNP_NOTIFICATION, Protocols, ReaderState, ShareMode, State};

use super::connection::{context, fault_of};
use super::usb::device_of;
use super::{DeviceFault, Slot, WantedReaders};

/// The pause before pcscd is looked for again.
const RETRY: Duration = Duration::from_secs(1);
/// The longest single wait for a change, so that the thread ends soon after the daemon.
const LOOK: Duration = Duration::from_secs(2);
/// How many readers one call can wait for: PCSCLITE_MAX_READERS_CONTEXTS, which is also how many pcscd can have. The
/// pseudo-reader that announces new readers counts, too. Where there is no place for it, [`LOOK`] bounds the delay
/// until a new reader is seen.
const READERS_AT_ONCE: usize = 16;

/// The state of the readers, shared between the watching thread and its users.
pub(super) struct ReaderMonitor {
    state: Mutex<Known>,
    changed: Condvar,
    /// Only these readers are used; the words are in lower case.
    wanted: WantedReaders,
}

struct Known {
    generation: u64,
    insertions: u64,
    slots: Result<BTreeMap<String, u64>, DeviceFault>,
}

impl ReaderMonitor {
    /// Starts the thread. It ends once all other handles to the monitor are dropped.
    pub(super) fn start(wanted: WantedReaders) -> std::io::Result<Arc<Self>> {
        let words = wanted.words.iter().map(|word| word.to_lowercase()).collect();
        let wanted = WantedReaders { words, ..wanted };
        let known = Known { generation: 0, insertions: 0, slots: Ok(BTreeMap::new()) };
        let monitor = Arc::new(Self { state: Mutex::new(known), changed: Condvar::new(), wanted });
        // A weak handle, so that the thread does not keep the monitor alive.
        let watched = Arc::downgrade(&monitor);
        std::thread::Builder::new().name("device-watch".to_owned()).spawn(move || follow(&watched))?;
        Ok(monitor)
    }

    pub(super) fn slots(&self) -> Result<Vec<Slot>, DeviceFault> {
        let known = self.known();
        let slots = known.slots.as_ref().map_err(Clone::clone)?;
        Ok(slots.iter().map(|(reader, insertion)| Slot { reader: reader.clone(), insertion: *insertion }).collect())
    }

    pub(super) fn holds(&self, slot: &Slot) -> bool {
        self.known().slots.as_ref().is_ok_and(|slots| slots.get(&slot.reader) == Some(&slot.insertion))
    }

    pub(super) fn wait_for_change(&self, seen: u64, patience: Duration) -> u64 {
        let waited = self.changed.wait_timeout_while(self.known(), patience, |known| known.generation == seen);
        waited.unwrap_or_else(PoisonError::into_inner).0.generation
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_named(&self, reader: &str) -> bool {
        let reader = reader.to_lowercase();
        self.wanted.words.iter().any(|word| reader.contains(word))
    }

    fn lose(&self, fault: DeviceFault) {
        let mut known = self.known();
        // Logged once, and not at each retry.
        if known.slots.as_ref().err() != Some(&fault) {
            tracing::info!(%fault, "hardware keys cannot be used");
            known.slots = Err(fault);
            known.generation = known.generation.saturating_add(1);
            self.changed.notify_all();
        }
    }

    /// Stores one look at the readers: each name with its event counter. A changed counter means a new insertion.
    fn see(&self, seen: &[(String, u32)], last: &mut BTreeMap<String, u32>) {
        let mut known = self.known();
        let before = known.slots.as_ref().ok().cloned();
        let mut now = BTreeMap::new();
        for (reader, events) in seen {
            let unmoved = last.get(reader) == Some(events);
            let insertion = before.as_ref().and_then(|slots| slots.get(reader)).filter(|_| unmoved).copied();
            // Numbers are never used again, so an old slot cannot mean a new card.
            let insertion = insertion.unwrap_or_else(|| {
                known.insertions = known.insertions.saturating_add(1);
                known.insertions
            });
            now.insert(reader.clone(), insertion);
        }
        *last = seen.iter().cloned().collect();
        if before.as_ref() != Some(&now) {
            known.slots = Ok(now);
            known.generation = known.generation.saturating_add(1);
            self.changed.notify_all();
        }
    }
}

fn follow(monitor: &Weak<ReaderMonitor>) {
    while monitor.strong_count() > 0 {
        let fault = match context() {
            Ok(context) => follow_service(monitor, &context),
            Err(fault) => fault,
        };
        let Some(monitor) = monitor.upgrade() else { return };
        monitor.lose(fault);
        // Only this thread changes the generation, so this is a pause.
        let seen = monitor.known().generation;
        monitor.wait_for_change(seen, RETRY);
    }
}

/// Follows the readers over one connection to pcscd until it breaks.
fn follow_service(monitor: &Weak<ReaderMonitor>, context: &Context) -> DeviceFault {
    let mut states = Vec::new();
    let mut last = BTreeMap::new();
    let mut makers = Makers::default();
    loop {
        let Some(wanted) = monitor.upgrade() else { return DeviceFault::NoService };
        match context.list_readers_owned() {
            Ok(names) => {
                makers.keep(&names);
                let is_wanted = |name: &CString| {
                    wanted.is_named(&name.to_string_lossy())
                        || makers.is_one_of(&wanted.wanted.usb_vendors, context, name)
                };
                renew(&mut states, names.into_iter().filter(is_wanted));
            }
            // PC/SC reports a host without readers as an error.
            Err(Error::NoReadersAvailable) => renew(&mut states, []),
            Err(error) => return fault_of(error),
        }
        // Not held during the wait, or the monitor would outlive its users.
        drop(wanted);
        // Returns at once if a reader has not been looked at yet.
        match context.get_status_change(LOOK, &mut states) {
            Ok(()) | Err(Error::Timeout) => {}
            // A reader went away between the two calls.
            Err(Error::UnknownReader) => continue,
            Err(error) => return fault_of(error),
        }
        states.iter_mut().for_each(ReaderState::sync_current_state);
        let Some(monitor) = monitor.upgrade() else { return DeviceFault::NoService };
        let cards: Vec<(String, u32)> = states
            .iter()
            .filter(|state| state.name() != PNP_NOTIFICATION())
            .filter(|state| state.event_state().contains(State::PRESENT) && !state.event_state().contains(State::MUTE))
            .map(|state| (state.name().to_string_lossy().into_owned(), state.event_count()))
            .collect();
        monitor.see(&cards, &mut last);
    }
}

/// The makers of readers that no word names, as far as they were asked for. Each reader is asked until it tells.
#[derive(Default)]
struct Makers(RefCell<BTreeMap<CString, Option<u16>>>);

impl Makers {
    /// Forgets readers that are gone. One of the same name may be another device.
    fn keep(&mut self, names: &[CString]) {
        self.0.get_mut().retain(|name, _| names.contains(name));
    }

    fn is_one_of(&self, vendors: &[u16], context: &Context, name: &CString) -> bool {
        if vendors.is_empty() {
            return false;
        }
        let mut makers = self.0.borrow_mut();
        if !makers.contains_key(name) {
            // A reader that another program holds cannot be asked now. It is asked again at the next look.
            let Ok(maker) = maker_of(context, name) else { return false };
            makers.insert(name.clone(), maker);
        }
        makers.get(name).copied().flatten().is_some_and(|maker| vendors.contains(&maker))
    }
}

/// Asks the driver which USB device a reader is. The connection is direct: it sends nothing to a card in the reader.
fn maker_of(context: &Context, name: &CStr) -> Result<Option<u16>, Error> {
    let reader = context.connect(name, ShareMode::Direct, Protocols::UNDEFINED)?;
    let channel = reader.get_attribute_owned(Attribute::ChannelId).ok();
    // Dropping the connection instead would reset a card.
    if let Err((reader, _)) = reader.disconnect(Disposition::LeaveCard) {
        std::mem::forget(reader);
    }
    Ok(channel.and_then(|channel| device_of(&channel)).map(|device| device.vendor))
}

/// Keeps the state of readers that stay, drops those that went, and adds those that came.
fn renew(states: &mut Vec<ReaderState>, names: impl IntoIterator<Item = CString>) {
    let mut old: Vec<ReaderState> = std::mem::take(states);
    let mut take = |name: &CStr| {
        let at = old.iter().position(|state| state.name() == name);
        at.map(|at| old.swap_remove(at)).unwrap_or_else(|| ReaderState::new(name, State::UNAWARE))
    };
    states.extend(names.into_iter().take(READERS_AT_ONCE).map(|name| take(&name)));
    if states.len() < READERS_AT_ONCE {
        states.push(take(PNP_NOTIFICATION()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn monitor() -> ReaderMonitor {
        let known = Known { generation: 0, insertions: 0, slots: Err(DeviceFault::NoService) };
        ReaderMonitor {
            state: Mutex::new(known),
            changed: Condvar::new(),
            wanted: WantedReaders { words: vec!["yubikey".to_owned()], usb_vendors: Vec::new() },
        }
    }

    #[test]
    fn a_card_that_was_away_is_another_insertion() {
        let monitor = monitor();
        let mut last = BTreeMap::new();
        let look = |events: u32| vec![("Yubico YubiKey 00".to_owned(), events)];

        monitor.see(&look(1), &mut last);
        let first = monitor.slots().unwrap().remove(0);
        monitor.see(&look(1), &mut last);
        assert_eq!(monitor.slots().unwrap(), std::slice::from_ref(&first));
        assert_eq!(monitor.known().generation, 1);

        monitor.see(&look(3), &mut last);
        assert!(!monitor.holds(&first));
        assert!(monitor.holds(&monitor.slots().unwrap()[0]));
    }

    #[test]
    fn no_more_readers_are_waited_for_than_one_call_takes() {
        let names = |count: usize| (0..count).map(|number| CString::new(format!("YubiKey {number:02}")).unwrap());
        let mut states = Vec::new();

        for (readers, waited_for, tells_of_new_ones) in [(0, 1, true), (15, 16, true), (16, 16, false), (20, 16, false)]
        {
            renew(&mut states, names(readers));
            assert_eq!(states.len(), waited_for);
            assert_eq!(states.iter().any(|state| state.name() == PNP_NOTIFICATION()), tells_of_new_ones);
        }
    }

    #[test]
    fn a_lost_service_is_told_once_and_other_readers_are_left_alone() {
        let monitor = monitor();

        monitor.lose(DeviceFault::Denied);
        monitor.lose(DeviceFault::Denied);

        assert_eq!((monitor.slots(), monitor.known().generation), (Err(DeviceFault::Denied), 1));
        assert!(monitor.is_named("Yubico YUBIKEY OTP+FIDO+CCID 00 00") && !monitor.is_named("Some eID reader"));
    }
}
