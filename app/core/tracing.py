"""OpenTelemetry traces, where `MUSTER_TRACING` asks for them.

A request is a trace, or a part of its caller's (W3C `traceparent`): FastAPI's own telemetry writes that span, its
statements hang below it. A run of a background task and a batch of heartbeats are traces of their own; a heartbeat
has none, since it must cost nothing. Spans carry names, sizes and statements with placeholders. They carry no header,
no body, no parameter of a statement, no message of an error, and of a query only the names.

While it is off, the SDK is not imported, `span` hands out one object that does nothing, and no engine is listened to.
(FastAPI itself imports the API package, which does nothing without the SDK.)
"""

import asyncio
import contextlib
import threading
from collections.abc import Iterator, MutableMapping
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode

from fastapi.telemetry import TelemetryConfig
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine

from app import __version__
from app.core.settings import Settings

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Span, Tracer

NO_TELEMETRY: TelemetryConfig = {"tracing": False, "metrics": False, "logs": False, "auto_configure": False}
"""For FastAPI: nothing, whatever its own environment variables say. Metrics are Prometheus', logs structlog's."""

UNTRACED_PATHS = {"/healthz", "/readyz", "/metrics"}
STREAM_SUFFIX = "/stream"
STOP_SECONDS = 3
_OFF = contextlib.nullcontext()
_tracer: "Tracer | None" = None


def span(name: str, **attributes: str | int) -> contextlib.AbstractContextManager[object]:
    """A span for the work inside; nothing while tracing is off. Attributes get the prefix `muster.`."""
    return _OFF if _tracer is None else _traced(_tracer, name, attributes)


def annotate(name: str, value: str) -> None:
    """Put an attribute on the span that is active, where one is."""
    if _tracer is not None:
        _active_span().set_attribute(name, value)


def into_log(_logger: Any, _method: str, entry: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Puts `trace_id` and `span_id` into a log line while a span is active."""
    if _tracer is not None:
        active = _active_span().get_span_context()
        if active.is_valid:
            entry["trace_id"] = f"{active.trace_id:032x}"
            entry["span_id"] = f"{active.span_id:016x}"
    return entry


class Tracing:
    """The traces of one process, sent from the start on until `stop`."""

    def __init__(self, settings: Settings) -> None:
        global _tracer
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        self._provider = TracerProvider(resource=_resource(), shutdown_on_exit=False)
        self._provider.add_span_processor(_names_of_queries())
        self._provider.add_span_processor(BatchSpanProcessor(exporter()))
        self._database = settings.database_name
        self._tracer = _tracer = self._provider.get_tracer("muster", __version__)
        self.of_requests: TelemetryConfig = {
            **NO_TELEMETRY,
            "tracing": True,
            "tracer_provider": self._provider,
            "operation_spans": False,
            "exclude": _is_untraced,
        }

    def watch(self, engine: AsyncEngine) -> None:
        """A span for each statement of a request or a task. What nobody traces needs none."""
        system = "sqlite" if engine.dialect.name == "sqlite" else "postgresql"

        def begin(_connection: Any, _cursor: Any, statement: str, _parameters: Any, context: Any, _many: bool) -> None:
            if context is None or not _active_span().is_recording():
                return
            operation = statement.split(maxsplit=1)[0].upper()
            context.muster_span = self._client_span(
                f"{operation} {self._database}",
                {
                    "db.system.name": system,
                    "db.namespace": self._database,
                    "db.operation.name": operation,
                    "db.query.text": statement,
                },
            )

        def end(_connection: Any, _cursor: Any, _statement: str, _parameters: Any, context: Any, _many: bool) -> None:
            _end(context, None)

        def fail(failure: Any) -> None:
            _end(failure.execution_context, failure.original_exception)

        event.listen(engine.sync_engine, "before_cursor_execute", begin)
        event.listen(engine.sync_engine, "after_cursor_execute", end)
        event.listen(engine.sync_engine, "handle_error", fail)

    def _client_span(self, name: str, attributes: dict[str, str]) -> "Span":
        from opentelemetry.trace import SpanKind

        return self._tracer.start_span(name, kind=SpanKind.CLIENT, attributes=attributes)

    def flush(self) -> None:
        """Send what has ended by now."""
        self._provider.force_flush()

    async def stop(self) -> None:
        """Send what is left, as far as the collector takes it in time."""
        global _tracer
        if _tracer is self._tracer:
            _tracer = None
        loop = asyncio.get_running_loop()
        is_sent = asyncio.Event()

        def send() -> None:
            self._provider.shutdown()
            with contextlib.suppress(RuntimeError):  # the loop may have ended meanwhile
                loop.call_soon_threadsafe(is_sent.set)

        # A daemon: a collector that hangs must not hold up the end of the process.
        threading.Thread(target=send, name="last traces", daemon=True).start()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_SECONDS):
                await is_sent.wait()


def exporter() -> "SpanExporter":
    """Where spans go: OTLP over HTTP, to where the standard `OTEL_EXPORTER_OTLP_*` variables say."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return OTLPSpanExporter()


def _resource() -> Any:
    """Who sends. `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` win over Muster's own word."""
    from opentelemetry.sdk.resources import OTELResourceDetector, Resource

    own = Resource.create({"service.name": "muster", "service.version": __version__})
    return own.merge(OTELResourceDetector().detect())


def _is_untraced(scope: MutableMapping[str, Any]) -> bool:
    """Probes say nothing, and a stream would be one span of hours."""
    path: str = scope["path"]
    return path in UNTRACED_PATHS or path.endswith(STREAM_SUFFIX)


def _active_span() -> "Span":
    from opentelemetry import trace

    return trace.get_current_span()


@contextlib.contextmanager
def _traced(tracer: "Tracer", name: str, attributes: dict[str, str | int]) -> Iterator[object]:
    with tracer.start_as_current_span(
        name,
        attributes={f"muster.{key}": value for key, value in attributes.items()},
        record_exception=False,
        set_status_on_exception=False,
    ) as started:
        try:
            yield started
        except Exception as error:
            _mark_failed(started, error)
            raise


def _end(context: Any, error: BaseException | None) -> None:
    started: Span | None = context and context.__dict__.pop("muster_span", None)
    if started:
        if error is not None:
            _mark_failed(started, error)
        started.end()


def _mark_failed(failed: "Span", error: BaseException) -> None:
    """The kind of error alone: its message may hold values of rows."""
    from opentelemetry.trace import StatusCode

    failed.set_attribute("error.type", type(error).__qualname__)
    failed.set_status(StatusCode.ERROR)


def _names_of_queries() -> Any:
    """A processor that leaves of a URL's query only the names: a client may put anything into a value."""
    from opentelemetry.sdk.trace import SpanProcessor

    class NamesOfQueries(SpanProcessor):
        def on_start(self, span: Any, parent_context: Any = None) -> None:
            query = (span.attributes or {}).get("url.query")
            if query:
                names = dict.fromkeys(name for name, _ in parse_qsl(str(query), keep_blank_values=True))
                span.set_attribute("url.query", urlencode(dict.fromkeys(names, "")))

    return NamesOfQueries()
