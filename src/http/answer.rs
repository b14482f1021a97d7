//! One connection, one request after another: read, route, hand over to the service, answer.

use std::convert::Infallible;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http_body_util::{BodyExt, Either, Full, Limited};
use hyper::body::{Body, Bytes, Incoming};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

use crate::error::Error;
use crate::model::{Moment, Peer, Sensitive, Text};
use crate::service::{Call, Caller, Departure, Occasion, Reply, Soon};

use super::connections::say_last_word;
use super::events::{self, EventStream, Parts};
use super::guard::{Guard, Line, Peephole, Signals};
use super::idempotency::{Fingerprint, Kept, Turn, fingerprint};
use super::problem::Problem;
use super::qr::QrFormat;
use super::route::{self, Ask, Basic, Resource};
use super::sieve::{LONGEST_BODY, LONGEST_HEAD, MOST_FIELDS};
use super::{Door, ui, wire};

/// How long one wait inside a request may last.
pub(super) const PATIENCE: Duration = Duration::from_secs(15);
/// How long a whole request may last (HTTP-1).
const REQUEST_TIME: Duration = Duration::from_secs(30);
/// How often to look whether the caller of a call that takes long is still there.
const LOOK: Duration = Duration::from_millis(250);
/// How long a daemon that stops waits for the first request of a new connection.
const FIRST_REQUEST: Duration = Duration::from_secs(2);
/// An administrator's reason.
const REASON: HeaderName = HeaderName::from_static("mfad-reason");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// The longest reason, in characters.
const LONGEST_REASON: usize = 256;
/// The longest idempotency key.
const LONGEST_KEY: usize = 64;
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const PROBLEM: HeaderValue = HeaderValue::from_static("application/problem+json");
const PROMETHEUS: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
const BYTES: HeaderValue = HeaderValue::from_static("application/octet-stream");
const EVENT_STREAM: HeaderValue = HeaderValue::from_static("text/event-stream");
/// The description of this API, made from `docs/openapi.yaml` at build time.
const OPENAPI: &str = include_str!(concat!(env!("OUT_DIR"), "/openapi.json"));

type AnswerBody = Either<Full<Bytes>, EventStream>;
type Answer = Response<AnswerBody>;

/// Who asks on this connection.
#[derive(Clone)]
struct Visit {
    door: Arc<Door>,
    peer: Peer,
    signals: Arc<Signals>,
    line: Peephole,
}

/// What a request's headers say about its caller.
struct Credentials {
    token: Option<Sensitive<String>>,
    basic: Option<Basic>,
    reason: Option<Text>,
}

/// Serves one connection until it ends.
pub(super) async fn serve_connection(door: &Arc<Door>, stream: UnixStream, peer: Peer) {
    let signals = Arc::new(Signals::default());
    let line = Line::new(Guard::new(stream, Arc::clone(&signals)));
    let visit = Visit { door: Arc::clone(door), peer, signals: Arc::clone(&signals), line: line.peephole() };
    let visit = Arc::new(visit);
    let service = service_fn(move |request| {
        let visit = Arc::clone(&visit);
        Box::pin(async move { Ok::<_, Infallible>(visit.answer(request).await) })
    });
    let longest_head = LONGEST_HEAD.saturating_add(1024);
    // The guard keeps all times, so the library's own header timer stays off.
    let mut connection = http1::Builder::new()
        .max_buf_size(longest_head.max(8192))
        .max_headers(MOST_FIELDS)
        .header_read_timeout(None)
        .half_close(true)
        .serve_connection(TokioIo::new(line), service);
    let mut closing = door.closing.clone();
    let may_close = async {
        super::closed(&mut closing).await;
        // Whoever connected and was let in has a request under way.
        let _ = tokio::time::timeout(FIRST_REQUEST, signals.first_request()).await;
    };
    let ended = tokio::select! {
        // A request that has arrived comes before the end.
        biased;
        ended = poll_fn(|cx| connection.poll_without_shutdown(cx)) => Some(ended),
        () = may_close => None,
    };
    if ended.is_none() {
        Pin::new(&mut connection).graceful_shutdown();
        let _ = poll_fn(|cx| connection.poll_without_shutdown(cx)).await;
    }
    if let Some(reject) = signals.take_reject() {
        let problem = Problem::from(reject);
        door.service.metrics().count_request(problem.status.as_u16());
        if let Some(stream) = connection.into_parts().io.into_inner().into_inner() {
            say_last_word(stream, &problem).await;
        }
    }
}

