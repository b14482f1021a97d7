"""A bridge from a loopback port to the daemon's Unix socket, for clients that speak only TCP."""

import contextlib
import socket
import threading


def _copy(source, target, change=bytes):
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(change(data))
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


def _serve(client, path, change):
    with client, socket.socket(socket.AF_UNIX) as daemon:
        with contextlib.suppress(OSError):
            daemon.connect(path)
            upward = threading.Thread(target=_copy, args=(client, daemon), daemon=True)
            upward.start()
            _copy(daemon, client, change)
            # The daemon is done with this connection; the client has to notice.
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)
            upward.join()


def start(path, change=bytes):
    """Starts the bridge to the socket at `path`; returns its port on 127.0.0.1. What the daemon says goes through `change`."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)

    def accept():
        while True:
            client, _ = listener.accept()
            threading.Thread(target=_serve, args=(client, path, change), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    return listener.getsockname()[1]
