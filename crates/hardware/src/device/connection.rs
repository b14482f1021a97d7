//! The connection to pcscd, and what its errors mean.

use std::time::Duration;

use pcsc::{Context, Error, Scope};

use super::DeviceFault;

/// The pause before a refusal by pcscd is believed. While pcscd ends, it refuses for a moment too.
const SECOND_LOOK: Duration = Duration::from_millis(300);

/// Connects to pcscd. A refusal is believed only if a second attempt is refused too.
pub(super) fn context() -> Result<Context, DeviceFault> {
    let attempt = || Context::establish(Scope::System).map_err(fault_of);
    match attempt() {
        Err(DeviceFault::Denied) => {
            std::thread::sleep(SECOND_LOOK);
            attempt()
        }
        other => other,
    }
}

/// Returns what a PC/SC error means for the whole service or for one card.
pub(super) fn fault_of(error: Error) -> DeviceFault {
    match error {
        Error::NoService | Error::ServiceStopped | Error::CommError | Error::InvalidHandle => DeviceFault::NoService,
        Error::SecurityViolation | Error::NoAccess => DeviceFault::Denied,
        Error::SharingViolation | Error::ServerTooBusy => DeviceFault::Busy { holder: None },
        Error::NoSmartcard
        | Error::RemovedCard
        | Error::UnknownReader
        | Error::ReaderUnavailable
        | Error::NoReadersAvailable
        | Error::ResetCard
        | Error::NotTransacted
        | Error::UnpoweredCard
        | Error::UnresponsiveCard => DeviceFault::Removed,
        Error::Timeout | Error::Cancelled => DeviceFault::Hung,
        other => DeviceFault::Failed(other.to_string()),
    }
}
