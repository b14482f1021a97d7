//! Serves one connection: reads each request, routes it, calls the service and writes the response. It knows no rules
//! about who may do what.

use std::convert::Infallible;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use http_body_util::{BodyExt, Either, Limited};
use hyper::body::{Body, Incoming};
use hyper::header::{self, HeaderValue};
use hyper::http::request;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

use mfad_core::headroom;
use mfad_core::model::{Moment, Peer, Sensitive};
use mfad_service::error::Error;
use mfad_service::{Call, Caller, CancellationToken, Cost, Reply, RequestContext, Service};

use super::challenge::explained;
use super::clock::http_date;
use super::connections::{LINGER, LONG_LINGER, say_last_word};
use super::events::{self, EventStream, Parts};
use super::framing::{LONGEST_BODY, LONGEST_HEAD, MOST_FIELDS};
use super::headers::{
    LAST_EVENT_ID, REASON, asks_to_close, bytes_of, check_content_type, check_host, credentials, idempotency_key,
    single,
};
use super::idempotency::{Fingerprint, Kept, Turn, fingerprint};
use super::log::{log_cause, refusal};
use super::problem::Problem;
use super::qr::QrFormat;
use super::replies::{self, Written};
use super::resource::Resource;
use super::responses::{
    Answer, BYTES, EVENT_STREAM, JSON, answer, kept_answer, page_answer, plain_answer, problem_answer, raw_answer,
    stamp, ui_redirect,
};
use super::route::{self, Ask};
use super::stream::{DisconnectProbe, LimitedStream, SharedStream, Signals};
use super::{Server, context_of, ui};

/// Time limit of a whole request, from the end of its header block to its response (HTTP-1).
const REQUEST_TIME: Duration = Duration::from_secs(30);
/// Further time of a request while a hardware key waits for touches: two, of the key that waits longest.
const TOUCH_TIME: Duration = Duration::from_secs(70);
/// Interval at which a long call checks whether its client has disconnected.
const LOOK: Duration = Duration::from_millis(250);
/// Time that a stopping daemon waits for the first request of a connection that it has accepted.
const FIRST_REQUEST: Duration = Duration::from_secs(2);
/// Refusal of all requests while the host's clock cannot be right (TIME-1).
const WRONG_CLOCK: &str = "the clock of this host shows a year before 1970 or after 9999; set it";
/// The OpenAPI document as JSON, made from `docs/openapi.yaml` at build time.
const OPENAPI: &str = include_str!(concat!(env!("OUT_DIR"), "/openapi.json"));

/// State of one connection, which all its requests share.
#[derive(Clone)]
struct Connection {
    server: Arc<Server>,
    peer: Peer,
    signals: Arc<Signals>,
    probe: DisconnectProbe,
}

/// Serves one connection until the peer closes it, a time limit ends, or the daemon stops.
pub(super) async fn serve_connection(server: &Arc<Server>, stream: UnixStream, peer: Peer) {
    let uid = peer.uid;
    if http_date(&server.clock.now()).is_none() {
        // The HTTP library formats the time for a `Date` header at each step, even if that header is off, and panics
        // outside the range that it can format.
        return refuse_unread(server, stream, uid, &Problem::from(&Error::NotReady(WRONG_CLOCK))).await;
    }
    let signals = Arc::new(Signals::default());
    let stream = SharedStream::new(LimitedStream::new(stream, Arc::clone(&signals)));
    let connection =
        Connection { server: Arc::clone(server), peer, signals: Arc::clone(&signals), probe: stream.probe() };
    let connection = Arc::new(connection);
    let service = service_fn(move |request| {
        let connection = Arc::clone(&connection);
        Box::pin(async move { Ok::<_, Infallible>(connection.answer(request).await) })
    });
    let longest_head = LONGEST_HEAD.saturating_add(1024);
    // `LimitedStream` has all time limits, so the library's header timer is off. `stamp` sets `Date` from the daemon's
    // clock.
    let mut served = http1::Builder::new()
        .max_buf_size(longest_head.max(8192))
        .max_headers(MOST_FIELDS)
        .header_read_timeout(None)
        .auto_date_header(false)
        .half_close(true)
        .serve_connection(TokioIo::new(stream), service);
    let mut closing = server.closing.clone();
    let may_close = async {
        super::closed(&mut closing).await;
        // The first request of a connection that was accepted before the stop still gets its response.
        let _ = tokio::time::timeout(FIRST_REQUEST, signals.first_request()).await;
    };
    let ended = tokio::select! {
        // Requests that have arrived are served before the stop is noticed.
        biased;
        ended = poll_fn(|cx| served.poll_without_shutdown(cx)) => Some(ended),
        () = may_close => None,
    };
    if ended.is_none() {
        Pin::new(&mut served).graceful_shutdown();
        let _ = poll_fn(|cx| served.poll_without_shutdown(cx)).await;
    }
    if let Some(reject) = signals.take_reject()
        && let Some(stream) = served.into_parts().io.into_inner().into_inner()
    {
        refuse_unread(server, stream, uid, &Problem::from(reject)).await;
    }
}

