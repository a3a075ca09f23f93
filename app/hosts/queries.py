"""SQL of hosts."""

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from app.models import ConfigurationServer, Host, IssuedCredential, ProcessServer, Tombstone
from app.vocabulary import ServerKind

MAX_UNUSED_CREDENTIALS = 256

_SITE_HOST = aliased(Host)
"""The configuration server's. Made once: an alias of so many columns takes milliseconds."""


async def find(session: AsyncSession, vault_id: uuid.UUID, host_id: str) -> Host | None:
    """The vault's machine with this host id, locked."""
    statement = select(Host).where(Host.vault_id == vault_id, Host.host_id == host_id).with_for_update(key_share=True)
    return (await session.execute(statement)).scalar_one_or_none()


async def lock(session: AsyncSession, host_row_id: uuid.UUID) -> Host:
    """A host by its row id, locked and fresh."""
    statement = (
        select(Host)
        .where(Host.id == host_row_id)
        .with_for_update(key_share=True)
        .execution_options(populate_existing=True)
    )
    return (await session.execute(statement)).scalar_one()


async def by_row_id(session: AsyncSession, host_row_id: uuid.UUID) -> Host | None:
    """A host by its row id, fresh and not locked; None when it was removed."""
    statement = select(Host).where(Host.id == host_row_id).execution_options(populate_existing=True)
    return (await session.execute(statement)).scalar_one_or_none()


async def tombstone_of(session: AsyncSession, host_row_id: uuid.UUID) -> Tombstone | None:
    """What is left of a removed host."""
    return (await session.execute(select(Tombstone).where(Tombstone.host_row_id == host_row_id))).scalar_one_or_none()


async def lock_families(session: AsyncSession, host_row_ids: Sequence[uuid.UUID]) -> Sequence[uuid.UUID]:
    """Lock the configuration servers that run on hosts, by rising id, so that no process server joins them.

    Returns the hosts of all their process servers, the inbuilt ones' (their own) among them, not locked yet.
    """
    if not host_row_ids:
        return []
    servers = (
        select(ConfigurationServer.id)
        .where(ConfigurationServer.host_row_id.in_(host_row_ids))
        .order_by(ConfigurationServer.id)
        .with_for_update(key_share=True)
    )
    locked = (await session.execute(servers)).scalars().all()
    members = select(ProcessServer.host_row_id).where(ProcessServer.configuration_server_id.in_(locked))
    return (await session.execute(members)).scalars().all()


async def lock_all(session: AsyncSession, host_row_ids: Sequence[uuid.UUID]) -> None:
    """Lock hosts by rising id, as heartbeats do."""
    if host_row_ids:
        await session.execute(
            select(Host.id).where(Host.id.in_(host_row_ids)).order_by(Host.id).with_for_update(key_share=True)
        )


async def with_configuration_server_version(session: AsyncSession, host_row_ids: Sequence[uuid.UUID]) -> Sequence[Any]:
    """The process servers on hosts, each with its host and the version of its configuration server, by rising id.

    Inbuilt ones are left out: they share their configuration server's host.
    """
    statement = (
        select(
            ProcessServer,
            Host,
            ConfigurationServer.name.label("configuration_server"),
            _SITE_HOST.agent_version.label("configuration_server_version"),
        )
        .join(Host, ProcessServer.host_row_id == Host.id)
        .join(ConfigurationServer, ProcessServer.configuration_server_id == ConfigurationServer.id)
        .join(_SITE_HOST, ConfigurationServer.host_row_id == _SITE_HOST.id)
        .where(Host.id.in_(host_row_ids), ProcessServer.kind != ServerKind.INBUILT.value)
        .order_by(ProcessServer.id)
    )
    return (await session.execute(statement)).all()


async def add_credential(session: AsyncSession, credential: IssuedCredential) -> None:
    """Store a credential that was not used yet, and forget the oldest beyond the bound."""
    session.add(credential)
    await session.flush()
    surplus = (
        select(IssuedCredential.id)
        .where(IssuedCredential.host_row_id == credential.host_row_id)
        .order_by(IssuedCredential.id.desc())
        .offset(MAX_UNUSED_CREDENTIALS)
    )
    await session.execute(delete(IssuedCredential).where(IssuedCredential.id.in_(surplus)))


async def unused_credential(session: AsyncSession, host_row_id: uuid.UUID, digest: bytes) -> bool:
    """Whether this credential was handed out to the host and has not been used or replaced."""
    statement = select(IssuedCredential.id).where(
        IssuedCredential.host_row_id == host_row_id, IssuedCredential.secret_hash == digest
    )
    return (await session.execute(statement.limit(1))).first() is not None


async def forget_unused_credentials(session: AsyncSession, host_row_id: uuid.UUID) -> None:
    """None of them lets anybody in any more."""
    await session.execute(delete(IssuedCredential).where(IssuedCredential.host_row_id == host_row_id))


async def credential_hashes(session: AsyncSession, host_row_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, list[str]]:
    """Hex digests of every credential, used or not, that is valid for each host."""
    found: dict[uuid.UUID, list[str]] = {host_row_id: [] for host_row_id in host_row_ids}
    current = await session.execute(select(Host.id, Host.credential_hash).where(Host.id.in_(host_row_ids)))
    unused = await session.execute(
        select(IssuedCredential.host_row_id, IssuedCredential.secret_hash).where(
            IssuedCredential.host_row_id.in_(host_row_ids)
        )
    )
    for host_row_id, digest in [*current.all(), *unused.all()]:
        if digest is not None:
            found[host_row_id].append(digest.hex())
    return found


async def blocking_tombstone(
    session: AsyncSession, configuration_server_id: uuid.UUID, host_id: str
) -> Tombstone | None:
    """The tombstone that keeps a purged machine from registering with a configuration server again."""
    statement = (
        select(Tombstone)
        .where(
            Tombstone.configuration_server_id == configuration_server_id,
            Tombstone.host_id == host_id,
            Tombstone.blocks_registration.is_(True),
            Tombstone.readmitted_at.is_(None),
        )
        .order_by(Tombstone.id.desc())
        .limit(1)
    )
    return (await session.execute(statement)).scalar_one_or_none()


async def delete_unused_before(session: AsyncSession, moment: datetime) -> int:
    """Forget credentials that nobody has used since `moment`. Returns how many."""
    result: Any = await session.execute(delete(IssuedCredential).where(IssuedCredential.created_at < moment))
    return int(result.rowcount)
