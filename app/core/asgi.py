"""The outer layers: request ids, body limit, the log line and the net for unhandled faults.

Plain ASGI: BaseHTTPMiddleware would cost more than the rest of a request.
"""

import logging
import re
import time
from collections.abc import Mapping, MutableMapping
from typing import Any

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.core.errors import TooLarge
from app.core.metrics import HTTP_REQUESTS, HTTP_SECONDS
from app.core.problems import METHODS, problem_response, unhandled
from app.core.tracing import annotate
from app.core.wire import new_id

REQUEST_ID_HEADER = "X-Request-ID"
QUIET_ROUTES = {"/healthz", "/readyz", "/metrics"}
REFUSED_BODY_FACTOR = 8
_GOOD_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")
log = structlog.get_logger("muster.http")


def request_id_for(presented: str | None) -> str:
    """The client's id when it is fit for a header and a log line, else a new one."""
    return presented if presented and _GOOD_REQUEST_ID.fullmatch(presented) else str(new_id())


class RequestContext:
    """Gives each request an id, answers unhandled faults, writes one log line and the metrics."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = request_id_for(Headers(scope=scope).get(REQUEST_ID_HEADER))
        scope.setdefault("state", {})["request_id"] = request_id
        annotate("muster.request_id", request_id)
        status = 0
        started = time.perf_counter()

        async def tagged_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[REQUEST_ID_HEADER] = request_id
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                await self._app(scope, receive, tagged_send)
            except Exception as error:
                if status:
                    raise
                await unhandled(error, scope["path"], request_id)(scope, receive, tagged_send)
            finally:
                _account(scope, status, time.perf_counter() - started)


def _account(scope: MutableMapping[str, Any], status: int, seconds: float) -> None:
    route = getattr(scope.get("route"), "path", None) or "unmatched"
    # A client chooses its method freely; each value of a label is a series that is kept.
    method = scope["method"] if scope["method"] in METHODS else "other"
    HTTP_REQUESTS.labels(method, route, str(status)).inc()
    HTTP_SECONDS.labels(method, route).observe(seconds)
    client = scope.get("client") or ("", 0)
    # Probes and scrapes come every few seconds and say nothing.
    level = logging.DEBUG if route in QUIET_ROUTES and status < 400 else logging.INFO
    log.log(
        level,
        "request",
        method=scope["method"],
        path=scope["path"],
        status=status,
        milliseconds=round(seconds * 1000, 1),
        client=client[0],
    )


class BodyLimit:
    """Reads the body before the application does and refuses what is larger than `limit` bytes.

    `limits` has other limits, by a path's last segment.
    """

    def __init__(self, app: ASGIApp, limit: int, limits: Mapping[str, int]) -> None:
        self._app = app
        self._limit = limit
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        end = scope["path"].rpartition("/")[2]
        limit = self._limits.get(end, self._limit)
        body = await read_body(receive, limit)
        if body is None:
            await refuse_large_body(scope, receive, send, limit)
            return
        delivered = False

        async def replayed() -> Message:
            nonlocal delivered
            if delivered:
                return await receive()
            delivered = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self._app(scope, replayed, send)


async def read_body(receive: Receive, limit: int) -> bytes | None:
    """The whole body, or None when it has more than `limit` bytes.

    Of a larger one the rest is read and forgotten for a while: to a proxy that is still sending, an early end
    looks like a failure of the server, and it would hide the 413.
    """
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return b""
        chunk = message.get("body", b"")
        size += len(chunk)
        if size <= limit:
            chunks.append(chunk)
        if not message.get("more_body", False) or size > REFUSED_BODY_FACTOR * limit:
            return b"".join(chunks) if size <= limit else None


async def refuse_large_body(scope: Scope, receive: Receive, send: Send, limit: int) -> None:
    """Answer 413 and close the connection, since the rest of the body may not have been read."""
    error = TooLarge(f"the body has more than {limit} bytes; send less at once", headers={"Connection": "close"})
    request_id = scope.get("state", {}).get("request_id", "")
    await problem_response(error, scope["path"], request_id)(scope, receive, send)
