"""One heartbeat after the other: every answer, and none."""

import logging
from datetime import timedelta
from typing import Any

import httpx
import pytest

from app.agent.clock import parse_rfc3339
from app.agent.heartbeat import Agent, NotRegisteredError, PurgedError
from app.agent.outcomes import ExitReason, Outcome
from app.agent.state import DesiredState, Purge, Settings, State, StateError
from app.agent.store import MemoryStateStore
from app.agent.telemetry import Reading
from app.agent.wire import USER_AGENT, open_client

from .fakes import (
    CREDENTIAL,
    URL,
    Bench,
    FakeSource,
    acknowledged,
    problem,
    registered_state,
)


async def test_a_heartbeat_has_the_body_of_the_contract() -> None:
    bench = Bench()
    bench.source.reading = Reading({"cpuPercentage": 1.5}, {"tmansvc": "Stopped"}, ("10.0.0.9",))
    agent = bench.agent(agent_version="9.61.7016.1")
    beat = await agent.beat()
    assert beat.outcome is Outcome.ACKNOWLEDGED
    assert beat.delay_seconds == 30
    [request] = bench.control_plane.requests
    assert (request.method, str(request.url)) == ("POST", f"{URL}/agent/v1/heartbeat")
    assert request.headers["authorization"] == f"Bearer {CREDENTIAL}"
    assert bench.control_plane.bodies == [
        {
            "bootId": agent.boot_id,
            "sequence": 1,
            "agentVersion": "9.61.7016.1",
            "ipAddresses": ["10.0.0.9"],
            "observedGeneration": 0,
            "telemetry": {"cpuPercentage": 1.5},
            "services": {"tmansvc": "Stopped"},
            "agentTime": "2026-11-24T12:00:00Z",
        }
    ]


async def test_unknown_services_are_left_out_and_the_sequence_rises() -> None:
    bench = Bench()
    agent = bench.agent()
    for _ in range(3):
        await agent.beat()
    assert [body["sequence"] for body in bench.control_plane.bodies] == [1, 2, 3]
    assert all("services" not in body for body in bench.control_plane.bodies)
    assert agent.sequence == agent.acknowledged_sequence == 3
    assert bench.control_plane.clients == 1


async def test_each_start_is_a_boot_of_its_own() -> None:
    bench = Bench()
    first, second = bench.agent(), bench.agent()
    assert first.boot_id != second.boot_id
    await first.beat()
    await first.beat()
    await second.beat()
    assert bench.control_plane.bodies[2]["sequence"] == 1
    assert second.acknowledged_sequence == 1


async def test_a_lost_answer_is_asked_for_with_the_same_heartbeat_on_a_new_connection() -> None:
    bench = Bench(httpx.ReadTimeout("no answer"))
    agent = bench.agent()
    lost = await agent.beat()
    assert lost.outcome is Outcome.FAILED
    assert agent.acknowledged_sequence == 0
    bench.source.reading = Reading({"cpuPercentage": 99.0})
    await bench.clock.sleep(60)
    assert (await agent.beat()).outcome is Outcome.ACKNOWLEDGED
    await agent.beat()
    bodies = bench.control_plane.bodies
    first, again = (parse_rfc3339(body.pop("agentTime")) for body in bodies[:2])
    assert again - first == timedelta(seconds=60), "or an outage would look like a wrong clock"
    assert bodies[0] == bodies[1]
    assert [body["sequence"] for body in bodies] == [1, 1, 2]
    assert bodies[2]["telemetry"] == {"cpuPercentage": 99.0}
    assert bench.control_plane.clients == 2


async def test_three_hours_of_outage_are_outlived_without_a_hand() -> None:
    bench = Bench(default=lambda: httpx.ConnectError("connection refused"))
    agent = bench.agent()
    limit = 3 * 3600

    outage: list[float] = []

    def answer() -> httpx.Response | Exception:
        if bench.clock.elapsed < limit:
            return httpx.ConnectError("connection refused")
        outage.extend(bench.clock.sleeps)
        agent.stop()
        return acknowledged()

    bench.control_plane.default = answer
    bench.chance = 0.999
    assert await agent.run() is ExitReason.STOPPED
    assert {body["sequence"] for body in bench.control_plane.bodies} == {1}
    assert agent.acknowledged_sequence == 1
    assert outage[:4] == pytest.approx([0.999, 1.998, 3.996, 7.992])
    assert max(outage) <= 60
    # Found again within one wait of the control plane's return.
    assert limit <= sum(outage) <= limit + 60
    assert bench.control_plane.clients == len(outage) + 1
    assert bench.saved().outage is None


