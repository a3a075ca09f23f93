"""The commands as an operator runs them."""

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from app.agent import telemetry
from app.agent.command import main
from app.agent.lock import StateLock
from app.agent.state import Purge, Settings
from app.agent.store import FileStateStore

from .conftest import PortServer
from .fakes import CREDENTIAL, registered_state

KEY = "0192-key.registration-secret"
PASSPHRASE = "correct-horse-battery"
ACKNOWLEDGED = {"serverTime": "2026-11-24T12:00:00Z", "nextHeartbeatSeconds": 30, "generation": 0, "notices": []}
REGISTERED = {
    "id": "server-id",
    "vault": "prod",
    "configurationServer": "cs-ams",
    "name": "ps-ams-01",
    "credential": "0192.issued-credential",
    "heartbeat": {"intervalSeconds": 30, "timeoutSeconds": 900},
}


@pytest.fixture(autouse=True)
def _quiet_surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telemetry, "_FIRST_CPU_WINDOW_SECONDS", 0.01)
    for name in ("MUSTER_URL", "MUSTER_AGENT_VERSION", "MUSTER_AGENT_STATE_DIR", "NOTIFY_SOCKET", "WATCHDOG_USEC"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state"


def _file(path: Path, content: str) -> str:
    path.write_text(content)
    return str(path)


def _ps(tmp_path: Path, folder: Path, *more: str) -> list[str]:
    passphrase = _file(tmp_path / "passphrase.txt", PASSPHRASE + "\r\n")
    return [
        "register", "--server-mode", "ps", "--cs", "cs-ams", "--passphrase-file", passphrase,
        "--state-dir", str(folder), "--name", "PS-AMS-01", *more,
    ]  # fmt: skip


def _registered(folder: Path, url: str, **changes: Any) -> FileStateStore:
    store = FileStateStore(folder)
    store.save(registered_state(settings=Settings(url=url), **changes))
    return store


def test_a_process_server_registers(
    tmp_path: Path, folder: Path, port_server: PortServer, capsys: pytest.CaptureFixture[str]
) -> None:
    port_server.reply = lambda _: (201, REGISTERED)
    cache = tmp_path / "cache"
    cache.mkdir()
    more = ("--url", port_server.url + "/", "--kind", "FAILBACK", "--cache-folder", str(cache), "--service", "obengine")
    assert main([*_ps(tmp_path, folder), *more, "--agent-version", "9.61.7016.1"]) == 0
    [(path, headers, body)] = port_server.requests
    assert path == "/agent/v1/process-servers/register"
    assert headers["user-agent"].startswith("muster-agent/")
    assert (body["passphrase"], body["name"], body["kind"]) == (PASSPHRASE, "ps-ams-01", "failback")
    assert (body["ipAddresses"], body["dataTransferPort"]) == (["127.0.0.1"], 9443)
    assert body["agentVersion"] == "9.61.7016.1"
    assert body["hardware"]["cacheDiskSizeInBytes"] > 0
    output = capsys.readouterr()
    assert "Registered: process server ps-ams-01 (server-id) in vault prod" in output.out
    assert PASSPHRASE not in output.out + output.err
    assert "issued-credential" not in output.out + output.err
    state = FileStateStore(folder).load()
    assert state is not None
    assert state.settings == Settings(
        url=port_server.url, cache_folder=str(cache), services=("obengine",), agent_version="9.61.7016.1"
    )


@pytest.mark.parametrize("as_document", [False, True])
@pytest.mark.parametrize("show", [False, True])
def test_a_configuration_server_registers_and_keeps_the_passphrase(
    as_document: bool,
    show: bool,
    tmp_path: Path,
    folder: Path,
    port_server: PortServer,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    port_server.reply = lambda _: (201, REGISTERED | {"name": "cs-ams", "passphrase": PASSPHRASE})
    if as_document:
        content = "\ufeff" + json.dumps({"registrationKey": KEY, "url": port_server.url, "vault": "prod"})
    else:
        content = KEY + "\n"
        monkeypatch.setenv("MUSTER_URL", port_server.url)
    key_file = _file(tmp_path / "prod.vaultcredentials", content)
    argv = ["register", "--server-mode", "CS", "--registration-key-file", key_file, "--state-dir", str(folder)]
    assert main([*argv, "--name", "cs-ams", *(["--show-passphrase"] if show else [])]) == 0
    [(path, _, body)] = port_server.requests
    assert path == "/agent/v1/configuration-servers/register"
    assert body["registrationKey"] == KEY
    assert body["hardware"]["cacheDiskSizeInBytes"] > 0
    saved = folder / "passphrase"
    assert saved.read_text() == PASSPHRASE + "\n"
    assert stat.S_IMODE(saved.stat().st_mode) == 0o600
    output = capsys.readouterr()
    assert str(saved) in output.out
    assert (PASSPHRASE in output.out) == show
    assert KEY not in output.out + output.err


def test_a_passphrase_that_can_not_be_saved_is_not_lost(
    tmp_path: Path, folder: Path, port_server: PortServer, capsys: pytest.CaptureFixture[str]
) -> None:
    port_server.reply = lambda _: (201, REGISTERED | {"name": "cs-ams", "passphrase": PASSPHRASE})
    output = tmp_path / "missing" / "passphrase"
    argv = [
        "register", "--server-mode", "CS", "--registration-key-file", _file(tmp_path / "key", KEY), "--name", "cs-ams",
        "--url", port_server.url, "--state-dir", str(folder), "--passphrase-output-file", str(output),
    ]  # fmt: skip
    assert main(argv) == 1
    assert "run the same command again" in capsys.readouterr().err
    output.parent.mkdir()
    assert main(argv) == 0
    assert output.read_text() == PASSPHRASE + "\n"
    first, second = (headers["idempotency-key"] for _, headers, _ in port_server.requests)
    assert first == second


def test_port_443_and_plain_http_are_warned_about(
    tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ("--url", "http://control.invalid", "--attempts", "1", "--ip-address", "10.0.0.9")
    assert main(_ps(tmp_path, folder, *more, "--data-transfer-port", "443")) == 1
    error = capsys.readouterr().err
    assert "should not carry replication data" in error
    assert "not encrypted" in error


@pytest.mark.parametrize(
    ("argv", "complaint"),
    [
        ([], "required"),
        (["register"], "--server-mode"),
        (["register", "--server-mode", "PS"], "--cs and --passphrase-file"),
        (["register", "--server-mode", "CS"], "--registration-key-file"),
        (["register", "--server-mode", "CS", "--cs", "x"], "--cs does not go with"),
        (["register", "--server-mode", "PS", "--show-passphrase"], "--show-passphrase does not go with"),
        (["register", "--server-mode", "XS"], "invalid choice"),
        (["register", "--server-mode", "PS", "--url", "ftp://x"], "not an http"),
        (["register", "--server-mode", "PS", "--url", "http://me:secret@x"], "must not carry"),
        (["register", "--server-mode", "PS", "--name", "a_b"], "a_b"),
        (["register", "--server-mode", "PS", "--ip-address", "10.0.0.256"], "not an IP address"),
        (["register", "--server-mode", "PS", "--data-transfer-port", "0"], "not a port"),
        (["register", "--server-mode", "PS", "--agent-version", "9.62"], "four numbers"),
        (["register", "--server-mode", "PS", "--kind", "inbuilt"], "neither of"),
        (["register", "--server-mode", "PS", "--cs", "x", "--passphrase-file", "/nonexistent"], "/nonexistent"),
        (["register", "--server-mode", "PS", "--cs", "x", "--passphrase-file", os.devnull], "is empty"),
        (["register", "--server-mode", "CS", "--registration-key-file", __file__], "single line"),
    ],
)
def test_wrong_arguments_end_with_2(
    argv: list[str], complaint: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ["--state-dir", str(folder)] if argv else []
    assert main([*argv, *more]) == 2
    assert complaint in capsys.readouterr().err
    assert not folder.exists()


def test_the_control_planes_address_must_be_known(
    tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(_ps(tmp_path, folder)) == 2
    assert "MUSTER_URL" in capsys.readouterr().err


def test_help_tells_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--help"]) == 0
    assert "4  the control plane does not know this credential" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["run", "once", "status"])
def test_without_a_registration_nothing_runs(command: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--state-dir", str(folder)]) == 3
    assert "not registered" in capsys.readouterr().err
    assert not folder.exists()


@pytest.mark.parametrize("command", ["run", "once", "status"])
def test_a_damaged_state_is_told(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "state.json").write_text("{")
    assert main([command, "--state-dir", str(tmp_path)]) == 3
    assert "is damaged" in capsys.readouterr().err
    assert (tmp_path / "state.json").read_text() == "{"


def test_a_damaged_state_is_kept_aside_only_by_force(tmp_path: Path, folder: Path, port_server: PortServer) -> None:
    port_server.reply = lambda _: (200, REGISTERED)
    folder.mkdir()
    (folder / "state.json").write_text("{")
    argv = _ps(tmp_path, folder, "--url", port_server.url, "--host-id", "host-1")
    assert main(argv) == 3
    assert port_server.requests == []
    assert main([*argv, "--force"]) == 0
    [aside] = folder.glob("state.json.damaged-*")
    assert aside.read_text() == "{"
    assert port_server.requests[0][2]["hostId"] == "host-1"


@pytest.mark.parametrize("command", ["run", "once", "register"])
def test_two_agents_on_one_state_do_not_start(
    command: str, tmp_path: Path, folder: Path, port_server: PortServer, capsys: pytest.CaptureFixture[str]
) -> None:
    _registered(folder, port_server.url)
    argv = _ps(tmp_path, folder, "--url", port_server.url)
    with StateLock(folder):
        assert main(argv if command == "register" else [command, "--state-dir", str(folder)]) == 6
    assert f"process {os.getpid()}" in capsys.readouterr().err
    assert port_server.requests == []


def test_once_prints_the_answer_without_secrets(
    folder: Path, port_server: PortServer, capsys: pytest.CaptureFixture[str]
) -> None:
    _registered(folder, port_server.url)
    port_server.reply = lambda _: (200, ACKNOWLEDGED | {"credential": "0192.rotated"})
    assert main(["once", "--state-dir", str(folder)]) == 0
    output = capsys.readouterr()
    assert json.loads(output.out) == ACKNOWLEDGED | {"credential": "(new, saved)"}
    assert "rotated" not in output.err
    [(path, headers, body)] = port_server.requests
    assert path == "/agent/v1/heartbeat"
    assert headers["authorization"] == f"Bearer {CREDENTIAL}"
    assert body["telemetry"]["totalMemoryInBytes"] > 0
    assert body["ipAddresses"] == ["127.0.0.1"]


@pytest.mark.parametrize(("status", "code"), [(401, 4), (410, 5), (422, 1), (503, 1)])
def test_once_ends_with_what_the_control_plane_said(
    status: int, code: int, folder: Path, port_server: PortServer, capsys: pytest.CaptureFixture[str]
) -> None:
    _registered(folder, port_server.url)
    port_server.reply = lambda _: (status, {"title": "No", "detail": "because", "code": "no"})
    assert main(["once", "--state-dir", str(folder)]) == code
    assert json.loads(capsys.readouterr().out)["detail"]


def test_a_purged_server_does_not_run_again(
    folder: Path, port_server: PortServer, capsys: pytest.CaptureFixture[str]
) -> None:
    _registered(folder, port_server.url)
    told = {"purgedAt": "2026-11-24T11:59:00Z", "purgedBy": "alice", "reason": "site flooded"}
    port_server.reply = lambda _: (410, {"title": "Purged", "code": "purged"} | told)
    assert main(["run", "--state-dir", str(folder)]) == 5
    assert main(["run", "--state-dir", str(folder)]) == 5
    assert len(port_server.requests) == 1
    assert "2026-11-24T11:59:00Z by alice, reason: site flooded" in capsys.readouterr().err


def test_run_ends_with_4_on_401(folder: Path, port_server: PortServer, capsys: pytest.CaptureFixture[str]) -> None:
    _registered(folder, port_server.url)
    port_server.reply = lambda _: (401, {"title": "Unauthorized", "code": "unknown-credential"})
    assert main(["run", "--state-dir", str(folder), "--log-format", "json"]) == 4
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    [line] = [line for line in lines if line["level"] == "error"]
    assert "register this server again" in line["message"]


def test_status_shows_everything_but_secrets(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    purge = Purge(told_at="2026-11-24T12:00:00Z", purged_at=None, purged_by="alice", reason=None)
    _registered(folder, "https://control.example")
    assert main(["status", "--state-dir", str(folder), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["name"] == "ps-ams-01"
    assert document["connectionState"] == "Disconnected"
    assert document["lastHeartbeat"] is None
    assert document["running"] is False
    _registered(folder, "https://control.example", purge=purge)
    assert main(["status", "--state-dir", str(folder)]) == 0
    text = capsys.readouterr().out
    assert "purged from the control plane at an unknown time by alice" in text
    assert CREDENTIAL not in text + json.dumps(document)


def test_the_unit_is_filled_in(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["unit", "--state-dir", "/var/lib/muster-agent/site 1"]) == 0
    text = capsys.readouterr().out
    assert 'run --state-dir "/var/lib/muster-agent/site 1"' in text
    assert 'ReadWritePaths="/var/lib/muster-agent/site 1"' in text
    assert main(["unit", "--state-dir", "/var/lib/muster-agent"]) == 0
    text = capsys.readouterr().out
    assert "StateDirectory=muster-agent\n" in text
    assert "RestartPreventExitStatus=2 3 4 5\n" in text
    assert "Type=notify\n" in text
    assert "@EXEC" not in text
    assert "@STATE" not in text
