"""`muster machine` and `muster job`."""

import json
from typing import Any

import httpx
import pytest

from app.cli import jobs
from tests.cli.fake_api import NOW, FakeApi, Muster

VAULT = "/api/v1/vaults/prod"
SERVERS = f"{VAULT}/configuration-servers"
LIST = f"{VAULT}/source-machines"
MACHINES = f"{SERVERS}/cs-1/source-machines"
MACHINE = f"{MACHINES}/sql-1"
JOB_ID = "0192f0c1-0000-7000-8000-000000000011"
JOB = f"{VAULT}/jobs/{JOB_ID}"
GB = 2**30


def machine(name: str = "sql-1", **members: Any) -> dict[str, Any]:
    """A source machine as the API shows it."""
    return {
        "id": f"id-of-{name}",
        "name": name,
        "friendlyName": "SQL, Amsterdam",
        "vault": "prod",
        "configurationServer": "cs-1",
        "processServer": "ps-1",
        "churnInBytesPerDay": 10 * GB,
        "disks": [{"sizeInBytes": 100 * GB}, {"sizeInBytes": 200 * GB}],
        "osType": "Windows",
        "agentVersion": "9.62.7096.1",
        "versionStatus": "Supported",
        "lastRebootAgentVersion": "9.60.6956.1",
        "createdAt": "2026-11-20T12:00:00.000Z",
        "updatedAt": "2026-11-24T11:00:00.000Z",
        **members,
    }


def job(**members: Any) -> dict[str, Any]:
    """A job as the API shows it."""
    return {
        "id": JOB_ID,
        "type": "decommission",
        "state": "Queued",
        "progressPercentage": 0,
        "resource": {"kind": "process-server", "name": "ps-1", "id": "id-of-ps-1"},
        "target": "ps-2",
        "requestedBy": "token:alice",
        "createdAt": "2026-11-24T11:59:00.000Z",
        "startedAt": None,
        "endedAt": None,
        "error": None,
        "details": {"reason": "too old"},
        **members,
    }


@pytest.fixture
def site(api: FakeApi) -> FakeApi:
    """A vault with the one configuration server `cs-1`."""
    api.pages(SERVERS, [{"name": "cs-1"}])
    return api


def sent(api: FakeApi, method: str = "PUT") -> dict[str, Any]:
    """The body of the only request with a method."""
    (request,) = api.asked(method)
    return dict(json.loads(request.content))


def test_machines_are_listed_with_filters(site: FakeApi, muster: Muster) -> None:
    site.pages(LIST, [machine(), machine("web-1", processServer="ps-2", agentVersion=None, versionStatus=None)])
    result = muster(
        *("machine", "list", "--ps", "ps-1", "-q", "sql", "--order-by", "-name", "--cs", "cs-1", "--os", "windows"),
        *("--version-status", "supported", "--min-churn", "1GB", "--max-churn", "1TB"),
    )
    assert result.exit_code == 0, result.output
    params = dict(site.asked("GET", LIST)[0].url.params)
    assert params.pop("limit") == "500"
    assert params == {
        "processServer": "ps-1",
        "q": "sql",
        "orderBy": "-name",
        "configurationServer": "cs-1",
        "osType": "Windows",
        "versionStatus": "Supported",
        "minimumChurnInBytesPerDay": str(GB),
        "maximumChurnInBytesPerDay": str(1024 * GB),
    }
    header, first, second = result.stdout.splitlines()
    assert header.split() == [
        *("NAME", "CONFIGURATION", "SERVER", "PROCESS", "SERVER", "CHURN", "A", "DAY", "DISKS", "SYSTEM", "VERSION"),
        *("SUPPORT", "FRIENDLY", "NAME"),
    ]
    for value in ("sql-1", "cs-1", "ps-1", "10 GB", "2", "Windows", "9.62.7096.1", "Supported", "SQL, Amsterdam"):
        assert value in first
    assert second.split()[:3] == ["web-1", "cs-1", "ps-2"]


def test_an_empty_list_says_why(site: FakeApi, muster: Muster) -> None:
    site.pages(LIST, [])
    assert "No source machine yet" in muster("machine", "list").stderr
    assert "No machine matches" in muster("machine", "list", "-q", "x").stderr
    assert json.loads(muster("machine", "list", "--json").stdout) == []


