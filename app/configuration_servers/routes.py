"""Configuration servers over HTTP."""

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response, status

from app.access.idempotency import Idempotent
from app.access.principals import Operator, Reader
from app.access.scope import VaultRef
from app.configuration_servers import registration, requests, service
from app.configuration_servers.schemas import (
    ConfigurationServerRef,
    ConfigurationServerRegister,
    ConfigurationServerRegistered,
    ConfigurationServerUpdate,
    ConfigurationServerView,
    PassphraseIssued,
)
from app.core.clock import Now
from app.core.db import ReadSession, WriteSession, database_of
from app.core.documentation import errors
from app.core.errors import (
    ConfigurationServerNotFound,
    CursorUnreadable,
    DeletionBlocked,
    DuplicateIdentity,
    HostRegisteredElsewhere,
    IdempotencyKeyReused,
    NameInUseByAnotherHost,
    PreconditionFailed,
    RegistrationKeyRefused,
    RenewalBlocked,
    ServerNotConnected,
    TooManyRequests,
    VaultNotFound,
)
from app.core.pagination import Paging
from app.core.preconditions import IfMatch, tagged
from app.core.wire import Page, Storable
from app.hosts.admission import ClientAddress, Registrar
from app.jobs.schemas import JobView
from app.jobs.starting import start_once
from app.telemetry.schemas import AskedHistory, TelemetryHistoryView
from app.vocabulary import ConnectionState, Health, VersionStatus

router = APIRouter(prefix="/api/v1/vaults/{vault}/configuration-servers", tags=["configuration servers"])
agent_router = APIRouter(prefix="/agent/v1/configuration-servers", tags=["agents"])


@agent_router.post(
    "/register",
    status_code=status.HTTP_201_CREATED,
    summary="Register a configuration server",
    operation_id="registerConfigurationServer",
    responses={
        200: {
            "model": ConfigurationServerRegistered,
            "description": "The host id was known: the same server.",
        },
        **errors(
            RegistrationKeyRefused,
            NameInUseByAnotherHost,
            HostRegisteredElsewhere,
            DuplicateIdentity,
            IdempotencyKeyReused,
            TooManyRequests,
            body=True,
            token=False,
        ),
    },
)
async def register_configuration_server(
    body: ConfigurationServerRegister,
    gate: Registrar,
    address: ClientAddress,
    once: Idempotent,
    response: Response,
) -> ConfigurationServerRegistered:
    """201 for a new host id, 200 for a known one: same identity, fresh credential.

    Its inbuilt process server comes with it.
    """
    registered = await registration.register(gate, body, address, once)
    response.status_code = status.HTTP_201_CREATED if registered.is_new else status.HTTP_200_OK
    return registered


@router.get(
    "",
    summary="List configuration servers",
    operation_id="listConfigurationServers",
    responses=errors(VaultNotFound, CursorUnreadable),
)
async def list_configuration_servers(
    vault: VaultRef,
    principal: Reader,
    session: ReadSession,
    paging: Paging,
    now: Now,
    order_by: Annotated[
        str, Query(alias="orderBy", description="`name` or `createdAt`; `-` in front reverses.")
    ] = "name",
    connection_state: Annotated[ConnectionState | None, Query(alias="connectionState")] = None,
    health: Annotated[Health | None, Query()] = None,
    version_status: Annotated[VersionStatus | None, Query(alias="versionStatus")] = None,
    q: Annotated[
        str | None, Storable, Query(max_length=100, description="Part of the name, friendly name or FQDN.")
    ] = None,
) -> Page[ConfigurationServerView]:
    """Each with its connection state, health, version status and latest telemetry."""
    return await service.list_servers(
        session,
        principal,
        vault,
        paging,
        order_by=order_by,
        connection_state=connection_state,
        health=health,
        version_status=version_status,
        q=q,
        now=now,
    )


@router.get(
    "/{cs}",
    summary="Read a configuration server",
    operation_id="readConfigurationServer",
    responses=errors(VaultNotFound, ConfigurationServerNotFound),
)
async def read_configuration_server(
    vault: VaultRef,
    cs: ConfigurationServerRef,
    principal: Reader,
    session: ReadSession,
    now: Now,
    response: Response,
) -> ConfigurationServerView:
    """By name or id."""
    return tagged(response, await service.read(session, principal, vault, cs, now))


