"""Leaving in good order: the operator asks, the agent carries it out and says goodbye."""

import asyncio
from typing import Any

import httpx
import pytest

from app.core.db import Database
from app.models import Host, IssuedCredential, Job, ProcessServer, SourceMachine
from tests.support.muster import Site, problem, registration
from tests.support.remembered import remembered
from tests.support.rows import count

PS = "/agent/v1/process-servers/register"
IN_VAULT = "/api/v1/vaults/contoso/process-servers"
STEPS = [
    {"name": "Configuration Server/Process Server", "status": "done", "detail": "uninstalled"},
    {"name": "Dependencies", "status": "skipped", "detail": "not installed"},
    {"name": "Recovery Services Agent", "status": "done", "detail": None},
]


@remembered
async def family(site: Site, /, *names: str) -> tuple[dict[str, Any], ...]:
    """A connected configuration server and connected process servers."""
    await site.vault()
    server = await site.configuration_server()
    assert (await site.beat(server)).status_code == 200
    found = [server]
    for name in names:
        found.append(await site.process_server(server, name))
        assert (await site.beat(found[-1])).status_code == 200
    return tuple(found)


async def ask(site: Site, name: str = "ps-1", **body: Any) -> httpx.Response:
    """The operator's request."""
    return await site.client.post(f"{IN_VAULT}/{name}/decommission", json=body or None)


async def leave(site: Site, registered: dict[str, Any], **body: Any) -> httpx.Response:
    """The agent's goodbye."""
    headers = {"Authorization": f"Bearer {registered['credential']}"}
    return await site.client.post("/agent/v1/decommission", json={"steps": STEPS, **body}, headers=headers)


async def job_of(site: Site, job: str) -> dict[str, Any]:
    """A job as the API shows it."""
    answer = await site.client.get(f"/api/v1/vaults/contoso/jobs/{job}")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def names(site: Site) -> list[str]:
    """Names of the vault's process servers."""
    return [server["name"] for server in await site.walk(IN_VAULT)]


def codes(answer: httpx.Response) -> list[str]:
    """The blockers of a refusal."""
    return [blocker["code"] for blocker in problem(answer, 409, "decommission-blocked")["blockers"]]


async def test_from_the_request_to_the_goodbye(site: Site, database: Database) -> None:
    _, agent = await family(site, "ps-1")
    asked = await ask(site, reason="too small")
    assert asked.status_code == 202
    job = asked.json()
    assert (job["type"], job["state"], job["resource"]["name"]) == ("decommission", "Queued", "ps-1")
    assert asked.headers["Location"] == f"/api/v1/vaults/contoso/jobs/{job['id']}"

    again = await site.client.post(
        "/api/v1/vaults/contoso/configuration-servers/cs-1/process-servers/ps-1/decommission"
    )
    assert (again.status_code, again.json()["id"]) == (202, job["id"])

    answer = (await site.beat(agent, 2, observedGeneration=1)).json()
    assert answer["generation"] == 2
    assert answer["desired"]["actions"] == [{"type": "decommission", "job": job["id"]}]
    assert (await job_of(site, job["id"]))["state"] == "Queued", "the agent has not said that it knows"
    headers = {"Authorization": f"Bearer {agent['credential']}"}
    desired = await site.client.get("/agent/v1/desired-state", headers=headers)
    assert desired.json() == answer["desired"]

    await site.beat(agent, 3, observedGeneration=2)
    seen = await job_of(site, job["id"])
    assert seen["state"] == "InProgress"
    assert seen["startedAt"]
    problem(await site.client.post(f"/api/v1/vaults/contoso/jobs/{job['id']}/cancel"), 409, "job-not-cancellable")

    gone = await leave(site, agent, job=job["id"])
    assert gone.status_code == 200
    assert gone.json() == {
        "id": agent["id"],
        "name": "ps-1",
        "decommissioned": True,
        "decommissionedAt": gone.json()["decommissionedAt"],
    }
    assert await names(site) == ["cs-1"]
    assert (await job_of(site, job["id"]))["state"] == "Succeeded"
    assert await count(database, Host) == 1
    event = (await site.events())[-1]
    assert event["type"] == "process-server.decommissioned"
    assert event["data"]["steps"] == STEPS
    assert event["data"]["job"] == job["id"]
    requested = [entry for entry in await site.events() if entry["type"] == "process-server.decommission-requested"]
    assert [entry["data"]["reason"] for entry in requested] == ["too small"]


