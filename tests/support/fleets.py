"""Sites of many servers, put straight into the database: registering each over the API takes longer."""

import asyncio
from typing import Any

from sqlalchemy import select

from app.core import secrets
from app.core.wire import new_id
from app.models import ConfigurationServer, Host, ProcessServer
from tests.support.muster import VERSION, Site, machine
from tests.support.rows import host_row_id

TIMEOUT_SECONDS = 900


class Fleet:
    """Servers by name, each with its credential and how many heartbeats it has sent."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.credentials: dict[str, str] = {}
        self.registered: dict[str, dict[str, Any]] = {}
        """The answers to the registrations of its configuration servers, by name."""
        self._sequences: dict[str, int] = {}

    async def add_site(self, name: str, process_servers: int, *, vault: str = "contoso") -> list[str]:
        """A configuration server and so many process servers, none connected. Returns the names of all machines."""
        registered = await self.site.configuration_server(vault, name)
        self.credentials[name] = registered["credential"]
        self.registered[name] = registered
        names = [f"{name}-ps-{number}" for number in range(1, process_servers + 1)]
        now = self.site.clock.now()
        async with self.site.app.state.database.write() as session:
            server = (
                await session.execute(
                    select(ConfigurationServer).where(ConfigurationServer.host_row_id == host_row_id(registered))
                )
            ).scalar_one()
            for one in names:
                issued = secrets.issue(new_id())
                self.credentials[one] = issued.text
                session.add(
                    Host(
                        id=issued.id,
                        vault_id=server.vault_id,
                        host_id=machine(one)["hostId"],
                        instance_id=machine(one)["instanceId"],
                        credential_hash=issued.digest,
                        connection_changed_at=now,
                        agent_version=VERSION,
                        fqdn=f"{one}.corp.example",
                        ip_addresses=[],
                        os={},
                        hardware={},
                        registered_at=now,
                    )
                )
                await session.flush()
                session.add(
                    ProcessServer(
                        vault_id=server.vault_id,
                        configuration_server_id=server.id,
                        host_row_id=issued.id,
                        kind="scaleOut",
                        name=one,
                        friendly_name=one,
                        created_at=now,
                        updated_at=now,
                    )
                )
        return [name, *names]

    async def beat(self, *names: str) -> None:
        """One heartbeat of each of these servers, all at once."""
        for name in names:
            self._sequences[name] = self._sequences.get(name, 0) + 1
        beats = (self.site.beat(self.credentials[name], self._sequences[name], observedGeneration=1) for name in names)
        for answer in await asyncio.gather(*beats):
            assert answer.status_code == 200, answer.text

    async def live(self, seconds: float, *alive: str, interval: float = 300, step: float = 10) -> None:
        """Let time pass with the monitor at work, while those `alive` send a heartbeat every `interval` seconds."""
        passed = 0.0
        while passed < seconds:
            part = min(interval, seconds - passed)
            await self.site.pass_time(part, step)
            passed += part
            await self.beat(*alive)

    async def states(self) -> dict[str, str]:
        """The connection state of every machine, by name."""
        found = await self.site.walk("/api/v1/vaults/contoso/process-servers", limit=500)
        return {item["name"]: item["connectionState"] for item in found}


async def brakes(site: Site, vault: str = "contoso", **query: Any) -> list[dict[str, Any]]:
    """The vault's brakes, oldest first."""
    return await site.walk(f"/api/v1/vaults/{vault}/brakes", orderBy="engagedAt", **query)


async def let_brakes_go(site: Site, vault: str = "contoso") -> None:
    """Acknowledge every brake and let time pass until none holds a server: what was Unknown is Disconnected then."""
    for brake in await brakes(site, vault, state="Holding"):
        answer = await site.client.post(f"/api/v1/vaults/{vault}/brakes/{brake['id']}/acknowledge")
        assert answer.status_code == 200, answer.text
    while any(brake["stillHeldCount"] for brake in await brakes(site, vault)):
        await site.pass_time(10)


async def of_type(site: Site, *suffixes: str) -> list[dict[str, Any]]:
    """The events whose type ends so, oldest first."""
    return [event for event in await site.events() if event["type"].endswith(suffixes)]


async def dark_site(fleet: Fleet, process_servers: int = 4, name: str = "cs-1") -> list[str]:
    """A site that was connected and is silent for the timeout: the names of its machines."""
    names = await fleet.add_site(name, process_servers)
    await fleet.beat(*names)
    await fleet.site.pass_time(TIMEOUT_SECONDS, step=10)
    return names
