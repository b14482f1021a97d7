//! A look over a database that is too large to be looked over before the daemon serves (STO-13).

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use rusqlite::InterruptHandle;

use super::writer::State;
use super::{OpenFault, files};

/// The look, on a thread of its own. A store that turns out to be damaged is not written to any more.
pub(super) struct Inspection {
    stop: InterruptHandle,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Inspection {
    pub(super) fn start(path: &Path, state: Arc<State>) -> Result<Self, OpenFault> {
        let connection = files::open_reader(path)?;
        let stop = connection.get_interrupt_handle();
        let is_over = Arc::new(AtomicBool::new(false));
        let was_stopped = Arc::clone(&is_over);
        let look = move || match files::quick_check(&connection) {
            Ok(()) => tracing::info!("the store was looked over and is whole"),
            Err(_) if was_stopped.load(Ordering::Acquire) => {}
            Err(error) => {
                tracing::error!(%error, "the store is damaged; put a backup in its place with `mfad restore`");
                state.fail();
            }
        };
        let thread = std::thread::Builder::new().name("store-inspection".to_owned()).spawn(look)?;
        Ok(Self { stop, is_over, thread: Some(thread) })
    }
}

impl Drop for Inspection {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Release);
        self.stop.interrupt();
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the inspection of the store panicked");
        }
    }
}
