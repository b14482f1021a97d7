//! The ports of a host with virtual security keys in them, behind the daemon's trait `SecurityKeys`.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use mfad_core::model::Sensitive;
use mfad_hardware::device::{Channel, DeviceFault, Port, SecurityKey, SecurityKeys, UsbPlace, Wait};

use super::key::{Key, Line};

/// The ports. Each key can be held by one caller at a time.
#[derive(Default)]
pub struct VirtualPorts {
    keys: Mutex<Vec<Plugged>>,
    refusal: Mutex<Option<DeviceFault>>,
    busy: AtomicUsize,
}

struct Plugged {
    node: String,
    usb: Option<UsbPlace>,
    key: Key,
    is_held: Arc<AtomicBool>,
}

impl VirtualPorts {
    pub fn with(keys: impl IntoIterator<Item = Key>) -> Arc<Self> {
        let ports = Self::default();
        keys.into_iter().for_each(|key| ports.plug_in(key));
        Arc::new(ports)
    }

    pub fn plug_in(&self, key: Key) {
        self.plug_in_at(key, None);
    }

    /// Plugs in a key that belongs to this USB device.
    pub fn plug_in_at(&self, key: Key, usb: Option<UsbPlace>) {
        let mut keys = self.keys.lock().unwrap();
        let node = format!("hidraw{}", keys.len());
        keys.push(Plugged { node, usb, key, is_held: Arc::default() });
    }

    /// Makes every attempt to open a key fail with this fault from now on; `None` makes them work again.
    pub fn refuse(&self, refusal: Option<DeviceFault>) {
        *self.refusal.lock().unwrap() = refusal;
    }

    /// Makes the next `times` attempts to open a key fail, as if another program held it.
    pub fn be_busy(&self, times: usize) {
        self.busy.store(times, Ordering::SeqCst);
    }
}

impl SecurityKeys for VirtualPorts {
    fn ports(&self) -> Result<Vec<Port>, DeviceFault> {
        let port = |one: &Plugged| Port { node: one.node.clone(), product: "Virtual key".to_owned(), usb: one.usb };
        let keys = self.keys.lock().unwrap();
        Ok(keys.iter().filter(|one| !one.key.is_pulled()).map(port).collect())
    }

    fn open(&self, port: &Port) -> Result<Box<dyn SecurityKey>, DeviceFault> {
        if let Some(refusal) = self.refusal.lock().unwrap().clone() {
            return Err(refusal);
        }
        if self.busy.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |times| times.checked_sub(1)).is_ok() {
            return Err(DeviceFault::Busy { holder: None });
        }
        let keys = self.keys.lock().unwrap();
        let Plugged { key, is_held, .. } = keys.iter().find(|one| one.node == port.node).ok_or(DeviceFault::Removed)?;
        if is_held.swap(true, Ordering::SeqCst) {
            return Err(DeviceFault::Busy { holder: None });
        }
        let held = Held(Arc::clone(is_held));
        let channel = Channel::open(key.line(), [7; 8])?;
        Ok(Box::new(VirtualKey { channel, _held: held }))
    }
}

struct Held(Arc<AtomicBool>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

struct VirtualKey {
    channel: Channel<Line>,
    _held: Held,
}

impl SecurityKey for VirtualKey {
    fn exchange(&mut self, message: &Sensitive<Vec<u8>>, wait: Wait<'_>) -> Result<Sensitive<Vec<u8>>, DeviceFault> {
        self.channel.exchange(message, wait)
    }
}
