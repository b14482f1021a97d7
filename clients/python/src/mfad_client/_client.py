"""The calls of an app, over the daemon's Unix socket."""

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote, urlencode

from ._errors import Error, NoAnswer, Refused, Unexpected, Unreachable
from ._model import (
    Challenge,
    Confirmation,
    Enrollment,
    Factor,
    Lock,
    MustEnroll,
    PendingFactor,
    Reader,
    Secret,
    Session,
    User,
)
from ._socket import Answer, exchange

DEFAULT_SOCKET = "/run/mfad/mfad.sock"
# The daemon works on a request for at most 30 s.
TIMEOUT = 35.0
# The daemon keeps answers to idempotency keys for 60 s; a repetition must come before that.
LONGEST_PATIENCE = 45.0
PAUSE = 0.1


class Client:
    """The daemon of this host.

    The daemon knows the app by the account that it runs under, so there is no key to configure. A client holds no
    connection and no state: one serves all threads and processes of an app.

    `patience` is how many seconds a call is repeated while the daemon is restarting or busy. Repetitions carry one
    `Idempotency-Key`, so that the daemon carries the request out only once. 0 turns repetitions off.
    """

    def __init__(
        self,
        socket: str | None = None,
        *,
        timeout: float = TIMEOUT,
        patience: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """`socket` is `MFAD_SOCKET` of the environment, or else `/run/mfad/mfad.sock`, if it is not given."""
        if patience > LONGEST_PATIENCE:
            raise ValueError(f"patience is at most {LONGEST_PATIENCE:.0f} s: the daemon forgets an idempotency key")
        self.socket = socket or os.environ.get("MFAD_SOCKET") or DEFAULT_SOCKET
        self._timeout = timeout
        self._patience = patience
        self._clock = clock
        self._sleep = sleep

    # Users

    def create_user(
        self, name: str, password: str | None = None, *, email: str | None = None, display_name: str | None = None
    ) -> User:
        """Creates a user. Needs the right `app` or `admin` unless registration is open."""
        body = {"name": name, "password": password, "email": email, "displayName": display_name}
        return _user(self._post("/users", body).part("user"))

    def user(self, who: str | Session) -> User:
        """Reads a user by id, or the user of a session."""
        if isinstance(who, Session):
            return _user(self._get("/users/me", token=who.token))
        return _user(self._get(f"/users/{_id(who)}"))

    def user_named(self, name: str) -> User | None:
        """The user with this name, in any spelling. Needs the right `app` or `admin`."""
        found = self._get(f"/users?{urlencode({'name': name}, quote_via=quote)}").parts("users")
        return _user(found[0]) if found else None

    def users(self) -> Iterator[User]:
        """All users, page by page. Needs the right `app` or `admin`."""
        after: str | None = None
        while True:
            page = self._get("/users" + (f"?{urlencode({'after': after})}" if after else ""))
            yield from (_user(user) for user in page.parts("users"))
            after = page.maybe_text("next")
            if after is None:
                return

    def delete_user(self, user_id: str, *, reason: str) -> None:
        """Deletes a user with all secrets. Needs the right `admin`; the reason goes into the audit log."""
        self.request("DELETE", f"/users/{_id(user_id)}", reason=reason)

    def unlock(self, user_id: str, *, reason: str) -> None:
        """Ends a lock or delay after wrong codes. Needs the right `admin`; the reason goes into the audit log."""
        self.request("POST", f"/users/{_id(user_id)}/unlock", reason=reason)

    # Login

    def log_in(self, name: str, password: str) -> Session | Challenge | MustEnroll:
        """Does the first step of a login. `name` may be an e-mail address or a user id.

        A wrong name or password is `Refused` with the code `wrong-credentials`. Only a `Session` is a login.
        """
        answer = self._post("/auth/password", {"id": name, "password": password})
        kind = answer.text("type")
        if kind == "ACCESS":
            return _session(answer)
        user_id, token, expires_in = answer.text("userUid"), answer.text("token"), answer.number("expiresIn")
        if kind == "CHALLENGE":
            return Challenge(user_id, token, expires_in, answer.texts("methods"))
        if kind == "ENROLL":
            return MustEnroll(user_id, token, expires_in)
        # An unknown type must not pass for a login.
        raise Unexpected("a token of an unknown type")

    def answer(self, challenge: Challenge, code: str) -> Session:
        """Does the second step of a login with a one-time password or a backup code.

        `Refused` with the code `wrong-code` allows another try with the same challenge; `challenge-ended` does not.
        """
        return _granted(self._post("/auth/mfa", _proof(code), token=challenge.token))

    def key_options(self, challenge: Challenge) -> dict[str, Any]:
        """The argument of `navigator.credentials.get()`, with which a browser asks for the user's security key."""
        return self._object("POST", "/auth/fido2/options", {}, challenge.token)

    def answer_with_key(self, challenge: Challenge, credential: dict[str, Any]) -> Session:
        """Does the second step of a login with what the browser got from a security key."""
        return _granted(self._post("/auth/fido2", {"credential": credential}, token=challenge.token))

    def refresh(self, session: Session) -> Session:
        """Exchanges the refresh token for a new pair. Each refresh token works once."""
        if session.refresh is None:
            raise ValueError("this session has no refresh token")
        return _granted(self._post("/auth/refresh", {}, token=session.refresh))

    def log_out(self, session: Session) -> None:
        """Ends a session with its access and refresh tokens."""
        self.request("POST", "/auth/logout", {}, token=session.token)

    # Checks

    def verify(self, user_id: str, code: str) -> bool:
        """Whether this one-time password or backup code is the user's. A right one is used up. Needs the right `app`.

        Only a wrong code is `False`. A delay, a lock and a daemon that is busy are errors: none of them may look like
        an answer.
        """
        try:
            answer = self._post(f"/users/{_id(user_id)}/verify", _proof(code))
        except Refused as refused:
            if refused.status == 401 and refused.code == "wrong-code":
                # A daemon that was restarted no longer knows the request whose answer was lost, which may have used
                # the code up.
                if refused.is_after_loss:
                    raise NoAnswer("the answer was lost; the code may have been right and used up") from None
                return False
            raise
        if answer.truth("ok"):
            return True
        raise Unexpected("a check without a result")

    def step_up(self, session: Session, code: str, action: str, *, redeemer: int | None = None) -> Session:
        """Has the user confirm one action with a code. The result has a fresh token and a `receipt`.

        `action` says what is confirmed, for example `pay 100 EUR to Bob`; the part of the app that carries it out must
        redeem the receipt for the same text. `redeemer` is the uid of the account that may, if it is another one.
        """
        body = _proof(code) | {"action": action} | ({} if redeemer is None else {"redeemer": redeemer})
        return _granted(self._post("/auth/stepup", body, token=session.token))

    def redeem(self, receipt: str, action: str) -> Confirmation:
        """Redeems a receipt, once. Anything but a fresh receipt for this very action is `Refused`."""
        answer = self._post("/auth/receipt", {"receipt": receipt, "action": action})
        if not answer.truth("ok"):
            raise Unexpected("a receipt without a result")
        return Confirmation(answer.text("userId"), answer.text("authTime"), answer.texts("amr"))

    # Factors

    def enroll(
        self, who: Session | MustEnroll, name: str, *, kind: str = "totp", qr: str | None = None
    ) -> PendingFactor:
        """Begins to enrol an authenticator app (`totp`) or a code generator that counts (`hotp`).

        `qr` is `svg`, `png` or `text`. The factor protects nothing until `activate` got its first code.
        """
        body = {"type": "mfa", "name": name, "kind": kind}
        target = f"/users/{_id(who.user_id)}/secrets" + (f"?{urlencode({'qr': qr})}" if qr else "")
        answer = self._post(target, body, token=who.token)
        seed = answer.part("secret")
        return PendingFactor(
            secret_id=answer.text("uid"),
            user_id=answer.text("userId"),
            otpauth_url=seed.text("otpauth_url"),
            seed=seed.text("secret"),
            qr=answer.maybe_text("qr"),
            expires=answer.text("expires"),
        )

    def activate(self, who: Session | MustEnroll, secret_id: str, code: str) -> Enrollment:
        """Activates a pending factor with its first code. Ends every older token of the user.

        The result has a new session in place of the one that ended. After a first factor it lasts 15 minutes. A wrong
        code is `Refused` with the status 422; its `problem` may have a `diagnosis` of the device.
        """
        target = f"/users/{_id(who.user_id)}/secrets/{_id(secret_id)}/enroll?session=true"
        answer = Reader(self.request("PUT", target, {"token": _digits(code)}, token=who.token))
        factor = Factor(answer.text("uid"), answer.text("userId"), answer.text("name"))
        session = _granted(answer.part("session")) if answer.has("session") else None
        return Enrollment(factor, answer.texts("codes"), session)

    def secrets(self, session: Session) -> list[Secret]:
        """The user's passwords, factors, API keys and set of backup codes, without their values."""
        return [_secret(part) for part in self._get("/users/me/secrets", token=session.token).parts("secrets")]

    def delete_secret(self, session: Session, secret_id: str) -> None:
        """Deletes a factor, password or API key. May need a fresh proof; ends every older token of the user."""
        self.request("DELETE", f"/users/me/secrets/{_id(secret_id)}", token=session.token)

    def renew_backup_codes(self, session: Session) -> tuple[str, ...]:
        """Replaces the backup codes by ten new ones. Needs a fresh proof; ends every older token of the user."""
        return self._post("/users/me/codes", {}, token=session.token).texts("codes")

    def change_password(self, session: Session, current: str, new: str) -> None:
        """Changes the user's password. Ends every older token of the user."""
        body = {"secret": new, "current": current}
        self.request("PUT", "/users/me/secrets/password", body, token=session.token)

    # Everything else

    def ready(self) -> bool:
        """Whether the daemon is there and can serve, asked once."""
        try:
            return self._exchange("GET", "/health/ready", {}, None).status == 200
        except (Unreachable, NoAnswer):
            return False

    def request(
        self,
        method: str,
        target: str,
        body: dict[str, Any] | None = None,
        *,
        token: str | None = None,
        reason: str | None = None,
    ) -> object:
        """Makes any call of the API (`docs/openapi.yaml`) and returns its JSON, or None if the answer is empty.

        `target` is a path without `/v1`, percent-encoded. Members of the body that are None are left out.
        """
        headers = {"Accept": "application/json"}
        if token is not None:
            headers["Authorization"] = f"jwt {_field(token, 'a token')}"
        if reason is not None:
            headers["Mfad-Reason"] = _field(reason, "a reason")
        content = None
        if body is not None:
            headers["Content-Type"] = "application/json"
            content = json.dumps({name: value for name, value in body.items() if value is not None}).encode()
        if method in ("POST", "PUT"):
            headers["Idempotency-Key"] = secrets.token_hex(16)
        return _result(self._patiently(method, target, headers, content))

    def _patiently(self, method: str, target: str, headers: dict[str, str], body: bytes | None) -> Answer:
        """Repeats a request that may be repeated, as `docs/errors.md` says under "Trying again"."""
        end = self._clock() + self._patience
        was_lost = False
        while True:
            trouble: Error
            wait = PAUSE
            try:
                answer = self._exchange(method, target, headers, body)
            except Unreachable as error:
                trouble = error
            except NoAnswer as error:
                trouble, was_lost = error, True
                # Nothing tells the daemon that a second DELETE is the first one again.
                if method == "DELETE" or isinstance(error.__cause__, TimeoutError):
                    raise
            else:
                refused = _refusal(answer)
                if refused is None:
                    return answer
                refused.is_after_loss = was_lost
                is_running = was_lost and refused.code == "idempotency-conflict"
                is_passing = refused.status == 503 and refused.code in ("busy", "not-ready", "storage-unavailable")
                if not (is_running or is_passing):
                    raise refused
                trouble, wait = refused, float(refused.retry_after or PAUSE)
            if self._clock() + wait > end:
                raise trouble
            self._sleep(wait)

    def _exchange(self, method: str, target: str, headers: dict[str, str], body: bytes | None) -> Answer:
        return exchange(self.socket, self._timeout, method, f"/v1{target}", headers, body)

    def _get(self, target: str, token: str | None = None) -> Reader:
        return Reader(self.request("GET", target, token=token))

    def _post(self, target: str, body: dict[str, Any], token: str | None = None) -> Reader:
        return Reader(self.request("POST", target, body, token=token))

    def _object(self, method: str, target: str, body: dict[str, Any], token: str) -> dict[str, Any]:
        value = self.request(method, target, body, token=token)
        if not isinstance(value, dict):
            raise Unexpected("the answer is no JSON object")
        return value


def _result(answer: Answer) -> object:
    if not answer.body:
        return None
    try:
        value: object = json.loads(answer.body)
    except ValueError:
        # Its text could quote the answer, which may hold a secret.
        raise Unexpected("the answer is no JSON") from None
    return value


def _refusal(answer: Answer) -> Refused | None:
    if 200 <= answer.status < 300:
        return None
    try:
        problem = json.loads(answer.body)
    except ValueError:
        problem = None
    return Refused(answer.status, problem if isinstance(problem, dict) else {})


def _field(value: str, what: str) -> str:
    """A value of a header field. The error of http.client would quote it."""
    if not (value.isascii() and value.isprintable()):
        raise ValueError(f"{what} is printable ASCII")
    return value


def _id(value: str) -> str:
    """An id as one part of a path, whatever is in it."""
    if value in ("", ".", ".."):
        raise ValueError("an id is a UUID")
    return quote(value, safe="")


def _digits(code: str) -> str:
    """A one-time password as the daemon wants it: people and authenticator apps write it in groups."""
    return "".join(code.split()).replace("-", "")


def _proof(code: str) -> dict[str, Any]:
    """The body for a one-time password or a backup code. Nothing is both: a backup code has sixteen symbols."""
    digits = _digits(code)
    if digits.isascii() and digits.isdigit() and len(digits) <= 8:
        return {"token": digits}
    return {"code": "".join(code.split())}


def _granted(answer: Reader) -> Session:
    if answer.text("type") != "ACCESS":
        raise Unexpected("a login without access")
    return _session(answer)


def _session(answer: Reader) -> Session:
    return Session(
        user_id=answer.text("userUid"),
        token=answer.text("token"),
        expires_in=answer.number("expiresIn"),
        refresh=answer.maybe_text("refresh"),
        receipt=answer.maybe_text("receipt"),
        remaining=answer.maybe_number("remaining"),
        warning=answer.maybe_text("warning"),
    )


def _user(part: Reader) -> User:
    lock = part.part("lock")
    return User(
        user_id=part.text("uid"),
        name=part.text("name"),
        display_name=part.maybe_text("displayName"),
        email=part.maybe_text("email"),
        roles=part.texts("roles"),
        disabled=part.truth("disabled"),
        mfa=part.text("mfa"),
        lock=Lock(
            lock.text("state"), lock.maybe_number("failures"), lock.maybe_text("until"), lock.maybe_text("since")
        ),
        created=part.text("dateCreated"),
        modified=part.text("dateModified"),
        version=part.number("version"),
    )


def _secret(part: Reader) -> Secret:
    return Secret(
        secret_id=part.text("uid"),
        user_id=part.text("userId"),
        type=part.text("type"),
        name=part.text("name"),
        status=part.text("status"),
        kind=part.maybe_text("kind"),
        last_used=part.maybe_text("lastUsed"),
    )
