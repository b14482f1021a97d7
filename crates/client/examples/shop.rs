//! `shop SOCKET`: a small web shop whose customers log in through mfad. They register, set up a phone, log in, confirm
//! an order with a code and recover with a backup code. It keeps no password, no seed and no code.
//!
//! Run it behind nginx, which ends TLS: `MFAD_SOCKET=run/mfad.sock cargo run -p mfad-client --example shop -- shop.sock`.
//! The configuration of nginx is in `clients/python/examples/shop/README.md`, where the same shop is written in Python.

#![allow(clippy::disallowed_methods, reason = "a shop reads the clock itself")]

use std::collections::HashMap;
use std::fmt::Write as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{DefaultBodyLimit, Form, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, COOKIE, LOCATION, SET_COOKIE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Router, serve};
use data_encoding::BASE64URL_NOPAD;
use mfad_api::{AuthToken, ErrorCode};
use mfad_client::{Client, Credentials, Error, LoginStep, QrFormat, Refusal, SecretString};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use tokio::net::UnixListener;
use tokio::sync::Mutex;

const NAME: &str = "__Host-shop";
const LIFETIME: Duration = Duration::from_secs(30 * 60);
const LARGEST_STORE: usize = 10_000;
const CSP: &str = "default-src 'none'; img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// How far the customer of a visit has logged in.
enum Step {
    Nobody,
    Challenge(AuthToken),
    MustEnroll(AuthToken),
    In(AuthToken),
}

/// What the shop knows about one browser. It stays on the server.
struct Visit {
    csrf: String,
    step: Step,
    /// The uid of the factor that waits for its first code.
    pending: Option<String>,
    /// The order in EUR that waits for its confirmation.
    order: Option<u32>,
    note: Option<String>,
}

/// One visit. Requests of one browser are served one after the other.
type Shared = Arc<Mutex<Visit>>;

#[derive(Clone)]
struct Shop {
    socket: String,
    /// The visits of this process, by the cookie's value. A shop with several processes keeps them in a database.
    visits: Arc<Mutex<HashMap<String, (Instant, Shared)>>>,
}

/// The members of every form; each form has some of them.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Input {
    csrf: String,
    name: String,
    password: String,
    code: String,
    amount: String,
}

/// What a request leads to.
enum Outcome {
    Page(String),
    Go(&'static str),
    /// As `Go`, under a new cookie: the old one, which somebody may have planted, must not work after a login.
    GoRenewed(&'static str),
    /// As `Go`, without the visit.
    Leave(&'static str),
}

/// What a handler does with the daemon, for one visit. Runs on a thread that may block.
type Work = fn(&mut Client, &mut Visit, &Input) -> Result<Outcome, Error>;

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = std::io::Write::write_all(&mut std::io::stderr(), format!("shop: {error}\n").as_bytes());
            ExitCode::FAILURE
        }
    }
}

async fn run() -> std::io::Result<()> {
    let path = std::env::args().nth(1).unwrap_or_else(|| "shop.sock".to_owned());
    let socket = std::env::var("MFAD_SOCKET").unwrap_or_else(|_| "/run/mfad/mfad.sock".to_owned());
    let shop = Shop { socket, visits: Arc::default() };
    let app = Router::new()
        .route("/", on_get(home))
        .route("/register", on_get(|_, visit, _| form("Register", visit, REGISTER)).merge(on_post(register)))
        .route("/login", on_get(|_, visit, _| form("Log in", visit, LOGIN)).merge(on_post(log_in)))
        .route("/code", on_get(code_form).merge(on_post(code)))
        .route("/phone", on_get(|_, visit, _| form("Set up your phone", visit, PHONE)).merge(on_post(phone)))
        .route("/phone/first-code", on_post(first_code))
        .route("/phone/replace", on_post(replace_phone))
        .route("/buy", on_post(buy))
        .route("/confirm", on_get(confirm_form).merge(on_post(confirm)))
        .route("/logout", on_post(log_out))
        .layer(DefaultBodyLimit::max(16 * 1024))
        .with_state(shop);
    serve(UnixListener::bind(path)?, app).await
}

