"""What the tests share: a phone, and sockets that misbehave."""

from __future__ import annotations

import base64
import hmac
import os
import socket
import threading
import time
import unittest
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

SOCKET = os.environ["MFAD_SOCKET"]
PASSWORD = "correct horse battery"


class Phone:
    """Shows a code for each step of 30 seconds (RFC 6238), and never the same code twice.

    The daemon takes the code of the step before and of the step after as well, so two codes need no wait.
    """

    def __init__(self, base32: str) -> None:
        self._seed = base64.b32decode(base32 + "=" * (-len(base32) % 8))
        self._step = 0

    def code(self) -> str:
        # One of the step before is too old as soon as this step ends, which may be before it arrives.
        is_ending = time.time() % 30 > 22
        self._step = max(self._step + 1, int(time.time()) // 30 - (0 if is_ending else 1))
        return self._of(self._step)

    def wrong(self) -> str:
        now = int(time.time()) // 30
        near = {self._of(now + offset) for offset in range(-3, 4)}
        return next(code for code in ("000000", "111111", "222222", "333333", "444444", "555555", "666666", "777777") if code not in near)

    def _of(self, step: int) -> str:
        digest = hmac.digest(self._seed, step.to_bytes(8, "big"), "sha1")
        offset = digest[-1] & 0x0F
        number = int.from_bytes(digest[offset : offset + 4], "big") & 0x7FFF_FFFF
        return f"{number % 1_000_000:06d}"


class Listener:
    """A Unix socket whose connections are served one after the other, each by the next of these functions."""

    def __init__(self, *serve: Callable[[socket.socket], None]) -> None:
        self._dir = TemporaryDirectory()
        self.path = str(Path(self._dir.name) / "test.sock")
        self.requests: list[bytes] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self.path)
        self._listener.listen(8)
        self._serve = serve
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        for serve in self._serve:
            connection, _ = self._listener.accept()
            with connection:
                connection.settimeout(30)
                self.requests.append(request := read_request(connection))
                serve_with = getattr(serve, "takes_request", False)
                serve(connection, request) if serve_with else serve(connection)

    def close(self) -> None:
        self._listener.close()
        self._dir.cleanup()


def read_request(connection: socket.socket) -> bytes:
    text = b""
    while b"\r\n\r\n" not in text:
        text += connection.recv(65536)
    head, body = text.split(b"\r\n\r\n", 1)
    length = next((int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0)
    while len(body) < length:
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body


def answer(status: int, body: bytes) -> Callable[[socket.socket], None]:
    """Serves this answer."""

    def serve(connection: socket.socket) -> None:
        head = f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
        connection.sendall(head + body)

    return serve


def hang_up(connection: socket.socket) -> None:
    """Closes the connection without an answer."""


def _to_daemon(request: bytes) -> bytes:
    with socket.socket(socket.AF_UNIX) as daemon:
        daemon.settimeout(30)
        daemon.connect(SOCKET)
        daemon.sendall(request)
        text = b""
        while piece := daemon.recv(65536):
            text += piece
    return text


def pass_on(connection: socket.socket, request: bytes) -> None:
    """Serves the daemon's answer."""
    connection.sendall(_to_daemon(request))


def lose_answer(connection: socket.socket, request: bytes) -> None:
    """Lets the daemon carry the request out, and loses its answer."""
    _to_daemon(request)


pass_on.takes_request = True  # type: ignore[attr-defined]
lose_answer.takes_request = True  # type: ignore[attr-defined]


class Case(unittest.TestCase):
    """A test with a clean-up for listeners."""

    def listen(self, *serve: Callable[..., None]) -> Listener:
        listener = Listener(*serve)
        self.addCleanup(listener.close)
        return listener
