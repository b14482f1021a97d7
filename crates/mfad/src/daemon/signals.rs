//! Signals: which ones stop the daemon, which one reloads the configuration, and which ones it must survive.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The action that a signal requests.
pub(super) enum Told {
    /// Complete open requests and stop (SIGTERM, SIGINT, SIGQUIT).
    Stop,
    /// Reload the configuration (SIGHUP).
    Reload,
}

/// Handlers of the signals that the daemon acts on, and of those that it only catches.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
    reload: Signal,
    _caught: [Signal; 4],
}

impl Signals {
    /// Installs the handlers. From here on, none of these signals has its default effect.
    pub(super) fn take() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            reload: signal(SignalKind::hangup())?,
            _caught: [
                // These have no meaning here, but their default effect is to end the process.
                signal(SignalKind::user_defined1())?,
                signal(SignalKind::user_defined2())?,
                signal(SignalKind::alarm())?,
                // SIGXFSZ: a file that reaches its size limit is like a full disk. The write fails, and the daemon goes
                // on.
                signal(SignalKind::from_raw(libc::SIGXFSZ))?,
            ],
        })
    }

    /// Waits for the next signal that the daemon acts on.
    pub(super) async fn next(&mut self) -> Told {
        tokio::select! {
            _ = self.terminate.recv() => Told::Stop,
            _ = self.interrupt.recv() => Told::Stop,
            _ = self.quit.recv() => Told::Stop,
            _ = self.reload.recv() => Told::Reload,
        }
    }
}
