"""The sweep of the replica that leads: conditions that have held for their window, and what no heartbeat tells."""

import uuid
from collections.abc import Sequence

from app.core.clock import Clock
from app.core.db import Database
from app.core.leadership import Leadership
from app.core.settings import Settings
from app.health import periodic, queries
from app.health.raising import refresh
from app.health.service import apply_step, let_time_pass, rulebook, terms_of
from app.models import Host
from app.vocabulary import ConnectionState

HOSTS_PER_TRANSACTION = 500
PERIOD_SECONDS = 60


class AlertSweep:
    """Raises what is due every tick, while it leads; each minute it also looks at versions and certificates.

    It is safe beside another that thinks it leads: hosts are locked and judged again under the lock.
    """

    def __init__(self, database: Database, clock: Clock, settings: Settings, leadership: Leadership) -> None:
        self._database = database
        self._clock = clock
        self._terms = terms_of(settings)
        self._leadership = leadership
        self._looked_at: float | None = None

    async def tick(self) -> int:
        """One look. Returns on how many hosts alerts changed; 0 where another process leads."""
        if not await self._leadership.hold():
            return 0
        await self._database.measure(self._clock)
        changed = await self._let_fire()
        if self._looked_at is None or self._clock.monotonic() - self._looked_at >= PERIOD_SECONDS:
            changed += await periodic.look(self._database, self._clock, self._terms, HOSTS_PER_TRANSACTION)
            self._looked_at = self._clock.monotonic()
        return changed

    async def _let_fire(self) -> int:
        now = self._clock.now()
        async with self._database.read() as session:
            rows = await queries.due_hosts(session, now)
        # Older evidence says too little: the next heartbeat is waited for.
        ripe = [row.id for row in rows if row.last_heartbeat_at >= row.alert_due_at - self._terms.grace]
        changed = 0
        for start in range(0, len(ripe), HOSTS_PER_TRANSACTION):
            changed += await self._let_some_fire(ripe[start : start + HOSTS_PER_TRANSACTION])
        return changed

    async def _let_some_fire(self, host_row_ids: Sequence[uuid.UUID]) -> int:
        async with self._database.write() as session:
            now = self._clock.now()
            hosts = [host for host in await queries.lock_free_hosts(session, host_row_ids) if _is_watched(host)]
            rules = await rulebook(session, hosts, self._terms)
            ids = [host.id for host in hosts]
            servers = await queries.process_servers_on(session, ids, now)
            open_ = await queries.open_alerts(session, ids)
            changed: list[Host] = []
            for host in hosts:
                server = servers.get(host.id)
                levels = rules.levels(host.vault_id, None if server is None else server.kind)
                step = let_time_pass(host, levels, now, self._terms)
                if step is not None and server is not None:
                    apply_step(session, open_, server, step, rules, now)
                    changed.append(host)
            if changed:
                await refresh(session, changed)
        return len(changed)


def _is_watched(host: Host) -> bool:
    """Whether a host may have changed since it was found due, so that its next heartbeat judges it instead."""
    return host.connection_state == ConnectionState.CONNECTED and host.quiet_cpu_low is not None
