"""Conditional and partial downloads (RFC 9110, sections 13 and 14): pure."""

import re
from typing import NamedTuple

_RANGE = re.compile(r"bytes\s*=\s*(\d{0,18})\s*-\s*(\d{0,18})\s*", re.IGNORECASE)


class Span(NamedTuple):
    """A part of a file: from the first byte to the one after the last."""

    start: int
    stop: int


class UnsatisfiableError(ValueError):
    """The range begins behind the end of the file."""


def read_range(header: str | None, size: int) -> Span | None:
    """The part that a `Range` header asks for; None for the whole.

    A header that can't be read, in other units or of several parts, is ignored as the standard allows. Raises
    UnsatisfiableError when nothing of the file is in the range.
    """
    found = _RANGE.fullmatch(header) if header else None
    if found is None or found.groups() == ("", ""):
        return None
    first, last = found.groups()
    if not first:
        if int(last) == 0:
            raise UnsatisfiableError
        return Span(max(size - int(last), 0), size)
    if last and int(last) < int(first):
        return None
    if int(first) >= size:
        raise UnsatisfiableError
    return Span(int(first), min(int(last) + 1, size) if last else size)


def is_known(header: str | None, etag: str) -> bool:
    """Whether `If-None-Match` names the present file."""
    if header is None:
        return False
    known = {entry.strip().removeprefix("W/") for entry in header.split(",")}
    return "*" in known or etag in known


def still_holds(header: str | None, etag: str) -> bool:
    """Whether a range may be answered in part: `If-Range` is absent or names the present file."""
    return header is None or header.strip() == etag
