#!/usr/bin/env python3
"""Walks through the self-service page in headless Chromium, against a daemon and a reverse proxy of its own.

Ends 0 if all checks passed. The last line is `N passed, N failed`.
"""

import argparse
import contextlib
import os
import sys
import tempfile
import time
import traceback
from pathlib import Path

from selenium.common.exceptions import WebDriverException

import proxy as loopback
from browser import Page
from host import Host
from walks import FILES, Walk


class Checks:
    """Counts what holds and what does not."""

    def __init__(self):
        self.passed = 0
        self.failed = 0

    @contextlib.contextmanager
    def holds(self, what):
        try:
            yield
        except Exception:
            self.failed += 1
            print(f"FAIL  {what}", flush=True)
            raise
        self.passed += 1
        print(f"ok    {what}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mfad", required=True, type=Path, help="the daemon's program")
    parser.add_argument("--screenshots", type=Path, help="a directory for a picture of each view")
    parser.add_argument(
        "--from-tree", action="store_true", help="the page of the tree, though the daemon has one built in"
    )
    parser.add_argument("--only", help="only the parts whose name contains this")
    arguments = parser.parse_args()
    # A proxy must not come between the test and the loopback interface.
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        os.environ.pop(name, None)
        os.environ.pop(name.upper(), None)

    checks = Checks()
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mfad-ui-") as directory:
        downloads = Path(directory) / "downloads"
        downloads.mkdir()
        proxy = loopback.Proxy(FILES)
        host = Host(arguments.mfad.resolve(), directory, proxy.origin)
        page = None
        try:
            host.start()
            proxy.serve(host.socket, arguments.from_tree)
            print(f"page  served by {'the daemon' if proxy.daemon_has_page else 'the proxy of the test'}", flush=True)
            page = Page(proxy.origin, downloads, arguments.screenshots)
            walk = Walk(host, proxy, page, checks)
            for part in (
                walk.the_files, walk.the_login, walk.the_delay, walk.an_app, walk.an_app_given_up, walk.the_second_step,
                walk.the_list, walk.the_backup_codes, walk.the_session, walk.the_enrolment_that_is_asked_for,
                walk.a_security_key, walk.a_security_key_without_json, walk.nothing_leaves,
            ):  # fmt: skip
                if arguments.only and arguments.only not in part.__name__:
                    continue
                go(part, page, checks)
                if checks.passed == 0:
                    break
        finally:
            if page:
                page.close()
            host.stop()
    print(f"took  {time.monotonic() - begun:.0f} s")
    print(f"{checks.passed} passed, {checks.failed} failed")
    sys.exit(1 if checks.failed else 0)


def go(part, page, checks):
    """One part. What fails in it ends it, and the next one begins afresh."""
    failed = checks.failed
    try:
        page.open()
        part()
    except Exception:
        if checks.failed == failed:
            checks.failed += 1
            print(f"FAIL  {part.__name__}")
        traceback.print_exc()
        with contextlib.suppress(WebDriverException):
            print(page.one("body").text, file=sys.stderr)


if __name__ == "__main__":
    main()
