//! The stream between the socket and the HTTP library: every byte read passes the framing, and every
//! wait has an end (HTTP-1).

use std::future::Future;
use std::io;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;
use tokio::sync::Notify;
use tokio::time::{Sleep, sleep};

use super::framing::{FramingPhase, Reject, StrictFraming};

/// From accept, or from the first byte of a later request, to the end of its header block.
const HEAD_TIME: Duration = Duration::from_secs(5);
/// From the header block to the end of the body.
const BODY_TIME: Duration = Duration::from_secs(10);
/// Between an answer and the next request. Short, because the buffers of an idle connection may
/// still hold secrets and are wiped when it closes (MEM-3).
const IDLE_TIME: Duration = Duration::from_secs(3);
/// The idle time that answers announce. Shorter than the real one by what an answer and the next request may take on their
/// way, so that whoever keeps to it never sends a request into a connection that is being closed.
pub const ANNOUNCED: Duration = Duration::from_secs(2);
/// For the peer to take the next part of an answer.
const WRITE_TIME: Duration = Duration::from_secs(10);

/// What the stream and the request handlers of one connection tell each other.
#[derive(Debug, Default)]
pub struct Signals {
    streaming: AtomicBool,
    answering: AtomicBool,
    begun: Notify,
    reject: Mutex<Option<Reject>>,
}

impl Signals {
    /// While the answer is a stream, silence from the peer is no sign of anything.
    pub fn start_streaming(self: &Arc<Self>) -> Streaming {
        self.streaming.store(true, Ordering::Relaxed);
        Streaming(Arc::clone(self))
    }

    /// A request of this connection is being worked on.
    pub fn start_answering(&self) {
        self.answering.store(true, Ordering::Relaxed);
        self.begun.notify_one();
    }

    /// It has its answer.
    pub fn end_answering(&self) {
        self.answering.store(false, Ordering::Relaxed);
    }

    /// Waits until the first request of this connection is being worked on, or was.
    pub async fn first_request(&self) {
        self.begun.notified().await;
    }

    /// Why the stream refused to read on, once.
    pub fn take_reject(&self) -> Option<Reject> {
        self.reject.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn reject(&self, reason: Reject) {
        *self.reject.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason);
    }

    /// Whether silence from the peer means nothing at the moment.
    fn is_busy(&self) -> bool {
        self.streaming.load(Ordering::Relaxed) || self.answering.load(Ordering::Relaxed)
    }
}

/// An answer that is a stream, until it is dropped: then the peer owes something again, and what is refused of it has to be
/// answered.
#[derive(Debug)]
pub struct Streaming(Arc<Signals>);

impl Drop for Streaming {
    fn drop(&mut self) {
        self.0.streaming.store(false, Ordering::Relaxed);
    }
}

/// What is being waited for from the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    Head,
    Body,
    /// The request is complete and being worked on; the peer owes nothing.
    Answer,
    Idle,
}

/// A guarded socket.
pub struct LimitedStream {
    inner: UnixStream,
    framing: StrictFraming,
    signals: Arc<Signals>,
    wait: Wait,
    read_timer: Pin<Box<Sleep>>,
    write_timer: Option<Pin<Box<Sleep>>>,
    refusal: Option<Refused>,
}

/// What comes of bytes that the sieve refused.
#[derive(Clone, Copy, Debug)]
enum Refused {
    /// They are reported.
    Now,
    /// An earlier request is still to be answered; they are reported as soon as it is.
    Later(Reject),
}

impl LimitedStream {
    /// Starts the clock of the first request.
    pub fn new(inner: UnixStream, signals: Arc<Signals>) -> Self {
        Self {
            inner,
            framing: StrictFraming::default(),
            signals,
            wait: Wait::Head,
            read_timer: Box::pin(sleep(HEAD_TIME)),
            write_timer: None,
            refusal: None,
        }
    }

    fn expect(&mut self, wait: Wait) {
        if self.wait == wait && wait != Wait::Idle {
            return;
        }
        self.wait = wait;
        let time = match wait {
            Wait::Head => HEAD_TIME,
            Wait::Body => BODY_TIME,
            Wait::Idle => IDLE_TIME,
            Wait::Answer => return,
        };
        self.read_timer = Box::pin(sleep(time));
    }

    /// Whether it is this side that owes something: an answer, or the next part of a stream.
    fn is_owing(&self) -> bool {
        match self.wait {
            Wait::Answer => true,
            Wait::Idle => self.signals.is_busy(),
            Wait::Head | Wait::Body => false,
        }
    }

    fn is_overdue(&mut self, cx: &mut Context<'_>) -> bool {
        if self.is_owing() {
            return false;
        }
        self.read_timer.as_mut().poll(cx).is_ready()
    }

    fn after_write(&mut self, cx: &mut Context<'_>) {
        self.write_timer = None;
        if matches!(self.refusal, Some(Refused::Later(_))) {
            // What was asked before the refused bytes may have its answer now; then they are reported.
            cx.waker().wake_by_ref();
        }
        if matches!(self.wait, Wait::Answer | Wait::Idle) {
            self.expect(Wait::Idle);
            // The library may not read again before something wakes it; the timer has to be able to.
            let _ = self.read_timer.as_mut().poll(cx);
        }
    }

    fn is_write_overdue(&mut self, cx: &mut Context<'_>) -> bool {
        let timer = self.write_timer.get_or_insert_with(|| Box::pin(sleep(WRITE_TIME)));
        timer.as_mut().poll(cx).is_ready()
    }

