"""What heartbeats, silence and the passing of time do to a server's alerts.

Everything here runs in the caller's transaction, under the locks of the hosts it speaks of.
"""

import uuid
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy.ext.asyncio import AsyncSession

from app.core.settings import Settings
from app.health import queries
from app.health.causes import SERVICES
from app.health.conditions import (
    Condition,
    Firing,
    Level,
    due_at,
    firing,
    from_json,
    hear,
    quiet_ranges,
    ripen,
    to_json,
)
from app.health.findings import Finding, missing_heartbeat, unknown_connection
from app.health.policy import NO_POLICY, Policy
from app.health.queries import Subject
from app.health.raising import OpenAlerts, end, put, refresh
from app.health.readings import UNKNOWN, Readings, service_source, service_values
from app.health.rules import REQUIRED_SERVICES, Applied, levels_of, reading_value, shown_value, threshold_of
from app.health.views import readings_of
from app.models import Host
from app.vocabulary import HEARTBEATS_PER_TIMEOUT, AlertCode, ServerKind


class Terms(NamedTuple):
    """The settings that conditions are judged by."""

    window_seconds: float
    """How long a condition must hold where no policy says otherwise."""
    timeout: timedelta
    """The heartbeat timeout: heartbeats further apart than this are no unbroken evidence."""

    @property
    def grace(self) -> timedelta:
        """The longest interval that agents are asked for: evidence of that age is fresh."""
        return self.timeout / HEARTBEATS_PER_TIMEOUT


def terms_of(settings: Settings) -> Terms:
    """The terms in the settings."""
    return Terms(settings.alert_window_seconds, timedelta(seconds=settings.heartbeat_timeout_seconds))


class Sighting(NamedTuple):
    """A heartbeat that was put into its host's row, and what the row said before."""

    host: Host
    heard_before: datetime | None
    was_connected: bool
    is_late: bool
    """Of an earlier sequence: a sign of life that says nothing of the present."""
    skew: float = UNKNOWN
    """Seconds between the agent's clock and the control plane's, without a sign."""


class Step(NamedTuple):
    """What fired before and after something happened to a host."""

    host: Host
    before: Mapping[AlertCode, Firing]
    after: Mapping[AlertCode, Firing]
    readings: Readings


class Rulebook:
    """The rules as they hold for the servers on some hosts, each put together once."""

    def __init__(self, policies: Mapping[uuid.UUID, Policy], terms: Terms) -> None:
        self._policies = policies
        self._terms = terms
        self._applied: dict[uuid.UUID, dict[AlertCode, Applied]] = {}
        self._levels: dict[tuple[uuid.UUID, ServerKind | None], tuple[Level, ...]] = {}

    def applied(self, vault_id: uuid.UUID) -> dict[AlertCode, Applied]:
        """Every rule as it holds in a vault."""
        if vault_id not in self._applied:
            policy = self._policies.get(vault_id, NO_POLICY)
            self._applied[vault_id] = policy.applied(self._terms.window_seconds)
        return self._applied[vault_id]

    def levels(self, vault_id: uuid.UUID, kind: ServerKind | None) -> tuple[Level, ...]:
        """The levels that a vault's process servers of a kind are judged by."""
        key = (vault_id, kind)
        if key not in self._levels:
            required = () if kind is None else REQUIRED_SERVICES[kind]
            self._levels[key] = levels_of(self.applied(vault_id).values(), required)
        return self._levels[key]


async def rulebook(session: AsyncSession, hosts: Iterable[Host], terms: Terms) -> Rulebook:
    """The rules that hold for hosts."""
    return Rulebook(await queries.policies(session, {host.vault_id for host in hosts}), terms)


async def observe(session: AsyncSession, sightings: Sequence[Sighting], now: datetime, terms: Terms) -> None:
    """Judge heartbeats in full: conditions, quiet ranges and due times of their hosts, and the alerts that follow."""
    if not sightings:
        return
    hosts = {sighting.host.id: sighting.host for sighting in sightings}
    rules = await rulebook(session, hosts.values(), terms)
    servers = await queries.process_servers_on(session, list(hosts), now)
    steps: list[Step] = []
    for sighting in sightings:
        server = servers.get(sighting.host.id)
        levels = rules.levels(sighting.host.vault_id, None if server is None else server.kind)
        steps.extend(_steps(sighting, levels, None if server is None else server.kind, now, terms))
    returned = {sighting.host.id for sighting in sightings if not sighting.was_connected}
    changed = {step.host.id for step in steps}
    if not returned and not changed:
        return
    open_ = await queries.open_alerts(session, [*returned, *changed])
    for subject in await queries.servers_on(session, list(returned), now) if returned else []:
        await _heard_again(session, open_, subject, now)
    for step in steps:
        if step.host.id in servers:
            apply_step(session, open_, servers[step.host.id], step, rules, now)
    await refresh(session, [hosts[host_row_id] for host_row_id in returned | changed])


def _steps(
    sighting: Sighting, levels: Sequence[Level], kind: ServerKind | None, now: datetime, terms: Terms
) -> Iterator[Step]:
    """Put a heartbeat's judgement into its host's row. Yields each change of what fires."""
    host = sighting.host
    if sighting.is_late:
        return
    readings = readings_of(host, sighting.skew)
    values = readings.values() | service_values(host.services, () if kind is None else REQUIRED_SERVICES[kind])
    known = from_json(host.conditions)
    heard_before = sighting.heard_before if sighting.was_connected else None
    matured, settled = hear(known, levels, values, now, heard_before=heard_before, timeout=terms.timeout)
    _keep(host, settled, levels)
    for reading, (low, high) in quiet_ranges(settled, levels, readings).items():
        setattr(host, f"quiet_{reading}_low", low)
        setattr(host, f"quiet_{reading}_high", high)
    before = firing(known, levels)
    for conditions in (matured, settled):
        after = firing(conditions, levels)
        if after != before:
            yield Step(host, before, after, readings)
        before = after


