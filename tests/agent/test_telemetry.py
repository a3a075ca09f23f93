"""What is measured, and that the unknown is left out."""

import json
import os
import subprocess
import threading
import types
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.agent import host, services, telemetry
from app.agent.clock import SystemClock
from app.agent.telemetry import CpuTimes, HostTelemetry, Reading

PROC_STAT = "cpu  100 10 50 800 40 5 5 0 30 0\ncpu0 1 2 3 4\n"
MEMINFO = "MemTotal:       16384000 kB\nMemFree:  1 kB\nMemAvailable:    8192000 kB\nHugePages_Total:       0\n"


@pytest.fixture(autouse=True)
def _no_wait_for_the_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telemetry, "_FIRST_CPU_WINDOW_SECONDS", 0.03)


@pytest.mark.parametrize("with_psutil", [True, False])
async def test_this_machine_is_measured(with_psutil: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not with_psutil:
        monkeypatch.setattr(telemetry, "psutil", None)
    source = HostTelemetry(cache_folder=tmp_path)
    readings = [await source.read(), await source.read()]
    values = readings[0].telemetry
    assert 0 < values["availableMemoryInBytes"] <= values["totalMemoryInBytes"]
    assert 0 < values["availableSpaceInBytes"] <= values["totalSpaceInBytes"]
    assert readings[0].services is None
    for reading in readings:
        assert 0 <= reading.telemetry.get("cpuPercentage", 0) <= 100
        assert "throughputInBytes" not in reading.telemetry


async def test_what_can_not_be_known_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telemetry, "psutil", None)
    monkeypatch.setattr(telemetry, "_linux_file", lambda _: None)
    source = HostTelemetry(cache_folder=tmp_path / "gone", telemetry_file=tmp_path / "gone.json")
    assert await source.read() == Reading({}, None, ())


async def test_a_hung_disk_holds_up_no_heartbeat(tmp_path: Path) -> None:
    release = threading.Event()
    calls: list[int] = []

    def hang() -> dict[str, str]:
        calls.append(1)
        release.wait(10)
        return {"tmansvc": "Running"}

    source = HostTelemetry(cache_folder=tmp_path, read_services=hang, timeout_seconds=0.1)
    assert await source.read() == Reading()
    assert await source.read() == Reading()
    # The second look waits for the first one instead of hanging another thread.
    assert len(calls) == 1
    release.set()
    patient = HostTelemetry(cache_folder=tmp_path, read_services=hang, timeout_seconds=60)
    assert (await patient.read()).services == {"tmansvc": "Running"}


async def test_processors_are_measured_from_one_heartbeat_to_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = [CpuTimes(0, 0), CpuTimes(50, 100), CpuTimes(150, 300), CpuTimes(150, 300)]
    monkeypatch.setattr(telemetry, "read_cpu_times", lambda: looks.pop(0))
    source = HostTelemetry(cache_folder=tmp_path)
    assert [(await source.read()).telemetry.get("cpuPercentage") for _ in range(3)] == [50.0, 50.0, None]


numbers = st.floats(0, 1e12)


@given(numbers, numbers, numbers, numbers)
def test_the_processors_percentage_is_one(idle: float, total: float, later_idle: float, later: float) -> None:
    percentage = telemetry.busy_percentage(CpuTimes(idle, total), CpuTimes(later_idle, later))
    assert (percentage is None) == (later <= total)
    assert percentage is None or 0 <= percentage <= 100


def test_proc_files_are_read() -> None:
    # Guest time is part of user time and not counted twice; waiting for a disk is idle.
    assert telemetry.parse_proc_stat(PROC_STAT) == CpuTimes(idle=840, total=1010)
    assert telemetry.parse_meminfo(MEMINFO) == (16384000 * 1024, 8192000 * 1024)


@pytest.mark.parametrize("text", ["", "\n", "cpu", "cpu a b c d", "intr 1 2 3 4 5", "MemTotal: 5 kB"])
def test_odd_proc_files_are_unknown(text: str) -> None:
    assert telemetry.parse_proc_stat(text) is None
    assert telemetry.parse_meminfo(text) is None


def _write(path: Path, content: str, age_seconds: float = 0) -> Path:
    path.write_text(content)
    moment = SystemClock().now().timestamp() - age_seconds
    os.utime(path, (moment, moment))
    return path


async def test_the_replication_engines_file_is_merged_while_fresh(tmp_path: Path) -> None:
    content = {"throughputInBytes": 5, "throughputUploadPendingDataInBytes": 0, "cpuPercentage": 1000, "x": 1}
    path = _write(tmp_path / "t.json", json.dumps(content), age_seconds=290)
    source = HostTelemetry(cache_folder=tmp_path, telemetry_file=path)
    values = (await source.read()).telemetry
    assert (values["throughputInBytes"], values["throughputUploadPendingDataInBytes"]) == (5, 0)
    assert values.get("cpuPercentage", 0) <= 100
    assert "x" not in values
    _write(path, json.dumps(content), age_seconds=310)
    assert "throughputInBytes" not in (await source.read()).telemetry


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{",
        '{"throughputInBytes": "5"}',
        '{"throughputInBytes": -1}',
        '{"throughputInBytes": true}',
        '{"throughputInBytes": 1e400}',
        "[" * 60000,
    ],
)
async def test_an_odd_file_adds_nothing(content: str, tmp_path: Path) -> None:
    path = _write(tmp_path / "t.json", content)
    source = HostTelemetry(cache_folder=tmp_path, telemetry_file=path)
    assert "throughputInBytes" not in (await source.read()).telemetry