/// Writes a final response on a connection whose bytes are not read as a request, and closes it.
async fn refuse_unread(server: &Server, stream: UnixStream, uid: u32, problem: &Problem) {
    server.service.metrics().count_request(problem.status.as_u16());
    say_last_word(stream, &unread_answer(server, uid, problem), LINGER).await;
}

/// Answers a connection over the limit with 503, and closes it.
pub(super) async fn turn_away(server: &Server, stream: UnixStream, uid: u32) {
    say_last_word(stream, &unread_answer(server, uid, &Problem::busy()), LONG_LINGER).await;
}

/// Builds a final response as bytes, and logs the refusal under the same request id.
fn unread_answer(server: &Server, uid: u32, problem: &Problem) -> Vec<u8> {
    let now = server.clock.now();
    let id = request_id(&now);
    server.note_refusal(&id, uid, problem);
    raw_answer(problem, &id, &now)
}

/// Waits for the outcome of a request, and refuses it when its time is over.
async fn within_time<T>(
    attempt: impl Future<Output = Result<T, Problem>>,
    may_wait: &AtomicBool,
) -> Result<T, Problem> {
    let mut attempt = pin!(attempt);
    match tokio::time::timeout(REQUEST_TIME, &mut attempt).await {
        Ok(outcome) => outcome,
        Err(_) if may_wait.load(Ordering::Relaxed) => {
            tokio::time::timeout(TOUCH_TIME, attempt).await.unwrap_or_else(|_| Err(Problem::busy()))
        }
        Err(_) => Err(Problem::busy()),
    }
}

impl Connection {
    async fn answer(&self, request: Request<Incoming>) -> Answer {
        self.signals.start_answering();
        let id = request_id(&self.server.clock.now());
        let (parts, body) = request.into_parts();
        let mut is_read = false;
        let may_wait = AtomicBool::new(false);
        let attempt = async {
            // The body is read even if the request is going to be refused: the next request on the connection starts
            // after it.
            let body = read_body(body, &self.signals).await;
            let body = body.inspect_err(|problem| self.server.note_refusal(&id, self.peer.uid, problem))?;
            is_read = true;
            self.attempt(&parts, body, &id, &may_wait).await
        };
        let outcome = within_time(attempt, &may_wait).await;
        let mut answer = outcome.unwrap_or_else(|problem| {
            log_cause(&id, &problem);
            problem_answer(&explained(problem, parts.uri.path(), &parts.headers), &id)
        });
        let stays_open = is_read && !asks_to_close(&parts.headers) && !*self.server.closing.borrow();
        stamp(&mut answer, &id, &self.server.clock.now(), stays_open);
        self.server.service.metrics().count_request(answer.status().as_u16());
        self.signals.end_answering();
        answer
    }