/// An answer as bytes, for connections that the HTTP library no longer serves.
pub(super) fn raw_answer(problem: &Problem) -> Vec<u8> {
    let request = request_id(&Moment { wall_ms: 0, boot_ms: 0, boot: [0; 16] });
    let body = problem.body(&request);
    let retry = problem.retry_after.map(|s| format!("retry-after: {s}\r\n")).unwrap_or_default();
    let head = format!(
        "HTTP/1.1 {} {}\r\ncontent-type: application/problem+json\r\ncontent-length: {}\r\ncache-control: no-store\r\n\
         {retry}connection: close\r\n\r\n",
        problem.status.as_u16(),
        problem.status.canonical_reason().unwrap_or("Error"),
        body.len(),
    );
    [head.into_bytes(), body].concat()
}

impl Visit {
    async fn answer(&self, request: Request<Incoming>) -> Answer {
        self.signals.start_answering();
        let id = request_id(&self.door.clock.now());
        let answer = match tokio::time::timeout(REQUEST_TIME, self.attempt(request, &id)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(problem)) => problem_answer(&problem, &id),
            Err(_) => problem_answer(&Problem::busy(), &id),
        };
        self.door.service.metrics().count_request(answer.status().as_u16());
        self.signals.end_answering();
        answer
    }

    async fn attempt(&self, request: Request<Incoming>, id: &str) -> Result<Answer, Problem> {
        let (parts, body) = request.into_parts();
        if let Some(file) = ui::file(parts.uri.path()).filter(|_| self.door.has_page) {
            return page_answer(file, &parts.method);
        }
        if parts.uri.path() == ui::WITHOUT_SLASH && self.door.has_page {
            return Ok(ui_redirect());
        }
        let resource = Resource::of_path(parts.uri.path()).ok_or_else(Problem::not_found)?;
        if !resource.methods().contains(&parts.method) {
            let allow: Vec<&str> = resource.methods().iter().map(Method::as_str).collect();
            return Err(Problem::method_not_allowed(allow.join(", ")));
        }
        let body = read_body(body, &self.signals).await?;
        // Not before: whoever sends the body late must not have a code of then count (OTP-4).
        let now = self.door.clock.now();
        if !body.expose().is_empty() {
            check_content_type(&parts.headers)?;
        }
        let credentials = credentials(&parts.headers, resource == Resource::AuthPassword)?;
        let is_change = parts.method == Method::POST || parts.method == Method::PUT;
        let key = if is_change { idempotency_key(&parts.headers)? } else { None };
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
        let caller = Caller { peer: self.peer.clone(), token: credentials.token, reason: credentials.reason };
        let (call, qr) = match ask {
            Ask::Call(call, qr) => (call, qr),
            Ask::OpenApi => return Ok(plain_answer(StatusCode::OK, JSON, OPENAPI.as_bytes().to_vec())),
            Ask::AuditEvents { after } => {
                return self
                    .event_answer(caller, now, id, Call::AuditRows { after, limit: 1 }, |door, caller, id| {
                        events::audit(door, caller, id, after)
                    })
                    .await;
            }
            Ask::Backup => return self.backup_answer(caller, now, id).await,
            Ask::DeviceEvents => {
                return self.event_answer(caller, now, id, Call::DeviceEvents { after: None }, events::devices).await;
            }
        };
        let occasion =
            Occasion { caller, now, patience: PATIENCE, request: id.to_owned(), departure: Departure::default() };
        let Some(key) = key else {
            return self.perform(occasion, call, qr).await.map(|kept| kept_answer(kept, id));
        };
        // Rights go by groups too, and some calls want a reason: an answer is for whoever may ask for it.
        let ids: Vec<u8> =
            [self.peer.uid, self.peer.gid].iter().chain(&self.peer.groups).flat_map(|id| id.to_be_bytes()).collect();
        let parts = [
            ids.as_slice(),
            parts.method.as_str().as_bytes(),
            parts.uri.path_and_query().map_or("", |p| p.as_str()).as_bytes(),
            parts.headers.get(header::AUTHORIZATION).map_or(&[], HeaderValue::as_bytes),
            parts.headers.get(REASON).map_or(&[], HeaderValue::as_bytes),
            key.as_bytes(),
        ];
        self.perform_once(fingerprint(&parts), fingerprint(&[body.expose()]), occasion, call, qr).await
    }

    /// Carries a call out. What it changes is changed even if the caller leaves (STO-7).
    async fn perform(&self, occasion: Occasion, call: Call, qr: Option<QrFormat>) -> Result<Kept, Problem> {
        let at = occasion.now.wall_ms;
        let soon = caught(pin!(self.door.service.handle_soon(&occasion, call))).await;
        let reply = match soon {
            Some(Soon::Done(done)) => done.map_err(|error| refusal(&occasion.request, &error))?,
            Some(Soon::Later(call)) => self.perform_on_thread(occasion, call).await?,
            None => return Err(self.panicked(&occasion.request)),
        };
        let location = location_of(&reply);
        let status = if matches!(reply, Reply::Done) { StatusCode::NO_CONTENT } else { StatusCode::OK };
        let is_metrics = matches!(reply, Reply::Metrics(_));
        let told = self.door.service.told(at, &reply);
        let body = wire::write(reply, qr)?.unwrap_or_default();
        Ok(Kept { status, location, is_metrics, body, told })
    }

    /// Carries a call out on a thread that may block.
    async fn perform_on_thread(&self, occasion: Occasion, call: Call) -> Result<Reply, Problem> {
        let door = Arc::clone(&self.door);
        let id = occasion.request.clone();
        // Noted as well when this future is dropped, because the answer would come too late.
        let leaving = Leaving(occasion.departure.clone());
        let mut work = tokio::task::spawn_blocking(move || {
            door.service.handle(&occasion, call).map_err(|error| refusal(&occasion.request, &error))
        });
        let mut closing = self.door.closing.clone();
        let done = loop {
            tokio::select! {
                done = &mut work => break done,
                // A daemon that stops waits for nobody's touch.
                () = super::closed(&mut closing), if !leaving.0.is_noted() => leaving.0.note(),
                () = tokio::time::sleep(LOOK) => if self.line.has_left() { leaving.0.note() },
            }
        };
        done.unwrap_or_else(|_| Err(self.panicked(&id)))
    }

    fn panicked(&self, request: &str) -> Problem {
        tracing::error!(request, "a request panicked");
        self.door.service.metrics().count_panic();
        Problem::internal()
    }

    /// The same with an idempotency key. The answer is kept even if the caller is gone by then.
    async fn perform_once(
        &self,
        request: Fingerprint,
        body: Fingerprint,
        occasion: Occasion,
        call: Call,
        qr: Option<QrFormat>,
    ) -> Result<Answer, Problem> {
        let id = occasion.request.clone();
        match self.door.idempotency.begin(self.peer.uid, request, body, &occasion.now)? {
            Turn::Again(kept) => return self.repeat(kept, occasion, call).await,
            Turn::First => {}
        }
        let visit = self.clone();
        let work = tokio::spawn(async move {
            let done = visit.perform(occasion, call, qr).await;
            match &done {
                Ok(kept) => visit.door.idempotency.keep(&request, kept),
                Err(_) => visit.door.idempotency.forget(&request),
            }
            done
        });
        let kept = work.await.map_err(|_| Problem::internal())??;
        Ok(kept_answer(kept, &id))
    }

    /// An answer that was kept, for whoever may still have it.
    async fn repeat(&self, kept: Kept, occasion: Occasion, call: Call) -> Result<Answer, Problem> {
        let door = Arc::clone(&self.door);
        let id = occasion.request.clone();
        let told = kept.told.clone();
        let allowed = tokio::task::spawn_blocking(move || {
            let allowed = door.service.may_repeat(&occasion, &call, &told);
            allowed.map_err(|error| refusal(&occasion.request, &error))
        });
        allowed.await.unwrap_or_else(|_| Err(self.panicked(&id)))?;
        Ok(kept_answer(kept, &id))
    }

    /// A stream, if `first` is granted: the first look decides whether there is one at all.
    async fn event_answer(
        &self,
        caller: Caller,
        now: Moment,
        id: &str,
        first: Call,
        parts: impl FnOnce(Arc<Door>, Caller, String) -> Parts,
    ) -> Result<Answer, Problem> {
        let occasion =
            Occasion { caller, now, patience: PATIENCE, request: id.to_owned(), departure: Departure::default() };
        let door = Arc::clone(&self.door);
        let allowed = tokio::task::spawn_blocking(move || {
            let verdict = door.service.handle(&occasion, first);
            verdict.map(|_| occasion.caller)
        });
        let caller = allowed.await.map_err(|_| Problem::internal())?.map_err(|error| Problem::from(&error))?;
        let parts = parts(Arc::clone(&self.door), caller, id.to_owned());
        Ok(self.stream_answer(EVENT_STREAM, parts))
    }

    /// A copy of the store, sent as it is encrypted.
    async fn backup_answer(&self, caller: Caller, now: Moment, id: &str) -> Result<Answer, Problem> {
        let occasion =
            Occasion { caller, now, patience: PATIENCE, request: id.to_owned(), departure: Departure::default() };
        let door = Arc::clone(&self.door);
        let made = tokio::task::spawn_blocking(move || {
            let reply = door.service.handle(&occasion, Call::BackUp);
            reply.inspect_err(|error| log_error(&occasion.request, error))
        });
        match made.await.map_err(|_| Problem::internal())?.map_err(|error| Problem::from(&error))? {
            Reply::Backup(backup) => Ok(self.stream_answer(BYTES, events::backup(*backup, id.to_owned()))),
            _ => Err(Problem::internal()),
        }
    }

    /// The connection knows of it until its last part is sent.
    fn stream_answer(&self, media_type: HeaderValue, parts: Parts) -> Answer {
        let body = EventStream::new(parts, self.signals.start_streaming());
        answer(StatusCode::OK, media_type, Either::Right(body))
    }
}

