"""The monitor: finds silent servers. One of all replicas' monitors leads; the others wait for its place."""

import time
import uuid
from collections.abc import Sequence
from datetime import timedelta
from typing import NamedTuple

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from app.brakes import holding as brakes
from app.brakes import queries as brake_queries
from app.connection import queries
from app.connection.rules import Gap, gap_between, silent_since
from app.core.clock import EPOCH, Clock
from app.core.db import Database
from app.core.leadership import Leadership
from app.core.metrics import BRAKE_HELD_SERVERS, MONITOR_LEADER, SERVERS_DISCONNECTED, SWEEP_SECONDS
from app.core.settings import Settings
from app.core.wire import rfc3339
from app.events.service import MONITOR, record
from app.health import service as alerts
from app.models import Brake, Outage
from app.vocabulary import ConnectionState, EventType, ResourceKind, Severity

DISCONNECTIONS_PER_TRANSACTION = 500
log = structlog.get_logger("muster.monitor")

_DISCONNECTED = {
    ResourceKind.CONFIGURATION_SERVER: EventType.CONFIGURATION_SERVER_DISCONNECTED,
    ResourceKind.PROCESS_SERVER: EventType.PROCESS_SERVER_DISCONNECTED,
}


class _Done(NamedTuple):
    """What one transaction did to hosts. `is_full`: there may be more."""

    disconnected: int
    held: int
    """How many brakes hold after it."""
    is_full: bool


