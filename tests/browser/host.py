"""A daemon of its own for the test of the page, and somebody who has devices."""

import base64
import contextlib
import hashlib
import hmac
import json
import os
import signal
import struct
import subprocess
import time
from pathlib import Path
from urllib.parse import urlsplit

import proxy

PATIENCE = 30
GLANCE = 0.02


def until(what, condition, patience=PATIENCE):
    """Waits for a truthy answer of the condition, and gives it."""
    deadline = time.monotonic() + patience
    while True:
        if answer := condition():
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not happen within {patience} s")
        time.sleep(GLANCE)


def end(process):
    """Ends a process of this test, if it was started."""
    if process:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class Host:
    """The daemon on a private socket."""

    def __init__(self, program, directory, origin):
        self.program = str(program)
        self.dir = Path(directory)
        self.config = self.dir / "mfad.toml"
        self.socket = self.dir / "mfad.sock"
        self.origin = origin
        self.process = None
        # What an older daemon does not know yet is left out.
        keys = f'[fido2]\nrpId = "{urlsplit(origin).hostname}"\norigins = ["{origin}"]\n'
        german = Path(__file__).resolve().parents[2] / "packaging/ui.de.json"
        page = f'ui = true\nuiLanguage = "{german}"\n'
        for self.top, self.tables in ((page, keys), ("ui = true\n", keys), ("ui = true\n", ""), ("", keys), ("", "")):
            self.configure()
            init = [self.program, "init", "--config", self.config, "--state-dir", self.dir / "state"]
            made = subprocess.run(init, env=self.environment(), capture_output=True, text=True, check=False)
            if made.returncode == 0:
                return
            if made.returncode != 3:
                break
        raise AssertionError(f"init: {made.stderr}")

    def configure(self, top=""):
        peer = f'\n[[peer]]\nuid = {os.getuid()}\nrights = ["admin", "app", "audit"]\n'
        # A reverse proxy of another account may connect.
        general = 'registration = "open"\nsocketMode = "0666"\n'
        self.config.write_text(f"{general}{top}{self.top}\n{self.tables}{peer}", encoding="utf-8")
        # The daemon takes no configuration that others may write, whatever the umask is.
        self.config.chmod(0o600)

    def environment(self):
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("MFAD_", "LISTEN_"))}
        for name in ("CREDENTIALS_DIRECTORY", "NOTIFY_SOCKET"):
            kept.pop(name, None)
        # Whatever keys this host has are nobody's business here.
        return kept | {"PCSCLITE_CSOCK_NAME": str(self.dir / "no pcscd here")}

    def start(self):
        command = [self.program, "--config", self.config, "--state-dir", self.dir / "state", "--socket", self.socket]
        with (self.dir / "log").open("ab") as log:
            self.process = subprocess.Popen(
                command, env=self.environment(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log
            )
        until("a ready daemon", self.is_ready)

    def is_ready(self):
        if self.process.poll() is not None:
            raise AssertionError(f"the daemon ended: {self.log()}")
        with contextlib.suppress(OSError):
            return proxy.ask(str(self.socket), "GET", "/health/ready")[0] == 200
        return False

    def reload(self, top, name, value):
        """Other settings, and the wait for `GET /auth` to tell of them."""
        self.configure(top)
        self.process.send_signal(signal.SIGHUP)
        until(f"{name} = {value}", lambda: self.call("GET", "/auth")[name] == value)

    def stop(self):
        end(self.process)

    def log(self):
        return (self.dir / "log").read_text(encoding="utf-8")[-4000:]

    def call(self, method, path, body=None, token=None, expect=200):
        headers = {"Content-Type": "application/json"} if body is not None else {}
        if token:
            headers["Authorization"] = f"jwt {token}"
        content = json.dumps(body).encode() if body is not None else None
        status, _, answer = proxy.ask(str(self.socket), method, f"/v1{path}", headers, content)
        if expect is not None and status != expect:
            raise AssertionError(f"{method} {path}: {status} {answer[:300]}")
        return json.loads(answer) if answer else None


class Device:
    """An authenticator: codes of one seed, each step at most once (RFC 4226, RFC 6238)."""

    def __init__(self, seed):
        self.seed = base64.b32decode(seed + "=" * (-len(seed) % 8))
        self.last = 0

    def code(self, step, digits=6, algorithm="sha1"):
        tag = hmac.digest(self.seed, struct.pack(">Q", step), algorithm)
        at = tag[-1] & 0x0F
        number = struct.unpack(">I", tag[at : at + 4])[0] & 0x7FFFFFFF
        return str(number % 10**digits).zfill(digits)

    @staticmethod
    def now(period=30):
        return int(time.time()) // period

    def next(self):
        """A code that the daemon takes now: of the step before, of this one, or of the one after."""
        # One of the step before is too old as soon as this step ends, which may be before it arrives.
        is_ending = time.time() % 30 > 22
        step = max(self.last + 1, self.now() if is_ending else self.now() - 1)
        until("the next step of the clock", lambda: self.now() + 1 >= step, 45)
        self.last = step
        return self.code(step)

    def wrong(self):
        """A code that is none of those near."""
        near = {self.code(self.now() + offset) for offset in range(-3, 4)}
        numbers = (hashlib.sha256(bytes([salt])).digest()[0] * 3907 for salt in range(100))
        return next(code for number in numbers if (code := f"{number:06}") not in near)
