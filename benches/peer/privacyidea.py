#!/usr/bin/env python3
"""privacyidea.py [--connections N] [--seconds S] [--tokens T]: how many TOTP codes privacyIDEA checks in a second.

Runs privacyIDEA with SQLite in a temporary directory, under gunicorn with two workers, on a free port of 127.0.0.1, and
leaves nothing behind. Start it with the Python of an environment that has the packages of requirements.txt. Writes one
line of JSON. gunicorn's sync workers close the connection after each answer; http.client opens it anew by itself.
"""

import argparse
import collections
import contextlib
import ctypes
import hashlib
import hmac
import http.client
import importlib.metadata
import itertools
import json
import os
import queue
import secrets
import signal
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.parse
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NoReturn

WORKERS = 2
STEP = 30
# Tokens whose checks are not counted: each worker reads its settings and keys with its first checks.
WARM_UP = 8
LEAST_ACCEPTED = 0.99
START_LIMIT, ANSWER_LIMIT = 120, 60
WRONG = "the code is wrong"
SIGNALS = signal.SIGHUP, signal.SIGINT, signal.SIGTERM
PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None)
APP = "privacyidea.app:create_app('production', silent=True, initialize_hsm=True)"

Connection = http.client.HTTPConnection
Code = tuple[str, str]
Token = tuple[str, bytes]


class Fault(Exception):
    """What went wrong, in one sentence."""


def write_settings(directory: str) -> dict[str, str]:
    """Writes privacyIDEA's settings, and returns an environment that names their file."""
    settings = {
        "SQLALCHEMY_DATABASE_URI": f"sqlite:///{directory}/privacyidea.db",
        "SECRET_KEY": secrets.token_hex(32),
        "PI_PEPPER": secrets.token_hex(32),
        "PI_ENCFILE": f"{directory}/encryption.key",
        "PI_AUDIT_KEY_PRIVATE": f"{directory}/audit-private.pem",
        "PI_AUDIT_KEY_PUBLIC": f"{directory}/audit-public.pem",
        "PI_LOGLEVEL": "ERROR",
        "PI_LOGFILE": f"{directory}/privacyidea.log",
        # These two are files in /etc/privacyidea by default.
        "PI_LOGCONFIG": f"{directory}/none",
        "PI_UUID_FILE": f"{directory}/uuid.txt",
    }
    path = Path(directory, "pi.cfg")
    path.write_text("".join(f"{name} = {value!r}\n" for name, value in settings.items()), encoding="utf-8")
    return {"PATH": os.defpath, "HOME": directory, "LC_ALL": "C.UTF-8", "PRIVACYIDEA_CONFIGFILE": str(path)}


def manage(environment: dict[str, str], *command: str, answers: str = "") -> None:
    """Runs pi-manage in a session without a terminal, so that it reads a password from its standard input."""
    program = [Path(sys.executable).with_name("pi-manage"), *command]
    done = subprocess.run(program, cwd=environment["HOME"], env=environment, input=answers, capture_output=True,
                          text=True, timeout=START_LIMIT, start_new_session=True)  # fmt: skip
    if done.returncode != 0:
        raise Fault(f"pi-manage {' '.join(command)} failed: {done.stderr.strip()[-2000:]}")


def prepare(environment: dict[str, str], password: str) -> None:
    """Makes the keys, the tables and the admin."""
    for step in ("create_enckey", "create_audit_keys", "create_tables"):
        manage(environment, "setup", step)
    # In mfad's journal mode, which stays on. privacyIDEA leaves SQLite's default, which is slower.
    with contextlib.closing(sqlite3.connect(Path(environment["HOME"], "privacyidea.db"))) as database:
        database.execute("PRAGMA journal_mode = WAL")
    manage(environment, "admin", "add", "admin", answers=f"{password}\n{password}\n")


def end_with_parent() -> None:
    """Lets the kernel end gunicorn if this program is killed."""
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


