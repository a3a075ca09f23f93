"""The benchmark's own instruments: load generators, the check of durability, the ratios."""

import shutil
import sys
import uuid
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.bench import report, subjects
from tests.bench.beats import LoadPlan, LoadResult
from tests.bench.durability import judge
from tests.bench.generators import BUILT_IN, WRK, generator_named
from tests.support.processes import ChildProcess, accepts_connections, free_port

GENERATORS = [
    BUILT_IN,
    pytest.param(WRK, marks=pytest.mark.skipif(shutil.which(WRK) is None, reason="wrk is not installed")),
]
REFUSING = """
import asyncio, sys
async def refuse(reader, writer):
    while head := await reader.readuntil(b"\\r\\n\\r\\n"):
        await reader.readexactly(int(head.lower().split(b"content-length: ")[1].split(b"\\r\\n")[0]))
        writer.write(b"HTTP/1.1 503 Busy\\r\\nContent-Length: 0\\r\\n\\r\\n")
async def main():
    async with await asyncio.start_server(refuse, "127.0.0.1", int(sys.argv[2])) as server:
        await server.serve_forever()
asyncio.run(main())
"""


def plan_for(port: int) -> LoadPlan:
    credentials = [f"{uuid.uuid4().hex}.secret" for _ in range(32)]
    return LoadPlan(port, credentials, connections=8, seconds=1, first_sequence=5, boot_id=str(uuid.uuid4()))


def server(arguments: list[str], folder: Path) -> Iterator[int]:
    port = free_port()
    process = ChildProcess.start([sys.executable, *arguments, "--port", str(port)], log=folder / "log")
    process.wait_until(partial(accepts_connections, port), 30, "the server")
    yield port
    process.stop()


@pytest.fixture
def bare(tmp_path: Path) -> Iterator[int]:
    yield from server(["-m", "tests.bench.bare"], tmp_path)


@pytest.fixture
def refusing(tmp_path: Path) -> Iterator[int]:
    yield from server(["-c", REFUSING], tmp_path)


@pytest.mark.parametrize("name", GENERATORS)
def test_generator_counts_what_is_acknowledged(name: str, bare: int, tmp_path: Path) -> None:
    result = generator_named(name)(plan_for(bare), tmp_path)
    assert result.failed == 0
    assert result.per_second > 100
    assert 0 < result.p50_milliseconds <= result.p99_milliseconds
    assert 0 < result.generator_busy < 2
    if result.last_acknowledged is not None:
        assert sum(sequence - 4 for sequence in result.last_acknowledged) == result.acknowledged


@pytest.mark.parametrize("name", GENERATORS)
def test_generator_counts_refusals_as_failures(name: str, refusing: int, tmp_path: Path) -> None:
    result = generator_named(name)(plan_for(refusing), tmp_path)
    assert result.acknowledged == 0
    assert result.failed > 100


def result_of(acknowledged: int, last: list[int] | None = None) -> LoadResult:
    return LoadResult(acknowledged, 0, 1.0, 1.0, 2.0, last)


def test_judge_finds_what_was_acknowledged_and_is_not_stored() -> None:
    plan = LoadPlan(1, ["a", "b", "c"], 2, 1, 11, "boot")
    # Two heartbeats of the first host, one of the second; the third still has its sequence of the last round.
    assert judge(plan, result_of(3), [12, 11, 10]).problem is None
    assert judge(plan, result_of(2), [12, 11, 10]).problem is None
    assert "only 3 are stored" in str(judge(plan, result_of(4), [12, 11, 10]).problem)
    assert "1 hosts" in str(judge(plan, result_of(3, [11, 12, 0]), [12, 11, 10]).problem)
    assert "at most" in str(judge(plan, result_of(3), [40, 11, 10]).problem)


def test_ratio_compares_round_by_round() -> None:
    rounds = {
        subjects.BARE: [result_of(1000), result_of(100)],
        subjects.MUSTER_POSTGRESQL: [result_of(500), result_of(45)],
    }
    measured = report.ratio(rounds, subjects.MUSTER_POSTGRESQL, subjects.BARE)
    assert measured == report.Spread(0.475, 0.45, 0.5)
    assert [target.at_least for target, _measured in report.measured_targets(rounds)] == [0.40]
    text = report.as_text(rounds, {"load": "none"}, ["a note"], ["a problem"])
    assert "target 0.4: met" in text
    assert "note: a note" in text
    assert "FAILED: a problem" in text
    assert report.notes_on(rounds, report.Spread(1, 0, 40)) == []
    assert "50 %" in report.notes_on(rounds, report.Spread(50, 0, 80))[0]
