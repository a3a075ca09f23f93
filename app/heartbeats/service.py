"""What heartbeats bring about when they are more than numbers."""

import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from app.connection import queries as connection_queries
from app.connection.queries import Affected
from app.connection.rules import bucket_of
from app.core import secrets
from app.core.errors import CredentialRefused, Purged
from app.core.wire import rfc3339
from app.events.service import record
from app.health import service as health
from app.health.readings import UNKNOWN
from app.health.service import Sighting, Terms
from app.heartbeats import queries
from app.heartbeats.beats import Accepted, Beat, Outcome
from app.heartbeats.rules import Order, is_duplicate_identity, is_of_another_life, order_of
from app.heartbeats.schemas import ActionWanted, DesiredState, MaintenanceWanted
from app.hosts import compatibility
from app.hosts import queries as host_queries
from app.hosts.identity import identify, refused
from app.hosts.tombstones import purged
from app.jobs import observations
from app.jobs import service as jobs
from app.jobs.rules import ACKNOWLEDGED_AT
from app.models import METRICS, Host, Tombstone
from app.process_servers.rules import is_in_maintenance
from app.telemetry.queries import accumulate
from app.telemetry.rules import Sample
from app.versions.rules import Version
from app.vocabulary import ConnectionState, EventType, JobType, ResourceKind, Severity

_CONNECTED = {
    ResourceKind.CONFIGURATION_SERVER: EventType.CONFIGURATION_SERVER_CONNECTED,
    ResourceKind.PROCESS_SERVER: EventType.PROCESS_SERVER_CONNECTED,
}
_UPGRADED = {
    ResourceKind.CONFIGURATION_SERVER: EventType.CONFIGURATION_SERVER_UPGRADED,
    ResourceKind.PROCESS_SERVER: EventType.PROCESS_SERVER_UPGRADED,
}
_DUPLICATE = {
    ResourceKind.CONFIGURATION_SERVER: EventType.CONFIGURATION_SERVER_DUPLICATE_IDENTITY,
    ResourceKind.PROCESS_SERVER: EventType.PROCESS_SERVER_DUPLICATE_IDENTITY,
}


class _Change:
    """One noteworthy thing about a host."""

    def __init__(self, types: dict[ResourceKind, EventType], message: str, severity: Severity, **data: object) -> None:
        self.types = types
        self.message = message
        self.severity = severity
        self.data = data


async def settle(session: AsyncSession, beats: Sequence[Beat], now: datetime, terms: Terms) -> list[Outcome]:
    """Decide each heartbeat that the hot path left over; the outcomes are in the order of `beats`.

    Transitions write their events in this transaction. A refused heartbeat fails alone. Conditions are judged by
    `terms`.
    """
    ids = sorted({beat.host_row_id for beat in beats})
    known = await queries.configuration_server_versions(session, ids)
    moving = {beat.host_row_id for beat in beats if known.get(beat.host_row_id, _version_of(beat)) != _version_of(beat)}
    family = await host_queries.lock_families(session, sorted(moving)) if moving else []
    hosts = await queries.lock_hosts(session, sorted({*ids, *family}))
    removed = await queries.tombstones(session, [host_id for host_id in ids if host_id not in hosts])
    changes: dict[uuid.UUID, list[_Change]] = {}
    outcomes: list[Outcome] = []
    observing: list[uuid.UUID] = []
    sightings: list[Sighting] = []
    counted: dict[uuid.UUID, Beat] = {}
    for beat in beats:
        host = hosts.get(beat.host_row_id)
        if host is None:
            outcomes.append(_refuse_removed(removed.get(beat.host_row_id), beat))
        elif await _proves(session, host, beat):
            # Another changed it at this very moment: that needs more locks than are held; the next heartbeat has them.
            keeps_version = host.id in known and host.id not in moving
            if beat.observed_generation != host.observed_generation:
                observing.append(host.id)
            order = order_of(beat.boot_id, beat.sequence, host.boot_id, host.sequence)
            sightings.append(_sighting(host, beat, order, now))
            changes.setdefault(host.id, []).extend(_apply(host, beat, order, now, keeps_version=keeps_version))
            if order in {Order.NEWER, Order.OTHER_BOOT}:
                counted[host.id] = beat
            outcomes.append(Accepted(host.generation))
        else:
            outcomes.append(refused())
    noteworthy = [host_id for host_id, found in changes.items() if found]
    if noteworthy:
        for affected in await connection_queries.servers_on(session, noteworthy):
            for change in changes[affected.host_row_id]:
                _record(session, affected, change, now)
        await compatibility.judge(session, [*noteworthy, *family], now)
    await health.observe(session, sightings, now, terms)
    await _count(session, counted, now)
    if observing:
        observers = [hosts[host_id] for host_id in dict.fromkeys(observing)]
        await _take_up_decommissions(session, observers, now)
        await observations.observed(session, {host.id: host.observed_generation for host in observers}, now)
    return outcomes