fn on_get(work: Work) -> axum::routing::MethodRouter<Shop> {
    get(move |State(shop): State<Shop>, headers: HeaderMap| async move { shop.answer(&headers, None, work).await })
}

fn on_post(work: Work) -> axum::routing::MethodRouter<Shop> {
    post(move |State(shop): State<Shop>, headers: HeaderMap, Form(input): Form<Input>| async move {
        shop.answer(&headers, Some(input), work).await
    })
}

impl Shop {
    async fn answer(&self, headers: &HeaderMap, input: Option<Input>, work: Work) -> Response {
        let key = cookie(headers);
        let found = self.find(key.as_deref()).await;
        let is_new = found.is_none();
        let Some(visit) = found.or_else(|| Visit::new().ok().map(|visit| Arc::new(Mutex::new(visit)))) else {
            return unavailable();
        };
        let guard = Arc::clone(&visit).lock_owned().await;
        // SameSite keeps other sites from sending the cookie; the token also stops a page of a neighbouring subdomain.
        if input.as_ref().is_some_and(|input| input.csrf != guard.csrf) {
            return (StatusCode::BAD_REQUEST, "This form is too old. Load the page again.\n").into_response();
        }
        let socket = self.socket.clone();
        // The client blocks, so it gets a thread of its own for this request.
        let done = tokio::task::spawn_blocking(move || {
            let mut visit = guard;
            let mut client = Client::new(socket);
            match work(&mut client, &mut visit, &input.unwrap_or_default()) {
                Err(Error::Refused(refusal)) if refusal.problem.status < 500 => Some(refused(&mut visit, &refusal)),
                Err(_) => None,
                Ok(outcome) => Some(outcome),
            }
        });
        let Some(outcome) = done.await.ok().flatten() else { return unavailable() };
        let new_key = match &outcome {
            Outcome::Leave(_) => {
                self.forget(key.as_deref()).await;
                None
            }
            Outcome::GoRenewed(_) => {
                self.forget(key.as_deref()).await;
                self.keep(visit).await
            }
            Outcome::Page(_) | Outcome::Go(_) if is_new => self.keep(visit).await,
            Outcome::Page(_) | Outcome::Go(_) => None,
        };
        let mut response = match outcome {
            Outcome::Page(page) => Html(page).into_response(),
            Outcome::Go(path) | Outcome::GoRenewed(path) | Outcome::Leave(path) => {
                (StatusCode::SEE_OTHER, [(LOCATION, path)]).into_response()
            }
        };
        let cookie = new_key.map(|key| format!("{NAME}={key}; Path=/; Secure; HttpOnly; SameSite=Strict"));
        if let Some(cookie) = cookie.and_then(|text| text.parse().ok()) {
            response.headers_mut().insert(SET_COOKIE, cookie);
        }
        response.headers_mut().insert(CACHE_CONTROL, axum::http::HeaderValue::from_static("no-store"));
        response.headers_mut().insert(CONTENT_SECURITY_POLICY, axum::http::HeaderValue::from_static(CSP));
        response
    }

    async fn find(&self, key: Option<&str>) -> Option<Shared> {
        let mut visits = self.visits.lock().await;
        visits.retain(|_, (seen, _)| seen.elapsed() < LIFETIME);
        let (seen, visit) = visits.get_mut(key?)?;
        *seen = Instant::now();
        Some(Arc::clone(visit))
    }

    /// Stores a visit under a new key. `None` if there is no randomness for one, or no room.
    async fn keep(&self, visit: Shared) -> Option<String> {
        let key = random().ok()?;
        let mut visits = self.visits.lock().await;
        if visits.len() >= LARGEST_STORE {
            return None;
        }
        visits.insert(key.clone(), (Instant::now(), visit));
        Some(key)
    }

