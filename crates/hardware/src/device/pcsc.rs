//! The hardware of this host through PC/SC: the monitor of the watching thread, and a thread for each card.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::reader::Reader;
use super::watch::ReaderMonitor;
use super::{Card, DeviceFault, Devices, Slot};

/// The readers that pcscd knows.
pub struct PcscDevices {
    monitor: Arc<ReaderMonitor>,
    readers: Mutex<HashMap<Slot, Arc<Reader>>>,
}

impl PcscDevices {
    /// Starts to watch the readers whose names contain one of `wanted`, in any case. Needs no running
    /// pcscd: it is found when it comes.
    pub fn start(wanted: Vec<String>) -> std::io::Result<Self> {
        Ok(Self { monitor: ReaderMonitor::start(wanted)?, readers: Mutex::default() })
    }

    /// The thread of a card. Those of cards that are gone are let go; one that hangs ends when its call returns.
    fn reader(&self, slot: &Slot) -> Result<Arc<Reader>, DeviceFault> {
        let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
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
