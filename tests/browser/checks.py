"""What holds of a page and what does not, counted."""

import contextlib
import os
import sys
import traceback

from selenium.common.exceptions import WebDriverException


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


def forget_proxies():
    """A proxy must not come between the test and the loopback interface."""
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        os.environ.pop(name, None)
        os.environ.pop(name.upper(), None)


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