    async fn forget(&self, key: Option<&str>) {
        if let Some(key) = key {
            self.visits.lock().await.remove(key);
        }
    }
}

impl Visit {
    fn new() -> Result<Self, getrandom::Error> {
        Ok(Self { csrf: random()?, step: Step::Nobody, pending: None, order: None, note: None })
    }

    fn go(&mut self, path: &'static str, note: impl Into<String>) -> Outcome {
        self.note = Some(note.into());
        Outcome::Go(path)
    }

    /// The token of a customer who is logged in.
    fn session(&self) -> Option<&AuthToken> {
        if let Step::In(token) = &self.step { Some(token) } else { None }
    }

    /// The token with which a phone may be set up.
    fn enroller(&self) -> Option<&AuthToken> {
        match &self.step {
            Step::In(token) | Step::MustEnroll(token) => Some(token),
            Step::Nobody | Step::Challenge(_) => None,
        }
    }
}

// ---- what a request does

fn home(mfad: &mut Client, visit: &mut Visit, _: &Input) -> Result<Outcome, Error> {
    let Some(session) = visit.session() else { return Ok(visit.go("/login", "Log in first.")) };
    let user = mfad.user(session)?;
    let name = escaped(user.display_name.as_deref().unwrap_or(&user.name));
    let phone = if user.mfa == "active" { LOST } else { PROTECT };
    form("Books", visit, &format!("<p>Logged in as <b id=\"name\">{name}</b>.</p>{HOME}{phone}"))
}

fn register(mfad: &mut Client, visit: &mut Visit, input: &Input) -> Result<Outcome, Error> {
    if input.password.len() < 8 {
        return Ok(visit.go("/register", "A password has at least 8 characters."));
    }
    match mfad.create_user(input.name.trim(), &secret(&input.password)) {
        Ok(_) => Ok(visit.go("/login", "Welcome. Log in with your new account.")),
        Err(error) => Ok(visit.go("/register", sentence(client_fault(error)?.as_ref()))),
    }
}

fn log_in(mfad: &mut Client, visit: &mut Visit, input: &Input) -> Result<Outcome, Error> {
    let password = secret(&input.password);
    let (step, path) = match mfad.log_in(&Credentials { id: input.name.trim(), password: &password }) {
        Ok(LoginStep::LoggedIn(token)) => (Step::In(token), "/"),
        Ok(LoginStep::SecondFactor(challenge)) => (Step::Challenge(challenge), "/code"),
        Ok(LoginStep::MustEnroll(token)) => (Step::MustEnroll(token), "/phone"),
        Err(error) => return Ok(visit.go("/login", sentence(client_fault(error)?.as_ref()))),
    };
    visit.step = step;
    Ok(Outcome::GoRenewed(path))
}

fn code_form(_: &mut Client, visit: &mut Visit, _: &Input) -> Result<Outcome, Error> {
    if matches!(visit.step, Step::Challenge(_)) { form("Your code", visit, CODE) } else { Ok(Outcome::Go("/login")) }
}

fn code(mfad: &mut Client, visit: &mut Visit, input: &Input) -> Result<Outcome, Error> {
    let Step::Challenge(challenge) = &visit.step else { return Ok(Outcome::Go("/login")) };
    let code = digits(&input.code);
    let is_one_time = code.as_str().len() <= 8;
    let answered = if is_one_time {
        mfad.answer_with_code(challenge, &code)
    } else {
        mfad.answer_with_backup_code(challenge, &code)
    };
    match answered {
        Ok(session) => {
            visit.note = session
                .remaining
                .map(|left| format!("You used a backup code; {left} are left. Is your phone lost? Replace it below."));
            visit.step = Step::In(session);
            Ok(Outcome::GoRenewed("/"))
        }
        Err(error) => {
            let refusal = client_fault(error)?;
            if refusal.code() == Some(ErrorCode::ChallengeEnded) || refusal.problem.remaining == Some(0) {
                visit.step = Step::Nobody;
                return Ok(visit.go("/login", "There were too many wrong codes. Begin again."));
            }
            Ok(visit.go("/code", sentence(&refusal)))
        }
    }
}