def test_systemd_units_are_running_stopped_or_unknown() -> None:
    names = ["a", "b", "c", "d"]
    states = services.parse_is_active(names, "active\ninactive\nfailed\nunknown\n")
    assert states == {"a": "Running", "b": "Stopped", "c": "Stopped"}
    assert services.parse_is_active(names, "active\n") is None
    assert services.parse_is_active(["a"], "offline\n") is None


def test_systemctl_is_asked_for_the_named_units(monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[list[str]] = []

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        commands.append(command)
        return subprocess.CompletedProcess(command, 3, stdout="active\ninactive\n")

    monkeypatch.setattr(subprocess, "run", run)
    assert services.read_systemd_units(["a", "--b"]) == {"a": "Running", "--b": "Stopped"}
    assert commands == [["systemctl", "is-active", "--", "a", "--b"]]
    assert services.read_systemd_units([]) is None
    monkeypatch.setattr(subprocess, "run", _raise_missing)
    assert services.read_systemd_units(["a"]) is None


def _raise_missing(*_: object, **__: object) -> None:
    raise FileNotFoundError("systemctl")


class WindowsService:
    def __init__(self, name: str, display_name: str, status: str) -> None:
        self.name = lambda: name
        self.display_name = lambda: display_name
        self.status = lambda: status


def _windows(monkeypatch: pytest.MonkeyPatch, *found: WindowsService) -> None:
    fake = types.SimpleNamespace(win_service_iter=lambda: iter(found), Error=RuntimeError)
    monkeypatch.setattr(services, "psutil", fake)


def test_windows_services_are_found_by_either_name(monkeypatch: pytest.MonkeyPatch) -> None:
    _windows(
        monkeypatch,
        WindowsService("processserver", "Process Server", "running"),
        WindowsService("frsvc", "InMage Scout Application Service", "running"),
        WindowsService("TMANSVC", "tm", "stop_pending"),
        WindowsService("Spooler", "Print Spooler", "running"),
    )
    required = services.required_services("PS", "scaleOut")
    states = services.read_windows_services(required, ["Spooler", "missing"])
    assert states is not None
    assert {name for name, state in states.items() if state == "Running"} == {
        "ProcessServer",
        "InMage Scout Application Service",
        "Spooler",
    }
    # The product is there, so what is missing of it does not run.
    assert states.keys() - {"Spooler"} == set(required)


def test_windows_without_the_product_is_not_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    _windows(monkeypatch, WindowsService("Spooler", "Print Spooler", "running"))
    assert services.read_windows_services(services.required_services("PS", "scaleOut"), []) is None
    monkeypatch.setattr(services, "psutil", None)
    assert services.read_windows_services(["Spooler"], []) is None


def test_required_services_are_those_of_the_documentation() -> None:
    assert len(services.required_services("PS", "failback")) == 5
    assert len(services.required_services("PS", "scaleOut")) == 9
    assert set(services.required_services("CS", None)) - set(services.required_services("PS", "scaleOut")) == {
        "W3SVC",
        "MySQL",
        "dra",
    }


@pytest.mark.parametrize(
    ("host_name", "name"),
    [
        ("PS-AMS-01.corp.example", "ps-ams-01"),
        ("my_server", "my-server"),
        ("-x-", "x"),
        ("a" * 70, "a" * 63),
        ("ÜÖ", ""),
        ("a" * 62 + "__b", "a" * 62),
    ],
)
def test_a_host_name_becomes_a_servers_name(host_name: str, name: str) -> None:
    assert host.clean_name(host_name) == name


@given(st.text())
def test_a_cleaned_name_is_fit_or_empty(text: str) -> None:
    name = host.clean_name(text)
    assert name == "" or host.is_name(name)


def test_facts_of_this_machine(tmp_path: Path) -> None:
    assert host.operating_system()["type"] == "Linux"
    sizes = host.hardware(tmp_path)
    assert sizes["cpuCount"] == os.cpu_count()
    assert sizes["totalMemoryInBytes"] > 0
    assert "cacheDiskSizeInBytes" not in host.hardware(tmp_path / "gone")
    assert len(host.instance_id()) >= 12
    assert host.routed_addresses("http://127.0.0.1:8000") == ("127.0.0.1",)


def test_sockets_are_counted() -> None:
    assert host.count_sockets("physical id\t: 0\ncore id: 1\nphysical id\t: 1\nphysical id\t: 0\n") == 2
    assert host.count_sockets("processor : 0\n") is None
