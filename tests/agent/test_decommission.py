"""Leaving: the steps on each operating system, the command, and a decommission that the control plane asks for."""

import argparse
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.agent import decommission as command
from app.agent.departure import Departure
from app.agent.exit_codes import ExitCode
from app.agent.heartbeat import NotRegisteredError, PurgedError
from app.agent.lock import AlreadyRunningError, StateLock
from app.agent.outcomes import ExitReason
from app.agent.request import UsageError
from app.agent.state import Json, Settings
from app.agent.store import FileStateStore
from app.agent.uninstall import (
    DEPENDENCIES,
    DONE,
    FAILED,
    RECOVERY_SERVICES_AGENT,
    SERVER,
    SKIPPED,
    Machine,
    Product,
    Step,
    quiet_command,
    remove_state,
    uninstall,
)

from .fakes import URL, Bench, acknowledged, problem, registered_state

GONE = {"id": "ps-id", "name": "ps-ams-01", "decommissioned": True, "decommissionedAt": "2026-11-24T12:00:00.000Z"}
STAYS = GONE | {"decommissioned": False, "decommissionedAt": None}
DONE_STEPS = [Step(SERVER, DONE, "uninstalled"), Step(RECOVERY_SERVICES_AGENT, SKIPPED, "not installed")]
FAILED_STEPS = [Step(SERVER, FAILED, "exit code 1603")]


class Shell:
    """Answers commands as the test says, and notes them."""

    def __init__(self, **codes: int) -> None:
        self.codes = codes
        self.commands: list[str] = []
        self.states = {"svagents": "loaded"}
        self.main_pid = "0"

    def __call__(self, command: list[str] | str, **_: Any) -> "subprocess.CompletedProcess[str]":
        text = command if isinstance(command, str) else " ".join(command)
        self.commands.append(text)
        output = ""
        if "LoadState" in text:
            output = self.states.get(text.rsplit(" ", 1)[1], "not-found")
        elif "MainPID" in text:
            output = self.main_pid
        code = next((code for word, code in self.codes.items() if word in text), 0)
        return subprocess.CompletedProcess(command, code, output, "it broke" if code else "")


def linux(tmp_path: Path, shell: Shell, *, has_unit: bool = True) -> Machine:
    """A Linux machine under the test's hand."""
    if has_unit:
        (tmp_path / "muster-agent.service").write_text("[Unit]\n", "utf-8")
    return Machine(is_windows=False, unit_folder=tmp_path, run=shell, process_id=42)


def windows(shell: Shell, *products: Product) -> Machine:
    """A Windows machine under the test's hand."""
    return Machine(is_windows=True, run=shell, list_products=lambda: list(products))


def statuses(machine: Machine, *services: str) -> list[tuple[str, str]]:
    """Name and status of each step."""
    return [(step.name, step.status) for step in uninstall(machine.components(services))]


def test_linux_stops_services_then_the_agent_s_unit_in_the_seed_s_order(tmp_path: Path) -> None:
    shell = Shell()
    assert statuses(linux(tmp_path, shell), "svagents", "tmansvc") == [
        (SERVER, DONE),
        (DEPENDENCIES, SKIPPED),
        (RECOVERY_SERVICES_AGENT, DONE),
    ]
    assert [text for text in shell.commands if "disable" in text] == [
        "systemctl disable --now -- svagents",
        "systemctl disable --now muster-agent.service",
    ]
    assert shell.commands[-1] == "systemctl daemon-reload"
    assert not (tmp_path / "muster-agent.service").exists()


def test_the_service_does_not_stop_itself(tmp_path: Path) -> None:
    shell = Shell()
    shell.main_pid = "42"
    assert statuses(linux(tmp_path, shell))[2] == (RECOVERY_SERVICES_AGENT, DONE)
    assert "systemctl disable muster-agent.service" in shell.commands


