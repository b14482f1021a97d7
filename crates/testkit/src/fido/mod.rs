//! Virtual security keys at the level of CTAPHID reports, in ports of this process or behind `/dev/uhid`.

pub mod authenticator;
mod key;
mod ports;
mod uhid;
mod values;

pub use authenticator::{Make, Touch};
pub use key::{Finger, Key, Line};
pub use ports::VirtualPorts;
pub use uhid::Plugged;
