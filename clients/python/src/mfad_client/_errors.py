"""Why a call has no result. No message holds a password, a code or a token."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class Error(Exception):
    """The base of all errors of this package."""


class Unreachable(Error):
    """No connection to the daemon could be opened. The request was not sent."""


class NoAnswer(Error):
    """The connection broke, or the answer did not come in time. It is unknown whether the request was carried out."""


class Unexpected(Error):
    """The answer is not one of this version of the API."""


class TokenError(Error):
    """This is not a valid access token. The message says why, for the log of the app; it is not for the user."""


class Refused(Error):
    """The daemon refused the request, with a problem document (RFC 9457).

    Match on `code`; `detail` is for people and may change. `docs/errors.md` lists the codes.
    """

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        self.status = status
        self.code: str = _text(problem, "code") or ""
        self.detail: str = _text(problem, "detail") or _text(problem, "title") or "the daemon gave no reason"
        self.request_id: str | None = _text(problem, "requestId")
        self.retry_after: int | None = _number(problem, "retryAfter")
        """Seconds to wait before the next attempt; with 429 and 503."""
        self.remaining: int | None = _number(problem, "remaining")
        """Attempts left, where the daemon says so."""
        self.is_after_loss = False
        """Whether an earlier answer to the same request was lost."""
        self.problem = dict(problem)
        """The whole problem document."""
        super().__init__(f"{status} {self.code}: {self.detail}" if self.code else f"{status}: {self.detail}")


def _text(problem: Mapping[str, Any], name: str) -> str | None:
    value = problem.get(name)
    return value if isinstance(value, str) else None


def _number(problem: Mapping[str, Any], name: str) -> int | None:
    value = problem.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) else None
