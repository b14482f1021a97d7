//! What every command works with: the daemon, the streams, the person.

use crate::client::Client;
use crate::output::Output;
use crate::prompt::Asker;

/// The tools of a command.
pub struct Desk {
    /// The way to the daemon.
    pub client: Client,
    /// The way out.
    pub out: Output,
    /// The way in.
    pub asker: Asker,
}
