"""What can be done with source machines.

Every change of a configuration server's machines holds that server's row lock: changes take turns, so what a process
server carries can't change between the look at its limits and the commit.

Those who move whole loads (purge, decommission, switch, rebalance) use `moves`.
"""

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy.ext.asyncio import AsyncSession

from app.access.principals import Principal
from app.access.scope import vault_in_scope
from app.configuration_servers import queries as configuration_server_queries
from app.core.errors import ConfigurationServerNotFound, ProcessServerNotFound, SourceMachineNotFound
from app.core.preconditions import Precondition
from app.events.service import record
from app.models import ConfigurationServer, Host, ProcessServer, SourceMachine, Vault
from app.sizing.tiers import Load
from app.source_machines import capacity, queries
from app.source_machines.records import Recorder, changed_columns, columns_of
from app.source_machines.rules import Excess
from app.source_machines.schemas import SourceMachinePut, SourceMachineView
from app.source_machines.views import resource_of, view_of
from app.versions import queries as version_queries
from app.vocabulary import EventType


class Put(NamedTuple):
    """A machine as it was put, and whether it is new."""

    view: SourceMachineView
    is_new: bool


async def put(
    session: AsyncSession,
    principal: Principal,
    vault_ref: str,
    server_ref: str,
    name: str,
    body: SourceMachinePut,
    precondition: Precondition,
    now: datetime,
    *,
    allow_over_capacity: bool,
) -> Put:
    """Register a machine, describe it anew, or move it to another process server. The same again changes nothing.

    Raises ProcessServerNotFound for a server of another site, PreconditionFailed, TargetNotFit when the server takes
    no new machines, OverCapacity beyond its limits unless that is allowed (the body's word counts before
    `allow_over_capacity`), and always for a machine that no process server can carry.
    """
    vault = await vault_in_scope(session, principal, vault_ref)
    server = await _lock_server(session, vault, server_ref)
    row = await queries.read(session, server.id, name)
    machine: SourceMachine | None = None if row is None else row.SourceMachine
    if machine is None:
        precondition.check_absent(f"source machine '{name}'")
    else:
        precondition.check(machine)
    target = await queries.process_server(session, server.id, body.process_server)
    if target is None:
        raise ProcessServerNotFound(
            f"configuration server '{server.name}' has no process server '{body.process_server}'; "
            "a source machine uses one of its own"
        )
    capacity.require_protectable(name, body.churn_in_bytes_per_day)
    may_exceed = allow_over_capacity if body.allow_over_capacity is None else body.allow_over_capacity
    recorder = Recorder(session, vault.id, principal.actor, now)
    is_new = machine is None
    if machine is None:
        machine = await _register(recorder, target, name, body, may_exceed=may_exceed)
    else:
        await _change(recorder, machine, target, body, may_exceed=may_exceed)
    await session.flush()
    catalogue = await version_queries.catalogue(session)
    return Put(view_of(vault, server, machine, target.name, catalogue=catalogue), is_new)


async def _register(
    recorder: Recorder, target: ProcessServer, name: str, body: SourceMachinePut, *, may_exceed: bool
) -> SourceMachine:
    session, now = recorder.session, recorder.now
    hosts = await _lock(session, [target])
    await capacity.require_willing(session, target, now)
    added = Load(1, body.churn_in_bytes_per_day)
    excess = await capacity.require_room(session, target, added, may_exceed=may_exceed)
    machine = SourceMachine(
        vault_id=target.vault_id,
        configuration_server_id=target.configuration_server_id,
        process_server_id=target.id,
        name=name,
        created_at=now,
        updated_at=now,
        revision=1,
        **columns_of(name, body),
    )
    session.add(machine)
    await session.flush()
    for host in hosts.values():
        host.generation += 1
    recorder.registered(resource_of(machine), target.name, machine.churn_bytes_per_day, excess)
    return machine


