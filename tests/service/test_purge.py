"""Purge: only what is dead goes, nothing is lost on the way, and it stays out until it is readmitted."""

from typing import Any

from app.lifecycle.bulk import SERVERS_PER_TRANSACTION, BulkPurges
from tests.support.muster import Site, problem, registration

PS = "/api/v1/vaults/contoso/process-servers"
TIMEOUT = 925


async def two_silent_servers(site: Site) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """A connected configuration server; ps-1 and ps-2, silent for the timeout."""
    await site.vault()
    server = await site.configuration_server()
    first, second = await site.process_server(server, "ps-1"), await site.process_server(server, "ps-2")
    for registered in (server, first, second):
        assert (await site.beat(registered)).status_code == 200
    # Two of three: were it all of them, the brake would have them Unknown.
    await site.pass_time(TIMEOUT / 2)
    assert (await site.beat(server, 2)).status_code == 200
    await site.pass_time(TIMEOUT / 2)
    assert (await site.beat(server, 3)).status_code == 200
    return server, first, second


async def purge(site: Site, name: str = "ps-1", **body: Any) -> Any:
    """The answer to a purge."""
    return await site.client.post(f"{PS}/{name}/purge", json=body)


async def blockers(site: Site, name: str = "ps-1") -> list[str]:
    """The blockers that the preview shows."""
    answer = await site.client.get(f"{PS}/{name}/purge-preview")
    assert answer.status_code == 200, answer.text
    assert answer.json()["purgeable"] == (not answer.json()["blockers"])
    return [blocker["code"] for blocker in answer.json()["blockers"]]


async def test_a_connected_server_is_not_purged(site: Site) -> None:
    _, first, _ = await two_silent_servers(site)
    assert (await site.beat(first, 2)).status_code == 200
    assert await blockers(site) == ["connected"]
    document = problem(await purge(site), 409, "purge-blocked")
    assert [blocker["code"] for blocker in document["blockers"]] == ["connected"]
    assert (await site.read_process_server())["connectionState"] == "Connected"


async def test_a_purged_server_is_gone_and_its_agent_learns_when_by_whom_and_why(site: Site) -> None:
    server, first, _ = await two_silent_servers(site)
    assert await blockers(site) == []
    answer = await purge(site, reason="burnt down")
    assert answer.status_code == 200, answer.text
    tombstone = answer.json()
    assert tombstone["reason"] == "burnt down"
    assert tombstone["purgedBy"] == "token:admin"
    assert tombstone["mayRegister"] is False
    assert (await site.client.get(f"{PS}/ps-1")).status_code == 404

    for _ in range(2):
        gone = problem(await site.beat(first, 3), 410, "purged")
        assert gone["purgedAt"] == tombstone["purgedAt"]
        assert gone["purgedBy"] == "token:admin"
        assert gone["reason"] == "burnt down"
    problem(await site.beat(first["credential"][:-4] + "aaaa", 3), 401, "credential-refused")
    back = await site.agent_post("/agent/v1/process-servers/register", registration(server, "ps-1"))
    assert problem(back, 410, "purged")["reason"] == "burnt down"
    assert "process-server.purged" in await site.event_types()


async def test_repeating_a_purge_is_harmless(site: Site) -> None:
    await two_silent_servers(site)
    first = await purge(site, reason="once")
    again = await purge(site, reason="twice")
    assert again.status_code == 200
    assert again.json() == first.json()
    assert (await purge(site, first.json()["id"])).json() == first.json()
    assert (await site.event_types()).count("process-server.purged") == 1
    problem(await purge(site, "never-was"), 404, "process-server-not-found")


async def test_a_readmitted_machine_registers_as_a_new_server(site: Site) -> None:
    server, first, _ = await two_silent_servers(site)
    await purge(site)
    for _ in range(2):
        answer = await site.client.post(f"{PS}/ps-1/readmit")
        assert answer.json()["mayRegister"] is True
    problem(await site.beat(first, 3), 410, "purged")
    registered = await site.process_server(server, "ps-1")
    assert registered["id"] != first["id"]
    assert (await site.beat(registered)).status_code == 200
    assert (await site.event_types()).count("process-server.readmitted") == 1
    problem(await site.client.post(f"{PS}/never-was/readmit"), 404, "tombstone-not-found")


async def test_another_machine_may_take_a_purged_name(site: Site) -> None:
    server, _, _ = await two_silent_servers(site)
    await purge(site)
    await site.process_server(server, "ps-1", hostId="another-host", instanceId="another-instance")


async def machine(site: Site, name: str, process_server: str) -> None:
    """A source machine on a process server that takes none at the moment."""
    await site.source_machine((await site.read_process_server(process_server))["id"], name)