async def test_the_goodbye_can_be_repeated_and_then_the_agent_gets_410(site: Site) -> None:
    server, agent = await family(site, "ps-1")
    first = await leave(site, agent)
    site.manual_clock.advance(5)
    assert (await leave(site, agent)).json() == first.json()
    assert (await leave(site, agent, dryRun=True)).json()["decommissioned"] is True
    refused = problem(await site.beat(agent, 2), 410, "purged")
    assert (refused["reason"], refused["purgedBy"]) == ("decommissioned", "agent:ps-1")
    assert (await site.event_types()).count("process-server.decommissioned") == 1

    new = await site.process_server(server, "ps-1")
    assert new["id"] != agent["id"]
    assert (await leave(site, agent)).json() == first.json(), "the old credential stays the old server's"
    assert "ps-1" in await names(site)


async def test_a_purged_server_s_agent_learns_of_the_purge_instead(site: Site) -> None:
    _, agent = await family(site, "ps-1")
    await site.pass_time(905)
    assert (await site.client.post(f"{IN_VAULT}/ps-1/purge", json={})).status_code == 200
    problem(await leave(site, agent), 410, "purged")


@pytest.mark.parametrize("credential", [None, "x", f"{'0' * 32}.secret"])
async def test_only_an_agent_says_goodbye(site: Site, credential: str | None) -> None:
    headers = {"Authorization": f"Bearer {credential}" if credential else ""}
    answer = await site.client.post("/agent/v1/decommission", json={}, headers=headers)
    assert answer.status_code == 401


async def test_a_silent_server_is_to_be_purged_and_all_blockers_are_told(site: Site, database: Database) -> None:
    _, agent = await family(site, "ps-1")
    await site.source_machine(agent["id"], "web-01")
    await site.pass_time(905)
    refused = await ask(site)
    assert codes(refused) == ["configuration-server-not-connected", "not-connected", "machines-assigned"]
    assert "purge it instead" in refused.json()["detail"]
    assert refused.json()["blockers"][2]["count"] == 1
    inbuilt = await ask(site, "cs-1")
    assert codes(inbuilt) == ["configuration-server-not-connected", "not-connected", "inbuilt"]
    assert await count(database, Job) == 0


async def test_the_configuration_server_must_be_connected_for_the_agent_too(site: Site, database: Database) -> None:
    _, agent = await family(site, "ps-1")
    await site.pass_time(905)
    assert codes(await leave(site, agent, dryRun=True)) == ["configuration-server-not-connected"]
    assert codes(await leave(site, agent)) == ["configuration-server-not-connected"]
    assert await count(database, ProcessServer) == 2


async def test_a_configuration_server_s_credential_is_refused(site: Site) -> None:
    (server,) = await family(site)
    assert codes(await leave(site, server)) == ["inbuilt"]
    assert codes(await ask(site, "cs-1")) == ["inbuilt"]


async def test_machines_move_in_the_same_transaction(site: Site) -> None:
    _, agent, _ = await family(site, "ps-1", "ps-2")
    for number in range(3):
        await site.source_machine(agent["id"], f"web-{number}")
    refused = await ask(site)
    assert codes(refused) == ["machines-assigned"]
    problem(await ask(site, switchTo="nobody"), 404, "process-server-not-found")
    problem(await ask(site, switchTo="ps-1"), 422, "validation-failed")
    asked = await ask(site, switchTo="ps-2")
    assert asked.status_code == 202, asked.text
    assert asked.json()["target"] == "ps-2"
    assert (await site.read_process_server("ps-2"))["sourceMachineCount"] == 3
    assert (await site.read_process_server("ps-1"))["sourceMachineCount"] == 0
    assert (await site.event_types()).count("source-machine.moved") == 3
    # No machine comes while it is on its way out.
    body = {"processServer": "ps-1", "churnInBytesPerDay": 1, "disks": []}
    path = "/api/v1/vaults/contoso/configuration-servers/cs-1/source-machines/late"
    assert (await site.client.put(path, json=body)).status_code == 409
    assert (await leave(site, agent)).status_code == 200


