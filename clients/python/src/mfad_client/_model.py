"""What the daemon answers, as values. Tokens, seeds and codes are left out of every `repr`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Self, TypeVar

from ._errors import Unexpected

Json = dict[str, Any]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Session:
    """A user who is logged in."""

    user_id: str
    token: str = field(repr=False)
    """The access token (JWT): for calls of this user, until `expires_in` seconds after the answer."""
    expires_in: int
    refresh: str | None = field(repr=False, default=None)
    """Exchanged for a new pair with `Client.refresh`; works once. A step-up gives none."""
    receipt: str | None = field(repr=False, default=None)
    """The proof of one confirmed action, to be redeemed once within 5 minutes; only after `Client.step_up`."""
    remaining: int | None = None
    """Backup codes left; only after a login with a backup code."""
    warning: str | None = None
    """Text for the user, for example that few backup codes are left."""


@dataclass(frozen=True, slots=True)
class Challenge:
    """The password was right, and a second factor must answer. Ends after 5 minutes or 5 wrong codes."""

    user_id: str
    token: str = field(repr=False)
    expires_in: int
    methods: tuple[str, ...]
    """Which of `totp` (any one-time password), `device`, `recovery` and `fido2` the user can answer with."""


@dataclass(frozen=True, slots=True)
class MustEnroll:
    """The password was right. The policy demands a second factor, and the user has none: only `Client.enroll` works."""

    user_id: str
    token: str = field(repr=False)
    expires_in: int


@dataclass(frozen=True, slots=True)
class Lock:
    """Whether codes of a user are evaluated."""

    state: str
    """`none`, `delayed` (until `until`) or `locked` (until an administrator unlocks the user)."""
    failures: int | None = None
    until: str | None = None
    since: str | None = None


@dataclass(frozen=True, slots=True)
class User:
    """A user. Times are RFC 3339 in UTC."""

    user_id: str
    name: str
    display_name: str | None
    email: str | None
    roles: tuple[str, ...]
    disabled: bool
    mfa: str
    """`none`, `pending` (a factor waits for its first code) or `active` (a login needs a second factor)."""
    lock: Lock
    created: str
    modified: str
    version: int


@dataclass(frozen=True, slots=True)
class Secret:
    """A password, factor, API key or set of backup codes, without its value."""

    secret_id: str
    user_id: str
    type: str
    name: str
    status: str
    kind: str | None = None
    last_used: str | None = None


@dataclass(frozen=True, slots=True)
class PendingFactor:
    """A factor that waits for its first code. Show `qr` or `otpauth_url` to the user once, and keep neither."""

    secret_id: str
    user_id: str
    otpauth_url: str = field(repr=False)
    seed: str = field(repr=False)
    """Base32, for an authenticator that cannot scan."""
    qr: str | None = field(repr=False)
    """An SVG document, a PNG in Base64, or lines of text, as asked for."""
    expires: str


@dataclass(frozen=True, slots=True)
class Factor:
    """A factor that is active from now on."""

    secret_id: str
    user_id: str
    name: str


@dataclass(frozen=True, slots=True)
class Enrollment:
    """The result of a first code. Every older token of the user has ended; `session` takes their place."""

    factor: Factor
    backup_codes: tuple[str, ...] = field(repr=False)
    """Ten with the first factor, none with any other. Show them once."""
    session: Session | None
    """The session that goes on, with a second factor. None if the daemon could not give one: log in again."""


@dataclass(frozen=True, slots=True)
class Confirmation:
    """A redeemed receipt: this user confirmed the action."""

    user_id: str
    auth_time: str
    amr: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Claims:
    """What a valid access token says."""

    user_id: str
    amr: tuple[str, ...]
    """How the user logged in (RFC 8176). `mfa` is among these if a second factor took part."""
    auth_time: int | None
    """When, in seconds since 1970."""
    expires: int
    roles: tuple[str, ...]
    all: Json = field(repr=False)
    """All claims, as they stand in the token."""


class Reader:
    """Reads members of a JSON object. What is missing or of another type is `Unexpected`, named without its value."""

    __slots__ = ("_value",)

    def __init__(self, value: object) -> None:
        if not isinstance(value, dict):
            raise Unexpected("the answer is no JSON object")
        self._value: Json = value

    def has(self, name: str) -> bool:
        return self._value.get(name) is not None

    def text(self, name: str) -> str:
        return self._of(name, str)

    def maybe_text(self, name: str) -> str | None:
        return None if self._value.get(name) is None else self._of(name, str)

    def number(self, name: str) -> int:
        value = self._of(name, int)
        if isinstance(value, bool):
            raise Unexpected(f"{name} is no number")
        return value

    def maybe_number(self, name: str) -> int | None:
        return None if self._value.get(name) is None else self.number(name)

    def truth(self, name: str) -> bool:
        return self._of(name, bool)

    def texts(self, name: str) -> tuple[str, ...]:
        values = self._of(name, list)
        if not all(isinstance(value, str) for value in values):
            raise Unexpected(f"{name} is no list of texts")
        return tuple(values)

    def part(self, name: str) -> Self:
        return type(self)(self._of(name, dict))

    def parts(self, name: str) -> list[Self]:
        return [type(self)(value) for value in self._of(name, list)]

    def _of(self, name: str, kind: type[T]) -> T:
        value = self._value.get(name)
        if not isinstance(value, kind):
            raise Unexpected(f"{name} is missing or of another type")
        return value
