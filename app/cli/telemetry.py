"""`muster process-server telemetry` and `configuration-server telemetry`: what a server measured over time."""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import groupby
from typing import Annotated, Any, NamedTuple

import typer

from app.cli import configuration_servers, options, process_servers, screen
from app.cli.client import ApiClient, api_path
from app.cli.formatting import (
    NOTHING,
    moment,
    number,
    percentage,
    plain,
    rate,
    seconds_given,
    size,
    time_given,
    timestamp,
)
from app.cli.invocation import Invocation, chosen_vault, command
from app.cli.screen import Column
from app.cli.sparklines import Weighted, mean_of, sparkline

WIDEST_COURSE = 72
_COURSE_BESIDE = 70
"""Characters of a terminal's line that the other columns need."""


class Metric(NamedTuple):
    """A metric of the API, its title, and how its values are written. `top` is the full height of its course."""

    member: str
    title: str
    written: Callable[[Any], str]
    top: float | None = None


METRICS = (
    Metric("cpuPercentage", "CPU", percentage, 100),
    Metric("availableMemoryInBytes", "Memory available", size),
    Metric("totalMemoryInBytes", "Memory in all", size),
    Metric("availableSpaceInBytes", "Cache free", size),
    Metric("totalSpaceInBytes", "Cache in all", size),
    Metric("throughputInBytes", "Upload", rate),
    Metric("throughputUploadPendingDataInBytes", "Pending", size),
)

From = Annotated[
    str | None,
    typer.Option("--from", metavar="TIME", help="Begin: 2026-11-24T18:00Z, or 90m, 2h, 7d ago (default: a day)."),
]
To = Annotated[str | None, typer.Option("--to", metavar="TIME", help="End, in the same forms (default: now).")]
Step = Annotated[
    str | None,
    typer.Option("--step", metavar="DURATION", help="5m or a multiple, at most 1d (default: fitting the range)."),
]
Points = Annotated[bool, typer.Option("--points", help="List every step with the mean of each metric.")]


@command(process_servers.group, "telemetry")
def of_process_server(
    invocation: Invocation,
    server: process_servers.Named,
    since: From = None,
    until: To = None,
    step: Step = None,
    points: Points = False,
    configuration_server: process_servers.Parent = None,
    vault: options.Vault = None,
) -> None:
    """Show what a process server measured over time: least, mean, greatest and course of each metric."""
    with invocation.connect() as client:
        path = process_servers.path_of(client, vault, configuration_server, server)
        history = _read(client, path, since, until, step)
    _show(invocation, f"Process server {plain(server)}", history, points=points)


@command(configuration_servers.group, "telemetry")
def of_configuration_server(
    invocation: Invocation,
    server: configuration_servers.Named,
    since: From = None,
    until: To = None,
    step: Step = None,
    points: Points = False,
    vault: options.Vault = None,
) -> None:
    """Show what a configuration server measured over time: least, mean, greatest and course of each metric."""
    with invocation.connect() as client:
        path = api_path("vaults", chosen_vault(client, vault), "configuration-servers", server)
        history = _read(client, path, since, until, step)
    _show(invocation, f"Configuration server {plain(server)}", history, points=points)


def _read(client: ApiClient, path: str, since: str | None, until: str | None, step: str | None) -> dict[str, Any]:
    params = {
        "from": since and time_given(since, "--from", client.now, ahead=False),
        "to": until and time_given(until, "--to", client.now, ahead=False),
        "stepSeconds": step and seconds_given(step, "--step"),
    }
    found: dict[str, Any] = client.get(f"{path}/telemetry", params=params).body
    return found


def _show(invocation: Invocation, heading: str, history: Mapping[str, Any], *, points: bool) -> None:
    if invocation.as_json:
        screen.print_json(history)
        return
    steps = list(every_step(history))
    span = f"from {timestamp(history['from'])} to {timestamp(history['to'])}"
    screen.note(f"{heading} {span}, steps of {history['stepSeconds'] // 60} min")
    if not history["points"]:
        screen.note("No telemetry in this range.")
    elif points:
        screen.print_table(_POINT_COLUMNS, list(_with_gaps_told(steps, history["stepSeconds"])), empty="")
    else:
        screen.print_table(_SUMMARY_COLUMNS, list(_summaries(steps)), empty="")


def every_step(history: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Every step of the range in order: the API's points, and between them those it left out, without metrics."""
    length = timedelta(seconds=history["stepSeconds"])
    start, end = moment(history["from"]), moment(history["to"])
    known = {moment(point["start"]): point for point in history["points"]}
    if start is None or end is None:
        return
    current = _floor(start, length)
    while current < end:
        point = known.get(current)
        yield {"start": current.isoformat(), "metrics": point["metrics"] if point else {}}
        current += length


def _floor(when: datetime, length: timedelta) -> datetime:
    """The begin of the step that a moment is in: steps are counted from 1970."""
    return when - timedelta(seconds=when.timestamp() % length.total_seconds())


def _statistics(step: Mapping[str, Any], metric: Metric) -> Mapping[str, Any]:
    return step["metrics"].get(metric.member) or {}


def _weighted(step: Mapping[str, Any], metric: Metric) -> Weighted | None:
    found = _statistics(step, metric)
    return (found["mean"], found["count"]) if found else None


def _summaries(steps: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    onto = screen.console()
    width = min(WIDEST_COURSE, max(8, onto.width - _COURSE_BESIDE)) if onto.is_terminal else WIDEST_COURSE
    encoding = (getattr(sys.stdout, "encoding", None) or "ascii").lower().replace("-", "")
    for metric in METRICS:
        known = [found for step in steps if (found := _statistics(step, metric))]
        values = [_weighted(step, metric) for step in steps]
        greatest = max((found["max"] for found in known), default=0)
        yield {
            "metric": metric.title,
            "least": metric.written(min((found["min"] for found in known), default=None)),
            "mean": metric.written(mean_of(values)),
            "greatest": metric.written(greatest if known else None),
            "count": plain(sum(found["count"] for found in known)),
            "course": sparkline(values, width, metric.top or greatest, is_plain=encoding != "utf8")
            if known
            else NOTHING,
        }


def _with_gaps_told(steps: Iterable[dict[str, Any]], step_seconds: int) -> Iterator[dict[str, Any]]:
    """The steps, with one line in place of all those without a value that follow each other."""
    for is_known, run in groupby(steps, key=lambda step: bool(step["metrics"])):
        listed = list(run)
        if is_known:
            yield from listed
        else:
            yield {"time": f"nothing for {len(listed) * step_seconds // 60} min", "metrics": {}}


_SUMMARY_COLUMNS = (
    Column("Metric", lambda line: line["metric"]),
    Column("Least", lambda line: line["least"], rank=1, is_number=True),
    Column("Mean", lambda line: line["mean"], is_number=True),
    Column("Greatest", lambda line: line["greatest"], is_number=True),
    Column("Values", lambda line: line["count"], rank=3, is_number=True),
    Column("Course", lambda line: line["course"], rank=2),
)


def _mean_column(metric: Metric, rank: int) -> Column:
    def read(step: Mapping[str, Any]) -> str:
        return metric.written(number(_statistics(step, metric).get("mean")))

    return Column(metric.title, read, rank=rank, is_number=True)


_POINT_COLUMNS = (
    Column("Time", lambda step: step.get("time") or timestamp(step["start"])),
    *(_mean_column(metric, rank) for metric, rank in zip(METRICS, (0, 2, 6, 1, 5, 4, 3), strict=True)),
)
