"""`muster machine import`, and lists of machines that are long."""

import json
from pathlib import Path
from typing import Any

import pytest

from app.cli import progress, screen
from tests.cli.fake_api import FakeApi, Muster
from tests.cli.test_machines import SERVERS, VAULT, machine

IMPORTS = f"{SERVERS}/cs-1/source-machine-imports"
GB = 2**30


@pytest.fixture
def site(api: FakeApi) -> FakeApi:
    """A vault with the one configuration server `cs-1`."""
    api.pages(SERVERS, [{"name": "cs-1"}])
    return api


def report(**members: Any) -> dict[str, Any]:
    """What the API says of an import that was done."""
    counts = {"created": 2, "updated": 0, "moved": 1, "unchanged": 0, "refused": 0}
    return {"imported": True, "dryRun": False, **counts, "overCapacity": [], "rows": [], **members}


def lines(api: FakeApi) -> dict[int, Any]:
    """The rows that were sent, by their line."""
    (request,) = api.asked("POST")
    assert request.headers["content-type"] == "application/x-ndjson"
    assert int(request.headers["content-length"]) == len(request.content)
    assert request.headers["idempotency-key"]
    sent = request.content.decode().split("\n")
    return {number: json.loads(line) for number, line in enumerate(sent, 1) if line.strip()}


def test_csv_becomes_rows_on_their_own_lines(site: FakeApi, muster: Muster) -> None:
    Path("machines.csv").write_text(
        "\ufeffName,processServer,churnInBytesPerDay,disks,allowOverCapacity\n"
        'SQL-1,ps-1,1.5TB,"100 GB;200GB",yes\n'
        "\n"
        "web-1,ps-2,0,,\n",
        encoding="utf-8",
    )
    site.answer("POST", IMPORTS, report())
    result = muster("machine", "import", "machines.csv")
    assert result.exit_code == 0, result.output
    assert result.stdout == "Imported 3 source machines: 2 created, 0 updated, 1 moved, 0 unchanged.\n"
    assert lines(site) == {
        2: {
            "name": "SQL-1",
            "processServer": "ps-1",
            "churnInBytesPerDay": 1536 * GB,
            "disks": [{"sizeInBytes": 100 * GB}, {"sizeInBytes": 200 * GB}],
            "allowOverCapacity": True,
        },
        4: {"name": "web-1", "processServer": "ps-2", "churnInBytesPerDay": 0},
    }
    assert not site.asked("POST")[0].url.params


def test_json_lines_come_from_standard_input(site: FakeApi, muster: Muster) -> None:
    text = '{"name": "a", "churnInBytesPerDay": "2GB", "disks": ["1GB", 5, {"sizeInBytes": "1KB"}]}\n\n{oops\n'
    site.answer("POST", IMPORTS, report(dryRun=True, imported=False))
    result = muster("machine", "import", "-", "--dry-run", "--allow-over-capacity", input=text)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("Nothing stands against it: 2 created")
    (request,) = site.asked("POST")
    assert dict(request.url.params) == {"dryRun": "true", "allowOverCapacity": "true"}
    first, blank, third, *_ = request.content.decode().split("\n")
    assert json.loads(first) == {
        "name": "a",
        "churnInBytesPerDay": 2 * GB,
        "disks": [{"sizeInBytes": GB}, {"sizeInBytes": 5}, {"sizeInBytes": 1024}],
    }
    assert (blank, third) == ("", "{oops")


