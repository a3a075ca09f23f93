"""`muster machine import`: thousands of source machines from a file, all of them or none."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli import machine_files, options, progress, screen
from app.cli.client import ApiClient, api_path
from app.cli.failures import RefusedError
from app.cli.formatting import plain
from app.cli.invocation import Invocation, chosen_vault, command
from app.cli.machine_files import MachineFile
from app.cli.machine_lists import CsvProblems
from app.cli.machines import Parent, group, only_server
from app.cli.screen import Column

__all__ = ["group"]

SHOWN_LINES = 20
_REFUSALS = {"import-invalid", "import-refused"}
_OUTCOMES = ("created", "updated", "moved", "unchanged")
_COLUMNS = (
    Column("Line", lambda entry: plain(entry.get("line")), is_number=True),
    Column("Name", lambda entry: plain(entry.get("name"))),
    Column("Code", lambda entry: plain(entry.get("code")), rank=2),
    Column("Member", lambda entry: plain(entry.get("member")), rank=1),
    Column("Problem", lambda entry: plain(entry.get("detail"))),
)


@command(group, "import")
def import_(
    invocation: Invocation,
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="CSV with a header, or JSON lines; - is standard input.")
    ],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would come of it.")] = False,
    allow_over_capacity: Annotated[
        bool, typer.Option("--allow-over-capacity", help="Go beyond the process servers' limits; it is recorded.")
    ] = False,
    configuration_server: Parent = None,
    vault: options.Vault = None,
) -> None:
    """Register, change and move source machines from a file: all of them or, where one row is refused, none.

    Columns or members: name, processServer, churnInBytesPerDay, and if wanted friendlyName, disks (100GB;200GB),
    osType, agentVersion, lastRebootAgentVersion, allowOverCapacity. Sizes are bytes or such as 1.5TB. What is left
    out is unknown from then on.
    """
    try:
        found = machine_files.read(file)
    except CsvProblems as failure:
        screen.note(failure.listed)
        raise
    query = {"dryRun": dry_run or None, "allowOverCapacity": allow_over_capacity or None}
    with invocation.connect() as client:
        path = _path(client, vault, configuration_server)
        try:
            report = _sent(client, path, found, query)
        except RefusedError as failure:
            if failure.code not in _REFUSALS or invocation.as_json:
                raise
            _print_refused(failure.problem, found)
            raise _summary(failure) from None
    if invocation.as_json:
        screen.print_json(report)
        return
    counts = ", ".join(f"{report[outcome]:,} {outcome}" for outcome in _OUTCOMES)
    total = sum(int(report[outcome]) for outcome in _OUTCOMES)
    _print_excesses(report.get("overCapacity") or [])
    said = "Nothing stands against it" if report.get("dryRun") else f"Imported {total:,} source machines"
    screen.print_line(f"{said}: {counts}.")


def _path(client: ApiClient, vault: str | None, parent: str | None) -> str:
    chosen = chosen_vault(client, vault)
    server = parent or only_server(client, chosen)
    return api_path("vaults", chosen, "configuration-servers", server, "source-machine-imports")


def _sent(client: ApiClient, path: str, file: MachineFile, query: Mapping[str, Any]) -> dict[str, Any]:
    machines = f"{file.row_count:,} machines"
    with progress.sending(len(file.content), f"Sending {machines}", f"Importing {machines}") as sent:
        answer = client.post_file(path, file.content, machine_files.MEDIA_TYPE, query, sent=sent)
    report: dict[str, Any] = answer.body
    return report


def _print_refused(problem: Mapping[str, Any], file: MachineFile) -> None:
    rows = problem.get("rows") or []
    screen.print_streamed(_COLUMNS, _errors(rows, file), empty="No row is named.")
    left = int(problem.get("refused") or 0) - len(rows)
    if left > 0:
        screen.note(f"and {left:,} more rows")
    _print_excesses(problem.get("overCapacity") or [])


def _errors(rows: Iterable[Mapping[str, Any]], file: MachineFile) -> Iterable[dict[str, Any]]:
    """Each thing that is wrong as a line of the table."""
    for row in rows:
        for error in row.get("errors") or []:
            pointer = str(error.get("pointer") or "")
            yield {
                "line": row.get("line"),
                "name": row.get("name"),
                "code": error.get("code"),
                "member": pointer.removeprefix("#/").replace("/", "."),
                "detail": file.notes.get((row.get("line") or 0, pointer), error.get("detail")),
            }


def _print_excesses(excesses: Iterable[Mapping[str, Any]]) -> None:
    for excess in excesses:
        lines = excess.get("lines") or []
        more = " ..." if len(lines) > SHOWN_LINES else ""
        allowed = ", by permission" if excess.get("isPermitted") else ""
        listed = ", ".join(plain(line) for line in lines[:SHOWN_LINES])
        screen.print_line(f"Over capacity{allowed}: {plain(excess.get('detail'))} (lines {listed}{more})")


def _summary(failure: RefusedError) -> RefusedError:
    """The refusal without what was printed already."""
    problem = failure.problem
    kept = {name: problem[name] for name in ("type", "title", "status", "code", "requestId") if name in problem}
    kept["detail"] = f"{plain(problem.get('refused'))} row(s) are refused, and nothing was imported"
    return RefusedError(failure.status, kept, remedy="correct these rows and import the file again")
