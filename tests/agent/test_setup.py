"""``muster-setup`` carried out: problems, prerequisites, what-if, registration, the service."""

import json
import os
import subprocess
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from app.agent import telemetry
from app.agent.command import main as agent
from app.agent.setup import command, main
from app.agent.setup.command import main as set_up
from app.agent.setup.eula import THIRD_PARTY
from app.agent.setup.installation import Installation, Systemd, manual_steps, windows_task
from app.agent.setup.prerequisites import FREE, GIB, TAKEN, Facts
from app.agent.state import Settings
from app.agent.store import FileStateStore

from .conftest import PortServer
from .fakes import registered_state
from .proxy_server import running_proxy
from .test_setup_command_line import SAMPLE, UNPACK

PASSPHRASE = "abcd-efgh-ijkl-mnop-qrst-uvwx-yz23-4567"
KEY = "0192-key.registration-secret"
REGISTERED = {
    "id": "server-id",
    "vault": "prod",
    "configurationServer": "cs-ams",
    "name": "ps-ams-01",
    "credential": "0192.issued-credential",
    "heartbeat": {"intervalSeconds": 30, "timeoutSeconds": 900},
}
GOOD = Facts(
    cpu_count=8, memory_bytes=16 * GIB, cache_free_bytes=600 * GIB, install_free_bytes=5 * GIB,
    ports={443: FREE, 9443: FREE}, address="10.0.0.9", is_address_static=True, clock_skew_seconds=0,
    locale="C", os_type="Linux", os_version="Debian 12",
)  # fmt: skip


class Systemctl:
    """Stands in for systemctl: remembers what it was asked, fails where it is told to."""

    def __init__(self, *, is_active: bool = False, fails_at: str = "") -> None:
        self.calls: list[str] = []
        self.is_active = is_active
        self.fails_at = fails_at

    def __call__(self, words: list[str], **_: Any) -> "subprocess.CompletedProcess[str]":
        self.calls.append(" ".join(words[1:]))
        asked = words[1]
        code = int(not self.is_active) if asked == "is-active" else int(asked == self.fails_at)
        return subprocess.CompletedProcess(words, code, "", "Unit is masked.\n" if code else "")


class Place:
    """A machine to set up, with the command line's files."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.url = url
        self.state = folder / "state"
        self.systemctl = Systemctl()
        self.units = folder / "units"
        self.units.mkdir()
        (folder / "passphrase.txt").write_text(PASSPHRASE + "\r\n")
        (folder / "mysql.txt").write_text('[MySQLCredentials]\nMySQLRootPassword="r00t-pw"\nMySQLUserPassword="u-pw"\n')
        (folder / "prod.vaultcredentials").write_text(json.dumps({"registrationKey": KEY, "url": url}))

    def systemd(self, *, is_there: bool = True) -> Systemd:
        """The service manager."""
        runtime = self.folder if is_there else self.folder / "none"
        return Systemd(self.units, runtime, is_root=True, run=self.systemctl)

    def ps(self, *more: str) -> list[str]:
        """A process server's line."""
        return [
            "/AcceptThirdpartyEULA", "/ServerMode", "ps", "/InstallLocation", str(self.folder / "muster"),
            "/EnvType", "vmware", "/CSIP", "10.150.24.119", "/PassphraseFilePath", str(self.folder / "passphrase.txt"),
            "/ControlPlaneUrl", self.url, "/Name", "ps-ams-01", *more,
        ]  # fmt: skip

    def cs(self, *more: str) -> list[str]:
        """A configuration server's line."""
        return [
            "/AcceptThirdpartyEULA", "/ServerMode", "CS", "/InstallLocation", str(self.folder / "muster"),
            "/EnvType", "VMware", "/MySQLCredsFilePath", str(self.folder / "mysql.txt"),
            "/VaultCredsFilePath", str(self.folder / "prod.vaultcredentials"), "/Name", "cs-ams", *more,
        ]  # fmt: skip


