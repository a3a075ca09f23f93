"""The application in the test's own process, and the calls that most tests begin with."""

import contextlib
import uuid
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource
from sqlalchemy import func, select, update

from app.connection.rules import MISSED_TICKS
from app.core.clock import Clock, ManualClock
from app.core.db import Database
from app.core.settings import Settings
from app.main import Muster, create_app
from app.models import Brake, ConfigurationServer, Host, MonitorWatermark, ProcessServer, SourceMachine
from app.tokens.service import create_first
from app.vocabulary import ConnectionState
from tests.support.contract import DocumentedTransport

ADMIN_TOKEN = "an-admin-token-for-tests-only"
VERSION = "9.62.7096.1"
# How far apart the monitor's looks are while a test lets time pass.
LOOK_SECONDS = 60.0


class Site:
    """The application, its clock, and clients of it."""

    def __init__(self, app: Muster, clock: Clock, client: httpx.AsyncClient) -> None:
        self.app = app
        self.clock = clock
        self.client = client

    @property
    def manual_clock(self) -> ManualClock:
        """The clock, for tests that move it."""
        assert isinstance(self.clock, ManualClock)
        return self.clock

    async def tick(self) -> int:
        """One look of the monitor, and one for alerts that are due. Returns how many hosts became disconnected."""
        found = int(await self.app.state.monitor.tick())
        await self.app.state.alert_sweep.tick()
        return found

    async def look(self, seconds: float, *, in_earnest: bool = False) -> None:
        """Leave what the monitor's looks of the `seconds` until now leave: no outage between them.

        Idle ones only move the watermark; one is made if something is due now, or `in_earnest`.
        """
        now = self.clock.now()
        before = now - timedelta(seconds=seconds)
        is_idle = not in_earnest and await self._nothing_due_for() > 0
        until = now if is_idle else max(before, now - timedelta(seconds=self._unbroken_seconds))
        if not (await self._found_nothing(before, until) and is_idle):
            await self.tick()

    async def pass_time(self, seconds: float, step: float | None = None) -> None:
        """Let time pass with the monitor at work; its last look is at the end.

        Looks are a minute apart, or `step` seconds; with more than the monitor's own pause between them that many
        outages are meant. Of unbroken looks those are left out that can't find anything: more than a minute before
        the first deadline there is.
        """
        unbroken = self._unbroken_seconds
        may_skip = step is None or step <= unbroken
        left = seconds
        has_looked = False
        while left > 0:
            before = self.clock.now()
            stride = min(step or LOOK_SECONDS, left)
            if may_skip:
                stride = min(left, max(stride, await self._nothing_due_for(has_looked) - LOOK_SECONDS))
            if may_skip and stride > unbroken:
                until = before + timedelta(seconds=stride - unbroken)
                if not await self._found_nothing(before, until):
                    stride = min(step or unbroken / MISSED_TICKS, left)
            self.manual_clock.advance(stride)
            left -= stride
            await self.tick()
            has_looked = True

    async def _nothing_due_for(self, has_looked: bool = False) -> float:
        """Seconds to the first moment at which a server is overdue, an alert due, or a brake's hold or window over.

        0 while a brake lets go, and while one holds of which nobody has looked what came back since. What only the
        alert sweep's look of each minute finds, as certificates, is left out.
        """
        database: Database = self.app.state.database
        now = self.clock.now()
        oldest = select(func.min(Host.last_heartbeat_at)).where(Host.connection_state == ConnectionState.CONNECTED)
        alert = select(func.min(Host.alert_due_at))
        async with database.read() as session:
            row = (await session.execute(select(oldest.scalar_subquery(), alert.scalar_subquery()))).one()
            brakes = list(await session.scalars(select(Brake).where(Brake.ended_at.is_(None))))
        if any(brake.let_go_at is not None or not has_looked for brake in brakes):
            return 0
        timeout = timedelta(seconds=self.app.state.settings.heartbeat_timeout_seconds)
        deadlines = [moment for moment in (row[0] and row[0] + timeout, row[1]) if moment is not None]
        deadlines += [brake.until for brake in brakes]
        deadlines += [brake.joins_until for brake in brakes if brake.joins_until > now]
        return min(((moment - now).total_seconds() for moment in deadlines), default=float("inf"))

    @property
    def _unbroken_seconds(self) -> float:
        """How far apart two looks may be before what lies between them is an outage."""
        return float(MISSED_TICKS * self.app.state.settings.effective_tick_seconds)

    async def _found_nothing(self, before: datetime, until: datetime) -> bool:
        """Leave what looks without a find leave from `before` to `until`. False where an outage goes before them."""
        database: Database = self.app.state.database
        # Not one from the future either, which a look in earnest is to bring back.
        was_observed = MonitorWatermark.observed_until.between(
            before - timedelta(seconds=self._unbroken_seconds), until
        )
        async with database.write() as session:
            statement = update(MonitorWatermark).where(was_observed).values(observed_until=until)
            moved = await session.scalars(statement.returning(MonitorWatermark.id))
            return moved.one_or_none() is not None

    async def vault(self, name: str = "contoso") -> str:
        """A new vault. Returns its name."""
        answer = await self.client.post("/api/v1/vaults", json={"name": name, "location": "westeurope"})
        assert answer.status_code == 201, answer.text
        return name

    async def registration_key(self, vault: str = "contoso") -> str:
        """A new registration key."""
        answer = await self.client.post(f"/api/v1/vaults/{vault}/registration-keys")
        assert answer.status_code == 201, answer.text
        return str(answer.json()["registrationKey"])

    async def configuration_server(
        self, vault: str = "contoso", name: str = "cs-1", *, key: str | None = None, **changes: Any
    ) -> dict[str, Any]:
        """A registered configuration server: the answer to its registration."""
        key = key or await self.registration_key(vault)
        answer = await self.agent_post(
            "/agent/v1/configuration-servers/register",
            {"registrationKey": key, **machine(name), **changes},
        )
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    async def process_server(self, server: dict[str, Any], name: str = "ps-1", **changes: Any) -> dict[str, Any]:
        """A process server registered with `server` (the answer to a configuration server's registration)."""
        answer = await self.agent_post("/agent/v1/process-servers/register", registration(server, name, **changes))
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    async def agent_post(self, path: str, body: dict[str, Any], **headers: str) -> httpx.Response:
        """A POST without an operator's token."""
        return await self.client.post(path, json=body, headers={"Authorization": "", **headers})

    async def beat(
        self, registered: dict[str, Any] | str, sequence: int = 1, boot_id: str = "boot-1", **members: Any
    ) -> httpx.Response:
        """A heartbeat with the credential of a registration."""
        credential = registered if isinstance(registered, str) else registered["credential"]
        body = {"bootId": boot_id, "sequence": sequence, "agentVersion": VERSION, **members}
        headers = {"Authorization": f"Bearer {credential}"}
        return await self.client.post("/agent/v1/heartbeat", json=body, headers=headers)

    async def events(self, vault: str = "contoso", **query: Any) -> list[dict[str, Any]]:
        """All events of a vault, oldest first."""
        found: list[dict[str, Any]] = []
        cursor = None
        while True:
            parameters = {"limit": 500, **query} | ({"cursor": cursor} if cursor else {})
            answer = await self.client.get(f"/api/v1/vaults/{vault}/events", params=parameters)
            assert answer.status_code == 200, answer.text
            found.extend(answer.json()["items"])
            cursor = answer.json()["nextCursor"]
            if cursor is None:
                return found

    async def event_types(self, vault: str = "contoso") -> list[str]:
        """The types of all events of a vault, oldest first."""
        return [event["type"] for event in await self.events(vault)]

    async def read_process_server(self, name: str = "ps-1", vault: str = "contoso") -> dict[str, Any]:
        """A process server as the API shows it."""
        answer = await self.client.get(f"/api/v1/vaults/{vault}/process-servers/{name}")
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    async def read_configuration_server(self, name: str = "cs-1", vault: str = "contoso") -> dict[str, Any]:
        """A configuration server as the API shows it."""
        answer = await self.client.get(f"/api/v1/vaults/{vault}/configuration-servers/{name}")
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    async def token(self, role: str = "admin", vault: str | None = None, **members: Any) -> dict[str, Any]:
        """A new API token: the answer to its creation."""
        body = {
            "name": f"{role}-{uuid.uuid4().hex[:12]}",
            "role": role,
            **({"vault": vault} if vault else {}),
            **members,
        }
        answer = await self.client.post("/api/v1/tokens", json=body)
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    async def caller(self, role: str, vault: str | None = None) -> httpx.AsyncClient:
        """A client with a new token of `role`, limited to `vault` if one is named."""
        return self.with_token((await self.token(role, vault))["token"])

    async def walk(self, path: str, **query: Any) -> list[dict[str, Any]]:
        """Every item of a list, page after page."""
        found: list[dict[str, Any]] = []
        cursor = None
        while True:
            answer = await self.client.get(path, params={**query, **({"cursor": cursor} if cursor else {})})
            assert answer.status_code == 200, answer.text
            found.extend(answer.json()["items"])
            cursor = answer.json()["nextCursor"]
            if cursor is None:
                return found

    async def source_machine(self, process_server_id: str, name: str, churn_bytes_per_day: int = 0) -> None:
        """A source machine of a process server, put straight into the database."""
        database: Database = self.app.state.database
        now = self.clock.now()
        async with database.write() as session:
            process_server = await session.get_one(ProcessServer, uuid.UUID(process_server_id))
            server = await session.get_one(ConfigurationServer, process_server.configuration_server_id)
            session.add(
                SourceMachine(
                    vault_id=server.vault_id,
                    configuration_server_id=server.id,
                    process_server_id=process_server.id,
                    name=name,
                    friendly_name=name,
                    churn_bytes_per_day=churn_bytes_per_day,
                    disks=[],
                    created_at=now,
                    updated_at=now,
                )
            )

    def with_token(self, token: str | None) -> httpx.AsyncClient:
        """A client with another token."""
        return client_of(self.app, token)


