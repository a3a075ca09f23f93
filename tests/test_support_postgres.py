"""The PostgreSQL that the suite starts for itself."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from tests.support import postgres, postgres_binaries
from tests.support.postgres import PostgresServer
from tests.support.processes import ProcessFailedError, free_port

pytestmark = pytest.mark.skipif(os.name != "posix", reason="runs PostgreSQL as on Unix")


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with PostgresServer.start() as started:
        yield started


@asynccontextmanager
async def connected(server: PostgresServer, database: str = "postgres") -> AsyncIterator[Any]:
    connection = await asyncpg.connect(server.dsn(database))
    try:
        yield connection
    finally:
        await connection.close()


async def setting(server: PostgresServer, name: str) -> str:
    async with connected(server) as connection:
        return str(await connection.fetchval("SELECT current_setting($1)", name))


def eventually(condition: Callable[[], bool], seconds: float = 15.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_url_serves_sqlalchemy_in_utf8_and_c_order(server: PostgresServer) -> None:
    engine = create_async_engine(server.url())
    async with engine.connect() as connection:
        row = (await connection.execute(text("SELECT 'ä' < 'z', current_setting('server_encoding')"))).one()
    await engine.dispose()
    assert tuple(row) == (False, "UTF8")


async def test_tests_do_without_fsync(server: PostgresServer) -> None:
    names = ("fsync", "synchronous_commit", "full_page_writes")
    assert [await setting(server, name) for name in names] == ["off", "off", "off"]


async def test_unix_socket_takes_connections(server: PostgresServer) -> None:
    assert server.socket_folder is not None
    connection = await asyncpg.connect(host=str(server.socket_folder), port=server.port, user="postgres")
    await connection.close()


async def test_database_from_template_carries_its_tables(server: PostgresServer) -> None:
    await server.create_database_async("original")
    async with connected(server, "original") as connection:
        await connection.execute("CREATE TABLE kept AS SELECT 7 AS value")
    assert await server.create_database_async('the "copy"', template="original")
    async with connected(server, "the%20%22copy%22") as connection:
        assert await connection.fetchval("SELECT value FROM kept") == 7


async def test_drop_cuts_off_whoever_is_connected(server: PostgresServer) -> None:
    await server.create_database_async("doomed")
    async with connected(server, "doomed"):
        await server.drop_database_async("doomed")
    await server.drop_database_async("doomed")
    with pytest.raises(asyncpg.InvalidCatalogNameError):
        await asyncpg.connect(server.dsn("doomed"))


def test_databases_come_and_go_without_a_loop(server: PostgresServer) -> None:
    assert server.create_database("plain").endswith("/plain")
    server.drop_database("plain")


async def test_killed_server_comes_back_with_what_was_committed() -> None:
    with PostgresServer.start(fsync=True, max_connections=20, settings={"work_mem": "2MB"}) as server:
        names = ("fsync", "synchronous_commit", "full_page_writes", "max_connections", "work_mem")
        assert [await setting(server, name) for name in names] == ["on", "on", "on", "20", "2MB"]
        async with connected(server) as connection:
            await connection.execute("CREATE TABLE kept AS SELECT 7 AS value")
            port, before = server.port, server.pid
            server.kill()
            assert not server.is_running()
            with pytest.raises((OSError, asyncpg.PostgresError, asyncpg.InterfaceError)):
                await connection.fetchval("SELECT 1")
        server.restart()
        assert server.port == port
        assert server.pid != before
        async with connected(server) as connection:
            assert await connection.fetchval("SELECT value FROM kept") == 7
        folder = server.log.parent
    assert not folder.exists()


def test_taken_port_is_given_up_for_another(server: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> None:
    ports = iter([server.port, free_port()])
    monkeypatch.setattr(postgres, "free_port", lambda host: next(ports))
    with PostgresServer.start() as second:
        assert second.port != server.port
        assert second.is_running()


def test_failed_start_shows_the_log_and_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Path] = []

    def remember(**arguments: Any) -> str:
        made.append(Path(mkdtemp(**arguments)))
        return str(made[-1])

    monkeypatch.setattr(tempfile, "mkdtemp", remember)
    with pytest.raises(ProcessFailedError, match="no_such_setting"):
        PostgresServer.start(settings={"no_such_setting": "1"})
    assert len(made) == 1
    assert not made[0].exists()


def test_copy_is_made_once_runs_and_is_mended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = postgres_binaries.programs()
    if not (original.parent / "share").is_dir():
        pytest.skip("the system's PostgreSQL is spread over the file system and is not copied")
    monkeypatch.setattr(postgres_binaries, "temporary_base", lambda on_disk: tmp_path)
    tmp_path.chmod(0o755)
    copy = postgres_binaries.reachable_copy(original)
    made = (copy / "postgres").stat().st_ino
    assert postgres_binaries.reachable_copy(original) == copy
    assert (copy / "postgres").stat().st_ino == made
    (copy / "initdb").unlink()
    assert postgres_binaries.reachable_copy(original) == copy
    assert subprocess.run([copy / "initdb", "--version"], check=True, capture_output=True).stdout
    build = copy.parents[2]
    assert {path.name for path in build.parent.iterdir()} == {".lock", build.name}


def test_planted_folder_is_not_trusted(tmp_path: Path) -> None:
    folder = tmp_path / "planted"
    folder.mkdir()
    folder.chmod(0o755)
    assert postgres_binaries.is_ours(folder)
    folder.chmod(0o777)
    assert not postgres_binaries.is_ours(folder)
    link = tmp_path / "link"
    link.symlink_to(tmp_path)
    assert not postgres_binaries.is_ours(link)
    if os.geteuid() == 0:
        folder.chmod(0o755)
        os.chown(folder, 65534, -1)
        assert not postgres_binaries.is_ours(folder)


def test_killed_test_process_takes_its_server_along() -> None:
    program = (
        "import time\nfrom tests.support.postgres import PostgresServer\nserver = PostgresServer.start()\n"
        "print(server.pid, server.log.parent, flush=True)\ntime.sleep(60)"
    )
    root = Path(__file__).parent.parent
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, cwd=root)
    assert process.stdout is not None
    with process.stdout as output:
        pid, folder = output.readline().split(maxsplit=1)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert eventually(lambda: not Path(folder.strip()).exists())
    assert eventually(lambda: not is_alive(int(pid)))