async def _count(session: AsyncSession, beats: Mapping[uuid.UUID, Beat], now: datetime) -> None:
    """Heartbeats that are not repeated and not late count in their hosts' history."""
    if beats:
        # What the rows were given above must be there before their statistics are added to.
        await session.flush()
        samples = [
            (host_id, Sample._make(getattr(beat, metric) for metric in METRICS)) for host_id, beat in beats.items()
        ]
        await accumulate(session, samples, now)


async def _take_up_decommissions(session: AsyncSession, hosts: Sequence[Host], now: datetime) -> None:
    """An agent that has observed the generation in which it is asked to leave has begun with it."""
    observed = {host.id: host.observed_generation for host in hosts}
    for job, host_row_id in await queries.lock_queued_decommissions(session, list(observed)):
        if observed[host_row_id] >= job.details.get("generation", 0):
            jobs.advance(job, now, 0, {ACKNOWLEDGED_AT: rfc3339(now)})


def _refuse_removed(tombstone: Tombstone | None, beat: Beat) -> CredentialRefused | Purged:
    """Only the holder of a credential that was valid learns what became of the server."""
    if tombstone is None or beat.digest.hex() not in tombstone.credential_hashes:
        return refused()
    return purged(tombstone)


async def _proves(session: AsyncSession, host: Host, beat: Beat) -> bool:
    """Whether the credential is the host's. A fresh one becomes it by its first use, and the others end."""
    if host.credential_hash is not None and secrets.same(host.credential_hash, beat.digest):
        return True
    if not await host_queries.unused_credential(session, host.id, beat.digest):
        return False
    host.credential_hash = beat.digest
    await host_queries.forget_unused_credentials(session, host.id)
    return True


def _version_of(beat: Beat) -> str:
    return str(Version.parse(beat.agent_version))


def _sighting(host: Host, beat: Beat, order: Order, now: datetime) -> Sighting:
    """A heartbeat as health is judged by it; taken before it is put into the host's row."""
    skew = beat.clock_skew_seconds(now)
    return Sighting(
        host=host,
        heard_before=host.last_heartbeat_at,
        was_connected=host.connection_state == ConnectionState.CONNECTED,
        is_late=order is Order.STALE,
        skew=UNKNOWN if skew is None else skew,
    )


