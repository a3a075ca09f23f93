"""Durable heartbeats per second, beside a bare application and beside a session and a commit per request.

All subjects run at the same time on this machine and are measured in turn, round after round, so that what
disturbs the machine for a while disturbs them alike. After each measurement the database is asked whether it
has what was acknowledged. The exit code is 0 when every target is met, 2 when one is missed, 1 when something
failed.
"""

import argparse
import contextlib
import json
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from tests.bench import report, subjects
from tests.bench.beats import LoadResult
from tests.bench.durability import judge
from tests.bench.generators import BUILT_IN, WRK, GeneratorFailedError, available, generator_named
from tests.bench.subjects import Bench, Subject
from tests.support.places import file_system, is_in_memory, temporary_base
from tests.support.postgres import PostgresServer
from tests.support.processes import ProcessFailedError, guard

WARM_UP_SECONDS = 2
MOST_WARM_UPS = 6
PAUSE_SECONDS = 0.3


def arguments_of(command_line: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="./dev bench heartbeats", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="how often each subject is measured (5)")
    parser.add_argument("--seconds", type=int, default=4, help="how long, each time (4)")
    parser.add_argument("--hosts", type=int, default=2000, help="registered hosts (2000)")
    parser.add_argument("--connections", type=int, default=64, help="kept-alive connections (64)")
    parser.add_argument("--limit-seconds", type=int, default=170, help="begin no round that would end later (170)")
    parser.add_argument("--load", choices=[WRK, BUILT_IN], default=available(), help="the load generator")
    parser.add_argument("--only", default=",".join(subjects.TITLES), help=f"some of {', '.join(subjects.TITLES)}")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    arguments = parser.parse_args(command_line)
    arguments.only = [name.strip() for name in arguments.only.split(",") if name.strip()]
    unknown = [name for name in arguments.only if name not in subjects.TITLES]
    if unknown or not arguments.only:
        parser.error(f"unknown subject {', '.join(unknown)}; there are {', '.join(subjects.TITLES)}")
    if min(arguments.rounds, arguments.seconds, arguments.connections) < 1:
        parser.error("--rounds, --seconds and --connections are at least 1")
    # With few hosts one host could have two heartbeats under way, which no agent does.
    if arguments.hosts < 4 * arguments.connections:
        parser.error("--hosts must be at least four times --connections")
    return arguments


class Run:
    """One run of the benchmark."""

    def __init__(self, arguments: argparse.Namespace, folder: Path, started_at: float) -> None:
        self.arguments = arguments
        self.folder = folder
        self.started_at = started_at
        self.generate = generator_named(arguments.load)
        self.rounds: report.Rounds = {name: [] for name in arguments.only}
        self.problems: list[str] = []
        self.flushes: list[float] = []
        self.others: list[float] = []

    def measure(self, running: list[Subject]) -> None:
        """Warm every subject up, then measure all of them in turn, round after round."""
        for subject in running:
            say(f"warming up {subjects.TITLES[subject.name]}")
            self.warm_up(subject)
        took = len(running) * (self.arguments.seconds + 1.0)
        for number in range(1, self.arguments.rounds + 1):
            began_at = time.monotonic()
            if self.problems:
                return
            if number > 1 and began_at + took > self.started_at + self.arguments.limit_seconds:
                say(f"no time for round {number}: see --limit-seconds")
                return
            self.flushes.append(flush_milliseconds(self.folder))
            for subject in running:
                result = self.load(subject, self.arguments.seconds)
                self.rounds[subject.name].append(result)
                say(f"round {number}: {subjects.TITLES[subject.name]}: {result.per_second:,.0f} a second")
            took = time.monotonic() - began_at

    def warm_up(self, subject: Subject) -> None:
        """Put load on a subject until it has heard of every host, within bounds.

        The first heartbeat of a host is looked at in full, which is no part of what is measured; a slow machine takes
        longer than one warm-up for a whole fleet's.
        """
        for _ in range(MOST_WARM_UPS):
            self.load(subject, min(WARM_UP_SECONDS, self.arguments.seconds))
            if subject.has_heard_all or self.problems:
                return

    def load(self, subject: Subject, seconds: int) -> LoadResult:
        """Put load on one subject and check what it acknowledged."""
        # No subject has anything to do now, so whatever keeps the machine busy will disturb the measurement.
        self.others.append(psutil.cpu_percent(interval=PAUSE_SECONDS))
        plan = subject.plan(self.arguments.connections, seconds)
        result = self.generate(plan, self.folder)
        title = subjects.TITLES[subject.name]
        if result.failed or not result.acknowledged:
            self.problems.append(
                f"{title}: {result.failed} requests failed, {result.acknowledged} succeeded\n"
                f"{subject.process.log_tail(15)}"
            )
        stored = subject.stored()
        if stored is not None:
            verdict = judge(plan, result, stored)
            if verdict.problem:
                self.problems.append(f"{title}: {verdict.problem}")
        return result

    def setting(self) -> dict[str, Any]:
        """Return what the figures depend on."""
        return {
            "load": self.arguments.load,
            "connections": self.arguments.connections,
            "hosts": self.arguments.hosts,
            "rounds": min(len(results) for results in self.rounds.values()),
            "seconds": self.arguments.seconds,
            "cpus": os.cpu_count(),
            "python": platform.python_version(),
            "disk": file_system(self.folder) or "unknown",
            "CPU taken by others %": report.Spread.of(self.others).show(0),
            "milliseconds to flush": report.Spread.of(self.flushes).show(2),
        }


