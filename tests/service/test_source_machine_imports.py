"""Machines that are imported from a file: each as its PUT would have it, all of them or none."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

import httpx
import pytest

from app.core.db import Database
from app.core.settings import Settings
from app.models import SourceMachine
from app.source_machines.imports.schemas import MAX_ROWS
from tests.support.machines import GB, LARGE, MACHINES, SERVER, SMALL, TB, Servers, connected_servers, put
from tests.support.muster import Site, client_of, problem
from tests.support.rows import count, host_row

IMPORTS = f"{SERVER}/source-machine-imports"
NDJSON = {"Content-Type": "application/x-ndjson"}
CSV = {"Content-Type": "text/csv; charset=utf-8"}
PLAIN = ("name", "processServer", "churnInBytesPerDay")


@pytest.fixture
async def servers(site: Site) -> Servers:
    """A configuration server, and a small and a large process server; all of them are connected."""
    return await connected_servers(site, ps_1=SMALL, ps_2=LARGE)


def row(name: str, process_server: str = "ps-1", churn: int = GB, **members: Any) -> dict[str, Any]:
    """A row with the least that is needed."""
    return {"name": name, "processServer": process_server, "churnInBytesPerDay": churn, **members}


def lines(rows: Iterable[Any]) -> bytes:
    """Rows as JSON lines; text goes as it is."""
    return b"".join((entry if isinstance(entry, str) else json.dumps(entry)).encode() + b"\n" for entry in rows)


async def post(site: Site, content: bytes, headers: Mapping[str, str] = NDJSON, **query: Any) -> httpx.Response:
    """An import."""
    return await site.client.post(IMPORTS, content=content, headers=dict(headers), params=query)


async def imported(site: Site, *rows: Any, **query: Any) -> dict[str, Any]:
    """The report of an import that must be done."""
    answer = await post(site, lines(rows), **query)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def counts(report: Mapping[str, Any]) -> list[int]:
    """How many rows had each outcome."""
    return [report[name] for name in ("created", "updated", "moved", "unchanged", "refused")]


def codes(report: Mapping[str, Any]) -> dict[int, list[str]]:
    """The codes of each refused row by its line."""
    return {entry["line"]: [error["code"] for error in entry["errors"]] for entry in report["rows"]}


async def machines(site: Site) -> dict[str, dict[str, Any]]:
    """All machines by name, as the API shows them."""
    return {machine["name"]: machine for machine in await site.walk(MACHINES)}


async def generations(database: Database, servers: Servers) -> dict[str, int]:
    """The generation of each server's host."""
    return {name: (await host_row(database, registered)).generation for name, registered in servers.items()}


