"""The way through a proxy: the machine's own, none, a custom one with credentials; chosen first, changed later."""

import json
import stat
from pathlib import Path

import httpx
import pytest

from app.agent import telemetry
from app.agent.command import main
from app.agent.lock import StateLock
from app.agent.proxy_choice import describe_proxy
from app.agent.state import Proxy, Settings, State
from app.agent.store import FileStateStore
from app.agent.wire import open_client

from .conftest import PortServer
from .fakes import registered_state
from .proxy_server import running_proxy

PASSWORD = "p=;#w d-secret"
ACKNOWLEDGED = {"serverTime": "2026-11-24T12:00:00Z", "nextHeartbeatSeconds": 30, "generation": 0, "notices": []}
REGISTERED = {
    "id": "ps-id",
    "vault": "prod",
    "configurationServer": "cs-ams",
    "name": "ps-ams-01",
    "credential": "0192.issued-credential",
    "heartbeat": {"intervalSeconds": 30, "timeoutSeconds": 900},
}


@pytest.fixture(autouse=True)
def _quiet_surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telemetry, "_FIRST_CPU_WINDOW_SECONDS", 0.01)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The state folder of a registered process server."""
    return tmp_path / "state"


def saved(folder: Path) -> State:
    """The state in a folder."""
    state = FileStateStore(folder).load()
    assert state is not None
    return state


def registered(folder: Path, url: str) -> State:
    """Put a registered server into the folder."""
    FileStateStore(folder).save(registered_state(settings=Settings(url=url)))
    return saved(folder)


def answers(port_server: PortServer) -> None:
    """Let the control plane take heartbeats and registrations."""
    port_server.reply = lambda path: (200, ACKNOWLEDGED if path.endswith("heartbeat") else REGISTERED)


def test_set_proxy_sends_heartbeats_and_registration_through_it_and_keeps_who_the_server_is(
    folder: Path, tmp_path: Path, port_server: PortServer, capsys: pytest.CaptureFixture[str]
) -> None:
    answers(port_server)
    before = registered(folder, port_server.url)
    file = tmp_path / "proxy.ini"
    state = ["--state-dir", str(folder)]
    with running_proxy("corp\\svc-ps", PASSWORD) as proxy:
        file.write_text(proxy.settings_file("corp\\svc-ps", PASSWORD))
        assert main(["set-proxy", "--custom-file", str(file), *state]) == 0
        file.unlink()
        assert main(["once", *state]) == 0
        assert proxy.seen == [f"POST {port_server.url}/agent/v1/heartbeat"]
        passphrase = tmp_path / "passphrase.txt"
        passphrase.write_text("some-passphrase")
        words = ["register", "--server-mode", "PS", "--cs", "cs-ams", "--passphrase-file", str(passphrase)]
        assert main([*words, "--name", "ps-ams-01", "--url", port_server.url, *state]) == 0
        assert main(["once", *state]) == 0
        assert [line.rsplit("/", 1)[1] for line in proxy.seen] == ["heartbeat", "register", "heartbeat"]
        assert proxy.refused == 0
    after = saved(folder)
    assert after.host_id == before.host_id
    assert after.identity is not None
    assert before.identity is not None
    assert after.identity.id == before.identity.id
    assert after.settings is not None
    assert after.settings.proxy is not None
    assert after.settings.proxy.password == PASSWORD
    assert stat.S_IMODE((folder / "state.json").stat().st_mode) == 0o600
    assert main(["status", *state]) == 0
    assert main(["status", "--json", *state]) == 0
    output = capsys.readouterr()
    assert PASSWORD not in output.out + output.err
    assert "svc-ps" not in output.out + output.err
    assert f"the proxy 127.0.0.1:{proxy.port}, with credentials" in output.out
    assert all("proxy-authorization" not in headers for _, headers, _ in port_server.requests)


def test_wrong_credentials_are_a_failure_that_names_no_password(
    folder: Path, tmp_path: Path, port_server: PortServer, capsys: pytest.CaptureFixture[str]
) -> None:
    registered(folder, port_server.url)
    with running_proxy("user", "right") as proxy:
        file = tmp_path / "proxy.ini"
        file.write_text(proxy.settings_file("user", PASSWORD))
        assert main(["set-proxy", "--custom-file", str(file), "--state-dir", str(folder)]) == 0
        assert main(["once", "--state-dir", str(folder)]) == 1
        assert proxy.refused == 1
    output = capsys.readouterr()
    assert "407" in output.out
    assert PASSWORD not in output.out + output.err
    assert port_server.requests == []


def test_direct_existing_and_clear(folder: Path, port_server: PortServer, monkeypatch: pytest.MonkeyPatch) -> None:
    answers(port_server)
    registered(folder, port_server.url)
    state = ["--state-dir", str(folder)]
    with running_proxy() as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.port}")
        assert main(["once", *state]) == 0
        assert len(proxy.seen) == 1
        assert main(["set-proxy", "--direct", *state]) == 0
        assert main(["once", *state]) == 0
        assert len(proxy.seen) == 1
        assert main(["set-proxy", "--existing", *state]) == 0
        assert main(["once", *state]) == 0
        assert len(proxy.seen) == 2
        assert main(["set-proxy", "--clear", *state]) == 0
        settings = saved(folder).settings
        assert settings is not None
        assert settings.proxy is None
        assert main(["once", *state]) == 0
        assert len(proxy.seen) == 3


def test_registration_chooses_a_proxy(tmp_path: Path, folder: Path, port_server: PortServer) -> None:
    answers(port_server)
    passphrase = tmp_path / "passphrase.txt"
    passphrase.write_text("some-passphrase")
    with running_proxy() as proxy:
        file = tmp_path / "proxy.ini"
        file.write_text(proxy.settings_file())
        words = ["register", "--server-mode", "PS", "--cs", "cs-ams", "--passphrase-file", str(passphrase)]
        words += ["--url", port_server.url, "--state-dir", str(folder), "--custom-file", str(file)]
        assert main(words) == 0
        assert [line.rsplit("/", 1)[1] for line in proxy.seen] == ["register"]


async def test_https_goes_through_a_tunnel() -> None:
    with running_proxy("user", "right") as proxy:
        way = Proxy(mode="custom", address="127.0.0.1", port=proxy.port, user_name="user", password="right")
        async with open_client("https://127.0.0.1:1", proxy=way) as client:
            with pytest.raises(httpx.HTTPError):
                await client.get("/")
        assert proxy.seen == ["CONNECT 127.0.0.1:1"]
        assert proxy.refused == 0


@pytest.mark.parametrize("words", [[], ["--direct", "--existing"], ["--custom-file"]])
def test_one_choice_is_needed(words: list[str], folder: Path) -> None:
    assert main(["set-proxy", *words, "--state-dir", str(folder)]) == 2


def test_set_proxy_refuses_a_bad_file_an_unregistered_server_and_a_running_agent(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["set-proxy", "--direct", "--state-dir", str(folder)]) == 3
    before = registered(folder, "http://127.0.0.1:1")
    file = tmp_path / "proxy.ini"
    file.write_text("[ProxySettings]\nProxyPort = x\n")
    assert main(["set-proxy", "--custom-file", str(file), "--state-dir", str(folder)]) == 2
    said = capsys.readouterr().err
    for member in ("ProxyAuthentication", "Proxy IP", "ProxyPort"):
        assert member in said
    assert main(["set-proxy", "--custom-file", str(tmp_path / "none"), "--state-dir", str(folder)]) == 2
    with StateLock(folder):
        assert main(["set-proxy", "--direct", "--state-dir", str(folder)]) == 6
    assert saved(folder) == before


def test_a_state_without_a_proxy_is_that_of_an_older_agent(folder: Path) -> None:
    registered(folder, "http://127.0.0.1:1")
    path = folder / "state.json"
    document = json.loads(path.read_text())
    del document["settings"]["proxy"]
    path.write_text(json.dumps(document))
    settings = saved(folder).settings
    assert settings is not None
    assert settings.proxy is None


def test_no_form_of_a_proxy_shows_its_password() -> None:
    proxy = Proxy(mode="custom", address="::1", port=8080, user_name="user", password=PASSWORD)
    assert PASSWORD not in f"{proxy!r} {describe_proxy(proxy)} {Settings(url='x', proxy=proxy)!r}"
