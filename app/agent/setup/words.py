"""From what was typed to words: the forms in which a command line of Unified Setup arrives.

As arguments that a shell has split; as the whole line in one argument; with the name of the installer in front; and
mangled: in ``"D:\\" /EnvType "VMWare"`` shells and Windows programs take the backslash and quote for an escaped quote
and turn the rest of the line inside out. Pure functions.
"""

import re
from collections.abc import Sequence

from .parameters import PARAMETERS

PREFIXES = "-/\N{EN DASH}\N{EM DASH}"
"""What stands before a name; documents make dashes longer. The hyphen first: this is part of patterns."""
_QUOTES = {'"': '"', "'": "'", "\N{LEFT DOUBLE QUOTATION MARK}": "\N{RIGHT DOUBLE QUOTATION MARK}"}
_NAMES = "|".join(sorted((parameter.name for parameter in PARAMETERS), key=len, reverse=True))
_NAMED = re.compile(rf"(?<!\S)(?:[{PREFIXES}]{{1,2}}(?:{_NAMES})|/[A-Z]+)(?=[\s:]|$)", re.IGNORECASE)
_MANGLED = re.compile(rf"\"\s+[{PREFIXES}]{{1,2}}[A-Za-z]")
_EXECUTABLE = re.compile(r"(?:.*[\\/])?(?:[^\\/]*\.exe|unifiedsetup|muster-setup)", re.IGNORECASE)
_EXTRACTOR = re.compile(r"(?:.*[\\/])?MicrosoftAzureSiteRecoveryUnifiedSetup[^\\/]*\.exe", re.IGNORECASE)
_CONTINUED = re.compile(r"\s[\\^`]\s*$")


def begins_like_a_name(word: str) -> bool:
    """Return whether the word begins as names of parameters do."""
    return word.startswith(tuple(PREFIXES))


def read_words(arguments: Sequence[str]) -> list[str]:
    """Return the words of a command line without the program's name; empty for the line that only unpacks.

    ``MicrosoftAzureSiteRecoveryUnifiedSetup.exe /q /x<folder>`` and ``cd <folder>`` prepare what follows in the
    documented sample. Here there is nothing to unpack.
    """
    if len(arguments) == 1 and re.search(r"\s", arguments[0].strip()):
        words = [word for line in _lines(arguments[0]) if not _only_prepares(line) for word in line]
    elif any(_MANGLED.search(argument) for argument in arguments):
        words = _restored(" ".join(arguments))
    else:
        words = list(arguments)
    if _only_prepares(words):
        return []
    return words[1:] if words and _EXECUTABLE.fullmatch(words[0]) else words


def only_unpacks(arguments: Sequence[str]) -> bool:
    """Return whether the line is the sample's first one, which unpacks the installer."""
    return bool(arguments) and not read_words(arguments) and bool(_EXTRACTOR.match(arguments[0].strip("\"' ")))


def _lines(text: str) -> list[list[str]]:
    return [split_line(_CONTINUED.sub("", line)) for line in text.splitlines() if line.strip()]


def _only_prepares(words: Sequence[str]) -> bool:
    if not words:
        return False
    if words[0].lower() in {"cd", "chdir"}:
        return len(words) == 2
    return bool(_EXTRACTOR.fullmatch(words[0])) and all(re.match(r"/[qx]", word, re.IGNORECASE) for word in words[1:])


def split_line(line: str) -> list[str]:
    """Return the words of a line, parted by blanks outside of quotes. A backslash never escapes anything.

    A quote opens at the start of a word or after ``/Name:`` and closes at its like.
    """
    words: list[str] = []
    position = 0
    while True:
        blanks = re.compile(r"\s*").match(line, position)
        position = blanks.end() if blanks else position
        if position >= len(line):
            return words
        word = ""
        while position < len(line) and not line[position].isspace():
            letter = line[position]
            closing = _QUOTES.get(letter) if not word or word.endswith(":") else None
            end = line.find(closing, position + 1) if closing else -1
            if end >= 0:
                word += line[position + 1 : end]
                position = end + 1
                if position < len(line) and not line[position].isspace():
                    continue
                break
            word += letter
            position += 1
        words.append(word)


def _restored(line: str) -> list[str]:
    """Return the words of a line whose quotes were mistaken, cut where a name begins."""
    starts = [found.start() for found in _NAMED.finditer(line)]
    words = line[: starts[0]].split() if starts else line.split()
    for start, end in zip(starts, [*starts[1:], len(line)], strict=True):
        named = _NAMED.match(line, start)
        name_ends = named.end() if named else start
        value = line[name_ends:end].strip().removeprefix(":")
        words.append(line[start:name_ends])
        # The quote that was taken for an escaped one; the backslash went with it.
        head, quote, rest = value.partition('"')
        if quote:
            words += [head + "\\", *rest.split()]
        elif value:
            words.append(value)
    return words
