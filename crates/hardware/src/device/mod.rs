//! The only way out to hardware: cards in readers and security keys in ports, held one at a time, bytes in and bytes
//! out. It knows no OATH and no commands of CTAP, and never logs what it carries.

mod channel;
mod hid;
mod holder;
mod pcsc;
mod reader;
mod watch;

use std::time::Duration;

use mfad_core::model::Sensitive;
use mfad_core::stopwatch::Stopwatch;

pub use channel::{Channel, REPORT, Report, Reports};
pub use hid::HidKeys;
pub use pcsc::PcscDevices;

/// One insertion of one card into one reader.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Slot {
    /// The reader's name as PC/SC has it.
    pub reader: String,
    /// Counts insertions: another number means that the card was away in between.
    pub insertion: u64,
}

/// Why a device did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeviceFault {
    /// The smart card service does not answer.
    #[error("pcscd cannot be reached")]
    NoService,
    /// The smart card service refuses this process.
    #[error("pcscd refuses access")]
    Denied,
    /// The kernel refuses this process the security key.
    #[error("this process may not open the security key")]
    NoAccess,
    /// The security key knows only the protocol before FIDO2.
    #[error("the security key does not know FIDO2")]
    TooOld,
    /// Another program, or another request, holds the card.
    #[error("the card is in use")]
    Busy {
        /// The program that likely holds it.
        holder: Option<String>,
    },
    /// The card or its reader did not answer in time.
    #[error("the card does not answer")]
    Hung,
    /// The card is not there, or not there any more.
    #[error("the card was removed")]
    Removed,
    /// Anything else that PC/SC says.
    #[error("{0}")]
    Failed(String),
}

/// A card held exclusively, from [`Devices::open`] to drop. Nobody else exchanges bytes with it meanwhile;
/// dropping it leaves the card as it is, powered and not reset.
pub trait Card: Send {
    /// Sends one command APDU (ISO 7816-4) and returns data and status word as the card gave them, two
    /// bytes at least. After a fault the card is not usable any more.
    fn transmit(&mut self, command: &Sensitive<Vec<u8>>, patience: Duration)
    -> Result<Sensitive<Vec<u8>>, DeviceFault>;
}

/// The hardware of a host.
pub trait Devices: Send + Sync {
    /// The cards that are there now, by reader name.
    fn slots(&self) -> Result<Vec<Slot>, DeviceFault>;

    /// Waits until what [`Devices::slots`] says may differ from generation `seen`, at most `patience`;
    /// returns the generation it has now.
    fn wait_for_change(&self, seen: u64, patience: Duration) -> u64;

    /// Begins the exclusive use of the card in that slot; [`DeviceFault::Removed`] if that insertion is over.
    fn open(&self, slot: &Slot, patience: Duration) -> Result<Box<dyn Card>, DeviceFault>;
}

/// A security key in a port of this host.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Port {
    /// What the kernel calls it, such as `hidraw3`.
    pub node: String,
    /// What the key calls itself, in printable ASCII.
    pub product: String,
}

/// How long to wait for a security key, which may itself wait for a person.
#[derive(Clone, Copy)]
pub struct Wait<'a> {
    /// What is left of the time for all that is asked.
    pub time: Stopwatch,
    /// Whether nobody wants the answer any more.
    pub is_pointless: &'a (dyn Fn() -> bool + Sync),
}

/// A security key held exclusively, from [`SecurityKeys::open`] to drop.
pub trait SecurityKey: Send {
    /// Sends one message of CTAP2 and returns its answer as the key gave it, one byte at least. When the wait ends first,
    /// the key is told to give up, and what it says to that is the answer; a key that says nothing is
    /// [`DeviceFault::Hung`].
    fn exchange(&mut self, message: &Sensitive<Vec<u8>>, wait: Wait<'_>) -> Result<Sensitive<Vec<u8>>, DeviceFault>;
}

/// The security keys of a host.
pub trait SecurityKeys: Send + Sync {
    /// The keys that are plugged in now, by node.
    fn ports(&self) -> Result<Vec<Port>, DeviceFault>;

    /// Begins the exclusive use of the key there; [`DeviceFault::Busy`] while somebody else has it.
    fn open(&self, port: &Port) -> Result<Box<dyn SecurityKey>, DeviceFault>;
}

/// A host where hardware is switched off.
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
        std::thread::park_timeout(patience);
        seen
    }

    fn open(&self, _: &Slot, _: Duration) -> Result<Box<dyn Card>, DeviceFault> {
        Err(DeviceFault::Removed)
    }
}
