"""The mass-disconnect brake on the manual clock: one alert and Unknown instead of a hundred Disconnected."""

from collections import Counter
from datetime import timedelta

import pytest
from sqlalchemy import select

from app.core.wire import rfc3339
from app.models import Host
from tests.support.fleets import Fleet, brakes, dark_site, let_brakes_go, of_type
from tests.support.muster import Site, machine, problem

BRAKES = "/api/v1/vaults/contoso/brakes"
TIMEOUT, HOLD = 900, 900


@pytest.fixture
async def fleet(site: Site) -> Fleet:
    """A vault without servers; the monitor has looked once."""
    await site.vault()
    await site.tick()
    return Fleet(site)


@pytest.mark.parametrize(
    ("silent", "connected", "engages"), [(2, 3, False), (3, 5, True), (3, 6, False), (11, 20, True), (10, 19, False)]
)
async def test_at_least_three_and_fifty_five_percent(
    site: Site, fleet: Fleet, silent: int, connected: int, engages: bool
) -> None:
    names = await fleet.add_site("cs-1", connected - 1)
    await fleet.beat(*names)
    dead, alive = names[-silent:], names[:-silent]
    await fleet.live(TIMEOUT, *alive)
    states = await fleet.states()
    assert {states[name] for name in dead} == {"Unknown" if engages else "Disconnected"}
    assert {states[name] for name in alive} == {"Connected"}
    assert len(await of_type(site, ".brake-engaged")) == engages
    assert len(await of_type(site, ".disconnected")) == (0 if engages else silent)


async def test_a_configuration_server_and_its_inbuilt_process_server_are_one_server(site: Site, fleet: Fleet) -> None:
    names = await fleet.add_site("cs-1", 1)
    await fleet.beat(*names)
    await site.pass_time(TIMEOUT, step=10)
    assert set((await fleet.states()).values()) == {"Disconnected"}, "three rows, but two machines"


async def test_a_site_that_goes_dark_is_one_alert_that_tells_what_there_is(site: Site, fleet: Fleet) -> None:
    names = await dark_site(fleet)
    assert set((await fleet.states()).values()) == {"Unknown"}
    assert await of_type(site, ".disconnected") == []
    (event,) = await of_type(site, ".brake-engaged")
    (brake,) = await brakes(site)
    server = await site.read_configuration_server()
    assert event["type"] == "configuration-server.brake-engaged"
    assert (event["severity"], event["actor"]) == ("Critical", "monitor")
    assert event["resource"] == {"kind": "configuration-server", "name": "cs-1", "id": server["id"]}
    assert "5 of 5 connected servers of configuration server cs-1" in event["message"]
    assert event["data"] == {
        "brake": brake["id"],
        "silent": 5,
        "connected": 5,
        "silentPercentage": 100.0,
        "windowSeconds": 300.0,
        "until": rfc3339(site.clock.now() + timedelta(seconds=HOLD)),
        "names": sorted(names),
        "configurationServers": [{"name": "cs-1", "silent": 5, "connected": 5}],
        "configurationServerCount": 1,
    }
    assert brake == {
        "id": brake["id"],
        "scope": {"kind": "configuration-server", "name": "cs-1", "id": server["id"]},
        "state": "Holding",
        "silentCount": 5,
        "connectedCount": 5,
        "heldCount": 5,
        "stillHeldCount": 5,
        "releasedCount": 0,
        "engagedAt": rfc3339(site.clock.now()),
        "until": event["data"]["until"],
        "letGoAt": None,
        "reason": None,
        "acknowledgedBy": None,
        "endedAt": None,
    }


async def test_names_in_the_event_are_bounded(site: Site, fleet: Fleet) -> None:
    await dark_site(fleet, 40)
    (event,) = await of_type(site, ".brake-engaged")
    assert event["data"]["silent"] == 41
    assert len(event["data"]["names"]) == 20


async def test_a_site_whose_heartbeats_are_spread_over_an_interval_engages_with_the_first_overdue(
    site: Site, fleet: Fleet
) -> None:
    names = await fleet.add_site("cs-1", 9)
    for name in names:
        await fleet.beat(name)
        await site.pass_time(3, step=3)
    await site.pass_time(TIMEOUT - 30 - 0.5, step=5)
    assert await brakes(site) == []
    await site.pass_time(0.5, step=5)
    (brake,) = await brakes(site)
    assert (brake["silentCount"], brake["connectedCount"], brake["heldCount"]) == (10, 10, 1)
    assert Counter((await fleet.states()).values()) == {"Unknown": 1, "Connected": 9}
    await site.pass_time(30, step=5)
    assert Counter((await fleet.states()).values()) == {"Unknown": 10}
    assert len(await of_type(site, ".brake-engaged")) == 1
    assert await of_type(site, ".disconnected") == []