def _keep(host: Host, conditions: Mapping[str, Condition], levels: Sequence[Level]) -> None:
    stored = to_json(conditions)
    if stored != host.conditions:
        host.conditions = stored
    due = due_at(conditions, levels)
    if due != host.alert_due_at:
        host.alert_due_at = due


def let_time_pass(host: Host, levels: Sequence[Level], now: datetime, terms: Terms) -> Step | None:
    """Have what has held for its window fire on a connected host. None where that changes nothing that fires."""
    known = from_json(host.conditions)
    if host.last_heartbeat_at is None:
        return None
    ripe = ripen(known, levels, now, host.last_heartbeat_at, terms.grace)
    _keep(host, ripe, levels)
    before, after = firing(known, levels), firing(ripe, levels)
    return None if before == after else Step(host, before, after, readings_of(host))


def apply_step(
    session: AsyncSession, open_: OpenAlerts, server: Subject, step: Step, rules: Rulebook, now: datetime
) -> None:
    """Raise and end the alerts of a process server that a step changes."""
    applied = rules.applied(step.host.vault_id)
    for code in AlertCode:
        found = step.after.get(code)
        if found == step.before.get(code):
            continue
        entry = applied[code]
        if found is None:
            end(session, open_, server, code, now, value=_value(entry, step, None))
        else:
            threshold = threshold_of(entry, found.severity)
            put(
                session,
                open_,
                server,
                Finding(code, found.severity, found.since, _value(entry, step, found), threshold, _details(found)),
                now,
            )


def _value(entry: Applied, step: Step, found: Firing | None) -> float | None:
    if entry.rule.code is AlertCode.SERVICES_STOPPED:
        return float(0 if found is None else len(found.sources))
    present = reading_value(entry.rule, step.readings)
    # No row keeps the clock skew: what is known of it is how it began.
    return shown_value(entry.rule, found.value) if present is None and found is not None else present


def _details(found: Firing) -> dict[str, object]:
    prefix = service_source("")
    names = [source.removeprefix(prefix) for source in found.sources if source.startswith(prefix)]
    return {SERVICES: names} if names else {}


async def _heard_again(session: AsyncSession, open_: OpenAlerts, subject: Subject, now: datetime) -> None:
    end(session, open_, subject, AlertCode.CONNECTION_UNKNOWN, now)
    alert = open_.get((subject.resource.id, AlertCode.HEARTBEAT_MISSING))
    if alert is not None and alert.since is None:
        # It has never been heard before: nothing was missing that had been there.
        del open_[subject.resource.id, AlertCode.HEARTBEAT_MISSING]
        await session.delete(alert)
        return
    end(session, open_, subject, AlertCode.HEARTBEAT_MISSING, now)


async def fall_silent(
    session: AsyncSession, last_heard: Mapping[uuid.UUID, datetime | None], now: datetime, timeout_seconds: float
) -> None:
    """Raise the alert of a missing heartbeat on the servers of hosts that became `Disconnected`.

    `last_heard` has each host's last heartbeat. Their stored health is the caller's to set: critical. Conditions that
    do not fire yet are of no use any more; the next heartbeat begins them anew.
    """
    open_ = await queries.open_alerts(session, list(last_heard))
    for subject in await queries.servers_on(session, list(last_heard), now):
        end(session, open_, subject, AlertCode.CONNECTION_UNKNOWN, now)
        put(session, open_, subject, missing_heartbeat(last_heard[subject.host_row_id], now, timeout_seconds), now)


async def become_unknown(
    session: AsyncSession, last_heard: Mapping[uuid.UUID, datetime | None], now: datetime, timeout_seconds: float
) -> None:
    """Raise the alert of an unknown connection on the servers of locked hosts that a brake holds.

    What fires on them goes on firing and counts for their health; what does not fire yet begins anew.
    """
    if not last_heard:
        return
    open_ = await queries.open_alerts(session, list(last_heard))
    for subject in await queries.servers_on(session, list(last_heard), now):
        put(session, open_, subject, unknown_connection(last_heard[subject.host_row_id], now, timeout_seconds), now)
    await refresh(session, await queries.lock_free_hosts(session, list(last_heard)))


async def await_first_heartbeat(session: AsyncSession, host: Host, now: datetime, timeout_seconds: float) -> None:
    """Raise the alert of a missing heartbeat on the servers of a host that has just registered."""
    await session.flush()
    await fall_silent(session, {host.id: None}, now, timeout_seconds)


async def forget(session: AsyncSession, host_row_ids: Collection[uuid.UUID], now: datetime) -> None:
    """End what fires on hosts whose servers are removed; that event says it all."""
    await queries.close_alerts(session, host_row_ids, now)


async def inherit(session: AsyncSession, old: Host, new: Host) -> None:
    """Let a rebuilt machine have what fires on its process server; its own heartbeats will end it."""
    new.conditions = to_json(
        {key: condition for key, condition in from_json(old.conditions).items() if condition.is_firing}
    )
    await queries.move_alerts(session, old.id, new.id)
