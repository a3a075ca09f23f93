"""Engaging, holding and letting go: what the monitor asks of brakes, in its own transaction.

The monitor's watermark is locked, so of two monitors that both think they lead one waits for the other.
"""

import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from app.brakes import queries, rules
from app.brakes.rules import Course, Engagement, Policy
from app.core.db import after_commit
from app.core.metrics import BRAKE_ENGAGEMENTS
from app.core.settings import Settings
from app.core.wire import rfc3339
from app.events.service import MONITOR, Resource, record
from app.models import Brake
from app.vocabulary import BrakeRelease, BrakeState, EventType, ResourceKind, Severity

TOLD_NAMES = 20
"""An event names at most this many of a site's servers, and of a vault's configuration servers."""

TICKS_OF_SLACK = 2
log = structlog.get_logger("muster.brakes")

_ENGAGED = {
    ResourceKind.VAULT: EventType.VAULT_BRAKE_ENGAGED,
    ResourceKind.CONFIGURATION_SERVER: EventType.CONFIGURATION_SERVER_BRAKE_ENGAGED,
}
_RELEASED = {
    ResourceKind.VAULT: EventType.VAULT_BRAKE_RELEASED,
    ResourceKind.CONFIGURATION_SERVER: EventType.CONFIGURATION_SERVER_BRAKE_RELEASED,
}
_WHY = {
    BrakeRelease.EXPIRED: "its time is up",
    BrakeRelease.ACKNOWLEDGED: "it was acknowledged",
    BrakeRelease.RETURNED: "none of its servers is silent any more",
}


class Silent(NamedTuple):
    """An overdue host and whose it is; it belongs to no configuration server when it is being removed."""

    host_row_id: uuid.UUID
    vault_id: uuid.UUID
    configuration_server_id: uuid.UUID | None


class Window(NamedTuple):
    """What silence means at one look: last heard of at or before `overdue_since`, or `silent_since`."""

    now: datetime
    overdue_since: datetime
    silent_since: datetime


class Release(NamedTuple):
    """Hosts that are let go now. `brake` is None for hosts that no open brake holds, which must not be."""

    brake: Brake | None
    host_row_ids: list[uuid.UUID]


def policy_of(settings: Settings) -> Policy:
    """The settings as rules know them."""
    return Policy(
        share_percentage=settings.brake_share_percentage,
        minimum=settings.brake_minimum_servers,
        window=timedelta(seconds=settings.effective_brake_window_seconds),
        hold=timedelta(seconds=settings.brake_hold_seconds),
        releases_per_minute=settings.brake_releases_per_minute,
        slack=timedelta(seconds=TICKS_OF_SLACK * settings.effective_tick_seconds),
    )


async def after_outage(session: AsyncSession, lasted: timedelta) -> None:
    """Nobody watched for so long: no open brake's hold has run meanwhile."""
    for brake in await queries.lock_open(session):
        _keep(brake, rules.after_outage(course_of(brake), lasted))


async def hold(
    session: AsyncSession, brakes: list[Brake], silent: Sequence[Silent], window: Window, policy: Policy
) -> dict[uuid.UUID, Brake]:
    """Which of these overdue hosts become `Unknown`, and which brake holds each.

    `brakes` are the open ones; those that engage now are added.
    """
    held = _held_by(brakes, silent, window.now)
    left = [one for one in silent if one.host_row_id not in held and one.configuration_server_id is not None]
    if left:
        vaults = sorted({one.vault_id for one in left})
        braked = {brake.scope_id for brake in brakes if rules.takes(course_of(brake), window.now)}
        found = await queries.tallies(session, vaults, window.overdue_since, window.silent_since)
        free = [tally for tally in found if not {tally.vault_id, tally.configuration_server_id} & braked]
        for engagement in rules.engagements(free, policy):
            brake = await _engage(session, engagement, window, policy)
            if brake is not None:
                brakes.append(brake)
        held |= _held_by(brakes, left, window.now)
    for brake in held.values():
        brake.held_count += 1
    return held


def _held_by(brakes: Sequence[Brake], silent: Sequence[Silent], now: datetime) -> dict[uuid.UUID, Brake]:
    by_scope = {brake.scope_id: brake for brake in brakes if rules.takes(course_of(brake), now)}
    found: dict[uuid.UUID, Brake] = {}
    for one in silent:
        if one.configuration_server_id is None:
            continue
        brake = by_scope.get(one.configuration_server_id) or by_scope.get(one.vault_id)
        if brake is not None:
            found[one.host_row_id] = brake
    return found