/// Shows the QR code of a new phone, and asks for its first code.
fn phone(mfad: &mut Client, visit: &mut Visit, _: &Input) -> Result<Outcome, Error> {
    let Some(token) = visit.enroller() else { return Ok(Outcome::Go("/login")) };
    let made = mfad.enroll(token, "phone", QrFormat::Svg)?;
    let picture = made.qr.map(|qr| utf8_percent_encode(qr.as_str(), NON_ALPHANUMERIC).to_string()).unwrap_or_default();
    let seed = escaped(made.secret.secret.as_str());
    visit.pending = Some(made.record.uid);
    let shown = format!(
        "<p>Scan this picture with an authenticator app. It is shown only once.</p>\
         <img id=\"qr\" alt=\"QR code with the key below\" src=\"data:image/svg+xml,{picture}\" width=\"294\" height=\"294\">\
         <p>Cannot scan? Type this key: <code id=\"seed\">{seed}</code></p>{FIRST_CODE}"
    );
    form("Set up your phone", visit, &shown)
}

fn first_code(mfad: &mut Client, visit: &mut Visit, input: &Input) -> Result<Outcome, Error> {
    let (Some(token), Some(pending)) = (visit.enroller(), &visit.pending) else { return Ok(Outcome::Go("/login")) };
    match mfad.activate(token, pending, &digits(&input.code)) {
        Ok(enrollment) => {
            visit.step = Step::In(enrollment.session);
            visit.pending = None;
            let mut codes = String::new();
            for code in &enrollment.codes {
                let _ = write!(codes, "<li>{}</li>", escaped(code.as_str()));
            }
            form("Your phone is set up", visit, &format!("{CODES_WHY}<ol id=\"codes\">{codes}</ol>{KEPT}"))
        }
        Err(error) => {
            let refusal = client_fault(error)?;
            let may_try = matches!(refusal.code(), Some(ErrorCode::WrongCode | ErrorCode::Malformed));
            if may_try && refusal.problem.remaining != Some(0) {
                visit.note = Some(sentence(&refusal));
                return form("Set up your phone", visit, FIRST_CODE);
            }
            visit.pending = None;
            Ok(visit.go("/phone", "This was not finished in time, or there were too many wrong codes. Begin again."))
        }
    }
}

/// Takes the lost phone away. That ends all sessions; the password then lets in to set the new phone up at once.
fn replace_phone(mfad: &mut Client, visit: &mut Visit, _: &Input) -> Result<Outcome, Error> {
    let Some(session) = visit.session() else { return Ok(Outcome::Go("/login")) };
    if let Some(lost) = mfad.secrets(session)?.into_iter().find(|secret| secret.kind == "mfa") {
        mfad.delete_secret(session, &lost.uid)?;
    }
    visit.step = Step::Nobody;
    Ok(visit.go("/login", "The lost phone is taken away. Log in, and set the new one up."))
}

fn buy(mfad: &mut Client, visit: &mut Visit, input: &Input) -> Result<Outcome, Error> {
    let Some(session) = visit.session() else { return Ok(visit.go("/login", "Log in first.")) };
    let Some(amount) = input.amount.parse().ok().filter(|amount| (1..=1000).contains(amount)) else {
        return Ok(visit.go("/", "An order is for 1 to 1000 EUR."));
    };
    if mfad.user(session)?.mfa != "active" {
        return Ok(visit.go("/phone", "Set a phone up first: orders are confirmed with it."));
    }
    visit.order = Some(amount);
    Ok(Outcome::Go("/confirm"))
}

