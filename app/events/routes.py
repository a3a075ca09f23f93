"""The event record over HTTP."""

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field

from app.access.principals import Reader
from app.access.scope import VaultRef, vault_in_scope
from app.core.db import ReadSession
from app.core.documentation import errors
from app.core.errors import CursorExpired, CursorUnreadable, VaultNotFound
from app.core.pagination import Paging
from app.core.wire import Moment, Page, Storable
from app.events import queries
from app.events.schemas import EventView, view_of
from app.vocabulary import Severity

router = APIRouter(prefix="/api/v1/vaults/{vault}/events", tags=["events"])


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
    types: Annotated[
        list[Annotated[str, Storable, Field(max_length=64)]],
        Query(
            alias="type",
            max_length=20,
            description="Event type; ending in `.` a prefix such as `process-server.`.",
        ),
    ] = [],  # noqa: B006 - FastAPI copies it
    severity: Annotated[list[Severity], Query()] = [],  # noqa: B006
    resource: Annotated[str | None, Query(max_length=64, description="Name or id of what the event speaks of.")] = None,
    since: Annotated[Moment | None, Query(description="Events at or after this time.")] = None,
    until: Annotated[Moment | None, Query(description="Events before this time.")] = None,
) -> Page[EventView]:
    """Append-only and numbered without gaps in the order of commits: a walk misses and repeats nothing."""
    found = await vault_in_scope(session, principal, vault)
    rows, cursor = await queries.list_events(
        session,
        found.id,
        paging,
        order_by=order_by,
        types=types,
        severities=[entry.value for entry in severity],
        resource=resource,
        since=since,
        until=until,
    )
    return Page[EventView](items=[view_of(row.Event) for row in rows], next_cursor=cursor)
