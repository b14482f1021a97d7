//! A reader behind vsmartcard's driver vpcd, and so behind a real pcscd. Implements the card's side of vpcd's protocol:
//! messages over TCP, each with its length in two bytes. A key that is pulled closes the connection; a key that is
//! inserted opens one.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::slot::{Reader, Watcher};

/// The answer to reset of a YubiKey 5 over USB.
pub(super) const ATR: [u8; 23] = [
    0x3B, 0xFD, 0x13, 0x00, 0x00, 0x81, 0x31, 0xFE, 0x15, 0x80, 0x73, 0xC0, 0x21, 0xC0, 0x57, 0x59, 0x75, 0x62, 0x69,
    0x4B, 0x65, 0x79, 0x40,
];

const POWER_OFF: u8 = 0x00;
const POWER_ON: u8 = 0x01;
const RESET: u8 = 0x02;
const TELL_ATR: u8 = 0x04;

/// Minimum time between two keys. pcscd polls the card about twice a second, and would miss a shorter absence.
const AWAY: Duration = Duration::from_secs(1);
/// Pause between two attempts to connect to the driver.
const PAUSE: Duration = Duration::from_millis(50);
/// Time limit of the attempts to connect, after an insertion or after the driver has closed the connection.
const PATIENCE: Duration = Duration::from_secs(20);

/// The connection of a reader to its driver. Dropping it unplugs the reader.
pub struct Attached {
    line: Arc<Line>,
    /// Keeps the watcher alive, since the reader holds only a weak reference to it.
    _watcher: Arc<Watcher>,
}

/// Connects the reader to the driver that listens on that port, for each key that is inserted. If `namespace` names a
/// network namespace by its file in `/proc`, only the connecting thread enters it.
pub fn attach(reader: Reader, port: u16, namespace: Option<PathBuf>) -> Attached {
    let line = Arc::new(Line { reader, state: Mutex::default(), changed: Condvar::new() });
    let watched = Arc::clone(&line);
    let watcher: Arc<Watcher> = Arc::new(move || watched.look());
    line.reader.watch(&watcher);
    let (entered, outcome) = sync_channel(1);
    let served = Arc::clone(&line);
    let serve = move || {
        let entry = namespace.as_deref().map_or(Ok(()), enter);
        let is_inside = entry.is_ok();
        drop(entered.send(entry));
        if is_inside {
            served.serve(port);
        }
    };
    std::thread::Builder::new().name("virtual-reader".to_owned()).spawn(serve).expect("no thread for the reader");
    if let Err(cause) = outcome.recv().expect("the reader's thread is gone") {
        panic!("the network of pcscd cannot be entered: {cause} (this needs root, of a user namespace at least)");
    }
    Attached { line, _watcher: watcher }
}

impl Attached {
    /// Whether a key is connected to the driver now.
    pub fn is_connected(&self) -> bool {
        self.line.state().connection.is_some()
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        self.line.state().is_over = true;
        self.line.look();
    }
}

/// Enters a network namespace. If this thread is in it already, no rights are needed.
fn enter(namespace: &Path) -> std::io::Result<()> {
    let there = File::open(namespace)?;
    let here = File::open("/proc/thread-self/ns/net")?;
    if rustix::fs::fstat(&there)?.st_ino == rustix::fs::fstat(&here)?.st_ino {
        return Ok(());
    }
    move_into_link_name_space(there.as_fd(), Some(LinkNameSpaceType::Network))?;
    Ok(())
}

/// State that the serving thread shares with the threads that end the connection.
struct Line {
    reader: Reader,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    is_over: bool,
    /// The insertion that is connected, and its connection.
    connection: Option<(u64, TcpStream)>,
}

impl Line {
    /// Closes the connection if its key was pulled, and wakes the serving thread.
    fn look(&self) {
        let state = self.state();
        let inserted = self.reader.insertion();
        if let Some((insertion, stream)) = &state.connection
            && (state.is_over || inserted != Some(*insertion))
        {
            // The driver may have closed the connection already.
            drop(stream.shutdown(Shutdown::Both));
        }
        self.changed.notify_all();
    }

    fn serve(&self, port: u16) {
        let mut hung_up: Option<(u64, Instant)> = None;
        while let Some(insertion) = self.await_key() {
            // Only another insertion needs the pause. The same key reconnects at once.
            if let Some(since) = hung_up.filter(|(before, _)| *before != insertion).map(|(_, since)| since) {
                self.rest(AWAY.saturating_sub(since.elapsed()), insertion);
            }
            match self.call(port, insertion) {
                Some(stream) => {
                    converse(&self.reader, insertion, stream);
                    self.state().connection = None;
                    hung_up = Some((insertion, Instant::now()));
                }
                None => self.rest(PATIENCE, insertion),
            }
        }
    }

    /// Waits for a key in the reader; `None` once the reader is unplugged.
    fn await_key(&self) -> Option<u64> {
        let mut state = self.state();
        while !state.is_over {
            if let Some(insertion) = self.reader.insertion() {
                return Some(insertion);
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        None
    }

    /// Connects to the driver. Tries again until it accepts, the key is pulled, or the time limit ends.
    fn call(&self, port: u16, insertion: u64) -> Option<TcpStream> {
        let started = Instant::now();
        while self.wants(insertion) && started.elapsed() < PATIENCE {
            match TcpStream::connect((Ipv4Addr::LOCALHOST, port)) {
                Ok(stream) => return self.connected(insertion, stream),
                Err(_) => self.rest(PAUSE, insertion),
            }
        }
        None
    }

    fn connected(&self, insertion: u64, stream: TcpStream) -> Option<TcpStream> {
        stream.set_nodelay(true).ok()?;
        let handle = stream.try_clone().ok()?;
        self.state().connection = Some((insertion, handle));
        // If the key was pulled in the meantime, `look` found no connection to close.
        self.look();
        Some(stream)
    }

    /// Waits for `time`, or until the state changes.
    fn rest(&self, time: Duration, insertion: u64) {
        let is_same = |state: &mut State| !state.is_over && self.reader.insertion() == Some(insertion);
        drop(self.changed.wait_timeout_while(self.state(), time, is_same));
    }

    fn wants(&self, insertion: u64) -> bool {
        !self.state().is_over && self.reader.insertion() == Some(insertion)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Answers the driver until either side closes the connection.
fn converse(reader: &Reader, insertion: u64, mut stream: TcpStream) {
    while let Ok(message) = receive(&mut stream) {
        let answer = match message.as_slice() {
            [POWER_OFF | POWER_ON | RESET] => {
                reader.power_cycle();
                continue;
            }
            [TELL_ATR] => Ok(ATR.to_vec()),
            apdu => reader.transmit_during(insertion, apdu),
        };
        let Ok(answer) = answer else { return };
        if send(&mut stream, &answer).is_err() {
            return;
        }
    }
}

fn receive(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    // Without it the driver would wait 40 ms for the acknowledgement before it sends the rest (RFC 896).
    rustix::net::sockopt::set_tcp_quickack(&*stream, true)?;
    let mut message = vec![0; u16::from_be_bytes(length).into()];
    stream.read_exact(&mut message)?;
    Ok(message)
}

fn send(stream: &mut TcpStream, message: &[u8]) -> std::io::Result<()> {
    let length = u16::try_from(message.len()).expect("no answer is so long");
    stream.write_all(&[&length.to_be_bytes()[..], message].concat())
}