async def test_an_acknowledgement_before_the_last_is_overdue_leaves_it_one_alert(site: Site, fleet: Fleet) -> None:
    names = await fleet.add_site("cs-1", 9)
    for name in names:
        await fleet.beat(name)
        await site.pass_time(3, step=3)
    await site.pass_time(TIMEOUT - 30, step=5)
    (brake,) = await brakes(site)
    await site.client.post(f"{BRAKES}/{brake['id']}/acknowledge")
    await site.pass_time(600, step=10)
    assert len(await of_type(site, ".brake-engaged")) == 1
    assert set((await fleet.states()).values()) == {"Disconnected"}
    assert [brake["heldCount"] for brake in await brakes(site)] == [10]


async def test_servers_that_die_one_after_another_are_disconnected_each(site: Site, fleet: Fleet) -> None:
    names = await fleet.add_site("cs-1", 4)
    await fleet.beat(*names)
    for number in range(5):
        # One more dies every 400 s, which is more than the window.
        await fleet.live(400, *names[number + 1 :], interval=100)
    await site.pass_time(TIMEOUT, step=10)
    assert await brakes(site) == []
    assert len(await of_type(site, "process-server.disconnected")) == 5


async def test_who_connected_after_the_silence_does_not_dilute_the_share(site: Site, fleet: Fleet) -> None:
    names = await fleet.add_site("cs-1", 4)
    await fleet.beat(*names)
    await site.pass_time(600, step=10)
    # Twenty more arrive meanwhile over another path; they belong to the same configuration server.
    more = await fleet.add_site("cs-2", 20)
    async with site.app.state.database.write() as session:
        first = (await session.execute(select(Host).where(Host.host_id == machine("cs-1-ps-1")["hostId"]))).scalar_one()
        assert first.connection_state == "Connected"
    await fleet.beat(*more)
    await fleet.live(300, *more)
    (brake,) = await brakes(site)
    assert (brake["scope"]["name"], brake["silentCount"], brake["connectedCount"]) == ("cs-1", 5, 5)


async def test_whoever_comes_back_is_connected_and_its_event_says_from_where(site: Site, fleet: Fleet) -> None:
    names = await dark_site(fleet)
    (brake,) = await brakes(site)
    await site.pass_time(60, step=5)
    await fleet.beat("cs-1", names[1])
    states = await fleet.states()
    assert [states[name] for name in names] == ["Connected", "Connected", "Unknown", "Unknown", "Unknown"]
    back = [event for event in await of_type(site, ".connected") if event["data"].get("previousState")]
    assert sorted((event["resource"]["kind"], event["resource"]["name"]) for event in back) == [
        ("configuration-server", "cs-1"),
        ("process-server", "cs-1"),
        ("process-server", names[1]),
    ]
    for event in back:
        assert event["data"] == {
            "silentSeconds": 960.0,
            "sequence": 2,
            "previousState": "Unknown",
            "brake": brake["id"],
        }
    await fleet.live(HOLD, "cs-1", names[1])
    assert Counter((await fleet.states()).values()) == {"Connected": 2, "Disconnected": 3}
    assert len(await of_type(site, ".disconnected")) == 3


async def test_when_all_are_back_it_is_over(site: Site, fleet: Fleet) -> None:
    names = await dark_site(fleet)
    await site.pass_time(60, step=5)
    await fleet.beat(*names)
    await fleet.live(245, *names)
    assert [brake["state"] for brake in await brakes(site)] == ["Holding"]
    await fleet.live(10, *names)
    (brake,) = await brakes(site)
    assert (brake["state"], brake["reason"], brake["releasedCount"]) == ("Over", "returned", 0)
    assert brake["letGoAt"] == brake["endedAt"]
    (event,) = await of_type(site, ".brake-released")
    assert (event["type"], event["severity"]) == ("configuration-server.brake-released", "Information")
    assert event["data"] == {
        "brake": brake["id"],
        "reason": "returned",
        "engagedAt": brake["engagedAt"],
        "held": 5,
        "stillSilent": 0,
    }
    assert await of_type(site, ".disconnected") == []


