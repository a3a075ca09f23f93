"""OpenTelemetry traces: what is traced, what a span carries, and that nothing is there while it is off."""

import asyncio
import importlib.util
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import structlog
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from app.core import tracing
from app.core.background import BackgroundTask
from app.core.clock import ManualClock
from app.core.settings import Settings, SettingsError, load_settings
from tests.support.muster import ADMIN_TOKEN, Site, new_site

CALLER = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    """What the collector gets."""
    exporter = InMemorySpanExporter()
    monkeypatch.setattr(tracing, "exporter", lambda: exporter)
    return exporter


@pytest.fixture
async def traced(
    database_url: str, clock: ManualClock, tmp_path: Path, sent: InMemorySpanExporter
) -> AsyncIterator[Site]:
    """The application with tracing on."""
    async with new_site(database_url, clock, tmp_path, tracing=True) as site:
        site.app.state.tracing.flush()
        sent.clear()
        yield site


def spans(site: Site, sent: InMemorySpanExporter) -> list[ReadableSpan]:
    """All spans that have ended since the last look."""
    site.app.state.tracing.flush()
    found = list(sent.get_finished_spans())
    sent.clear()
    return found


def named(found: list[ReadableSpan], name: str) -> list[ReadableSpan]:
    """The spans of a name."""
    return [span for span in found if span.name == name]


def children(found: list[ReadableSpan], parent: ReadableSpan) -> list[ReadableSpan]:
    """The spans below another."""
    assert parent.context is not None
    return [span for span in found if span.parent is not None and span.parent.span_id == parent.context.span_id]


async def test_a_request_is_a_span_of_its_callers_trace_with_its_statements_below(
    traced: Site, sent: InMemorySpanExporter
) -> None:
    await traced.vault()
    spans(traced, sent)
    headers = {"traceparent": CALLER, "X-Request-ID": "request-1"}
    answer = await traced.client.get("/api/v1/vaults/contoso", headers=headers)
    assert answer.status_code == 200
    found = spans(traced, sent)
    (request,) = named(found, "GET /api/v1/vaults/{vault}")
    assert request.kind is SpanKind.SERVER
    assert request.context is not None
    assert request.parent is not None
    assert f"{request.context.trace_id:032x}" == CALLER.split("-")[1]
    assert f"{request.parent.span_id:016x}" == CALLER.split("-")[2]
    attributes = dict(request.attributes or {})
    assert attributes["http.route"] == "/api/v1/vaults/{vault}"
    assert attributes["http.request.method"] == "GET"
    assert attributes["http.response.status_code"] == 200
    assert attributes["muster.request_id"] == "request-1"
    statements = children(found, request)
    assert statements
    for statement in statements:
        assert statement.kind is SpanKind.CLIENT
        told = dict(statement.attributes or {})
        assert told["db.system.name"] in {"sqlite", "postgresql"}
        assert statement.name.startswith(str(told["db.operation.name"]))
        assert "contoso" not in str(told["db.query.text"])
    assert any("FROM vaults" in str((span.attributes or {})["db.query.text"]) for span in statements)
    assert {span.context.trace_id for span in found if span.context} == {request.context.trace_id}


