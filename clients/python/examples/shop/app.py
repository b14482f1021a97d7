"""A small web shop whose users log in through mfad. Run it behind nginx; README.md shows how.

The shop keeps no password, no seed and no code. It keeps a visit for each browser whose user gave a right password; the
visit holds mfad's tokens.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import flask
import mfad_client
from mfad_client import Challenge, MustEnroll, Refused, Session

# The names begin with __Host-, so no other host of the domain can set these cookies (RFC 6265bis section 4.1.3.2).
VISIT = "__Host-shop"
FORM = "__Host-shop-form"
LIFETIME = 30 * 60
LARGEST_STORE = 10_000

mfad = mfad_client.Client()
app = flask.Flask(__name__)
app.config.update(MAX_CONTENT_LENGTH=16 * 1024)


@dataclass(frozen=True)
class Order:
    """An order that waits for its confirmation."""

    amount: int
    number: str = field(default_factory=lambda: secrets.token_urlsafe(16))
    """Ties the form that is sent to the order that was shown, whatever other windows do."""

    @property
    def action(self) -> str:
        return f"buy books for {self.amount} EUR (order {self.number})"


@dataclass
class Visit:
    """What the shop knows about one browser. Its requests are served one after the other."""

    step: Session | Challenge | MustEnroll
    pending: str | None = None
    """The factor that waits for its first code."""
    order: Order | None = None
    seen: float = field(default_factory=time.monotonic)
    turn: threading.Lock = field(default_factory=threading.Lock)


class Visits:
    """The visits of this process, by the cookie's value. A shop with several processes keeps them in a database.

    Each began with a right password, so strangers cannot fill it.
    """

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
        with self._lock:
            while len(self._visits) >= LARGEST_STORE:
                del self._visits[min(self._visits, key=lambda key: self._visits[key].seen)]
            self._visits[key] = visit
        return key

    def end(self, key: str | None) -> None:
        with self._lock:
            self._visits.pop(key or "", None)


visits = Visits()


def key() -> str | None:
    return flask.request.cookies.get(VISIT)


@app.before_request
def check_form() -> None:
    """Other sites can have a browser send a form, but cannot know what its cookie holds (double submit)."""
    flask.g.form_token = flask.request.cookies.get(FORM) or secrets.token_urlsafe(32)
    if flask.request.method == "POST":
        sent, kept = flask.request.form.get("csrf", ""), flask.request.cookies.get(FORM, "")
        if not kept or not secrets.compare_digest(sent.encode(), kept.encode()):
            flask.abort(400, "This form is too old. Load the page again.")


@app.after_request
def guard(response: flask.Response) -> flask.Response:
    if "form_token" in flask.g and flask.request.cookies.get(FORM) != flask.g.form_token:
        set_cookie(response, FORM, flask.g.form_token)
    response.headers["Cache-Control"] = "no-store"
    response.headers["Content-Security-Policy"] = (
        "default-src 'none'; img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )
    return response


def set_cookie(response: flask.Response, name: str, value: str) -> None:
    # Lax: a link from another site must find the customer logged in. Forms have a token of their own.
    response.set_cookie(name, value, secure=True, httponly=True, samesite="Lax", path="/")


def page(name: str, note: str | None = None, **values: Any) -> flask.Response:
    text = flask.render_template(f"{name}.html", csrf=flask.g.form_token, note=note, **values)
    return flask.make_response(text)


def go(name: str) -> flask.Response:
    return flask.make_response(flask.redirect(flask.url_for(name), 303))


def enter(step: Session | Challenge | MustEnroll, answer: Callable[[], flask.Response]) -> flask.Response:
    """Begins a new visit under a new cookie. Whoever knew the old one knows nothing of the new one."""
    visits.end(key())
    response = answer()
    set_cookie(response, VISIT, visits.begin(Visit(step)))
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
    """What a refusal says to a customer. A fault of the daemon is none: `failed` answers that."""
    if refused.status >= 500:
        raise refused
    if refused.status == 429:
        return f"There were too many attempts. Try again in {refused.retry_after} seconds."
    return SENTENCES.get(refused.code, "This did not work.")


@app.errorhandler(mfad_client.Error)
def failed(error: mfad_client.Error) -> flask.Response:
    """A refusal that no page expects, or no answer. Nobody is let through."""
    if isinstance(error, Refused) and error.status < 500:
        if error.code in ("unauthenticated", "challenge-ended"):
            visits.end(key())
        return page("login", sentence(error))
    app.logger.error("mfad: %s", error)
    return flask.make_response(("We cannot check logins at the moment. Try again later.", 503))


def with_visit(work: Callable[[Visit], flask.Response]) -> Callable[[], flask.Response]:
    """A view for those who gave a right password; it has the visit for itself."""

    def view() -> flask.Response:
        visit = visits.of(key())
        if visit is None:
            return page("login", "Log in first.")
        with visit.turn:
            return work(visit)

    view.__name__ = work.__name__
    return view


def with_session(work: Callable[[Visit, Session], flask.Response]) -> Callable[[], flask.Response]:
    """A view for customers who are logged in."""

    def inner(visit: Visit) -> flask.Response:
        if not isinstance(visit.step, Session):
            return page("login", "Log in first.")
        return work(visit, visit.step)

    inner.__name__ = work.__name__
    return with_visit(inner)


@app.get("/")
@with_session
def home(_: Visit, session: Session) -> flask.Response:
    return page("home", user=mfad.user(session))


@app.route("/register", methods=["GET", "POST"])
def register() -> flask.Response:
    if flask.request.method == "GET":
        return page("register")
    if len(form("password").encode()) < 8:
        return page("register", "A password has at least 8 characters.")
    try:
        mfad.create_user(form("name").strip(), form("password"))
    except Refused as refused:
        return page("register", sentence(refused))
    return page("login", "Welcome. Log in with your new account.")


@app.route("/login", methods=["GET", "POST"])
def login() -> flask.Response:
    if flask.request.method == "GET":
        return page("login")
    try:
        step = mfad.log_in(form("name").strip(), form("password"))
    except Refused as refused:
        return page("login", sentence(refused))
    names = {Challenge: "code", MustEnroll: "phone", Session: "home"}
    return enter(step, lambda: go(names[type(step)]))


@app.route("/code", methods=["GET", "POST"])
@with_visit
def code(visit: Visit) -> flask.Response:
    challenge = visit.step
    if not isinstance(challenge, Challenge):
        return go("home")
    if flask.request.method == "GET":
        return page("code")
    try:
        session = mfad.answer(challenge, form("code"))
    except Refused as refused:
        if refused.code == "challenge-ended" or refused.remaining == 0:
            visits.end(key())
            return page("login", "There were too many wrong codes. Begin again.")
        return page("code", sentence(refused))
    if session.remaining is None:
        return enter(session, lambda: go("home"))
    note = f"You used a backup code; {session.remaining} are left. Is your phone lost? Replace it below."
    return enter(session, lambda: page("home", note, user=mfad.user(session)))


@app.route("/phone", methods=["GET", "POST"])
@with_visit
def phone(visit: Visit) -> flask.Response:
    """Enrols a phone: shows the QR code, then asks for the first code."""
    who = visit.step
    if isinstance(who, Challenge):
        return go("code")
    if flask.request.method == "GET":
        return page("phone", picture=None)
    pending = mfad.enroll(who, "phone", qr="svg")
    visit.pending = pending.secret_id
    return page("phone", picture=pending.qr, seed=pending.seed)


@app.post("/phone/first-code")
@with_visit
def first_code(visit: Visit) -> flask.Response:
    who, pending = visit.step, visit.pending
    if isinstance(who, Challenge) or pending is None:
        return go("phone")
    try:
        enrollment = mfad.activate(who, pending, form("code"))
    except Refused as refused:
        said = sentence(refused)
        if refused.code not in ("wrong-code", "malformed", "too-many-attempts") or refused.remaining == 0:
            visit.pending = None
            return page("phone", "This was not finished in time, or there were too many wrong codes. Begin again.")
        return page("phone", said, picture=None, again=True)
    # The codes are shown in any case: nothing repeats them.
    show = page("codes", codes=enrollment.backup_codes)
    if enrollment.session is None:
        visits.end(key())
        return show
    return enter(enrollment.session, lambda: show)


@app.post("/phone/replace")
@with_session
def replace_phone(_: Visit, session: Session) -> flask.Response:
    """Takes the lost phone away. That ends all sessions; the password then lets in to enrol the new phone at once."""
    for factor in mfad.secrets(session):
        # This shop gives each customer one phone. With several, the customer has to choose.
        if factor.type == "mfa" and factor.status == "active":
            mfad.delete_secret(session, factor.secret_id)
            break
    visits.end(key())
    return page("login", "The lost phone is taken away. Log in, and set the new one up.")


@app.post("/buy")
@with_session
def buy(visit: Visit, session: Session) -> flask.Response:
    user = mfad.user(session)
    if not form("amount").isascii() or not form("amount").isdigit() or not 0 < int(form("amount")[:9]) <= 1000:
        return page("home", "An order is for 1 to 1000 EUR.", user=user)
    if user.mfa != "active":
        return page("phone", "Set a phone up first: orders are confirmed with it.")
    visit.order = Order(int(form("amount")))
    return go("confirm")


@app.route("/confirm", methods=["GET", "POST"])
@with_session
def confirm(visit: Visit, session: Session) -> flask.Response:
    """Asks for a code for this very order, and carries it out once."""
    order = visit.order
    if order is None:
        return go("home")
    if flask.request.method == "GET":
        return page("confirm", order=order)
    if not secrets.compare_digest(form("order").encode(), order.number.encode()):
        return page("confirm", "You changed your order in another window. This is the order now.", order=order)
    try:
        fresh = mfad.step_up(session, form("code"), order.action)
    except Refused as refused:
        if refused.code not in ("wrong-code", "malformed", "too-many-attempts"):
            raise
        return page("confirm", sentence(refused), order=order)
    if fresh.receipt is None:
        raise mfad_client.Unexpected("a step-up without a receipt")
    # In a larger shop another process does this, under an account of its own, before it sends the order.
    mfad.redeem(fresh.receipt, order.action)
    visit.order = None
    return page("home", f"Bought: books for {order.amount} EUR.", user=mfad.user(session))


@app.post("/logout")
def logout() -> flask.Response:
    visit = visits.of(key())
    visits.end(key())
    if visit is not None and isinstance(visit.step, Session):
        mfad.log_out(visit.step)
    return page("login", "You are logged out.")
