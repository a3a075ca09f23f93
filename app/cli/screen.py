"""What the operator sees: tables, details and failures. rich is imported when something is drawn.

On a terminal a table drops its least important columns until it fits. Into a pipe or a file it goes whole:
every column, no colour, nothing cut or wrapped, so that grep and awk see what there is.
"""

import itertools
import json
import sys
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from app.cli.failures import CommandError, RefusedError
from app.cli.formatting import NOTHING, plain, style_of

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_GAP = 2
_CHUNK = 500
_UNLIMITED = 1_000_000
_PROBLEM_MEMBERS = frozenset({"type", "title", "status", "detail", "instance", "code", "requestId", "errors"})


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table. The highest `rank` goes first when the terminal is narrow; 0 always stays."""

    title: str
    read: Callable[[Mapping[str, Any]], str]
    rank: int = 0
    is_state: bool = False
    is_number: bool = False


@dataclass(frozen=True, slots=True)
class Section:
    """A group of lines in a detailed view; lines without a value are left out."""

    title: str
    lines: Sequence[tuple[str, str]]


def console(*, stderr: bool = False) -> "Console":
    """The console of this moment's standard output or standard error."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    found = Console(file=stream, highlight=False, markup=False, emoji=False)
    return (
        found
        if found.is_terminal
        else Console(file=stream, highlight=False, markup=False, emoji=False, width=_UNLIMITED, color_system=None)
    )


def table(
    columns: Sequence[Column],
    rows: Sequence[Mapping[str, Any]],
    *,
    onto: "Console",
    widths: Mapping[str, int] | None = None,
) -> "Table":
    """The rows as a table that fits onto the console.

    With `widths` it goes on with one that has these columns, at the least so wide, and needs no header.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    cells = {column.title: [column.read(row) for row in rows] for column in columns}
    shown = (
        _fitting(columns, cells, onto.width)
        if widths is None
        else [column for column in columns if column.title in widths]
    )
    drawn = Table(
        box=box.SIMPLE_HEAD if onto.is_terminal else None,
        pad_edge=False,
        padding=(0, _GAP, 0, 0) if not onto.is_terminal else (0, 1, 0, 0),
        show_edge=False,
        show_header=widths is None,
        header_style="bold",
    )
    for column in shown:
        title = column.title if onto.is_terminal else column.title.upper()
        width = None if widths is None else widths[column.title]
        drawn.add_column(title, overflow="fold", justify="right" if column.is_number else "left", min_width=width)
    for position in range(len(rows)):
        drawn.add_row(
            *(
                Text(cells[column.title][position], style=style_of(cells[column.title][position]))
                if column.is_state
                else Text(cells[column.title][position])
                for column in shown
            )
        )
    return drawn


def print_table(columns: Sequence[Column], rows: Sequence[Mapping[str, Any]], *, empty: str) -> None:
    """Print a list; where it is empty say so on standard error, so that a pipe gets nothing."""
    if not rows:
        print(empty, file=sys.stderr)
        return
    _print_trimmed(table(columns, rows, onto=console()))


def print_streamed(columns: Sequence[Column], rows: Iterable[Mapping[str, Any]], *, empty: str) -> None:
    """Print a list that may be long as it comes in; its first rows decide which columns it has and how wide."""
    from rich.cells import cell_len

    onto = console()
    widths: dict[str, int] | None = None
    following = iter(rows)
    while chunk := list(itertools.islice(following, _CHUNK)):
        _print_trimmed(table(columns, chunk, onto=onto, widths=widths))
        if widths is None:
            cells = {column.title: [column.read(row) for row in chunk] for column in columns}
            widths = {
                column.title: max(map(cell_len, (column.title, *cells[column.title])))
                for column in _fitting(columns, cells, onto.width)
            }
    if widths is None:
        print(empty, file=sys.stderr)


def print_json_streamed(items: Iterable[Any]) -> None:
    """Print a list as JSON as it comes in; the text is that of `print_json`."""
    is_first = True
    for item in items:
        encoded = json.dumps(item, indent=2, ensure_ascii=_needs_ascii())
        print("[" if is_first else ",", textwrap.indent(encoded, "  "), sep="\n", end="")
        is_first = False
    print("[]" if is_first else "\n]")


def _needs_ascii() -> bool:
    return (getattr(sys.stdout, "encoding", None) or "ascii").lower().replace("-", "") != "utf8"


def print_details(heading: str, sections: Iterable[Section]) -> None:
    """Print one thing in full."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    parts: list[Any] = [Text(heading, style="bold")]
    for section in sections:
        lines = [(label, value) for label, value in section.lines if value != NOTHING]
        if not lines:
            continue
        if section.title:
            parts.extend((Text(""), Text(section.title, style="bold")))
        grid = Table.grid(padding=(0, _GAP))
        grid.add_column()
        grid.add_column(overflow="fold")
        for label, value in lines:
            grid.add_row(Text(f"  {label}", style="dim"), Text(value, style=style_of(value)))
        parts.append(grid)
    _print_trimmed(Group(*parts))


