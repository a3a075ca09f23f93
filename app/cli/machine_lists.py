"""Lists of source machines from a file: JSON as the API takes it, or CSV. Sizes are binary: 1 GB = 2^30 bytes."""

import json
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

from app.cli.failures import UsageError
from app.cli.formatting import plain
from app.cli.text_files import csv_rows, text_of

_SHOWN_PROBLEMS = 50
_SIZE = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,12})?)\s*(?:([kmgtp])i?b?|b)?", re.IGNORECASE)
_POWERS = {"k": 1, "m": 2, "g": 3, "t": 4, "p": 5}
_MAX_SIZE = 2**60
_NAME, _CHURN, _DISKS = "name", "churnInBytesPerDay", "disks"
_COLUMNS = {column.lower(): column for column in (_NAME, _CHURN, _DISKS)}
_MAX_DISKS = 1_000
_MAX_NAME_LENGTH = 255


def size_given(text: str) -> int:
    """Bytes from `1.5TB`, `250 GB` or a plain number, rounded up to whole bytes.

    Raises ValueError saying what would be right.
    """
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"'{text[:40]}' is not a size: write 1.5TB, 250 GB or a number of bytes")
    exact = Decimal(found[1]) * 1024 ** _POWERS.get((found[2] or "").lower(), 0)
    size = int(exact.to_integral_value(rounding="ROUND_CEILING"))
    if size > _MAX_SIZE:
        raise ValueError(f"'{text[:40]}' is more than the {_MAX_SIZE} bytes that are counted with")
    return size


def machines_in(path: Path) -> Any:
    """The machines of a file, as the API's `machines`; JSON where the name or the content says so, else CSV.

    Raises UsageError with every problem of a CSV file and its line, CommandError where the file can't be read.
    """
    text = text_of(path)
    if path.suffix.lower() == ".json" or (path.suffix.lower() != ".csv" and text.lstrip()[:1] in {"{", "["}):
        return _from_json(path, text)
    return _from_csv(path, text)


def _from_json(path: Path, text: str) -> Any:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is not JSON: {error}") from None
    if isinstance(document, dict) and set(document) == {"machines"}:
        document = document["machines"]
    if not isinstance(document, list):
        raise UsageError(
            f"{path} holds no list of machines",
            remedy='write [{"name": "...", "churnInBytesPerDay": ...}], or the same as "machines" of an object',
        )
    return document


def _from_csv(path: Path, text: str) -> list[dict[str, Any]]:
    problems: list[str] = []
    rows = csv_rows(text, problems)
    header = next(rows, None)
    if header is None:
        raise UsageError(f"{path} is empty", remedy=f"its first line names the columns: {_NAME},{_CHURN},{_DISKS}")
    columns = _columns(header[1], problems)
    machines: list[dict[str, Any]] = []
    first_lines: dict[str, int] = {}
    if not problems:
        for line, cells in rows:
            machine = _machine(line, cells, columns, problems)
            name = str(machine.get(_NAME, "")).casefold()
            earlier = first_lines.setdefault(name, line) if name else line
            if earlier != line:
                problems.append(
                    f"line {line}: the name '{plain(cells[columns.index(_NAME)])}' is in line {earlier} too"
                )
            machines.append(machine)
        if not machines and not problems:
            problems.append("line 2: there is no machine below the header")
    if problems:
        raise CsvProblems(path, problems)
    return machines


class CsvProblems(UsageError):
    """Everything that is wrong with a CSV file, a line each in `listed`."""

    def __init__(self, path: Path, problems: list[str]) -> None:
        count = len(problems)
        super().__init__(f"{path} has {count} problem{'' if count == 1 else 's'}")
        listed = "\n".join(f"  {problem}" for problem in problems[:_SHOWN_PROBLEMS])
        more = f"\n  and {count - _SHOWN_PROBLEMS} more" if count > _SHOWN_PROBLEMS else ""
        self.listed = f"{listed}{more}"


def _columns(header: list[str], problems: list[str]) -> list[str]:
    columns = [_COLUMNS.get(cell.lower(), "") for cell in header]
    for cell, column in zip(header, columns, strict=True):
        if not column:
            problems.append(f"line 1: '{plain(cell[:40])}' is no column; there are {_NAME}, {_CHURN}, {_DISKS}")
    for column in _COLUMNS.values():
        if columns.count(column) > 1:
            problems.append(f"line 1: the column {column} is there twice")
        if column != _DISKS and column not in columns:
            problems.append(f"line 1: the column {column} is missing")
    return columns


def _machine(line: int, cells: list[str], columns: list[str], problems: list[str]) -> dict[str, Any]:
    """A row as the API's machine, without what is wrong in it."""
    if len(cells) != len(columns):
        problems.append(f"line {line}: has {len(cells)} cell(s) instead of {len(columns)}")
        return {}
    machine: dict[str, Any] = {}
    for column, cell in zip(columns, cells, strict=True):
        try:
            value = _cell(column, cell)
        except ValueError as error:
            problems.append(f"line {line}: {column}: {error}")
            continue
        if value is not None:
            machine[column] = value
    return machine


def _cell(column: str, cell: str) -> Any:
    if column == _CHURN:
        return size_given(cell)
    if column == _DISKS:
        if not cell:
            return None
        if not cell.isascii() or not cell.isdigit() or int(cell[:9]) > _MAX_DISKS:
            raise ValueError(f"'{plain(cell[:40])}' is not a number of disks, 0 to {_MAX_DISKS}")
        return int(cell)
    if not 1 <= len(cell) <= _MAX_NAME_LENGTH:
        raise ValueError(f"has {len(cell)} characters instead of 1 to {_MAX_NAME_LENGTH}")
    return cell