def flush_milliseconds(folder: Path) -> float:
    """Measure how long a small write takes to reach the disk now."""
    times = []
    with (folder / "flushed").open("wb", buffering=0) as file:
        for _ in range(50):
            began_at = time.perf_counter()
            file.write(b"0" * 4096)
            os.fsync(file.fileno())
            times.append(time.perf_counter() - began_at)
    return median(times) * 1000


def say(text: str) -> None:
    """Tell how far the run has come, apart from its result."""
    print(text, file=sys.stderr, flush=True)


@contextlib.contextmanager
def bench_folder() -> Iterator[Path]:
    """Make a folder on a disk, for the time of the run."""
    folder = Path(tempfile.mkdtemp(prefix="muster-bench-", dir=temporary_base(on_disk=True)))
    guard.remove_at_end(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def postgres_for(names: list[str]) -> Iterator[PostgresServer | None]:
    """Start a PostgreSQL with production's durability if a subject needs one."""
    if not {subjects.MUSTER_POSTGRESQL, subjects.SESSION_POSTGRESQL}.intersection(names):
        yield None
        return
    say("starting PostgreSQL")
    with PostgresServer.start(fsync=True, shared_buffers="128MB") as server:
        yield server


def main(command_line: list[str]) -> int:
    """Run the benchmark; return the exit code."""
    arguments = arguments_of(command_line)
    started_at = time.monotonic()
    with bench_folder() as folder, postgres_for(arguments.only) as server, contextlib.ExitStack() as stack:
        if is_in_memory(folder):
            say(f"{folder.parent} is in memory: nothing here is durable, and the figures are too good")
        run = Run(arguments, folder, started_at)
        bench = Bench(folder, server, arguments.hosts)
        try:
            running = []
            for name in arguments.only:
                say(f"starting {subjects.TITLES[name]}")
                subject = bench.start(name)
                stack.callback(subject.process.stop)
                running.append(subject)
            run.measure(running)
        except (ProcessFailedError, GeneratorFailedError) as error:
            say(f"FAILED: {error}")
            return 1
        if not all(run.rounds.values()):
            say("\n".join(f"FAILED: {problem}" for problem in run.problems))
            return 1
        shown = report.as_json if arguments.json else report.as_text
        notes = report.notes_on(run.rounds, report.Spread.of(run.others))
        answer = shown(run.rounds, run.setting(), notes, run.problems)
        print(json.dumps(answer, indent=2) if arguments.json else answer)
    if run.problems:
        return 1
    met = all(measured.median >= target.at_least for target, measured in report.measured_targets(run.rounds))
    return 0 if met else 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
