"""`muster sizing`: how many servers a load needs. Computed here, without the API, before anything is installed."""

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli import screen
from app.cli.failures import CommandError, UsageError
from app.cli.formatting import NOTHING, number, plain, size
from app.cli.machine_lists import CsvProblems, machines_in, size_given
from app.cli.screen import Column, Section
from app.vocabulary import SizingStrategy

PLANNING_PANEL = "Planning, without the API"
SHOWN_SERVERS = 40
SHOWN_NAMES = 3

_TITLES = {"scaleUp": "Scale up", "scaleOut": "Scale out"}

_PARTS = (
    Column("Count", lambda part: plain(part["count"]), is_number=True),
    Column("Server", lambda part: part["role"]),
    Column("Tier", lambda part: plain(part.get("tier"))),
    Column("vCPUs", lambda part: plain(part["cpuCount"]), is_number=True),
    Column("Memory", lambda part: size(part["memoryInBytes"]), is_number=True),
    Column("Cache disk", lambda part: size(part["cacheDiskInBytes"]), is_number=True),
)
_LOADS = (
    Column("Process server", lambda entry: plain(entry["processServer"] or "inbuilt"), is_number=True),
    Column("Config server", lambda entry: plain(entry["configurationServer"]), is_number=True),
    Column("Tier", lambda entry: plain(entry["tier"])),
    Column("Machines", lambda entry: plain(entry["sourceMachineCount"]), is_number=True),
    Column("Churn a day", lambda entry: size(entry["churnInBytesPerDay"]), is_number=True),
    Column("Room for machines", lambda entry: plain(entry["headroom"]["sourceMachines"]), rank=1, is_number=True),
    Column("Room for churn", lambda entry: size(entry["headroom"]["churnInBytesPerDay"]), rank=2, is_number=True),
    Column("Which", lambda entry: _names(entry["machines"]), rank=3),
)


def register(application: typer.Typer) -> None:
    """Add the command."""
    application.command("sizing", rich_help_panel=PLANNING_PANEL)(sizing)


def sizing(
    context: typer.Context,
    machines: Annotated[
        int | None, typer.Option("--machines", metavar="N", help="How many source machines there are.")
    ] = None,
    churn: Annotated[
        str | None,
        typer.Option("--churn", metavar="SIZE", help="What they change in a day together, e.g. 1.5TB (1 GB = 2^30)."),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            "--file",
            metavar="FILE",
            help="List of machines instead: JSON as the API takes it, or CSV with the columns name, "
            "churnInBytesPerDay and, if wanted, disks. - reads standard input.",
        ),
    ] = None,
    growth: Annotated[
        float, typer.Option("--growth", min=0, max=1000, metavar="PERCENT", help="Expected growth, in percent.")
    ] = 0,
    strategy: Annotated[
        SizingStrategy | None, typer.Option("--strategy", help="Show one of the two only.", case_sensitive=False)
    ] = None,
    inbuilt: Annotated[
        bool, typer.Option("--inbuilt", help="Let inbuilt process servers take load before others are counted.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what the API would answer.")] = False,
) -> None:
    """Recommend servers for a load. Needs no control plane."""
    as_json = as_json or bool(context.obj and context.obj.as_json)
    try:
        answer = _recommended(_request(machines, churn, file, growth, strategy, inbuilt))
    except CommandError as failure:
        screen.print_failure(failure, as_json=as_json)
        if isinstance(failure, CsvProblems) and not as_json:
            print(failure.listed, file=sys.stderr)
        raise typer.Exit(failure.exit_code) from None
    if as_json:
        screen.print_json(answer)
        return
    _draw(answer)


