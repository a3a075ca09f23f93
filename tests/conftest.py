"""What every test of the service stands on: both databases, a manual clock, the real application.

PostgreSQL is started once per test process; each test has a database to itself, as the migrations leave it.
"""

import asyncio
import gc
import importlib.util
import os
import shutil
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from app.core import secrets
from app.core.clock import ManualClock
from app.core.db import Database
from app.core.migrations import upgrade_blocking
from tests.support.hashing import PRODUCTION_COST, TEST_COST
from tests.support.lending import KeptDatabase, lend_connections
from tests.support.muster import Site, new_site
from tests.support.places import MEMORY, has_room_in_memory
from tests.support.postgres import PostgresServer
from tests.support.statements import share_compiled

if sys.platform == "win32":
    from asyncio import new_event_loop
else:
    from uvloop import new_event_loop

if "PYTEST_XDIST_WORKER" in os.environ:
    # Collecting the tests makes little but what stays. `_rare_collections` turns it on again when that is done.
    gc.disable()

TEMPLATE = "muster_template"
BOTH = ("sqlite", "postgresql")


def pytest_configure(config: pytest.Config) -> None:
    """Keep the tests' files in memory where there is room: none of them need outlive the machine."""
    if config.option.basetemp is None and has_room_in_memory():
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int | None:
    """One process more than there are processors: what starts servers waits for them half of its time."""
    if "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ:
        return None
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return usable + 1


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Quick tests come last: the processes that share the suite end together, and none waits for another's long one."""
    items.sort(key=lambda item: item.path.parent.name == "agent")


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Tests run on the loop that `muster serve` runs on."""
    return {"loop": new_event_loop}


@pytest.fixture(scope="session", autouse=True)
def _plain_environment() -> Iterator[None]:
    """No setting of the developer's shell reaches a test."""
    kept = {name: value for name, value in os.environ.items() if name.startswith("MUSTER_")}
    for name in kept:
        if name != "MUSTER_TEST_PG_BIN":
            del os.environ[name]
    # The suite's PostgreSQL has no TLS; without this, each connection makes ready for it first.
    os.environ["PGSSLMODE"] = "disable"
    yield
    del os.environ["PGSSLMODE"]
    os.environ.update(kept)


@pytest.fixture(scope="session", autouse=True)
def _shared_statements() -> None:
    """Each test's engine would compile every statement anew, and on PostgreSQL connect and prepare it anew."""
    share_compiled()
    lend_connections()


@pytest.fixture(autouse=True)
async def _no_task_left() -> AsyncIterator[None]:
    """All tests run on one loop; what one of them has left running must not run into the next."""
    yield
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)


@pytest.fixture(scope="session", autouse=True)
def _rare_collections() -> None:
    """The modules and tests that were collected stay to the end; looking through them again and again costs a tenth."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    gc.enable()


@pytest.fixture(scope="session", autouse=True)
def _quick_hashes() -> Iterator[None]:
    """Every registration hashes a passphrase; at the product's cost that alone would be minutes."""
    secrets.ARGON2_COST = TEST_COST
    yield
    secrets.ARGON2_COST = PRODUCTION_COST


@pytest.fixture(autouse=True)
def _plain_tracebacks() -> None:
    """Not structlog's default, which writes pages of local variables for one fault."""
    renderer = structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(processors=[structlog.processors.add_log_level, renderer])


@pytest.fixture(scope="session", autouse=True)
def _no_search_for_trio() -> Iterator[None]:
    """httpx's transport for applications looks for a package that isn't there, through all of the path, per request."""
    absent = "sniffio" not in sys.modules and importlib.util.find_spec("sniffio") is None
    if absent:
        sys.modules["sniffio"] = None  # type: ignore[assignment]
    yield
    if absent:
        del sys.modules["sniffio"]


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A real PostgreSQL, started by the suite, as root or not."""
    with PostgresServer.start(fsync=False) as server:
        yield server


@pytest.fixture(scope="session")
def postgres_template(postgres: PostgresServer) -> str:
    """A migrated database to copy from."""
    upgrade_blocking(postgres.create_database(TEMPLATE))
    return TEMPLATE


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file to copy."""
    path = tmp_path_factory.mktemp("template") / "muster.db"
    upgrade_blocking(f"sqlite+aiosqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def _kept_database() -> list[KeptDatabase]:
    """The database that tests on PostgreSQL use one after another; it goes with the server."""
    return []


@pytest.fixture(params=BOTH)
def database_kind(request: pytest.FixtureRequest) -> str:
    """The name of the database that a test runs on; tests of the service run on each."""
    return str(request.param)


@pytest.fixture
def template(database_kind: str, request: pytest.FixtureRequest) -> Path | str:
    """What a test's database is copied from; only the database that is asked for is started."""
    name = "sqlite_template" if database_kind == "sqlite" else "postgres_template"
    found: Path | str = request.getfixturevalue(name)
    if database_kind == "postgresql":
        request.getfixturevalue("postgres")
    return found


@pytest.fixture
async def database_url(template: Path | str, request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    """The URL of a migrated database that belongs to this test alone."""
    if isinstance(template, Path):
        copy = tmp_path / "muster.db"
        shutil.copy(template, copy)
        yield f"sqlite+aiosqlite:///{copy}"
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    kept: list[KeptDatabase] = request.getfixturevalue("_kept_database")
    if not kept:
        kept.append(await KeptDatabase.create(server, template))
    yield kept[0].url
    if not await kept[0].give_back():
        kept.clear()


@pytest.fixture
def clock() -> ManualClock:
    """A clock that only the test moves."""
    return ManualClock()


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """The database itself, beside the application."""
    opened = Database(database_url)
    yield opened
    await opened.close()


@pytest.fixture
async def site(
    request: pytest.FixtureRequest, database_url: str, clock: ManualClock, tmp_path: Path
) -> AsyncIterator[Site]:
    """The application on this test's database, with an admin's client; its background tasks tick when told."""
    settings: dict[str, Any] = (
        {} if request.node.get_closest_marker("no_brake") is None else {"brake_minimum_servers": 1000}
    )
    async with new_site(database_url, clock, tmp_path, **settings) as started:
        yield started
