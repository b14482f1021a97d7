"""A small web shop whose users log in through mfad. Run it behind nginx; README.md shows how.

The shop keeps no password, no seed and no code. Its own state is a session per browser, which holds mfad's tokens.
"""

from __future__ import annotations

import secrets
import threading
import time
from dataclasses import dataclass, field
from typing import Any

import flask
import mfad_client
from mfad_client import Challenge, MustEnroll, Refused, Session

COOKIE = "__Host-shop"
LIFETIME = 30 * 60
LARGEST_STORE = 10_000

mfad = mfad_client.Client()
app = flask.Flask(__name__)
# nginx ends TLS, and the browser sends cookies with Secure only there.
app.config.update(MAX_CONTENT_LENGTH=16 * 1024)


@dataclass
class Visit:
    """What the shop knows about one browser. It stays on the server."""

    csrf: str = field(default_factory=secrets.token_urlsafe)
    step: Session | Challenge | MustEnroll | None = None
    pending: str | None = None
    """The factor that waits for its first code."""
    order: tuple[str, int] | None = None
    """The order that waits for its confirmation: what, and for how many EUR."""
    notes: list[str] = field(default_factory=list)
    seen: float = 0.0


class Visits:
    """The visits of this process, by the cookie's value. A shop with several processes keeps them in a database."""

    def __init__(self) -> None:
        self._visits: dict[str, Visit] = {}
        self._lock = threading.Lock()

    def of(self, key: str | None) -> Visit | None:
        now = time.monotonic()
        with self._lock:
            for old in [key for key, visit in self._visits.items() if now - visit.seen > LIFETIME]:
                del self._visits[old]
            visit = self._visits.get(key or "")
            if visit is not None:
                visit.seen = now
            return visit

    def begin(self, visit: Visit) -> str:
        key = secrets.token_urlsafe(32)
        visit.seen = time.monotonic()
        with self._lock:
            while len(self._visits) >= LARGEST_STORE:
                self._visits.pop(next(iter(self._visits)))
            self._visits[key] = visit
        return key

    def end(self, key: str | None) -> None:
        with self._lock:
            self._visits.pop(key or "", None)


visits = Visits()


def key() -> str | None:
    return flask.request.cookies.get(COOKIE)


def current() -> Visit:
    visit: Visit = flask.g.visit
    return visit


@app.before_request
def find_visit() -> None:
    visit = visits.of(key())
    flask.g.is_new = visit is None
    flask.g.visit = visit or Visit()
    # SameSite keeps other sites from sending the cookie; the token also stops a page of a neighbouring subdomain.
    if flask.request.method == "POST":
        sent = flask.request.form.get("csrf", "")
        if not secrets.compare_digest(sent.encode(), current().csrf.encode()):
            flask.abort(400, "This form is too old. Load the page again.")


@app.after_request
def keep_visit(response: flask.Response) -> flask.Response:
    if flask.g.get("is_new") and flask.g.visit is not None:
        renew_cookie(response)
    response.headers["Cache-Control"] = "no-store"
    response.headers["Content-Security-Policy"] = "default-src 'none'; img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    return response


def renew_cookie(response: flask.Response) -> None:
    """Gives the visit a new key. After a login the old one, which somebody may have planted, must not work."""
    visits.end(key())
    response.set_cookie(COOKIE, visits.begin(current()), secure=True, httponly=True, samesite="Strict", path="/")


def page(name: str, **values: Any) -> str:
    notes, current().notes = current().notes, []
    return flask.render_template(f"{name}.html", csrf=current().csrf, notes=notes, **values)


def go(name: str, note: str | None = None) -> flask.Response:
    if note:
        current().notes.append(note)
    response = flask.make_response(flask.redirect(flask.url_for(name), 303))
    return response


def form(name: str) -> str:
    return flask.request.form.get(name, "")


SENTENCES = {
    "wrong-credentials": "The name or the password is wrong.",
    "wrong-code": "This code is wrong, or was used before. Take the next one.",
    "malformed": "A code has 6 digits, a backup code has 16 letters and digits.",
    "name-taken": "This name is taken.",
    "factor-locked": "Your account is locked after too many wrong codes. Call us.",
    "unauthenticated": "Your session has ended. Log in again.",
}


def sentence(refused: Refused) -> str:
    """What a refusal says to a customer."""
    if refused.status == 429:
        return f"There were too many attempts. Try again in {refused.retry_after} seconds."
    if refused.status >= 500:
        return "We cannot check logins at the moment. Try again later."
    return SENTENCES.get(refused.code, "This did not work.")


@app.errorhandler(mfad_client.Error)
def failed(error: mfad_client.Error) -> flask.Response:
    """A refusal that no page expects. Nobody is let through."""
    if isinstance(error, Refused) and error.status < 500:
        if error.code in ("unauthenticated", "challenge-ended"):
            current().step = None
        return go("login", sentence(error))
    app.logger.error("mfad: %s", error)
    return flask.make_response(("We cannot check logins at the moment. Try again later.", 503))


def customer() -> Session:
    """The session of a customer who is logged in."""
    step = current().step
    if not isinstance(step, Session):
        flask.abort(go("login", "Log in first."))
    return step


