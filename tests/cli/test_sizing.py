"""`muster sizing`, which needs no API, and `muster configuration-server capacity`, which does."""

import json
from pathlib import Path
from typing import Any

import pytest

from app.cli.machine_lists import size_given
from tests.cli.fake_api import FakeApi, Muster

GB, TB = 2**30, 2**40
LIST = """[{"name": "web", "churnInBytesPerDay": 10737418240}, {"name": "db", "churnInBytesPerDay": 1649267441664},
  {"name": "huge", "churnInBytesPerDay": 2199023255553, "disks": [{"sizeInBytes": 1}]}]"""


def _sized(muster: Muster, *arguments: str, **more: Any) -> dict[str, Any]:
    result = muster("sizing", *arguments, "--json", **more)
    assert result.exit_code == 0, result.output
    return dict(json.loads(result.stdout))


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0), ("17", 17), ("17B", 17), ("1KB", 1024), ("250GB", 250 * GB), ("250 gb", 250 * GB),
        ("1.5TB", 3 * TB // 2), ("2T", 2 * TB), ("2TiB", 2 * TB), (" 1 tb ", TB), ("0.1GB", 107_374_183),
        ("1PB", 1024 * TB), ("1.5", 2),
    ],
)  # fmt: skip
def test_sizes_are_binary_and_rounded_up(text: str, size: int) -> None:
    assert size_given(text) == size


@pytest.mark.parametrize("text", ["", "TB", "-1GB", "1,5TB", "1e3", "1 XB", "1.TB", "٣GB", "nan", "9999999PB"])
def test_other_sizes_are_refused_by_name(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a size|is more than"):
        size_given(text)


def test_the_documented_example(muster: Muster, api: FakeApi) -> None:
    up, out = _sized(muster, "--machines", "220", "--churn", "500GB")["options"]
    assert [(part["cpuCount"], part["count"]) for part in up["configurationServers"]] == [(12, 1)]
    assert [(part["tier"], part["count"]) for part in up["processServers"]] == [("large", 1)]
    assert [(part["cpuCount"], part["count"]) for part in out["configurationServers"]] == [(8, 2)]
    assert [entry["sourceMachineCount"] for entry in out["assignments"]] == [135, 85]
    assert api.requests == []


def test_tables_show_both_ways_and_why(muster: Muster) -> None:
    result = muster("sizing", "--machines", "220", "--churn", "500GB")
    assert result.exit_code == 0
    for text in (
        "Additional process servers needed  yes",
        "Scale up: 1 process server, 12 vCPUs",
        "Scale out: 2 process servers, 12 vCPUs",
        "- sized for 220 machines with 500 GB a day, without growth",
    ):
        assert text in result.stdout
    rows = [line.split() for line in result.stdout.splitlines()]
    assert ["1", "1", "medium", "135", "250", "GB", "15", "774", "GB", "-"] in rows


def test_options_reach_the_rules(muster: Muster) -> None:
    found = _sized(
        muster, "--machines", "80", "--churn", "1GB", "--growth", "12.5", "--strategy", "scaleout", "--inbuilt"
    )
    assert found["load"]["sourceMachines"] == 90
    (option,) = found["options"]
    assert option["strategy"] == "scaleOut"
    assert option["configurationServers"][0]["usesInbuiltProcessServer"] is True
    early = muster("--json", "sizing", "--machines", "1", "--churn", "0")
    assert json.loads(early.stdout)["load"]["sourceMachines"] == 1


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", "name,churnInBytesPerDay,disks\nweb,10 GB,3\ndb,1.5TB,\nhuge,2199023255553,1\n"),
        ("a.csv", "\ufeffdisks;NAME;churninbytesperday\r\n3;web;10 GB\r\n\r\n;db;1.5TB\r\n1;huge;2199023255553"),
        ("a.txt", 'name,churnInBytesPerDay\n"web",10737418240\ndb,1.5TB\nhuge,2199023255553\n'),
        ("a.json", LIST),
        ("a", f'{{"machines": {LIST}}}'),
    ],
)
def test_lists_are_read(muster: Muster, name: str, content: str) -> None:
    Path(name).write_text(content, encoding="utf-8", newline="")
    found = _sized(muster, "--file", name)
    assert [entry["name"] for entry in found["notProtectable"]] == ["huge"]
    assert found["load"] == {"sourceMachines": 2, "churnInBytesPerDay": 10 * GB + 3 * TB // 2}
    assert sorted(found["options"][0]["assignments"][0]["machines"]) == ["db", "web"]
    piped = _sized(muster, "--file", "-", input=content.encode())
    assert piped == found


def test_a_machine_that_can_t_be_protected_is_named(muster: Muster) -> None:
    Path("a.csv").write_text("name,churnInBytesPerDay\nhuge,3TB\n")
    result = muster("sizing", "--file", "a.csv")
    assert result.exit_code == 0
    assert "Not protectable: huge: it changes 3 TB a day" in result.stdout


def test_every_problem_of_a_csv_file_is_told_with_its_line(muster: Muster) -> None:
    lines = ["name,churnInBytesPerDay,disks", "a,5GB,3", "A,x,2", "b,-1,", ",1,1", "c,1", "d,1,x", 'e,"1', ""]
    Path("bad.csv").write_text("\n".join(lines))
    result = muster("sizing", "--file", "bad.csv")
    assert result.exit_code == 2
    assert "bad.csv has 7 problems" in result.stderr
    told = [line.strip() for line in result.stderr.splitlines() if line.startswith("  line")]
    assert [line.split(":")[0] for line in told] == [f"line {n}" for n in (3, 3, 4, 5, 6, 7, 8)]
    assert "'x' is not a size" in told[0]
    assert "'A' is in line 2 too" in told[1]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "is empty"),
        ("name\na\n", "the column churnInBytesPerDay is missing"),
        ("name,churnInBytesPerDay,name\n", "the column name is there twice"),
        ("name,churnInBytesPerDay,cpu\n", "'cpu' is no column"),
        ("name,churnInBytesPerDay\n", "there is no machine"),
    ],
)
def test_a_csv_file_needs_its_columns(muster: Muster, content: str, told: str) -> None:
    Path("bad.csv").write_text(content)
    result = muster("sizing", "--file", "bad.csv")
    assert result.exit_code == 2
    assert told in result.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "the load is not known"),
        (("--machines", "5"), "the load is not known"),
        (("--machines", "5", "--churn", "much"), "'much' is not a size"),
        (("--machines", "0", "--churn", "1"), "#/sourceMachines"),
        (("--machines", "60000", "--churn", "1", "--growth", "100"), "more than 100000"),
        (("--machines", "5", "--file", "a.json"), "--file says it all"),
        (("--file", "missing.csv"), "missing.csv can't be read"),
        (("--file", "a.json"), "#/machines/0/churnInBytesPerDay: is required"),
        (("--file", "twice.json"), "#/machines/1/name"),
        (("--file", "b.json"), "is not JSON"),
        (("--file", "c.json"), "holds no list of machines"),
        (("--file", "d.csv"), "is not UTF-8"),
    ],
)
def test_what_can_t_be_sized_is_explained(muster: Muster, arguments: tuple[str, ...], told: str) -> None:
    Path("a.json").write_text('[{"name": "a"}]')
    machine = '{"name": "a", "churnInBytesPerDay": 1}'
    Path("twice.json").write_text(f"[{machine}, {machine}]")
    Path("b.json").write_text("{")
    Path("c.json").write_text('{"a": 1}')
    Path("d.csv").write_bytes(b"name\xff")
    result = muster("sizing", *arguments)
    assert result.exit_code in {1, 2}
    assert told in result.stderr
    assert result.stdout == ""


