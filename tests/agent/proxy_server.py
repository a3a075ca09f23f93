"""A small HTTP proxy on a port of this machine: forwards requests, tunnels CONNECT, asks for Basic credentials."""

import base64
import contextlib
import select
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit


class ProxyServer(ThreadingHTTPServer):
    """Counts what goes through it. `user` and `password` are asked for where they are set."""

    daemon_threads = True

    def __init__(self, user: str | None = None, password: str = "") -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.seen: list[str] = []
        self.refused = 0
        self.wanted = None if user is None else "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()

    @property
    def port(self) -> int:
        """Where it listens."""
        return self.server_port

    def settings_file(self, user: str = "", password: str = "") -> str:
        """The content of a proxy settings file that names it."""
        return (
            f'* [ProxySettings]\n* ProxyAuthentication = "{"Yes" if user else "No"}"\n* Proxy IP = "127.0.0.1"\n'
            f'* ProxyPort = "{self.port}"\n* ProxyUserName="{user}"\n* ProxyPassword="{password}"\n'
        )


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: ProxyServer

    def do_GET(self) -> None:
        self._pass_on()

    def do_POST(self) -> None:
        self._pass_on()

    def do_CONNECT(self) -> None:
        self._pass_on()

    def _pass_on(self) -> None:
        if self.server.wanted is not None and self.headers.get("Proxy-Authorization") != self.server.wanted:
            self.server.refused += 1
            self.send_response(407)
            self.send_header("Proxy-Authenticate", 'Basic realm="proxy"')
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.server.seen.append(f"{self.command} {self.path}")
        self.close_connection = True
        if self.command == "CONNECT":
            host, _, port = self.path.rpartition(":")
            with socket.create_connection((host, int(port)), timeout=10) as upstream:
                self.connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                self._copy(upstream)
            return
        parts = urlsplit(self.path)
        with socket.create_connection((parts.hostname or "", parts.port or 80), timeout=10) as upstream:
            kept = {name: value for name, value in self.headers.items() if not name.lower().startswith("proxy-")}
            kept["Connection"] = "close"
            head = [f"{self.command} {parts.path} HTTP/1.1", *(f"{name}: {value}" for name, value in kept.items())]
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            upstream.sendall("\r\n".join([*head, "", ""]).encode() + body)
            self._copy(upstream)

    def _copy(self, upstream: socket.socket) -> None:
        ends = {upstream: self.connection, self.connection: upstream}
        with contextlib.suppress(OSError):
            while True:
                for ready in select.select(list(ends), [], [], 10)[0]:
                    data = ready.recv(65536)
                    if not data:
                        return
                    ends[ready].sendall(data)

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def running_proxy(user: str | None = None, password: str = "") -> Iterator[ProxyServer]:
    """A proxy while the block runs."""
    proxy = ProxyServer(user, password)
    thread = threading.Thread(target=lambda: proxy.serve_forever(poll_interval=0.02))
    thread.start()
    try:
        yield proxy
    finally:
        proxy.shutdown()
        thread.join()
        proxy.server_close()