@app.get("/")
def home() -> str | flask.Response:
    session = customer()
    return page("home", user=mfad.user(session))


@app.route("/register", methods=["GET", "POST"])
def register() -> str | flask.Response:
    if flask.request.method == "GET":
        return page("register")
    if len(form("password").encode()) < 8:
        return go("register", "A password has at least 8 characters.")
    try:
        mfad.create_user(form("name").strip(), form("password"))
    except Refused as refused:
        if refused.status >= 500:
            raise
        return go("register", sentence(refused))
    return go("login", "Welcome. Log in with your new account.")


@app.route("/login", methods=["GET", "POST"])
def login() -> str | flask.Response:
    if flask.request.method == "GET":
        return page("login")
    try:
        step = mfad.log_in(form("name").strip(), form("password"))
    except Refused as refused:
        if refused.status >= 500:
            raise
        return go("login", sentence(refused))
    current().step = step
    names = {Challenge: "code", MustEnroll: "phone", Session: "home"}
    response = go(names[type(step)])
    renew_cookie(response)
    return response


@app.route("/code", methods=["GET", "POST"])
def code() -> str | flask.Response:
    challenge = current().step
    if not isinstance(challenge, Challenge):
        return go("login")
    if flask.request.method == "GET":
        return page("code")
    try:
        session = mfad.answer(challenge, form("code"))
    except Refused as refused:
        if refused.code == "challenge-ended" or refused.remaining == 0:
            current().step = None
            return go("login", "There were too many wrong codes. Begin again.")
        if refused.status >= 500:
            raise
        return go("code", sentence(refused))
    current().step = session
    if session.remaining is not None:
        current().notes.append(f"You used a backup code; {session.remaining} are left. Is your phone lost? Replace it below.")
    response = go("home")
    renew_cookie(response)
    return response


@app.route("/phone", methods=["GET", "POST"])
def phone() -> str | flask.Response:
    """Enrols a phone: shows the QR code, then asks for the first code."""
    who = current().step
    if not isinstance(who, (Session, MustEnroll)):
        return go("login")
    if flask.request.method == "GET":
        return page("phone", picture=None)
    pending = mfad.enroll(who, "phone", qr="svg")
    current().pending = pending.secret_id
    return page("phone", picture=pending.qr, seed=pending.seed)


@app.post("/phone/first-code")
def first_code() -> str | flask.Response:
    who, pending = current().step, current().pending
    if not isinstance(who, (Session, MustEnroll)) or pending is None:
        return go("login")
    try:
        enrollment = mfad.activate(who, pending, form("code"))
    except Refused as refused:
        if refused.code not in ("wrong-code", "malformed") or refused.remaining == 0:
            current().pending = None
            return go("phone", "This was not finished in time, or there were too many wrong codes. Begin again.")
        return page("phone", picture=None, again=sentence(refused))
    current().step, current().pending = enrollment.session, None
    return page("codes", codes=enrollment.backup_codes)


@app.post("/phone/replace")
def replace_phone() -> str | flask.Response:
    """Takes the lost phone away. That ends all sessions; the password then lets in to enrol the new phone at once."""
    session = customer()
    for factor in mfad.secrets(session):
        if factor.type == "mfa":
            mfad.delete_secret(session, factor.secret_id)
            break
    current().step = None
    return go("login", "The lost phone is taken away. Log in, and set the new one up.")


@app.route("/buy", methods=["GET", "POST"])
def buy() -> str | flask.Response:
    session = customer()
    if flask.request.method == "GET":
        return go("home")
    if not form("amount").isascii() or not form("amount").isdigit() or not 0 < int(form("amount")) <= 1000:
        return go("home", "An order is for 1 to 1000 EUR.")
    if mfad.user(session).mfa != "active":
        return go("phone", "Set a phone up first: orders are confirmed with it.")
    current().order = ("books", int(form("amount")))
    return go("confirm")


@app.route("/confirm", methods=["GET", "POST"])
def confirm() -> str | flask.Response:
    """Asks for a code for this very order, and carries it out once."""
    session, order = customer(), current().order
    if order is None:
        return go("home")
    what, amount = order
    if flask.request.method == "GET":
        return page("confirm", what=what, amount=amount)
    # The text is the shop's own, not the browser's: what was shown is what is confirmed.
    action = f"buy {what} for {amount} EUR"
    try:
        fresh = mfad.step_up(session, form("code"), action)
    except Refused as refused:
        if refused.code not in ("wrong-code", "malformed", "too-many-attempts"):
            raise
        return go("confirm", sentence(refused))
    if fresh.receipt is None:
        raise mfad_client.Unexpected("a step-up without a receipt")
    # In a larger shop another process does this, under an account of its own, before it sends the order.
    mfad.redeem(fresh.receipt, action)
    current().order = None
    return go("home", f"Bought: {what} for {amount} EUR.")


@app.post("/logout")
def logout() -> flask.Response:
    step = current().step
    visits.end(key())
    flask.g.visit, flask.g.is_new = Visit(), True
    if isinstance(step, Session):
        mfad.log_out(step)
    return go("login", "You are logged out.")
