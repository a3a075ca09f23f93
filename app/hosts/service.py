"""Letting machines in: identity by host id, fresh credentials, clones told apart."""

import uuid
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy.ext.asyncio import AsyncSession

from app.access.failures import Failures
from app.core import secrets
from app.core.clock import Clock
from app.core.db import Database, add_unique
from app.core.errors import DuplicateIdentity, HostRegisteredElsewhere
from app.core.settings import Settings
from app.events.service import Resource, record
from app.hosts import queries
from app.hosts.schemas import HeartbeatTerms, HostRegister, Notice
from app.models import Host, IssuedCredential
from app.vocabulary import CONTROL_PORT, DEFAULT_DATA_TRANSFER_PORT, ConnectionState, EventType, Health


class Gate(NamedTuple):
    """What registrations need: they check secrets outside of their transaction."""

    database: Database
    hasher: secrets.PassphraseHasher
    failures: Failures
    clock: Clock
    settings: Settings

    @property
    def terms(self) -> HeartbeatTerms:
        """How often heartbeats are wanted and when silence counts."""
        return HeartbeatTerms(
            interval_seconds=self.settings.effective_interval_seconds,
            timeout_seconds=self.settings.heartbeat_timeout_seconds,
        )


def new_host(vault_id: uuid.UUID, body: HostRegister, now: datetime) -> Host:
    """The row of a machine that registers for the first time: disconnected until its first heartbeat."""
    host = Host(
        vault_id=vault_id,
        host_id=body.host_id,
        sequence=0,
        last_heartbeat_bucket=0,
        connection_state=ConnectionState.DISCONNECTED.value,
        connection_changed_at=now,
        health=Health.CRITICAL.value,
        generation=1,
        observed_generation=0,
        registered_at=now,
    )
    describe(host, body)
    return host


async def add_host(session: AsyncSession, host: Host) -> None:
    """Insert a new machine.

    Raises HostRegisteredElsewhere when it registered in the vault at the same moment: registrations of one role
    with one parent take turns, so that one was another.
    """
    await add_unique(
        session,
        host,
        HostRegisteredElsewhere(
            f"host {host.host_id} ({host.fqdn}) registered in this vault at the same moment, in another role or with "
            "another configuration server; remove it there first"
        ),
    )


def describe(host: Host, body: HostRegister) -> None:
    """Take over what the machine says of itself."""
    # Without one it could no longer be told from its clones.
    host.instance_id = body.instance_id or host.instance_id or ""
    host.agent_version = body.agent_version
    host.fqdn = body.fqdn or body.name
    host.ip_addresses = list(body.ip_addresses)
    host.os = _known(body.os)
    host.hardware = _known(body.hardware)


def record_upgrade(
    session: AsyncSession, resource: Resource, event_type: EventType, host: Host, version: str, now: datetime
) -> None:
    """Write the event of a version that differs from the host's; the words are those of an upgrade by heartbeat."""
    if version == host.agent_version:
        return
    kind = resource.kind.value.replace("-", " ")
    record(
        session,
        host.vault_id,
        now,
        event_type,
        resource,
        actor=f"agent:{resource.name}",
        message=f"{kind} {resource.name} went from version {host.agent_version} to {version}",
        data={"previousVersion": host.agent_version, "agentVersion": version},
    )


def _known(model: Any) -> dict[str, Any]:
    return {} if model is None else dict(model.model_dump(mode="json", by_alias=True, exclude_none=True))


def refuse_clone(host: Host, body: HostRegister) -> None:
    """Raises DuplicateIdentity when another machine with this host id is alive.

    A host id is a file on disk; a cloned disk brings it along. The instance id (machine id or BIOS UUID) tells
    the two apart. While the known machine is silent, the newcomer is taken for the same one on new hardware. One that
    fell silent together with its whole site may be alive: the newcomer has to wait until it is called disconnected.
    """
    if not body.instance_id or not host.instance_id or body.instance_id == host.instance_id:
        return
    if host.connection_state == ConnectionState.UNKNOWN:
        raise DuplicateIdentity(
            f"host id {body.host_id} belongs to {host.fqdn}, which runs on another machine (instance "
            f"{host.instance_id}) and fell silent together with many others, so it may be alive; wait until it is "
            "Disconnected, or have an operator acknowledge the brake that holds it"
        )
    if host.connection_state == ConnectionState.CONNECTED:
        raise DuplicateIdentity(
            f"host id {body.host_id} belongs to {host.fqdn}, which is connected and runs on another machine "
            f"(instance {host.instance_id}); if this is a clone, delete the agent's state folder on it and register "
            "again under another name"
        )


async def issue_credential(session: AsyncSession, host: Host, now: datetime) -> str:
    """A fresh credential. It replaces the present one when it is first used, so that a lost answer locks nobody out."""
    await session.flush()
    issued = secrets.issue(host.id)
    await queries.add_credential(
        session, IssuedCredential(host_row_id=host.id, secret_hash=issued.digest, created_at=now)
    )
    return issued.text


def name_notice(registered_name: str, asked_name: str) -> list[Notice]:
    """A known machine keeps its name: names are immutable."""
    if registered_name == asked_name:
        return []
    return [Notice(code="name-kept", message=f"this machine stays '{registered_name}'; '{asked_name}' was not taken")]


def port_notice(port: int) -> list[Notice]:
    """Replication data on the control port competes with heartbeats and the portal's calls (domain section 5)."""
    if port != CONTROL_PORT:
        return []
    return [
        Notice(
            code="data-transfer-port-443",
            message=f"port {CONTROL_PORT} carries control traffic and should not carry replication data; "
            f"use {DEFAULT_DATA_TRANSFER_PORT}",
        )
    ]