def machine(name: str, host_id: str | None = None) -> dict[str, Any]:
    """What a registering machine says of itself."""
    host_id = host_id or str(uuid.uuid5(uuid.NAMESPACE_DNS, name))
    return {
        "hostId": host_id,
        "instanceId": f"instance-{host_id}",
        "name": name,
        "fqdn": f"{name}.corp.example",
        "ipAddresses": ["10.150.24.119"],
        "agentVersion": VERSION,
        "os": {"type": "Windows", "version": "10.0.14393"},
        "hardware": {"cpuCount": 8, "cpuSockets": 2, "totalMemoryInBytes": 12 * 2**30},
    }


def registration(server: dict[str, Any], name: str, **changes: Any) -> dict[str, Any]:
    """The body with which a process server registers."""
    return {
        "configurationServer": server["configurationServer"],
        "passphrase": server["passphrase"],
        "kind": "scaleOut",
        "dataTransferPort": 9443,
        **machine(name),
        "ipAddresses": ["10.150.24.120"],
        **changes,
    }


def problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The problem document of an answer that must have this status and code."""
    assert answer.status_code == status, f"{answer.status_code} instead of {status}: {answer.text}"
    document: dict[str, Any] = answer.json()
    assert document["code"] == code, answer.text
    return document


def pointers(answer: httpx.Response) -> list[str]:
    """Where a validation error says the input is wrong."""
    return [entry["pointer"] for entry in problem(answer, 422, "validation-failed")["errors"]]


TELEMETRY = {
    "cpuPercentage": 37.5,
    "totalMemoryInBytes": 12884901888,
    "availableMemoryInBytes": 6442450944,
    "totalSpaceInBytes": 644245094400,
    "availableSpaceInBytes": 322122547200,
    "throughputInBytes": 52428800,
    "throughputUploadPendingDataInBytes": 1073741824,
}


def client_of(app: Muster, token: str | None) -> httpx.AsyncClient:
    """A client that calls the application without a network."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    transport = DocumentedTransport(app, app.api)
    return httpx.AsyncClient(transport=transport, base_url="http://muster.test", headers=headers)


class GivenSettings(Settings):
    """Settings from the test alone; reading an environment that has none takes longer than a request."""

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[BaseSettings], init_settings: PydanticBaseSettingsSource, *_others: Any, **_named: Any
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what is given."""
        return (init_settings,)


@contextlib.asynccontextmanager
async def new_site(
    database_url: str, clock: Clock, data_dir: Path, *, runs_tasks: bool = False, **settings: Any
) -> AsyncIterator[Site]:
    """The application on a migrated database, started; several of these are replicas of one another."""
    chosen = GivenSettings(database_url=database_url, data_dir=data_dir, **settings)
    app = create_app(chosen, clock, runs_tasks=runs_tasks)
    async with app.lifespan():
        await create_first(app.state.database, ADMIN_TOKEN, clock.now())
        async with client_of(app, ADMIN_TOKEN) as client:
            yield Site(app, clock, client)
