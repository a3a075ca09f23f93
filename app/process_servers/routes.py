"""Process servers over HTTP: under their configuration server, and across a vault."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response, status

from app.access.idempotency import Idempotent
from app.access.principals import Operator, Reader
from app.access.scope import VaultRef
from app.configuration_servers.schemas import ConfigurationServerRef
from app.core.clock import Now
from app.core.db import ReadSession, WriteSession
from app.core.documentation import errors
from app.core.errors import (
    ConfigurationServerNotFound,
    CursorUnreadable,
    DuplicateIdentity,
    HostRegisteredElsewhere,
    IdempotencyKeyReused,
    NameAmbiguous,
    NameInUseByAnotherHost,
    PassphraseRefused,
    PreconditionFailed,
    ProcessServerNotFound,
    Purged,
    TakeoverBlocked,
    TooManyRequests,
    VaultNotFound,
    VersionAboveConfigurationServer,
)
from app.core.pagination import Paging
from app.core.preconditions import IfMatch, tagged
from app.core.wire import Page, Storable
from app.hosts.admission import ClientAddress, Registrar
from app.process_servers import registration, service, takeover
from app.process_servers.queries import Filters
from app.process_servers.schemas import (
    ProcessServerRef,
    ProcessServerRegister,
    ProcessServerRegistered,
    ProcessServerUpdate,
    ProcessServerView,
    TakeoverApproval,
    TakeoverView,
)
from app.telemetry.schemas import AskedHistory, TelemetryHistoryView
from app.vocabulary import ConnectionState, Health, ServerKind, VersionStatus

router = APIRouter(prefix="/api/v1/vaults/{vault}", tags=["process servers"])
agent_router = APIRouter(prefix="/agent/v1/process-servers", tags=["agents"])

_NESTED = "/configuration-servers/{cs}/process-servers"
_ACROSS = "/process-servers"
OrderBy = Annotated[str, Query(alias="orderBy", description="`name` or `createdAt`; `-` in front reverses.")]
StatusFilter = Annotated[VersionStatus | None, Query(alias="versionStatus")]


async def _filters(
    connection_state: Annotated[ConnectionState | None, Query(alias="connectionState")] = None,
    health: Annotated[Health | None, Query()] = None,
    kind: Annotated[ServerKind | None, Query()] = None,
    q: Annotated[
        str | None, Storable, Query(max_length=100, description="Part of name, friendly name, FQDN or address.")
    ] = None,
) -> Filters:
    return Filters(connection_state=connection_state, health=health, kind=kind, q=q)


Narrowing = Annotated[Filters, Depends(_filters)]


@agent_router.post(
    "/register",
    status_code=status.HTTP_201_CREATED,
    summary="Register a process server",
    operation_id="registerProcessServer",
    responses={
        200: {"model": ProcessServerRegistered, "description": "The host id was known: the same server."},
        **errors(
            PassphraseRefused,
            VersionAboveConfigurationServer,
            NameInUseByAnotherHost,
            HostRegisteredElsewhere,
            DuplicateIdentity,
            IdempotencyKeyReused,
            TooManyRequests,
            Purged,
            body=True,
            token=False,
        ),
    },
)
async def register_process_server(
    body: ProcessServerRegister, gate: Registrar, address: ClientAddress, once: Idempotent, response: Response
) -> ProcessServerRegistered:
    """201 for a new host id, 200 for a known one: same identity, same assignments, fresh credential."""
    registered = await registration.register(gate, body, address, once)
    response.status_code = status.HTTP_201_CREATED if registered.is_new else status.HTTP_200_OK
    return registered


@router.get(
    _NESTED,
    summary="List the process servers of a configuration server",
    operation_id="listProcessServers",
    responses=errors(VaultNotFound, ConfigurationServerNotFound, CursorUnreadable),
)
async def list_process_servers(
    vault: VaultRef,
    cs: ConfigurationServerRef,
    principal: Reader,
    session: ReadSession,
    paging: Paging,
    filters: Narrowing,
    now: Now,
    order_by: OrderBy = "name",
    version_status: StatusFilter = None,
) -> Page[ProcessServerView]:
    """The inbuilt process server is among them."""
    return await service.list_servers(
        session,
        principal,
        vault,
        paging,
        order_by=order_by,
        filters=filters._replace(configuration_server=cs),
        version_status=version_status,
        is_nested=True,
        now=now,
    )


@router.get(
    _ACROSS,
    summary="List the process servers of a vault",
    operation_id="listVaultProcessServers",
    responses=errors(VaultNotFound, CursorUnreadable),
)
async def list_vault_process_servers(
    vault: VaultRef,
    principal: Reader,
    session: ReadSession,
    paging: Paging,
    filters: Narrowing,
    now: Now,
    order_by: OrderBy = "name",
    version_status: StatusFilter = None,
    configuration_server: Annotated[
        str | None, Query(alias="configurationServer", max_length=64, description="Name or id.")
    ] = None,
) -> Page[ProcessServerView]:
    """Across all configuration servers of the vault."""
    return await service.list_servers(
        session,
        principal,
        vault,
        paging,
        order_by=order_by,
        filters=filters._replace(configuration_server=configuration_server),
        version_status=version_status,
        is_nested=False,
        now=now,
    )


@router.get(
    _NESTED + "/{ps}",
    summary="Read a process server",
    operation_id="readProcessServer",
    responses=errors(VaultNotFound, ConfigurationServerNotFound, ProcessServerNotFound),
)
async def read_process_server(
    vault: VaultRef,
    cs: ConfigurationServerRef,
    ps: ProcessServerRef,
    principal: Reader,
    session: ReadSession,
    now: Now,
    response: Response,
) -> ProcessServerView:
    """By name or id."""
    return tagged(response, await service.read(session, principal, vault, cs, ps, now))


@router.get(
    _ACROSS + "/{ps}",
    summary="Read a process server of the vault",
    operation_id="readVaultProcessServer",
    responses=errors(VaultNotFound, ProcessServerNotFound, NameAmbiguous),
)
async def read_vault_process_server(
    vault: VaultRef,
    ps: ProcessServerRef,
    principal: Reader,
    session: ReadSession,
    now: Now,
    response: Response,
) -> ProcessServerView:
    """By id, or by a name that only one configuration server's process server has."""
    return tagged(response, await service.read(session, principal, vault, None, ps, now))


