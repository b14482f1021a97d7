//! Virtual security keys: at the reports of CTAPHID, in ports of this process.

pub mod authenticator;
mod key;
mod ports;

pub use authenticator::{Make, Touch};
pub use key::{Finger, Key};
pub use ports::VirtualPorts;
