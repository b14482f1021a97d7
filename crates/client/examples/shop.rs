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
use axum::http::{HeaderMap, HeaderValue, StatusCode};
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

// The names begin with __Host-, so no other host of the domain can set these cookies (RFC 6265bis section 4.1.3.2).
const VISIT: &str = "__Host-shop";
const FORM: &str = "__Host-shop-form";
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

/// An order that waits for its confirmation.
#[derive(Clone)]
struct Order {
    amount: u32,
    /// Ties the form that is sent to the order that was shown, whatever other windows do.
    number: String,
}

impl Order {
    fn action(&self) -> String {
        format!("buy books for {} EUR (order {})", self.amount, self.number)
    }
}

/// What the shop knows about one browser. It stays on the server. One that gave no right password is not stored.
struct Visit {
    step: Step,
    /// The uid of the factor that waits for its first code.
    pending: Option<String>,
    order: Option<Order>,
    note: Option<String>,
}

/// One visit. Requests of one browser are served one after the other.
type Shared = Arc<Mutex<Visit>>;

/// The visits of this process, by the cookie's value, and when each was last seen.
type Visits = HashMap<String, (Instant, Shared)>;

#[derive(Clone)]
struct Shop {
    socket: String,
    /// A shop with several processes keeps them in a database.
    visits: Arc<Mutex<Visits>>,
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
    order: String,
}

/// What a request leads to.
enum Outcome {
    /// A page, with a place for the token of its forms.
    Page(String),
    Go(&'static str),
    /// Begins a new visit under a new cookie, with this step alone. Whoever knew the old one knows nothing of it.
    Enter(Step, Box<Outcome>),
    /// Ends the visit.
    Leave(Box<Outcome>),
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
        .route("/phone", on_get(phone_form).merge(on_post(phone)))
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
        let known = cookie(headers, FORM);
        // Other sites can have a browser send a form, but cannot know what its cookie holds (double submit).
        if input.as_ref().is_some_and(|input| known.as_ref() != Some(&input.csrf)) {
            return (StatusCode::BAD_REQUEST, "This form is too old. Load the page again.\n").into_response();
        }
        let Some(token) = known.clone().or_else(|| random().ok()) else { return unavailable() };
        let key = cookie(headers, VISIT);
        let visit = self.find(key.as_deref()).await.unwrap_or_else(|| Arc::new(Mutex::new(Visit::of(Step::Nobody))));
        let mut visit = visit.lock_owned().await;
        let socket = self.socket.clone();
        // The client blocks, so it gets a thread of its own for this request.
        let done = tokio::task::spawn_blocking(move || {
            let mut client = Client::new(socket);
            let done = work(&mut client, &mut visit, &input.unwrap_or_default());
            done.or_else(|error| refused(&mut visit, &*client_fault(error)?)).ok()
        });
        let Some(mut outcome) = done.await.ok().flatten() else { return unavailable() };
        let mut cookies = Vec::new();
        if known.is_none() {
            cookies.push(set_cookie(FORM, &token));
        }
        loop {
            outcome = match outcome {
                Outcome::Enter(step, then) => {
                    self.forget(key.as_deref()).await;
                    let Some(new) = self.begin(step).await else { return unavailable() };
                    cookies.push(set_cookie(VISIT, &new));
                    *then
                }
                Outcome::Leave(then) => {
                    self.forget(key.as_deref()).await;
                    *then
                }
                Outcome::Page(page) => return guarded(Html(page.replace("{csrf}", &token)).into_response(), &cookies),
                Outcome::Go(path) => {
                    return guarded((StatusCode::SEE_OTHER, [(LOCATION, path)]).into_response(), &cookies);
                }
            };
        }
    }

    async fn find(&self, key: Option<&str>) -> Option<Shared> {
        let mut visits = self.visits.lock().await;
        visits.retain(|_, (seen, _)| seen.elapsed() < LIFETIME);
        let (seen, visit) = visits.get_mut(key?)?;
        *seen = Instant::now();
        Some(Arc::clone(visit))
    }

    /// Stores a new visit under a new key. `None` if there is no randomness for one.
    async fn begin(&self, step: Step) -> Option<String> {
        let key = random().ok()?;
        let mut visits = self.visits.lock().await;
        if visits.len() >= LARGEST_STORE {
            let oldest = visits.iter().min_by_key(|(_, (seen, _))| *seen).map(|(key, _)| key.clone());
            oldest.map(|oldest| visits.remove(&oldest));
        }
        visits.insert(key.clone(), (Instant::now(), Arc::new(Mutex::new(Visit::of(step)))));
        Some(key)
    }

