"""What the agent measures on its machine. What it can not know it leaves out, never reports as zero."""

import asyncio
import json
import logging
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from .clock import Clock, SystemClock

try:
    import psutil
except ImportError:
    psutil = None  # type: ignore[assignment]

TELEMETRY_FILE_LIFETIME = timedelta(minutes=5)
READ_TIMEOUT_SECONDS = 8.0
_FIRST_CPU_WINDOW_SECONDS = 0.5
_FILE_MEMBERS = ("throughputInBytes", "throughputUploadPendingDataInBytes")
_LONGEST_FILE_BYTES = 65536
_LARGEST_NUMBER = 2**63 - 1

_log = logging.getLogger("muster.agent.telemetry")


@dataclass(frozen=True)
class Reading:
    """One look at the machine. ``services`` is None where nothing is known about them."""

    telemetry: dict[str, int | float] = field(default_factory=dict)
    services: dict[str, str] | None = None
    ip_addresses: tuple[str, ...] = ()


class TelemetrySource(Protocol):
    """Where an agent gets its telemetry from."""

    async def read(self) -> Reading:
        """Return the present values."""
        ...


class CpuTimes(NamedTuple):
    """Seconds (or ticks) the processors were idle, and in all, since the machine started."""

    idle: float
    total: float


class HostTelemetry:
    """Reads processors, memory, the cache folder's disk, services and addresses of this machine."""

    def __init__(
        self,
        *,
        cache_folder: Path,
        telemetry_file: Path | None = None,
        read_services: Callable[[], dict[str, str] | None] = lambda: None,
        read_addresses: Callable[[], tuple[str, ...]] = lambda: (),
        clock: Clock | None = None,
        timeout_seconds: float = READ_TIMEOUT_SECONDS,
    ) -> None:
        """Take what to look at; ``timeout_seconds`` bounds how long one reading may hold up a heartbeat."""
        self._cache_folder = cache_folder
        self._telemetry_file = telemetry_file
        self._read_services = read_services
        self._read_addresses = read_addresses
        self._clock = clock or SystemClock()
        self._timeout_seconds = timeout_seconds
        self._cpu_before: CpuTimes | None = None
        self._reading: asyncio.Future[Reading] | None = None

    async def read(self) -> Reading:
        """Return the present values; an empty reading while the machine, a hung disk say, does not answer."""
        if self._reading is None or self._reading.done():
            self._reading = asyncio.get_running_loop().run_in_executor(None, self._measure)
        await asyncio.wait({self._reading}, timeout=self._timeout_seconds)
        if not self._reading.done():
            _log.warning("the machine does not answer within %.0f s; telemetry is left out", self._timeout_seconds)
            return Reading()
        return self._reading.result()

    def _measure(self) -> Reading:
        telemetry: dict[str, int | float] = {}
        cpu = self._cpu_percentage()
        if cpu is not None:
            telemetry["cpuPercentage"] = cpu
        memory = read_memory()
        if memory is not None:
            telemetry["totalMemoryInBytes"], telemetry["availableMemoryInBytes"] = memory
        try:
            disk = shutil.disk_usage(self._cache_folder)
        except OSError as error:
            _log.debug("the disk of %s can not be measured: %s", self._cache_folder, error.strerror)
        else:
            telemetry["totalSpaceInBytes"], telemetry["availableSpaceInBytes"] = disk.total, disk.free
        if self._telemetry_file is not None:
            telemetry.update(self._from_file(self._telemetry_file))
        return Reading(telemetry, self._read_services(), self._read_addresses())

    def _cpu_percentage(self) -> float | None:
        before = self._cpu_before
        if before is None:
            before = read_cpu_times()
            time.sleep(_FIRST_CPU_WINDOW_SECONDS)
        now = read_cpu_times()
        self._cpu_before = now
        return None if before is None or now is None else busy_percentage(before, now)

    def _from_file(self, path: Path) -> dict[str, int | float]:
        try:
            age = self._clock.now().timestamp() - path.stat().st_mtime
            if age > TELEMETRY_FILE_LIFETIME.total_seconds():
                return {}
            with path.open("rb") as file:
                document = json.loads(file.read(_LONGEST_FILE_BYTES))
        except (OSError, ValueError, RecursionError) as error:
            _log.debug("the telemetry file %s can not be read: %s", path, type(error).__name__)
            return {}
        return known_numbers(document)


def known_numbers(document: object) -> dict[str, int | float]:
    """Return the throughput members of a telemetry file that are whole numbers of bytes, and no others."""
    if not isinstance(document, dict):
        return {}
    values: dict[str, int | float] = {}
    for name in _FILE_MEMBERS:
        value = document.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _LARGEST_NUMBER:
            values[name] = value
    return values


def busy_percentage(before: CpuTimes, now: CpuTimes) -> float | None:
    """Return how busy the processors were between two looks, 0 to 100; None if no time has passed."""
    total = now.total - before.total
    if total <= 0:
        return None
    busy = 100.0 * (1.0 - (now.idle - before.idle) / total)
    return round(min(max(busy, 0.0), 100.0), 1)


def read_cpu_times() -> CpuTimes | None:
    """Return the processors' times, None where they can not be found out."""
    if psutil is not None:
        times = psutil.cpu_times()
        # Time of guests is part of user time, time of interrupts on Windows part of system time.
        names = ("user", "nice", "system", "irq", "softirq", "steal")
        idle = times.idle + _member(times, "iowait")
        return CpuTimes(idle, idle + sum(_member(times, name) for name in names))
    text = _linux_file("/proc/stat")
    return None if text is None else parse_proc_stat(text)


def _member(times: Any, name: str) -> float:
    return float(getattr(times, name, 0.0))


def read_memory() -> tuple[int, int] | None:
    """Return total and available memory in bytes, None where they can not be found out."""
    if psutil is not None:
        memory = psutil.virtual_memory()
        return memory.total, memory.available
    text = _linux_file("/proc/meminfo")
    return None if text is None else parse_meminfo(text)


def parse_proc_stat(text: str) -> CpuTimes | None:
    """Return idle and total ticks from the text of ``/proc/stat``, None if it is not such a text."""
    name, *columns = text.partition("\n")[0].split()[:9] or [""]
    if name != "cpu" or len(columns) < 4:
        return None
    try:
        ticks = [int(column) for column in columns]
    except ValueError:
        return None
    return CpuTimes(idle=float(sum(ticks[3:5])), total=float(sum(ticks)))


def parse_meminfo(text: str) -> tuple[int, int] | None:
    """Return total and available bytes from the text of ``/proc/meminfo``, None if they are not in it."""
    values: dict[str, int] = {}
    for line in text.splitlines():
        name, _, rest = line.partition(":")
        parts = rest.split()
        if parts and parts[0].isdecimal():
            values[name] = int(parts[0]) * 1024
    if "MemTotal" not in values or "MemAvailable" not in values:
        return None
    return values["MemTotal"], values["MemAvailable"]


def _linux_file(path: str) -> str | None:
    if not sys.platform.startswith("linux"):
        return None
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
