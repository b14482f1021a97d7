//! How long a call waits for the daemon. sshd does not tell that its client has left, so each call has to end by itself.

use std::cell::Cell;
use std::path::Path;
use std::time::{Duration, Instant};

use mfad_client::Client;

/// Time limit of a connect to the daemon.
const CONNECT_TIME: Duration = Duration::from_secs(2);

/// The time by which all exchanges up to the next answer of the user must end. Somebody who answers a prompt is still
/// there, so each answer begins it anew.
pub(crate) struct Patience(Cell<Option<Instant>>);

#[expect(
    clippy::disallowed_methods,
    reason = "the module measures its own patience; nothing is decided by the time of day"
)]
fn now() -> Instant {
    Instant::now()
}

impl Patience {
    pub(crate) fn new(time: Duration) -> Self {
        Self(Cell::new(now().checked_add(time)))
    }

    /// Begins anew.
    pub(crate) fn renew(&self, time: Duration) {
        self.0.set(now().checked_add(time));
    }

    /// A client for one exchange in the time that is left.
    pub(crate) fn client(&self, socket: &Path) -> Client {
        let left = self.0.get().map(|end| end.saturating_duration_since(now())).unwrap_or_default();
        Client::new(socket).with_time(left).with_connect_time(CONNECT_TIME)
    }
}
