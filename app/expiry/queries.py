"""SQL of expiry notices."""

import uuid
from collections.abc import Sequence
from datetime import date, datetime
from typing import Any

from sqlalchemy import Row, and_, delete, or_, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession

from app.models import ConfigurationServer, ExpiryNotice, Host, ProcessServer, Release
from app.vocabulary import Component, ServerKind


async def certificates(
    session: AsyncSession, expiring_before: datetime, after: uuid.UUID | None, limit: int
) -> Sequence[Row[Any]]:
    """Configuration servers whose certificate expires, locked, by id, each with its last notice's dates."""
    statement = (
        select(
            ConfigurationServer.id,
            ConfigurationServer.vault_id,
            ConfigurationServer.name,
            ConfigurationServer.certificate_expires_at.label("expires_at"),
            ExpiryNotice.expires_at.label("noticed_expiry"),
            ExpiryNotice.due_at.label("noticed"),
        )
        .outerjoin(ExpiryNotice, _notice_of(ConfigurationServer.id, Component.CERTIFICATE))
        .where(ConfigurationServer.certificate_expires_at <= expiring_before)
    )
    return await _locked(session, statement, ConfigurationServer, after, limit)


async def support(
    session: AsyncSession,
    model: type[ConfigurationServer] | type[ProcessServer],
    ending_before: date,
    after: uuid.UUID | None,
    limit: int,
) -> Sequence[Row[Any]]:
    """Servers on a release whose support ends, as above. An inbuilt process server is its configuration server's."""
    statement = (
        select(
            model.id,
            model.vault_id,
            model.name,
            Host.agent_version,
            Release.support_ends_on,
            ExpiryNotice.expires_at.label("noticed_expiry"),
            ExpiryNotice.due_at.label("noticed"),
        )
        .join(Host, Host.id == model.host_row_id)
        .join(Release, Release.version == Host.agent_version)
        .outerjoin(ExpiryNotice, _notice_of(model.id, Component.SUPPORT))
        .where(Release.support_ends_on <= ending_before)
    )
    if model is ProcessServer:
        statement = statement.where(ProcessServer.kind != ServerKind.INBUILT.value)
    return await _locked(session, statement, model, after, limit)


def _notice_of(resource_id: Any, component: Component) -> Any:
    return and_(ExpiryNotice.resource_id == resource_id, ExpiryNotice.component == component.value)


async def _locked(
    session: AsyncSession, statement: Any, model: Any, after: uuid.UUID | None, limit: int
) -> Sequence[Row[Any]]:
    if after is not None:
        statement = statement.where(model.id > after)
    # A server that somebody else works on, another replica's notices too, has its turn at the next look.
    statement = statement.order_by(model.id).limit(limit).with_for_update(key_share=True, skip_locked=True, of=model)
    rows: Sequence[Row[Any]] = (await session.execute(statement)).all()
    return rows


async def take(
    session: AsyncSession, resource_id: uuid.UUID, component: Component, expires_at: datetime, due_at: datetime
) -> bool:
    """Note that the notice for `due_at` is given. False when that, or a later one for this expiry, is noted already."""
    insert = sqlite.insert if session.get_bind().dialect.name == "sqlite" else postgresql.insert
    statement = insert(ExpiryNotice).values(
        resource_id=resource_id, component=component.value, expires_at=expires_at, due_at=due_at
    )
    taken = statement.on_conflict_do_update(
        index_elements=[ExpiryNotice.resource_id, ExpiryNotice.component],
        set_={"expires_at": expires_at, "due_at": due_at},
        where=or_(ExpiryNotice.expires_at != expires_at, ExpiryNotice.due_at < due_at),
    ).returning(ExpiryNotice.due_at)
    return (await session.execute(taken)).first() is not None


async def forget_removed(session: AsyncSession) -> int:
    """Delete the notices of servers that are gone. Returns how many."""
    gone = delete(ExpiryNotice).where(
        ExpiryNotice.resource_id.not_in(select(ConfigurationServer.id)),
        ExpiryNotice.resource_id.not_in(select(ProcessServer.id)),
    )
    result: Any = await session.execute(gone.execution_options(synchronize_session=False))
    return int(result.rowcount)
