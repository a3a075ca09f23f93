"""Files of source machines to import: CSV or JSON lines, turned into the JSON lines that the API takes.

Line numbers stay those of the file. Sizes may be written as 1.5TB; what can't be told is sent as it is, so that one
report names all that is wrong.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from app.cli.failures import UsageError
from app.cli.formatting import plain
from app.cli.machine_lists import CsvProblems, size_given
from app.cli.text_files import csv_rows, text_of

MEDIA_TYPE = "application/x-ndjson"
_CHURN, _DISKS, _OVERRIDE = "churnInBytesPerDay", "disks", "allowOverCapacity"
_COLUMNS = (
    "name",
    "processServer",
    _CHURN,
    "friendlyName",
    _DISKS,
    "osType",
    "agentVersion",
    "lastRebootAgentVersion",
    _OVERRIDE,
)
_NEEDED = _COLUMNS[:3]
_BY_FOLDED = {column.casefold(): column for column in _COLUMNS}
_BOOLEANS = {"true": True, "yes": True, "false": False, "no": False}


@dataclass(slots=True)
class MachineFile:
    """What is sent, and what is known here of a size that is none, by line and pointer."""

    content: bytes
    row_count: int
    notes: dict[tuple[int, str], str] = field(default_factory=dict)


def read(path: Path) -> MachineFile:
    """The machines of a file or, for `-`, of standard input. CSV or JSON lines, by its name or else its first sign.

    Raises UsageError for a file that is neither, CommandError for one that can't be read.
    """
    text = text_of(path)
    start = text.lstrip()[:1]
    if start == "[" and path.suffix.lower() != ".csv":
        raise UsageError(f"{path} is one JSON list", remedy="write an object a line: jq -c '.[]'")
    if path.suffix.lower() in {".jsonl", ".ndjson", ".json"} or (path.suffix.lower() != ".csv" and start == "{"):
        return _of_lines(text)
    return _of_csv(path, text)


def _of_lines(text: str) -> MachineFile:
    notes: dict[tuple[int, str], str] = {}
    lines: list[str] = []
    for number, line in enumerate(text.split("\n"), 1):
        try:
            machine = json.loads(line)
        except (ValueError, RecursionError):
            lines.append(line)
            continue
        lines.append(json.dumps(_with_sizes(number, machine, notes)) if isinstance(machine, dict) else line)
    count = sum(1 for line in lines if line.strip())
    return MachineFile("\n".join(lines).encode(), count, notes)


def _of_csv(path: Path, text: str) -> MachineFile:
    problems: list[str] = []
    rows = csv_rows(text, problems)
    header = next(rows, None)
    if header is None:
        raise UsageError(f"{path} is empty", remedy=f"its first line names the columns: {','.join(_NEEDED)}")
    columns = _header(header[1], problems)
    notes: dict[tuple[int, str], str] = {}
    lines: list[str] = []
    count = 0
    for number, cells in rows if not problems else ():
        if len(cells) != len(columns):
            problems.append(f"line {number}: has {len(cells)} cell(s) instead of {len(columns)}")
            continue
        machine = {column: cell for column, cell in zip(columns, cells, strict=True) if cell}
        # Blank lines bring each machine to its own line.
        lines.extend([""] * (number - 1 - len(lines)))
        lines.append(json.dumps(_with_sizes(number, _typed(machine), notes)))
        count += 1
    if not count and not problems:
        problems.append("line 2: there is no machine below the header")
    if problems:
        raise CsvProblems(path, problems)
    return MachineFile("\n".join(lines).encode(), count, notes)


def _header(header: list[str], problems: list[str]) -> list[str]:
    columns = [_BY_FOLDED.get(cell.casefold(), "") for cell in header]
    for cell, column in zip(header, columns, strict=True):
        if not column:
            problems.append(f"line 1: '{plain(cell[:40])}' is no column; there are {', '.join(_COLUMNS)}")
    problems.extend(f"line 1: the column {column} is there twice" for column in _COLUMNS if columns.count(column) > 1)
    problems.extend(f"line 1: the column {column} is missing" for column in _NEEDED if column not in columns)
    return columns


def _typed(machine: dict[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = dict(machine)
    if _DISKS in machine:
        found[_DISKS] = [size.strip() for size in machine[_DISKS].split(";") if size.strip()]
    if _OVERRIDE in machine:
        found[_OVERRIDE] = _BOOLEANS.get(machine[_OVERRIDE].lower(), machine[_OVERRIDE])
    return found


def _with_sizes(line: int, machine: Mapping[str, Any], notes: dict[tuple[int, str], str]) -> dict[str, Any]:
    """The machine with its sizes in bytes; disks may be plain sizes too."""
    found = dict(machine)
    if isinstance(found.get(_CHURN), str):
        found[_CHURN] = _size(line, f"#/{_CHURN}", found[_CHURN], notes)
    if isinstance(found.get(_DISKS), list):
        found[_DISKS] = [_disk(line, position, disk, notes) for position, disk in enumerate(found[_DISKS])]
    return found


def _disk(line: int, position: int, disk: Any, notes: dict[tuple[int, str], str]) -> Any:
    pointer = f"#/{_DISKS}/{position}/sizeInBytes"
    if isinstance(disk, dict) and isinstance(disk.get("sizeInBytes"), str):
        return {**disk, "sizeInBytes": _size(line, pointer, disk["sizeInBytes"], notes)}
    if isinstance(disk, str):
        return {"sizeInBytes": _size(line, pointer, disk, notes)}
    return {"sizeInBytes": disk} if isinstance(disk, int) and not isinstance(disk, bool) else disk


def _size(line: int, pointer: str, text: str, notes: dict[tuple[int, str], str]) -> Any:
    try:
        return size_given(text)
    except ValueError as error:
        notes[line, pointer] = str(error)
        return text
