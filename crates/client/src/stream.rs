//! Answers that are streams: events and backups.

use std::io;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use zeroize::Zeroizing;

use crate::Error;
use crate::connection::Connection;
use crate::framing::{Head, Length};

/// How long a stream may be silent: the daemon sends something every 15 s.
const SILENCE: Duration = Duration::from_secs(60);

/// The body of an answer, piece by piece.
pub struct Stream {
    connection: Connection,
    state: State,
}

enum State {
    /// Inside a body of a known length, or inside a chunk.
    Inside {
        left: u64,
        is_chunk: bool,
    },
    /// Before the size of a chunk.
    Between,
    Ended,
}

impl Stream {
    pub(crate) fn new(connection: Connection, head: &Head) -> Self {
        let state = match head.length {
            Length::Known(0) => State::Ended,
            Length::Known(left) => State::Inside { left, is_chunk: false },
            Length::Chunked => State::Between,
        };
        Self { connection, state }
    }

    /// The next piece; none at the end. An end before the last chunk is [`Error::BrokenOff`].
    pub fn next_piece(&mut self) -> Result<Option<Zeroizing<Vec<u8>>>, Error> {
        self.connection.begin(SILENCE);
        loop {
            match self.state {
                State::Ended => return Ok(None),
                State::Between => {
                    self.state = match self.connection.read_chunk_size()? {
                        0 => State::Ended,
                        left => State::Inside { left, is_chunk: true },
                    };
                }
                State::Inside { left, is_chunk } => {
                    let piece = self.connection.take(left)?;
                    let left = left.saturating_sub(u64::try_from(piece.len()).unwrap_or(u64::MAX));
                    self.state = match (left, is_chunk) {
                        (0, true) => {
                            self.connection.read_line()?;
                            State::Between
                        }
                        (0, false) => State::Ended,
                        (left, is_chunk) => State::Inside { left, is_chunk },
                    };
                    return Ok(Some(piece));
                }
            }
        }
    }

    /// A handle that ends the stream from another thread.
    pub fn stopper(&self) -> io::Result<Stopper> {
        self.connection.handle().map(Stopper)
    }
}

/// Ends a stream when dropped: a read that waits returns at once.
pub struct Stopper(UnixStream);

impl Drop for Stopper {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ended = self.0.shutdown(Shutdown::Both);
    }
}
