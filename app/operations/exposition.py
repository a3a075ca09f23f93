"""The page that Prometheus reads: what the workers of this server have counted, and the readings.

Several workers share a folder of files, one set for each process. Counters of a worker that ended stay in the sums,
since what it counted did happen; its gauges spoke of the process and go with it.
"""

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

import psutil
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Metric,
    disable_created_metrics,
    generate_latest,
    multiprocess,
)

from app.core import metrics
from app.core.clock import Clock
from app.core.db import Database
from app.core.settings import Settings

CONTENT_TYPE = CONTENT_TYPE_LATEST
FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"

# The times at which counters were made: Prometheus makes nothing of them in this format, and workers have none.
disable_created_metrics()  # type: ignore[no-untyped-call]


class _Workers:
    """A collector of what all workers have counted."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def collect(self) -> Iterable[Metric]:
        # A worker that starts makes its files first and gives them their size then.
        sized = [str(file) for file in self._folder.glob("*.db") if _size_of(file)]
        found: Iterable[Metric] = multiprocess.MultiProcessCollector.merge(sized)  # type: ignore[no-untyped-call]
        return found


class _Readings:
    """A collector of what was read already."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def render(readings: Iterable[Metric]) -> bytes:
    """The page. It reads files where there are several workers, so not for the event loop."""
    registry = CollectorRegistry()
    folder = shared_folder()
    if folder is None:
        registry.register(REGISTRY)
    else:
        forget_dead_workers(folder)
        registry.register(_Workers(folder))
    registry.register(_Readings(readings))
    return generate_latest(registry)


def shared_folder() -> Path | None:
    """Where several workers share their metrics; None for one worker."""
    folder = os.environ.get(FOLDER_VARIABLE)
    return Path(folder) if folder else None


def process_started(database: Database, clock: Clock, settings: Settings) -> None:
    """Say that this process serves from now on, and what its limits are."""
    metrics.WORKERS.set(1)
    metrics.PROCESS_START.set(clock.now().timestamp())
    metrics.HEARTBEAT_QUEUE_LIMIT.set(settings.heartbeat_queue_size)
    metrics.DATABASE_CONNECTIONS_LIMIT.set(database.connection_limit)


def process_ended() -> None:
    """Take this process's gauges back. A worker that is killed can't; the next scrape does it then."""
    folder = shared_folder()
    if folder is not None:
        _forget(os.getpid(), folder)


def forget_dead_workers(folder: Path) -> None:
    """Take back the gauges of workers that ended without a word."""
    for pid in {int(file.stem.rpartition("_")[2]) for file in folder.glob("gauge_live*_*.db")}:
        if not _is_worker(pid):
            _forget(pid, folder)


def _size_of(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0


def _forget(pid: int, folder: Path) -> None:
    # Another worker may be doing the same.
    with contextlib.suppress(FileNotFoundError):
        multiprocess.mark_process_dead(pid, str(folder))  # type: ignore[no-untyped-call]


def _is_worker(pid: int) -> bool:
    """Whether a worker of this server has this number; another process may have got it since."""
    if pid == os.getpid():
        return True
    try:
        process = psutil.Process(pid)
        return process.ppid() == os.getppid() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