async def test_rows_are_created_updated_moved_and_left_alone(site: Site, servers: Servers, database: Database) -> None:
    for name in ("grows", "moves", "stays", "leaves"):
        assert (await put(site, name)).status_code == 201
    usual = {key: value for key, value in (await machines(site))["stays"].items() if key in ("disks", "osType")}
    versions = {"agentVersion": "9.62.7096.1", "lastRebootAgentVersion": "9.60.6956.1"}
    before, sequence = await generations(database, servers), len(await site.events())
    site.manual_clock.advance(60)
    report = await imported(
        site,
        row("NEW-1", "PS-1", friendlyName="New one", disks=[{"sizeInBytes": 5}, {"sizeInBytes": 6}]),
        row("new-2", servers["ps-2"]["id"]),
        row("grows", churn=11 * GB, **usual, **versions),
        row("moves", "ps-2", 10 * GB, **usual, **versions),
        row("leaves", "ps-2", 12 * GB),
        row("stays", churn=10 * GB, **usual, **versions),
    )
    assert (report["imported"], report["dryRun"], report["overCapacity"]) == (True, False, [])
    assert counts(report) == [2, 1, 2, 1, 0]
    assert [(entry["line"], entry["name"], entry["outcome"]) for entry in report["rows"]] == [
        (1, "new-1", "created"),
        (2, "new-2", "created"),
        (3, "grows", "updated"),
        (4, "moves", "moved"),
        (5, "leaves", "moved"),
        (6, "stays", "unchanged"),
    ]
    found = await machines(site)
    assert found["new-1"]["friendlyName"] == "New one"
    assert found["new-1"]["disks"] == [{"sizeInBytes": 5}, {"sizeInBytes": 6}]
    carriers = {name: entry["processServer"] for name, entry in found.items()}
    assert {name for name, carrier in carriers.items() if carrier == "ps-1"} == {"new-1", "grows", "stays"}
    assert {name for name, carrier in carriers.items() if carrier == "ps-2"} == {"new-2", "moves", "leaves"}
    assert (found["leaves"]["osType"], found["leaves"]["disks"]) == (None, [])
    assert found["stays"]["updatedAt"] < found["moves"]["updatedAt"]
    events = (await site.events())[sequence:]
    assert [(event["type"].partition(".")[2], event["resource"]["name"]) for event in events] == [
        ("registered", "new-1"),
        ("registered", "new-2"),
        ("updated", "grows"),
        ("moved", "moves"),
        ("moved", "leaves"),
        ("updated", "leaves"),
    ]
    assert [event["sequence"] for event in events] == list(range(sequence + 1, sequence + 7))
    assert events[0]["data"] == {"processServer": "ps-1", "churnInBytesPerDay": GB, "overCapacity": False}
    assert events[3]["data"] == {"from": "ps-1", "to": "ps-2", "overCapacity": False}
    assert {event["actor"] for event in events} == {events[0]["actor"]}
    assert await generations(database, servers) == {
        **{name: generation + (name != "cs-1") for name, generation in before.items()}
    }
    tags = [(await site.client.get(f"{MACHINES}/{name}")).headers["etag"] for name in ("stays", "moves")]
    assert tags[0] != tags[1]


async def test_the_same_file_again_changes_nothing(site: Site, servers: Servers, database: Database) -> None:
    rows = [row(f"sql-{number}", "ps-2", number * GB) for number in range(20)]
    assert counts(await imported(site, *rows)) == [20, 0, 0, 0, 0]
    before, found, events = await generations(database, servers), await machines(site), len(await site.events())
    assert counts(await imported(site, *rows)) == [0, 0, 0, 20, 0]
    assert (await generations(database, servers), await machines(site), len(await site.events())) == (
        before,
        found,
        events,
    )


async def test_agents_learn_of_imported_machines(site: Site, servers: Servers) -> None:
    observed = (await site.beat(servers["ps-1"], 2)).json()["generation"]
    await imported(site, row("sql-1"), row("sql-2"))
    answer = (await site.beat(servers["ps-1"], 3, observedGeneration=observed)).json()
    assert answer["generation"] == observed + 1
    assert answer["desired"]["sourceMachines"] == ["sql-1", "sql-2"]


async def test_csv_is_taken_as_json_lines_are(site: Site, servers: Servers) -> None:
    text = (
        "\ufeffName,processServer,churnInBytesPerDay,disks,osType,agentVersion,friendlyName,allowOverCapacity\r\n"
        'SQL-1,ps-1,1024,"5;6",Windows,9.62.7096.1,"SQL, ""one""",false\r\n'
        "\r\n"
        "web-1, ps-2 ,0,,,,,\r\n"
    )
    answer = await post(site, text.encode(), CSV)
    assert answer.status_code == 200, answer.text
    assert [entry["line"] for entry in answer.json()["rows"]] == [2, 4]
    found = await machines(site)
    assert found["sql-1"]["friendlyName"] == 'SQL, "one"'
    assert found["sql-1"]["disks"] == [{"sizeInBytes": 5}, {"sizeInBytes": 6}]
    assert (found["sql-1"]["osType"], found["web-1"]["osType"], found["web-1"]["disks"]) == ("Windows", None, [])
    assert found["web-1"]["processServer"] == "ps-2"


