"""The fleet in /metrics, and what each process tells of itself."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.metrics import MetricWrapperBase
from sqlalchemy import event

from app import __version__
from app.core import metrics
from app.core.background import Background, BackgroundTask
from app.core.clock import ManualClock
from app.core.db import Database
from app.core.errors import DatabaseUnavailable
from app.core.settings import Settings
from app.core.wire import rfc3339
from app.operations import census, exposition, queries
from app.operations.census import Census
from tests.support.certificates import EXPIRES_AT, certificate
from tests.support.muster import Site, new_site
from tests.support.scrape import Scrape

SERVER_LABELS = ("vault", "kind", "connection_state", "health")


async def scrape(site: Site, *, anew: bool = True) -> Scrape:
    """What Prometheus reads; `anew`: after the last count was forgotten."""
    if anew:
        site.manual_clock.advance(census.KEPT_SECONDS)
    answer = await site.client.get("/metrics")
    assert answer.status_code == 200, answer.text
    return Scrape(answer.text)


async def two_vaults(site: Site) -> dict[str, Any]:
    """Vault contoso with a configuration server that beats and two process servers, one of which does."""
    await site.vault()
    server = await site.configuration_server()
    await site.beat(server)
    first = await site.process_server(server, "ps-1")
    await site.process_server(server, "ps-2")
    await site.beat(first)
    await site.vault("fabrikam")
    await site.configuration_server("fabrikam", "cs-2")
    return first


async def test_servers_by_vault_kind_connection_state_and_health(site: Site) -> None:
    await two_vaults(site)
    assert (await scrape(site)).series("muster_servers", *SERVER_LABELS) == {
        ("contoso", "inbuilt", "Connected", "Healthy"): 1,
        ("contoso", "scaleOut", "Connected", "Healthy"): 1,
        ("contoso", "scaleOut", "Disconnected", "Critical"): 1,
        ("fabrikam", "inbuilt", "Disconnected", "Critical"): 1,
    }
    await site.pass_time(960)
    found = await scrape(site)
    assert found.series("muster_servers", *SERVER_LABELS) == {
        ("contoso", "inbuilt", "Disconnected", "Critical"): 1,
        ("contoso", "scaleOut", "Disconnected", "Critical"): 2,
        ("fabrikam", "inbuilt", "Disconnected", "Critical"): 1,
    }
    assert found.value("muster_vaults") == 2


async def test_alerts_that_fire_by_vault_code_and_severity_without_muted_ones(site: Site) -> None:
    await two_vaults(site)
    labels = ("vault", "code", "severity")
    silent = ("heartbeat-missing", "Critical")
    # cs-2 with its inbuilt process server and ps-2 have never sent a heartbeat.
    await site.pass_time(960)
    assert (await scrape(site)).series("muster_alerts", *labels) == {
        ("contoso", *silent): 4,
        ("fabrikam", *silent): 2,
    }
    path = "/api/v1/vaults/contoso/process-servers/ps-2"
    until = rfc3339(site.clock.now() + timedelta(hours=1))
    changed = await site.client.patch(path, json={"maintenance": {"until": until, "reason": "moved"}})
    assert changed.status_code == 200, changed.text
    assert (await scrape(site)).value("muster_alerts", **dict(zip(labels, ("contoso", *silent), strict=True))) == 3
    site.manual_clock.advance(3_600)
    assert (await scrape(site)).value("muster_alerts", **dict(zip(labels, ("contoso", *silent), strict=True))) == 4


async def test_machines_and_churn_by_vault_and_none_is_0(site: Site) -> None:
    first = await two_vaults(site)
    await site.source_machine(first["id"], "web-01", 2**40)
    await site.source_machine(first["id"], "web-02", 2**33)
    found = await scrape(site)
    assert found.series("muster_source_machines", "vault") == {("contoso",): 2, ("fabrikam",): 0}
    assert found.series("muster_source_machine_churn_bytes_per_day", "vault") == {
        ("contoso",): 2**40 + 2**33,
        ("fabrikam",): 0,
    }


async def test_the_first_certificate_of_each_vault(site: Site) -> None:
    await two_vaults(site)
    site.manual_clock.advance(86_400)
    await site.configuration_server("contoso", "cs-3")
    found = await scrape(site)
    shown = {}
    for vault, name in (("contoso", "cs-1"), ("fabrikam", "cs-2")):
        server = await site.read_configuration_server(name, vault)
        shown[(vault,)] = datetime.fromisoformat(server["sslCertExpiryDate"]).timestamp()
    expiries = found.series("muster_configuration_server_certificate_expiry_timestamp_seconds", "vault")
    assert expiries == pytest.approx(shown, abs=1)


@pytest.mark.parametrize(
    ("limit", "shown"), [(0, []), (1, ["contoso"]), (2, ["contoso", "fabrikam"]), (9, ["contoso", "fabrikam"])]
)
async def test_vaults_beyond_the_limit_are_summed_as_other(
    database_url: str, clock: ManualClock, tmp_path: Path, limit: int, shown: list[str]
) -> None:
    async with new_site(database_url, clock, tmp_path, metrics_vault_limit=limit) as site:
        # A real vault of that name is the oldest of all: it must not make a series that exists already.
        await site.vault("other")
        await site.configuration_server("other", "cs-0")
        first = await two_vaults(site)
        await site.source_machine(first["id"], "web-01", 100)
        found = await scrape(site)
    machines = found.series("muster_source_machines", "vault")
    assert set(machines) == {("other",), *((name,) for name in shown)}
    assert sum(machines.values()) == 1
    assert found.total("muster_servers") == 5
    assert found.total("muster_servers", vault="other") == 5 - sum(
        {"contoso": 3, "fabrikam": 1}[name] for name in shown
    )
    assert found.value("muster_vaults") == 3


async def test_a_new_vault_takes_no_other_ones_label(database_url: str, clock: ManualClock, tmp_path: Path) -> None:
    async with new_site(database_url, clock, tmp_path, metrics_vault_limit=1) as site:
        await site.vault("zoo")
        await site.vault("alpha")
        assert set((await scrape(site)).series("muster_source_machines", "vault")) == {("zoo",), ("other",)}


@pytest.fixture
def statements(site: Site) -> Iterator[list[str]]:
    """The statements that the application sends from now on."""
    seen: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        seen.append(statement)

    engine = site.app.state.database.engine.sync_engine
    event.listen(engine, "before_cursor_execute", note)
    yield seen
    event.remove(engine, "before_cursor_execute", note)


async def test_scrapes_ask_the_database_once_in_a_while_however_many_come(site: Site, statements: list[str]) -> None:
    await site.vault()
    await scrape(site)
    asked = len(statements)
    statements.clear()
    await scrape(site)
    once = len(statements)
    assert 0 < once <= 8 < asked
    statements.clear()
    site.manual_clock.advance(census.KEPT_SECONDS - 0.1)
    for found in await asyncio.gather(*(scrape(site, anew=False) for _ in range(10))):
        assert found.value("muster_vaults") == 1
    assert statements == []
    site.manual_clock.advance(0.1)
    await asyncio.gather(*(scrape(site, anew=False) for _ in range(10)))
    assert len(statements) == once


def dead_database(site: Site, tmp_path: Path) -> Database:
    """A database that is not there."""
    if site.app.state.database.is_sqlite:
        return Database(f"sqlite+aiosqlite:///{tmp_path}/none/muster.db")
    return Database("postgresql+asyncpg://muster@127.0.0.1:1/muster")


async def test_without_its_database_a_process_still_tells_of_itself(site: Site, tmp_path: Path) -> None:
    await two_vaults(site)
    found = await scrape(site)
    assert found.value("muster_database_up") == 1
    working, site.app.state.database = site.app.state.database, dead_database(site, tmp_path)
    try:
        found = await scrape(site)
    finally:
        await site.app.state.database.close()
        site.app.state.database = working
    assert found.value("muster_database_up") == 0
    assert found.value("muster_build_info", version=__version__, python_version=_python(), database=_kind(working)) == 1
    assert found.total("muster_heartbeats_accepted_total") >= 2
    assert found.value("muster_workers") == 1
    assert not {"muster_servers", "muster_vaults", "muster_monitor_lag_seconds"} & set(found.families)
    found = await scrape(site)
    assert found.value("muster_database_up") == 1
    assert found.total("muster_servers") == 4


def _python() -> str:
    return ".".join(str(part) for part in sys.version_info[:3])


def _kind(database: Database) -> str:
    return "sqlite" if database.is_sqlite else "postgresql"


async def test_a_database_that_hangs_costs_a_scrape_no_more_than_its_numbers(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hang(*_: Any) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(queries, "servers", hang)
    monkeypatch.setattr(census, "ANSWER_SECONDS", 0.05)
    found = await scrape(site)
    assert found.value("muster_database_up") == 0
    monkeypatch.undo()
    assert (await scrape(site)).value("muster_database_up") == 1


async def test_the_lag_of_the_watch_is_that_of_all_replicas(site: Site, database_url: str, tmp_path: Path) -> None:
    assert "muster_monitor_lag_seconds" not in (await scrape(site)).families
    await site.tick()
    async with new_site(database_url, site.clock, tmp_path) as replica:
        site.manual_clock.advance(20)
        for either in (site, replica):
            assert (await scrape(either)).value("muster_monitor_lag_seconds") >= 25
        await site.tick()
        assert (await scrape(replica)).value("muster_monitor_lag_seconds") == census.KEPT_SECONDS


async def test_replicas_tell_the_same_of_the_fleet(site: Site, database_url: str, tmp_path: Path) -> None:
    await two_vaults(site)
    async with new_site(database_url, site.clock, tmp_path) as replica:
        seen = [(await scrape(each)).series("muster_servers", *SERVER_LABELS) for each in (site, replica)]
    assert seen[0] == seen[1]
    assert sum(seen[0].values()) == 4


async def test_the_https_certificates_expiry(tmp_path: Path, database: Database, clock: ManualClock) -> None:
    name = "muster_tls_certificate_expiry_timestamp_seconds"
    chain, key = certificate(tmp_path)
    settings = Settings(data_dir=tmp_path, tls_certificate_file=chain, tls_key_file=key)
    (found,) = [family for family in await Census(clock, settings).readings(database) if family.name == name]
    assert found.samples[0].value == EXPIRES_AT.timestamp()
    chain.write_text("no certificate")
    for without in (settings, Settings(data_dir=tmp_path)):
        assert name not in {family.name for family in await Census(clock, without).readings(database)}


async def test_everything_scraped_is_declared_and_named_as_prometheus_wants(site: Site) -> None:
    await two_vaults(site)
    await site.tick()
    declared = {
        next(iter(value.describe())).name if isinstance(value, MetricWrapperBase) else value.name
        for value in vars(metrics).values()
        if isinstance(value, MetricWrapperBase | metrics.Reading)
    }
    families = {name: family for name, family in (await scrape(site)).families.items() if name.startswith("muster_")}
    assert set(families) <= declared
    for name, family in families.items():
        assert not name.endswith(("_total", "_count", "_sum", "_bucket", "_created")), name
        assert "milliseconds" not in name
        assert family.documentation.endswith((".", "."))
        assert {sample.name.removeprefix(name) for sample in family.samples} <= {
            "",
            "_total",
            "_bucket",
            "_sum",
            "_count",
        }


# --- background tasks ----------------------------------------------------------------------------------------


async def test_background_tasks_tell_of_failures_and_the_last_success(clock: ManualClock) -> None:
    outcomes: list[Exception | None] = [None, RuntimeError("broken"), DatabaseUnavailable("away"), None]

    async def tick() -> None:
        if (outcome := outcomes.pop(0)) is not None:
            raise outcome

    def told() -> tuple[float, float]:
        page = Scrape(exposition.render([]).decode())
        return (
            page.value("muster_background_task_failures_total", task="a task"),
            page.value("muster_background_task_last_success_timestamp_seconds", task="a task"),
        )

    task = BackgroundTask("a task", 60, tick, clock)
    started_at = clock.now().timestamp()
    await task.run_once()
    clock.advance(60)
    await task.run_once()
    await task.run_once()
    assert told() == (2, started_at)
    clock.advance(60)
    await task.run_once()
    assert told() == (2, started_at + 120)


async def test_a_task_that_never_worked_is_as_old_as_the_process(clock: ManualClock) -> None:
    tried = asyncio.Event()

    async def tick() -> None:
        tried.set()
        raise RuntimeError("broken from the start")

    background = Background([BackgroundTask("broken task", 60, tick, clock)])
    background.start()
    await tried.wait()
    await background.stop()
    page = Scrape(exposition.render([]).decode())
    assert page.value("muster_background_task_last_success_timestamp_seconds", task="broken task") == (
        clock.now().timestamp()
    )
    assert page.value("muster_background_task_failures_total", task="broken task") == 1


# --- processes -----------------------------------------------------------------------------------------------


async def test_connections_in_use_are_those_taken_from_the_pool(site: Site) -> None:
    database: Database = site.app.state.database

    def in_use() -> float:
        return Scrape(exposition.render([]).decode()).value("muster_database_connections_in_use")

    async with database.read() as first:
        await first.connection()
        assert in_use() == 1
        async with database.read() as second:
            await second.connection()
            assert in_use() == 2
            await (await second.connection()).invalidate()
        assert in_use() == 1
    assert in_use() == 0
    limit = Scrape(exposition.render([]).decode()).value("muster_database_connections_limit")
    assert limit == database.connection_limit >= 10


async def test_a_process_that_lost_its_database_does_not_claim_to_lead(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    await site.tick()
    assert (await scrape(site)).value("muster_monitor_leader") == 1

    async def lost() -> bool:
        raise DatabaseUnavailable("away")

    monkeypatch.setattr(site.app.state.leadership, "hold", lost)
    with pytest.raises(DatabaseUnavailable):
        await site.tick()
    assert (await scrape(site)).value("muster_monitor_leader") == 0


async def test_the_start_and_the_limits_of_a_process(site: Site) -> None:
    found = await scrape(site)
    assert found.value("muster_process_start_time_seconds") == site.clock.now().timestamp() - census.KEPT_SECONDS
    assert found.value("muster_heartbeat_queue_limit") == site.app.state.settings.heartbeat_queue_size


async def test_paths_below_a_mount_make_no_series(site: Site) -> None:
    before = len((await scrape(site)).series("muster_http_requests_total", "method", "route", "status"))
    for number in range(5):
        await site.client.get(f"/docs/assets/{number}.js")
        await site.client.get(f"/docs/assets/{number}/../../{number}")
    after = len((await scrape(site)).series("muster_http_requests_total", "method", "route", "status"))
    assert after <= before + 2


def test_gauges_of_workers_that_ended_are_forgotten(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    # Lives, but is no worker of this server: a process that got the number of one that ended.
    stranger = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        for pid in (ended.pid, stranger.pid, os.getpid()):
            for kind in ("gauge_livesum", "gauge_livemax", "gauge_livemin", "counter", "histogram"):
                (tmp_path / f"{kind}_{pid}.db").touch()
        exposition.forget_dead_workers(tmp_path)
        left = {file.stem for file in tmp_path.iterdir()}
    finally:
        stranger.communicate(b"\n")
    for pid in (ended.pid, stranger.pid):
        assert {name for name in left if name.endswith(f"_{pid}")} == {f"counter_{pid}", f"histogram_{pid}"}
    assert len({name for name in left if name.endswith(f"_{os.getpid()}")}) == 5


def test_a_worker_that_ends_in_order_takes_its_gauges_back_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(exposition.FOLDER_VARIABLE, str(tmp_path))
    for kind in ("gauge_livesum", "counter"):
        for pid in (os.getpid(), os.getppid()):
            (tmp_path / f"{kind}_{pid}.db").touch()
    exposition.process_ended()
    left = {file.stem for file in tmp_path.iterdir()}
    assert left == {f"counter_{os.getpid()}", f"counter_{os.getppid()}", f"gauge_livesum_{os.getppid()}"}


def test_a_worker_that_is_just_starting_spoils_no_scrape(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(exposition.FOLDER_VARIABLE, str(tmp_path))
    for kind in ("gauge_livesum", "counter", "histogram"):
        (tmp_path / f"{kind}_{os.getpid()}.db").touch()
    up = metrics.DATABASE_UP.family()
    up.add_metric((), 1)
    assert Scrape(exposition.render([up]).decode()).value("muster_database_up") == 1