def print_json(document: Any) -> None:
    """Print a document of the API as it is."""
    print(json.dumps(document, indent=2, ensure_ascii=_needs_ascii()))


def print_line(text: str, *, style: str = "") -> None:
    """Print one line, however long it is."""
    from rich.text import Text

    console().print(Text(text, style=style), soft_wrap=True)


def note(text: str) -> None:
    """Say something beside the result: on standard error, so that a pipe doesn't get it."""
    print(text, file=sys.stderr)


def print_failure(failure: CommandError, *, as_json: bool) -> None:
    """Explain a failure on standard error: as text, or as the API's problem document."""
    if as_json:
        print(json.dumps(_as_problem(failure), indent=2), file=sys.stderr)
        return
    from rich.text import Text

    onto = console(stderr=True)
    onto.print(Text.assemble(("Error: ", "bold red"), plain(failure.message)), soft_wrap=True)
    for line in _explanation(failure):
        onto.print(Text(f"  {line}"), soft_wrap=True)
    if failure.remedy:
        onto.print(Text.assemble(("  Hint: ", "bold"), plain(failure.remedy)), soft_wrap=True)


def _explanation(failure: CommandError) -> Iterable[str]:
    if not isinstance(failure, RefusedError):
        return
    problem = failure.problem
    if problem.get("detail"):
        yield plain(problem["detail"])
    for name, value in problem.items():
        if name in _PROBLEM_MEMBERS - {"errors"}:
            continue
        if isinstance(value, list):
            if name != "errors":
                yield f"{plain(name)}:"
            # The API's detail already tells the first field errors.
            told = str(problem.get("detail") or "") if name == "errors" else ""
            yield from (f"- {line}" for line in map(_entry, value) if line not in told)
        else:
            yield f"{plain(name)}: {plain(value)}"
    if failure.code:
        yield f"code: {plain(failure.code)}"
    if problem.get("requestId"):
        yield f"request: {plain(problem['requestId'])}"


def _entry(entry: Any) -> str:
    """One field error, blocker or candidate: what it is about first, then what is said of it."""
    if not isinstance(entry, Mapping):
        return plain(entry)
    subject = entry.get("pointer") or entry.get("code") or entry.get("name")
    if subject is None:
        return plain(dict(entry))
    detail = entry.get("detail")
    if detail is None:
        detail = {key: value for key, value in entry.items() if value is not subject}
    return f"{plain(subject)}: {plain(detail)}"


def _as_problem(failure: CommandError) -> Mapping[str, Any]:
    if isinstance(failure, RefusedError):
        return failure.problem
    return {"title": failure.message, "detail": failure.remedy}


def _fitting(columns: Sequence[Column], cells: Mapping[str, Sequence[str]], width: int) -> list[Column]:
    from rich.cells import cell_len

    needed = {column.title: max(map(cell_len, (column.title, *cells[column.title]))) + _GAP for column in columns}
    shown = list(columns)
    while sum(needed[column.title] for column in shown) - _GAP > width:
        least = max(shown, key=lambda column: column.rank)
        if least.rank == 0:
            break
        shown.remove(least)
    return shown


def _print_trimmed(drawn: Any) -> None:
    """Print without the blanks that pad a last column; they are noise in a file."""
    onto = console()
    if onto.is_terminal:
        onto.print(drawn)
        return
    with onto.capture() as captured:
        onto.print(drawn)
    print("\n".join(line.rstrip() for line in captured.get().splitlines()))
