//! The only access to hardware: cards in readers and security keys in ports, each held by one caller at a time, bytes
//! in and bytes out. Knows no OATH and no commands of CTAP, and never logs the bytes.

mod channel;
mod connection;
mod hid;
mod holder;
mod pcsc;
mod reader;
mod usb;
mod watch;

use std::time::Duration;

use mfad_core::model::Sensitive;
use mfad_core::stopwatch::Stopwatch;

pub use channel::{Channel, REPORT, Report, Reports};
pub use hid::HidKeys;
pub use pcsc::PcscDevices;
pub use usb::{UsbDevice, UsbPlace};

/// One insertion of one card into one reader.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Slot {
    /// The name of the reader in PC/SC.
    pub reader: String,
    /// Number of the insertion. A different number means that the card was away in between.
    pub insertion: u64,
}

/// Why a device did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeviceFault {
    /// The smart card service does not answer.
    #[error("cannot reach pcscd; check that it is running")]
    NoService,
    /// The smart card service refuses this process.
    #[error("pcscd refuses access; allow it with a polkit rule")]
    Denied,
    /// The kernel does not let this process open the security key.
    #[error("no permission to open the security key; install the udev rule")]
    NoAccess,
    /// The security key supports only the protocol before FIDO2.
    #[error("the security key does not support FIDO2")]
    TooOld,
    /// Another program, or another request, holds the device.
    #[error("another program or request is using the key")]
    Busy {
        /// Running programs that often hold keys, as a list; `None` if there is none, or the daemon itself is at work
        /// on the key.
        holder: Option<String>,
    },
    /// The device or its reader did not answer in time.
    #[error("the key or its reader did not answer in time")]
    Hung,
    /// The device is not there, or not there any more.
    #[error("the key is not plugged in or was removed")]
    Removed,
    /// Any other failure, in the words of PC/SC, the kernel or this crate.
    #[error("{0}")]
    Failed(String),
}

/// Which readers are used: those whose name contains one of the words, and those that are a USB device of one of the
/// makers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WantedReaders {
    /// Parts of the names of readers, in either case.
    pub words: Vec<String>,
    /// The makers' numbers (idVendor).
    pub usb_vendors: Vec<u16>,
}

/// What the host knows about a card and its reader without asking the card. A key in a USB port is both.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReaderFacts {
    /// The name of the reader in PC/SC.
    pub name: String,
    /// The USB device that the reader is; `None` if it is none, or the driver does not report it.
    pub usb: Option<UsbDevice>,
    /// The answer to reset of the card (ISO 7816-3 section 8.2); empty if it is not known.
    pub atr: Vec<u8>,
}

impl ReaderFacts {
    /// Whether the card lies on a contactless reader. Such a reader makes up an answer to reset that begins in one way
    /// (PC/SC part 3 section 3.1.3.2.3). Without one, the name of the reader decides.
    pub fn is_contactless(&self) -> bool {
        match self.atr.as_slice() {
            [0x3b, length, 0x80, 0x01, ..] if length & 0xf0 == 0x80 => true,
            [] => {
                let name = self.name.to_lowercase();
                ["picc", "contactless", "nfc"].into_iter().any(|word| name.contains(word))
            }
            _ => false,
        }
    }
}

/// A card held exclusively, from [`Devices::open`] to drop. No other program exchanges bytes with it meanwhile.
/// Dropping it leaves the card powered and not reset.
pub trait Card: Send {
    /// The reader that holds the card.
    fn reader(&self) -> &ReaderFacts;

    /// Sends one command APDU (ISO 7816-4). Returns data and status word as the card gave them, at least two bytes.
    /// After an error the card is no longer usable.
    fn transmit(&mut self, command: &Sensitive<Vec<u8>>, patience: Duration)
    -> Result<Sensitive<Vec<u8>>, DeviceFault>;
}

