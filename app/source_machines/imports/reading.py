"""Files of source machines, read row by row: JSON lines or CSV, UTF-8, to the rows of an import.

What is wrong with a row is noted in the row, with the error of the PUT that it stands for. Only a file as a whole
raises.
"""

import csv
import io
import json
from collections.abc import Iterable, Iterator
from typing import Any

from pydantic import ValidationError

from app.core.errors import FileTypeUnsupported, Invalid
from app.core.problems import from_findings
from app.source_machines.imports.rules import Row, RowError, RowProblem, note_duplicates
from app.source_machines.imports.schemas import CSV, JSON_LINES, MAX_ROWS, ImportRow
from app.source_machines.records import columns_of

MAX_LINE_BYTES = 65_536
_BOM = b"\xef\xbb\xbf"
_NAME, _SERVER, _CHURN = "name", "processServer", "churnInBytesPerDay"
_DISKS, _OVERRIDE = "disks", "allowOverCapacity"
_COLUMNS = {field.alias or name: name for name, field in ImportRow.model_fields.items()}
_BY_FOLDED = {column.casefold(): column for column in _COLUMNS}
_REQUIRED = (_NAME, _SERVER, _CHURN)
_BOOLEANS = {"true": True, "false": False}
_UNPLACED = RowError(
    RowProblem.UNPLACED,
    "names no process server, and an imported machine needs one; name the one that is to carry it",
    f"#/{_SERVER}",
)


def media_type_of(content_type: str) -> str:
    """The kind of file that a Content-Type declares. Raises FileTypeUnsupported for any other, or not UTF-8."""
    kind, _, parameters = content_type.partition(";")
    charset = parameters.strip().lower().removeprefix("charset=").strip('" ')
    if kind.strip().lower() in {JSON_LINES, CSV} and (charset in {"", "utf-8", "utf8"} or "charset" not in parameters):
        return kind.strip().lower()
    raise FileTypeUnsupported(
        f"'{content_type[:80]}' is not taken; send 'Content-Type: {JSON_LINES}' (a JSON object a line) or '{CSV}' "
        "(with a header), in UTF-8"
    )


def rows_of(media_type: str, content: bytes) -> list[Row]:
    """The rows of a file. Raises Invalid for a file without rows, or with more than 20,000."""
    content = content.removeprefix(_BOM)
    rows: list[Row] = []
    for row in _csv_rows(content) if media_type == CSV else _json_rows(content):
        if len(rows) == MAX_ROWS:
            raise _not_taken(f"the file has more than {MAX_ROWS:,} rows; import it in parts")
        rows.append(row)
    if not rows:
        raise _not_taken("the file has no row; send a machine a line")
    note_duplicates(rows)
    return rows


def _not_taken(detail: str) -> Invalid:
    return Invalid(detail, [{"pointer": "#", "detail": detail}])


def _json_rows(content: bytes) -> Iterator[Row]:
    for line, text in enumerate(content.split(b"\n"), 1):
        if not text.strip():
            continue
        if len(text) > MAX_LINE_BYTES:
            yield _malformed(line, f"the line has more than {MAX_LINE_BYTES:,} bytes; a machine needs far fewer")
            continue
        try:
            found = ImportRow.model_validate_json(text)
        except ValidationError as error:
            yield _row_with_findings(line, error, lambda text=text: json.loads(text))
        except (ValueError, RecursionError) as error:
            yield _malformed(line, f"the line can't be read: {error}")
        else:
            yield _row(line, found)


def _csv_rows(content: bytes) -> Iterator[Row]:
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        yield _malformed(line, f"byte {error.start + 1} of the file is not UTF-8; save it as CSV UTF-8")
        return
    lines = _cells(text)
    header = next(lines, None)
    if header is None:
        return
    if isinstance(header, Row):
        yield header
        return
    columns, errors = _columns(header[1])
    if errors:
        yield Row(header[0], None, errors=errors)
        return
    for found in lines:
        yield found if isinstance(found, Row) else _csv_row(*found, columns)


def _cells(text: str) -> Iterator[tuple[int, list[str]] | Row]:
    """Each line that is not blank with its number; a line that breaks the form of CSV is the last."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield _malformed(line, f"this is not CSV: {error}; the file could not be read any further")
            return
        if any(cell.strip() for cell in cells):
            yield line, [cell.strip() for cell in cells]


def _columns(header: Iterable[str]) -> tuple[list[str], list[RowError]]:
    errors: list[RowError] = []
    columns: list[str] = []
    for cell in header:
        column = _BY_FOLDED.get(cell.casefold(), "")
        if not column:
            errors.append(_header_error(f"'{cell[:40]}' is no column; there are {', '.join(_COLUMNS)}"))
        elif column in columns:
            errors.append(_header_error(f"the column {column} is there twice"))
        columns.append(column)
    errors.extend(
        _header_error(f"the column {column} is missing, and every machine needs it")
        for column in _REQUIRED
        if column not in columns
    )
    return columns, errors


def _csv_row(line: int, cells: list[str], columns: list[str]) -> Row:
    if len(cells) != len(columns):
        named = dict(zip(columns, cells, strict=False)).get(_NAME)
        return _malformed(line, f"the line has {len(cells)} cells, the header {len(columns)}", _shown_name(named))
    members = {column: _value(column, cell) for column, cell in zip(columns, cells, strict=True) if cell}
    try:
        found = ImportRow.model_validate(members)
    except ValidationError as error:
        return _row_with_findings(line, error, lambda: members)
    return _row(line, found)


def _value(column: str, cell: str) -> Any:
    """A cell as JSON would have it; what can't be told stays text, and is refused as such."""
    if column == _CHURN:
        return _number(cell)
    if column == _DISKS:
        return [{"sizeInBytes": _number(size.strip())} for size in cell.split(";") if size.strip()]
    return _BOOLEANS.get(cell.lower(), cell) if column == _OVERRIDE else cell


def _number(text: str) -> Any:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else text


def _row(line: int, found: ImportRow) -> Row:
    row = Row(line, found.name, found.process_server, columns_of(found.name, found), found.allow_over_capacity)
    if found.process_server is None:
        row.errors.append(_UNPLACED)
    return row


def _row_with_findings(line: int, error: ValidationError, read: Any) -> Row:
    findings = error.errors(include_url=False)
    kind = findings[0]["type"]
    if kind == "json_invalid":
        return _malformed(line, f"the line is not JSON: {findings[0]['ctx']['error']}")
    document = read()
    if not isinstance(document, dict):
        return _malformed(line, "the line is not a JSON object")
    problems = from_findings(findings).members["errors"]
    errors = [RowError(RowProblem.INVALID, entry["detail"], entry["pointer"]) for entry in problems]
    if document.get(_SERVER) is None:
        errors.append(_UNPLACED)
    return Row(line, _shown_name(document.get(_NAME)), errors=errors)


def _shown_name(name: Any) -> str | None:
    """A name for the report, fit or not."""
    return name[:63].lower() if isinstance(name, str) and name else None


def _malformed(line: int, detail: str, name: str | None = None) -> Row:
    return Row(line, name, errors=[RowError(RowProblem.MALFORMED, detail)])


def _header_error(detail: str) -> RowError:
    return RowError(RowProblem.COLUMNS, detail)
