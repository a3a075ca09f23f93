"""The answer that is a stream of events."""

import asyncio
import contextlib

from fastapi.sse import EventSourceResponse
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app.core.errors import CursorExpired
from app.core.problems import problem_document
from app.events import frames
from app.events.hub import EventHub
from app.events.stream import Stream

HEADERS = {
    "Cache-Control": "no-store",
    # nginx and those that follow it hand each frame on at once
    "X-Accel-Buffering": "no",
}


class EventStream(Response):
    """Sends `stream`'s events until it ends or the client leaves.

    The framework's own streams take three tasks and two queues each, and a client that stalls holds them up for good;
    this takes one task and a second one that waits for the client to leave.
    """

    media_type = EventSourceResponse.media_type

    def __init__(self, hub: EventHub, stream: Stream) -> None:
        # Not the base's, which would announce the length of a body.
        self.status_code = 200
        self.background = None
        self._hub = hub
        self._stream = stream
        self.init_headers(HEADERS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})

        async def write(chunk: bytes) -> None:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})

        watching = asyncio.create_task(self._watch(receive))
        last = b""
        try:
            await self._hub.follow(self._stream, write)
        except CursorExpired as error:
            request_id = str(scope.get("state", {}).get("request_id", ""))
            last = frames.last_problem(problem_document(error, scope["path"], request_id))
        finally:
            watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watching
        if not self._stream.is_dropped:
            await send({"type": "http.response.body", "body": last, "more_body": False})

    async def _watch(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._stream.end()
