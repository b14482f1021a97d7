#!/usr/bin/env python3
"""Buys in the example shops as a customer: in headless Chromium, behind nginx as their README prints it.

Ends 0 if all checks passed. The last line is `N passed, N failed`.
"""

import argparse
import base64
import contextlib
import os
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import cv2
import numpy
import zxingcpp
from selenium.common.exceptions import WebDriverException

from browser import PASSWORD, PATIENCE, Page
from checks import Checks, forget_proxies
from host import Device, Host, end, until
from servers import Server, Site

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "clients/python/examples/shop"
SITE = Site(EXAMPLE / "README.md", "shop.example.org", "/run/shop/shop.sock", "/login")
COOKIE = "__Host-shop"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


class Shop:
    """The shop, as its README runs it."""

    def __init__(self, kind, program, directory, mfad):
        self.socket = Path(directory) / "shop.sock"
        environment = os.environ | {"MFAD_SOCKET": str(mfad)}
        if kind == "flask":
            command = [sys.executable, "-m", "gunicorn", "--workers", "1", "--threads", "8", "--bind", f"unix:{self.socket}", "app:app"]
            environment["PYTHONPATH"] = str(ROOT / "clients/python/src")
            environment["PYTHONDONTWRITEBYTECODE"] = "1"
        else:
            command = [program.resolve(), self.socket]
        self.log = Path(directory) / "shop.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, cwd=EXAMPLE, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        until("the shop's socket", self.listens)
        # The reverse proxy has another account.
        self.socket.chmod(0o666)

    def listens(self):
        if self.process.poll() is not None:
            raise AssertionError(f"the shop ended: {self.log.read_text()}")
        return self.socket.exists()

    def stop(self):
        end(self.process)


