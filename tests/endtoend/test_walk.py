"""The five-minute walk of the README with the real commands: two agents, seen, stopped, seen gone."""

import json
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.processes import ChildProcess
from tests.support.server import ADMIN_TOKEN, MUSTER, MusterServer, environment

TIMEOUT_SECONDS = 3


@pytest.fixture
def server(tmp_path: Path) -> Iterator[MusterServer]:
    """A control plane with a short timeout."""
    started = MusterServer(tmp_path, heartbeat_timeout_seconds=TIMEOUT_SECONDS)
    started.start()
    yield started
    started.stop()


class Walker:
    """Runs commands as an operator would."""

    def __init__(self, server: MusterServer, folder: Path) -> None:
        self.server = server
        self.folder = folder
        self.secrets: list[str] = []

    def muster(self, *arguments: object) -> str:
        """Run a command that must succeed. Returns what it printed."""
        done = subprocess.run(
            [MUSTER, *map(str, arguments)],
            env=environment({"url": self.server.url, "token": ADMIN_TOKEN}),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            cwd=self.folder,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def states(self) -> dict[str, str]:
        """Connection state of every process server."""
        listed = json.loads(self.muster("process-server", "list", "--json"))
        return {item["name"]: item["connectionState"] for item in listed}

    def until_states_are(self, wanted: dict[str, str]) -> None:
        """Poll as an operator would, half a minute at the most."""
        deadline = time.monotonic() + 30
        while (seen := self.states()) != wanted:
            assert time.monotonic() < deadline, seen

    def run_agent(self, state: str) -> ChildProcess:
        """Start an agent."""
        return ChildProcess.start(
            [MUSTER, "agent", "run", "--state-dir", self.folder / state],
            log=self.folder / f"{state}.log",
            environment=environment({}),
        )


def test_two_agents_are_seen_and_seen_gone(server: MusterServer, tmp_path: Path) -> None:
    walker = Walker(server, tmp_path)
    walker.muster("vault", "create", "contoso", "--location", "westeurope")
    walker.muster("registration-key", "create", "--output", "contoso.vaultcredentials")
    walker.muster(
        *("agent", "register", "--server-mode", "CS", "--url", server.url, "--name", "cs-1", "--state-dir", "cs"),
        *("--registration-key-file", "contoso.vaultcredentials"),
    )
    walker.muster(
        *("agent", "register", "--server-mode", "PS", "--url", server.url, "--name", "ps-1", "--state-dir", "ps"),
        *("--cs", "cs-1", "--passphrase-file", "cs/passphrase"),
    )
    agents = [walker.run_agent("cs"), walker.run_agent("ps")]
    walker.until_states_are({"cs-1": "Connected", "ps-1": "Connected"})
    shown = json.loads(walker.muster("process-server", "show", "ps-1", "--json"))
    assert shown["telemetry"]["totalSpaceInBytes"] > 0

    assert agents[1].stop(signal_number=signal.SIGTERM) == 0
    walker.until_states_are({"cs-1": "Connected", "ps-1": "Disconnected"})
    events = json.loads(walker.muster("event", "list", "--json", "--resource", "ps-1"))
    assert [event["type"] for event in events] == [
        "process-server.registered",
        "process-server.connected",
        "process-server.disconnected",
    ]
    agents[0].stop()
    key = json.loads((tmp_path / "contoso.vaultcredentials").read_text())["registrationKey"]
    passphrase = (tmp_path / "cs" / "passphrase").read_text().strip()
    credentials = [json.loads((tmp_path / name / "state.json").read_text()) for name in ("cs", "ps")]
    secrets = [key, passphrase, *(state["identity"]["credential"] for state in credentials)]
    for secret in secrets:
        for log in (server.log, agents[0].log.read_text(), agents[1].log.read_text()):
            assert secret not in log
