"""SQL of alert lists."""

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.pagination import PageRequest, choose_order, fetch_page
from app.health.queries import muted
from app.models import Alert, ConfigurationServer, Host, ProcessServer
from app.vocabulary import AlertState

ORDERS: dict[str, Sequence[Any]] = {"raisedAt": (Alert.id,)}


class Filters(NamedTuple):
    """What a list of alerts can be narrowed by; None and an empty list are no filter."""

    state: AlertState | None = None
    severities: Sequence[str] = ()
    codes: Sequence[str] = ()


class Scope(NamedTuple):
    """Whose alerts: of a vault, and in it of one site or one server."""

    vault_id: uuid.UUID
    configuration_server_id: uuid.UUID | None = None
    resource_id: uuid.UUID | None = None

    @property
    def innermost(self) -> uuid.UUID:
        """What cursors belong to."""
        return self.resource_id or self.configuration_server_id or self.vault_id


async def list_alerts(
    session: AsyncSession, scope: Scope, paging: PageRequest, *, order_by: str, filters: Filters, now: datetime
) -> tuple[Sequence[Any], str | None]:
    """One page of alerts, each with its host and its site's name where they still exist."""
    statement = (
        select(Alert, Host, ConfigurationServer.name.label("site"), muted(ProcessServer, now).label("is_muted"))
        .outerjoin(Host, Host.id == Alert.host_row_id)
        .outerjoin(ConfigurationServer, ConfigurationServer.id == Alert.configuration_server_id)
        .outerjoin(ProcessServer, ProcessServer.id == Alert.resource_id)
        .where(Alert.vault_id == scope.vault_id)
    )
    if scope.configuration_server_id is not None:
        statement = statement.where(Alert.configuration_server_id == scope.configuration_server_id)
    if scope.resource_id is not None:
        statement = statement.where(Alert.resource_id == scope.resource_id)
    if filters.state is AlertState.FIRING:
        statement = statement.where(Alert.cleared_at.is_(None))
    elif filters.state is AlertState.CLEARED:
        statement = statement.where(Alert.cleared_at.is_not(None))
    if filters.severities:
        statement = statement.where(Alert.severity.in_(filters.severities))
    if filters.codes:
        statement = statement.where(Alert.code.in_(filters.codes))
    return await fetch_page(session, statement, choose_order(ORDERS, order_by, within=scope.innermost), paging)