async def test_every_bad_row_is_named_with_all_that_is_wrong_and_nothing_is_imported(
    site: Site, servers: Servers, database: Database
) -> None:
    before = await generations(database, servers)
    answer = await post(
        site,
        lines(
            [
                row("good-1"),
                "{",
                "[1]",
                "",
                row("bad name", churn=-1, colour="red"),
                row("GOOD-1"),
                {"name": "nowhere", "churnInBytesPerDay": 1},
                {"name": "nothing"},
                row("lost", "ps-9", 3 * TB),
            ]
        ),
    )
    document = problem(answer, 422, "import-invalid")
    assert counts(document) == [1, 0, 0, 0, 7]
    assert (document["imported"], document["dryRun"]) == (False, False)
    assert codes(document) == {
        2: ["malformed-row"],
        3: ["malformed-row"],
        5: ["validation-failed"] * 3,
        6: ["duplicate-name"],
        7: ["process-server-missing"],
        8: ["validation-failed", "process-server-missing"],
        9: ["process-server-not-found", "not-protectable"],
    }
    wrong = document["rows"][2]["errors"]
    assert {entry["pointer"] for entry in wrong} == {"#/name", "#/churnInBytesPerDay", "#/colour"}
    assert document["rows"][3]["errors"][0]["detail"].startswith("the name 'good-1' is in line 1 too")
    assert "'ps-9'" in document["rows"][6]["errors"][0]["detail"]
    assert "7 of 8 rows are refused and nothing was imported" in document["detail"]
    assert await count(database, SourceMachine) == 0
    assert await generations(database, servers) == before
    assert not await site.events(type="source-machine.")


WRONG_CSV: list[tuple[str, dict[int, list[str]]]] = [
    ("name,churnInBytesPerDay,colour\nsql-1,1,red\n", {1: ["malformed-header"] * 2}),
    ("name,processServer,churnInBytesPerDay,Name\n", {1: ["malformed-header"]}),
    ("name,processServer,churnInBytesPerDay\na,ps-1\nb,ps-1,x\nc,,1\n", {}),
    ('name,processServer,churnInBytesPerDay\n"a,ps-1,1\nb,ps-1,1\n', {2: ["malformed-row"]}),
]


async def test_what_is_wrong_with_csv_is_told(site: Site, servers: Servers, subtests: pytest.Subtests) -> None:
    for text, expected in WRONG_CSV:
        with subtests.test(text=text, expected=expected):
            document = problem(await post(site, text.encode(), CSV), 422, "import-invalid")
            assert codes(document) == (
                expected or {2: ["malformed-row"], 3: ["validation-failed"], 4: ["process-server-missing"]}
            )


async def test_text_that_is_not_utf_8_is_told_with_its_line(site: Site, servers: Servers) -> None:
    text = "name,processServer,churnInBytesPerDay\nsql-é,ps-1,1\n".encode("latin-1")
    document = problem(await post(site, text, CSV), 422, "import-invalid")
    assert codes(document) == {2: ["malformed-row"]}
    assert "UTF-8" in document["rows"][0]["errors"][0]["detail"]


@pytest.mark.parametrize("content", [b"", b"\n \n", b"\xef\xbb\xbf\n"])
async def test_a_file_without_rows_is_refused(site: Site, servers: Servers, content: bytes) -> None:
    for headers in (NDJSON, CSV):
        problem(await post(site, content, headers), 422, "validation-failed")


async def test_a_file_with_too_many_rows_is_refused(site: Site, servers: Servers) -> None:
    document = problem(await post(site, b"{}\n" * (MAX_ROWS + 1)), 422, "validation-failed")
    assert "20,000" in document["detail"]


async def test_at_most_a_thousand_bad_rows_are_listed_and_all_are_counted(site: Site, servers: Servers) -> None:
    document = problem(await post(site, b"{}\n" * 1_500), 422, "import-invalid")
    assert document["refused"] == 1_500
    assert len(document["rows"]) == 1_000


OTHER_MEDIA_TYPES: list[str] = [
    "application/json",
    "text/plain",
    "",
    "text/csv; charset=iso-8859-1",
    "application/x-ndjsonx",
]


async def test_other_media_types_are_not_taken(site: Site, servers: Servers, subtests: pytest.Subtests) -> None:
    for content_type in OTHER_MEDIA_TYPES:
        with subtests.test(content_type=content_type):
            answer = await post(site, lines([row("sql-1")]), {"Content-Type": content_type})
            problem(answer, 415, "file-type-unsupported")