class Monitor:
    """Looks for silence every tick, while it leads."""

    def __init__(self, database: Database, clock: Clock, settings: Settings, leadership: Leadership) -> None:
        self._database = database
        self._clock = clock
        self._tick_seconds = settings.effective_tick_seconds
        self._timeout = timedelta(seconds=settings.heartbeat_timeout_seconds)
        self._brake_policy = brakes.policy_of(settings)
        self._leadership = leadership

    async def tick(self) -> int:
        """One look. Returns how many hosts became disconnected; 0 where another monitor leads."""
        try:
            is_leader = await self._leadership.hold()
        except Exception:
            MONITOR_LEADER.set(0)
            BRAKE_HELD_SERVERS.set(0)
            raise
        MONITOR_LEADER.set(1 if is_leader else 0)
        if not is_leader:
            BRAKE_HELD_SERVERS.set(0)
            return 0
        started = time.perf_counter()
        await self._database.measure(self._clock)
        async with self._database.write() as session:
            window = await self._observe(session)
            done = await self._settle(session, window)
        total = done.disconnected
        while done.is_full:
            async with self._database.write() as session:
                await queries.lock_watermark(session, EPOCH)
                done = await self._settle(session, window)
            total += done.disconnected
        SWEEP_SECONDS.observe(time.perf_counter() - started)
        SERVERS_DISCONNECTED.inc(total)
        BRAKE_HELD_SERVERS.set(done.held)
        return total

    async def _observe(self, session: AsyncSession) -> brakes.Window:
        """Move the watermark to now. Returns now, and since when whoever was not heard of is silent."""
        watermark = await queries.lock_watermark(session, EPOCH)
        # Read under the lock: a monitor that waited for another's look must not take the time to run backwards.
        now = self._clock.now()
        is_first = watermark.observed_until == EPOCH
        if now < watermark.observed_until:
            moved = await queries.bring_back_from_future(session, now)
            log.warning("the clock was set back", until=rfc3339(watermark.observed_until), hosts=moved)
        gap = gap_between(watermark.observed_until, now, self._tick_seconds)
        if gap is not None:
            await self._remember(session, gap, is_first=is_first)
        watermark.observed_until = now
        gaps = await queries.gaps(session)
        since = silent_since(now, self._timeout, gaps)
        if any(gap.ended_at < since for gap in gaps):
            await queries.forget_gaps_before(session, since)
        return brakes.Window(now, since, silent_since(now, self._timeout - self._brake_policy.window, gaps))

    async def _remember(self, session: AsyncSession, gap: Gap, *, is_first: bool) -> None:
        session.add(Outage(started_at=gap.started_at, ended_at=gap.ended_at))
        await session.flush()
        if is_first:
            return
        lasted = gap.ended_at - gap.started_at
        await brakes.after_outage(session, lasted)
        log.warning(
            "nothing was observed for a while; it counts for nobody's silence",
            since=rfc3339(gap.started_at),
            seconds=lasted.total_seconds(),
        )

    async def _settle(self, session: AsyncSession, window: brakes.Window) -> _Done:
        """One transaction's worth: overdue servers become disconnected or are held, held ones are let go."""
        open_brakes = await brake_queries.lock_open(session)
        silent = await queries.lock_silent(session, window.overdue_since, DISCONNECTIONS_PER_TRANSACTION)
        held = await brakes.hold(session, open_brakes, silent, window, self._brake_policy) if silent else {}
        await self._hold(session, held, window)
        lost = [one.host_row_id for one in silent if one.host_row_id not in held]
        total = await self._disconnect(session, lost, ConnectionState.CONNECTED, window)
        room = DISCONNECTIONS_PER_TRANSACTION - len(silent)
        releases, left = await brakes.release(session, open_brakes, window.now, room, self._brake_policy)
        for released in releases:
            count = await self._disconnect(
                session, released.host_row_ids, ConnectionState.UNKNOWN, window, released.brake
            )
            total += count
        is_full = len(silent) + sum(len(one.host_row_ids) for one in releases) == DISCONNECTIONS_PER_TRANSACTION
        return _Done(total, left, is_full)

    async def _hold(self, session: AsyncSession, held: dict[uuid.UUID, Brake], window: brakes.Window) -> None:
        by_brake: dict[uuid.UUID, list[uuid.UUID]] = {}
        for host_row_id, brake in held.items():
            by_brake.setdefault(brake.id, []).append(host_row_id)
        for brake_id, host_row_ids in sorted(by_brake.items()):
            hosts = await queries.mark(
                session,
                host_row_ids,
                ConnectionState.CONNECTED,
                ConnectionState.UNKNOWN,
                window.now,
                silent_since=window.overdue_since,
                brake_id=brake_id,
            )
            last_heard = {row.id: row.last_heartbeat_at for row in hosts}
            await alerts.become_unknown(session, last_heard, window.now, self._timeout.total_seconds())

    async def _disconnect(
        self,
        session: AsyncSession,
        host_row_ids: Sequence[uuid.UUID],
        was: ConnectionState,
        window: brakes.Window,
        brake: Brake | None = None,
    ) -> int:
        """Mark locked hosts disconnected, each with one event for each of its servers. Returns how many hosts."""
        if not host_row_ids:
            return 0
        since = window.overdue_since if was is ConnectionState.CONNECTED else None
        hosts = await queries.mark(
            session, host_row_ids, was, ConnectionState.DISCONNECTED, window.now, silent_since=since
        )
        last_heard = {row.id: row.last_heartbeat_at for row in hosts}
        await alerts.fall_silent(session, last_heard, window.now, self._timeout.total_seconds())
        for affected in await queries.servers_on(session, list(last_heard)):
            last = last_heard[affected.host_row_id]
            kind = affected.resource.kind.value.replace("-", " ")
            record(
                session,
                affected.vault_id,
                window.now,
                _DISCONNECTED[affected.resource.kind],
                affected.resource,
                actor=MONITOR,
                message=f"no heartbeat from {kind} {affected.resource.name} since {rfc3339(last)}",
                severity=Severity.CRITICAL,
                data={
                    "lastHeartbeat": rfc3339(last),
                    "timeoutSeconds": self._timeout.total_seconds(),
                    **({} if brake is None else {"brake": str(brake.id)}),
                },
            )
        if brake is not None:
            brake.released_count += len(hosts)
        return len(hosts)
