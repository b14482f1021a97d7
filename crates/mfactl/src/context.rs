//! The parts that every command needs: the connection to the daemon, the output and the prompts.

use crate::client::Client;
use crate::output::Output;
use crate::prompt::Prompter;

/// Context of a command. Built once by `main` from the global flags.
pub(crate) struct Context {
    pub client: Client,
    pub out: Output,
    pub prompter: Prompter,
}