def _apply(host: Host, beat: Beat, order: Order, now: datetime, *, keeps_version: bool) -> list[_Change]:
    """Put a heartbeat into its host's row. Returns what is worth an event."""
    changes: list[_Change] = []
    if order is Order.OTHER_BOOT:
        if is_duplicate_identity(beat.boot_id, host.boot_id, host.previous_boot_id, host.duplicate_noticed_at, now):
            host.duplicate_noticed_at = now
            changes.append(
                _Change(
                    _DUPLICATE,
                    "two machines send heartbeats with the identity of {}; register one of them anew",
                    Severity.WARNING,
                    bootIds=[beat.boot_id, host.boot_id],
                )
            )
        host.previous_boot_id, host.boot_id = host.boot_id, beat.boot_id
    if host.connection_state != ConnectionState.CONNECTED:
        silent = None if host.last_heartbeat_at is None else (now - host.last_heartbeat_at).total_seconds()
        changes.append(
            _Change(
                _CONNECTED,
                "{} is connected",
                Severity.INFORMATION,
                silentSeconds=silent,
                sequence=beat.sequence,
                **_was_unknown(host),
            )
        )
        host.connection_state = ConnectionState.CONNECTED.value
        host.connection_changed_at = now
    # A late heartbeat is a sign of life all the same.
    host.last_heartbeat_at = now
    host.last_heartbeat_bucket = bucket_of(now)
    if order is Order.STALE:
        return changes
    version = _version_of(beat)
    if version != host.agent_version and not keeps_version:
        changes.append(
            _Change(
                _UPGRADED,
                f"{{}} went from version {host.agent_version} to {version}",
                Severity.INFORMATION,
                previousVersion=host.agent_version,
                agentVersion=version,
            )
        )
        host.agent_version = version
    host.sequence = beat.sequence
    if is_of_another_life(beat.observed_generation, host.generation):
        host.generation = beat.observed_generation + 1
    else:
        host.observed_generation = beat.observed_generation
    for metric in METRICS:
        setattr(host, metric, getattr(beat, metric))
    host.services = beat.services
    if beat.ip_addresses is not None:
        host.ip_addresses = beat.ip_addresses
    # Last of all: whatever above changed what it stands for has set it to NULL.
    if not keeps_version or host.agent_version == _version_of(beat):
        host.heartbeat_key = beat.key
    return changes


def _was_unknown(host: Host) -> dict[str, str]:
    """What the event of a return says of a server that a brake held: no event told that it was gone."""
    is_held = host.connection_state == ConnectionState.UNKNOWN
    return {"previousState": host.connection_state, "brake": str(host.brake_id)} if is_held else {}


def _record(session: AsyncSession, affected: Affected, change: _Change, now: datetime) -> None:
    kind = affected.resource.kind
    record(
        session,
        affected.vault_id,
        now,
        change.types[kind],
        affected.resource,
        actor=f"agent:{affected.resource.name}",
        message=change.message.format(f"{kind.value.replace('-', ' ')} {affected.resource.name}"),
        severity=change.severity,
        data=change.data,
    )


async def desired_states(
    session: AsyncSession, host_row_ids: Sequence[uuid.UUID], now: datetime
) -> dict[uuid.UUID, DesiredState]:
    """What is wanted of the process server on each host, at its generation."""
    rows = await queries.desired_rows(session, host_row_ids)
    ids = [row.ProcessServer.id for row in rows]
    machines = await queries.machine_names(session, ids)
    actions = await _wanted_actions(session, host_row_ids, rows)
    found: dict[uuid.UUID, DesiredState] = {}
    for host_row_id, generation, server in rows:
        is_enabled = is_in_maintenance(server.is_drained, server.maintenance_until, now)
        found[host_row_id] = DesiredState(
            generation=generation,
            maintenance=MaintenanceWanted(
                is_enabled=is_enabled, until=server.maintenance_until if is_enabled else None
            ),
            source_machines=machines.get(server.id, []),
            actions=actions.get(host_row_id, []),
        )
    return found


async def _wanted_actions(
    session: AsyncSession, host_row_ids: Sequence[uuid.UUID], rows: Sequence[Any]
) -> dict[uuid.UUID, list[ActionWanted]]:
    """What the servers on each host are asked to do: a configuration server's requests, then a decommission."""
    found: dict[uuid.UUID, list[ActionWanted]] = {}
    for host_row_id, job_id, kind in await queries.wanted_requests(session, host_row_ids):
        found.setdefault(host_row_id, []).append(ActionWanted(type=JobType(kind), job=job_id))
    decommissions = await queries.wanted_decommissions(session, [row.ProcessServer.id for row in rows])
    for host_row_id, _, server in rows:
        if server.id in decommissions:
            leave = ActionWanted(type=JobType.DECOMMISSION, job=decommissions[server.id])
            found.setdefault(host_row_id, []).append(leave)
    return found


async def desired_state(session: AsyncSession, credential: str | None, now: datetime) -> DesiredState:
    """What is wanted of the server whose agent shows `credential`.

    Raises Unauthenticated without one, CredentialRefused for an unknown one, Purged for a removed server.
    """
    known = await identify(session, credential)
    if isinstance(known, Tombstone):
        raise purged(known)
    return (await desired_states(session, [known.id], now))[known.id]
