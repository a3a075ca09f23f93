"""SQL of brakes.

A brake's row is locked after the monitor's watermark and before hosts (`core.db` has the rest of the order).
"""

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ScalarSelect, Select, case, delete, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.brakes.rules import Tally
from app.core.pagination import PageRequest, choose_order, fetch_page
from app.models import Brake, ConfigurationServer, Host, ProcessServer, Vault
from app.vocabulary import BrakeState, ConnectionState, ResourceKind

ORDERS: dict[str, Sequence[Any]] = {"engagedAt": (Brake.id,)}

_IN_STATE = {
    BrakeState.HOLDING: Brake.let_go_at.is_(None),
    BrakeState.LETTING_GO: Brake.let_go_at.is_not(None) & Brake.ended_at.is_(None),
    BrakeState.OVER: Brake.ended_at.is_not(None),
}


async def lock_open(session: AsyncSession) -> list[Brake]:
    """The brakes that are not over, locked and fresh, in the order in which they engaged."""
    statement = (
        select(Brake)
        .where(Brake.ended_at.is_(None))
        .order_by(Brake.id)
        .with_for_update(key_share=True)
        .execution_options(populate_existing=True)
    )
    return list((await session.execute(statement)).scalars())


async def lock(session: AsyncSession, vault_id: uuid.UUID, brake_id: uuid.UUID) -> Brake | None:
    """A brake of the vault, locked."""
    statement = select(Brake).where(Brake.vault_id == vault_id, Brake.id == brake_id).with_for_update(key_share=True)
    return (await session.execute(statement)).scalar_one_or_none()


async def tallies(
    session: AsyncSession, vault_ids: Sequence[uuid.UUID], overdue_since: datetime, silent_since: datetime
) -> list[Tally]:
    """The servers of every configuration server of these vaults, counted in one statement.

    Whoever was last heard of at or before `silent_since` fell silent in the window, and is overdue if that was at or
    before `overdue_since`.
    """
    is_silent = Host.last_heartbeat_at <= silent_since
    statement = (
        select(
            ProcessServer.vault_id,
            ProcessServer.configuration_server_id,
            func.count(),
            func.sum(case((is_silent, 1), else_=0)),
            func.sum(case((Host.last_heartbeat_at <= overdue_since, 1), else_=0)),
        )
        .join(Host, Host.id == ProcessServer.host_row_id)
        .where(
            ProcessServer.vault_id.in_(vault_ids),
            Host.connection_state == ConnectionState.CONNECTED.value,
            or_(is_silent, Host.connection_changed_at <= silent_since),
        )
        .group_by(ProcessServer.vault_id, ProcessServer.configuration_server_id)
    )
    return [Tally(row[0], row[1], int(row[2]), int(row[3]), int(row[4])) for row in await session.execute(statement)]


async def names_of(session: AsyncSession, kind: ResourceKind, ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, str]:
    """The names of vaults or configuration servers."""
    model = Vault if kind is ResourceKind.VAULT else ConfigurationServer
    return {row.id: row.name for row in await session.execute(select(model.id, model.name).where(model.id.in_(ids)))}


async def silent_names(
    session: AsyncSession, configuration_server_ids: Sequence[uuid.UUID], silent_since: datetime, limit: int
) -> list[str]:
    """The names of the first `limit` servers that were last heard of at or before `silent_since`."""
    statement = (
        select(ProcessServer.name)
        .join(Host, Host.id == ProcessServer.host_row_id)
        .where(
            ProcessServer.configuration_server_id.in_(configuration_server_ids),
            Host.connection_state == ConnectionState.CONNECTED.value,
            Host.last_heartbeat_at <= silent_since,
        )
        .order_by(ProcessServer.name, ProcessServer.id)
        .limit(limit)
    )
    return list((await session.execute(statement)).scalars())


async def waiting(session: AsyncSession) -> dict[uuid.UUID | None, int]:
    """How many hosts are `Unknown`, by the brake that holds them."""
    statement = (
        select(Host.brake_id, func.count())
        .where(Host.connection_state == ConnectionState.UNKNOWN.value)
        .group_by(Host.brake_id)
    )
    return {row[0]: row[1] for row in await session.execute(statement)}


async def lock_held(session: AsyncSession, brake_id: uuid.UUID | None, limit: int) -> list[uuid.UUID]:
    """The first `limit` hosts that a brake holds, the longest silent first, locked.

    One whose heartbeat is being written at this moment is passed over: it returns.
    """
    holds = Host.brake_id.is_(None) if brake_id is None else Host.brake_id == brake_id
    statement = (
        select(Host.id)
        .where(Host.connection_state == ConnectionState.UNKNOWN.value, holds)
        .order_by(Host.last_heartbeat_at, Host.id)
        .limit(limit)
        .with_for_update(key_share=True, skip_locked=True)
    )
    return list((await session.execute(statement)).scalars())


def _held_now() -> ScalarSelect[int]:
    return (
        select(func.count())
        .select_from(Host)
        .where(Host.connection_state == ConnectionState.UNKNOWN.value, Host.brake_id == Brake.id)
        .scalar_subquery()
    )


def _with_held(vault_id: uuid.UUID) -> Select[*tuple[Any, ...]]:
    return select(Brake, _held_now().label("held")).where(Brake.vault_id == vault_id)


async def read(session: AsyncSession, vault_id: uuid.UUID, brake_id: uuid.UUID) -> Any:
    """A brake of the vault and how many servers it holds now; None where there is none."""
    return (await session.execute(_with_held(vault_id).where(Brake.id == brake_id))).one_or_none()


async def list_brakes(
    session: AsyncSession, vault_id: uuid.UUID, paging: PageRequest, *, order_by: str, states: Sequence[BrakeState]
) -> tuple[Sequence[Any], str | None]:
    """One page of a vault's brakes, each with how many servers it holds now. No states are no filter."""
    statement = _with_held(vault_id)
    if states:
        statement = statement.where(or_(*(_IN_STATE[state] for state in states)))
    return await fetch_page(session, statement, choose_order(ORDERS, order_by, within=vault_id), paging)


async def delete_ended_before(session: AsyncSession, moment: datetime) -> None:
    """Forget brakes that were over before `moment`."""
    await session.execute(delete(Brake).where(Brake.ended_at < moment))
