#!/usr/bin/env python3
"""keep_alive.py CLIENT SOCKET LANES REQUESTS PAUSES: calls in parallel lanes, each on a client of its own.

aiohttp and httpx are set as docs/clients.md prints it. `naive` keeps a connection of http.client and so must lose
requests. The pauses between calls, in seconds as a JSON list, are the input of the test. Writes {"requests", "reused",
"lost"} as JSON.
"""

import asyncio
import http.client
import json
import socket
import sys
import threading
import time
from pathlib import Path

DOCUMENT = Path(__file__).resolve().parents[2] / "docs/clients.md"
# Nothing that is repeated by itself, and quick.
METHOD, PATH = "POST", "/auth/logout"


def printed(name):
    """What the document prints a function of this name to be."""
    blocks = [part.split("\n```\n")[0] for part in DOCUMENT.read_text(encoding="utf-8").split("\n```python\n")[1:]]
    [block] = [block for block in blocks if f"def {name}(" in block]
    names = {}
    exec(compile(block, DOCUMENT.name, "exec"), names)
    return names[name]


class Tally:
    """What became of the requests of all lanes."""

    def __init__(self):
        self.requests = 0
        self.reused = 0
        self.lost = []
        self.lock = threading.Lock()

    def count(self, pause, fault=None):
        with self.lock:
            self.requests += 1
            if fault:
                self.lost.append(f"after {pause} s: {fault}")

    def count_reuse(self, *_):
        with self.lock:
            self.reused += 1


def pauses_of(lane, requests, pauses):
    """The pause before each request of a lane; every pause comes as often as any other."""
    return [0] + [pauses[(lane + 7 * step) % len(pauses)] for step in range(requests - 1)]


async def aiohttp_lane(path, pauses, tally, make):
    import aiohttp

    trace = aiohttp.TraceConfig()

    async def reused(*_):
        tally.count_reuse()

    trace.on_connection_reuseconn.append(reused)
    async with make(path) as session:
        trace.freeze()
        session.trace_configs.append(trace)
        for pause in pauses:
            await asyncio.sleep(pause)
            try:
                async with session.request(METHOD, PATH) as answer:
                    await answer.read()
                    tally.count(pause, answer.status if answer.status >= 500 else None)
            except (aiohttp.ClientError, OSError) as fault:
                tally.count(pause, repr(fault))


def httpx_lane(path, pauses, tally, make):
    import httpx

    used = None
    with make(path) as client:
        for pause in pauses:
            time.sleep(pause)
            try:
                answer = client.request(METHOD, PATH)
                stream = answer.extensions["network_stream"]
                if stream is used:
                    tally.count_reuse()
                used = stream
                tally.count(pause, answer.status_code if answer.status_code >= 500 else None)
            except httpx.TransportError as fault:
                tally.count(pause, repr(fault))


class UnixConnection(http.client.HTTPConnection):
    """HTTP to a Unix socket."""

    def __init__(self, path):
        super().__init__("localhost", timeout=30)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def naive_lane(path, pauses, tally, _):
    connection = UnixConnection(path)
    for pause in pauses:
        time.sleep(pause)
        try:
            connection.request(METHOD, PATH)
            connection.getresponse().read()
            tally.count(pause)
        except (http.client.HTTPException, OSError) as fault:
            connection.close()
            tally.count(pause, repr(fault))
    connection.close()


async def in_tasks(lanes):
    await asyncio.gather(*lanes)


def in_threads(lane, arguments):
    threads = [threading.Thread(target=lane, args=each) for each in arguments]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def main():
    client, path, lanes, requests, pauses = sys.argv[1:]
    plan = [pauses_of(lane, int(requests), json.loads(pauses)) for lane in range(int(lanes))]
    tally = Tally()
    if client == "aiohttp":
        make = printed("aiohttp_session")
        asyncio.run(in_tasks([aiohttp_lane(path, each, tally, make) for each in plan]))
    elif client == "httpx":
        make = printed("httpx_client")
        in_threads(httpx_lane, [(path, each, tally, make) for each in plan])
    else:
        in_threads(naive_lane, [(path, each, tally, None) for each in plan])
    print(json.dumps({"requests": tally.requests, "reused": tally.reused, "lost": tally.lost}))


main()