async def test_an_outage_is_in_the_state_and_told_sparsely(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "muster.agent")
    bench = Bench(*[httpx.ConnectError("refused")] * 100)
    agent = bench.agent()
    for _ in range(100):
        await agent.beat()
    outage = bench.saved().outage
    assert outage is not None
    assert outage.since == "2026-11-24T12:00:00Z"
    assert outage.detail == "ConnectError: refused"
    assert len(caplog.records) == 7
    assert "try 64" in caplog.messages[-1]
    await agent.beat()
    assert "connected to" in caplog.messages[-1]
    assert bench.saved().outage is None
    assert any("ConnectError" in status for status in bench.statuses)


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504, 408, 302, 204])
async def test_these_answers_are_tried_again(status: int) -> None:
    bench = Bench(problem(status) if status >= 400 else httpx.Response(status))
    agent = bench.agent()
    beat = await agent.beat()
    assert beat.outcome is Outcome.FAILED
    assert beat.delay_seconds == 0.5
    await agent.beat()
    assert [body["sequence"] for body in bench.control_plane.bodies] == [1, 1]


@pytest.mark.parametrize(
    ("retry_after", "delay"),
    [("20", 22.5), ("Tue, 24 Nov 2026 12:00:20 GMT", 22.5), ("86400", 337.5), ("never", 0.5)],
)
async def test_retry_after_is_honoured_with_jitter(retry_after: str, delay: float) -> None:
    bench = Bench(problem(503, headers={"Retry-After": retry_after}))
    assert (await bench.agent().beat()).delay_seconds == delay


async def test_overload_keeps_the_connection_but_not_for_ever() -> None:
    bench = Bench(problem(503), problem(503), problem(503))
    agent = bench.agent()
    await agent.beat()
    await agent.beat()
    assert bench.control_plane.clients == 1
    await agent.beat()
    assert bench.control_plane.clients == 2


@pytest.mark.parametrize("status", [400, 403, 404, 409, 413, 422])
async def test_a_refused_heartbeat_is_told_and_the_next_one_comes_in_time(
    status: int, caplog: pytest.LogCaptureFixture
) -> None:
    errors = [{"pointer": "/telemetry/cpuPercentage", "detail": "above 100"}]
    bench = Bench(problem(status, "validation-failed", errors=errors))
    agent = bench.agent()
    beat = await agent.beat()
    assert beat.outcome is Outcome.REFUSED
    assert beat.delay_seconds == 30
    assert "validation-failed" in caplog.text
    assert "/telemetry/cpuPercentage above 100" in caplog.text
    await agent.beat()
    assert [body["sequence"] for body in bench.control_plane.bodies] == [1, 2]
    assert agent.acknowledged_sequence == 2


async def test_401_ends_the_agent(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench(acknowledged(), problem(401, "unknown-credential"))
    assert await bench.agent().run() is ExitReason.CREDENTIAL_REFUSED
    assert len(bench.control_plane.requests) == 2
    assert "register this server again" in caplog.text
    assert CREDENTIAL not in caplog.text
    assert bench.saved().purge is None


async def test_410_ends_the_agent_for_good(caplog: pytest.LogCaptureFixture) -> None:
    told: dict[str, Any] = {"purgedAt": "2026-11-24T11:59:00Z", "purgedBy": "alice", "reason": "site flooded"}
    bench = Bench(problem(410, "purged", **told))
    assert await bench.agent().run() is ExitReason.PURGED
    assert len(bench.control_plane.requests) == 1
    for word in told.values():
        assert word in caplog.text
    assert bench.saved().purge == Purge(
        told_at="2026-11-24T12:00:00Z",
        purged_at="2026-11-24T11:59:00Z",
        purged_by="alice",
        reason="site flooded",
    )
    with pytest.raises(PurgedError, match="site flooded"):
        bench.agent()


@pytest.mark.parametrize("status", [200, 401, 410])
async def test_what_a_proxy_answers_in_front_of_a_dead_control_plane_is_an_outage(status: int) -> None:
    bench = Bench(httpx.Response(status, html="<h1>Please log in</h1>"))
    agent = bench.agent()
    assert (await agent.beat()).outcome is Outcome.FAILED
    assert (await agent.beat()).outcome is Outcome.ACKNOWLEDGED
    assert bench.saved().purge is None


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"[" * 100_000, b"\xff\xfe{", b'"text"'])
async def test_an_empty_or_odd_200_acknowledges_nothing(content: bytes) -> None:
    bench = Bench(httpx.Response(200, content=content))
    agent = bench.agent()
    assert (await agent.beat()).outcome is Outcome.FAILED
    assert agent.acknowledged_sequence == 0


