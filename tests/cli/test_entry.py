"""The way in: version, help, the agent, watching, and what is not imported."""

import subprocess
import sys
import types
from typing import Any

import httpx
import pytest

import app.cli
from app import __version__
from tests.cli.fake_api import FakeApi, Muster, process_server

PROCESS_SERVERS = "/api/v1/vaults/prod/process-servers"


@pytest.fixture
def agent(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """A stand-in for the agent that ends with 5; returns the arguments it was given."""
    calls: list[list[str]] = []

    def main(arguments: list[str]) -> int:
        calls.append(arguments)
        return 5

    module: Any = types.ModuleType("app.agent.command")
    module.main = main
    monkeypatch.setitem(sys.modules, "app.agent.command", module)
    return calls


def test_the_agent_gets_its_arguments_and_its_exit_code_is_ours(
    agent: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["muster", "agent", "register", "--help", "--json"])
    with pytest.raises(SystemExit) as ended:
        app.cli.main()
    assert ended.value.code == 5
    assert agent == [["register", "--help", "--json"]]


def test_the_agent_is_found_behind_options_too(agent: list[list[str]], muster: Muster) -> None:
    assert muster("--json", "agent", "run", "--help").exit_code == 5
    assert agent == [["run", "--help"]]


def test_the_agent_does_not_wait_for_the_rest() -> None:
    script = (
        "import sys, types\n"
        "module = types.ModuleType('app.agent.command')\n"
        "module.main = lambda arguments: print(*sorted(sys.modules)) or 0\n"
        "sys.modules['app.agent.command'] = module\n"
        "sys.argv = ['muster', 'agent']\n"
        "from app.cli import main\n"
        "main()\n"
    )
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert "app.cli" in loaded
    assert not {"typer", "rich", "pydantic", "httpx", "fastapi", "app.cli.application"} & set(loaded)


def test_help_does_not_wait_for_the_network_or_the_server() -> None:
    script = (
        "import sys\n"
        "sys.argv = ['muster', '--help']\n"
        "from app.cli import main\n"
        "try: main()\n"
        "except SystemExit: print('loaded', *sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = done.stdout.rpartition("loaded")[2].split()
    assert "app.cli.application" in loaded
    assert not {"httpx", "fastapi", "sqlalchemy", "uvicorn"} & set(loaded)


def test_the_version(muster: Muster) -> None:
    assert muster("--version").stdout == f"muster {__version__}\n"


@pytest.mark.parametrize(
    "group",
    ["vault", "registration-key", "configuration-server", "process-server", "event", "token", "cs", "ps"],
)
def test_every_group_explains_itself(muster: Muster, group: str) -> None:
    result = muster(group, "list", "--help")
    assert result.exit_code == 0
    for option in ("--json", "--url", "--token-file", "--ca-file", "--timeout", "--limit"):
        assert option in result.stdout


def test_completion_is_offered(muster: Muster) -> None:
    assert "--show-completion" in muster("--help").stdout


def test_the_url_after_the_command_wins_over_before_and_environment(api: FakeApi, muster: Muster) -> None:
    env = {"MUSTER_URL": "http://environment.example/"}
    muster("vault", "list", env=env)
    muster("--url", "http://before.example:81/", "vault", "list", env=env)
    muster("--url", "http://before.example:81", "vault", "list", "--url", "http://after.example", env=env)
    assert [request.url.host for request in api.requests] == [
        "environment.example",
        "before.example",
        "after.example",
    ]


def test_watching_needs_a_terminal(api: FakeApi, muster: Muster) -> None:
    api.pages(PROCESS_SERVERS, [process_server("ps-1")])
    assert muster("ps", "list", "--watch").exit_code == 2


def test_watching_redraws_and_marks_what_is_old(api: FakeApi, muster: Muster, monkeypatch: pytest.MonkeyPatch) -> None:
    api.pages(PROCESS_SERVERS, [process_server("ps-1")])

    def gone(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    steps = iter(
        (
            lambda: api.pages(PROCESS_SERVERS, [process_server("ps-1", connectionState="Disconnected")]),
            lambda: api.on("GET", PROCESS_SERVERS, gone),
        )
    )

    def sleep(seconds: float) -> None:
        assert seconds >= 1
        step = next(steps, None)
        if step is None:
            raise KeyboardInterrupt
        step()

    monkeypatch.setattr("app.cli.process_servers.time.sleep", sleep)
    result = muster("ps", "list", "--watch", env={"FORCE_COLOR": "1", "COLUMNS": "100", "TERM": "xterm"})
    assert result.exit_code == 0
    connected, disconnected, old = (
        result.stdout.find(text) for text in ("Connected", "Disconnected", "Not up to date")
    )
    assert -1 < connected < disconnected < old
    assert "12:00:00Z" in result.stdout
