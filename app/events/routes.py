"""The event record over HTTP."""

from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request
from pydantic import BeforeValidator, Field

from app.access.principals import Reader
from app.access.scope import VaultRef, vault_in_scope
from app.core.db import ReadSession
from app.core.documentation import errors
from app.core.errors import CursorExpired, CursorUnreadable, Unavailable, VaultNotFound
from app.core.pagination import Paging
from app.core.wire import Moment, Page, Storable
from app.events import frames, queries, service
from app.events.answers import EventStream
from app.events.hub import EventHub
from app.events.rules import Selection
from app.events.schemas import EventView, view_of
from app.events.service import Start
from app.vocabulary import Severity

router = APIRouter(prefix="/api/v1/vaults/{vault}/events", tags=["events"])

MAX_DIGITS = 18


def _number(value: Any) -> int | None:
    text = str(value or "").strip()
    if not text:
        return None  # as a browser has it before the first event
    if not (text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS):
        raise ValueError(
            f"'{text[:80]}' is not an event's number; give the id of the last event that arrived, 0 for all that are "
            "kept, or none for new ones"
        )
    return int(text)


Types = Annotated[
    list[Annotated[str, Storable, Field(max_length=64)]],
    Query(
        alias="type",
        max_length=20,
        description="Event type; ending in `.` a prefix such as `process-server.`.",
    ),
]
Severities = Annotated[list[Severity], Query()]
ResourceRef = Annotated[str | None, Query(max_length=64, description="Name or id of what the event speaks of.")]
Number = Annotated[int | None, BeforeValidator(_number)]


@router.get(
    "",
    summary="List a vault's events",
    operation_id="listEvents",
    responses=errors(VaultNotFound, CursorUnreadable, CursorExpired),
)
async def list_events(
    vault: VaultRef,
    principal: Reader,
    session: ReadSession,
    paging: Paging,
    order_by: Annotated[
        str, Query(alias="orderBy", description="`sequence` (oldest first) or `-sequence` (newest first).")
    ] = "sequence",
    types: Types = [],  # noqa: B006 - FastAPI copies it
    severity: Severities = [],  # noqa: B006
    resource: ResourceRef = None,
    since: Annotated[Moment | None, Query(description="Events at or after this time.")] = None,
    until: Annotated[Moment | None, Query(description="Events before this time.")] = None,
) -> Page[EventView]:
    """Append-only and numbered without gaps in the order of commits: a walk misses and repeats nothing."""
    found = await vault_in_scope(session, principal, vault)
    rows, cursor = await queries.list_events(
        session,
        found.id,
        paging,
        Selection(tuple(types), tuple(severity), resource),
        order_by=order_by,
        since=since,
        until=until,
    )
    return Page[EventView](items=[view_of(row.Event) for row in rows], next_cursor=cursor)


@router.get(
    "/stream",
    summary="Follow a vault's events",
    operation_id="streamEvents",
    status_code=200,
    response_class=EventStream,
    responses={
        200: {
            "description": "Server-sent events, without an end.",
            "content": {EventStream.media_type: {"schema": {"type": "string"}, "example": frames.EXAMPLE}},
        },
        **errors(VaultNotFound, CursorExpired, Unavailable),
    },
)
async def stream_events(
    request: Request,
    vault: VaultRef,
    principal: Reader,
    session: ReadSession,
    types: Types = [],  # noqa: B006
    severity: Severities = [],  # noqa: B006
    resource: ResourceRef = None,
    after: Annotated[
        Number, Query(description="As `Last-Event-ID`, for clients that can't send it; the header goes first.")
    ] = None,
    last_event_id: Annotated[
        Number,
        Header(
            alias="Last-Event-ID",
            description="Begin after the event with this number; 0 for all that are kept, none for new ones.",
        ),
    ] = None,
) -> EventStream:
    """New events as they are committed, each once and in order, over all replicas.

    An event's `id` is its `sequence`, its `event` its `type`, its `data` one line with the event as the list has it.
    A frame with an `id` alone moves what a client resumes from past events it did not ask for. A comment comes at
    least every 16 seconds. When the server stops, the vault is deleted or the token is no longer valid, the stream
    ends; connecting again with `Last-Event-ID` neither misses nor repeats an event. Where the events that are next
    were deleted meanwhile, the last event is `cursor-expired` with a problem document.
    """
    hub: EventHub = request.app.state.event_hub
    found = await vault_in_scope(session, principal, vault)
    place = await service.place_of(session, found.id, _start(last_event_id, after))
    selection = Selection(tuple(types), tuple(severity), resource)
    return EventStream(hub, hub.stream(found.id, principal.token_id, selection, place))


def _start(last_event_id: int | None, after: int | None) -> Start | None:
    if last_event_id is not None:
        return Start(last_event_id, "#/header/Last-Event-ID")
    return None if after is None else Start(after, "#/query/after")
