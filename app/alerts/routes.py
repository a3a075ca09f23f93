"""Alerts over HTTP: of a process server, a configuration server's site, a vault."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query

from app.access.principals import Reader
from app.access.scope import VaultRef
from app.alerts import service
from app.alerts.queries import Filters
from app.alerts.schemas import AlertView
from app.configuration_servers.schemas import ConfigurationServerRef
from app.core.clock import Now
from app.core.db import ReadSession
from app.core.documentation import errors
from app.core.errors import (
    ConfigurationServerNotFound,
    CursorUnreadable,
    NameAmbiguous,
    ProcessServerNotFound,
    VaultNotFound,
)
from app.core.pagination import Paging
from app.core.wire import Page
from app.process_servers.schemas import ProcessServerRef
from app.vocabulary import AlertCode, AlertState, Severity

router = APIRouter(prefix="/api/v1/vaults/{vault}", tags=["alerts"])


async def _filters(
    state: Annotated[AlertState | None, Query(description="`firing` or `cleared`; without it both.")] = None,
    severity: Annotated[list[Severity], Query()] = [],  # noqa: B006 - FastAPI copies it
    code: Annotated[list[AlertCode], Query()] = [],  # noqa: B006
) -> Filters:
    return Filters(state, [entry.value for entry in severity], [entry.value for entry in code])


Narrowing = Annotated[Filters, Depends(_filters)]
OrderBy = Annotated[str, Query(alias="orderBy", description="`-raisedAt` (newest first) or `raisedAt` (oldest first).")]


@router.get(
    "/alerts",
    summary="List a vault's alerts",
    operation_id="listAlerts",
    responses=errors(VaultNotFound, CursorUnreadable),
)
async def list_alerts(
    vault: VaultRef,
    principal: Reader,
    session: ReadSession,
    paging: Paging,
    filters: Narrowing,
    now: Now,
    order_by: OrderBy = "-raisedAt",
) -> Page[AlertView]:
    """Those of all of its servers, firing and past. Past ones are kept as long as events."""
    return await service.of_vault(session, principal, vault, paging, order_by=order_by, filters=filters, now=now)


@router.get(
    "/configuration-servers/{cs}/alerts",
    summary="List a configuration server's alerts",
    operation_id="listConfigurationServerAlerts",
    responses=errors(VaultNotFound, ConfigurationServerNotFound, CursorUnreadable),
)
async def list_configuration_server_alerts(
    vault: VaultRef,
    cs: ConfigurationServerRef,
    principal: Reader,
    session: ReadSession,
    paging: Paging,
    filters: Narrowing,
    now: Now,
    order_by: OrderBy = "-raisedAt",
) -> Page[AlertView]:
    """Its own and those of its process servers, which its health is the worst of."""
    return await service.of_configuration_server(
        session, principal, vault, cs, paging, order_by=order_by, filters=filters, now=now
    )


@router.get(
    "/configuration-servers/{cs}/process-servers/{ps}/alerts",
    summary="List a process server's alerts",
    operation_id="listProcessServerAlerts",
    responses=errors(VaultNotFound, ConfigurationServerNotFound, ProcessServerNotFound, CursorUnreadable),
)
async def list_process_server_alerts(
    vault: VaultRef,
    cs: ConfigurationServerRef,
    ps: ProcessServerRef,
    principal: Reader,
    session: ReadSession,
    paging: Paging,
    filters: Narrowing,
    now: Now,
    order_by: OrderBy = "-raisedAt",
) -> Page[AlertView]:
    """Firing and past."""
    return await service.of_process_server(
        session, principal, vault, cs, ps, paging, order_by=order_by, filters=filters, now=now
    )


@router.get(
    "/process-servers/{ps}/alerts",
    summary="List the alerts of a process server of the vault",
    operation_id="listVaultProcessServerAlerts",
    responses=errors(VaultNotFound, ProcessServerNotFound, NameAmbiguous, CursorUnreadable),
)
async def list_vault_process_server_alerts(
    vault: VaultRef,
    ps: ProcessServerRef,
    principal: Reader,
    session: ReadSession,
    paging: Paging,
    filters: Narrowing,
    now: Now,
    order_by: OrderBy = "-raisedAt",
) -> Page[AlertView]:
    """Firing and past, by id or by a name that only one configuration server's process server has."""
    return await service.of_process_server(
        session, principal, vault, None, ps, paging, order_by=order_by, filters=filters, now=now
    )
