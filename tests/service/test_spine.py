"""The main job: a server registers, heartbeats, is seen, falls silent, is seen gone."""

from tests.support.muster import TELEMETRY, Site


async def test_servers_register_heartbeat_and_are_seen(site: Site) -> None:
    await site.vault()
    server = await site.configuration_server()
    process_server = await site.process_server(server)
    assert (await site.read_process_server())["connectionState"] == "Disconnected"

    for registered in (server, process_server):
        answer = await site.beat(registered, telemetry=TELEMETRY, services={"ProcessServer": "Running"})
        assert answer.status_code == 200, answer.text

    seen = await site.read_process_server()
    assert seen["connectionState"] == "Connected"
    assert seen["health"] == "Healthy"
    assert seen["telemetry"] == TELEMETRY
    assert seen["services"] == {"ProcessServer": "Running"}
    assert seen["sequence"] == 1
    assert (await site.read_configuration_server())["connectionState"] == "Connected"
    assert (await site.read_process_server("cs-1"))["kind"] == "inbuilt"

    await site.pass_time(905)
    for name in ("ps-1", "cs-1"):
        gone = await site.read_process_server(name)
        assert gone["connectionState"] == "Disconnected"
        assert gone["health"] == "Critical"
        assert gone["healthErrors"][0]["code"] == "heartbeat-missing"
    types = await site.event_types()
    assert types.count("process-server.disconnected") == 2
    assert types.count("configuration-server.disconnected") == 1
    assert types.count("process-server.connected") == 2


async def test_a_heartbeat_that_changes_nothing_but_numbers_takes_the_hot_path(site: Site) -> None:
    await site.vault()
    server = await site.configuration_server()
    await site.beat(server, 1)
    before = await site.event_types()
    for sequence in range(2, 6):
        site.manual_clock.advance(30)
        answer = await site.beat(server, sequence, observedGeneration=1, telemetry={"cpuPercentage": 50.0 + sequence})
        assert answer.status_code == 200
        assert "desired" not in answer.json()
    seen = await site.read_configuration_server()
    assert seen["sequence"] == 5
    assert seen["telemetry"]["cpuPercentage"] == 55.0
    assert seen["telemetry"]["throughputInBytes"] is None
    assert seen["observedGeneration"] == 1
    assert await site.event_types() == before