async def test_a_site_that_is_lost_again_is_another_engagement(site: Site, fleet: Fleet) -> None:
    names = await dark_site(fleet)
    await fleet.beat(*names)
    await site.pass_time(TIMEOUT, step=10)
    assert [brake["state"] for brake in await brakes(site)] == ["Over", "Holding"]
    assert len(await of_type(site, ".brake-engaged")) == 2


async def test_it_lets_go_by_itself_at_a_limited_rate(site: Site, fleet: Fleet) -> None:
    await dark_site(fleet, 44)
    await site.pass_time(HOLD - 5, step=5)
    assert await of_type(site, ".disconnected", ".brake-released") == []
    lost = []
    for _ in range(4):
        await site.pass_time(60, step=5)
        lost.append(Counter((await fleet.states()).values())["Disconnected"])
    # The first minute's first look comes 5 s in; then one every 3 s.
    assert lost == [19, 39, 45, 45]
    gone = await of_type(site, ".disconnected")
    assert len({(event["resource"]["kind"], event["resource"]["name"]) for event in gone}) == len(gone) == 46
    (brake,) = await brakes(site)
    assert (brake["state"], brake["reason"], brake["releasedCount"]) == ("Over", "expired", 45)
    (released,) = await of_type(site, ".brake-released")
    assert (released["actor"], released["severity"]) == ("monitor", "Warning")
    assert (released["data"]["reason"], released["data"]["stillSilent"]) == ("expired", 45)
    assert {event["data"]["brake"] for event in gone} == {brake["id"]}
    assert gone[0]["data"] == {
        "lastHeartbeat": "2026-01-01T00:00:00.000Z",
        "timeoutSeconds": 900.0,
        "brake": brake["id"],
    }
    assert gone[0]["message"].startswith("no heartbeat from ")


async def test_the_longest_silent_are_let_go_first(site: Site, fleet: Fleet) -> None:
    names = await fleet.add_site("cs-1", 5)
    for name in reversed(names):
        await fleet.beat(name)
        await site.pass_time(5, step=5)
    await site.pass_time(TIMEOUT + HOLD, step=10)
    gone = await of_type(site, "process-server.disconnected")
    order = [(event["time"], event["data"]["lastHeartbeat"]) for event in gone]
    assert len({moment for moment, _ in order}) > 2, "a few at each look"
    assert sorted(order) == sorted(order, key=lambda pair: pair[1]), "nobody goes before one who was silent for longer"


async def test_an_operator_acknowledges_it(site: Site, fleet: Fleet) -> None:
    await dark_site(fleet)
    (brake,) = await brakes(site)
    path = f"{BRAKES}/{brake['id']}/acknowledge"
    async with await site.caller("reader") as reader:
        problem(await reader.post(path), 403, "forbidden")
        assert (await reader.get(f"{BRAKES}/{brake['id']}")).json() == brake
    token = await site.token("operator", name="alice")
    site.manual_clock.advance(1)
    async with site.with_token(token["token"]) as operator:
        answer = await operator.post(path)
    assert answer.status_code == 200, answer.text
    document = answer.json()
    assert (document["state"], document["reason"]) == ("LettingGo", "acknowledged")
    assert (document["acknowledgedBy"], document["letGoAt"]) == ("token:alice", rfc3339(site.clock.now()))
    (event,) = await of_type(site, ".brake-released")
    assert (event["actor"], event["data"]["reason"], event["data"]["stillSilent"]) == ("token:alice", "acknowledged", 5)
    assert (await site.client.post(path)).json() == document, "repeating it changes nothing"
    await site.pass_time(20, step=5)
    assert set((await fleet.states()).values()) == {"Disconnected"}
    await site.pass_time(300, step=5)
    (over,) = await brakes(site)
    assert (over["state"], over["releasedCount"], over["acknowledgedBy"]) == ("Over", 5, "token:alice")
    assert (await site.client.post(path)).json() == over
    assert len(await of_type(site, ".brake-released")) == 1


