"""Unified Setup's small INI files, in the spellings that the documentation shows. Pure functions.

The seed prints the proxy settings file as a list: each line with ``* `` in front, values in quotes. Files are read
in that form and in the plain one. Messages name lines and members, never values: a value may be a password.
"""

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass

_BULLET = re.compile(r"[*\N{BULLET}]\s*")
_HEADING = re.compile(r"\[\s*([^\[\]]*?)\s*\]")
_SAFE_NAME = re.compile(r"[A-Za-z][A-Za-z ]{0,39}")
_QUOTES = {'"': '"', "'": "'", "\N{LEFT DOUBLE QUOTATION MARK}": "\N{RIGHT DOUBLE QUOTATION MARK}"}


@dataclass(frozen=True)
class Section:
    """The members of one section by the names that were asked for, and what is wrong with the file."""

    values: dict[str, str]
    problems: tuple[str, ...]


def read_section(text: str, heading: str, names: Sequence[str]) -> Section:
    """Return the members of the section ``heading``; names count in any case, with blanks in them or not."""
    known = {_folded(name): name for name in names}
    values: dict[str, str] = {}
    problems: list[str] = []
    inside = found = False
    for number, raw in enumerate(text.lstrip("\ufeff").splitlines(), start=1):
        line = _BULLET.sub("", raw.strip(), count=1).strip()
        if not line or line[0] in "#;":
            continue
        title = _HEADING.fullmatch(line)
        if title:
            inside = _folded(title.group(1)) == _folded(heading)
            found = found or inside
            if not inside:
                problems.append(f"line {number} begins another section than [{heading}]; remove it")
            continue
        if not inside:
            if not found:
                problems.append(f"line {number} stands before [{heading}]; put that line first")
                inside = found = True
            else:
                continue
        problem = _take(line, number, known, values)
        if problem:
            problems.append(problem)
    if not found:
        problems.append(f"there is no section [{heading}]; begin the file with that line")
    return Section(values, tuple(problems))


def _take(line: str, number: int, known: dict[str, str], values: dict[str, str]) -> str | None:
    name, equals, rest = line.partition("=")
    if not equals:
        return f"line {number} is not of the form name = value"
    name = name.strip()
    member = known.get(_folded(name))
    if member is None:
        near = difflib.get_close_matches(_folded(name), known, n=1, cutoff=0.7)
        what = f"'{name}'" if _SAFE_NAME.fullmatch(name) else "what it sets"
        hint = f"did you mean {known[near[0]]}?" if near else f"the members are {', '.join(known.values())}"
        return f"line {number}: {what} is not a member of the section; {hint}"
    if member in values:
        return f"line {number} gives {member} once more; give it once"
    value = rest.strip()
    closing = _QUOTES.get(value[:1])
    if closing is not None:
        if len(value) < 2 or not value.endswith(closing):
            return f"line {number}: the quote that opens the value of {member} is never closed"
        value = value[1:-1]
    values[member] = value
    return None


def _folded(name: str) -> str:
    return "".join(name.split()).casefold()