async def test_files_have_a_limit_of_their_own(site: Site, servers: Servers) -> None:
    settings: Settings = site.app.state.settings
    padded = lines([row("sql-1")]) + b"\n" * settings.max_body_bytes
    assert (await post(site, padded)).status_code == 200
    problem(await post(site, b"\n" * (settings.max_import_bytes + 1)), 413, "body-too-large")
    other = await site.client.post(f"{SERVER}/refresh-nothing", content=padded)
    problem(other, 413, "body-too-large")


async def test_the_address_takes_post_alone(site: Site, servers: Servers) -> None:
    answer = await site.client.get(IMPORTS)
    problem(answer, 405, "method-not-allowed")
    assert answer.headers["allow"] == "POST"


async def test_a_dry_run_answers_as_the_import_would_and_changes_nothing(
    site: Site, servers: Servers, database: Database
) -> None:
    before = await generations(database, servers)
    report = await imported(site, row("sql-1"), row("sql-2"), dryRun=True)
    assert (report["imported"], report["dryRun"], counts(report)) == (False, True, [2, 0, 0, 0, 0])
    document = problem(await post(site, lines([row("sql-1", "ps-9")]), dryRun=True), 409, "import-refused")
    assert (document["imported"], document["dryRun"]) == (False, True)
    assert await count(database, SourceMachine) == 0
    assert await generations(database, servers) == before
    assert not await site.events(type="source-machine.")


async def test_limits_are_held_against_the_whole_file(site: Site, servers: Servers) -> None:
    """85 machines fit on ps-1; one that leaves makes room for one that comes, even where its row is later."""
    await imported(site, *(row(f"sql-{number}", churn=0) for number in range(85)))
    document = problem(
        await post(site, lines([row("more-1", churn=0), row("more-2", churn=0), row("sql-0", "ps-2", 0)])),
        409,
        "import-refused",
    )
    assert codes(document) == {1: ["over-capacity"], 2: ["over-capacity"]}
    (excess,) = document["overCapacity"]
    assert (excess["processServer"], excess["lines"], excess["lineCount"]) == ("ps-1", [1, 2], 2)
    assert excess["isPermitted"] is False
    assert (excess["present"]["sourceMachines"], excess["added"]["sourceMachines"]) == (85, 1)
    assert "86" in excess["detail"]
    report = await imported(site, row("more-1", churn=0), row("sql-0", "ps-2", 0))
    assert counts(report) == [1, 0, 1, 0, 0]


async def test_machines_of_full_servers_swap_places(site: Site, servers: Servers) -> None:
    await imported(site, row("a", "ps-1", 250 * GB), row("b", "ps-2", 250 * GB), row("c", "ps-2", 1798 * GB))
    assert counts(await imported(site, row("a", "ps-2", 250 * GB), row("b", "ps-1", 250 * GB))) == [0, 0, 2, 0, 0]


async def test_what_is_permitted_is_recorded(site: Site, servers: Servers) -> None:
    rows = [row("sql-1", churn=200 * GB), row("sql-2", churn=100 * GB), row("sql-3", churn=0)]
    document = problem(await post(site, lines(rows)), 409, "import-refused")
    assert codes(document) == {1: ["over-capacity"], 2: ["over-capacity"]}
    report = await imported(site, *rows, allowOverCapacity=True)
    (excess,) = report["overCapacity"]
    assert (excess["isPermitted"], excess["lines"]) == (True, [1, 2])
    events = {event["resource"]["name"]: event for event in await site.events(type="source-machine.")}
    assert [events[f"sql-{number}"]["severity"] for number in (1, 2, 3)] == ["Warning", "Warning", "Information"]
    assert events["sql-1"]["data"]["overCapacity"] is True
    assert events["sql-1"]["data"]["added"] == {"sourceMachines": 3, "churnInBytesPerDay": 300 * GB}
    assert events["sql-3"]["data"]["overCapacity"] is False