async def test_a_target_that_is_not_fit_is_refused_with_its_reasons(site: Site) -> None:
    server, agent = await family(site, "ps-1")
    await site.process_server(server, "ps-2")  # never connected
    await site.source_machine(agent["id"], "web-01")
    refused = problem(await ask(site, switchTo="ps-2"), 409, "target-not-fit")
    assert [blocker["code"] for blocker in refused["blockers"]] == ["disconnected"]
    assert (await site.read_process_server("ps-1"))["sourceMachineCount"] == 1
    problem(await leave(site, agent, dryRun=True, switchTo="ps-2"), 409, "target-not-fit")


async def test_the_agent_s_own_decommission_checks_first_and_takes_its_machines_along(site: Site) -> None:
    _, agent, _ = await family(site, "ps-1", "ps-2")
    await site.source_machine(agent["id"], "web-01")
    assert codes(await leave(site, agent, dryRun=True)) == ["machines-assigned"]
    assert codes(await leave(site, agent)) == ["machines-assigned"]
    checked = await leave(site, agent, dryRun=True, switchTo="ps-2")
    assert (checked.status_code, checked.json()["decommissioned"]) == (200, False)
    assert (await site.read_process_server("ps-1"))["sourceMachineCount"] == 1, "a dry run moves nothing"
    assert (await leave(site, agent, switchTo="ps-2")).status_code == 200
    assert (await site.read_process_server("ps-2"))["sourceMachineCount"] == 1
    event = (await site.events(type="process-server.decommissioned"))[0]
    assert (event["data"]["machinesMoved"], event["data"]["switchedTo"]) == (1, "ps-2")


async def test_a_failed_step_keeps_the_server_and_fails_the_job(site: Site) -> None:
    _, agent = await family(site, "ps-1")
    job = (await ask(site)).json()
    steps = [{"name": "Recovery Services Agent", "status": "failed", "detail": "exit code 1603"}]
    answer = await leave(site, agent, job=job["id"], steps=steps)
    assert (answer.status_code, answer.json()["decommissioned"]) == (200, False)
    failed = await job_of(site, job["id"])
    assert failed["state"] == "Failed"
    assert failed["error"]["code"] == "step-failed"
    assert "exit code 1603" in failed["error"]["detail"]
    assert (await site.event_types())[-1] == "process-server.decommission-failed"
    answer = (await site.beat(agent, 2, observedGeneration=2)).json()
    assert answer["generation"] == 3
    assert answer["desired"]["actions"] == []
    # Asked anew, there is a new job.
    assert (await ask(site)).json()["id"] != job["id"]


async def test_a_cancelled_job_is_not_carried_out(site: Site) -> None:
    _, agent = await family(site, "ps-1")
    job = (await ask(site)).json()["id"]
    cancelled = await site.client.post(f"/api/v1/vaults/contoso/jobs/{job}/cancel")
    assert cancelled.json()["state"] == "Cancelled"
    assert codes(await leave(site, agent, dryRun=True, job=job)) == ["job-ended"]
    assert codes(await leave(site, agent, job=job)) == ["job-ended"]
    assert (await site.beat(agent, 2, observedGeneration=2)).json()["desired"]["actions"] == []
    assert "ps-1" in await names(site)


async def test_taking_a_job_up_ends_the_time_for_cancelling(site: Site) -> None:
    _, agent = await family(site, "ps-1")
    job = (await ask(site)).json()["id"]
    assert (await leave(site, agent, dryRun=True, job=job)).status_code == 200
    assert (await job_of(site, job))["state"] == "InProgress"
    problem(await site.client.post(f"/api/v1/vaults/contoso/jobs/{job}/cancel"), 409, "job-not-cancellable")


