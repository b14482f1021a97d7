//! Responses that are streams: events and backups.

use std::io;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use zeroize::Zeroizing;

use crate::Error;
use crate::connection::Connection;
use crate::framing::{Head, Length};

/// Time limit without any data. The daemon sends at least a keep-alive comment every 15 s.
const SILENCE: Duration = Duration::from_secs(60);

/// The body of a streamed response, read piece by piece.
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
    /// Before the line with the size of the next chunk.
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

    /// Waits for the next piece; `None` at the end. A connection that ends before the last chunk is
    /// [`Error::BrokenOff`].
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

    /// Returns a handle that ends the stream from another thread.
    pub fn stopper(&self) -> io::Result<Stopper> {
        self.connection.handle().map(Stopper)
    }
}

/// Ends a stream when dropped, so that a waiting read returns at once.
pub struct Stopper(UnixStream);

impl Drop for Stopper {
    fn drop(&mut self) {
        // The stream may have ended already.
        let _ended = self.0.shutdown(Shutdown::Both);
    }
}