async def test_a_new_credential_is_saved_and_then_used(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    bench = Bench(acknowledged(credential="0192.second-credential"))
    agent = bench.agent()
    await agent.beat()
    await agent.beat()
    assert [request.headers["authorization"] for request in bench.control_plane.requests] == [
        f"Bearer {CREDENTIAL}",
        "Bearer 0192.second-credential",
    ]
    identity = bench.saved().identity
    assert identity is not None
    assert identity.credential == "0192.second-credential"
    assert "second-credential" not in caplog.text
    assert "second-credential" not in repr(agent.state)


class FullDisk(MemoryStateStore):
    def save(self, state: State) -> None:
        raise StateError("can not write state.json: no space left on device")


async def test_a_full_disk_stops_neither_heartbeats_nor_the_old_credential() -> None:
    bench = Bench(acknowledged(credential="0192.second-credential", generation=4, desired={"machines": []}))
    bench.store = FullDisk(registered_state())
    agent = bench.agent()
    assert (await agent.beat()).outcome is Outcome.ACKNOWLEDGED
    assert (await agent.beat()).outcome is Outcome.ACKNOWLEDGED
    assert bench.control_plane.requests[1].headers["authorization"] == f"Bearer {CREDENTIAL}"
    assert bench.control_plane.bodies[1]["observedGeneration"] == 0
    assert agent.acknowledged_sequence == 2


@pytest.mark.parametrize("credential", ["two\nlines", 17, "", "schlüssel"])
async def test_a_credential_that_can_not_be_a_header_is_not_taken(credential: object) -> None:
    bench = Bench(acknowledged(credential=credential))
    agent = bench.agent()
    await agent.beat()
    await agent.beat()
    assert bench.control_plane.requests[1].headers["authorization"] == f"Bearer {CREDENTIAL}"


async def test_desired_state_is_kept_and_reported_back() -> None:
    bench = Bench(acknowledged(generation=7, desired={"sourceMachines": ["a"]}), acknowledged(generation=8))
    agent = bench.agent()
    for _ in range(3):
        await agent.beat()
    assert [body["observedGeneration"] for body in bench.control_plane.bodies] == [0, 7, 7]
    assert bench.saved().desired == DesiredState(generation=7, document={"sourceMachines": ["a"]})
    await bench.agent().beat()
    assert bench.control_plane.bodies[3]["observedGeneration"] == 7


async def test_the_last_acknowledgement_is_in_the_state() -> None:
    bench = Bench()
    agent = bench.agent()
    await agent.beat()
    last = bench.saved().last_heartbeat
    assert last is not None
    assert (last.acknowledged_at, last.server_time) == ("2026-11-24T12:00:00Z", "2026-11-24T12:00:00Z")
    assert (last.boot_id, last.sequence) == (agent.boot_id, 1)


async def test_a_notice_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    notices: list[Any] = [
        {"code": "version-not-supported", "detail": "9.50.0.0 is out of support"},
        None,
        5,
        {},
    ]
    bench = Bench(default=lambda: acknowledged(notices=notices))
    agent = bench.agent()
    for _ in range(3):
        await agent.beat()
    assert caplog.text.count("out of support") == 1


async def test_a_log_line_can_not_be_forged(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench(problem(422, detail="bad\n2026-11-24T12:00:00Z info all is well\x1b[2J", title="t" * 5000))
    await bench.agent().beat()
    assert all("\n" not in message and "\x1b" not in message for message in caplog.messages)
    assert max(map(len, caplog.messages)) < 2000


async def test_telemetry_that_fails_does_not_stop_the_sign_of_life() -> None:
    bench = Bench()
    agent = bench.agent()
    await agent.beat()
    bench.source.error = RuntimeError("sensor broken")
    assert (await agent.beat()).outcome is Outcome.ACKNOWLEDGED
    body = bench.control_plane.bodies[1]
    assert body["telemetry"] == {}
    assert body["ipAddresses"] == ["10.0.0.9"]


async def test_addresses_given_by_the_operator_win() -> None:
    bench = Bench()
    bench.store = MemoryStateStore(registered_state(settings=Settings(url=URL, ip_addresses=("10.9.9.9",))))
    await bench.agent().beat()
    assert bench.control_plane.bodies[0]["ipAddresses"] == ["10.9.9.9"]


async def test_even_a_defect_of_the_network_library_is_outlived() -> None:
    bench = Bench(RuntimeError("not what httpx promises"))
    agent = bench.agent()
    assert (await agent.beat()).outcome is Outcome.FAILED
    assert (await agent.beat()).outcome is Outcome.ACKNOWLEDGED


@pytest.mark.parametrize("state", [None, State(host_id="h", instance_id="i")])
async def test_nothing_runs_without_a_registration(state: State | None) -> None:
    with pytest.raises(NotRegisteredError, match="register"):
        Agent(MemoryStateStore(state), FakeSource())


async def test_requests_name_muster_in_the_user_agent() -> None:
    seen: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers["user-agent"])
        return acknowledged()

    async with open_client(URL, transport=httpx.MockTransport(answer)) as client:
        await client.get("/")
    assert seen == [USER_AGENT]
    assert USER_AGENT.startswith("muster-agent/")
