"""What operators can do with brakes."""

import uuid
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from app.access.principals import Principal
from app.access.scope import vault_in_scope
from app.brakes import holding, queries
from app.brakes.schemas import BrakeScope, BrakeView
from app.core.errors import BrakeNotFound
from app.core.pagination import PageRequest
from app.core.wire import Page
from app.models import Brake
from app.vocabulary import BrakeState


async def list_brakes(
    session: AsyncSession,
    principal: Principal,
    vault_ref: str,
    paging: PageRequest,
    *,
    order_by: str,
    states: Sequence[BrakeState],
) -> Page[BrakeView]:
    """A vault's brakes, those of its configuration servers included."""
    vault = await vault_in_scope(session, principal, vault_ref)
    rows, cursor = await queries.list_brakes(session, vault.id, paging, order_by=order_by, states=states)
    return Page[BrakeView](items=[view_of(row.Brake, row.held) for row in rows], next_cursor=cursor)


async def read(session: AsyncSession, principal: Principal, vault_ref: str, brake_id: uuid.UUID) -> BrakeView:
    """One brake. Raises BrakeNotFound."""
    vault = await vault_in_scope(session, principal, vault_ref)
    row = await queries.read(session, vault.id, brake_id)
    if row is None:
        raise BrakeNotFound(f"vault '{vault.name}' has no brake {brake_id}")
    return view_of(row.Brake, row.held)


async def acknowledge(
    session: AsyncSession, principal: Principal, vault_ref: str, brake_id: uuid.UUID, now: datetime
) -> BrakeView:
    """Let a brake go before its time. One that holds no longer stays as it is, so repeating it changes nothing.

    Raises BrakeNotFound.
    """
    vault = await vault_in_scope(session, principal, vault_ref)
    brake = await queries.lock(session, vault.id, brake_id)
    if brake is None:
        raise BrakeNotFound(f"vault '{vault.name}' has no brake {brake_id}")
    held = (await queries.waiting(session)).get(brake.id, 0)
    holding.acknowledge(session, brake, now, principal.actor, held)
    return view_of(brake, held)


def view_of(brake: Brake, held: int) -> BrakeView:
    """The wire form of a row and of how many servers it holds now."""
    course = holding.course_of(brake)
    scope = holding.resource_of(brake)
    return BrakeView(
        id=brake.id,
        scope=BrakeScope(kind=scope.kind, name=scope.name, id=scope.id),
        state=course.state,
        silent_count=brake.silent_count,
        connected_count=brake.connected_count,
        held_count=brake.held_count,
        still_held_count=held,
        released_count=brake.released_count,
        engaged_at=course.engaged_at,
        until=course.until,
        let_go_at=course.let_go_at,
        reason=course.release,
        acknowledged_by=brake.acknowledged_by,
        ended_at=course.ended_at,
    )
