"""Registered hosts by the thousand, without a passphrase's slow hash for each; and what is stored of them."""

import uuid
from datetime import UTC, datetime, timedelta

from sqlalchemy import insert, select, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from app.core import secrets
from app.core.wire import new_id
from app.models import Base, ConfigurationServer, ProcessServer, Vault
from app.models import Host as HostRow
from app.vocabulary import CERTIFICATE_VALID_DAYS, ServerKind
from tests.bench.beats import Host

VERSION = "9.62.7096.1"
CHUNK = 500


async def seed_hosts(url: str, count: int) -> list[Host]:
    """Register one configuration server and `count` process servers; return the process servers' hosts.

    Creates the tables that are not there yet.
    """
    engine = create_async_engine(url)
    try:
        async with engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)
            hosts = await _seed(connection, count)
        # A fleet of this size is not registered in a second: the database knows its tables by then.
        async with engine.connect() as connection:
            autocommit = await connection.execution_options(isolation_level="AUTOCOMMIT")
            await autocommit.execute(text("ANALYZE"))
        return hosts
    finally:
        await engine.dispose()


async def _seed(connection: AsyncConnection, count: int) -> list[Host]:
    now = datetime.now(UTC)  # noqa: TID251 - a time for the rows, which nothing is decided by
    revised = {"created_at": now, "updated_at": now}
    vault_id, site_id = new_id(), new_id()
    await connection.execute(
        insert(Vault).values(id=vault_id, name="bench", friendly_name="bench", location="here", **revised)
    )
    issued = [secrets.issue(new_id()) for _ in range(count + 1)]
    rows = [
        {
            "id": one.id,
            "vault_id": vault_id,
            "host_id": str(uuid.uuid4()),
            "instance_id": str(uuid.uuid4()),
            "credential_hash": one.digest,
            "connection_changed_at": now,
            "agent_version": VERSION,
            "fqdn": f"ps-{number}.corp.example",
            "ip_addresses": ["10.150.24.120"],
            "os": {"type": "Windows", "version": "10.0.14393"},
            "hardware": {"cpuCount": 8, "totalMemoryInBytes": 12884901888},
            "registered_at": now,
        }
        for number, one in enumerate(issued)
    ]
    for start in range(0, len(rows), CHUNK):
        await connection.execute(insert(HostRow), rows[start : start + CHUNK])
    await connection.execute(
        insert(ConfigurationServer).values(
            id=site_id,
            vault_id=vault_id,
            host_row_id=issued[0].id,
            name="cs-bench",
            friendly_name="cs-bench",
            passphrase_hash="none: nobody registers here",
            passphrase_tag="bench",
            certificate_expires_at=now + timedelta(days=CERTIFICATE_VALID_DAYS),
            **revised,
        )
    )
    servers = [
        {
            "id": new_id(),
            "vault_id": vault_id,
            "configuration_server_id": site_id,
            "host_row_id": one.id,
            "kind": (ServerKind.SCALE_OUT if number else ServerKind.INBUILT).value,
            "name": f"ps-{number}",
            "friendly_name": f"ps-{number}",
            **revised,
        }
        for number, one in enumerate(issued)
    ]
    for start in range(0, len(servers), CHUNK):
        await connection.execute(insert(ProcessServer), servers[start : start + CHUNK])
    return [Host(one.id, one.text) for one in issued[1:]]


async def stored_sequences(engine: AsyncEngine, hosts: list[Host]) -> list[int]:
    """Read the stored sequence of each host, in the order of `hosts`."""
    async with engine.connect() as connection:
        rows = await connection.execute(select(HostRow.id, HostRow.sequence))
        sequences = {row.id: row.sequence for row in rows}
    return [sequences[host.id] for host in hosts]
