"""What a configuration server's agent is asked to do: report at once, renew its certificate.

The request stands in the desired state until the agent has observed it (`jobs.observations`). Source: domain section 7.
"""

import uuid
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy.ext.asyncio import AsyncSession

from app.access.principals import Principal
from app.access.scope import vault_in_scope
from app.configuration_servers import queries
from app.configuration_servers.rules import Component, renewal_blockers
from app.configuration_servers.service import find, judgement, resource_of
from app.core.errors import ConfigurationServerNotFound, RenewalBlocked, ServerNotConnected
from app.core.wire import rfc3339
from app.events.service import record
from app.hosts import queries as host_queries
from app.jobs import observations
from app.jobs import service as jobs
from app.jobs.schemas import JobView
from app.models import ConfigurationServer, Host, Job, Vault
from app.vocabulary import CERTIFICATE_VALID_DAYS, ConnectionState, EventType, JobType


class _Asked(NamedTuple):
    """A configuration server that is to do something, locked, and its locked host."""

    vault: Vault
    server: ConfigurationServer
    host: Host


async def refresh(session: AsyncSession, principal: Principal, vault_ref: str, ref: str, now: datetime) -> JobView:
    """Ask a configuration server to report at once. While that job is open, asking again returns it.

    Raises ConfigurationServerNotFound, ServerNotConnected.
    """
    asked = await _lock(session, principal, vault_ref, ref)
    state = asked.host.connection_state
    if state != ConnectionState.CONNECTED:
        raise ServerNotConnected(
            f"configuration server '{asked.server.name}' is {state} and can't be asked to report; its last heartbeat "
            f"was {_when(asked.host.last_heartbeat_at)}"
        )
    return await _ask(
        session,
        asked,
        JobType.REFRESH,
        EventType.CONFIGURATION_SERVER_REFRESH_REQUESTED,
        "report at once",
        principal.actor,
        now,
    )


async def renew_certificate(
    session: AsyncSession, principal: Principal, vault_ref: str, ref: str, now: datetime
) -> JobView:
    """Ask a configuration server to renew its certificate. While that job is open, asking again returns it.

    Raises ConfigurationServerNotFound, RenewalBlocked with every component that is not connected or out of support.
    """
    asked = await _lock(session, principal, vault_ref, ref)
    judged = await judgement(session, now)
    components = [
        Component(row.kind, row.name, ConnectionState(row.connection_state), judged.version_status(row.agent_version))
        for row in await queries.components(session, asked.server.id)
    ]
    blockers = renewal_blockers(components)
    if blockers:
        raise RenewalBlocked(
            f"the certificate of configuration server '{asked.server.name}' can't be renewed now: "
            f"{'; '.join(blocker.detail for blocker in blockers)}",
            blockers=[blocker._asdict() for blocker in blockers],
        )
    return await _ask(
        session,
        asked,
        JobType.RENEW_CERTIFICATE,
        EventType.CONFIGURATION_SERVER_CERTIFICATE_RENEWAL_REQUESTED,
        "renew its certificate",
        principal.actor,
        now,
        {"expiredAt": rfc3339(asked.server.certificate_expires_at)},
    )


async def _lock(session: AsyncSession, principal: Principal, vault_ref: str, ref: str) -> _Asked:
    vault = await vault_in_scope(session, principal, vault_ref)
    server = await queries.lock(session, vault.id, str((await find(session, vault, ref)).id))
    if server is None:
        raise ConfigurationServerNotFound(f"configuration server '{ref}' was removed meanwhile")
    return _Asked(vault, server, await host_queries.lock(session, server.host_row_id))


async def _ask(
    session: AsyncSession,
    asked: _Asked,
    kind: JobType,
    event: EventType,
    what: str,
    actor: str,
    now: datetime,
    details: Mapping[str, Any] | None = None,
) -> JobView:
    vault, server, host = asked
    present = await observations.open_of_type(session, server.id, kind)
    if present is not None:
        return jobs.view_of(present)
    host.generation += 1
    job = await jobs.create(
        session,
        vault_id=vault.id,
        type=kind,
        resource=resource_of(server),
        requested_by=actor,
        now=now,
        details={"generation": host.generation, **(details or {})},
    )
    await observations.wait(session, job, {host.id: host.generation})
    record(
        session,
        vault.id,
        now,
        event,
        resource_of(server),
        actor=actor,
        message=f"configuration server {server.name} was asked to {what}",
        data={"job": str(job.id)},
    )
    return jobs.view_of(job)


def _when(moment: datetime | None) -> str:
    return "never" if moment is None else rfc3339(moment)


async def complete_renewal(session: AsyncSession, job_id: uuid.UUID, now: datetime) -> bool:
    """End a renewal that the agent has observed: the certificate is valid for another three years.

    Takes the configuration server's lock before the job's, as everybody does. False where another process has done it.
    """
    server_id = await queries.renewal_of(session, job_id)
    server = None if server_id is None else await queries.lock_by_id(session, server_id)
    job: Job | None = await observations.lock(session, job_id)
    if job is None or job.ended_at is not None:
        return False
    if server is None:
        detail = f"configuration server '{job.resource_name}' was removed"
        observations.fail(session, job, now, code=observations.SERVER_REMOVED, detail=detail)
        return True
    before = server.certificate_expires_at
    server.certificate_expires_at = now + timedelta(days=CERTIFICATE_VALID_DAYS)
    server.revision += 1
    server.updated_at = now
    validity = {"expiresAt": rfc3339(server.certificate_expires_at), "previously": rfc3339(before)}
    jobs.finish(job, now, validity)
    record(
        session,
        server.vault_id,
        now,
        EventType.CONFIGURATION_SERVER_CERTIFICATE_RENEWED,
        resource_of(server),
        actor=f"agent:{server.name}",
        message=f"the certificate of configuration server {server.name} is valid until {validity['expiresAt']}",
        data={"job": str(job.id), **validity},
    )
    return True
