"""A bare ASGI application: reads a heartbeat to its end, ignores it, and answers as Muster would."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from tests.bench.serving import port_parser, serve

Message = MutableMapping[str, Any]

ANSWER = b'{"serverTime":"2026-11-24T12:00:00.123Z","nextHeartbeatSeconds":28.412,"generation":1,"notices":[]}'
START: Message = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"application/json"), (b"content-length", str(len(ANSWER)).encode())],
}


async def app(
    scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
) -> None:
    """Answer every request with 200."""
    if scope["type"] != "http":
        return
    body = b""
    more = True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    await send(START)
    await send({"type": "http.response.body", "body": ANSWER})


if __name__ == "__main__":
    serve(app, port_parser(__doc__).parse_args().port)