/// What a future comes to, or nothing if it panics: that is this request's end, not the connection's.
async fn caught<F: Future>(mut future: Pin<&mut F>) -> Option<F::Output> {
    poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
        Ok(polled) => polled.map(Some),
        Err(_) => Poll::Ready(None),
    })
    .await
}

/// Logs why a call was not carried out, and says it to the caller.
fn refusal(request: &str, error: &Error) -> Problem {
    log_error(request, error);
    Problem::from(error)
}

/// Tells a call that nobody waits for its answer any more, when it is dropped at the latest.
struct Leaving(Departure);

impl Drop for Leaving {
    fn drop(&mut self) {
        self.0.note();
    }
}

impl Caller {
    /// A caller without any right, for where one is needed and there is none.
    pub(super) fn nobody() -> Self {
        Self { peer: Peer { uid: u32::MAX, gid: u32::MAX, groups: Vec::new(), pid: None }, token: None, reason: None }
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

/// A header that may come once.
fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Problem> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Problem::malformed(format!("the header `{name}` comes twice")));
    }
    value.to_str().map(Some).map_err(|_| Problem::malformed(format!("the header `{name}` is not visible ASCII")))
}

fn check_content_type(headers: &HeaderMap) -> Result<(), Problem> {
    let text = single(headers, &header::CONTENT_TYPE)?.unwrap_or_default();
    let (essence, parameters) = text.split_once(';').unwrap_or((text, ""));
    let parameters = parameters.trim();
    let is_utf8 = parameters.is_empty()
        || parameters.eq_ignore_ascii_case("charset=utf-8")
        || parameters.eq_ignore_ascii_case("charset=\"utf-8\"");
    if essence.trim().eq_ignore_ascii_case("application/json") && is_utf8 {
        Ok(())
    } else {
        Err(Problem::unsupported_media_type())
    }
}

