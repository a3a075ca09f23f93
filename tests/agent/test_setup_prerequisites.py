"""Whether a machine is fit: each edge of the table, and the probes that find the facts."""

import errno
import socket
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.agent.setup import machine
from app.agent.setup.machine import ask_control_plane, free_space, look_at_machine, port_state, read_ip_addresses
from app.agent.setup.prerequisites import FREE, GIB, NOT_ALLOWED, TAKEN, Facts, is_fit, judge
from app.agent.state import Settings

from .fakes import START, FakeClock

GOOD = Facts(
    cpu_count=8,
    memory_bytes=16 * GIB,
    cache_free_bytes=600 * GIB,
    install_free_bytes=5 * GIB,
    ports={443: FREE, 9443: FREE},
    address="10.0.0.9",
    is_address_static=True,
    clock_skew_seconds=1.5,
    locale="en_US.UTF-8",
    os_type="Windows",
    os_version="10.0.14393",
)


def verdicts(facts: Facts, mode: str = "PS", *, skips_space: bool = False) -> dict[str, str]:
    """The judgement on each prerequisite."""
    return {check.name: check.status for check in judge(facts, mode, skips_space=skips_space)}


@pytest.mark.parametrize("mode", ["CS", "PS"])
def test_a_good_machine_passes_everything(mode: str) -> None:
    assert set(verdicts(GOOD, mode).values()) == {"pass"}
    assert is_fit(judge(GOOD, mode, skips_space=False))


@pytest.mark.parametrize(
    ("changes", "mode", "name", "status"),
    [
        ({"cpu_count": 7}, "CS", "cores", "fail"),
        ({"cpu_count": 7}, "PS", "cores", "warn"),
        ({"cpu_count": 4}, "PS", "cores", "warn"),
        ({"cpu_count": 3}, "PS", "cores", "fail"),
        ({"cpu_count": None}, "PS", "cores", "warn"),
        ({"memory_bytes": 15 * GIB}, "CS", "memory", "pass"),
        ({"memory_bytes": 14 * GIB}, "CS", "memory", "fail"),
        ({"memory_bytes": 14 * GIB}, "PS", "memory", "warn"),
        ({"memory_bytes": int(7.7 * GIB)}, "PS", "memory", "warn"),
        ({"memory_bytes": 7 * GIB}, "PS", "memory", "fail"),
        ({"memory_bytes": None}, "CS", "memory", "warn"),
        ({"cache_free_bytes": 600 * GIB - 1}, "PS", "cache space", "warn"),
        ({"cache_free_bytes": None}, "PS", "cache space", "warn"),
        ({"install_free_bytes": 5 * GIB - 1}, "PS", "install space", "fail"),
        ({"ports": {443: TAKEN, 9443: FREE}}, "PS", "port 443", "fail"),
        ({"ports": {443: NOT_ALLOWED, 9443: FREE}}, "PS", "port 443", "warn"),
        ({"ports": {443: FREE, 9443: TAKEN}, "is_registered": True}, "PS", "port 9443", "warn"),
        ({"address": None}, "PS", "static address", "warn"),
        ({"is_address_static": None}, "PS", "static address", "warn"),
        ({"is_address_static": False}, "PS", "static address", "warn"),
        ({"control_plane_failure": "no route"}, "PS", "control plane", "fail"),
        ({"clock_skew_seconds": None}, "PS", "clock", "warn"),
        ({"clock_skew_seconds": -61}, "PS", "clock", "warn"),
        ({"clock_skew_seconds": 60}, "PS", "clock", "pass"),
        ({"clock_skew_seconds": 301}, "PS", "clock", "fail"),
        ({"locale": "de-DE"}, "PS", "locale", "fail"),
        ({"locale": "de_DE.UTF-8", "os_type": "Linux"}, "PS", "locale", "warn"),
        ({"locale": "C.UTF-8"}, "PS", "locale", "pass"),
        ({"locale": "eno_XX"}, "PS", "locale", "fail"),
        ({"locale": None}, "PS", "locale", "warn"),
        ({"os_version": "6.3.9600"}, "PS", "operating system", "pass"),
        ({"os_version": "10.0.20348"}, "PS", "operating system", "warn"),
        ({"os_type": "Linux", "os_version": "Debian 12"}, "PS", "operating system", "pass"),
        ({"os_type": None, "os_version": "Darwin 23"}, "PS", "operating system", "warn"),
        ({"roles": ("IIS",)}, "PS", "roles", "fail"),
        ({"roles": ("IIS",), "is_registered": True}, "CS", "roles", "pass"),
    ],
)
def test_each_edge(changes: dict[str, Any], mode: str, name: str, status: str) -> None:
    found = verdicts(replace(GOOD, **changes), mode)
    assert found.pop(name) == status
    assert set(found.values()) == {"pass"}