@pytest.fixture
def place(tmp_path: Path, port_server: PortServer, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A machine that meets every prerequisite, and a control plane that takes registrations."""
    monkeypatch.setattr(telemetry, "_FIRST_CPU_WINDOW_SECONDS", 0.01)
    for name in ("MUSTER_URL", "MUSTER_AGENT_VERSION", "HTTP_PROXY", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    port_server.reply = lambda _: (201, REGISTERED)
    found = Place(tmp_path, port_server.url)
    monkeypatch.setenv("MUSTER_AGENT_STATE_DIR", str(found.state))
    meet(monkeypatch)
    return found


def meet(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> list[dict[str, Any]]:
    """Let the machine be a good one but for `changes`; returns what it will be asked."""
    asked: list[dict[str, Any]] = []

    def look(settings: Settings, **members: Any) -> Facts:
        asked.append({"settings": settings, **members})
        return replace(GOOD, **changes)

    monkeypatch.setattr(command, "look_at_machine", look)
    return asked


def files_below(folder: Path) -> set[str]:
    """Everything in a folder with its content's size and time."""
    return {f"{path} {path.stat().st_size} {path.stat().st_mtime_ns}" for path in folder.rglob("*")}


def test_a_process_server_is_checked_registered_and_installed(
    place: Place, port_server: PortServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert set_up(place.ps("/Kind", "failback", "/PSIP", "10.0.0.9"), systemd=place.systemd()) == 0
    [(path, _, body)] = port_server.requests
    assert path == "/agent/v1/process-servers/register"
    assert body["configurationServer"] == "10.150.24.119"
    assert (body["passphrase"], body["name"], body["kind"]) == (PASSPHRASE, "ps-ams-01", "failback")
    assert (body["ipAddresses"], body["dataTransferPort"]) == (["10.0.0.9"], 9443)
    assert place.systemctl.calls == [
        "daemon-reload",
        "enable muster-agent.service",
        "restart muster-agent.service",
    ]
    unit = place.units / "muster-agent.service"
    assert f"-m app.agent run --state-dir {place.state}" in unit.read_text()
    assert unit.stat().st_mode & 0o777 == 0o644
    output = capsys.readouterr()
    assert "Registered: process server ps-ams-01" in output.out
    assert PASSPHRASE not in output.out + output.err


def test_a_configuration_server_finds_the_control_plane_in_its_vault_credentials(
    place: Place, port_server: PortServer, capsys: pytest.CaptureFixture[str]
) -> None:
    port_server.reply = lambda _: (201, REGISTERED | {"name": "cs-ams", "passphrase": PASSPHRASE})
    assert set_up(place.cs(), systemd=place.systemd()) == 0
    [(path, _, body)] = port_server.requests
    assert path == "/agent/v1/configuration-servers/register"
    assert body["registrationKey"] == KEY
    assert (place.state / "passphrase").read_text() == PASSPHRASE + "\n"
    output = capsys.readouterr()
    kept = "".join(path.read_text() for path in place.state.rglob("*") if path.is_file())
    for secret in (KEY, PASSPHRASE, "r00t-pw", "u-pw"):
        assert secret not in output.out + output.err + "".join(unit.read_text() for unit in place.units.iterdir())
    for secret in (KEY, "r00t-pw", "u-pw"):
        assert secret not in kept


def test_what_if_tells_everything_and_changes_nothing(
    place: Place, port_server: PortServer, capsys: pytest.CaptureFixture[str]
) -> None:
    before = files_below(place.folder)
    assert set_up(place.ps("/WhatIf"), systemd=place.systemd()) == 0
    assert files_below(place.folder) == before
    assert port_server.requests == []
    assert place.systemctl.calls == []
    output = capsys.readouterr().out
    for expected in ("cores", "register this machine as a process server", "systemctl daemon-reload", "10.150.24.119"):
        assert expected in output


def test_what_if_as_json(place: Place, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    meet(monkeypatch, cpu_count=2)
    assert set_up(place.ps("/WhatIf", "/json", "/DataTransferSecurePort:443"), systemd=place.systemd()) == 7
    document = json.loads(capsys.readouterr().out)
    assert (document["exitCode"], document["whatIf"], document["problems"]) == (7, True, [])
    assert [check for check in document["prerequisites"] if check["status"] == "fail"] == [
        {"name": "cores", "status": "fail", "detail": "2; 4 are needed"}
    ]
    assert "443" in document["warnings"][0]
    assert any("muster-agent.service" in step for step in document["steps"])


def test_an_unmet_prerequisite_stops_before_anything_changes(
    place: Place, port_server: PortServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    meet(monkeypatch, ports={443: TAKEN, 9443: FREE})
    before = files_below(place.folder)
    assert set_up(place.ps(), systemd=place.systemd()) == 7
    assert files_below(place.folder) == before
    assert port_server.requests == []
    assert "fail     port 443" in capsys.readouterr().out
    assert set_up(place.ps("/IgnorePrerequisites"), systemd=place.systemd()) == 0
    assert len(port_server.requests) == 1


def test_what_is_looked_at(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = meet(monkeypatch)
    cache = place.folder / "cache"
    cache.mkdir()
    words = place.ps("/WhatIf", "/BypassProxy", "/DataTransferSecurePort", "9444", "/CacheFolder", str(cache))
    assert set_up(words, systemd=place.systemd()) == 0
    [members] = asked
    assert members["ports"] == {443, 9444}
    assert members["cache_folder"] == cache
    assert members["install_folder"] == place.folder / "muster"
    assert members["settings"].proxy.mode == "direct"
    assert not members["is_registered"]


def test_problems_of_the_line_and_of_its_files_are_told_together(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    (place.folder / "mysql.txt").write_text("[MySQLCredentials]\nMySQLRootPassword = hunter2\n")
    (place.folder / "prod.vaultcredentials").write_text("{broken")
    (place.folder / "proxy.ini").write_text("[ProxySettings]\nProxyPort = hunter2\n")
    words = [*place.cs("/ProxySettingsFilePath", str(place.folder / "proxy.ini"), "/CAFile", str(place.folder))[1:],
             "/PSIP", "x", "/CacheFolder", "none"]  # fmt: skip
    assert set_up([*words, "/Json"], systemd=place.systemd()) == 2
    output = capsys.readouterr()
    found = {problem["parameter"] for problem in json.loads(output.out)["problems"]}
    assert found == {"AcceptThirdpartyEULA", "MySQLCredsFilePath", "VaultCredsFilePath", "ProxySettingsFilePath",
                     "CAFile", "PSIP", "CacheFolder", "ControlPlaneUrl"}  # fmt: skip
    assert "hunter2" not in output.out + output.err


def test_the_seeds_line_on_this_system_names_what_it_has_not(capsys: pytest.CaptureFixture[str]) -> None:
    assert set_up([SAMPLE]) == 2
    said = capsys.readouterr().err
    assert "3 problem(s)" in said
    for parameter in ("InstallLocation", "PassphraseFilePath", "ControlPlaneUrl"):
        assert f"/{parameter} " in said


def test_a_passphrase_in_place_of_its_file_is_not_repeated(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    words = [PASSPHRASE if word.endswith("passphrase.txt") else word for word in place.ps()]
    assert set_up(words, systemd=place.systemd()) == 2
    output = capsys.readouterr()
    assert "/PassphraseFilePath" in output.err
    assert PASSPHRASE not in output.out + output.err


@pytest.mark.parametrize("location", ["relative/folder", "passphrase.txt", "D:\\Muster"])
def test_places_that_can_not_be_installed_in(
    place: Place, location: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place.folder)
    words = [location if word.endswith("muster") else word for word in place.ps()]
    assert set_up(words, systemd=place.systemd()) == 2
    assert "/InstallLocation" in capsys.readouterr().err


def test_the_control_plane_may_come_from_the_environment(
    place: Place, port_server: PortServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MUSTER_URL", place.url)
    words = place.ps()
    del words[words.index("/ControlPlaneUrl") : words.index("/Name")]
    assert set_up(words, systemd=place.systemd()) == 0
    assert len(port_server.requests) == 1


def test_a_custom_proxy_is_used_and_kept_by_later_setups(place: Place, port_server: PortServer) -> None:
    with running_proxy("user", "p w") as proxy:
        file = place.folder / "proxy.ini"
        file.write_text(proxy.settings_file("user", "p w"))
        assert set_up(place.ps("/ProxySettingsFilePath", str(file)), systemd=place.systemd()) == 0
        assert set_up(place.ps(), systemd=place.systemd()) == 0
        assert len(proxy.seen) == 2
        assert set_up(place.ps("/BypassProxy"), systemd=place.systemd()) == 0
        assert len(proxy.seen) == 2
    assert len(port_server.requests) == 3


def test_a_running_service_is_stopped_for_the_registration_and_started_whatever_comes(
    place: Place, port_server: PortServer
) -> None:
    place.systemctl = Systemctl(is_active=True)
    (place.units / "muster-agent.service").write_text("old")
    assert set_up(place.ps(), systemd=place.systemd()) == 0
    assert place.systemctl.calls[:2] == ["is-active --quiet muster-agent.service", "stop muster-agent.service"]
    assert place.systemctl.calls[-1] == "restart muster-agent.service"
    place.systemctl.calls.clear()
    port_server.reply = lambda _: (401, {"title": "no", "code": "passphrase-refused"})
    assert set_up(place.ps(), systemd=place.systemd()) == 1
    assert place.systemctl.calls[-1] == "start muster-agent.service"


def test_a_failing_service_manager_is_told_and_the_line_can_be_repeated(
    place: Place, port_server: PortServer, capsys: pytest.CaptureFixture[str]
) -> None:
    place.systemctl = Systemctl(fails_at="enable")
    assert set_up(place.ps(), systemd=place.systemd()) == 1
    assert "systemctl enable muster-agent.service failed: Unit is masked." in capsys.readouterr().err
    place.systemctl = Systemctl()
    assert set_up(place.ps(), systemd=place.systemd()) == 0
    hosts = {body["hostId"] for _, _, body in port_server.requests}
    assert len(hosts) == 1


def test_without_a_service_manager_it_tells_what_to_do(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    assert set_up(place.ps(), systemd=place.systemd(is_there=False)) == 0
    output = capsys.readouterr().out
    assert "No service was installed" in output
    assert f"run --state-dir {place.state}" in output


def test_the_package_is_copied_to_where_the_service_finds_it(tmp_path: Path) -> None:
    package = tmp_path / "download" / "muster-agent-9.62.7096.1.pyz"
    package.parent.mkdir()
    with zipfile.ZipFile(package, "w") as archive:
        archive.writestr("__main__.py", "")
    installation = Installation(package, tmp_path / "opt" / "muster")
    installation.copy()
    installation.copy()
    target = tmp_path / "opt" / "muster" / package.name
    assert target.read_bytes() == package.read_bytes()
    assert list(target.parent.iterdir()) == [target]
    assert installation.command[-1] == str(target)
    assert os.access(target, os.R_OK)
    assert str(target) in manual_steps(installation.command, tmp_path)[0]


def test_on_windows_the_agent_becomes_a_task_of_the_system() -> None:
    command_words = [r"C:\Program Files\Python\python.exe", r"D:\Muster\muster-agent.pyz"]
    lines = windows_task(command_words, Path("C:/ProgramData/Muster's/agent"))
    assert "-Execute 'C:\\Program Files\\Python\\python.exe'" in lines[0]
    assert "D:\\Muster\\muster-agent.pyz run --state-dir C:/ProgramData/Muster''s/agent" in lines[0]
    assert "Register-ScheduledTask" in lines[3]


def test_eula_help_and_the_line_that_unpacks(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["/ServerMode", "nonsense", "/ShowThirdpartyEULA"]) == 0
    shown = capsys.readouterr().out
    for name, license_name in THIRD_PARTY.items():
        assert name in shown
        assert license_name in shown
    assert "Permission is hereby granted" in shown
    assert main(["/?"]) == 0
    assert "exit codes:" in capsys.readouterr().out
    assert main([UNPACK]) == 0
    assert "nothing to unpack" in capsys.readouterr().out


def test_it_is_a_command_of_the_agent_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert agent(["setup", "/ServerMode", "XS", "-h2"]) == 2
    said = capsys.readouterr().err
    assert "muster agent setup" in said
    assert "/ServerMode is 'XS'" in said
    assert agent(["--help"]) == 0
    assert "setup" in capsys.readouterr().out


def test_a_registered_server_is_known_to_be_one(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    FileStateStore(place.state).save(registered_state(settings=Settings(url=place.url)))
    asked = meet(monkeypatch)
    words = place.ps("/WhatIf")
    del words[words.index("/ControlPlaneUrl") : words.index("/Name")]
    assert set_up(words, systemd=place.systemd()) == 0
    assert asked[0]["is_registered"]
    assert asked[0]["settings"].url == place.url
