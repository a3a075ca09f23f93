"""Installing from the download on a machine that has neither the repository nor its environment.

The package runs under a plain interpreter with an empty folder and nothing else: isolated, without site-packages.
The command lines for Windows are parsed in other tests; here there is no Windows to run them on.
"""

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.muster import VERSION, machine
from tests.support.server import ADMIN_TOKEN, MusterServer

CSIP = "10.150.24.119"
INTERPRETER = getattr(sys, "_base_executable", sys.executable)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MusterServer]:
    """A control plane on SQLite, started."""
    started = MusterServer(tmp_path_factory.mktemp("control-plane"))
    started.start()
    yield started
    started.stop()


class Machine:
    """A folder with the downloaded package and a passphrase, and a bare interpreter; a vault of its own."""

    def __init__(self, server: MusterServer, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self.client = httpx.Client(base_url=server.url, headers={"Authorization": f"Bearer {ADMIN_TOKEN}"})
        vault = f"vault-{uuid.uuid4().hex[:8]}"
        self.path = f"/api/v1/vaults/{vault}"
        self.client.post("/api/v1/vaults", json={"name": vault, "location": "weu"}).raise_for_status()
        key = self.client.post(f"{self.path}/registration-keys").json()["registrationKey"]
        body = {"registrationKey": key, **machine("cs-1", str(uuid.uuid4())), "ipAddresses": [CSIP]}
        registered = self.client.post("/agent/v1/configuration-servers/register", json=body).json()
        self.passphrase: str = registered["passphrase"]
        (folder / "passphrase.txt").write_text(self.passphrase)
        self.shown = self.client.get(f"{self.path}/configuration-servers/cs-1/onboarding").json()
        self.package = folder / self.shown["fileName"]
        self.package.write_bytes(httpx.get(self.shown["downloadUrl"]).content)

    def run(self, *arguments: object) -> "subprocess.CompletedProcess[str]":
        """Run the package to its end."""
        return subprocess.run(
            [INTERPRETER, "-I", "-S", str(self.package), *map(str, arguments)],
            cwd=self.folder,
            env={"PATH": os.environ["PATH"], "MUSTER_AGENT_STATE_DIR": str(self.folder / "state"), "LANG": "C.UTF-8"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def process_server(self, name: str) -> dict[str, Any]:
        """A process server as the control plane shows it."""
        answer = self.client.get(f"{self.path}/process-servers/{name}")
        return dict(answer.raise_for_status().json())


@pytest.fixture
def bare(server: MusterServer, tmp_path: Path) -> Iterator[Machine]:
    """A machine that has downloaded the package."""
    made = Machine(server, tmp_path / "machine")
    yield made
    made.client.close()


def test_a_process_server_from_the_download_connects(bare: Machine, server: MusterServer) -> None:
    line = ["--server-mode", "PS", "--cs", CSIP, "--passphrase-file", "passphrase.txt", "--url", server.url]
    done = bare.run("register", *line, "--name", "ps-1")
    assert done.returncode == 0, done.stderr
    beat = bare.run("once")
    assert beat.returncode == 0, beat.stderr
    seen = bare.process_server("ps-1")
    assert (seen["connectionState"], seen["agentVersion"]) == ("Connected", VERSION)
    assert bare.passphrase not in done.stdout + done.stderr
    unit = bare.run("unit")
    assert f"{bare.package} run" in unit.stdout


def test_unified_setup_from_the_download(bare: Machine, server: MusterServer) -> None:
    _, _, shown = bare.shown["commandLines"]["linux"]["unifiedSetup"].partition(" setup ")
    line = shown.replace("/root/passphrase.txt", "passphrase.txt").replace("/opt/muster", str(bare.folder / "muster"))
    line += " /Name ps-2 /DataTransferSecurePort 28443"
    dry = bare.run("setup", f"{line} /WhatIf /Json")
    assert dry.returncode in {0, 7}, dry.stderr
    document = json.loads(dry.stdout)
    checks = {check["name"]: check["status"] for check in document["prerequisites"]}
    assert (checks["control plane"], checks["clock"]) == ("pass", "pass")
    assert f"copy {bare.package} to {bare.folder}/muster/{bare.package.name}" in document["steps"]
    assert sorted(path.name for path in bare.folder.iterdir()) == [bare.package.name, "passphrase.txt"]

    done = bare.run("setup", f"{line} /IgnorePrerequisites")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Registered: process server ps-2" in done.stdout
    installed = bare.folder / "muster" / bare.package.name
    assert installed.read_bytes() == bare.package.read_bytes()
    bare.package = installed
    assert bare.run("once").returncode == 0
    assert bare.process_server("ps-2")["connectionState"] == "Connected"
    assert bare.passphrase not in done.stdout + done.stderr + server.log


def test_it_needs_nothing_but_the_interpreter(bare: Machine) -> None:
    script = (
        "import sys; sys.path.insert(0, sys.argv[1]); import httpx, anyio, app.agent.heartbeat\n"
        "print(httpx.__file__, anyio.__file__, app.agent.heartbeat.__file__)"
    )
    done = subprocess.run(
        [INTERPRETER, "-I", "-S", "-c", script, str(bare.package)],
        capture_output=True, text=True, check=True, cwd=bare.folder,
    )  # fmt: skip
    assert done.stdout.splitlines()[-1].count(str(bare.package)) == 3


def test_an_old_interpreter_is_told_what_is_needed(bare: Machine) -> None:
    starter = (
        "import runpy, sys; sys.version_info = (3, 9, 1); sys.argv = [sys.argv[1]]\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    done = subprocess.run(
        [INTERPRETER, "-I", "-S", "-c", starter, str(bare.package)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.strip() == "the Muster agent needs Python 3.10 or newer; this is 3.9"