def test_a_machine_is_shown(site: FakeApi, muster: Muster) -> None:
    site.answer("GET", MACHINE, machine())
    output = muster("machine", "show", "sql-1").stdout
    for text in ("Source machine sql-1", "100 GB, 200 GB", "10 GB", "9.60.6956.1", "2026-11-20 12:00:00Z (4 days ago)"):
        assert text in output
    assert json.loads(muster("machine", "show", "sql-1", "--json").stdout) == machine()


def test_a_new_machine_is_put_whole(site: FakeApi, muster: Muster) -> None:
    site.refuse("GET", MACHINE, 404, "source-machine-not-found")
    site.answer("PUT", MACHINE, machine(), status=201)
    result = muster(
        *("machine", "set", "sql-1", "--ps", "ps-1", "--churn", "1.5 TB", "--disk", "100GB", "--disk", "1024"),
        *("--os", "windows", "--agent-version", "9.62.7096.1", "--friendly-name", "SQL", "--allow-over-capacity"),
    )
    assert result.exit_code == 0, result.output
    assert "Registered source machine sql-1 with process server ps-1" in result.stdout
    assert sent(site) == {
        "processServer": "ps-1",
        "churnInBytesPerDay": 1536 * GB,
        "disks": [{"sizeInBytes": 100 * GB}, {"sizeInBytes": 1024}],
        "osType": "Windows",
        "agentVersion": "9.62.7096.1",
        "friendlyName": "SQL",
        "allowOverCapacity": True,
    }
    assert "If-Match" not in site.asked("PUT")[0].headers


def test_what_is_not_given_stays(site: FakeApi, muster: Muster) -> None:
    site.answer("GET", MACHINE, machine(osType=None), headers={"ETag": '"a-1"'})
    site.answer("PUT", MACHINE, machine(processServer="ps-2"), headers={"ETag": '"a-2"'})
    result = muster("machine", "set", "sql-1", "--ps", "ps-2")
    assert "Moved source machine sql-1 to process server ps-2" in result.stdout
    kept = ("churnInBytesPerDay", "disks", "agentVersion", "lastRebootAgentVersion", "friendlyName")
    assert sent(site) == {"processServer": "ps-2", **{member: machine()[member] for member in kept}}
    assert site.asked("PUT")[0].headers["If-Match"] == '"a-1"'


@pytest.mark.parametrize(("etag", "said"), [('"a-1"', "is like that already"), ('"a-2"', "Changed source machine")])
def test_it_says_whether_something_changed(site: FakeApi, muster: Muster, etag: str, said: str) -> None:
    site.answer("GET", MACHINE, machine(), headers={"ETag": '"a-1"'})
    site.answer("PUT", MACHINE, machine(), headers={"ETag": etag})
    assert said in muster("machine", "set", "sql-1", "--churn", "10GB").stdout


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "--process-server and --churn"),
        (("--ps", "ps-1"), "needs --churn"),
        (("--ps", "ps-1", "--churn", "much"), "--churn: 'much' is not a size"),
        (("--ps", "ps-1", "--churn", "1", "--disk", "-5"), "--disk"),
    ],
)
def test_a_machine_that_lacks_something_is_not_put(
    site: FakeApi, muster: Muster, options: tuple[str, ...], said: str
) -> None:
    site.refuse("GET", MACHINE, 404, "source-machine-not-found")
    result = muster("machine", "set", "sql-1", *options)
    assert result.exit_code == 2
    assert said in result.stderr
    assert site.asked("PUT") == []


def test_another_thing_that_is_missing_is_no_new_machine(site: FakeApi, muster: Muster) -> None:
    site.refuse("GET", MACHINE, 404, "configuration-server-not-found")
    assert muster("machine", "set", "sql-1", "--ps", "ps-1", "--churn", "1").exit_code == 5
    assert site.asked("PUT") == []


def test_a_full_server_is_a_conflict_with_its_numbers(site: FakeApi, muster: Muster) -> None:
    site.refuse("GET", MACHINE, 404, "source-machine-not-found")
    site.refuse("PUT", MACHINE, 409, "over-capacity", present={"sourceMachines": 85}, limit={"sourceMachines": 85})
    result = muster("machine", "set", "sql-1", "--ps", "ps-1", "--churn", "1")
    assert result.exit_code == 6
    assert "limit: sourceMachines 85" in result.stderr


