"""Jobs: their life, their list, and when they can be cancelled."""

import uuid
from datetime import timedelta
from typing import Any

import pytest

from app.core.db import Database
from app.core.wire import rfc3339
from app.events.service import Resource
from app.jobs import service as jobs
from app.models import Job
from app.vocabulary import JobType, ResourceKind
from tests.support.muster import Site, problem
from tests.support.rows import host_row

JOBS = "/api/v1/vaults/contoso/jobs"


async def _job(site: Site, resource: Resource, vault: str = "contoso", **members: Any) -> uuid.UUID:
    """A queued job, made as the product's own operations make it."""
    database: Database = site.app.state.database
    vault_id = uuid.UUID((await site.client.get(f"/api/v1/vaults/{vault}")).json()["id"])
    wanted = {"type": JobType.DECOMMISSION, "requested_by": "token:admin", "now": site.clock.now(), **members}
    async with database.write() as session:
        return (await jobs.create(session, vault_id=vault_id, resource=resource, **wanted)).id


async def _change(site: Site, job_id: uuid.UUID, change: Any) -> None:
    database: Database = site.app.state.database
    async with database.write() as session:
        change(await session.get_one(Job, job_id))


async def _read(site: Site, job_id: uuid.UUID) -> dict[str, Any]:
    answer = await site.client.get(f"{JOBS}/{job_id}")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


@pytest.fixture
async def server(site: Site) -> dict[str, Any]:
    """A process server that is connected."""
    await site.vault()
    registered = await site.process_server(await site.configuration_server())
    assert (await site.beat(registered)).status_code == 200
    return registered


def _on(server: dict[str, Any]) -> Resource:
    return Resource(ResourceKind.PROCESS_SERVER, uuid.UUID(server["id"]), server["name"])


async def test_a_job_lives_from_queued_to_its_end(site: Site, server: dict[str, Any]) -> None:
    created = rfc3339(site.clock.now())
    job_id = await _job(site, _on(server), target="ps-2", details={"steps": []})
    assert await _read(site, job_id) == {
        "id": str(job_id),
        "type": "decommission",
        "state": "Queued",
        "progressPercentage": 0,
        "resource": {"kind": "process-server", "name": "ps-1", "id": server["id"]},
        "target": "ps-2",
        "requestedBy": "token:admin",
        "createdAt": created,
        "startedAt": None,
        "endedAt": None,
        "error": None,
        "details": {"steps": []},
    }
    site.manual_clock.advance(5)
    started = site.clock.now()
    await _change(site, job_id, lambda job: jobs.advance(job, started, 40, {"step": 1}))
    await _change(site, job_id, lambda job: jobs.advance(job, started + timedelta(seconds=1), 30))
    seen = await _read(site, job_id)
    assert (seen["state"], seen["progressPercentage"], seen["startedAt"]) == ("InProgress", 40, rfc3339(started))
    assert seen["details"] == {"steps": [], "step": 1}
    site.manual_clock.advance(5)
    await _change(site, job_id, lambda job: jobs.finish(job, site.clock.now()))
    seen = await _read(site, job_id)
    assert (seen["state"], seen["progressPercentage"]) == ("Succeeded", 100)
    assert seen["endedAt"] == rfc3339(site.clock.now())
    assert seen["error"] is None


async def test_a_failed_job_says_why(site: Site, server: dict[str, Any]) -> None:
    job_id = await _job(site, _on(server))
    await _change(site, job_id, lambda job: jobs.fail(job, site.clock.now(), code="purged", detail="was purged"))
    seen = await _read(site, job_id)
    assert (seen["state"], seen["startedAt"]) == ("Failed", None)
    assert seen["endedAt"] is not None
    assert seen["error"] == {"code": "purged", "detail": "was purged"}


async def test_only_jobs_that_have_not_ended_are_open(site: Site, server: dict[str, Any]) -> None:
    ids = [await _job(site, _on(server)) for _ in range(5)]
    await _change(site, ids[0], lambda job: jobs.finish(job, site.clock.now()))
    await _change(site, ids[1], lambda job: jobs.fail(job, site.clock.now(), code="x", detail="y"))
    await _change(site, ids[2], lambda job: jobs.advance(job, site.clock.now(), 1))
    assert (await site.client.post(f"{JOBS}/{ids[3]}/cancel")).status_code == 200
    database: Database = site.app.state.database
    async with database.write() as session:
        assert [job.id for job in await jobs.open_jobs_of(session, uuid.UUID(server["id"]))] == [ids[2], ids[4]]
        assert await jobs.open_jobs_of(session, uuid.uuid4()) == []


