"""Source machines by the hundred thousand: pages of lists, and imports beside one PUT each.

Runs the application in this process, on SQLite and on PostgreSQL. A page is compared with the first page of a vault
of 1,000 machines that was read in the same round, an import with PUTs one after another. The exit code is 0 unless
something failed: what a machine can do differs, the ratios are what counts.
"""

import argparse
import asyncio
import contextlib
import itertools
import json
import logging
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import structlog
from sqlalchemy import insert, select, text
from sqlalchemy.ext.asyncio import create_async_engine

from app.core.clock import SystemClock
from app.core.migrations import upgrade_blocking
from app.core.wire import new_id
from app.models import ConfigurationServer, ProcessServer, SourceMachine, Vault
from tests.bench.report import Spread
from tests.bench.seeding import seed_hosts
from tests.support.muster import Site, new_site
from tests.support.places import temporary_base
from tests.support.postgres import PostgresServer

VAULT = "/api/v1/vaults/bench"
SERVER = f"{VAULT}/configuration-servers/cs-bench"
GB = 2**30
CHUNK = 2_000
PLACES = ("first", "middle", "last")
LISTS: dict[str, dict[str, Any]] = {
    "by name": {},
    "by churn, descending": {"orderBy": "-churn"},
    "one system": {"osType": "Linux"},
    "one status": {"versionStatus": "NotSupported"},
    "one process server": {"processServer": "ps-3"},
    "part of a name (walks)": {"q": "00"},
}


def arguments_of(command_line: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="./dev bench machines", description=__doc__)
    parser.add_argument("--few", type=int, default=1_000, help="machines of the small vault (1000)")
    parser.add_argument("--many", type=int, default=100_000, help="machines of the large vault (100000)")
    parser.add_argument("--rows", type=int, default=10_000, help="rows of an import (10000)")
    parser.add_argument("--puts", type=int, default=200, help="PUTs that are measured (200)")
    parser.add_argument("--rounds", type=int, default=15, help="how often each page is read (15)")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    return parser.parse_args(command_line)