/// Reads `Authorization`. What is no scheme of this route counts as a token that no route accepts, so that a
/// caller who meant to be somebody is never taken for a caller without a token.
fn credentials(headers: &HeaderMap, takes_basic: bool) -> Result<Credentials, Problem> {
    let mut found = Credentials { token: None, basic: None, reason: reason(headers)? };
    if !headers.contains_key(header::AUTHORIZATION) {
        return Ok(found);
    }
    let text = single(headers, &header::AUTHORIZATION).ok().flatten().unwrap_or_default();
    let (scheme, rest) = text.split_once(' ').unwrap_or((text, ""));
    let rest = rest.trim();
    if takes_basic && scheme.eq_ignore_ascii_case("basic") {
        found.basic = Basic::decode(rest);
    }
    let is_token = scheme.eq_ignore_ascii_case("jwt") || scheme.eq_ignore_ascii_case("bearer");
    if is_token || found.basic.is_none() {
        found.token = Some(Sensitive::new(if is_token { rest.to_owned() } else { String::new() }));
    }
    Ok(found)
}

fn reason(headers: &HeaderMap) -> Result<Option<Text>, Problem> {
    let Some(value) = headers.get(&REASON) else { return Ok(None) };
    let text = std::str::from_utf8(value.as_bytes()).ok();
    let text = text.and_then(|text| Text::parse(text, LONGEST_REASON).ok());
    text.map(Some).ok_or_else(|| Problem::malformed("`Mfad-Reason` is a text of 1 to 256 characters"))
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(key) = single(headers, &IDEMPOTENCY_KEY)? else { return Ok(None) };
    if (1..=LONGEST_KEY).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_graphic()) {
        Ok(Some(key.to_owned()))
    } else {
        Err(Problem::malformed("`Idempotency-Key` has 1 to 64 visible ASCII characters"))
    }
}