async def test_a_decommission_against_heartbeats(site: Site, database: Database) -> None:
    """Whichever comes first: one goodbye, and afterwards 410 for each heartbeat."""
    _, *agents = await family(site, *[f"ps-{number}" for number in range(20)])
    for number, agent in enumerate(agents):
        beats = [site.beat(agent, sequence, observedGeneration=1) for sequence in range(2, 6)]
        gone, *answers = await asyncio.gather(leave(site, agent), *beats)
        assert gone.status_code == 200, gone.text
        assert {answer.status_code for answer in answers} <= {200, 410}
        assert (await site.beat(agent, 9)).status_code == 410
        assert await count(database, Host) == len(agents) - number
    assert (await site.event_types()).count("process-server.decommissioned") == len(agents)


async def test_goodbyes_at_the_same_moment_are_one(site: Site) -> None:
    _, agent = await family(site, "ps-1")
    answers = await asyncio.gather(*(leave(site, agent) for _ in range(10)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1
    assert (await site.event_types()).count("process-server.decommissioned") == 1


async def test_requests_at_the_same_moment_are_one_job(site: Site, database: Database) -> None:
    await family(site, "ps-1")
    answers = await asyncio.gather(*(ask(site) for _ in range(10)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert await count(database, Job) == 1


async def test_a_decommission_against_a_registration(site: Site, database: Database) -> None:
    """The machine registers before it (and is gone with the server) or after it (and is a new server)."""
    server, *agents = await family(site, *[f"ps-{number}" for number in range(8)])
    for number, agent in enumerate(agents):
        gone, again = await asyncio.gather(
            leave(site, agent), site.agent_post(PS, registration(server, f"ps-{number}"))
        )
        assert gone.status_code == 200, gone.text
        assert again.status_code in {200, 201}
        is_new = again.status_code == 201
        assert (again.json()["id"] != agent["id"]) is is_new
        assert (await site.beat(again.json())).status_code == (200 if is_new else 410)
    assert await count(database, ProcessServer) == await count(database, Host)
    left = {row["name"] for row in await site.walk(IN_VAULT)}
    assert await count(database, IssuedCredential) == 0, left


async def test_a_decommission_against_a_new_machine(site: Site, database: Database) -> None:
    """Either the machine is refused, or the decommission: never a machine without a process server."""
    _, *agents = await family(site, *[f"ps-{number}" for number in range(8)])
    path = "/api/v1/vaults/contoso/configuration-servers/cs-1/source-machines"
    kept = 0
    for number, agent in enumerate(agents):
        body = {"processServer": f"ps-{number}", "churnInBytesPerDay": 1, "disks": []}
        gone, put = await asyncio.gather(leave(site, agent), site.client.put(f"{path}/web-{number}", json=body))
        assert (gone.status_code, put.status_code) in {(200, 404), (409, 201)}, (gone.text, put.text)
        kept += put.status_code == 201
    assert await count(database, SourceMachine) == kept
    assert await count(database, ProcessServer) == kept + 1


async def test_a_request_with_the_same_key_gets_the_same_answer_even_after_the_end(site: Site) -> None:
    _, agent = await family(site, "ps-1")
    headers = {"Idempotency-Key": "attempt 1"}
    first = await site.client.post(f"{IN_VAULT}/ps-1/decommission", headers=headers)
    assert (await leave(site, agent)).status_code == 200
    again = await site.client.post(f"{IN_VAULT}/ps-1/decommission", headers=headers)
    assert (again.status_code, again.json()["id"]) == (202, first.json()["id"])
    assert again.headers["Location"] == first.headers["Location"]


async def test_a_request_against_a_new_machine(site: Site) -> None:
    """Whoever comes second sees the first: the server is on its way out, or it has a machine."""
    names = [f"ps-{number}" for number in range(15)]
    await family(site, *names)
    path = "/api/v1/vaults/contoso/configuration-servers/cs-1/source-machines"
    for name in names:
        body = {"processServer": name, "churnInBytesPerDay": 1, "disks": []}
        asked, put = await asyncio.gather(ask(site, name), site.client.put(f"{path}/of-{name}", json=body))
        assert (asked.status_code, put.status_code) in {(202, 409), (409, 201)}, (asked.text, put.text)
        if asked.status_code == 409:
            assert codes(asked) == ["machines-assigned"]