def test_what_is_not_there_is_skipped(tmp_path: Path) -> None:
    assert {status for _, status in statuses(linux(tmp_path, Shell(), has_unit=False), "tmansvc")} == {SKIPPED}

    def missing(*_: Any, **__: Any) -> Any:
        raise FileNotFoundError

    without_systemd = Machine(is_windows=False, unit_folder=tmp_path, run=missing)
    assert {status for _, status in statuses(without_systemd, "svagents")} == {SKIPPED}


def test_after_a_failure_nothing_else_is_touched(tmp_path: Path) -> None:
    shell = Shell(disable=1)
    steps = uninstall(linux(tmp_path, shell).components(["svagents"]))
    assert [step.status for step in steps] == [FAILED, SKIPPED, SKIPPED]
    assert "svagents: it broke" in steps[0].detail
    assert "earlier step failed" in steps[2].detail
    assert (tmp_path / "muster-agent.service").exists()


CODE = "{12345678-1234-1234-1234-123456789ABC}"


def test_windows_runs_each_product_s_quiet_uninstall() -> None:
    shell = Shell(Dependencies=3010)
    machine = windows(
        shell,
        Product(DEPENDENCIES, "Dependencies.exe /quiet", None),
        Product(SERVER.upper(), None, f"MsiExec.exe /I{CODE}"),
        Product("Something else", "rm", None),
    )
    steps = uninstall(machine.components([]))
    assert [(step.name, step.status) for step in steps[:2]] == [(SERVER, DONE), (DEPENDENCIES, DONE)]
    assert "restarted" in steps[1].detail
    assert shell.commands[:2] == [f"msiexec.exe /x {CODE} /quiet /norestart", "Dependencies.exe /quiet"]
    assert shell.commands[2].startswith("schtasks /Delete /TN Muster agent")


def test_windows_says_what_it_can_not_do_quietly() -> None:
    assert quiet_command(Product(SERVER, None, r"C:\setup.exe /uninstall")) is None
    steps = uninstall(windows(Shell(), Product(SERVER, None, r"C:\setup.exe /uninstall")).components([]))
    assert (steps[0].status, steps[1].status) == (FAILED, SKIPPED)
    assert "Control Panel" in steps[0].detail
    shell = Shell(setup=1605, schtasks=1)
    assert statuses(windows(shell, Product(SERVER, "setup.exe /q", None))) == [
        (SERVER, SKIPPED),
        (DEPENDENCIES, SKIPPED),
        (RECOVERY_SERVICES_AGENT, SKIPPED),
    ]
    assert statuses(windows(Shell(setup=1603), Product(SERVER, "setup.exe /q", None)))[0] == (SERVER, FAILED)


