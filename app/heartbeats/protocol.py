"""Heartbeats at the level of the HTTP connection: no task, no ASGI messages, one write for the whole answer.

uvicorn takes a protocol class of the application's (`uvicorn.run(http=...)`). This one leaves everything to
uvicorn's own but the request it was made for: a heartbeat whose body has arrived goes straight to the committer, and
its answer straight to the connection. Whatever is out of the ordinary (a refusal, a body that is too large,
`Expect: 100-continue`) takes the way of every other request, through `lane.HeartbeatLane` as an ASGI application;
so does everything where another server carries the application.
"""

import asyncio
import functools
from typing import Any, ClassVar, cast

import structlog
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from app.core.asgi import request_id_for
from app.core.errors import MalformedRequest, MusterError
from app.core.problems import problem_response
from app.core.secrets import Presented
from app.heartbeats.committer import Answer
from app.heartbeats.heads import request_in
from app.heartbeats.lane import PATH, HeartbeatLane, credential_in, is_heartbeat, presented_with, send_problem
from app.heartbeats.schemas import MAX_BODY_BYTES

_TARGET = PATH.encode()
_START = b"POST " + _TARGET + b" HTTP/1.1\r\n"
log = structlog.get_logger("muster.heartbeats")


class HeartbeatProtocol(HttpToolsProtocol):
    """One connection."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._lane = self.app if isinstance(self.app, HeartbeatLane) else None
        self._holds_beats = self._lane is not None and self.limit_concurrency is None and not self.root_path
        self._held: HeldBeat | RequestResponseCycle | None = None
        """A heartbeat whose body is still on its way."""
        self.url = b""
        self._is_between_requests = True
        """Whether the parser has read its last request to the end and has begun no other."""
        self._key: bytes | None = None
        """Of the head that the parser is about to read, where it could be remembered."""
        self._default_headers: list[tuple[bytes, bytes]] | None = None
        self._head = b""
        self._idle_since: float | None = None

    def data_received(self, data: bytes) -> None:
        """Bytes from the network. A whole heartbeat with a head that was read before needs no parser."""
        self._key = None
        if self._holds_beats and self._is_between_requests and data.startswith(_START):
            before: Any = self.cycle
            request = request_in(data) if before is None or before.response_complete else None
            if request is not None:
                presented = self._lane.heads.get(request.key)  # type: ignore[union-attr]
                if presented is not None:
                    self._unset_keepalive_if_required()
                    held = HeldBeat(self, [], True)
                    held.body, held.more_body = data[request.body_at :], False
                    self.cycle = held  # type: ignore[assignment]
                    self._queue(held, presented)
                    return
                self._key = request.key
        super().data_received(data)

    def on_message_begin(self) -> None:
        """The start of a request. An ASGI scope is made only for one that needs it."""
        self._is_between_requests = False
        self.url = b""
        self.expect_100_continue = False
        self.headers = []

    def on_headers_complete(self) -> None:
        """The end of a request's head: a plain heartbeat is held here, everything else goes uvicorn's way."""
        before: Any = self.cycle
        parser = self.parser
        if (
            self.url == _TARGET
            and self._holds_beats
            and (before is None or before.response_complete)
            and not self.expect_100_continue
            and parser.get_method() == b"POST"
            and parser.get_http_version() == "1.1"
            and not parser.should_upgrade()
        ):
            held = HeldBeat(self, self.headers, parser.should_keep_alive())
            self._held = held
            self.cycle = held  # type: ignore[assignment]
            return
        self._open_scope()
        self.scope["headers"] = self.headers
        super().on_headers_complete()

    def _open_scope(self) -> None:
        """Make what uvicorn makes at the start of a request, and leave alone what was read of this one since."""
        url, expects, headers = self.url, self.expect_100_continue, self.headers
        super().on_message_begin()
        self.url, self.expect_100_continue, self.headers = url, expects, headers

    def _as_usual(self, held: "HeldBeat") -> RequestResponseCycle:
        """A held heartbeat as uvicorn would have it: its scope, and the body as far as it has come."""
        # The head of the connection's next request may be on its way by now.
        self._open_scope()
        scope = self.scope
        scope["method"], scope["headers"] = "POST", held.headers
        scope["path"], scope["raw_path"], scope["query_string"] = PATH, _TARGET, b""
        cycle = RequestResponseCycle(
            scope=scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=self.access_log,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=False,
            keep_alive=held.keep_alive,
            on_response=self.on_response_complete,
        )
        cycle.body, cycle.more_body, cycle.disconnected = bytearray(held.body), held.more_body, held.disconnected
        if self.cycle is held:  # type: ignore[comparison-overlap]
            self.cycle = cycle
        return cycle

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        # uvicorn calls this with the head of a request, before its body, or for one that waited in a pipeline.
        if app is not self._lane or not is_heartbeat(cast("Scope", cycle.scope)) or cycle.waiting_for_100_continue:
            super()._start_asgi_task(cycle, app)
        elif cycle.more_body:
            self._held = cycle
        else:
            self._take_cycle(cycle)

    def on_body(self, body: bytes) -> None:
        """A part of a body. One that grows too large is handed on: nobody would resume a reading that was paused."""
        held = self._held
        if isinstance(held, HeldBeat):
            held.body = held.body + body if held.body else body
            if len(held.body) > MAX_BODY_BYTES:
                self._held = None
                super()._start_asgi_task(self._as_usual(held), self.app)
            return
        super().on_body(body)
        if held is not None and len(held.body) > MAX_BODY_BYTES:
            self._held = None
            super()._start_asgi_task(held, self.app)

    def on_message_complete(self) -> None:
        """The end of a body."""
        self._is_between_requests = True
        held = self._held
        if isinstance(held, HeldBeat):
            self._held = None
            held.more_body = False
            self._take(held)
            return
        super().on_message_complete()
        if held is not None:
            self._held = None
            self._take_cycle(held)

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

    def _take_cycle(self, cycle: RequestResponseCycle) -> None:
        """A heartbeat that began uvicorn's way, since it waited behind another request of its connection."""
        held = HeldBeat(self, cycle.scope["headers"], cycle.keep_alive)  # type: ignore[arg-type]
        held.body, held.more_body, held.cycle = bytes(cycle.body), False, cycle
        self._take(held)

    def _take(self, held: "HeldBeat") -> None:
        authorization, held.request_id = presented_with(held.headers)
        try:
            presented = credential_in(authorization)
        except MusterError as error:
            held.set_exception(error)
            return
        if self._key is not None and held.keep_alive and held.request_id is None:
            held.head = (self._key, presented)
        self._queue(held, presented)

    def _queue(self, held: "HeldBeat", presented: Presented) -> None:
        try:
            self._lane.take(presented, held.body, held)  # type: ignore[union-attr]
        except Exception as error:  # noqa: BLE001 - told to the client as a problem, and to the log where it is a fault
            held.set_exception(error)

    def answer(self, held: "HeldBeat", answer: Answer) -> None:
        """Write an accepted heartbeat's answer and go on with the connection as uvicorn does after a response."""
        body = self._lane.body(answer)  # type: ignore[union-attr]
        keep_alive = held.keep_alive if held.cycle is None else held.cycle.keep_alive
        more = b"" if held.request_id is None else b"x-request-id: " + held.request_id.encode("latin-1") + b"\r\n"
        if not keep_alive:
            more += b"connection: close\r\n"
        self.transport.write(b"%bcontent-length: %d\r\n%b\r\n%b" % (self._heading(), len(body), more, body))
        held.response_complete = True
        if held.head is not None:
            self._lane.heads.remember(*held.head)  # type: ignore[union-attr]
        if held.cycle is not None:
            held.cycle.response_started = held.cycle.response_complete = True
        if not keep_alive:
            self.transport.close()
        self.on_response_complete()

    def explain(self, held: "HeldBeat", error: Exception) -> None:
        """Answer with a problem, through uvicorn's way of sending responses."""
        cycle = held.cycle or self._as_usual(held)
        held.response_complete = True
        super()._start_asgi_task(cycle, functools.partial(_problem, error, held.request_id))

    def _heading(self) -> bytes:
        # The server makes a new list each second, with the new date in it.
        if self._default_headers is not self.server_state.default_headers:
            self._default_headers = self.server_state.default_headers
            lines = [b"HTTP/1.1 200 OK", *(b"%b: %b" % header for header in self._default_headers)]
            self._head = b"\r\n".join([*lines, b"content-type: application/json", b""])
        return self._head


