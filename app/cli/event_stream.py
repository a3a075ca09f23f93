"""Server-sent events as the WHATWG defines them, read from a connection piece by piece."""

import codecs
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

# A CR that is the last character so far may be the first half of a CRLF.
_LINE_END = re.compile(r"\r\n|\n|\r(?!\Z)")


class Frame(NamedTuple):
    """What stood between two empty lines; comments are gone. `event` and `data` are empty where there were none."""

    event: str
    data: str
    id: str | None
    retry_milliseconds: int | None


def frames(chunks: Iterable[bytes]) -> Iterator[Frame]:
    """Every frame that came whole, also those without data: an id alone moves what to resume from."""
    event, data, identifier, retry = "", list[str](), None, None
    for line in _lines(chunks):
        if not line:
            yield Frame(event, "\n".join(data), identifier, retry)
            event, data, identifier, retry = "", [], None, None
            continue
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "event":
            event = value
        elif name == "data":
            data.append(value)
        elif name == "id" and "\x00" not in value:
            identifier = value
        elif name == "retry" and value.isascii() and value.isdigit():
            retry = int(value)


def _lines(chunks: Iterable[bytes]) -> Iterator[str]:
    """Lines that came with their end. Only CR, LF and CRLF end one: other separators may stand inside an event."""
    decoder = codecs.getincrementaldecoder("utf-8-sig")("replace")
    rest = ""
    for chunk in chunks:
        rest += decoder.decode(chunk)
        start = 0
        for found in _LINE_END.finditer(rest):
            yield rest[start : found.start()]
            start = found.end()
        rest = rest[start:]