def _request(
    machines: int | None,
    churn: str | None,
    file: Path | None,
    growth: float,
    strategy: SizingStrategy | None,
    inbuilt: bool,
) -> dict[str, Any]:
    """The API's body. Raises UsageError where the options contradict each other or are not enough."""
    body: dict[str, Any] = {
        "growthPercentage": int(growth) if growth == int(growth) else growth,
        "useInbuiltProcessServer": inbuilt,
    }
    if strategy is not None:
        body["strategy"] = strategy.value
    if file is not None:
        if machines is not None or churn is not None:
            raise UsageError("--file says it all", remedy="leave out --machines and --churn, or --file")
        return {**body, "machines": machines_in(file)}
    if machines is None or churn is None:
        raise UsageError(
            "the load is not known", remedy="give --machines and --churn, e.g. --machines 220 --churn 500GB, or --file"
        )
    try:
        return {**body, "sourceMachines": machines, "churnInBytesPerDay": size_given(churn)}
    except ValueError as error:
        raise UsageError(f"--churn: {error}") from None


def _recommended(body: Mapping[str, Any]) -> dict[str, Any]:
    from pydantic import ValidationError

    from app.core.errors import Invalid
    from app.core.problems import from_findings
    from app.sizing.schemas import SizingRequest
    from app.sizing.service import recommend

    try:
        answer = recommend(SizingRequest.model_validate(body))
    except ValidationError as error:
        raise UsageError(f"this can't be sized: {from_findings(error.errors()).detail}") from None
    except Invalid as error:
        raise UsageError(f"this can't be sized: {error.detail}") from None
    return answer.model_dump(mode="json", by_alias=True)


def _draw(answer: Mapping[str, Any]) -> None:
    load = answer["load"]
    needed = "yes" if answer["additionalProcessServersNeeded"] else "no"
    screen.print_details(
        "Sizing",
        [
            Section(
                "",
                [
                    ("Machines", f"{load['sourceMachines']:,}"),
                    ("Churn a day", size(load["churnInBytesPerDay"])),
                    ("Additional process servers needed", needed),
                ],
            )
        ],
    )
    for entry in answer["notProtectable"]:
        screen.print_line(f"Not protectable: {plain(entry['name'] or 'at least one')}: {plain(entry['reason'])}")
    for option in answer["options"]:
        _draw_option(option)


def _draw_option(option: Mapping[str, Any]) -> None:
    count = sum(part["count"] for part in option["processServers"])
    title = f"{_TITLES[option['strategy']]}: {count:,} process server{'' if count == 1 else 's'}"
    bound = f"at least {option['lowerBound']:,} are needed, gap {option['gap']:,}"
    screen.print_line("")
    screen.print_line(f"{title}, {option['cpuCount']:,} vCPUs ({bound})", style="bold")
    screen.print_table(_PARTS, list(_parts(option)), empty="")
    screen.print_line("")
    assignments = option["assignments"]
    screen.print_table(_LOADS, assignments[:SHOWN_SERVERS], empty="")
    if len(assignments) > SHOWN_SERVERS:
        screen.note(f"and {len(assignments) - SHOWN_SERVERS:,} more; --json shows all")
    screen.print_line("")
    for reason in option["reasons"]:
        screen.print_line(f"- {plain(reason)}")


def _parts(option: Mapping[str, Any]) -> Iterable[dict[str, Any]]:
    for part in option["configurationServers"]:
        used = "its process server used" if part["usesInbuiltProcessServer"] else "its process server unused"
        yield {**part, "role": f"configuration server, {used}"}
    for part in option["processServers"]:
        yield {**part, "role": "process server"}


def _names(machines: list[str] | None) -> str:
    if not machines:
        return NOTHING
    shown = ", ".join(plain(name) for name in machines[:SHOWN_NAMES])
    return shown if len(machines) <= SHOWN_NAMES else f"{shown} and {len(machines) - SHOWN_NAMES:,} more"


def room(view: Mapping[str, Any]) -> str:
    """A load in words: `29 machines, 1 TB a day`."""
    machines = number(view.get("sourceMachines"))
    return NOTHING if machines is None else f"{machines:,.0f} machines, {size(view.get('churnInBytesPerDay'))} a day"
