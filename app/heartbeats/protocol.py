"""Heartbeats at the level of the HTTP connection: no task, no ASGI messages, one write for the whole answer.

uvicorn takes a protocol class of the application's (`uvicorn.run(http=...)`). This one leaves everything to
uvicorn's own but the request it was made for: a heartbeat whose body has arrived goes straight to the committer, and
its answer straight to the connection. Whatever is out of the ordinary (a refusal, a body that is too large,
`Expect: 100-continue`) takes the way of every other request, through `lane.HeartbeatLane` as an ASGI application;
so does everything where another server carries the application.
"""

import functools
from typing import Any, cast

import structlog
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from app.core.asgi import request_id_for
from app.core.errors import MalformedRequest
from app.core.problems import problem_response
from app.heartbeats.committer import Answer
from app.heartbeats.lane import HeartbeatLane, is_heartbeat, presented_with, send_problem
from app.heartbeats.schemas import MAX_BODY_BYTES

log = structlog.get_logger("muster.heartbeats")


class HeartbeatProtocol(HttpToolsProtocol):
    """One connection."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._lane = self.app if isinstance(self.app, HeartbeatLane) else None
        self._held: RequestResponseCycle | None = None
        """A heartbeat whose body is still on its way."""
        self._default_headers: list[tuple[bytes, bytes]] | None = None
        self._head = b""
        self._idle_since: float | None = None

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        # uvicorn calls this with the head of a request, before its body, or for one that waited in a pipeline.
        if app is not self._lane or not is_heartbeat(cast("Scope", cycle.scope)) or cycle.waiting_for_100_continue:
            super()._start_asgi_task(cycle, app)
        elif cycle.more_body:
            self._held = cycle
        else:
            self._take(cycle)

    def on_body(self, body: bytes) -> None:
        """A part of a body. One that grows too large is handed on: nobody would resume a reading that was paused."""
        super().on_body(body)
        if self._held is not None and len(self._held.body) > MAX_BODY_BYTES:
            cycle, self._held = self._held, None
            super()._start_asgi_task(cycle, self.app)

    def on_message_complete(self) -> None:
        """The end of a body."""
        super().on_message_complete()
        if self._held is not None:
            cycle, self._held = self._held, None
            self._take(cycle)

    def connection_lost(self, exc: Exception | None) -> None:
        """The client went away."""
        self._held = None
        super().connection_lost(exc)
        if self.timeout_keep_alive_task is not None:
            self.timeout_keep_alive_task.cancel()
            self.timeout_keep_alive_task = None

    def _unset_keepalive_if_required(self) -> None:
        # uvicorn makes and cancels a timer for each request. One timer that looks again is enough: the time at which
        # a connection fell idle decides.
        self._idle_since = None

    def on_response_complete(self) -> None:
        """As uvicorn's own, but for the timer."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._idle_since = None
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)
            return
        self._idle_since = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def timeout_keep_alive_handler(self) -> None:
        """Close the connection if it has been idle for the keep-alive time; else look again when it might have been."""
        self.timeout_keep_alive_task = None
        if self._idle_since is None or self.transport.is_closing():
            return
        left = self._idle_since + self.timeout_keep_alive - self.loop.time()
        if left > 0:
            self.timeout_keep_alive_task = self.loop.call_later(left, self.timeout_keep_alive_handler)
        else:
            self.transport.close()

    def send_400_response(self, msg: str) -> None:
        """What can't be read as HTTP gets a problem too, and the end of the connection, as uvicorn sees to."""
        error = MalformedRequest(f"{msg} Send HTTP/1.1 whose header lines hold no control characters.")
        response = problem_response(error, "", request_id_for(None))
        response.headers["connection"] = "close"
        headers = [*self.server_state.default_headers, *response.raw_headers]
        lines = [b"HTTP/1.1 400 Bad Request", *(b"%b: %b" % header for header in headers)]
        self.transport.write(b"\r\n".join([*lines, b"", b""]) + bytes(response.body))
        self.transport.close()

    def _take(self, cycle: RequestResponseCycle) -> None:
        authorization, request_id = presented_with(cast("Scope", cycle.scope))
        reply = _Reply(self, cycle, request_id)
        try:
            self._lane.take(authorization, bytes(cycle.body), reply)  # type: ignore[union-attr]
        except Exception as error:  # noqa: BLE001 - told to the client as a problem, and to the log where it is a fault
            reply.set_exception(error)

    def answer(self, cycle: RequestResponseCycle, answer: Answer, request_id: str | None) -> None:
        """Write an accepted heartbeat's answer and go on with the connection as uvicorn does after a response."""
        body = self._lane.body(answer)  # type: ignore[union-attr]
        more = b"" if request_id is None else b"x-request-id: " + request_id.encode("latin-1") + b"\r\n"
        if not cycle.keep_alive:
            more += b"connection: close\r\n"
        self.transport.write(b"%bcontent-length: %d\r\n%b\r\n%b" % (self._heading(), len(body), more, body))
        cycle.response_started = cycle.response_complete = True
        if not cycle.keep_alive:
            self.transport.close()
        cycle.on_response()

    def explain(self, cycle: RequestResponseCycle, error: Exception, request_id: str | None) -> None:
        """Answer with a problem, through uvicorn's way of sending responses."""
        super()._start_asgi_task(cycle, functools.partial(_problem, error, request_id))

    def _heading(self) -> bytes:
        # The server makes a new list each second, with the new date in it.
        if self._default_headers is not self.server_state.default_headers:
            self._default_headers = self.server_state.default_headers
            lines = [b"HTTP/1.1 200 OK", *(b"%b: %b" % header for header in self._default_headers)]
            self._head = b"\r\n".join([*lines, b"content-type: application/json", b""])
        return self._head


class _Reply:
    """Takes what the committer says of one heartbeat to the connection it came by."""

    __slots__ = ("_cycle", "_protocol", "_request_id")

    def __init__(self, protocol: HeartbeatProtocol, cycle: RequestResponseCycle, request_id: str | None) -> None:
        self._protocol = protocol
        self._cycle = cycle
        self._request_id = request_id

    def done(self) -> bool:
        """Whether nobody waits any more."""
        return self._cycle.disconnected

    def set_result(self, answer: Answer) -> None:
        """The heartbeat is durable. Never raises: the rest of the batch waits for its answers."""
        try:
            self._protocol.answer(self._cycle, answer, self._request_id)
        except Exception as error:
            log.error("a heartbeat's answer can't be sent", exc_info=error)
            self._protocol.transport.abort()

    def set_exception(self, error: Exception) -> None:
        """The heartbeat was refused, or could not be stored."""
        self._protocol.explain(self._cycle, error, self._request_id)


async def _problem(error: Exception, request_id: str | None, scope: Scope, receive: Receive, send: Send) -> None:
    await send_problem(error, request_id, scope, receive, send)