    /// Sets `may_wait` once it is known that a hardware key may wait for touches.
    async fn attempt(
        &self,
        parts: &request::Parts,
        body: Sensitive<Vec<u8>>,
        id: &str,
        may_wait: &AtomicBool,
    ) -> Result<Answer, Problem> {
        check_host(&parts.uri, &parts.headers)?;
        let path = parts.uri.path();
        if let Some(page) = &self.server.page {
            if let Some(file) = ui::file(path, page) {
                return page_answer(file, &parts.method);
            }
            if path == ui::WITHOUT_SLASH {
                return Ok(ui_redirect());
            }
        }
        // Read after the body: a client that holds its body back must not have a code checked at an earlier time
        // (OTP-4).
        let now = self.server.clock.now();
        let (caller, ask) = self.ask(parts, &body)?;
        let key = if is_change(&parts.method) { idempotency_key(&parts.headers)? } else { None };
        let (call, qr) = match ask {
            Ask::Call(call, qr) => (call, qr),
            Ask::OpenApi => return Ok(plain_answer(StatusCode::OK, JSON, OPENAPI.as_bytes().to_vec())),
            Ask::AuditEvents { after } => {
                return self
                    .event_answer(caller, now, id, Call::AuditRows { after, limit: 1 }, |server, caller, id| {
                        events::audit(server, caller, id, after)
                    })
                    .await;
            }
            Ask::Backup => return self.backup_answer(caller, now, id).await,
            Ask::Export(call) => return self.export_answer(caller, now, id, call).await,
            Ask::DeviceEvents => {
                return self.event_answer(caller, now, id, Call::DeviceEvents { after: None }, events::devices).await;
            }
        };
        may_wait.store(call.may_wait_for_touches(), Ordering::Relaxed);
        let context = context_of(caller, now, id);
        let kept = match key {
            None => self.perform(context, call, qr).await?,
            Some(key) => {
                let request = self.fingerprint(parts, &key);
                self.perform_once(request, fingerprint(&[body.expose()]), context, call, qr).await?
            }
        };
        Ok(kept_answer(kept, path))
    }

    /// Finds the caller's credentials and the operation that the request asks for.
    fn ask(&self, parts: &request::Parts, body: &Sensitive<Vec<u8>>) -> Result<(Caller, Ask), Problem> {
        let resource = Resource::of_path(parts.uri.path()).ok_or_else(Problem::not_found)?;
        if !resource.methods().contains(&parts.method) {
            let allow: Vec<&str> = resource.methods().iter().map(Method::as_str).collect();
            return Err(Problem::method_not_allowed(allow.join(", ")));
        }
        if !body.expose().is_empty() {
            check_content_type(&parts.headers)?;
        }
        let credentials = credentials(&parts.headers, resource == Resource::AuthPassword)?;
        let ask = route::route(
            resource,
            &route::Request {
                method: &parts.method,
                query: parts.uri.query(),
                basic: credentials.basic,
                body: body.expose(),
                last_event: single(&parts.headers, &LAST_EVENT_ID)?,
            },
        )?;
        let token = credentials.token.map(Arc::new);
        Ok((Caller { peer: self.peer.clone(), token, reason: credentials.reason }, ask))
    }

    /// Returns the identity of a request for `Idempotency-Key`. It includes the peer's groups, the token and the
    /// reason, because they decide whether the caller may see the response.
    fn fingerprint(&self, parts: &request::Parts, key: &str) -> Fingerprint {
        let ids: Vec<u8> =
            [self.peer.uid, self.peer.gid].iter().chain(&self.peer.groups).flat_map(|id| id.to_be_bytes()).collect();
        fingerprint(&[
            ids.as_slice(),
            parts.method.as_str().as_bytes(),
            parts.uri.path_and_query().map_or("", |p| p.as_str()).as_bytes(),
            bytes_of(&parts.headers, header::AUTHORIZATION),
            bytes_of(&parts.headers, REASON),
            key.as_bytes(),
        ])
    }

