//! What every command works with: the daemon, the streams, the person.

use crate::client::Client;
use crate::output::Output;
use crate::prompt::Prompter;

/// The tools of a command.
pub struct Context {
    /// The way to the daemon.
    pub client: Client,
    /// The way out.
    pub out: Output,
    /// The way in.
    pub prompter: Prompter,
}
