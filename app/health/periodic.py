"""Alerts that no heartbeat tells of: support of versions, certificates, and what other writers left undone.

A look finds candidates with a few set-based statements and judges each of them under its host's lock; where everything
is as it should be it writes nothing.
"""

import uuid
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy.ext.asyncio import AsyncSession

from app.core.clock import Clock
from app.core.db import Database
from app.core.wire import rfc3339
from app.health import periodic_queries, queries
from app.health.findings import (
    Finding,
    certificate_expiring,
    missing_heartbeat,
    unknown_connection,
    version_above,
    version_not_supported,
)
from app.health.policy import Policy
from app.health.queries import Subject
from app.health.raising import end, put, refresh
from app.health.rules import RULES
from app.health.service import Rulebook, Terms
from app.models import Host
from app.versions import queries as version_queries
from app.versions.rules import Version, newest, status_of
from app.vocabulary import AlertCode, ConnectionState, ServerKind, VersionStatus

TOLD_ELSEWHERE = frozenset(
    {
        AlertCode.HEARTBEAT_MISSING,
        AlertCode.CONNECTION_UNKNOWN,
        AlertCode.VERSION_ABOVE_CONFIGURATION_SERVER,
    }
)
"""Told by those who change the connection or a version; here only their rows are put right."""
CODES = (*sorted(TOLD_ELSEWHERE), AlertCode.VERSION_NOT_SUPPORTED, AlertCode.CERTIFICATE_EXPIRING)


class Outlook(NamedTuple):
    """What a look judges by."""

    latest: str
    """The newest release."""
    unsupported: Collection[str]
    """The versions in use that are out of support."""
    policies: Mapping[uuid.UUID, Policy]
    rules: Rulebook
    timeout_seconds: float

    def is_enabled(self, code: AlertCode, vault_id: uuid.UUID) -> bool:
        """Whether a rule holds in a vault."""
        return self.rules.applied(vault_id)[code].is_enabled

    def longest_notice(self) -> timedelta:
        """How long before its end any vault wants to hear of a certificate."""
        code = AlertCode.CERTIFICATE_EXPIRING
        asked = [self.rules.applied(vault_id)[code].warning for vault_id in self.policies]
        return timedelta(days=max(days or 0.0 for days in (RULES[code].warning, *asked)))


async def look(database: Database, clock: Clock, terms: Terms, batch: int) -> int:
    """Look at all servers once. Returns on how many hosts something changed."""
    async with database.read() as session:
        outlook = await _outlook(session, terms)
        candidates = sorted(await _candidates(session, outlook, clock.now()))
    changed = 0
    for start in range(0, len(candidates), batch):
        async with database.write() as session:
            changed += await _put_right(session, candidates[start : start + batch], outlook, clock.now())
    return changed


async def _outlook(session: AsyncSession, terms: Terms) -> Outlook:
    catalogue = await version_queries.catalogue(session)
    unsupported = [
        version
        for version in await periodic_queries.versions_in_use(session)
        if status_of(Version.parse(version), catalogue) is VersionStatus.NOT_SUPPORTED
    ]
    policies = await queries.all_policies(session)
    rules = Rulebook(policies, terms)
    return Outlook(str(newest(catalogue)), unsupported, policies, rules, terms.timeout.total_seconds())


async def _candidates(session: AsyncSession, outlook: Outlook, now: datetime) -> set[uuid.UUID]:
    """The hosts on which an alert may be missing, or be one too many, or say what is no longer so."""
    code = AlertCode.VERSION_NOT_SUPPORTED
    disabled = [vault_id for vault_id in outlook.policies if not outlook.is_enabled(code, vault_id)]
    outdated = [
        row.host_row_id
        for row in await periodic_queries.unsupported_with_alert(session)
        if row.agent_version not in outlook.unsupported
        or not outlook.is_enabled(code, row.vault_id)
        or row.details != version_not_supported(row.agent_version, outlook.latest, now).details
    ]
    expiring = [
        row.host_row_id
        for row in await periodic_queries.certificates(session, now + outlook.longest_notice())
        if not _is_told(row, _certificate(row.vault_id, row.certificate_expires_at, outlook, now))
    ]
    return {*outdated, *expiring, *await periodic_queries.astray(session, outlook.unsupported, disabled)}


def _is_told(row: Any, wanted: Finding | None) -> bool:
    return row.severity is None if wanted is None else row.severity == wanted.severity


async def _put_right(session: AsyncSession, host_row_ids: Sequence[uuid.UUID], outlook: Outlook, now: datetime) -> int:
    hosts = {host.id: host for host in await queries.lock_free_hosts(session, host_row_ids)}
    open_ = await queries.open_alerts(session, list(hosts))
    sites = await periodic_queries.sites_of(session, list(hosts))
    changed: set[uuid.UUID] = set()
    for subject in await queries.servers_on(session, list(hosts), now):
        host = hosts[subject.host_row_id]
        wanted = {found.code: found for found in _findings(subject, host, sites[subject.resource.id], outlook, now)}
        for code in CODES:
            is_told = code not in TOLD_ELSEWHERE
            if code in wanted:
                is_news = put(session, open_, subject, wanted[code], now, is_told=is_told)
            else:
                is_news = end(session, open_, subject, code, now, is_told=is_told)
            if is_news:
                changed.add(host.id)
    if changed:
        await refresh(session, [hosts[host_row_id] for host_row_id in changed])
    return len(changed)


def _findings(subject: Subject, host: Host, site: Any, outlook: Outlook, now: datetime) -> list[Finding]:
    """What should fire on a server, apart from what its heartbeats tell.

    An inbuilt process server has its configuration server's version, which is told once: of that.
    """
    found: list[Finding] = []
    if host.connection_state == ConnectionState.DISCONNECTED:
        found.append(missing_heartbeat(host.last_heartbeat_at, now, outlook.timeout_seconds))
    elif host.connection_state == ConnectionState.UNKNOWN:
        found.append(unknown_connection(host.last_heartbeat_at, now, outlook.timeout_seconds))
    if subject.kind not in {None, ServerKind.INBUILT} and host.version_above_since is not None:
        found.append(version_above(host.version_above_since, host.agent_version, site.name, site.agent_version))
    is_old = host.agent_version in outlook.unsupported and subject.kind is not ServerKind.INBUILT
    if is_old and outlook.is_enabled(AlertCode.VERSION_NOT_SUPPORTED, host.vault_id):
        found.append(version_not_supported(host.agent_version, outlook.latest, now))
    if subject.kind is None:
        expiring = _certificate(host.vault_id, site.certificate_expires_at, outlook, now)
        found.extend([] if expiring is None else [expiring])
    return found


def _certificate(vault_id: uuid.UUID, expires_at: datetime, outlook: Outlook, now: datetime) -> Finding | None:
    rule = outlook.rules.applied(vault_id)[AlertCode.CERTIFICATE_EXPIRING]
    return certificate_expiring(expires_at, rule, rfc3339(expires_at), now)