def test_only_the_agent_s_own_files_are_removed(tmp_path: Path) -> None:
    for name in ("state.json", "state.json.damaged-1", "passphrase", "agent.lock", "passphrase.txt"):
        (tmp_path / name).write_text("x", "utf-8")
    assert "the folder stays" in remove_state(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["passphrase.txt"]
    (tmp_path / "passphrase.txt").unlink()
    assert "is removed" in remove_state(tmp_path)
    assert not tmp_path.exists()


# --- the command


class Bureau:
    """The control plane's end of the command."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self.answers = list(answers)
        self.bodies: list[Json] = []

    def connect(self, settings: Settings) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=settings.url, transport=httpx.MockTransport(self._answer))

    def _answer(self, request: httpx.Request) -> httpx.Response:
        assert request.url.path == "/agent/v1/decommission"
        assert request.headers["Authorization"].startswith("Bearer ")
        self.bodies.append(json.loads(request.content))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The state folder of a registered server."""
    store = FileStateStore(tmp_path / "state")
    store.save(registered_state(settings=Settings(url=URL, services=("svagents",))))
    return store.folder


Decommission = Callable[..., ExitCode]


@pytest.fixture
def run(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Decommission:
    """Runs the command."""
    monkeypatch.setattr(command, "_PAUSE_SECONDS", 0.0)

    def started(bureau: Bureau, shell: Shell | None = None, **options: Any) -> ExitCode:
        chosen = {"state_dir": folder, "switch_to": None, "yes": True, "what_if": False} | options
        machine = linux(tmp_path, shell or Shell())
        return command.decommission(argparse.Namespace(**chosen), "muster agent", machine, bureau.connect)

    return started


def test_check_uninstall_goodbye(run: Decommission, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bureau = Bureau(httpx.Response(200, json=STAYS), httpx.Response(200, json=GONE))
    assert run(bureau, switch_to="ps-2") is ExitCode.OK
    assert bureau.bodies[0] == {"dryRun": True, "steps": [], "switchTo": "ps-2"}
    assert [step["status"] for step in bureau.bodies[1]["steps"]] == [DONE, SKIPPED, DONE]
    assert bureau.bodies[1]["switchTo"] == "ps-2"
    assert not folder.exists()
    output = capsys.readouterr().out
    assert f"   done  {SERVER}: svagents stopped and disabled" in output
    assert "Gone from the control plane" in output


def test_nothing_is_touched_when_the_control_plane_refuses(
    run: Decommission, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shell = Shell()
    blockers = [{"code": "machines-assigned", "detail": "3 machines"}]
    for answer, code in (
        (problem(409, "decommission-blocked", blockers=blockers), ExitCode.FAILURE),
        (problem(401, "credential-refused"), ExitCode.CREDENTIAL_REFUSED),
        (httpx.ConnectError("no route"), ExitCode.FAILURE),
    ):
        assert run(Bureau(answer), shell) is code
        assert "nothing was changed" in capsys.readouterr().err
    assert shell.commands == []
    assert (folder / "state.json").exists()
    with pytest.raises(PurgedError):
        run(Bureau(problem(410, "purged", reason="gone")), shell)


def test_what_if_only_shows(run: Decommission, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shell = Shell()
    bureau = Bureau(httpx.Response(200, json=STAYS))
    assert run(bureau, shell, what_if=True) is ExitCode.OK
    assert shell.commands == []
    assert (folder / "state.json").exists()
    assert "stop and disable svagents" in capsys.readouterr().out


def test_nobody_to_ask_is_a_usage_error(run: Decommission) -> None:
    shell = Shell()
    with pytest.raises(UsageError, match="--yes"):
        run(Bureau(httpx.Response(200, json=STAYS)), shell, yes=False)
    assert not [text for text in shell.commands if "disable" in text]


def test_a_failed_step_is_reported_and_the_state_stays(run: Decommission, folder: Path) -> None:
    bureau = Bureau(httpx.Response(200, json=STAYS), httpx.Response(200, json=STAYS))
    assert run(bureau, Shell(disable=1)) is ExitCode.FAILURE
    assert bureau.bodies[1]["steps"][0]["status"] == FAILED
    assert (folder / "state.json").exists()


def test_the_goodbye_is_tried_again_and_can_be_repeated_by_hand(
    run: Decommission, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lost: list[httpx.Response | Exception] = [
        problem(503),
        httpx.ReadError("lost"),
        problem(503),
        problem(503),
        problem(503),
    ]
    assert run(Bureau(httpx.Response(200, json=STAYS), *lost)) is ExitCode.FAILURE
    assert "Run the same command again" in capsys.readouterr().err
    assert (folder / "state.json").exists()
    bureau = Bureau(httpx.Response(200, json=GONE), httpx.ReadError("lost"), httpx.Response(200, json=GONE))
    assert run(bureau) is ExitCode.OK
    assert not folder.exists()


def test_an_agent_in_the_foreground_has_to_be_stopped_first(run: Decommission, folder: Path) -> None:
    shell = Shell(**{"is-active": 3})
    with StateLock(folder), pytest.raises(AlreadyRunningError, match="stop it first"):
        run(Bureau(httpx.Response(200, json=STAYS)), shell)
    assert not [text for text in shell.commands if "disable" in text]


def test_an_unregistered_server_has_nothing_to_leave(run: Decommission, tmp_path: Path) -> None:
    with pytest.raises(NotRegisteredError):
        run(Bureau(), state_dir=tmp_path / "empty")


# --- asked by the control plane


def asked(job: str | None = "job-1", generation: int = 2) -> httpx.Response:
    """The answer to a heartbeat that asks this server to leave, or does not any more."""
    actions = [] if job is None else [{"type": "decommission", "job": job}]
    return acknowledged(generation=generation, desired={"generation": generation, "actions": actions})


def bench_asked(*answers: httpx.Response | Exception) -> tuple[Bench, list[int]]:
    """A bench whose control plane asks once, and the calls of the steps."""
    return Bench(asked(), *answers), []


def departure(calls: list[int], steps: list[Step]) -> Departure:
    """Does `steps`, and notes that it was asked to."""

    def done() -> list[Step]:
        calls.append(1)
        return steps

    return Departure(done)


async def test_run_carries_out_what_is_asked() -> None:
    bench, calls = bench_asked(httpx.Response(200, json=STAYS), httpx.Response(200, json=GONE))
    reason = await bench.agent(departure=departure(calls, DONE_STEPS)).run()
    assert reason is ExitReason.DECOMMISSIONED
    paths = [request.url.path for request in bench.control_plane.requests]
    assert paths == ["/agent/v1/heartbeat", "/agent/v1/decommission", "/agent/v1/decommission"]
    assert bench.control_plane.bodies[1] == {"dryRun": True, "job": "job-1"}
    assert bench.control_plane.bodies[2] == {"steps": [step.to_json() for step in DONE_STEPS], "job": "job-1"}
    assert calls == [1]


async def test_the_steps_are_done_once_and_the_goodbye_is_repeated() -> None:
    bench, calls = bench_asked(
        problem(409, "decommission-blocked"),
        acknowledged(generation=2),
        httpx.Response(200, json=STAYS),
        httpx.ReadError("lost"),
        acknowledged(generation=2),
        problem(503),
        acknowledged(generation=2),
        httpx.Response(200, json=GONE),
    )
    reason = await bench.agent(departure=departure(calls, DONE_STEPS)).run()
    assert reason is ExitReason.DECOMMISSIONED
    assert calls == [1]


async def test_after_a_failed_step_the_agent_goes_on_until_it_is_asked_anew() -> None:
    bench, calls = bench_asked(
        httpx.Response(200, json=STAYS),
        httpx.Response(200, json=STAYS),
        acknowledged(generation=2),
        asked(None, 3),
        asked("job-2", 4),
        problem(410, "purged"),
        problem(410, "purged"),
    )
    assert await bench.agent(departure=departure(calls, FAILED_STEPS)).run() is ExitReason.PURGED
    assert calls == [1]
    assert bench.control_plane.bodies[-2] == {"dryRun": True, "job": "job-2"}


async def test_an_agent_that_was_started_again_takes_it_up_again() -> None:
    bench, calls = bench_asked(httpx.ReadError("lost"))
    first = bench.agent(departure=departure(calls, DONE_STEPS))

    def stop_at_the_second() -> None:
        if len(bench.control_plane.requests) == 2:
            first.stop()

    bench.control_plane.on_request = stop_at_the_second
    assert await first.run() is ExitReason.STOPPED
    bench.control_plane.on_request = lambda: None
    bench.control_plane.answers = [
        acknowledged(generation=2),
        httpx.Response(200, json=STAYS),
        httpx.Response(200, json=GONE),
    ]
    again = bench.agent(departure=departure(calls, DONE_STEPS))
    assert await again.run() is ExitReason.DECOMMISSIONED