    async fn forget(&self, key: Option<&str>) {
        if let Some(key) = key {
            self.visits.lock().await.remove(key);
        }
    }
}

/// Lax: a link from another site must find the customer logged in. Forms have a token of their own.
fn set_cookie(name: &str, value: &str) -> String {
    format!("{name}={value}; Path=/; Secure; HttpOnly; SameSite=Lax")
}

fn guarded(mut response: Response, cookies: &[String]) -> Response {
    for cookie in cookies.iter().filter_map(|text| text.parse().ok()) {
        response.headers_mut().append(SET_COOKIE, cookie);
    }
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response.headers_mut().insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(CSP));
    response
}

impl Visit {
    fn of(step: Step) -> Self {
        Self { step, pending: None, order: None, note: None }
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

    /// Says this on the next page.
    fn says(&mut self, note: impl Into<String>) -> &mut Self {
        self.note = Some(note.into());
        self
    }
}

// ---- what a request does

fn login_form(visit: &mut Visit, note: impl Into<String>) -> Result<Outcome, Error> {
    form("Log in", visit.says(note), LOGIN)
}

fn home(mfad: &mut Client, visit: &mut Visit, _: &Input) -> Result<Outcome, Error> {
    let Some(session) = visit.session() else { return login_form(visit, "Log in first.") };
    let user = mfad.user(session)?;
    let name = escaped(user.display_name.as_deref().unwrap_or(&user.name));
    let phone = if user.mfa == "active" { LOST } else { PROTECT };
    form("Books", visit, &format!("<p>Logged in as <b id=\"name\">{name}</b>.</p>{HOME}{phone}"))
}

fn register(mfad: &mut Client, visit: &mut Visit, input: &Input) -> Result<Outcome, Error> {
    if input.password.len() < 8 {
        return form("Register", visit.says("A password has at least 8 characters."), REGISTER);
    }
    match mfad.create_user(input.name.trim(), &secret(&input.password)) {
        Ok(_) => login_form(visit, "Welcome. Log in with your new account."),
        Err(error) => form("Register", visit.says(sentence(&*client_fault(error)?)), REGISTER),
    }
}

fn log_in(mfad: &mut Client, visit: &mut Visit, input: &Input) -> Result<Outcome, Error> {
    let password = secret(&input.password);
    let (step, path) = match mfad.log_in(&Credentials { id: input.name.trim(), password: &password }) {
        Ok(LoginStep::LoggedIn(token)) => (Step::In(token), "/"),
        Ok(LoginStep::SecondFactor(challenge)) => (Step::Challenge(challenge), "/code"),
        Ok(LoginStep::MustEnroll(token)) => (Step::MustEnroll(token), "/phone"),
        Err(error) => return login_form(visit, sentence(&*client_fault(error)?)),
    };
    Ok(Outcome::Enter(step, Box::new(Outcome::Go(path))))
}

fn code_form(_: &mut Client, visit: &mut Visit, _: &Input) -> Result<Outcome, Error> {
    match visit.step {
        Step::Challenge(_) => form("Your code", visit, CODE),
        Step::Nobody | Step::MustEnroll(_) | Step::In(_) => Ok(Outcome::Go("/")),
    }
}

fn code(mfad: &mut Client, visit: &mut Visit, input: &Input) -> Result<Outcome, Error> {
    let Step::Challenge(challenge) = &visit.step else { return Ok(Outcome::Go("/")) };
    let code = digits(&input.code);
    let is_one_time = code.as_str().len() <= 8;
    let answered = if is_one_time {
        mfad.answer_with_code(challenge, &code)
    } else {
        mfad.answer_with_backup_code(challenge, &code)
    };
    let session = match answered {
        Ok(session) => session,
        Err(error) => {
            let refusal = client_fault(error)?;
            if refusal.code() == Some(ErrorCode::ChallengeEnded) || refusal.problem.remaining == Some(0) {
                let page = login_form(visit, "There were too many wrong codes. Begin again.")?;
                return Ok(Outcome::Leave(Box::new(page)));
            }
            return form("Your code", visit.says(sentence(&refusal)), CODE);
        }
    };
    let Some(left) = session.remaining else {
        return Ok(Outcome::Enter(Step::In(session), Box::new(Outcome::Go("/"))));
    };
    let mut new = Visit::of(Step::In(session.clone()));
    new.says(format!("You used a backup code; {left} are left. Is your phone lost? Replace it below."));
    let page = home(mfad, &mut new, input)?;
    Ok(Outcome::Enter(Step::In(session), Box::new(page)))
}

fn phone_form(_: &mut Client, visit: &mut Visit, _: &Input) -> Result<Outcome, Error> {
    if visit.enroller().is_none() {
        return login_form(visit, "Log in first.");
    }
    form("Set up your phone", visit, PHONE)
}

/// Shows the QR code of a new phone, and asks for its first code.
fn phone(mfad: &mut Client, visit: &mut Visit, _: &Input) -> Result<Outcome, Error> {
    let Some(token) = visit.enroller() else { return login_form(visit, "Log in first.") };
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
    let (Some(token), Some(pending)) = (visit.enroller(), &visit.pending) else { return Ok(Outcome::Go("/phone")) };
    let enrollment = match mfad.activate(token, pending, &digits(&input.code)) {
        Ok(enrollment) => enrollment,
        Err(error) => {
            let refusal = client_fault(error)?;
            if may_try_again(&refusal) && refusal.problem.remaining != Some(0) {
                return form("Set up your phone", visit.says(sentence(&refusal)), FIRST_CODE);
            }
            visit.pending = None;
            let note = "This was not finished in time, or there were too many wrong codes. Begin again.";
            return form("Set up your phone", visit.says(note), PHONE);
        }
    };
    let mut codes = String::new();
    for code in &enrollment.codes {
        let _ = write!(codes, "<li>{}</li>", escaped(code.as_str()));
    }
    // The codes are shown in any case: nothing repeats them.
    let page = form("Your phone is set up", visit, &format!("{CODES_WHY}<ol id=\"codes\">{codes}</ol>{KEPT}"))?;
    Ok(match enrollment.session {
        Some(session) => Outcome::Enter(Step::In(session), Box::new(page)),
        None => Outcome::Leave(Box::new(page)),
    })
}

/// Takes the lost phone away. That ends all sessions; the password then lets in to set the new phone up at once.
fn replace_phone(mfad: &mut Client, visit: &mut Visit, _: &Input) -> Result<Outcome, Error> {
    let Some(session) = visit.session() else { return login_form(visit, "Log in first.") };
    // This shop gives each customer one phone. With several, the customer has to choose.
    let mut secrets = mfad.secrets(session)?.into_iter();
    if let Some(lost) = secrets.find(|secret| secret.kind == "mfa" && secret.status == "active") {
        mfad.delete_secret(session, &lost.uid)?;
    }
    let page = login_form(visit, "The lost phone is taken away. Log in, and set the new one up.")?;
    Ok(Outcome::Leave(Box::new(page)))
}

fn buy(mfad: &mut Client, visit: &mut Visit, input: &Input) -> Result<Outcome, Error> {
    let Some(session) = visit.session() else { return login_form(visit, "Log in first.") };
    let is_guarded = mfad.user(session)?.mfa == "active";
    let Some(amount) = input.amount.parse().ok().filter(|amount| (1..=1000).contains(amount)) else {
        return home(mfad, visit.says("An order is for 1 to 1000 EUR."), input);
    };
    if !is_guarded {
        return form("Set up your phone", visit.says("Set a phone up first: orders are confirmed with it."), PHONE);
    }
    let number = random().map_err(|_| Error::Usage("there is no randomness"))?;
    visit.order = Some(Order { amount, number });
    Ok(Outcome::Go("/confirm"))
}

fn confirm_form(_: &mut Client, visit: &mut Visit, _: &Input) -> Result<Outcome, Error> {
    let Some(Order { amount, number }) = visit.order.clone() else { return Ok(Outcome::Go("/")) };
    let hidden = format!("<input type=\"hidden\" name=\"order\" value=\"{number}\">");
    let shown = format!("<p>You buy <b id=\"order\">books for {amount} EUR</b>.</p>{CONFIRM}");
    form("Confirm your order", visit, &shown.replace("{order}", &hidden))
}

/// Has the customer confirm this very order with a code, and carries it out once.
fn confirm(mfad: &mut Client, visit: &mut Visit, input: &Input) -> Result<Outcome, Error> {
    let (Some(session), Some(order)) = (visit.session(), visit.order.clone()) else { return Ok(Outcome::Go("/")) };
    if input.order != order.number {
        return confirm_form(
            mfad,
            visit.says("You changed your order in another window. This is the order now."),
            input,
        );
    }
    let fresh = match mfad.step_up(session, &digits(&input.code), &order.action()) {
        Ok(fresh) => fresh,
        Err(error) => {
            let refusal = client_fault(error)?;
            return if may_try_again(&refusal) {
                confirm_form(mfad, visit.says(sentence(&refusal)), input)
            } else {
                Err(Error::Refused(refusal))
            };
        }
    };
    let receipt = fresh.receipt.ok_or_else(|| Error::Unexpected("a step-up without a receipt".to_owned()))?;
    // In a larger shop another process does this, under an account of its own, before it sends the order.
    mfad.redeem(&receipt, &order.action())?;
    visit.order = None;
    home(mfad, visit.says(format!("Bought: books for {} EUR.", order.amount)), input)
}

fn log_out(mfad: &mut Client, visit: &mut Visit, _: &Input) -> Result<Outcome, Error> {
    if let Step::In(token) = std::mem::replace(&mut visit.step, Step::Nobody) {
        mfad.log_out(token)?;
    }
    let page = login_form(visit, "You are logged out.")?;
    Ok(Outcome::Leave(Box::new(page)))
}

// ---- refusals

/// The refusal, if it is about what the customer did. Everything else stays an error.
fn client_fault(error: Error) -> Result<Box<Refusal>, Error> {
    match error {
        Error::Refused(refusal) if refusal.problem.status < 500 => Ok(refusal),
        other => Err(other),
    }
}

/// Whether the customer can send another code to the same question.
fn may_try_again(refusal: &Refusal) -> bool {
    matches!(refusal.code(), Some(ErrorCode::WrongCode | ErrorCode::Malformed | ErrorCode::TooManyAttempts))
}

/// A refusal that no page expects. Nobody is let through.
fn refused(visit: &mut Visit, refusal: &Refusal) -> Result<Outcome, Error> {
    let page = login_form(visit, sentence(refusal))?;
    let is_over = matches!(refusal.code(), Some(ErrorCode::Unauthenticated | ErrorCode::ChallengeEnded));
    Ok(if is_over { Outcome::Leave(Box::new(page)) } else { page })
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

const REGISTER: &str = "<form method=\"post\" action=\"/register\">{csrf}\
    <p><label>Name <input name=\"name\" autocomplete=\"username\" required></label></p>\
    <p><label>Password <input name=\"password\" type=\"password\" autocomplete=\"new-password\" required></label></p>\
    <p><button>Register</button></p></form><p><a href=\"/login\">I have an account</a></p>";
const LOGIN: &str = "<form method=\"post\" action=\"/login\">{csrf}\
    <p><label>Name <input name=\"name\" autocomplete=\"username\" required></label></p>\
    <p><label>Password <input name=\"password\" type=\"password\" autocomplete=\"current-password\" required></label></p>\
    <p><button>Log in</button></p></form><p><a href=\"/register\">I am new here</a></p>";
const CODE: &str = "<form method=\"post\" action=\"/code\">{csrf}\
    <p><label>The code that your phone shows, or a backup code \
    <input name=\"code\" autocomplete=\"one-time-code\" required></label></p><p><button>Log in</button></p></form>";
const PHONE: &str = "<p>From then on a login takes your password and a code of your phone.</p>\
    <form method=\"post\" action=\"/phone\">{csrf}<p><button>Show the picture</button></p></form>";
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
const CONFIRM: &str = "<form method=\"post\" action=\"/confirm\">{csrf}{order}<p><label>A new code of your phone \
    <input name=\"code\" autocomplete=\"one-time-code\" required></label></p><p><button>Buy</button></p></form>";

/// A page with this content and the note of the visit. `{csrf}` in it stands for the token of forms.
fn form(title: &str, visit: &mut Visit, content: &str) -> Result<Outcome, Error> {
    let note = visit.note.take().map(|note| format!("<p role=\"status\" class=\"note\">{}</p>", escaped(&note)));
    let content = content.replace("{csrf}", "<input type=\"hidden\" name=\"csrf\" value=\"{csrf}\">");
    Ok(Outcome::Page(format!(
        "<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title} – Shop</title>\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"></head><body><main><h1>{title}</h1>\
         {}{content}</main></body></html>",
        note.unwrap_or_default()
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

fn cookie(headers: &HeaderMap, wanted: &str) -> Option<String> {
    let all = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = all.flat_map(|line| line.split("; ")).filter_map(|pair| pair.split_once('='));
    pairs.find(|(name, _)| *name == wanted).map(|(_, value)| value.to_owned())
}

fn random() -> Result<String, getrandom::Error> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes)?;
    Ok(BASE64URL_NOPAD.encode(&bytes))
}