fn location_of(reply: &Reply) -> Option<String> {
    match reply {
        Reply::UserCreated { user, .. } => Some(format!("/users/{}", user.id)),
        Reply::SecretCreated(secret)
        | Reply::FactorCreated { secret, .. }
        | Reply::KeyAsked { secret, .. }
        | Reply::KeyRegistered { secret, .. }
        | Reply::Provisioned { secret, .. }
        | Reply::ApiKeyCreated { secret, .. } => Some(format!("/users/{}/secrets/{}", secret.user, secret.id)),
        Reply::User(_)
        | Reply::Users { .. }
        | Reply::Secret(_)
        | Reply::Secrets(_)
        | Reply::Enrolled { .. }
        | Reply::Codes(..)
        | Reply::KeyOptions(_)
        | Reply::AuthMethods { .. }
        | Reply::Auth(_)
        | Reply::ReceiptRedeemed { .. }
        | Reply::Verified { .. }
        | Reply::KeySet(_)
        | Reply::Devices(_)
        | Reply::SecurityKeys(_)
        | Reply::Device { .. }
        | Reply::DeviceEvents { .. }
        | Reply::Accounts(_)
        | Reply::Account(_)
        | Reply::DevicePassword { .. }
        | Reply::Genuine(_)
        | Reply::Returned { .. }
        | Reply::Audit { .. }
        | Reply::MasterKey(_)
        | Reply::Backup(_)
        | Reply::Live
        | Reply::Ready
        | Reply::Metrics(_)
        | Reply::Version { .. }
        | Reply::Done => None,
    }
}

fn log_error(request: &str, error: &Error) {
    match error {
        Error::Tampered(cause) => {
            tracing::error!(request, cause, "the store is damaged, or was changed by another program")
        }
        Error::Internal(cause) => tracing::error!(request, cause, "internal error"),
        Error::DeviceFailed(cause) => tracing::warn!(request, cause, "a hardware key failed"),
        Error::StorageUnavailable(cause) => tracing::error!(request, cause, "the store cannot be written"),
        other => tracing::debug!(request, refusal = %other, "refused"),
    }
}

fn request_id(now: &Moment) -> String {
    // An id is no secret; without random bytes it is merely less unique.
    let random = crate::entropy::public().unwrap_or_default();
    crate::model::SecretId::at(now.wall_ms, &random).to_string()
}

fn kept_answer(kept: Kept, id: &str) -> Answer {
    let content_type = if kept.is_metrics { PROMETHEUS } else { JSON };
    let mut answer = plain_answer(kept.status, content_type, kept.body);
    if kept.status == StatusCode::NO_CONTENT {
        answer.headers_mut().remove(header::CONTENT_TYPE);
    }
    if let Some(location) = kept.location.and_then(|l| HeaderValue::try_from(l).ok()) {
        answer.headers_mut().insert(header::LOCATION, location);
    }
    if let Ok(id) = HeaderValue::try_from(id) {
        answer.headers_mut().insert(HeaderName::from_static("request-id"), id);
    }
    answer
}

fn problem_answer(problem: &Problem, id: &str) -> Answer {
    let mut answer = plain_answer(problem.status, PROBLEM, problem.body(id));
    let headers = answer.headers_mut();
    if let Some(allow) = problem.allow.as_deref().and_then(|a| HeaderValue::try_from(a).ok()) {
        headers.insert(header::ALLOW, allow);
    }
    if let Some(seconds) = problem.retry_after {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    if problem.status == StatusCode::UNAUTHORIZED {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"mfad\""));
    }
    answer
}

fn page_answer(file: ui::File, method: &Method) -> Result<Answer, Problem> {
    if *method != ui::METHOD {
        return Err(Problem::method_not_allowed(ui::METHOD.as_str().to_owned()));
    }
    let mut answer = plain_answer(StatusCode::OK, file.media_type, file.contents.to_vec());
    ui::guard(answer.headers_mut());
    Ok(answer)
}

fn ui_redirect() -> Answer {
    let mut answer = plain_answer(StatusCode::PERMANENT_REDIRECT, ui::TEXT, Vec::new());
    answer.headers_mut().insert(header::LOCATION, ui::HOME);
    ui::guard(answer.headers_mut());
    answer
}

fn plain_answer(status: StatusCode, content_type: HeaderValue, body: Vec<u8>) -> Answer {
    answer(status, content_type, Either::Left(Full::new(Bytes::from(body))))
}

fn answer(status: StatusCode, content_type: HeaderValue, body: AnswerBody) -> Answer {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, content_type);
    answer.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}