async def test_machines_hold_a_purge_back_until_a_target_takes_them(site: Site) -> None:
    server, _, second = await two_silent_servers(site)
    await machine(site, "web-01", "ps-1")
    await machine(site, "web-02", "ps-1")
    assert await blockers(site) == ["machines-assigned"]
    document = problem(await purge(site), 409, "purge-blocked")
    assert document["blockers"][0]["count"] == 2

    refused = problem(await purge(site, switchTo="ps-2"), 409, "target-not-fit")
    assert [blocker["code"] for blocker in refused["blockers"]] == ["disconnected"]
    assert (await site.read_process_server("ps-1"))["sourceMachineCount"] == 2

    assert (await site.beat(second, 2)).status_code == 200
    before = (await site.read_process_server("ps-2"))["generation"]
    answer = await purge(site, switchTo="ps-2")
    assert answer.status_code == 200, answer.text
    after = await site.read_process_server("ps-2")
    assert after["sourceMachineCount"] == 2
    assert after["generation"] > before
    (event,) = await site.events(type="process-server.purged")
    assert event["data"]["machinesMoved"] == 2
    assert event["data"]["switchedTo"] == "ps-2"
    assert (await site.event_types()).count("source-machine.moved") == 2
    assert server["vault"] == "contoso"


async def test_force_needs_an_admin_names_what_it_skips_and_is_recorded(site: Site) -> None:
    _, first, _ = await two_silent_servers(site)
    await machine(site, "web-01", "ps-1")
    assert (await site.beat(first, 2)).status_code == 200
    async with await site.caller("operator") as operator:
        problem(await operator.post(f"{PS}/ps-1/purge", json={"force": ["connected"]}), 403, "forbidden")
    document = problem(await purge(site, force=["connected"]), 409, "purge-blocked")
    assert [blocker["code"] for blocker in document["blockers"]] == ["machines-assigned"]
    answer = await purge(site, force=["connected", "machines-assigned"])
    assert answer.status_code == 200, answer.text
    problem(await site.beat(first, 3), 410, "purged")
    (event,) = await site.events(type="process-server.purged")
    assert event["data"]["forced"] == ["connected", "machines-assigned"]
    assert event["data"]["machinesRemoved"] == 1
    problem(await purge(site, force=["anything"]), 422, "validation-failed")


async def test_the_inbuilt_server_is_never_purged(site: Site) -> None:
    await two_silent_servers(site)
    await site.pass_time(TIMEOUT)
    assert await blockers(site, "cs-1") == ["inbuilt"]
    problem(await purge(site, "cs-1", force=["inbuilt"]), 409, "purge-blocked")


async def test_a_bulk_purge_is_tried_first_and_then_carried_out_as_a_job(site: Site) -> None:
    server, _, second = await two_silent_servers(site)
    for number in range(3, 9):
        await site.process_server(server, f"ps-{number}")
    await machine(site, "web-01", "ps-3")
    assert (await site.beat(second, 2)).status_code == 200
    path = "/api/v1/vaults/contoso/purges"
    tried = (await site.client.post(path, json={})).json()
    assert (tried["matched"], tried["purgeable"], tried["blocked"]) == (7, 6, {"machines-assigned": 1})
    assert (await site.client.post(path, json={"q": "ps-4"})).json()["sample"] == ["ps-4"]
    assert (await site.client.post(path, json={"disconnectedForSeconds": 10**6})).json()["matched"] == 0

    problem(await site.client.post(path, json={"dryRun": False}), 422, "validation-failed")
    problem(await site.client.post(path, json={"dryRun": False, "expected": 5}), 409, "conflict")
    queued = await site.client.post(path, json={"dryRun": False, "expected": 6, "reason": "flood"})
    assert queued.status_code == 202, queued.text
    assert (await site.client.get(queued.headers["Location"])).json()["state"] == "Queued"
    bulk = BulkPurges(site.app.state.database, site.clock)
    assert await bulk.tick() == 6
    assert await bulk.tick() == 0
    job = (await site.client.get(queued.headers["Location"])).json()
    assert (job["state"], job["progressPercentage"]) == ("Succeeded", 100)
    assert job["details"]["purged"] == 6
    assert job["details"]["skipped"] == {"machines-assigned": 1}
    left = (await site.client.get(PS)).json()["items"]
    assert [item["name"] for item in left] == ["cs-1", "ps-2", "ps-3"]
    assert (await site.event_types()).count("process-server.purged") == 6


async def test_a_bulk_purge_goes_on_after_a_restart(site: Site, monkeypatch: Any) -> None:
    server, _, _ = await two_silent_servers(site)
    for number in range(3, 8):
        await site.process_server(server, f"ps-{number}")
    monkeypatch.setattr("app.lifecycle.bulk.SERVERS_PER_TRANSACTION", 2)
    assert SERVERS_PER_TRANSACTION > 2
    await site.client.post("/api/v1/vaults/contoso/purges", json={"dryRun": False, "expected": 7})
    from app.lifecycle import bulk, queries

    async with site.app.state.database.write() as session:
        job = await queries.claim_bulk_job(session)
        assert job is not None
        assert await bulk._advance(session, job, site.clock.now()) == 2
    assert len((await site.client.get(PS)).json()["items"]) == 6
    assert await BulkPurges(site.app.state.database, site.clock).tick() == 5
    assert [item["name"] for item in (await site.client.get(PS)).json()["items"]] == ["cs-1"]
