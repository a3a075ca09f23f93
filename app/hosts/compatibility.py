"""The mark of process servers whose version is above their configuration server's (rule 1 of versions).

The mark is `hosts.version_above_since`, and an alert. Whoever changes a version, or brings a server back, judges it in
the same transaction, so the mark, the alert, the stored health and the events never disagree:

- A process server's version changes under the lock of its host, and the configuration server's is read after it.
- A configuration server's version changes under the locks of the server and of all its process servers' hosts.

So of two changes at once one sees what the other left.
"""

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from app.health import queries as health_queries
from app.health.findings import version_above
from app.health.raising import end, put, refresh
from app.hosts import queries
from app.models import Host
from app.versions.rules import Version, is_compatible
from app.vocabulary import AlertCode


async def judge(session: AsyncSession, host_row_ids: Sequence[uuid.UUID], now: datetime) -> None:
    """Mark or unmark the process servers on these hosts, which are locked, and settle their stored health.

    One event per transition. Hosts of configuration servers are left as they are.
    """
    rows = await queries.with_configuration_server_version(session, sorted(host_row_ids))
    concerned = [row for row in rows if _is_above(row) or row.Host.version_above_since is not None]
    ids = [row.Host.id for row in concerned]
    servers = await health_queries.process_servers_on(session, ids, now) if ids else {}
    firing = await health_queries.open_alerts(session, ids) if ids else {}
    for row in concerned:
        host: Host = row.Host
        server = servers[host.id]
        since = host.version_above_since
        found = version_above(
            since or now, host.agent_version, row.configuration_server, row.configuration_server_version
        )
        if _is_above(row):
            put(session, firing, server, found, now, is_told=since is None)
            host.version_above_since = found.since
        else:
            end(session, firing, server, AlertCode.VERSION_ABOVE_CONFIGURATION_SERVER, now, details=found.details)
            host.version_above_since = None
    await refresh(session, [row.Host for row in rows])


def _is_above(row: Any) -> bool:
    return not is_compatible(Version.parse(row.Host.agent_version), Version.parse(row.configuration_server_version))