async def test_a_rows_own_word_counts_before_the_parameter(site: Site, servers: Servers) -> None:
    rows = [row("sql-1", churn=200 * GB, allowOverCapacity=True), row("sql-2", churn=100 * GB)]
    assert codes(problem(await post(site, lines(rows)), 409, "import-refused")) == {2: ["over-capacity"]}
    rows[1]["allowOverCapacity"] = False
    answer = await post(site, lines(rows), allowOverCapacity=True)
    assert codes(problem(answer, 409, "import-refused")) == {2: ["over-capacity"]}
    rows[1]["allowOverCapacity"] = True
    assert counts(await imported(site, *rows)) == [2, 0, 0, 0, 0]


async def test_a_server_over_its_limit_may_lose_and_be_described_anew(site: Site, servers: Servers) -> None:
    await imported(site, *(row(f"sql-{number}", churn=200 * GB) for number in range(4)), allowOverCapacity=True)
    report = await imported(site, row("sql-0", churn=100 * GB), row("sql-1", churn=250 * GB), row("sql-2", "ps-2"))
    assert counts(report) == [0, 2, 1, 0, 0]


@pytest.mark.no_brake
async def test_new_machines_need_a_process_server_that_takes_them(site: Site, servers: Servers) -> None:
    await imported(site, row("here", "ps-1"), row("there", "ps-2"))
    path = "/api/v1/vaults/contoso/process-servers/ps-1"
    answer = await site.client.patch(path, json={"maintenance": {"isEnabled": True}})
    assert answer.status_code == 200, answer.text
    await site.pass_time(1000)
    refused = problem(
        await post(site, lines([row("new"), row("there", "ps-1"), row("here", churn=2 * GB)])), 409, "import-refused"
    )
    assert codes(refused) == {1: ["disconnected", "in-maintenance"], 2: ["disconnected", "in-maintenance"]}
    assert counts(await imported(site, row("here", churn=2 * GB))) == [0, 1, 0, 0, 0]


async def test_an_import_that_is_sent_again_gets_the_first_answer(site: Site, servers: Servers) -> None:
    headers = {**NDJSON, "Idempotency-Key": "import-17"}
    first = await post(site, lines([row("sql-1")]), headers)
    second = await post(site, lines([row("sql-1")]), headers)
    assert (second.status_code, second.json()) == (200, first.json())
    assert second.headers["idempotent-replayed"] == "true"
    problem(await post(site, lines([row("sql-2")]), headers), 409, "idempotency-key-reused")


async def test_readers_and_strangers_import_nothing(site: Site, servers: Servers) -> None:
    body = lines([row("sql-1")])
    async with await site.caller("reader") as reader:
        problem(await reader.post(IMPORTS, content=body, headers=NDJSON), 403, "forbidden")
    async with client_of(site.app, None) as nobody:
        problem(await nobody.post(IMPORTS, content=body, headers=NDJSON), 401, "unauthenticated")
    await site.vault("other")
    async with await site.caller("operator", "other") as outsider:
        problem(await outsider.post(IMPORTS, content=body, headers=NDJSON), 404, "vault-not-found")
    path = IMPORTS.replace("cs-1", "cs-9")
    problem(await site.client.post(path, content=body, headers=NDJSON), 404, "configuration-server-not-found")


async def test_thousands_of_rows_are_one_transaction(site: Site, servers: Servers, database: Database) -> None:
    rows = [row(f"sql-{number}", f"ps-{1 + number % 2}", 1, disks=[{"sizeInBytes": 9}]) for number in range(5_000)]
    assert counts(await imported(site, *rows, allowOverCapacity=True)) == [5_000, 0, 0, 0, 0]
    assert await count(database, SourceMachine) == 5_000
    moved = [row(f"sql-{number}", f"ps-{2 - number % 2}", 2) for number in range(2_500)]
    assert counts(await imported(site, *moved, allowOverCapacity=True)) == [0, 0, 2_500, 0, 0]
    sequences = [event["sequence"] for event in await site.events()]
    assert sequences == list(range(1, len(sequences) + 1))
    assert len(await site.events(type="source-machine.")) == 10_000