def test_skip_space_check_skips_both_disks_and_nothing_else() -> None:
    found = verdicts(replace(GOOD, cache_free_bytes=0, install_free_bytes=0), skips_space=True)
    assert {name for name, status in found.items() if status == "skipped"} == {"cache space", "install space"}
    assert is_fit(judge(replace(GOOD, install_free_bytes=0), "PS", skips_space=True))


def test_roles_are_asked_for_on_windows_alone() -> None:
    assert "roles" not in verdicts(replace(GOOD, os_type="Linux"))


def test_a_port_is_tried_for_real() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        assert port_state(port) == TAKEN
    assert port_state(port) == FREE


def test_a_port_this_user_may_not_open_is_not_called_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EACCES, "no")

    monkeypatch.setattr(socket.socket, "bind", refuse)
    assert port_state(443) == NOT_ALLOWED


@pytest.mark.parametrize(("address", "expected"), [("10.0.0.9", True), ("10.0.0.10", False), ("10.0.0.11", None)])
def test_addresses_of_dhcp_are_told_apart(address: str, expected: bool | None) -> None:
    document = [{"addr_info": [{"local": "10.0.0.9"}, {"local": "10.0.0.10", "dynamic": True}]}, {}]
    assert read_ip_addresses(document, address) is expected
    assert read_ip_addresses({}, address) is None


def test_free_space_of_a_folder_yet_to_be_made(tmp_path: Path) -> None:
    assert free_space(tmp_path / "yet" / "to be made") == free_space(tmp_path)


@pytest.mark.parametrize(
    ("date", "skew"),
    [(START, 0), (START - timedelta(minutes=10), 600), (START + timedelta(minutes=10), -600), (None, None)],
)
async def test_the_clock_is_held_against_the_control_planes(
    date: Any, skew: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    headers = {} if date is None else {"Date": date.strftime("%a, %d %b %Y %H:%M:%S GMT")}
    transport = httpx.MockTransport(lambda request: httpx.Response(200, headers=headers))
    client = httpx.AsyncClient(base_url="http://control.example", transport=transport)
    monkeypatch.setattr(machine, "open_client", lambda *_, **__: client)
    failure, found = await ask_control_plane(Settings(url="http://control.example"), FakeClock())
    assert failure is None
    assert found == (None if skew is None else pytest.approx(skew, abs=1))


async def test_an_unreachable_control_plane_is_a_failure() -> None:
    failure, skew = await ask_control_plane(Settings(url="http://127.0.0.1:1"))
    assert failure is not None
    assert "http://127.0.0.1:1 can not be reached" in failure
    assert skew is None


def test_the_machine_is_looked_at(tmp_path: Path) -> None:
    facts = look_at_machine(
        Settings(url="http://127.0.0.1:1"),
        cache_folder=tmp_path,
        install_folder=tmp_path / "new",
        ports=(),
        is_registered=False,
    )
    assert facts.cpu_count
    assert facts.memory_bytes
    assert facts.cache_free_bytes
    assert facts.address == "127.0.0.1"
    assert not (tmp_path / "new").exists()