class _NoEvent:
    """Nobody waits for the parts of a held body."""

    def set(self) -> None:
        """A part has arrived, or the client went away."""


class HeldBeat:
    """A heartbeat on its connection: what uvicorn asks of a request's cycle, and where the committer answers."""

    __slots__ = (
        "body",
        "cycle",
        "disconnected",
        "head",
        "headers",
        "keep_alive",
        "more_body",
        "protocol",
        "request_id",
        "response_complete",
    )
    message_event: ClassVar[_NoEvent] = _NoEvent()

    def __init__(self, protocol: HeartbeatProtocol, headers: list[tuple[bytes, bytes]], keep_alive: bool) -> None:
        self.protocol = protocol
        self.headers = headers
        self.keep_alive = keep_alive
        self.body = b""
        self.more_body = True
        self.response_complete = False
        self.disconnected = False
        self.request_id: str | None = None
        self.cycle: RequestResponseCycle | None = None
        """Where the request began uvicorn's way."""
        self.head: tuple[bytes, Presented] | None = None
        """What to remember when it is accepted."""

    def done(self) -> bool:
        """Whether nobody waits any more."""
        return self.disconnected if self.cycle is None else self.cycle.disconnected

    def set_result(self, answer: Answer) -> None:
        """The heartbeat is durable. Never raises: the rest of the batch waits for its answers."""
        try:
            self.protocol.answer(self, answer)
        except Exception as error:
            log.error("a heartbeat's answer can't be sent", exc_info=error)
            self.protocol.transport.abort()

    def set_exception(self, error: Exception) -> None:
        """The heartbeat was refused, or could not be stored."""
        self.protocol.explain(self, error)


async def _problem(error: Exception, request_id: str | None, scope: Scope, receive: Receive, send: Send) -> None:
    await send_problem(error, request_id, scope, receive, send)