async def _change(
    recorder: Recorder, machine: SourceMachine, target: ProcessServer, body: SourceMachinePut, *, may_exceed: bool
) -> None:
    session = recorder.session
    wanted = columns_of(machine.name, body)
    changed = changed_columns({column: getattr(machine, column) for column in wanted}, wanted)
    moves = machine.process_server_id != target.id
    if not changed and not moves:
        return
    excess = None
    if moves:
        added = Load(1, body.churn_in_bytes_per_day)
        excess = await _move(recorder, machine, target, added, may_exceed=may_exceed)
    elif body.churn_in_bytes_per_day > machine.churn_bytes_per_day:
        await queries.lock_process_servers(session, [target.id])
        added = Load(0, body.churn_in_bytes_per_day - machine.churn_bytes_per_day)
        excess = await capacity.require_room(session, target, added, may_exceed=may_exceed)
    for column, value in changed.items():
        setattr(machine, column, value)
    machine.revision += 1
    machine.updated_at = recorder.now
    if changed:
        recorder.changed(resource_of(machine), changed, excess)


async def _move(
    recorder: Recorder, machine: SourceMachine, target: ProcessServer, added: Load, *, may_exceed: bool
) -> Excess | None:
    session = recorder.session
    source = await session.get_one(ProcessServer, machine.process_server_id)
    hosts = await _lock(session, [source, target])
    await capacity.require_willing(session, target, recorder.now)
    excess = await capacity.require_room(session, target, added, may_exceed=may_exceed)
    for host in hosts.values():
        host.generation += 1
    machine.process_server_id = target.id
    recorder.moved(resource_of(machine), source.name, target.name, capacity.override(excess), capacity.severity(excess))
    return excess


async def read(
    session: AsyncSession, principal: Principal, vault_ref: str, server_ref: str, ref: str
) -> SourceMachineView:
    """One machine. Raises ConfigurationServerNotFound or SourceMachineNotFound."""
    vault = await vault_in_scope(session, principal, vault_ref)
    server = await find_server(session, vault, server_ref)
    row = await queries.read(session, server.id, ref)
    if row is None:
        raise _missing(server, ref)
    return view_of(vault, server, *row, catalogue=await version_queries.catalogue(session))


async def delete(
    session: AsyncSession,
    principal: Principal,
    vault_ref: str,
    server_ref: str,
    ref: str,
    precondition: Precondition,
    now: datetime,
) -> None:
    """End the protection of a machine. Its process server's agent learns of it with its next heartbeat."""
    vault = await vault_in_scope(session, principal, vault_ref)
    server = await _lock_server(session, vault, server_ref)
    row = await queries.read(session, server.id, ref)
    if row is None:
        raise _missing(server, ref)
    machine: SourceMachine = row.SourceMachine
    precondition.check(machine)
    carrier = await session.get_one(ProcessServer, machine.process_server_id)
    for host in (await _lock(session, [carrier])).values():
        host.generation += 1
    await session.delete(machine)
    record(
        session,
        vault.id,
        now,
        EventType.SOURCE_MACHINE_DELETED,
        resource_of(machine),
        actor=principal.actor,
        message=f"source machine {machine.name} is no longer protected; process server {carrier.name} carried it",
        data={"processServer": carrier.name, "forced": False},
    )


async def _lock(session: AsyncSession, servers: Sequence[ProcessServer]) -> dict[uuid.UUID, Host]:
    """Lock process servers, then their hosts, each by rising id. Returns the hosts."""
    await queries.lock_process_servers(session, [server.id for server in servers])
    return await queries.lock_hosts(session, [server.host_row_id for server in servers])


async def _lock_server(session: AsyncSession, vault: Vault, ref: str) -> ConfigurationServer:
    server = await configuration_server_queries.lock(session, vault.id, ref)
    if server is None:
        raise _no_server(vault, ref)
    return server


async def find_server(session: AsyncSession, vault: Vault, ref: str) -> ConfigurationServer:
    """A configuration server of the vault by name or id. Raises ConfigurationServerNotFound."""
    server = await queries.configuration_server(session, vault.id, ref)
    if server is None:
        raise _no_server(vault, ref)
    return server


def _no_server(vault: Vault, ref: str) -> ConfigurationServerNotFound:
    return ConfigurationServerNotFound(f"vault '{vault.name}' has no configuration server '{ref}'")


def _missing(server: ConfigurationServer, ref: str) -> SourceMachineNotFound:
    return SourceMachineNotFound(f"configuration server '{server.name}' has no source machine '{ref}'")
