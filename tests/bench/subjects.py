"""What is measured: each subject is a server in a process of its own, most with a database of their own."""

import asyncio
import functools
import os
import subprocess
import sys
import uuid
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.ext.asyncio import create_async_engine

from tests.bench.beats import Host, LoadPlan
from tests.bench.seeding import seed_hosts, stored_sequences
from tests.bench.serving import READY_SECONDS
from tests.support.postgres import PostgresServer
from tests.support.processes import ChildProcess, ProcessFailedError, accepts_connections, free_port

BARE = "bare"
MUSTER_POSTGRESQL = "muster-postgresql"
MUSTER_SQLITE = "muster-sqlite"
SESSION_POSTGRESQL = "session-postgresql"
SESSION_SQLITE = "session-sqlite"

TITLES = {
    BARE: "bare ASGI application",
    MUSTER_POSTGRESQL: "Muster, PostgreSQL",
    MUSTER_SQLITE: "Muster, SQLite",
    SESSION_POSTGRESQL: "session per request, PostgreSQL",
    SESSION_SQLITE: "session per request, SQLite",
}
START_ATTEMPTS = 3


@dataclass
class Subject:
    """A running server and the hosts it knows."""

    name: str
    process: ChildProcess
    port: int
    hosts: list[Host]
    url: str | None
    next_sequence: int = 1
    boot_id: str = ""
    has_heard_all: bool = False
    """Whether every host has sent a heartbeat. One that stores nothing makes no difference between them."""

    def plan(self, connections: int, seconds: int) -> LoadPlan:
        """Plan the subject's next round: sequences go on where the last round's ended."""
        self.boot_id = self.boot_id or str(uuid.uuid4())
        credentials = [host.credential for host in self.hosts]
        return LoadPlan(self.port, credentials, connections, seconds, self.next_sequence, self.boot_id)

    def stored(self) -> list[int] | None:
        """Read the hosts' stored sequences once they rest; None for the subject that stores nothing."""
        if self.url is None:
            self.has_heard_all = True
            return None
        sequences = asyncio.run(_resting_sequences(self.url, self.hosts))
        self.next_sequence = max(sequences) + 1
        self.has_heard_all = min(sequences) > 0
        return sequences


async def _resting_sequences(url: str, hosts: list[Host]) -> list[int]:
    engine = create_async_engine(url)
    try:
        last: list[int] | None = None
        while (sequences := await stored_sequences(engine, hosts)) != last:
            last = sequences
            await asyncio.sleep(0.1)
        return sequences
    finally:
        await engine.dispose()


class Bench:
    """Starts subjects on one PostgreSQL server and in one folder."""

    def __init__(self, folder: Path, server: PostgresServer | None, hosts: int) -> None:
        self.folder = folder
        self.server = server
        self.hosts = hosts

    def start(self, name: str) -> Subject:
        """Start the subject of that name, its hosts registered."""
        folder = self.folder / name
        folder.mkdir()
        if name == BARE:
            hosts = [Host(one, f"{one.hex}.{one.hex}{one.hex}") for one in (uuid.uuid4() for _ in range(self.hosts))]
            return self._launch(name, hosts, None, [sys.executable, "-m", "tests.bench.bare"], {})
        url = self._database(name, folder)
        if name in {SESSION_POSTGRESQL, SESSION_SQLITE}:
            hosts = asyncio.run(seed_hosts(url, self.hosts))
            arguments = [sys.executable, "-m", "tests.bench.per_request", "--url", url]
            return self._launch(name, hosts, url, arguments, {})
        environment = {
            "MUSTER_DATABASE_URL": url,
            "MUSTER_DATA_DIR": str(folder),
            "MUSTER_HOST": "127.0.0.1",
            "MUSTER_BOOTSTRAP_ADMIN_TOKEN": f"bench-{uuid.uuid4().hex}",
        }
        muster = str(Path(sys.executable).with_name("muster"))
        self._migrate(muster, environment)
        hosts = asyncio.run(seed_hosts(url, self.hosts))
        return self._launch(name, hosts, url, [muster, "serve"], environment)

    def _database(self, name: str, folder: Path) -> str:
        if name in {MUSTER_SQLITE, SESSION_SQLITE}:
            return f"sqlite+aiosqlite:///{folder / 'bench.db'}"
        if self.server is None:
            raise RuntimeError(f"{name} needs PostgreSQL")
        return self.server.create_database(name)

    def _migrate(self, muster: str, environment: dict[str, str]) -> None:
        answer = subprocess.run(
            [muster, "migrate"],
            env=_clean_environment() | environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        if answer.returncode != 0:
            raise ProcessFailedError(f"muster migrate failed:\n{answer.stdout}{answer.stderr}")

    def _launch(
        self, name: str, hosts: list[Host], url: str | None, arguments: list[str], environment: dict[str, str]
    ) -> Subject:
        for attempt in range(1, START_ATTEMPTS + 1):
            port = free_port()
            own = {"MUSTER_PORT": str(port)} if environment else {}
            process = ChildProcess.start(
                arguments if environment else [*arguments, "--port", str(port)],
                log=self.folder / name / "log",
                environment=_clean_environment() | environment | own,
            )
            try:
                process.wait_until(functools.partial(accepts_connections, port), READY_SECONDS, TITLES[name])
            except ProcessFailedError:
                process.stop()
                if attempt == START_ATTEMPTS or "address already in use" not in process.log_tail().lower():
                    raise
            else:
                return Subject(name, process, port, hosts, url)
        raise ProcessFailedError(f"{TITLES[name]} found no free port")


def _clean_environment() -> dict[str, str]:
    """Return an environment without settings of a Muster that is not the one measured."""
    return {name: value for name, value in os.environ.items() if not name.startswith("MUSTER_")}