def test_many_servers_are_cut_short_for_people(muster: Muster) -> None:
    result = muster("sizing", "--machines", "50000", "--churn", "10TB", "--strategy", "scaleUp")
    assert "more; --json shows all" in result.stderr
    assert len(result.stdout.splitlines()) < 80


CAPACITY = {
    "vault": "prod",
    "configurationServer": "cs-1",
    "source": "registered",
    "used": {"sourceMachines": 220, "churnInBytesPerDay": 500 * GB},
    "limit": {"sourceMachines": 150, "churnInBytesPerDay": TB},
    "spare": {"sourceMachines": 0, "churnInBytesPerDay": 0},
    "additionalProcessServersNeeded": True,
    "processServersMissing": True,
    "missingProcessServers": [
        {"tier": "small", "cpuCount": 4, "memoryInBytes": 8 * GB, "cacheDiskInBytes": 300 * GB, "count": 1}
    ],
    "missingConfigurationServers": 0,
    "notProtectable": [{"name": "vm-9", "churnInBytesPerDay": 3 * TB, "reason": "too much"}],
    "processServers": [
        {
            "id": "id-1",
            "name": "ps-1",
            "kind": "scaleOut",
            "connectionState": "Connected",
            "takesMachines": True,
            "tier": "medium",
            "used": {"sourceMachines": 135, "churnInBytesPerDay": 300 * GB},
            "limit": {"sourceMachines": 150, "churnInBytesPerDay": TB},
            "spare": {"sourceMachines": 15, "churnInBytesPerDay": 724 * GB},
            "note": None,
        }
    ],
    "reasons": ["because of this"],
}
PATH = "/api/v1/vaults/prod/configuration-servers/cs-1/capacity"


def test_capacity_shows_what_is_missing(muster: Muster, api: FakeApi) -> None:
    api.answer("GET", PATH, CAPACITY)
    result = muster("configuration-server", "capacity", "cs-1")
    assert result.exit_code == 0, result.output
    for text in ("220 machines, 500 GB a day (registered)", "1 small", "135 of 150", "724 GB", "- because of this"):
        assert text in result.stdout
    assert "Not protectable: vm-9: too much" in result.stdout
    assert json.loads(muster("cs", "capacity", "cs-1", "--json").stdout) == CAPACITY


def test_capacity_sends_stated_totals(muster: Muster, api: FakeApi) -> None:
    api.answer("GET", PATH, CAPACITY)
    assert muster("cs", "capacity", "cs-1", "--machines", "300", "--churn", "1.5TB").exit_code == 0
    (request,) = api.asked("GET", PATH)
    assert dict(request.url.params) == {"sourceMachines": "300", "churnInBytesPerDay": str(3 * TB // 2)}
    assert "is not a size" in muster("cs", "capacity", "cs-1", "--churn", "x").stderr
