"""Source machines over HTTP, under their configuration server."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response, status

from app.access.principals import Operator, Reader
from app.access.scope import VaultRef
from app.configuration_servers.schemas import ConfigurationServerRef
from app.core.clock import Now
from app.core.db import ReadSession, WriteSession
from app.core.documentation import errors
from app.core.errors import (
    ConfigurationServerNotFound,
    CursorUnreadable,
    NameAmbiguous,
    OverCapacity,
    PreconditionFailed,
    ProcessServerNotFound,
    SourceMachineNotFound,
    TargetNotFit,
    VaultNotFound,
)
from app.core.pagination import Paging
from app.core.preconditions import IfMatch, tagged
from app.core.wire import Page, Storable
from app.source_machines import lists, service
from app.source_machines.list_queries import Filters
from app.source_machines.lists import Wanted
from app.source_machines.schemas import MachineName, MachineRef, SourceMachinePut, SourceMachineView
from app.vocabulary import OsType, VersionStatus

router = APIRouter(prefix="/api/v1/vaults/{vault}/configuration-servers/{cs}/source-machines", tags=["source machines"])
vault_router = APIRouter(prefix="/api/v1/vaults/{vault}/source-machines", tags=["source machines"])


async def _wanted(
    order_by: Annotated[
        str, Query(alias="orderBy", description="`name`, `createdAt` or `churn`; `-` in front reverses.")
    ] = "name",
    process_server: Annotated[
        str | None, Query(alias="processServer", max_length=64, description="Name or id of the one that carries them.")
    ] = None,
    q: Annotated[str | None, Storable, Query(max_length=100, description="Part of the name or friendly name.")] = None,
    os_type: Annotated[OsType | None, Query(alias="osType")] = None,
    version_status: Annotated[VersionStatus | None, Query(alias="versionStatus")] = None,
    minimum_churn: Annotated[
        int | None,
        Query(alias="minimumChurnInBytesPerDay", ge=0, le=2**60, description="Only those that change so much or more."),
    ] = None,
    maximum_churn: Annotated[
        int | None,
        Query(alias="maximumChurnInBytesPerDay", ge=0, le=2**60, description="Only those that change so much or less."),
    ] = None,
) -> Wanted:
    filters = Filters(
        q=q,
        os_type=None if os_type is None else os_type.value,
        minimum_churn=minimum_churn,
        maximum_churn=maximum_churn,
    )
    return Wanted(filters, process_server, version_status, order_by)


Narrowing = Annotated[Wanted, Depends(_wanted)]


@vault_router.get(
    "",
    summary="List the source machines of a vault",
    operation_id="listVaultSourceMachines",
    responses=errors(VaultNotFound, NameAmbiguous, CursorUnreadable),
)
async def list_vault_source_machines(
    vault: VaultRef,
    principal: Reader,
    session: ReadSession,
    paging: Paging,
    wanted: Narrowing,
    configuration_server: Annotated[
        str | None, Query(alias="configurationServer", max_length=64, description="Name or id.")
    ] = None,
) -> Page[SourceMachineView]:
    """Names repeat where several configuration servers have a machine of that name.

    A page costs the same wherever it is and however many machines there are; so it does with `configurationServer`,
    `processServer`, `osType` and `versionStatus` (in the order of `name`), and with limits of churn in the order of
    `churn`. `q`, and these filters in other orders, pass over what does not match: at worst the whole vault, so name
    a configuration server with them.
    """
    return await lists.of_vault(session, principal, vault, configuration_server, paging, wanted)


@router.get(
    "",
    summary="List the source machines of a configuration server",
    operation_id="listSourceMachines",
    responses=errors(VaultNotFound, ConfigurationServerNotFound, CursorUnreadable),
)
async def list_source_machines(
    vault: VaultRef,
    cs: ConfigurationServerRef,
    principal: Reader,
    session: ReadSession,
    paging: Paging,
    wanted: Narrowing,
) -> Page[SourceMachineView]:
    """Each with the process server that carries it."""
    return await lists.of_configuration_server(session, principal, vault, cs, paging, wanted)


@router.put(
    "/{machine}",
    summary="Register, change or move a source machine",
    operation_id="putSourceMachine",
    responses={
        201: {"model": SourceMachineView, "description": "The machine is new."},
        **errors(
            VaultNotFound,
            ConfigurationServerNotFound,
            ProcessServerNotFound,
            TargetNotFit,
            OverCapacity,
            PreconditionFailed,
            body=True,
        ),
    },
)
async def put_source_machine(
    vault: VaultRef,
    cs: ConfigurationServerRef,
    machine: MachineName,
    body: SourceMachinePut,
    principal: Operator,
    session: WriteSession,
    precondition: IfMatch,
    now: Now,
    response: Response,
    allow_over_capacity: Annotated[
        bool,
        Query(alias="allowOverCapacity", description="Go beyond the process server's limits; the body's word counts."),
    ] = False,
) -> SourceMachineView:
    """201 for a new machine, else 200; the same again changes nothing. Another `processServer` moves the machine.

    A process server takes a machine that is new, moves or grows only within the published limits of its registered
    hardware, unless `allowOverCapacity`, which the event then records. New machines need one that is connected, not
    in maintenance, not being decommissioned, and not above its configuration server's version. A machine that
    changes more than 2 TB a day can't be protected at all.
    """
    put = await service.put(
        session, principal, vault, cs, machine, body, precondition, now, allow_over_capacity=allow_over_capacity
    )
    response.status_code = status.HTTP_201_CREATED if put.is_new else status.HTTP_200_OK
    return tagged(response, put.view)


@router.get(
    "/{machine}",
    summary="Read a source machine",
    operation_id="readSourceMachine",
    responses=errors(VaultNotFound, ConfigurationServerNotFound, SourceMachineNotFound),
)
async def read_source_machine(
    vault: VaultRef,
    cs: ConfigurationServerRef,
    machine: MachineRef,
    principal: Reader,
    session: ReadSession,
    response: Response,
) -> SourceMachineView:
    """By name or id."""
    return tagged(response, await service.read(session, principal, vault, cs, machine))


@router.delete(
    "/{machine}",
    status_code=status.HTTP_204_NO_CONTENT,
    summary="Delete a source machine",
    operation_id="deleteSourceMachine",
    responses=errors(VaultNotFound, ConfigurationServerNotFound, SourceMachineNotFound, PreconditionFailed),
)
async def delete_source_machine(
    vault: VaultRef,
    cs: ConfigurationServerRef,
    machine: MachineRef,
    principal: Operator,
    session: WriteSession,
    precondition: IfMatch,
    now: Now,
) -> None:
    """It is no longer protected; its process server's agent learns it with the next heartbeat."""
    await service.delete(session, principal, vault, cs, machine, precondition, now)
