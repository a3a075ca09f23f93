"""/metrics of a real server with two workers: one answer, whichever worker is asked, also when one was killed."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from prometheus_client.mmap_dict import MmapedDict

from app.core.migrations import upgrade_blocking
from tests.support.muster import VERSION, machine, registration
from tests.support.postgres import PostgresServer
from tests.support.scrape import Scrape
from tests.support.server import ADMIN_TOKEN, MusterServer

WORKERS = 2
WAIT_SECONDS = 120
ANEW = httpx.Client(timeout=30, limits=httpx.Limits(max_keepalive_connections=0))
"""Opens a connection for each request, which either worker may get; one client, since each reads the CAs anew."""


@pytest.fixture
def server(tmp_path: Path, postgres: PostgresServer) -> Iterator[MusterServer]:
    """`muster serve --workers 2` on PostgreSQL."""
    url = postgres.create_database(f"workers_metrics_{os.getpid()}")
    upgrade_blocking(url)
    started = MusterServer(tmp_path, database_url=url, workers=WORKERS, monitor_tick_seconds=1)
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    started.environment["TMPDIR"] = str(temporary)
    started.start()
    yield started
    started.stop()
    assert list(temporary.iterdir()) == [], "the folder that the workers shared was left behind"


def shared_folder(server: MusterServer) -> Path:
    """Where the workers keep their metrics."""
    (folder,) = (server.folder / "tmp").glob("muster-metrics-*")
    return folder


def scrape(server: MusterServer) -> Scrape:
    """A scrape over a connection of its own."""
    return Scrape(ANEW.get(f"{server.url}/metrics").raise_for_status().text)


def values_of(folder: Path, kind: str, name: str) -> dict[int, float]:
    """A metric of each worker by process number, as its own file has it."""
    found: dict[int, float] = {}
    for file in folder.glob(f"{kind}_*.db"):
        if not file.stat().st_size:
            continue  # a worker is about to start
        pid = int(file.stem.rpartition("_")[2])
        for key, value, *_ in MmapedDict.read_all_values_from_file(str(file)):  # type: ignore[no-untyped-call]
            if f'"{name}"' in key:
                found[pid] = found.get(pid, 0) + value
    return found


def wait(server: MusterServer, what: str, *numbers: tuple[str, float]) -> Scrape:
    """Scrape until these metrics have these totals; the scrape in which they had."""
    last: list[Scrape] = []

    def is_there() -> bool:
        with contextlib.suppress(httpx.HTTPError):
            last[:] = [scrape(server)]
            return all(last[0].total(name) == number for name, number in numbers)
        return False

    assert server.process is not None
    server.process.wait_until(is_there, WAIT_SECONDS, what)
    return last[0]


def is_alive(process: psutil.Process) -> bool:
    """Whether it still runs; one that ended and was not waited for does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def fill(server: MusterServer) -> str:
    """A vault with a configuration server and a process server. Returns the former's credential."""
    with httpx.Client(base_url=server.url, headers={"Authorization": f"Bearer {ADMIN_TOKEN}"}, timeout=30) as client:
        client.post("/api/v1/vaults", json={"name": "contoso", "location": "weu"}).raise_for_status()
        key = client.post("/api/v1/vaults/contoso/registration-keys").json()["registrationKey"]
        body = {"registrationKey": key, **machine("cs-1")}
        registered = client.post("/agent/v1/configuration-servers/register", json=body).raise_for_status().json()
        body = registration(registered, "ps-1")
        client.post("/agent/v1/process-servers/register", json=body).raise_for_status()
    return str(registered["credential"])


def beat_until_both_have_some(server: MusterServer, credential: str, first: int) -> int:
    """Send heartbeats, each over a connection of its own, until both workers have taken some. Returns the next."""
    headers = {"Authorization": f"Bearer {credential}"}
    folder = shared_folder(server)
    for sequence in range(first, first + 500):
        body = {"bootId": "boot", "sequence": sequence, "agentVersion": VERSION}
        answer = ANEW.post(f"{server.url}/agent/v1/heartbeat", json=body, headers=headers)
        assert answer.status_code == 200, answer.text
        taken = values_of(folder, "counter", "muster_heartbeats_accepted_total")
        living = [pid for pid, count in taken.items() if count and psutil.pid_exists(pid)]
        if len(living) == WORKERS and sequence >= first + 20:
            return sequence + 1
    pytest.fail("one of the two workers got none of 500 connections")


@pytest.mark.timeout(400)  # a server with three workers in all is started, which takes its time on a busy machine
def test_workers_answer_as_one_and_a_killed_one_leaves_no_gauge(server: MusterServer) -> None:
    credential = fill(server)
    following = beat_until_both_have_some(server, credential, 1)
    beats = following - 1
    wait(server, "a leader", ("muster_monitor_leader", 1), ("muster_workers", WORKERS))
    # The fleet's numbers are kept for 5 s by each worker: both must have counted since the last heartbeat.
    fleet = ("muster_servers", 2.0)
    wait(server, "the fleet", fleet)
    for _ in range(12):
        found = scrape(server)
        assert found.total("muster_heartbeats_accepted_total") == beats
        assert found.total("muster_heartbeat_batch_size_sum") == beats
        assert found.total("muster_workers") == WORKERS
        assert found.total("muster_monitor_leader") == 1
        assert found.total("muster_heartbeat_queue_limit") == WORKERS * 20_000
        assert found.total("muster_database_connections_limit") == WORKERS * 10
        assert found.total("muster_vaults") == 1
        assert found.total("muster_database_up") == 1
        assert found.total("muster_build_info") == 1
        assert not any("pid" in sample.labels for family in found.families.values() for sample in family.samples)

    folder = shared_folder(server)
    leaders = values_of(folder, "gauge_livesum", "muster_monitor_leader")
    (leader,) = (pid for pid, leads in leaders.items() if leads)
    killed = psutil.Process(leader)
    killed.kill()
    # No scrape in between may count the dead worker: not as a worker, not as a leader.
    seen: list[tuple[float, float]] = []

    def has_recovered() -> bool:
        with contextlib.suppress(httpx.HTTPError):
            page = scrape(server)
            workers, leads = page.total("muster_workers"), page.total("muster_monitor_leader")
            if is_alive(killed):
                return False
            seen.append((workers, leads))
            return (workers, leads) == (WORKERS, 1) and leader not in values_of(
                folder, "gauge_livesum", "muster_monitor_leader"
            )
        return False

    assert server.process is not None
    server.process.wait_until(has_recovered, WAIT_SECONDS, "a worker in the killed one's place")
    assert all(workers <= WORKERS and leads <= 1 for workers, leads in seen), seen
    assert scrape(server).total("muster_heartbeats_accepted_total") == beats, "what the dead worker counted is lost"
    following = beat_until_both_have_some(server, credential, following)
    assert scrape(server).total("muster_heartbeats_accepted_total") == following - 1