async def seed(url: str, count: int) -> None:
    """A site with a process server for every 200 machines, connected, and the machines."""
    await seed_hosts(url, max(5, count // 200))
    engine = create_async_engine(url)
    now = datetime.now(UTC)  # noqa: TID251 - a time for the rows, which nothing is decided by
    async with engine.begin() as connection:
        await connection.execute(text("UPDATE hosts SET connection_state = 'Connected', health = 'Healthy'"))
        vault = (await connection.execute(select(Vault.id))).scalar_one()
        site = (await connection.execute(select(ConfigurationServer.id))).scalar_one()
        carriers = (await connection.execute(select(ProcessServer.id).order_by(ProcessServer.name))).scalars().all()
        rows = (
            {
                "id": new_id(),
                "vault_id": vault,
                "configuration_server_id": site,
                "process_server_id": carriers[number % len(carriers)],
                "name": f"m-{number * 7919 % count:06}",
                "friendly_name": f"Machine {number}",
                "churn_bytes_per_day": number * 31 % 997,
                "disks": [{"sizeInBytes": 100 * GB}] * 3,
                "os_type": "Linux" if number % 3 else "Windows",
                # One in five is out of support.
                "agent_version": "9.62.7096.1" if number % 5 else "9.50.1.1",
                "created_at": now,
                "updated_at": now,
                "revision": 1,
            }
            for number in range(count)
        )
        while chunk := list(itertools.islice(rows, CHUNK)):
            await connection.execute(insert(SourceMachine), chunk)
    async with engine.connect() as connection:
        await (await connection.execution_options(isolation_level="AUTOCOMMIT")).execute(text("ANALYZE"))
    await engine.dispose()


async def page(site: Site, query: dict[str, Any]) -> tuple[float, str | None]:
    """Read a page: milliseconds, and the cursor of the next."""
    began_at = time.perf_counter()
    answer = await site.client.get(f"{VAULT}/source-machines", params=query)
    took = time.perf_counter() - began_at
    if answer.status_code != httpx.codes.OK:
        raise RuntimeError(f"{query} was answered with {answer.status_code}: {answer.text[:500]}")
    return 1_000 * took, answer.json()["nextCursor"]


async def cursors(site: Site, query: dict[str, Any]) -> dict[str, str | None]:
    """Cursors of the first, the middle and (nearly) the last page of a list, found by walking it."""
    found: list[str | None] = [None]
    while True:
        _, following = await page(site, {**query, "limit": 500, **_at(found[-1])})
        if following is None:
            break
        found.append(following)
    return dict(zip(PLACES, (None, found[len(found) // 2], found[-1]), strict=True))


def _at(cursor: str | None) -> dict[str, Any]:
    return {} if cursor is None else {"cursor": cursor}


async def pages(few: Site, many: Site, rounds: int) -> dict[str, dict[str, dict[str, list[float]]]]:
    """Milliseconds of the pages of each list by list, place and site.

    All are read in turn, round after round, so that what disturbs the machine for a while disturbs them alike.
    """
    sites = {"few": few, "many": many}
    places = {
        name: {title: await cursors(site, query) for title, query in LISTS.items()} for name, site in sites.items()
    }
    found: dict[str, dict[str, dict[str, list[float]]]] = {
        title: {place: {name: [] for name in sites} for place in PLACES} for title in LISTS
    }
    for _ in range(rounds):
        for title, place, name in itertools.product(LISTS, PLACES, sites):
            cursor = places[name][title][place]
            took, _following = await page(sites[name], {**LISTS[title], "limit": 100, **_at(cursor)})
            found[title][place][name].append(took)
    return found


async def puts(site: Site, count: int) -> float:
    """PUTs of new machines, one after another: how many a second."""
    began_at = time.perf_counter()
    for number in range(count):
        body = _row(f"put-{number:06}", number)
        name = body.pop("name")
        answer = await site.client.put(f"{SERVER}/source-machines/{name}", json=body)
        answer.raise_for_status()
    return count / (time.perf_counter() - began_at)


async def imports(site: Site, count: int) -> dict[str, float]:
    """Imports of new machines, of the same again, and of other churn: rows a second."""
    kinds = {"new": 0, "unchanged": 0, "changed": 1}
    found: dict[str, float] = {}
    for kind, more in kinds.items():
        rows = "\n".join(json.dumps(_row(f"import-{number:06}", number, more)) for number in range(count))
        began_at = time.perf_counter()
        answer = await site.client.post(
            f"{SERVER}/source-machine-imports",
            content=rows.encode(),
            headers={"Content-Type": "application/x-ndjson"},
        )
        found[kind] = count / (time.perf_counter() - began_at)
        answer.raise_for_status()
    return found


def _row(name: str, number: int, more: int = 0) -> dict[str, Any]:
    return {
        "name": name,
        "processServer": f"ps-{number % 5}",
        "churnInBytesPerDay": number % 1_000 + more,
        "disks": [{"sizeInBytes": 100 * GB}] * 3,
        "osType": "Windows",
        "agentVersion": "9.62.7096.1",
        "allowOverCapacity": True,
    }


@contextlib.asynccontextmanager
async def started(url: str, count: int, folder: Path) -> AsyncIterator[Site]:
    """The application on a database of so many machines."""
    await asyncio.to_thread(upgrade_blocking, url)
    await seed(url, count)
    async with new_site(url, SystemClock(), folder) as site:
        yield site


async def measure(urls: dict[str, str], arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Everything about one kind of database."""
    async with (
        started(urls["few"], arguments.few, folder) as few,
        started(urls["many"], arguments.many, folder) as many,
    ):
        lists = await pages(few, many, arguments.rounds)
        rate = await puts(few, arguments.puts)
        rows = await imports(few, arguments.rows)
        rows["new beside many"] = (await imports(many, arguments.rows))["new"]
    return {"pages": lists, "puts": rate, "imports": rows}


def show(title: str, figures: dict[str, Any], arguments: argparse.Namespace) -> str:
    """The figures of one database as text."""
    lines = [
        f"{title}: milliseconds of a page of 100, and as a multiple of the first page of {arguments.few:,} machines"
    ]
    for name, places in figures["pages"].items():
        reference = places["first"]["few"]
        for place, took in places.items():
            ratios = [one / other for one, other in zip(took["many"], reference, strict=True)]
            lines.append(
                f"  {name:<24} {place:<7} {arguments.few:>9,}: {Spread.of(took['few']).show(1):<22} "
                f"{arguments.many:>9,}: {Spread.of(took['many']).show(1):<22} x {Spread.of(ratios).show(2)}"
            )
    lines.append(f"  PUT one by one: {figures['puts']:,.0f} a second")
    lines.extend(
        f"  import of {arguments.rows:,}, {kind}: {rate:,.0f} rows a second, x {rate / figures['puts']:.0f}"
        for kind, rate in figures["imports"].items()
    )
    return "\n".join(lines)


def main(command_line: list[str]) -> int:
    """Measure and print."""
    arguments = arguments_of(command_line)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(dir=temporary_base(on_disk=True)) as name:
        folder = Path(name)
        urls = {size: f"sqlite+aiosqlite:///{folder / size}.db" for size in ("few", "many")}
        found["SQLite"] = asyncio.run(measure(urls, arguments, folder))
        with PostgresServer.start(fsync=True) as server:
            urls = {size: server.create_database(size) for size in ("few", "many")}
            found["PostgreSQL"] = asyncio.run(measure(urls, arguments, folder))
    if arguments.json:
        print(json.dumps(found, indent=2))
    else:
        print("\n\n".join(show(title, figures, arguments) for title, figures in found.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
