//! One connection: writes requests and reads responses. Every wait ends with the time limit of its exchange.

use std::io::{self, ErrorKind, IoSlice, Read};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use socket2::{Domain, SockAddr, SockRef, Socket, Type};
use zeroize::Zeroizing;

use crate::framing::{Head, LONGEST_HEAD, LONGEST_SIZE_LINE, Length, chunk_size, parse_head, unexpected};
use crate::{Error, Request};

/// Time for which the daemon promises to keep an idle connection (`Keep-Alive: timeout=2`).
const IDLE_TIME: Duration = Duration::from_secs(2);
/// Longest accepted response body, in bytes.
const LONGEST_BODY: u64 = 8 * 1024 * 1024;
/// Maximum number of bytes per read.
const PIECE: usize = 16 * 1024;

/// A connection to the daemon.
pub(crate) struct Connection {
    socket: UnixStream,
    deadline: Option<Instant>,
    rests_since: Option<Instant>,
    /// Bytes that were received and not consumed yet. It has its full capacity from the start: a vector that grows
    /// would leave copies of secrets in freed memory.
    buffer: Zeroizing<Vec<u8>>,
}

#[expect(
    clippy::disallowed_methods,
    reason = "a client measures its own patience; it decides nothing by the time of day"
)]
fn now() -> Instant {
    Instant::now()
}

/// The time limit of a Unix socket's connect is its write timeout (`unix(7)`), which the standard library cannot set
/// beforehand.
fn connect(path: &Path, time: Duration) -> io::Result<UnixStream> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_write_timeout(Some(time))?;
    let address = SockAddr::unix(path)?;
    while let Err(cause) = socket.connect(&address) {
        match cause.kind() {
            // A signal of the program came first.
            ErrorKind::Interrupted => {}
            ErrorKind::WouldBlock => {
                return Err(io::Error::new(ErrorKind::TimedOut, "the daemon does not accept connections"));
            }
            _ => return Err(cause),
        }
    }
    Ok(UnixStream::from(above_standard(OwnedFd::from(socket))?))
}

/// Moves a descriptor away from those of standard input, output and error, if a program has closed these. What it or a
/// library writes there must not reach the daemon.
fn above_standard(socket: OwnedFd) -> io::Result<OwnedFd> {
    if socket.as_raw_fd() > libc::STDERR_FILENO {
        return Ok(socket);
    }
    // The copies in between stay open until one is above.
    let copy = socket.try_clone()?;
    above_standard(copy)
}

impl Connection {
    /// Starts the time limit of an exchange and connects for it. It waits at most `connect_time` for a daemon that
    /// accepts no connections.
    pub(crate) fn open(path: &Path, connect_time: Duration, time: Duration) -> Result<Self, Error> {
        if time.is_zero() {
            return Err(Error::TimedOut);
        }
        let deadline = now().checked_add(time);
        let socket = connect(path, connect_time.min(time))
            .map_err(|cause| Error::Unreachable { socket: path.to_owned(), cause })?;
        let buffer = Zeroizing::new(Vec::with_capacity(PIECE.saturating_add(LONGEST_HEAD)));
        Ok(Self { socket, deadline, rests_since: None, buffer })
    }

    /// Whether another exchange may use the connection. Only within the time for which the daemon promises to keep it,
    /// so that no request is sent into a connection that is being closed.
    pub(crate) fn is_reusable(&self) -> bool {
        let is_recent = self.rests_since.is_some_and(|since| now().duration_since(since) < IDLE_TIME);
        is_recent && self.buffer.is_empty() && self.is_quiet()
    }

    /// Whether nothing was received since the last response, not even the end of the stream.
    fn is_quiet(&self) -> bool {
        let mut byte = [0];
        let looked = self.socket.set_nonblocking(true).and_then(|()| (&self.socket).read(&mut byte));
        let is_quiet = matches!(looked, Err(error) if error.kind() == ErrorKind::WouldBlock);
        self.socket.set_nonblocking(false).is_ok() && is_quiet
    }

    /// Starts the time limit of another exchange.
    pub(crate) fn begin(&mut self, time: Duration) {
        self.deadline = now().checked_add(time);
        self.rests_since = None;
    }

    /// Marks the exchange as complete. The connection stays open, and its idle time starts.
    pub(crate) fn rest(&mut self) {
        self.rests_since = Some(now());
    }

    /// Returns the time left for this exchange; [`Error::TimedOut`] if it is over.
    fn left(&self) -> Result<Option<Duration>, Error> {
        let Some(deadline) = self.deadline else { return Ok(None) };
        match deadline.checked_duration_since(now()) {
            Some(left) if !left.is_zero() => Ok(Some(left)),
            Some(_) | None => Err(Error::TimedOut),
        }
    }

