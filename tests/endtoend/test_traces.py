"""A real server sends its traces over OTLP to a collector, and ends in time without one."""

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from app import __version__
from tests.support.server import ADMIN_TOKEN, MusterServer


class Collector(http.server.ThreadingHTTPServer):
    """Takes traces as a collector does; `hangs` once it is told to."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.requests: list[ExportTraceServiceRequest] = []
        self.asked = threading.Event()
        self.let_go = threading.Event()
        self.let_go.set()

    @property
    def url(self) -> str:
        """The value of OTEL_EXPORTER_OTLP_ENDPOINT."""
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.asked.set()
        self.server.let_go.wait()
        if self.path == "/v1/traces":
            self.server.requests.append(ExportTraceServiceRequest.FromString(body))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        pass


@pytest.fixture
def collector() -> Iterator[Collector]:
    """A collector on this machine."""
    started = Collector()
    thread = threading.Thread(target=started.serve_forever, daemon=True)
    thread.start()
    yield started
    started.let_go.set()
    started.shutdown()
    started.server_close()


def traced_server(folder: Path, collector: Collector) -> MusterServer:
    """A server that sends its traces to the collector."""
    server = MusterServer(folder, tracing="true")
    server.environment |= {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "50"}
    server.start()
    return server


def test_traces_arrive_over_otlp(tmp_path: Path, collector: Collector) -> None:
    server = traced_server(tmp_path, collector)
    headers = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
    assert httpx.get(f"{server.url}/api/v1/vaults", headers=headers).status_code == 200
    assert server.stop() is not None
    sent = [resource for request in collector.requests for resource in request.resource_spans]
    attributes = {item.key: item.value.string_value for resource in sent for item in resource.resource.attributes}
    assert attributes["service.name"] == "muster"
    assert attributes["service.version"] == __version__
    names = {span.name for resource in sent for scope in resource.scope_spans for span in scope.spans}
    assert {"GET /api/v1/vaults", "task monitor"} <= names
    assert ADMIN_TOKEN not in "".join(str(request) for request in collector.requests)


def test_a_collector_that_hangs_holds_up_neither_a_request_nor_the_end(tmp_path: Path, collector: Collector) -> None:
    collector.let_go.clear()
    server = traced_server(tmp_path, collector)
    headers = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
    assert collector.asked.wait(30)
    assert httpx.get(f"{server.url}/api/v1/vaults", headers=headers, timeout=10).status_code == 200
    # None: it had to be killed.
    assert server.stop() is not None
