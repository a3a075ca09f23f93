"""Moving source machines between the process servers of one configuration server.

`fit_problems` tells why a target can't take the machines of another one, `move` moves chosen ones, `move_all` all of a
server. Nothing is judged while machines move: the caller has done that under the lock of the configuration server and
of both process servers.
"""

import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy.ext.asyncio import AsyncSession

from app.models import ProcessServer, SourceMachine
from app.sizing.tiers import Load
from app.source_machines import capacity, queries
from app.source_machines.records import Recorder
from app.source_machines.views import resource_of
from app.vocabulary import Severity


class Move(NamedTuple):
    """A machine that goes from the process server that carries it to another one, and why."""

    machine: SourceMachine
    source: ProcessServer
    target: ProcessServer
    reason: str


async def fit_problems(
    session: AsyncSession, source: ProcessServer, target: ProcessServer, now: datetime
) -> list[dict[str, Any]]:
    """Why `target` can't take all machines of `source` at once; empty where it can. Changes nothing.

    Each is `{"code", "detail"}`: `disconnected`, `connection-unknown`, `in-maintenance`, `being-decommissioned`,
    `version-above-configuration-server`, or `over-capacity` with the numbers. The two are of one configuration server.
    The answer holds until commit where the caller has locked that server, both process servers and the target's host.
    """
    problems = [refusal._asdict() for refusal in await capacity.refusals(session, target, now)]
    excess = await capacity.excess(session, target, Load(*await queries.totals(session, source.id)))
    if excess is not None:
        detail = capacity.told(target, excess)
        problems.append({"code": capacity.OVER_CAPACITY, "detail": detail, **capacity.numbers(excess)})
    return problems


async def move(
    session: AsyncSession,
    moves: Sequence[Move],
    actor: str,
    now: datetime,
    *,
    data: Mapping[str, Any] | None = None,
    severity: Severity = Severity.INFORMATION,
) -> dict[uuid.UUID, int]:
    """Move machines, each once. The agents of all servers involved get their new desired state, once each.

    One event a machine, with its move's reason and `data`; everything is flushed. The hosts are locked last, by rising
    id: as long as one is, its heartbeats wait. Returns the new generation of each host that was touched.
    """
    servers = {server.id: server for each in moves for server in (each.source, each.target)}
    for machine, source, target, reason in moves:
        machine.process_server_id = target.id
        machine.revision += 1
        machine.updated_at = now
        recorder = Recorder(session, machine.vault_id, actor, now)
        recorder.moved(resource_of(machine), source.name, target.name, {"reason": reason, **(data or {})}, severity)
    await session.flush()
    hosts = await queries.lock_hosts(session, sorted({server.host_row_id for server in servers.values()}))
    for host in hosts.values():
        host.generation += 1
    await session.flush()
    return {host_row_id: host.generation for host_row_id, host in hosts.items()}


async def move_all(
    session: AsyncSession, source: ProcessServer, target: ProcessServer, actor: str, now: datetime, *, reason: str
) -> int:
    """Move every machine of `source` to `target` as `move` does; returns how many."""
    machines = await queries.lock_all_of(session, source.id)
    await move(session, [Move(machine, source, target, reason) for machine in machines], actor, now)
    return len(machines)
