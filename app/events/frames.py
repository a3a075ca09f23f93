"""Frames of an event stream, as the WHATWG's server-sent events have them.

A frame that has an `id` and no data moves what the client resumes from (`Last-Event-ID`) and is no event to it:
that is how events it did not ask for are put behind it.
"""

import json
from typing import Any, NamedTuple
from uuid import UUID

from fastapi.sse import format_sse_event

from app.events.schemas import EXAMPLE_EVENT, view_of

EXPIRED = "cursor-expired"
"""Name of the last event of a stream whose next events were deleted; no event of a record has such a type."""
EXAMPLE = (
    "id: 811\nretry: 3000\n\n"
    f"event: {EXAMPLE_EVENT['type']}\ndata: {json.dumps(EXAMPLE_EVENT)}\nid: 812\n\n"
    ": keep-alive\n\n"
)


class Entry(NamedTuple):
    """An event ready to be sent, and what filters look at. All streams share it."""

    sequence: int
    type: str
    severity: str
    resource_id: UUID
    resource_name: str
    frame: bytes


def entry_of(row: Any) -> Entry:
    """The entry of a row with the columns of `Event`."""
    frame = format_sse_event(data_str=view_of(row).model_dump_json(), event=row.type, id=str(row.sequence))
    return Entry(row.sequence, row.type, row.severity, row.resource_id, row.resource_name, frame)


def opening(position: int, retry_milliseconds: int) -> bytes:
    """The first frame: where the stream begins, so that a client that is cut off before any event resumes there."""
    return format_sse_event(id=str(position), retry=retry_milliseconds)


def advance(position: int) -> bytes:
    """Moves what the client resumes from."""
    return format_sse_event(id=str(position))


def keep_alive(position: int | None) -> bytes:
    """Shows client and proxies that the stream lives; moves what the client resumes from if there is a position."""
    return format_sse_event(comment="keep-alive", id=None if position is None else str(position))


def last_problem(document: dict[str, Any]) -> bytes:
    """The last frame of a stream that can't go on without a gap. It has no id: resuming must end the same way."""
    return format_sse_event(event=EXPIRED, data_str=json.dumps(document))