fn confirm_form(_: &mut Client, visit: &mut Visit, _: &Input) -> Result<Outcome, Error> {
    let Some(amount) = visit.order else { return Ok(Outcome::Go("/")) };
    form("Confirm your order", visit, &format!("<p>You buy <b id=\"order\">books for {amount} EUR</b>.</p>{CONFIRM}"))
}

/// Has the customer confirm this very order with a code, and carries it out once.
fn confirm(mfad: &mut Client, visit: &mut Visit, input: &Input) -> Result<Outcome, Error> {
    let (Some(session), Some(amount)) = (visit.session(), visit.order) else { return Ok(Outcome::Go("/")) };
    // The text is the shop's own, not the browser's: what was shown is what is confirmed.
    let action = format!("buy books for {amount} EUR");
    let fresh = match mfad.step_up(session, &digits(&input.code), &action) {
        Ok(fresh) => fresh,
        Err(error) => {
            let refusal = client_fault(error)?;
            let may_try = matches!(
                refusal.code(),
                Some(ErrorCode::WrongCode | ErrorCode::Malformed | ErrorCode::TooManyAttempts)
            );
            return if may_try { Ok(visit.go("/confirm", sentence(&refusal))) } else { Err(Error::Refused(refusal)) };
        }
    };
    let receipt = fresh.receipt.ok_or_else(|| Error::Unexpected("a step-up without a receipt".to_owned()))?;
    // In a larger shop another process does this, under an account of its own, before it sends the order.
    mfad.redeem(&receipt, &action)?;
    visit.order = None;
    Ok(visit.go("/", format!("Bought: books for {amount} EUR.")))
}

fn log_out(mfad: &mut Client, visit: &mut Visit, _: &Input) -> Result<Outcome, Error> {
    if let Step::In(token) = std::mem::replace(&mut visit.step, Step::Nobody) {
        mfad.log_out(token)?;
    }
    Ok(Outcome::Leave("/login"))
}

// ---- refusals

/// The refusal, if it is about what the customer did. Everything else stays an error.
fn client_fault(error: Error) -> Result<Box<Refusal>, Error> {
    match error {
        Error::Refused(refusal) if refusal.problem.status < 500 => Ok(refusal),
        other => Err(other),
    }
}

/// A refusal that no page expects. Nobody is let through.
fn refused(visit: &mut Visit, refusal: &Refusal) -> Outcome {
    if matches!(refusal.code(), Some(ErrorCode::Unauthenticated | ErrorCode::ChallengeEnded)) {
        visit.step = Step::Nobody;
    }
    visit.go("/login", sentence(refusal))
}

/// What a refusal says to a customer.
fn sentence(refusal: &Refusal) -> String {
    let text = match refusal.code() {
        Some(ErrorCode::WrongCredentials) => "The name or the password is wrong.",
        Some(ErrorCode::WrongCode) => "This code is wrong, or was used before. Take the next one.",
        Some(ErrorCode::Malformed) => "A code has 6 digits, a backup code has 16 letters and digits.",
        Some(ErrorCode::NameTaken) => "This name is taken.",
        Some(ErrorCode::FactorLocked) => "Your account is locked after too many wrong codes. Call us.",
        Some(ErrorCode::Unauthenticated) => "Your session has ended. Log in again.",
        Some(ErrorCode::TooManyAttempts) => {
            let wait = refusal.problem.retry_after.unwrap_or(1);
            return format!("There were too many attempts. Try again in {wait} seconds.");
        }
        _ => "This did not work.",
    };
    text.to_owned()
}

fn unavailable() -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, "We cannot check logins at the moment. Try again later.\n").into_response()
}

// ---- pages

