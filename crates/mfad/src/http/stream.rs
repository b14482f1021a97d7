//! The stream between the socket and the HTTP library: every byte read passes the framing check, and every wait has a
//! time limit (HTTP-1). It knows no routes and no responses.

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

/// Time limit for a header block: from accept, or from the first byte of a later request, to its end.
const HEAD_TIME: Duration = Duration::from_secs(5);
/// Time limit for a body, from the end of the header block.
const BODY_TIME: Duration = Duration::from_secs(10);
/// Time limit between a response and the next request. It is short, because the buffers of an idle connection may still
/// hold secrets, and are wiped when the connection closes (MEM-3).
const IDLE_TIME: Duration = Duration::from_secs(3);
/// Idle time that responses announce in `Keep-Alive`. It is shorter than the real limit by the time that a response and
/// the next request may be in transit. So a client that respects it never sends a request into a connection that is
/// being closed.
pub(super) const ANNOUNCED: Duration = Duration::from_secs(2);
/// Time limit for the peer to accept the next part of a response.
const WRITE_TIME: Duration = Duration::from_secs(10);

/// State that the stream and the request handlers of one connection share.
#[derive(Debug, Default)]
pub(super) struct Signals {
    streaming: AtomicBool,
    answering: AtomicBool,
    begun: Notify,
    reject: Mutex<Option<Reject>>,
}

impl Signals {
    /// Marks that the response is an event stream or a download, until the result is dropped. A client that only
    /// listens is not idle.
    pub(super) fn start_streaming(self: &Arc<Self>) -> Streaming {
        self.streaming.store(true, Ordering::Relaxed);
        Streaming(Arc::clone(self))
    }

    /// Marks that a request of this connection is being processed.
    pub(super) fn start_answering(&self) {
        self.answering.store(true, Ordering::Relaxed);
        self.begun.notify_one();
    }

    /// Marks that the request has its response, which is then written.
    pub(super) fn end_answering(&self) {
        self.answering.store(false, Ordering::Relaxed);
    }

    /// Waits until processing of the first request of this connection has begun.
    pub(super) async fn first_request(&self) {
        self.begun.notified().await;
    }

    /// Takes the reason for which the framing check refused the connection. Later calls return `None`, so that the
    /// refusal gets one response.
    pub(super) fn take_reject(&self) -> Option<Reject> {
        self.reject.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn reject(&self, reason: Reject) {
        *self.reject.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason);
    }

    /// Whether the peer may be silent, because it waits for this side.
    fn is_busy(&self) -> bool {
        self.streaming.load(Ordering::Relaxed) || self.answering.load(Ordering::Relaxed)
    }
}

/// Marks a response as a stream until it is dropped. After that, the idle time runs again and refused bytes are
/// answered.
#[derive(Debug)]
pub(super) struct Streaming(Arc<Signals>);

impl Drop for Streaming {
    fn drop(&mut self) {
        self.0.streaming.store(false, Ordering::Relaxed);
    }
}

/// The event that the stream waits for, which decides its time limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    Head,
    Body,
    /// The request is complete and being processed, so the peer has nothing to send.
    Answer,
    Idle,
}

/// A socket with the framing check and the time limits.
pub(super) struct LimitedStream {
    inner: UnixStream,
    framing: StrictFraming,
    signals: Arc<Signals>,
    wait: Wait,
    read_timer: Pin<Box<Sleep>>,
    write_timer: Option<Pin<Box<Sleep>>>,
    refusal: Option<Refused>,
}

/// State of a connection whose bytes the framing check refused.
#[derive(Clone, Copy, Debug)]
enum Refused {
    /// The refusal has been reported: every read fails.
    Now,
    /// A request before the refused bytes still needs its response; the refusal is reported after that.
    Later(Reject),
}

