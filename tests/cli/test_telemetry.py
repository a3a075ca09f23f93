"""`muster process-server telemetry`: the table, its courses, gaps, and what goes to the API."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.cli.sparklines import BARS, GAP, mean_of, sparkline
from app.cli.telemetry import every_step
from tests.cli.fake_api import FakeApi, Muster

OF_PS = "/api/v1/vaults/prod/process-servers/ps-ams-01/telemetry"
OF_CS = "/api/v1/vaults/prod/configuration-servers/cs-ams-01/telemetry"
NOON = datetime(2026, 11, 24, 12, 0, 0, tzinfo=UTC)
MEMBERS = (
    "cpuPercentage",
    "totalMemoryInBytes",
    "availableMemoryInBytes",
    "totalSpaceInBytes",
    "availableSpaceInBytes",
    "throughputInBytes",
    "throughputUploadPendingDataInBytes",
)


def moment(minutes: float) -> str:
    return (NOON + timedelta(minutes=minutes)).isoformat().replace("+00:00", "Z")


def point(minutes: float, **metrics: tuple[float, float, float, int]) -> dict[str, Any]:
    """A step of the API; a metric that is not named is null."""
    found: dict[str, Any] = dict.fromkeys(MEMBERS)
    found |= {name: dict(zip(("min", "mean", "max", "count"), values, strict=True)) for name, values in metrics.items()}
    return {"start": moment(minutes), "metrics": found}


def history(*points: dict[str, Any], until: float = 60, step: int = 300) -> dict[str, Any]:
    return {"from": moment(0), "to": moment(until), "stepSeconds": step, "points": list(points)}


SOME = history(
    point(0, cpuPercentage=(5, 10, 20, 10), throughputInBytes=(0, 2**20, 2**21, 10)),
    point(5, cpuPercentage=(40, 50, 99.5, 30)),
    point(40, cpuPercentage=(0, 0, 0, 10), throughputInBytes=(2**21, 2**21, 2**21, 10)),
)


def line(stdout: str, title: str) -> str:
    return next(text for text in stdout.splitlines() if text.startswith(title))


def test_least_mean_greatest_and_course_of_each_metric(api: FakeApi, muster: Muster) -> None:
    api.answer("GET", OF_PS, SOME)
    result = muster("process-server", "telemetry", "ps-ams-01")
    assert result.exit_code == 0, result.stderr
    cpu = line(result.stdout, "CPU")
    # The mean of all heartbeats, not of the steps: (10 * 10 + 50 * 30 + 0 * 10) / 50.
    assert cpu.split()[1:8] == ["0", "%", "32", "%", "99.5", "%", "50"]
    assert cpu.split()[-1] == "▁▅······▁···"
    assert line(result.stdout, "Upload").split()[-1] == "▅·······█···"
    assert line(result.stdout, "Pending").split() == ["Pending", "-", "-", "-", "0", "-"]
    assert "steps of 5 min" in result.stderr
    assert "2026-11-24 12:00:00Z to 2026-11-24 13:00:00Z" in result.stderr


def test_every_step_with_its_gaps(api: FakeApi, muster: Muster) -> None:
    api.answer("GET", OF_PS, SOME)
    lines = muster("ps", "telemetry", "ps-ams-01", "--points").stdout.splitlines()
    times = [" ".join(text.split("  ")[0].split()) for text in lines[1:]]
    assert times == [
        "2026-11-24 12:00:00Z",
        "2026-11-24 12:05:00Z",
        "nothing for 30 min",
        "2026-11-24 12:40:00Z",
        "nothing for 15 min",
    ]
    assert "50 %" in lines[2]


def test_json_is_the_answer_unchanged(api: FakeApi, muster: Muster) -> None:
    api.answer("GET", OF_PS, SOME)
    result = muster("process-server", "telemetry", "ps-ams-01", "--json")
    assert json.loads(result.stdout) == SOME
    assert result.stderr == ""


def test_nothing_in_the_range_is_said_beside_an_empty_pipe(api: FakeApi, muster: Muster) -> None:
    api.answer("GET", OF_PS, history())
    result = muster("process-server", "telemetry", "ps-ams-01")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "No telemetry" in result.stderr


def test_range_and_step_go_to_the_api(api: FakeApi, muster: Muster) -> None:
    api.answer("GET", OF_PS, SOME)
    api.answer("GET", "/healthz", {})
    muster("ps", "telemetry", "ps-ams-01", "--from", "2d", "--to", "2026-11-23T12:00:00Z", "--step", "1h")
    muster("ps", "telemetry", "ps-ams-01")
    first, second = api.asked("GET", OF_PS)
    assert dict(first.url.params) == {
        "from": "2026-11-22T12:00:00Z",
        "to": "2026-11-23T12:00:00Z",
        "stepSeconds": "3600",
    }
    assert dict(second.url.params) == {}


def test_a_configuration_server_s_and_a_nested_process_server_s(api: FakeApi, muster: Muster) -> None:
    api.answer("GET", OF_CS, SOME)
    nested = "/api/v1/vaults/prod/configuration-servers/cs-ams-01/process-servers/ps-ams-01/telemetry"
    api.answer("GET", nested, SOME)
    assert "CPU" in muster("cs", "telemetry", "cs-ams-01").stdout
    assert "CPU" in muster("ps", "telemetry", "ps-ams-01", "--cs", "cs-ams-01").stdout
    assert api.asked("GET", nested)


@pytest.mark.parametrize("step", ["300", "often", "5 minutes", ""])
def test_a_step_that_is_no_duration(api: FakeApi, muster: Muster, step: str) -> None:
    result = muster("ps", "telemetry", "ps-ams-01", f"--step={step}")
    if step:
        assert result.exit_code == 2
        assert "--step" in result.stderr
        assert "5m" in result.stderr
    assert not api.asked("GET", OF_PS) or not step


def test_what_the_api_refuses_is_explained(api: FakeApi, muster: Muster) -> None:
    api.refuse("GET", OF_PS, 422, "validation-failed", detail="#/query/stepSeconds: 60: greater than or equal to 300")
    result = muster("ps", "telemetry", "ps-ams-01", "--step", "1m")
    assert result.exit_code != 0
    assert "greater than or equal to 300" in result.stderr


def test_steps_that_begin_before_the_range_are_found(api: FakeApi, muster: Muster) -> None:
    """The first step holds what the range touches of it, and begins before it."""
    document = history(point(0, cpuPercentage=(1, 1, 1, 1)), until=130, step=3_600) | {"from": moment(50)}
    steps = list(every_step(document))
    assert [bool(step["metrics"]) for step in steps] == [True, False, False]


def test_a_course_in_a_terminal_without_unicode() -> None:
    assert sparkline([(0, 1), None, (100, 1)], 10, 100, is_plain=True) == "_ #"


def test_a_narrow_course_weighs_by_the_number_of_values() -> None:
    assert mean_of([(10, 1), None, (20, 3)]) == 17.5
    assert sparkline([(0, 9), (100, 1), None, None, (100, 1), None], 3, 100) == f"{BARS[0]}{GAP}{BARS[-1]}"


@given(
    st.lists(st.none() | st.tuples(st.floats(0, 1e15), st.integers(1, 100)), min_size=1, max_size=400),
    st.integers(1, 100),
    st.floats(0, 1e15),
)
def test_a_course_is_never_wider_than_asked_and_shows_gaps_only_where_there_is_nothing(
    values: list[tuple[float, int] | None], width: int, greatest: float
) -> None:
    course = sparkline(values, width, greatest)
    assert len(course) == min(width, len(values))
    assert set(course) <= set(BARS + GAP)
    if None not in values:
        assert GAP not in course
    if all(value is None for value in values):
        assert set(course) == {GAP}