    pub(crate) fn write(&mut self, request: &Request<'_>) -> Result<(), Error> {
        let head = request.head()?;
        let body: &[u8] = request.body.as_ref().map_or(&[], |body| body);
        // In one call: a head that comes alone wakes the daemon for nothing.
        let mut parts = [IoSlice::new(&head), IoSlice::new(body)];
        self.write_all(&mut parts)
    }

    fn write_all(&mut self, mut parts: &mut [IoSlice<'_>]) -> Result<(), Error> {
        while !parts.is_empty() {
            self.socket.set_write_timeout(self.left()?)?;
            // Without the flag, a daemon that has closed the connection would end a program that does not ignore SIGPIPE.
            match SockRef::from(&self.socket).send_vectored_with_flags(parts, libc::MSG_NOSIGNAL) {
                Ok(0) => return Err(Error::BrokenOff(ErrorKind::WriteZero.into())),
                Ok(written) => IoSlice::advance_slices(&mut parts, written),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // The daemon may have refused the request and closed before it read everything. Its response says why.
                Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Reads more bytes into the buffer; `false` at the end of the stream.
    pub(crate) fn fill(&mut self) -> Result<bool, Error> {
        let mut piece = Zeroizing::new([0; PIECE]);
        loop {
            self.socket.set_read_timeout(self.left()?)?;
            match self.socket.read(&mut *piece) {
                Ok(0) => return Ok(false),
                Ok(read) => {
                    self.buffer.extend_from_slice(piece.get(..read).unwrap_or_default());
                    return Ok(true);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn fill_or_break_off(&mut self) -> Result<(), Error> {
        if self.fill()? { Ok(()) } else { Err(Error::BrokenOff(ErrorKind::UnexpectedEof.into())) }
    }

    pub(crate) fn read_head(&mut self) -> Result<Head, Error> {
        loop {
            if let Some((head, size)) = parse_head(&self.buffer)? {
                self.buffer.drain(..size);
                return Ok(head);
            }
            self.fill_or_break_off()?;
        }
    }

    pub(crate) fn read_body(&mut self, head: &Head) -> Result<Zeroizing<Vec<u8>>, Error> {
        let mut body = Zeroizing::new(Vec::new());
        match head.length {
            Length::Known(length) => self.take_into(&mut body, length)?,
            Length::Chunked => loop {
                let size = self.read_chunk_size()?;
                if size == 0 {
                    self.read_line()?;
                    break;
                }
                self.take_into(&mut body, size)?;
                self.read_line()?;
            },
        }
        Ok(body)
    }

    /// Reads the size of the next chunk.
    pub(crate) fn read_chunk_size(&mut self) -> Result<u64, Error> {
        chunk_size(&self.read_line()?)
    }

    /// Reads the next line and returns it without its line ending.
    pub(crate) fn read_line(&mut self) -> Result<Vec<u8>, Error> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\r\n") {
                let line = self.buffer.get(..end).unwrap_or_default().to_vec();
                self.buffer.drain(..end.saturating_add(2));
                return Ok(line);
            }
            if self.buffer.len() > LONGEST_SIZE_LINE {
                return Err(unexpected("a chunk without the end of its line"));
            }
            self.fill_or_break_off()?;
        }
    }

    /// Takes at least one and at most `most` bytes of a body.
    pub(crate) fn take(&mut self, most: u64) -> Result<Zeroizing<Vec<u8>>, Error> {
        if self.buffer.is_empty() {
            self.fill_or_break_off()?;
        }
        let most = usize::try_from(most).unwrap_or(usize::MAX).min(self.buffer.len());
        Ok(Zeroizing::new(self.buffer.drain(..most).collect()))
    }

    fn take_into(&mut self, body: &mut Zeroizing<Vec<u8>>, length: u64) -> Result<(), Error> {
        let so_far = u64::try_from(body.len()).unwrap_or(u64::MAX);
        if so_far.saturating_add(length) > LONGEST_BODY {
            return Err(unexpected("an answer that is too long"));
        }
        let mut left = length;
        // Reserved at once: a vector that grows would leave copies of secrets in freed memory.
        body.reserve_exact(usize::try_from(length).unwrap_or(0));
        while left > 0 {
            let piece = self.take(left)?;
            left = left.saturating_sub(u64::try_from(piece.len()).unwrap_or(u64::MAX));
            body.extend_from_slice(&piece);
        }
        Ok(())
    }

    /// Returns another handle to the socket, to end a waiting read from another thread.
    pub(crate) fn handle(&self) -> io::Result<UnixStream> {
        self.socket.try_clone()
    }
}
