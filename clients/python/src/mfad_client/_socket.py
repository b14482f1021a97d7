"""One exchange with the daemon: HTTP/1.1 over its Unix socket."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Mapping
from dataclasses import dataclass

from ._errors import NoAnswer, Unreachable

# The largest answer that the API has, a page of audit rows, is far smaller.
LARGEST_ANSWER = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer with any status."""

    status: int
    body: bytes


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def exchange(
    path: str, timeout: float, method: str, target: str, headers: Mapping[str, str], body: bytes | None
) -> Answer:
    """Sends a request on a connection of its own and reads the answer.

    A connection per request costs little on a Unix socket. It works across threads and forks, and never meets a
    connection that the daemon has closed.
    """
    connection = _UnixConnection(path, timeout)
    try:
        try:
            connection.connect()
        except OSError as error:
            raise Unreachable(f"cannot connect to the daemon at {path}: {error.strerror or error}") from error
        try:
            connection.request(method, target, body, {**headers, "Connection": "close"})
            response = connection.getresponse()
            content = response.read(LARGEST_ANSWER + 1)
            # With a size, http.client takes a body that ends early for a whole one.
            if response.length and len(content) <= LARGEST_ANSWER:
                raise NoAnswer("the connection to the daemon broke off in the answer")
        except TimeoutError as error:
            raise NoAnswer("the daemon did not answer in time") from error
        except (OSError, http.client.HTTPException) as error:
            # The text of an HTTPException may quote the answer, which may hold a secret.
            raise NoAnswer(f"the connection to the daemon broke off ({type(error).__name__})") from None
        if len(content) > LARGEST_ANSWER:
            raise NoAnswer("the answer is too large")
        return Answer(response.status, content)
    finally:
        connection.close()
