//! Domain types: ids, names, profiles of one-time passwords, codes, rights, and the throttle. They are pure: no I/O, no
//! clock, no random source, and no serde on anything secret.

mod code;
mod device;
mod host_login;
mod id;
mod login;
mod moment;
mod name;
mod pin;
mod profile;
mod rights;
mod sensitive;
mod throttle;
mod token_input;

pub use code::{BackupCode, CODE_SYMBOLS, CODES_PER_SET};
pub use device::{AccountName, DeviceId, Firmware, IdSource, KeyId, NameFault, Serial};
pub use host_login::{HostLogin, HostUser};
pub use id::{ChallengeId, SecretId, SessionId, UserId, UserRef};
pub use login::{Amr, Method, TokenKind};
pub use moment::{BootId, Moment};
pub use name::{Email, Label, Text, UserName, canonical};
pub use pin::Pin;
pub use profile::{Algorithm, Digits, OtpKind, Period, Profile};
pub use rights::{Peer, Right, Rights};
pub use sensitive::{Sensitive, scrub_stack};
pub use throttle::{Deadline, Gate, LONGEST_DELAY, Limits, Odds, Throttle};
pub use token_input::TokenInput;
