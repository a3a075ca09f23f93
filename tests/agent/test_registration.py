"""Registering, however often the answer gets lost."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.agent.heartbeat import Agent
from app.agent.registration import (
    OtherIdentityError,
    Registered,
    RegistrationError,
    RegistrationPurgedError,
    RegistrationRequest,
    register,
)
from app.agent.state import DesiredState, Purge, Settings, State
from app.agent.store import FileStateStore, MemoryStateStore

from .fakes import URL, Answer, ControlPlane, FakeClock, FakeSource, problem, registered_state

SECRET = "a-long-secret"
PASSPHRASE = "correct-horse-battery"


def request_for(server_mode: str, **changes: Any) -> RegistrationRequest:
    is_ps = server_mode == "PS"
    request = RegistrationRequest(
        server_mode=server_mode,
        settings=Settings(url=URL),
        secret=SECRET,
        name="ps-ams-01" if is_ps else "cs-ams",
        fqdn="ps-ams-01.corp.example",
        instance_id="machine-id",
        ip_addresses=("10.150.24.120",),
        agent_version="9.62.7096.1",
        os={"type": "Linux", "version": "Debian 12"},
        hardware={"cpuCount": 8},
        configuration_server="10.150.24.119" if is_ps else None,
        kind="scaleOut" if is_ps else None,
    )
    return dataclasses.replace(request, **changes)


def taken(status: int = 201, **members: Any) -> httpx.Response:
    answer = {
        "id": "server-id",
        "vault": "prod",
        "configurationServer": "cs-ams",
        "name": "ps-ams-01",
        "credential": "0192.credential",
        "heartbeat": {"intervalSeconds": 20, "timeoutSeconds": 600},
    }
    return httpx.Response(status, json=answer | members)


class Registrar:
    """A control plane, a store, and what was handed out."""

    def __init__(self, *answers: Answer) -> None:
        self.control_plane = ControlPlane(*answers, default=taken)
        self.store = MemoryStateStore()
        self.clock = FakeClock()
        self.passphrases: list[str] = []

    async def register(self, request: RegistrationRequest, **options: Any) -> Registered:
        return await register(
            request,
            self.store,
            connect=self.control_plane.connect,
            clock=self.clock,
            chance=lambda: 0.5,
            **({"keep_passphrase": self.passphrases.append} | options),
        )

    @property
    def keys(self) -> list[str]:
        return [request.headers["idempotency-key"] for request in self.control_plane.requests]

    def saved(self) -> State:
        state = self.store.load()
        assert state is not None
        return state


async def test_a_process_server_registers_with_the_body_of_the_contract() -> None:
    registrar = Registrar(taken(notices=[{"code": "not-supported", "detail": "9.50 is out of support"}]))
    done = await registrar.register(request_for("PS"))
    [request] = registrar.control_plane.requests
    assert (request.method, request.url.path) == ("POST", "/agent/v1/process-servers/register")
    assert registrar.control_plane.bodies == [
        {
            "configurationServer": "10.150.24.119",
            "passphrase": SECRET,
            "hostId": registrar.saved().host_id,
            "instanceId": "machine-id",
            "name": "ps-ams-01",
            "fqdn": "ps-ams-01.corp.example",
            "kind": "scaleOut",
            "ipAddresses": ["10.150.24.120"],
            "dataTransferPort": 9443,
            "agentVersion": "9.62.7096.1",
            "os": {"type": "Linux", "version": "Debian 12"},
            "hardware": {"cpuCount": 8},
        }
    ]
    assert done.is_new
    assert done.notices == ("9.50 is out of support [not-supported]",)
    assert done.passphrase is None
    identity = registrar.saved().identity
    assert identity is not None
    assert (identity.id, identity.credential, identity.kind) == ("server-id", "0192.credential", "scaleOut")
    assert (identity.interval_seconds, identity.timeout_seconds) == (20, 600)
    assert registrar.saved().pending is None


async def test_a_configuration_server_sends_its_key_and_gets_the_passphrase() -> None:
    registrar = Registrar(taken(passphrase=PASSPHRASE, name="cs-ams"))
    done = await registrar.register(request_for("CS"))
    assert registrar.control_plane.requests[0].url.path == "/agent/v1/configuration-servers/register"
    [body] = registrar.control_plane.bodies
    assert body["registrationKey"] == SECRET
    assert not {"passphrase", "configurationServer", "kind"} & body.keys()
    assert done.passphrase == PASSPHRASE
    assert registrar.passphrases == [PASSPHRASE]
    assert PASSPHRASE not in json.dumps(registrar.saved().to_document())


async def test_the_registered_agent_can_run() -> None:
    registrar = Registrar()
    await registrar.register(request_for("PS"))
    agent = Agent(registrar.store, FakeSource())
    assert agent.acknowledged_sequence == 0


async def test_a_lost_answer_is_asked_for_under_the_same_key() -> None:
    registrar = Registrar(*[httpx.ReadTimeout("lost")] * 2, taken(passphrase=PASSPHRASE))
    request = request_for("CS")
    with pytest.raises(RegistrationError, match="nothing is registered twice"):
        await registrar.register(request, attempts=2)
    pending = registrar.saved().pending
    assert pending is not None
    assert SECRET not in json.dumps(registrar.saved().to_document())
    # The machine has got another address meanwhile; the request stays as it was.
    again = dataclasses.replace(request, ip_addresses=("10.1.1.1",), hardware={"cpuCount": 16})
    done = await registrar.register(again)
    assert done.passphrase == PASSPHRASE
    assert registrar.keys == [pending.idempotency_key] * 3
    first, *rest = registrar.control_plane.bodies
    assert rest == [first, first]


async def test_the_key_is_durable_before_anything_is_sent(tmp_path: Path) -> None:
    registrar = Registrar()
    store = FileStateStore(tmp_path)
    seen: list[tuple[str, str]] = []

    def look() -> None:
        state = store.load()
        assert state is not None
        assert state.pending is not None
        seen.append((state.host_id, state.pending.idempotency_key))

    registrar.control_plane.on_request = look
    await register(request_for("PS"), store, connect=registrar.control_plane.connect)
    assert seen == [(registrar.control_plane.bodies[0]["hostId"], registrar.keys[0])]


@pytest.mark.parametrize(
    "change",
    [
        {"secret": "another"},
        {"name": "ps-ams-02"},
        {"configuration_server": "cs-2"},
        {"agent_version": "9.61.0.0"},
    ],
)
async def test_other_choices_get_another_key_but_the_same_host(change: dict[str, Any]) -> None:
    registrar = Registrar(httpx.ConnectError("down"))
    with pytest.raises(RegistrationError):
        await registrar.register(request_for("PS"), attempts=1)
    await registrar.register(request_for("PS", **change))
    assert len(set(registrar.keys)) == 2
    first, second = registrar.control_plane.bodies
    assert first["hostId"] == second["hostId"]


async def test_a_passphrase_that_can_not_be_saved_is_asked_for_again() -> None:
    registrar = Registrar(taken(passphrase=PASSPHRASE), taken(passphrase=PASSPHRASE))

    def full(_: str) -> None:
        raise RegistrationError("disk full")

    with pytest.raises(RegistrationError, match="disk full"):
        await registrar.register(request_for("CS"), keep_passphrase=full)
    assert registrar.saved().identity is None
    await registrar.register(request_for("CS"))
    assert registrar.passphrases == [PASSPHRASE]
    assert len(set(registrar.keys)) == 1


async def test_a_refusal_is_told_whole_and_ends_the_attempt() -> None:
    refusal = problem(
        409,
        "version-above-configuration-server",
        detail="process server 9.63.0.0 is newer than configuration server 9.62.7096.1",
        errors=[{"pointer": "/agentVersion", "detail": "too new"}],
    )
    registrar = Registrar(refusal)
    with pytest.raises(RegistrationError) as caught:
        await registrar.register(request_for("PS"))
    for part in (
        "Some title",
        "9.63.0.0 is newer",
        "version-above-configuration-server",
        "/agentVersion too new",
    ):
        assert part in str(caught.value)
    assert SECRET not in str(caught.value)
    assert registrar.saved().pending is None
    assert len(registrar.keys) == 1
    await registrar.register(request_for("PS"))
    assert registrar.keys[0] != registrar.keys[1]


@pytest.mark.parametrize(
    ("answer", "delay"),
    [
        (problem(503, headers={"Retry-After": "7"}), 7.875),
        (problem(429, headers={"Retry-After": "60"}), 67.5),
        (problem(429, headers={"Retry-After": "999999"}), 337.5),
        (problem(500), 0.5),
        (problem(409, "request-in-progress"), 0.5),
        (httpx.Response(200, html="<h1>Log in</h1>"), 0.5),
        (taken(credential=""), 0.5),
        (httpx.ConnectError("refused"), 0.5),
    ],
)
async def test_what_may_pass_is_tried_again(answer: Answer, delay: float) -> None:
    registrar = Registrar(answer)
    await registrar.register(request_for("PS"))
    assert registrar.clock.sleeps == [delay]
    assert len(set(registrar.keys)) == 1
    assert registrar.control_plane.clients == 2


async def test_a_foreign_refusal_keeps_the_key() -> None:
    registrar = Registrar(httpx.Response(403, html="blocked"))
    with pytest.raises(RegistrationError, match="text/html"):
        await registrar.register(request_for("PS"))
    await registrar.register(request_for("PS"))
    assert len(set(registrar.keys)) == 1


async def test_a_purged_host_is_told_so() -> None:
    registrar = Registrar(problem(410, "purged", purgedAt="2026-11-20T10:00:00Z", purgedBy="bob", reason="scrapped"))
    with pytest.raises(RegistrationPurgedError, match="2026-11-20T10:00:00Z by bob, reason: scrapped"):
        await registrar.register(request_for("PS"))


async def test_registering_again_keeps_the_host_and_lifts_a_purge() -> None:
    registrar = Registrar(taken(200))
    purge = Purge(told_at="t", purged_at=None, purged_by=None, reason=None)
    desired = DesiredState(generation=3, document={})
    registrar.store.save(registered_state(purge=purge, desired=desired))
    done = await registrar.register(request_for("PS"))
    assert not done.is_new
    assert registrar.control_plane.bodies[0]["hostId"] == "host-1"
    assert registrar.saved().purge is None
    # Another identity than before, so what the old one was to do is void.
    assert registrar.saved().desired is None
    registrar.store.save(dataclasses.replace(registrar.saved(), desired=desired))
    await registrar.register(request_for("PS"))
    assert registrar.saved().desired == desired


@pytest.mark.parametrize(
    "other", [request_for("CS"), request_for("PS", name="ps-2"), request_for("PS", host_id="host-2")]
)
async def test_a_state_folder_changes_its_server_only_by_force(other: RegistrationRequest) -> None:
    registrar = Registrar(problem(409), taken())
    registrar.store.save(registered_state())
    with pytest.raises(OtherIdentityError, match="--force"):
        await registrar.register(other)
    assert registrar.control_plane.requests == []
    with pytest.raises(RegistrationError):
        await registrar.register(other, force=True)
    assert registrar.saved() == registered_state()
    await registrar.register(other, force=True)
    assert registrar.saved().host_id == (other.host_id or "host-1")


def test_neither_a_request_nor_its_result_shows_a_secret() -> None:
    assert SECRET not in repr(request_for("PS"))
    assert PASSPHRASE not in repr(Registered(registered_state(), True, (), PASSPHRASE))
    assert "first-credential" not in repr(registered_state())