    /// Carries out a call. Its changes are made even if the client disconnects (STO-7).
    async fn perform(&self, context: RequestContext, call: Call, qr: Option<QrFormat>) -> Result<Kept, Problem> {
        let at = context.now.wall_ms;
        let reply = match Service::cost(&context, &call) {
            Cost::Commit => {
                let done = caught(pin!(self.server.service.handle_async(&context, call))).await;
                let done = done.ok_or_else(|| self.panicked(&context.request))?;
                done.map_err(|error| refusal(&context.request, &error))?
            }
            Cost::Thread => self.perform_on_thread(context, call).await?,
        };
        let told = self.server.service.told(at, &reply);
        let Written { status, location, is_metrics, body } = replies::write(reply, qr)?;
        Ok(Kept { status, location, is_metrics, body, told })
    }

    /// Carries out a call on a thread that may block. Cancels it if the client disconnects or the daemon stops.
    async fn perform_on_thread(&self, context: RequestContext, call: Call) -> Result<Reply, Problem> {
        // The thread pool may have to start a thread, which needs memory.
        if !headroom::is_there_for(0) {
            return Err(Problem::busy());
        }
        let server = Arc::clone(&self.server);
        let id = context.request.clone();
        // Also cancels when this future is dropped, as at the time limit of the request.
        let leaving = Leaving(context.cancellation.clone());
        let mut work = tokio::task::spawn_blocking(move || {
            server.service.handle(&context, call).map_err(|error| refusal(&context.request, &error))
        });
        let mut closing = self.server.closing.clone();
        let done = loop {
            tokio::select! {
                done = &mut work => break done,
                // A stopping daemon does not wait for a touch.
                () = super::closed(&mut closing), if !leaving.0.is_cancelled() => leaving.0.cancel(),
                () = tokio::time::sleep(LOOK) => if self.probe.has_disconnected() { leaving.0.cancel() },
            }
        };
        done.unwrap_or_else(|_| Err(self.panicked(&id)))
    }

    fn panicked(&self, request: &str) -> Problem {
        self.server.note_panic(request);
        Problem::internal("it panicked")
    }

    /// Carries out a call that has an idempotency key, or repeats its kept response. A response is kept even if the
    /// client has disconnected.
    async fn perform_once(
        &self,
        request: Fingerprint,
        body: Fingerprint,
        context: RequestContext,
        call: Call,
        qr: Option<QrFormat>,
    ) -> Result<Kept, Problem> {
        let id = context.request.clone();
        match self.server.idempotency.begin(self.peer.uid, request, body, &context.now)? {
            Turn::Again(kept) => return self.repeat(kept, context, call).await,
            Turn::First => {}
        }
        let connection = self.clone();
        let work = tokio::spawn(async move {
            let done = connection.perform(context, call, qr).await;
            match &done {
                Ok(kept) => connection.server.idempotency.keep(&request, kept),
                Err(_) => connection.server.idempotency.forget(&request),
            }
            done
        });
        work.await.unwrap_or_else(|_| Err(self.panicked(&id)))
    }

    /// Returns a kept response, if the caller may still make the call and see the response.
    async fn repeat(&self, kept: Kept, context: RequestContext, call: Call) -> Result<Kept, Problem> {
        let server = Arc::clone(&self.server);
        let id = context.request.clone();
        let told = kept.told.clone();
        let allowed = tokio::task::spawn_blocking(move || {
            let allowed = server.service.may_repeat(&context, &call, &told);
            allowed.map_err(|error| refusal(&context.request, &error))
        });
        allowed.await.unwrap_or_else(|_| Err(self.panicked(&id)))?;
        Ok(kept)
    }

    /// Opens an event stream, if the caller may make `first`, the call that reads a page of it.
    async fn event_answer(
        &self,
        caller: Caller,
        now: Moment,
        id: &str,
        first: Call,
        parts: impl FnOnce(Arc<Server>, Caller, String) -> Parts,
    ) -> Result<Answer, Problem> {
        let context = context_of(caller, now, id);
        let server = Arc::clone(&self.server);
        let allowed = tokio::task::spawn_blocking(move || match server.service.may(&context, &first) {
            Ok(()) => Ok(context.caller),
            Err(error) => Err(refusal(&context.request, &error)),
        });
        let caller = allowed.await.unwrap_or_else(|_| Err(self.panicked(id)))?;
        let parts = parts(Arc::clone(&self.server), caller, id.to_owned());
        Ok(self.stream_answer(EVENT_STREAM, parts))
    }

