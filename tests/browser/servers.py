"""The reverse proxies of docs/reverse-proxy.md and of the examples: each configuration as printed, run by the real program.

Only places are put in: socket, port, certificate. What Debian's own configuration brings around a printed part
(modules, a process id file, a log) is written here.
"""

import base64
import contextlib
import datetime
import hashlib
import http.client
import os
import shutil
import socket
import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from host import end, until

DOCUMENT = Path(__file__).resolve().parents[2] / "docs/reverse-proxy.md"
NAME = "login.example.org"
KINDS = {"nginx": "nginx", "apache": "apache2", "haproxy": "haproxy", "caddyfile": "caddy"}
MODULES = Path("/usr/lib/apache2/modules")
APACHE_MODULES = ("mpm_event", "authz_core", "alias", "ssl", "socache_shmcb", "proxy", "proxy_http")
# Debian's account of web servers, on every host. The daemon takes nobody's uid for one of another user namespace.
ACCOUNT = 33


@dataclass(frozen=True)
class Site:
    """What a document prints of a site: its name, the socket behind it, and a path that answers 200."""

    document: Path
    name: str
    socket: str
    ready: str


PAGE = Site(DOCUMENT, NAME, "/run/mfad/mfad.sock", "/v1/health/ready")


def block(kind, document=DOCUMENT):
    """The one fenced block of a kind in the document."""
    parts = document.read_text(encoding="utf-8").split(f"\n```{kind}\n")
    if len(parts) != 2:
        raise AssertionError(f"{len(parts) - 1} blocks of {kind} in {document.name}")
    return parts[1].split("\n```\n")[0] + "\n"


def put(text, printed, ours):
    """Puts a place of the test in. A place that is not printed any more is a fault of this test."""
    if printed not in text:
        raise AssertionError(f"{printed!r} is not printed in the document")
    return text.replace(printed, str(ours))


def free_port():
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Certificate:
    """One for the name of the document, good for an hour, signed by itself."""

    def __init__(self, directory, host):
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
        now = datetime.datetime.now(datetime.timezone.utc)
        hour = datetime.timedelta(hours=1)
        made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        made = made.serial_number(x509.random_serial_number()).not_valid_before(now - hour).not_valid_after(now + hour)
        made = made.add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        made = made.sign(key, hashes.SHA256())
        pem = made.public_bytes(serialization.Encoding.PEM)
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        self.file, self.key, self.both = (directory / name for name in ("tls.pem", "tls.key", "tls.both"))
        self.file.write_bytes(pem)
        self.key.write_bytes(private)
        self.both.write_bytes(pem + private)
        public = key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        # As Chromium wants the keys that it is to trust.
        self.print = base64.b64encode(hashlib.sha256(public).digest()).decode()


class TlsConnection(http.client.HTTPSConnection):
    """HTTPS to the proxy, by the name in its certificate."""

    def __init__(self, server, timeout=30):
        super().__init__(server.site.name, timeout=timeout, context=server.trust)
        self.server = server

    def connect(self):
        plain = socket.create_connection(("127.0.0.1", self.server.port), self.timeout)
        self.sock = self.server.trust.wrap_socket(plain, server_hostname=self.server.site.name)