@contextlib.contextmanager
def served(environment: dict[str, str]) -> Iterator[int]:
    """The port on which privacyIDEA answers."""
    log = Path(environment["HOME"], "gunicorn.log")
    with socket.create_server(("127.0.0.1", 0), backlog=2048) as listener, log.open("wb") as output:
        port, bind = listener.getsockname()[1], listener.fileno()
        program = [sys.executable, "-m", "gunicorn", f"--workers={WORKERS}", f"--bind=fd://{bind}", APP]
        program += [f"--timeout={ANSWER_LIMIT}", "--log-level=warning", "--no-control-socket"]
        process = subprocess.Popen(program, cwd=environment["HOME"], env=environment, stdin=subprocess.DEVNULL,
                                   stdout=output, stderr=output, pass_fds=[bind], preexec_fn=end_with_parent,
                                   start_new_session=True)  # fmt: skip
    try:
        deadline = time.monotonic() + START_LIMIT
        while not answers(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise Fault(f"privacyIDEA did not start: {log.read_text(errors='replace').strip()[-2000:]}")
            time.sleep(0.1)
        yield port
    finally:
        end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """Ends gunicorn and its workers, which are a process group of their own."""
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(10)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def connected(port: int, limit: float = ANSWER_LIMIT) -> contextlib.closing[Connection]:
    """A connection that waits so many seconds for an answer."""
    return contextlib.closing(Connection("127.0.0.1", port, timeout=limit))


def answers(port: int) -> bool:
    """Whether privacyIDEA answers yet."""
    with contextlib.suppress(OSError, http.client.HTTPException), connected(port, limit=5) as connection:
        connection.request("GET", "/healthz/livez")
        return connection.getresponse().status == 200
    return False


def post(connection: Connection, path: str, fields: dict[str, str], login: str = "") -> Any:
    """The value in privacyIDEA's answer."""
    headers = {"Content-Type": "application/x-www-form-urlencoded"} | ({"Authorization": login} if login else {})
    connection.request("POST", path, urllib.parse.urlencode(fields), headers)
    answer = connection.getresponse()
    body = answer.read()
    try:
        return json.loads(body)["result"]["value"]
    except (ValueError, KeyError, TypeError):
        raise Fault(f"POST {path} was answered with {answer.status} and {body[:300]!r}") from None


def log_in(port: int, password: str) -> str:
    """What proves to be the admin. Sets that a code needs no PIN."""
    with connected(port) as connection:
        login = post(connection, "/auth", {"username": "admin", "password": password})["token"]
        post(connection, "/policy/codes", {"scope": "authentication", "action": "otppin=none", "active": "1"}, login)
        return login


def make_tokens(port: int, login: str, count: int) -> list[Token]:
    """Makes TOTP tokens, as many at a time as there are workers."""
    tokens = [(f"PEER{number:05}", secrets.token_bytes(20)) for number in range(count)]
    kind = {"type": "totp", "otplen": "6", "hashlib": "sha1", "timeStep": str(STEP)}

    def make(token: Token) -> None:
        with connected(port) as connection:
            post(connection, "/token/init", kind | {"serial": token[0], "otpkey": token[1].hex()}, login)

    with ThreadPoolExecutor(WORKERS) as pool:
        collections.deque(pool.map(make, tokens), maxlen=0)
    return tokens


def totp(key: bytes, step: int) -> str:
    """The code of RFC 6238."""
    digest = hmac.digest(key, step.to_bytes(8, "big"), hashlib.sha1)
    start = digest[-1] & 15
    return f"{(int.from_bytes(digest[start : start + 4], 'big') & 0x7FFFFFFF) % 1_000_000:06}"


def codes_of(tokens: list[Token]) -> list[Code]:
    """The codes of the previous time step, then those of the current one, then those of the next one."""
    now = int(time.time()) // STEP
    return [(serial, totp(key, step)) for step, (serial, key) in itertools.product(range(now - 1, now + 2), tokens)]


def check(connection: Connection, code: Code) -> str:
    """Why the code is refused; empty if it is accepted."""
    try:
        return "" if post(connection, "/validate/check", {"serial": code[0], "pass": code[1]}) is True else WRONG
    except Fault as fault:
        return str(fault)


def demand_once(port: int, code: Code) -> None:
    """Fails unless a code is accepted the first time only."""
    with connected(port) as connection:
        replies = [check(connection, code), check(connection, code)]
    if replies != ["", WRONG]:
        raise Fault(f"a code that was sent twice was answered with {replies}")


def load(port: int, codes: list[Code], connections: int, seconds: float) -> tuple[list[float], float]:
    """How many seconds each accepted code took, and all of them together. Begins no check after so many seconds."""
    waiting: queue.SimpleQueue[Code] = queue.SimpleQueue()
    for code in codes:
        waiting.put(code)
    began = time.monotonic()

    def check_in_turn(_: int) -> list[tuple[float, str]]:
        checks = []
        with connected(port) as connection, contextlib.suppress(queue.Empty):
            while (start := time.monotonic()) < began + seconds:
                reason = check(connection, waiting.get_nowait())
                checks.append((time.monotonic() - start, reason))
        return checks

    with ThreadPoolExecutor(connections) as pool:
        checks = list(itertools.chain.from_iterable(pool.map(check_in_turn, range(connections))))
    took = time.monotonic() - began
    accepted = [length for length, reason in checks if not reason]
    if not accepted or len(accepted) < LEAST_ACCEPTED * len(checks):
        refused = collections.Counter(reason for _, reason in checks if reason)
        raise Fault(f"{refused.total()} of {len(checks)} fresh codes were refused: {dict(refused.most_common(3))}")
    return accepted, took


def measure(connections: int, seconds: float, count: int) -> dict[str, object]:
    """Runs privacyIDEA, and returns what is to be printed."""
    try:
        program = f"privacyIDEA {importlib.metadata.version('privacyidea')}"
    except importlib.metadata.PackageNotFoundError:
        raise Fault(f"privacyIDEA is not installed for {sys.executable}") from None
    with tempfile.TemporaryDirectory(prefix="mfad-peer-") as directory:
        environment, password = write_settings(directory), secrets.token_hex(16)
        prepare(environment, password)
        with served(environment) as port:
            tokens = make_tokens(port, log_in(port, password), count + WARM_UP + 1)
            demand_once(port, codes_of(tokens[-1:])[0])
            load(port, codes_of(tokens[count:-1]), WORKERS, START_LIMIT)
            accepted, took = load(port, codes_of(tokens[:count]), connections, seconds)
    rate, p50 = round(len(accepted) / took, 1), round(1000 * statistics.median(accepted), 1)
    figures = {"checks": len(accepted), "seconds": round(took, 3), "perSecond": rate, "p50Ms": p50}
    return {"program": program, "connections": connections} | figures


def stop(number: int, _: object) -> NoReturn:
    """Leaves on a signal, through the clean-up, which another signal must not break off."""
    for other in SIGNALS:
        signal.signal(other, signal.SIG_IGN)
    sys.exit(f"privacyidea.py: ended by {signal.Signals(number).name}")


def main() -> int:
    """Prints the measurement, or why there is none."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n", 1)[0])
    parser.add_argument("--connections", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--tokens", type=int, default=400)
    arguments = parser.parse_args()
    for number in SIGNALS:
        signal.signal(number, stop)
    try:
        if arguments.seconds <= 0 or not 0 < arguments.connections <= arguments.tokens:
            raise Fault("there must be seconds, connections, and at least as many tokens as connections")
        print(json.dumps(measure(arguments.connections, arguments.seconds, arguments.tokens)))
    except (Fault, OSError, http.client.HTTPException, subprocess.SubprocessError) as fault:
        print(f"privacyidea.py: {fault}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
