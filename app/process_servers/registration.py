"""Registration of process servers with their configuration server's passphrase."""

import contextlib
import ipaddress
import uuid
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from app.access.failures import Limit
from app.access.idempotency import Once
from app.core import secrets
from app.core.errors import (
    HostRegisteredElsewhere,
    PassphraseRefused,
    VersionAboveConfigurationServer,
)
from app.events.service import record
from app.health import service as alerts
from app.hosts import compatibility
from app.hosts import queries as host_queries
from app.hosts import service as hosts
from app.hosts.schemas import Notice
from app.hosts.service import Gate
from app.hosts.tombstones import purged
from app.models import ConfigurationServer, Host, ProcessServer
from app.process_servers import queries
from app.process_servers.schemas import ProcessServerRegister, ProcessServerRegistered
from app.process_servers.service import resource_of
from app.process_servers.takeover import inherit
from app.versions import queries as version_queries
from app.versions.rules import Version, is_compatible, newest, status_of
from app.vocabulary import EventType, VersionStatus

MAX_COUNTED_LENGTH = 255
"""Of a name that failed registrations are counted under."""


async def register(gate: Gate, body: ProcessServerRegister, address: str, once: Once) -> ProcessServerRegistered:
    """Let a process server in; the same host id again is the same server with a fresh credential.

    Raises PassphraseRefused, TooManyRequests after repeated failures of `address` or against the configuration
    server, VersionAboveConfigurationServer, NameInUseByAnotherHost, HostRegisteredElsewhere or DuplicateIdentity.
    """
    wanted = _spelled_alike(body.configuration_server)
    limits = [
        Limit(f"address:{address}", gate.settings.registration_failures_per_address, f"address {address}"),
        Limit(
            f"server:{wanted[:MAX_COUNTED_LENGTH]}",
            gate.settings.registration_failures_per_server,
            f"configuration server '{body.configuration_server}'",
        ),
    ]
    now = gate.clock.now()
    await gate.failures.check(limits, now)
    server_id = await _prove(gate, wanted, body.passphrase)
    if server_id is None:
        await gate.failures.record(limits, now)
        raise _refused(body)
    async with gate.database.write() as session:
        return await once(
            session,
            f"configuration-server:{server_id}",
            secrets.normalise_passphrase(body.passphrase),
            lambda: _register(session, gate, body, server_id),
        )


def _refused(body: ProcessServerRegister) -> PassphraseRefused:
    # One message for an unknown server and for a wrong passphrase: nobody can search for servers here.
    return PassphraseRefused(
        f"no configuration server '{body.configuration_server}' accepts this passphrase; check address and passphrase, "
        "or have an operator replace the passphrase"
    )


async def _prove(gate: Gate, wanted: str, passphrase: str) -> uuid.UUID | None:
    """The configuration server that `wanted` names and whose passphrase this is.

    Sites may use the same private address: the passphrase decides. Its public tag narrows the candidates, so
    that one argon2 verification is enough; without a candidate the same work is done for nothing.
    """
    async with gate.database.read() as session:
        rows = await queries.with_passphrase_tag(session, secrets.passphrase_tag(passphrase))
    candidates = [row for row in rows if _answers_to(row, wanted)]
    for row in candidates:
        if await gate.hasher.verify(row.ConfigurationServer.passphrase_hash, passphrase):
            found: uuid.UUID = row.ConfigurationServer.id
            return found
    if not candidates:
        await gate.hasher.verify(None, passphrase)
    return None


def _spelled_alike(address_or_name: str) -> str:
    """One spelling for all that mean the same: addresses of both families, capitals, a final dot."""
    text = address_or_name.strip().lower().rstrip(".")
    with contextlib.suppress(ValueError):
        address = ipaddress.ip_address(text.removeprefix("[").removesuffix("]"))
        return str(getattr(address, "ipv4_mapped", None) or address)
    return text


def _answers_to(row: Any, wanted: str) -> bool:
    server: ConfigurationServer = row.ConfigurationServer
    host: Host = row.Host
    # Heartbeats bring addresses as the machine spells them.
    return wanted in {_spelled_alike(name) for name in (server.name, str(server.id), host.fqdn, *host.ip_addresses)}