@router.get(
    "/{cs}/telemetry",
    summary="Read a configuration server's telemetry history",
    operation_id="readConfigurationServerTelemetry",
    responses=errors(VaultNotFound, ConfigurationServerNotFound),
)
async def read_configuration_server_telemetry(
    vault: VaultRef,
    cs: ConfigurationServerRef,
    principal: Reader,
    session: ReadSession,
    asked: AskedHistory,
    now: Now,
) -> TelemetryHistoryView:
    """In steps of 5 minutes or more, the present one among them. It is also its inbuilt process server's."""
    return await service.history(session, principal, vault, cs, asked, now)


@router.patch(
    "/{cs}",
    summary="Change a configuration server",
    operation_id="updateConfigurationServer",
    responses=errors(VaultNotFound, ConfigurationServerNotFound, PreconditionFailed, body=True),
)
async def update_configuration_server(
    vault: VaultRef,
    cs: ConfigurationServerRef,
    body: ConfigurationServerUpdate,
    principal: Operator,
    session: WriteSession,
    precondition: IfMatch,
    now: Now,
    response: Response,
) -> ConfigurationServerView:
    """Fields left out stay as they are."""
    view = await service.update(session, principal, vault, cs, body, precondition, now)
    return tagged(response, view)


@router.delete(
    "/{cs}",
    status_code=status.HTTP_204_NO_CONTENT,
    summary="Delete a configuration server",
    operation_id="deleteConfigurationServer",
    responses=errors(VaultNotFound, ConfigurationServerNotFound, DeletionBlocked, PreconditionFailed),
)
async def delete_configuration_server(
    vault: VaultRef,
    cs: ConfigurationServerRef,
    principal: Operator,
    session: WriteSession,
    precondition: IfMatch,
    now: Now,
    force: Annotated[bool, Query(description="Take all that depends on it along. Needs the admin role.")] = False,
) -> None:
    """409 lists every blocker. The agents of what was removed get 410 at their next heartbeat."""
    await service.delete(session, principal, vault, cs, precondition, now, is_forced=force)


@router.post(
    "/{cs}/passphrase",
    summary="Replace the passphrase",
    operation_id="replacePassphrase",
    responses=errors(VaultNotFound, ConfigurationServerNotFound, IdempotencyKeyReused),
)
async def replace_passphrase(
    vault: VaultRef,
    cs: ConfigurationServerRef,
    request: Request,
    principal: Operator,
    once: Idempotent,
    now: Now,
) -> PassphraseIssued:
    """Shown once. Registered process servers stay; new registrations need the new one."""
    return await service.replace_passphrase(
        database_of(request), request.app.state.hasher, principal, vault, cs, once, now
    )


@router.post(
    "/{cs}/refresh",
    status_code=status.HTTP_202_ACCEPTED,
    summary="Ask a configuration server to report at once",
    operation_id="refreshConfigurationServer",
    responses=errors(VaultNotFound, ConfigurationServerNotFound, ServerNotConnected, IdempotencyKeyReused),
)
async def refresh_configuration_server(
    vault: VaultRef,
    cs: ConfigurationServerRef,
    principal: Operator,
    session: WriteSession,
    once: Idempotent,
    now: Now,
    response: Response,
) -> JobView:
    """The job ends when its agent has reported. Asking again while it is open returns the same job."""
    ask = partial(requests.refresh, session, principal, vault, cs, now)
    return await start_once(once, session, principal, response, vault, ask)


@router.post(
    "/{cs}/certificates/renew",
    status_code=status.HTTP_202_ACCEPTED,
    summary="Renew the certificate of a configuration server",
    operation_id="renewCertificate",
    responses=errors(VaultNotFound, ConfigurationServerNotFound, RenewalBlocked, IdempotencyKeyReused),
)
async def renew_certificate(
    vault: VaultRef,
    cs: ConfigurationServerRef,
    principal: Operator,
    session: WriteSession,
    once: Idempotent,
    now: Now,
    response: Response,
) -> JobView:
    """At any time while it and all of its process servers are connected and current. Valid for three years then."""
    ask = partial(requests.renew_certificate, session, principal, vault, cs, now)
    return await start_once(once, session, principal, response, vault, ask)
