//! One thread for each card in use. A card, a reader or another program can block a PC/SC call without limit. So
//! callers wait on a channel and can give up (HW-7).

use std::ffi::CString;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use pcsc::{Attribute, Disposition, Error, Protocols, ShareMode, Transaction};

use mfad_core::model::Sensitive;

use super::connection::{context, fault_of};
use super::holder::likely_holders;
use super::usb::device_of;
use super::{Card, DeviceFault, ReaderFacts};

/// Number of requests that may wait for one card.
const QUEUE: usize = 8;
/// The first pause after a sharing violation. Each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// The longest pause. After it the card counts as busy.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// Size of the response buffer in bytes. 256 bytes of data are usual; some applets answer a short command with more.
const ANSWER_ROOM: usize = 4096 + 2;

type Answer = Result<Sensitive<Vec<u8>>, DeviceFault>;

struct Command {
    bytes: Sensitive<Vec<u8>>,
    answer: SyncSender<Answer>,
}

/// A request to use the card exclusively for a while.
struct Visit {
    admitted: SyncSender<Result<ReaderFacts, DeviceFault>>,
    commands: Receiver<Command>,
}

/// What callers have to know about the thread of a card.
#[derive(Default)]
struct Progress {
    /// A caller gave up on a command that has not returned yet.
    is_stuck: AtomicBool,
    /// The thread holds the card for a caller.
    is_visiting: AtomicBool,
}

/// A handle to the thread of one card.
pub(super) struct Reader {
    visits: SyncSender<Visit>,
    progress: Arc<Progress>,
}

impl Reader {
    /// Starts the thread. It ends after the last handle is dropped and the card has returned from its last call.
    pub(super) fn start(name: &str) -> Result<Self, DeviceFault> {
        let name = CString::new(name).map_err(|_| DeviceFault::Removed)?;
        let (visits, queue) = sync_channel(QUEUE);
        let progress = Arc::new(Progress::default());
        let shared = Arc::clone(&progress);
        std::thread::Builder::new()
            .name("device-reader".to_owned())
            .spawn(move || serve(&name, &queue, &shared))
            .map_err(|cause| DeviceFault::Failed(cause.to_string()))?;
        Ok(Self { visits, progress })
    }

    /// Waits for the card. Fails at once if an earlier command to the card has not returned yet.
    pub(super) fn open(&self, patience: Duration) -> Result<Box<dyn Card>, DeviceFault> {
        if self.progress.is_stuck.load(Ordering::Acquire) {
            return Err(DeviceFault::Hung);
        }
        // With room for the message, so that the thread never waits for a caller that gave up.
        let (admitted, verdict) = sync_channel(1);
        // With room for one command, so that handing it over never waits for a card that hangs.
        let (commands, queue) = sync_channel(1);
        // Does not wait for a place: a full queue means that the card is busy.
        self.visits.try_send(Visit { admitted, commands: queue }).map_err(|error| match error {
            TrySendError::Full(_) => DeviceFault::Busy { holder: None },
            TrySendError::Disconnected(_) => DeviceFault::Removed,
        })?;
        match verdict.recv_timeout(patience) {
            Ok(Ok(facts)) => Ok(Box::new(Session { commands, progress: Arc::clone(&self.progress), facts })),
            Ok(Err(DeviceFault::Busy { .. })) => Err(DeviceFault::Busy { holder: likely_holders() }),
            Ok(Err(fault)) => Err(fault),
            // The daemon itself holds the card, so no other program is to blame.
            Err(RecvTimeoutError::Timeout) if self.progress.is_visiting.load(Ordering::Acquire) => {
                Err(DeviceFault::Busy { holder: None })
            }
            Err(RecvTimeoutError::Timeout) => Err(DeviceFault::Busy { holder: likely_holders() }),
            Err(RecvTimeoutError::Disconnected) => Err(DeviceFault::Removed),
        }
    }
}

/// The exclusive use of a card, until it is dropped.
struct Session {
    commands: SyncSender<Command>,
    progress: Arc<Progress>,
    facts: ReaderFacts,
}

impl Card for Session {
    fn reader(&self) -> &ReaderFacts {
        &self.facts
    }

    fn transmit(&mut self, command: &Sensitive<Vec<u8>>, patience: Duration) -> Answer {
        // A command that waited behind one that hangs would be carried out after its caller gave up.
        if self.progress.is_stuck.load(Ordering::Acquire) {
            return Err(DeviceFault::Hung);
        }
        let (answer, given) = sync_channel(1);
        // A copy, since the thread may still send it after the caller gave up.
        let bytes = Sensitive::new(command.expose().clone());
        self.commands.try_send(Command { bytes, answer }).map_err(|error| match error {
            TrySendError::Full(_) => DeviceFault::Hung,
            TrySendError::Disconnected(_) => DeviceFault::Removed,
        })?;
        given.recv_timeout(patience).unwrap_or_else(|error| match error {
            RecvTimeoutError::Timeout => {
                // Later requests fail at once instead of waiting behind this call.
                self.progress.is_stuck.store(true, Ordering::Release);
                Err(DeviceFault::Hung)
            }
            RecvTimeoutError::Disconnected => Err(DeviceFault::Removed),
        })
    }
}

fn serve(name: &CString, visits: &Receiver<Visit>, progress: &Progress) {
    while let Ok(visit) = visits.recv() {
        receive(name, &visit, progress);
        progress.is_visiting.store(false, Ordering::Release);
        // The card has come back, however long it took.
        progress.is_stuck.store(false, Ordering::Release);
    }
}

/// Serves one request: connects, begins a transaction, carries commands and ends it. The card is not reset, because a
/// reset would also lock what other programs have unlocked.
fn receive(name: &CString, visit: &Visit, progress: &Progress) {
    let mut card = match connect(name) {
        Ok(card) => card,
        Err(fault) => return drop(visit.admitted.send(Err(fault))),
    };
    let facts = facts_of(name, &card);
    match begin(&mut card) {
        Ok(transaction) => {
            progress.is_visiting.store(true, Ordering::Release);
            // A caller that gave up is gone by now and sends no command.
            if visit.admitted.send(Ok(facts)).is_ok() {
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

/// Asks pcscd and the kernel about the reader. What they do not know is left out.
fn facts_of(name: &CString, card: &pcsc::Card) -> ReaderFacts {
    let attribute = |attribute| card.get_attribute_owned(attribute).ok();
    ReaderFacts {
        name: name.to_string_lossy().into_owned(),
        usb: attribute(Attribute::ChannelId).as_deref().and_then(device_of),
        atr: attribute(Attribute::AtrString).unwrap_or_default(),
    }
}

fn connect(name: &CString) -> Result<pcsc::Card, DeviceFault> {
    let context = context()?;
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
