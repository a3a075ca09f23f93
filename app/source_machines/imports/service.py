"""The use case: a whole file in one transaction, or nothing of it."""

import asyncio
import uuid
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy.ext.asyncio import AsyncSession

from app.access.principals import Principal
from app.access.scope import vault_in_scope
from app.configuration_servers import queries as configuration_server_queries
from app.core.errors import ConfigurationServerNotFound, ImportInvalid, ImportRefused
from app.core.wire import new_id
from app.events.service import Resource
from app.models import ConfigurationServer, ProcessServer
from app.sizing.tiers import NO_LOAD, Load
from app.source_machines import capacity, queries
from app.source_machines.imports import queries as import_queries
from app.source_machines.imports.report import report_of
from app.source_machines.imports.rules import (
    UNREADABLE,
    Carrier,
    Outcome,
    Row,
    Step,
    compare,
    growing,
    judge,
    restless,
)
from app.source_machines.imports.schemas import ImportReport
from app.source_machines.records import Recorder
from app.source_machines.rules import tier_of
from app.vocabulary import ResourceKind, ServerKind


class _Site(NamedTuple):
    """A configuration server whose lock is held, and its process servers."""

    server: ConfigurationServer
    process_servers: dict[uuid.UUID, ProcessServer]

    @property
    def names(self) -> dict[uuid.UUID, str]:
        return {server_id: server.name for server_id, server in self.process_servers.items()}

    @property
    def references(self) -> dict[str, uuid.UUID]:
        """Ids of the process servers by name, and by id as text."""
        servers = self.process_servers.values()
        return {str(server.id): server.id for server in servers} | {server.name: server.id for server in servers}


async def run(
    session: AsyncSession,
    principal: Principal,
    vault_ref: str,
    server_ref: str,
    rows: Sequence[Row],
    now: datetime,
    *,
    allow_over_capacity: bool,
    dry_run: bool,
) -> ImportReport:
    """Put every machine of `rows`, or none where a row is refused; a dry run only says what would come of it.

    Raises ImportInvalid with every row that is wrong in itself, ImportRefused where the present state alone is
    against it; both carry the report. Holds the configuration server's lock until commit, as every change of its
    machines does, so two imports of the same machines take turns.
    """
    vault = await vault_in_scope(session, principal, vault_ref)
    server = await configuration_server_queries.lock(session, vault.id, server_ref)
    if server is None:
        raise ConfigurationServerNotFound(f"vault '{vault.name}' has no configuration server '{server_ref}'")
    servers = await import_queries.process_servers(session, server.id)
    site = _Site(server, {entry.id: entry for entry in servers})
    names = {row.name for row in rows if row.name is not None and not row.errors}
    present = await import_queries.present(session, server.id, names)
    steps = await asyncio.to_thread(compare, rows, present, site.references, of=server.name)
    await queries.lock_process_servers(session, sorted(growing(steps) | restless(steps)))
    carriers = await _carriers(session, site, growing(steps), now)
    excesses = await asyncio.to_thread(judge, steps, carriers, site.names, may_exceed=allow_over_capacity)
    is_refused = any(step.outcome is Outcome.REFUSED for step in steps)
    imported = not is_refused and not dry_run
    report = await asyncio.to_thread(
        report_of, steps, excesses, site.process_servers, imported=imported, dry_run=dry_run
    )
    if is_refused:
        raise _refusal(steps, report)
    if imported:
        await _write(Recorder(session, vault.id, principal.actor, now), site, steps)
    return report


async def _carriers(session: AsyncSession, site: _Site, ids: set[uuid.UUID], now: datetime) -> dict[uuid.UUID, Carrier]:
    facts = await queries.targets(session, ids)
    loads = await queries.totals_of(session, ids)
    found: dict[uuid.UUID, Carrier] = {}
    for server_id, row in facts.items():
        server = site.process_servers[server_id]
        load = Load(*loads[server_id]) if server_id in loads else NO_LOAD
        tier = tier_of(ServerKind(server.kind), row.Host.hardware)
        found[server_id] = Carrier(capacity.refusals_in(row, now), tier, load)
    return found


def _refusal(steps: Sequence[Step], report: ImportReport) -> ImportInvalid | ImportRefused:
    codes = Counter(code for step in steps for code in {error.code for error in step.row.errors})
    listed = ", ".join(f"{code} ({count})" for code, count in sorted(codes.items()))
    first = next(step.row for step in steps if step.row.errors)
    detail = (
        f"{report.refused} of {len(steps)} rows are refused and nothing was imported: {listed}; the first is line "
        f"{first.line}: {first.errors[0].detail}"
    )
    members: dict[str, Any] = report.model_dump(mode="json", by_alias=True)
    kind = ImportRefused if UNREADABLE.isdisjoint(codes) else ImportInvalid
    return kind(detail, **members)


async def _write(recorder: Recorder, site: _Site, steps: Sequence[Step]) -> None:
    session, server, names = recorder.session, site.server, site.names
    added: list[dict[str, Any]] = []
    changed: list[dict[str, Any]] = []
    for step in steps:
        name, columns, target = str(step.row.name), step.row.columns, step.target
        assert target is not None
        if step.present is None:
            machine = Resource(ResourceKind.SOURCE_MACHINE, new_id(), name)
            added.append(
                {
                    "id": machine.id,
                    "vault_id": server.vault_id,
                    "configuration_server_id": server.id,
                    "process_server_id": target,
                    "name": name,
                    "created_at": recorder.now,
                    "updated_at": recorder.now,
                    "revision": 1,
                    **columns,
                }
            )
            recorder.registered(machine, names[target], columns["churn_bytes_per_day"], step.excess)
        elif step.outcome is not Outcome.UNCHANGED:
            machine = Resource(ResourceKind.SOURCE_MACHINE, step.present.id, name)
            changed.append(
                {
                    "id": machine.id,
                    "process_server_id": target,
                    "updated_at": recorder.now,
                    "revision": step.present.revision + 1,
                    **columns,
                }
            )
            if step.outcome is Outcome.MOVED:
                source = names[step.present.process_server_id]
                data, severity = capacity.override(step.excess), capacity.severity(step.excess)
                recorder.moved(machine, source, names[target], data, severity)
            if step.changed:
                recorder.changed(machine, step.changed, step.excess)
    await import_queries.insert_machines(session, added)
    await import_queries.update_machines(session, changed)
    # Last of all: as long as a host is locked, its heartbeats wait.
    moving = [site.process_servers[entry].host_row_id for entry in sorted(restless(steps))]
    for host in (await queries.lock_hosts(session, moving)).values():
        host.generation += 1
    await session.flush()
