"""Registration of configuration servers with a vault's registration key."""

from datetime import timedelta
from typing import NamedTuple

from sqlalchemy.ext.asyncio import AsyncSession

from app.access.failures import Limit
from app.access.idempotency import Once
from app.configuration_servers import queries
from app.configuration_servers.schemas import ConfigurationServerRegister, ConfigurationServerRegistered
from app.configuration_servers.service import resource_of
from app.core import secrets
from app.core.errors import Conflict, HostRegisteredElsewhere, NameInUseByAnotherHost, RegistrationKeyRefused
from app.events.service import Resource, record
from app.health import service as alerts
from app.hosts import compatibility
from app.hosts import queries as host_queries
from app.hosts import service as hosts
from app.hosts.service import Gate
from app.models import ConfigurationServer, Host, ProcessServer, Vault
from app.registration_keys import queries as key_queries
from app.registration_keys import service as registration_keys
from app.vaults import queries as vault_queries
from app.vocabulary import CERTIFICATE_VALID_DAYS, EventType, ResourceKind, ServerKind


class Passphrase(NamedTuple):
    """A new passphrase and its hash; made before the transaction, since argon2 takes over 100 ms."""

    text: str
    hash: str


async def register(
    gate: Gate, body: ConfigurationServerRegister, address: str, once: Once
) -> ConfigurationServerRegistered:
    """Let a configuration server in; the same host id again is the same server with a fresh credential.

    Raises RegistrationKeyRefused, TooManyRequests after repeated failures of `address`,
    NameInUseByAnotherHost, HostRegisteredElsewhere or DuplicateIdentity.
    """
    limits = [Limit(f"address:{address}", gate.settings.registration_failures_per_address, f"address {address}")]
    now = gate.clock.now()
    await gate.failures.check(limits, now)
    try:
        async with gate.database.read() as session:
            key, vault = await registration_keys.redeem(session, body.registration_key, now)
            is_known = await queries.is_known(session, vault.id, body.host_id)
    except RegistrationKeyRefused:
        await gate.failures.record(limits, now)
        raise
    passphrase = None
    if not is_known:
        text = secrets.new_passphrase()
        passphrase = Passphrase(text, await gate.hasher.hash(text))
    async with gate.database.write() as session:
        return await once(
            session,
            f"registration-key:{key.id}",
            body.registration_key,
            lambda: _register(session, gate, body, passphrase),
        )


async def _register(
    session: AsyncSession, gate: Gate, body: ConfigurationServerRegister, passphrase: Passphrase | None
) -> ConfigurationServerRegistered:
    now = gate.clock.now()
    # Redeemed again: the key may have been revoked while the passphrase was hashed.
    key, vault = await registration_keys.redeem(session, body.registration_key, now)
    await vault_queries.lock(session, vault.id)
    # Before the host itself: a changed version is judged against all of the server's process servers.
    family = await host_queries.lock_families(session, await queries.row_ids(session, vault.id, body.host_id))
    await host_queries.lock_all(session, family)
    host = await host_queries.find(session, vault.id, body.host_id)
    if host is not None:
        server = await _register_again(session, vault, host, body, gate)
        await compatibility.judge(session, family, now)
        passphrase = None
    else:
        if passphrase is None:
            raise Conflict(f"host {body.host_id} was removed while it registered; register again")
        host, server = await _register_first(session, vault, body, passphrase, gate)
        await alerts.await_first_heartbeat(session, host, now, gate.settings.heartbeat_timeout_seconds)
    await key_queries.note_use(session, key.id, now)
    return ConfigurationServerRegistered(
        id=server.id,
        vault=vault.name,
        configuration_server=server.name,
        name=server.name,
        credential=await hosts.issue_credential(session, host, now),
        passphrase=passphrase.text if passphrase else None,
        heartbeat=gate.terms,
        notices=[*hosts.name_notice(server.name, body.name), *hosts.port_notice(body.data_transfer_port)],
        is_new=passphrase is not None,
    )


async def _register_first(
    session: AsyncSession, vault: Vault, body: ConfigurationServerRegister, passphrase: Passphrase, gate: Gate
) -> tuple[Host, ConfigurationServer]:
    now = gate.clock.now()
    owner = await queries.name_owner(session, vault.id, body.name)
    if owner is not None:
        raise NameInUseByAnotherHost(
            f"configuration server '{body.name}' of vault '{vault.name}' is another machine (host {owner.host_id}, "
            f"{owner.fqdn}); choose another name, or delete that server first"
        )
    host = hosts.new_host(vault.id, body, now)
    await hosts.add_host(session, host)
    server = ConfigurationServer(
        vault_id=vault.id,
        host_row_id=host.id,
        name=body.name,
        friendly_name=body.name,
        passphrase_hash=passphrase.hash,
        passphrase_tag=secrets.passphrase_tag(passphrase.text),
        certificate_expires_at=now + timedelta(days=CERTIFICATE_VALID_DAYS),
        created_at=now,
        updated_at=now,
        revision=1,
    )
    session.add(server)
    await session.flush()
    inbuilt = ProcessServer(
        vault_id=vault.id,
        configuration_server_id=server.id,
        host_row_id=host.id,
        kind=ServerKind.INBUILT.value,
        name=body.name,
        friendly_name=body.name,
        data_transfer_port=body.data_transfer_port,
        is_drained=False,
        created_at=now,
        updated_at=now,
        revision=1,
    )
    session.add(inbuilt)
    await session.flush()
    actor = f"agent:{server.name}"
    data = {"agentVersion": body.agent_version, "hostId": body.host_id}
    record(
        session,
        vault.id,
        now,
        EventType.CONFIGURATION_SERVER_REGISTERED,
        resource_of(server),
        actor=actor,
        message=f"configuration server {server.name} registered with version {body.agent_version}",
        data=data,
    )
    record(
        session,
        vault.id,
        now,
        EventType.PROCESS_SERVER_REGISTERED,
        Resource(ResourceKind.PROCESS_SERVER, inbuilt.id, inbuilt.name),
        actor=actor,
        message=f"inbuilt process server {inbuilt.name} came with its configuration server",
        data={**data, "kind": inbuilt.kind},
    )
    return host, server


async def _register_again(
    session: AsyncSession, vault: Vault, host: Host, body: ConfigurationServerRegister, gate: Gate
) -> ConfigurationServer:
    now = gate.clock.now()
    server = await queries.of_host(session, host.id)
    if server is None:
        raise HostRegisteredElsewhere(
            f"host {body.host_id} ({host.fqdn}) is a process server of vault '{vault.name}'; a machine has one role"
        )
    hosts.refuse_clone(host, body)
    hosts.record_upgrade(
        session, resource_of(server), EventType.CONFIGURATION_SERVER_UPGRADED, host, body.agent_version, now
    )
    hosts.describe(host, body)
    server.updated_at = now
    await queries.set_inbuilt_port(session, server.id, body.data_transfer_port)
    record(
        session,
        vault.id,
        now,
        EventType.CONFIGURATION_SERVER_RE_REGISTERED,
        resource_of(server),
        actor=f"agent:{server.name}",
        message=f"configuration server {server.name} registered again with version {body.agent_version}",
        data={"agentVersion": body.agent_version, "hostId": body.host_id},
    )
    return server