    /// Sees whether the bytes may pass; returns how many of them may.
    fn check(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Err(refusal) = self.framing.feed(bytes) {
            if refusal.good > 0 || self.is_owing() {
                self.refusal = Some(Refused::Later(refusal.reason));
                self.expect(Wait::Answer);
                return Ok(refusal.good);
            }
            return Err(self.refuse(refusal.reason));
        }
        match self.framing.phase() {
            FramingPhase::Between => self.expect(Wait::Answer),
            FramingPhase::Head => self.expect(Wait::Head),
            FramingPhase::Body => self.expect(Wait::Body),
        }
        Ok(bytes.len())
    }

    fn refuse(&mut self, reason: Reject) -> io::Error {
        self.refusal = Some(Refused::Now);
        self.signals.reject(reason);
        refused()
    }
}

/// The guarded socket in the hands of the HTTP library, and from afar in those of a request on it.
pub struct SharedStream(Arc<Mutex<LimitedStream>>);

/// A request's view of its line.
#[derive(Clone)]
pub struct DisconnectProbe(Weak<Mutex<LimitedStream>>);

impl SharedStream {
    /// Takes the socket.
    pub fn new(stream: LimitedStream) -> Self {
        Self(Arc::new(Mutex::new(stream)))
    }

    /// For the requests on it.
    pub fn probe(&self) -> DisconnectProbe {
        DisconnectProbe(Arc::downgrade(&self.0))
    }

    /// The socket itself, to say a last word on it.
    pub fn into_inner(self) -> Option<UnixStream> {
        Some(Arc::into_inner(self.0)?.into_inner().unwrap_or_else(PoisonError::into_inner).inner)
    }

    fn stream(&self) -> MutexGuard<'_, LimitedStream> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl DisconnectProbe {
    /// Whether the peer closed its end altogether. One that only sent all that it has to say still waits for its answer.
    pub fn has_disconnected(&self) -> bool {
        let Some(stream) = self.0.upgrade() else { return true };
        let stream = stream.lock().unwrap_or_else(PoisonError::into_inner);
        let mut line = [PollFd::from_borrowed_fd(stream.inner.as_fd(), PollFlags::empty())];
        let looked = poll(&mut line, Some(&Timespec::default()));
        looked.is_ok() && line.iter().any(|line| line.revents().intersects(PollFlags::HUP | PollFlags::ERR))
    }
}

impl AsyncRead for SharedStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream()).poll_read(cx, buf)
    }
}

impl AsyncWrite for SharedStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.stream()).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream()).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream()).poll_shutdown(cx)
    }
}

impl AsyncRead for LimitedStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let refusal = self.refusal;
        match refusal {
            None => {}
            Some(Refused::Now) => return Poll::Ready(Err(refused())),
            Some(Refused::Later(_)) if self.is_owing() || self.write_timer.is_some() => return Poll::Pending,
            // The library reads on only when it holds no whole request any more, and has written all that it had.
            Some(Refused::Later(reason)) => return Poll::Ready(Err(self.refuse(reason))),
        }
        let before = buf.filled().len();
        match Pin::new(&mut self.inner).poll_read(cx, buf) {
            Poll::Ready(Ok(())) => match self.check(buf.filled().get(before..).unwrap_or(&[])) {
                // Nothing of it may pass, and an empty read would mean the end.
                Ok(0) if self.refusal.is_some() => {
                    buf.set_filled(before);
                    Poll::Pending
                }
                Ok(good) => {
                    buf.set_filled(before.saturating_add(good));
                    Poll::Ready(Ok(()))
                }
                Err(error) => {
                    buf.set_filled(before);
                    Poll::Ready(Err(error))
                }
            },
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending if self.is_overdue(cx) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncWrite for LimitedStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.inner).poll_write(cx, bytes) {
            Poll::Ready(result) => {
                self.after_write(cx);
                Poll::Ready(result)
            }
            Poll::Pending if self.is_write_overdue(cx) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

fn refused() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "refused by the sieve")
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const GOOD: &[u8] = b"GET /health/live HTTP/1.1\r\nHost: mfad\r\n\r\n";

    #[test]
    fn the_announced_time_is_shorter_than_the_real_one_by_a_second_at_least() {
        assert!(ANNOUNCED.saturating_add(Duration::from_secs(1)) <= IDLE_TIME);
        assert!(ANNOUNCED > Duration::from_secs(1), "clients subtract a margin of their own");
    }

    #[tokio::test]
    async fn bytes_that_are_refused_behind_a_request_are_reported_as_soon_as_that_has_its_answer() {
        for bad in ["GET / HTTP/1.0\r\n", "GET / HTTP/1.1\n", "nonsense\r\n", "POST / HTTP/1.1\r\nA : b\r\n"] {
            let (ours, mut theirs) = UnixStream::pair().unwrap();
            let signals = Arc::new(Signals::default());
            let mut stream = LimitedStream::new(ours, Arc::clone(&signals));
            let mut read = [0; 256];
            theirs.write_all(&[GOOD, bad.as_bytes()].concat()).await.unwrap();

            assert_eq!(stream.read(&mut read).await.unwrap(), GOOD.len(), "{bad:?}");
            signals.start_answering();
            let early = std::future::poll_fn(|cx| Poll::Ready(read_once(&mut stream, cx).is_pending())).await;
            signals.end_answering();
            stream.write_all(b"an answer").await.unwrap();
            let late = std::future::poll_fn(|cx| Poll::Ready(read_once(&mut stream, cx))).await;

            assert!(early, "an answer is owed: {bad:?}");
            assert!(matches!(late, Poll::Ready(Err(_))), "{bad:?}: {late:?}");
            assert!(signals.take_reject().is_some(), "{bad:?}");
        }
    }

    fn read_once(stream: &mut LimitedStream, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut room = [0; 64];
        Pin::new(stream).poll_read(cx, &mut ReadBuf::new(&mut room))
    }
}
