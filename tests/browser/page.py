#!/usr/bin/env python3
"""Walks through the self-service page in headless Chromium, against a daemon and a reverse proxy of its own.

Ends 0 if all checks passed. The last line is `N passed, N failed`.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

import proxy as loopback
from browser import Page
from checks import Checks, forget_proxies, go
from host import Host
from servers import KINDS, Server
from walks import FILES, Walk


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mfad", required=True, type=Path, help="the daemon's program")
    parser.add_argument("--screenshots", type=Path, help="a directory for a picture of each view")
    parser.add_argument(
        "--from-tree", action="store_true", help="the page of the tree, though the daemon has one built in"
    )
    parser.add_argument("--only", help="only the parts whose name contains this")
    parser.add_argument("--through", choices=KINDS, help="have this reverse proxy of docs/reverse-proxy.md as well")
    arguments = parser.parse_args()
    forget_proxies()

    checks = Checks()
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mfad-ui-") as directory:
        downloads = Path(directory) / "downloads"
        downloads.mkdir()
        # A reverse proxy of another account reaches the socket in it.
        os.chmod(directory, 0o711)
        proxy = loopback.Proxy(FILES)
        host = Host(arguments.mfad.resolve(), directory, proxy.origin)
        page = server = None
        try:
            host.start()
            if arguments.through:
                server = Server(arguments.through, Path(directory) / "server", host.socket)
                server.start()
            proxy.serve(host.socket, arguments.from_tree, server)
            print(f"page  served by {'the daemon' if proxy.daemon_has_page else 'the proxy of the test'}", flush=True)
            page = Page(proxy.origin, downloads, arguments.screenshots)
            walk = Walk(host, proxy, page, checks)
            for part in (
                walk.the_files, walk.the_login, walk.the_delay, walk.an_app, walk.an_app_given_up, walk.the_second_step,
                walk.the_list, walk.the_backup_codes, walk.the_password, walk.the_name_of_the_site,
                walk.the_language, walk.a_key_of_another_kind, walk.the_session, walk.the_enrolment_that_is_asked_for,
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
            if server:
                server.stop()
            host.stop()
    print(f"took  {time.monotonic() - begun:.0f} s")
    print(f"{checks.passed} passed, {checks.failed} failed")
    sys.exit(1 if checks.failed else 0)


if __name__ == "__main__":
    main()