def test_several_configuration_servers_are_a_choice(api: FakeApi, muster: Muster) -> None:
    api.pages(SERVERS, [{"name": "cs-1"}, {"name": "cs-2"}])
    result = muster("machine", "show", "sql-1")
    assert result.exit_code == 2
    assert "cs-1, cs-2" in result.stderr
    api.answer("GET", f"{SERVERS}/cs-2/source-machines/sql-1", machine())
    assert muster("machine", "show", "sql-1", "--cs", "cs-2").exit_code == 0
    api.pages(SERVERS, [])
    assert muster("machine", "show", "sql-1").exit_code == 5


def test_a_machine_is_deleted_with_the_tag_just_read(site: FakeApi, muster: Muster) -> None:
    site.answer("GET", MACHINE, machine(), headers={"ETag": '"a-3"'})
    site.answer("DELETE", MACHINE, status=204)
    assert muster("machine", "delete", "sql-1").exit_code == 2
    assert site.asked("DELETE") == []
    assert muster("machine", "delete", "sql-1", "--yes").exit_code == 0
    assert site.asked("DELETE")[0].headers["If-Match"] == '"a-3"'


def test_jobs_are_listed_with_filters(api: FakeApi, muster: Muster) -> None:
    api.pages(f"{VAULT}/jobs", [job(state="InProgress", progressPercentage=40)])
    result = muster(
        *("job", "list", "--type", "decommission", "--state", "queued", "--state", "INPROGRESS", "--resource", "ps-1")
    )
    params = api.asked("GET", f"{VAULT}/jobs")[0].url.params
    assert (params["type"], params.get_list("state"), params["resource"]) == (
        "decommission",
        ["Queued", "InProgress"],
        "ps-1",
    )
    header, first = result.stdout.splitlines()
    assert header.split()[:3] == ["TYPE", "STATE", "DONE"]
    for value in ("decommission", "InProgress", "40 %", "ps-1", "ps-2", "1 min ago", "token:alice", JOB_ID):
        assert value in first
    assert json.loads(muster("job", "list", "--json").stdout)[0]["id"] == JOB_ID


def test_a_job_is_shown_with_its_error(api: FakeApi, muster: Muster) -> None:
    error = {"code": "step-failed", "detail": "exit code 3"}
    api.answer("GET", JOB, job(state="Failed", error=error, endedAt="2026-11-24T12:00:00Z"))
    result = muster("job", "show", JOB_ID)
    assert result.exit_code == 0
    for text in ("Job decommission", "step-failed: exit code 3", "process server ps-1", "too old"):
        assert text in result.stdout


@pytest.mark.parametrize(("state", "exit_code"), [("Succeeded", 0), ("Failed", 1), ("Cancelled", 1)])
def test_watch_waits_for_the_end_through_an_outage(
    api: FakeApi, muster: Muster, monkeypatch: pytest.MonkeyPatch, state: str, exit_code: int
) -> None:
    monkeypatch.setattr(jobs, "POLL_SECONDS", 0)
    steps = [job(), job(state="InProgress", progressPercentage=50), None, None, job(state=state)]

    def handler(_: httpx.Request) -> httpx.Response:
        step = steps.pop(0)
        if step is None:
            raise httpx.ConnectError("nobody there")
        return httpx.Response(200, json=step, headers={"Date": NOW})

    api.on("GET", JOB, handler)
    result = muster("job", "show", JOB_ID, "--watch", "--json")
    assert result.exit_code == exit_code
    assert json.loads(result.stdout)["state"] == state
    lines = result.stderr.splitlines()
    assert lines[:2] == ["Queued 0 %", "InProgress 50 %"]
    assert "waiting for it" in lines[2]
    assert lines[3:] == [f"{state} 0 %"]


def test_a_job_is_cancelled_when_that_was_confirmed(api: FakeApi, muster: Muster) -> None:
    api.answer("GET", JOB, job())
    api.answer("POST", f"{JOB}/cancel", job(state="Cancelled"))
    assert muster("job", "cancel", JOB_ID).exit_code == 2
    assert api.asked("POST") == []
    result = muster("job", "cancel", JOB_ID, "--yes")
    assert result.exit_code == 0
    assert "Cancelled the decommission of ps-1" in result.stdout
    api.refuse("POST", f"{JOB}/cancel", 409, "job-not-cancellable")
    assert muster("job", "cancel", JOB_ID, "--yes").exit_code == 6