class Server:
    """A reverse proxy before the daemon whose socket this is, in a directory of its own. As root it runs as an
    account of its own, as a real one does."""

    def __init__(self, kind, directory, socket_path, site=PAGE):
        self.kind = kind
        self.site = site
        self.origin = f"https://{site.name}"
        self.port = free_port()
        self.dir = Path(directory)
        self.dir.mkdir()
        self.certificate = Certificate(self.dir, site.name)
        self.trust = ssl.create_default_context(cafile=self.certificate.file)
        text = put(block(kind, site.document), site.socket, socket_path)
        self.command, files = getattr(self, f"of_{kind}")(text)
        for name, contents in files.items():
            (self.dir / name).write_text(contents, encoding="utf-8")
        self.process = None

    def keys_put_in(self, text):
        text = put(text, f"/etc/ssl/certs/{self.site.name}.pem", self.certificate.file)
        return put(text, f"/etc/ssl/private/{self.site.name}.key", self.certificate.key)

    def of_nginx(self, text):
        text = put(self.keys_put_in(text), "listen 443 ssl;", f"listen 127.0.0.1:{self.port} ssl;")
        kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        temporary = "".join(f"    {kind}_temp_path {self.dir}/{kind};\n" for kind in kinds)
        main = (
            f"daemon off;\npid {self.dir}/pid;\nerror_log {self.dir}/log;\n"
            f"events {{}}\nhttp {{\n    access_log off;\n{temporary}{text}}}\n"
        )
        command = [program("nginx"), "-p", self.dir, "-e", self.dir / "log", "-c", self.dir / "nginx.conf"]
        return command, {"nginx.conf": main}

    def of_apache(self, text):
        text = put(self.keys_put_in(text), "*:443", f"127.0.0.1:{self.port}")
        modules = "".join(f"LoadModule {name}_module {MODULES}/mod_{name}.so\n" for name in APACHE_MODULES)
        main = (
            f"ServerRoot {self.dir}\nServerName {NAME}\nListen 127.0.0.1:{self.port}\nPidFile {self.dir}/pid\n"
            f"DefaultRuntimeDir {self.dir}\nErrorLog {self.dir}/log\n{modules}{text}"
        )
        return [program("apache2"), "-DFOREGROUND", "-f", self.dir / "apache2.conf"], {"apache2.conf": main}

    def of_haproxy(self, text):
        text = put(text, f"/etc/ssl/private/{NAME}.pem", self.certificate.both)
        text = put(put(text, "bind :443", f"bind 127.0.0.1:{self.port}"), "/dev/log local0", "stderr format raw local0")
        # It is another account already.
        text = put(put(text, "    user haproxy\n", ""), "    group haproxy\n", "")
        return [program("haproxy"), "-db", "-f", self.dir / "haproxy.cfg"], {"haproxy.cfg": text}

    def of_caddyfile(self, text):
        text = put(self.keys_put_in(text), f"{NAME} {{\n", f"{NAME} {{\n    bind 127.0.0.1\n")
        top = f"{{\n    admin off\n    https_port {self.port}\n    auto_https disable_redirects\n}}\n"
        command = [program("caddy"), "run", "--adapter", "caddyfile", "--config", self.dir / "Caddyfile"]
        return command, {"Caddyfile": top + text}

    def start(self):
        account = {}
        if os.getuid() == 0:
            account = {"user": ACCOUNT, "group": ACCOUNT, "extra_groups": []}
            for path in (self.dir, *self.dir.iterdir()):
                os.chown(path, ACCOUNT, ACCOUNT)
        # It keeps its own files here, whatever home the account has.
        home = {"HOME": str(self.dir), "XDG_DATA_HOME": str(self.dir), "XDG_CONFIG_HOME": str(self.dir)}
        with (self.dir / "said").open("ab") as said:
            self.process = subprocess.Popen(
                self.command, cwd=self.dir, env=os.environ | home, stdin=subprocess.DEVNULL, stdout=said, stderr=said,
                **account,
            )  # fmt: skip
        until(f"{self.kind} to serve", self.is_ready)

    def is_ready(self):
        if self.process.poll() is not None:
            raise AssertionError(f"{self.kind} ended: {self.log()}")
        with contextlib.suppress(OSError, http.client.HTTPException):
            return self.ask("GET", self.site.ready)[0] == 200
        return False

    def ask(self, method, target, headers=None, body=None):
        """One request through it: status, headers, bytes."""
        with contextlib.closing(TlsConnection(self)) as connection:
            connection.request(method, target, body=body, headers=headers or {})
            answer = connection.getresponse()
            return answer.status, answer.getheaders(), answer.read()

    def stop(self):
        end(self.process)

    def log(self):
        files = (self.dir / name for name in ("said", "log"))
        return "\n".join(file.read_text(encoding="utf-8", errors="replace")[-4000:] for file in files if file.exists())


def program(name):
    # Debian has these where only root looks.
    found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if not found:
        raise SystemExit(f"{name} is needed; Debian has it in the package {name}")
    return found
