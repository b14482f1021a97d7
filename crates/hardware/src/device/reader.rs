//! One thread for each card in use. A card, a reader or another program can block a PC/SC call without limit. So
//! callers wait on a channel and can give up (HW-7).

use std::ffi::CString;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use pcsc::{Context, Disposition, Error, Protocols, Scope, ShareMode, Transaction};

use mfad_core::model::Sensitive;

use super::holder::likely_holder;
use super::watch::fault_of;
use super::{Card, DeviceFault};

/// Number of requests that may wait for one card.
const QUEUE: usize = 8;
/// The first pause after a sharing violation. Each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// The longest pause. After it the card counts as busy.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// Size of the response buffer in bytes: 256 bytes of data and the status word, and more for unusual readers.
const ANSWER_ROOM: usize = 1024;

type Answer = Result<Sensitive<Vec<u8>>, DeviceFault>;

struct Command {
    bytes: Sensitive<Vec<u8>>,
    answer: SyncSender<Answer>,
}

/// A request to use the card exclusively for a while.
struct Visit {
    admitted: SyncSender<Result<(), DeviceFault>>,
    commands: Receiver<Command>,
}

/// A handle to the thread of one card.
pub(super) struct Reader {
    visits: SyncSender<Visit>,
    stuck: Arc<AtomicBool>,
}

impl Reader {
    /// Starts the thread. It ends after the last handle is dropped and the card has returned from its last call.
    pub(super) fn start(name: &str) -> Result<Self, DeviceFault> {
        let name = CString::new(name).map_err(|_| DeviceFault::Removed)?;
        let (visits, queue) = sync_channel(QUEUE);
        let stuck = Arc::new(AtomicBool::new(false));
        let is_stuck = Arc::clone(&stuck);
        std::thread::Builder::new()
            .name("device-reader".to_owned())
            .spawn(move || serve(&name, &queue, &is_stuck))
            .map_err(|cause| DeviceFault::Failed(cause.to_string()))?;
        Ok(Self { visits, stuck })
    }

    /// Waits for the card. Fails at once if an earlier command to the card has not returned yet.
    pub(super) fn open(&self, patience: Duration) -> Result<Box<dyn Card>, DeviceFault> {
        if self.stuck.load(Ordering::Acquire) {
            return Err(DeviceFault::Hung);
        }
        // With room for the message, so that the thread never waits for a caller that gave up.
        let (admitted, verdict) = sync_channel(1);
        let (commands, queue) = sync_channel(0);
        // Does not wait for a place: a full queue means that the card is busy.
        self.visits.try_send(Visit { admitted, commands: queue }).map_err(|error| match error {
            TrySendError::Full(_) => DeviceFault::Busy { holder: None },
            TrySendError::Disconnected(_) => DeviceFault::Removed,
        })?;
        match verdict.recv_timeout(patience) {
            Ok(Ok(())) => Ok(Box::new(Session { commands, stuck: Arc::clone(&self.stuck) })),
            Ok(Err(fault)) => Err(named(fault)),
            Err(RecvTimeoutError::Timeout) => Err(named(DeviceFault::Busy { holder: None })),
            Err(RecvTimeoutError::Disconnected) => Err(DeviceFault::Removed),
        }
    }
}

/// Adds the program that probably holds the card.
fn named(fault: DeviceFault) -> DeviceFault {
    match fault {
        DeviceFault::Busy { holder: None } => DeviceFault::Busy { holder: likely_holder() },
        other => other,
    }
}

/// The exclusive use of a card, until it is dropped.
struct Session {
    commands: SyncSender<Command>,
    stuck: Arc<AtomicBool>,
}

impl Card for Session {
    fn transmit(&mut self, command: &Sensitive<Vec<u8>>, patience: Duration) -> Answer {
        let (answer, given) = sync_channel(1);
        // A copy, since the thread may still send it after the caller gave up.
        let bytes = Sensitive::new(command.expose().clone());
        self.commands.send(Command { bytes, answer }).map_err(|_| DeviceFault::Removed)?;
        given.recv_timeout(patience).unwrap_or_else(|error| match error {
            RecvTimeoutError::Timeout => {
                // Later requests fail at once instead of waiting behind this call.
                self.stuck.store(true, Ordering::Release);
                Err(DeviceFault::Hung)
            }
            RecvTimeoutError::Disconnected => Err(DeviceFault::Removed),
        })
    }
}

fn serve(name: &CString, visits: &Receiver<Visit>, stuck: &AtomicBool) {
    while let Ok(visit) = visits.recv() {
        receive(name, &visit);
        // The card has come back, however long it took.
        stuck.store(false, Ordering::Release);
    }
}

/// Serves one request: connects, begins a transaction, carries commands and ends it. The card is not reset, because a
/// reset would also lock what other programs have unlocked.
fn receive(name: &CString, visit: &Visit) {
    let mut card = match connect(name) {
        Ok(card) => card,
        Err(fault) => return drop(visit.admitted.send(Err(fault))),
    };
    match begin(&mut card) {
        Ok(transaction) => {
            // A caller that gave up is gone by now and sends no command.
            if visit.admitted.send(Ok(())).is_ok() {
                carry(&transaction, &visit.commands);
            }
            if let Err((left, _)) = transaction.end(Disposition::LeaveCard) {
                drop(left);
            }
        }
        Err(fault) => drop(visit.admitted.send(Err(fault))),
    }
    // Dropping the card instead would reset it.
    if let Err((card, _)) = card.disconnect(Disposition::LeaveCard) {
        std::mem::forget(card);
    }
}

fn carry(transaction: &Transaction<'_>, commands: &Receiver<Command>) {
    while let Ok(command) = commands.recv() {
        let answer = exchange(transaction, &command.bytes);
        // The caller may have given up. The response is then wiped as it is dropped.
        drop(command.answer.send(answer));
    }
}

fn exchange(transaction: &Transaction<'_>, command: &Sensitive<Vec<u8>>) -> Answer {
    let mut room = zeroize::Zeroizing::new(vec![0u8; ANSWER_ROOM]);
    let answer = transaction.transmit(command.expose(), &mut room).map_err(fault_of)?;
    // A card that is pulled during an exchange may return nothing, and no error either.
    if answer.len() < 2 {
        return Err(DeviceFault::Removed);
    }
    Ok(Sensitive::new(answer.to_vec()))
}

fn connect(name: &CString) -> Result<pcsc::Card, DeviceFault> {
    let context = Context::establish(Scope::System).map_err(fault_of)?;
    let mut pause = FIRST_PAUSE;
    loop {
        // Shared, since the transaction keeps other programs out. An exclusive connection would fail while any of them
        // is connected.
        match context.connect(name, ShareMode::Shared, Protocols::ANY) {
            Ok(card) => return Ok(card),
            Err(Error::SharingViolation | Error::ServerTooBusy) if pause <= LONGEST_PAUSE => {
                std::thread::sleep(pause);
                pause = pause.saturating_mul(2);
            }
            Err(error) => return Err(fault_of(error)),
        }
    }
}

/// Begins a transaction. If another program has reset the card since it was connected to, reconnects once.
fn begin(card: &mut pcsc::Card) -> Result<Transaction<'_>, DeviceFault> {
    let card = match card.transaction2() {
        Ok(transaction) => return Ok(transaction),
        Err((card, Error::ResetCard)) => card,
        Err((_, error)) => return Err(fault_of(error)),
    };
    card.reconnect(ShareMode::Shared, Protocols::ANY, Disposition::LeaveCard).map_err(fault_of)?;
    card.transaction().map_err(fault_of)
}
