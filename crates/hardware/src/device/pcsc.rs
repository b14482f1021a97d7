//! The smart cards of this host through PC/SC: one thread that watches the readers, and one thread for each card in
//! use. Knows no commands.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::reader::Reader;
use super::watch::ReaderMonitor;
use super::{Card, DeviceFault, Devices, Slot, WantedReaders};

/// The readers that pcscd knows and the configuration names.
pub struct PcscDevices {
    monitor: Arc<ReaderMonitor>,
    readers: Mutex<HashMap<Slot, Arc<Reader>>>,
}

impl PcscDevices {
    /// Starts to watch the wanted readers. pcscd need not be running yet; it is found once it starts.
    pub fn start(wanted: WantedReaders) -> std::io::Result<Self> {
        Ok(Self { monitor: ReaderMonitor::start(wanted)?, readers: Mutex::default() })
    }

    /// Returns the thread of a card. Drops those of cards that are gone; one that hangs ends when its PC/SC call
    /// returns.
    fn reader(&self, slot: &Slot) -> Result<Arc<Reader>, DeviceFault> {
        let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        // Done at each use, so that no timer is needed.
        readers.retain(|slot, _| self.monitor.holds(slot));
        if !self.monitor.holds(slot) {
            return Err(DeviceFault::Removed);
        }
        if let Some(reader) = readers.get(slot) {
            return Ok(Arc::clone(reader));
        }
        let reader = Arc::new(Reader::start(&slot.reader)?);
        readers.insert(slot.clone(), Arc::clone(&reader));
        Ok(reader)
    }
}

impl Devices for PcscDevices {
    fn slots(&self) -> Result<Vec<Slot>, DeviceFault> {
        self.monitor.slots()
    }

    fn wait_for_change(&self, seen: u64, patience: Duration) -> u64 {
        self.monitor.wait_for_change(seen, patience)
    }

    fn open(&self, slot: &Slot, patience: Duration) -> Result<Box<dyn Card>, DeviceFault> {
        self.reader(slot)?.open(patience)
    }
}
