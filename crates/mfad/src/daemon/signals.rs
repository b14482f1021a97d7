//! Signals: which ends the daemon, which makes it read its settings again, and which it must not die of.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// What a signal asks for.
pub(super) enum Told {
    /// To finish what is under way and to end.
    Stop,
    /// To take the new settings.
    Reload,
}

/// The signals that are followed, and those that only have to be caught.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
    reload: Signal,
    _caught: [Signal; 4],
}

impl Signals {
    /// From here on no signal of these does what it does by default.
    pub(super) fn take() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            reload: signal(SignalKind::hangup())?,
            _caught: [
                // They ask for nothing here, and end a program that does not catch them.
                signal(SignalKind::user_defined1())?,
                signal(SignalKind::user_defined2())?,
                signal(SignalKind::alarm())?,
                // A file that reaches a limit is a disk that is full: the write fails, and the daemon goes on.
                signal(SignalKind::from_raw(libc::SIGXFSZ))?,
            ],
        })
    }

    /// Waits for the next one that asks for something.
    pub(super) async fn next(&mut self) -> Told {
        tokio::select! {
            _ = self.terminate.recv() => Told::Stop,
            _ = self.interrupt.recv() => Told::Stop,
            _ = self.quit.recv() => Told::Stop,
            _ = self.reload.recv() => Told::Reload,
        }
    }
}