async def test_refusals_are_no_failures_of_ours_and_faults_are(
    traced: Site, sent: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    await traced.client.get("/api/v1/vaults/nobody")
    await traced.client.post("/api/v1/vaults", content=b"x" * 2_000_000)
    await traced.client.get("/nowhere")
    for span, status in zip(spans_of_requests(spans(traced, sent)), (404, 413, 404), strict=True):
        assert (span.attributes or {})["http.response.status_code"] == status
        assert span.status.status_code is StatusCode.UNSET

    async def broken(*_: object, **__: object) -> None:
        raise RuntimeError("with a value of a row")

    monkeypatch.setattr("app.vaults.queries.list_vaults", broken)
    assert (await traced.client.get("/api/v1/vaults")).status_code == 500
    (failed,) = spans_of_requests(spans(traced, sent))
    assert failed.status.status_code is StatusCode.ERROR
    assert failed.name == "GET /api/v1/vaults"
    assert "value of a row" not in failed.to_json()


def spans_of_requests(found: list[ReadableSpan]) -> list[ReadableSpan]:
    """The spans of requests, in the order in which they ended."""
    return [span for span in found if span.kind is SpanKind.SERVER]


async def test_a_failing_statement_tells_the_kind_of_error_and_no_value(
    traced: Site, sent: InMemorySpanExporter
) -> None:
    await traced.vault()
    spans(traced, sent)
    answer = await traced.client.post("/api/v1/vaults", json={"name": "contoso", "location": "weu"})
    assert answer.status_code == 409
    failed = [span for span in spans(traced, sent) if span.status.status_code is StatusCode.ERROR]
    assert [span.kind for span in failed] == [SpanKind.CLIENT]
    assert (failed[0].attributes or {})["error.type"]
    assert "contoso" not in failed[0].to_json()


async def test_a_batch_of_heartbeats_is_one_span_and_a_heartbeat_none(traced: Site, sent: InMemorySpanExporter) -> None:
    await traced.vault()
    server = await traced.configuration_server()
    agents = [server] + [await traced.process_server(server, f"ps-{number}") for number in range(8)]
    for agent in agents:
        await traced.beat(agent)
    spans(traced, sent)
    answers = await asyncio.gather(*(traced.beat(agent, 2) for agent in agents))
    assert {answer.status_code for answer in answers} == {200}
    found = spans(traced, sent)
    batches = named(found, "heartbeat batch")
    assert sum(int(str((span.attributes or {})["muster.heartbeats"])) for span in batches) == len(agents)
    assert len(batches) < len(agents)
    assert all(span.parent is None for span in batches)
    assert spans_of_requests(found) == []


async def test_a_run_of_a_background_task_is_a_trace_with_its_statements(
    traced: Site, sent: InMemorySpanExporter
) -> None:
    await BackgroundTask("monitor", 5, traced.app.state.monitor.tick, traced.clock).run_once()
    found = spans(traced, sent)
    (run,) = named(found, "task monitor")
    assert run.parent is None
    assert any("monitor_watermark" in str((span.attributes or {})["db.query.text"]) for span in children(found, run))

    async def broken() -> None:
        raise RuntimeError("with a value of a row")

    await BackgroundTask("broken", 5, broken, traced.clock).run_once()
    (run,) = spans(traced, sent)
    assert run.status.status_code is StatusCode.ERROR
    assert (run.attributes or {})["error.type"] == "RuntimeError"
    assert "value of a row" not in run.to_json()


async def test_what_nobody_traces_has_no_statements(traced: Site, sent: InMemorySpanExporter) -> None:
    await traced.tick()
    for path in ("/healthz", "/readyz", "/metrics", "/api/v1/vaults/contoso/events/stream"):
        await traced.client.get(path)
    assert spans(traced, sent) == []


async def test_no_span_carries_a_secret(traced: Site, sent: InMemorySpanExporter) -> None:
    await traced.vault()
    key = await traced.registration_key()
    server = await traced.configuration_server(key=key)
    process_server = await traced.process_server(server)
    token = (await traced.token())["token"]
    await traced.client.get("/api/v1/vaults", params={"token": token, "q": "my-query"})
    async with traced.with_token("not-a-token-but-secret") as stranger:
        await stranger.get("/api/v1/vaults")
    await traced.beat(server)
    await traced.beat("0" * 32 + ".a-credential-that-nobody-has")
    told = "\n".join(span.to_json() for span in spans(traced, sent))
    secrets = [
        ADMIN_TOKEN,
        key,
        server["credential"],
        server["passphrase"],
        process_server["credential"],
        token,
        "not-a-token-but-secret",
        "a-credential-that-nobody-has",
        "my-query",
    ]
    for secret in secrets:
        assert secret not in told
        assert secret.rpartition(".")[2] not in told
    assert '"url.query": "token=&q="' in told


async def test_log_lines_of_a_request_name_its_trace(traced: Site, sent: InMemorySpanExporter) -> None:
    with structlog.testing.capture_logs(processors=[tracing.into_log]) as lines:
        await traced.client.get("/api/v1/vaults", headers={"traceparent": CALLER})
        structlog.get_logger("muster").info("outside")
    (request,) = spans_of_requests(spans(traced, sent))
    assert request.context is not None
    of_request, outside = (next(line for line in lines if line["event"] == event) for event in ("request", "outside"))
    assert of_request["trace_id"] == CALLER.split("-")[1]
    assert of_request["span_id"] == f"{request.context.span_id:016x}"
    assert "trace_id" not in outside


async def test_the_callers_word_not_to_sample_holds(traced: Site, sent: InMemorySpanExporter) -> None:
    await traced.client.get("/api/v1/vaults", headers={"traceparent": CALLER.removesuffix("01") + "00"})
    assert spans(traced, sent) == []


@pytest.mark.parametrize(("variable", "name"), [(None, "muster"), ("muster-west", "muster-west")])
async def test_who_sends_can_be_named_by_the_standard_variables(
    database_url: str,
    clock: ManualClock,
    tmp_path: Path,
    sent: InMemorySpanExporter,
    monkeypatch: pytest.MonkeyPatch,
    variable: str | None,
    name: str,
) -> None:
    if variable:
        monkeypatch.setenv("OTEL_SERVICE_NAME", variable)
    async with new_site(database_url, clock, tmp_path, tracing=True) as site:
        await site.client.get("/api/v1/vaults")
        (request,) = spans_of_requests(spans(site, sent))
    assert request.resource.attributes["service.name"] == name


# --- off -----------------------------------------------------------------------------------------------------


async def test_while_off_nothing_is_done(site: Site, sent: InMemorySpanExporter) -> None:
    assert site.app.state.tracing is None
    assert tracing.span("a") is tracing.span("b", size=1)
    await site.client.get("/api/v1/vaults", headers={"traceparent": CALLER})
    entry = {"event": "x"}
    assert tracing.into_log(None, "info", entry) == {"event": "x"}
    assert sent.get_finished_spans() == ()


async def test_after_the_end_it_is_off_again(
    database_url: str, clock: ManualClock, tmp_path: Path, sent: InMemorySpanExporter
) -> None:
    async with new_site(database_url, clock, tmp_path, tracing=True) as site:
        assert tracing.span("a") is not tracing.span("a")
        await site.client.get("/api/v1/vaults")
    assert tracing.span("a") is tracing.span("a")
    assert spans_of_requests(list(sent.get_finished_spans())), "what had ended was not sent at the end"


def test_while_off_the_sdk_is_not_imported(tmp_path: Path) -> None:
    script = (
        "import json, sys, pathlib\n"
        "from app.core.settings import Settings\n"
        "from app.main import create_app\n"
        f"create_app(Settings(data_dir=pathlib.Path({str(tmp_path)!r})))\n"
        "print(json.dumps(sorted(name for name in sys.modules if name.startswith('opentelemetry'))))\n"
    )
    # Variables that would make the framework export by itself.
    environment = {"FASTAPI_OTEL_AUTO_CONFIGURE": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=tracing_environment() | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    imported = json.loads(done.stdout)
    # The API alone, which FastAPI imports.
    assert [name for name in imported if name.startswith(("opentelemetry.sdk", "opentelemetry.exporter"))] == []


def tracing_environment() -> dict[str, str]:
    """What a Python of this checkout needs."""
    return {"PYTHONPATH": str(Path(__file__).resolve().parent.parent.parent), "PATH": "/usr/bin:/bin"}


def test_without_the_packages_the_setting_is_refused_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MUSTER_TRACING", "true")
    monkeypatch.setenv("MUSTER_DATA_DIR", str(tmp_path))
    assert load_settings().tracing
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(SettingsError, match=r"muster\[tracing\]"):
        load_settings()
    monkeypatch.setenv("MUSTER_TRACING", "false")
    assert not load_settings().tracing
    assert not Settings(data_dir=tmp_path).tracing
