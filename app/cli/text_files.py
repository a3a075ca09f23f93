"""Text from a file or standard input, and the rows of CSV in it."""

import csv
import io
import sys
from collections.abc import Iterator
from pathlib import Path

from app.cli.failures import CommandError, UsageError

MAX_FILE_BYTES = 16 * 2**20


def text_of(path: Path) -> str:
    """The text of a file; `-` is standard input. Raises CommandError or UsageError."""
    try:
        content = sys.stdin.buffer.read(MAX_FILE_BYTES + 1) if str(path) == "-" else _bytes_of(path)
    except OSError as error:
        raise CommandError(f"{path} can't be read: {error.strerror or error}") from None
    if len(content) > MAX_FILE_BYTES:
        raise UsageError(f"{path} is larger than {MAX_FILE_BYTES // 2**20} MB")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8 text (byte {error.start})", remedy="save it as CSV UTF-8") from None


def _bytes_of(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MAX_FILE_BYTES + 1)


def csv_rows(text: str, problems: list[str]) -> Iterator[tuple[int, list[str]]]:
    """Each row that is not blank with its line; a comma separates, or the semicolon of a header that has no comma."""
    head = text.split("\n", 1)[0]
    reader = csv.reader(io.StringIO(text), delimiter=";" if ";" in head and "," not in head else ",", strict=True)
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            problems.append(f"line {line}: {error}")
            return
        if any(cell.strip() for cell in cells):
            yield line, [cell.strip() for cell in cells]
