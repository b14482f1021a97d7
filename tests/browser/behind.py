#!/usr/bin/env python3
"""Walks through the self-service page in headless Chromium behind one reverse proxy of docs/reverse-proxy.md.

The browser speaks TLS with the proxy itself, by the name in the document. Ends 0 if all checks passed. The last line is
`N passed, N failed`.
"""

import argparse
import contextlib
import json
import os
import re
import ssl
import sys
import tempfile
import threading
import time
from pathlib import Path

from selenium.webdriver.common.by import By
from selenium.webdriver.common.virtual_authenticator import VirtualAuthenticatorOptions

from browser import PASSWORD, Page
from checks import Checks, forget_proxies, go
from host import Device, Host
from servers import KINDS, NAME, Server, TlsConnection

# Seconds between two requests: the daemon closes an idle connection at one of these.
PAUSES = [at + off for at in (1, 2, 3, 4) for off in (-0.05, 0, 0.05)]
JSON = {"Content-Type": "application/json"}


class Behind:
    """The parts of the test."""

    def __init__(self, host, server, page, checks):
        self.host = host
        self.server = server
        self.page = page
        self.holds = checks.holds

    def ask(self, method, target, headers=None, body=None):
        status, fields, content = self.server.ask(method, target, headers, body)
        return status, {name.lower(): value for name, value in fields}, content

    def the_paths(self):
        with self.holds("page and API pass, and the page with its policy"):
            status, headers, content = self.ask("GET", "/ui/")
            assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
            assert "default-src 'none'" in headers["content-security-policy"] and b"ui.js" in content
            status, _, content = self.ask("GET", "/v1/auth")
            assert status == 200 and "methods" in json.loads(content)
        with self.holds("the address without its slash leads to the page"):
            status, headers, _ = self.ask("GET", "/ui")
            absolute = (f"https://{NAME}/ui/", f"https://{NAME}:{self.server.port}/ui/")
            assert status == 308 and headers["location"] in ("/ui/", *absolute), (status, headers)
        with self.holds("nothing else passes"):
            for target in ("/", "/metrics", "/health/ready", "/users", "/uix", "/v1x/auth", "/.well-known/jwks.json"):
                status, _, content = self.ask("GET", target)
                assert status == 404 and b"urn:mfad" not in content, (target, status, content[:200])
            for target in ("/ui/../metrics", "/v1/../health/ready", "/ui/%2e%2e/metrics", "/v1/..%2fmetrics"):
                status, _, content = self.ask("GET", target)
                assert status in (400, 404), (target, status, content[:200])
        with self.holds("a request without a token has no right"):
            status, _, content = self.ask("GET", "/v1/users")
            # The proxy has an account of its own if the test may give it one.
            assert os.getuid() != 0 or (status, json.loads(content)["code"]) == (401, "unauthenticated"), content

    def the_bodies(self):
        login = json.dumps({"id": "nobody", "password": "wrong horse battery"}).encode()
        with self.holds("a body passes, of a known length and in chunks"):
            assert self.ask("POST", "/v1/auth/password", JSON, login)[0] == 401
            assert self.ask("POST", "/v1/auth/password", JSON, iter([login[:10], login[10:]]))[0] == 401
        with self.holds("a body at the limit passes, and one beyond it does not"):
            fill = b" " * (16 * 1024 - len(login))
            assert self.ask("POST", "/v1/auth/password", JSON, login + fill)[0] == 401
            assert self.is_too_large(login + fill + b" ")
            assert self.is_too_large(login + fill * 4)
        with self.holds("a refusal passes as the daemon words it"):
            status, headers, content = self.ask("POST", "/v1/auth/password", JSON, login)
            assert (status, headers["content-type"]) == (401, "application/problem+json"), (status, headers)
            assert json.loads(content)["code"] == "wrong-credentials"

    def is_too_large(self, body):
        """Whether such a body is refused. A proxy may do so before all of it is sent, and close."""
        try:
            return self.ask("POST", "/v1/auth/password", JSON, body)[0] == 413
        except (BrokenPipeError, ConnectionResetError, ssl.SSLError):
            return True

    def the_idle_connections(self):
        with self.holds("no request is lost when the daemon closes an idle connection"):
            failures, threads = [], []
            for pause in PAUSES * 3:
                threads.append(threading.Thread(target=self.ask_twice, args=(pause, failures)))
                threads[-1].start()
            for thread in threads:
                thread.join()
            assert not failures, failures

    def ask_twice(self, pause, failures):
        try:
            with contextlib.closing(TlsConnection(self.server)) as connection:
                for wait in (pause, 0):
                    connection.request("POST", "/v1/auth/logout")
                    answer = connection.getresponse()
                    answer.read()
                    if answer.status >= 500:
                        failures.append((pause, answer.status))
                    time.sleep(wait)
        except Exception as fault:
            failures.append((pause, repr(fault)))

    def an_app(self):
        page = self.page
        self.host.call("POST", "/users", {"name": "ada", "password": PASSWORD})
        with self.holds("the password logs in, and is refused when it is wrong"):
            page.log_in("ada", "wrong horse battery")
            page.message("login", "The name or the password is wrong.")
            page.log_in("ada")
            page.at("factors")
        with self.holds("an authenticator app is enrolled"):
            page.button("Add an authenticator app")
            page.button("Show the QR code")
            page.wait("#qr")
            device = Device(page.one("#seed").text.replace(" ", ""))
            page.type("#first-code-form [name=token]", device.next())
            page.button("Switch it on")
            page.at("codes")
            codes = [item.text for item in page.driver.find_elements(By.CSS_SELECTOR, "#code-list li")]
            assert len(codes) == 10 and all(re.fullmatch(r"(\w{4}-){3}\w{4}", code) for code in codes), codes
            page.click("#codes-kept")
            page.at("factors")
            page.click("#log-out")
            page.at("login")
        with self.holds("its code is the second step, and a backup code is another"):
            page.log_in("ada")
            page.at("second")
            page.give("second", "totp", device.wrong())
            page.message("second", "wrong, or was used before")
            page.give("second", "totp", device.next())
            page.at("factors")
            page.click("#log-out")
            page.at("login")
            page.log_in("ada")
            page.at("second")
            page.give("second", "recovery", codes[0])
            page.at("factors")

    def a_security_key(self):
        page = self.page
        self.host.call("POST", "/users", {"name": "eve", "password": PASSWORD})
        options = VirtualAuthenticatorOptions()
        options.transport = VirtualAuthenticatorOptions.Transport.USB
        options.has_user_verification = True
        options.is_user_verified = True
        page.driver.add_virtual_authenticator(options)
        with self.holds("a security key is registered for the name of the document, and logs in"):
            page.log_in("eve")
            page.at("factors")
            page.button("Add a security key")
            page.button("Register the key")
            page.at("codes")
            page.click("#codes-kept")
            page.at("factors")
            page.click("#log-out")
            page.at("login")
            page.log_in("eve")
            page.at("second")
            page.click("#second [value=fido2]")
            page.click("#second form .main")
            page.at("factors")

    def nothing_leaves(self):
        self.page.read_logs()
        with self.holds("no request left the origin, and the console has no error"):
            own = (f"{self.server.origin}/", "data:", f"blob:{self.server.origin}/")
            foreign = {url for url in self.page.requests if not url.startswith(own)}
            assert len(self.page.requests) > 10 and not foreign, foreign
            assert not self.page.complaints, self.page.complaints


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mfad", required=True, type=Path, help="the daemon's program")
    parser.add_argument("kind", choices=KINDS)
    arguments = parser.parse_args()
    forget_proxies()

    checks = Checks()
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mfad-ui-") as directory:
        # A reverse proxy of another account reaches the socket in it.
        os.chmod(directory, 0o711)
        downloads = Path(directory) / "downloads"
        downloads.mkdir()
        host = Host(arguments.mfad.resolve(), directory, f"https://{NAME}")
        server = Server(arguments.kind, Path(directory) / "server", host.socket)
        page = None
        try:
            host.start()
            server.start()
            page = Page(server.origin, downloads, server=server)
            walk = Behind(host, server, page, checks)
            for part in (
                walk.the_paths, walk.the_bodies, walk.the_idle_connections, walk.an_app, walk.a_security_key,
                walk.nothing_leaves,
            ):  # fmt: skip
                go(part, page, checks)
        finally:
            if page:
                page.close()
            server.stop()
            host.stop()
            if checks.failed:
                print(server.log(), file=sys.stderr)
    print(f"took  {time.monotonic() - begun:.0f} s")
    print(f"{checks.passed} passed, {checks.failed} failed")
    sys.exit(1 if checks.failed else 0)


if __name__ == "__main__":
    main()
