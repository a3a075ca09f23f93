"""A control plane on a real port, for the commands that run as real processes."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

Reply = tuple[int, dict[str, Any]]


class PortServer:
    """Answers POSTs on a port of this machine with what ``reply`` returns, or not at all while it is None."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, str], dict[str, Any]]] = []
        self.arrived = threading.Event()
        self.reply: Callable[[str], Reply | None] = lambda path: (200, {})
        self.released = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                headers = {name.lower(): value for name, value in self.headers.items()}
                outer.requests.append((self.path, headers, body))
                outer.arrived.set()
                reply = outer.reply(self.path)
                if reply is None:
                    outer.released.wait(60)
                    self.close_connection = True
                    return
                status, document = reply
                content = json.dumps(document).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json" if status < 400 else "application/problem+json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.scheme = "http"

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def port_server() -> Iterator[PortServer]:
    """Return a control plane that listens on a free port of this machine."""
    control_plane = PortServer()
    thread = threading.Thread(target=lambda: control_plane.server.serve_forever(poll_interval=0.02))
    thread.start()
    yield control_plane
    control_plane.released.set()
    control_plane.server.shutdown()
    thread.join()
    control_plane.server.server_close()