def test_bad_rows_are_a_table_with_their_lines(site: FakeApi, muster: Muster) -> None:
    Path("machines.csv").write_text("name,processServer,churnInBytesPerDay\nsql-1,ps-1,much\nsql-2,ps-1,5\n")
    errors = [
        {"code": "validation-failed", "detail": "not an integer", "pointer": "#/churnInBytesPerDay"},
        {"code": "process-server-not-found", "detail": "there is no ps-1", "pointer": "#/processServer"},
    ]
    rows = [
        {"line": 2, "name": "sql-1", "outcome": "refused", "errors": errors},
        {"line": 3, "name": "sql-2", "outcome": "refused", "errors": [{**errors[1], "pointer": None}]},
    ]
    excess = {"processServer": "ps-2", "detail": "ps-2 is full", "isPermitted": False, "lines": [2, 3]}
    members = {**report(imported=False, refused=7), "rows": rows, "overCapacity": [excess]}
    site.refuse("POST", IMPORTS, 422, "import-invalid", **members)
    result = muster("machine", "import", "machines.csv")
    assert result.exit_code == 1
    header, first, second, third, full = result.stdout.splitlines()
    assert header.split() == ["LINE", "NAME", "CODE", "MEMBER", "PROBLEM"]
    assert first.split()[:4] == ["2", "sql-1", "validation-failed", "churnInBytesPerDay"]
    assert "'much' is not a size" in first
    assert second.split()[:3] == ["2", "sql-1", "process-server-not-found"]
    assert third.split()[:2] == ["3", "sql-2"]
    assert full == "Over capacity: ps-2 is full (lines 2, 3)"
    assert "and 5 more rows" in result.stderr
    assert "7 row(s) are refused, and nothing was imported" in result.stderr
    assert "code: import-invalid" in result.stderr
    site.refuse("POST", IMPORTS, 409, "import-refused", **members)
    assert muster("machine", "import", "machines.csv").exit_code == 6
    result = muster("machine", "import", "machines.csv", "--json")
    assert (result.exit_code, result.stdout) == (6, "")
    assert json.loads(result.stderr)["rows"] == rows


def test_other_refusals_are_told_as_ever(site: FakeApi, muster: Muster) -> None:
    Path("machines.jsonl").write_text('{"name": "a"}\n')
    site.refuse("POST", IMPORTS, 403, "forbidden")
    result = muster("machine", "import", "machines.jsonl")
    assert result.exit_code == 4
    assert "Title of forbidden" in result.stderr


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("a.csv", "", "is empty"),
        ("a.csv", "name,colour\n", "'colour' is no column"),
        ("a.csv", "name,name,processServer,churnInBytesPerDay\n", "is there twice"),
        ("a.csv", "name,processServer,churnInBytesPerDay\n", "no machine below"),
        ("a.csv", "name,processServer,churnInBytesPerDay\na,b\n", "line 2: has 2 cell(s) instead of 3"),
        ("a.txt", '[{"name": "a"}]', "one JSON list"),
    ],
)
def test_files_that_can_not_be_sent(site: FakeApi, muster: Muster, name: str, text: str, told: str) -> None:
    Path(name).write_text(text)
    result = muster("machine", "import", name)
    assert result.exit_code == 2
    assert told in result.stderr
    assert not site.asked("POST")


def test_permitted_excess_is_told(site: FakeApi, muster: Muster) -> None:
    excess = {"processServer": "ps-1", "detail": "ps-1 is full", "isPermitted": True, "lines": list(range(1, 30))}
    site.answer("POST", IMPORTS, report(overCapacity=[excess]))
    Path("machines.jsonl").write_text('{"name": "a"}\n')
    first = muster("machine", "import", "machines.jsonl").stdout.splitlines()[0]
    assert first.startswith("Over capacity, by permission: ps-1 is full (lines 1, 2,")
    assert first.endswith("20 ...)")


def test_progress_is_shown_on_a_terminal_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    import io

    from rich.console import Console

    onto = Console(file=io.StringIO(), force_terminal=True, width=80)
    monkeypatch.setattr(screen, "console", lambda stderr=False: onto)
    with progress.sending(10, "Sending", "Importing") as went:
        went(4)
        went(6)
    assert "Importing" in onto.file.getvalue()  # type: ignore[attr-defined]
    quiet = Console(file=io.StringIO())
    monkeypatch.setattr(screen, "console", lambda stderr=False: quiet)
    with progress.sending(10, "Sending", "Importing") as went:
        went(10)
    assert quiet.file.getvalue() == ""  # type: ignore[attr-defined]


def test_a_long_list_is_printed_as_it_comes(site: FakeApi, muster: Muster) -> None:
    pages = [[machine(f"m-{page}-{number:03}") for number in range(500)] for page in range(3)]
    site.pages(f"{VAULT}/source-machines", *pages)
    printed = muster("machine", "list").stdout.splitlines()
    assert len(printed) == 1501
    assert [line.split()[0] for line in printed[1:]] == [entry["name"] for page in pages for entry in page]
    assert printed[1].index("ps-1") == printed[1500].index("ps-1")
    as_json = muster("machine", "list", "--json").stdout
    assert json.loads(as_json) == [entry for page in pages for entry in page]
    assert as_json == json.dumps([entry for page in pages for entry in page], indent=2) + "\n"