async def test_a_brake_that_is_not_there(site: Site, fleet: Fleet) -> None:
    unknown = "0192f0c1-7b1e-7cc3-98c4-dc0c0c07398f"
    problem(await site.client.get(f"{BRAKES}/{unknown}"), 404, "brake-not-found")
    problem(await site.client.post(f"{BRAKES}/{unknown}/acknowledge"), 404, "brake-not-found")
    problem(await site.client.get("/api/v1/vaults/other/brakes"), 404, "vault-not-found")
    await dark_site(fleet)
    (brake,) = await brakes(site)
    await site.vault("other")
    problem(await site.client.post(f"/api/v1/vaults/other/brakes/{brake['id']}/acknowledge"), 404, "brake-not-found")
    async with await site.caller("operator", "other") as stranger:
        problem(await stranger.post(f"{BRAKES}/{brake['id']}/acknowledge"), 404, "vault-not-found")
    problem(await site.client.get(f"{BRAKES}/x"), 422, "validation-failed")


async def test_brakes_are_listed_by_state(site: Site, fleet: Fleet) -> None:
    names = await dark_site(fleet)
    await fleet.beat(*names)
    await dark_site(fleet, name="cs-2")
    newest_first = (await site.client.get(BRAKES)).json()["items"]
    # The first was left alone meanwhile, and its servers fell silent with the second's.
    assert [brake["scope"]["kind"] for brake in newest_first] == ["vault", "configuration-server"]
    (holding,) = await brakes(site, state="Holding")
    assert holding == newest_first[0]
    assert await brakes(site, state=["Over", "LettingGo"]) == [newest_first[1]]
    assert await brakes(site, limit=1) == newest_first[::-1]
    problem(await site.client.get(BRAKES, params={"state": "Stuck"}), 422, "validation-failed")
    problem(await site.client.get(BRAKES, params={"orderBy": "name"}), 422, "validation-failed")


async def test_a_vault_that_goes_dark_across_configuration_servers_is_one_alert(site: Site, fleet: Fleet) -> None:
    names = [name for number in range(3) for name in await fleet.add_site(f"cs-{number}", 3 - number)]
    await fleet.beat(*names)
    await site.pass_time(TIMEOUT, step=10)
    (event,) = await of_type(site, ".brake-engaged")
    assert (event["type"], event["resource"]["name"]) == ("vault.brake-engaged", "contoso")
    assert (event["data"]["silent"], event["data"]["connected"]) == (9, 9)
    assert event["data"]["configurationServers"] == [
        {"name": "cs-0", "silent": 4, "connected": 4},
        {"name": "cs-1", "silent": 3, "connected": 3},
        {"name": "cs-2", "silent": 2, "connected": 2},
    ]
    assert set((await fleet.states()).values()) == {"Unknown"}
    await let_brakes_go(site)
    assert set((await fleet.states()).values()) == {"Disconnected"}
    assert len(await of_type(site, "vault.brake-released")) == 1
    assert len(await of_type(site, ".disconnected")) == 9 + 3


async def test_one_site_of_a_vault_is_its_own_alert_though_one_server_dies_elsewhere(site: Site, fleet: Fleet) -> None:
    dark = await fleet.add_site("cs-1", 7)
    healthy = await fleet.add_site("cs-2", 5)
    await fleet.beat(*dark, *healthy)
    await fleet.live(TIMEOUT, *healthy[:-1])
    (event,) = await of_type(site, ".brake-engaged")
    assert event["resource"]["name"] == "cs-1"
    assert [event["resource"]["name"] for event in await of_type(site, ".disconnected")] == [healthy[-1]]


async def test_other_vaults_are_not_touched(site: Site, fleet: Fleet) -> None:
    await site.vault("other")
    other = await fleet.add_site("cs-9", 1, vault="other")
    names = await fleet.add_site("cs-1", 4)
    await fleet.beat(*other, *names)
    await site.pass_time(TIMEOUT, step=10)
    assert len(await brakes(site)) == 1
    assert await brakes(site, "other") == []
    gone = [event["type"] for event in await site.events("other") if event["type"].endswith(".disconnected")]
    assert len(gone) == 3


async def test_while_a_scope_is_held_whoever_else_of_it_falls_silent_joins(site: Site, fleet: Fleet) -> None:
    names = await fleet.add_site("cs-1", 4)
    await fleet.beat(*names)
    await fleet.live(600, names[0])
    await site.pass_time(300, step=5)
    assert Counter((await fleet.states()).values()) == {"Unknown": 4, "Connected": 1}
    await site.pass_time(600, step=10)
    assert Counter((await fleet.states()).values()) == {"Unknown": 5}
    (brake,) = await brakes(site)
    assert (brake["silentCount"], brake["heldCount"]) == (4, 5)
    await site.pass_time(300, step=5)
    assert (await brakes(site))[0]["state"] == "LettingGo"
