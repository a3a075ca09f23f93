"""The readings: what Prometheus is told of the fleet, counted in the database when it asks.

Every worker and every replica answers the same database truth. A count is kept for some seconds, so however often
`/metrics` is asked, the database is asked no more than that; and a database that does not answer costs a scrape a
bounded time and no more than the fleet's numbers.
"""

import asyncio
import platform
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import structlog
from cryptography import x509
from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession

from app import __version__
from app.connection import queries as connection_queries
from app.core import metrics
from app.core.clock import Clock
from app.core.db import Database
from app.core.errors import MusterError
from app.core.settings import Settings
from app.operations import queries
from app.operations.queries import OTHER

KEPT_SECONDS = 5
ANSWER_SECONDS = 3
"""Prometheus gives a scrape 10 seconds by default."""
log = structlog.get_logger("muster.metrics")


class Count(NamedTuple):
    """What one look into the database found."""

    families: list[GaugeMetricFamily]
    observed_until: datetime | None


class Census:
    """Counts the fleet, at most every `KEPT_SECONDS`."""

    def __init__(self, clock: Clock, settings: Settings) -> None:
        self._clock = clock
        self._vault_limit = settings.metrics_vault_limit
        self._certificate_expires_at = _first_expiry(settings.tls_certificate_file)
        self._turn = asyncio.Lock()
        self._kept: Count | None = None
        self._kept_until = float("-inf")

    async def readings(self, database: Database) -> list[Metric]:
        """Every reading there is now. Never raises because of the database."""
        async with self._turn:
            if self._clock.monotonic() >= self._kept_until:
                self._kept = await self._look(database)
                self._kept_until = self._clock.monotonic() + KEPT_SECONDS
            count = self._kept
        build = metrics.BUILD_INFO.family()
        build.add_metric((__version__, platform.python_version(), database.engine.dialect.name), 1)
        found: list[Metric] = [build, _single(metrics.DATABASE_UP, 0 if count is None else 1)]
        if self._certificate_expires_at is not None:
            found.append(_single(metrics.TLS_CERTIFICATE_EXPIRY, self._certificate_expires_at.timestamp()))
        if count is not None:
            found += count.families
            if count.observed_until is not None:
                lag = (self._clock.now() - count.observed_until).total_seconds()
                found.append(_single(metrics.MONITOR_LAG, max(lag, 0.0)))
        return found

    async def _look(self, database: Database) -> Count | None:
        try:
            async with asyncio.timeout(ANSWER_SECONDS), database.read() as session:
                return await self._count(session)
        except (MusterError, SQLAlchemyError, TimeoutError) as error:
            log.warning("the fleet can't be counted for /metrics", error=repr(error.__cause__ or error))
            return None

    async def _count(self, session: AsyncSession) -> Count:
        limit = self._vault_limit
        shown = await queries.shown_vaults(session, limit)
        vaults = await queries.count_vaults(session)
        servers = metrics.SERVERS.family()
        for vault, *labels, number in await queries.servers(session, limit):
            servers.add_metric((vault or OTHER, *labels), number)
        alerts = metrics.ALERTS.family()
        for vault, code, severity, number in await queries.alerts(session, limit, self._clock.now()):
            alerts.add_metric((vault or OTHER, code, severity), number)
        # A vault without machines has 0 of them, rather than no line in the chart.
        names = shown + [OTHER] * (vaults > len(shown))
        machines = dict.fromkeys(names, (0, 0.0))
        for vault, number, churn in await queries.source_machines(session, limit):
            machines[vault or OTHER] = (number, float(churn))
        expiries = {
            vault or OTHER: expires_at.timestamp()
            for vault, expires_at in await queries.certificate_expiries(session, limit)
        }
        return Count(
            [
                _single(metrics.VAULTS, vaults),
                servers,
                alerts,
                _by_vault(metrics.SOURCE_MACHINES, ((vault, number) for vault, (number, _) in machines.items())),
                _by_vault(metrics.SOURCE_MACHINE_CHURN, ((vault, churn) for vault, (_, churn) in machines.items())),
                _by_vault(metrics.CERTIFICATE_EXPIRY, expiries.items()),
            ],
            await connection_queries.observed_until(session),
        )


def _single(reading: metrics.Reading, value: float) -> GaugeMetricFamily:
    family = reading.family()
    family.add_metric((), value)
    return family


def _by_vault(reading: metrics.Reading, values: Iterable[tuple[str, float]]) -> GaugeMetricFamily:
    family = reading.family()
    for vault, value in values:
        family.add_metric((vault,), value)
    return family


def _first_expiry(chain: Path | None) -> datetime | None:
    """When the first certificate of a PEM chain expires; None where there is none that can be read."""
    if chain is None:
        return None
    try:
        return min(
            certificate.not_valid_after_utc for certificate in x509.load_pem_x509_certificates(chain.read_bytes())
        )
    except (OSError, ValueError) as error:
        log.warning("the HTTPS certificate's expiry can't be read", file=str(chain), error=repr(error))
        return None
