"""Housekeeping: what is past its time is deleted in small transactions."""

from datetime import timedelta

from app.access import idempotency
from app.access.failures import Failures
from app.brakes import queries as brake_queries
from app.connection import queries as connection_queries
from app.core.clock import Clock
from app.core.db import Database
from app.core.settings import Settings
from app.events import queries as event_queries
from app.health import queries as alert_queries
from app.heartbeats.lane import Fleet
from app.hosts import queries as host_queries
from app.telemetry import tasks as telemetry

EVENTS_PER_TRANSACTION = 500
ALERTS_PER_TRANSACTION = 500
UNUSED_CREDENTIAL_DAYS = 7


class Housekeeping:
    """Deletes expired events, past alerts, ended brakes, telemetry history, answers, credentials and failure counts."""

    def __init__(self, database: Database, clock: Clock, settings: Settings, failures: Failures) -> None:
        self._database = database
        self._clock = clock
        self._settings = settings
        self._failures = failures

    async def tick(self) -> None:
        """Delete what is past its time, events in batches so that nobody waits long for a vault's counter."""
        now = self._clock.now()
        expired = now - timedelta(days=self._settings.event_retention_days)
        while True:
            async with self._database.write() as session:
                deleted = await event_queries.delete_older(session, expired, EVENTS_PER_TRANSACTION)
            if deleted < EVENTS_PER_TRANSACTION:
                break
        while True:
            async with self._database.write() as session:
                deleted = await alert_queries.delete_cleared_before(session, expired, ALERTS_PER_TRANSACTION)
            if deleted < ALERTS_PER_TRANSACTION:
                break
        async with self._database.write() as session:
            await brake_queries.delete_ended_before(session, expired)
        async with self._database.write() as session:
            retention = timedelta(hours=self._settings.idempotency_retention_hours)
            await idempotency.forget_before(session, now, retention)
        async with self._database.write() as session:
            await host_queries.delete_unused_before(session, now - timedelta(days=UNUSED_CREDENTIAL_DAYS))
        await self._failures.forget(now)
        await telemetry.delete_expired(self._database, now, self._settings.telemetry_retention_days)


class FleetCount:
    """Counts agents now and then; large fleets are asked for longer intervals."""

    def __init__(self, database: Database, fleet: Fleet) -> None:
        self._database = database
        self._fleet = fleet

    async def tick(self) -> None:
        """Count."""
        async with self._database.read() as session:
            self._fleet.count(await connection_queries.count_hosts(session))
