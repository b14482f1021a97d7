"""contract.py SOCKET CALLS: lets schemathesis make calls from the daemon's own OpenAPI document and
check every answer against it, without a token and with one. Needs a daemon on which the caller has
the right `admin` and registration is open. Ends 0 only without a contradiction and without a 5xx, and
only if it finds the contradictions of an answer that is bent on its way."""

import http.client
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import bridge

HERE = Path(__file__).resolve().parent
SEED = 20
CHECKS = "no_defect,status_code_conformance,content_type_conformance,response_headers_conformance,response_schema_conformance"


class Daemon(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path):
        super().__init__("localhost")
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self.path)


def ask(path, method, target, body=None, token=None):
    daemon = Daemon(path)
    headers = {"Content-Type": "application/json"} if body is not None else {}
    if token:
        headers["Authorization"] = f"jwt {token}"
    daemon.request(method, target, None if body is None else json.dumps(body), headers)
    answer = daemon.getresponse()
    text = answer.read()
    assert answer.status == 200, f"{method} {target}: {answer.status} {text!r}"
    return json.loads(text)


def people(path):
    """A few users with secrets: {user id: [secret ids]}, and a token of the first."""
    known, token = {}, None
    for number in range(4):
        made = ask(path, "POST", "/users", {"name": f"proof {number}", "password": "correct horse"})
        user = made["user"]["uid"]
        token = token or made["token"]
        secrets = [
            ask(path, "POST", f"/users/{user}/secrets", {"type": "apikey"}),
            ask(path, "POST", f"/users/{user}/secrets", {"type": "mfa"}),
        ]
        known[user] = [secret["uid"] for secret in secrets]
    return known, token


def run(port, known, token, calls, work, only=()):
    """One run; returns how many calls it made and whether schemathesis was content. With `only`, which names the calls, it is
    meant not to be."""
    report = work / f"{'token' if token else 'peer'}.ndjson"
    config = work / "schemathesis.toml"
    config.write_text("[generation]\nwith-security-parameters = false\n")
    command = [
        *(Path(sys.executable).parent / "schemathesis", f"--config-file={config}", "run"),
        f"http://127.0.0.1:{port}/openapi.json",
        f"--url=http://127.0.0.1:{port}",
        *("--phases=examples,coverage,fuzzing", f"--max-examples={calls}", f"--seed={SEED}", "--workers=1"),
        *(f"--checks={CHECKS}", "--exclude-path-regex=/(audit|devices)/events", "--continue-on-failure", "--no-shrink"),
        *("--suppress-health-check=all", "--warnings=off", "--request-timeout=35"),
        *("--generation-database=none", "--report=ndjson", f"--report-ndjson-path={report}"),
    ]
    command += only
    if token:
        command.append(f"--header=Authorization: jwt {token}")
    environment = os.environ | {
        "SCHEMATHESIS_HOOKS": "contract_hooks",
        "PYTHONPATH": str(HERE),
        "MFAD_KNOWN": json.dumps(known),
        "NO_PROXY": "127.0.0.1",
    }
    done = subprocess.run([str(part) for part in command], cwd=work, env=environment, capture_output=True, text=True)
    if done.returncode != 0 and not only:
        print(done.stdout[-20000:], done.stderr[-4000:], sep="\n")
    made = re.search(r"(\d+) generated", done.stdout)
    return int(made.group(1)) if made else 0, done.returncode == 0


def finds_what_is_bent(path, known, work):
    """The control: a member by another name, and a status that the document does not know."""
    bends = [(b'"users":', b'"usurs":'), (b"HTTP/1.1 200 OK", b"HTTP/1.1 206 OK")]
    found = 0
    for was, becomes in bends:
        port = bridge.start(path, lambda data, was=was, becomes=becomes: data.replace(was, becomes))
        made, fine = run(port, known, None, 5, work, only=["--include-path=/users", "--include-method=GET"])
        found += made > 0 and not fine
    return found == len(bends)


def main():
    path, goal = sys.argv[1], int(sys.argv[2])
    port = bridge.start(path)
    total, content = 0, True
    with tempfile.TemporaryDirectory() as work:
        known, token = people(path)
        for bearer in (None, token):
            made, fine = run(port, known, bearer, max(goal // 100, 5), Path(work))
            total, content = total + made, content and fine
        has_control = finds_what_is_bent(path, known, Path(work))
    verdict = "no" if content else "SOME"
    print(f"contract: {total} calls made from the document, {verdict} contradictions")
    if not has_control:
        print("contract: the bent answers were not found")
    sys.exit(0 if content and has_control and total >= goal else 1)


main()