class Customer:
    """What a customer does, and what there is to see."""

    def __init__(self, page, server, checks):
        self.page = page
        self.server = server
        self.holds = checks.holds
        self.phone = None
        self.codes = []

    def at(self, title):
        until(f"the page {title}", lambda: self.page.driver.title == f"{title} – Shop", PATIENCE)

    def note(self, *parts):
        until(f"a note with {parts}", lambda: all(part in self.text(".note") for part in parts), PATIENCE)

    def text(self, selector):
        """The text of the first such part of the page; none while a page is loading."""
        script = "return document.querySelector(arguments[0])?.innerText ?? ''"
        with contextlib.suppress(WebDriverException):
            return self.page.run(script, selector)
        return ""

    def fill(self, button, **fields):
        for name, value in fields.items():
            self.page.type(f"[name={name}]", value)
        self.page.button(button)

    def log_in(self, name):
        self.page.driver.get(f"{self.server.origin}/login")
        self.at("Log in")
        self.fill("Log in", name=name, password=PASSWORD)

    def cookie(self):
        return self.page.driver.get_cookie(COOKIE)

    def scan(self):
        """The URI in the picture on the screen, by two readers of QR codes."""
        self.page.wait("#qr")
        shot = base64.b64decode(self.page.command("Page.captureScreenshot", format="png")["data"])
        picture = cv2.imdecode(numpy.frombuffer(shot, numpy.uint8), cv2.IMREAD_COLOR)
        found = zxingcpp.read_barcodes(picture)
        assert len(found) == 1, "no QR code on the page"
        assert cv2.QRCodeDetectorAruco().detectAndDecode(picture)[0] == found[0].text
        return found[0].text

    def register(self):
        page = self.page
        page.driver.get(f"{self.server.origin}/")
        with self.holds("a stranger is sent to the login"):
            self.at("Log in")
            self.note("Log in first")
        with self.holds("a customer registers and logs in with the password"):
            page.one("a").click()
            self.at("Register")
            self.fill("Register", name="grace", password=PASSWORD)
            self.at("Log in")
            self.note("Welcome")
            assert self.cookie() is None, "a stranger has a visit"
            self.fill("Log in", name="grace", password=PASSWORD)
            self.at("Books")
            assert page.one("#name").text == "grace"
        with self.holds("each login begins a visit under a new cookie, and the old one is worth nothing"):
            before = self.cookie()
            page.driver.get(f"{self.server.origin}/login")
            self.fill("Log in", name="grace", password=PASSWORD)
            self.at("Books")
            after = self.cookie()
            assert before["value"] != after["value"]
            assert (after["secure"], after["httpOnly"], after["sameSite"]) == (True, True, "Lax")
            assert b"Logged in as" not in self.ask("GET", "/", cookie=before["value"])[2]
            assert b"Logged in as" in self.ask("GET", "/", cookie=after["value"])[2]
        with self.holds("a name that is taken is said to be"):
            page.driver.get(f"{self.server.origin}/register")
            self.fill("Register", name="grace", password=PASSWORD)
            self.note("This name is taken")

    def enrol(self):
        page = self.page
        page.driver.get(f"{self.server.origin}/phone")
        with self.holds("the phone is set up by the picture on the page"):
            self.at("Set up your phone")
            page.button("Show the picture")
            uri = self.scan()
            seed = parse_qs(urlsplit(uri).query)["secret"][0]
            assert seed == page.one("#seed").text
            self.phone = Device(seed)
            self.fill("Switch it on", code=self.phone.wrong())
            self.note("wrong")
            self.fill("Switch it on", code=self.phone.next())
            self.at("Your phone is set up")
            self.codes = [item.text for item in page.driver.find_elements("css selector", "#codes li")]
            assert len(set(self.codes)) == 10, self.codes
        with self.holds("the session goes on after that"):
            page.one("a").click()
            self.at("Books")
            assert page.seen("#replace")

    def buy(self):
        page = self.page
        with self.holds("an order is carried out only after a code for it"):
            page.type("[name=amount]", "25")
            page.click("#buy")
            self.at("Confirm your order")
            assert page.one("#order").text == "books for 25 EUR"
            self.fill("Buy", code=self.phone.wrong())
            self.note("wrong")
            self.at("Confirm your order")
        with self.holds("a form shown for another order confirms nothing"):
            page.run("document.forms[0].elements.order.value = 'another'")
            self.fill("Buy", code="123456")
            self.note("another window")
            assert page.one("#order").text == "books for 25 EUR"
        with self.holds("the right code for this order carries it out"):
            self.fill("Buy", code=self.phone.next())
            self.at("Books")
            self.note("Bought: books for 25 EUR")
        with self.holds("the order is gone then"):
            page.driver.get(f"{self.server.origin}/confirm")
            self.at("Books")

    def come_back(self):
        page = self.page
        with self.holds("a login takes the password and a code"):
            page.click("#logout")
            self.at("Log in")
            self.log_in("grace")
            self.at("Your code")
            page.driver.get(f"{self.server.origin}/")
            self.at("Log in")
            page.driver.get(f"{self.server.origin}/code")
            self.fill("Log in", code=self.phone.wrong())
            self.note("wrong")
            code = self.phone.next()
            self.fill("Log in", code=f"{code[:3]} {code[3:]}")
            self.at("Books")

    def recover(self):
        page = self.page
        with self.holds("a backup code lets in when the phone is lost, and a new phone takes its place"):
            page.click("#logout")
            self.log_in("grace")
            self.at("Your code")
            self.fill("Log in", code=self.codes[0])
            self.at("Books")
            self.note("backup code", "9 are left")
            page.click("#replace")
            self.at("Log in")
            self.note("taken away")
            self.fill("Log in", name="grace", password=PASSWORD)
            self.at("Books")
            page.driver.get(f"{self.server.origin}/phone")
            page.button("Show the picture")
            new = Device(parse_qs(urlsplit(self.scan()).query)["secret"][0])
            self.fill("Switch it on", code=new.next())
            self.at("Your phone is set up")
            self.phone = new

    def ask(self, method, target, cookie=None, **fields):
        headers = dict(FORM)
        if cookie:
            headers["Cookie"] = f"{COOKIE}={cookie}"
        return self.server.ask(method, target, headers, urlencode(fields).encode() if method == "POST" else None)

    def attack(self):
        with self.holds("a form without the visit's token does nothing"):
            cookie = self.cookie()["value"]
            for target in ("/login", "/register", "/phone", "/phone/first-code", "/phone/replace", "/buy", "/confirm", "/logout"):
                for csrf in ({}, {"csrf": ""}, {"csrf": "x" * 43}):
                    status = self.ask("POST", target, cookie, amount="5", name="grace", password=PASSWORD, **csrf)[0]
                    assert status == 400, (target, csrf, status)
            assert b"Logged in as" in self.ask("GET", "/", cookie)[2]
        with self.holds("a link from another site finds the customer logged in"):
            page = self.page
            page.driver.get("data:text/html,<a href='%s/'>shop</a>" % self.server.origin)
            page.one("a").click()
            self.at("Books")

    def without_daemon(self, host):
        with self.holds("without the daemon nobody is let in, and the shop says so"):
            host.stop()
            status, _, body = self.ask("GET", "/", self.cookie()["value"])
            assert status == 503 and b"Try again later" in body, (status, body[:200])
            self.log_in("grace")
            until("an answer", lambda: "We cannot check logins at the moment" in self.text("body"))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=("flask", "axum"))
    parser.add_argument("--mfad", required=True, type=Path, help="the daemon's program")
    parser.add_argument("--shop", type=Path, help="the program of the shop in Rust")
    arguments = parser.parse_args()
    forget_proxies()
    checks = Checks()
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mfad-shop-") as directory:
        downloads = Path(directory) / "downloads"
        downloads.mkdir()
        os.chmod(directory, 0o711)
        host = Host(arguments.mfad.resolve(), directory, f"https://{SITE.name}")
        page = server = shop = None
        try:
            host.start()
            shop = Shop(arguments.kind, arguments.shop, directory, host.socket)
            server = Server("nginx", Path(directory) / "server", shop.socket, SITE)
            server.start()
            page = Page(server.origin, downloads, server=server)
            customer = Customer(page, server, checks)
            try:
                customer.register()
                customer.enrol()
                customer.buy()
                customer.come_back()
                customer.recover()
                customer.attack()
                customer.without_daemon(host)
            except Exception:
                checks.failed += 1
                traceback.print_exc()
                print(page.one("body").text, server.log(), shop.log.read_text()[-4000:], sep="\n", file=sys.stderr)
        finally:
            if page:
                page.driver.quit()
            for part in (server, shop, host):
                if part:
                    part.stop()
    print(f"took  {time.monotonic() - begun:.0f} s")
    print(f"{checks.passed} passed, {checks.failed} failed")
    sys.exit(1 if checks.failed else 0)


if __name__ == "__main__":
    main()
