"""A real PostgreSQL for tests and benchmarks, started without docker, as root or not.

One server per test process is what the suite uses: a start takes about half a second, so sharing one between
the workers of a parallel run would save little, and its end would have to be agreed on between them.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import asyncpg

from tests.support.places import temporary_base, unprivileged_identity
from tests.support.postgres_binaries import programs
from tests.support.processes import ChildProcess, ProcessFailedError, free_port, guard

HOST = "127.0.0.1"
SUPERUSER = "postgres"
START_SECONDS = 60.0
PORT_ATTEMPTS = 5

# A test's data need outlive neither its machine nor a killed server; a test of crashes asks for `fsync`.
_UNSAFE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
_PORT_TAKEN = ("could not bind", "Address already in use", "could not create any TCP/IP sockets")
# The length of a Unix socket's path is limited to 103 bytes and a zero on macOS, a little more on Linux.
_SOCKET_PATH_BYTES = 103

Answer = TypeVar("Answer")


class PostgresServer:
    """A PostgreSQL server of one's own, with its data in a temporary folder.

    Leaving the `with` block stops it and removes the data; so does the end of this process, however it ends.
    """

    def __init__(self, folder: Path, settings: Mapping[str, str]) -> None:
        self._folder = folder
        self._settings = dict(settings)
        self._process: ChildProcess | None = None
        self._crashed = False
        self._closed = False
        self.port = 0

    @classmethod
    def start(
        cls,
        *,
        fsync: bool = False,
        max_connections: int = 100,
        shared_buffers: str = "32MB",
        settings: Mapping[str, str] | None = None,
    ) -> Self:
        """Start a fresh server and return it when it takes connections.

        With `fsync` a commit is on disk when it is acknowledged, as in production; without, nothing waits for
        a disk, and the data may be in memory.
        `settings` are further server settings by name.
        """
        folder = Path(tempfile.mkdtemp(prefix="muster-pg-", dir=temporary_base(on_disk=fsync)))
        guard.remove_at_end(folder)
        wanted = {
            "listen_addresses": HOST,
            "max_connections": str(max_connections),
            "shared_buffers": shared_buffers,
            "log_timezone": "UTC",
            "TimeZone": "UTC",
            **({} if fsync else _UNSAFE),
            **(settings or {}),
        }
        server = cls(folder, wanted)
        try:
            server._initialise()
            server._launch_on_free_port()
        except BaseException:
            server.close()
            raise
        return server

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def url(self, database: str = SUPERUSER) -> str:
        """Return the address of a database for SQLAlchemy's asyncpg dialect."""
        return f"postgresql+asyncpg://{SUPERUSER}@{HOST}:{self.port}/{database}"

    def dsn(self, database: str = SUPERUSER) -> str:
        """Return the address of a database for asyncpg, psql and the like."""
        return f"postgresql://{SUPERUSER}@{HOST}:{self.port}/{database}"

    @property
    def socket_folder(self) -> Path | None:
        """The folder of the Unix socket; None where the path would be too long for one."""
        folder = self._folder / "socket"
        longest = len(os.fsencode(folder / ".s.PGSQL.65535"))
        return folder if longest <= _SOCKET_PATH_BYTES else None

    @property
    def log(self) -> Path:
        """The file with the server's messages."""
        return self._folder / "log"

    @property
    def pid(self) -> int | None:
        """The number of the server's main process; None while it is stopped."""
        return None if self._process is None else self._process.pid

    def is_running(self) -> bool:
        """Say whether the server's main process runs."""
        return self._process is not None and self._process.is_running()

    def stop(self) -> None:
        """Stop the server, cutting its connections off, and keep its data for `restart`."""
        process, self._process = self._process, None
        if process is None:
            return
        if process.is_running():
            process.send(signal.SIGINT)
        if process.wait(10) is None:
            process.send(signal.SIGQUIT)
        if process.wait(5) is None:
            process.kill()
            self._crashed = True

    def kill(self) -> None:
        """Kill every process of the server in the middle of what it does; `restart` recovers from its log."""
        process, self._process = self._process, None
        if process is not None:
            self._crashed = True
            process.kill()

    def restart(self) -> None:
        """Start the server again on the same data and port, stopping it first if it runs."""
        self.stop()
        self._launch()

    def close(self) -> None:
        """Stop the server and remove its data."""
        if self._closed:
            return
        self._closed = True
        self.stop()
        if self._crashed:
            self._remove_shared_memory()
        shutil.rmtree(self._folder, ignore_errors=True)
        if not self._folder.exists():
            guard.keep(self._folder)

    async def execute(self, statement: str, database: str = SUPERUSER) -> None:
        """Run one statement outside a transaction, as the superuser."""
        connection = await asyncpg.connect(self.dsn(database), timeout=30)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    async def create_database_async(self, name: str, template: str | None = None) -> str:
        """Create a database, a copy of `template` if given (to which nobody is connected); return its URL."""
        connection = await asyncpg.connect(self.dsn(), timeout=30)
        try:
            statement = f"CREATE DATABASE {_quoted(name)}"
            if template is not None:
                statement += f" TEMPLATE {_quoted(template)}"
            if self._settings.get("fsync") == "off" and connection.get_server_version() >= (15,):
                # Half the time of the default, which spares a flush of all buffers that costs nothing here.
                statement += " STRATEGY FILE_COPY"
            await connection.execute(statement)
        finally:
            await connection.close()
        return self.url(name)

    async def drop_database_async(self, name: str) -> None:
        """Drop a database if it is there, cutting off whoever is connected to it."""
        await self.execute(f"DROP DATABASE IF EXISTS {_quoted(name)} WITH (FORCE)")

    def create_database(self, name: str, template: str | None = None) -> str:
        """Do as `create_database_async` does, from code that is not asynchronous."""
        return _in_own_loop(self.create_database_async(name, template))

    def drop_database(self, name: str) -> None:
        """Do as `drop_database_async` does, from code that is not asynchronous."""
        _in_own_loop(self.drop_database_async(name))

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    def _initialise(self) -> None:
        identity = unprivileged_identity()
        # Only what PostgreSQL must write belongs to its user. The log in particular is opened by us,
        # who must not be led elsewhere.
        self._folder.chmod(0o711 if identity else 0o700)
        for folder in (self._data, self._folder / "socket"):
            folder.mkdir(mode=0o700)
            if identity is not None:
                os.chown(folder, identity.uid, identity.gid)
        arguments: list[str | Path] = [programs() / "initdb", "--pgdata", self._data, "--username", SUPERUSER]
        arguments += ["--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"]
        process = ChildProcess.start(
            arguments, log=self.log, environment=_environment(), folder=self._folder, identity=identity
        )
        if process.wait(START_SECONDS) != 0:
            process.kill()
            raise ProcessFailedError(f"initdb failed:\n{process.log_tail()}")

    def _launch_on_free_port(self) -> None:
        for attempt in range(1, PORT_ATTEMPTS + 1):
            self.port = free_port(HOST)
            offset = self.log.stat().st_size
            try:
                self._launch()
            except ProcessFailedError:
                said = self.log.read_bytes()[offset:].decode(errors="replace")
                if attempt == PORT_ATTEMPTS or not any(sign in said for sign in _PORT_TAKEN):
                    raise
            else:
                return

    def _launch(self) -> None:
        settings = {
            **self._settings,
            "port": str(self.port),
            "unix_socket_directories": str(self.socket_folder or ""),
        }
        arguments: list[str | Path] = [programs() / "postgres", "-D", self._data]
        for name, value in settings.items():
            arguments += ["-c", f"{name}={value}"]
        process = ChildProcess.start(
            arguments,
            log=self.log,
            environment=_environment(),
            folder=self._folder,
            identity=unprivileged_identity(),
            last_signal=signal.SIGQUIT,
        )
        self._process = process
        try:
            process.wait_until(lambda: self._is_ready(process.pid), START_SECONDS, "PostgreSQL")
        except ProcessFailedError:
            self.stop()
            raise
        self._crashed = False

    def _is_ready(self, pid: int) -> bool:
        # The server keeps its state in this file, and pg_ctl waits by it; unlike an accepted connection it
        # cannot be another server's on the same port.
        try:
            lines = (self._data / "postmaster.pid").read_text().splitlines()
        except (FileNotFoundError, UnicodeDecodeError):
            return False
        return len(lines) >= 8 and lines[0].strip() == str(pid) and lines[7].strip() == "ready"

    def _remove_shared_memory(self) -> None:
        # A killed server cannot free its System V segment, and without a restart nobody else would.
        tool = shutil.which("ipcrm")
        with contextlib.suppress(OSError, IndexError):
            segment = (self._data / "postmaster.pid").read_text().splitlines()[6].split()[1]
            if tool is not None:
                subprocess.run([tool, "-m", segment], capture_output=True, check=False)


def _environment() -> dict[str, str]:
    """Return an environment in which messages are in English and no PG* variable has a say."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "LC_", "LANG"))}
    return {**kept, "LC_ALL": "C", "TZ": "UTC"}


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _in_own_loop(work: Coroutine[Any, Any, Answer]) -> Answer:
    # In a thread: this one may have a running loop, or one that asyncio.run would take away from a plugin.
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()
