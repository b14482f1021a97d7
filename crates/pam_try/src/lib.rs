//! Logs a user in through the PAM stacks of a directory, on libpam, without opening a session.

mod pam;

pub use pam::{Conversation, log_in};