async def _engage(session: AsyncSession, found: Engagement, window: Window, policy: Policy) -> Brake | None:
    """The brake of an engagement, with its event; None where its scope was deleted at this moment."""
    site_ids = [site.configuration_server_id for site in found.sites]
    site_names = await queries.names_of(session, ResourceKind.CONFIGURATION_SERVER, site_ids[:TOLD_NAMES])
    names = await queries.silent_names(session, site_ids, window.silent_since, TOLD_NAMES)
    scope_name = (await queries.names_of(session, found.kind, [found.scope_id])).get(found.scope_id)
    if scope_name is None:
        return None
    course = rules.engaged(window.now, policy)
    brake = Brake(
        vault_id=found.vault_id,
        scope_kind=found.kind.value,
        scope_id=found.scope_id,
        scope_name=scope_name,
        silent_count=found.silent,
        connected_count=found.connected,
        held_count=0,
        released_count=0,
    )
    _keep(brake, course)
    session.add(brake)
    await session.flush()
    sites = [
        {"name": site_names[site.configuration_server_id], "silent": site.silent, "connected": site.connected}
        for site in found.sites[:TOLD_NAMES]
        if site.configuration_server_id in site_names
    ]
    kind = found.kind.value.replace("-", " ")
    record(
        session,
        brake.vault_id,
        window.now,
        _ENGAGED[found.kind],
        resource_of(brake),
        actor=MONITOR,
        message=f"{found.silent} of {found.connected} connected servers of {kind} {brake.scope_name} fell silent at "
        f"once; they are Unknown until {rfc3339(course.until)} or an acknowledgement",
        severity=Severity.CRITICAL,
        data={
            "brake": str(brake.id),
            "silent": found.silent,
            "connected": found.connected,
            "silentPercentage": round(100 * found.silent / found.connected, 1),
            "windowSeconds": policy.window.total_seconds(),
            "until": rfc3339(course.until),
            "names": names,
            "configurationServers": sites,
            "configurationServerCount": len(found.sites),
        },
    )
    after_commit(session, lambda: _tell(brake))
    return brake


def _tell(brake: Brake) -> None:
    BRAKE_ENGAGEMENTS.inc()
    log.warning(
        "many servers fell silent at once",
        scope=f"{brake.scope_kind} {brake.scope_name}",
        silent=brake.silent_count,
        connected=brake.connected_count,
    )


async def release(
    session: AsyncSession, brakes: Sequence[Brake], now: datetime, room: int, policy: Policy
) -> tuple[list[Release], int]:
    """The hosts that are let go now, `room` at most, and how many are held after that."""
    waiting = await queries.waiting(session)
    found: list[Release] = []
    for lost in set(waiting) - {brake.id for brake in brakes}:
        # A server is never left `Unknown` without a brake that will let it go.
        found.append(Release(None, await queries.lock_held(session, lost, room)))
        room -= len(found[-1].host_row_ids)
    busy: set[uuid.UUID] = set()
    for brake in sorted(brakes, key=lambda brake: (brake.let_go_at or now, brake.id)):
        before = course_of(brake)
        held = waiting.get(brake.id, 0)
        course, count = rules.step(before, now, held, room, policy, is_next=brake.scope_id not in busy)
        _keep(brake, course)
        if course.state is BrakeState.LETTING_GO:
            busy.add(brake.scope_id)
        if course.release is not None and before.release is None:
            _record_release(session, brake, course.release, now, MONITOR, held)
        if count:
            found.append(Release(brake, await queries.lock_held(session, brake.id, count)))
            room -= count
    released = sum(len(one.host_row_ids) for one in found)
    return [one for one in found if one.host_row_ids], sum(waiting.values()) - released


def _record_release(
    session: AsyncSession, brake: Brake, why: BrakeRelease, now: datetime, actor: str, held: int
) -> None:
    """Write the event of a brake that lets go of the `held` servers it has left."""
    kind = brake.scope_kind.replace("-", " ")
    record(
        session,
        brake.vault_id,
        now,
        _RELEASED[ResourceKind(brake.scope_kind)],
        resource_of(brake),
        actor=actor,
        message=f"the brake of {kind} {brake.scope_name} lets go, {_WHY[why]}; {held} servers are still silent",
        severity=Severity.WARNING if held else Severity.INFORMATION,
        data={
            "brake": str(brake.id),
            "reason": why.value,
            "engagedAt": rfc3339(brake.engaged_at),
            "held": brake.held_count,
            "stillSilent": held,
        },
    )


def resource_of(brake: Brake) -> Resource:
    """What a brake's events speak of: the vault or configuration server that fell silent."""
    return Resource(ResourceKind(brake.scope_kind), brake.scope_id, brake.scope_name)


def course_of(brake: Brake) -> Course:
    """The row as rules know it."""
    return Course(
        engaged_at=brake.engaged_at,
        joins_until=brake.joins_until,
        until=brake.until,
        let_go_at=brake.let_go_at,
        release=None if brake.release is None else BrakeRelease(brake.release),
        next_release_at=brake.next_release_at,
        ended_at=brake.ended_at,
    )


def _keep(brake: Brake, course: Course) -> None:
    """Put a course into its row; what did not change is not written."""
    changes: dict[str, Any] = course._asdict()
    changes["release"] = None if course.release is None else course.release.value
    for name, value in changes.items():
        if getattr(brake, name) != value:
            setattr(brake, name, value)


def acknowledge(session: AsyncSession, brake: Brake, now: datetime, actor: str, held: int) -> None:
    """Let a locked brake go; one that holds no longer is left as it is."""
    before = course_of(brake)
    if before.state is not BrakeState.HOLDING:
        return
    _keep(brake, rules.let_go(before, now, BrakeRelease.ACKNOWLEDGED))
    brake.acknowledged_by = actor
    _record_release(session, brake, BrakeRelease.ACKNOWLEDGED, now, actor, held)
