"""Liveness, readiness, metrics, housekeeping."""

from pathlib import Path

import pytest
from prometheus_client.core import Metric
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import text

from app import __version__
from app.core import metrics, migrations
from app.core.clock import ManualClock
from app.core.db import Database
from app.core.migrations import downgrade, head
from app.core.wire import rfc3339
from tests.support.muster import Site, client_of, new_site, problem


async def test_a_ready_service_says_so(site: Site) -> None:
    await site.tick()
    answer = await site.client.get("/readyz")
    now = rfc3339(site.clock.now())
    assert answer.json() == {
        "status": "ready",
        "version": __version__,
        "revision": head(),
        "observedUntil": now,
        "serverTime": now,
    }
    assert (await site.client.get("/healthz")).json() == {"status": "alive"}


async def test_probes_need_no_token(site: Site) -> None:
    await site.tick()
    async with client_of(site.app, None) as nobody:
        for path in ("/healthz", "/readyz", "/metrics", "/docs", "/openapi.json"):
            assert (await nobody.get(path)).status_code == 200


async def test_without_a_monitor_it_is_not_ready(site: Site) -> None:
    document = problem(await site.client.get("/readyz"), 503, "not-ready")
    assert "never" in document["detail"]
    assert document["reasons"] == [document["detail"]]
    await site.tick()
    site.manual_clock.advance(30)
    assert (await site.client.get("/readyz")).status_code == 200
    site.manual_clock.advance(1)
    answer = await site.client.get("/readyz")
    assert "31 s ago" in problem(answer, 503, "not-ready")["detail"]
    assert int(answer.headers["retry-after"]) > 0
    assert (await site.client.get("/healthz")).status_code == 200
    await site.tick()
    assert (await site.client.get("/readyz")).status_code == 200


async def test_an_older_schema_is_not_ready(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    await site.tick()
    monkeypatch.setattr(migrations, "head", lambda: "9999")
    document = problem(await site.client.get("/readyz"), 503, "not-ready")
    assert "9999" in document["detail"]
    assert "muster migrate" in document["detail"]


async def test_a_newer_schema_is_ready_so_that_replicas_can_be_replaced_one_by_one(site: Site) -> None:
    await site.tick()
    async with site.app.state.database.write() as session:
        await session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    answer = await site.client.get("/readyz")
    assert answer.status_code == 200, answer.text
    assert answer.json()["revision"] == "9999"


async def test_an_empty_database_is_not_ready(site: Site) -> None:
    await site.tick()
    await downgrade(site.app.state.database, "base")
    document = problem(await site.client.get("/readyz"), 503, "not-ready")
    assert "muster migrate" in document["detail"]
    assert (await site.client.get("/healthz")).status_code == 200


async def test_a_database_that_is_down_is_not_ready(site: Site, tmp_path: Path) -> None:
    await site.tick()
    working: Database = site.app.state.database
    down = (
        f"sqlite+aiosqlite:///{tmp_path}/none/muster.db"
        if working.is_sqlite
        else "postgresql+asyncpg://muster@127.0.0.1:1/muster"
    )
    site.app.state.database = Database(down)
    try:
        answer = await site.client.get("/readyz")
        alive = await site.client.get("/healthz")
    finally:
        await site.app.state.database.close()
        site.app.state.database = working
    assert "database" in problem(answer, 503, "not-ready")["detail"]
    assert alive.status_code == 200


async def test_a_replica_is_ready_while_another_leads(site: Site, database_url: str, tmp_path: Path) -> None:
    await site.tick()
    assert isinstance(site.clock, ManualClock)
    async with new_site(database_url, site.clock, tmp_path) as replica:
        assert (await replica.client.get("/readyz")).status_code == 200


async def _metrics(site: Site) -> dict[str, Metric]:
    answer = await site.client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    return {family.name: family for family in text_string_to_metric_families(answer.text)}


async def _requests(site: Site, **labels: str) -> float:
    family = (await _metrics(site))["muster_http_requests"]
    return sum(
        sample.value
        for sample in family.samples
        if sample.name.endswith("_total") and labels.items() <= sample.labels.items()
    )


async def test_every_metric_is_exposed_and_described(site: Site) -> None:
    families = await _metrics(site)
    declared = [value for value in vars(metrics).values() if isinstance(value, MetricWrapperBase)]
    assert len(declared) >= 10
    for metric in declared:
        (described,) = metric.describe()
        assert described.name.startswith("muster_")
        assert families[described.name].documentation.endswith(".")


async def test_requests_are_counted_by_route(site: Site) -> None:
    labels = {"method": "GET", "route": "/api/v1/vaults/{vault}", "status": "404"}
    before = await _requests(site, **labels)
    for name in ("a", "b", "c"):
        await site.client.get(f"/api/v1/vaults/{name}")
    assert await _requests(site, **labels) == before + 3


@pytest.mark.parametrize("path", ["/nowhere", "/api/v1/vaults"])
async def test_clients_make_no_series(site: Site, path: str) -> None:
    for number in range(3):
        await site.client.request(f"X{number}", f"{path}" if path != "/nowhere" else f"/nowhere/{number}")
    family = (await _metrics(site))["muster_http_requests"]
    assert not [sample for sample in family.samples if sample.labels["method"].startswith("X")]
    assert not [sample for sample in family.samples if "/nowhere" in sample.labels["route"]]
    assert await _requests(site, method="other") > 0


async def test_heartbeats_are_counted(site: Site) -> None:
    def accepted(families: dict[str, Metric]) -> float:
        return sum(s.value for s in families["muster_heartbeats_accepted"].samples if s.name.endswith("_total"))

    await site.vault()
    server = await site.configuration_server()
    before = accepted(await _metrics(site))
    for sequence in (1, 2, 3):
        await site.beat(server, sequence)
    await site.beat("nonsense")
    assert accepted(await _metrics(site)) == before + 3


async def test_housekeeping_may_run_at_any_time(site: Site) -> None:
    await site.app.state.housekeeping.tick()
    await site.vault()
    await site.configuration_server()
    site.manual_clock.advance(400 * 86_400)
    await site.app.state.housekeeping.tick()
    assert await site.events() == []
    await site.app.state.housekeeping.tick()
    assert (await site.read_configuration_server())["name"] == "cs-1"