    /// Streams a backup of the store while it is being encrypted.
    async fn backup_answer(&self, caller: Caller, now: Moment, id: &str) -> Result<Answer, Problem> {
        let context = context_of(caller, now, id);
        let server = Arc::clone(&self.server);
        let made = tokio::task::spawn_blocking(move || {
            server.service.handle(&context, Call::BackUp).map_err(|error| refusal(&context.request, &error))
        });
        match made.await.unwrap_or_else(|_| Err(self.panicked(id)))? {
            Reply::Backup(backup) => Ok(self.stream_answer(BYTES, events::backup(*backup, id.to_owned()))),
            _ => Err(Problem::internal("a backup was asked for, and the reply is none")),
        }
    }

    /// Streams an export while it is being encrypted.
    async fn export_answer(&self, caller: Caller, now: Moment, id: &str, call: Call) -> Result<Answer, Problem> {
        let context = context_of(caller, now, id);
        let server = Arc::clone(&self.server);
        let made = tokio::task::spawn_blocking(move || {
            let made = server.service.handle(&context, call);
            made.map_err(|error| refusal(&context.request, &error))
        });
        match made.await.unwrap_or_else(|_| Err(self.panicked(id)))? {
            Reply::Export(export) => {
                Ok(self.stream_answer(BYTES, events::export(Arc::clone(&self.server), *export, id.to_owned())))
            }
            _ => Err(Problem::internal("an export was asked for, and the reply is none")),
        }
    }

    /// Builds a streamed response. The connection counts as busy until the last part is sent.
    fn stream_answer(&self, media_type: HeaderValue, parts: Parts) -> Answer {
        let body = EventStream::new(parts, self.signals.start_streaming());
        answer(StatusCode::OK, media_type, Either::Right(body))
    }
}

/// Polls a future, and returns `None` if it panics. A panic ends only the request or connection that caused it.
pub(super) async fn caught<F: Future>(mut future: Pin<&mut F>) -> Option<F::Output> {
    poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
        Ok(polled) => polled.map(Some),
        Err(_) => Poll::Ready(None),
    })
    .await
}

/// Cancels a call when it is dropped, unless it was cancelled before.
struct Leaving(CancellationToken);

impl Drop for Leaving {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

async fn read_body(body: Incoming, signals: &Signals) -> Result<Sensitive<Vec<u8>>, Problem> {
    let most = usize::try_from(LONGEST_BODY).unwrap_or(usize::MAX);
    if body.is_end_stream() {
        return Ok(Sensitive::new(Vec::new()));
    }
    let collected = Limited::new(body, most).collect().await.map_err(|error| {
        if error.is::<http_body_util::LengthLimitError>() {
            Problem::body_too_large()
        } else {
            signals
                .take_reject()
                .map_or_else(|| Problem::malformed("the body did not arrive as announced"), Problem::from)
        }
    })?;
    Ok(Sensitive::new(collected.to_bytes().to_vec()))
}

fn is_change(method: &Method) -> bool {
    method == Method::POST || method == Method::PUT
}

fn request_id(now: &Moment) -> String {
    // An id is not secret. Without random bytes it is only less unique.
    let random = mfad_core::entropy::public().unwrap_or_default();
    mfad_core::model::SecretId::at(now.wall_ms, &random).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_ends_one_future_and_no_other() {
        async fn panics_after(yields: u32) -> u32 {
            for _ in 0..yields {
                tokio::task::yield_now().await;
            }
            panic!("a test")
        }

        for yields in [0, 1, 7] {
            assert_eq!(caught(pin!(panics_after(yields))).await, None, "{yields}");
        }
        assert_eq!(caught(pin!(async { 5 })).await, Some(5));
    }
}
