"""Reading alerts."""

from datetime import datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from app.access.principals import Principal
from app.access.scope import vault_in_scope
from app.alerts import queries
from app.alerts.queries import Filters, Scope
from app.alerts.schemas import AlertResource, AlertView
from app.configuration_servers import service as configuration_servers
from app.core.pagination import PageRequest
from app.core.wire import Page
from app.health.causes import advice_for
from app.health.rules import RULES
from app.health.views import present_value
from app.models import Alert, Host
from app.process_servers import service as process_servers
from app.vocabulary import AlertCode, AlertState, ResourceKind, Severity


async def of_vault(
    session: AsyncSession,
    principal: Principal,
    vault_ref: str,
    paging: PageRequest,
    *,
    order_by: str,
    filters: Filters,
    now: datetime,
) -> Page[AlertView]:
    """Every alert of a vault's servers."""
    vault = await vault_in_scope(session, principal, vault_ref)
    return await _page(session, Scope(vault.id), paging, order_by, filters, now)


async def of_configuration_server(
    session: AsyncSession,
    principal: Principal,
    vault_ref: str,
    ref: str,
    paging: PageRequest,
    *,
    order_by: str,
    filters: Filters,
    now: datetime,
) -> Page[AlertView]:
    """The alerts of a configuration server and of its process servers. Raises ConfigurationServerNotFound."""
    vault = await vault_in_scope(session, principal, vault_ref)
    server = await configuration_servers.find(session, vault, ref)
    return await _page(session, Scope(vault.id, server.id), paging, order_by, filters, now)


async def of_process_server(
    session: AsyncSession,
    principal: Principal,
    vault_ref: str,
    server_ref: str | None,
    ref: str,
    paging: PageRequest,
    *,
    order_by: str,
    filters: Filters,
    now: datetime,
) -> Page[AlertView]:
    """The alerts of a process server. Raises ProcessServerNotFound or NameAmbiguous."""
    vault = await vault_in_scope(session, principal, vault_ref)
    server = (await process_servers.find(session, vault, server_ref, ref)).ProcessServer
    scope = Scope(vault.id, server.configuration_server_id, server.id)
    return await _page(session, scope, paging, order_by, filters, now)


async def _page(
    session: AsyncSession, scope: Scope, paging: PageRequest, order_by: str, filters: Filters, now: datetime
) -> Page[AlertView]:
    rows, cursor = await queries.list_alerts(session, scope, paging, order_by=order_by, filters=filters, now=now)
    return Page[AlertView](items=[_view(row, now) for row in rows], next_cursor=cursor)


def _view(row: Any, now: datetime) -> AlertView:
    alert: Alert = row.Alert
    host: Host | None = row.Host
    code = AlertCode(alert.code)
    advice = advice_for(code, alert.details)
    return AlertView(
        id=alert.id,
        resource=AlertResource(kind=ResourceKind(alert.resource_kind), name=alert.resource_name, id=alert.resource_id),
        configuration_server=row.site,
        state=AlertState.FIRING if alert.cleared_at is None else AlertState.CLEARED,
        code=alert.code,
        severity=Severity(alert.severity),
        since=alert.since,
        raised_at=alert.raised_at,
        cleared_at=alert.cleared_at,
        value=present_value(alert, host, now),
        threshold=alert.threshold,
        unit=RULES[code].unit,
        muted=bool(row.is_muted),
        message=alert.message,
        possible_causes=advice.possible_causes,
        recommended_action=advice.recommended_action,
    )