async def _register(
    session: AsyncSession, gate: Gate, body: ProcessServerRegister, server_id: uuid.UUID
) -> ProcessServerRegistered:
    now = gate.clock.now()
    row = await queries.lock_configuration_server(session, server_id)
    # Looked at again under the lock: the passphrase may have been replaced while it was verified.
    if row is None or row.ConfigurationServer.passphrase_tag != secrets.passphrase_tag(body.passphrase):
        raise _refused(body)
    server: ConfigurationServer = row.ConfigurationServer
    if not is_compatible(Version.parse(body.agent_version), Version.parse(row.agent_version)):
        raise VersionAboveConfigurationServer(
            f"process server {body.agent_version} is newer than configuration server {row.agent_version}; "
            f"upgrade {server.name} first, or install the process server from its download",
            processServerVersion=body.agent_version,
            configurationServerVersion=row.agent_version,
        )
    host = await host_queries.find(session, server.vault_id, body.host_id)
    is_new = False
    if host is None:
        tombstone = await host_queries.blocking_tombstone(session, server.id, body.host_id)
        if tombstone is not None:
            # Neither its credential nor the passphrase lets a purged machine back (domain section 5).
            raise purged(tombstone)
        owner = await queries.name_owner(session, server.id, body.name)
        if owner is not None:
            host, process_server = await inherit(session, server, owner, body, now)
        else:
            host, process_server = await _register_first(session, server, body, gate)
            await alerts.await_first_heartbeat(session, host, now, gate.settings.heartbeat_timeout_seconds)
            is_new = True
    else:
        process_server = await _register_again(session, server, host, body, gate)
    return ProcessServerRegistered(
        id=process_server.id,
        vault=row.vault,
        configuration_server=server.name,
        name=process_server.name,
        credential=await hosts.issue_credential(session, host, now),
        heartbeat=gate.terms,
        notices=[
            *hosts.name_notice(process_server.name, body.name),
            *hosts.port_notice(body.data_transfer_port),
            *await _support_notice(session, body.agent_version),
        ],
        is_new=is_new,
    )


async def _register_first(
    session: AsyncSession, server: ConfigurationServer, body: ProcessServerRegister, gate: Gate
) -> tuple[Host, ProcessServer]:
    now = gate.clock.now()
    host = hosts.new_host(server.vault_id, body, now)
    await hosts.add_host(session, host)
    process_server = ProcessServer(
        vault_id=server.vault_id,
        configuration_server_id=server.id,
        host_row_id=host.id,
        kind=body.kind.value,
        name=body.name,
        friendly_name=body.name,
        data_transfer_port=body.data_transfer_port,
        is_drained=False,
        created_at=now,
        updated_at=now,
        revision=1,
    )
    session.add(process_server)
    await session.flush()
    record(
        session,
        server.vault_id,
        now,
        EventType.PROCESS_SERVER_REGISTERED,
        resource_of(process_server),
        actor=f"agent:{process_server.name}",
        message=f"process server {process_server.name} registered with {server.name}, version {body.agent_version}",
        data={"agentVersion": body.agent_version, "hostId": body.host_id, "kind": process_server.kind},
    )
    return host, process_server


async def _register_again(
    session: AsyncSession, server: ConfigurationServer, host: Host, body: ProcessServerRegister, gate: Gate
) -> ProcessServer:
    now = gate.clock.now()
    process_server = await queries.of_host(session, host.id)
    if process_server is None or process_server.configuration_server_id != server.id or host.id == server.host_row_id:
        raise HostRegisteredElsewhere(
            f"host {body.host_id} ({host.fqdn}) is registered in this vault in another role or with another "
            f"configuration server than '{server.name}'; remove it there first"
        )
    hosts.refuse_clone(host, body)
    hosts.record_upgrade(
        session, resource_of(process_server), EventType.PROCESS_SERVER_UPGRADED, host, body.agent_version, now
    )
    hosts.describe(host, body)
    await compatibility.judge(session, [host.id], now)
    process_server.data_transfer_port = body.data_transfer_port
    process_server.updated_at = now
    record(
        session,
        server.vault_id,
        now,
        EventType.PROCESS_SERVER_RE_REGISTERED,
        resource_of(process_server),
        actor=f"agent:{process_server.name}",
        message=f"process server {process_server.name} registered again with version {body.agent_version}",
        data={"agentVersion": body.agent_version, "hostId": body.host_id},
    )
    return process_server


async def _support_notice(session: AsyncSession, version: str) -> list[Notice]:
    catalogue = await version_queries.catalogue(session)
    status = status_of(Version.parse(version), catalogue)
    if status is VersionStatus.SUPPORTED:
        return []
    return [
        Notice(
            code="version-status",
            message=f"version {version} is {status.value}; the newest release is {newest(catalogue)}",
        )
    ]