impl LimitedStream {
    /// Takes a socket, and starts the time limit of its first header block.
    pub(super) fn new(inner: UnixStream, signals: Arc<Signals>) -> Self {
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

    /// Moves on to another wait and starts its time limit. The limit of a wait that goes on is not extended, so a slow
    /// sender cannot delay it with each byte. Only the idle time starts again, with each write.
    fn expect(&mut self, wait: Wait) {
        if self.wait == wait && wait != Wait::Idle {
            return;
        }
        self.wait = wait;
        let time = match wait {
            Wait::Head => HEAD_TIME,
            Wait::Body => BODY_TIME,
            Wait::Idle => IDLE_TIME,
            // The request handler limits this time.
            Wait::Answer => return,
        };
        self.read_timer = Box::pin(sleep(time));
    }

    /// Whether this side has something to send: a response, or the next part of a stream.
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
        // The limit is on a wait without progress, not on the whole response.
        self.write_timer = None;
        if matches!(self.refusal, Some(Refused::Later(_))) {
            // The request before the refused bytes may now have its response; then the next read reports them.
            cx.waker().wake_by_ref();
        }
        if matches!(self.wait, Wait::Answer | Wait::Idle) {
            self.expect(Wait::Idle);
            // The HTTP library may not read again before something wakes it, so the timer registers its waker here.
            let _ = self.read_timer.as_mut().poll(cx);
        }
    }

    fn is_write_overdue(&mut self, cx: &mut Context<'_>) -> bool {
        let timer = self.write_timer.get_or_insert_with(|| Box::pin(sleep(WRITE_TIME)));
        timer.as_mut().poll(cx).is_ready()
    }

    /// Passes the bytes through the framing check. Returns how many of them the HTTP library may see.
    fn check(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Err(refusal) = self.framing.feed(bytes) {
            // Earlier requests get their response first: the refusal ends the connection.
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

/// The stream as the HTTP library uses it. A request on it reaches it through a [`DisconnectProbe`].
pub(super) struct SharedStream(Arc<Mutex<LimitedStream>>);

/// Tells a request whether its client has disconnected. It does not keep the connection open.
#[derive(Clone)]
pub(super) struct DisconnectProbe(Weak<Mutex<LimitedStream>>);

impl SharedStream {
    /// Wraps a stream that the library is going to use.
    pub(super) fn new(stream: LimitedStream) -> Self {
        Self(Arc::new(Mutex::new(stream)))
    }

    /// Returns a probe for the requests on this connection.
    pub(super) fn probe(&self) -> DisconnectProbe {
        DisconnectProbe(Arc::downgrade(&self.0))
    }

    /// Returns the socket, to write a final response; `None` while a probe looks at it.
    pub(super) fn into_inner(self) -> Option<UnixStream> {
        Some(Arc::into_inner(self.0)?.into_inner().unwrap_or_else(PoisonError::into_inner).inner)
    }

    fn stream(&self) -> MutexGuard<'_, LimitedStream> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl DisconnectProbe {
    /// Whether the peer has closed the connection. A peer that only shut down its sending side still waits for its
    /// response.
    pub(super) fn has_disconnected(&self) -> bool {
        // Without the stream there is no connection any more.
        let Some(stream) = self.0.upgrade() else { return true };
        let stream = stream.lock().unwrap_or_else(PoisonError::into_inner);
        // No events are requested: the kernel always reports HUP and ERR, and HUP only once both directions are closed.
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
            // The library reads on only when it holds no complete request and has written all its output.
            Some(Refused::Later(reason)) => return Poll::Ready(Err(self.refuse(reason))),
        }
        let before = buf.filled().len();
        match Pin::new(&mut self.inner).poll_read(cx, buf) {
            Poll::Ready(Ok(())) => match self.check(buf.filled().get(before..).unwrap_or(&[])) {
                // None of the bytes may pass, and an empty read would mean the end of the stream.
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
    io::Error::new(io::ErrorKind::InvalidData, "refused by the framing check")
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