async def test_jobs_are_listed_newest_first_with_filters(site: Site, server: dict[str, Any]) -> None:
    other = Resource(ResourceKind.VAULT, uuid.uuid4(), "contoso")
    ids = [await _job(site, _on(server)), await _job(site, other, type=JobType.PURGE), await _job(site, _on(server))]
    await _change(site, ids[0], lambda job: jobs.finish(job, site.clock.now()))
    shown = [str(job_id) for job_id in ids]

    async def listed(**query: Any) -> list[str]:
        return [job["id"] for job in await site.walk(JOBS, **query)]

    assert await listed() == shown[::-1]
    assert await listed(limit=1) == shown[::-1]
    assert await listed(orderBy="createdAt") == shown
    assert await listed(type="purge") == [shown[1]]
    assert await listed(type=["purge", "decommission"]) == shown[::-1]
    assert await listed(state="Queued") == [shown[2], shown[1]]
    assert await listed(state=["Succeeded", "Failed"]) == [shown[0]]
    assert await listed(resource="PS-1") == [shown[2], shown[0]]
    assert await listed(resource=server["id"], state="Succeeded") == [shown[0]]
    problem(await site.client.get(JOBS, params={"orderBy": "state"}), 422, "validation-failed")
    problem(await site.client.get(JOBS, params={"state": "Done"}), 422, "validation-failed")
    problem(await site.client.get(JOBS, params={"cursor": "x"}), 400, "cursor-unreadable")


async def test_cancelling_ends_a_queued_job_once(site: Site, server: dict[str, Any], database: Database) -> None:
    job_id = await _job(site, _on(server))
    before = (await host_row(database, server)).generation
    answer = await site.client.post(f"{JOBS}/{job_id}/cancel")
    assert answer.status_code == 200, answer.text
    assert answer.json()["state"] == "Cancelled"
    assert answer.json()["endedAt"] == rfc3339(site.clock.now())
    # The agent must learn that it is no longer wanted to leave.
    assert (await host_row(database, server)).generation == before + 1
    again = await site.client.post(f"{JOBS}/{job_id}/cancel")
    assert again.json() == answer.json()
    assert (await host_row(database, server)).generation == before + 1
    events = [event for event in await site.events() if event["type"] == "job.cancelled"]
    assert len(events) == 1
    assert events[0]["resource"] == {"kind": "job", "name": "decommission", "id": str(job_id)}
    assert events[0]["actor"] == "token:admin"
    assert events[0]["data"]["resource"]["name"] == "ps-1"


async def test_a_decommission_can_be_cancelled_until_the_agent_has_begun(
    site: Site, server: dict[str, Any], database: Database
) -> None:
    first, second = [await _job(site, _on(server)) for _ in range(2)]
    await _change(site, first, lambda job: jobs.advance(job, site.clock.now(), 0))
    assert (await site.client.post(f"{JOBS}/{first}/cancel")).status_code == 200
    await _change(site, second, lambda job: jobs.advance(job, site.clock.now(), 1, {"acknowledgedAt": "now"}))
    before = (await host_row(database, server)).generation
    refused = problem(await site.client.post(f"{JOBS}/{second}/cancel"), 409, "job-not-cancellable")
    assert "has begun to uninstall" in refused["detail"]
    assert refused["state"] == "InProgress"
    assert (await host_row(database, server)).generation == before
    await _change(site, second, lambda job: jobs.finish(job, site.clock.now()))
    refused = problem(await site.client.post(f"{JOBS}/{second}/cancel"), 409, "job-not-cancellable")
    assert "Succeeded" in refused["detail"]


async def test_a_purge_in_progress_goes_on(site: Site, server: dict[str, Any]) -> None:
    job_id = await _job(site, Resource(ResourceKind.VAULT, uuid.uuid4(), "contoso"), type=JobType.PURGE)
    await _change(site, job_id, lambda job: jobs.advance(job, site.clock.now(), 1))
    refused = problem(await site.client.post(f"{JOBS}/{job_id}/cancel"), 409, "job-not-cancellable")
    assert "can't be undone" in refused["detail"]


async def test_jobs_of_other_vaults_are_not_there(site: Site, server: dict[str, Any]) -> None:
    await site.vault("fabrikam")
    job_id = await _job(site, _on(server))
    elsewhere = f"/api/v1/vaults/fabrikam/jobs/{job_id}"
    problem(await site.client.get(elsewhere), 404, "job-not-found")
    problem(await site.client.post(f"{elsewhere}/cancel"), 404, "job-not-found")
    assert await site.walk("/api/v1/vaults/fabrikam/jobs") == []
    async with await site.caller("operator", "fabrikam") as stranger:
        for path in (JOBS, f"{JOBS}/{job_id}"):
            problem(await stranger.get(path), 404, "vault-not-found")
        problem(await stranger.post(f"{JOBS}/{job_id}/cancel"), 404, "vault-not-found")
    assert (await _read(site, job_id))["state"] == "Queued"
