"""The reverse proxy that an app puts before the daemon: loopback TCP to the Unix socket, one origin for page and API.
Behind it there may be a real one, which then has the socket.

As long as the daemon does not serve the page itself, the three files of the source tree come from here. A test can
have one request answered by the proxy instead, for what a daemon does not do within a minute.
"""

import http.client
import http.server
import json
import socket
import threading
from pathlib import Path

CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)
PAGE = {
    "/ui/": ("index.html", "text/html; charset=utf-8"),
    "/ui/ui.css": ("ui.css", "text/css; charset=utf-8"),
    "/ui/ui.js": ("ui.js", "text/javascript; charset=utf-8"),
}
# Of one connection, not of what it carries (RFC 9110 section 7.6.1).
HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "upgrade", "te", "trailer", "proxy-connection"}


class UnixConnection(http.client.HTTPConnection):
    """HTTP to a Unix socket."""

    def __init__(self, path):
        super().__init__("localhost", timeout=30)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def ask(path, method, target, headers=None, body=None):
    """One request to the daemon's socket: status, headers, bytes."""
    connection = UnixConnection(path)
    try:
        connection.request(method, target, body=body, headers=headers or {})
        answer = connection.getresponse()
        return answer.status, answer.getheaders(), answer.read()
    finally:
        connection.close()


class Proxy:
    """Listens from the first moment on, so that its port can stand in the daemon's configuration."""

    def __init__(self, files):
        self.files = Path(files)
        self.daemon = None
        self.behind = None
        self.daemon_has_page = False
        self.log = []
        self.instead = []
        self.lost = []
        proxy = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one(self):
                proxy.answer(self)

            do_GET = do_POST = do_PUT = do_DELETE = handle_one

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        self.origin = f"http://localhost:{self.port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def serve(self, socket_path, from_tree=False, behind=None):
        """From now on this daemon answers, with its own page if it has one and the tree's is not asked for, through the
        server behind this one if there is one."""
        self.daemon = str(socket_path)
        self.behind = behind
        self.daemon_has_page = not from_tree and ask(self.daemon, "GET", "/ui/")[0] == 200

    def answer_instead(self, method, target, status, problem):
        """Answers the next such request with a problem, once."""
        self.instead.append((method, target, status, problem))

    def lose_answer(self, method, target):
        """Has the daemon carry out the next such request, and breaks the connection before the answer, once."""
        self.lost.append((method, target))

    def pass_on(self, method, target, headers=None, body=None):
        """One request on the way that those of the page take."""
        if self.behind and Path(self.daemon).exists():
            return self.behind.ask(method, target, headers, body)
        return ask(self.daemon, method, target, headers, body)

    def answer(self, request):
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        status, headers, content = self.outcome(request, body)
        self.log.append((request.command, request.path, status))
        for entry in self.lost:
            if request.command == entry[0] and request.path.startswith(entry[1]):
                self.lost.remove(entry)
                request.close_connection = True
                return
        request.send_response_only(status)
        for name, value in headers:
            if name.lower() not in HOP_BY_HOP | {"content-length"}:
                request.send_header(name, value)
        if status != 204:
            request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        request.wfile.write(content)

    def outcome(self, request, body):
        for entry in self.instead:
            method, target, status, problem = entry
            if request.command == method and request.path.startswith(target):
                self.instead.remove(entry)
                return status, [("Content-Type", "application/problem+json")], json.dumps(problem).encode()
        if request.path in PAGE and not self.daemon_has_page:
            name, kind = PAGE[request.path]
            headers = [("Content-Type", kind), ("Content-Security-Policy", CSP), ("X-Content-Type-Options", "nosniff")]
            return 200, headers, (self.files / name).read_bytes()
        if not request.path.startswith(("/ui/", "/v1/")):
            return 404, [("Content-Type", "text/plain")], b"not here\n"
        headers = {name: value for name, value in request.headers.items() if name.lower() not in HOP_BY_HOP}
        # The server behind goes by a name of its own.
        headers.pop("Host", None)
        try:
            return self.pass_on(request.command, request.path, headers, body or None)
        except OSError:
            return 502, [("Content-Type", "text/html")], b"<h1>Bad gateway</h1>"
