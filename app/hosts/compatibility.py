"""The mark of process servers whose version is above their configuration server's (rule 1 of versions).

The mark is `hosts.version_above_since`. Whoever changes a version, or brings a server back, judges it in the same
transaction, so the mark, the stored health and the events never disagree:

- A process server's version changes under the lock of its host, and the configuration server's is read after it.
- A configuration server's version changes under the locks of the server and of all its process servers' hosts.

So of two changes at once one sees what the other left.
"""

import uuid
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from app.events.service import MONITOR, Resource, record
from app.health.rules import HEALTH_WHEN_SILENT, VERSION_ABOVE, health_of, version_alerts
from app.hosts import queries
from app.models import Host, ProcessServer
from app.versions.rules import Version, is_compatible
from app.vocabulary import ConnectionState, EventType, ResourceKind, Severity


async def judge(session: AsyncSession, host_row_ids: Sequence[uuid.UUID], now: datetime) -> None:
    """Mark or unmark the process servers on these hosts, which are locked, and settle their stored health.

    One event per transition. Hosts of configuration servers are left as they are.
    """
    for row in await queries.with_configuration_server_version(session, sorted(host_row_ids)):
        host: Host = row.Host
        is_above = not is_compatible(Version.parse(host.agent_version), Version.parse(row.configuration_server_version))
        if is_above != (host.version_above_since is not None):
            host.version_above_since = now if is_above else None
            _record(
                session,
                row.ProcessServer,
                host,
                row.configuration_server,
                row.configuration_server_version,
                is_above,
                now,
            )
        state = ConnectionState(host.connection_state)
        if state is ConnectionState.CONNECTED:
            host.health = health_of(
                version_alerts(host.agent_version, row.configuration_server_version, host.version_above_since)
            ).value
        else:
            host.health = HEALTH_WHEN_SILENT[state].value


def _record(
    session: AsyncSession,
    server: ProcessServer,
    host: Host,
    configuration_server: str,
    version: str,
    is_above: bool,
    now: datetime,
) -> None:
    is_or_not = "is above" if is_above else "is no longer above"
    record(
        session,
        server.vault_id,
        now,
        EventType.PROCESS_SERVER_ALERT_RAISED if is_above else EventType.PROCESS_SERVER_ALERT_CLEARED,
        Resource(ResourceKind.PROCESS_SERVER, server.id, server.name),
        actor=MONITOR,
        message=f"version {host.agent_version} of process server {server.name} {is_or_not} version {version} of "
        f"configuration server {configuration_server}",
        severity=Severity.WARNING if is_above else Severity.INFORMATION,
        data={
            "code": VERSION_ABOVE,
            "severity": Severity.WARNING.value,
            "agentVersion": host.agent_version,
            "configurationServerVersion": version,
        },
    )