@router.patch(
    _NESTED + "/{ps}",
    summary="Change a process server",
    operation_id="updateProcessServer",
    responses=errors(VaultNotFound, ConfigurationServerNotFound, ProcessServerNotFound, PreconditionFailed, body=True),
)
async def update_process_server(
    vault: VaultRef,
    cs: ConfigurationServerRef,
    ps: ProcessServerRef,
    body: ProcessServerUpdate,
    principal: Operator,
    session: WriteSession,
    precondition: IfMatch,
    now: Now,
    response: Response,
) -> ProcessServerView:
    """Friendly name and maintenance; fields left out stay as they are."""
    view = await service.update(session, principal, vault, cs, ps, body, precondition, now)
    return tagged(response, view)


@router.patch(
    _ACROSS + "/{ps}",
    summary="Change a process server of the vault",
    operation_id="updateVaultProcessServer",
    responses=errors(VaultNotFound, ProcessServerNotFound, NameAmbiguous, PreconditionFailed, body=True),
)
async def update_vault_process_server(
    vault: VaultRef,
    ps: ProcessServerRef,
    body: ProcessServerUpdate,
    principal: Operator,
    session: WriteSession,
    precondition: IfMatch,
    now: Now,
    response: Response,
) -> ProcessServerView:
    """Friendly name and maintenance; fields left out stay as they are."""
    view = await service.update(session, principal, vault, None, ps, body, precondition, now)
    return tagged(response, view)


@router.get(
    _NESTED + "/{ps}/telemetry",
    summary="Read a process server's telemetry history",
    operation_id="readProcessServerTelemetry",
    responses=errors(VaultNotFound, ConfigurationServerNotFound, ProcessServerNotFound),
)
async def read_process_server_telemetry(
    vault: VaultRef,
    cs: ConfigurationServerRef,
    ps: ProcessServerRef,
    principal: Reader,
    session: ReadSession,
    asked: AskedHistory,
    now: Now,
) -> TelemetryHistoryView:
    """In steps of 5 minutes or more, the present one among them. A rebuilt machine that took over carries it on."""
    return await service.history(session, principal, vault, cs, ps, asked, now)


@router.get(
    _ACROSS + "/{ps}/telemetry",
    summary="Read the telemetry history of a process server of the vault",
    operation_id="readVaultProcessServerTelemetry",
    responses=errors(VaultNotFound, ProcessServerNotFound, NameAmbiguous),
)
async def read_vault_process_server_telemetry(
    vault: VaultRef,
    ps: ProcessServerRef,
    principal: Reader,
    session: ReadSession,
    asked: AskedHistory,
    now: Now,
) -> TelemetryHistoryView:
    """In steps of 5 minutes or more, the present one among them. A rebuilt machine that took over carries it on."""
    return await service.history(session, principal, vault, None, ps, asked, now)


@router.post(
    _NESTED + "/{ps}/takeover",
    summary="Approve a takeover",
    operation_id="approveTakeover",
    responses=errors(VaultNotFound, ConfigurationServerNotFound, ProcessServerNotFound, TakeoverBlocked, body=True),
)
async def approve_takeover(
    vault: VaultRef,
    cs: ConfigurationServerRef,
    ps: ProcessServerRef,
    principal: Operator,
    session: WriteSession,
    now: Now,
    body: TakeoverApproval | None = None,
) -> TakeoverView:
    """A rebuilt machine (same name, new host id) may register once and inherits id, source machines and history."""
    return await takeover.approve(session, principal, vault, cs, ps, body or TakeoverApproval(), now)


@router.post(
    _ACROSS + "/{ps}/takeover",
    summary="Approve a takeover in the vault",
    operation_id="approveVaultTakeover",
    responses=errors(VaultNotFound, ProcessServerNotFound, NameAmbiguous, TakeoverBlocked, body=True),
)
async def approve_vault_takeover(
    vault: VaultRef,
    ps: ProcessServerRef,
    principal: Operator,
    session: WriteSession,
    now: Now,
    body: TakeoverApproval | None = None,
) -> TakeoverView:
    """A rebuilt machine (same name, new host id) may register once and inherits id, source machines and history."""
    return await takeover.approve(session, principal, vault, None, ps, body or TakeoverApproval(), now)
