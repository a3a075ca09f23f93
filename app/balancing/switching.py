"""Load balance and switch: an operator moves machines of one process server to another (domain section 1).

Both take effect in one transaction under the lock of the configuration server, whether the source is alive or dead.
Of several that move the same machines at once, one wins; the others find the machines elsewhere.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy.ext.asyncio import AsyncSession

from app.access.principals import Principal
from app.access.scope import vault_in_scope
from app.balancing import queries
from app.balancing.moves import carry_out
from app.balancing.switching_schemas import LoadBalanceRequest, SwitchRequest
from app.core.errors import (
    Invalid,
    MachinesElsewhere,
    NoMachinesToMove,
    ProcessServerNotFound,
    SourceMachineNotFound,
    TargetNotFit,
)
from app.jobs import service as jobs
from app.jobs.schemas import JobView
from app.models import ProcessServer, SourceMachine, Vault
from app.process_servers import queries as server_queries
from app.process_servers.service import find, resource_of
from app.sizing.tiers import Load
from app.source_machines import capacity
from app.source_machines import queries as machine_queries
from app.source_machines.moves import Move
from app.vocabulary import JobType

_SHOWN = 20
"""So many machines are named in a sentence."""


class _Pair(NamedTuple):
    """Two process servers of one configuration server, both locked with it, and their hosts."""

    vault: Vault
    source: ProcessServer
    target: ProcessServer


async def switch(
    session: AsyncSession,
    principal: Principal,
    vault_ref: str,
    server_ref: str | None,
    ref: str,
    body: SwitchRequest,
    now: datetime,
) -> JobView:
    """Move all machines of a process server to `body.target`.

    Raises ProcessServerNotFound, Invalid where target and source are one, NoMachinesToMove, TargetNotFit with every
    reason.
    """
    pair = await _lock(session, principal, vault_ref, server_ref, ref, body)
    machines = await machine_queries.lock_all_of(session, pair.source.id)
    if not machines:
        raise NoMachinesToMove(
            f"process server '{pair.source.name}' carries no source machine, so there is nothing to switch to "
            f"'{pair.target.name}'; another request may have moved them just now"
        )
    return await _move(session, pair, machines, JobType.SWITCH, body, principal.actor, now)


async def load_balance(
    session: AsyncSession,
    principal: Principal,
    vault_ref: str,
    server_ref: str | None,
    ref: str,
    body: LoadBalanceRequest,
    now: datetime,
) -> JobView:
    """Move chosen machines of a process server to `body.target`: all of them or none.

    Raises ProcessServerNotFound, SourceMachineNotFound with every unknown one, Invalid where target and source are
    one, MachinesElsewhere with those that another process server carries, TargetNotFit with every reason.
    """
    pair = await _lock(session, principal, vault_ref, server_ref, ref, body)
    machines = await _chosen(session, pair.source, body.machines)
    return await _move(session, pair, machines, JobType.LOAD_BALANCE, body, principal.actor, now)


async def _lock(
    session: AsyncSession,
    principal: Principal,
    vault_ref: str,
    server_ref: str | None,
    ref: str,
    body: SwitchRequest,
) -> _Pair:
    """Find both process servers, and lock them and their hosts after their configuration server."""
    vault = await vault_in_scope(session, principal, vault_ref)
    source: ProcessServer = (await find(session, vault, server_ref, ref)).ProcessServer
    target: ProcessServer = (await find(session, vault, str(source.configuration_server_id), body.target)).ProcessServer
    if target.id == source.id:
        detail = f"'{body.target}' is the process server whose machines are to move; name another one"
        raise Invalid(detail, [{"pointer": "#/target", "detail": detail}])
    await server_queries.lock_configuration_server(session, source.configuration_server_id)
    locked = await machine_queries.lock_process_servers(session, [source.id, target.id])
    for server in (source, target):
        if server.id not in locked:
            raise ProcessServerNotFound(f"process server '{server.name}' was removed meanwhile")
    await machine_queries.lock_hosts(session, [source.host_row_id, target.host_row_id])
    return _Pair(vault, locked[source.id], locked[target.id])


async def _chosen(session: AsyncSession, source: ProcessServer, refs: Sequence[str]) -> Sequence[SourceMachine]:
    """The machines that are named, locked by rising id, each once."""
    found = await queries.lock_machines(session, source.configuration_server_id, refs)
    known = {ref for machine in found for ref in (machine.name, str(machine.id))}
    unknown = [ref for ref in dict.fromkeys(refs) if ref.lower() not in known]
    if unknown:
        raise SourceMachineNotFound(
            f"the configuration server of process server '{source.name}' has no source machine {_listed(unknown)}; "
            "nothing was moved",
            machines=unknown,
        )
    elsewhere = [machine for machine in found if machine.process_server_id != source.id]
    if elsewhere:
        carriers = await queries.names_of(session, {machine.process_server_id for machine in elsewhere})
        where = {machine.name: carriers[machine.process_server_id] for machine in elsewhere}
        told = _listed([f"'{name}' (with '{carrier}')" for name, carrier in where.items()], quote=False)
        raise MachinesElsewhere(
            f"process server '{source.name}' does not carry {told}; another request may have moved them just now, and "
            "nothing was moved by this one",
            machines=where,
        )
    return found


async def _move(
    session: AsyncSession,
    pair: _Pair,
    machines: Sequence[SourceMachine],
    kind: JobType,
    body: SwitchRequest,
    actor: str,
    now: datetime,
) -> JobView:
    _, source, target = pair
    churn = sum(machine.churn_bytes_per_day for machine in machines)
    override = await _require_fit(session, pair, Load(len(machines), churn), body, now)
    verb = "switched" if kind is JobType.SWITCH else "load balanced"
    reason = body.reason or f"{verb} by {actor}"
    job = await carry_out(
        session,
        vault_id=pair.vault.id,
        type=kind,
        resource=resource_of(source),
        wanted=[Move(machine, source, target, reason) for machine in machines],
        actor=actor,
        now=now,
        message=f"{len(machines)} source machine(s) went from process server {source.name} to {target.name}: {reason}",
        target=target.name,
        details={"reason": body.reason},
        override=override,
    )
    return jobs.view_of(job)


async def _require_fit(
    session: AsyncSession, pair: _Pair, added: Load, body: SwitchRequest, now: datetime
) -> dict[str, Any]:
    """What job and events say of a permitted excess. Raises TargetNotFit with every reason against it."""
    target = pair.target
    problems: list[dict[str, Any]] = [refusal._asdict() for refusal in await capacity.refusals(session, target, now)]
    excess = await capacity.excess(session, target, added)
    if excess is not None and not body.allow_over_capacity:
        detail = f"{capacity.told(target, excess)}; name another one, or set allowOverCapacity"
        problems.append({"code": capacity.OVER_CAPACITY, "detail": detail, **capacity.numbers(excess)})
    if problems:
        raise TargetNotFit(
            f"process server '{target.name}' can't take the {added.machines} machine(s) of '{pair.source.name}': "
            f"{'; '.join(problem['detail'] for problem in problems)}",
            blockers=problems,
        )
    return capacity.override(excess)


def _listed(names: Sequence[str], *, quote: bool = True) -> str:
    shown = [f"'{name}'" if quote else name for name in names[:_SHOWN]]
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(shown) + more