const REGISTER: &str = "<form method=\"post\">{csrf}\
    <p><label>Name <input name=\"name\" autocomplete=\"username\" required></label></p>\
    <p><label>Password <input name=\"password\" type=\"password\" autocomplete=\"new-password\" required></label></p>\
    <p><button>Register</button></p></form><p><a href=\"/login\">I have an account</a></p>";
const LOGIN: &str = "<form method=\"post\">{csrf}\
    <p><label>Name <input name=\"name\" autocomplete=\"username\" required></label></p>\
    <p><label>Password <input name=\"password\" type=\"password\" autocomplete=\"current-password\" required></label></p>\
    <p><button>Log in</button></p></form><p><a href=\"/register\">I am new here</a></p>";
const CODE: &str = "<form method=\"post\">{csrf}\
    <p><label>The code that your phone shows, or a backup code \
    <input name=\"code\" autocomplete=\"one-time-code\" required></label></p><p><button>Log in</button></p></form>";
const PHONE: &str = "<p>From then on a login takes your password and a code of your phone.</p>\
    <form method=\"post\">{csrf}<p><button>Show the picture</button></p></form>";
const FIRST_CODE: &str = "<form method=\"post\" action=\"/phone/first-code\">{csrf}\
    <p><label>The first code that the app shows \
    <input name=\"code\" autocomplete=\"one-time-code\" required></label></p><p><button>Switch it on</button></p></form>";
const CODES_WHY: &str = "<p>Each of these backup codes stands in once for your phone. Keep them on paper; they are \
    shown only now.</p>";
const KEPT: &str = "<p><a href=\"/\">I have kept them</a></p>";
const HOME: &str = "<form method=\"post\" action=\"/buy\">{csrf}\
    <p><label>Books for how many EUR? <input name=\"amount\" inputmode=\"numeric\" required></label> \
    <button id=\"buy\">Buy</button></p></form>\
    <form method=\"post\" action=\"/logout\">{csrf}<p><button id=\"logout\">Log out</button></p></form>";
const LOST: &str = "<form method=\"post\" action=\"/phone/replace\">{csrf}\
    <p><button id=\"replace\">My phone is lost</button></p></form>";
const PROTECT: &str = "<p><a href=\"/phone\">Protect your account with your phone</a></p>";
const CONFIRM: &str = "<form method=\"post\">{csrf}<p><label>A new code of your phone \
    <input name=\"code\" autocomplete=\"one-time-code\" required></label></p><p><button>Buy</button></p></form>";

/// A page with this content, whose forms get the visit's token.
fn form(title: &str, visit: &mut Visit, content: &str) -> Result<Outcome, Error> {
    let token = format!("<input type=\"hidden\" name=\"csrf\" value=\"{}\">", visit.csrf);
    let note = visit.note.take().map(|note| format!("<p role=\"status\" class=\"note\">{}</p>", escaped(&note)));
    Ok(Outcome::Page(format!(
        "<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title} – Shop</title>\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"></head><body><main><h1>{title}</h1>\
         {}{}</main></body></html>",
        note.unwrap_or_default(),
        content.replace("{csrf}", &token)
    )))
}

fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '&' => safe.push_str("&amp;"),
            '"' => safe.push_str("&quot;"),
            '{' => safe.push_str("&#123;"),
            other => safe.push(other),
        }
    }
    safe
}

fn secret(text: &str) -> SecretString {
    SecretString::new(text.to_owned())
}

/// A code as the daemon wants it: people write it in groups.
fn digits(text: &str) -> SecretString {
    SecretString::new(text.chars().filter(|letter| !letter.is_whitespace() && *letter != '-').collect())
}

fn cookie(headers: &HeaderMap) -> Option<String> {
    let all = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = all.flat_map(|line| line.split("; ")).filter_map(|pair| pair.split_once('='));
    pairs.find(|(name, _)| *name == NAME).map(|(_, value)| value.to_owned())
}

fn random() -> Result<String, getrandom::Error> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes)?;
    Ok(BASE64URL_NOPAD.encode(&bytes))
}