/// The smart card readers of a host.
pub trait Devices: Send + Sync {
    /// The cards that are there now, by reader name.
    fn slots(&self) -> Result<Vec<Slot>, DeviceFault>;

    /// Waits until [`Devices::slots`] may differ from what it was at generation `seen`, at most `patience`. Returns the
    /// present generation.
    fn wait_for_change(&self, seen: u64, patience: Duration) -> u64;

    /// Begins the exclusive use of the card in that slot. Fails with [`DeviceFault::Removed`] if that insertion is
    /// over.
    fn open(&self, slot: &Slot, patience: Duration) -> Result<Box<dyn Card>, DeviceFault>;
}

/// A security key in a port of this host.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Port {
    /// The name of the kernel's device node, such as `hidraw3`.
    pub node: String,
    /// The product name that the key reports, in printable ASCII.
    pub product: String,
    /// Where its USB device is; `None` if the key is no USB device.
    pub usb: Option<UsbPlace>,
}

/// The limits of a wait for a security key, which may itself wait for a touch.
#[derive(Clone, Copy)]
pub struct Wait<'a> {
    /// The time that is left for all requests together.
    pub time: Stopwatch,
    /// Returns whether the answer is no longer wanted, for instance because the client has disconnected.
    pub is_pointless: &'a (dyn Fn() -> bool + Sync),
}

/// A security key held exclusively, from [`SecurityKeys::open`] to drop.
pub trait SecurityKey: Send {
    /// Sends one CTAP2 message and returns the response as the key gave it, at least one byte. If the wait ends first,
    /// the key is told to cancel, and its response to that is returned. A key that does not respond gives
    /// [`DeviceFault::Hung`].
    fn exchange(&mut self, message: &Sensitive<Vec<u8>>, wait: Wait<'_>) -> Result<Sensitive<Vec<u8>>, DeviceFault>;
}

/// The security keys of a host.
pub trait SecurityKeys: Send + Sync {
    /// The keys that are plugged in now, by node.
    fn ports(&self) -> Result<Vec<Port>, DeviceFault>;

    /// Begins the exclusive use of the key in that port. Fails with [`DeviceFault::Busy`] while it is held elsewhere.
    fn open(&self, port: &Port) -> Result<Box<dyn SecurityKey>, DeviceFault>;
}

/// A host whose hardware support is switched off: it has no devices.
pub struct NoDevices;

impl SecurityKeys for NoDevices {
    fn ports(&self) -> Result<Vec<Port>, DeviceFault> {
        Ok(Vec::new())
    }

    fn open(&self, _: &Port) -> Result<Box<dyn SecurityKey>, DeviceFault> {
        Err(DeviceFault::Removed)
    }
}

impl Devices for NoDevices {
    fn slots(&self) -> Result<Vec<Slot>, DeviceFault> {
        Ok(Vec::new())
    }

    fn wait_for_change(&self, seen: u64, patience: Duration) -> u64 {
        // Nothing ever changes, but a caller that waits in a loop must not spin.
        std::thread::park_timeout(patience);
        seen
    }

    fn open(&self, _: &Slot, _: Duration) -> Result<Box<dyn Card>, DeviceFault> {
        Err(DeviceFault::Removed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_to_reset_tells_a_contactless_card_and_the_name_only_without_one() {
        let facts = |name: &str, atr: &[u8]| ReaderFacts { name: name.to_owned(), usb: None, atr: atr.to_vec() };

        assert!(facts("ACS ACR122U 00 00", &[0x3b, 0x8d, 0x80, 0x01, 0x80]).is_contactless());
        assert!(!facts("Nitrokey Nitrokey 3 NFC 00 00", &[0x3b, 0xfd, 0x13, 0x00, 0x00]).is_contactless());
        assert!(facts("ACS ACR122U PICC Interface 00 00", &[]).is_contactless());
        assert!(!facts("canokeys.org OpenPGP PIV OATH 00 00", &[]).is_contactless());
    }
}
